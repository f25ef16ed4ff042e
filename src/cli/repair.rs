//! `repair`: what can still be read of a damaged log is saved, without a server, once the plan has been
//! seen.

use std::io::{self, BufRead, IsTerminal, Write};
use std::path::PathBuf;
use std::sync::Arc;

use clap::Args;
use serde::Serialize;
use strandlog_engine::storage::{DiskStorage, Storage};
use strandlog_engine::{LostEvents, OpenError, Options, RepairAct, RepairPlan, RepairReport};

use super::failure::CliFailure;
use super::output::{counted, print_json, print_line};
use super::progress::Progress;
use super::verify::Place;
use crate::store::LogName;
use crate::store::embedded::{DataDirectory, DirectoryError};

/// What `repair` takes.
#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub(crate) struct RepairArgs {
    /// The data directory; no server may be using it
    #[arg(
        long,
        value_name = "DIR",
        env = "STRANDLOG_DATA",
        default_value = "./strandlog-data"
    )]
    data: PathBuf,

    /// Only this log
    #[arg(long, value_name = "NAME")]
    log: Option<LogName>,

    /// Show what would be done, and change nothing
    #[arg(long, conflicts_with = "yes")]
    dry_run: bool,

    /// Do it without asking; needed where nobody can be asked
    #[arg(long)]
    yes: bool,

    /// Print what was found and done as one JSON object
    #[arg(long)]
    json: bool,
}

const EXAMPLES: &str = "\
No event that can still be read is lost, no id is given out twice, and no file is removed: what is
replaced stays under a name that ends with \".damaged\". Events that cannot be read become a recorded
gap: readers are told of it, and `verify` lists it and calls the log sound.

Exit codes: 0 nothing to do, or repaired; 3 damage is left, since it cannot be repaired or this was a
dry run; 1 the repair could not be made (what was begun goes on with the next one).

Examples:
  strandlog repair --dry-run
  strandlog repair --data /var/lib/strandlog --log orders
  strandlog repair --yes --json";

/// What was found in one log, and done about it.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Outcome {
    log: String,
    segments: u64,
    events: u64,
    /// Whether the acts were carried out.
    done: bool,
    acts: Vec<Act>,
    /// What cannot be repaired.
    left: Vec<Place>,
    /// Files that repairs have put aside, and their bytes.
    set_aside_files: u64,
    set_aside_len: u64,
}

/// One thing to do, or done.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Act {
    act: &'static str,
    file: String,
    what: String,
    /// What is lost for ever.
    lost: Vec<Lost>,
}

/// Events that are lost for ever.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Lost {
    first_id: u64,
    last_id: u64,
    tags_known: bool,
    what: String,
}

impl From<&RepairAct> for Act {
    fn from(act: &RepairAct) -> Self {
        Self {
            act: match act {
                RepairAct::Record { .. } => "record",
                RepairAct::Close { .. } => "close",
                RepairAct::Rebuild { .. } => "rebuild",
                RepairAct::Checkpoints { .. } => "checkpoints",
                _ => "other",
            },
            file: act.file().to_owned(),
            what: act.to_string(),
            lost: act.lost().iter().map(Lost::from).collect(),
        }
    }
}

impl From<&LostEvents> for Lost {
    fn from(lost: &LostEvents) -> Self {
        Self {
            first_id: lost.first_id.get(),
            last_id: lost.last_id.get(),
            tags_known: lost.tags_are_known,
            what: lost.what.clone(),
        }
    }
}

/// What was done in a data directory.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Outcomes {
    dry_run: bool,
    logs: Vec<Outcome>,
}

/// Runs `repair`.
///
/// # Errors
///
/// Damage that is left, with its own exit code; a directory that cannot be read or is in use; an
/// answer that was not yes.
pub(crate) fn run(args: &RepairArgs) -> Result<(), CliFailure> {
    let unusable = |error: DirectoryError| CliFailure::of_directory(&args.data, &error);
    let root = DiskStorage::open(&args.data).map_err(|error| unusable(error.into()))?;
    let root: Arc<dyn Storage> = Arc::new(root);
    let directory = DataDirectory::open_at_rest(&root).map_err(unusable)?;
    let mut names = directory.log_names().map_err(unusable)?;
    if let Some(wanted) = &args.log {
        names.retain(|name| name == wanted);
        if names.is_empty() {
            let what = format!("there is no log {:?}", wanted.as_str());
            return Err(CliFailure::usage(what));
        }
    }
    let mut logs = Vec::new();
    let mut is_declined = false;
    for name in names {
        let mut answer = Ok(false);
        let report = repair(&directory, &name, args, &mut answer)
            .map_err(|error| unusable(DirectoryError::of_log(name.clone(), error)))?;
        is_declined |= !args.dry_run && !report.is_done && !report.plan.acts.is_empty();
        answer?;
        if !args.json {
            for line in told(&name, &report) {
                print_line(&line)?;
            }
        }
        logs.push(outcome(&name, &report));
    }
    let outcomes = Outcomes {
        dry_run: args.dry_run,
        logs,
    };
    if args.json {
        print_json(&outcomes)?;
    }
    if is_declined {
        return Err(CliFailure::new(
            "something is to be repaired, and was not: nobody said yes; give --yes to do it without \
             asking",
        ));
    }
    let left = outcomes.logs.iter().filter(|log| {
        let is_open = !log.done && !log.acts.is_empty();
        is_open || !log.left.is_empty()
    });
    match left.count() {
        0 => Ok(()),
        count => Err(CliFailure::damage(format!(
            "damage is left in {}",
            counted(count as u64, "log")
        ))),
    }
}

