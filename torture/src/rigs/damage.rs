//! A sealed segment that cannot be read any more, or was cut short by somebody else, while the
//! server has it mapped: one refusal that names it, and everything else goes on.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::process::Signal;

use crate::crashfs::{CrashFs, Lie};
use crate::http::{Call, Client};
use crate::load::Shape;
use crate::native;
use crate::rig::{Context, Rig, Slice, Tally, World, lacking};
use crate::server::Server;

pub(crate) const RIG: Rig = Rig {
    name: "damage",
    about: "EIO and truncation under the map of a sealed segment: one refusal, no death",
    control: "the segment is left alone, so what should be refused is served",
    missing: || lacking(true, true, &[]),
    run,
    ci_cycles: 0,
    control_cycles: 1,
};

/// Where the damage begins: behind the header and the first records.
const DAMAGE_OFFSET: u64 = 32 << 10;

fn run(context: &Context, slice: &Slice) -> Result<Tally, String> {
    let mut tally = Tally::default();
    while slice.goes_on(&tally) {
        let number = slice.first + tally.cycles;
        let mut random = context.random("damage", number);
        let directory = context
            .place
            .fresh("damage")
            .map_err(|error| error.to_string())?;
        let mount = directory.join("mount");
        let fs = CrashFs::new(random.next(), Lie::None);
        let data = mount.join("data");
        let mut world = World::new(
            context.launch(&data, &directory),
            Shape::default(),
            &mut random,
        );
        tally.cycles += 1;

        let mounted = fs.mount(&mount)?;
        let Some(mut server) = world.start(&mut tally.findings) else {
            continue;
        };
        let load = world.load(server.address());
        world.await_acks(1_500, Duration::from_secs(30));
        server.signal(Signal::TERM);
        if server.wait(Duration::from_secs(10)).is_none() {
            tally.findings.other("the server did not stop");
        }
        drop(server);
        world.end(load);
        let Some(victim) = sealed_segment(&data.join("logs/default")) else {
            return Err("there is no sealed segment".to_owned());
        };
        // The kernel must not have it in memory.
        mounted.unmount();

        let mounted = fs.mount(&mount)?;
        let how = if number.is_multiple_of(2) {
            "EIO"
        } else {
            "truncation"
        };
        if how == "EIO" && !slice.control {
            fs.fail_reads(&victim, DAMAGE_OFFSET);
        }
        match world.launch.start() {
            Ok(mut server) => {
                if how == "truncation" && !slice.control {
                    let path = data.join("logs/default").join(&victim);
                    // It is mapped by the first read.
                    let first: u64 = victim.trim_end_matches(".seg").parse().unwrap_or(1);
                    let mut client = Client::new(server.address());
                    let path_of = format!("/v1/logs/default/events/{first}");
                    let _first = client.send(Call::get(&path_of));
                    let file = fs::File::options().write(true).open(path);
                    let cut = file.and_then(|file| file.set_len(DAMAGE_OFFSET));
                    cut.map_err(|error| error.to_string())?;
                }
                look(how, &mut server, &mut tally);
                server.kill();
            }
            Err(refused) => tally
                .findings
                .other(format!("no start with {how}: {refused}")),
        }
        world.listen(&mut tally.findings);
        tally.acknowledged += world.oracle.acknowledged();
        tally.count("calls_failed", fs.figures().1 as f64);
        mounted.unmount();
    }
    Ok(tally)
}

/// Reads everything, and says what is not as it should be.
fn look(how: &str, server: &mut Server, tally: &mut Tally) {
    let mut client = Client::new(server.address());
    let end = match native::last_id(&mut client) {
        Ok(end) => end,
        Err(error) => {
            tally
                .findings
                .other(format!("{how}: the end is not told: {error}"));
            return;
        }
    };
    let mut refused = 0_u64;
    let mut served = 0_u64;
    for id in 1..=end {
        let answer = client.send(Call::get(&format!("/v1/logs/default/events/{id}")));
        match answer {
            Ok(answer) if answer.status == 200 => served += 1,
            Ok(answer) if answer.status == 500 => refused += 1,
            Ok(answer) => tally
                .findings
                .other(format!("{how}: event {id}: {}", answer.status)),
            Err(error) => {
                let status = server.wait(Duration::from_secs(2));
                let what = status.map_or_else(|| error.to_string(), |status| status.to_string());
                tally
                    .findings
                    .other(format!("{how}: the server died over event {id}: {what}"));
                return;
            }
        }
    }
    tally.count("events_refused", refused as f64);
    tally.count("events_served", served as f64);
    if refused == 0 {
        tally.findings.other(format!(
            "{how}: everything is served although a segment is damaged"
        ));
    }
    if served == 0 {
        tally.findings.other(format!("{how}: nothing is served"));
    }
}

/// The name of a sealed segment.
fn sealed_segment(log: &Path) -> Option<String> {
    let mut segments: Vec<PathBuf> = fs::read_dir(log)
        .ok()?
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "seg"))
        .collect();
    segments.sort();
    // The first has the name of other logs' first segments, and the last is not sealed.
    let second = segments.get(1).filter(|_| segments.len() > 2)?;
    Some(second.file_name()?.to_str()?.to_owned())
}
