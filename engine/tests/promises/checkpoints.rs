//! Checkpoints move only by acknowledgement, never lie beyond the end, and survive power cuts, also
//! while their file is compacted.

use std::collections::BTreeMap;

use strandlog_engine::storage::sim::{Left, SimDisk};
use strandlog_engine::{
    CHECKPOINT_DEFINITION_LEN_MAX, CHECKPOINT_NAME_LEN_MAX, Checkpoint, CheckpointError, Direction,
    Log, OpenError, Options,
};

use super::support::{append, bodies, contents, files, id, left, open, small, threaded};

fn at(position: u64, definition_len: usize) -> Checkpoint {
    Checkpoint {
        position,
        definition: vec![b'd'; definition_len].into(),
    }
}

fn log_of(disk: &SimDisk, records: usize) -> Log {
    let (log, _) = open(disk, 1).unwrap();
    append(&log, "s", &vec![&b"x"[..]; records]).unwrap();
    log
}

#[test]
fn a_checkpoint_never_lies_beyond_the_end() {
    let disk = SimDisk::new();
    let log = log_of(&disk, 3);
    let beyond = |outcome: Result<Checkpoint, CheckpointError>| {
        assert!(matches!(
            outcome,
            Err(CheckpointError::BeyondEnd { last_id: 3 })
        ));
    };
    beyond(log.create_checkpoint("c", at(4, 0)).wait());
    log.create_checkpoint("c", at(3, 0)).wait().unwrap();
    beyond(log.advance_checkpoint("c", 4).wait());
    beyond(log.seek_checkpoint("c", u64::MAX).wait());
    assert_eq!(log.checkpoint("c"), Some(at(3, 0)));
}

#[test]
fn an_acknowledgement_at_or_below_the_checkpoint_changes_nothing() {
    let disk = SimDisk::new();
    let log = log_of(&disk, 9);
    log.create_checkpoint("c", at(5, 10)).wait().unwrap();
    let steps = disk.steps();
    assert_eq!(log.advance_checkpoint("c", 3).wait().unwrap(), at(5, 10));
    assert_eq!(log.advance_checkpoint("c", 5).wait().unwrap(), at(5, 10));
    assert_eq!(disk.steps(), steps, "nothing was written");
    assert_eq!(log.advance_checkpoint("c", 6).wait().unwrap(), at(6, 10));
    assert_eq!(log.seek_checkpoint("c", 2).wait().unwrap(), at(2, 10));
    assert_eq!(log.checkpoint("c"), Some(at(2, 10)));
}

#[test]
fn names_are_created_once_and_found_until_they_are_removed() {
    let disk = SimDisk::new();
    let options = Options {
        checkpoints_max: 2,
        ..small(1)
    };
    let (log, _) = Log::open(disk.root(), options).unwrap();
    let create = |name: &str| log.create_checkpoint(name, at(0, 0)).wait();
    create("b").unwrap();
    assert!(matches!(create("b"), Err(CheckpointError::Exists)));
    create("a").unwrap();
    let many = create("c");
    assert!(matches!(
        many,
        Err(CheckpointError::TooMany { checkpoints_max: 2 })
    ));
    assert_eq!(log.checkpoint_names(), ["a", "b"]);
    let unknown = log.advance_checkpoint("c", 0).wait();
    assert!(matches!(unknown, Err(CheckpointError::NotFound)));
    log.remove_checkpoint("a").wait().unwrap();
    let gone = log.remove_checkpoint("a").wait();
    assert!(matches!(gone, Err(CheckpointError::NotFound)));
    create("c").unwrap();
    for name in ["", &"n".repeat(1_025)] {
        let refused = create(name);
        assert!(matches!(refused, Err(CheckpointError::TooLarge)), "{name}");
    }
    log.close().unwrap();
    let (log, _) = open(&disk, 2).unwrap();
    assert_eq!(log.checkpoint_names(), ["b", "c"]);
}

