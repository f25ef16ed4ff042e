//! Calls that take long: whoever reads meanwhile is served, and sees nothing that is not settled.

use std::sync::mpsc;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use strandlog_engine::storage::sim::{Left, Repeat, SimDisk};
use strandlog_engine::{Durability, Health, Log, Options};

use super::story::{Story, Told, options, script};
use super::support::{HandClock, open_with, small};
use super::trouble::ROUNDS_OF_FAILURES;

/// How long a slow call takes, by the clock of the log.
const SLOW_US: u64 = 2_000_000;

/// How long a reader may take until it counts as held up by the slow call.
const PATIENCE: Duration = Duration::from_secs(20);

/// The log, and what it may show while an act is under way.
type Shown = Arc<Mutex<Option<(Log, Story)>>>;

/// Plays the script on a disk that takes long over one step, or over all from then on. Nothing
/// fails, so everything has to work in the end.
pub(crate) fn check(disk: &SimDisk, number: u64, step: u64, repeat: Repeat) -> Result<(), String> {
    let clock = HandClock::at(1_000_000);
    let shown = Shown::default();
    let found = Arc::new(Mutex::new(Ok(())));
    let meanwhile: Arc<dyn Fn() + Send + Sync> = match repeat {
        Repeat::FromThenOn => {
            let clock = Arc::clone(&clock);
            Arc::new(move || clock.go_on(SLOW_US))
        }
        Repeat::Once => {
            let (clock, shown, found) =
                (Arc::clone(&clock), Arc::clone(&shown), Arc::clone(&found));
            let disk = disk.clone();
            Arc::new(move || {
                clock.go_on(SLOW_US);
                let result = read_in_another_thread(&disk, &shown);
                *found.lock().unwrap() = result;
            })
        }
    };
    disk.slow_at(step, repeat, meanwhile);
    let result = play(disk, number, &clock, &shown);
    // The disk holds what is to be called, and that holds the log.
    disk.heal();
    *shown.lock().unwrap() = None;
    std::mem::replace(&mut *found.lock().unwrap(), Ok(()))
        .map_err(|error| format!("while a call took long: {error}"))?;
    result
}

fn play(disk: &SimDisk, number: u64, clock: &Arc<HandClock>, shown: &Shown) -> Result<(), String> {
    let mut told = Told::new(number);
    let opened = Options {
        clock: Arc::clone(clock) as _,
        ..options(number, 1)
    };
    let (log, _) = open_with(disk, opened).map_err(|error| format!("{error:?}"))?;
    for act in script(number, ROUNDS_OF_FAILURES) {
        let during = told.story.during(&log, &act);
        *shown.lock().unwrap() = Some((log.clone(), during));
        told.story.act(&log, &act)?;
    }
    *shown.lock().unwrap() = None;
    told.story.check(&log)?;
    if log.health() != Health::Writable {
        return Err(format!("{:?} although nothing failed", log.health()));
    }
    log.close().map_err(|error| error.to_string())?;
    drop(log);
    told.story.acknowledged = told.story.last();
    told.goes_on(&disk.after_crash(Left::Nothing), 5)
}

fn read_in_another_thread(disk: &SimDisk, shown: &Shown) -> Result<(), String> {
    let Some((log, story)) = shown.lock().unwrap().clone() else {
        // While the log opens there is nobody to read.
        return Ok(());
    };
    let (tell, told) = mpsc::channel();
    let after = disk.after_crash(Left::Nothing);
    // Not joined: a reader that is held up would hold up this thread, too.
    std::thread::spawn(move || {
        let _gone = tell.send(look(&log, &story, &after));
    });
    told.recv_timeout(PATIENCE)
        .unwrap_or_else(|_| Err("a reader had to wait for it".to_owned()))
}

/// What is shown is what happened, and is on the disk as far as that is said.
fn look(log: &Log, story: &Story, after: &SimDisk) -> Result<(), String> {
    story.check(log)?;
    for id in [log.first().get(), log.end().get() - 1] {
        // A log without events shows none.
        let found = log
            .read(super::support::id(id.max(1)))
            .map_err(|error| format!("{error:?}"))?;
        let found = found.is_some_and(|records| records.len() == 1);
        if found != (log.end() > log.first()) {
            return Err(format!("{id} is read: {found}"));
        }
    }
    let sure = match story.is_weak {
        true => log.durable_end(),
        false => log.end(),
    };
    let weak = Options {
        durability: Durability::Os,
        ..small(9)
    };
    let (left, _) = open_with(after, weak).map_err(|error| format!("{error:?}"))?;
    if left.end() < sure {
        return Err(format!("the end was {sure}, a cut leaves {}", left.end()));
    }
    Ok(())
}
