//! `backup` and `restore`: a data directory copied log by log, checked on the way.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::Args;
use serde::Serialize;
use strandlog_engine::storage::{DiskStorage, Storage, is_full};
use strandlog_engine::{BackupError, EventId};

use super::failure::CliFailure;
use super::output::{counted, print_json, print_line};
use super::progress::Progress;
use crate::store::LogName;
use crate::store::embedded::{DataDirectory, DirectoryError};

/// What `backup` takes.
#[derive(Args, Debug)]
#[command(after_help = BACKUP_EXAMPLES)]
pub(crate) struct BackupArgs {
    /// The directory of the backup: a new one, or that of an earlier backup
    #[arg(long, value_name = "DIR")]
    to: PathBuf,

    /// The data directory; a server may be using it
    #[arg(
        long,
        value_name = "DIR",
        env = "STRANDLOG_DATA",
        default_value = "./strandlog-data"
    )]
    data: PathBuf,

    /// Print what was done as one JSON object
    #[arg(long)]
    json: bool,
}

/// What `restore` takes.
#[derive(Args, Debug)]
#[command(after_help = RESTORE_EXAMPLES)]
pub(crate) struct RestoreArgs {
    /// The backup
    #[arg(long, value_name = "DIR")]
    from: PathBuf,

    /// The data directory to make, which must not hold any logs
    #[arg(
        long,
        value_name = "DIR",
        env = "STRANDLOG_DATA",
        default_value = "./strandlog-data"
    )]
    data: PathBuf,

    /// Print what was done as one JSON object
    #[arg(long)]
    json: bool,
}

const BACKUP_EXAMPLES: &str = "\
The server goes on meanwhile. Whatever it had acknowledged as durable before the command began is in
the backup: events, consumers, webhooks, registries. A second backup into the same directory copies
what is new, and lets go what retention has removed. The config file is not part of it.

A backup is a data directory: `verify` checks it, and a server can be started on it (after which it
takes no more backups of the original, for it has events of its own).

Exit codes: 0 done, 3 done and damage found in what was copied, 1 not done; the backup then holds what
it held, or a part of what is new.

Examples:
  strandlog backup --data /var/lib/strandlog --to /backup/strandlog
  strandlog verify --data /backup/strandlog";

const RESTORE_EXAMPLES: &str = "\
Exit codes: 0 done, 3 done and damage found in what was copied, 1 not done.

Example:
  strandlog restore --from /backup/strandlog --data /var/lib/strandlog";

/// What was done with one log.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Done {
    log: String,
    events: u64,
    first_id: Option<u64>,
    last_id: Option<u64>,
    segments_copied: u64,
    segments_kept: u64,
    segments_removed: u64,
    bytes: u64,
    damage: Vec<String>,
}

/// Runs `backup`.
///
/// # Errors
///
/// One of the directories cannot be used; damage, with its own exit code.
pub(crate) fn backup(args: &BackupArgs) -> Result<(), CliFailure> {
    copy(&args.data, &args.to, Target::Earlier, args.json)
}

/// Runs `restore`.
///
/// # Errors
///
/// As [`backup`].
pub(crate) fn restore(args: &RestoreArgs) -> Result<(), CliFailure> {
    copy(&args.from, &args.data, Target::New, args.json)
}

/// What the directory that is copied to may hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Target {
    /// No logs.
    New,
    /// An earlier copy.
    Earlier,
}

fn copy(from: &Path, to: &Path, target: Target, json: bool) -> Result<(), CliFailure> {
    let unusable = |path: &Path, error: &DirectoryError| CliFailure::of_directory(path, error);
    let source = DiskStorage::open(from).map_err(DirectoryError::from);
    let source = source.and_then(|root| DataDirectory::look_at(&(Arc::new(root) as _)));
    let source = source.map_err(|error| unusable(from, &error))?;
    let mut names = source.log_names().map_err(|error| unusable(from, &error))?;
    // What the server itself keeps stands behind the events it is about: first it, then they.
    names.sort_by_key(|name| !name.as_str().starts_with('_'));

    let made = make(to);
    let copied = made.map_err(|error| unusable(to, &error))?;
    let there = copied.log_names().map_err(|error| unusable(to, &error))?;
    if target == Target::New && !there.is_empty() {
        return Err(CliFailure::new(format!(
            "{} holds logs already; restore into a new directory. Nothing was changed",
            to.display()
        )));
    }
    if same(from, to) {
        return Err(CliFailure::usage(
            "the directory cannot be copied onto itself; nothing was changed",
        ));
    }
    let (mut logs, mut failures) = (Vec::new(), Vec::new());
    for name in names {
        // What is wrong with one log keeps none of the others from being copied.
        match copy_log(&source, &copied, &name) {
            Ok(done) => logs.push(done),
            Err(failure) => failures.push(failure),
        }
    }
    let reported = report(&logs, json);
    match failures.into_iter().next() {
        Some(failure) => Err(failure),
        None => reported,
    }
}

