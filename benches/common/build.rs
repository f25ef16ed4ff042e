//! Logs of a given size.

use std::fs::File;
use std::io::Read as _;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use strandlog_engine::{Appending, Log};

use super::workload::Workload;

/// Appends until there are `segments` sealed ones and the tail is half full: opening a log takes
/// time for the tail, so only equal tails compare.
pub(crate) fn fill_segments(log: &Log, workload: &mut Workload, segment_len: u64, segments: u64) {
    const BATCH_LEN: usize = 1_000;
    let record_len = workload.batch(1).encoded_len() as u64;
    let batch_len = (segment_len / 16 / record_len).clamp(1, BATCH_LEN as u64) as usize;
    let mut last: Option<Appending> = None;
    let mut append = |log: &Log| {
        let batch = workload.batch(batch_len);
        let len = batch.encoded_len() as u64;
        if let Some(last) = last.replace(log.append(batch)) {
            let _receipt = last.wait().unwrap();
        }
        len
    };
    while log.describe().segments <= segments {
        append(log);
    }
    let mut len = 0;
    while len < segment_len / 2 {
        len += append(log);
    }
    if let Some(last) = last {
        let _receipt = last.wait().unwrap();
    }
}

/// The newest segment file of the log in `dir`.
pub(crate) fn tail(dir: &Path) -> PathBuf {
    std::fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "seg"))
        .max()
        .unwrap()
}

/// Reads a file whole and checksums what is not zero at its end: the least an open that checks its
/// tail must do.
pub(crate) fn read_and_check(path: &Path) -> u32 {
    let mut file = std::fs::OpenOptions::new().read(true).open(path).unwrap();
    let mut bytes = Vec::with_capacity(file.metadata().unwrap().len() as usize);
    file.read_to_end(&mut bytes).unwrap();
    let used = bytes
        .rchunks(4_096)
        .position(|page| page.iter().any(|byte| *byte != 0))
        .map_or(0, |zeros| bytes.len() - zeros * 4_096);
    crc32fast::hash(&bytes[..used])
}

/// Reads every file of a log once, so that it is in the page cache.
pub(crate) fn warm(dir: &Path) {
    let mut buffer = vec![0; 1 << 20];
    for entry in std::fs::read_dir(dir).unwrap() {
        let file: File = std::fs::OpenOptions::new()
            .read(true)
            .open(entry.unwrap().path())
            .unwrap();
        let mut at = 0;
        while let Ok(len @ 1..) = file.read_at(&mut buffer, at) {
            at += len as u64;
        }
    }
}
