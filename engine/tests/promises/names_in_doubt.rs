//! Nothing rests on a name that may not be on the disk: a failed sync of a directory is told once, and
//! neither this process nor the next can make up for it by another.

use strandlog_engine::storage::sim::{CallKind, Fault, Left, Repeat, SimDisk};
use strandlog_engine::{Checkpoint, Retention};

use super::support::{append, bodies, files, id, open};

/// What the next process finds when the sync behind the last rename of this kind has failed.
fn name_sync_fails(work: fn(&SimDisk), is_wanted: fn(&str) -> bool) -> SimDisk {
    let calm = SimDisk::new();
    work(&calm);
    let calls = calm.calls();
    let renamed = calls
        .iter()
        .rposition(|call| call.kind == CallKind::Rename && is_wanted(&call.path))
        .unwrap();
    assert_eq!(calls[renamed + 1].kind, CallKind::SyncNames);
    let disk = SimDisk::new();
    disk.fail_at(renamed as u64 + 1, Fault::Eio, Repeat::Once);
    work(&disk);
    disk.restart()
}

#[test]
fn a_tail_whose_name_a_failed_sync_has_forgotten_is_replaced_before_it_is_written_to() {
    let disk = name_sync_fails(
        |disk| {
            let Ok((log, _)) = open(disk, 1) else { return };
            for _ in 0..4 {
                let _outcome = append(&log, "s", &[&[7; 3_500]]);
            }
        },
        |path| path.ends_with(".seg"),
    );
    let (log, _) = open(&disk, 2).unwrap();
    let found = bodies(&log).len();
    append(&log, "s", &[b"next"]).unwrap();
    drop(log);
    for left in [Left::Nothing, Left::All] {
        let (log, _) = open(&disk.after_crash(left), 3).unwrap();
        assert_eq!(bodies(&log).len(), found + 1, "{left:?}");
    }
}

#[test]
fn checkpoints_whose_name_a_failed_sync_has_forgotten_are_written_anew() {
    let disk = name_sync_fails(
        |disk| {
            let Ok((log, _)) = open(disk, 1) else { return };
            append(&log, "s", &[b"one", b"two"]).unwrap();
            let checkpoint = Checkpoint {
                position: 1,
                ..Default::default()
            };
            let _outcome = log.create_checkpoint("c", checkpoint).wait();
        },
        |path| path.ends_with(".ckp"),
    );
    let (log, _) = open(&disk, 2).unwrap();
    // Nothing changes, so nothing would have to be written; but it is a promise.
    let told = log.advance_checkpoint("c", 1).wait().unwrap();
    assert_eq!(told.position, 1);
    drop(log);
    for left in [Left::Nothing, Left::All] {
        let (log, _) = open(&disk.after_crash(left), 3).unwrap();
        assert_eq!(log.checkpoint("c").map(|it| it.position), Some(1));
    }
}

#[test]
fn a_segment_whose_departure_a_failed_sync_has_forgotten_does_not_come_back() {
    let disk = name_sync_fails(
        |disk| {
            let Ok((log, _)) = open(disk, 1) else { return };
            for number in 0..12_u8 {
                append(&log, "s", &[&[number; 3_500]]).unwrap();
            }
            log.set_retention(Retention {
                records_max: Some(9),
                ..Default::default()
            });
            let _outcome = log.expire_now();
        },
        |path| path.ends_with(".seg.tmp"),
    );
    assert_eq!(files(&disk, ".seg.tmp").len(), 1, "on its way out");
    let (log, _) = open(&disk, 2).unwrap();
    let first = log.first();
    assert!(first > id(1));
    drop(log);
    for left in [Left::Nothing, Left::All] {
        let (log, _) = open(&disk.after_crash(left), 3).unwrap();
        assert_eq!(log.first(), first, "{left:?}");
        bodies(&log);
    }
}

#[test]
fn an_index_without_its_segment_is_removed() {
    let disk = SimDisk::new();
    let (log, _) = open(&disk, 1).unwrap();
    for number in 0..9_u8 {
        append(&log, "s", &[&[number; 3_500]]).unwrap();
    }
    log.upkeep_now();
    log.close().unwrap();
    let indexes = files(&disk, ".idx");
    disk.write_file("00000000000000009999.idx", &disk.read_file(&indexes[0]));
    let (log, _) = open(&disk, 2).unwrap();
    assert_eq!(files(&disk, ".idx"), indexes);
    bodies(&log);
}
