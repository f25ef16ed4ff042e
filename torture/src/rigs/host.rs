//! The machine below the server gets in its way: a file system that is suddenly read-only, a freezer,
//! little memory for a long replay, no more threads, a disk that takes seconds, few descriptors from the
//! start. The server neither ends nor spins, says what it cannot do, and goes on once it can.

use std::fs;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::http::{Call, Client};
use crate::load::{Load, Shape};
use crate::native::{self, Published};
use crate::place::{Loop, Mount, run as tool};
use crate::rig::{Context, Rig, Slice, Tally, World, lacking};
use crate::server::Server;
use crate::vitals::{Vitals, mib, ms};

pub(crate) const RIG: Rig = Rig {
    name: "host",
    about: "read-only remount, freezer, 256 MiB for a long replay, pids, a slow disk, 64 descriptors",
    control: "what is frozen is not thawed",
    missing: || {
        lacking(
            true,
            false,
            &["prlimit", "mount", "losetup", "mkfs.ext4", "strace"],
        )
    },
    run,
    ci_cycles: 6,
    control_cycles: 1,
};

/// How long it may take until a publish succeeds once the cause is gone.
const RECOVERY_MAX: Duration = Duration::from_secs(2);
/// How long a publish may wait for its refusal.
const PATIENCE: Duration = Duration::from_secs(20);
/// From this time on that is left, it is a long run.
const LONG: Duration = Duration::from_secs(120);
/// How long the server is frozen, and how long its disk is slow; in a long run and else.
const FROZEN: [Duration; 2] = [Duration::from_secs(10), Duration::from_secs(2)];
const SLOW: [Duration; 2] = [Duration::from_secs(12), Duration::from_secs(5)];
/// How long a sync takes then, in microseconds, and the longest that a read may take meanwhile.
const SYNC_US: u64 = 2_000_000;
const READ_MAX: Duration = Duration::from_secs(1);
/// Memory, page cache included, and what is written and replayed with it, in bytes.
const MEMORY: [(u64, u64); 2] = [(256 << 20, 4 << 30), (64 << 20, 192 << 20)];
/// Descriptors from the start on, and connections that want one each.
const DESCRIPTORS: (u32, usize) = (64, 100);
/// How long the processor time of a server with nothing to do is measured, and the most of it, in
/// ticks: 5 %.
const IDLE: Duration = Duration::from_secs(2);
const IDLE_TICKS_MAX: u64 = 10;

fn run(context: &Context, slice: &Slice) -> Result<Tally, String> {
    let mut tally = Tally::default();
    let long = slice.until.saturating_duration_since(Instant::now()) > LONG && !slice.control;
    while slice.goes_on(&tally) {
        let number = slice.first + tally.cycles;
        let directory = context.place.fresh("host").map_err(describe)?;
        tally.cycles += 1;
        if slice.control {
            frozen(context, &directory, Duration::ZERO, true, &mut tally)?;
            continue;
        }
        let by = |[of_long, of_short]: [Duration; 2]| if long { of_long } else { of_short };
        match number % 6 {
            0 => read_only(context, &directory, &mut tally)?,
            1 => frozen(context, &directory, by(FROZEN), false, &mut tally)?,
            2 => little_memory(context, &directory, long, &mut tally)?,
            3 => no_threads(context, &directory, long, &mut tally)?,
            4 => slow_disk(context, &directory, by(SLOW), &mut tally)?,
            _ => few_descriptors(context, &directory, &mut tally)?,
        }
    }
    Ok(tally)
}

#[expect(clippy::needless_pass_by_value, reason = "it is handed over so")]
fn describe(error: io::Error) -> String {
    error.to_string()
}

/// A world with its server at work; none if it did not start, which is a finding.
fn at_work(
    context: &Context,
    directory: &Path,
    data: &Path,
    wrapper: &[&str],
    tally: &mut Tally,
) -> Option<(World, Server, Load)> {
    let mut launch = context.launch(data, directory);
    launch.wrapper = wrapper.iter().map(Into::into).collect();
    let mut random = context.random("host", tally.cycles);
    let mut world = World::new(launch, Shape::default(), &mut random);
    let server = world.start(&mut tally.findings)?;
    let load = world.load(server.address());
    if !world.await_acks(100, PATIENCE) {
        tally.findings.other("no 100 acknowledgements at the start");
    }
    Some((world, server, load))
}

