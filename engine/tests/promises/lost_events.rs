//! What becomes of lost events after a repair: their ids, keys and sequences, the checkpoints beyond
//! them, and the record of them; and what is not taken for an event.

use std::collections::BTreeSet;

use strandlog_engine::storage::sim::SimDisk;
use strandlog_engine::{
    AppendError, Batch, Checkpoint, Condition, Direction, OpenError, ReadError, Retention, Tag,
    verify,
};

use super::repair::{broken, data_end, long, repaired, short, truth};
use super::support::{append, drain, files, id, open, query, setting};

#[test]
fn of_a_damaged_checkpoint_log_every_change_that_reads_well_is_kept() {
    let disk = SimDisk::new();
    let (log, _) = open(&disk, 1).unwrap();
    for number in 0..20_u8 {
        append(&log, "s", &[&[number; 40]]).unwrap();
    }
    for name in ["a", "b", "c"] {
        log.create_checkpoint(name, Checkpoint::default())
            .wait()
            .unwrap();
    }
    for position in 1..=15 {
        for name in ["a", "b", "c"] {
            log.advance_checkpoint(name, position).wait().unwrap();
        }
    }
    log.close().unwrap();
    let file = files(&disk, ".ckp").remove(0);
    let end = data_end(&disk.read_file(&file)) as u64;
    let every = setting("STRANDLOG_TEST_REPAIR_BITS_EVERY") * 5;
    let bits = (0..64 * 8).chain(4_096 * 8..end * 8);
    for bit in bits.filter(|bit| bit % every == 0 && !(8 * 8..12 * 8).contains(bit)) {
        let disk = disk.restart();
        disk.flip_bit(&file, bit / 8, u32::try_from(bit % 8).unwrap());
        let damaged = disk.read_file(&file);
        let is_damaged = open(&disk.restart(), 2).is_err();
        let report = repaired(&disk, 4).unwrap();
        assert_eq!(report.is_done, is_damaged, "bit {bit}");
        if is_damaged {
            assert_eq!(disk.read_file(&format!("{file}.1.damaged")), damaged);
        }
        let (log, _) = open(&disk, 5).unwrap();
        let mut behind = 0;
        for name in ["a", "b", "c"] {
            let position = log.checkpoint(name).unwrap().position;
            assert!(
                (14..=15).contains(&position),
                "bit {bit}: {name} at {position}"
            );
            behind += 15 - position;
        }
        assert!(behind <= 1, "bit {bit}: one change is lost at most");
        log.advance_checkpoint("a", 16).wait().unwrap();
        log.close().unwrap();
        assert!(!repaired(&disk, 6).unwrap().is_done, "bit {bit}");
    }
}

#[test]
fn a_checkpoint_beyond_the_end_proves_ids_that_are_lost_and_stays_where_it_is() {
    for closed in [true, false] {
        let disk = SimDisk::new();
        let (log, _) = open(&disk, 1).unwrap();
        for number in 0..5_u8 {
            append(&log, "s", &[&[number; 3_000]]).unwrap();
        }
        let checkpoint = Checkpoint {
            position: 5,
            ..Checkpoint::default()
        };
        log.create_checkpoint("c", checkpoint).wait().unwrap();
        if closed {
            log.close().unwrap();
        }
        drop(log);
        // The newest segment is removed from outside: nothing but the checkpoint tells.
        disk.remove_file(&files(&disk, ".seg").pop().unwrap());
        let disk = disk.restart();
        assert!(matches!(
            open(&disk.restart(), 2),
            Err(OpenError::Damaged(_))
        ));
        let report = repaired(&disk, 3).unwrap();
        let lost: Vec<_> = report.plan.lost().map(|it| it.last_id).collect();
        assert_eq!(lost, [id(5)], "{:?}", report.plan);
        let (log, _) = open(&disk, 4).unwrap();
        assert_eq!(log.checkpoint("c").unwrap().position, 5);
        assert_eq!(append(&log, "s", &[b"next"]).unwrap().first_id, id(6));
        assert!(!log.losses().is_empty());
        log.close().unwrap();
        assert!(!repaired(&disk, 5).unwrap().is_done);
    }
}

