//! A sync that failed on a real file system: the kernel's cache shows data that the device never
//! got, to a restarted server too. What is acknowledged after that must be on the device.

use std::thread;
use std::time::Duration;

use super::device::{Device, Kind};
use crate::load::{Load, Shape};
use crate::random::Random;
use crate::rig::{Context, Rig, Slice, Tally, World, lacking};
use crate::server::{Server, last_lines};

pub(crate) const RIG: Rig = Rig {
    name: "fsyncgate",
    about: "writes fail below ext4 and XFS for a moment, the server restarts, then power is lost",
    control: "the device's flush does nothing from the restart on",
    missing: || lacking(true, true, &["losetup", "mount", "mkfs.ext4"]),
    run,
    ci_cycles: 2,
    control_cycles: 6,
};

fn run(context: &Context, slice: &Slice) -> Result<Tally, String> {
    let mut tally = Tally::default();
    while slice.goes_on(&tally) {
        let number = slice.first + tally.cycles;
        let mut random = context.random("fsyncgate", number);
        let directory = context
            .place
            .fresh("fsyncgate")
            .map_err(|error| error.to_string())?;
        let xfs = number % 2 == 1 && crate::place::has(Kind::Xfs.maker());
        let kind = if xfs { Kind::Xfs } else { Kind::Ext4 };
        let device = Device::new(&directory, kind, context.config.is_some(), random.next())?;
        let launch = context.launch(&device.path().join("data"), &directory);
        let mut world = World::new(launch, Shape::default(), &mut random);
        tally.cycles += 1;
        tally.count(if xfs { "xfs" } else { "ext4" }, 1.0);
        let before = tally.findings.count();
        let stack = device.mount()?;
        fail_and_restart(&device, &mut world, slice, &mut random, &mut tally)?;
        device.fs.release();
        stack.unmount()?;
        device.fs.lie_about_files(false);
        // What the device has, and nothing else: the kernel's cache went with the mount.
        match device.mount() {
            Ok(stack) => {
                world.close(&mut tally);
                stack.unmount()?;
            }
            Err(error) => tally.findings.other(format!("no mount: {error}")),
        }
        if tally.findings.count() > before {
            let places = ["first", "second"].map(|name| world.oracle.place(name));
            tally
                .findings
                .words
                .push(format!("… that was on {kind:?}, consumers {places:?}"));
        }
        tally.count("calls_failed", device.fs.figures().1 as f64);
    }
    Ok(tally)
}

/// Up to the loss of power.
fn fail_and_restart(
    device: &Device,
    world: &mut World,
    slice: &Slice,
    random: &mut Random,
    tally: &mut Tally,
) -> Result<(), String> {
    let Some(server) = world.start(&mut tally.findings) else {
        return Ok(());
    };
    let load = world.load(server.address());
    world.await_acks(random.between(20, 200), Duration::from_secs(20));
    device.fs.fail_writes(true);
    if random.chance(30) {
        // The device is well again before the server has told anybody: a sync that is tried again
        // succeeds, and has not done its work.
        let failed = device.fs.figures().1;
        if Load::wait(Duration::from_secs(5), || device.fs.figures().1 > failed) {
            tally.count("syncs_failed", 1.0);
        }
        device.fs.fail_writes(false);
        let told = world.oracle.acknowledged();
        thread::sleep(Duration::from_millis(random.between(50, 500)));
        tally.count(
            "went_on_without_restart",
            f64::from(u8::from(world.oracle.acknowledged() > told)),
        );
        return cut(device, server, world, load);
    }
    if Load::wait(Duration::from_secs(5), || load.meter.count(503) > 0) {
        tally.count("syncs_failed", 1.0);
    }
    server.kill();
    device.fs.fail_writes(false);
    world.end(load);

    // The file system may have given up as well, and is read-only: then nothing is acknowledged.
    let before = world.oracle.acknowledged();
    match world.launch() {
        Ok(server) => {
            tally.findings.add(world.check(server.address()));
            device.fs.lie_about_files(slice.control);
            let load = world.load(server.address());
            world.await_acks(random.between(10, 150), Duration::from_secs(3));
            cut(device, server, world, load)?;
            if world.oracle.acknowledged() > before {
                tally.count("went_on", 1.0);
            }
        }
        Err(refused) => {
            let said = last_lines(&refused.said, 1);
            let causes = [
                "Read-only file system",
                "Input/output error",
                "Structure needs cleaning",
            ];
            if causes.iter().any(|cause| said.contains(cause)) {
                tally.count("file_system_gave_up", 1.0);
            } else {
                tally.findings.other(format!(
                    "no start on a device that is well again: {refused}"
                ));
            }
            device.fs.cut();
        }
    }
    Ok(())
}

/// The power is lost, and the server with it.
fn cut(device: &Device, mut server: Server, world: &mut World, load: Load) -> Result<(), String> {
    device.fs.cut();
    server.kill_soon();
    device.fs.release();
    if server.wait(Duration::from_secs(20)).is_none() {
        return Err("a killed server does not end".to_owned());
    }
    world.end(load);
    Ok(())
}