fn still_there(server: &mut Server, what: &str, tally: &mut Tally) -> bool {
    match server.ended() {
        None => true,
        Some(status) => {
            tally
                .findings
                .other(format!("the server ended: {status}, {what}"));
            false
        }
    }
}

fn recovers(world: &World, what: &'static str, tally: &mut Tally) {
    let start = Instant::now();
    if !world.await_acks(50, RECOVERY_MAX * 5) {
        tally.findings.other(format!("no success again: {what}"));
    } else if start.elapsed() > RECOVERY_MAX * 2 {
        // Fifty, not the first: on a busy machine they take a while themselves.
        tally.count("slow_recoveries", 1.0);
    }
    tally.at_most("recovery_s", start.elapsed().as_secs_f64());
}

/// Whether somebody who has nothing to do leaves the processor alone.
fn is_idle(server: &Server, what: &str, tally: &mut Tally) {
    let ticks = server.cpu_ticks();
    thread::sleep(IDLE);
    let ticks = server.cpu_ticks() - ticks;
    tally.at_most("idle_cpu_percent", ticks as f64 / IDLE.as_secs_f64());
    if ticks > IDLE_TICKS_MAX {
        tally
            .findings
            .other(format!("{ticks} ticks in {IDLE:?} {what}"));
    }
}

/// The head of the answer to a publish.
fn head_of_publish(address: SocketAddr) -> io::Result<String> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let body = r#"{"stream":"s","type":"t","data":1}"#;
    write!(
        stream,
        "POST {}/events HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        native::LOG,
        body.len()
    )?;
    let mut text = String::new();
    stream.read_to_string(&mut text)?;
    let head = text.split("\r\n\r\n").next().unwrap_or_default();
    Ok(head.to_ascii_lowercase())
}

/// The file system gives up under a running server, and is whole again for the next one. A server that
/// writes keeps a file system from being remounted in any gentler way.
fn read_only(context: &Context, directory: &Path, tally: &mut Tally) -> Result<(), String> {
    let image = directory.join("image");
    let file = fs::File::create(&image).map_err(describe)?;
    file.set_len(64 << 20).map_err(describe)?;
    let words = ["-q", "-F"].map(AsRef::as_ref);
    tool("mkfs.ext4", words.into_iter().chain([image.as_os_str()]))?;
    let device = Loop::new(&image)?;
    let path = directory.join("mount");
    let mount = Mount::new(&[device.device()], &path)?;
    let data = mount.path().join("data");
    let Some((mut world, mut server, load)) = at_work(context, directory, &data, &[], tally) else {
        return mount.unmount();
    };
    let remount = ["-o".as_ref(), "remount,abort".as_ref(), path.as_os_str()];
    tool("mount", remount)?;
    let refusals = |load: &Load| {
        let statuses = [500, 503, 507].into_iter();
        statuses.map(|status| load.meter.count(status)).sum::<u64>()
    };
    if !Load::wait(PATIENCE, || refusals(&load) > 20) {
        tally
            .findings
            .other("publishes are not refused on a read-only file system");
    }
    let acknowledged = world.oracle.acknowledged();
    thread::sleep(Duration::from_millis(500));
    if world.oracle.acknowledged() > acknowledged {
        tally
            .findings
            .other("a read-only file system goes on to take events");
    }
    let mut client = Client::new(server.address());
    let read = native::last_id(&mut client).and(native::read(&mut client, 0, true, 0, |_| {}));
    if let Err(error) = read {
        tally
            .findings
            .other(format!("no reads on a read-only file system: {error}"));
    }
    let ready = client.send(Call::get("/readyz"));
    if !ready.is_ok_and(|answer| answer.status == 503) {
        tally.findings.other("ready on a read-only file system");
    }
    match head_of_publish(server.address()) {
        Ok(head) if ["500", "503", "507"].iter().any(|code| head.contains(code)) => {
            tally.count(
                "with_retry_after",
                f64::from(u8::from(head.contains("retry-after:"))),
            );
        }
        other => tally
            .findings
            .other(format!("a publish is answered {other:?}")),
    }
    world.end(load);
    is_idle(&server, "on a read-only file system", tally);
    still_there(&mut server, "the file system is read-only", tally);
    server.kill();
    mount.unmount()?;
    // The journal of a file system that has given up is replayed.
    let _checked = tool("e2fsck", ["-p".as_ref(), device.device().as_os_str()]);
    let mount = Mount::new(&[device.device()], &path)?;
    if let Some(server) = world.start(&mut tally.findings) {
        let load = world.load(server.address());
        recovers(&world, "on a file system that was mounted again", tally);
        world.end(load);
        server.kill();
    }
    world.close(tally);
    mount.unmount()
}

