//! A file system may lose whatever goes to a block whose very first write has failed (the simulated
//! disk does as ext4 does). So a log goes on after a failed sync in blocks only that were written
//! before, in its segments, its checkpoint log, and those of a copy.

use std::sync::Arc;

use bytes::Bytes;
use strandlog_engine::storage::Storage;
use strandlog_engine::storage::sim::{Fault, Left, Repeat, SimDisk};
use strandlog_engine::{Checkpoint, Log, backup};

use super::support::{append, bodies, open};

/// A block, or less, is left of the longest thing that is written here.
const LONG: usize = 1_500;

/// Another event and another checkpoint; whether each was acknowledged.
fn store(log: &Log, number: usize) -> (bool, bool) {
    let checkpoint = Checkpoint {
        position: 0,
        definition: Bytes::from(vec![b'd'; LONG]),
    };
    let created = log.create_checkpoint(&format!("c{number:02}"), checkpoint);
    let created = created.wait().is_ok();
    let appended = append(log, "s", &[&[b'x'; LONG]]).is_ok();
    (appended, created)
}

/// Stores `before` events and checkpoints; a sync fails while the next ones are stored, the process is
/// killed, the next one stores others; then the power goes. Returns how many syncs failed.
fn go_on_after_a_failure(disk: &SimDisk, before: usize, failing: u64) -> u64 {
    let (log, _) = open(disk, 1).unwrap();
    let (mut events, mut names) = (bodies(&log).len(), log.checkpoint_names().len());
    let mut count = |(appended, created): (bool, bool)| {
        events += usize::from(appended);
        names += usize::from(created);
    };
    for number in 0..before {
        count(store(&log, number));
    }
    disk.fail_at(disk.steps() + failing, Fault::Eio, Repeat::Once);
    let outcome = store(&log, before);
    count(outcome);
    let disk = disk.restart();
    drop(log);
    let (log, _) = open(&disk, 2).unwrap();
    for number in before + 1..before + 3 {
        let outcome = store(&log, number);
        assert_eq!(outcome, (true, true), "the disk works again");
        count(outcome);
    }
    let disk = disk.after_crash(Left::Nothing);
    drop(log);
    let case = format!("{before} before, and call {failing} failed");
    let (log, _) = open(&disk, 3).unwrap_or_else(|error| panic!("{case}: {error}"));
    // What was refused may be there, too.
    assert!(bodies(&log).len() >= events, "{case}");
    assert!(log.checkpoint_names().len() >= names, "{case}");
    u64::from(outcome != (true, true))
}

#[test]
fn what_is_stored_after_a_failed_sync_stays_whichever_block_it_lies_in() {
    let mut failed = 0;
    for before in 0..8 {
        for failing in 0..8 {
            failed += go_on_after_a_failure(&SimDisk::new(), before, failing);
        }
    }
    assert!(failed >= 40, "{failed} of 64 cases had a failure");
}

#[test]
fn a_copy_stands_a_failed_sync_as_the_log_does() {
    let mut failed = 0;
    for before in 0..4 {
        for failing in 0..8 {
            let source = SimDisk::new();
            let (log, _) = open(&source, 1).unwrap();
            assert_eq!(store(&log, 99), (true, true));
            let target = SimDisk::new();
            let (from, to): (Arc<dyn Storage>, Arc<dyn Storage>) = (source.root(), target.root());
            backup(&from, &to, &mut |_, _| ()).unwrap();
            failed += go_on_after_a_failure(&target, before, failing);
        }
    }
    assert!(failed >= 12, "{failed} of 32 cases had a failure");
}
