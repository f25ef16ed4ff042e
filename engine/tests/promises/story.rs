//! The story of what was done to a log, told from outside: what a client was told, never what the log
//! says of itself. Whatever the log shows later is compared with it.

use std::collections::{BTreeMap, BTreeSet};

use strandlog_engine::storage::sim::{Left, SimDisk};
use strandlog_engine::{
    AppendError, Batch, Checkpoint, Direction, Durability, Log, Options, Query, Retention, Tag,
    verify,
};

use super::support::{Chance, Seen, matches, open_with, records, small};

/// What was published: the tags in order, and the body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Event {
    pub(crate) tags: Vec<String>,
    pub(crate) body: Vec<u8>,
}

/// What can be done to a log.
#[derive(Clone, Debug)]
pub(crate) enum Act {
    Append(Vec<Event>),
    /// Acknowledge all but so many events.
    Advance(u64),
    /// Move the checkpoint to this part (of 256) of the log.
    Seek(u64),
    Upkeep,
    /// Keep about so many records.
    Keep(u64),
    Flush,
    /// Remove the checkpoint.
    Forget,
}

/// What was done to a log, kept by whoever did it. Whatever the log shows is compared with it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Story {
    /// What has, or may have, the ids from 1 on.
    pub(crate) events: Vec<Event>,
    /// The last id of each batch.
    pub(crate) ends: Vec<u64>,
    /// The last id that was acknowledged as durable.
    pub(crate) acknowledged: u64,
    /// The last id that a reader may have seen, or that was said to be durable.
    pub(crate) seen: u64,
    /// The log shows what is not durable yet, and says so.
    pub(crate) is_weak: bool,
    /// The checkpoint that was acknowledged, and what it may be instead.
    pub(crate) checkpoint: Option<u64>,
    pub(crate) checkpoint_maybe: Vec<Option<u64>>,
    /// How many records retention was told to keep.
    pub(crate) kept_min: Option<u64>,
}

pub(crate) const CONSUMER: &str = "consumer";

fn ensure(holds: bool, what: impl FnOnce() -> String) -> Result<(), String> {
    if holds { Ok(()) } else { Err(what()) }
}

impl Story {
    /// The last id that was given out, for certain or perhaps.
    pub(crate) fn last(&self) -> u64 {
        self.events.len() as u64
    }

    /// Does one thing to the log, and notes what came of it; an error ends the story for this open.
    pub(crate) fn act(&mut self, log: &Log, act: &Act) -> Result<(), String> {
        let outcome = self.act_unseen(log, act);
        self.look(log);
        outcome
    }

    /// A reader comes by.
    fn look(&mut self, log: &Log) {
        let durable = log.durable_end().get() - 1;
        let shown = if self.is_weak { 0 } else { log.end().get() - 1 };
        self.seen = self.seen.max(durable).max(shown);
    }

    fn act_unseen(&mut self, log: &Log, act: &Act) -> Result<(), String> {
        match act {
            Act::Append(events) => self.append(log, events),
            Act::Advance(_) | Act::Seek(_) => {
                let (position, forward) = self.target(log, act);
                self.checkpoint(log, position, forward)
            }
            Act::Upkeep => {
                log.upkeep_now();
                Ok(())
            }
            Act::Keep(records) => {
                let records = *records;
                self.kept_min = Some(self.kept_min.map_or(records, |min| min.min(records)));
                log.set_retention(Retention {
                    records_max: Some(records),
                    ..Retention::default()
                });
                log.expire_now().map_err(|error| error.to_string())
            }
            Act::Flush => log.flush().map_err(|error| error.to_string()),
            Act::Forget if self.checkpoint.is_none() => Ok(()),
            Act::Forget => {
                self.checkpoint_maybe.push(None);
                let removing = log.remove_checkpoint(CONSUMER).wait();
                removing.map_err(|error| error.to_string())?;
                self.checkpoint = None;
                self.checkpoint_maybe.clear();
                Ok(())
            }
        }
    }

