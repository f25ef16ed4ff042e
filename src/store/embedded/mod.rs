//! The store in this process: one data directory, one engine log for each log in it.
//!
//! The engine logs nothing and returns reports; what is worth telling is told from here.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use parking_lot::{Mutex, RwLock};
use strandlog_engine::storage::DiskStorage;
use strandlog_engine::storage::Storage;
use strandlog_engine::{Log, OpenError, Options, RecoveryReport};

use crate::clock::Clock;

use super::{CreateError, Created, Durability, LogName, LogStore, Pending, Store, StoreLimits};
use blocking::Blocking;
use log::EmbeddedLog;

mod blocking;
mod directory;
mod log;

pub use directory::{DataDirectory, DirectoryError};
/// Lets the process live when the disk cannot give what is mapped.
pub use strandlog_engine::storage::guard_maps;

/// How a data directory is opened.
#[derive(Clone, Debug)]
pub struct EmbeddedOptions {
    /// The durability of publishes that ask for none.
    pub durability: Durability,
    /// Bytes of a segment file.
    pub segment_len: u64,
    /// The clock for the records' times.
    pub clock: Arc<dyn Clock>,
    /// How much it holds and does at a time.
    pub limits: StoreLimits,
}

/// Logs in a data directory. Clones are the same store; the directory is given back when the last
/// of them, and of its logs, is gone.
#[derive(Clone, Debug)]
pub struct EmbeddedStore(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    options: EmbeddedOptions,
    blocking: Blocking,
    logs: RwLock<BTreeMap<LogName, Arc<EmbeddedLog>>>,
    /// Held while a log is created, which is never done on an async worker; none once closed.
    directory: Mutex<Option<DataDirectory>>,
}

impl EmbeddedStore {
    /// Opens the data directory at `path`, creating it if there is none. Blocks.
    ///
    /// # Errors
    ///
    /// [`DirectoryError`] says what is in the way, and whether anything was changed.
    pub fn open(path: &Path, options: EmbeddedOptions) -> Result<Self, DirectoryError> {
        let disk = match DiskStorage::open(path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                DiskStorage::create(path)?
            }
            found => found?,
        };
        let root: Arc<dyn Storage> = Arc::new(disk);
        Self::open_on(&root, options)
    }

    /// Opens a data directory on any storage. Blocks.
    ///
    /// # Errors
    ///
    /// [`DirectoryError`] says what is in the way, and whether anything was changed.
    pub fn open_on(
        root: &Arc<dyn Storage>,
        options: EmbeddedOptions,
    ) -> Result<Self, DirectoryError> {
        let directory = DataDirectory::open(root)?;
        let shared = Shared {
            blocking: Blocking::new(options.limits.blocking_reads_max),
            options,
            logs: RwLock::default(),
            directory: Mutex::new(None),
        };
        let mut names = directory.log_names()?;
        for always in [LogName::default_log(), LogName::system()] {
            if !names.contains(&always) {
                names.push(always);
            }
        }
        for name in names {
            let opened = directory
                .log(&name)
                .map_err(OpenError::Io)
                .and_then(|storage| shared.open_log(&name, &storage));
            match opened {
                Ok(log) => shared.logs.write().insert(name, Arc::new(log)),
                Err(error) => return Err(DirectoryError::of_log(name, error)),
            };
        }
        *shared.directory.lock() = Some(directory);
        Ok(Self(Arc::new(shared)))
    }
}

impl Shared {
    fn open_log(
        &self,
        name: &LogName,
        storage: &Arc<dyn Storage>,
    ) -> Result<EmbeddedLog, OpenError> {
        let options = Options {
            segment_len: if name.is_hidden() {
                self.options.limits.system_segment_len
            } else {
                self.options.segment_len
            },
            durability: if name.is_hidden() {
                Durability::Sync
            } else {
                self.options.durability
            },
            checkpoints_max: self.options.limits.checkpoints_max,
            clock: Arc::new(EngineClock(Arc::clone(&self.options.clock))),
            ..Options::default()
        };
        let durability = options.durability;
        let (log, report) = Log::open(Arc::clone(storage), options)?;
        if let Err(error) = directory::mark_begun(&**storage) {
            // The log is whole without it: a full disk keeps nobody from reading.
            tracing::warn!(
                log = name.as_str(),
                %error,
                "not marked as begun; the loss of all its files would go unnoticed"
            );
        }
        tell(name, &log, &report);
        Ok(EmbeddedLog {
            log,
            blocking: self.blocking.clone(),
            durability,
            near_end_ids: self.options.limits.near_end_ids,
        })
    }

