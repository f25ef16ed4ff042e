//! A repair that is cut off, by the power or by failing calls, loses nothing, and the next one goes on.

use std::collections::BTreeSet;

use strandlog_engine::storage::sim::{Fault, Repeat};
use strandlog_engine::{Log, OpenError};

use super::repair::{Truth, broken, long, repair_on, repaired};
use super::support::{append, id, left, open, setting};

/// What a repair that nothing disturbs comes to.
fn in_peace(truth: &Truth, kind: u64) -> (u64, BTreeSet<u64>) {
    let disk = broken(truth, kind);
    repaired(&disk, 4).unwrap();
    let steps = disk.steps();
    (steps, truth.check(&disk).unwrap())
}

/// The ids that can be read.
fn readable(log: &Log) -> BTreeSet<u64> {
    let ids = 1..log.end().get();
    ids.filter(|number| matches!(log.read(id(*number)), Ok(Some(_))))
        .collect()
}

#[test]
fn the_power_may_go_at_any_step_of_a_repair() {
    let truth = long();
    let leftovers = setting("STRANDLOG_TEST_REPAIR_LEFTOVERS");
    let mut count = 0;
    for kind in 0..5 {
        let (steps, want) = in_peace(&truth, kind);
        // What the damaged log serves, if it opens; else what it could.
        let before = match open(&broken(&truth, kind), 3) {
            Ok((log, _)) => readable(&log),
            Err(_) => (1..=truth.last()).filter(|it| !want.contains(it)).collect(),
        };
        for step in 0..steps {
            let cut = broken(&truth, kind);
            cut.crash_at(step);
            let _cut_off = repair_on(cut.root(), 4);
            for index in 0..leftovers {
                let what = format!("kind {kind}, step {step}, leftover {index}");
                let left = left(if index == 0 { step % 6 } else { 3 + index }, step);
                let disk = cut.after_crash(left);
                // If it opens as it is, nothing that could be read has gone.
                if let Ok((log, _)) = open(&disk.restart(), 3) {
                    let now = readable(&log);
                    assert!(before.is_subset(&now), "{what}: {before:?}, now {now:?}");
                }
                repaired(&disk, 6).unwrap_or_else(|error| panic!("{what}: {error}"));
                let lost = truth
                    .check(&disk)
                    .unwrap_or_else(|error| panic!("{what}: {error}"));
                assert_eq!(lost, want, "{what}");
                count += 1;
            }
        }
    }
    eprintln!("{count} cuts");
    assert!(count > 200, "{count}");
}

#[test]
fn any_call_of_a_repair_may_fail_and_the_next_repair_goes_on() {
    let truth = long();
    let each = setting("STRANDLOG_TEST_REPAIR_FAULTS");
    for kind in 0..5 {
        let (steps, want) = in_peace(&truth, kind);
        for step in 0..steps {
            // Each in turn; a long run takes all of them.
            let faults = [
                (Fault::Eio, Repeat::Once),
                (Fault::Enospc, Repeat::FromThenOn),
                (Fault::Eio, Repeat::FromThenOn),
                (Fault::Short, Repeat::Once),
            ];
            let turn = usize::try_from(step).unwrap() % faults.len();
            let faults = faults.into_iter().cycle().skip(turn);
            for (fault, repeat) in faults.take(usize::try_from(each).unwrap()) {
                let what = format!("kind {kind}, step {step}, {fault:?} {repeat:?}");
                let disk = broken(&truth, kind);
                disk.fail_at(step, fault, repeat);
                let failed = repair_on(disk.root(), 4);
                assert!(
                    matches!(failed, Ok(_) | Err(OpenError::Io(_))),
                    "{what}: {failed:?}"
                );
                disk.heal();
                // The next process repairs, and the power goes when the log has taken more.
                let next = disk.restart();
                repaired(&next, 6).unwrap_or_else(|error| panic!("{what}: {error}"));
                let (log, _) = open(&next, 7).unwrap_or_else(|error| panic!("{what}: {error}"));
                append(&log, "s", &[b"after it"]).unwrap();
                let end = log.end();
                drop(log);
                let after = next.after_crash(left(step % 5, step));
                repaired(&after, 8).unwrap_or_else(|error| panic!("{what}: {error}"));
                let (log, _) = open(&after, 9).unwrap_or_else(|error| panic!("{what}: {error}"));
                assert!(log.end() >= end, "{what}: acknowledged");
                drop(log);
                let lost = truth
                    .check(&after)
                    .unwrap_or_else(|error| panic!("{what}: {error}"));
                assert_eq!(lost, want, "{what}");
            }
        }
    }
}