#[test]
fn reading_moves_no_checkpoint_and_writes_nothing() {
    let disk = SimDisk::new();
    let log = log_of(&disk, 20);
    log.create_checkpoint("c", at(4, 0)).wait().unwrap();
    let before = contents(&disk);
    bodies(&log);
    log.read(id(7)).unwrap();
    log.tag_end(b"s").unwrap();
    log.id_at_time(5).unwrap();
    let mut scan = log.scan(id(1)..id(21), Direction::Backward).unwrap();
    while scan.next_records(3, 100).unwrap().is_some() {}
    assert_eq!(log.checkpoint("c"), Some(at(4, 0)));
    assert_eq!(contents(&disk), before);
}

/// What each checkpoint was told to be, for certain and perhaps.
type Told = (BTreeMap<String, u64>, Option<(String, Option<u64>)>);

/// Moves two checkpoints, with definitions so long that every few changes fill the file.
fn work(disk: &SimDisk, told: &mut Told) -> Option<()> {
    let (log, _) = open(disk, 1).ok()?;
    for round in 0..16_u64 {
        append(&log, "s", &[b"one", b"two"]).ok()?;
        let name = ["even", "odd"][usize::try_from(round % 2).unwrap()];
        let position = if round % 7 == 6 { round } else { round * 2 + 1 };
        told.1 = Some((name.to_owned(), Some(position)));
        let moved = match round {
            0 | 1 => log.create_checkpoint(name, at(position, 1_700)),
            _ if round % 7 == 6 => log.seek_checkpoint(name, position),
            _ => log.advance_checkpoint(name, position),
        };
        moved.wait().ok()?;
        told.0.insert(name.to_owned(), position);
        told.1 = None;
    }
    told.1 = Some(("odd".to_owned(), None));
    log.remove_checkpoint("odd").wait().ok()?;
    told.0.remove("odd");
    told.1 = None;
    Some(())
}

fn check(disk: &SimDisk, seed: u64, (sure, maybe): &Told) -> Result<(), String> {
    let (log, _) = open(disk, seed).map_err(|error| format!("{error:?}"))?;
    for name in ["even", "odd"] {
        let found = log.checkpoint(name).map(|found| found.position);
        let is_maybe = maybe
            .as_ref()
            .is_some_and(|(it, position)| it == name && *position == found);
        if !is_maybe && found != sure.get(name).copied() {
            return Err(format!(
                "{name} is {found:?}, told {sure:?}, perhaps {maybe:?}"
            ));
        }
    }
    Ok(())
}

/// Two checkpoints move, and the power goes at each step.
pub(crate) fn acknowledged() -> Result<u64, String> {
    let calm = SimDisk::new();
    let mut told = Told::default();
    work(&calm, &mut told).unwrap();
    check(&calm, 2, &told)?;
    let file = files(&calm, ".ckp").pop().unwrap();
    assert!(*file > *"00000000000000000005.ckp", "compacted");
    for step in 0..calm.steps() {
        let disk = SimDisk::with_seed(step);
        disk.crash_at(step);
        let mut told = Told::default();
        work(&disk, &mut told);
        for kind in [0, 1, 2, 4, 5] {
            check(&disk.after_crash(left(kind, step)), step, &told)
                .map_err(|error| format!("step {step}, kind {kind}: {error}"))?;
        }
    }
    Ok(calm.steps())
}

#[test]
fn checkpoints_survive_a_power_cut_at_any_step_of_their_compaction() {
    acknowledged().unwrap_or_else(|error| panic!("{error}"));
}

#[test]
fn checkpoints_survive_a_kill_during_compaction_and_a_power_cut_at_the_next_open() {
    let calm = SimDisk::new();
    work(&calm, &mut Told::default()).unwrap();
    for step in 0..calm.steps() {
        let killed = SimDisk::with_seed(step);
        killed.crash_at(step);
        let mut told = Told::default();
        work(&killed, &mut told);
        let next = killed.restart();
        let opened = open(&next, 2).map(drop);
        assert!(opened.is_ok(), "step {step}");
        for cut in 0..next.steps() {
            let next = killed.restart();
            next.crash_at(cut);
            let _cut = open(&next, 2);
            for kind in [0, 2, 4, 5] {
                check(&next.after_crash(left(kind, cut)), step, &told)
                    .unwrap_or_else(|error| panic!("step {step}, cut {cut}: {error}"));
            }
        }
    }
}

