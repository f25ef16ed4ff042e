//! What the simulated power cut, the faults and the page cache do.

use std::collections::BTreeSet;

use super::*;
use crate::storage::{is_full, write_all_at};

const SEEDS: u64 = 400;

const POLICIES: [Left; 4] = [Left::Nothing, Left::All, Left::FirstHalf, Left::EveryOther];

/// Every whole policy, and some seeds.
fn all_left() -> impl Iterator<Item = Left> {
    POLICIES.into_iter().chain((0..SEEDS).map(Left::Random))
}

/// A disk with one file `a` of `sectors` synced sectors of 1s, and that file opened.
fn disk_with(sectors: usize) -> (SimDisk, Arc<dyn StorageFile>) {
    let disk = SimDisk::new();
    disk.write_file("a", &vec![1; sectors * 512]);
    let file = disk.root().open("a", Access::ReadWrite).unwrap();
    (disk, file)
}

fn write(file: &dyn StorageFile, offset: u64, len: usize, byte: u8) {
    write_all_at(file, offset, &[&vec![byte; len]]).unwrap();
}

fn kind<T: fmt::Debug>(result: io::Result<T>) -> io::ErrorKind {
    result.unwrap_err().kind()
}

#[test]
fn what_was_synced_survives_every_power_cut() {
    let disk = SimDisk::new();
    let root = disk.root();
    let inner = root.create_directory("d").unwrap();
    let file = inner.create("a", 2000).unwrap();
    write(&*file, 100, 3000, 7);
    file.sync().unwrap();
    inner.sync_names().unwrap();
    root.sync_names().unwrap();
    for left in all_left() {
        let after = disk.after_crash(left);
        assert_eq!(after.paths(), ["d/a"], "{left:?}");
        assert_eq!(after.read_file("d/a"), disk.read_file("d/a"), "{left:?}");
        assert_eq!(after.durable_file("d/a"), disk.read_file("d/a"), "{left:?}");
    }
}

#[test]
fn bytes_that_no_write_touches_never_change() {
    let (disk, file) = disk_with(8);
    write(&*file, 1000, 2000, 2);
    for left in all_left() {
        let bytes = disk.after_crash(left).read_file("a");
        assert_eq!(bytes.len(), 8 * 512, "{left:?}");
        assert!(bytes[..1000].iter().all(|byte| *byte == 1), "{left:?}");
        assert!(bytes[3000..].iter().all(|byte| *byte == 1), "{left:?}");
    }
}

#[test]
fn the_whole_policies_leave_what_their_names_say() {
    let (disk, file) = disk_with(4);
    write(&*file, 0, 4 * 512, 2);
    let sectors = |left| -> Vec<u8> {
        let bytes = disk.after_crash(left).read_file("a");
        bytes.chunks(512).map(|sector| sector[0]).collect()
    };
    assert_eq!(sectors(Left::Nothing), [1, 1, 1, 1]);
    assert_eq!(sectors(Left::All), [2, 2, 2, 2]);
    assert_eq!(sectors(Left::FirstHalf), [2, 2, 1, 1]);
    assert_eq!(sectors(Left::EveryOther), [1, 2, 1, 2]);
}

#[test]
fn unsynced_sectors_are_kept_and_lost_independently() {
    let (disk, file) = disk_with(3);
    write(&*file, 0, 3 * 512, 2);
    let seen: BTreeSet<_> = (0..SEEDS)
        .map(|seed| {
            let bytes = disk.after_crash(Left::Random(seed)).read_file("a");
            [0, 512, 1024].map(|at| bytes[at..at + 512].iter().all(|byte| *byte == 2))
        })
        .collect();
    assert_eq!(seen.len(), 8);
}