fn make(path: &Path) -> Result<DataDirectory, DirectoryError> {
    let root: Arc<dyn Storage> = Arc::new(DiskStorage::create(path)?);
    DataDirectory::open(&root)
}

fn same(from: &Path, to: &Path) -> bool {
    let (from, to) = (from.canonicalize(), to.canonicalize());
    matches!((from, to), (Ok(from), Ok(to)) if from == to)
}

fn copy_log(
    source: &DataDirectory,
    copied: &DataDirectory,
    name: &LogName,
) -> Result<Done, CliFailure> {
    let failed = |error: &(dyn std::error::Error + 'static)| {
        CliFailure::because(format!("cannot copy log {:?}", name.as_str()), error)
    };
    let from = source.log_at_rest(name).map_err(|error| failed(&error))?;
    let to = copied.log(name).map_err(|error| failed(&error))?;
    let progress = Progress::up_to(Some(0));
    let outcome = strandlog_engine::backup(&from, &to, &mut |done, all| {
        progress.bytes(done, all, name.as_str());
    });
    progress.done();
    let outcome = match outcome {
        // A log that a server is just about to begin.
        Err(BackupError::Nothing) if !copied.has_begun(name) => Ok(Default::default()),
        Err(BackupError::Io(error)) if is_full(&error) => {
            return Err(CliFailure::new(format!(
                "cannot copy log {:?}: there is no room left ({error})",
                name.as_str()
            )));
        }
        outcome => outcome,
    };
    let report = outcome.map_err(|error| failed(&error))?;
    if report.copied + report.kept > 0 {
        copied.mark_begun(name).map_err(|error| failed(&error))?;
    }
    let (first_id, last_id) = (
        report.first.map(EventId::get),
        report.last.map(EventId::get),
    );
    Ok(Done {
        log: name.as_str().to_owned(),
        events: match (first_id, last_id) {
            (Some(first), Some(last)) => (last + 1).saturating_sub(first),
            _ => 0,
        },
        first_id,
        last_id: last_id.filter(|_| first_id.is_some()),
        segments_copied: report.copied,
        segments_kept: report.kept,
        segments_removed: report.removed,
        bytes: report.bytes,
        damage: report.damage.iter().map(ToString::to_string).collect(),
    })
}

fn report(logs: &[Done], json: bool) -> Result<(), CliFailure> {
    let damage: u64 = logs.iter().map(|log| log.damage.len() as u64).sum();
    if json {
        #[derive(Serialize)]
        struct Report<'a> {
            sound: bool,
            logs: &'a [Done],
        }
        let report = Report {
            sound: damage == 0,
            logs,
        };
        print_json(&report)?;
    } else {
        let width = logs
            .iter()
            .map(|log| log.log.len())
            .max()
            .unwrap_or(3)
            .max(3);
        print_line(&format!(
            "{:width$}  {:>12}  {:>12}  {:>16}  segments",
            "log", "events", "last id", "bytes written"
        ))?;
        for log in logs {
            let last_id = log
                .last_id
                .map_or_else(|| "-".to_owned(), |id| id.to_string());
            print_line(&format!(
                "{:width$}  {:>12}  {last_id:>12}  {:>16}  {} copied, {} kept, {} removed",
                log.log,
                log.events,
                log.bytes,
                log.segments_copied,
                log.segments_kept,
                log.segments_removed
            ))?;
            for damage in &log.damage {
                print_line(&format!("  damage: {damage}"))?;
            }
        }
    }
    if damage == 0 {
        return Ok(());
    }
    Err(CliFailure::damage(format!(
        "damage in {}, copied as it is",
        counted(damage, "place")
    )))
}
