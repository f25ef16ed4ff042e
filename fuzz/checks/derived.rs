//! What the target `derived` checks: a log one of whose derived files, or whose checkpoint log, is
//! made of any bytes.
//!
//! The log below is always the same: two sealed segments and a tail. An input is a byte of flags,
//! a byte that chooses a file, two bytes (little-endian) that say how much of that file stays as it
//! is, and what comes behind that.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use strandlog_engine::fuzzing::{Chaining, right_checksums};
use strandlog_engine::storage::sim::SimDisk;
use strandlog_engine::{
    Background, Batch, Checkpoint, Clock, Direction, Entropy, EventId, Log, OpenError, Options,
    Query, Tag, describe_file, verify,
};

/// Checksums are made right.
const REPAIRED: u8 = 1;
/// Batches of a checkpoint log are chained anew.
const CHAINED: u8 = 2;
/// Another event is published.
const GOES_ON: u8 = 4;
/// The files are verified and described.
const LOOKED_AT: u8 = 8;

const SEGMENT_LEN: u64 = 16 << 10;
/// Tags that are asked for: one of all events, one of some, one of one, one of none.
const TAGS: [&[u8]; 4] = [b"all", b"some 3", b"one 80", b"none"];

#[derive(Debug)]
struct Steady(AtomicU64);

impl Clock for Steady {
    fn now_us(&self) -> u64 {
        self.0.fetch_add(1, Ordering::Relaxed)
    }
}

impl Entropy for Steady {
    fn next_u64(&self) -> u64 {
        self.0.fetch_add(0x9e37_79b9_7f4a_7c15, Ordering::Relaxed)
    }
}

fn open(disk: &SimDisk) -> Result<Log, OpenError> {
    let options = Options {
        segment_len: SEGMENT_LEN,
        background: Background::Inline,
        clock: Arc::new(Steady(AtomicU64::new(1))),
        entropy: Arc::new(Steady(AtomicU64::new(1))),
        ..Options::default()
    };
    Log::open(disk.root(), options).map(|(log, _)| log)
}

/// The log, and what it answers.
struct Base {
    /// By name.
    files: BTreeMap<String, Vec<u8>>,
    /// The files that inputs change.
    changed: Vec<String>,
    bodies: Bodies,
    matches: Vec<Vec<u64>>,
}

fn base() -> &'static Base {
    static BASE: OnceLock<Base> = OnceLock::new();
    BASE.get_or_init(|| {
        let disk = SimDisk::new();
        let log = open(&disk).expect("an empty directory opens");
        let mut number = 0;
        while log.describe().segments < 3 {
            let mut batch = Batch::new();
            for _ in 0..10 {
                number += 1;
                let some = format!("some {}", number % 7);
                let one = format!("one {number}");
                let tags = [b"all", some.as_bytes(), one.as_bytes()].map(Tag::new);
                // Most have one tag, so that a segment has more of them than fit into an entry.
                let count = if number % 4 == 0 { 3 } else { 1 };
                let body = format!("{number}");
                batch
                    .push(&tags[..count], &[body.as_bytes()])
                    .expect("it is small");
            }
            log.append(batch).wait().expect("the disk is sound");
        }
        for name in ["one", "two", "three"] {
            let checkpoint = Checkpoint {
                position: 7,
                definition: name.as_bytes().to_vec().into(),
            };
            let created = log.create_checkpoint(name, checkpoint).wait();
            created.expect("the name is new");
        }
        log.upkeep_now();
        log.close().expect("the disk is sound");
        let log = open(&disk).expect("it was closed in order");
        let (bodies, matches) = answers(&log);
        let bodies = bodies.expect("it is sound");
        let matches = matches.into_iter().map(|ids| ids.expect("it is sound"));
        let matches = matches.collect();
        drop(log);
        let mut files = BTreeMap::new();
        for path in disk.paths() {
            if path != "lock" && path != "prepared.tmp" {
                files.insert(path.clone(), disk.read_file(&path));
            }
        }
        let mut changed: Vec<String> = files.keys().cloned().collect();
        changed.retain(|name| !name.ends_with(".seg"));
        Base {
            files,
            changed,
            bodies,
            matches,
        }
    })
}

/// What a log says, or why it does not.
type Answer<T> = Result<T, String>;
type Bodies = Vec<Vec<u8>>;

