//! A disk that is full, and has room again: refused with 507, read all the while, and no restart.

use std::fs::File;
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::fs::{FallocateFlags, fallocate, statvfs};

use crate::http::Client;
use crate::load::{Load, Shape};
use crate::native;
use crate::place::{Loop, Mount, run as tool};
use crate::rig::{Context, Rig, Slice, Tally, World, lacking};
use crate::server::Server;

pub(crate) const RIG: Rig = Rig {
    name: "full",
    about: "a full disk, ext4 and tmpfs: 507 at once, reads go on, writes come back by themselves",
    control: "no room is made again",
    missing: || lacking(true, false, &["mount", "losetup", "mkfs.ext4"]),
    run,
    ci_cycles: 10,
    control_cycles: 1,
};

/// Fills of one disk: the events stay, so it gets fuller.
const GENERATION: u64 = 10;
/// How long a publish may wait for its 507.
const REFUSAL_MAX: Duration = Duration::from_secs(1);
/// How long it may take until a publish succeeds once there is room.
const RECOVERY_MAX: Duration = Duration::from_secs(2);
/// How many events retention keeps, and how long it may take until it has made room.
const RETAINED: u64 = 50;
const RETENTION_MAX: Duration = Duration::from_secs(10);
/// How long the disk stays full.
const FULL_TIME: Duration = Duration::from_millis(300);
/// What is left of the room, in bytes, by turns.
const LEFT: [u64; 4] = [0, 4_096, 60_000, 100_000];

fn run(context: &Context, slice: &Slice) -> Result<Tally, String> {
    let mut tally = Tally::default();
    // Two segments for each of the two logs, and as much again to fill.
    let disk_bytes: u64 = if context.config.is_some() {
        16 << 20
    } else {
        400 << 20
    };
    while slice.goes_on(&tally) {
        let generation = (slice.first + tally.cycles) / GENERATION;
        let mut random = context.random("full", slice.first + tally.cycles);
        let directory = context
            .place
            .fresh("full")
            .map_err(|error| error.to_string())?;
        let path = directory.join("mount");
        let image = directory.join("image");
        let device;
        let mount = if generation.is_multiple_of(2) && slice.cycles != 1 {
            device = None;
            let options = format!("size={disk_bytes}");
            Mount::new(&["-t", "tmpfs", "-o", options.as_str(), "tmpfs"], &path)?
        } else {
            let file = File::create(&image).map_err(|error| error.to_string())?;
            file.set_len(disk_bytes)
                .map_err(|error| error.to_string())?;
            let words = ["-q", "-F"].map(AsRef::as_ref);
            tool("mkfs.ext4", words.into_iter().chain([image.as_os_str()]))?;
            let of = Loop::new(&image)?;
            let mount = Mount::new(&[of.device()], &path)?;
            device = Some(of);
            mount
        };
        let launch = context.launch(&mount.path().join("data"), &directory);
        let shape = Shape {
            padding_max: 3_000,
            ..Shape::default()
        };
        let mut world = World::new(launch, shape, &mut random);
        if let Some(mut server) = world.start(&mut tally.findings) {
            let load = world.load(server.address());
            for _ in 0..GENERATION {
                if !slice.goes_on(&tally) {
                    break;
                }
                tally.cycles += 1;
                if !fill_and_free(&world, &load, &mut server, mount.path(), slice, &mut tally)? {
                    break;
                }
            }
            if !slice.control && random.chance(50) {
                let_go(&world, &mut server, mount.path(), &mut tally)?;
            }
            world.end(load);
            tally.findings.add(world.check(server.address()));
            server.kill();
        } else {
            tally.cycles += 1;
        }
        world.close(&mut tally);
        mount.unmount()?;
        drop(device);
    }
    Ok(tally)
}