#[test]
fn a_compaction_that_keeps_no_checkpoint_loses_none_that_comes_after() {
    // The last change before a full file is a removal: the compacted file is empty, and the next
    // one begins with the same number.
    for rounds in 0..120 {
        let disk = SimDisk::new();
        let log = log_of(&disk, 130);
        log.create_checkpoint("a", at(0, 0)).wait().unwrap();
        for round in 0..rounds {
            log.advance_checkpoint("a", round + 1).wait().unwrap();
        }
        log.remove_checkpoint("a").wait().unwrap();
        log.create_checkpoint("b", at(7, 30_000)).wait().unwrap();
        drop(log);
        let (log, _) = open(&disk.after_crash(Left::Random(rounds)), 2).unwrap();
        let found = log.checkpoint("b").map(|found| found.position);
        assert_eq!(found, Some(7), "{rounds} rounds");
    }
}

#[test]
fn a_checkpoint_beyond_the_end_is_damage_and_not_clamped() {
    let disk = SimDisk::new();
    let log = log_of(&disk, 3);
    log.close().unwrap();
    let young = contents(&disk);
    let (log, _) = open(&disk, 2).unwrap();
    append(&log, "s", &[b"four"]).unwrap();
    log.create_checkpoint("c", at(4, 0)).wait().unwrap();
    log.close().unwrap();
    // The segment of an earlier time comes back.
    let segment = &files(&disk, ".seg")[0];
    disk.write_file(segment, &young[segment]);
    let before = contents(&disk);
    let Err(OpenError::Damaged(damage)) = open(&disk, 3) else {
        panic!("refused");
    };
    assert!(damage.file.ends_with(".ckp"), "{damage}");
    assert!(damage.what.contains("lost events"), "{damage}");
    assert_eq!(contents(&disk), before);
}

#[test]
fn checkpoints_of_many_threads_all_count() {
    let disk = SimDisk::new();
    let (log, _) = Log::open(disk.root(), threaded(1)).unwrap();
    append(&log, "s", &[&b"x"[..]; 50]).unwrap();
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let log = &log;
            scope.spawn(move || {
                let name = format!("c{thread}");
                log.create_checkpoint(&name, at(0, 600)).wait().unwrap();
                for position in 1..=50 {
                    log.advance_checkpoint(&name, position).wait().unwrap();
                }
            });
        }
    });
    let (log, _) = open(&disk.after_crash(Left::Nothing), 2).unwrap();
    for thread in 0..4 {
        assert_eq!(log.checkpoint(&format!("c{thread}")), Some(at(50, 600)));
    }
}

#[test]
fn a_name_or_definition_beyond_its_limit_is_refused() {
    let disk = SimDisk::new();
    let log = log_of(&disk, 1);
    let before = contents(&disk);
    let long = "n".repeat(CHECKPOINT_NAME_LEN_MAX + 1);
    for (name, definition_len) in [
        ("", 0),
        (&*long, 0),
        ("name", CHECKPOINT_DEFINITION_LEN_MAX + 1),
    ] {
        let refused = log.create_checkpoint(name, at(0, definition_len)).wait();
        assert!(
            matches!(refused, Err(CheckpointError::TooLarge)),
            "{refused:?}"
        );
        assert_eq!(log.checkpoint(name), None);
    }
    assert_eq!(contents(&disk), before);
    log.create_checkpoint(&long[1..], at(1, 0)).wait().unwrap();
    assert_eq!(log.checkpoint(&long[1..]).unwrap().position, 1);
}
