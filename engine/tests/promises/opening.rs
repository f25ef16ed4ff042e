//! Opening takes time for the tail, not for the data.

use strandlog_engine::storage::sim::{Call, CallKind, SimDisk};
use strandlog_engine::{Log, Options};

use super::support::{append, bodies, id, open, small};

/// The calls of an open of a log with so many sealed segments, after a clean stop or a power cut.
fn calls_of_open(segments: u64, clean: bool) -> Vec<Call> {
    let disk = SimDisk::new();
    let (log, _) = open(&disk, 1).unwrap();
    while log.describe().segments <= segments {
        append(&log, "s", &[&[b'x'; 3_500], &[b'y'; 3_500]]).unwrap();
    }
    log.upkeep_now();
    // The same tail in all of them.
    append(&log, "s", &[b"tail"]).unwrap();
    let disk = if clean {
        log.close().unwrap();
        disk.restart()
    } else {
        disk.after_crash(strandlog_engine::storage::sim::Left::All)
    };
    let (log, report) = open(&disk, 2).unwrap();
    assert_eq!(report.segments_reindexed, 0);
    let calls = disk.calls();
    assert!(log.end() > id(segments));
    calls
}

fn bytes_moved(calls: &[Call]) -> u64 {
    let moves = calls.iter().filter(|call| {
        matches!(
            call.kind,
            CallKind::ReadAt | CallKind::WriteAt | CallKind::Frozen
        )
    });
    moves.map(|call| call.len).sum()
}

#[test]
fn opening_costs_the_same_with_ten_segments_and_with_a_hundred() {
    for clean in [true, false] {
        let few = calls_of_open(10, clean);
        let many = calls_of_open(100, clean);
        let text = |calls: &[Call]| {
            calls
                .iter()
                .map(ToString::to_string)
                .collect::<Vec<_>>()
                .join("\n")
        };
        assert_eq!(few.len(), many.len(), "{}\n\n{}", text(&few), text(&many));
        assert_eq!(bytes_moved(&few), bytes_moved(&many));
        assert!(bytes_moved(&many) < 3 * (16 << 10));
    }
}

#[test]
fn a_segment_is_opened_when_it_is_first_read() {
    let disk = SimDisk::new();
    let (log, _) = open(&disk, 1).unwrap();
    for _ in 0..30 {
        append(&log, "s", &[&[b'x'; 3_000]]).unwrap();
    }
    log.close().unwrap();
    let (log, _) = open(&disk, 2).unwrap();
    let before = disk.calls().len();
    log.read(id(3)).unwrap();
    log.read(id(4)).unwrap();
    let opened: Vec<_> = disk.calls()[before..]
        .iter()
        .filter(|call| call.kind == CallKind::Open)
        .map(|call| call.path.to_string())
        .collect();
    assert_eq!(
        opened,
        ["00000000000000000003.seg", "00000000000000000003.idx"]
    );
}

#[test]
fn maps_of_what_was_read_are_let_go_when_they_are_many() {
    let disk = SimDisk::new();
    let options = Options {
        segments_mapped_max: 10,
        ..small(1)
    };
    let (log, _) = Log::open(disk.root(), options).unwrap();
    while log.describe().segments <= 30 {
        append(&log, "s", &[&[b'x'; 3_500], &[b'y'; 3_500]]).unwrap();
    }
    let want = bodies(&log);
    // How many segments reading all of it opens.
    let opened = || {
        let before = disk.calls().len();
        assert_eq!(bodies(&log), want);
        let calls = disk.calls();
        let opens = calls
            .iter()
            .skip(before)
            .filter(|call| call.kind == CallKind::Open);
        opens.filter(|call| call.path.ends_with(".seg")).count()
    };
    for _ in 0..3 {
        log.upkeep_now();
        // All but the newest five have gone, and stay once they are back.
        assert_eq!(opened(), 25);
        assert_eq!(opened(), 0);
    }
}
