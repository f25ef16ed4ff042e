//! Opening a log through the public API, after a clean stop and after a kill, beside reading and
//! checksumming the tail's file.
//!
//! What is on the clock is [`Log::open`] alone: the log is closed, or its process killed, off the
//! clock. Files are in the page cache. `shape.rs` does the same at 10 GB and 1,000 segments.

#![allow(clippy::disallowed_methods, reason = "a benchmark measures time")]
#![allow(
    clippy::unwrap_used,
    reason = "a benchmark that meets an error has nothing to report"
)]

mod common;

use std::hint::black_box;
use std::time::{Duration, Instant};

use common::build;
use common::crash;
use common::pair::{Bench, Floor, Pair, Work};
use common::workload::{Shape, Workload};
use strandlog_engine::{Durability, Log, Options};
use tempfile::TempDir;

const SHAPE: Shape = Shape {
    body_len: 1_024,
    is_tagged: true,
};

fn main() {
    crash::run_child_if_asked();
    let mut bench = Bench::new("open");
    let segment_len = Options::default().segment_len;
    let segments = if common::is_quick() {
        vec![1, 4]
    } else {
        vec![1, 16]
    };
    for sealed in segments {
        let name = format!("open, {sealed} sealed segments of 64 MiB, tail half full");
        bench.group(&name, |group| {
            for is_killed in [false, true] {
                let work = Work {
                    amount: 1.0,
                    unit: "opens/s",
                    durability: "sync",
                };
                group.pair(
                    if is_killed {
                        "after a kill"
                    } else {
                        "after a clean stop"
                    },
                    work,
                    || {
                        let stored = Stored::new(segment_len, sealed);
                        let tail = build::tail(stored.dir.path());
                        Pair {
                            job: Box::new(move |iterations| stored.open(iterations, is_killed)),
                            floors: vec![Floor::new("read + crc32fast of the tail", {
                                move |iterations| {
                                    let started = Instant::now();
                                    for _ in 0..iterations {
                                        black_box(build::read_and_check(&tail));
                                    }
                                    started.elapsed()
                                }
                            })],
                        }
                    },
                    if is_killed {
                        "<= 0.2 s later"
                    } else {
                        "<= 20 ms later"
                    },
                );
            }
        });
    }
    bench.finish();
}

/// A closed log.
struct Stored {
    dir: TempDir,
    segment_len: u64,
}

impl Stored {
    fn new(segment_len: u64, sealed: u64) -> Self {
        let dir = common::temp_dir();
        let options = Options {
            segment_len,
            durability: Durability::Os,
            ..Options::default()
        };
        let log = common::open(dir.path(), options);
        let mut workload = Workload::new(SHAPE, Durability::Os);
        build::fill_segments(&log, &mut workload, segment_len, sealed);
        log.upkeep_now();
        log.close().unwrap();
        Self { dir, segment_len }
    }

    fn open(&self, iterations: u64, is_killed: bool) -> Duration {
        let mut spent = Duration::ZERO;
        for _ in 0..iterations {
            if is_killed {
                crash::append_and_kill(self.dir.path(), self.segment_len);
            }
            let storage = common::storage(self.dir.path());
            let started = Instant::now();
            let (log, report) = Log::open(storage, Options::default()).unwrap();
            spent += started.elapsed();
            assert_eq!(report.clean, !is_killed);
            log.close().unwrap();
        }
        spent
    }
}
