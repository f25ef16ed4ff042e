//! Blocks that are not what was written there: zeroed, filled, swapped, from elsewhere, of an
//! earlier time, or gone with the end of the file.

use strandlog_engine::storage::sim::SimDisk;

use super::figures::{Figure, seeds, shared};
use super::support::{Chance, files, setting};
use super::truth::{Outcome, Truth, data_end, even, long, named, truth_of};

/// What has become of a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wrong {
    Zeroed,
    /// All bits are set.
    Filled,
    SwappedWithin,
    SwappedBetween,
    /// What stands in another place of the log stands here, too.
    Doubled,
    /// Of another log with events of the same lengths.
    Foreign,
    /// What stood here at an earlier time stands here again.
    Stale,
}

const ALL: [Wrong; 7] = [
    Wrong::Zeroed,
    Wrong::Filled,
    Wrong::SwappedWithin,
    Wrong::SwappedBetween,
    Wrong::Doubled,
    Wrong::Foreign,
    Wrong::Stale,
];

/// A sound log, and another one to confuse it with.
struct Logs {
    truth: Truth,
    other: Truth,
    segments: Vec<String>,
}

impl Logs {
    fn new(truth: Truth, together: usize) -> Self {
        let lens: Vec<usize> = truth.events.iter().map(|it| it.body.len()).collect();
        let batches: Vec<&[usize]> = lens.chunks(together).collect();
        let segments = files(&truth.disk, ".seg");
        assert!(segments.len() > 3);
        Self {
            other: truth_of(77, &batches),
            truth,
            segments,
        }
    }

    /// The disk with a wrong block at a place of chance, and where that is; nothing if that changes
    /// no byte that means something.
    fn spoil(&self, wrong: Wrong, chance: &Chance) -> Option<(SimDisk, String)> {
        let below = |end: usize| usize::try_from(chance.below(end as u64)).unwrap();
        let disk = self.truth.copy();
        let (file, other) = (
            &self.segments[below(self.segments.len())],
            &self.segments[below(self.segments.len())],
        );
        let block = [512, 4_096][below(2)];
        let at = below(16_384 / block) * block;
        let there = below(16_384 / block) * block;
        let (here, there) = (at..at + block, there..there + block);
        let mut bytes = disk.read_file(file);
        match wrong {
            Wrong::Zeroed => bytes[here].fill(0),
            Wrong::Filled => bytes[here].fill(0xff),
            Wrong::SwappedWithin => {
                let (one, two) = (bytes[here.clone()].to_vec(), bytes[there.clone()].to_vec());
                bytes[here].copy_from_slice(&two);
                bytes[there].copy_from_slice(&one);
            }
            Wrong::SwappedBetween if file == other => return None,
            Wrong::SwappedBetween => {
                let mut others = disk.read_file(other);
                bytes[here].swap_with_slice(&mut others[there]);
                disk.write_file(other, &others);
            }
            Wrong::Doubled => bytes[here].copy_from_slice(&disk.read_file(other)[there]),
            Wrong::Foreign => {
                let foreign = self.other.disk.paths().contains(file);
                let foreign = foreign.then(|| self.other.disk.read_file(file))?;
                bytes[here.clone()].copy_from_slice(&foreign[here]);
            }
            Wrong::Stale => {
                let earlier = &self.truth.earlier[below(self.truth.earlier.len())];
                let before = earlier.paths().contains(file);
                let before = before.then(|| earlier.read_file(file))?;
                bytes[here.clone()].copy_from_slice(&before[here]);
            }
        }
        disk.write_file(file, &bytes);
        let place = format!("{wrong:?}, {block} bytes at {at} of {file}");
        self.means_something(&disk).then_some((disk, place))
    }

    /// Whether a byte is changed that is part of a header or a batch: of what is zero in a sound
    /// segment nothing depends.
    fn means_something(&self, disk: &SimDisk) -> bool {
        self.segments
            .iter()
            .any(|file| !self.means_the_same(disk, file))
    }

