//! A success reply means durable and readable: it survives the loss of power at any step.

use std::collections::{BTreeMap, BTreeSet};

use strandlog_engine::storage::sim::{Call, CallKind, SimDisk};

use super::case::Case;
use super::figures::{Figure, seeds};
use super::story::Told;
use super::support::{Story, append, bodies, files, open, play, script, setting};
use super::trouble::{ROUNDS, Rig, SOUND};

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

/// The power goes at the steps of the scripts.
pub(crate) fn cuts() -> Result<u64, String> {
    let every = setting("STRANDLOG_TEST_STEPS_EVERY");
    let leftovers = setting("STRANDLOG_TEST_LEFTOVERS");
    let scripts = 1..=setting("STRANDLOG_TEST_SCRIPTS");
    SOUND.sweep(scripts.flat_map(|script| SOUND.cuts(script, every, leftovers)))
}

#[test]
fn what_was_acknowledged_survives_a_power_cut_at_any_step() {
    let figure = Figure::of("D2", "power cuts", [300, 20_000, 30_000]);
    figure.reached(cuts().unwrap_or_else(|error| panic!("{error}")));
}

/// What a step belongs to.
fn work_of(call: &Call, is_opened: bool) -> Option<&'static str> {
    let is = |ending: &str| call.path.ends_with(ending);
    let is_tmp = call.path.contains(".tmp");
    Some(match call.kind {
        CallKind::Create | CallKind::WriteAt | CallKind::Sync | CallKind::Rename if !is_opened => {
            "creating a log"
        }
        CallKind::WriteAt if is(".seg") && call.len == 48 => "writing a mark or a seal",
        CallKind::WriteAt if is(".seg") => "writing a batch",
        CallKind::Sync if is(".seg") => "syncing the log",
        CallKind::Rename if is(".seg") => "naming a new segment",
        CallKind::Rename if is(".seg.tmp") => "letting a segment expire",
        CallKind::Remove if is(".seg.tmp") => "removing an expired segment",
        CallKind::Remove if is(".idx") => "removing the index of an expired segment",
        CallKind::Rename if is(".idx") => "naming a sparse index",
        CallKind::Rename if is(".0.tags") => "naming a run of the tag index",
        CallKind::Rename if is(".1.tags") => "naming a merged run",
        CallKind::Remove if is(".0.tags") => "removing a run that was merged",
        CallKind::WriteAt if is(".ckp") => "writing a checkpoint",
        CallKind::Sync if is(".ckp") => "syncing the checkpoints",
        CallKind::Rename if is(".ckp") => "naming the compacted checkpoints",
        CallKind::Remove if is(".ckp") => "removing the old checkpoints",
        CallKind::Create if is_tmp => "preparing a file",
        CallKind::WriteAt if is_tmp => "writing a prepared file",
        CallKind::Sync if is_tmp => "syncing a prepared file",
        CallKind::SyncNames => "syncing the names",
        _ => return None,
    })
}

#[test]
fn the_scripts_do_everything_there_is_to_do() {
    const WORKS: usize = 20;
    for number in 1..=6 {
        let disk = SimDisk::new();
        let mut told = Told::new(number);
        let acts = script(number, ROUNDS);
        let log = told.open(&disk, 1).unwrap();
        let opened = usize::try_from(disk.steps()).unwrap();
        for act in &acts {
            told.story.act(&log, act).unwrap();
        }
        log.close().unwrap();
        let calls = disk.calls();
        let mut works = BTreeMap::new();
        for (step, call) in calls.iter().enumerate() {
            if let Some(work) = work_of(call, step >= opened) {
                *works.entry(work).or_insert(0) += 1;
            }
        }
        eprintln!("script {number}: {works:?}");
        assert_eq!(works.len(), WORKS, "script {number}: {works:?}");
        assert!(files(&disk, ".seg").len() > 2);
        // Each of these steps is one at which the power goes.
        let cut: BTreeSet<u64> = SOUND
            .cuts(number, 1, 1)
            .map(|case| match case {
                Case::Cut { step, .. } => step,
                other => panic!("{other}"),
            })
            .collect();
        assert!(cut.into_iter().eq(0..calls.len() as u64));
    }
}

#[test]
fn a_disk_that_lies_about_syncs_is_noticed() {
    let rig = Rig {
        prepare: |disk| disk.syncs_lie(true),
    };
    assert!(rig.sweep(rig.cuts(1, 1, 3)).is_err(), "it could not fail");
}

#[test]
fn a_disk_that_lies_about_syncs_of_names_is_noticed() {
    let rig = Rig {
        prepare: |disk| disk.name_syncs_lie(true),
    };
    assert!(rig.sweep(rig.cuts(1, 1, 3)).is_err(), "it could not fail");
}

/// The power goes again while the log recovers, three deep.
pub(crate) fn deep_cuts() -> Result<u64, String> {
    SOUND.sweep(seeds("STRANDLOG_TEST_RECOVERY_CUTS").map(|seed| Case::Deep { seed }))
}

#[test]
fn what_was_acknowledged_survives_power_cuts_during_recovery() {
    let figure = Figure::of("D5", "cuts during recovery, three deep", [50, 1_000, 5_000]);
    figure.reached(deep_cuts().unwrap_or_else(|error| panic!("{error}")));
}

/// The process is killed, not the machine, and the power goes later: the page cache of the first
/// process must not be taken for the disk.
pub(crate) fn kills() -> Result<u64, String> {
    SOUND.sweep(SOUND.kills(5, setting("STRANDLOG_TEST_STEPS_EVERY")))
}

#[test]
fn what_was_acknowledged_survives_a_kill_and_then_a_power_cut() {
    let figure = Figure::of(
        "D5",
        "kills, and a cut in the next process",
        [150, 1_000, 1_000],
    );
    figure.reached(kills().unwrap_or_else(|error| panic!("{error}")));
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
        assert_eq!(records.get(0).unwrap().unwrap().body, body);
        assert_eq!(bodies(&log).len() as u64, number + 1);
    }
}
