//! However a log is read, the answers agree: forward and backward, by id, by tags, by time, raw.

use std::sync::Arc;

use strandlog_engine::storage::sim::SimDisk;
use strandlog_engine::{Batch, Direction, Log, Options, Tag};

use super::support::{
    Chance, HandClock, Seen, append, drain, files, id, matches, open, query, records, small,
};

/// A log over many segments, with tags of all kinds.
fn mixed(disk: &SimDisk, count: u64) -> Log {
    let clock = HandClock::at(0);
    let options = Options {
        clock: Arc::clone(&clock) as _,
        ..small(1)
    };
    let (log, _) = Log::open(disk.root(), options).unwrap();
    let chance = Chance::new(5);
    let mut number = 0;
    while number < count {
        let mut batch = Batch::new();
        clock.set(number * 1_000);
        for _ in 0..1 + chance.below(5) {
            number += 1;
            let mut tags = vec![
                format!("even {}", number % 2),
                format!("ten {}", number % 10),
            ];
            if chance.below(20) == 0 {
                tags.push("rare".to_owned());
            }
            if chance.below(3) == 0 {
                tags.push(format!("unique {number}"));
            }
            let tags: Vec<_> = tags.iter().map(|tag| Tag::new(tag.as_bytes())).collect();
            let body = vec![b'a'; usize::try_from(chance.below(700)).unwrap()];
            batch.push(&tags, &[&number.to_le_bytes(), &body]).unwrap();
        }
        log.append(batch).wait().unwrap();
    }
    log
}

#[test]
fn backward_is_forward_reversed_and_by_id_is_the_same() {
    let disk = SimDisk::new();
    let log = mixed(&disk, 300);
    let forward = records(&log, Direction::Forward).unwrap();
    let mut backward = records(&log, Direction::Backward).unwrap();
    backward.reverse();
    assert_eq!(forward, backward);
    for seen in &forward {
        let found = log.read(id(seen.id)).unwrap().unwrap();
        let record = found.get(0).unwrap().unwrap();
        assert_eq!(record.id.get(), seen.id);
        assert_eq!(record.body, seen.body);
        assert_eq!(found.body_bytes(0).unwrap().unwrap(), seen.body);
    }
    assert!(log.read(log.end()).unwrap().is_none());
}

#[test]
fn every_range_and_every_budget_gives_the_same_records() {
    let disk = SimDisk::new();
    let log = mixed(&disk, 120);
    let all = records(&log, Direction::Forward).unwrap();
    let chance = Chance::new(1);
    for round in 0..300 {
        let from = 1 + chance.below(125);
        let to = from + chance.below(60);
        for direction in [Direction::Forward, Direction::Backward] {
            let mut scan = log.scan(id(from)..id(to), direction).unwrap();
            let mut seen = Vec::new();
            loop {
                let records_max = 1 + usize::try_from(chance.below(9)).unwrap();
                let bytes_max = usize::try_from(chance.below(3_000)).unwrap();
                let Some(found) = scan.next_records(records_max, bytes_max).unwrap() else {
                    break;
                };
                assert!(!found.is_empty() && found.len() <= records_max);
                assert!(found.encoded_len() <= bytes_max || found.len() == 1);
                seen.extend(found.iter().map(|record| record.unwrap().id.get()));
            }
            if direction == Direction::Backward {
                seen.reverse();
            }
            let want = (from..to).filter(|id| *id <= all.len() as u64);
            assert!(want.eq(seen), "round {round}: {from}..{to} {direction:?}");
        }
    }
}

/// Whether the record carries one tag of each group.
fn fits(seen: &Seen, all: &[&[&str]]) -> bool {
    all.iter().all(|any| {
        any.iter()
            .any(|tag| seen.tags.iter().any(|(it, _)| it == tag.as_bytes()))
    })
}