/// Nothing runs for a while.
fn frozen(
    context: &Context,
    directory: &Path,
    time: Duration,
    forever: bool,
    tally: &mut Tally,
) -> Result<(), String> {
    let data = directory.join("data");
    let Some((mut world, mut server, load)) = at_work(context, directory, &data, &[], tally) else {
        return Ok(());
    };
    let group = Group::with("freezer", server.pid());
    match &group {
        Some(group) => group.set("freezer.state", "FROZEN")?,
        None => server.signal(Signal::STOP),
    }
    tally.count(
        "frozen_by_a_control_group",
        f64::from(u8::from(group.is_some())),
    );
    thread::sleep(time);
    if !forever {
        match &group {
            Some(group) => group.set("freezer.state", "THAWED")?,
            None => server.signal(Signal::CONT),
        }
    }
    if forever {
        let acknowledged = world.oracle.acknowledged();
        thread::sleep(RECOVERY_MAX);
        if world.oracle.acknowledged() < acknowledged + 50 {
            tally.findings.other("no success again: frozen");
        }
        if let Some(group) = &group {
            group.set("freezer.state", "THAWED")?;
        }
        server.signal(Signal::CONT);
    } else {
        recovers(&world, "thawed", tally);
        still_there(&mut server, "after it was frozen", tally);
    }
    world.end(load);
    drop(group);
    server.kill();
    if !forever {
        world.close(tally);
    }
    Ok(())
}

/// Far more is replayed than there is memory, the kernel's copies of files included.
fn little_memory(
    context: &Context,
    directory: &Path,
    long: bool,
    tally: &mut Tally,
) -> Result<(), String> {
    const EVENT_BYTES: usize = 512 << 10;
    const BATCH: u64 = 16;
    let [of_long, of_short] = MEMORY;
    let (memory, replayed) = if long { of_long } else { of_short };
    let mut launch = context.launch(&directory.join("data"), directory);
    let config = directory.join("strandlog.toml");
    fs::write(&config, "segment_bytes = 16777216\n").map_err(describe)?;
    launch.config = Some(config);
    let mut server = launch.start().map_err(|refused| refused.to_string())?;
    let Some(group) = Group::with("memory", server.pid()) else {
        tally.count("no_memory_control_group", 1.0);
        return Ok(());
    };
    group.set("memory.limit_in_bytes", &memory.to_string())?;
    let mut client = Client::patient(server.address(), PATIENCE * 3);
    let line = format!(
        "{{\"stream\":\"s\",\"type\":\"t\",\"data\":\"{}\"}}\n",
        "m".repeat(EVENT_BYTES)
    );
    let lines = line.repeat(BATCH as usize);
    let batches = replayed / EVENT_BYTES as u64 / BATCH;
    let start = Instant::now();
    for number in 0..batches {
        match native::publish(&mut client, &lines, &format!("m-{number}")) {
            Ok(Published::Acknowledged(_)) => tally.acknowledged += BATCH,
            other => {
                tally
                    .findings
                    .other(format!("batch {number} with little memory: {other:?}"));
                break;
            }
        }
        if crate::interrupt::came() {
            return Ok(());
        }
    }
    tally.at_most("written_in_s", start.elapsed().as_secs_f64());
    let start = Instant::now();
    match replay(server.address()) {
        Ok(bytes) if bytes >= batches * BATCH * EVENT_BYTES as u64 => {}
        Ok(bytes) => tally.findings.other(format!(
            "{:.0} of {:.0} MiB were replayed with little memory",
            mib(bytes),
            mib(replayed)
        )),
        Err(error) => tally
            .findings
            .other(format!("a replay with little memory: {error}")),
    }
    tally.at_most("replayed_in_s", start.elapsed().as_secs_f64());
    tally.at_most("memory_mib", mib(memory));
    tally.at_most("replayed_mib", mib(replayed));
    if let Some(vitals) = Vitals::of(server.pid()) {
        tally.at_most("anonymous_mib", mib(vitals.anonymous));
    }
    // The connection of before was idle for longer than the server keeps one.
    let healthy = Client::new(server.address()).send(Call::get("/healthz"));
    if !healthy.is_ok_and(|answer| answer.status == 200) {
        tally
            .findings
            .other("no answer after a replay with little memory");
    }
    still_there(&mut server, "with little memory", tally);
    drop(group);
    server.kill();
    Ok(())
}