    /// What the log may show while the act is under way, in which nothing fails.
    pub(crate) fn during(&self, log: &Log, act: &Act) -> Self {
        let mut during = self.clone();
        match act {
            Act::Append(events) => {
                during.events.extend(events.iter().cloned());
                during.ends.push(during.last());
            }
            Act::Advance(_) | Act::Seek(_) => {
                let (position, _) = self.target(log, act);
                during.checkpoint_maybe.push(Some(position));
            }
            Act::Forget => during.checkpoint_maybe.push(None),
            Act::Keep(records) => {
                let kept_min = during.kept_min.unwrap_or(*records).min(*records);
                during.kept_min = Some(kept_min);
            }
            Act::Upkeep | Act::Flush => {}
        }
        during
    }

    /// Where an act moves the checkpoint, and whether it may only go forward.
    fn target(&self, log: &Log, act: &Act) -> (u64, bool) {
        let end = log.end().get() - 1;
        match act {
            Act::Seek(part) => (end * part / 256, false),
            Act::Advance(lag) => {
                let position = end.saturating_sub(*lag);
                (position.max(self.checkpoint.unwrap_or(0)), true)
            }
            _ => unreachable!("{act:?} moves no checkpoint"),
        }
    }

    /// Publishes an event that is there again, as a client does that got no answer: its key must say
    /// where it is.
    fn publish_again(&self, log: &Log, id: u64) -> Result<(), String> {
        let Some(event) = self.events.get(usize::try_from(id - 1).unwrap()) else {
            return Ok(());
        };
        match log.append(batch_of(std::slice::from_ref(event))).wait() {
            Err(AppendError::Ranks(found)) => ensure(
                found.len() == 1
                    && found[0].actual == 1
                    && found[0].last_id.map(|id| id.get()) == Some(id),
                || format!("the key of {id} is said to be {found:?}"),
            ),
            Ok(receipt) => Err(format!("{id} is stored again as {}", receipt.first_id)),
            Err(error) => Err(error.to_string()),
        }
    }

    pub(crate) fn append(&mut self, log: &Log, events: &[Event]) -> Result<(), String> {
        let outcome = log.append(batch_of(events)).wait();
        if matches!(outcome, Ok(_) | Err(AppendError::Unknown(_))) {
            self.events.extend(events.iter().cloned());
            self.ends.push(self.last());
        }
        match outcome {
            Ok(receipt) => {
                let first = self.last() - events.len() as u64 + 1;
                let ids = (receipt.first_id.get(), receipt.last_id.get());
                ensure(ids == (first, self.last()), || {
                    format!("{ids:?} was given out after {}", first - 1)
                })?;
                self.acknowledged = self.acknowledged.max(receipt.durable_id);
                Ok(())
            }
            Err(error) => Err(error.to_string()),
        }
    }

    fn checkpoint(&mut self, log: &Log, position: u64, forward: bool) -> Result<(), String> {
        self.checkpoint_maybe.push(Some(position));
        let changing = match (self.checkpoint, forward) {
            (None, _) => log.create_checkpoint(
                CONSUMER,
                Checkpoint {
                    position,
                    // So long that a few changes fill the file, and it is compacted.
                    definition: vec![b'd'; 1_500].into(),
                },
            ),
            (Some(_), true) => log.advance_checkpoint(CONSUMER, position),
            (Some(_), false) => log.seek_checkpoint(CONSUMER, position),
        };
        let checkpoint = changing.wait().map_err(|error| error.to_string())?;
        ensure(checkpoint.position == position, || {
            format!(
                "the checkpoint went to {}, not {position}",
                checkpoint.position
            )
        })?;
        self.checkpoint = Some(position);
        self.checkpoint_maybe.clear();
        Ok(())
    }

    /// Compares everything that the log shows with the story: ids, bodies, tags and ranks, times,
    /// both directions, the tag index, the checkpoint.
    pub(crate) fn check(&self, log: &Log) -> Result<(), String> {
        let first = log.first();
        let outcome = self.check_once(log);
        // Upkeep on a thread of its own may let segments go between two looks.
        if outcome.is_err() && log.first() != first {
            return self.check(log);
        }
        outcome
    }

