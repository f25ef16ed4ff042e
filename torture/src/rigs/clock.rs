//! A clock that goes back, ahead, and too fast, while events are published.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::http::Client;
use crate::load::Shape;
use crate::native;
use crate::rig::{Context, Rig, Slice, Tally, World};

pub(crate) const RIG: Rig = Rig {
    name: "clock",
    about: "the clock goes back 2 h, ahead 10 years, ten times as fast: recordedAt never falls",
    control: "the clock is left alone",
    missing: || library().is_none().then(|| "libfaketime".to_owned()),
    run,
    ci_cycles: 2,
    control_cycles: 1,
};

/// What the clock does, one after the other, in the language of libfaketime.
const CLOCKS: [&str; 6] = ["+0", "-2h", "+0", "+3650d", "-1h", "+3650d x10"];
/// The year in which nobody is who has a true clock.
const FAR_YEAR: u32 = 2033;

/// Where Debian and others put it.
fn library() -> Option<PathBuf> {
    let folders = [
        "/usr/lib/x86_64-linux-gnu",
        "/usr/lib/aarch64-linux-gnu",
        "/usr/lib64",
        "/usr/lib",
    ];
    folders
        .iter()
        .map(|folder| Path::new(folder).join("faketime/libfaketime.so.1"))
        .find(|path| path.exists())
}

fn run(context: &Context, slice: &Slice) -> Result<Tally, String> {
    let library = library().ok_or("libfaketime is gone")?;
    let mut tally = Tally::default();
    while slice.goes_on(&tally) {
        let mut random = context.random("clock", slice.first + tally.cycles);
        let directory = context
            .place
            .fresh("clock")
            .map_err(|error| error.to_string())?;
        let time = directory.join("time");
        let mut launch = context.launch(&directory.join("data"), &directory);
        if !slice.control {
            launch.environment = vec![
                ("LD_PRELOAD".to_owned(), library.clone().into()),
                ("FAKETIME_TIMESTAMP_FILE".to_owned(), time.clone().into()),
                ("FAKETIME_NO_CACHE".to_owned(), OsString::from("1")),
                (
                    "FAKETIME_DONT_FAKE_MONOTONIC".to_owned(),
                    OsString::from("1"),
                ),
            ];
        }
        let set =
            |clock: &str| fs::write(&time, format!("{clock}\n")).map_err(|error| error.to_string());
        set(CLOCKS[0])?;
        let mut world = World::new(launch, Shape::default(), &mut random);
        tally.cycles += 1;
        if let Some(mut server) = world.start(&mut tally.findings) {
            let load = world.load(server.address());
            for clock in CLOCKS {
                set(clock)?;
                if !world.await_acks(80, Duration::from_secs(10)) {
                    tally
                        .findings
                        .other(format!("no acknowledgements with the clock at {clock}"));
                }
                if let Some(status) = server.ended() {
                    tally
                        .findings
                        .other(format!("the clock {clock} ended the server: {status}"));
                }
            }
            let mut latest = String::new();
            let mut client = Client::new(server.address());
            let mut after = 0;
            while let Ok(last) = native::read(&mut client, after, true, 0, |event| {
                latest.clone_from(&event.recorded_at);
            }) {
                if last == after {
                    break;
                }
                after = last;
            }
            let year = latest
                .get(..4)
                .and_then(|year| year.parse::<u32>().ok())
                .unwrap_or(0);
            if year < FAR_YEAR {
                tally
                    .findings
                    .other(format!("the clock did not move: it is {latest}"));
            }
            // Half of the time the server meets an earlier clock at its next start.
            if random.chance(50) {
                set("-1d")?;
            }
            server.kill();
            world.end(load);
        }
        world.close(&mut tally);
    }
    Ok(tally)
}
