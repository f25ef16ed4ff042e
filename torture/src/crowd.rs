//! Several rigs at a time, so that the short setting uses the whole machine.
//!
//! Rigs that are judged by the time they take, or that need something of which the machine has one,
//! are run as a whole, one cycle after the other; of the others, pieces are run wherever there is
//! room.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use crate::interrupt;
use crate::rig::{Context, Rig, Slice, Tally};
use crate::rigs::DIVISIBLE;
use crate::{Outcome, Run};

/// Cycles of a piece: two generations of data directories.
const PIECE: u64 = 24;

/// The time of a rig that is run as a whole.
const WHOLE_MAX: Duration = Duration::from_secs(110);

/// Something to be done in one go.
#[derive(Clone, Copy, Debug)]
enum Task {
    /// A rig with its control.
    Whole(&'static Rig),
    Control(&'static Rig),
    Piece {
        rig: &'static Rig,
        first: u64,
        cycles: u64,
    },
}

/// What the pieces of a rig have come to so far.
#[derive(Debug)]
struct Sum {
    left: usize,
    tally: Tally,
    /// The time of all pieces, added up.
    took: Duration,
    is_noticed: bool,
    broken: Option<String>,
}

/// Runs all rigs, `jobs` at a time, until `end`; what came of each.
pub(crate) fn run(
    run: &Run<'_>,
    rigs: &[&'static Rig],
    jobs: usize,
    end: Instant,
) -> Result<Vec<Outcome>, String> {
    let (tasks, sums) = plan(rigs);
    let (tasks, sums) = (Mutex::new(tasks), Mutex::new(sums));
    let outcomes = Mutex::new(Vec::new());
    let work = |job: usize| -> Result<(), String> {
        let context = run.context.part(&format!("job-{job}"))?;
        loop {
            let Some(task) = locked(&tasks).pop_front() else {
                return Ok(());
            };
            let outcome = match task {
                Task::Whole(rig) => Some(whole(run, &context, rig, end)?),
                Task::Control(rig) => {
                    let is_noticed = run.control_in(&context, rig)?;
                    finish(run, rig, &sums, |sum| sum.is_noticed = is_noticed)?
                }
                Task::Piece { rig, first, cycles } => {
                    let slice = Slice {
                        first,
                        cycles,
                        until: end,
                        control: false,
                    };
                    let start = Instant::now();
                    let result = (rig.run)(&context, &slice);
                    finish(run, rig, &sums, |sum| {
                        sum.took += start.elapsed();
                        match result {
                            Ok(tally) => sum.tally.add(tally),
                            Err(error) => sum.broken = Some(error),
                        }
                    })?
                }
            };
            locked(&outcomes).extend(outcome);
        }
    };
    thread::scope(|scope| {
        let work = &work;
        let jobs: Vec<_> = (0..jobs.max(1))
            .map(|job| scope.spawn(move || work(job)))
            .collect();
        jobs.into_iter().try_for_each(|job| match job.join() {
            Ok(done) => done,
            Err(panic) => std::panic::resume_unwind(panic),
        })
    })?;
    let outcomes = outcomes.into_inner();
    Ok(outcomes.unwrap_or_else(PoisonError::into_inner))
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What is to be done, in this order: each control, then what cannot be divided, then a piece of each
/// of the others by turns, so that all of them get their share if the time is short.
fn plan(rigs: &[&'static Rig]) -> (VecDeque<Task>, BTreeMap<&'static str, Sum>) {
    let is_divisible = |rig: &&'static Rig| DIVISIBLE.contains(&rig.name);
    let (divisible, whole): (Vec<_>, Vec<_>) = rigs.iter().copied().partition(is_divisible);
    let mut tasks: VecDeque<Task> = divisible.iter().copied().map(Task::Control).collect();
    tasks.extend(whole.into_iter().map(Task::Whole));
    let mut sums = BTreeMap::new();
    for rig in &divisible {
        let sum = Sum {
            left: 1 + usize::try_from(rig.ci_cycles.div_ceil(PIECE)).unwrap_or(0),
            tally: Tally::default(),
            took: Duration::ZERO,
            is_noticed: false,
            broken: None,
        };
        sums.insert(rig.name, sum);
    }
    let longest = divisible.iter().map(|rig| rig.ci_cycles).max().unwrap_or(0);
    for first in (0..longest).step_by(usize::try_from(PIECE).unwrap_or(1)) {
        for rig in divisible.iter().filter(|rig| rig.ci_cycles > first) {
            tasks.push_back(Task::Piece {
                rig,
                first,
                cycles: PIECE.min(rig.ci_cycles - first),
            });
        }
    }
    (tasks, sums)
}

/// Runs a rig with its control.
fn whole(
    run: &Run<'_>,
    context: &Context,
    rig: &'static Rig,
    end: Instant,
) -> Result<Outcome, String> {
    if Instant::now() >= end || interrupt::came() {
        run.skip(rig, 0, "no time is left")?;
        return Ok(Outcome::NotRun);
    }
    let is_noticed = run.control_in(context, rig)?;
    let slice = Slice {
        first: 0,
        cycles: rig.ci_cycles,
        // Rigs that do more where there is more time are to do the short form here.
        until: end.min(Instant::now() + WHOLE_MAX),
        control: false,
    };
    let start = Instant::now();
    let sum = match (rig.run)(context, &slice) {
        Ok(tally) => (tally, None),
        Err(error) => (Tally::default(), Some(error)),
    };
    conclude(run, rig, is_noticed, sum, start.elapsed())
}

/// Adds to the sum of a rig; what came of the rig if that was the last piece.
fn finish(
    run: &Run<'_>,
    rig: &'static Rig,
    sums: &Mutex<BTreeMap<&'static str, Sum>>,
    add: impl FnOnce(&mut Sum),
) -> Result<Option<Outcome>, String> {
    let done = {
        let mut sums = locked(sums);
        let Some(sum) = sums.get_mut(rig.name) else {
            return Ok(None);
        };
        add(sum);
        sum.left -= 1;
        if sum.left > 0 {
            return Ok(None);
        }
        sums.remove(rig.name)
    };
    let Some(sum) = done else {
        return Ok(None);
    };
    conclude(run, rig, sum.is_noticed, (sum.tally, sum.broken), sum.took).map(Some)
}

fn conclude(
    run: &Run<'_>,
    rig: &Rig,
    is_noticed: bool,
    (mut tally, broken): (Tally, Option<String>),
    took: Duration,
) -> Result<Outcome, String> {
    tally.count("cycles_asked", rig.ci_cycles as f64);
    let verdict = match broken {
        Some(error) => format!("broken: {error}"),
        None if tally.findings.count() > 0 => "failed".to_owned(),
        None if tally.cycles == 0 => "skipped: no time is left".to_owned(),
        None => "passed".to_owned(),
    };
    run.tell(rig, false, 0, &tally, took, verdict.clone())?;
    Ok(match verdict.as_str() {
        // The control is of use only if there was something to control.
        "passed" if is_noticed => Outcome::Passed,
        verdict if verdict.starts_with("skipped") && is_noticed => Outcome::NotRun,
        _ => Outcome::Failed,
    })
}
