//! Appending through the public API on the real disk, beside plain writes of the same bytes.
//!
//! One thread builds the batches and hands them over. With `sync` it waits for each receipt before
//! it goes on, unless the row says how many are in flight; with `os` there are always some in
//! flight, as with a server that has many clients. Building and checksumming the batches is part of
//! the time; the floors write bytes that lie ready.

#![allow(clippy::disallowed_methods, reason = "a benchmark measures time")]
#![allow(
    clippy::unwrap_used,
    reason = "a benchmark that meets an error has nothing to report"
)]

mod common;

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use common::floor::{BLOCK_LEN, Place, WriteFloor};
use common::pair::{Bench, Floor, Pair, Work};
use common::workload::{Shape, Workload};
use strandlog_engine::{Appending, Durability, Log, Options};
use tempfile::TempDir;

/// A log is closed and begun anew once it has this many bytes, off the clock.
const LOG_LEN_MAX: u64 = 1 << 30;
/// Batches in flight where nobody waits for a sync.
const IN_FLIGHT: usize = 16;

fn main() {
    let mut bench = Bench::new("append");
    for body_len in [200, 1_024] {
        for is_tagged in [false, true] {
            let shape = Shape {
                body_len,
                is_tagged,
            };
            synced(&mut bench, shape);
            unsynced(&mut bench, shape);
        }
    }
    bench.finish();
}

fn label(shape: Shape) -> String {
    let tags = if shape.is_tagged { "3 tags" } else { "no tags" };
    match shape.body_len {
        1_024 => format!("1 KiB, {tags}"),
        len => format!("{len} B, {tags}"),
    }
}

fn synced(bench: &mut Bench, shape: Shape) {
    bench.group(&format!("append sync, {}", label(shape)), |group| {
        for (batch_len, in_flight) in [(1, 1), (1, 64), (100, 1), (1_000, 1)] {
            let name = match in_flight {
                1 => format!("{batch_len} a batch"),
                _ => format!("{batch_len} a batch, {in_flight} in flight"),
            };
            let bar = if in_flight == 1 {
                "growing >= 1.0, prewritten >= 0.9 later"
            } else {
                ""
            };
            let work = Work {
                amount: batch_len as f64,
                unit: "events/s",
                durability: "sync",
            };
            group.pair(
                &name,
                work,
                || {
                    let mut job = Appends::new(shape, Durability::Sync, batch_len, in_flight);
                    let bytes = job.bytes_a_batch();
                    let dir = common::temp_dir();
                    let mut growing = WriteFloor::new(dir.path(), Place::Growing, bytes);
                    let mut prewritten = WriteFloor::new(dir.path(), Place::Prewritten, bytes);
                    Pair {
                        job: Box::new(move |iterations| job.run(iterations)),
                        floors: vec![
                            Floor::new("write + fdatasync, growing", move |iterations| {
                                let _kept = &dir;
                                growing.write(iterations, true)
                            }),
                            Floor::new("write + fdatasync, prewritten", move |iterations| {
                                prewritten.write(iterations, true)
                            }),
                        ],
                    }
                },
                bar,
            );
        }
    });
}

fn unsynced(bench: &mut Bench, shape: Shape) {
    bench.group(&format!("append os, {}", label(shape)), |group| {
        for batch_len in [1, 100, 1_000] {
            let bar = match (batch_len, shape.body_len, shape.is_tagged) {
                (1_000, 1_024, false) => "1 MiB blocks >= 0.65 later",
                (1_000, 200, false) => ">= 10 M/s later",
                (1_000, 200, true) => ">= 3 M/s later",
                _ => "",
            };
            let work = Work {
                amount: batch_len as f64,
                unit: "events/s",
                durability: "os",
            };
            group.pair(
                &format!("{batch_len} a batch"),
                work,
                || {
                    let mut job = Appends::new(shape, Durability::Os, batch_len, IN_FLIGHT);
                    let bytes = job.bytes_a_batch();
                    let dir = common::temp_dir();
                    let mut same = WriteFloor::new(dir.path(), Place::Growing, bytes);
                    let mut blocks = WriteFloor::new(dir.path(), Place::Growing, BLOCK_LEN);
                    Pair {
                        job: Box::new(move |iterations| job.run(iterations)),
                        floors: vec![
                            Floor::new("write of each batch", move |iterations| {
                                let _kept = &dir;
                                same.write(iterations, false)
                            }),
                            Floor::new("write in 1 MiB blocks", move |iterations| {
                                // Whole blocks only: the time is that of the bytes that are due.
                                let due = iterations * bytes as u64;
                                let count = due.div_ceil(BLOCK_LEN as u64);
                                let written = count * BLOCK_LEN as u64;
                                blocks
                                    .write(count, false)
                                    .mul_f64(due as f64 / written as f64)
                            }),
                        ],
                    }
                },
                bar,
            );
        }
    });
}

/// One publisher with a log of its own.
struct Appends {
    workload: Workload,
    batch_len: usize,
    in_flight: usize,
    dir: TempDir,
    log: Log,
    written: u64,
}

impl Appends {
    fn new(shape: Shape, durability: Durability, batch_len: usize, in_flight: usize) -> Self {
        let dir = common::temp_dir();
        Self {
            workload: Workload::new(shape, durability),
            batch_len,
            in_flight,
            log: begin(&dir, durability),
            dir,
            written: 0,
        }
    }

    /// Bytes in the log for one batch that is committed alone.
    fn bytes_a_batch(&mut self) -> usize {
        const BATCH_HEADER_LEN: usize = 48;
        let mut other = Workload::new(self.workload.shape, self.workload.durability);
        other.batch(self.batch_len).encoded_len() + BATCH_HEADER_LEN
    }

    fn run(&mut self, iterations: u64) -> Duration {
        let mut spent = Duration::ZERO;
        let mut left = iterations;
        while left > 0 {
            if self.written > LOG_LEN_MAX {
                self.start_over();
            }
            let mut waiting: VecDeque<Appending> = VecDeque::with_capacity(self.in_flight);
            let started = Instant::now();
            while left > 0 && self.written <= LOG_LEN_MAX {
                if waiting.len() == self.in_flight {
                    let _receipt = waiting.pop_front().unwrap().wait().unwrap();
                }
                let batch = self.workload.batch(self.batch_len);
                self.written += batch.encoded_len() as u64;
                waiting.push_back(self.log.append(batch));
                if self.in_flight == 1 {
                    let _receipt = waiting.pop_front().unwrap().wait().unwrap();
                }
                left -= 1;
            }
            for appending in waiting {
                let _receipt = appending.wait().unwrap();
            }
            spent += started.elapsed();
        }
        spent
    }

    fn start_over(&mut self) {
        self.log.close().unwrap();
        let dir = common::temp_dir();
        self.log = begin(&dir, self.workload.durability);
        self.dir = dir;
        self.written = 0;
    }
}

fn begin(dir: &TempDir, durability: Durability) -> Log {
    let options = Options {
        durability,
        ..Options::default()
    };
    common::open(dir.path(), options)
}