#[test]
fn a_sector_may_be_torn_with_the_new_bytes_first_or_last_or_in_between() {
    let (disk, file) = disk_with(1);
    write(&*file, 0, 512, 2);
    let mut edges = BTreeSet::new();
    for seed in 0..SEEDS {
        let bytes = disk.after_crash(Left::Random(seed)).read_file("a");
        let changes = bytes.windows(2).filter(|pair| pair[0] != pair[1]).count();
        edges.insert((bytes[0], bytes[511], changes.min(2)));
    }
    for torn in [(2, 1, 1), (1, 2, 1)] {
        assert!(edges.contains(&torn), "{torn:?} in {edges:?}");
    }
    assert!(
        edges.iter().any(|(_, _, changes)| *changes == 2),
        "{edges:?}"
    );
}

#[test]
fn any_version_since_the_last_sync_may_survive() {
    let (disk, file) = disk_with(1);
    for byte in 2..=5 {
        write(&*file, 0, 512, byte);
    }
    let seen: BTreeSet<_> = (0..SEEDS)
        .map(|seed| disk.after_crash(Left::Random(seed)).read_file("a"))
        .filter(|bytes| bytes.windows(2).all(|pair| pair[0] == pair[1]))
        .map(|bytes| bytes[0])
        .collect();
    assert_eq!(seen, BTreeSet::from([1, 2, 3, 4, 5]));
}

#[test]
fn a_sector_rewritten_very_often_keeps_its_synced_and_its_latest_version() {
    let (disk, file) = disk_with(1);
    for byte in 2..=100 {
        write(&*file, 0, 512, byte);
    }
    let seen: BTreeSet<_> = (0..SEEDS)
        .map(|seed| disk.after_crash(Left::Random(seed)).read_file("a")[0])
        .collect();
    assert!(seen.is_superset(&BTreeSet::from([1, 99, 100])), "{seen:?}");
    assert_eq!(disk.durable_file("a"), [1; 512]);
}

#[test]
fn an_unsynced_length_may_be_anything_between() {
    let (disk, file) = disk_with(1);
    write(&*file, 700, 1300, 2);
    let mut lens = BTreeSet::new();
    for left in all_left() {
        let bytes = disk.after_crash(left).read_file("a");
        assert!((512..=2000).contains(&bytes.len()), "{left:?}");
        assert!(bytes.iter().skip(512).take(188).all(|byte| *byte == 0));
        assert!(bytes.iter().skip(700).all(|byte| [0, 2].contains(byte)));
        lens.insert(bytes.len());
    }
    assert!(lens.contains(&512) && lens.contains(&2000) && lens.len() > 10);
    assert_eq!(disk.durable_file("a"), [1; 512]);
}

#[test]
fn a_failed_sync_is_forgotten_by_the_page_cache_and_heals_only_by_rewriting() {
    let (disk, file) = disk_with(4);
    write(&*file, 0, 1024, 2);
    disk.fail_at(disk.steps(), Fault::Eio, Repeat::Once);
    assert_eq!(file.sync().unwrap_err().raw_os_error(), Some(5));

    // Later syncs succeed, of this object, of another one and of the next process.
    file.sync().unwrap();
    disk.root().open("a", Access::Read).unwrap().sync().unwrap();
    let disk = disk.restart();
    let file = disk.root().open("a", Access::ReadWrite).unwrap();
    file.sync().unwrap();
    file.freeze(1024);
    assert_eq!(file.frozen().unwrap(), vec![2; 1024]);
    assert_eq!(disk.read_file("a")[..1024], [2; 1024]);

    // Nothing of it is on the disk.
    assert_eq!(disk.durable_file("a"), [1; 2048]);
    for left in POLICIES {
        assert_eq!(disk.after_crash(left).read_file("a"), [1; 2048], "{left:?}");
    }

    // What is written again, and only that, gets there.
    let file = disk.root().open("a", Access::ReadWrite).unwrap();
    write(&*file, 512, 512, 2);
    assert_eq!(disk.durable_file("a"), [1; 2048]);
    file.sync().unwrap();
    for left in all_left() {
        let bytes = disk.after_crash(left).read_file("a");
        assert_eq!(bytes[512..1024], [2; 512], "{left:?}");
    }
    assert_eq!(disk.durable_file("a")[..512], [1; 512]);
    write(&*file, 0, 512, 2);
    file.sync().unwrap();
    assert_eq!(disk.durable_file("a"), disk.read_file("a"));
}

