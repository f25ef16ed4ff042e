//! Damaged bytes are noticed or make no difference; they never make a wrong answer.

use std::sync::{Arc, LazyLock};

use proptest::prelude::*;

use super::questions::tag;
use super::settings::setting;
use super::twin::{Log, Twin, check_view};
use crate::storage::sim::SimDisk;
use crate::tags::{Direction, Span, TagError, TagIndex, check_run};

/// A log of one sealed segment with tags of all kinds, and its run file.
fn one_run() -> (SimDisk, String, Log) {
    static RUN: LazyLock<(Vec<u8>, String, Log)> = LazyLock::new(write_one_run);
    let (bytes, path, log) = &*RUN;
    let disk = SimDisk::new();
    disk.write_file(path, bytes);
    (disk, path.clone(), log.clone())
}

fn write_one_run() -> (Vec<u8>, String, Log) {
    let disk = SimDisk::new();
    let mut twin = Twin::new(disk.root());
    for event in 0..700_u64 {
        let mut tags = vec![b"in each".to_vec()];
        if event % 9 == 0 {
            tags.push(b"in some".to_vec());
        }
        if event % 40 == 0 {
            tags.push(tag(u8::try_from(event / 40).unwrap()));
        }
        twin.append(&tags);
    }
    twin.roll();
    assert!(twin.index.flush_oldest().unwrap());
    let [path] = disk.paths().try_into().unwrap();
    (disk.read_file(&path), path, twin.log)
}

fn reopen(disk: &SimDisk, log: &Log) -> Arc<TagIndex> {
    let index = TagIndex::open(disk.root(), &log.sealed(), log.active_first());
    Arc::new(index.unwrap())
}

/// Either every answer is right or the damage has a name; and it can be made good.
#[track_caller]
fn check(disk: &SimDisk, path: &str, log: &Log, what: &str) -> bool {
    let index = reopen(disk, log);
    match check_view(log, &index, 0, log.next_id) {
        Ok(()) => false,
        Err(TagError::Damaged(damage)) => {
            assert!(check_run(path, &disk.read_file(path)).is_err(), "{what}");
            assert_eq!(path, damage.file, "{what}");
            assert!(damage.offset <= disk.read_file(path).len() as u64, "{what}");
            true
        }
        Err(error) => panic!("{what}: {error}"),
    }
}

#[test]
fn the_bytes_of_a_run_never_change_within_a_version() {
    let (disk, path, _) = one_run();
    assert_eq!(crc32fast::hash(&disk.read_file(&path)), 0x97c7_993d);
}

#[test]
fn every_flipped_bit_is_noticed_or_makes_no_difference() {
    let (disk, path, log) = one_run();
    assert!(!check(&disk, &path, &log, "whole"));
    let len = disk.read_file(&path).len() as u64;
    let mut noticed = 0;
    let every = setting("STRANDLOG_TEST_TAG_STEPS_EVERY");
    let looked_at = len.div_ceil(every);
    for offset in (0..len).step_by(usize::try_from(every).unwrap()) {
        // One bit of each byte, another one from byte to byte; the parts have tests of their own
        // for all bits.
        let bit = u32::try_from(offset * 5 % 8).unwrap();
        disk.flip_bit(&path, offset, bit);
        noticed += u64::from(check(&disk, &path, &log, &format!("byte {offset}")));
        disk.flip_bit(&path, offset, bit);
    }
    // The rest is padding.
    assert!(noticed > looked_at / 2, "{noticed} of {looked_at}");
}

#[test]
fn a_run_cut_short_or_overwritten_is_noticed() {
    let (disk, path, log) = one_run();
    let whole = disk.read_file(&path);
    for sector in (0..whole.len()).step_by(512) {
        disk.write_file(&path, &whole[..sector]);
        assert!(check(&disk, &path, &log, "cut"));
        let mut torn = whole.clone();
        let end = whole.len().min(sector + 512);
        torn[sector..end].fill(0);
        disk.write_file(&path, &torn);
        check(&disk, &path, &log, "zeros");
        // A sector that belongs elsewhere in the file.
        torn[sector..end].copy_from_slice(&whole[whole.len() - (end - sector)..]);
        disk.write_file(&path, &torn);
        check(&disk, &path, &log, "misplaced");
    }
}

#[test]
fn a_page_or_a_filter_block_of_another_place_is_noticed() {
    let (disk, path, log) = one_run();
    let whole = disk.read_file(&path);
    let pages = whole.len() / 2048;
    for to in 0..pages {
        for from in 0..pages {
            let mut bytes = whole.clone();
            bytes.copy_within(from * 2048..(from + 1) * 2048, to * 2048);
            disk.write_file(&path, &bytes);
            check(&disk, &path, &log, &format!("page {from} at {to}"));
        }
    }
}

#[test]
fn a_file_under_the_name_of_another_one_is_noticed() {
    let (disk, path, log) = one_run();
    let bytes = disk.read_file(&path);
    disk.remove_file(&path);
    let name = path.replace(".0.tags", ".1.tags");
    disk.write_file(&name, &bytes);
    assert!(check(&disk, &name, &log, "renamed"));
}

