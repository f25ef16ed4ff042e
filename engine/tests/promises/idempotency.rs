//! Idempotency lasts as long as the data: a key (a tag that expects rank 0) is taken for as long as
//! a kept record carries it, after restarts too, and is free again afterwards.

use strandlog_engine::storage::sim::{Fault, Repeat, SimDisk};
use strandlog_engine::{AppendError, Batch, Log, Retention, Tag};

use super::support::{left, open, small};

/// A record with a key that must be new.
fn keyed(key: u64) -> Batch {
    let key = format!("key {key}");
    let mut batch = Batch::new();
    batch
        .push(
            &[Tag::new(b"s"), Tag::expecting(key.as_bytes(), 0)],
            &[key.as_bytes(), &[b'x'; 400]],
        )
        .unwrap();
    batch
}

/// Publishes with a key; the id of the first publication if it is a repetition.
fn publish(log: &Log, key: u64) -> Result<u64, u64> {
    match log.append(keyed(key)).wait() {
        Ok(receipt) => Ok(receipt.first_id.get()),
        Err(AppendError::Ranks(mismatches)) => {
            assert_eq!((mismatches[0].actual, mismatches[0].tag), (1, 1));
            Err(mismatches[0].last_id.unwrap().get())
        }
        Err(error) => panic!("{error}"),
    }
}

#[test]
fn a_repeated_key_names_the_first_publication_for_ever() {
    let disk = SimDisk::new();
    let (mut log, _) = open(&disk, 1).unwrap();
    for key in 0..120 {
        assert_eq!(publish(&log, key), Ok(key + 1));
        assert_eq!(publish(&log, key / 2), Err(key / 2 + 1));
        if key % 25 == 24 {
            log.upkeep_now();
            log.close().unwrap();
            log = open(&disk, key).unwrap().0;
        }
    }
    assert!(log.describe().segments > 5);
    for key in 0..120 {
        assert_eq!(publish(&log, key), Err(key + 1));
    }
}

/// Every record has a key, and the power goes at each step.
pub(crate) fn keys_after_cuts() -> Result<u64, String> {
    let work = |disk: &SimDisk| {
        let mut acknowledged = 0;
        if let Ok((log, _)) = open(disk, 1) {
            for key in 0..40 {
                let mut batch = Batch::new();
                let key_tag = format!("key {key}");
                batch
                    .push(&[Tag::expecting(key_tag.as_bytes(), 0)], &[&[b'x'; 500]])
                    .unwrap();
                if log.append(batch).wait().is_err() {
                    break;
                }
                acknowledged = key + 1;
            }
        }
        acknowledged
    };
    let calm = SimDisk::new();
    work(&calm);
    for step in 0..calm.steps() {
        let disk = SimDisk::with_seed(step);
        disk.crash_at(step);
        let acknowledged = work(&disk);
        let (log, _) = open(&disk.after_crash(left(4, step)), 2).unwrap();
        let found = log.end().get() - 1;
        assert!(found >= acknowledged, "step {step}");
        // A producer that got no answer sends everything again.
        for key in 0..40 {
            let mut batch = Batch::new();
            let key_tag = format!("key {key}");
            batch
                .push(&[Tag::expecting(key_tag.as_bytes(), 0)], &[&[b'x'; 500]])
                .unwrap();
            let is_new = log.append(batch).wait().is_ok();
            if is_new != (key >= found) {
                return Err(format!(
                    "step {step}, key {key} of {found}: new is {is_new}"
                ));
            }
        }
        assert_eq!(log.end().get(), 41, "step {step}");
    }
    Ok(calm.steps())
}

#[test]
fn a_key_is_taken_after_a_power_cut_exactly_if_its_record_is_there() {
    keys_after_cuts().unwrap_or_else(|error| panic!("{error}"));
}