fn repair(
    directory: &DataDirectory,
    name: &LogName,
    args: &RepairArgs,
    answer: &mut Result<bool, CliFailure>,
) -> Result<RepairReport, OpenError> {
    let storage = directory.log_at_rest(name)?;
    let options = Options::default();
    let progress = Progress::up_to(Some(0));
    let mut confirm = |plan: &RepairPlan| {
        progress.done();
        *answer = confirm(name, plan, args);
        *answer.as_ref().unwrap_or(&false)
    };
    let report = strandlog_engine::repair(storage, &options, &mut confirm, &mut |done, all| {
        progress.bytes(done, all, name.as_str());
    });
    progress.done();
    report
}

/// Whether the plan is to be carried out.
fn confirm(name: &LogName, plan: &RepairPlan, args: &RepairArgs) -> Result<bool, CliFailure> {
    if args.dry_run || args.yes {
        return Ok(args.yes);
    }
    let cannot_ask = |error: io::Error| CliFailure::because("cannot ask", &error);
    if !io::stdin().is_terminal() || !io::stderr().is_terminal() {
        return Ok(false);
    }
    let mut terminal = io::stderr().lock();
    for line in planned(name, plan) {
        writeln!(terminal, "{line}").map_err(cannot_ask)?;
    }
    write!(terminal, "Do this to log {:?}? [y/N] ", name.as_str()).map_err(cannot_ask)?;
    terminal.flush().map_err(cannot_ask)?;
    let mut line = String::new();
    io::stdin()
        .lock()
        .read_line(&mut line)
        .map_err(cannot_ask)?;
    Ok(matches!(line.trim(), "y" | "Y" | "yes"))
}

/// The plan for people: a line for each act, and below it one for each gap.
fn planned(name: &LogName, plan: &RepairPlan) -> Vec<String> {
    let mut lines = Vec::new();
    let log = name.as_str();
    for act in &plan.acts {
        lines.push(format!("{log}: {act}"));
        for lost in act.lost() {
            lines.push(format!("{log}:   lost for ever: {lost}"));
        }
        if let RepairAct::Checkpoints { damage, .. } = act {
            lines.push(format!("{log}:   because of {damage}"));
        }
    }
    for left in &plan.left {
        lines.push(format!("{log}: cannot be repaired: {left}"));
    }
    lines
}

fn told(name: &LogName, report: &RepairReport) -> Vec<String> {
    let mut lines = planned(name, &report.plan);
    let log = name.as_str();
    let state = match (report.plan.acts.is_empty(), report.is_done) {
        (true, _) => "nothing to do",
        (false, true) => "repaired",
        (false, false) => "nothing was changed",
    };
    let RepairPlan {
        segments, records, ..
    } = report.plan;
    lines.push(format!(
        "{log}: {state}; {} in {} can be read",
        counted(records, "event"),
        counted(segments, "segment")
    ));
    if report.set_aside_files > 0 {
        lines.push(format!(
            "{log}: put aside, in files whose names end with \".damaged\": {} of {}; nothing needs them",
            counted(report.set_aside_files, "file"),
            counted(report.set_aside_len, "byte")
        ));
    }
    lines
}

fn outcome(name: &LogName, report: &RepairReport) -> Outcome {
    Outcome {
        log: name.as_str().to_owned(),
        segments: report.plan.segments,
        events: report.plan.records,
        done: report.is_done,
        acts: report.plan.acts.iter().map(Act::from).collect(),
        left: report.plan.left.iter().map(Place::from).collect(),
        set_aside_files: report.set_aside_files,
        set_aside_len: report.set_aside_len,
    }
}