#[test]
fn a_distrusted_run_is_missing_until_it_is_rebuilt() {
    let disk = SimDisk::new();
    let mut twin = Twin::new(disk.root());
    for _ in 0..5 {
        for event in 0..20 {
            twin.append(&[tag(event), tag(1)]);
        }
        twin.roll();
        twin.index.flush_oldest().unwrap();
    }
    twin.index.merge_once(1).unwrap();
    let merged = disk.paths()[0].clone();
    twin.index.distrust(&merged).unwrap();
    assert!(!disk.paths().contains(&merged));
    let missing = [(1, 21), (21, 41), (41, 61), (61, 81)].map(|(first, end)| Span { first, end });
    assert_eq!(twin.index.missing(), missing);
    let view = twin.view();
    for ask in [
        view.end_of(b"nobody has this").map(|_| ()),
        view.id_at_rank(&tag(1), 3).map(|_| ()),
        view.list(b"", None, 1).map(|_| ()),
    ] {
        assert!(matches!(ask, Err(TagError::Missing { .. })), "{ask:?}");
    }
    // What does not depend on the missing segments is answered.
    assert!(view.end_of(&tag(2)).unwrap().is_some());
    twin.check_view(81, 101);
    twin.rebuild();
    twin.check_all();
    while twin.index.flush_oldest().unwrap() {}
    while twin.index.merge_once(1).unwrap() {}
    twin.check_all();
}

#[test]
fn reading_up_to_a_missing_segment_is_right_and_then_an_error() {
    let disk = SimDisk::new();
    let mut twin = Twin::new(disk.root());
    for _ in 0..3 {
        for _ in 0..4 {
            twin.append(&[tag(1)]);
        }
        twin.roll();
        twin.index.flush_oldest().unwrap();
    }
    let second = disk.paths()[1].clone();
    twin.index.distrust(&second).unwrap();
    let view = twin.view();
    let span = Span { first: 5, end: 9 };
    for (direction, want) in [
        (Direction::Forward, [1, 2, 3, 4]),
        (Direction::Backward, [12, 11, 10, 9]),
    ] {
        let from = want[0];
        let mut ids = view.ids(&tag(1), direction, from);
        for id in want {
            assert_eq!(ids.next_id().unwrap(), Some(id));
        }
        for _ in 0..2 {
            let error = ids.next_id().unwrap_err();
            assert!(matches!(error, TagError::Missing { span: it } if it == span));
        }
    }
}

/// Makes all checksums of a run right, except those of the filter.
fn seal(bytes: &mut [u8]) {
    fn put(bytes: &mut [u8], at: usize, from: usize, end: usize) {
        let checksum = crc32fast::hash(&bytes[from..end]);
        bytes[at..at + 4].copy_from_slice(&checksum.to_le_bytes());
    }
    put(bytes, 8, 12, 2048);
    let pages = u32::from_le_bytes(bytes[32..36].try_into().unwrap());
    for page in 1..(pages as usize).min(bytes.len() / 2048) {
        let (start, end) = (page * 2048, (page + 1) * 2048);
        if bytes[start + 4] == 2 {
            let mut node = start + 24;
            while node + 48 <= end {
                let len = u16::from_le_bytes([bytes[node + 4], bytes[node + 5]]);
                let len = usize::from(len);
                if len < 48 || node + len > end {
                    break;
                }
                put(bytes, node, node + 4, node + len);
                node += len;
            }
        }
        put(bytes, start, start + 4, end);
    }
}

/// Asks about everything, whatever the answers.
fn ask(log: &Log, index: &TagIndex) {
    let view = index.view(0, log.next_id);
    for tag in log.tags.keys() {
        let _ = view.end_of(tag);
        let _ = index.view(0, log.next_id / 2).end_of(tag);
        for rank in [0, 5, 400, u64::MAX] {
            let _ = view.id_at_rank(tag, rank);
        }
        // A list that contradicts itself may never end.
        for direction in [Direction::Forward, Direction::Backward] {
            let mut ids = view.ids(tag, direction, log.next_id / 2);
            for _ in 0..2000 {
                if !matches!(ids.next_id(), Ok(Some(_))) {
                    break;
                }
            }
        }
    }
    let _ = view.list(b"", None, 100);
}

proptest! {
    #[test]
    fn wrong_content_under_right_checksums_never_panics(
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
    ) {
        let (disk, path, log) = one_run();
        let mut bytes = disk.read_file(&path);
        for (at, byte) in changes {
            // Where something is written: most of the header and of the last pages is padding.
            let written: Vec<usize> = (8..bytes.len()).filter(|&at| bytes[at] != 0).collect();
            bytes[*at.get(&written)] = byte;
        }
        seal(&mut bytes);
        disk.write_file(&path, &bytes);
        let _ = check_run(&path, &bytes);
        let index = reopen(&disk, &log);
        ask(&log, &index);
        // Three neighbours make the damaged run one of four.
        let mut segments = log.segments.clone();
        segments.extend((1..4).map(|it| log.next_id + it));
        let spans: Vec<Span> = segments
            .windows(2)
            .map(|pair| Span { first: pair[0], end: pair[1] })
            .collect();
        let index = TagIndex::open(disk.root(), &spans, log.next_id + 3).unwrap();
        for span in index.missing() {
            index.provide(span, log.memory(span.first..span.end));
        }
        while index.flush_oldest().unwrap() {}
        let _ = index.merge_once(1);
        ask(&log, &index);
    }

    #[test]
    fn any_bytes_are_refused(bytes in prop::collection::vec(any::<u8>(), 0..5000)) {
        prop_assert!(check_run("any", &bytes).is_err());
    }
}
