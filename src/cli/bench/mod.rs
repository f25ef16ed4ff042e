//! `bench`: a load generator with latency percentiles, over HTTP like any client.
//!
//! A figure says under which durability it was reached: what was asked for, and in how many of the
//! answers the events were durable already. Generator and server share the machine if they run on
//! one, and then each takes cores from the other.

use clap::Subcommand;

use super::failure::CliFailure;

mod publish;
mod replay;
mod report;

/// What `bench` does.
#[derive(Debug, Subcommand)]
pub(crate) enum BenchCommand {
    /// Publish as fast as the connections allow
    Publish(publish::PublishArgs),
    /// Read a range of the log again and again
    Replay(replay::ReplayArgs),
}

/// Runs `bench`.
///
/// # Errors
///
/// A server that cannot be reached or refuses.
pub(crate) async fn run(command: BenchCommand) -> Result<(), CliFailure> {
    match command {
        BenchCommand::Publish(args) => publish::run(args).await,
        BenchCommand::Replay(args) => replay::run(args).await,
    }
}