#[test]
fn a_failed_first_sync_of_a_block_is_healed_by_no_rewriting() {
    let disk = SimDisk::new();
    let file = disk.root().create("a", 12_288).unwrap();
    disk.root().sync_names().unwrap();
    // The second block is written and synced, the first and the third are not.
    write(&*file, 4_096, 512, 1);
    file.sync().unwrap();
    write(&*file, 512, 512, 2);
    write(&*file, 4_608, 512, 2);
    disk.fail_at(disk.steps(), Fault::Eio, Repeat::Once);
    file.sync().unwrap_err();

    let disk = disk.restart();
    let file = disk.root().open("a", Access::ReadWrite).unwrap();
    write(&*file, 0, 12_288, 3);
    file.sync().unwrap();
    assert_eq!(disk.read_file("a"), [3; 12_288]);
    // All of the block is gone, also what was not being written when the sync failed.
    let durable = disk.durable_file("a");
    assert_eq!(durable[..4_096], [0; 4_096]);
    assert_eq!(durable[4_096..], [3; 8_192]);
    for left in POLICIES {
        assert_eq!(disk.after_crash(left).read_file("a"), durable, "{left:?}");
    }

    // What the disk shows after the loss of power is written, if only as zeros.
    let disk = disk.after_crash(Left::All);
    let file = disk.root().open("a", Access::ReadWrite).unwrap();
    write(&*file, 0, 12_288, 4);
    file.sync().unwrap();
    assert_eq!(disk.durable_file("a"), [4; 12_288]);
}

#[test]
fn every_error_of_a_sync_has_the_same_consequence() {
    for fault in Fault::ALL {
        let (disk, file) = disk_with(1);
        write(&*file, 0, 512, 2);
        disk.fail_at(disk.steps(), fault, Repeat::Once);
        let is_synced = file.sync().is_ok();
        file.sync().unwrap();
        assert_eq!(is_synced, matches!(fault, Fault::Short | Fault::Zero));
        assert_eq!(disk.durable_file("a") == [2; 512], is_synced, "{fault:?}");
    }
}

#[test]
fn a_failed_sync_may_have_written_some_sectors() {
    let (disk, file) = disk_with(2);
    write(&*file, 0, 1024, 2);
    disk.fail_at(disk.steps(), Fault::Eio, Repeat::Once);
    file.sync().unwrap_err();
    let seen: BTreeSet<_> = (0..SEEDS)
        .map(|seed| disk.after_crash(Left::Random(seed)).read_file("a"))
        .map(|bytes| (bytes[0], bytes[512]))
        .collect();
    assert_eq!(seen, BTreeSet::from([(1, 1), (1, 2), (2, 1), (2, 2)]));
}

#[test]
fn a_restart_keeps_the_page_cache_and_frees_the_locks() {
    let (disk, file) = disk_with(1);
    let root = disk.root();
    let held = root.lock().unwrap();
    write(&*file, 0, 512, 2);
    root.create("b", 10).unwrap();
    let next = disk.restart();
    assert_eq!(next.steps(), 0);
    assert_eq!(next.read_file("a"), [2; 512]);
    assert_eq!(next.paths(), ["a", "b", LOCK_NAME]);
    next.root().lock().unwrap();
    // Still not synced.
    let after = next.after_crash(Left::Nothing);
    assert_eq!(after.read_file("a"), [1; 512]);
    assert_eq!(after.paths(), ["a"]);
    // What is left of the old process reaches the new disk no more.
    write(&*file, 0, 512, 3);
    assert_eq!(next.read_file("a"), [2; 512]);
    drop(held);
    after.root().lock().unwrap();
}

