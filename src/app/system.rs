//! The server's own state: events in the log `_system`, folded at the start.
//!
//! There is no second store. A change is durable once its event is, and what the server knows is
//! what its events say.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::store::{LogName, Retention};
use crate::unwind::{Panicked, to_the_end};

use super::documents::{Change, Documents};
use super::event::{Data, Event};
use super::failure::{Code, Failure};
use super::limits::{DELIVERIES_LEN_MAX, PAGE_LEN_MAX};
use super::logs::LogSettings;
use super::name::{EventType, StreamName, shortened};
use super::publish::{NewEvent, Publish};
use super::range::Selection;
use super::{App, Log};

/// The type of [`LogConfigured`].
const LOG_CONFIGURED: &str = "log-configured";
/// The type of [`Change`].
const DOCUMENT_CHANGED: &str = "document-changed";

/// A log was given settings, all of them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct LogConfigured {
    log: String,
    /// The server's setting if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    retention: Option<KeptRetention>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[derive(Default)]
struct KeptRetention {
    age_max_s: Option<u64>,
    bytes_max: Option<u64>,
    records_max: Option<u64>,
}

impl From<Retention> for KeptRetention {
    fn from(retention: Retention) -> Self {
        Self {
            age_max_s: retention.age_max_s,
            bytes_max: retention.bytes_max,
            records_max: retention.records_max,
        }
    }
}

impl From<KeptRetention> for Retention {
    fn from(kept: KeptRetention) -> Self {
        Self {
            age_max_s: kept.age_max_s,
            bytes_max: kept.bytes_max,
            records_max: kept.records_max,
        }
    }
}

/// What the events of `_system` come to.
#[derive(Clone, Debug, Default)]
pub(super) struct SystemState {
    /// The settings of the logs that were given some.
    pub(super) logs: BTreeMap<LogName, LogSettings>,
    /// The documents that there are.
    pub(super) documents: Documents,
}

impl SystemState {
    fn apply(&mut self, event: &Event<'_>) -> Result<(), Failure> {
        match event.event_type {
            LOG_CONFIGURED => {
                let configured: LogConfigured = serde_json::from_slice(event.data.bytes())
                    .map_err(|error| unreadable(event, &error))?;
                let name = configured
                    .log
                    .parse()
                    .map_err(|error| unreadable(event, &error))?;
                let settings = LogSettings {
                    retention: configured.retention.map(Retention::from),
                };
                self.logs.insert(name, settings);
            }
            DOCUMENT_CHANGED => {
                let change = Change::from_json(event.data.bytes())
                    .map_err(|error| unreadable(event, &error))?;
                self.documents.apply(change);
            }
            other => {
                tracing::warn!(
                    id = event.id.get(),
                    event_type = other,
                    "passed over an event of the server's own log that this version does not know"
                );
            }
        }
        Ok(())
    }
}

fn unreadable(event: &Event<'_>, why: &dyn std::error::Error) -> Failure {
    Failure::new(
        Code::Unreadable,
        format!("event {} of the server's own log cannot be read", event.id),
    )
    .caused_by(why)
}

/// What may go of one of the server's own logs: nothing but old deliveries, which nobody counts on.
pub(super) fn own_retention(name: &LogName) -> Retention {
    Retention {
        bytes_max: (*name == LogName::deliveries()).then_some(DELIVERIES_LEN_MAX),
        ..Retention::default()
    }
}

impl App {
    fn system_log(&self) -> Result<Log, Failure> {
        self.find(LogName::system().as_str())
            .ok_or_else(|| Failure::new(Code::Internal, "the server's own log is missing"))
    }

    /// Reads the server's own state.
    pub(super) async fn fold_system(&self) -> Result<SystemState, Failure> {
        let mut state = SystemState::default();
        let log = self.system_log()?;
        for gap in log.store.losses() {
            tracing::warn!(
                first = gap.start().get(),
                last = gap.end().get(),
                "passed over events of the server's own log that are lost; settings they made are gone"
            );
        }
        let selection = Selection {
            passes_losses: true,
            ..Selection::default()
        };
        let mut reading = log.read(selection).await?;
        while let Some(records) = reading.next_page(PAGE_LEN_MAX).await? {
            for record in records.iter() {
                state.apply(&Event::from_record(record?)?)?;
            }
        }
        Ok(state)
    }

    /// Makes a change of the server's own state, after those before it. A change that was begun is
    /// made to its end, even if nobody waits for it any more: an event of `_system` that memory does
    /// not follow would come into force at the next start, long after the client has given up.
    pub(super) async fn configure<T: Send + 'static, F>(
        &self,
        change: impl FnOnce(Self) -> F + Send + 'static,
    ) -> Result<T, Failure>
    where
        F: Future<Output = Result<T, Failure>> + Send,
    {
        let app = self.clone();
        let changed = to_the_end(async move {
            let shared = Arc::clone(&app.0);
            let _turn = shared.configuring.lock().await;
            change(app).await
        });
        changed.await.unwrap_or_else(|Panicked| {
            Err(Failure::new(
                Code::Internal,
                "the server made a mistake; whether anything was changed is unknown",
            ))
        })
    }

    /// Makes a log's settings part of the server's state.
    pub(super) async fn keep_settings(
        &self,
        log: &LogName,
        settings: LogSettings,
    ) -> Result<(), Failure> {
        let configured = LogConfigured {
            log: log.as_str().to_owned(),
            retention: settings.retention.map(KeptRetention::from),
        };
        let data =
            serde_json::to_vec(&configured).expect("texts and numbers can be written as JSON");
        self.keep(&format!("log/{log}"), LOG_CONFIGURED, &data)
            .await
    }

    /// Makes a change of a document part of the server's state.
    pub(super) async fn keep_change(&self, change: &Change) -> Result<(), Failure> {
        let stream = format!("{}/{}", change.kind, change.name);
        self.keep(&shortened(&stream), DOCUMENT_CHANGED, &change.to_json())
            .await
    }

    async fn keep(&self, stream: &str, event_type: &str, data: &[u8]) -> Result<(), Failure> {
        let event = NewEvent::new(
            StreamName::new(stream)?,
            EventType::new(event_type)?,
            Data::Json(data),
        );
        let publish = Publish {
            events: vec![event],
            ..Publish::default()
        };
        self.system_log()?.publish(publish).await.map(drop)
    }

    /// One of the server's own logs, if it was ever needed.
    #[must_use]
    pub fn known_own_log(&self, name: &LogName) -> Option<Log> {
        self.find(name.as_str())
    }

    /// One of the server's own logs besides [`LogName::system`]; created when it is first needed.
    ///
    /// # Errors
    ///
    /// [`Failure`]: it is not there and cannot be created.
    pub async fn own_log(&self, name: LogName) -> Result<Log, Failure> {
        if let Some(log) = self.find(name.as_str()) {
            return Ok(log);
        }
        let created = self.0.store.create(name.clone()).await?;
        created.log.set_retention(own_retention(&name));
        let mut logs = self.0.logs.write();
        let store = logs.entry(name.clone()).or_insert(created.log);
        Ok(Log {
            app: self.clone(),
            name,
            store: Arc::clone(store),
        })
    }
}