#[test]
fn a_key_whose_records_have_expired_is_free_again() {
    let disk = SimDisk::new();
    let (log, _) = open(&disk, 1).unwrap();
    for key in 0..100 {
        publish(&log, key).unwrap();
    }
    log.upkeep_now();
    log.set_retention(Retention {
        records_max: Some(40),
        ..Retention::default()
    });
    log.expire_now().unwrap();
    log.set_retention(Retention::default());
    let first = log.first().get();
    assert!(first > 40, "{first}");
    for key in 0..100 {
        let found = publish(&log, key);
        // Keys of kept records are taken, those of expired ones are not.
        assert_eq!(found.is_err(), key + 1 >= first, "key {key}");
    }
    // And taken once more, across upkeep and restart.
    log.upkeep_now();
    log.close().unwrap();
    let (log, _) = open(&disk, 2).unwrap();
    for key in 0..100 {
        publish(&log, key).unwrap_err();
    }
}

#[test]
fn keys_hold_across_power_cuts_during_retention() {
    let work = |disk: &SimDisk| -> Option<()> {
        let (log, _) = open(disk, 1).ok()?;
        for key in 0..60 {
            let mut batch = Batch::new();
            let tag = format!("key {key}");
            batch
                .push(&[Tag::expecting(tag.as_bytes(), 0)], &[&[b'x'; 500]])
                .unwrap();
            log.append(batch).wait().ok()?;
        }
        log.set_retention(Retention {
            records_max: Some(20),
            ..Retention::default()
        });
        log.expire_now().ok()?;
        for key in 0..10 {
            let mut batch = Batch::new();
            let tag = format!("key {key}");
            batch
                .push(&[Tag::expecting(tag.as_bytes(), 0)], &[b"again"])
                .unwrap();
            log.append(batch).wait().ok()?;
        }
        Some(())
    };
    let calm = SimDisk::new();
    work(&calm).unwrap();
    for step in calm.steps() / 2..calm.steps() {
        let disk = SimDisk::with_seed(step);
        disk.crash_at(step);
        work(&disk);
        for kind in [0, 1, 4, 5] {
            let (log, _) = open(&disk.after_crash(left(kind, step)), 2).unwrap();
            let seen = super::support::records(&log, strandlog_engine::Direction::Forward).unwrap();
            let mut keys: Vec<_> = seen.iter().map(|record| record.tags[0].clone()).collect();
            assert!(keys.iter().all(|(_, rank)| *rank == 0));
            keys.sort();
            let count = keys.len();
            keys.dedup();
            assert_eq!(keys.len(), count, "step {step}, kind {kind}: a key twice");
        }
    }
}

#[test]
fn a_key_is_not_forgotten_because_an_expired_segment_could_not_be_removed() {
    // The removal of the oldest segment fails; then the power goes, and the segment is back.
    let calm = SimDisk::new();
    let prepare = |disk: &SimDisk| {
        let (log, _) = Log::open(disk.root(), small(1)).unwrap();
        // So many that the tail has room for one more.
        for key in 0..63 {
            publish(&log, key).unwrap();
        }
        log.upkeep_now();
        log.set_retention(Retention {
            records_max: Some(20),
            ..Retention::default()
        });
        log
    };
    let log = prepare(&calm);
    let from = calm.steps();
    log.expire_now().unwrap();
    let points = (from..calm.steps()).flat_map(|step| [(step, false), (step, true)]);
    for (step, fails_again) in points {
        let disk = SimDisk::with_seed(step);
        let log = prepare(&disk);
        disk.fail_at(step, Fault::Eio, Repeat::Once);
        let _outcome = log.expire_now();
        // The next append writes and syncs; then upkeep tries again, and may fail again.
        if fails_again {
            disk.fail_at(disk.steps() + 2, Fault::Eio, Repeat::FromThenOn);
        }
        let _outcome = log.append(keyed(0)).wait();
        for kind in [0, 1, 4, 5, 6] {
            let (log, _) = open(&disk.after_crash(left(kind, step)), 2)
                .unwrap_or_else(|error| panic!("step {step}, kind {kind}: {error:?}"));
            let seen = super::support::records(&log, strandlog_engine::Direction::Forward)
                .unwrap_or_else(|error| panic!("step {step}, kind {kind}: {error:?}"));
            let mut keys: Vec<_> = seen.iter().map(|record| record.tags[1].0.clone()).collect();
            keys.sort();
            let count = keys.len();
            keys.dedup();
            assert_eq!(keys.len(), count, "step {step}, kind {kind}: a key twice");
        }
    }
}
