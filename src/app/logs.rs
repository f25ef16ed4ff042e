//! Logs: listing, creating, describing and configuring them.

use std::sync::Arc;

use crate::store::{LogName, LogState, Retention};

use super::failure::{Code, Failure};
use super::{App, Log};

/// What can be chosen for a log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LogSettings {
    /// Which events may go; the server's setting if absent.
    pub retention: Option<Retention>,
}

/// What is known of a log.
#[derive(Clone, Debug)]
pub struct LogDescription {
    /// Its name.
    pub name: LogName,
    /// What was chosen for it.
    pub settings: LogSettings,
    /// Its state.
    pub state: LogState,
}

impl App {
    /// The logs, in byte order of their names, without the server's own.
    #[must_use]
    pub fn logs(&self) -> Vec<LogDescription> {
        let mut logs: Vec<Log> = self
            .all_logs()
            .into_iter()
            .filter(|log| !log.name.is_hidden())
            .collect();
        logs.sort_unstable_by(|a, b| a.name.cmp(&b.name));
        logs.iter().map(Log::describe).collect()
    }

    /// Creates a log, or changes the settings of the one there is; the flag says whether it is new.
    /// `None` creates without settings and changes nothing on the one there is. What was begun is
    /// done to its end, even if nobody waits for it any more.
    ///
    /// # Errors
    ///
    /// [`Failure`]: the name is none, or there are too many logs. If the settings could not be kept,
    /// a new log may have been created without them.
    pub async fn put_log(
        &self,
        name: &str,
        settings: Option<LogSettings>,
    ) -> Result<(LogDescription, bool), Failure> {
        let name = log_name(name)?;
        if self.is_stopping() {
            return Err(Failure::stopping());
        }
        // One at a time, so that the last event kept of a log is what is in force.
        self.configure(move |app| async move { app.put_log_in_turn(name, settings).await })
            .await
    }

    async fn put_log_in_turn(
        &self,
        name: LogName,
        settings: Option<LogSettings>,
    ) -> Result<(LogDescription, bool), Failure> {
        let created = self.0.store.create(name.clone()).await?;
        if created.is_new {
            created.log.set_retention(self.0.retention);
            let log = Arc::clone(&created.log);
            self.0.logs.write().insert(name.clone(), log);
        }
        let log = Log {
            app: self.clone(),
            name,
            store: created.log,
        };
        if let Some(settings) = settings
            && settings != log.settings()
        {
            self.keep_settings(&log.name, settings).await?;
            self.0.settings.lock().insert(log.name.clone(), settings);
            log.store
                .set_retention(settings.retention.unwrap_or(self.0.retention));
        }
        Ok((log.describe(), created.is_new))
    }
}

impl Log {
    /// What is known of the log.
    #[must_use]
    pub fn describe(&self) -> LogDescription {
        LogDescription {
            name: self.name.clone(),
            settings: self.settings(),
            state: self.store.state(),
        }
    }

    fn settings(&self) -> LogSettings {
        let settings = self.app.0.settings.lock();
        settings.get(&self.name).copied().unwrap_or_default()
    }
}

/// The name of a log that requests may see.
pub(super) fn log_name(name: &str) -> Result<LogName, Failure> {
    // Whether there is such a log of the server's own is nobody's business.
    if name.starts_with('_') {
        return Err(no_such_log(name));
    }
    name.parse().map_err(|error: crate::store::NotALogName| {
        Failure::new(Code::InvalidLogName, error.to_string())
    })
}

pub(super) fn no_such_log(name: &str) -> Failure {
    Failure::new(Code::NoSuchLog, format!("there is no log {name:?}"))
}
