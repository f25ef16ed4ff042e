//! The real binary on disks that fail: what clients were told must hold, whatever happens.
//!
//! Each rig has a control, in which something is done wrong on purpose; a rig that does not notice
//! proves nothing, and has failed.

mod calls;
mod crashfs;
mod crowd;
mod doors;
mod http;
mod interrupt;
mod load;
mod native;
mod oracle;
mod place;
mod random;
mod results;
mod rig;
mod rigs;
mod server;
mod sink;
mod stream;
mod vitals;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::Parser;

use crate::place::Place;
use crate::results::Line;
use crate::rig::{Context, Rig, Slice, Tally};

/// The longest slice, in time: so much is lost at most of a run that is killed.
const SLICE_MAX: Duration = Duration::from_secs(300);
/// How long `ci` may take in all, without the last cycles and comparisons.
const CI_MAX: Duration = Duration::from_secs(260);
/// How many rigs `ci` runs beside each other at most if nobody says otherwise: the promises on time are
/// judged, and more would be in each other's way.
const CI_JOBS_MAX: usize = 2;
/// How many cycles a rig runs that was given neither cycles nor time.
const CYCLES_DEFAULT: u64 = 20;
/// How long a control may take.
const CONTROL_MAX: Duration = Duration::from_secs(120);

/// Runs the strandlog binary on disks that fail, and checks that it keeps its promises.
#[derive(Debug, Parser)]
#[command(name = "torture")]
struct Arguments {
    /// A rig, or `list`, `all`, or `ci`: the short setting of all that this machine can do, within
    /// four minutes
    rig: String,

    /// How many cycles each rig runs
    #[arg(long, conflicts_with = "hours")]
    cycles: Option<u64>,

    /// How long the run takes; `all` shares it out among the rigs
    #[arg(long)]
    hours: Option<f64>,

    /// How many servers `ci` has at a time [default: 2, if there are as many processors]
    #[arg(long)]
    jobs: Option<usize>,

    /// What everything random follows from; a number of the clock's otherwise
    #[arg(long)]
    seed: Option<u64>,

    /// A results file: its cycles with this seed are done, and new lines go to it
    #[arg(long, value_name = "FILE", conflicts_with = "results")]
    resume: Option<PathBuf>,

    /// How long `soak` goes on [default: a minute]
    #[arg(long)]
    minutes: Option<f64>,

    /// A file to which lines of results are added
    #[arg(long, value_name = "FILE")]
    results: Option<PathBuf>,

    /// The server [default: the one in target/ that was built last, or else a debug build]
    #[arg(long, value_name = "FILE", env = "STRANDLOG_TORTURE_BINARY")]
    binary: Option<PathBuf>,

    /// Where copies of data directories go with which something is wrong at the end, to be looked at
    #[arg(long, value_name = "DIR")]
    keep: Option<PathBuf>,

    /// Where temporary directories are made [default: the system's]
    #[arg(long, value_name = "DIR", env = "STRANDLOG_TORTURE_DIR")]
    dir: Option<PathBuf>,
}

fn main() -> ExitCode {
    match run(&Arguments::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::from(2)
        }
    }
}

/// The rigs that `name` stands for.
fn chosen(name: &str) -> Result<Vec<&'static Rig>, String> {
    if matches!(name, "all" | "ci") {
        return Ok(rigs::ALL.iter().collect());
    }
    let found: Vec<_> = rigs::ALL.iter().filter(|rig| rig.name == name).collect();
    if found.is_empty() {
        return Err(format!(
            "there is no rig {name:?}; `torture list` names them"
        ));
    }
    Ok(found)
}