    fn check_once(&self, log: &Log) -> Result<(), String> {
        let (first, end) = (log.first().get(), log.end().get());
        ensure(end > self.acknowledged, || {
            format!("{} was acknowledged, the end is {end}", self.acknowledged)
        })?;
        ensure(end > self.seen, || {
            format!("{} was readable, the end is {end}", self.seen)
        })?;
        ensure(end == 1 || self.ends.contains(&(end - 1)), || {
            format!("the log ends before {end}, in the middle of a batch")
        })?;
        let first_max = self
            .kept_min
            .map_or(1, |kept| (self.last() + 1).saturating_sub(kept).max(1));
        ensure(first <= first_max, || {
            format!("the log begins with {first}, and {first_max} should be kept")
        })?;
        let seen = records(log, Direction::Forward).map_err(|error| format!("{error:?}"))?;
        self.check_records(&seen, first, end)?;
        let mut back = records(log, Direction::Backward).map_err(|error| format!("{error:?}"))?;
        back.reverse();
        ensure(back == seen, || {
            "backward is not forward reversed".to_owned()
        })?;
        self.check_tags(log, &seen)?;
        self.check_checkpoint(log)
    }

    fn check_records(&self, seen: &[Seen], first: u64, end: u64) -> Result<(), String> {
        ensure(seen.iter().map(|seen| seen.id).eq(first..end), || {
            format!("ids are not dense from {first} to {end}")
        })?;
        let mut ranks: BTreeMap<&str, u64> = BTreeMap::new();
        let mut seen = seen.iter();
        let mut recorded_at_us = 0;
        for (id, event) in (1..end).zip(&self.events) {
            let tags: Vec<_> = event
                .tags
                .iter()
                .map(|tag| {
                    let rank = ranks.entry(tag).or_insert(0);
                    *rank += 1;
                    (tag.as_bytes().to_vec(), *rank - 1)
                })
                .collect();
            if id < first {
                continue;
            }
            let Some(seen) = seen.next() else {
                return Err(format!("{id} is missing"));
            };
            ensure(seen.body == event.body, || {
                format!("{id} has another body: {:?}", seen.body.escape_ascii())
            })?;
            ensure(seen.tags == tags, || {
                format!("{id} has tags {:?}, not {tags:?}", seen.tags)
            })?;
            ensure(seen.recorded_at_us >= recorded_at_us, || {
                format!("the time falls at {id}")
            })?;
            recorded_at_us = seen.recorded_at_us;
        }
        Ok(())
    }

    fn check_tags(&self, log: &Log, seen: &[Seen]) -> Result<(), String> {
        let mut ends: BTreeMap<&[u8], (u64, u64)> = BTreeMap::new();
        for record in seen {
            for (tag, rank) in &record.tags {
                ends.insert(tag, (rank + 1, record.id));
            }
        }
        let published: BTreeSet<&String> =
            self.events.iter().flat_map(|event| &event.tags).collect();
        for tag in published {
            let found = log
                .tag_end(tag.as_bytes())
                .map_err(|error| format!("tag {tag}: {error:?}"))?;
            let in_memory = log.tag_end_in_memory(tag.as_bytes());
            ensure(in_memory.is_none_or(|end| end == found), || {
                format!("tag {tag} ends at {in_memory:?} in memory, not {found:?}")
            })?;
            let found = found.map(|end| (end.count, end.last_id));
            let want = ends.get(tag.as_bytes()).copied();
            ensure(found == want, || {
                format!("tag {tag} ends at {found:?}, not {want:?}")
            })?;
        }
        for (tag, _) in ends.iter().take(3) {
            let query = Query {
                all: vec![vec![tag.to_vec()]],
            };
            let want = seen
                .iter()
                .filter(|record| record.tags.iter().any(|(it, _)| it == tag))
                .map(|record| record.id);
            let found = matches(log, &query, Direction::Forward)
                .map_err(|error| format!("query: {error:?}"))?;
            ensure(want.clone().eq(found.iter().copied()), || {
                format!("tag {}: found {found:?}", tag.escape_ascii())
            })?;
        }
        Ok(())
    }