#[test]
fn keys_and_sequences_of_lost_events_are_what_the_rest_of_the_log_proves() {
    // Three events in one segment; the middle one is lost, tags and all.
    let disk = SimDisk::new();
    let (log, _) = open(&disk, 1).unwrap();
    for number in 0..3_u64 {
        let mut batch = Batch::new();
        let key = format!("key {number}");
        let stream = Tag::expecting(b"order", number);
        let tags = [stream, Tag::expecting(key.as_bytes(), 0)];
        batch.push(&tags, &[b"body"]).unwrap();
        log.append(batch).wait().unwrap();
    }
    let mut batch = Batch::new();
    batch.push(&[Tag::new(b"only there")], &[b"body"]).unwrap();
    log.append(batch).wait().unwrap();
    append(&log, "another", &[b"the last"]).unwrap();
    log.close().unwrap();
    let file = files(&disk, ".seg").remove(0);
    let bytes = disk.read_file(&file);
    for needle in [&b"key 1"[..], b"only there"] {
        let at = bytes
            .windows(needle.len())
            .position(|part| part == needle)
            .unwrap();
        disk.flip_bit(&file, at as u64, 0);
    }
    let report = repaired(&disk, 2).unwrap();
    assert!(report.plan.lost().all(|lost| !lost.tags_are_known));
    let (log, _) = open(&disk, 3).unwrap();
    log.upkeep_now();

    // A later rank proves the floor: the sequence of the lost event is not given out again.
    assert_eq!(log.tag_end(b"order").unwrap().unwrap().count, 3);
    let lost = log.id_at_rank(b"order", 1).unwrap().unwrap();
    assert_eq!(lost, id(2), "the gap says where it was");
    assert!(matches!(log.read(lost), Err(ReadError::Damaged(_))));
    assert_eq!(log.id_at_rank(b"order", 2).unwrap(), Some(id(3)));
    assert_eq!(log.id_at_rank(b"order", 3).unwrap(), None);
    // What only lost events carried is as if it had never been: its key is new.
    assert_eq!(log.tag_end(b"only there").unwrap(), None);
    let publish = |key: &[u8]| {
        let mut batch = Batch::new();
        batch.push(&[Tag::expecting(key, 0)], &[b"again"]).unwrap();
        log.append(batch).wait()
    };
    assert!(publish(b"key 1").is_ok());
    assert!(publish(b"only there").is_ok());
    assert!(matches!(publish(b"key 0"), Err(AppendError::Ranks(_))));
    assert!(matches!(publish(b"key 2"), Err(AppendError::Ranks(_))));
    // Conditions are judged by what is left; a reader by tag meets the gap.
    let question = query(&[&["nobody has it"]]);
    let mut batch = batch_with(&question, 0);
    batch.push(&[Tag::new(b"x")], &[b"body"]).unwrap();
    log.append(batch).wait().unwrap();
    let mut scan = log
        .query(&question, id(1)..log.end(), Direction::Forward)
        .unwrap();
    let refused = scan.next_records(1, 1_000).unwrap_err();
    assert!(matches!(refused, ReadError::Damaged(damage) if damage.first_id == Some(id(2))));
    // By time the log is searched around the gap.
    let later = log
        .read(id(3))
        .unwrap()
        .unwrap()
        .get(0)
        .unwrap()
        .unwrap()
        .recorded_at_us;
    let found = log.id_at_time(later).unwrap();
    assert!((2..=3).contains(&found.get()), "{found}");
    assert_eq!(log.id_at_time(u64::MAX).unwrap(), log.end());
}

fn batch_with(question: &strandlog_engine::Query, after: u64) -> Batch {
    let mut batch = Batch::new();
    batch.require(Condition {
        query: question.clone(),
        after,
    });
    batch
}

