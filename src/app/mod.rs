//! What the product does, in its own words: publish, read, follow, consume, acknowledge.
//!
//! No status code, no header and no representation is named here; doors (the native API, dialects)
//! translate. Events are kept by a [`Store`](crate::store::Store), and nothing here knows how.
//!
//! What blocks is decided in `store/embedded`: nothing in this module touches a disk or holds a
//! lock while it waits.

use std::sync::Arc;

use crate::clock::{Clock, Random};
use crate::store::{EventId, LogName, LogStore, Retention, Store};

pub mod consumers;
mod envelope;
pub mod event;
pub mod failure;
pub mod filter;
pub mod limits;
pub mod logs;
pub mod name;
pub mod publish;
pub mod range;
pub mod streams;
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
        let _ = parts;
        todo!()
    }

    /// The log with this name. The server's own are not found.
    ///
    /// # Errors
    ///
    /// [`Failure`]: the name is none, or there is no such log.
    pub fn log(&self, name: &str) -> Result<Log, Failure> {
        let _ = name;
        todo!()
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

    /// Whether every log takes writes; else which do not, and why.
    #[must_use]
    pub fn unhealthy(&self) -> Vec<(LogName, crate::store::Health)> {
        todo!()
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
