//! Scarce resources: file size, descriptors, memory, processor time.

use std::fs;
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::http::{Call, Client};
use crate::load::{Load, Shape};
use crate::native;
use crate::place::run as tool;
use crate::rig::{Context, Rig, SEGMENT_BYTES, Slice, Tally, World, lacking};
use crate::server::Server;

pub(crate) const RIG: Rig = Rig {
    name: "limits",
    about: "RLIMIT_FSIZE, RLIMIT_NOFILE, a memory limit, a server that is stopped for a while",
    control: "the limits are never lifted",
    missing: || lacking(false, false, &["prlimit"]),
    run,
    ci_cycles: 4,
    control_cycles: 1,
};

/// How long it may take until a publish succeeds once a limit is lifted.
const RECOVERY_MAX: Duration = Duration::from_secs(2);
/// Memory that the server must do with while all is replayed, in bytes.
const MEMORY_BYTES: u64 = 96 << 20;
/// Descriptors that the server must do with, and connections that want one each.
const DESCRIPTORS: (u32, usize) = (64, 100);
/// How long the processor time of a server with nothing to do is measured.
const IDLE: Duration = Duration::from_secs(2);
/// Ticks in that time: 5 %.
const IDLE_TICKS_MAX: u64 = 10;

fn run(context: &Context, slice: &Slice) -> Result<Tally, String> {
    let mut tally = Tally::default();
    while slice.goes_on(&tally) {
        let number = slice.first + tally.cycles;
        let mut random = context.random("limits", number);
        let directory = context
            .place
            .fresh("limits")
            .map_err(|error| error.to_string())?;
        let launch = context.launch(&directory.join("data"), &directory);
        let mut world = World::new(launch, Shape::default(), &mut random);
        tally.cycles += 1;
        if let Some(mut server) = world.start(&mut tally.findings) {
            if number % 4 == 1 {
                descriptors(&mut server, &mut tally)?;
            }
            let load = world.load(server.address());
            if !world.await_acks(300, Duration::from_secs(20)) {
                tally.findings.other("no 300 acknowledgements within 20 s");
            }
            match number % 4 {
                0 => file_size(&world, &load, &server, slice, &mut tally)?,
                1 => {}
                2 => memory(&world, &server, &mut tally),
                _ => pause(&world, &server, &mut random, &mut tally),
            }
            if let Some(status) = server.ended() {
                // The kernel may kill what has too much memory; nothing else ends the server.
                if number % 4 == 2 {
                    tally.count("out_of_memory", 1.0);
                } else {
                    tally.findings.other(format!("the server ended: {status}"));
                }
            }
            server.kill();
            world.end(load);
        }
        world.close(&mut tally);
    }
    Ok(tally)
}

fn prlimit(server: &Server, limit: &str) -> Result<(), String> {
    let pid = server.pid().to_string();
    tool("prlimit", ["--pid", pid.as_str(), limit]).map(drop)
}

/// New segments would outgrow the limit: that is a full disk.
fn file_size(
    world: &World,
    load: &Load,
    server: &Server,
    slice: &Slice,
    tally: &mut Tally,
) -> Result<(), String> {
    // What is written into the segments that are there ends before the limit.
    prlimit(server, &format!("--fsize={}:unlimited", SEGMENT_BYTES - 1))?;
    if !Load::wait(Duration::from_secs(20), || load.meter.count(507) > 0) || !world.await_quiet() {
        tally
            .findings
            .other("no 507, or not only such, within 20 s with RLIMIT_FSIZE");
    }
    let mut client = Client::new(server.address());
    if let Err(error) = native::read(&mut client, 0, true, 0, |_| {}) {
        tally
            .findings
            .other(format!("no reads with RLIMIT_FSIZE: {error}"));
    }
    if !slice.control {
        prlimit(server, "--fsize=unlimited:unlimited")?;
    }
    let start = Instant::now();
    if !world.await_acks(1, RECOVERY_MAX * 3) {
        tally
            .findings
            .other("no success once RLIMIT_FSIZE was lifted");
    } else if start.elapsed() > RECOVERY_MAX {
        tally.findings.other(format!(
            "the first success came after {:?}",
            start.elapsed()
        ));
    }
    tally.at_most("fsize_recovery_s", start.elapsed().as_secs_f64());
    Ok(())
}

