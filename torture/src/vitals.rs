//! What a server takes of its machine, and how fast it answers: memory, descriptors, threads, maps,
//! disk, processor time, latencies.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// A process at one moment.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Vitals {
    /// Memory that no file backs, in bytes: what the process has taken for itself.
    pub(crate) anonymous: u64,
    pub(crate) descriptors: u64,
    pub(crate) threads: u64,
    pub(crate) maps: u64,
}

impl Vitals {
    /// Those of a process; none if it is gone.
    pub(crate) fn of(pid: u32) -> Option<Self> {
        let process = Path::new("/proc").join(pid.to_string());
        let status = fs::read_to_string(process.join("status")).ok()?;
        let number = |name: &str| -> Option<u64> {
            let line = status.lines().find_map(|line| line.strip_prefix(name))?;
            line.split_whitespace().next()?.parse().ok()
        };
        let maps = fs::read_to_string(process.join("maps")).ok()?;
        Some(Self {
            anonymous: number("RssAnon:")? << 10,
            descriptors: fs::read_dir(process.join("fd")).ok()?.count() as u64,
            threads: number("Threads:")?,
            maps: maps.lines().count() as u64,
        })
    }
}

/// Memory of the system's own that all TCP connections of this machine take, in bytes: what is sent and
/// not read lies there, and in no process.
pub(crate) fn tcp_bytes() -> u64 {
    const PAGE_BYTES: u64 = 4 << 10;
    let text = fs::read_to_string("/proc/net/sockstat").unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("TCP:"));
    let pages = line.and_then(|line| line.split_once(" mem ")?.1.split_whitespace().next());
    pages
        .and_then(|pages| pages.parse::<u64>().ok())
        .unwrap_or(0)
        * PAGE_BYTES
}

/// How many tasks of this machine wanted to run in the last minute: what times have to be read beside.
pub(crate) fn load() -> f64 {
    let text = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let word = text.split_whitespace().next();
    word.and_then(|word| word.parse().ok()).unwrap_or(0.0)
}

/// The middle of some values.
pub(crate) fn median(mut values: Vec<u64>) -> u64 {
    values.sort_unstable();
    values.get(values.len() / 2).copied().unwrap_or(0)
}

/// Bytes that a directory takes on its disk, reserved ones included.
pub(crate) fn disk_bytes(directory: &Path) -> u64 {
    let Ok(entries) = fs::read_dir(directory) else {
        return 0;
    };
    let bytes = entries.flatten().map(|entry| match entry.metadata() {
        Ok(found) if found.is_dir() => disk_bytes(&entry.path()),
        Ok(found) => found.blocks() * 512,
        // Retention was faster.
        Err(_) => 0,
    });
    bytes.sum()
}

/// Bytes as MiB, for figures.
pub(crate) fn mib(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}

/// How long things took, with the moment at which each began.
#[derive(Debug, Default)]
pub(crate) struct Latencies(Mutex<Vec<(Instant, u32)>>);

impl Latencies {
    /// Adds one that began at `start` and is over.
    pub(crate) fn add(&self, start: Instant) {
        let took_us = u32::try_from(start.elapsed().as_micros()).unwrap_or(u32::MAX);
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.push((start, took_us));
    }

    /// How many there are.
    pub(crate) fn count(&self) -> usize {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    /// The time that so much of a hundred of those took that began in this span; none if none did.
    pub(crate) fn percentile(
        &self,
        percent: usize,
        from: Instant,
        to: Instant,
    ) -> Option<Duration> {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let within = all.iter().filter(|(start, _)| (from..to).contains(start));
        let mut took: Vec<u32> = within.map(|(_, took)| *took).collect();
        took.sort_unstable();
        let index = took.len() * percent / 100;
        let took_us = took.get(index.min(took.len().checked_sub(1)?))?;
        Some(Duration::from_micros(u64::from(*took_us)))
    }
}

/// A duration in milliseconds, for figures.
pub(crate) fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1_000.0
}
