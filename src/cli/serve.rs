//! `serve`: settings to a listening server, and its end.
//!
//! The order of the start: settings, address, data directory. Whatever cannot be had is found out
//! before anything is written, and told in one line.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use tokio::net::TcpListener;
use tokio::runtime;
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::failure::CliFailure;
use super::logging;
use super::output::print_line;
use crate::app::{App, Parts, limits};
use crate::clock::{Clock, SystemClock, SystemRandom};
use crate::config::{Config, DurabilityName, LogFormat, Overrides};
use crate::doors::Doors;
use crate::server;
use crate::store::Store;
use crate::store::embedded::{EmbeddedOptions, EmbeddedStore};

/// What `serve` takes.
#[derive(Args, Clone, Debug)]
pub(crate) struct ServeArgs {
    /// The config file (TOML); without one the server is in development mode
    #[arg(long, value_name = "FILE", env = "STRANDLOG_CONFIG")]
    config: Option<PathBuf>,

    /// The data directory, created if need be [default: ./strandlog-data]
    #[arg(long, value_name = "DIR", env = "STRANDLOG_DATA")]
    data: Option<PathBuf>,

    /// The address to listen on, loopback only; port 0 takes a free one [default: 127.0.0.1:7411]
    #[arg(long, value_name = "ADDRESS:PORT", env = "STRANDLOG_LISTEN")]
    listen: Option<String>,

    /// When a publish is answered [default: sync]
    #[arg(long, value_enum, env = "STRANDLOG_DURABILITY")]
    durability: Option<DurabilityName>,

    /// The form of the server's log on standard error [default: text]
    #[arg(long, value_enum, env = "STRANDLOG_LOG_FORMAT")]
    log_format: Option<LogFormat>,

    /// What is logged: error, warn, info, debug, trace, off, or directives [default: info]
    #[arg(long, value_name = "LEVEL", env = "STRANDLOG_LOG_LEVEL")]
    log_level: Option<String>,
}

/// The exit code after a second signal: 128 and the number of `SIGINT`, as a shell has it.
const INTERRUPTED: i32 = 130;

/// The signal that says a file would outgrow `RLIMIT_FSIZE`, by its number on Linux (x86, ARM,
/// RISC-V). Its default action ends the process; once it is caught, the write fails instead, and the
/// log says so as it does when the disk is full.
const SIGXFSZ: i32 = 25;

/// How long a thread for what blocks waits for more: for good. Where the system begins no further
/// threads, the first one, which the start needs, goes on doing one thing after another; without any
/// the runtime would panic. There are never more than were busy at a time.
const BLOCKING_THREAD_KEPT: Duration = Duration::from_secs(365 * 24 * 60 * 60);
/// How long tasks may take to notice that the runtime ends; everything that matters is over by then.
const RUNTIME_END_WAIT: Duration = Duration::from_secs(1);

/// Runs the server until it is told to stop. `unguarded` is why reads of a failing disk would end it,
/// if so.
///
/// # Errors
///
/// What kept it from starting, or from going on.
pub(crate) fn run(args: ServeArgs, unguarded: Option<io::Error>) -> Result<(), CliFailure> {
    let config = config(args)?;
    logging::start(config.log_format, &config.log_level)?;
    if let Some(error) = unguarded {
        tracing::warn!(%error, "a disk that fails under a read will end the server");
    }
    let runtime = runtime::Builder::new_multi_thread()
        .enable_all()
        .thread_name("strandlog-io")
        .thread_keep_alive(BLOCKING_THREAD_KEPT)
        .build()
        .map_err(|error| CliFailure::because("cannot start threads", &error))?;
    let outcome = runtime.block_on(serve(config));
    runtime.shutdown_timeout(RUNTIME_END_WAIT);
    outcome
}

