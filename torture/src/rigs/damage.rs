//! A sealed segment that cannot be read any more, or was cut short by somebody else, while the
//! server has it mapped: one refusal that names it, and everything else goes on.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::process::Signal;

use crate::crashfs::{CrashFs, Lie};
use crate::http::{Call, Client};
use crate::load::Shape;
use crate::native::{self, Published};
use crate::rig::{Context, Rig, Slice, Tally, World, lacking};
use crate::server::Server;

pub(crate) const RIG: Rig = Rig {
    name: "damage",
    about: "EIO and truncation under the map of a sealed segment: one refusal, no death",
    control: "the segment is left alone, so what should be refused is served",
    missing: || lacking(true, true, &[]),
    run,
    ci_cycles: 4,
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
            fs.fail_reads(&victim.name, DAMAGE_OFFSET);
        }
        match world.launch() {
            Ok(mut server) => {
                if how == "truncation" && !slice.control {
                    let path = data.join("logs/default").join(&victim.name);
                    // It is mapped by the first read.
                    let mut client = Client::new(server.address());
                    let path_of = format!("{}/events/{}", native::LOG, victim.ids.start);
                    let _first = client.send(Call::get(&path_of));
                    let file = fs::File::options().write(true).open(path);
                    let cut = file.and_then(|file| file.set_len(DAMAGE_OFFSET));
                    cut.map_err(|error| error.to_string())?;
                }
                look(how, &victim, &world, &mut server, &mut tally);
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
fn look(how: &str, victim: &Victim, world: &World, server: &mut Server, tally: &mut Tally) {
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
    let mut refused = Vec::new();
    let mut served = 0_u64;
    for id in 1..=end {
        let answer = match client.send(Call::get(&format!("{}/events/{id}", native::LOG))) {
            Ok(answer) => answer,
            Err(error) => return died(how, id, &error, server, tally),
        };
        match answer.status {
            200 => {
                served += 1;
                match serde_json::from_str(&answer.body) {
                    // Readers have seen it before; it must be the same.
                    Ok(event) => world.oracle.show(&event, id - 1),
                    Err(error) => tally.findings.other(format!("{how}: event {id}: {error}")),
                }
            }
            500 => {
                if let Some(what) = victim.not_named_by(&answer.body) {
                    tally
                        .findings
                        .other(format!("{how}: event {id}: {what}: {}", answer.body));
                }
                refused.push(id);
            }
            status => tally
                .findings
                .other(format!("{how}: event {id}: {status}: {}", answer.body)),
        }
    }
    tally.count("events_refused", refused.len() as f64);
    tally.count("events_served", served as f64);
    let Some(first) = refused.first().copied() else {
        tally.findings.other(format!(
            "{how}: everything is served although a segment is damaged"
        ));
        return;
    };
    let others = refused.iter().filter(|id| !victim.ids.contains(id)).count();
    if others > 0 {
        tally.findings.other(format!(
            "{how}: {others} events are refused that are not in {}",
            victim.name
        ));
    }
    // Who wants many is told the same, at the damage at the latest.
    let path = format!("{}/events?after={}&limit=2000", native::LOG, first - 1);
    match client.send(Call::get(&path)) {
        Ok(answer) if answer.status == 500 => {
            if let Some(what) = victim.not_named_by(&answer.body) {
                tally
                    .findings
                    .other(format!("{how}: a page: {what}: {}", answer.body));
            }
        }
        Ok(answer) => tally.findings.other(format!(
            "{how}: a page that begins with the damage: {}",
            answer.status
        )),
        Err(error) => return died(how, first, &error, server, tally),
    }
    // What is damaged is old: new events are taken all the same.
    let line = "{\"stream\":\"new\",\"type\":\"New\",\"data\":{}}\n";
    match native::publish(&mut client, line, "after-the-damage") {
        Ok(Published::Acknowledged(_)) => {}
        other => tally
            .findings
            .other(format!("{how}: a new event: {other:?}")),
    }
    tally.findings.add(world.oracle.take_findings());
}

fn died(how: &str, id: u64, error: &std::io::Error, server: &mut Server, tally: &mut Tally) {
    let status = server.wait(Duration::from_secs(2));
    let what = status.map_or_else(|| error.to_string(), |status| status.to_string());
    tally
        .findings
        .other(format!("{how}: the server died over event {id}: {what}"));
}

/// The segment that is damaged.
#[derive(Debug)]
struct Victim {
    name: String,
    /// The events in it.
    ids: std::ops::Range<u64>,
}

impl Victim {
    /// What a refusal leaves out that an operator must know.
    fn not_named_by(&self, body: &str) -> Option<&'static str> {
        [
            (self.name.as_str(), "the file is not named"),
            ("at offset ", "the offset is not named"),
            ("event", "the ids are not named"),
        ]
        .into_iter()
        .find(|(word, _)| !body.contains(word))
        .map(|(_, what)| what)
    }
}

/// A sealed segment, neither the first one nor the last.
fn sealed_segment(log: &Path) -> Option<Victim> {
    let first_of = |path: &Path| path.file_stem()?.to_str()?.parse::<u64>().ok();
    let mut segments: Vec<PathBuf> = fs::read_dir(log)
        .ok()?
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "seg"))
        .collect();
    segments.sort();
    // The first has the name of other logs' first segments, and the last is not sealed.
    let second = segments.get(1)?;
    Some(Victim {
        name: second.file_name()?.to_str()?.to_owned(),
        ids: first_of(second)?..first_of(segments.get(2)?)?,
    })
}
