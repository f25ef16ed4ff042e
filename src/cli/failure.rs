//! How a command ends when it does not end well: one line and an exit code.

use std::error::Error;
use std::fmt::{self, Write as _};
use std::path::Path;
use std::process::ExitCode;

/// The exit code of a command that did not do what it was asked.
const FAILED: u8 = 1;
/// The exit code of a command that was asked wrongly; clap uses the same.
const USAGE: u8 = 2;
/// The exit code of `verify` when it has found damage, and of `repair` when it leaves some.
const DAMAGE: u8 = 3;

/// Why a command stopped, for the person who gave it.
#[derive(Debug)]
pub struct CliFailure {
    message: String,
    code: u8,
}

impl CliFailure {
    /// The command could not do its work.
    pub(crate) fn new(message: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            code: FAILED,
        }
    }

    /// The command was given something it cannot take; nothing was begun.
    pub(crate) fn usage(message: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            code: USAGE,
        }
    }

    /// The command did its work, and damage is there.
    pub(crate) fn damage(message: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            code: DAMAGE,
        }
    }

    /// The command could not do its work because of `cause`, which is told with its own causes.
    pub(crate) fn because(what: impl fmt::Display, cause: &(dyn Error + 'static)) -> Self {
        Self::new(format!("{what}: {}", chain(cause)))
    }

    /// The data directory cannot be used, because of `cause`.
    pub(crate) fn of_directory(path: &Path, cause: &(dyn Error + 'static)) -> Self {
        Self::because(
            format!("cannot use data directory {}", path.display()),
            cause,
        )
    }

    /// What `main` returns for it.
    #[must_use]
    pub fn exit_code(&self) -> ExitCode {
        ExitCode::from(self.code)
    }
}

impl fmt::Display for CliFailure {
    /// Always one line: a message that was made from input may hold line breaks of its own.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for character in self.message.chars() {
            f.write_char(if character.is_control() {
                ' '
            } else {
                character
            })?;
        }
        Ok(())
    }
}

impl Error for CliFailure {}

/// An error and its causes, separated by colons.
pub(crate) fn chain(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let _infallible = write!(text, ": {error}");
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_is_one_line_whatever_it_quotes() {
        let failure = CliFailure::new("no such file: \"a\nb\u{1b}[31m\"");
        assert_eq!(failure.to_string(), "no such file: \"a b [31m\"");
    }
}