#[test]
fn a_killed_process_leaves_its_page_cache_too() {
    let (disk, file) = disk_with(2);
    write(&*file, 0, 512, 2);
    disk.crash_at(disk.steps());
    file.sync().unwrap_err();
    let next = disk.restart();
    assert!(!next.has_crashed());
    assert_eq!(next.read_file("a")[..512], [2; 512]);
    // The sync that was not called has not failed either.
    next.root().open("a", Access::Read).unwrap().sync().unwrap();
    assert_eq!(next.durable_file("a")[..512], [2; 512]);
}

#[test]
fn an_unsynced_name_may_be_lost_and_syncing_the_file_does_not_help() {
    let disk = SimDisk::new();
    let root = disk.root();
    let file = root.create("a", 10).unwrap();
    file.sync().unwrap();
    assert_eq!(disk.after_crash(Left::Nothing).paths(), [""; 0]);
    assert_eq!(disk.after_crash(Left::All).paths(), ["a"]);
    let mut seen = BTreeSet::new();
    for seed in 0..SEEDS {
        let after = disk.after_crash(Left::Random(seed));
        if after.paths() == ["a"] {
            assert_eq!(after.read_file("a"), [0; 10]);
        }
        seen.insert(after.paths().len());
    }
    assert_eq!(seen, BTreeSet::from([0, 1]));
    root.sync_names().unwrap();
    assert_eq!(disk.after_crash(Left::Nothing).paths(), ["a"]);
}

#[test]
fn unsynced_names_are_kept_and_lost_independently() {
    let disk = SimDisk::new();
    disk.write_file("old", b"");
    let root = disk.root();
    root.create("a", 0).unwrap();
    root.remove("old").unwrap();
    root.create_directory("d").unwrap().create("x", 0).unwrap();
    let seen: BTreeSet<_> = (0..SEEDS)
        .map(|seed| {
            let after = disk.after_crash(Left::Random(seed)).root();
            let mut names: Vec<_> = after.list().unwrap().into_iter().map(|e| e.name).collect();
            names.sort();
            names.join(" ")
        })
        .collect();
    assert_eq!(seen.len(), 8, "{seen:?}");
}

#[test]
fn the_names_in_a_directory_do_not_survive_without_its_own_name() {
    let disk = SimDisk::new();
    let root = disk.root();
    let inner = root.create_directory("d").unwrap();
    inner.create("a", 0).unwrap();
    inner.sync_names().unwrap();
    assert_eq!(disk.after_crash(Left::Nothing).paths(), [""; 0]);
    root.sync_names().unwrap();
    assert_eq!(disk.after_crash(Left::Nothing).paths(), ["d/a"]);
}

#[test]
fn a_rename_is_one_or_the_other() {
    let disk = SimDisk::new();
    disk.write_file("to", b"old");
    let root = disk.root();
    let file = root.create("from", 0).unwrap();
    write_all_at(&*file, 0, &[b"new"]).unwrap();
    file.sync().unwrap();
    root.sync_names().unwrap();
    root.rename("from", "to").unwrap();
    let mut seen = BTreeSet::new();
    for left in all_left() {
        let after = disk.after_crash(left);
        let to = after.read_file("to");
        let both = after.paths() == ["from", "to"];
        assert!(both || after.paths() == ["to"]);
        assert!(to == b"new" || (both && to == b"old"), "{left:?}");
        if both {
            assert_eq!(after.read_file("from"), b"new");
        }
        seen.insert((both, to));
    }
    let outcomes = [(false, "new"), (true, "new"), (true, "old")];
    assert_eq!(seen, outcomes.map(|(both, to)| (both, to.into())).into());
    root.sync_names().unwrap();
    for left in all_left() {
        assert_eq!(disk.after_crash(left).paths(), ["to"]);
    }
}

