//! The bytes of version 1 stay what they are: a small log is written again byte for byte, and the
//! kept one is opened.

use std::path::PathBuf;

use strandlog_engine::OpenError;
use strandlog_engine::storage::sim::SimDisk;

use super::picture::small_log;
use super::support::{bodies, contents, id, open, small};

fn fixtures() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/v1")
}

/// Zeros at the end of a file are left out of the kept files; their number stands in `lengths`.
fn trimmed(bytes: &[u8]) -> &[u8] {
    let end = bytes.iter().rposition(|byte| *byte != 0);
    &bytes[..end.map_or(0, |last| last + 1)]
}

/// The kept log, on a disk.
fn kept() -> SimDisk {
    let disk = SimDisk::new();
    let lengths = std::fs::read_to_string(fixtures().join("lengths")).unwrap();
    for line in lengths.lines() {
        let (name, len) = line.split_once(' ').unwrap();
        let mut bytes = std::fs::read(fixtures().join(name)).unwrap();
        bytes.resize(len.parse().unwrap(), 0);
        disk.write_file(name, &bytes);
    }
    disk
}

#[test]
fn the_kept_log_is_written_again_byte_for_byte() {
    let made = contents(&small_log());
    if std::env::var_os("STRANDLOG_TEST_WRITE").is_some() {
        let mut lengths = String::new();
        for (name, bytes) in &made {
            std::fs::write(fixtures().join(name), trimmed(bytes)).unwrap();
            lengths.push_str(&format!("{name} {}\n", bytes.len()));
        }
        std::fs::write(fixtures().join("lengths"), lengths).unwrap();
    }
    let kept = contents(&kept());
    assert!(made.keys().eq(kept.keys()), "{:?}", made.keys());
    for (name, bytes) in &made {
        let differs = bytes.iter().zip(&kept[name]).position(|(a, b)| a != b);
        assert_eq!(differs, None, "{name}");
        assert_eq!(bytes.len(), kept[name].len(), "{name}");
    }
}

#[test]
fn the_kept_log_opens() {
    let disk = kept();
    let (log, report) = open(&disk, 9).unwrap();
    assert!(report.clean);
    let bodies = bodies(&log);
    assert_eq!(bodies[..3], [&b"hello"[..], b"", b"world"]);
    assert_eq!(bodies[3], [b'x'; 7_900]);
    assert_eq!(bodies[4], b"the last");
    let end = log.tag_end(b"stream a").unwrap().unwrap();
    assert_eq!((end.count, end.last_id), (3, 4));
    assert_eq!(log.id_at_rank(b"stream b", 1).unwrap(), Some(id(5)));
    let checkpoint = log.checkpoint("consumer").unwrap();
    assert_eq!(checkpoint.position, 4);
    assert_eq!(checkpoint.definition, b"of consumer"[..]);
}

/// Each line of `patches` damages the kept log: file, offset, bytes in hex, and what comes of it:
/// `refused FILE`, or how many records are left and how many of them can be read.
#[test]
fn the_kept_damaged_logs_are_judged_as_ever() {
    let patches = std::fs::read_to_string(fixtures().join("patches")).unwrap();
    let mut count = 0;
    for line in patches.lines().filter(|line| !line.starts_with('#')) {
        let [file, offset, bytes, want @ ..] = &line.split(' ').collect::<Vec<_>>()[..] else {
            panic!("{line}");
        };
        let disk = kept();
        let offset: u64 = offset.parse().unwrap();
        for at in (0..bytes.len()).step_by(2) {
            let byte = u8::from_str_radix(&bytes[at..at + 2], 16).unwrap();
            disk.corrupt(file, offset + at as u64 / 2, |_| byte);
        }
        let found = match open(&disk, 9) {
            Err(OpenError::Damaged(damage)) => format!("refused {}", damage.file),
            Err(OpenError::NewerFormat { file, .. }) => format!("newer {file}"),
            Err(error) => panic!("{line}: {error:?}"),
            Ok((log, _)) => {
                let last = log.end().get() - 1;
                let readable = (1..=last).filter(|it| log.read(id(*it)).is_ok());
                format!("{last} {}", readable.count())
            }
        };
        assert_eq!(found, want.join(" "), "{line}");
        count += 1;
    }
    assert!(count > 5);
}

/// The record of losses of the kept log, with one record of its sealed segment damaged: written again
/// byte for byte, and read.
#[test]
fn the_kept_record_of_losses_is_written_again_and_read() {
    let damaged = || {
        let disk = kept();
        disk.corrupt("00000000000000000001.seg", 4_160, |byte| !byte);
        disk
    };
    let name = "00000000000000000001.lost";
    let path = fixtures().join("lost").join(name);
    let disk = damaged();
    strandlog_engine::repair(disk.root(), &small(9), &mut |_| true, &mut |_, _| {}).unwrap();
    let made = disk.read_file(name);
    if std::env::var_os("STRANDLOG_TEST_WRITE").is_some() {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, &made).unwrap();
    }
    let kept = std::fs::read(&path).unwrap();
    assert_eq!(made, kept);
    assert_eq!(kept[..12], *b"STRANDLO\x01\0\0\0");

    let disk = damaged();
    disk.write_file(name, &kept);
    let (log, report) = open(&disk, 9).unwrap();
    assert_eq!(report.lost_records, 1);
    assert_eq!(log.losses(), [id(1)..=id(1)]);
    assert_eq!(
        log.read(id(2))
            .unwrap()
            .unwrap()
            .get(0)
            .unwrap()
            .unwrap()
            .body,
        b""
    );
    log.close().unwrap();
    let mut text = Vec::new();
    strandlog_engine::describe_file(&disk.root(), name, &mut text).unwrap();
    let text = String::from_utf8(text).unwrap();
    assert_eq!(
        text,
        "record of losses: of events 1 to 3, sealed\n  lost: events 1 to 1\n"
    );
    let report = strandlog_engine::verify(&disk.root(), &mut |_, _| {}).unwrap();
    assert_eq!(report.damage, []);
    assert_eq!(report.losses.len(), 1);
}
