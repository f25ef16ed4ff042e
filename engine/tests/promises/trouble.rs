//! One run of a script with trouble at a place of choice, named so that it can be had again: the
//! power goes, the process is killed, a call fails; once, or again and again.

use strandlog_engine::storage::sim::{Fault, Repeat, SimDisk};
use strandlog_engine::{Health, OpenError};

use super::case::Case;
use super::figures::{Figure, seeds, shared};
use super::slow;
use super::story::{Act, Told, event, left, script};
use super::support::Chance;

/// How long the scripts are, in rounds of about two acts.
pub(crate) const ROUNDS: u64 = 48;
pub(crate) const ROUNDS_OF_FAILURES: u64 = 26;
/// So many cases of one script and step go to one thread, to share the run before the trouble.
const TOGETHER: usize = 48;

/// Where scripts are played.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rig {
    /// What is wrong with every disk, to see whether that is noticed.
    pub(crate) prepare: fn(&SimDisk),
}

/// A disk that keeps its word.
pub(crate) const SOUND: Rig = Rig { prepare: |_| {} };

/// A run that several cases have in common.
struct Played {
    script: u64,
    step: u64,
    disk: SimDisk,
    told: Told,
}

fn index(number: u64) -> usize {
    usize::try_from(number).unwrap()
}

impl Rig {
    fn disk(&self, seed: u64) -> SimDisk {
        let disk = SimDisk::with_seed(seed);
        (self.prepare)(&disk);
        disk
    }

    /// How many steps the script has in peace.
    pub(crate) fn steps(&self, script_seed: u64, rounds: u64) -> u64 {
        let disk = self.disk(script_seed);
        let mut told = Told::new(script_seed);
        told.play(&disk, 1, &script(script_seed, rounds));
        assert_eq!(
            told.story.acknowledged,
            told.story.last(),
            "nothing fails in peace"
        );
        disk.steps()
    }

    /// Cuts at every so-manieth step of the script, with so many leftovers each.
    pub(crate) fn cuts(
        &self,
        script: u64,
        every: u64,
        leftovers: u64,
    ) -> impl Iterator<Item = Case> + Send + use<> {
        let steps = (script % every..self.steps(script, ROUNDS)).step_by(index(every));
        steps.flat_map(move |step| {
            (0..leftovers).map(move |index| Case::Cut {
                script,
                step,
                // The plain ones in turn, chance always.
                left: if index == 0 { step % 4 } else { 3 + index },
            })
        })
    }

    /// Kills at every so-manieth step of the script.
    pub(crate) fn kills(
        &self,
        script: u64,
        every: u64,
    ) -> impl Iterator<Item = Case> + Send + use<> {
        (0..self.steps(script, ROUNDS))
            .step_by(index(every))
            .flat_map(move |step| [0, 4, 5].map(|left| Case::Kill { script, step, left }))
    }

    /// Each call fails in each way, and takes long. Of calls that move no bytes, all but the moving
    /// of less.
    pub(crate) fn failures(&self, script_seed: u64) -> impl Iterator<Item = Case> + Send + use<> {
        use strandlog_engine::storage::sim::CallKind;
        let disk = self.disk(script_seed);
        Told::new(script_seed).play(&disk, 1, &script(script_seed, ROUNDS_OF_FAILURES));
        (0..).zip(disk.calls()).flat_map(move |(step, call)| {
            let moves_bytes = matches!(call.kind, CallKind::WriteAt | CallKind::ReadAt);
            let faults = Fault::ALL.into_iter();
            let slow = [Repeat::Once, Repeat::FromThenOn].map(|repeat| Case::Slow {
                script: script_seed,
                step,
                repeat,
            });
            faults
                .filter(move |fault| moves_bytes || !matches!(fault, Fault::Short | Fault::Zero))
                .flat_map(move |fault| {
                    [Repeat::Once, Repeat::FromThenOn].map(|repeat| Case::Fail {
                        script: script_seed,
                        step,
                        fault,
                        repeat,
                    })
                })
                .chain(slow)
        })
    }

    /// Runs all cases, and gives their number, or the first in which a promise was broken.
    pub(crate) fn sweep(&self, cases: impl Iterator<Item = Case> + Send) -> Result<u64, String> {
        shared(cases, TOGETHER, |cases| {
            let mut played = None;
            let count = cases.len() as u64;
            for case in cases {
                self.check(case, &mut played).map_err(|error| {
                    format!("{error}\nSTRANDLOG_TEST_REPLAY=\"{case}\" replays it")
                })?;
            }
            Ok(count)
        })
    }

