//! No byte is served unchecked: damage is named and refused, costs what it hit and no more, and what
//! is derived is rebuilt.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU64, Ordering};

use strandlog_engine::storage::sim::SimDisk;
use strandlog_engine::{OpenError, ReadError};

use super::figures::{Figure, seeds, shared};
use super::support::{Act, Chance, Story, event, files, open, setting};
use super::truth::{Outcome, Truth, data_end, long, truth};

/// A short sealed segment, and a tail: three records each.
fn two_segments() -> Truth {
    // The large batch does not fit behind the small ones.
    let truth = truth(&[&[40, 0], &[30], &[7_750], &[20, 20]]);
    assert_eq!(files(&truth.disk, ".seg").len(), 2);
    truth
}

/// The bits of these bytes of a file, as far as this run looks at them.
fn bits(bytes: impl Iterator<Item = usize> + Send) -> impl Iterator<Item = u64> + Send {
    let every = usize::try_from(setting("STRANDLOG_TEST_BITS_EVERY")).unwrap();
    bytes
        .flat_map(|byte| (0..8).map(move |bit| byte as u64 * 8 + bit))
        .step_by(every)
}

fn flip(disk: &SimDisk, file: &str, bit: u64) {
    disk.flip_bit(file, bit / 8, u32::try_from(bit % 8).unwrap());
}

/// Every bit of a sealed segment, with its index and without.
pub(crate) fn sealed_bits() -> Result<u64, String> {
    let truth = two_segments();
    let file = &files(&truth.disk, ".seg")[0];
    let bytes = truth.disk.read_file(file);
    let used = (0..64).chain(4_096..data_end(&bytes));
    // Of the zeros in the header and behind the end a sample is enough.
    let zeros = [64, 1_000, 4_095, 9_000, 16_383].map(|byte| byte * 8 + 3);
    let refused_ids = AtomicU64::new(0);
    let count = shared(bits(used).chain(zeros), 64, |bits| {
        for (bit, with_index) in bits.iter().flat_map(|bit| [(*bit, true), (*bit, false)]) {
            let disk = truth.copy();
            if !with_index {
                disk.remove_file(&files(&disk, ".idx")[0]);
            }
            flip(&disk, file, bit);
            let outcome = truth
                .examine(&disk)
                .map_err(|error| format!("bit {bit}, index {with_index}: {error}"))?;
            let Outcome::Lost(lost) = outcome else {
                return Err(format!("bit {bit}: a sealed segment refuses no open"));
            };
            if bit < 4_096 * 8 {
                let is_header = lost == BTreeSet::from([1, 2, 3]) || bit >= 64 * 8;
                assert!(is_header, "bit {bit}: {lost:?} for the header");
            } else {
                assert!(lost.len() <= 1, "bit {bit}: {lost:?} for one bit");
                refused_ids.fetch_add(lost.len() as u64, Ordering::Relaxed);
            }
        }
        Ok(2 * bits.len() as u64)
    })?;
    let refused_ids = refused_ids.into_inner();
    assert!(refused_ids > 100, "{refused_ids}");
    Ok(count)
}

#[test]
fn every_flipped_bit_of_a_sealed_segment_is_detected_or_harmless_and_costs_one_record() {
    let figure = Figure::of(
        "C1",
        "flips in a sealed segment, every question asked",
        [300, 8_000, 8_000],
    );
    figure.reached(sealed_bits().unwrap_or_else(|error| panic!("{error}")));
}

#[test]
fn every_flipped_bit_of_the_tail_is_detected_or_harmless() {
    let figure = Figure::of(
        "C1",
        "flips in a tail, every question asked",
        [200, 5_000, 5_000],
    );
    let truth = truth(&[&[40, 0], &[30], &[20, 20]]);
    let file = &files(&truth.disk, ".seg")[0];
    let bytes = truth.disk.read_file(file);
    let end = data_end(&bytes);
    let count = shared(bits((0..64).chain(4_096..end + 64)), 64, |bits| {
        for bit in &bits {
            let disk = truth.copy();
            flip(&disk, file, *bit);
            let outcome = truth.check(&disk, &format!("bit {bit}"));
            // The log was closed: the mark at its end proves everything before it.
            let is_before_mark = bit / 8 < end as u64 - 48;
            let want = if is_before_mark {
                Outcome::Refused
            } else {
                Outcome::Lost(BTreeSet::new())
            };
            assert_eq!(outcome, want, "bit {bit}, end {end}");
        }
        Ok(bits.len() as u64)
    });
    figure.reached(count.unwrap_or_else(|error| panic!("{error}")));
}

