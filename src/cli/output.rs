//! Standard output that may go away: `| head` is no reason to panic.

use std::io::{self, Write};

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