#[test]
fn a_query_finds_what_a_look_at_every_record_finds() {
    let disk = SimDisk::new();
    let log = mixed(&disk, 400);
    for round in 0..3 {
        if round == 1 {
            log.upkeep_now();
            assert!(!files(&disk, ".1.tags").is_empty(), "runs were merged");
        }
        let all = records(&log, Direction::Forward).unwrap();
        let questions: [&[&[&str]]; 10] = [
            &[],
            &[&[]],
            &[&["even 0"]],
            &[&["rare"]],
            &[&["nobody"]],
            &[&["even 0"], &["ten 4"]],
            &[&["even 0"], &["ten 3"]],
            &[&["ten 3", "ten 4", "rare"]],
            &[&["even 1"], &["ten 3", "ten 4"], &["rare", "even 1"]],
            &[&["unique 7", "unique 8", "unique 9", "unique 10"]],
        ];
        for groups in questions {
            let want: Vec<u64> = all
                .iter()
                .filter(|seen| fits(seen, groups))
                .map(|seen| seen.id)
                .collect();
            let query = query(groups);
            let mut found = matches(&log, &query, Direction::Forward).unwrap();
            assert_eq!(found, want, "{groups:?}");
            found = matches(&log, &query, Direction::Backward).unwrap();
            found.reverse();
            assert_eq!(found, want, "{groups:?} backward");
            for (from, to) in [(100, 101), (57, 203), (390, 500)] {
                let mut scan = log
                    .query(&query, id(from)..id(to), Direction::Forward)
                    .unwrap();
                let found = drain(&mut scan).unwrap();
                let want = want.iter().filter(|id| (from..to).contains(id));
                assert!(found.iter().map(|seen| &seen.id).eq(want), "{groups:?}");
            }
        }
        check_tags(&log, &all);
    }
}

fn check_tags(log: &Log, all: &[Seen]) {
    let mut tags: Vec<&Vec<u8>> = all
        .iter()
        .flat_map(|seen| seen.tags.iter().map(|(tag, _)| tag))
        .collect();
    tags.sort();
    tags.dedup();
    for tag in &tags {
        let ids: Vec<u64> = all
            .iter()
            .filter(|seen| seen.tags.iter().any(|(it, _)| it == *tag))
            .map(|seen| seen.id)
            .collect();
        let end = log.tag_end(tag).unwrap().unwrap();
        assert_eq!(
            (end.count, end.last_id),
            (ids.len() as u64, *ids.last().unwrap())
        );
        for rank in [0, ids.len() / 2, ids.len() - 1] {
            let found = log.id_at_rank(tag, rank as u64).unwrap();
            assert_eq!(found, Some(id(ids[rank])), "{}", tag.escape_ascii());
        }
        assert_eq!(log.id_at_rank(tag, ids.len() as u64).unwrap(), None);
    }
    for prefix in ["", "ten ", "unique 1", "zzz"] {
        let want: Vec<_> = tags
            .iter()
            .filter(|tag| tag.starts_with(prefix.as_bytes()))
            .map(|tag| (*tag).clone())
            .collect();
        let mut found = Vec::new();
        loop {
            let after = found.last().cloned();
            let page = log.tags(prefix.as_bytes(), after.as_deref(), 7).unwrap();
            if page.is_empty() {
                break;
            }
            found.extend(page.into_iter().map(|(tag, _)| tag));
        }
        assert_eq!(found, want, "{prefix:?}");
    }
}

#[test]
fn the_first_record_at_or_after_a_time_is_found() {
    let disk = SimDisk::new();
    let log = mixed(&disk, 200);
    let all = records(&log, Direction::Forward).unwrap();
    let last_us = all.last().unwrap().recorded_at_us;
    for time in (0..last_us + 2_000).step_by(333) {
        let want = all
            .iter()
            .find(|seen| seen.recorded_at_us >= time)
            .map_or(log.end().get(), |seen| seen.id);
        assert_eq!(log.id_at_time(time).unwrap().get(), want, "at {time}");
    }
}

fn number<const N: usize>(bytes: &[u8], at: usize) -> u64 {
    let mut value = [0; 8];
    value[..N].copy_from_slice(&bytes[at..at + N]);
    u64::from_le_bytes(value)
}

/// Reads a raw stream as FORMAT.md, sections 5 and 16, describes it, and by nothing else.
fn decode_raw(mut rest: &[u8]) -> Vec<Seen> {
    let mut mask = None;
    let mut seen = Vec::new();
    while !rest.is_empty() {
        let len = if rest.starts_with(b"STRA") {
            assert_eq!(&rest[..8], b"STRANDRW");
            assert_eq!(number::<4>(rest, 8), 1);
            assert_eq!(
                number::<4>(rest, 44),
                u64::from(crc32fast::hash(&rest[..44]))
            );
            mask = Some(crc32fast::hash(&rest[16..40]));
            48
        } else if rest.starts_with(&[0x42, 0x41, 0x54, 0x80]) {
            48
        } else {
            let len = usize::try_from(number::<4>(rest, 0)).unwrap();
            let record = &rest[..len];
            let checksum = u64::from(crc32fast::hash(&record[..len - 4]) ^ mask.unwrap());
            assert_eq!(number::<4>(record, len - 4), checksum);
            seen.push(decode_record(record));
            len
        };
        rest = &rest[len..];
    }
    seen
}