    fn check(&self, case: Case, played: &mut Option<Played>) -> Result<(), String> {
        match case {
            Case::Cut {
                script: number,
                step,
                left: kind,
            } => {
                let Played { disk, told, .. } = self.played(number, step, played);
                let after = disk.after_crash(left(kind, step));
                told.clone().goes_on(&after, step + 2).map_err(|error| {
                    let call = disk.calls().get(usize::try_from(step).unwrap()).cloned();
                    let call = call.map_or_else(String::new, |call| call.to_string());
                    format!("{error}\nthe power went at {call}")
                })
            }
            Case::Kill {
                script: number,
                step,
                left: kind,
            } => {
                let Played { disk, told, .. } = self.played(number, step, played);
                kill(disk, told.clone(), step, kind)
            }
            Case::Deep { seed } => self.deep(seed),
            Case::Fail {
                script: number,
                step,
                fault,
                repeat,
            } => {
                let disk = self.disk(step);
                disk.fail_at(step, fault, repeat);
                let mut told = Told::new(number);
                let mut acts = script(number, ROUNDS_OF_FAILURES);
                acts.push(Act::Flush);
                let once = (repeat == Repeat::Once).then_some(step);
                play_on(&disk, &mut told, &acts, once)
                    .and_then(|()| check_after(&disk, &told, step))
                    .map_err(|error| {
                        let call = disk.calls().get(usize::try_from(step).unwrap()).cloned();
                        let call = call.map_or_else(String::new, |call| call.to_string());
                        format!("{error}\nwhat failed was {call}")
                    })
            }
            Case::Slow {
                script,
                step,
                repeat,
            } => slow::check(&self.disk(step), script, step, repeat),
            Case::Mixed { seed } => self.mixed(seed),
        }
    }

    /// The disk at the moment when the power went or the process was killed, and the story so far.
    fn played<'a>(&self, number: u64, step: u64, last: &'a mut Option<Played>) -> &'a Played {
        let is_same = |it: &Played| it.script == number && it.step == step;
        if !last.as_ref().is_some_and(is_same) {
            let disk = self.disk(number * 7_919 + step);
            disk.crash_at(step);
            let mut told = Told::new(number);
            told.play(&disk, 1, &script(number, ROUNDS));
            *last = Some(Played {
                script: number,
                step,
                disk,
                told,
            });
        }
        last.as_ref().unwrap()
    }

    fn deep(&self, seed: u64) -> Result<(), String> {
        let chance = Chance::new(seed);
        let number = 1 + seed % 6;
        let acts = script(number, 30);
        let calm = self.disk(0);
        Told::new(number).play(&calm, 1, &acts);
        let disk = self.disk(seed);
        disk.crash_at(chance.below(calm.steps()));
        let mut told = Told::new(number);
        told.play(&disk, 1, &acts);
        let mut after = disk.after_crash(left(chance.below(8), seed));
        for depth in 0..3 {
            told.clone()
                .goes_on(&after.restart(), chance.below(1 << 40))
                .map_err(|error| format!("depth {depth}: {error}"))?;
            let calm = after.after_crash(left(1, 0));
            told.open(&calm, 7)
                .map_err(|error| format!("depth {depth}: {error:?}"))?;
            let again = after.after_crash(left(1, 0));
            again.crash_at(chance.below(calm.steps()));
            let _cut = told.open(&again, chance.below(1 << 40));
            let kind = chance.below(8);
            after = again.after_crash(left(kind, chance.below(1 << 40)));
        }
        told.goes_on(&after, chance.below(1 << 40))
    }

    fn mixed(&self, seed: u64) -> Result<(), String> {
        let chance = Chance::new(seed);
        let number = 1 + seed % 6;
        let acts = script(number, 30);
        let mut rest = acts.as_slice();
        let mut disk = self.disk(seed);
        let mut told = Told::new(number);
        for generation in 0..5 {
            // Trouble while it opens, or later.
            let is_early = chance.below(3) == 0;
            let calls = if is_early { 25 } else { 250 };
            let trouble = |disk: &SimDisk| {
                let step = disk.steps() + chance.below(calls);
                let fault = Fault::ALL[usize::try_from(chance.below(8)).unwrap()];
                match chance.below(5) {
                    0 => disk.crash_at(step),
                    1 => disk.fail_at(step, fault, Repeat::FromThenOn),
                    _ => disk.fail_at(step, fault, Repeat::Once),
                }
                if chance.below(3) == 0 {
                    let step = step + 1 + chance.below(20);
                    disk.fail_at(step, Fault::Eio, Repeat::Once);
                }
            };
            if is_early {
                trouble(&disk);
            }
            let open_seed = seed * 10 + generation;
            match told.open(&disk, open_seed) {
                Ok(log) if !disk.has_crashed() => {
                    if !is_early || chance.below(2) == 0 {
                        disk.heal();
                    }
                    if !is_early {
                        told.story
                            .check(&log)
                            .map_err(|error| format!("generation {generation}: {error}"))?;
                        trouble(&disk);
                    }
                    told.story.settle(&log);
                    let some = usize::try_from(chance.below(30)).unwrap().min(rest.len());
                    let (now, later) = rest.split_at(some);
                    for act in now {
                        let _may_fail = told.story.act(&log, act);
                    }
                    rest = later;
                    if chance.below(4) == 0 {
                        let _may_fail = log.close();
                    }
                }
                Ok(_) | Err(OpenError::Io(_)) => {}
                Err(error) => return Err(format!("generation {generation}: {error:?}")),
            }
            disk = if chance.below(3) == 0 {
                disk.restart()
            } else {
                disk.after_crash(left(chance.below(8), open_seed))
            };
            (self.prepare)(&disk);
        }
        told.goes_on(&disk, seed * 10 + 9)
    }
}

