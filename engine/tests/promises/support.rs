//! What all promise tests share: small logs on the simulated disk, driven step by step.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use strandlog_engine::storage::sim::SimDisk;
use strandlog_engine::{
    AppendError, Background, Batch, Clock, Direction, Entropy, EventId, Log, OpenError, Options,
    Query, ReadError, Receipt, RecoveryReport, Tag,
};

pub(crate) use super::settings::setting;
pub(crate) use super::story::{Act, Event, Story, event, left, play, reopen, script};

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

    pub(crate) fn go_on(&self, by_us: u64) {
        self.0.fetch_add(by_us, Ordering::Relaxed);
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

/// Options for a small log without threads, the same in every run.
pub(crate) fn small(seed: u64) -> Options {
    Options {
        segment_len: 16 << 10,
        background: Background::Inline,
        clock: HandClock::at(1_000_000),
        entropy: Arc::new(Chance::new(seed)),
        #[cfg(feature = "sabotage")]
        sabotage: super::sabotage::planted(),
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
    open_with(disk, small(seed))
}

pub(crate) fn open_with(
    disk: &SimDisk,
    options: Options,
) -> Result<(Log, RecoveryReport), OpenError> {
    Log::open(disk.root(), options)
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
        for record in records.iter() {
            let record = record?;
            let tags = record.tags().map(|(tag, rank)| (tag.to_vec(), rank));
            seen.push(Seen {
                id: record.id.get(),
                recorded_at_us: record.recorded_at_us,
                tags: tags.collect(),
                body: record.body.to_vec(),
            });
        }
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
