//! The first failed write or sync is a state: a clear error, nothing acknowledged afterwards, reads
//! go on, and an open finds everything that was acknowledged. A failed sync is never retried.

use strandlog_engine::storage::sim::{Call, CallKind, Fault, Repeat, SimDisk};
use strandlog_engine::{AppendError, Health, OpenError};

use super::support::{
    Act, Story, append, bodies, event, left, open, play, reopen, script, setting,
};

/// Plays on whatever fails, as clients do; says what must not be.
fn play_on(
    disk: &SimDisk,
    story: &mut Story,
    acts: &[Act],
    once: Option<u64>,
) -> Result<(), String> {
    let log = match open(disk, 1) {
        Ok((log, _)) => log,
        Err(OpenError::Io(_)) => return Ok(()),
        Err(error) => return Err(format!("open: {error:?}")),
    };
    for act in acts {
        let before = log.health();
        let steps = disk.steps();
        let outcome = story.act(&log, act);
        if let (Health::Failed(_), Act::Append(_)) = (&before, act) {
            if outcome.is_ok() {
                return Err("acknowledged after a failure".to_owned());
            }
            if disk.steps() != steps {
                return Err("an append touched the disk after a failure".to_owned());
            }
        }
        if before != Health::Writable && before != Health::Full && log.health() != before {
            return Err(format!("{before:?} became {:?}", log.health()));
        }
        // The reads must not meet the fault themselves.
        if once.is_some_and(|step| disk.steps() > step) {
            story
                .check(&log)
                .map_err(|error| format!("reads go on: {error}"))?;
        }
    }
    disk.heal();
    log.upkeep_now();
    story
        .check(&log)
        .map_err(|error| format!("reads go on: {error}"))?;
    let failed = matches!(log.health(), Health::Failed(_));
    if log.close().is_ok() == failed {
        return Err(format!("closed as if {failed} were not so"));
    }
    Ok(())
}

fn check_after(disk: &SimDisk, story: &Story, seed: u64) -> Result<(), String> {
    for (index, after) in [
        disk.restart(),
        disk.after_crash(left(0, seed)),
        disk.after_crash(left(4, seed)),
    ]
    .into_iter()
    .enumerate()
    {
        let mut story = story.clone();
        let log = reopen(&after, seed + 2, &mut story)
            .map_err(|error| format!("reopened {index}: {error}"))?;
        story.append(&log, &[event(80_000_000, 100)])?;
        // The power goes now: what the first process could not sync must not be missing before
        // what this one has acknowledged.
        reopen(&after.after_crash(left(0, seed)), seed + 3, &mut story)
            .map_err(|error| format!("reopened {index}, and cut: {error}"))?;
    }
    Ok(())
}

/// The faults for one call: the device's own always, the others in turn; all in long runs.
fn faults(call: &Call, step: u64, is_long: bool) -> Vec<Fault> {
    let moves_bytes = matches!(call.kind, CallKind::WriteAt | CallKind::ReadAt);
    let turn = Fault::ALL[1 + usize::try_from(step % 5).unwrap()];
    Fault::ALL
        .into_iter()
        .filter(|fault| match fault {
            Fault::Short | Fault::Zero => moves_bytes,
            Fault::Eio => true,
            other => is_long || *other == turn,
        })
        .collect()
}

#[test]
fn every_call_may_fail_once_or_for_good() {
    let is_long = setting("STRANDLOG_TEST_ALL_FAULTS", 0) != 0;
    let mut acts = script(2, if is_long { 30 } else { 12 });
    acts.push(Act::Flush);
    let calm = SimDisk::new();
    play(&calm, 1, &mut Story::default(), &acts);
    let mut points = 0;
    for (step, call) in calm.calls().iter().enumerate() {
        let step = step as u64;
        for fault in faults(call, step, is_long) {
            for repeat in [Repeat::Once, Repeat::FromThenOn] {
                let disk = SimDisk::with_seed(step);
                disk.fail_at(step, fault, repeat);
                let mut story = Story::default();
                play_on(
                    &disk,
                    &mut story,
                    &acts,
                    (repeat == Repeat::Once).then_some(step),
                )
                .and_then(|()| check_after(&disk, &story, step))
                .unwrap_or_else(|error| {
                    panic!("step {step} ({call}), {fault:?} {repeat:?}: {error}")
                });
                points += 1;
            }
        }
    }
    assert!(points > 200, "{points}");
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
