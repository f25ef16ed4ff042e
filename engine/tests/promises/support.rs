//! What all promise tests share: small logs on the simulated disk, driven step by step.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use strandlog_engine::storage::sim::SimDisk;
use strandlog_engine::{
    AppendError, Background, Batch, Clock, Direction, Entropy, EventId, Log, OpenError, Options,
    Receipt, RecoveryReport, Tag,
};

/// A clock that moves by one microsecond a look.
#[derive(Debug, Default)]
pub(crate) struct StepClock(AtomicU64);

impl Clock for StepClock {
    fn now_us(&self) -> u64 {
        self.0.fetch_add(1, Ordering::Relaxed)
    }
}

/// Numbers that are the same in every run, but differ between two opens.
#[derive(Debug)]
pub(crate) struct SeededEntropy(AtomicU64);

impl SeededEntropy {
    pub(crate) fn new(seed: u64) -> Self {
        Self(AtomicU64::new(seed))
    }
}

impl Entropy for SeededEntropy {
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
        clock: Arc::new(StepClock::default()),
        entropy: Arc::new(SeededEntropy::new(seed)),
        ..Options::default()
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

/// All bodies from the first id to the end, with their ids checked to be dense.
pub(crate) fn bodies(log: &Log) -> Vec<Vec<u8>> {
    let mut bodies = Vec::new();
    let mut next = log.first();
    let mut scan = log.scan(next..log.end(), Direction::Forward).unwrap();
    while let Some(records) = scan.next_records(7, 1 << 20).unwrap() {
        for record in records.iter() {
            assert_eq!(record.id, next, "ids are dense");
            next = next.next().unwrap();
            bodies.push(record.body.to_vec());
        }
    }
    assert_eq!(next, log.end(), "everything below the end is readable");
    bodies
}

pub(crate) fn id(number: u64) -> EventId {
    EventId::new(number).unwrap()
}