#[test]
fn every_flipped_bit_of_a_derived_file_is_harmless() {
    let figure = Figure::of("C4", "flips in derived files", [1_000, 30_000, 30_000]);
    let small = two_segments();
    let mut sum = 0;
    for ending in [".idx", ".tags"] {
        let file = &files(&small.disk, ending)[0];
        let len = small.disk.read_file(file).len();
        let count = shared(bits(0..len), 64, |bits| {
            for bit in &bits {
                let disk = small.copy();
                flip(&disk, file, *bit);
                let outcome = small.check(&disk, &format!("{file}, bit {bit}"));
                assert_eq!(outcome, Outcome::Lost(BTreeSet::new()), "{file}, bit {bit}");
            }
            Ok(bits.len() as u64)
        });
        sum += count.unwrap_or_else(|error| panic!("{error}"));
    }
    figure.reached(sum);
}

#[test]
fn flipped_bits_of_any_derived_file_of_a_longer_log_are_harmless() {
    let figure = Figure::of(
        "C4",
        "flips in any derived file of a longer log",
        [30, 10_000, 10_000],
    );
    let truth = long();
    let mut derived = files(&truth.disk, ".idx");
    derived.extend(files(&truth.disk, ".tags"));
    assert!(derived.iter().any(|name| name.contains(".1.tags")));
    let count = shared(seeds("STRANDLOG_TEST_BLOCKS"), 16, |seeds| {
        for seed in &seeds {
            let chance = Chance::new(*seed);
            let file = &derived[usize::try_from(chance.below(derived.len() as u64)).unwrap()];
            let disk = truth.copy();
            let bit = chance.below(disk.read_file(file).len() as u64 * 8);
            flip(&disk, file, bit);
            let outcome = truth.check(&disk, &format!("seed {seed}, {file}, bit {bit}"));
            assert_eq!(outcome, Outcome::Lost(BTreeSet::new()), "{file}, bit {bit}");
        }
        Ok(seeds.len() as u64)
    });
    figure.reached(count.unwrap_or_else(|error| panic!("{error}")));
}

#[test]
fn every_flipped_bit_of_the_checkpoint_log_is_detected_or_harmless() {
    let figure = Figure::of("C4", "flips in the checkpoint log", [200, 10_000, 10_000]);
    let truth = two_segments();
    let file = &files(&truth.disk, ".ckp")[0];
    let end = data_end(&truth.disk.read_file(file));
    let count = shared(bits((0..64).chain(4_096..end)), 64, |bits| {
        for bit in &bits {
            let disk = truth.copy();
            flip(&disk, file, *bit);
            match open(&disk, 3) {
                Ok((log, _)) => {
                    let found = log.checkpoint("consumer").map(|it| it.position);
                    assert_eq!(found, Some(truth.events.len() as u64), "bit {bit}");
                }
                Err(OpenError::Damaged(damage)) => assert_eq!(damage.file, *file),
                Err(OpenError::NewerFormat { .. }) => {}
                Err(error) => panic!("bit {bit}: {error:?}"),
            }
        }
        Ok(bits.len() as u64)
    });
    figure.reached(count.unwrap_or_else(|error| panic!("{error}")));
}