fn run(arguments: &Arguments) -> Result<bool, String> {
    if arguments.rig == "list" {
        for rig in rigs::ALL {
            let missing = (rig.missing)();
            let missing = missing.map(|what| format!(" [missing here: {what}]"));
            println!(
                "{:10} {}{}",
                rig.name,
                rig.about,
                missing.unwrap_or_default()
            );
            println!("{:10}   control: {}", "", rig.control);
        }
        return Ok(true);
    }
    let rigs = chosen(&arguments.rig)?;
    interrupt::listen().map_err(|error| format!("cannot listen for signals: {error}"))?;
    let base = arguments.dir.clone().unwrap_or_else(std::env::temp_dir);
    let place = Place::new(&base).map_err(|error| format!("{}: {error}", base.display()))?;
    let seed = arguments.seed.unwrap_or_else(|| {
        let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        since.map_or(1, |since| since.as_millis() as u64)
    });
    let mut context = Context {
        place,
        binary: binary(arguments)?,
        config: None,
        seed,
        keep: arguments.keep.clone(),
        minutes: arguments.minutes,
    };
    context.configure()?;
    let commit = commit();
    println!(
        "seed {seed}, commit {commit}, binary {}",
        context.binary.display()
    );

    if let Some(file) = &arguments.resume {
        results::mend(file)?;
    }
    let run = Run {
        file: arguments.resume.as_deref().or(arguments.results.as_deref()),
        resumes: arguments.resume.is_some(),
        commit,
        context,
    };
    let end = Instant::now() + plan_time(arguments);
    let mut counts = Counts::default();
    let mut able = Vec::new();
    for rig in rigs {
        let missing = (rig.missing)().map(|what| format!("{what} is missing"));
        let left_out = arguments.rig == "ci" && rig.ci_cycles == 0;
        let left_out = left_out.then(|| "not part of the short setting".to_owned());
        match left_out.or(missing) {
            Some(why) => {
                run.skip(rig, 0, &why)?;
                counts.add(Outcome::NotRun);
            }
            None => able.push(rig),
        }
    }
    if arguments.rig == "ci" {
        let jobs = arguments.jobs.unwrap_or_else(|| {
            let cores = std::thread::available_parallelism();
            cores.map_or(1, std::num::NonZero::get).min(CI_JOBS_MAX)
        });
        for outcome in crowd::run(&run, &able, jobs, end)? {
            counts.add(outcome);
        }
    } else {
        for (index, rig) in able.iter().enumerate() {
            if interrupt::came() {
                break;
            }
            // Each rig has an equal share of the time that is left.
            let left = end.saturating_duration_since(Instant::now());
            let share = left / u32::try_from(able.len() - index).unwrap_or(1);
            let (cycles, until) = if arguments.hours.is_some() {
                (u64::MAX, Instant::now() + share)
            } else {
                (arguments.cycles.unwrap_or(CYCLES_DEFAULT), end)
            };
            counts.add(run.rig(rig, cycles, until)?);
        }
    }
    if interrupt::came() {
        println!("interrupted");
        return Ok(false);
    }
    println!(
        "{} passed, {} failed, {} skipped",
        counts.passed, counts.failed, counts.not_run
    );
    Ok(counts.failed == 0)
}

/// How many rigs came to what.
#[derive(Clone, Copy, Debug, Default)]
struct Counts {
    passed: u64,
    failed: u64,
    not_run: u64,
}

impl Counts {
    fn add(&mut self, outcome: Outcome) {
        match outcome {
            Outcome::Passed => self.passed += 1,
            Outcome::Failed => self.failed += 1,
            Outcome::NotRun => self.not_run += 1,
        }
    }
}

fn plan_time(arguments: &Arguments) -> Duration {
    match arguments.hours {
        Some(hours) => Duration::from_secs_f64((hours * 3600.0).clamp(1.0, 86_400.0)),
        None if arguments.rig == "ci" => CI_MAX,
        None => Duration::from_secs(86_400),
    }
}

/// What came of a rig.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    Passed,
    Failed,
    NotRun,
}

/// A run with what all of its rigs share.
#[derive(Debug)]
struct Run<'a> {
    context: Context,
    commit: String,
    file: Option<&'a Path>,
    resumes: bool,
}

