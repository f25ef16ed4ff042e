//! Reading through the public API, from the page cache, beside a mapped scan of the same bytes with
//! the same checksum.
//!
//! Every read of the engine is checked, and so is every read of the floors. A scan hands out checked
//! records; "each looked at" also parses every one, which the floor does not.

#![allow(clippy::disallowed_methods, reason = "a benchmark measures time")]
#![allow(
    clippy::unwrap_used,
    reason = "a benchmark that meets an error has nothing to report"
)]

mod common;

use std::hint::black_box;
use std::rc::Rc;
use std::time::{Duration, Instant};

use common::floor::CopyFloor;
use common::mapped::{MappedLog, Place};
use common::pair::{Bench, Floor, Pair, Work};
use common::workload::{Random, SEED, Shape, Workload, key_tag, stream_tag, type_tag};
use strandlog_engine::{Batch, Direction, Durability, EventId, Log, Options, Query, Records, Tag};
use tempfile::TempDir;

/// Records a read of a range asks for at a time, and bytes.
const RECORDS_MAX: usize = 16_384;
const BYTES_MAX: usize = 1 << 20;
/// Events of a stream in the log of streams.
const STREAM_LEN: u64 = 10;

fn main() {
    let mut bench = Bench::new("range");
    for body_len in [200, 1_024] {
        for is_tagged in [false, true] {
            ranges(
                &mut bench,
                Shape {
                    body_len,
                    is_tagged,
                },
            );
        }
    }
    points(&mut bench);
    bench.finish();
}

/// A log in the page cache, all in place: sealed segments indexed, runs merged.
struct Stored {
    _dir: TempDir,
    log: Log,
    mapped: MappedLog,
    records: u64,
    bytes: u64,
}

impl Stored {
    fn new(fill: impl FnOnce(&Log)) -> Self {
        let dir = common::temp_dir();
        let options = Options {
            durability: Durability::Os,
            ..Options::default()
        };
        let log = common::open(dir.path(), options);
        fill(&log);
        log.flush().unwrap();
        log.upkeep_now();
        let mapped = MappedLog::open(dir.path());
        let (records, bytes) = mapped.scan();
        assert_eq!(records, log.end().get() - 1);
        Self {
            _dir: dir,
            log,
            mapped,
            records,
            bytes,
        }
    }
}

/// A value that is made when it is first needed and shared by the jobs of a group.
struct Lazy<T, F> {
    value: Option<Rc<T>>,
    make: F,
}

impl<T, F: Fn() -> T> Lazy<T, F> {
    fn new(make: F) -> Self {
        Self { value: None, make }
    }

    fn get(&mut self) -> Rc<T> {
        Rc::clone(self.value.get_or_insert_with(|| Rc::new((self.make)())))
    }
}