/// Reads the whole log as records; how many bytes.
fn replay(address: SocketAddr) -> io::Result<u64> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(PATIENCE * 2))?;
    write!(
        stream,
        "GET {}/events HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nAccept: application/vnd.strandlog.records\r\n\r\n",
        native::LOG
    )?;
    let mut buffer = vec![0; 256 << 10];
    let mut bytes = 0;
    loop {
        match stream.read(&mut buffer)? {
            0 => return Ok(bytes),
            read => bytes += read as u64,
        }
    }
}

/// The server may begin no thread more.
fn no_threads(
    context: &Context,
    directory: &Path,
    long: bool,
    tally: &mut Tally,
) -> Result<(), String> {
    // Threads that wait for work are given up after ten seconds.
    const THREADS_KEPT: Duration = Duration::from_secs(12);
    let data = directory.join("data");
    let launch = context.launch(&data, directory);
    let mut random = context.random("host", 3);
    let mut world = World::new(launch, Shape::default(), &mut random);
    let Some(mut server) = world.start(&mut tally.findings) else {
        return Ok(());
    };
    if long {
        thread::sleep(THREADS_KEPT);
    }
    let Some(group) = Group::with("pids", server.pid()) else {
        tally.count("no_pids_control_group", 1.0);
        return Ok(());
    };
    let threads = Vitals::of(server.pid()).map_or(1, |vitals| vitals.threads);
    tally.at_most("threads_max", threads as f64);
    group.set("pids.max", &threads.to_string())?;
    let load = world.load(server.address());
    thread::sleep(Duration::from_secs(2));
    // A log has threads of its own.
    let mut client = Client::new(server.address());
    let create = |client: &mut Client| {
        client.send(Call {
            method: "PUT",
            path: "/v1/logs/another",
            headers: &[("Content-Type", "application/json")],
            body: "{}",
        })
    };
    match create(&mut client) {
        Ok(answer) => tally.at_most("log_without_threads_status", f64::from(answer.status)),
        Err(error) => tally
            .findings
            .other(format!("a log without threads: {error}")),
    }
    let healthy = client.send(Call::get("/healthz"));
    if !healthy.is_ok_and(|answer| answer.status == 200) {
        tally.findings.other("no answer without further threads");
    }
    still_there(&mut server, "without further threads", tally);
    group.set("pids.max", "max")?;
    recovers(&world, "threads may begin again", tally);
    match create(&mut client) {
        Ok(answer) if (200..300).contains(&answer.status) => {}
        other => tally
            .findings
            .other(format!("a log once threads may begin again: {other:?}")),
    }
    world.end(load);
    still_there(&mut server, "once threads may begin again", tally);
    drop(group);
    server.kill();
    world.close(tally);
    Ok(())
}

/// A tracer that delays the syncs of a process; lets go of it when dropped.
#[derive(Debug)]
struct SlowSyncs(Child);

impl SlowSyncs {
    fn of(pid: u32) -> Result<Self, String> {
        let calls = "fdatasync,fsync";
        let child = Command::new("strace")
            .args(["-f", "-q", "-o", "/dev/null", "-e"])
            .arg(format!("trace={calls}"))
            .arg("-e")
            .arg(format!("inject={calls}:delay_enter={SYNC_US}"))
            .args(["-p", &pid.to_string()])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        child.map(Self).map_err(|error| format!("strace: {error}"))
    }
}

impl Drop for SlowSyncs {
    fn drop(&mut self) {
        let pid = i32::try_from(self.0.id()).ok();
        if let Some(pid) = pid.and_then(rustix::process::Pid::from_raw) {
            // Killed in any other way it would leave the process stopped.
            let _told = rustix::process::kill_process(pid, Signal::INT);
        }
        if crate::server::wait(&mut self.0, PATIENCE).is_none() {
            let _killed = self.0.kill();
            let _reaped = self.0.wait();
        }
    }
}

