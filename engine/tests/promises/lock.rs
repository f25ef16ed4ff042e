//! One process at a time, in its own directory only.

use strandlog_engine::storage::sim::SimDisk;
use strandlog_engine::{OpenError, Options, verify};

use super::support::{append, bodies, contents, files, open, small};

#[test]
fn a_second_open_is_refused_until_the_first_is_over() {
    let disk = SimDisk::new();
    let (log, _) = open(&disk, 1).unwrap();
    append(&log, "s", &[b"one"]).unwrap();
    let before = contents(&disk);
    assert!(matches!(open(&disk, 2), Err(OpenError::InUse)));
    let verified = verify(&disk.root(), &mut |_, _| {});
    assert!(matches!(verified, Err(OpenError::InUse)));
    assert_eq!(contents(&disk), before);
    append(&log, "s", &[b"two"]).unwrap();
    let clone = log.clone();
    drop(log);
    assert!(matches!(open(&disk, 2), Err(OpenError::InUse)));
    drop(clone);
    assert_eq!(bodies(&open(&disk, 2).unwrap().0), [b"one", b"two"]);
}

#[test]
fn a_log_that_failed_still_holds_its_directory_until_it_is_closed() {
    use strandlog_engine::storage::sim::{Fault, Repeat};
    let disk = SimDisk::new();
    let (log, _) = open(&disk, 1).unwrap();
    disk.fail_at(disk.steps(), Fault::Eio, Repeat::Once);
    append(&log, "s", &[b"one"]).unwrap_err();
    assert!(matches!(open(&disk, 2), Err(OpenError::InUse)));
    log.close().unwrap_err();
    open(&disk, 2).unwrap();
}

#[test]
fn a_foreign_directory_is_not_touched() {
    for names in [&["notes.txt"][..], &["a.seg"], &["1.seg", "x"], &["d/file"]] {
        let disk = SimDisk::new();
        for name in names {
            disk.write_file(name, b"mine");
        }
        let before = (disk.paths(), contents(&disk));
        let opened = open(&disk, 1);
        assert!(
            matches!(opened, Err(OpenError::NotALog { .. })),
            "{opened:?}"
        );
        assert_eq!((disk.paths(), contents(&disk)), before);
        let verified = verify(&disk.root(), &mut |_, _| {});
        assert!(matches!(verified, Err(OpenError::NotALog { .. })));
        assert_eq!((disk.paths(), contents(&disk)), before);
    }
}

#[test]
fn a_newer_version_is_refused_and_not_touched() {
    for ending in [".seg", ".ckp"] {
        let disk = SimDisk::new();
        let (log, _) = open(&disk, 1).unwrap();
        append(&log, "s", &[b"one"]).unwrap();
        log.create_checkpoint("c", Default::default())
            .wait()
            .unwrap();
        log.close().unwrap();
        let file = files(&disk, ending).pop().unwrap();
        disk.corrupt(&file, 8, |_| 2);
        disk.write_file("left over.tmp", b"from a crash of the newer program");
        let before = contents(&disk);
        let opened = open(&disk, 2);
        assert!(
            matches!(
                &opened,
                Err(OpenError::NewerFormat { file: named, version: 2, supported: 1 }) if *named == file
            ),
            "{opened:?}"
        );
        assert_eq!(contents(&disk), before, "{ending}");
    }
}

#[test]
fn a_directory_with_index_files_alone_is_refused_and_not_touched() {
    for name in [
        "00000000000000000001.idx",
        "00000000000000000001.ckp",
        "00000000000000000001-00000000000000000009.0.tags",
    ] {
        let disk = SimDisk::new();
        disk.write_file(name, b"what is left");
        let before = contents(&disk);
        assert!(matches!(open(&disk, 1), Err(OpenError::Damaged(_))));
        assert_eq!(contents(&disk), before);
    }
}

#[test]
fn options_out_of_range_are_refused_before_anything_is_touched() {
    let disk = SimDisk::new();
    for options in [
        Options {
            segment_len: (16 << 10) - 1,
            ..small(1)
        },
        Options {
            segment_len: (1 << 30) + 1,
            ..small(1)
        },
        Options {
            queue_len_max: 0,
            ..small(1)
        },
        Options {
            os_sync_interval_ms: 0,
            ..small(1)
        },
    ] {
        let opened = strandlog_engine::Log::open(disk.root(), options);
        assert!(matches!(opened, Err(OpenError::Options(_))));
    }
    assert_eq!(disk.steps(), 0);
}