#[test]
fn a_sealed_segment_that_is_missing_foreign_or_cut_off_costs_its_own_records() {
    let truth = long();
    let segments = files(&truth.disk, ".seg");
    let foreign = {
        let disk = SimDisk::new();
        let (log, _) = open(&disk, 77).unwrap();
        super::support::append(&log, "s", &[b"of another log"]).unwrap();
        disk.read_file(&segments[0])
    };
    let (first, next) = (&segments[1], &segments[2]);
    let number = |name: &str| name[..20].parse::<u64>().unwrap();
    let all: BTreeSet<u64> = (number(first)..number(next)).collect();
    let bytes = truth.disk.read_file(first);
    let cases: [(&str, Option<Vec<u8>>); 5] = [
        ("missing", None),
        ("empty", Some(Vec::new())),
        ("foreign", Some(foreign)),
        ("its neighbour's", Some(truth.disk.read_file(next))),
        ("header only", Some(bytes[..4_096].to_vec())),
    ];
    for (what, content) in cases {
        for with_run in [true, false] {
            let disk = truth.copy();
            match &content {
                Some(content) => disk.write_file(first, content),
                None => disk.remove_file(first),
            }
            if !with_run {
                for run in files(&disk, ".tags") {
                    disk.remove_file(&run);
                }
            }
            // A missing file is as if the segment before it reached on.
            assert_eq!(
                truth.check(&disk, what),
                Outcome::Lost(all.clone()),
                "{what}, {with_run}"
            );
        }
    }
    let every = usize::try_from(setting("STRANDLOG_TEST_LENGTHS_EVERY")).unwrap();
    for len in (4_096..bytes.len()).step_by(every) {
        let disk = truth.copy();
        disk.write_file(first, &bytes[..len]);
        let Outcome::Lost(lost) = truth.check(&disk, "cut off") else {
            panic!("refused");
        };
        // What is whole before the cut is served.
        assert!(
            lost.is_subset(&all)
                && lost
                    .iter()
                    .next_back()
                    .is_none_or(|it| all.last() == Some(it))
        );
        assert_eq!(
            lost.len() as u64,
            lost.first().map_or(0, |it| number(next) - it)
        );
    }
}

#[test]
fn index_files_that_are_missing_empty_or_of_another_segment_are_rebuilt() {
    let truth = long();
    for ending in [".idx", ".tags"] {
        let derived = files(&truth.disk, ending);
        let other = truth.disk.read_file(derived.last().unwrap());
        for (what, content) in [
            ("missing", None),
            ("empty", Some(Vec::new())),
            ("another's", Some(other)),
            ("zeros", Some(vec![0; 4_096])),
        ] {
            let disk = truth.copy();
            match content {
                Some(content) => disk.write_file(&derived[0], &content),
                None => disk.remove_file(&derived[0]),
            }
            let outcome = truth.check(&disk, what);
            assert_eq!(outcome, Outcome::Lost(BTreeSet::new()), "{ending} {what}");
            // And they are there again, once somebody has missed them.
            let (log, _) = open(&disk, 4).unwrap();
            super::support::bodies(&log);
            log.tag_end(b"nobody").ok();
            log.upkeep_now();
            log.close().unwrap();
            let report = strandlog_engine::verify(&disk.root(), &mut |_, _| {}).unwrap();
            assert_eq!(report.damage, [], "{ending} {what}");
            assert_eq!(report.derived, [], "{ending} {what}");
        }
    }
}

/// Changes one byte of the record at `offset`, and mends its checksum, as a faulty writer would.
fn rewrite_record(disk: &SimDisk, file: &str, offset: usize, at_from_end: usize, value: u8) {
    let mut bytes = disk.read_file(file);
    let len = u32::from_le_bytes(bytes[offset..offset + 4].try_into().unwrap());
    let end = offset + usize::try_from(len).unwrap();
    let stored = u32::from_le_bytes(bytes[end - 4..end].try_into().unwrap());
    let mask = stored ^ crc32fast::hash(&bytes[offset..end - 4]);
    bytes[end - at_from_end] = value;
    let checksum = crc32fast::hash(&bytes[offset..end - 4]) ^ mask;
    bytes[end - 4..end].copy_from_slice(&checksum.to_le_bytes());
    disk.write_file(file, &bytes);
}