/// Each sync takes two seconds: publishes wait, readers do not.
fn slow_disk(
    context: &Context,
    directory: &Path,
    time: Duration,
    tally: &mut Tally,
) -> Result<(), String> {
    let data = directory.join("data");
    let Some((mut world, mut server, load)) = at_work(context, directory, &data, &[], tally) else {
        return Ok(());
    };
    let slow = SlowSyncs::of(server.pid())?;
    thread::sleep(Duration::from_millis(500));
    load.meter.take_slowest();
    let acknowledged = world.oracle.acknowledged();
    let end = Instant::now() + time;
    let mut client = Client::new(server.address());
    let mut slowest = Duration::ZERO;
    while Instant::now() < end && !crate::interrupt::came() {
        let start = Instant::now();
        let page = client.send(Call::get(&format!("{}/events?limit=10", native::LOG)));
        slowest = slowest.max(start.elapsed());
        if !page.is_ok_and(|answer| answer.status == 200) {
            tally.findings.other("a read fails while syncs are slow");
        }
        thread::sleep(Duration::from_millis(20));
    }
    tally.at_most("slowest_read_ms", ms(slowest));
    tally.at_most("slowest_publish_s", load.meter.take_slowest().as_secs_f64());
    tally.at_most(
        "acks_meanwhile",
        (world.oracle.acknowledged() - acknowledged) as f64,
    );
    if slowest > READ_MAX {
        tally
            .findings
            .other(format!("a read took {slowest:?} while syncs were slow"));
    }
    if world.oracle.acknowledged() == acknowledged {
        tally
            .findings
            .other("nothing is acknowledged while syncs are slow");
    }
    drop(slow);
    recovers(&world, "syncs are fast again", tally);
    world.end(load);
    still_there(&mut server, "with slow syncs", tally);
    server.kill();
    world.close(tally);
    Ok(())
}

/// A server that was never given more than 64 descriptors.
fn few_descriptors(context: &Context, directory: &Path, tally: &mut Tally) -> Result<(), String> {
    let (descriptors, connections) = DESCRIPTORS;
    let limit = format!("--nofile={descriptors}:{descriptors}");
    let wrapper = ["prlimit", limit.as_str()];
    let data = directory.join("data");
    let Some((mut world, mut server, load)) = at_work(context, directory, &data, &wrapper, tally)
    else {
        return Ok(());
    };
    // Files are opened all the while, so segments must go on to be filled.
    world.await_acks(400, PATIENCE);
    world.end(load);
    let held: Vec<_> = (0..connections)
        .filter_map(|_| TcpStream::connect_timeout(&server.address(), RECOVERY_MAX).ok())
        .collect();
    is_idle(&server, "with more connections than descriptors", tally);
    drop(held);
    let start = Instant::now();
    let mut late = Client::patient(server.address(), RECOVERY_MAX * 2);
    let healthy = late.send(Call::get("/healthz"));
    if !healthy.is_ok_and(|answer| answer.status == 200) {
        tally.findings.other("no answer once descriptors were free");
    }
    tally.at_most("descriptors_recovery_s", start.elapsed().as_secs_f64());
    still_there(&mut server, "with 64 descriptors", tally);
    server.kill();
    world.close(tally);
    Ok(())
}

/// A control group of one process; removed when dropped.
#[derive(Debug)]
struct Group {
    path: PathBuf,
    root: PathBuf,
    pid: u32,
}

impl Group {
    fn with(controller: &str, pid: u32) -> Option<Self> {
        let root = Path::new("/sys/fs/cgroup").join(controller);
        if !root.join("cgroup.procs").exists() {
            return None;
        }
        let name = format!("strandlog-torture-{}-{controller}", std::process::id());
        let path = root.join(name);
        fs::create_dir_all(&path).ok()?;
        let group = Self { path, root, pid };
        group.set("cgroup.procs", &pid.to_string()).ok()?;
        Some(group)
    }

    fn set(&self, file: &str, value: &str) -> Result<(), String> {
        let path = self.path.join(file);
        fs::write(&path, value).map_err(|error| format!("{}: {error}", path.display()))
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        // A group goes only once nobody is in it.
        let _moved = fs::write(self.root.join("cgroup.procs"), self.pid.to_string());
        let _removed = fs::remove_dir(&self.path);
    }
}
