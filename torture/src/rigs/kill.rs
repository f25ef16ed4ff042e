//! `kill -9` under load, at any moment of the server's life, its start included.
//!
//! The page cache survives, so this finds faults of order and of idempotency; those of durability are
//! for the rigs that lose power.

use std::fs;
use std::path::Path;
use std::thread;
use std::time::Duration;

use rustix::process::Signal;

use crate::load::Shape;
use crate::random::Random;
use crate::rig::{Context, Rig, Slice, Tally, World, nothing};

pub(crate) const RIG: Rig = Rig {
    name: "kill",
    about: "kill -9 under load, again and again",
    control: "files are put back as they were a moment before the kill; clients retry with new keys; the webhook's receiver forgets calls",
    missing: nothing,
    run,
    ci_cycles: 200,
    control_cycles: 10,
};

/// Cycles with one data directory: few enough that the comparisons stay quick.
const GENERATION: u64 = 12;

/// What is done wrong on purpose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wrong {
    Nothing,
    PutBack,
    NewKeys,
    Deaf,
}

fn run(context: &Context, slice: &Slice) -> Result<Tally, String> {
    if !slice.control {
        return with(context, slice, Wrong::Nothing);
    }
    let put_back = with(context, slice, Wrong::PutBack)?;
    let new_keys = with(context, slice, Wrong::NewKeys)?;
    Ok(put_back.both(new_keys.both(with(context, slice, Wrong::Deaf)?)))
}

fn with(context: &Context, slice: &Slice, wrong: Wrong) -> Result<Tally, String> {
    let mut tally = Tally::default();
    while slice.goes_on(&tally) {
        let mut random = context.random("kill", slice.first + tally.cycles);
        let directory = context
            .place
            .fresh("kill")
            .map_err(|error| error.to_string())?;
        let data = directory.join("data");
        let launch = context.launch(&data, &directory);
        let mut world = World::new(launch, Shape::default(), &mut random);
        if wrong == Wrong::NewKeys {
            world.forget_keys();
        }
        if wrong == Wrong::Deaf {
            world.be_deaf();
        }
        for _ in 0..GENERATION {
            if !slice.goes_on(&tally) {
                break;
            }
            tally.cycles += 1;
            cycle(&mut world, wrong, &mut random, &mut tally)?;
        }
        world.close(&mut tally);
    }
    Ok(tally)
}

fn cycle(
    world: &mut World,
    wrong: Wrong,
    random: &mut Random,
    tally: &mut Tally,
) -> Result<(), String> {
    if random.chance(15) {
        // Killed while it starts.
        let mut child = world.spawn().map_err(|error| error.to_string())?;
        thread::sleep(Duration::from_micros(random.below(40_000)));
        let _killed = child.kill();
        let _reaped = child.wait();
        tally.count("killed_at_start", 1.0);
    }
    let Some(server) = world.start(&mut tally.findings) else {
        return Ok(());
    };
    let load = world.load(server.address());
    let acks = random.between(20, 300);
    if !world.await_acks(acks, Duration::from_secs(20)) && !crate::interrupt::came() {
        tally
            .findings
            .other(format!("no {acks} acknowledgements within 20 s"));
    }
    let earlier = world.launch.data.with_extension("earlier");
    if wrong == Wrong::PutBack {
        // Nothing may change while it is copied.
        server.signal(Signal::STOP);
        let copied = copy(&world.launch.data, &earlier);
        server.signal(Signal::CONT);
        copied?;
        world.await_acks(20, Duration::from_secs(5));
    }
    thread::sleep(Duration::from_micros(random.below(20_000)));
    server.kill();
    world.end(load);
    if wrong == Wrong::PutBack {
        fs::remove_dir_all(&world.launch.data).map_err(|error| error.to_string())?;
        fs::rename(&earlier, &world.launch.data).map_err(|error| error.to_string())?;
    } else if random.chance(15) {
        // What a crash leaves is no damage.
        world.verify(&mut tally.findings);
    }
    Ok(())
}

fn copy(from: &Path, to: &Path) -> Result<(), String> {
    crate::place::run("cp", ["-r".as_ref(), from.as_os_str(), to.as_os_str()]).map(drop)
}
