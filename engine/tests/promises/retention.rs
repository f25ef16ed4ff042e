//! Retention lets whole segments go, the oldest first, never the tail; whoever reads below is told.

use std::sync::Arc;

use strandlog_engine::storage::sim::{Fault, Repeat, SimDisk};
use strandlog_engine::{Direction, Log, Options, ReadError, Retention};

use super::support::{
    Act, HandClock, Story, append, bodies, event, files, id, left, open, play, reopen, small,
};

/// A log of 90 records in some ten segments.
fn long(disk: &SimDisk) -> Log {
    let (log, _) = open(disk, 1).unwrap();
    for number in 0..90_u8 {
        append(&log, "s", &[&[number; 800]]).unwrap();
    }
    assert!(log.describe().segments > 8);
    log
}

#[test]
fn by_count_as_many_records_stay_as_asked_for_and_not_a_segment_more() {
    for records_max in [1, 10, 35, 36, 37, 89, 90, 91, 500] {
        let disk = SimDisk::new();
        let log = long(&disk);
        let per_segment = log.describe().segments;
        log.set_retention(Retention {
            records_max: Some(records_max),
            ..Retention::default()
        });
        log.expire_now().unwrap();
        let kept = log.end().get() - log.first().get();
        // The tail is never touched, however few are asked for.
        assert!(kept >= records_max.min(90).min(kept));
        assert!(
            kept < records_max + 90 / (per_segment - 1) + 1 || kept == 90,
            "{kept} for {records_max}"
        );
        assert!(kept >= records_max.min(90) || log.describe().segments == 1);
        assert_eq!(bodies(&log).len() as u64, kept);
    }
}

#[test]
fn by_bytes_the_files_take_no_more_than_asked_for() {
    let disk = SimDisk::new();
    let log = long(&disk);
    for bytes_max in [100 << 10, 64 << 10, 40 << 10, 0] {
        log.set_retention(Retention {
            bytes_max: Some(bytes_max),
            ..Retention::default()
        });
        log.expire_now().unwrap();
        let description = log.describe();
        assert!(description.bytes <= bytes_max.max(16 << 10));
        assert!(description.segments >= 1);
        let on_disk: usize = files(&disk, ".seg")
            .iter()
            .map(|name| disk.read_file(name).len())
            .sum();
        assert_eq!(on_disk as u64, description.bytes);
        bodies(&log);
    }
    append(&log, "s", &[b"the tail is still there"]).unwrap();
}

#[test]
fn by_age_a_segment_goes_once_its_newest_record_is_too_old() {
    const DAY_US: u64 = 86_400_000_000;
    let clock = HandClock::at(DAY_US);
    let disk = SimDisk::new();
    let options = Options {
        clock: Arc::clone(&clock) as _,
        ..small(1)
    };
    let (log, _) = Log::open(disk.root(), options).unwrap();
    for day in 1..=40 {
        clock.set(day * DAY_US);
        append(&log, "s", &[&[0; 2_000]]).unwrap();
    }
    log.set_retention(Retention {
        age_max_s: Some(20 * 86_400),
        ..Retention::default()
    });
    for now in [40, 45, 50, 59] {
        clock.set(now * DAY_US);
        log.expire_now().unwrap();
        // The record with id N was taken on day N.
        let oldest = log.first().get();
        assert!(oldest + 20 > now - 6, "nothing much older stays: {oldest}");
        assert!(oldest <= now - 20, "nothing younger goes: {oldest}");
    }
    clock.set(500 * DAY_US);
    log.expire_now().unwrap();
    assert_eq!(log.describe().segments, 1, "the tail stays, however old");
    assert!(!bodies(&log).is_empty());
}

#[test]
fn a_read_below_the_first_id_is_told_where_to_go_on() {
    let disk = SimDisk::new();
    let log = long(&disk);
    let mut overtaken = log.scan(id(1)..id(90), Direction::Forward).unwrap();
    overtaken.next_records(3, 99_999).unwrap();
    let held = log.read(id(1)).unwrap().unwrap();
    log.set_retention(Retention {
        records_max: Some(30),
        ..Retention::default()
    });
    log.expire_now().unwrap();
    let first = log.first();
    assert!(first > id(30));
    let expired = |error: Result<(), ReadError>| {
        assert!(
            matches!(error, Err(ReadError::Expired { first_id }) if first_id == first),
            "{error:?}"
        );
    };
    expired(log.read(id(1)).map(drop));
    expired(log.read(id(first.get() - 1)).map(drop));
    expired(log.scan(id(1)..id(90), Direction::Forward).map(drop));
    expired(log.scan(id(1)..id(90), Direction::Backward).map(drop));
    expired(log.raw(id(1)..id(90)).map(drop));
    expired(overtaken.next_records(3, 99_999).map(drop));
    assert!(log.read(first).unwrap().is_some());
    // What a reader holds stays readable, removed or not.
    assert_eq!(held.get(0).unwrap().unwrap().body, [0; 800]);
}

