//! Standard output that may go away: `| head` is no reason to panic.

use std::fmt;
use std::io::{self, Write};

use serde::Serialize;

use super::failure::CliFailure;

/// Prints one line, and hands it on at once.
///
/// # Errors
///
/// If it cannot be written. A reader that has left is no error: it has seen what it wanted.
pub(crate) fn print_line(line: &str) -> Result<(), CliFailure> {
    let mut out = io::stdout().lock();
    written(writeln!(out, "{line}").and_then(|()| out.flush()))
}

/// Prints a value as one line of JSON.
///
/// # Errors
///
/// As [`print_line`].
pub(crate) fn print_json(value: &impl Serialize) -> Result<(), CliFailure> {
    let text = serde_json::to_string(value)
        .map_err(|error| CliFailure::because("cannot print the result", &error))?;
    print_line(&text)
}

/// So many of a thing: `1 event`, `2 events`.
pub(crate) fn counted(count: impl Into<u64>, thing: impl fmt::Display) -> String {
    let count = count.into();
    let ending = if count == 1 { "" } else { "s" };
    format!("{count} {thing}{ending}")
}

/// Turns the outcome of writing to standard output into the command's.
///
/// # Errors
///
/// As [`print_line`].
pub(crate) fn written(outcome: io::Result<()>) -> Result<(), CliFailure> {
    match outcome {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        Err(error) => Err(CliFailure::because(
            "cannot write to standard output",
            &error,
        )),
    }
}
