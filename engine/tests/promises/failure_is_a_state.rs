//! The first failed write or sync is a state: a clear error, nothing acknowledged afterwards, reads
//! go on, and an open finds everything that was acknowledged. A failed sync is never retried.

use strandlog_engine::storage::sim::{CallKind, Fault, Repeat, SimDisk};
use strandlog_engine::{AppendError, Health, OpenError};

use super::figures::Figure;
use super::support::{append, bodies, left, open, setting};
use super::trouble::SOUND;

/// Every call of the scripts fails, in every way.
pub(crate) fn failures() -> Result<u64, String> {
    // An odd step takes another fault at each call, and every one both once and for good.
    let every = usize::try_from(setting("STRANDLOG_TEST_FAULTS_EVERY")).unwrap();
    let scripts = 1..=setting("STRANDLOG_TEST_FAULT_SCRIPTS");
    let cases = scripts.flat_map(|script| SOUND.failures(script));
    SOUND.sweep(cases.step_by(every))
}

#[test]
fn every_call_may_fail_once_or_for_good() {
    let figure = Figure::of("F1", "failures of calls", [150, 20_000, 30_000]);
    figure.reached(failures().unwrap_or_else(|error| panic!("{error}")));
}

/// A log with one record, the next sync of which fails.
fn about_to_fail(disk: &SimDisk) -> strandlog_engine::Log {
    let (log, _) = open(disk, 1).unwrap();
    append(&log, "s", &[b"one"]).unwrap();
    // A write, and then its sync.
    disk.fail_at(disk.steps() + 1, Fault::Eio, Repeat::Once);
    log
}

#[test]
fn a_failed_sync_is_told_and_never_tried_again() {
    let disk = SimDisk::new();
    let log = about_to_fail(&disk);
    let outcome = append(&log, "s", &[b"two"]);
    assert!(
        matches!(outcome, Err(AppendError::Unknown(_))),
        "{outcome:?}"
    );
    let steps = disk.calls().len();
    assert_eq!(disk.calls()[steps - 1].kind, CallKind::Sync);
    assert!(matches!(log.health(), Health::Failed(_)));
    for _ in 0..3 {
        let refused = append(&log, "s", &[b"three"]);
        assert!(matches!(refused, Err(AppendError::Failed(_))));
        assert!(log.flush().is_err());
    }
    assert_eq!(bodies(&log), [b"one"]);
    log.close().unwrap_err();
    let later = &disk.calls()[steps..];
    assert!(
        later
            .iter()
            .all(|call| !matches!(call.kind, CallKind::Sync | CallKind::WriteAt)),
        "{later:?}"
    );
}

#[test]
fn after_a_failed_sync_and_a_restart_nothing_acknowledged_is_lost_by_a_power_cut() {
    for seed in 0..40 {
        let disk = SimDisk::with_seed(seed);
        let log = about_to_fail(&disk);
        append(&log, "s", &[&[b'2'; 1_000]]).unwrap_err();
        drop(log);
        // The page cache shows the second record as if it were on the disk.
        let next = disk.restart();
        let (log, report) = open(&next, 2).unwrap();
        let found = bodies(&log).len();
        if found == 2 {
            assert!(report.rewritten_len > 1_000, "it was written again");
        }
        append(&log, "s", &[b"three"]).unwrap();
        for kind in 0..6 {
            let (log, _) = open(&next.after_crash(left(kind, seed)), 3)
                .unwrap_or_else(|error| panic!("seed {seed}, kind {kind}: {error:?}"));
            let bodies = bodies(&log);
            assert_eq!(bodies.len(), found + 1, "seed {seed}, kind {kind}");
            assert_eq!(bodies[found], b"three");
        }
    }
}

#[test]
fn a_sync_that_fails_during_recovery_refuses_the_open() {
    let disk = SimDisk::new();
    let log = about_to_fail(&disk);
    append(&log, "s", &[b"two"]).unwrap_err();
    drop(log);
    let calm = disk.restart();
    let opened = open(&calm, 2).unwrap();
    let calls = calm.calls();
    drop(opened);
    for (step, call) in calls.iter().enumerate() {
        if call.kind != CallKind::Sync {
            continue;
        }
        let next = disk.restart();
        next.fail_at(step as u64, Fault::Eio, Repeat::Once);
        let refused = open(&next, 2);
        assert!(
            matches!(refused, Err(OpenError::Io(_))),
            "step {step}: {refused:?}"
        );
        // And the one after it must not be misled either.
        let last = next.restart();
        let (log, _) = open(&last, 3).unwrap();
        let found = bodies(&log).len();
        append(&log, "s", &[b"three"]).unwrap();
        let (log, _) = open(&last.after_crash(left(0, 0)), 4).unwrap();
        assert_eq!(bodies(&log).len(), found + 1, "step {step}");
    }
}

#[test]
fn a_want_of_descriptors_is_no_failure_of_the_disk() {
    // The first fills more than half of the segment, so that upkeep makes another one ahead, which
    // fails unseen; the second does not fit and has to make one itself.
    let (first, second) = ([b'x'; 5_000], [b'x'; 8_000]);
    let sound = SimDisk::new();
    let (log, _) = open(&sound, 1).unwrap();
    let before = sound.calls().len();
    append(&log, "s", &[&first]).unwrap();
    let calls = sound.calls();
    let mut later = calls.iter().enumerate().skip(before);
    let (made, _) = later
        .find(|(_, call)| call.kind == CallKind::Create)
        .unwrap();

    let disk = SimDisk::new();
    let (log, _) = open(&disk, 1).unwrap();
    disk.fail_at(made as u64, Fault::Emfile, Repeat::FromThenOn);
    append(&log, "s", &[&first]).unwrap();
    let refused = append(&log, "s", &[&second]);
    assert!(
        matches!(refused, Err(AppendError::Scarce(_))),
        "{refused:?}"
    );
    assert_eq!(log.health(), Health::Writable);
    disk.heal();
    append(&log, "s", &[&second]).unwrap();
    assert_eq!(bodies(&log).len(), 2);
}