#[test]
fn an_index_that_knew_the_tags_of_lost_events_goes_on_knowing_them() {
    let truth = short();
    let disk = truth.copy();
    let file = files(&disk, ".seg").remove(0);
    disk.flip_bit(&file, 4_096 + 60, 1);
    let (report, lost) = truth.repair_and_check(&disk, "one record");
    assert_eq!(lost, BTreeSet::from([1]));
    assert!(report.plan.lost().all(|lost| lost.tags_are_known));
    let (log, _) = open(&disk, 6).unwrap();
    assert_eq!(log.tag_end(b"k1").unwrap().unwrap().last_id, 1);
    // Who asks for other tags is not troubled by an event that is known not to carry them.
    let mut scan = log
        .query(&query(&[&["k2"]]), id(1)..log.end(), Direction::Forward)
        .unwrap();
    assert_eq!(drain(&mut scan).unwrap().len(), 1);
}

#[test]
fn retention_takes_the_record_of_losses_along_with_its_segment() {
    let truth = long();
    let disk = truth.copy();
    let segments = files(&disk, ".seg");
    disk.flip_bit(&segments[0], 4_096 + 60, 1);
    disk.remove_file(&segments[2]);
    repaired(&disk, 4).unwrap();
    assert_eq!(files(&disk, ".lost").len(), 2);
    let (log, _) = open(&disk, 5).unwrap();
    log.set_retention(Retention {
        records_max: Some(1),
        ..Retention::default()
    });
    log.expire_now().unwrap();
    assert!(files(&disk, ".lost").is_empty());
    assert!(log.losses().is_empty());
    append(&log, "s", &[b"more"]).unwrap();
    log.close().unwrap();
    assert!(!repaired(&disk, 6).unwrap().is_done);
}

#[test]
fn a_segment_that_is_put_back_is_read_again() {
    let truth = long();
    let disk = truth.copy();
    let file = files(&disk, ".seg")[2].clone();
    let bytes = disk.read_file(&file);
    disk.remove_file(&file);
    let (_, lost) = truth.repair_and_check(&disk, "missing");
    assert!(lost.len() > 2);
    disk.write_file(&file, &bytes);
    repaired(&disk, 6).unwrap();
    assert_eq!(truth.check(&disk), Ok(BTreeSet::new()));

    let disk = truth.copy();
    disk.flip_bit(&file, 4_096 + 60, 1);
    let (_, lost) = truth.repair_and_check(&disk, "a bit");
    assert_eq!(lost.len(), 1);
    disk.write_file(&file, &bytes);
    assert!(repaired(&disk, 6).unwrap().is_done);
    assert_eq!(truth.check(&disk), Ok(BTreeSet::new()));
}

#[test]
fn a_record_of_losses_that_is_damaged_refuses_the_open_and_is_made_again() {
    for kind in 0..3 {
        let truth = long();
        let disk = broken(&truth, kind);
        let (_, want) = truth.repair_and_check(&disk, "first");
        let file = files(&disk, ".lost").remove(0);
        let len = disk.read_file(&file).len() as u64;
        for offset in (0..len)
            .step_by(7)
            .filter(|offset| !(8..12).contains(offset))
        {
            let disk = disk.restart();
            disk.flip_bit(&file, offset, 2);
            let refused = open(&disk, 6).unwrap_err();
            assert!(
                matches!(&refused, OpenError::Damaged(damage) if damage.file == file),
                "{refused:?}"
            );
            let report = verify(&disk.root(), &mut |_, _| {}).unwrap();
            assert!(report.damage.iter().any(|damage| damage.file == file));
            repaired(&disk, 7).unwrap();
            assert_eq!(
                truth.check(&disk),
                Ok(want.clone()),
                "kind {kind}, {offset}"
            );
        }
    }
}

