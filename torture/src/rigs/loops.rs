//! Loss of power under a real file system: its journal is replayed at the next mount.

use std::time::Duration;

use super::device::{Device, Kind};
use crate::load::Shape;
use crate::rig::{Context, Rig, Slice, Tally, World, lacking};

pub(crate) const RIG: Rig = Rig {
    name: "loop",
    about: "loss of power under ext4 and XFS on a device that keeps only what was flushed",
    control: "the device's flush does nothing",
    missing: || lacking(true, true, &["losetup", "mount", "mkfs.ext4"]),
    run,
    ci_cycles: 20,
    control_cycles: 10,
};

/// Consumers: most of what is synced are their acknowledgements.
const CONSUMERS: usize = 10;
/// Cuts of one device.
const GENERATION: u64 = 5;

fn run(context: &Context, slice: &Slice) -> Result<Tally, String> {
    let mut tally = Tally::default();
    while slice.goes_on(&tally) {
        let number = slice.first + tally.cycles;
        let mut random = context.random("loop", number);
        let directory = context
            .place
            .fresh("loop")
            .map_err(|error| error.to_string())?;
        let xfs = (number / GENERATION) % 2 == 1 && crate::place::has(Kind::Xfs.maker());
        let kind = if xfs { Kind::Xfs } else { Kind::Ext4 };
        let device = Device::new(&directory, kind, context.config.is_some(), random.next())?;
        // The checkpoints' file is not written ahead, so its blocks become real with the syncs.
        let shape = Shape {
            consumers: CONSUMERS,
            ..Shape::default()
        };
        let launch = context.launch(&device.path().join("data"), &directory);
        let mut world = World::new(launch, shape, &mut random);
        for _ in 0..GENERATION {
            if !slice.goes_on(&tally) {
                break;
            }
            tally.cycles += 1;
            tally.count(if xfs { "xfs" } else { "ext4" }, 1.0);
            let stack = match device.mount() {
                Ok(stack) => stack,
                // Only a flush that lies leaves a file system that cannot be mounted.
                Err(error) => {
                    tally
                        .findings
                        .other(format!("no mount after a cut: {error}"));
                    break;
                }
            };
            let Some(mut server) = world.start(&mut tally.findings) else {
                stack.unmount()?;
                break;
            };
            device.fs.lie_about_files(slice.control);
            device.fs.cut_after(random.between(1, 600));
            let load = world.load(server.address());
            if !device
                .fs
                .await_cut(Duration::from_millis(random.between(200, 2_000)))
            {
                device.fs.cut();
            }
            server.kill_soon();
            device.fs.release();
            if server.wait(Duration::from_secs(20)).is_none() {
                return Err("a killed server does not end".to_owned());
            }
            world.end(load);
            stack.unmount()?;
            device.fs.lie_about_files(false);
        }
        match device.mount() {
            Ok(stack) => {
                world.close(&mut tally);
                stack.unmount()?;
            }
            Err(error) => tally
                .findings
                .other(format!("no mount after a cut: {error}")),
        }
        let (cuts, _, damage) = device.fs.figures();
        tally.count("cuts", cuts as f64);
        tally.count(
            "sectors_dropped",
            (damage.sectors_dropped + damage.sectors_torn) as f64,
        );
    }
    Ok(tally)
}