#[test]
fn an_atomic_replacement_without_syncing_the_file_first_may_leave_nothing_in_it() {
    let disk = SimDisk::new();
    disk.write_file("to", b"old");
    let root = disk.root();
    let file = root.create("from", 0).unwrap();
    write_all_at(&*file, 0, &[b"new"]).unwrap();
    root.rename("from", "to").unwrap();
    root.sync_names().unwrap();
    assert_eq!(disk.after_crash(Left::Nothing).read_file("to"), b"");
}

#[test]
fn both_names_of_a_half_done_rename_are_one_file() {
    let disk = SimDisk::new();
    disk.write_file("from", &[1; 100]);
    disk.root().rename("from", "to").unwrap();
    let after = (0..SEEDS)
        .map(|seed| disk.after_crash(Left::Random(seed)))
        .find(|after| after.paths().len() == 2)
        .unwrap();
    assert_eq!(after.used(), 100);
    let root = after.root();
    write(&*root.open("from", Access::ReadWrite).unwrap(), 0, 1, 9);
    assert_eq!(after.read_file("to")[0], 9);
    root.rename("from", "to").unwrap();
    assert_eq!(after.paths(), ["from", "to"]);
    root.remove("from").unwrap();
    assert_eq!(after.used(), 100);
    root.remove("to").unwrap();
    assert_eq!(after.used(), 0);
}

#[test]
fn a_removed_file_may_come_back_until_its_name_is_synced() {
    let (disk, file) = disk_with(1);
    let root = disk.root();
    root.remove("a").unwrap();
    drop(file);
    assert_eq!(disk.after_crash(Left::Nothing).read_file("a"), [1; 512]);
    root.create("other", 0).unwrap();
    root.sync_names().unwrap();
    for left in all_left() {
        assert_eq!(disk.after_crash(left).paths(), ["other"]);
    }
}

#[test]
fn a_failed_sync_of_names_is_not_made_up_for_by_the_next() {
    let disk = SimDisk::new();
    disk.write_file("old", b"");
    let root = disk.root();
    root.create("a", 0).unwrap();
    root.remove("old").unwrap();
    disk.fail_at(2, Fault::Eio, Repeat::Once);
    root.sync_names().unwrap_err();
    root.create("b", 0).unwrap();
    root.sync_names().unwrap();
    assert_eq!(disk.paths(), ["a", "b"]);
    for left in [Left::Nothing, Left::All, Left::EveryOther] {
        assert_eq!(disk.after_crash(left).paths(), ["b", "old"], "{left:?}");
    }
    // The next process is told the same lie.
    let next = disk.restart();
    assert_eq!(next.paths(), ["a", "b"]);
    next.root().sync_names().unwrap();
    assert_eq!(next.after_crash(Left::All).paths(), ["b", "old"]);
    // The failed sync may have got round to some of it.
    let seen: BTreeSet<_> = (0..SEEDS)
        .map(|seed| disk.after_crash(Left::Random(seed)).paths())
        .collect();
    assert_eq!(seen.len(), 4, "{seen:?}");
}

#[test]
fn a_name_that_a_sync_has_forgotten_becomes_durable_by_a_new_change() {
    let disk = SimDisk::new();
    disk.write_file("old", b"1");
    let root = disk.root();
    root.create("tmp", 0).unwrap();
    root.rename("tmp", "a").unwrap();
    root.remove("old").unwrap();
    disk.fail_at(3, Fault::Eio, Repeat::Once);
    root.sync_names().unwrap_err();
    root.create("tmp", 3).unwrap();
    root.rename("tmp", "a").unwrap();
    root.create("old", 0).unwrap();
    root.remove("old").unwrap();
    root.sync_names().unwrap();
    for left in all_left() {
        let after = disk.after_crash(left);
        assert_eq!(after.paths(), ["a"], "{left:?}");
    }
    assert_eq!(disk.restart().paths(), ["a"]);
}

