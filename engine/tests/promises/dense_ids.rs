//! Ids are dense, ascending and never reused; times never fall.

use std::sync::Arc;

use strandlog_engine::storage::sim::{Left, SimDisk};
use strandlog_engine::{AppendError, Batch, Direction, Log, Options, Tag};

use super::support::{HandClock, append, bodies, id, open, records, small, threaded};

#[test]
fn the_first_id_is_one_and_each_next_one_is_one_more() {
    let disk = SimDisk::new();
    let (log, _) = open(&disk, 1).unwrap();
    assert_eq!((log.first(), log.end()), (id(1), id(1)));
    let mut next = 1;
    for count in [1_u64, 3, 1, 7, 2] {
        let bodies = vec![&b"body"[..]; usize::try_from(count).unwrap()];
        let receipt = append(&log, "s", &bodies).unwrap();
        assert_eq!(receipt.first_id.get(), next);
        assert_eq!(receipt.last_id.get(), next + count - 1);
        next += count;
    }
    assert_eq!(log.end().get(), next);
}

#[test]
fn a_refused_append_leaves_no_gap() {
    let disk = SimDisk::new();
    let (log, _) = open(&disk, 1).unwrap();
    append(&log, "s", &[b"one"]).unwrap();
    let empty = log.append(Batch::new()).wait();
    assert!(matches!(empty, Err(AppendError::Empty)));
    let large = append(&log, "s", &[&vec![0; 20_000]]);
    assert!(matches!(large, Err(AppendError::TooLarge { .. })));
    let mut late = Batch::new();
    late.push(&[Tag::expecting(b"s", 0)], &[b"late"]).unwrap();
    let late = log.append(late).wait();
    assert!(matches!(late, Err(AppendError::Ranks(_))));
    let receipt = append(&log, "s", &[b"two"]).unwrap();
    assert_eq!(receipt.first_id, id(2));
    assert_eq!(receipt.first_tag_ranks, [1]);
    assert_eq!(bodies(&log), [b"one", b"two"]);
}

#[test]
fn ids_of_many_threads_are_dense_and_in_the_order_of_each_thread() {
    const THREADS: u64 = 4;
    const EACH: u64 = 50;
    let disk = SimDisk::new();
    let (log, _) = Log::open(disk.root(), threaded(1)).unwrap();
    std::thread::scope(|scope| {
        for thread in 0..THREADS {
            let log = &log;
            scope.spawn(move || {
                let mut last = 0;
                for number in 0..EACH {
                    let body = format!("{thread}/{number:04}");
                    let receipt = append(log, &thread.to_string(), &[body.as_bytes()]).unwrap();
                    assert!(receipt.first_id.get() > last);
                    assert_eq!(receipt.first_tag_ranks, [number]);
                    last = receipt.last_id.get();
                }
            });
        }
    });
    log.close().unwrap();
    let (log, _) = open(&disk, 2).unwrap();
    assert_eq!(log.end().get(), THREADS * EACH + 1);
    let mut bodies = bodies(&log);
    bodies.sort();
    let want = (0..THREADS).flat_map(|thread| {
        (0..EACH).map(move |number| format!("{thread}/{number:04}").into_bytes())
    });
    assert!(want.eq(bodies));
}

#[test]
fn times_never_fall_even_if_the_clock_does() {
    let disk = SimDisk::new();
    let mut last = 0;
    for open in 0..6 {
        // Each open comes an hour earlier than the one before.
        let clock = HandClock::at((10 - open) * 3_600_000_000);
        let options = Options {
            clock: Arc::clone(&clock) as _,
            ..small(open)
        };
        let (log, _) = Log::open(disk.root(), options).unwrap();
        // One of the opens finds an empty tail behind a full segment.
        for _ in 0..3 {
            append(&log, "s", &[&vec![b'x'; 3_000]]).unwrap();
            clock.set(1);
        }
        log.close().unwrap();
    }
    let (log, _) = open(&disk, 9).unwrap();
    assert!(log.describe().segments > 4);
    for record in records(&log, Direction::Forward).unwrap() {
        assert!(record.recorded_at_us >= last, "at {}", record.id);
        last = record.recorded_at_us;
    }
}

#[test]
fn times_do_not_fall_behind_an_empty_tail() {
    let calm = SimDisk::new();
    let fill = |disk: &SimDisk| {
        let options = Options {
            clock: HandClock::at(5_000_000_000),
            ..small(1)
        };
        let Ok((log, _)) = Log::open(disk.root(), options) else {
            return;
        };
        for _ in 0..4 {
            let _outcome = append(&log, "s", &[&vec![b'x'; 3_000]]);
        }
    };
    fill(&calm);
    for step in 0..calm.steps() {
        let disk = SimDisk::new();
        disk.crash_at(step);
        fill(&disk);
        let after = disk.after_crash(Left::All);
        let (log, _) = open(&after, 2).unwrap();
        append(&log, "s", &[b"later, by an earlier clock"]).unwrap();
        let times = records(&log, Direction::Forward).unwrap();
        assert!(
            times.is_sorted_by_key(|record| record.recorded_at_us),
            "step {step}"
        );
    }
}
