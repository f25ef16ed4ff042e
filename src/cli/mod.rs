//! The command line: arguments to actions, failures to one line and an exit code.
//!
//! `serve` is the server itself. `import`, `export` and `bench` know a server by its HTTP API only;
//! `verify`, `repair`, `backup`, `restore` and `dump` know the engine only and need no server.

use std::process::ExitCode;

use clap::{CommandFactory, Parser, Subcommand};
use clap_complete::Shell;
use tokio::runtime;

use crate::store::embedded::guard_maps;

mod backup;
mod bench;
mod client;
mod dump;
mod export;
mod failure;
mod import;
mod import_line;
mod input;
mod log_state;
mod logging;
mod output;
mod progress;
mod refusal;
mod repair;
mod retry;
mod serve;
mod sink;
mod target;
mod verify;

pub use failure::CliFailure;

/// The command line as a whole.
#[derive(Debug, Parser)]
#[command(
    name = "strandlog",
    version,
    about = "A durable event log with an HTTP face",
    after_help = EXAMPLES,
    args_conflicts_with_subcommands = true,
    max_term_width = 100
)]
pub struct Cli {
    #[command(flatten)]
    serve: serve::ServeArgs,

    #[command(subcommand)]
    command: Option<Command>,
}

const EXAMPLES: &str = "\
Without a command the server starts, as with `serve`. Settings: flag over environment (STRANDLOG_*)
over config file over default.

Examples:
  strandlog                                     start a server: 127.0.0.1:7411, ./strandlog-data
  strandlog --data /var/lib/strandlog --listen 127.0.0.1:8080
  strandlog import events.ndjson.gz             a file into the log
  strandlog export -o events.ndjson.gz          the log into a file
  strandlog verify --data /var/lib/strandlog    check every byte
  strandlog repair --data /var/lib/strandlog    save what can be read of a damaged log
  strandlog backup --to /backup/strandlog   a copy, while the server runs
  strandlog bench publish --connections 8       how fast is it here?

Publish and read with curl:
  curl -d '{\"stream\":\"s\",\"type\":\"T\",\"data\":{\"n\":1}}' -H 'content-type: application/json' \\
       http://127.0.0.1:7411/v1/logs/default/events
  curl 'http://127.0.0.1:7411/v1/logs/default/events?from=1'";

#[derive(Debug, Subcommand)]
enum Command {
    /// Start the server (the default)
    Serve(serve::ServeArgs),
    /// Publish the events of a file, resumable
    Import(import::ImportArgs),
    /// Write the events of a log into a file or to standard output
    Export(export::ExportArgs),
    /// Check every byte of a data directory, without a server
    Verify(verify::VerifyArgs),
    /// Save what can still be read of damaged logs, without a server
    Repair(repair::RepairArgs),
    /// Copy a data directory, of a running server too
    Backup(backup::BackupArgs),
    /// Make a data directory of a backup
    Restore(backup::RestoreArgs),
    /// Show a segment file as text, without a server
    Dump(dump::DumpArgs),
    /// Measure a running server
    #[command(subcommand)]
    Bench(bench::BenchCommand),
    /// Print completions for a shell
    #[command(
        after_help = "Example:\n  strandlog completions bash > ~/.local/share/bash-completion/completions/strandlog"
    )]
    Completions {
        /// The shell
        shell: Shell,
    },
}

/// Does what the command line says.
#[must_use]
pub fn main() -> ExitCode {
    match run(Cli::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("error: {failure}");
            failure.exit_code()
        }
    }
}

fn run(cli: Cli) -> Result<(), CliFailure> {
    // A page that the disk cannot give is then damage in one range, and not the end of the process.
    // Where that cannot be had the disk has to fail first, so it is no reason not to begin.
    let guarded = guard_maps();
    match cli.command.unwrap_or(Command::Serve(cli.serve)) {
        Command::Serve(args) => serve::run(args, guarded.err()),
        Command::Import(args) => client_runtime(1)?.block_on(import::run(args)),
        Command::Export(args) => client_runtime(1)?.block_on(export::run(args)),
        Command::Verify(args) => verify::run(&args),
        Command::Repair(args) => repair::run(&args),
        Command::Backup(args) => backup::backup(&args),
        Command::Restore(args) => backup::restore(&args),
        Command::Dump(args) => dump::run(&args),
        Command::Bench(command) => client_runtime(BENCH_THREADS)?.block_on(bench::run(command)),
        Command::Completions { shell } => completions(shell),
    }
}

/// Two threads are enough to load a server on the same machine, and leave it the rest.
const BENCH_THREADS: usize = 2;

fn client_runtime(threads: usize) -> Result<runtime::Runtime, CliFailure> {
    runtime::Builder::new_multi_thread()
        .worker_threads(threads)
        .enable_all()
        .build()
        .map_err(|error| CliFailure::because("cannot start threads", &error))
}

fn completions(shell: Shell) -> Result<(), CliFailure> {
    // clap_complete panics if its writer fails; a buffer does not.
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "strandlog", &mut script);
    output::print_line(String::from_utf8_lossy(&script).trim_end())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn flags_of_the_server_work_with_and_without_its_name() {
        for arguments in [
            &["strandlog", "--listen", "127.0.0.1:0"][..],
            &["strandlog", "serve", "--listen", "127.0.0.1:0"],
        ] {
            let cli = Cli::try_parse_from(arguments).unwrap();
            let Command::Serve(args) = cli.command.unwrap_or(Command::Serve(cli.serve)) else {
                panic!("{arguments:?} is not serve");
            };
            assert!(format!("{args:?}").contains("127.0.0.1:0"), "{args:?}");
        }
    }

    #[test]
    fn completions_are_made_for_each_shell() {
        for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), "strandlog", &mut script);
            assert!(String::from_utf8(script).unwrap().contains("import"));
        }
    }
}