    fn create(&self, name: LogName) -> Result<Created, CreateError> {
        let directory = self.directory.lock();
        let directory = directory.as_ref().ok_or(CreateError::Closed)?;
        if let Some(log) = self.logs.read().get(&name) {
            let log = Arc::clone(log);
            return Ok(Created { log, is_new: false });
        }
        let logs_max = self.options.limits.logs_max;
        if self.logs.read().len() >= logs_max {
            return Err(CreateError::TooMany { logs_max });
        }
        let log = directory
            .log(&name)
            .map_err(OpenError::Io)
            .and_then(|storage| self.open_log(&name, &storage))
            .map_err(|error| match error {
                OpenError::Io(error) if strandlog_engine::storage::is_full(&error) => {
                    CreateError::Full
                }
                other => CreateError::Failed(Box::new(other)),
            })?;
        let log = Arc::new(log);
        self.logs.write().insert(name, Arc::clone(&log));
        Ok(Created { log, is_new: true })
    }

    fn close(&self) {
        // Taken first, so that no log is created any more. The lock on it is given back last.
        let directory = self.directory.lock().take();
        let logs = self.logs.read().clone();
        for (name, log) in logs {
            match log.log.close() {
                Ok(()) => tracing::debug!(log = name.as_str(), "closed"),
                Err(error) => {
                    tracing::warn!(log = name.as_str(), %error, "not closed cleanly; the next start recovers it");
                }
            }
        }
        drop(directory);
    }
}

/// What opening a log found and did, for the operator.
fn tell(name: &LogName, log: &Log, report: &RecoveryReport) {
    let (first, end) = (log.first().get(), log.end().get());
    if report.clean {
        tracing::info!(log = name.as_str(), first, end, "opened");
    } else {
        tracing::warn!(
            log = name.as_str(),
            first,
            end,
            dropped_bytes = report.dropped_len,
            rewritten_bytes = report.rewritten_len,
            "opened after an unclean stop; what was acknowledged is there"
        );
    }
    if report.lost_records > 0 {
        let gaps = log.losses();
        tracing::warn!(
            log = name.as_str(),
            events = report.lost_records,
            gaps = gaps.len(),
            first = gaps.first().map(|gap| gap.start().get()),
            last = gaps.last().map(|gap| gap.end().get()),
            "events are lost and recorded as lost by a repair; readers of these ids are told so"
        );
    }
    if report.segments_reindexed > 0 {
        let segments = report.segments_reindexed;
        tracing::warn!(
            log = name.as_str(),
            segments,
            "parts of the index were rebuilt"
        );
    }
}

impl Store for EmbeddedStore {
    fn names(&self) -> Vec<LogName> {
        self.0.logs.read().keys().cloned().collect()
    }

    fn log(&self, name: &str) -> Option<Arc<dyn LogStore>> {
        let log = Arc::clone(self.0.logs.read().get(name)?);
        Some(log)
    }

    fn create(&self, name: LogName) -> Pending<'_, Result<Created, CreateError>> {
        let shared = Arc::clone(&self.0);
        Box::pin(async move {
            tokio::task::spawn_blocking(move || shared.create(name))
                .await
                .unwrap_or_else(|failed| Err(CreateError::Failed(Box::new(failed))))
        })
    }

    fn close(&self) -> Pending<'_, ()> {
        let shared = Arc::clone(&self.0);
        Box::pin(async move {
            if let Err(error) = tokio::task::spawn_blocking(move || shared.close()).await {
                tracing::error!(%error, "closing the logs failed; the next start recovers them");
            }
        })
    }
}

/// The server's clock, as the engine wants it.
#[derive(Debug)]
struct EngineClock(Arc<dyn Clock>);

impl strandlog_engine::Clock for EngineClock {
    fn now_us(&self) -> u64 {
        self.0.now_us()
    }
}
