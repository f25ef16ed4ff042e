//! Whether the other tests can fail: with one planted fault each, the very checks that pass on the
//! sound engine have to notice, within the same budget.

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};

use strandlog_engine::Sabotage;

use super::{
    acknowledged, all_or_nothing, checkpoints, damage, failure_is_a_state, idempotency, recovery,
    visibility,
};

thread_local! {
    /// What is planted in every log that a test opens on this thread. The checks use no others.
    static PLANTED: Cell<Option<Sabotage>> = const { Cell::new(None) };
}

pub(crate) fn planted() -> Option<Sabotage> {
    PLANTED.get()
}

/// Plants it on this thread, which works for one that has it planted.
pub(crate) fn plant(fault: Option<Sabotage>) {
    PLANTED.set(fault);
}

/// A promise, and the check of it that an ordinary test makes: how much it looked at, or what it
/// found.
type Check = (&'static str, fn() -> Result<u64, String>);

const SURVIVES_A_POWER_CUT: Check = (
    "acknowledged::what_was_acknowledged_survives_a_power_cut_at_any_step",
    acknowledged::cuts,
);
const SURVIVES_A_KILL: Check = (
    "acknowledged::what_was_acknowledged_survives_a_kill_and_then_a_power_cut",
    acknowledged::kills,
);
const FAILURE_IS_A_STATE: Check = (
    "failure_is_a_state::every_call_may_fail_once_or_for_good",
    failure_is_a_state::failures,
);
const NOTHING_COMES_BACK: Check = (
    "recovery::old_batches_behind_a_cut_never_come_back",
    recovery::old_batches,
);
const A_PREFIX_IS_LEFT: Check = (
    "visibility::under_os_durability_a_power_cut_leaves_a_prefix",
    visibility::prefixes,
);
const READERS_SEE_WHAT_IS_DURABLE: Check = (
    "visibility::a_record_whose_sync_failed_was_never_readable",
    visibility::unsynced,
);
const ALL_OR_NOTHING: Check = (
    "all_or_nothing::a_batch_survives_a_power_cut_whole_or_not_at_all",
    all_or_nothing::cut_batches,
);
const KEYS_LAST: Check = (
    "idempotency::a_key_is_taken_after_a_power_cut_exactly_if_its_record_is_there",
    idempotency::keys_after_cuts,
);
const CHECKPOINTS_STAY_BELOW_THE_END: Check = (
    "visibility::under_os_durability_a_checkpoint_makes_the_log_durable_first",
    visibility::checkpoint_below_end,
);
const CHECKPOINTS_LAST: Check = (
    "checkpoints::checkpoints_survive_a_power_cut_at_any_step_of_their_compaction",
    checkpoints::acknowledged,
);
const NO_BYTE_IS_SERVED_UNCHECKED: Check = (
    "damage::every_flipped_bit_of_a_sealed_segment_is_detected_or_harmless_and_costs_one_record",
    damage::sealed_bits,
);

const ALL: [Check; 11] = [
    SURVIVES_A_POWER_CUT,
    SURVIVES_A_KILL,
    FAILURE_IS_A_STATE,
    NOTHING_COMES_BACK,
    A_PREFIX_IS_LEFT,
    READERS_SEE_WHAT_IS_DURABLE,
    ALL_OR_NOTHING,
    KEYS_LAST,
    CHECKPOINTS_STAY_BELOW_THE_END,
    CHECKPOINTS_LAST,
    NO_BYTE_IS_SERVED_UNCHECKED,
];

/// What the check says about an engine with this fault. An assertion that fails has noticed, too.
fn outcome(fault: Option<Sabotage>, (_, check): Check) -> Result<u64, String> {
    PLANTED.set(fault);
    let outcome = catch_unwind(AssertUnwindSafe(check));
    PLANTED.set(None);
    outcome.unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().map(String::as_str);
        let text = text.or_else(|| panic.downcast_ref::<&str>().copied());
        Err(text.unwrap_or("a panic").to_owned())
    })
}

/// The check that has to notice each fault.
fn check_for(fault: Sabotage) -> Check {
    match fault {
        Sabotage::AckBeforeSync | Sabotage::NoSync | Sabotage::NoNameSync => SURVIVES_A_POWER_CUT,
        Sabotage::FailedSyncRetried | Sabotage::FailedNameSyncForgiven => FAILURE_IS_A_STATE,
        Sabotage::TailNotRewritten => SURVIVES_A_KILL,
        Sabotage::ReadersSeeUnsynced => READERS_SEE_WHAT_IS_DURABLE,
        Sabotage::ReaderResyncs => A_PREFIX_IS_LEFT,
        Sabotage::OldBytesLeft => NOTHING_COMES_BACK,
        Sabotage::BatchNotAtomic => ALL_OR_NOTHING,
        Sabotage::KeysForgotten => KEYS_LAST,
        Sabotage::CheckpointAckBeforeSync => CHECKPOINTS_LAST,
        Sabotage::CheckpointBeforeLog => CHECKPOINTS_STAY_BELOW_THE_END,
        Sabotage::ChecksumIgnored => NO_BYTE_IS_SERVED_UNCHECKED,
    }
}

#[test]
fn every_planted_fault_is_noticed_by_the_test_of_its_promise() {
    let mut missed = Vec::new();
    for fault in Sabotage::ALL {
        let check = check_for(fault);
        match outcome(Some(fault), check) {
            Err(what) => {
                let line = what.lines().next().unwrap_or_default();
                eprintln!("{fault:?}: {}: {line}", check.0);
            }
            Ok(count) => missed.push(format!("{fault:?}: {} looked at {count}", check.0)),
        }
    }
    assert!(missed.is_empty(), "not noticed: {missed:#?}");
}

#[test]
fn without_a_fault_the_same_checks_find_nothing() {
    for check in ALL {
        let count = outcome(None, check).unwrap_or_else(|what| panic!("{}: {what}", check.0));
        assert!(count > 0, "{} looked at nothing", check.0);
    }
    for fault in Sabotage::ALL {
        assert!(ALL.iter().any(|(name, _)| *name == check_for(fault).0));
    }
}

/// The whole table: which of the checks notices which fault. For people; slow.
#[test]
#[ignore = "a survey of several minutes"]
fn survey() {
    for fault in Sabotage::ALL {
        for check in ALL {
            let noticed = outcome(Some(fault), check).is_err();
            println!("{fault:?} {} {noticed}", check.0);
        }
    }
}

#[test]
fn the_server_cannot_be_built_with_a_planted_fault() {
    let manifest = concat!(env!("CARGO_MANIFEST_DIR"), "/../Cargo.toml");
    let manifest = std::fs::read_to_string(manifest).unwrap();
    assert!(manifest.contains("strandlog-engine = { path = \"engine\" }"));
    assert!(!manifest.contains("sabotage"));
}
