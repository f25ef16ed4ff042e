//! Which server, and which of its logs: the arguments every client command takes.

use clap::Args;

use super::client::ServerUrl;

/// The server and the log.
#[derive(Args, Clone, Debug)]
pub(crate) struct Target {
    /// The server
    #[arg(
        long,
        value_name = "URL",
        env = "STRANDLOG_URL",
        default_value = "http://127.0.0.1:7411"
    )]
    pub(crate) url: ServerUrl,

    /// The log
    #[arg(long, value_name = "NAME", default_value = "default")]
    pub(crate) log: String,
}
