//! Random operations against the log and against a list: both answer alike, after crashes, too.

use proptest::prelude::*;

use super::steps::{Step, run};
use super::support::setting;

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

#[test]
fn random_operations_and_crashes_leave_what_a_list_would_hold() {
    let cases = u32::try_from(setting("STRANDLOG_TEST_CASES", 64)).unwrap();
    let config = ProptestConfig {
        cases,
        failure_persistence: None,
        ..ProptestConfig::default()
    };
    let strategy = (any::<u64>(), proptest::collection::vec(step(), 1..90));
    proptest!(config, |((seed, steps) in strategy)| {
        if let Err(error) = run(seed, &steps) {
            return Err(TestCaseError::fail(format!("seed {seed}: {error}")));
        }
    });
}
