//! A power cut or a failing disk at any step costs a rebuild at most, never an answer.

use std::sync::Arc;

use super::questions::tag;
use super::settings::setting;
use super::twin::{Log, Twin, check_view};
use crate::storage::sim::{Fault, Left, Repeat, SimDisk};
use crate::tags::{TagError, TagIndex};

/// Six segments, flushed and merged as they come, then one expired and one more; errors of the
/// upkeep are left as they are. `None` if the index could not be opened.
fn script(disk: &SimDisk) -> Option<Twin> {
    let mut twin = Twin::open(disk.root()).ok()?;
    for segment in 0..7_u8 {
        for event in 0..12_u8 {
            // Each segment has tags of its own and some of its neighbours'.
            twin.append_unasked(&[tag(segment * 3 + event), tag(event % 3), tag(200)]);
        }
        twin.roll();
        let _ = twin.index.flush_oldest();
        if segment == 5 {
            twin.log.segments.remove(0);
            let _ = twin.index.expire(twin.log.first());
        }
        let _ = twin.index.merge_once(twin.log.first());
    }
    Some(twin)
}

/// The steps that this run looks at.
fn some(steps: u64) -> impl Iterator<Item = u64> {
    let every = setting("STRANDLOG_TEST_TAG_STEPS_EVERY");
    (0..steps).step_by(usize::try_from(every).unwrap())
}

/// A new process finds the right answers on `disk`, and nothing that is wrong.
#[track_caller]
fn check(disk: &SimDisk, log: &Log, what: &str) {
    let index = TagIndex::open(disk.root(), &log.sealed(), log.active_first()).unwrap();
    let index = Arc::new(index);
    match check_view(log, &index, 0, log.active_first()) {
        Ok(()) | Err(TagError::Missing { .. }) => {}
        Err(error) => panic!("{what}: {error}"),
    }
    let temporary = |path: &String| path.ends_with(".tmp");
    assert!(
        !disk.paths().iter().any(temporary),
        "{what}: {:?}",
        disk.paths()
    );
    for span in index.missing() {
        assert!(index.provide(span, log.memory(span.first..span.end)));
    }
    while index.flush_oldest().unwrap() {}
    while index.merge_once(log.first()).unwrap() {}
    check_view(log, &index, 0, log.active_first()).unwrap();
}

#[test]
fn a_power_cut_at_any_step_leaves_right_answers() {
    let peace = SimDisk::new();
    let log = script(&peace).unwrap().log;
    check(&peace, &log, "in peace");
    assert!(peace.steps() > 60, "{}", peace.steps());
    for step in some(peace.steps()) {
        let lefts = [
            Left::Nothing,
            Left::All,
            Left::FirstHalf,
            Left::EveryOther,
            Left::Random(step),
            Left::Random(step + 1000),
        ];
        let disk = SimDisk::new();
        disk.crash_at(step);
        script(&disk);
        for left in lefts {
            let what = format!(
                "{:?}, {left:?}",
                peace.calls()[usize::try_from(step).unwrap()]
            );
            check(&disk.after_crash(left), &log, &what);
        }
    }
}

#[test]
fn a_second_power_cut_while_opening_leaves_right_answers() {
    let log = script(&SimDisk::new()).unwrap().log;
    let peace = SimDisk::new();
    script(&peace).unwrap();
    for step in some(peace.steps()) {
        let disk = SimDisk::new();
        disk.crash_at(step);
        script(&disk);
        for again in 0..8 {
            let disk = disk.after_crash(Left::Random(step));
            disk.crash_at(again);
            let _ = TagIndex::open(disk.root(), &log.sealed(), log.active_first());
            let what = format!("cut at {step} and again at {again}");
            check(&disk.after_crash(Left::Random(again)), &log, &what);
        }
    }
}

#[test]
fn a_disk_that_loses_what_it_synced_is_noticed() {
    let mut noticed = 0;
    for seed in 0..40 {
        let disk = SimDisk::new();
        disk.syncs_lie(true);
        let log = script(&disk).unwrap().log;
        let disk = disk.after_crash(Left::Random(seed));
        let index = TagIndex::open(disk.root(), &log.sealed(), log.active_first()).unwrap();
        if let Err(TagError::Damaged(damage)) = check_view(&log, &index, 0, log.active_first()) {
            noticed += 1;
            index.distrust(&damage.file).unwrap();
            assert!(!index.missing().is_empty());
        }
    }
    assert!(noticed > 10, "{noticed}");
}

#[test]
fn a_failing_call_at_any_step_costs_no_answer() {
    let peace = SimDisk::new();
    script(&peace).unwrap();
    for step in some(peace.steps()) {
        // All of them at every step would take a minute; each call is made many times.
        let faults = [
            [(Fault::Eio, Repeat::Once), (Fault::Short, Repeat::Once)],
            [
                (Fault::Eio, Repeat::FromThenOn),
                (Fault::Zero, Repeat::Once),
            ],
            [
                (Fault::Enospc, Repeat::FromThenOn),
                (Fault::Eintr, Repeat::Once),
            ],
        ];
        for (fault, repeat) in faults[usize::try_from(step % 3).unwrap()] {
            let disk = SimDisk::new();
            disk.fail_at(step, fault, repeat);
            let Some(twin) = script(&disk) else { continue };
            let what = format!("{fault:?} {repeat:?} at step {step}");
            match check_view(&twin.log, &twin.index, 0, twin.log.next_id) {
                Ok(()) | Err(TagError::Io(_)) => {}
                Err(error) => panic!("{what}: {error}"),
            }
            disk.heal();
            twin.check_all();
            check(&disk.after_crash(Left::Random(step)), &twin.log, &what);
            check(&disk.restart(), &twin.log, &what);
            // And the same process goes on, once the disk does.
            while twin.index.flush_oldest().unwrap() {}
            while twin.index.merge_once(twin.log.first()).unwrap() {}
            twin.check_all();
            check(&disk.after_crash(Left::Random(step)), &twin.log, &what);
        }
    }
}