fn kill(killed: &SimDisk, mut told: Told, step: u64, kind: u64) -> Result<(), String> {
    let next = killed.restart();
    // The next process is cut while it opens, or soon after.
    next.crash_at(Chance::new(step).below(40));
    if let Ok(log) = told.open(&next, step + 2) {
        told.story.settle(&log);
        let _outcome = told
            .story
            .act(&log, &Act::Append(vec![event(91_000_000, 30)]));
        let _outcome = told.story.act(&log, &Act::Advance(0));
    }
    told.goes_on(&next.after_crash(left(kind, step)), step + 3)
}

/// Plays on whatever fails, as clients do; says what must not be.
fn play_on(disk: &SimDisk, told: &mut Told, acts: &[Act], once: Option<u64>) -> Result<(), String> {
    let log = match told.open(disk, 1) {
        Ok(log) => log,
        Err(OpenError::Io(_)) => return Ok(()),
        Err(error) => return Err(format!("open: {error:?}")),
    };
    for act in acts {
        let before = log.health();
        let steps = disk.steps();
        let outcome = told.story.act(&log, act);
        if let (Health::Failed(_), Act::Append(_)) = (&before, act) {
            if outcome.is_ok() {
                return Err("acknowledged after a failure".to_owned());
            }
            if disk.steps() != steps {
                return Err("an append touched the disk after a failure".to_owned());
            }
        }
        if before != Health::Writable && before != Health::Full && log.health() != before {
            return Err(format!("{before:?} became {:?}", log.health()));
        }
        // The reads must not meet the fault themselves.
        if once.is_some_and(|step| disk.steps() > step) && outcome.is_err() {
            told.story
                .check(&log)
                .map_err(|error| format!("reads go on: {error}"))?;
        }
    }
    disk.heal();
    log.upkeep_now();
    told.story
        .check(&log)
        .map_err(|error| format!("reads go on: {error}"))?;
    let failed = matches!(log.health(), Health::Failed(_));
    if log.close().is_ok() == failed {
        return Err(format!("closed as if {failed} were not so"));
    }
    Ok(())
}

fn check_after(disk: &SimDisk, told: &Told, seed: u64) -> Result<(), String> {
    for (index, after) in [
        disk.restart(),
        disk.after_crash(left(0, seed)),
        disk.after_crash(left(4, seed)),
    ]
    .into_iter()
    .enumerate()
    {
        // The power goes in the end: what the first process could not sync must not be missing
        // before what the next one has acknowledged.
        told.clone()
            .goes_on(&after, seed + 2)
            .map_err(|error| format!("reopened {index}: {error}"))?;
    }
    Ok(())
}

/// Runs the case that a failure has printed.
pub(crate) fn replay(rig: Rig, text: &str) -> Result<u64, String> {
    rig.sweep(std::iter::once(text.parse()?))
}

/// The case of a printed failure.
fn printed(error: &str) -> &str {
    let (_, rest) = error.split_once("STRANDLOG_TEST_REPLAY=\"").unwrap();
    rest.split_once('"').unwrap().0
}

#[test]
fn a_printed_failure_is_replayed() {
    if let Ok(text) = std::env::var("STRANDLOG_TEST_REPLAY") {
        replay(SOUND, &text).unwrap_or_else(|error| panic!("{error}"));
    }
    let lying = Rig {
        prepare: |disk| disk.syncs_lie(true),
    };
    let cases: [Box<dyn Iterator<Item = Case> + Send>; 4] = [
        Box::new(lying.cuts(1, 1, 2)),
        Box::new(lying.kills(1, 1)),
        Box::new((0..500).map(|seed| Case::Deep { seed })),
        Box::new((0..500).map(|seed| Case::Mixed { seed })),
    ];
    for cases in cases {
        let first = lying.sweep(cases).unwrap_err();
        let again = replay(lying, printed(&first)).unwrap_err();
        assert_eq!(first, again);
        replay(SOUND, printed(&first)).unwrap_or_else(|error| panic!("{error}"));
    }
    for case in SOUND.failures(1).step_by(97) {
        assert_eq!(case.to_string().parse(), Ok(case));
    }
}

/// Mixed troubles: see [`Case::Mixed`].
pub(crate) fn mixed() -> Result<u64, String> {
    SOUND.sweep(seeds("STRANDLOG_TEST_MIXED").map(|seed| Case::Mixed { seed }))
}

#[test]
fn failing_calls_kills_and_power_cuts_in_any_order_lose_nothing() {
    let figure = Figure::of("D2", "runs with mixed troubles", [50, 4_000, 100_000]);
    figure.reached(mixed().unwrap_or_else(|error| panic!("{error}")));
}
