//! What the benches share: the workload, the floors to measure against, and the report.
//!
//! A floor is the least that the machine must do for the same job (write and sync the same bytes,
//! checksum the same bytes), without an engine. It is measured in the same run, a sample of the job
//! and a sample of the floor in turns, because the absolute figures of a shared machine drift.
//!
//! | variable | effect |
//! |---|---|
//! | `STRANDLOG_BENCH_QUICK` | few and short samples, small logs: for a look, not for the record |
//! | `STRANDLOG_BENCH_DIR` | where the logs are put; by default Cargo's directory for such files |
//! | `STRANDLOG_BENCH_CSV` | a file to which the rows of the table are added |

#![allow(dead_code, reason = "each bench uses its part")]
#![allow(clippy::disallowed_methods, reason = "a benchmark measures time")]
#![allow(
    clippy::unwrap_used,
    reason = "a benchmark that meets an error has nothing to report"
)]

pub(crate) mod build;
pub(crate) mod crash;
pub(crate) mod floor;
pub(crate) mod machine;
pub(crate) mod mapped;
pub(crate) mod pair;
pub(crate) mod report;
pub(crate) mod workload;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use strandlog_engine::storage::{DiskStorage, Storage};
use strandlog_engine::{Log, Options};
use tempfile::TempDir;

/// Whether the run is to be short rather than exact.
pub(crate) fn is_quick() -> bool {
    std::env::var_os("STRANDLOG_BENCH_QUICK").is_some_and(|value| value != "0")
}

/// The directory under which everything is put.
pub(crate) fn base_dir() -> PathBuf {
    std::env::var_os("STRANDLOG_BENCH_DIR")
        .map_or_else(|| PathBuf::from(env!("CARGO_TARGET_TMPDIR")), PathBuf::from)
}

/// A new directory on the disk that is measured; removed when it is dropped.
pub(crate) fn temp_dir() -> TempDir {
    std::fs::create_dir_all(base_dir()).unwrap();
    tempfile::Builder::new()
        .prefix("strandlog-bench-")
        .tempdir_in(base_dir())
        .unwrap()
}

/// The real disk at this path.
pub(crate) fn storage(path: &Path) -> Arc<dyn Storage> {
    Arc::new(DiskStorage::create(path).unwrap())
}

/// Opens the log at this path.
pub(crate) fn open(path: &Path, options: Options) -> Log {
    Log::open(storage(path), options).unwrap().0
}