/// One cycle; whether the disk is good for another.
fn fill_and_free(
    world: &World,
    load: &Load,
    server: &mut Server,
    disk: &Path,
    slice: &Slice,
    tally: &mut Tally,
) -> Result<bool, String> {
    if !world.await_acks(40, RECOVERY_MAX * 5) {
        tally
            .findings
            .other("no acknowledgements although there is room");
        return Ok(false);
    }
    let ballast = disk.join("ballast");
    let left = LEFT
        .get(tally.cycles as usize % LEFT.len())
        .copied()
        .unwrap_or(0);
    fill(disk, &ballast, left)?;

    let refused = load.meter.count(507);
    if !Load::wait(Duration::from_secs(20), || load.meter.count(507) > refused) {
        tally.findings.other("no 507 within 20 s on a full disk");
        return Ok(false);
    }
    if !world.await_quiet() {
        tally.findings.other("a full disk goes on to take events");
        return Ok(false);
    }
    load.meter.take_slowest();
    let (reads, _) = load.meter.reads();
    let start = Instant::now();
    let mut reader = Client::new(server.address());
    let mut replays = 0_u32;
    while start.elapsed() < FULL_TIME {
        let end = native::last_id(&mut reader);
        let read = native::read(&mut reader, 0, true, 0, |_| {});
        if let Err(error) = end.and(read) {
            tally
                .findings
                .other(format!("no reads on a full disk: {error}"));
            break;
        }
        replays += 1;
    }
    tally.count("replays_while_full", f64::from(replays));
    tally.count("refusals", (load.meter.count(507) - refused) as f64);
    let slowest = load.meter.take_slowest();
    tally.at_most("slowest_refusal_s", slowest.as_secs_f64());
    if slowest > REFUSAL_MAX {
        tally
            .findings
            .other(format!("a publish on a full disk took {slowest:?}"));
    }
    let health = reader.send(crate::http::Call::get("/readyz"));
    if !health.is_ok_and(|answer| answer.status == 503) {
        tally.count("ready_although_full", 1.0);
    }
    if let Some(status) = server.ended() {
        tally
            .findings
            .other(format!("the server ended on a full disk: {status}"));
        return Ok(false);
    }

    if !slice.control {
        std::fs::remove_file(&ballast).map_err(|error| error.to_string())?;
    }
    let start = Instant::now();
    if !world.await_acks(1, RECOVERY_MAX * 3) {
        tally
            .findings
            .other(format!("no success within {:?} of room", RECOVERY_MAX * 3));
        let _room = std::fs::remove_file(&ballast);
        return Ok(false);
    }
    let took = start.elapsed();
    tally.at_most("slowest_recovery_s", took.as_secs_f64());
    if took > RECOVERY_MAX {
        tally.findings.other(format!(
            "the first success came {took:?} after there was room"
        ));
    }
    let (reads_now, _) = load.meter.reads();
    tally.count("follows", (reads_now - reads) as f64);
    let free = statvfs(disk)
        .map(|disk| disk.f_bavail * disk.f_bsize)
        .unwrap_or(0);
    Ok(free > 3 << 20)
}

/// Takes all room but `left` bytes.
fn fill(disk: &Path, ballast: &Path, left: u64) -> Result<(), String> {
    let file = File::create(ballast).map_err(|error| error.to_string())?;
    let mut taken = 0;
    // The log takes room at the same time, so it is taken in ever smaller pieces.
    loop {
        let free = free(disk)
            .map_err(|error| error.to_string())?
            .saturating_sub(left);
        let want = if free > 1 << 20 { free / 2 } else { free } / 4096 * 4096;
        if want == 0 || fallocate(&file, FallocateFlags::empty(), taken, want).is_err() {
            return Ok(());
        }
        taken += want;
    }
}

fn free(disk: &Path) -> rustix::io::Result<u64> {
    statvfs(disk).map(|disk| disk.f_bavail * disk.f_bsize)
}

/// The last of a disk: it is full, and retention is what makes room.
fn let_go(
    world: &World,
    server: &mut Server,
    disk: &Path,
    tally: &mut Tally,
) -> Result<(), String> {
    fill(disk, &disk.join("ballast"), 0)?;
    let acknowledged = world.oracle.acknowledged();
    if !world.await_quiet() {
        tally.findings.other("a full disk goes on to take events");
    }
    tally.count(
        "stored_on_the_last_room",
        (world.oracle.acknowledged() - acknowledged) as f64,
    );
    world.oracle.let_go_but(RETAINED);
    let start = Instant::now();
    if let Err(error) = native::retain(&mut Client::new(server.address()), RETAINED) {
        tally
            .findings
            .other(format!("retention cannot be set on a full disk: {error}"));
    } else if !world.await_acks(1, RETENTION_MAX) {
        tally
            .findings
            .other(format!("retention made no room within {RETENTION_MAX:?}"));
    } else {
        tally.at_most("slowest_retention_s", start.elapsed().as_secs_f64());
    }
    Ok(())
}
