//! System calls that fail, or after which the server is dead, one at a time.
//!
//! strace counts the calls of each thread by itself, so `when=3` may hit once in each; what was
//! really hit is read from what it writes.

use std::ffi::OsString;
use std::fs;
use std::time::Duration;

use crate::http::Client;
use crate::load::{Load, Shape};
use crate::native;
use crate::random::Random;
use crate::rig::{Context, Rig, Slice, Tally, World, lacking};

pub(crate) const RIG: Rig = Rig {
    name: "strace",
    about: "EIO, ENOSPC, EROFS or death at one system call, or at all from one on",
    control: "all syncs answer without having synced, on a disk that loses power",
    missing: || lacking(true, true, &["strace"]),
    run,
    ci_cycles: 300,
    control_cycles: 6,
};

/// Faults to one data directory.
const GENERATION: u64 = 12;
/// The calls that change the disk, and the one that reads it at the start; up to which call of a
/// thread it is worth trying.
const CALLS: [(&str, u64); 9] = [
    ("fdatasync", 80),
    ("pwritev", 80),
    ("fsync", 10),
    ("openat", 40),
    ("fallocate", 6),
    ("renameat", 6),
    ("unlinkat", 6),
    ("mkdirat", 5),
    ("pread64", 6),
];
/// How many of a hundred faults are to come early.
const EARLY_PERCENT: u64 = 75;
/// How long a server is watched whose call is still to come, and once it has come.
const WATCHED: Duration = Duration::from_millis(700);
const WATCHED_AFTER: Duration = Duration::from_millis(150);
/// Refusals that are enough to see what a server does after a fault.
const REFUSALS: u64 = 20;
const FAULTS: [&str; 4] = ["error=EIO", "error=ENOSPC", "error=EROFS", "signal=SIGKILL"];

fn run(context: &Context, slice: &Slice) -> Result<Tally, String> {
    if slice.control {
        return super::crashfs::with_wrapper(
            context,
            slice,
            &strace("fdatasync,fsync", "retval=0", None),
        );
    }
    let mut tally = Tally::default();
    while slice.goes_on(&tally) {
        let mut random = context.random("strace", slice.first + tally.cycles);
        let directory = context
            .place
            .fresh("strace")
            .map_err(|error| error.to_string())?;
        let launch = context.launch(&directory.join("data"), &directory);
        let mut world = World::new(launch, Shape::default(), &mut random);
        for _ in 0..GENERATION {
            if !slice.goes_on(&tally) {
                break;
            }
            tally.cycles += 1;
            cycle(&mut world, &directory, &mut random, &mut tally)?;
        }
        world.close(&mut tally);
    }
    Ok(tally)
}

/// The words in front of the server's; what was injected goes to `out`.
fn strace(calls: &str, fault: &str, out: Option<&std::path::Path>) -> Vec<OsString> {
    let out = out.map_or_else(|| OsString::from("/dev/null"), OsString::from);
    let mut words: Vec<OsString> = ["strace", "-D", "-f", "-q", "--seccomp-bpf", "-o"]
        .map(OsString::from)
        .into();
    words.push(out);
    words.extend([
        "-e".into(),
        format!("trace={calls}").into(),
        "-e".into(),
        format!("inject={calls}:{fault}").into(),
    ]);
    words
}

/// How often a call was injected so far, as strace has told.
fn injected(out: &std::path::Path) -> usize {
    let told = fs::read_to_string(out).unwrap_or_default();
    told.matches("INJECTED").count()
}

fn cycle(
    world: &mut World,
    directory: &std::path::Path,
    random: &mut Random,
    tally: &mut Tally,
) -> Result<(), String> {
    let (calls, last) = CALLS
        .get(random.below(CALLS.len() as u64) as usize)
        .copied()
        .unwrap_or(CALLS[0]);
    let fault = FAULTS
        .get(random.below(FAULTS.len() as u64) as usize)
        .copied()
        .unwrap_or(FAULTS[0]);
    // Directories are made once.
    let (calls, last) = if calls == "mkdirat" && world.launch.data.exists() {
        CALLS[0]
    } else {
        (calls, last)
    };
    // The late ones are seldom reached by a thread that others take the work from.
    let last = if random.chance(EARLY_PERCENT) {
        last.div_ceil(3)
    } else {
        last
    };
    let when = random.between(1, last + 1);
    let on = if random.chance(40) && !fault.contains("KILL") {
        "+"
    } else {
        ""
    };
    let spec = format!("{fault}:when={when}{on}");
    let out = directory.join("strace");
    let before = tally.findings.count();

    let mut died = false;
    world.launch.wrapper = strace(calls, &spec, Some(&out));
    let started = world.launch();
    world.launch.wrapper.clear();
    match started {
        Ok(mut server) => {
            let load = world.load(server.address());
            let refusals = |load: &Load| {
                [500, 503, 507]
                    .map(|status| load.meter.count(status))
                    .iter()
                    .sum::<u64>()
            };
            let mut is_over =
                || server.ended().is_some() || refusals(&load) > REFUSALS || injected(&out) > 0;
            if Load::wait(WATCHED, &mut is_over) {
                Load::wait(WATCHED_AFTER, || {
                    server.ended().is_some() || refusals(&load) > REFUSALS
                });
            }
            let files_open = !calls.contains("openat");
            if server.ended().is_none() && refusals(&load) > 0 && files_open {
                tally.count("refusing", 1.0);
                // What is refused is refused, and what is there is served.
                let mut client = Client::new(server.address());
                let read = native::read(&mut client, 0, true, 0, |_| {});
                if let Err(error) = read.and(native::last_id(&mut client)) {
                    tally
                        .findings
                        .other(format!("no reads after {calls} {spec}: {error}"));
                }
            } else if server.ended().is_some() {
                died = true;
                tally.count("died", 1.0);
                if !fault.contains("KILL") {
                    tally
                        .findings
                        .other(format!("the server died of {calls} {spec}"));
                }
            }
            server.kill();
            world.end(load);
        }
        Err(refused) => {
            died = refused.status.is_some();
            tally.count("refused_to_start", 1.0);
            if refused.status.is_none() {
                tally
                    .findings
                    .other(format!("hangs at start with {calls} {spec}: {refused}"));
            }
        }
    }
    let injected = injected(&out);
    tally.count("injected", injected as f64);
    tally.count("cycles_hit", f64::from(u8::from(injected > 0 || died)));
    let _gone = fs::remove_file(&out);

    if let Some(server) = world.start(&mut tally.findings) {
        server.kill();
    }
    if tally.findings.count() > before {
        tally
            .findings
            .words
            .push(format!("… that was after {calls} {spec}"));
    }
    Ok(())
}
