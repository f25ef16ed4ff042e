//! Random operations against the log and against a list: both answer alike, after crashes, too.

use proptest::prelude::*;
use proptest::test_runner::{RngAlgorithm, TestRng, TestRunner};

use super::figures::{Figure, seeds, shared};
use super::steps::{Step, run};

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => (1_u8..6, 0_u16..1_500).prop_map(|(count, len)| Step::Append { count, len }),
        1 => (0_u8..4).prop_map(|rank| Step::Expect { rank }),
        1 => (0_u8..4, any::<u16>()).prop_map(|(kind, after)| Step::Require { kind, after }),
        1 => any::<u16>().prop_map(|at| Step::Read { at }),
        1 => (any::<u16>(), 0_u16..40, any::<bool>())
            .prop_map(|(from, len, backward)| Step::Scan { from, len, backward }),
        1 => (0_u8..4, any::<u16>(), 0_u16..200)
            .prop_map(|(kind, from, len)| Step::Query { kind, from, len }),
        1 => (0_u8..9).prop_map(|lag| Step::Advance { lag }),
        1 => any::<u8>().prop_map(|part| Step::Seek { part }),
        1 => (30_u8..120).prop_map(|records| Step::Keep { records }),
        1 => Just(Step::Upkeep),
        1 => Just(Step::Reopen),
        1 => Just(Step::Kill),
        2 => (any::<u8>(), 0_u8..12).prop_map(|(calls, kind)| Step::Cut { calls, kind }),
    ]
}

/// So many cases share a random number generator, whose seed is their first number.
const TOGETHER: usize = 20;

fn cases(first: u64, count: usize) -> Result<u64, String> {
    let config = ProptestConfig {
        cases: u32::try_from(count).unwrap(),
        failure_persistence: None,
        ..ProptestConfig::default()
    };
    let mut seed = [0; 32];
    seed[..8].copy_from_slice(&first.to_le_bytes());
    let generator = TestRng::from_seed(RngAlgorithm::ChaCha, &seed);
    let strategy = (any::<u64>(), proptest::collection::vec(step(), 1..90));
    TestRunner::new_with_rng(config, generator)
        .run(&strategy, |(seed, steps)| {
            run(seed, &steps).map_err(|error| TestCaseError::fail(format!("seed {seed}: {error}")))
        })
        .map_err(|error| {
            format!("{error}\nSTRANDLOG_TEST_SEED={first} STRANDLOG_TEST_CASES={count} replays it")
        })?;
    Ok(count as u64)
}

#[test]
fn random_operations_and_crashes_leave_what_a_list_would_hold() {
    let figure = Figure::of("Z2", "sequences beside the model", [40, 10_000, 100_000]);
    let count = shared(seeds("STRANDLOG_TEST_CASES"), TOGETHER, |numbers| {
        cases(numbers[0], numbers.len())
    });
    figure.reached(count.unwrap_or_else(|error| panic!("{error}")));
}