/// More connections than descriptors: those that are in are served, the others wait, nobody spins.
fn descriptors(server: &mut Server, tally: &mut Tally) -> Result<(), String> {
    let (descriptors, connections) = DESCRIPTORS;
    let mut early = Client::new(server.address());
    early
        .send(Call::get("/healthz"))
        .map_err(|error| error.to_string())?;
    prlimit(server, &format!("--nofile={descriptors}:4096"))?;
    let held: Vec<_> = (0..connections)
        .filter_map(|_| {
            let wait = Duration::from_secs(1);
            TcpStream::connect_timeout(&server.address(), wait).ok()
        })
        .collect();
    let ticks = server.cpu_ticks();
    thread::sleep(IDLE);
    let ticks = server.cpu_ticks() - ticks;
    tally.at_most("idle_cpu_percent", ticks as f64 / IDLE.as_secs_f64());
    if ticks > IDLE_TICKS_MAX {
        tally
            .findings
            .other(format!("{ticks} ticks in {IDLE:?} without descriptors"));
    }
    if !early
        .send(Call::get("/healthz"))
        .is_ok_and(|answer| answer.status == 200)
    {
        tally
            .findings
            .other("who is connected is not served while descriptors are scarce");
    }
    drop(held);
    let start = Instant::now();
    let mut late = Client::patient(server.address(), Duration::from_secs(5));
    if !late
        .send(Call::get("/healthz"))
        .is_ok_and(|answer| answer.status == 200)
    {
        tally
            .findings
            .other("no answer within 5 s once descriptors were free");
    }
    tally.at_most("nofile_recovery_s", start.elapsed().as_secs_f64());
    prlimit(server, "--nofile=4096:4096")
}

/// Everything is replayed again and again with little memory.
fn memory(world: &World, server: &Server, tally: &mut Tally) {
    let Some(_group) = MemoryGroup::with(server.pid()) else {
        tally.count("no_memory_control_group", 1.0);
        return;
    };
    let mut client = Client::new(server.address());
    for _ in 0..20 {
        if native::read(&mut client, 0, true, 0, |_| {}).is_err() {
            break;
        }
    }
    world.await_acks(500, Duration::from_secs(5));
    tally.at_most(
        "resident_mib",
        server.resident_bytes() as f64 / f64::from(1 << 20),
    );
}

/// A server that got no processor for a while goes on as if nothing had been.
fn pause(world: &World, server: &Server, random: &mut crate::random::Random, tally: &mut Tally) {
    server.signal(Signal::STOP);
    thread::sleep(Duration::from_millis(random.between(300, 3_000)));
    server.signal(Signal::CONT);
    let start = Instant::now();
    if !world.await_acks(50, RECOVERY_MAX) {
        tally.findings.other("no success after a pause");
    }
    tally.at_most("pause_recovery_s", start.elapsed().as_secs_f64());
}

/// A control group with a limit on memory; removed when dropped.
#[derive(Debug)]
struct MemoryGroup {
    path: PathBuf,
    root: PathBuf,
    pid: u32,
}

impl MemoryGroup {
    fn with(pid: u32) -> Option<Self> {
        let base = Path::new("/sys/fs/cgroup");
        let (root, limit) = if base.join("memory/memory.limit_in_bytes").exists() {
            (base.join("memory"), "memory.limit_in_bytes")
        } else {
            (base.to_owned(), "memory.max")
        };
        let path = root.join(format!("strandlog-torture-{}", std::process::id()));
        fs::create_dir_all(&path).ok()?;
        let group = Self { path, root, pid };
        fs::write(group.path.join(limit), MEMORY_BYTES.to_string()).ok()?;
        fs::write(group.path.join("cgroup.procs"), pid.to_string()).ok()?;
        Some(group)
    }
}

impl Drop for MemoryGroup {
    fn drop(&mut self) {
        // A group goes only once nobody is in it.
        let _moved = fs::write(self.root.join("cgroup.procs"), self.pid.to_string());
        let _removed = fs::remove_dir(&self.path);
    }
}
