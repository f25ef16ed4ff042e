//! What the target `recover` checks; the engine's tests replay its corpus through the same code.
//!
//! An input is a list of files: one byte for the name, two for the length (little-endian), the
//! bytes. Segments and checkpoint logs are filled up with zeros to 16 KiB.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use strandlog_engine::storage::sim::SimDisk;
use strandlog_engine::{
    Background, Clock, Direction, Entropy, Log, OpenError, Options, describe_file, verify,
};

const NAMES: [&str; 8] = [
    "00000000000000000001.seg",
    "00000000000000000004.seg",
    "00000000000000000001.idx",
    "00000000000000000001-00000000000000000003.0.tags",
    "00000000000000000001.ckp",
    "00000000000000000002.ckp",
    "prepared.tmp",
    "notes.txt",
];
const LEN: usize = 16 << 10;

#[derive(Debug)]
struct Steady(AtomicU64);

impl Clock for Steady {
    fn now_us(&self) -> u64 {
        self.0.fetch_add(1, Ordering::Relaxed)
    }
}

impl Entropy for Steady {
    fn next_u64(&self) -> u64 {
        self.0.fetch_add(0x9e37_79b9_7f4a_7c15, Ordering::Relaxed)
    }
}

fn disk_of(mut input: &[u8]) -> SimDisk {
    let disk = SimDisk::new();
    while let [name, low, high, rest @ ..] = input {
        let len = usize::from(u16::from_le_bytes([*low, *high])).min(rest.len());
        let (bytes, rest) = rest.split_at(len);
        let name = NAMES[usize::from(*name) % NAMES.len()];
        let mut bytes = bytes.to_vec();
        if name.ends_with(".seg") || name.ends_with(".ckp") {
            bytes.resize(LEN, 0);
        }
        disk.write_file(name, &bytes);
        input = rest;
    }
    disk
}

fn open(disk: &SimDisk) -> Result<Log, OpenError> {
    let options = Options {
        segment_len: LEN as u64,
        background: Background::Inline,
        clock: Arc::new(Steady(AtomicU64::new(1))),
        entropy: Arc::new(Steady(AtomicU64::new(1))),
        ..Options::default()
    };
    Log::open(disk.root(), options).map(|(log, _)| log)
}

/// Everything that is read, or what is said instead.
fn read_all(log: &Log) -> String {
    let mut text = format!("{} to {}: ", log.first(), log.end());
    for direction in [Direction::Forward, Direction::Backward] {
        match log.scan(log.first()..log.end(), direction) {
            Err(error) => text.push_str(&format!("{error:?} ")),
            Ok(mut scan) => loop {
                match scan.next_records(3, 4_096) {
                    Ok(None) => break,
                    Ok(Some(records)) => {
                        for record in records.iter() {
                            let record = record.expect("its page is in memory");
                            text.push_str(&format!("{} {:?} ", record.id, record.body));
                        }
                    }
                    Err(error) => {
                        text.push_str(&format!("{error:?} "));
                        break;
                    }
                }
            },
        }
    }
    text.push_str(&format!("{:?}", log.checkpoint_names()));
    text
}

pub(crate) fn check(input: &[u8]) {
    let disk = disk_of(input);
    let twin = disk_of(input);
    // Neither may panic, whatever they find.
    let _report = verify(&disk.root(), &mut |_, _| {});
    for path in disk.paths() {
        let _described = describe_file(&disk.root(), &path, &mut Vec::new());
    }
    match (open(&disk), open(&twin)) {
        (Ok(log), Ok(again)) => {
            let text = read_all(&log);
            assert_eq!(text, read_all(&again), "the same twice");
            drop(log);
            let log = open(&disk).expect("what was opened once opens again");
            assert_eq!(text, read_all(&log), "the same after an open");
        }
        (Err(one), Err(other)) => assert_eq!(format!("{one:?}"), format!("{other:?}")),
        (one, other) => panic!("{one:?}, and then {other:?}"),
    }
}
