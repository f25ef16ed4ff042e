//! Every answer is the naive twin's, whatever happened to the index before.

use proptest::prelude::*;

use super::settings::setting;
use super::twin::{Twin, collect_query};
use crate::storage::sim::SimDisk;
use crate::tags::{Direction, Query};

#[derive(Clone, Debug)]
enum Step {
    Append(Vec<u8>),
    Refuse(Vec<u8>),
    Apply,
    Roll,
    /// As a log at ease does it: roll, flush, merge.
    Seal,
    Flush,
    Merge,
    Expire,
    Reopen,
}

fn step() -> impl Strategy<Value = Step> {
    let tags = prop::collection::vec(0..40_u8, 0..5);
    prop_oneof![
        20 => tags.clone().prop_map(Step::Append),
        2 => tags.prop_map(Step::Refuse),
        3 => Just(Step::Apply),
        3 => Just(Step::Roll),
        6 => Just(Step::Seal),
        2 => Just(Step::Flush),
        4 => Just(Step::Merge),
        1 => Just(Step::Expire),
        1 => Just(Step::Reopen),
    ]
}

/// Few tags, of all lengths, with common beginnings.
pub(crate) fn tag(number: u8) -> Vec<u8> {
    match number % 5 {
        0 => format!("s:{number}").into_bytes(),
        1 => format!("stream/with/a/long/name/{number:03}").into_bytes(),
        2 => vec![number],
        3 => [&[b'x'; 590][..], &[number; 7]].concat(),
        _ => format!("s:{number}\0\u{ff}").into_bytes(),
    }
}

fn tags(numbers: &[u8]) -> Vec<Vec<u8>> {
    numbers.iter().map(|&number| tag(number)).collect()
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: u32::try_from(setting("STRANDLOG_TEST_TAG_CASES")).unwrap(),
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn every_answer_is_the_twins(
        steps in prop::collection::vec(step(), 1..240),
        cut in any::<prop::sample::Index>(),
        asked in prop::collection::vec(prop::collection::vec(0..45_u8, 0..4), 0..3),
    ) {
        let mut twin = Twin::new(SimDisk::new().root());
        for step in steps {
            match step {
                Step::Append(numbers) => twin.append(&tags(&numbers)),
                Step::Refuse(numbers) => {
                    let mut numbers = numbers;
                    numbers.sort_unstable();
                    numbers.dedup();
                    twin.refuse(&tags(&numbers));
                }
                Step::Apply => twin.apply(),
                Step::Roll => twin.roll(),
                Step::Seal => {
                    twin.roll();
                    while twin.index.flush_oldest().unwrap() {}
                    twin.index.merge_once(twin.log.first()).unwrap();
                }
                Step::Flush => { twin.index.flush_oldest().unwrap(); }
                Step::Merge => { twin.index.merge_once(twin.log.first()).unwrap(); }
                Step::Expire => { twin.apply(); twin.expire(1); }
                Step::Reopen => twin.reopen(),
            }
        }
        twin.apply();
        twin.check_all();
        let next = usize::try_from(twin.log.next_id).unwrap();
        let cut = cut.index(next) as u64;
        twin.check_view(0, cut);
        twin.check_view(cut, twin.log.next_id);

        let query = Query { all: asked.iter().map(|group| tags(group)).collect() };
        let matches = |id: u64| query.all.iter().all(|group| {
            group.iter().any(|tag| !twin.log.ids(tag, id, id + 1).is_empty())
        });
        let want: Vec<u64> = (twin.log.first()..twin.log.next_id).filter(|&id| matches(id)).collect();
        let view = twin.view();
        let up: Vec<u64> = want.iter().copied().filter(|&id| id >= cut).collect();
        prop_assert_eq!(collect_query(&view, &query, Direction::Forward, cut).unwrap(), up);
        let mut down: Vec<u64> = want.iter().copied().filter(|&id| id <= cut).collect();
        down.reverse();
        prop_assert_eq!(collect_query(&view, &query, Direction::Backward, cut).unwrap(), down);
    }
}
