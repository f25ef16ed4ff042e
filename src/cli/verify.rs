//! `verify`: every byte of every log, checked, without a server and without changing anything.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::Args;
use serde::Serialize;
use strandlog_engine::storage::{DiskStorage, Storage};
use strandlog_engine::{Damage, EventId, OpenError};

use super::failure::CliFailure;
use super::output::{counted, print_json, print_line};
use super::progress::Progress;
use crate::store::LogName;
use crate::store::embedded::{DataDirectory, DirectoryError};

/// What `verify` takes.
#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub(crate) struct VerifyArgs {
    /// The data directory; no server may be using it
    #[arg(
        long,
        value_name = "DIR",
        env = "STRANDLOG_DATA",
        default_value = "./strandlog-data"
    )]
    data: PathBuf,

    /// Print the findings as one JSON object
    #[arg(long)]
    json: bool,
}

const EXAMPLES: &str = "\
Exit codes: 0 sound, 3 damage found, 1 the check could not be made.
A torn end is no damage: it was never acknowledged, and the next start drops it. Indexes are derived
from the log and rebuilt by the next start. Events that `repair` has recorded as lost are listed, and
are no damage any more.

Examples:
  strandlog verify
  strandlog verify --data /var/lib/strandlog --json";

/// What was found in one log.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Finding {
    log: String,
    segments: u64,
    events: u64,
    bytes: u64,
    first_id: Option<u64>,
    last_id: Option<u64>,
    /// Bytes of a torn, never acknowledged end.
    torn_len: u64,
    damage: Vec<Place>,
    /// What is lost and recorded as lost by a repair.
    losses: Vec<Place>,
    /// Files that repairs have put aside, and their bytes.
    set_aside_files: u64,
    set_aside_len: u64,
    /// Trouble in derived files; no event is concerned.
    derived: Vec<Place>,
}

/// Where something is wrong, and what.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Place {
    file: String,
    offset: u64,
    first_id: Option<u64>,
    last_id: Option<u64>,
    what: String,
}

impl Place {
    /// How many ids it names.
    fn ids(&self) -> u64 {
        match (self.first_id, self.last_id) {
            (Some(first), Some(last)) => last.saturating_sub(first) + 1,
            (Some(_), None) | (None, Some(_)) | (None, None) => 0,
        }
    }
}

impl From<&Damage> for Place {
    fn from(damage: &Damage) -> Self {
        Self {
            file: damage.file.clone(),
            offset: damage.offset,
            first_id: damage.first_id.map(EventId::get),
            last_id: damage.last_id.map(EventId::get),
            what: damage.what.clone(),
        }
    }
}

/// What was found in a data directory.
#[derive(Debug, Serialize)]
struct Findings {
    sound: bool,
    logs: Vec<Finding>,
}

/// Runs `verify`.
///
/// # Errors
///
/// Damage, with its own exit code; a directory that cannot be read or is in use.
pub(crate) fn run(args: &VerifyArgs) -> Result<(), CliFailure> {
    let unusable = |error: DirectoryError| CliFailure::of_directory(&args.data, &error);
    let directory = open(&args.data).map_err(unusable)?;
    let mut logs = Vec::new();
    for name in directory.log_names().map_err(unusable)? {
        let finding = check(&directory, &name)
            .map_err(|error| unusable(DirectoryError::of_log(name, error)))?;
        logs.push(finding);
    }
    let findings = Findings {
        sound: logs.iter().all(|log| log.damage.is_empty()),
        logs,
    };
    if args.json {
        print_json(&findings)?;
    } else {
        for line in table(&findings.logs) {
            print_line(&line)?;
        }
    }
    if findings.sound {
        return Ok(());
    }
    let places: u64 = findings
        .logs
        .iter()
        .map(|log| log.damage.len() as u64)
        .sum();
    Err(CliFailure::damage(format!(
        "damage in {}; nothing was changed; `strandlog repair --dry-run` says what can \
         be saved",
        counted(places, "place")
    )))
}

fn open(data: &Path) -> Result<DataDirectory, DirectoryError> {
    let root: Arc<dyn Storage> = Arc::new(DiskStorage::open(data)?);
    DataDirectory::open_at_rest(&root)
}

fn check(directory: &DataDirectory, name: &LogName) -> Result<Finding, OpenError> {
    let storage = directory.log_at_rest(name)?;
    let name = name.as_str();
    let progress = Progress::up_to(Some(0));
    let outcome = strandlog_engine::verify(&storage, &mut |done, all| {
        progress.bytes(done, all, name);
    });
    progress.done();
    let report = outcome?;
    Ok(Finding {
        log: name.to_owned(),
        segments: report.segments,
        events: report.records,
        bytes: report.bytes,
        first_id: report.first.map(EventId::get),
        last_id: report.last.map(EventId::get),
        torn_len: report.torn_len,
        damage: report.damage.iter().map(Place::from).collect(),
        losses: report.losses.iter().map(Place::from).collect(),
        set_aside_files: report.set_aside_files,
        set_aside_len: report.set_aside_len,
        derived: report.derived.iter().map(Place::from).collect(),
    })
}

/// The findings for people: a line for each log, and below it one for each place.
fn table(logs: &[Finding]) -> Vec<String> {
    let width = logs
        .iter()
        .map(|log| log.log.len())
        .chain(["log".len()])
        .max()
        .unwrap_or_default();
    let mut lines = vec![format!(
        "{:width$}  {:>8}  {:>12}  {:>16}  {:>12}  state",
        "log", "segments", "events", "bytes", "last id"
    )];
    for log in logs {
        let last_id = log
            .last_id
            .map_or_else(|| "-".to_owned(), |id| id.to_string());
        let mut state = match (log.damage.is_empty(), log.torn_len) {
            (false, _) => "DAMAGED".to_owned(),
            (true, 0) => "sound".to_owned(),
            (true, torn_len) => format!("sound, {} of a torn end", counted(torn_len, "byte")),
        };
        let lost: u64 = log.losses.iter().map(Place::ids).sum();
        if lost > 0 {
            state += &format!(", {} known to be lost", counted(lost, "event"));
        }
        if log.set_aside_files > 0 {
            state += &format!(
                ", {} put aside by repair",
                counted(log.set_aside_len, "byte")
            );
        }
        lines.push(format!(
            "{:width$}  {:>8}  {:>12}  {:>16}  {:>12}  {state}",
            log.log, log.segments, log.events, log.bytes, last_id
        ));
        for (places, what) in [
            (&log.damage, "damage"),
            (&log.losses, "known loss"),
            (&log.derived, "derived"),
        ] {
            for place in places {
                let ids = match (place.first_id, place.last_id) {
                    (Some(first), Some(last)) => format!(", events {first} to {last}"),
                    (Some(first), None) => format!(", from event {first} on"),
                    (None, Some(last)) => format!(", up to event {last}"),
                    (None, None) => String::new(),
                };
                lines.push(format!(
                    "  {what}: {} at offset {}{ids}: {}",
                    place.file, place.offset, place.what
                ));
            }
        }
    }
    lines
}
