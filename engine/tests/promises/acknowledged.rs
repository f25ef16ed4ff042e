//! A success reply means durable and readable: it survives the loss of power at any step.

use strandlog_engine::storage::sim::SimDisk;

use super::support::{Story, append, bodies, files, open, play, script, setting};
use super::trouble::{Case, Rig, SOUND};

#[test]
fn everything_is_there_after_a_clean_stop() {
    let disk = SimDisk::new();
    let mut story = Story::default();
    play(&disk, 1, &mut story, &script(1, 60));
    let (log, report) = open(&disk, 2).unwrap();
    assert!(report.clean);
    // Only the mark of the clean stop itself has no proof behind it.
    assert_eq!((report.dropped_len, report.rewritten_len), (0, 48));
    story.check(&log).unwrap();
}

/// The power goes at each step of each script.
pub(crate) fn cuts() -> Result<u64, String> {
    let scripts = setting("STRANDLOG_TEST_SCRIPTS", 2);
    let leftovers = setting("STRANDLOG_TEST_LEFTOVERS", 3);
    let mut count = 0;
    for script in 1..=scripts {
        count += SOUND.sweep(SOUND.cuts(script, leftovers))?;
    }
    Ok(count)
}

#[test]
fn what_was_acknowledged_survives_a_power_cut_at_any_step() {
    let count = cuts().unwrap_or_else(|error| panic!("{error}"));
    eprintln!("{count} cuts");
    assert!(count > 2_000, "{count}");
}

#[test]
fn the_scripts_do_everything_there_is_to_do() {
    use strandlog_engine::storage::sim::CallKind;
    for number in 1..=6 {
        let disk = SimDisk::new();
        super::story::Told::new(number).play(&disk, 1, &script(number, 48));
        let did = |kind: CallKind, ending: &str| {
            let calls = disk.calls();
            let mut calls = calls.iter();
            assert!(
                calls.any(|call| call.kind == kind && call.path.ends_with(ending)),
                "script {number}: {kind:?} {ending}"
            );
        };
        did(CallKind::Rename, ".seg");
        did(CallKind::Rename, ".idx");
        did(CallKind::Rename, ".0.tags");
        did(CallKind::Rename, ".1.tags");
        did(CallKind::Rename, ".ckp");
        did(CallKind::Rename, ".seg.tmp");
        did(CallKind::Remove, ".0.tags");
        did(CallKind::Remove, ".ckp");
        assert!(files(&disk, ".seg").len() > 2);
    }
}

#[test]
fn a_disk_that_lies_about_syncs_is_noticed() {
    let rig = Rig {
        prepare: |disk| disk.syncs_lie(true),
    };
    assert!(rig.sweep(rig.cuts(1, 3)).is_err(), "it could not fail");
}

#[test]
fn a_disk_that_lies_about_syncs_of_names_is_noticed() {
    let rig = Rig {
        prepare: |disk| disk.name_syncs_lie(true),
    };
    assert!(rig.sweep(rig.cuts(1, 3)).is_err(), "it could not fail");
}

/// The power goes again while the log recovers, three deep.
pub(crate) fn deep_cuts() -> Result<u64, String> {
    let seeds = setting("STRANDLOG_TEST_RECOVERY_CUTS", 500);
    SOUND.sweep((0..seeds).map(|seed| Case::Deep { seed }))
}

#[test]
fn what_was_acknowledged_survives_power_cuts_during_recovery() {
    deep_cuts().unwrap_or_else(|error| panic!("{error}"));
}

/// The process is killed, not the machine, and the power goes later: the page cache of the first
/// process must not be taken for the disk.
pub(crate) fn kills() -> Result<u64, String> {
    SOUND.sweep(SOUND.kills(5))
}

#[test]
fn what_was_acknowledged_survives_a_kill_and_then_a_power_cut() {
    kills().unwrap_or_else(|error| panic!("{error}"));
}

#[test]
fn an_acknowledged_record_is_readable_at_once() {
    let disk = SimDisk::new();
    let (log, _) = open(&disk, 1).unwrap();
    for number in 0..100_u64 {
        let body = number.to_le_bytes();
        let receipt = append(&log, "s", &[&body]).unwrap();
        assert!(receipt.durable_id >= receipt.last_id.get());
        let records = log.read(receipt.last_id).unwrap().unwrap();
        assert_eq!(records.get(0).unwrap().body, body);
        assert_eq!(bodies(&log).len() as u64, number + 1);
    }
}
