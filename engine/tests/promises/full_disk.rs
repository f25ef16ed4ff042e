//! A full disk refuses writes with a clear error, goes on serving reads, and needs no restart when
//! there is room again.

use strandlog_engine::storage::sim::{Left, SimDisk};
use strandlog_engine::{AppendError, Checkpoint, CheckpointError, Health, Log, Options, Retention};

use super::support::{append, bodies, id, left, open, small};

/// Appends until the disk is full; how many records there are then.
fn fill(log: &Log) -> usize {
    for _ in 0..10_000 {
        match append(log, "s", &[&[b'x'; 1_500]]) {
            Ok(_) => {}
            Err(AppendError::Full) => {
                return usize::try_from(log.end().get() - log.first().get()).unwrap();
            }
            Err(error) => panic!("{error}"),
        }
    }
    panic!("never full");
}

#[test]
fn a_full_disk_refuses_appends_and_serves_reads() {
    let disk = SimDisk::new();
    let (log, _) = open(&disk, 1).unwrap();
    disk.capacity(80 << 10);
    let count = fill(&log);
    assert_eq!(log.health(), Health::Full);
    let before = super::support::contents(&disk);
    for _ in 0..5 {
        let refused = append(&log, "s", &[&[b'x'; 1_500]]);
        assert!(matches!(refused, Err(AppendError::Full)));
    }
    assert_eq!(super::support::contents(&disk), before);
    assert_eq!(bodies(&log).len(), count);
    assert_eq!(log.tag_end(b"s").unwrap().unwrap().count, count as u64);
}

#[test]
fn appends_pass_again_once_there_is_room_without_an_open() {
    let disk = SimDisk::new();
    let (log, _) = open(&disk, 1).unwrap();
    let mut want = 0;
    for round in 1..=100 {
        disk.capacity(disk.used() + (round % 4) * (13 << 10));
        let count = fill(&log);
        assert!(count >= want);
        disk.capacity(u64::MAX);
        append(&log, "s", &[&[b'y'; 1_500]]).unwrap();
        assert_eq!(log.health(), Health::Writable, "round {round}");
        want = count + 1;
    }
    let (log, _) = open(&disk.after_crash(Left::Nothing), 2).unwrap();
    assert_eq!(bodies(&log).len(), want);
}

#[test]
fn what_was_acknowledged_before_the_disk_was_full_survives_a_power_cut() {
    for room in 0..40 {
        let disk = SimDisk::new();
        let (log, _) = open(&disk, 1).unwrap();
        disk.capacity(disk.used() + room * 3_000);
        let count = fill(&log);
        for kind in 0..6 {
            let after = disk.after_crash(left(kind, room));
            // The next open meets a full disk, too.
            match open(&after, 2) {
                Ok((log, _)) => assert_eq!(bodies(&log).len(), count, "room {room}"),
                Err(error) => {
                    after.capacity(u64::MAX);
                    let (log, _) = open(&after.restart(), 3)
                        .unwrap_or_else(|again| panic!("room {room}: {error:?}, then {again:?}"));
                    assert_eq!(bodies(&log).len(), count, "room {room}");
                }
            }
        }
    }
}

#[test]
fn retention_makes_room_on_a_full_disk() {
    let disk = SimDisk::new();
    let options = Options {
        retention: Retention::default(),
        ..small(1)
    };
    let (log, _) = Log::open(disk.root(), options).unwrap();
    disk.capacity(120 << 10);
    let count = fill(&log);
    assert!(count > 20);
    log.set_retention(Retention {
        records_max: Some(10),
        ..Retention::default()
    });
    log.expire_now().unwrap();
    for _ in 0..100 {
        append(&log, "s", &[&[b'y'; 1_500]]).unwrap();
    }
    assert!(log.first() > id(60));
}

#[test]
fn a_checkpoint_that_finds_no_room_stays_where_it_was() {
    let disk = SimDisk::new();
    let (log, _) = open(&disk, 1).unwrap();
    for _ in 0..2 {
        append(&log, "s", &[&b"x"[..]; 100]).unwrap();
    }
    let checkpoint = Checkpoint {
        position: 0,
        definition: vec![0; 3_000].into(),
    };
    log.create_checkpoint("c", checkpoint).wait().unwrap();
    disk.capacity(disk.used());
    let mut reached = 0;
    for position in 1..200 {
        match log.advance_checkpoint("c", position).wait() {
            Ok(_) => reached = position,
            Err(CheckpointError::Full) => break,
            Err(error) => panic!("{error}"),
        }
    }
    assert!(reached > 0 && reached < 199, "{reached}");
    assert_eq!(log.checkpoint("c").unwrap().position, reached);
    disk.capacity(u64::MAX);
    log.advance_checkpoint("c", 199).wait().unwrap();
    let (log, _) = open(&disk.after_crash(Left::Nothing), 2).unwrap();
    assert_eq!(log.checkpoint("c").unwrap().position, 199);
}
