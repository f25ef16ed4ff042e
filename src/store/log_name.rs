//! The name of a log: the only name that becomes a path.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

/// The longest name of a log, in bytes: short enough for any file system, with room for a suffix.
pub const LOG_NAME_LEN_MAX: usize = 63;

/// The name of a log: `[a-z0-9][a-z0-9_-]{0,62}`, or the same behind a `_` for the server's own.
///
/// Always a single path component, the same on file systems that fold case.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LogName(Arc<str>);

/// Why a text is not the name of a log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotALogName;

impl fmt::Display for NotALogName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "a log name is 1 to {LOG_NAME_LEN_MAX} characters of a-z, 0-9, _ and -, beginning with a letter or digit"
        )
    }
}

impl std::error::Error for NotALogName {}

impl LogName {
    /// The log that always exists.
    #[must_use]
    pub fn default_log() -> Self {
        Self(Arc::from("default"))
    }

    /// The log in which the server keeps its own state.
    #[must_use]
    pub fn system() -> Self {
        Self(Arc::from("_system"))
    }

    /// The log in which the server keeps what became of its calls to webhooks and the like.
    #[must_use]
    pub fn deliveries() -> Self {
        Self(Arc::from("_deliveries"))
    }

    /// The log in which the server keeps the events that a webhook did not take in any attempt.
    #[must_use]
    pub fn dead_letters() -> Self {
        Self(Arc::from("_dead_letters"))
    }

    /// The log in which the server keeps the places of readers that are counted by stream and type.
    #[must_use]
    pub fn offsets() -> Self {
        Self(Arc::from("_offsets"))
    }

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether this is one of the server's own logs, which no request may see.
    #[must_use]
    pub fn is_hidden(&self) -> bool {
        self.0.starts_with('_')
    }
}

impl FromStr for LogName {
    type Err = NotALogName;

    fn from_str(text: &str) -> Result<Self, NotALogName> {
        let visible = text.strip_prefix('_').unwrap_or(text);
        let mut bytes = visible.bytes();
        let starts_well = bytes
            .next()
            .is_some_and(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit());
        let goes_on_well = bytes.all(|byte| {
            byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_' || byte == b'-'
        });
        if starts_well && goes_on_well && text.len() <= LOG_NAME_LEN_MAX {
            Ok(Self(Arc::from(text)))
        } else {
            Err(NotALogName)
        }
    }
}

impl fmt::Display for LogName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::borrow::Borrow<str> for LogName {
    fn borrow(&self) -> &str {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_name_is_one_harmless_path_component() {
        for good in ["default", "a", "0", "a-b_c", "_system", &"x".repeat(63)] {
            assert_eq!(good.parse::<LogName>().unwrap().as_str(), good);
        }
        for bad in [
            "",
            "_",
            "__a",
            "-a",
            ".",
            "..",
            "a/b",
            "a\\b",
            "A",
            "a.b",
            "é",
            "a b",
            "a\0",
            &"x".repeat(64),
        ] {
            assert_eq!(bad.parse::<LogName>(), Err(NotALogName), "{bad:?}");
        }
    }
}