#[test]
fn ids_go_on_after_everything_old_has_expired() {
    let disk = SimDisk::new();
    let log = long(&disk);
    log.set_retention(Retention {
        records_max: Some(1),
        ..Retention::default()
    });
    log.expire_now().unwrap();
    log.close().unwrap();
    let (log, _) = open(&disk, 2).unwrap();
    let receipt = append(&log, "s", &[b"next"]).unwrap();
    assert_eq!(receipt.first_id, id(91));
    assert_eq!(receipt.first_tag_ranks, [90], "ranks count what has gone");
    assert_eq!(log.tag_end(b"s").unwrap().unwrap().count, 91);
}

/// Ninety records, then several rounds of retention with appends in between.
fn script() -> Vec<Act> {
    let mut acts: Vec<Act> = (0..40)
        .map(|number| Act::Append(vec![event(number, 700), event(number + 1_000, 300)]))
        .collect();
    acts.push(Act::Upkeep);
    for keep in [60, 40, 20] {
        acts.push(Act::Keep(keep));
        acts.push(Act::Append(vec![event(5_000 + keep, 900)]));
    }
    acts
}

#[test]
fn a_power_cut_during_retention_leaves_no_gap() {
    let acts = script();
    let calm = SimDisk::new();
    play(&calm, 1, &mut Story::default(), &acts);
    let calls = calm.calls();
    let first = calls
        .iter()
        .position(|call| {
            call.kind == strandlog_engine::storage::sim::CallKind::Rename
                && call.path.ends_with(".seg.tmp")
        })
        .unwrap();
    for step in first..calls.len() {
        let disk = SimDisk::with_seed(step as u64);
        disk.crash_at(step as u64);
        let mut story = Story::default();
        play(&disk, 1, &mut story, &acts);
        for kind in [0, 1, 2, 3, 4, 5, 6] {
            let after = disk.after_crash(left(kind, step as u64));
            reopen(&after, 2, &mut story.clone())
                .unwrap_or_else(|error| panic!("step {step}, kind {kind}: {error}"));
        }
    }
}

#[test]
fn a_removal_that_fails_leaves_no_gap_and_is_tried_again() {
    let acts = script();
    let calm = SimDisk::new();
    play(&calm, 1, &mut Story::default(), &acts);
    let removals = calm.calls().into_iter().enumerate().filter(|(_, call)| {
        use strandlog_engine::storage::sim::CallKind;
        let is_segment = call.path.ends_with(".seg.tmp") || call.path.ends_with(".idx");
        matches!(call.kind, CallKind::Remove | CallKind::Rename) && is_segment
            || call.kind == CallKind::SyncNames
    });
    for (step, call) in removals {
        let disk = SimDisk::with_seed(step as u64);
        disk.fail_at(step as u64, Fault::Eio, Repeat::Once);
        let Ok((log, _)) = open(&disk, 1) else {
            continue;
        };
        let mut story = Story::default();
        for act in &acts {
            let _may_fail = story.act(&log, act);
        }
        for kind in [0, 1, 4, 5, 6] {
            let after = disk.after_crash(left(kind, step as u64));
            reopen(&after, 2, &mut story.clone())
                .unwrap_or_else(|error| panic!("step {step} ({call}), kind {kind}: {error}"));
        }
        if log.health() == strandlog_engine::Health::Writable {
            log.expire_now().unwrap();
            let on_disk = files(&disk, ".seg").len() as u64;
            assert_eq!(on_disk, log.describe().segments, "step {step} ({call})");
        }
    }
}

#[test]
fn by_age_a_segment_with_an_unreadable_header_holds_up_none_before_it() {
    const DAY_US: u64 = 86_400_000_000;
    let clock = HandClock::at(DAY_US);
    let disk = SimDisk::new();
    let (log, _) = Log::open(
        disk.root(),
        Options {
            clock: Arc::clone(&clock) as _,
            ..small(1)
        },
    )
    .unwrap();
    for day in 1..=20 {
        clock.set(day * DAY_US);
        append(&log, "s", &[&[0; 2_000]]).unwrap();
    }
    log.close().unwrap();
    let segments = files(&disk, ".seg");
    assert!(segments.len() > 3);
    disk.flip_bit(&segments[1], 20, 3);
    clock.set(400 * DAY_US);
    let (log, _) = Log::open(
        disk.root(),
        Options {
            clock: clock as _,
            ..small(2)
        },
    )
    .unwrap();
    log.set_retention(Retention {
        age_max_s: Some(100 * 86_400),
        ..Retention::default()
    });
    log.expire_now().unwrap();
    assert_eq!(log.describe().segments, 1);
    bodies(&log);
}

#[test]
fn by_count_what_a_power_cut_may_take_back_does_not_count() {
    let disk = SimDisk::new();
    let options = |seed| Options {
        durability: strandlog_engine::Durability::Os,
        os_sync_interval_ms: 3_600_000,
        ..small(seed)
    };
    let (log, _) = Log::open(disk.root(), options(1)).unwrap();
    for number in 0..30_u8 {
        append(&log, "s", &[&[number; 800]]).unwrap();
    }
    assert!(log.durable_end() < log.end());
    log.set_retention(Retention {
        records_max: Some(5),
        ..Retention::default()
    });
    log.expire_now().unwrap();
    let (log, _) = Log::open(disk.after_crash(left(0, 0)).root(), options(2)).unwrap();
    assert!(bodies(&log).len() >= 5, "{}", bodies(&log).len());
}
