//! Nothing is readable before it is durable, and nothing that was read is later absent.

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Waker};
use std::time::Duration;

use strandlog_engine::storage::sim::{Fault, Left, Repeat, SimDisk};
use strandlog_engine::{Durability, Log, Options};

use super::support::{append, batch, bodies, id, open, small, threaded};

#[test]
fn what_a_reader_has_seen_is_there_after_a_power_cut_at_that_moment() {
    let disk = SimDisk::new();
    let (log, _) = Log::open(disk.root(), threaded(1)).unwrap();
    let is_over = AtomicBool::new(false);
    let cuts = AtomicU64::new(0);
    std::thread::scope(|scope| {
        let (log, disk, is_over, cuts) = (&log, &disk, &is_over, &cuts);
        scope.spawn(move || {
            let mut seen = 0;
            while !is_over.load(Ordering::Relaxed) {
                let end = log
                    .end_moved(id(seen + 1))
                    .wait_timeout(Duration::from_millis(50));
                if end.get() == seen + 1 {
                    continue;
                }
                seen = end.get() - 1;
                assert!(log.read(id(seen)).unwrap().is_some());
                let after = disk.after_crash(Left::Nothing);
                let (log, _) = open(&after, 2).unwrap();
                assert!(log.end() >= end, "{seen} was read and is gone");
                cuts.fetch_add(1, Ordering::Relaxed);
            }
        });
        // As long as it takes until the reader has had its turns.
        for number in 0..20_000_u32 {
            append(log, "s", &[&number.to_le_bytes(), &[0; 200]]).unwrap();
            if number >= 150 && cuts.load(Ordering::Relaxed) > 10 {
                break;
            }
        }
        is_over.store(true, Ordering::Relaxed);
    });
    assert!(cuts.into_inner() > 10);
}

/// Each call of an append fails, and a reader looks.
pub(crate) fn unsynced() -> Result<u64, String> {
    let calm = SimDisk::new();
    let (log, _) = open(&calm, 1).unwrap();
    append(&log, "s", &[b"one"]).unwrap();
    let before = calm.steps();
    append(&log, "s", &[b"two"]).unwrap();
    for step in before..calm.steps() {
        let disk = SimDisk::new();
        let (log, _) = open(&disk, 1).unwrap();
        append(&log, "s", &[b"one"]).unwrap();
        disk.fail_at(step, Fault::Eio, Repeat::Once);
        append(&log, "s", &[b"two"]).unwrap_err();
        if log.end() != id(2) || log.read(id(2)).unwrap().is_some() {
            return Err(format!("step {step}: readable, and not durable"));
        }
        assert_eq!(log.tag_end(b"s").unwrap().unwrap().count, 1);
        assert_eq!(bodies(&log), [b"one"]);
    }
    Ok(calm.steps() - before)
}

#[test]
fn a_record_whose_sync_failed_was_never_readable() {
    unsynced().unwrap_or_else(|error| panic!("{error}"));
}

#[test]
fn the_end_is_told_only_after_the_sync() {
    let disk = SimDisk::new();
    let (log, _) = open(&disk, 1).unwrap();
    let mut moved = pin!(log.end_moved(id(1)));
    let mut context = Context::from_waker(Waker::noop());
    assert!(moved.as_mut().poll(&mut context).is_pending());
    disk.fail_at(disk.steps() + 1, Fault::Eio, Repeat::Once);
    append(&log, "s", &[b"never acknowledged"]).unwrap_err();
    // The end will not move any more; that is what is told, not a new end.
    let std::task::Poll::Ready(end) = moved.as_mut().poll(&mut context) else {
        panic!("whoever waits is told that it is over");
    };
    assert_eq!(end, id(1));
}

#[test]
fn a_scan_does_not_see_what_was_appended_after_it_began() {
    let disk = SimDisk::new();
    let (log, _) = open(&disk, 1).unwrap();
    append(&log, "s", &[b"one"]).unwrap();
    let mut scan = log
        .scan(id(1)..id(99), strandlog_engine::Direction::Forward)
        .unwrap();
    append(&log, "s", &[b"two"]).unwrap();
    assert_eq!(scan.next_records(9, 9_999).unwrap().unwrap().len(), 1);
    assert!(scan.next_records(9, 9_999).unwrap().is_none());
}

#[test]
fn a_waiter_is_woken_when_the_end_moves() {
    let disk = SimDisk::new();
    let (log, _) = Log::open(disk.root(), threaded(1)).unwrap();
    let waiting = {
        let log = log.clone();
        std::thread::spawn(move || log.end_moved(id(1)).wait_timeout(Duration::from_secs(20)))
    };
    append(&log, "s", &[b"one"]).unwrap();
    assert_eq!(waiting.join().unwrap(), id(2));
    // And at once by whoever comes late.
    assert_eq!(
        log.end_moved(id(1)).wait_timeout(Duration::from_secs(20)),
        id(2)
    );
}