fn ranges(bench: &mut Bench, shape: Shape) {
    let bytes_wanted: u64 = if common::is_quick() {
        96 << 20
    } else {
        256 << 20
    };
    let record_len = shape.body_len as u64 + if shape.is_tagged { 136 } else { 32 };
    let count = bytes_wanted / record_len / 1_000 * 1_000;
    let mut stored = Lazy::new(|| {
        Stored::new(|log| {
            let mut workload = Workload::new(shape, Durability::Os);
            for _ in 0..count / 1_000 {
                let _receipt = log.append(workload.batch(1_000)).wait().unwrap();
            }
        })
    });
    let tags = if shape.is_tagged { "3 tags" } else { "no tags" };
    let body = match shape.body_len {
        1_024 => "1 KiB".to_owned(),
        len => format!("{len} B"),
    };
    // Known beforehand, so that what was not asked for is not built: every record is of one length.
    let bytes = (count * record_len) as f64 / 1e9;
    bench.group(&format!("scan, {body}, {tags}"), |group| {
        for (name, read) in READS {
            for (unit, amount) in [("GB/s", bytes), ("records/s", count as f64)] {
                if unit == "records/s" && *name != "forward" {
                    continue;
                }
                let label = match unit {
                    "records/s" => format!("{name}, in records"),
                    _ => (*name).to_owned(),
                };
                let work = Work {
                    amount,
                    unit,
                    durability: "-",
                };
                let stored = &mut stored;
                group.pair(
                    &label,
                    work,
                    || {
                        let stored = stored.get();
                        assert_eq!(stored.bytes, count * record_len);
                        let (scanned, copied) = (Rc::clone(&stored), Rc::clone(&stored));
                        let mut copy = CopyFloor::new();
                        let mut floors = vec![Floor::new("map + crc32fast", move |iterations| {
                            timed(iterations, || {
                                let _read = black_box(scanned.mapped.scan());
                            })
                        })];
                        if unit == "GB/s" && *name == "forward" {
                            floors.push(Floor::new("memcpy", move |iterations| {
                                timed(iterations, || {
                                    copied.mapped.segments().for_each(|it| copy.copy(it));
                                })
                            }));
                        }
                        Pair {
                            job: Box::new(move |iterations| {
                                timed(iterations, || {
                                    black_box(read(&stored.log));
                                })
                            }),
                            floors,
                        }
                    },
                    if *name == "forward" {
                        "map + crc32fast >= 0.8, 0.9 later"
                    } else {
                        ""
                    },
                );
            }
        }
    });
}

type Read = fn(&Log) -> u64;

const READS: &[(&str, Read)] = &[
    ("forward", |log| scan(log, Direction::Forward, Records::len)),
    ("forward, each looked at", |log| {
        scan(log, Direction::Forward, look_at)
    }),
    ("backward, each looked at", |log| {
        scan(log, Direction::Backward, look_at)
    }),
    ("raw", raw),
];

/// Parses every record, and uses its id and its body.
fn look_at(records: &Records) -> usize {
    records
        .iter()
        .map(Result::unwrap)
        .map(|record| (record.id.get() & 1) as usize + record.body.len())
        .sum()
}

fn scan(log: &Log, direction: Direction, use_up: fn(&Records) -> usize) -> u64 {
    let mut sum = 0;
    let mut scan = log.scan(log.first()..log.end(), direction).unwrap();
    while let Some(records) = scan.next_records(RECORDS_MAX, BYTES_MAX).unwrap() {
        sum += use_up(&records) as u64;
    }
    sum
}

fn raw(log: &Log) -> u64 {
    let mut sum = 0;
    let mut raw = log.raw(log.first()..log.end()).unwrap();
    while let Some(slices) = raw.next_piece(BYTES_MAX).unwrap() {
        sum += slices.iter().map(|slice| slice.len() as u64).sum::<u64>();
    }
    sum
}

fn timed(iterations: u64, mut job: impl FnMut()) -> Duration {
    let started = Instant::now();
    for _ in 0..iterations {
        job();
    }
    started.elapsed()
}

/// Single events and short streams, in random order.
fn points(bench: &mut Bench) {
    let events: u64 = if common::is_quick() {
        200_000
    } else {
        2_000_000
    };
    let streams = events / STREAM_LEN;
    let mut stored = Lazy::new(|| {
        let stored = Stored::new(|log| fill_streams(log, streams));
        let places = stored.mapped.places();
        (stored, places)
    });
    let name = format!(
        "read, {} M events of 200 B, 3 tags",
        events as f64 / 1_000_000.0
    );
    bench.group(&name, |group| {
        for (label, ids_per_read, bar, read) in POINTS {
            let work = Work {
                amount: 1.0,
                unit: "reads/s",
                durability: "-",
            };
            let stored = &mut stored;
            group.pair(
                label,
                work,
                || {
                    let stored = stored.get();
                    let other = Rc::clone(&stored);
                    let mut job_random = Random::new(SEED);
                    let mut floor_random = Random::new(SEED);
                    Pair {
                        job: Box::new(move |iterations| {
                            timed(iterations, || {
                                black_box(read(&stored.0.log, streams, &mut job_random));
                            })
                        }),
                        floors: vec![Floor::new("map + crc32fast", move |iterations| {
                            timed(iterations, || {
                                let (stored, places) = &*other;
                                let at = floor_random.below(stored.records);
                                let at = usize::try_from(at).unwrap();
                                let len = usize::try_from(streams).unwrap();
                                black_box(check(&stored.mapped, places, at, len, *ids_per_read));
                            })
                        })],
                    }
                },
                bar,
            );
        }
    });
}

