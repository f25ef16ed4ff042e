//! Conditions are linearizable: of those who expect the same, exactly one wins.

use std::collections::BTreeSet;

use parking_lot::Mutex;
use strandlog_engine::storage::sim::SimDisk;
use strandlog_engine::{AppendError, Batch, Condition, Direction, Log, Tag};

use super::support::{append, batch, bodies, id, matches, open, query, records, threaded};

const THREADS: u64 = 6;

#[test]
fn of_many_who_expect_the_same_rank_exactly_one_wins() {
    let disk = SimDisk::new();
    let (log, _) = Log::open(disk.root(), threaded(1)).unwrap();
    let won = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for thread in 0..THREADS {
            let (log, won) = (&log, &won);
            scope.spawn(move || {
                for rank in 0..60_u64 {
                    let mut batch = Batch::new();
                    batch
                        .push(&[Tag::expecting(b"stream", rank)], &[&thread.to_le_bytes()])
                        .unwrap();
                    match log.append(batch).wait() {
                        Ok(receipt) => won.lock().push((rank, receipt.first_id.get(), thread)),
                        Err(AppendError::Ranks(mismatches)) => {
                            let actual = mismatches[0].actual;
                            assert_ne!(actual, rank);
                            if actual < rank {
                                // Nobody has written the rank before this one yet: wait for it.
                                let end = log.end();
                                let _moved = log
                                    .end_moved(end)
                                    .wait_timeout(std::time::Duration::from_millis(5));
                            }
                        }
                        Err(error) => panic!("{error}"),
                    }
                }
            });
        }
    });
    let mut won = won.into_inner();
    won.sort_unstable();
    // Every rank that was given out was given out once, in the order of the ids.
    let ranks: Vec<u64> = won.iter().map(|(rank, ..)| *rank).collect();
    assert!(ranks.iter().copied().eq(0..ranks.len() as u64), "{ranks:?}");
    assert!(won.is_sorted_by_key(|(_, id, _)| *id));
    log.close().unwrap();
    let (log, _) = open(&disk, 2).unwrap();
    let stored = records(&log, Direction::Forward).unwrap();
    assert_eq!(stored.len(), won.len());
    for (record, (rank, id, thread)) in stored.iter().zip(won) {
        assert_eq!((record.tags[0].1, record.id), (rank, id));
        assert_eq!(record.body, thread.to_le_bytes());
    }
}

#[test]
fn of_many_whose_condition_names_the_same_moment_exactly_one_wins() {
    let disk = SimDisk::new();
    let (log, _) = Log::open(disk.root(), threaded(1)).unwrap();
    let won = Mutex::new(BTreeSet::new());
    std::thread::scope(|scope| {
        for thread in 0..THREADS {
            let (log, won) = (&log, &won);
            scope.spawn(move || {
                for number in 0..40 {
                    // Others write what the condition does not ask about.
                    if number % 4 == thread % 4 {
                        append(log, "noise", &[b"x"]).unwrap();
                    }
                    let seen = matches(log, &query(&[&["account"]]), Direction::Backward).unwrap();
                    let after = seen.first().copied().unwrap_or(0);
                    let mut batch = batch("account", &[&after.to_le_bytes()]);
                    batch.require(Condition {
                        query: query(&[&["account"]]),
                        after,
                    });
                    match log.append(batch).wait() {
                        Ok(_) => assert!(won.lock().insert(after), "two after {after}"),
                        Err(AppendError::Condition { found, .. }) => {
                            assert!(found.get() > after);
                        }
                        Err(error) => panic!("{error}"),
                    }
                }
            });
        }
    });
    log.close().unwrap();
    let (log, _) = open(&disk, 2).unwrap();
    // Each says after which one it was decided: that is the one before it.
    let mut before = 0_u64;
    for record in records(&log, Direction::Forward).unwrap() {
        if record.tags[0].0 == b"account" {
            assert_eq!(record.body, before.to_le_bytes());
            before = record.id;
        }
    }
    assert_eq!(
        matches(&log, &query(&[&["account"]]), Direction::Forward)
            .unwrap()
            .len(),
        won.into_inner().len()
    );
}

#[test]
fn a_condition_sees_every_segment_and_every_earlier_batch() {
    let disk = SimDisk::new();
    let (log, _) = open(&disk, 1).unwrap();
    for number in 0..60_u64 {
        let tags = [
            Tag::new(if number % 2 == 0 { b"even" } else { b"odd" }),
            Tag::new(if number % 3 == 0 { b"three" } else { b"other" }),
        ];
        let mut batch = Batch::new();
        batch.push(&tags, &[&[b'x'; 700]]).unwrap();
        log.append(batch).wait().unwrap();
    }
    log.upkeep_now();
    let check = |all: &[&[&str]], last: Option<u64>| {
        for after in [0, 1, 17, 57, 58, 59, 60] {
            let mut batch = batch("probe", &[b"x"]);
            batch.require(Condition {
                query: query(all),
                after,
            });
            let want = last.filter(|last| *last > after);
            let found = match log.append(batch).wait() {
                Ok(_) => None,
                Err(AppendError::Condition { found, .. }) => Some(found.get()),
                Err(error) => panic!("{error}"),
            };
            assert_eq!(found, want, "{all:?} after {after}");
        }
    };
    check(&[&["even"]], Some(59));
    check(&[&["odd"], &["three"]], Some(58));
    check(&[&["even"], &["three"]], Some(55));
    check(&[&["nobody"]], None);
    check(&[&["nobody", "three"]], Some(58));
    check(&[&["even"], &["nobody"]], None);
    check(&[&[]], None);
}

#[test]
fn a_condition_without_groups_asks_for_any_event() {
    let disk = SimDisk::new();
    let (log, _) = open(&disk, 1).unwrap();
    append(&log, "a", &[b"one"]).unwrap();
    let mut late = batch("b", &[b"two"]);
    late.require(Condition {
        query: query(&[]),
        after: 0,
    });
    let refused = log.append(late).wait();
    assert!(
        matches!(refused, Err(AppendError::Condition { found, .. }) if found == id(1)),
        "{refused:?}"
    );
    assert_eq!(bodies(&log), [b"one"]);
}
