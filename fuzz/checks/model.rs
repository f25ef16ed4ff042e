//! What the target `model` checks: whatever is done to a log, crashes included, it shows what a list
//! would hold.
//!
//! An input is two bytes of a seed, and then five bytes for each step: which one, and its numbers.

use crate::steps::{Step, run};

/// The longest story, in steps: most of what can happen happens before, and the log stays small.
const STEPS_MAX: usize = 90;

pub(crate) fn check(input: &[u8]) {
    let Some(([low, high], rest)) = input.split_first_chunk::<2>() else {
        return;
    };
    let seed = u64::from(u16::from_le_bytes([*low, *high]));
    let steps: Vec<Step> = rest
        .as_chunks::<5>()
        .0
        .iter()
        .take(STEPS_MAX)
        .map(|[which, a, b, c, d]| {
            let (first, second) = (u16::from_le_bytes([*a, *b]), u16::from_le_bytes([*c, *d]));
            match which % 20 {
                0 => Step::Expect { rank: a % 4 },
                1 => Step::Require {
                    kind: a % 4,
                    after: second,
                },
                2 => Step::Read { at: first },
                3 => Step::Scan {
                    from: first,
                    len: u16::from(c % 40),
                    backward: d % 2 == 1,
                },
                4 => Step::Query {
                    kind: a % 4,
                    from: second,
                    len: u16::from(*b),
                },
                5 => Step::Advance { lag: a % 9 },
                6 => Step::Seek { part: *a },
                7 => Step::Keep {
                    records: 30 + a % 90,
                },
                8 => Step::Upkeep,
                9 => Step::Reopen,
                10 => Step::Kill,
                11 | 12 => Step::Cut {
                    calls: *a,
                    kind: b % 12,
                },
                _ => Step::Append {
                    count: 1 + a % 5,
                    len: second % 1_500,
                },
            }
        })
        .collect();
    if let Err(error) = run(seed, &steps) {
        panic!("seed {seed}, {steps:?}: {error}");
    }
}