impl Run<'_> {
    /// Runs a rig and its control.
    fn rig(&self, rig: &Rig, cycles: u64, until: Instant) -> Result<Outcome, String> {
        let mut first = match self.file {
            Some(file) if self.resumes => results::done(file, rig.name, self.context.seed)?,
            _ => 0,
        };
        if first >= cycles || Instant::now() >= until {
            let why = if first >= cycles {
                "all is done"
            } else {
                "no time is left"
            };
            self.skip(rig, first, why)?;
            return Ok(Outcome::NotRun);
        }
        let mut well = self.control(rig)?;
        let start = first;
        while first < cycles && Instant::now() < until && !interrupt::came() {
            let slice = Slice {
                first,
                cycles: cycles - first,
                until: until.min(Instant::now() + SLICE_MAX),
                control: false,
            };
            let start = Instant::now();
            let (tally, verdict) = match (rig.run)(&self.context, &slice) {
                Ok(tally) if tally.findings.count() == 0 => (tally, "passed".to_owned()),
                Ok(tally) => (tally, "failed".to_owned()),
                Err(error) => (Tally::default(), format!("broken: {error}")),
            };
            well &= verdict == "passed";
            self.tell(rig, false, first, &tally, start.elapsed(), verdict)?;
            if tally.cycles == 0 {
                break;
            }
            first += tally.cycles;
        }
        Ok(if well && first > start && !interrupt::came() {
            Outcome::Passed
        } else {
            Outcome::Failed
        })
    }

    /// Tells that a rig is not run.
    fn skip(&self, rig: &Rig, first: u64, why: &str) -> Result<(), String> {
        let verdict = format!("skipped: {why}");
        self.tell(
            rig,
            false,
            first,
            &Tally::default(),
            Duration::ZERO,
            verdict,
        )
    }

    /// Runs the control; whether it was noticed.
    fn control(&self, rig: &Rig) -> Result<bool, String> {
        self.control_in(&self.context, rig)
    }

    /// The same in a context of its own.
    fn control_in(&self, context: &Context, rig: &Rig) -> Result<bool, String> {
        let mut context = context.part("control")?;
        // What it finds was done on purpose: nobody has to look at it.
        context.keep = None;
        let slice = Slice {
            first: 0,
            cycles: rig.control_cycles,
            until: Instant::now() + CONTROL_MAX,
            control: true,
        };
        let start = Instant::now();
        let (tally, verdict) = match (rig.run)(&context, &slice) {
            Ok(tally) if tally.findings.count() > 0 => (tally, "noticed".to_owned()),
            Ok(tally) => (tally, "not noticed".to_owned()),
            Err(error) => (Tally::default(), format!("broken: {error}")),
        };
        let noticed = verdict == "noticed";
        self.tell(rig, true, 0, &tally, start.elapsed(), verdict)?;
        Ok(noticed)
    }

    fn tell(
        &self,
        rig: &Rig,
        control: bool,
        first: u64,
        tally: &Tally,
        took: Duration,
        verdict: String,
    ) -> Result<(), String> {
        let of = (self.context.seed, self.commit.as_str());
        let mut line = Line::new(rig.name, of, control, first, tally, took, verdict);
        // Where this machine has its temporary directories says nothing about the server.
        let root = self.context.place.root().display().to_string();
        for words in &mut line.words {
            *words = words.replace(&root, "DIR");
        }
        // In one piece, because others may be telling as well.
        let mut text = format!(
            "{:10} {:8} {:5} cycles {:8} acks {:7.1} s  {} finding(s)  {}\n",
            rig.name,
            line.kind,
            line.cycles,
            line.acks,
            line.duration_s,
            tally.findings.count(),
            line.verdict
        );
        if !tally.figures.is_empty() {
            text.push_str(&format!("           {}\n", line.figures));
        }
        for words in &line.words {
            text.push_str(&format!("           - {words}\n"));
        }
        print!("{text}");
        match self.file {
            Some(file) => results::append(file, &line),
            None => Ok(()),
        }
    }
}

/// The repository's root: this package lies in it.
fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// The server that was named, or the one that was built last, or one that is built for this.
fn binary(arguments: &Arguments) -> Result<PathBuf, String> {
    let found = |path: &Path| {
        path.canonicalize()
            .map_err(|error| format!("{}: {error}", path.display()))
    };
    if let Some(path) = &arguments.binary {
        return found(path);
    }
    let target =
        std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), PathBuf::from);
    let built = ["release", "debug"].map(|profile| target.join(profile).join("strandlog"));
    let made = |path: &PathBuf| path.metadata().and_then(|file| file.modified()).ok();
    if let Some(path) = built
        .iter()
        .filter(|path| path.is_file())
        .max_by_key(|path| made(path))
    {
        return found(path);
    }
    let manifest = root().join("Cargo.toml");
    let words = ["build", "--quiet", "--bin", "strandlog", "--manifest-path"].map(AsRef::as_ref);
    place::run("cargo", words.into_iter().chain([manifest.as_os_str()]))?;
    found(&target.join("debug/strandlog"))
}

/// What the repository is at, and whether something was changed since.
fn commit() -> String {
    let root = root();
    let git = |words: &[&str]| {
        let start = ["-C".as_ref(), root.as_os_str()];
        place::run(
            "git",
            start.into_iter().chain(words.iter().map(AsRef::as_ref)),
        )
    };
    let Ok(commit) = git(&["rev-parse", "--short=12", "HEAD"]) else {
        return "unknown".to_owned();
    };
    // The suite may be changed without the server being another one.
    let changed = git(&["status", "--porcelain", "--", "src", "engine", "Cargo.lock"]);
    let mark = if changed.is_ok_and(|changed| changed.is_empty()) {
        ""
    } else {
        "+"
    };
    format!("{}{mark}", commit.trim())
}