fn decode_record(record: &[u8]) -> Seen {
    let len = record.len();
    let count = usize::from(record[4]);
    let padding = usize::from(record[5]);
    let tags_len = usize::try_from(number::<2>(record, 6)).unwrap();
    let mut at = 8;
    let ranks = len - 24 - 8 * count;
    let tags = (0..count).map(|tag| {
        let tag_len = usize::try_from(number::<2>(record, at)).unwrap();
        let bytes = record[at + 2..at + 2 + tag_len].to_vec();
        at += 2 + tag_len;
        (bytes, number::<8>(record, ranks + 8 * tag))
    });
    let tags = tags.collect();
    assert_eq!(at, 8 + tags_len);
    assert!(record[ranks - padding..ranks].iter().all(|byte| *byte == 0));
    Seen {
        id: number::<8>(record, len - 24),
        recorded_at_us: number::<8>(record, len - 16),
        tags,
        body: record[at..ranks - padding].to_vec(),
    }
}

fn raw(log: &Log, from: u64, to: u64, bytes_max: usize) -> Vec<u8> {
    let mut raw = log.raw(id(from)..id(to)).unwrap();
    let mut stream = Vec::new();
    while let Some(slices) = raw.next_piece(bytes_max).unwrap() {
        for slice in slices {
            stream.extend_from_slice(&slice);
        }
    }
    stream
}

#[test]
fn a_decoder_written_from_the_format_page_reads_the_raw_stream() {
    let disk = SimDisk::new();
    let log = mixed(&disk, 200);
    let all = records(&log, Direction::Forward).unwrap();
    for bytes_max in [1, 500, 5_000, 1 << 20] {
        let stream = raw(&log, 1, log.end().get(), bytes_max);
        assert_eq!(decode_raw(&stream), all, "{bytes_max} bytes at a time");
    }
    let chance = Chance::new(3);
    for _ in 0..100 {
        let from = 1 + chance.below(all.len() as u64);
        let to = from + chance.below(50);
        let seen = decode_raw(&raw(&log, from, to, 2_000));
        let want = all.iter().filter(|it| (from..to).contains(&it.id));
        assert!(seen.iter().eq(want), "{from}..{to}");
    }
}

#[test]
fn the_raw_stream_does_not_tell_the_proof_key() {
    let disk = SimDisk::new();
    let log = mixed(&disk, 50);
    let stream = raw(&log, 1, log.end().get(), 1 << 20);
    for file in files(&disk, ".seg") {
        let key = &disk.read_file(&file)[48..56];
        assert!(stream.windows(8).all(|bytes| bytes != key), "{file}");
    }
}

#[test]
fn the_raw_stream_goes_on_behind_a_damaged_batch_header() {
    let disk = SimDisk::new();
    let log = mixed(&disk, 60);
    let all = records(&log, Direction::Forward).unwrap();
    log.close().unwrap();
    let file = &files(&disk, ".seg")[0];
    let bytes = disk.read_file(file);
    let headers: Vec<usize> = (4_096..bytes.len() - 8)
        .step_by(8)
        .filter(|at| bytes[*at..].starts_with(&[0x42, 0x41, 0x54, 0x80]))
        .collect();
    assert!(headers.len() > 5);
    for header in headers {
        // Its magic, and a field that only its checksum covers.
        for byte in [1, 30] {
            disk.flip_bit(file, (header + byte) as u64, 3);
            let (log, _) = open(&disk, 2).unwrap();
            let stream = raw(&log, 1, log.end().get(), 3_000);
            assert_eq!(decode_raw(&stream), all, "header at {header}, byte {byte}");
            assert_eq!(records(&log, Direction::Backward).unwrap().len(), all.len());
            log.close().unwrap();
            disk.flip_bit(file, (header + byte) as u64, 3);
        }
    }
}

#[test]
fn a_scan_that_is_asked_for_no_records_stays_where_it_is() {
    let disk = SimDisk::new();
    let (log, _) = open(&disk, 1).unwrap();
    append(&log, "s", &[b"one", b"two"]).unwrap();
    let mut scan = log.scan(id(1)..log.end(), Direction::Forward).unwrap();
    for _ in 0..2 {
        assert!(scan.next_records(0, usize::MAX).unwrap().is_none());
    }
    assert_eq!(drain(&mut scan).unwrap().len(), 2);
}
