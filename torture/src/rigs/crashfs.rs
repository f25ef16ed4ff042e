//! The real binary on a disk that loses power at any call: un-synced sectors are kept, dropped or
//! torn, un-synced names are dropped.

use std::ffi::OsString;
use std::time::{Duration, Instant};

use crate::crashfs::{CrashFs, Lie};
use crate::load::Shape;
use crate::random::Random;
use crate::rig::{Context, Rig, Slice, Tally, World, lacking};
use crate::server::wait;

pub(crate) const RIG: Rig = Rig {
    name: "crashfs",
    about: "loss of power at any call, on a file system that keeps only what was synced",
    control: "the disk's sync does nothing: of files, then of directories",
    missing: || lacking(true, true, &[]),
    run,
    ci_cycles: 100,
    control_cycles: 20,
};

/// Cuts of one disk.
const GENERATION: u64 = 12;

fn run(context: &Context, slice: &Slice) -> Result<Tally, String> {
    if !slice.control {
        return with(context, slice, Lie::None, &[]);
    }
    let files = with(context, slice, Lie::Files, &[])?;
    Ok(files.both(with(context, slice, Lie::Names, &[])?))
}

/// The same on an honest disk, with commands in front of the server's.
pub(super) fn with_wrapper(
    context: &Context,
    slice: &Slice,
    wrapper: &[OsString],
) -> Result<Tally, String> {
    with(context, slice, Lie::None, wrapper)
}

fn with(context: &Context, slice: &Slice, lie: Lie, wrapper: &[OsString]) -> Result<Tally, String> {
    let mut tally = Tally::default();
    while slice.goes_on(&tally) {
        let mut random = context.random("crashfs", slice.first + tally.cycles);
        let directory = context
            .place
            .fresh("crashfs")
            .map_err(|error| error.to_string())?;
        let mount = directory.join("mount");
        let fs = CrashFs::new(random.next(), lie);
        let mut launch = context.launch(&mount.join("data"), &directory);
        launch.wrapper = wrapper.to_vec();
        let mut world = World::new(launch, Shape::default(), &mut random);
        for _ in 0..GENERATION {
            if !slice.goes_on(&tally) {
                break;
            }
            tally.cycles += 1;
            cycle(&fs, &mount, &mut world, &mut random, &mut tally)?;
        }
        {
            let _mounted = fs.mount(&mount)?;
            world.close(&mut tally);
        }
        let (cuts, _, damage) = fs.figures();
        tally.count("cuts", cuts as f64);
        tally.count("sectors_kept", damage.sectors_kept as f64);
        tally.count("sectors_dropped", damage.sectors_dropped as f64);
        tally.count("sectors_torn", damage.sectors_torn as f64);
        tally.count("names_kept", damage.names_kept as f64);
        tally.count("names_dropped", damage.names_dropped as f64);
    }
    Ok(tally)
}

fn cycle(
    fs: &CrashFs,
    mount: &std::path::Path,
    world: &mut World,
    random: &mut Random,
    tally: &mut Tally,
) -> Result<(), String> {
    // The power may be lost again while the server recovers, and again.
    while random.chance(25) {
        let mounted = fs.mount(mount)?;
        fs.cut_after(random.between(1, 40));
        let mut child = world.spawn().map_err(|error| error.to_string())?;
        // A start that needs fewer changes ends by the clock.
        if !fs.await_cut(Duration::from_millis(random.between(20, 150))) {
            fs.cut();
        }
        let _killed = child.kill();
        fs.release();
        if wait(&mut child, Duration::from_secs(10)).is_none() {
            return Err("a killed server does not end".to_owned());
        }
        mounted.unmount();
        tally.count("cuts_at_start", 1.0);
    }

    let mounted = fs.mount(mount)?;
    if random.chance(20) {
        world.verify(&mut tally.findings);
    }
    let start = Instant::now();
    let Some(mut server) = world.start(&mut tally.findings) else {
        mounted.unmount();
        return Ok(());
    };
    tally.at_most("slowest_start_s", start.elapsed().as_secs_f64());
    fs.cut_after(random.between(1, 300));
    let load = world.load(server.address());
    if !fs.await_cut(Duration::from_secs(10)) {
        tally
            .findings
            .other("the server wrote too little within 10 s");
        fs.cut();
    }
    server.kill_soon();
    fs.release();
    if server.wait(Duration::from_secs(10)).is_none() {
        return Err("a killed server does not end".to_owned());
    }
    world.end(load);
    mounted.unmount();
    Ok(())
}
