//! The orderly end under load, and two servers that want one directory.

use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::load::Shape;
use crate::rig::{Context, Rig, Slice, Tally, World, nothing};
use crate::server::last_lines;

pub(crate) const RIG: Rig = Rig {
    name: "stop",
    about: "SIGTERM under load ends within 5 s with all that was acknowledged; a second server is refused",
    control: "SIGKILL is sent instead of SIGTERM",
    missing: nothing,
    run,
    ci_cycles: 20,
    control_cycles: 2,
};

/// Stops of one data directory.
const GENERATION: u64 = 10;
/// How long a stop may take.
const STOP_MAX: Duration = Duration::from_secs(5);

fn run(context: &Context, slice: &Slice) -> Result<Tally, String> {
    let mut tally = Tally::default();
    while slice.goes_on(&tally) {
        let mut random = context.random("stop", slice.first + tally.cycles);
        let directory = context
            .place
            .fresh("stop")
            .map_err(|error| error.to_string())?;
        let launch = context.launch(&directory.join("data"), &directory);
        let mut world = World::new(launch, Shape::default(), &mut random);
        for _ in 0..GENERATION {
            if !slice.goes_on(&tally) {
                break;
            }
            tally.cycles += 1;
            let Some(mut server) = world.start(&mut tally.findings) else {
                continue;
            };
            let load = world.load(server.address());
            world.await_acks(random.between(20, 200), Duration::from_secs(20));
            if random.chance(40) {
                tally.count("second_servers", 1.0);
                let start = Instant::now();
                match world.launch.start() {
                    Ok(_) => tally.findings.other("two servers serve one directory"),
                    Err(refused) if refused.status.is_none_or(|status| status.success()) => {
                        tally
                            .findings
                            .other(format!("a second server is not refused: {refused}"));
                    }
                    Err(refused) if !last_lines(&refused.said, 1).contains("use") => {
                        let said = last_lines(&refused.said, 1);
                        tally
                            .findings
                            .other(format!("a second server says only: {said}"));
                    }
                    Err(_) => {}
                }
                tally.at_most("slowest_refusal_s", start.elapsed().as_secs_f64());
            }
            let start = Instant::now();
            server.signal(if slice.control {
                Signal::KILL
            } else {
                Signal::TERM
            });
            let status = server.wait(STOP_MAX);
            tally.at_most("slowest_stop_s", start.elapsed().as_secs_f64());
            match status {
                Some(status) if status.success() => {}
                Some(status) => tally
                    .findings
                    .other(format!("the server ended with {status}")),
                None => tally
                    .findings
                    .other(format!("the server did not stop within {STOP_MAX:?}")),
            }
            drop(server);
            world.end(load);
            world.verify(&mut tally.findings);
        }
        world.close(&mut tally);
    }
    Ok(tally)
}