fn os(seed: u64) -> Options {
    Options {
        durability: Durability::Os,
        os_sync_interval_ms: 3_600_000,
        ..small(seed)
    }
}

#[test]
fn under_os_durability_receipts_tell_how_far_the_log_is_durable() {
    let disk = SimDisk::new();
    let (log, _) = Log::open(disk.root(), os(1)).unwrap();
    let first = append(&log, "s", &[b"one", b"two"]).unwrap();
    assert_eq!((first.last_id, first.durable_id), (id(2), 0));
    assert_eq!((log.end(), log.durable_end()), (id(3), id(1)));
    let mut sure = batch("s", &[b"three"]);
    sure.set_durability(Durability::Sync);
    let sure = log.append(sure).wait().unwrap();
    assert_eq!(sure.durable_id, 3, "it takes what came before along");
    append(&log, "s", &[b"four"]).unwrap();
    let (after, _) = open(&disk.after_crash(Left::Nothing), 2).unwrap();
    assert_eq!(bodies(&after).len(), 3);
    log.flush().unwrap();
    assert_eq!(log.durable_end(), id(5));
    let (after, _) = open(&disk.after_crash(Left::Nothing), 2).unwrap();
    assert_eq!(bodies(&after).len(), 4);
}

#[test]
fn under_os_durability_everything_survives_a_kill() {
    let disk = SimDisk::new();
    let (log, _) = Log::open(disk.root(), os(1)).unwrap();
    for number in 0..60_u8 {
        append(&log, "s", &[&[number; 500]]).unwrap();
    }
    let (after, _) = open(&disk.restart(), 2).unwrap();
    assert_eq!(bodies(&after).len(), 60);
}

/// Many batches are in flight when the power goes.
pub(crate) fn prefixes() -> Result<u64, String> {
    for seed in 0..200 {
        let disk = SimDisk::new();
        let (log, _) = Log::open(disk.root(), os(1)).unwrap();
        let mut durable = 0;
        for number in 0..40_u8 {
            let mut next = batch("s", &[&[number; 300]]);
            if u64::from(number) == seed % 37 {
                next.set_durability(Durability::Sync);
            }
            durable = log.append(next).wait().unwrap().durable_id;
        }
        let (after, _) = open(&disk.after_crash(Left::Random(seed)), 2)
            .map_err(|error| format!("seed {seed}: {error:?}"))?;
        let found = bodies(&after);
        if (found.len() as u64) < durable {
            return Err(format!("seed {seed}: {} of {durable}", found.len()));
        }
        let all = (0..40_u8).map(|number| vec![number; 300]);
        if !all.take(found.len()).eq(found) {
            return Err(format!("seed {seed}: no prefix"));
        }
    }
    Ok(200)
}

#[test]
fn under_os_durability_a_power_cut_leaves_a_prefix() {
    prefixes().unwrap_or_else(|error| panic!("{error}"));
}

/// A checkpoint of records that are not durable yet, and the power goes.
pub(crate) fn checkpoint_below_end() -> Result<u64, String> {
    let disk = SimDisk::new();
    let (log, _) = Log::open(disk.root(), os(1)).unwrap();
    append(&log, "s", &[b"one", b"two"]).unwrap();
    let checkpoint = strandlog_engine::Checkpoint {
        position: 2,
        ..Default::default()
    };
    log.create_checkpoint("c", checkpoint).wait().unwrap();
    let (after, _) = open(&disk.after_crash(Left::Nothing), 2)
        .map_err(|error| format!("the checkpoint is beyond the end: {error:?}"))?;
    assert_eq!(log.durable_end(), id(3));
    assert_eq!(after.checkpoint("c").unwrap().position, 2);
    Ok(1)
}

#[test]
fn under_os_durability_a_checkpoint_makes_the_log_durable_first() {
    checkpoint_below_end().unwrap_or_else(|error| panic!("{error}"));
}

#[test]
fn the_log_may_be_asked_for_less_than_it_gives() {
    let disk = SimDisk::new();
    let (log, _) = Log::open(disk.root(), small(1)).unwrap();
    let mut quick = batch("s", &[b"one"]);
    quick.set_durability(Durability::Os);
    let receipt = log.append(quick).wait().unwrap();
    assert_eq!(receipt.durable_id, 0, "answered before the sync");
    assert_eq!(log.durable_end(), id(2), "which happens all the same");
    let log: Arc<Log> = Arc::new(log);
    assert_eq!(bodies(&log), [b"one"]);
}
