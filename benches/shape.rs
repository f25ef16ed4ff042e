//! Whether costs keep their shape as a log grows: opening, appending, reading short streams, and
//! memory, at few segments and at a thousand.
//!
//! A plain program, because building the logs takes longer than measuring them:
//! `cargo bench --bench shape -- --help`.

#![allow(clippy::disallowed_methods, reason = "a benchmark measures time")]
#![allow(
    clippy::unwrap_used,
    reason = "a benchmark that meets an error has nothing to report"
)]

mod common;

use std::hint::black_box;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use clap::{Parser, ValueEnum};
use common::floor::{Place, WriteFloor};
use common::mapped::MappedLog;
use common::report::{Row, Samples, Table};
use common::workload::{Random, SEED, Shape, Workload, key_tag, stream_tag, type_tag};
use common::{build, crash, machine};
use strandlog_engine::{
    AppendError, Appending, Background, Batch, Direction, Durability, Log, Options, Query, Tag,
};

/// Measures how the costs of a log change as it grows.
///
/// Everything is put under STRANDLOG_BENCH_DIR (by default Cargo's directory for such files) and
/// removed at the end; at full size up to 15 GB at a time. Files are in the page cache.
#[derive(Debug, Parser)]
struct Arguments {
    /// Small logs, for a look of a minute or two: the bars are not meant for them.
    #[arg(long)]
    small: bool,
    /// Measure these only.
    #[arg(long, value_delimiter = ',')]
    only: Vec<Part>,
    /// Add the rows to this file.
    #[arg(long)]
    csv: Option<PathBuf>,
    /// Segments of the long log of streams [default: 1000, small: 100].
    #[arg(long)]
    segments: Option<u64>,
    /// Streams that are new in each of its segments [default: 10000, small: 1000].
    #[arg(long)]
    streams: Option<u64>,
    /// The larger of the two logs whose opening is compared, in MB [default: 10000, small: 500].
    #[arg(long)]
    open_mb: Option<u64>,
    /// `cargo bench` says this to every bench.
    #[arg(long, hide = true)]
    bench: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Part {
    /// Opening at 1 and 10 GB, and at 10 and 1,000 segments.
    Open,
    /// Appending and reading streams at 10 and at 1,000 segments, and memory there.
    Streams,
    /// A checked scan beside a mapped scan with crc32fast.
    Scan,
    /// Synced appends beside write and fdatasync.
    Sync,
}

fn main() {
    crash::run_child_if_asked();
    let arguments = Arguments::parse();
    let mut table = Table::new("shape");
    let wants = |part| arguments.only.is_empty() || arguments.only.contains(&part);
    if wants(Part::Sync) {
        sync(&mut table, arguments.small);
    }
    if wants(Part::Scan) {
        scan(&mut table, arguments.small);
    }
    if wants(Part::Streams) {
        streams(&mut table, &arguments);
    }
    if wants(Part::Open) {
        open(&mut table, &arguments);
    }
    table.finish(&common::base_dir(), arguments.csv.as_deref());
}

fn note(text: &str) {
    eprintln!("{text}");
}

/// A bar for a ratio that must not be above, or below, a limit.
fn bar(ratio: f64, sign: &str, limit: f64) -> String {
    let is_met = if sign == "<=" {
        ratio <= limit
    } else {
        ratio >= limit
    };
    format!("{sign} {limit}: {}", if is_met { "met" } else { "MISSED" })
}

// ---------------------------------------------------------------------------------------------
// Synced appends

fn sync(table: &mut Table, is_small: bool) {
    let (rounds, appends) = if is_small { (10, 20) } else { (30, 50) };
    let shape = Shape {
        body_len: 1_024,
        is_tagged: false,
    };
    for batch_len in [1, 100, 1_000] {
        note(&format!("synced appends, {batch_len} a batch"));
        let dir = common::temp_dir();
        let log = common::open(&dir.path().join("log"), Options::default());
        let mut workload = Workload::new(shape, Durability::Sync);
        let len = workload.batch(batch_len).encoded_len() + 48;
        let mut growing = WriteFloor::new(dir.path(), Place::Growing, len);
        let mut prewritten = WriteFloor::new(dir.path(), Place::Prewritten, len);
        let (mut job, mut floors) = (Vec::new(), [Vec::new(), Vec::new()]);
        // The first round warms up.
        for round in 0..=rounds {
            let started = Instant::now();
            for _ in 0..appends {
                let _receipt = log.append(workload.batch(batch_len)).wait().unwrap();
            }
            let spent = started.elapsed();
            let floor = [
                growing.write(appends, true),
                prewritten.write(appends, true),
            ];
            if round > 0 {
                let rate = |spent: std::time::Duration| {
                    appends as f64 * batch_len as f64 / spent.as_secs_f64()
                };
                job.push(rate(spent));
                for (rates, spent) in floors.iter_mut().zip(floor) {
                    rates.push(rate(spent));
                }
            }
        }
        for (name, limit, rates) in [
            ("write + fdatasync, growing", Some(1.0), &floors[0]),
            ("write + fdatasync, prewritten", None, &floors[1]),
        ] {
            let ratios = job.iter().zip(rates).map(|(job, floor)| job / floor);
            let ratio = Samples::new(ratios.collect()).median();
            let job = Samples::new(job.clone());
            table.add(Row {
                job: format!("append 1 KiB, {batch_len} a batch, one after the other"),
                figure: job.median(),
                unit: "events/s",
                spread: job.spread(),
                floor: name.to_owned(),
                floor_figure: Some(Samples::new(rates.clone()).median()),
                ratio: Some(ratio),
                durability: "sync",
                bar: limit.map_or_else(String::new, |limit| bar(ratio, ">=", limit)),
            });
        }
    }
}

// ---------------------------------------------------------------------------------------------
// Scans

fn scan(table: &mut Table, is_small: bool) {
    let (bytes, rounds) = if is_small {
        (128 << 20, 7)
    } else {
        (1 << 30, 11)
    };
    for body_len in [200, 1_024] {
        note(&format!("checked scan, {body_len} B"));
        let dir = common::temp_dir();
        let options = Options {
            durability: Durability::Os,
            ..Options::default()
        };
        let log = common::open(dir.path(), options);
        let shape = Shape {
            body_len,
            is_tagged: false,
        };
        let mut workload = Workload::new(shape, Durability::Os);
        let mut written = 0;
        while written < bytes {
            let batch = workload.batch(1_000);
            written += batch.encoded_len();
            let _receipt = log.append(batch).wait().unwrap();
        }
        log.flush().unwrap();
        log.upkeep_now();
        let mapped = MappedLog::open(dir.path());
        let (records, _) = mapped.scan();
        let pass = |looks: bool| {
            let started = Instant::now();
            let mut read = 0;
            let mut scan = log
                .scan(log.first()..log.end(), Direction::Forward)
                .unwrap();
            while let Some(records) = scan.next_records(16_384, 1 << 20).unwrap() {
                read += black_box(if looks {
                    records
                        .iter()
                        .filter(|it| !it.as_ref().unwrap().body.is_empty())
                        .count()
                } else {
                    records.len()
                });
            }
            assert_eq!(read as u64, records);
            started.elapsed()
        };
        for looks in [false, true] {
            let (mut job, mut floor) = (Vec::new(), Vec::new());
            for round in 0..=rounds {
                let scanned = pass(looks);
                let started = Instant::now();
                black_box(mapped.scan());
                let floored = started.elapsed();
                if round > 0 {
                    let rate =
                        |spent: std::time::Duration| written as f64 / spent.as_secs_f64() / 1e9;
                    job.push(rate(scanned));
                    floor.push(rate(floored));
                }
            }
            let ratios = job.iter().zip(&floor).map(|(job, floor)| job / floor);
            let ratio = Samples::new(ratios.collect()).median();
            let job = Samples::new(job);
            table.add(Row {
                job: format!(
                    "checked scan, {} MB of {body_len} B{}",
                    written / 1_000_000,
                    if looks { ", each looked at" } else { "" }
                ),
                figure: job.median(),
                unit: "GB/s",
                spread: job.spread(),
                floor: "map + crc32fast".to_owned(),
                floor_figure: Some(Samples::new(floor).median()),
                ratio: Some(ratio),
                durability: "-",
                bar: if looks {
                    String::new()
                } else {
                    bar(ratio, ">=", 0.8)
                },
            });
        }
    }
}

// ---------------------------------------------------------------------------------------------
// Streams

/// Body of each event, in bytes.
const BODY_LEN: usize = 200;
/// Encoded length of an event with three tags.
const EVENT_LEN: u64 = 336;
/// Streams of ten events that lie within one segment; new ones in each.
const CLUSTERED: u64 = 100;
/// Streams of ten events that are spread over the whole log.
const SPREAD: u64 = 100;
const STREAM_LEN: u64 = 10;
/// Where the numbers of the streams of each kind begin.
const CLUSTERED_FROM: u64 = 1 << 40;
const SPREAD_FROM: u64 = 2 << 40;
/// Streams and keys that come with the measured appends.
const FRESH_FROM: u64 = 3 << 40;

/// A log of many streams.
struct Streams {
    dir: PathBuf,
    segment_len: u64,
    segments: u64,
    /// Streams of one event.
    single: u64,
    clustered: u64,
    events: u64,
    /// The most anonymous memory that was seen while it was written.
    memory_max: u64,
    log: Option<Log>,
    fresh: u64,
    random: Random,
    workload: Workload,
}

impl Streams {
    fn build(dir: PathBuf, segments: u64, streams_per_segment: u64) -> Self {
        note(&format!("building a log of {segments} segments of streams"));
        // The events of one round fill a segment.
        let round_len = streams_per_segment + CLUSTERED * STREAM_LEN;
        let segment_len = (round_len * EVENT_LEN * 51 / 50 + 8_192).next_multiple_of(4_096);
        let mut streams = Self {
            segment_len,
            segments,
            single: 0,
            clustered: 0,
            events: 0,
            memory_max: 0,
            log: None,
            fresh: FRESH_FROM,
            random: Random::new(SEED),
            workload: Workload::new(
                Shape {
                    body_len: BODY_LEN,
                    is_tagged: true,
                },
                Durability::Os,
            ),
            dir,
        };
        streams.reopen(Background::Threads, Durability::Os);
        let started = Instant::now();
        let mut spread_round = 0;
        for round in 0_u64.. {
            let sealed = streams.sealed();
            if sealed >= segments && spread_round == STREAM_LEN {
                break;
            }
            let mut numbers = Vec::new();
            numbers.extend(streams.single..streams.single + streams_per_segment);
            streams.single += streams_per_segment;
            for _ in 0..STREAM_LEN {
                let first = CLUSTERED_FROM + streams.clustered;
                numbers.extend(first..first + CLUSTERED);
            }
            streams.clustered += CLUSTERED;
            if spread_round < STREAM_LEN && sealed >= segments * spread_round / STREAM_LEN {
                numbers.extend(SPREAD_FROM..SPREAD_FROM + SPREAD);
                spread_round += 1;
            }
            streams.publish(&numbers);
            if round % 16 == 0 {
                streams.memory_max = streams.memory_max.max(machine::anonymous_memory());
            }
        }
        let log = streams.log();
        log.flush().unwrap();
        log.upkeep_now();
        streams.memory_max = streams.memory_max.max(machine::anonymous_memory());
        note(&format!(
            "  {} events, {} streams, {:.1} s",
            streams.events,
            streams.single + streams.clustered + SPREAD,
            started.elapsed().as_secs_f64()
        ));
        streams.log = None;
        streams
    }

