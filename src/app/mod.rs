//! What the product does, in its own words: publish, read, follow, consume, acknowledge.
//!
//! No status code, no header and no representation is named here; doors (the native API, dialects)
//! translate. Events are kept by a [`Store`], and nothing here knows how.
//!
//! What blocks is decided in `store/embedded`: nothing in this module touches a disk or holds a
//! lock while it waits.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use parking_lot::{Mutex, RwLock};

use crate::clock::{Clock, Random};
use crate::store::{EventId, Health, LogName, LogStore, Retention, Store};

use documents::Documents;
use logs::LogSettings;
use offsets::Sweeper;
use publish::OwnedLogs;

pub mod consumers;
mod counted;
mod documents;
mod envelope;
pub mod event;
pub mod failure;
pub mod filter;
pub mod limits;
pub mod logs;
pub mod name;
pub mod offsets;
mod progress;
pub mod publish;
pub mod range;
pub mod streams;
mod system;
mod tags;

pub use event::{Data, Event, Uid};
pub use failure::{Code, Details, Failure, FailureKind};
pub use filter::Filter;
pub use limits::Limits;

/// The product: logs, and what can be done with them. Clones are the same product.
#[derive(Clone, Debug)]
pub struct App(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    store: Arc<dyn Store>,
    clock: Arc<dyn Clock>,
    random: Arc<dyn Random>,
    limits: Limits,
    /// Of logs that were not told otherwise.
    retention: Retention,
    /// Every log of the store, so that a request finds its own without asking the store.
    logs: RwLock<HashMap<LogName, Arc<dyn LogStore>>>,
    settings: Mutex<BTreeMap<LogName, LogSettings>>,
    /// Held while a log is created or settings or documents change, across the append that keeps
    /// them; see `system.rs`.
    configuring: tokio::sync::Mutex<()>,
    /// See `documents.rs`.
    documents: RwLock<Documents>,
    /// See `publish/ownership.rs`.
    owned_logs: OwnedLogs,
    /// See `offsets/sweep.rs`.
    sweeper: Sweeper,
    stop: tokio::sync::watch::Sender<bool>,
}

/// One log, as the product sees it. Clones are the same log.
#[derive(Clone, Debug)]
pub struct Log {
    app: App,
    name: LogName,
    store: Arc<dyn LogStore>,
}

/// What an [`App`] is made of.
#[derive(Debug)]
pub struct Parts {
    /// Where the events are kept.
    pub store: Arc<dyn Store>,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Where event ids come from.
    pub random: Arc<dyn Random>,
    /// The limits.
    pub limits: Limits,
    /// Which events may go, for logs that were not told otherwise.
    pub retention: Retention,
}

impl App {
    /// Opens the product: reads the server's own state, and applies the logs' settings.
    ///
    /// # Errors
    ///
    /// [`Failure`] if that state cannot be read.
    pub async fn open(parts: Parts) -> Result<Self, Failure> {
        let names = parts.store.names();
        let logs = names
            .into_iter()
            .filter_map(|name| Some((name.clone(), parts.store.log(name.as_str())?)))
            .collect();
        let app = Self(Arc::new(Shared {
            store: parts.store,
            clock: parts.clock,
            random: parts.random,
            limits: parts.limits,
            retention: parts.retention,
            logs: RwLock::new(logs),
            settings: Mutex::default(),
            configuring: tokio::sync::Mutex::default(),
            documents: RwLock::default(),
            owned_logs: OwnedLogs::default(),
            sweeper: Sweeper::default(),
            stop: tokio::sync::watch::Sender::new(false),
        }));
        let state = app.fold_system().await?;
        for log in app.all_logs() {
            // The server's own state is needed whole.
            if log.name.is_hidden() {
                log.store.set_retention(system::own_retention(&log.name));
            } else {
                let settings = state.logs.get(&log.name).copied().unwrap_or_default();
                log.store
                    .set_retention(settings.retention.unwrap_or(parts.retention));
            }
        }
        *app.0.settings.lock() = state.logs;
        *app.0.documents.write() = state.documents;
        app.find_owned_logs().await;
        Ok(app)
    }