#[test]
fn records_that_contradict_each_other_are_damage_in_the_tail_and_cost_nothing_else_behind_a_seal() {
    // The last rank of the first batch's second record: 24 bytes from the end, and before.
    let tail = truth(&[&[40], &[30], &[20, 20]]);
    let file = files(&tail.disk, ".seg").remove(0);
    let disk = tail.copy();
    let first_len = {
        let bytes = disk.read_file(&file);
        u32::from_le_bytes(bytes[4_100..4_104].try_into().unwrap())
    };
    let second = 4_096 + usize::try_from(first_len).unwrap() + 48;
    // The ranks of "s", its type and its key lie before the 24 last bytes; "s" comes first.
    rewrite_record(&disk, &file, second, 24 + 3 * 8, 9);
    assert_eq!(tail.check(&disk, "a wrong rank"), Outcome::Refused);

    let sealed = two_segments();
    let file = files(&sealed.disk, ".seg").remove(0);
    let disk = sealed.copy();
    for run in files(&disk, ".tags") {
        disk.remove_file(&run);
    }
    rewrite_record(&disk, &file, 4_096 + 48, 24 + 3 * 8, 200);
    let (log, _) = open(&disk, 3).unwrap();
    log.upkeep_now();
    assert_eq!(super::support::bodies(&log).len(), sealed.events.len());
    assert!(matches!(log.tag_end(b"k1"), Err(ReadError::IndexNotReady)));
}

#[test]
fn a_tail_or_a_checkpoint_log_that_is_empty_or_of_another_log_refuses_the_open() {
    let truth = two_segments();
    let other = {
        let disk = SimDisk::new();
        let (log, _) = open(&disk, 77).unwrap();
        let mut story = Story::default();
        for number in 0..9 {
            story.append(&log, &[event(number, 3_000)]).unwrap();
        }
        story.act(&log, &Act::Advance(0)).unwrap();
        log.close().unwrap();
        disk
    };
    for ending in [".seg", ".ckp"] {
        let file = files(&truth.disk, ending).pop().unwrap();
        let foreign = other.read_file(&files(&other, ending)[0]);
        let own = truth.disk.read_file(&file);
        for (what, content) in [
            ("empty", Vec::new()),
            ("another log's", foreign),
            ("zeros", vec![0; own.len()]),
            ("half a header", own[..2_048].to_vec()),
        ] {
            let disk = truth.copy();
            disk.write_file(&file, &content);
            let outcome = truth.check(&disk, &format!("{file}, {what}"));
            assert_eq!(outcome, Outcome::Refused, "{file}, {what}");
        }
    }
    // Without its checkpoints the log is whole; who had one is told that there is none.
    let disk = truth.copy();
    disk.remove_file(&files(&disk, ".ckp")[0]);
    let (log, _) = open(&disk, 3).unwrap();
    assert_eq!(super::support::bodies(&log).len(), truth.events.len());
    assert!(log.checkpoint("consumer").is_none());
}

#[test]
fn derived_files_of_an_earlier_time_or_cut_off_anywhere_give_no_wrong_answer() {
    let truth = two_segments();
    let every = usize::try_from(setting("STRANDLOG_TEST_LENGTHS_EVERY")).unwrap();
    for ending in [".idx", ".tags"] {
        let file = files(&truth.disk, ending).remove(0);
        let bytes = truth.disk.read_file(&file);
        for len in (0..bytes.len()).step_by(every) {
            let disk = truth.copy();
            disk.write_file(&file, &bytes[..len]);
            let outcome = truth.check(&disk, &format!("{file}, {len} bytes left"));
            assert_eq!(outcome, Outcome::Lost(BTreeSet::new()), "{file}, {len}");
        }
        // The file of a log with the same names and other records.
        let disk = truth.copy();
        let twin = super::truth::truth(&[&[41, 1], &[29], &[7_700], &[20, 20]]);
        if let Some(twin) = files(&twin.disk, ending)
            .first()
            .filter(|name| **name == file)
            .map(|name| twin.disk.read_file(name))
        {
            disk.write_file(&file, &twin);
            let outcome = truth.examine(&disk);
            assert_eq!(outcome, Ok(Outcome::Lost(BTreeSet::new())), "{file}");
        }
    }
}