/// Some of the records in order, and the ids of each tag.
fn answers(log: &Log) -> (Answer<Bodies>, Vec<Answer<Vec<u64>>>) {
    let ids = log.first().get()..log.end().get();
    let mut bodies: Answer<Bodies> = Ok(Vec::new());
    // Most ways through a sparse index, and not each of them.
    for number in ids.step_by(13) {
        let body = body(log, number);
        bodies = bodies.and_then(|mut bodies| {
            bodies.push(body?);
            Ok(bodies)
        });
    }
    let matches = TAGS.iter().map(|tag| matches(log, tag)).collect();
    (bodies, matches)
}

fn body(log: &Log, number: u64) -> Answer<Vec<u8>> {
    let id = EventId::new(number).expect("it lies between two ids");
    let read = log.read(id).map_err(|error| format!("{error:?}"))?;
    let records = read.ok_or("no record")?;
    let record = records.get(0).map_err(|error| format!("{error:?}"))?;
    let record = record.ok_or("no record")?;
    assert_eq!(record.id, id);
    Ok(record.body.to_vec())
}

fn matches(log: &Log, tag: &[u8]) -> Answer<Vec<u64>> {
    let query = Query {
        all: vec![vec![tag.to_vec()]],
    };
    let mut found = Vec::new();
    let mut scan = log
        .query(&query, log.first()..log.end(), Direction::Forward)
        .map_err(|error| format!("{error:?}"))?;
    while let Some(records) = scan
        .next_records(64, 1 << 20)
        .map_err(|error| format!("{error:?}"))?
    {
        found.extend(
            records
                .iter()
                .map(|record| record.expect("its page is in memory").id.get()),
        );
    }
    Ok(found)
}

/// How many files there are to choose from, with their names: what seeds are made of.
#[allow(dead_code, reason = "the fuzz target makes no seeds")]
pub(crate) fn changed() -> Vec<(String, Vec<u8>)> {
    let base = base();
    let name = |name: &String| (name.clone(), base.files[name].clone());
    base.changed.iter().map(name).collect()
}

pub(crate) fn check(input: &[u8]) {
    let [flags, file, low, high, rest @ ..] = input else {
        return;
    };
    let base = base();
    let name = &base.changed[usize::from(*file) % base.changed.len()];
    let was = &base.files[name];
    let kept = usize::from(u16::from_le_bytes([*low, *high]));
    let mut bytes = was[..kept.min(was.len())].to_vec();
    bytes.extend_from_slice(rest);
    if name.ends_with(".ckp") {
        bytes.resize(was.len(), 0);
    }
    if flags & REPAIRED != 0 {
        let chaining = if flags & CHAINED != 0 {
            Chaining::Mended
        } else {
            Chaining::Kept
        };
        right_checksums(name, &mut bytes, chaining);
    }
    let disk = SimDisk::new();
    for (other, bytes) in &base.files {
        if other != name {
            disk.write_file(other, bytes);
        }
    }
    disk.write_file(name, &bytes);

    if flags & LOOKED_AT != 0 {
        let _report = verify(&disk.root(), &mut |_, _| {});
        let _described = describe_file(&disk.root(), name, &mut Vec::new());
    }
    let log = match open(&disk) {
        Ok(log) => log,
        Err(error) => {
            assert!(name.ends_with(".ckp"), "{name} stops the open: {error:?}");
            return;
        }
    };
    // A repaired run may say anything of tags, for what has a right checksum was meant. All else is
    // either said rightly or not at all.
    let may_lie = name.ends_with(".tags") && flags & REPAIRED != 0;
    let (bodies, matches) = answers(&log);
    if let Ok(bodies) = bodies {
        assert!(bodies == base.bodies, "{name}: other records");
    } else {
        assert!(!name.ends_with(".tags"), "{name}: {bodies:?}");
    }
    for ((tag, found), want) in TAGS.iter().zip(matches).zip(&base.matches) {
        if let Ok(found) = found
            && !may_lie
        {
            assert_eq!(&found, want, "{name}: {}", tag.escape_ascii());
        }
    }
    let _names = log.checkpoint_names();
    if flags & GOES_ON != 0 {
        let mut batch = Batch::new();
        let tags = TAGS.map(Tag::new);
        batch.push(&tags, &[b"another"]).expect("it is small");
        let _receipt = log.append(batch).wait();
        log.upkeep_now();
        let _moved = log.advance_checkpoint("two", 8).wait();
        let _closed = log.close();
    }
}
