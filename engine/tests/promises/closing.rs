//! Closing: what was taken is finished, nothing more is, and reads go on.

use strandlog_engine::storage::sim::{Left, SimDisk};
use strandlog_engine::{AppendError, Checkpoint, CheckpointError, Health, Log, Options};

use super::support::{append, batch, bodies, contents, files, id, open, small, threaded};

#[test]
fn a_closed_log_takes_nothing_and_is_still_read() {
    let disk = SimDisk::new();
    let (log, _) = open(&disk, 1).unwrap();
    append(&log, "s", &[b"one"]).unwrap();
    log.close().unwrap();
    log.close().unwrap();
    assert_eq!(log.health(), Health::Closed);
    let refused = append(&log, "s", &[b"two"]);
    assert!(matches!(refused, Err(AppendError::Failed(_))));
    assert!(log.flush().is_err());
    let refused = log.create_checkpoint("c", Checkpoint::default()).wait();
    assert!(matches!(refused, Err(CheckpointError::Failed(_))));
    assert_eq!(bodies(&log), [b"one"]);
    assert_eq!(log.tag_end(b"s").unwrap().unwrap().count, 1);
}

#[test]
fn closing_finishes_what_waits() {
    let disk = SimDisk::new();
    let (log, _) = Log::open(disk.root(), threaded(1)).unwrap();
    let waiting: Vec<_> = (0..50_u8)
        .map(|number| log.append(batch("s", &[&[number]])))
        .collect();
    log.close().unwrap();
    for (number, appending) in waiting.into_iter().enumerate() {
        let receipt = appending.wait().unwrap();
        assert_eq!(receipt.first_id, id(number as u64 + 1));
    }
    let (log, report) = open(&disk.after_crash(Left::Nothing), 2).unwrap();
    assert!(report.clean);
    assert_eq!(bodies(&log).len(), 50);
}

#[test]
fn dropping_the_last_handle_closes_the_log() {
    let disk = SimDisk::new();
    let (log, _) = Log::open(disk.root(), threaded(1)).unwrap();
    // Nobody waits for it, and it is stored all the same.
    drop(log.append(batch("s", &[b"one"])));
    let clone = log.clone();
    drop(log);
    append(&clone, "s", &[b"two"]).unwrap();
    drop(clone);
    let (log, report) = open(&disk.after_crash(Left::Nothing), 2).unwrap();
    assert!(report.clean);
    assert_eq!(bodies(&log), [b"one", b"two"]);
}

#[test]
fn opening_and_closing_again_and_again_writes_nothing() {
    let disk = SimDisk::new();
    let (log, _) = open(&disk, 1).unwrap();
    append(&log, "s", &[b"one"]).unwrap();
    log.create_checkpoint("c", Checkpoint::default())
        .wait()
        .unwrap();
    log.close().unwrap();
    open(&disk, 2).unwrap().0.close().unwrap();
    let before = contents(&disk);
    for seed in 3..300 {
        let (log, report) = open(&disk, seed).unwrap();
        assert!(report.clean);
        log.close().unwrap();
    }
    assert_eq!(contents(&disk), before);
}

#[test]
fn a_new_log_that_was_never_written_opens_again() {
    let disk = SimDisk::new();
    for seed in 0..5 {
        let (log, report) = open(&disk, seed).unwrap();
        assert_eq!((log.first(), log.end()), (id(1), id(1)));
        assert_eq!((report.dropped_len, report.tail_records), (0, 0));
        assert!(bodies(&log).is_empty());
    }
    let disk = disk.after_crash(Left::Nothing);
    append(&open(&disk, 9).unwrap().0, "s", &[b"one"]).unwrap();
}

#[test]
fn the_length_of_segments_may_be_changed_between_opens() {
    use strandlog_engine::Retention;
    let with = |segment_len: u64, seed| Options {
        segment_len,
        ..small(seed)
    };
    let disk = SimDisk::new();
    let mut want: Vec<Vec<u8>> = Vec::new();
    // An empty tail of 16 KiB, and the first batch does not fit into it.
    for (seed, len, body) in [
        (1, 16 << 10, 0),
        (2, 64 << 10, 30_000),
        (3, 16 << 10, 100),
        (4, 16 << 10, 7_000),
        (5, 256 << 10, 60_000),
    ] {
        let (log, _) = Log::open(disk.root(), with(len, seed)).unwrap();
        if body > 0 {
            let body = vec![u8::try_from(seed).unwrap(); body];
            append(&log, "s", &[&body]).unwrap();
            want.push(body);
        }
        log.upkeep_now();
        assert_eq!(bodies(&log), want);
    }
    let disk = disk.after_crash(Left::Nothing);
    let (log, _) = open(&disk, 9).unwrap();
    assert_eq!(bodies(&log), want);
    log.close().unwrap();

    let disk = SimDisk::new();
    Log::open(disk.root(), with(16 << 10, 1)).unwrap();
    let (log, _) = Log::open(disk.root(), with(64 << 10, 2)).unwrap();
    append(&log, "s", &[&vec![b'x'; 30_000]]).unwrap();
    // Retention must not take the file of the tail, which has the name of the empty one before it.
    log.set_retention(Retention {
        bytes_max: Some(0),
        ..Retention::default()
    });
    log.expire_now().unwrap();
    append(&log, "s", &[b"two"]).unwrap();
    assert_eq!(log.describe().segments, 1);
    let (log, _) = open(&disk.after_crash(Left::Nothing), 3).unwrap();
    assert_eq!(bodies(&log).len(), 2);
}

#[test]
fn a_closed_log_does_no_upkeep() {
    let disk = SimDisk::new();
    let (log, _) = open(&disk, 1).unwrap();
    for number in 0..4_u8 {
        append(&log, "s", &[&[number; 7_000]]).unwrap();
    }
    log.close().unwrap();
    for file in files(&disk, ".idx") {
        disk.remove_file(&file);
    }
    let before = contents(&disk);
    log.upkeep_now();
    assert!(log.expire_now().is_err());
    assert_eq!(contents(&disk), before);
}