    fn log(&self) -> &Log {
        self.log.as_ref().unwrap()
    }

    fn sealed(&self) -> u64 {
        self.log().describe().segments - 1
    }

    fn reopen(&mut self, background: Background, durability: Durability) {
        self.log = None;
        let options = Options {
            segment_len: self.segment_len,
            background,
            durability,
            ..Options::default()
        };
        self.log = Some(common::open(&self.dir, options));
    }

    /// One event for each of these streams.
    fn publish(&mut self, numbers: &[u64]) {
        let mut last: Option<Appending> = None;
        for numbers in numbers.chunks(1_000) {
            let mut batch = Batch::with_capacity(numbers.len() * EVENT_LEN as usize);
            for number in numbers {
                let stream = stream_tag(*number);
                let kind = type_tag(number % 16);
                let key = key_tag(self.events);
                self.events += 1;
                let tags = [Tag::new(&stream), Tag::new(&kind), Tag::expecting(&key, 0)];
                batch.push(&tags, &[self.workload.body()]).unwrap();
            }
            let appending = self.log().append(batch);
            if let Some(last) = last.replace(appending) {
                let _receipt = last.wait().unwrap();
            }
        }
        if let Some(last) = last {
            let _receipt = last.wait().unwrap();
        }
    }

    fn append(&mut self, tags: &[Tag<'_>]) -> Result<f64, AppendError> {
        let mut batch = Batch::new();
        batch.push(tags, &[self.workload.body()]).unwrap();
        let log = self.log();
        let started = Instant::now();
        let appended = log.append(batch).wait();
        let spent = started.elapsed();
        appended.map(|_| spent.as_secs_f64() * 1e6)
    }

    fn read(&self, stream: u64) -> f64 {
        let stream = stream_tag(stream);
        let query = Query {
            all: vec![vec![stream.to_vec()]],
        };
        let log = self.log();
        let started = Instant::now();
        let mut scan = log
            .query(&query, log.first()..log.end(), Direction::Forward)
            .unwrap();
        let mut count = 0;
        while let Some(records) = scan.next_records(100, 1 << 20).unwrap() {
            count += records
                .iter()
                .filter(|it| it.body.len() == BODY_LEN)
                .count();
        }
        let spent = started.elapsed();
        assert_eq!(count as u64, STREAM_LEN);
        spent.as_secs_f64() * 1e6
    }

    /// One measurement of a job, in microseconds.
    fn measure(&mut self, job: Job) -> f64 {
        let kind = type_tag(self.fresh % 16);
        self.fresh += 1;
        match job {
            Job::NewStream => {
                let stream = stream_tag(self.fresh);
                self.append(&[Tag::expecting(&stream, 0), Tag::new(&kind)])
                    .unwrap()
            }
            Job::OldStream => {
                let stream = stream_tag(self.random.below(self.single));
                self.append(&[Tag::new(&stream), Tag::new(&kind)]).unwrap()
            }
            Job::NewKey => {
                let key = key_tag(self.fresh);
                self.append(&[Tag::new(&kind), Tag::expecting(&key, 0)])
                    .unwrap()
            }
            Job::OldKey => {
                let key = key_tag(self.random.below(self.events));
                let started = Instant::now();
                let refused = self.append(&[Tag::new(&kind), Tag::expecting(&key, 0)]);
                assert!(matches!(refused, Err(AppendError::Ranks(_))));
                started.elapsed().as_secs_f64() * 1e6
            }
            Job::ReadClustered => {
                let number = self.random.below(self.clustered);
                self.read(CLUSTERED_FROM + number)
            }
            Job::ReadSpread => {
                let number = self.random.below(SPREAD);
                self.read(SPREAD_FROM + number)
            }
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Job {
    NewStream,
    OldStream,
    NewKey,
    OldKey,
    ReadClustered,
    ReadSpread,
}

const JOBS: &[(Job, &str)] = &[
    (Job::NewStream, "append to a new stream"),
    (Job::OldStream, "append to an old stream"),
    (Job::NewKey, "append with a new key"),
    (Job::OldKey, "refuse a known key"),
    (Job::ReadClustered, "read 10 events of one segment"),
    (Job::ReadSpread, "read 10 events of ten segments"),
];

fn streams(table: &mut Table, arguments: &Arguments) {
    let segments = arguments
        .segments
        .unwrap_or(if arguments.small { 100 } else { 1_000 });
    let per_segment = arguments
        .streams
        .unwrap_or(if arguments.small { 1_000 } else { 10_000 });
    let dir = common::temp_dir();
    let mut long = Streams::build(dir.path().join("long"), segments, per_segment);
    let memory_row = |table: &mut Table, when: &str, bytes: u64| {
        let megabytes = bytes as f64 / 1e6;
        table.add(Row {
            job: format!("anonymous memory, {segments} segments, {when}"),
            figure: megabytes,
            unit: "MB",
            spread: 0.0,
            floor: String::new(),
            floor_figure: None,
            ratio: None,
            durability: "-",
            bar: bar(megabytes, "<=", 200.0),
        });
    };
    memory_row(table, "most while it was written", long.memory_max);
    let mut short = Streams::build(dir.path().join("short"), 10, per_segment);
    build::warm(&long.dir);
    build::warm(&short.dir);

    let counts = |is_small: bool, synced: bool| match (is_small, synced) {
        (true, false) => (10, 50),
        (false, false) => (20, 100),
        (true, true) => (10, 10),
        (false, true) => (20, 25),
    };
    for (background, durability, label) in [
        (Background::Inline, Durability::Os, "os"),
        (Background::Threads, Durability::Sync, "sync"),
    ] {
        note(&format!("appending and reading, {label}"));
        long.reopen(background, durability);
        short.reopen(background, durability);
        let is_synced = durability == Durability::Sync;
        let (rounds, turns) = counts(arguments.small, is_synced);
        for (job, name) in JOBS {
            let is_read = matches!(job, Job::ReadClustered | Job::ReadSpread);
            if is_read && is_synced {
                continue;
            }
            let mut spent = [Vec::new(), Vec::new()];
            // The first round warms up, the index pages above all.
            for round in 0..=rounds {
                for (streams, spent) in [&mut long, &mut short].into_iter().zip(&mut spent) {
                    for _ in 0..turns {
                        let us = streams.measure(*job);
                        if round > 0 {
                            spent.push(us);
                        }
                    }
                }
            }
            let [long_us, short_us] = spent.map(Samples::new);
            let ratio = long_us.median() / short_us.median();
            table.add(Row {
                job: format!("{name}, {segments} segments, {} M streams", {
                    long.single as f64 / 1e6
                }),
                figure: long_us.median(),
                unit: "us",
                spread: long_us.spread(),
                floor: "the same at 10 segments".to_owned(),
                floor_figure: Some(short_us.median()),
                ratio: Some(ratio),
                durability: if is_read { "-" } else { label },
                bar: bar(ratio, "<=", 2.0),
            });
        }
    }
    short.log = None;
    memory_row(table, "at work", machine::anonymous_memory());
    assert!(long.sealed() >= long.segments);
}

// ---------------------------------------------------------------------------------------------
// Opening

fn open(table: &mut Table, arguments: &Arguments) {
    let larger_mb = arguments
        .open_mb
        .unwrap_or(if arguments.small { 500 } else { 10_000 });
    let segments = arguments
        .segments
        .unwrap_or(if arguments.small { 100 } else { 1_000 });
    let default_len = Options::default().segment_len;
    let by_mb = |mb: u64| (mb * 1_000_000 / default_len).max(1);
    let opens = if arguments.small { 7 } else { 15 };
    let megabytes = |segments: u64, len: u64| {
        format!(
            "{:.1} GB in {segments} segments",
            (segments * len) as f64 / 1e9
        )
    };
    for (segment_len, few, many) in [
        (default_len, by_mb(larger_mb / 10), by_mb(larger_mb)),
        (1 << 20, 10, segments),
    ] {
        let dir = common::temp_dir();
        let logs = [few, many].map(|count| {
            let label = megabytes(count, segment_len);
            note(&format!("building a log of {label}"));
            let path = dir.path().join(format!("log-{count}"));
            fill(&path, segment_len, count);
            (path, label)
        });
        for is_killed in [false, true] {
            note(if is_killed {
                "opening after a kill"
            } else {
                "opening after a clean stop"
            });
            let mut spent = [Vec::new(), Vec::new()];
            for round in 0..=opens {
                for ((path, _), spent) in logs.iter().zip(&mut spent) {
                    let ms = open_once(path, segment_len, is_killed);
                    if round > 0 {
                        spent.push(ms);
                    }
                }
            }
            let [few_ms, many_ms] = spent.map(Samples::new);
            let ratio = many_ms.median() / few_ms.median();
            table.add(Row {
                job: format!(
                    "open after a {}, {}",
                    if is_killed { "kill" } else { "clean stop" },
                    logs[1].1
                ),
                figure: many_ms.median(),
                unit: "ms",
                spread: many_ms.spread(),
                floor: format!("the same at {}", logs[0].1),
                floor_figure: Some(few_ms.median()),
                ratio: Some(ratio),
                durability: "sync",
                bar: bar(ratio, "<=", 1.25),
            });
        }
    }
}

/// A log with so many sealed segments, closed.
fn fill(path: &Path, segment_len: u64, segments: u64) {
    let shape = Shape {
        body_len: 1_024,
        is_tagged: true,
    };
    let options = Options {
        segment_len,
        durability: Durability::Os,
        ..Options::default()
    };
    let log = common::open(path, options);
    let mut workload = Workload::new(shape, Durability::Os);
    build::fill_segments(&log, &mut workload, segment_len, segments);
    log.upkeep_now();
    log.close().unwrap();
}

/// How long one open takes, in milliseconds.
fn open_once(path: &Path, segment_len: u64, is_killed: bool) -> f64 {
    if is_killed {
        crash::append_and_kill(path, segment_len);
    }
    let storage: Arc<_> = common::storage(path);
    let options = Options {
        segment_len,
        ..Options::default()
    };
    let started = Instant::now();
    let (log, report) = Log::open(storage, options).unwrap();
    let spent = started.elapsed();
    assert_eq!(report.clean, !is_killed);
    log.close().unwrap();
    spent.as_secs_f64() * 1e3
}