/// Checks `count` records that lie as far apart as those of one stream.
fn check(mapped: &MappedLog, places: &[Place], at: usize, apart: usize, count: usize) -> usize {
    (0..count)
        .map(|turn| mapped.check(places[(at + turn * apart) % places.len()]))
        .sum()
}

/// [`STREAM_LEN`] rounds over all streams, so that each is spread over the whole log.
fn fill_streams(log: &Log, streams: u64) {
    const BATCH_LEN: u64 = 1_000;
    let shape = Shape {
        body_len: 200,
        is_tagged: true,
    };
    let mut workload = Workload::new(shape, Durability::Os);
    for round in 0..STREAM_LEN {
        for start in (0..streams).step_by(BATCH_LEN as usize) {
            let mut batch = Batch::new();
            for stream in start..(start + BATCH_LEN).min(streams) {
                let tags = (
                    stream_tag(stream),
                    type_tag(stream % 16),
                    key_tag(round * streams + stream),
                );
                let tags = [Tag::new(&tags.0), Tag::new(&tags.1), Tag::new(&tags.2)];
                batch.push(&tags, &[workload.body()]).unwrap();
            }
            let _receipt = log.append(batch).wait().unwrap();
        }
    }
}

type PointRead = fn(&Log, u64, &mut Random) -> u64;

/// Name, records read, bar, and how.
const POINTS: &[(&str, usize, &str, PointRead)] = &[
    ("by id", 1, ">= 2.0 M/s later", by_id),
    ("by (stream, sequence)", 1, ">= 1.0 M/s later", by_rank),
    ("by key", 1, "", by_key),
    ("a stream of 10 events", 10, "", whole_stream),
    ("where a stream ends", 0, "", stream_end),
];

fn by_id(log: &Log, _streams: u64, random: &mut Random) -> u64 {
    let id = EventId::new(1 + random.below(log.end().get() - 1)).unwrap();
    body_len(log, id)
}

fn body_len(log: &Log, id: EventId) -> u64 {
    let records = log.read(id).unwrap().unwrap();
    records.get(0).unwrap().unwrap().body.len() as u64
}

fn by_rank(log: &Log, streams: u64, random: &mut Random) -> u64 {
    let stream = stream_tag(random.below(streams));
    let rank = random.below(STREAM_LEN);
    let id = log.id_at_rank(&stream, rank).unwrap().unwrap();
    body_len(log, id)
}

fn by_key(log: &Log, streams: u64, random: &mut Random) -> u64 {
    let key = key_tag(random.below(streams * STREAM_LEN));
    let end = log.tag_end(&key).unwrap().unwrap();
    body_len(log, EventId::new(end.last_id).unwrap())
}

fn whole_stream(log: &Log, streams: u64, random: &mut Random) -> u64 {
    let stream = stream_tag(random.below(streams));
    let query = Query {
        all: vec![vec![stream.to_vec()]],
    };
    let mut scan = log
        .query(&query, log.first()..log.end(), Direction::Forward)
        .unwrap();
    let mut sum = 0;
    let mut count = 0;
    while let Some(records) = scan.next_records(100, BYTES_MAX).unwrap() {
        for record in records.iter() {
            let record = record.unwrap();
            sum += record.body.len() as u64;
            count += 1;
        }
    }
    assert_eq!(count, STREAM_LEN);
    sum
}

fn stream_end(log: &Log, streams: u64, random: &mut Random) -> u64 {
    let stream = stream_tag(random.below(streams));
    log.tag_end(&stream).unwrap().unwrap().count
}