    fn check_checkpoint(&self, log: &Log) -> Result<(), String> {
        let found = log
            .checkpoint(CONSUMER)
            .map(|checkpoint| checkpoint.position);
        let maybe = self.checkpoint_maybe.contains(&found);
        ensure(found == self.checkpoint || maybe, || {
            format!(
                "the checkpoint is {found:?}, acknowledged was {:?}",
                self.checkpoint
            )
        })?;
        ensure(found.is_none_or(|found| found < log.end().get()), || {
            format!("the checkpoint {found:?} is beyond the end")
        })
    }

    /// Takes for settled what the log shows now, to go on from there.
    pub(crate) fn settle(&mut self, log: &Log) {
        let end = log.end().get();
        self.events.truncate(usize::try_from(end - 1).unwrap());
        self.ends.retain(|last| *last < end);
        self.acknowledged = log.durable_end().get() - 1;
        self.seen = self.acknowledged;
        let before = self.checkpoint;
        self.checkpoint = log
            .checkpoint(CONSUMER)
            .map(|checkpoint| checkpoint.position);
        self.checkpoint_maybe.clear();
        // What nobody was told of is shown, and gone with the power, if the name of its file is in doubt
        // and the open found no room for another file (FORMAT.md, section 10).
        if self.checkpoint != before {
            self.checkpoint_maybe.push(before);
        }
    }
}

fn batch_of(events: &[Event]) -> Batch {
    let mut batch = Batch::new();
    for event in events {
        let tags: Vec<_> = event
            .tags
            .iter()
            .map(|tag| match tag.strip_prefix('k') {
                // The key: no event has it yet.
                Some(_) => Tag::expecting(tag.as_bytes(), 0),
                None => Tag::new(tag.as_bytes()),
            })
            .collect();
        batch.push(&tags, &[&event.body]).unwrap();
    }
    batch
}

/// An event with a stream, a type, a key of its own, and a body of `len` bytes that says which it is.
pub(crate) fn event(number: u64, len: usize) -> Event {
    let mut body = format!("event {number} ").into_bytes();
    body.resize(
        body.len().max(len),
        b'a' + u8::try_from(number % 26).unwrap(),
    );
    Event {
        tags: vec![
            "s".to_owned(),
            format!("t{}", number % 3),
            format!("k{number}"),
        ],
        body,
    }
}

/// How the log of a script is opened: every other one takes the weaker durability.
pub(crate) fn options(script: u64, seed: u64) -> Options {
    let is_weak = script.is_multiple_of(2);
    Options {
        durability: if is_weak {
            Durability::Os
        } else {
            Durability::Sync
        },
        ..small(seed)
    }
}

/// A script with everything in it: batches of several sizes over some ten segments, so that index
/// runs are written and merged; checkpoints, which are compacted; retention; upkeep.
pub(crate) fn script(seed: u64, rounds: u64) -> Vec<Act> {
    let chance = Chance::new(seed);
    let mut number = seed * 1_000_000;
    let mut acts = Vec::new();
    for round in 0..rounds {
        let count = 1 + chance.below(4);
        let events = (0..count)
            .map(|_| {
                number += 1;
                event(number, usize::try_from(chance.below(900)).unwrap())
            })
            .collect();
        acts.push(Act::Append(events));
        match round % 8 {
            2 => acts.push(Act::Advance(chance.below(5))),
            4 => acts.push(Act::Seek(chance.below(256))),
            5 if chance.below(4) == 0 => acts.push(Act::Forget),
            6 => acts.push(Act::Upkeep),
            7 if round > rounds / 2 => acts.push(Act::Keep(rounds)),
            7 => acts.push(Act::Flush),
            _ => {}
        }
    }
    acts
}

/// A log whose story is told.
#[derive(Clone, Debug)]
pub(crate) struct Told {
    script: u64,
    pub(crate) story: Story,
}

