//! A batch is all or nothing, contiguous, in the order given, across power cuts.

use strandlog_engine::storage::sim::SimDisk;
use strandlog_engine::{AppendError, Batch, Query, Tag};

use super::support::{Chance, append, batch, bodies, id, left, open, query, setting};

/// Batches of up to 40 records, as bodies `batch/number of count`.
fn work(disk: &SimDisk) -> u64 {
    let Ok((log, _)) = open(disk, 1) else {
        return 0;
    };
    let mut acknowledged = 0;
    for number in 0..14_u64 {
        let count = 1 + number * 13 % 40;
        let bodies: Vec<Vec<u8>> = (0..count)
            .map(|at| {
                let mut body = format!("{number}/{at}/{count}").into_bytes();
                body.resize(20 + usize::try_from(number * 29 % 130).unwrap(), b' ');
                body
            })
            .collect();
        let bodies: Vec<&[u8]> = bodies.iter().map(Vec::as_slice).collect();
        if append(&log, "s", &bodies).is_err() {
            break;
        }
        acknowledged = number + 1;
    }
    acknowledged
}

/// How many batches there are; each must be whole.
fn count_batches(bodies: &[Vec<u8>]) -> Result<u64, String> {
    let mut bodies = bodies.iter();
    let mut number = 0;
    while bodies.len() > 0 {
        let count = 1 + number * 13 % 40;
        for at in 0..count {
            let want = format!("{number}/{at}/{count}");
            let body = bodies
                .next()
                .ok_or_else(|| format!("batch {number} ends at {at}"))?;
            if String::from_utf8_lossy(body).trim_end() != want {
                return Err(format!("{want} is {:?}", body.escape_ascii()));
            }
        }
        number += 1;
    }
    Ok(number)
}

/// Long batches, and the power goes at each step.
pub(crate) fn cut_batches() -> Result<u64, String> {
    let calm = SimDisk::new();
    assert_eq!(work(&calm), 14);
    let mut dropped = 0;
    let every = usize::try_from(setting("STRANDLOG_TEST_STEPS_EVERY").min(2)).unwrap();
    for step in (0..calm.steps()).step_by(every) {
        let disk = SimDisk::with_seed(step);
        disk.crash_at(step);
        let acknowledged = work(&disk);
        for kind in 0..setting("STRANDLOG_TEST_LEFTOVERS") + 3 {
            let (log, report) = open(&disk.after_crash(left(kind, step)), 2)
                .map_err(|error| format!("step {step}, kind {kind}: {error:?}"))?;
            dropped += u64::from(report.dropped_len > 0);
            let found = count_batches(&bodies(&log))
                .map_err(|error| format!("step {step}, kind {kind}: {error}"))?;
            if found < acknowledged {
                return Err(format!(
                    "step {step}, kind {kind}: {found} of {acknowledged}"
                ));
            }
        }
    }
    assert!(dropped > 20, "torn tails are part of this: {dropped}");
    Ok(calm.steps())
}

#[test]
fn a_batch_survives_a_power_cut_whole_or_not_at_all() {
    cut_batches().unwrap_or_else(|error| panic!("{error}"));
}

#[test]
fn a_batch_with_one_record_that_is_refused_is_refused_whole() {
    let disk = SimDisk::new();
    let (log, _) = open(&disk, 1).unwrap();
    append(&log, "taken", &[b"first"]).unwrap();
    let mut batch = Batch::new();
    batch
        .push(&[Tag::expecting(b"free", 0)], &[b"good"])
        .unwrap();
    batch
        .push(&[Tag::expecting(b"taken", 0)], &[b"bad"])
        .unwrap();
    batch
        .push(&[Tag::expecting(b"taken", 7)], &[b"bad too"])
        .unwrap();
    let Err(AppendError::Ranks(mismatches)) = log.append(batch).wait() else {
        panic!("refused by ranks");
    };
    let told: Vec<_> = mismatches
        .iter()
        .map(|it| (it.record, it.tag, it.expected, it.actual))
        .collect();
    assert_eq!(told, [(1, 0, 0, 1), (2, 0, 7, 2)], "all of them, in order");
    assert_eq!(log.end(), id(2));
    assert_eq!(log.tag_end(b"free").unwrap(), None);
    assert_eq!(log.tag_end(b"taken").unwrap().unwrap().count, 1);
    // What was refused has not touched the ranks either.
    let receipt = append(&log, "taken", &[b"second"]).unwrap();
    assert_eq!(receipt.first_tag_ranks, [1]);
}

#[test]
fn ranks_within_a_batch_count_its_earlier_records() {
    let disk = SimDisk::new();
    let (log, _) = open(&disk, 1).unwrap();
    let mut batch = Batch::new();
    for rank in 0..5 {
        batch.push(&[Tag::expecting(b"s", rank)], &[b"x"]).unwrap();
    }
    let receipt = log.append(batch).wait().unwrap();
    assert_eq!(receipt.first_tag_ranks, [0, 1, 2, 3, 4]);
}

#[test]
fn a_batch_lies_in_one_segment_and_in_the_order_given() {
    let disk = SimDisk::new();
    let (log, _) = open(&disk, 1).unwrap();
    let chance = Chance::new(1);
    let mut want = Vec::new();
    for _ in 0..20 {
        let bodies: Vec<Vec<u8>> = (0..1 + chance.below(6))
            .map(|at| {
                vec![u8::try_from(at).unwrap(); usize::try_from(chance.below(1_200)).unwrap()]
            })
            .collect();
        let slices: Vec<&[u8]> = bodies.iter().map(Vec::as_slice).collect();
        append(&log, "s", &slices).unwrap();
        want.extend(bodies);
    }
    assert!(log.describe().segments > 3);
    assert_eq!(bodies(&log), want);
}

#[test]
fn the_largest_batch_fits_and_one_byte_more_is_refused() {
    let disk = SimDisk::new();
    let (log, _) = open(&disk, 1).unwrap();
    // A segment less its header, the reserved end, the batch header and the record's own bytes.
    let fits = vec![b'x'; (16 << 10) - 4_096 - 4_096 - 48 - 32 - 8 - 3 - 5];
    let refused = vec![b'x'; fits.len() + 8];
    append(&log, "s", &[b"something before"]).unwrap();
    append(&log, "s", &[&fits]).unwrap();
    let error = append(&log, "s", &[&refused]).unwrap_err();
    assert!(matches!(error, AppendError::TooLarge { .. }), "{error}");
    let log = {
        log.close().unwrap();
        open(&disk, 2).unwrap().0
    };
    assert_eq!(bodies(&log)[1], fits);
}

#[test]
fn a_condition_refuses_the_batch_whole() {
    let disk = SimDisk::new();
    let (log, _) = open(&disk, 1).unwrap();
    append(&log, "a", &[b"one"]).unwrap();
    let mut late = batch("b", &[b"two", b"three"]);
    late.require(strandlog_engine::Condition {
        query: query(&[&["a"]]),
        after: 0,
    });
    let error = log.append(late).wait().unwrap_err();
    assert!(
        matches!(error, AppendError::Condition { index: 0, found } if found == id(1)),
        "{error}"
    );
    assert_eq!(log.end(), id(2));
    let mut never = batch("b", &[b"two"]);
    never.require(strandlog_engine::Condition {
        query: Query::default(),
        after: 1,
    });
    assert_eq!(log.append(never).wait().unwrap().first_id, id(2));
}