fn config(args: ServeArgs) -> Result<Config, CliFailure> {
    let text = match &args.config {
        Some(path) => Some(std::fs::read_to_string(path).map_err(|error| {
            CliFailure::usage(format!("cannot read {}: {error}", path.display()))
        })?),
        None => None,
    };
    let overrides = Overrides {
        listen: args.listen,
        data: args.data,
        durability: args.durability,
        log_format: args.log_format,
        log_level: args.log_level,
    };
    Config::resolve(overrides, args.config.as_deref().zip(text.as_deref()))
        .map_err(|error| CliFailure::usage(error.to_string()))
}

async fn serve(config: Config) -> Result<(), CliFailure> {
    let signals = Signals::listen()
        .map_err(|error| CliFailure::because("cannot listen for signals", &error))?;
    let listener = TcpListener::bind(config.listen).await.map_err(|error| {
        CliFailure::because(format!("cannot listen on {}", config.listen), &error)
    })?;
    let address = listener
        .local_addr()
        .map_err(|error| CliFailure::because("cannot tell the address", &error))?;
    let app = open(&config).await?;
    let doors = Doors::open(app.clone(), config.doors.clone())
        .await
        .map_err(|failure| CliFailure::new(format!("cannot open the doors: {failure}")))?;
    announce(&config, address)?;

    let ended = server::run(listener, doors, signals.first()).await;
    app.close().await;
    tracing::info!("stopped");
    ended.map_err(|error| CliFailure::because("the server stopped", &error))
}

/// Opens the data directory and what is in it.
async fn open(config: &Config) -> Result<App, CliFailure> {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
    let path = config.data.clone();
    let options = EmbeddedOptions {
        durability: config.durability,
        segment_len: config.segment_len,
        clock: Arc::clone(&clock),
        limits: limits::STORE,
    };
    let store = tokio::task::spawn_blocking(move || EmbeddedStore::open(&path, options))
        .await
        .map_err(|error| CliFailure::because("the start was interrupted", &error))?
        .map_err(|error| CliFailure::of_directory(&config.data, &error))?;
    let store: Arc<dyn Store> = Arc::new(store);
    App::open(Parts {
        store,
        clock,
        random: Arc::new(SystemRandom::new()),
        limits: config.limits,
        retention: config.retention,
    })
    .await
    .map_err(|failure| CliFailure::new(format!("cannot open the logs: {failure}")))
}

/// Says that the server is there, on standard output for programs and in the log for people.
fn announce(config: &Config, address: SocketAddr) -> Result<(), CliFailure> {
    let durability = match config.durability {
        crate::store::Durability::Sync => DurabilityName::Sync,
        crate::store::Durability::Os => DurabilityName::Os,
    };
    tracing::info!(
        address = %address,
        data = %config.data.display(),
        durability = %durability,
        "open"
    );
    announce_doors(config);
    print_line(&format!("listening on http://{address}"))
}

/// Says which dialects are on, and in development mode how to get in. Credentials that an operator
/// has chosen are nobody's to read in a log.
fn announce_doors(config: &Config) {
    let dialects = &config.doors.dialects;
    if !config.development {
        tracing::info!(dialects = %dialects.names().join(", "), "dialects that are on");
        return;
    }
    tracing::info!(
        "development mode: no config file, loopback only, the API is open without credentials"
    );
    for (dialect, credentials) in dialects.credentials() {
        tracing::info!(dialect, %credentials, "development mode: a dialect that is on");
    }
}

/// What the operating system asks of the server.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn listen() -> io::Result<Self> {
        // Once caught, it stays caught for the life of the process, even without a listener.
        let _caught = signal(SignalKind::from_raw(SIGXFSZ))?;
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }

    /// Resolves at the first signal to stop. The second one ends the process at once, whatever it
    /// is doing: what was acknowledged is as safe as after a loss of power.
    async fn first(mut self) {
        self.next().await;
        tracing::info!("stopping; a second signal stops at once");
        tokio::spawn(async move {
            self.next().await;
            process::exit(INTERRUPTED);
        });
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}