impl Told {
    /// Nothing has happened yet; the log is opened as that of this script.
    pub(crate) fn new(script: u64) -> Self {
        let story = Story {
            is_weak: options(script, 0).durability == Durability::Os,
            ..Story::default()
        };
        Self { script, story }
    }

    /// Opens the log, as it may fail to while something is wrong.
    pub(crate) fn open(
        &self,
        disk: &SimDisk,
        seed: u64,
    ) -> Result<Log, strandlog_engine::OpenError> {
        open_with(disk, options(self.script, seed)).map(|(log, _)| log)
    }

    /// Opens the log and plays the script until something fails.
    pub(crate) fn play(&mut self, disk: &SimDisk, seed: u64, acts: &[Act]) {
        let Ok(log) = self.open(disk, seed) else {
            return;
        };
        for act in acts {
            if self.story.act(&log, act).is_err() {
                return;
            }
        }
        if log.close().is_ok() {
            self.story.acknowledged = self.story.last();
        }
    }

    /// Opens the log, which must work, compares it with the story, and takes for settled what it
    /// shows.
    pub(crate) fn reopen(&mut self, disk: &SimDisk, seed: u64) -> Result<Log, String> {
        let log = self
            .open(disk, seed)
            .map_err(|error| format!("does not open: {error:?}"))?;
        self.story.check(&log)?;
        self.story.settle(&log);
        Ok(log)
    }

    /// After a power cut the log goes on: keys are known, it takes more, and that survives the next
    /// cut, too.
    ///
    /// Neither cut is damage to whoever verifies the log.
    pub(crate) fn goes_on(mut self, disk: &SimDisk, seed: u64) -> Result<(), String> {
        is_sound(disk)?;
        let log = self.reopen(disk, seed)?;
        for id in [self.story.last(), log.first().get()] {
            if id >= log.first().get() && id <= self.story.last() {
                self.story.publish_again(&log, id)?;
            }
        }
        for number in 0..3 {
            let number = 90_000_000 + 2 * number;
            self.story.act(
                &log,
                &Act::Append(vec![event(number, 700), event(number + 1, 20)]),
            )?;
        }
        self.story.act(&log, &Act::Advance(1))?;
        self.story.check(&log)?;
        // No close: the power goes.
        let left = left(4 + seed % 4, seed);
        let after = disk.after_crash(left);
        is_sound(&after)
            .and_then(|()| self.reopen(&after, seed + 1))
            .map(drop)
            .map_err(|error| format!("after going on: {error}"))
    }
}

/// What a power cut or a kill leaves is torn at most, and not damaged.
fn is_sound(disk: &SimDisk) -> Result<(), String> {
    // A log of which nothing is there yet has nothing to verify.
    if !disk.paths().iter().any(|path| path.ends_with(".seg")) {
        return Ok(());
    }
    let report = verify(&disk.root(), &mut |_, _| {}).map_err(|error| format!("{error:?}"))?;
    ensure(report.damage.is_empty(), || {
        format!("verify finds damage: {:?}", report.damage)
    })
}

/// Opens the log on `disk` and plays the script until something fails.
pub(crate) fn play(disk: &SimDisk, seed: u64, story: &mut Story, acts: &[Act]) {
    let mut told = Told {
        script: 1,
        story: std::mem::take(story),
    };
    told.play(disk, seed, acts);
    *story = told.story;
}

/// Opens the log on `disk`, which must work, and compares it with the story.
pub(crate) fn reopen(disk: &SimDisk, seed: u64, story: &mut Story) -> Result<Log, String> {
    let mut told = Told {
        script: 1,
        story: std::mem::take(story),
    };
    let log = told.reopen(disk, seed);
    *story = told.story;
    log
}

/// What a power cut leaves, the `index`th kind: the four plain ones and then chance.
pub(crate) fn left(index: u64, seed: u64) -> Left {
    match index {
        0 => Left::Nothing,
        1 => Left::All,
        2 => Left::EveryOther,
        3 => Left::FirstHalf,
        _ => Left::Random(seed.wrapping_mul(31) + index),
    }
}
