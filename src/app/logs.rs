//! Logs: listing, creating, describing and configuring them.

use crate::store::{LogName, LogState, Retention};

use super::failure::Failure;
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
    /// Its state.
    pub state: LogState,
}

impl App {
    /// The logs, in byte order of their names, without the server's own.
    #[must_use]
    pub fn logs(&self) -> Vec<LogDescription> {
        todo!()
    }

    /// Creates a log, or changes the settings of the one there is; the flag says whether it is new.
    /// `None` creates without settings and changes nothing on the one there is.
    ///
    /// # Errors
    ///
    /// [`Failure`]: the name is none, or there are too many logs.
    pub async fn put_log(
        &self,
        name: &str,
        settings: Option<LogSettings>,
    ) -> Result<(LogDescription, bool), Failure> {
        let _ = (name, settings);
        todo!()
    }
}

impl Log {
    /// What is known of the log.
    #[must_use]
    pub fn describe(&self) -> LogDescription {
        todo!()
    }
}