#[test]
fn verify_lists_all_that_is_damaged_in_a_tail() {
    let truth = truth(&[&[40], &[30], &[20], &[50], &[60]]);
    let disk = truth.copy();
    let file = files(&disk, ".seg").remove(0);
    let bytes = disk.read_file(&file);
    for needle in [&b"event 2"[..], b"event 4"] {
        let at = bytes
            .windows(needle.len())
            .position(|part| part == needle)
            .unwrap();
        disk.flip_bit(&file, at as u64, 0);
    }
    let report = verify(&disk.root(), &mut |_, _| {}).unwrap();
    let named: Vec<_> = report
        .damage
        .iter()
        .map(|it| (it.first_id, it.last_id))
        .collect();
    assert_eq!(
        named,
        [(Some(id(2)), Some(id(2))), (Some(id(4)), Some(id(4)))]
    );
    assert_eq!(report.records, 3);
    let (_, lost) = truth.repair_and_check(&disk, "two records");
    assert_eq!(lost, BTreeSet::from([2, 4]));
}

/// A record as a stranger could forge it who knows the log's id: for a body.
fn forged(whole: &[u8], number: u64, body: &[u8]) -> Vec<u8> {
    // The mask of a record that the stranger has read.
    let len = whole.len();
    let stored = u32::from_le_bytes(whole[len - 4..].try_into().unwrap());
    let mask = stored ^ crc32fast::hash(&whole[..len - 4]);
    let mut record = vec![0; 8];
    record.extend_from_slice(body);
    record.resize(record.len().next_multiple_of(8), 0);
    let padding = record.len() - 8 - body.len();
    record.extend_from_slice(&number.to_le_bytes());
    record.extend_from_slice(&whole[len - 16..len - 4]);
    let whole_len = u32::try_from(record.len() + 4).unwrap();
    record[..4].copy_from_slice(&whole_len.to_le_bytes());
    record[5] = u8::try_from(padding).unwrap();
    let checksum = crc32fast::hash(&record) ^ mask;
    record.extend_from_slice(&checksum.to_le_bytes());
    record
}

#[test]
fn a_forged_record_in_a_damaged_body_is_not_taken_for_a_real_one() {
    // In the sealed segment and in the tail; one batch, so that no header stands between.
    for is_sealed in [true, false] {
        let disk = SimDisk::new();
        let (log, _) = open(&disk, 1).unwrap();
        append(&log, "s", &[b"one"]).unwrap();
        let file = files(&disk, ".seg").remove(0);
        let bytes = disk.read_file(&file);
        let start = 4_096 + 48;
        let len = usize::try_from(u32::from_le_bytes(
            bytes[start..start + 4].try_into().unwrap(),
        ));
        let whole = &bytes[start..start + len.unwrap()];
        // "s" and its length take 3 bytes: 5 more, and the forged records stand at a multiple of 8.
        let mut body = vec![b'-'; 5];
        for number in [3, 4] {
            body.extend_from_slice(&forged(whole, number, b"forged"));
        }
        append(&log, "s", &[&body, b"three", b"four"]).unwrap();
        if is_sealed {
            append(&log, "s", &[&[0; 8_000]]).unwrap();
            append(&log, "s", &[&[0; 8_000]]).unwrap();
        }
        log.upkeep_now();
        log.close().unwrap();
        let bytes = disk.read_file(&file);
        let at = bytes.windows(6).position(|part| part == b"forged").unwrap();
        // The length of the record around it is what breaks.
        let around = at - 8 - 5 - 3 - 8;
        assert_eq!(bytes[around + 4], 1, "one tag");
        disk.corrupt(&file, around as u64, |_| 0xff);
        if is_sealed {
            let (log, _) = open(&disk, 2).unwrap();
            for (number, want) in [(3, &b"three"[..]), (4, b"four")] {
                let records = log.read(id(number)).unwrap().unwrap();
                assert_eq!(records.get(0).unwrap().unwrap().body, want);
            }
        }
        repaired(&disk, 3).unwrap();
        let (log, _) = open(&disk, 4).unwrap();
        assert!(matches!(log.read(id(2)), Err(ReadError::Damaged(_))));
        for (number, want) in [(1, &b"one"[..]), (3, b"three"), (4, b"four")] {
            let records = log.read(id(number)).unwrap().unwrap();
            assert_eq!(
                records.get(0).unwrap().unwrap().body,
                want,
                "{number}, sealed {is_sealed}"
            );
        }
        assert_eq!(log.losses().len(), 1);
    }
}
