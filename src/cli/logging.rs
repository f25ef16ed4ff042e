//! The server's own log, on standard error: standard output belongs to the one line that says where
//! the server listens.

use std::io::{self, IsTerminal};

use tracing_subscriber::EnvFilter;

use super::failure::CliFailure;
use crate::config::LogFormat;

/// Starts the log.
///
/// # Errors
///
/// If `level` is neither a level nor a list of directives.
pub(crate) fn start(format: LogFormat, level: &str) -> Result<(), CliFailure> {
    let filter = EnvFilter::try_new(level)
        .map_err(|error| CliFailure::usage(format!("log level {level:?}: {error}")))?;
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(io::stderr)
        .with_ansi(io::stderr().is_terminal());
    match format {
        LogFormat::Text => builder.init(),
        LogFormat::Json => builder.json().flatten_event(true).init(),
    }
    Ok(())
}
