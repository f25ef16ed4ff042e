//! What all promise tests share: small logs on the simulated disk, driven step by step, and the
//! story of what was done to them, told from outside.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use strandlog_engine::storage::sim::{Left, SimDisk};
use strandlog_engine::{
    AppendError, Background, Batch, Checkpoint, Clock, Direction, Entropy, EventId, Log, OpenError,
    Options, Query, ReadError, Receipt, RecoveryReport, Retention, Tag,
};

/// A clock that is set by hand, and moves by one microsecond a look, so that no two looks agree.
#[derive(Debug, Default)]
pub(crate) struct HandClock(AtomicU64);

impl HandClock {
    pub(crate) fn at(now_us: u64) -> Arc<Self> {
        Arc::new(Self(AtomicU64::new(now_us)))
    }

    pub(crate) fn set(&self, now_us: u64) {
        self.0.store(now_us, Ordering::Relaxed);
    }
}

impl Clock for HandClock {
    fn now_us(&self) -> u64 {
        self.0.fetch_add(1, Ordering::Relaxed)
    }
}

/// Random numbers, the same for the same seed (SplitMix64). As the log's entropy they are the same
/// in every run, but differ between two opens with different seeds.
#[derive(Debug)]
pub(crate) struct Chance(AtomicU64);

impl Chance {
    pub(crate) fn new(seed: u64) -> Self {
        Self(AtomicU64::new(seed.wrapping_mul(0x2545_f491_4f6c_dd1d)))
    }

    pub(crate) fn below(&self, end: u64) -> u64 {
        self.next_u64() % end.max(1)
    }
}

impl Entropy for Chance {
    fn next_u64(&self) -> u64 {
        let mut x = self
            .0
            .fetch_add(0x9e37_79b9_7f4a_7c15, Ordering::Relaxed)
            .wrapping_add(0x9e37_79b9_7f4a_7c15);
        x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        x ^ (x >> 31)
    }
}

/// The value of a setting of the tests, for longer runs than the usual ones.
pub(crate) fn setting(name: &str, default: u64) -> u64 {
    match std::env::var(name) {
        Ok(text) => text.parse().unwrap_or_else(|_| panic!("{name}={text}")),
        Err(_) => {
            eprintln!("{name} is not set: {default}, a short run");
            default
        }
    }
}

/// Options for a small log without threads, the same in every run.
pub(crate) fn small(seed: u64) -> Options {
    Options {
        segment_len: 16 << 10,
        background: Background::Inline,
        clock: HandClock::at(1_000_000),
        entropy: Arc::new(Chance::new(seed)),
        ..Options::default()
    }
}

/// The same with the log's own threads.
pub(crate) fn threaded(seed: u64) -> Options {
    Options {
        background: Background::Threads,
        ..small(seed)
    }
}

pub(crate) fn open(disk: &SimDisk, seed: u64) -> Result<(Log, RecoveryReport), OpenError> {
    Log::open(disk.root(), small(seed))
}

/// A batch of records with one tag and one body each.
pub(crate) fn batch(tag: &str, bodies: &[&[u8]]) -> Batch {
    let mut batch = Batch::new();
    for body in bodies {
        batch.push(&[Tag::new(tag.as_bytes())], &[body]).unwrap();
    }
    batch
}

pub(crate) fn append(log: &Log, tag: &str, bodies: &[&[u8]]) -> Result<Receipt, AppendError> {
    log.append(batch(tag, bodies)).wait()
}

/// A record as a reader sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Seen {
    pub(crate) id: u64,
    pub(crate) recorded_at_us: u64,
    pub(crate) tags: Vec<(Vec<u8>, u64)>,
    pub(crate) body: Vec<u8>,
}

/// Everything that a scan hands out, a few records at a time.
pub(crate) fn drain(scan: &mut strandlog_engine::Scan) -> Result<Vec<Seen>, ReadError> {
    let mut seen = Vec::new();
    while let Some(records) = scan.next_records(7, 1 << 20)? {
        seen.extend(records.iter().map(|record| {
            Seen {
                id: record.id.get(),
                recorded_at_us: record.recorded_at_us,
                tags: record
                    .tags()
                    .map(|(tag, rank)| (tag.to_vec(), rank))
                    .collect(),
                body: record.body.to_vec(),
            }
        }));
    }
    Ok(seen)
}

/// All records in this direction.
pub(crate) fn records(log: &Log, direction: Direction) -> Result<Vec<Seen>, ReadError> {
    drain(&mut log.scan(log.first()..log.end(), direction)?)
}

/// All bodies from the first id to the end, with their ids checked to be dense.
pub(crate) fn bodies(log: &Log) -> Vec<Vec<u8>> {
    let records = records(log, Direction::Forward).unwrap();
    let ids = records.iter().map(|record| record.id);
    assert!(
        ids.eq(log.first().get()..log.end().get()),
        "ids are dense from the first to the end"
    );
    records.into_iter().map(|record| record.body).collect()
}