/// Calls every method once, in a fixed order, until one fails.
fn script(disk: &SimDisk) -> io::Result<()> {
    let root = disk.root();
    let _held = root.lock()?;
    let inner = root.create_directory("d")?;
    let file = inner.create("a", 2000)?;
    file.write_at(100, &[IoSlice::new(&[5; 3000])])?;
    file.sync()?;
    file.freeze(3000);
    file.frozen()?;
    inner.rename("a", "b")?;
    inner.sync_names()?;
    root.sync_names()?;
    let file = root.directory("d")?.open("b", Access::Read)?;
    file.read_at(0, &mut [0; 100])?;
    root.list()?;
    inner.remove("b")
}

#[test]
fn every_call_is_a_step_with_a_name() {
    let disk = SimDisk::new();
    script(&disk).unwrap();
    let calls: Vec<_> = disk.calls().iter().map(Call::to_string).collect();
    let want = [
        "Lock lock",
        "CreateDirectory d",
        "Create d/a (2000 bytes)",
        "WriteAt d/a (3000 bytes at 100)",
        "Sync d/a",
        "Frozen d/a (3000 bytes)",
        "Rename d/a -> b",
        "SyncNames d",
        "SyncNames ",
        "Directory d",
        "Open d/b",
        "ReadAt d/b (100 bytes at 0)",
        "List ",
        "Remove d/b",
    ];
    assert_eq!(calls, want);
    assert_eq!(disk.steps(), want.len() as u64);
}

#[test]
fn without_power_every_call_fails_until_the_disk_is_switched_on() {
    let calm = SimDisk::new();
    script(&calm).unwrap();
    for step in 0..calm.steps() {
        let disk = SimDisk::new();
        disk.crash_at(step);
        assert_eq!(kind(script(&disk)), io::ErrorKind::BrokenPipe, "{step}");
        assert!(disk.has_crashed());
        assert_eq!(disk.steps(), step + 1);
        assert_eq!(kind(script(&disk)), io::ErrorKind::BrokenPipe, "{step}");
        for left in POLICIES {
            let after = disk.after_crash(left);
            assert!(!after.has_crashed());
            after.root().lock().unwrap();
            after.root().create("new", 1).unwrap();
        }
    }
    let never = SimDisk::new();
    never.crash_at(calm.steps());
    script(&never).unwrap();
    assert!(!never.has_crashed());
}

#[test]
fn the_call_in_which_the_power_fails_may_have_done_a_part_of_its_work() {
    let mut lens = BTreeSet::new();
    let mut renames = BTreeSet::new();
    for seed in 0..SEEDS {
        let disk = SimDisk::with_seed(seed);
        disk.write_file("a", b"");
        let file = disk.root().open("a", Access::ReadWrite).unwrap();
        disk.crash_at(1);
        file.write_at(0, &[IoSlice::new(&[2; 10])]).unwrap_err();
        lens.insert(disk.after_crash(Left::All).read_file("a").len());

        let disk = SimDisk::with_seed(seed);
        disk.write_file("a", b"");
        disk.crash_at(0);
        disk.root().rename("a", "b").unwrap_err();
        renames.insert(disk.after_crash(Left::All).paths());
    }
    assert_eq!(lens, (0..=10).collect());
    assert_eq!(renames.len(), 2);
}

#[test]
fn each_fault_is_the_error_it_is_named_after() {
    for (fault, kind) in [
        (Fault::Enospc, io::ErrorKind::StorageFull),
        (Fault::Edquot, io::ErrorKind::QuotaExceeded),
        (Fault::Erofs, io::ErrorKind::ReadOnlyFilesystem),
        (Fault::Efbig, io::ErrorKind::FileTooLarge),
        (Fault::Eintr, io::ErrorKind::Interrupted),
    ] {
        let calm = SimDisk::new();
        script(&calm).unwrap();
        for step in 0..calm.steps() {
            let disk = SimDisk::new();
            disk.fail_at(step, fault, Repeat::Once);
            assert_eq!(script(&disk).unwrap_err().kind(), kind, "{step}");
            assert_eq!(disk.steps(), step + 1);
        }
    }
}

