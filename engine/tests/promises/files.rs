//! Files that are missing, empty, or another's.

use std::collections::BTreeSet;

use super::figures::{Figure, seeds, shared};
use super::support::{Chance, files};
use super::truth::{Outcome, Truth, truth_of};

/// So many cases share a log.
const TOGETHER: usize = 24;

/// What stands under the name of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wrong {
    Missing,
    Empty,
    /// The file of the same name of another log.
    Foreign,
    /// Another file of the same kind.
    Neighbour,
}

/// A log of some segments, whose events have lengths of chance.
fn random(seed: u64) -> Truth {
    let chance = Chance::new(seed);
    let lens: Vec<usize> = (0..30 + chance.below(30))
        .map(|_| usize::try_from(chance.below(1_400)).unwrap())
        .collect();
    let len = 1 + usize::try_from(chance.below(4)).unwrap();
    let batches: Vec<&[usize]> = lens.chunks(len).collect();
    truth_of(seed, &batches)
}

struct Logs {
    truth: Truth,
    other: Truth,
}

impl Logs {
    /// Puts something else in the place of a file of chance; whether what came of it is right.
    fn check(&self, wrong: Wrong, chance: &Chance) -> Result<(), String> {
        let below = |end: usize| usize::try_from(chance.below(end as u64)).unwrap();
        let disk = self.truth.copy();
        let ending = [".seg", ".seg", ".ckp", ".idx", ".tags"][below(5)];
        let all = files(&disk, ending);
        let position = below(all.len());
        let file = &all[position];
        let content = match wrong {
            // Without its first segment a log looks as if that had expired.
            Wrong::Missing if ending == ".seg" && position == 0 => return Ok(()),
            Wrong::Missing => None,
            Wrong::Empty => Some(Vec::new()),
            Wrong::Foreign => {
                let others = files(&self.other.disk, ending);
                let same = others.iter().find(|name| *name == file);
                Some(self.other.disk.read_file(same.unwrap_or(&others[0])))
            }
            Wrong::Neighbour if all.len() == 1 => return Ok(()),
            Wrong::Neighbour => {
                let neighbour = &all[(position + 1) % all.len()];
                Some(disk.read_file(neighbour))
            }
        };
        match content {
            Some(content) => disk.write_file(file, &content),
            None => disk.remove_file(file),
        }
        if chance.below(4) == 0 && ending != ".tags" {
            for run in files(&disk, ".tags") {
                disk.remove_file(&run);
            }
        }
        let outcome = self
            .truth
            .examine(&disk)
            .map_err(|error| format!("{wrong:?} {file}: {error}"))?;
        let number = |name: &String| name[..20].parse::<u64>().unwrap();
        let nothing = Outcome::Lost(BTreeSet::new());
        let want = match (ending, all.get(position + 1)) {
            (".seg", Some(next)) => Outcome::Lost((number(file)..number(next)).collect()),
            // A tail without events of its own is as good as none.
            (".seg", None) if wrong == Wrong::Missing && number(file) > self.last() => nothing,
            (".seg", None) => Outcome::Refused,
            (".ckp", _) if wrong != Wrong::Missing => Outcome::Refused,
            _ => nothing,
        };
        if outcome == want {
            return Ok(());
        }
        Err(format!("{wrong:?} {file}: {outcome:?}, not {want:?}"))
    }

    fn last(&self) -> u64 {
        self.truth.events.len() as u64
    }
}

#[test]
fn files_that_are_missing_empty_or_anothers_cost_what_was_in_them_and_no_more() {
    for (wrong, what) in [
        (Wrong::Missing, "files missing"),
        (Wrong::Empty, "files empty"),
        (Wrong::Foreign, "files of another log"),
        (Wrong::Neighbour, "files of another place"),
    ] {
        let figure = Figure::of("C2", what, [12, 10_000, 10_000]);
        let count = shared(seeds("STRANDLOG_TEST_FILES"), TOGETHER, |seeds| {
            let logs = Logs {
                truth: random(seeds[0]),
                other: random(seeds[0] + (1 << 32)),
            };
            for seed in &seeds {
                logs.check(wrong, &Chance::new(*seed))
                    .map_err(|error| format!("log {}, seed {seed}, {error}", seeds[0]))?;
            }
            Ok(seeds.len() as u64)
        });
        figure.reached(count.unwrap_or_else(|error| panic!("{error}")));
    }
}