/// The ids that match a query, in this direction.
pub(crate) fn matches(
    log: &Log,
    query: &Query,
    direction: Direction,
) -> Result<Vec<u64>, ReadError> {
    let seen = drain(&mut log.query(query, log.first()..log.end(), direction)?)?;
    Ok(seen.into_iter().map(|record| record.id).collect())
}

pub(crate) fn id(number: u64) -> EventId {
    EventId::new(number).unwrap()
}

/// One of `any` in each group.
pub(crate) fn query(all: &[&[&str]]) -> Query {
    Query {
        all: all
            .iter()
            .map(|any| any.iter().map(|tag| tag.as_bytes().to_vec()).collect())
            .collect(),
    }
}

/// The names and contents of all files but the lock.
pub(crate) fn contents(disk: &SimDisk) -> BTreeMap<String, Vec<u8>> {
    disk.paths()
        .into_iter()
        .filter(|path| path != "lock")
        .map(|path| {
            let bytes = disk.read_file(&path);
            (path, bytes)
        })
        .collect()
}

/// The files whose names end like this, oldest first.
pub(crate) fn files(disk: &SimDisk, ending: &str) -> Vec<String> {
    let mut paths = disk.paths();
    paths.retain(|path| path.ends_with(ending));
    paths
}

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
    /// The checkpoint that was acknowledged, and where it may be instead.
    pub(crate) checkpoint: Option<u64>,
    pub(crate) checkpoint_maybe: Vec<u64>,
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
        match act {
            Act::Append(events) => self.append(log, events),
            Act::Advance(lag) => {
                let position = (log.end().get() - 1).saturating_sub(*lag);
                self.checkpoint(log, position.max(self.checkpoint.unwrap_or(0)), true)
            }
            Act::Seek(part) => self.checkpoint(log, (log.end().get() - 1) * part / 256, false),
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
        }
    }

    pub(crate) fn append(&mut self, log: &Log, events: &[Event]) -> Result<(), String> {
        let mut batch = Batch::new();
        for event in events {
            let tags: Vec<_> = event
                .tags
                .iter()
                .map(|tag| Tag::new(tag.as_bytes()))
                .collect();
            batch.push(&tags, &[&event.body]).unwrap();
        }
        let outcome = log.append(batch).wait();
        if matches!(outcome, Ok(_) | Err(AppendError::Unknown(_))) {
            self.events.extend(events.iter().cloned());
            self.ends.push(self.last());
        }
        match outcome {
            Ok(receipt) => {
                let first = self.last() - events.len() as u64 + 1;
                assert_eq!(
                    (receipt.first_id.get(), receipt.last_id.get()),
                    (first, self.last()),
                    "ids are given out in order"
                );
                self.acknowledged = self.acknowledged.max(receipt.durable_id);
                Ok(())
            }
            Err(error) => Err(error.to_string()),
        }
    }

    fn checkpoint(&mut self, log: &Log, position: u64, forward: bool) -> Result<(), String> {
        self.checkpoint_maybe.push(position);
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
        assert_eq!(checkpoint.position, position);
        self.checkpoint = Some(position);
        self.checkpoint_maybe.clear();
        Ok(())
    }

    /// Compares everything that the log shows with the story: ids, bodies, tags and ranks, times,
    /// both directions, the tag index, the checkpoint.
    pub(crate) fn check(&self, log: &Log) -> Result<(), String> {
        let (first, end) = (log.first().get(), log.end().get());
        ensure(end > self.acknowledged, || {
            format!("{} was acknowledged, the end is {end}", self.acknowledged)
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
        let published = self.events.iter().flat_map(|event| &event.tags);
        for tag in published {
            let found = log
                .tag_end(tag.as_bytes())
                .map_err(|error| format!("tag {tag}: {error:?}"))?;
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
        let maybe = found.is_some_and(|found| self.checkpoint_maybe.contains(&found));
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
        self.checkpoint = log
            .checkpoint(CONSUMER)
            .map(|checkpoint| checkpoint.position);
        self.checkpoint_maybe.clear();
    }
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
            6 => acts.push(Act::Upkeep),
            7 if round > rounds / 2 => acts.push(Act::Keep(rounds)),
            _ => {}
        }
    }
    acts
}

/// Opens the log on `disk` and plays the script until something fails.
pub(crate) fn play(disk: &SimDisk, seed: u64, story: &mut Story, acts: &[Act]) {
    let Ok((log, _)) = open(disk, seed) else {
        return;
    };
    for act in acts {
        if story.act(&log, act).is_err() {
            return;
        }
    }
    let _closed = log.close();
}

/// Opens the log on `disk`, which must work, and compares it with the story.
pub(crate) fn reopen(disk: &SimDisk, seed: u64, story: &mut Story) -> Result<Log, String> {
    let (log, _) = open(disk, seed).map_err(|error| format!("does not open: {error:?}"))?;
    story.check(&log)?;
    story.settle(&log);
    Ok(log)
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