#[test]
fn a_fault_lasts_for_one_step_or_until_the_disk_heals() {
    let (disk, file) = disk_with(1);
    disk.fail_at(disk.steps() + 1, Fault::Enospc, Repeat::Once);
    write(&*file, 0, 1, 2);
    file.write_at(0, &[IoSlice::new(b"x")]).unwrap_err();
    write(&*file, 0, 1, 3);
    disk.fail_at(disk.steps(), Fault::Enospc, Repeat::FromThenOn);
    for _ in 0..3 {
        assert!(is_full(
            &file.write_at(0, &[IoSlice::new(b"x")]).unwrap_err()
        ));
    }
    assert_eq!(disk.read_file("a")[0], 3);
    disk.heal();
    write(&*file, 0, 1, 4);
}

#[test]
fn a_device_error_leaves_an_unknown_part_of_the_work() {
    let mut lens = BTreeSet::new();
    let mut names = BTreeSet::new();
    for seed in 0..SEEDS {
        let disk = SimDisk::with_seed(seed);
        disk.fail_at(0, Fault::Eio, Repeat::Once);
        disk.root().create("a", 100).unwrap_err();
        names.insert(disk.paths());
        let file = disk.root().create("b", 0).unwrap();
        disk.fail_at(2, Fault::Eio, Repeat::Once);
        file.write_at(0, &[IoSlice::new(&[1; 10])]).unwrap_err();
        lens.insert(disk.read_file("b").len());
    }
    assert_eq!(names.len(), 2);
    assert_eq!(lens, (0..=10).collect());
}

#[test]
fn a_full_disk_takes_what_fits_and_has_room_again_after_a_removal() {
    let disk = SimDisk::new();
    let root = disk.root();
    disk.capacity(1000);
    let file = root.create("a", 600).unwrap();
    let error = root.create("b", 401).unwrap_err();
    assert!(is_full(&error));
    assert_eq!(disk.paths(), ["a"]);
    let file_b = root.create("b", 100).unwrap();
    assert_eq!(disk.used(), 700);
    // Up to the limit, then nothing more; what is there can still be written.
    assert_eq!(file.write_at(500, &[IoSlice::new(&[1; 900])]).unwrap(), 400);
    assert_eq!((file.len(), disk.used()), (900, 1000));
    let error = file.write_at(900, &[IoSlice::new(b"x")]).unwrap_err();
    assert!(is_full(&error));
    write(&*file, 0, 900, 2);
    root.remove("b").unwrap();
    assert_eq!(disk.used(), 900);
    write(&*file, 900, 100, 3);
    // A nameless file takes no room from the others.
    write(&*file_b, 0, 5000, 3);
    assert_eq!(disk.used(), 1000);
    assert!(is_full(&root.create("c", 1).unwrap_err()));
    disk.capacity(2000);
    root.create("c", 1000).unwrap();
    disk.capacity(0);
    assert!(is_full(&root.create("d", 1).unwrap_err()));
    assert_eq!(disk.after_crash(Left::All).used(), 2000);
}

#[test]
fn a_sync_that_lies_is_found_out_by_a_power_cut() {
    let (disk, file) = disk_with(1);
    disk.syncs_lie(true);
    write(&*file, 0, 512, 2);
    file.sync().unwrap();
    assert_eq!(disk.after_crash(Left::Nothing).read_file("a"), [1; 512]);
    disk.name_syncs_lie(true);
    disk.root().create("b", 0).unwrap();
    disk.root().sync_names().unwrap();
    assert_eq!(disk.after_crash(Left::Nothing).paths(), ["a"]);
    disk.syncs_lie(false);
    file.sync().unwrap();
    assert_eq!(disk.after_crash(Left::Nothing).read_file("a"), [2; 512]);
}