    /// The log with this name. The server's own are not found.
    ///
    /// # Errors
    ///
    /// [`Failure`]: the name is none, or there is no such log.
    pub fn log(&self, name: &str) -> Result<Log, Failure> {
        match self.find(name) {
            Some(log) if !log.name.is_hidden() => Ok(log),
            Some(_) | None => Err(match logs::log_name(name) {
                Ok(_) => logs::no_such_log(name),
                Err(failure) => failure,
            }),
        }
    }

    /// Any log, hidden ones included.
    fn find(&self, name: &str) -> Option<Log> {
        let logs = self.0.logs.read();
        let (name, store) = logs.get_key_value(name)?;
        Some(Log {
            app: self.clone(),
            name: name.clone(),
            store: Arc::clone(store),
        })
    }

    fn all_logs(&self) -> Vec<Log> {
        let logs = self.0.logs.read();
        logs.iter()
            .map(|(name, store)| Log {
                app: self.clone(),
                name: name.clone(),
                store: Arc::clone(store),
            })
            .collect()
    }

    /// The limits.
    #[must_use]
    pub fn limits(&self) -> &Limits {
        &self.0.limits
    }

    /// The clock.
    #[must_use]
    pub fn clock(&self) -> &Arc<dyn Clock> {
        &self.0.clock
    }

    /// The random source.
    #[must_use]
    pub fn random(&self) -> &Arc<dyn Random> {
        &self.0.random
    }

    /// Ends every wait, now and from now on: long polls answer empty, following reads end. What is
    /// being stored goes on.
    pub fn stop(&self) {
        self.0.stop.send_replace(true);
    }

    /// Whether [`stop`](Self::stop) was called.
    #[must_use]
    pub fn is_stopping(&self) -> bool {
        *self.0.stop.borrow()
    }

    /// Resolves once [`stop`](Self::stop) is called.
    pub async fn stopped(&self) {
        let mut stop = self.0.stop.subscribe();
        // The sender lives in `self`, so the wait ends by the value alone.
        let _ended = stop.wait_for(|stopping| *stopping).await;
    }

    /// Stops, finishes what is being stored, and closes the logs.
    pub async fn close(&self) {
        self.stop();
        self.0.store.close().await;
    }

    /// The logs that do not take writes, the server's own included, and why.
    #[must_use]
    pub fn unhealthy(&self) -> Vec<(LogName, Health)> {
        self.all_logs()
            .into_iter()
            .map(|log| (log.name, log.store.health()))
            .filter(|(_, health)| *health != Health::Writable)
            .collect()
    }

    /// The logs that are known to have lost events, the server's own included, and how many.
    #[must_use]
    pub fn losses(&self) -> Vec<(LogName, u64)> {
        self.all_logs()
            .into_iter()
            .map(|log| {
                let gaps = log.store.losses().into_iter();
                let lost = gaps.map(|gap| gap.end().get() - gap.start().get() + 1);
                (log.name, lost.sum())
            })
            .filter(|(_, lost)| *lost > 0)
            .collect()
    }
}

impl Log {
    /// Its name.
    #[must_use]
    pub fn name(&self) -> &LogName {
        &self.name
    }

    /// The product it belongs to.
    #[must_use]
    pub fn app(&self) -> &App {
        &self.app
    }

    /// The last readable id; 0 if there is none.
    #[must_use]
    pub fn last_id(&self) -> u64 {
        self.store.end().get() - 1
    }

    /// The last id known durable; 0 if there is none.
    #[must_use]
    pub fn durable_id(&self) -> u64 {
        self.store.durable_end().get() - 1
    }

    /// One past the last readable id: where a reader of new events begins.
    #[must_use]
    pub fn end(&self) -> EventId {
        self.store.end()
    }
}