    fn means_the_same(&self, disk: &SimDisk, file: &str) -> bool {
        let (bytes, sound) = (disk.read_file(file), self.truth.disk.read_file(file));
        let end = data_end(&sound);
        bytes[..64] == sound[..64] && bytes[4_096..end] == sound[4_096..end]
    }

    /// The answers are right or errors, and something was noticed.
    fn check(&self, disk: &SimDisk) -> Result<(), String> {
        let before = named(disk)?;
        let outcome = self.truth.examine(disk)?;
        // The last mark alone is worth nothing: it proves what is there without it.
        let is_noticed = outcome != Outcome::Lost(std::collections::BTreeSet::new())
            || before.is_none_or(|damage| !damage.is_empty());
        if is_noticed || self.only_the_last_mark_is_changed(disk) {
            return Ok(());
        }
        Err("nothing was noticed".to_owned())
    }

    fn only_the_last_mark_is_changed(&self, disk: &SimDisk) -> bool {
        let Some((tail, sealed)) = self.segments.split_last() else {
            return false;
        };
        let sound = self.truth.disk.read_file(tail);
        let mark = data_end(&sound).next_multiple_of(8) - 48;
        // Behind a seal bytes may be left over (FORMAT.md, section 7).
        let is_whole = |file: &String| self.means_the_same(disk, file);
        sealed.iter().all(is_whole) && disk.read_file(tail)[..mark] == sound[..mark]
    }
}

#[test]
fn blocks_that_are_zeroed_filled_swapped_doubled_or_stale_are_never_served() {
    let logs = [Logs::new(long(), 3), Logs::new(even(), 1)];
    for wrong in ALL {
        let what = match wrong {
            Wrong::Zeroed => "blocks zeroed",
            Wrong::Filled => "blocks full of 0xFF",
            Wrong::SwappedWithin => "blocks swapped within a segment",
            Wrong::SwappedBetween => "blocks swapped between segments",
            Wrong::Doubled => "blocks doubled from elsewhere",
            Wrong::Foreign => "blocks of another log",
            Wrong::Stale => "blocks of an earlier time",
        };
        let figure = Figure::of("C2", what, [30, 10_000, 10_000]);
        let count = shared(seeds("STRANDLOG_TEST_BLOCKS"), 16, |seeds| {
            for seed in &seeds {
                let chance = Chance::new(*seed);
                let logs = &logs[usize::from(seed % 2 == 1)];
                let (disk, place) = (0..1_000)
                    .find_map(|_| logs.spoil(wrong, &chance))
                    .ok_or("no block to spoil")?;
                logs.check(&disk)
                    .map_err(|error| format!("seed {seed}, {place}: {error}"))?;
            }
            Ok(seeds.len() as u64)
        });
        figure.reached(count.unwrap_or_else(|error| panic!("{error}")));
    }
}

#[test]
fn the_tail_truncated_at_any_byte_is_refused_or_whole() {
    let logs = Logs::new(long(), 3);
    let every = usize::try_from(setting("STRANDLOG_TEST_LENGTHS_EVERY")).unwrap();
    let figure = Figure::of("C2", "lengths of the last segment", [100, 16_384, 16_384]);
    let tail = logs.segments.last().unwrap();
    let bytes = logs.truth.disk.read_file(tail);
    let count = shared((0..bytes.len()).step_by(every), 16, |lens| {
        for len in &lens {
            let disk = logs.truth.copy();
            disk.write_file(tail, &bytes[..*len]);
            let outcome = logs.truth.check(&disk, &format!("{len} bytes left"));
            let is_whole = *len > data_end(&bytes) - 48;
            if outcome != Outcome::Refused && !is_whole {
                return Err(format!("{len} bytes left: {outcome:?}"));
            }
        }
        Ok(lens.len() as u64)
    });
    figure.reached(count.unwrap_or_else(|error| panic!("{error}")));
}