#[test]
fn the_same_seed_leaves_the_same_disk() {
    let cut = |seed| {
        let disk = SimDisk::with_seed(seed);
        disk.crash_at(8);
        script(&disk).unwrap_err();
        let after = disk.after_crash(Left::Random(seed));
        let read = |path: &String| after.read_file(path);
        (
            after.paths(),
            after.paths().iter().map(read).collect::<Vec<_>>(),
        )
    };
    for seed in 0..50 {
        assert_eq!(cut(seed), cut(seed));
    }
}

#[test]
fn a_power_cut_leaves_the_disk_it_happened_to_as_it_was() {
    let (disk, file) = disk_with(4);
    write(&*file, 0, 2048, 2);
    let after = disk.after_crash(Left::All);
    let other = after.root().open("a", Access::ReadWrite).unwrap();
    write(&*other, 0, 2048, 3);
    assert_eq!(disk.read_file("a"), [2; 2048]);
    assert_eq!(after.durable_file("a"), [2; 2048]);
    assert_eq!(
        disk.after_crash(Left::Random(1)).read_file("a"),
        disk.after_crash(Left::Random(1)).read_file("a")
    );
}

#[test]
fn decay_is_on_the_disk_and_in_what_is_read_later() {
    let (disk, file) = disk_with(2);
    write(&*file, 512, 512, 2);
    file.freeze(1024);
    let handed_out = file.frozen().unwrap();
    disk.flip_bit("a", 3, 7);
    disk.corrupt("a", 600, |byte| byte + 100);
    let mut want = [[1; 512], [2; 512]].concat();
    assert_eq!(handed_out, want);
    want[3] = 0x81;
    want[600] = 102;
    assert_eq!(file.frozen().unwrap(), want);
    assert_eq!(disk.read_file("a"), want);
    want[512..].fill(1);
    want[600] = 101;
    assert_eq!(disk.durable_file("a"), want);
}

#[test]
fn files_can_be_put_on_the_disk_and_taken_from_it() {
    let disk = SimDisk::new();
    disk.write_file("d/e/a", b"one");
    disk.write_file("d/b", b"two");
    disk.write_file("d/b", b"replaced");
    assert_eq!(disk.used(), 11);
    let root = disk.root();
    root.directory("d").unwrap().rename("b", "c").unwrap();
    disk.remove_file("d/c");
    for left in all_left() {
        let after = disk.after_crash(left);
        let paths = after.paths();
        assert!(paths.contains(&"d/e/a".into()) && !paths.contains(&"d/c".into()));
    }
    assert_eq!(disk.steps(), 2);
}

#[test]
fn while_a_call_takes_long_others_find_the_disk_free() {
    use std::sync::Mutex as StdMutex;
    for (repeat, times) in [(Repeat::Once, 1), (Repeat::FromThenOn, 2)] {
        let (disk, file) = disk_with(1);
        let seen = Arc::new(StdMutex::new(Vec::new()));
        let meanwhile = {
            let (disk, seen) = (disk.clone(), Arc::clone(&seen));
            move || seen.lock().unwrap().push(disk.read_file("a")[0])
        };
        disk.slow_at(disk.steps() + 1, repeat, Arc::new(meanwhile));
        write(&*file, 0, 1, 2);
        assert_eq!(*seen.lock().unwrap(), []);
        write(&*file, 0, 1, 3);
        assert_eq!(*seen.lock().unwrap(), [2], "before it does its work");
        file.sync().unwrap();
        assert_eq!(seen.lock().unwrap().len(), times, "{repeat:?}");
        disk.heal();
        file.sync().unwrap();
        assert_eq!(seen.lock().unwrap().len(), times, "{repeat:?}");
        assert_eq!(disk.durable_file("a")[0], 3);
    }
}

#[test]
fn a_call_names_its_file_as_it_is_called_now() {
    let (disk, file) = disk_with(1);
    disk.root().rename("a", "b").unwrap();
    write(&*file, 0, 1, 2);
    assert_eq!(&*disk.calls().pop().unwrap().path, "b");
}
