//! No byte is served unchecked: damage is named and refused, costs what it hit and no more, and what
//! is derived is rebuilt.

use std::collections::BTreeSet;

use strandlog_engine::storage::sim::SimDisk;
use strandlog_engine::{Direction, Log, OpenError, Query, ReadError};

use super::support::{
    Act, Chance, Event, Story, contents, drain, event, files, id, open, query, setting,
};

/// What a disk with something wrong on it must be compared with.
struct Truth {
    events: Vec<Event>,
    /// Files of a sound log.
    disk: SimDisk,
}

/// A log with these batches of these body lengths, closed, with all its index files.
fn truth(batches: &[&[usize]]) -> Truth {
    let disk = SimDisk::new();
    let (log, _) = open(&disk, 1).unwrap();
    let mut story = Story::default();
    let mut number = 0;
    for lens in batches {
        let events: Vec<Event> = lens
            .iter()
            .map(|len| {
                number += 1;
                event(number, *len)
            })
            .collect();
        story.append(&log, &events).unwrap();
    }
    story.act(&log, &Act::Advance(0)).unwrap();
    log.upkeep_now();
    log.close().unwrap();
    let (log, _) = open(&disk, 2).unwrap();
    story.check(&log).unwrap();
    drop(log);
    Truth {
        events: story.events,
        disk,
    }
}

/// What became of a log with damage in it.
#[derive(Debug, PartialEq, Eq)]
enum Outcome {
    Refused,
    /// Opened; these ids cannot be read.
    Lost(BTreeSet<u64>),
}

impl Truth {
    /// Opens the disk and asks everything: each answer is right, or an error.
    fn examine(&self, disk: &SimDisk) -> Result<Outcome, String> {
        let before = contents(disk);
        let log = match open(disk, 3) {
            Ok((log, _)) => log,
            Err(OpenError::Damaged(damage)) => {
                if !before.contains_key(&damage.file) {
                    return Err(format!("{damage} names no file"));
                }
                if contents(disk) != before {
                    return Err("refused, and changed".to_owned());
                }
                return Ok(Outcome::Refused);
            }
            Err(OpenError::NewerFormat { .. }) => return Ok(Outcome::Refused),
            Err(error) => return Err(format!("{error:?}")),
        };
        let last = self.events.len() as u64;
        if log.first() != id(1) || log.end() != id(last + 1) {
            return Err(format!("from {} to before {}", log.first(), log.end()));
        }
        let mut lost = BTreeSet::new();
        for (number, event) in (1..=last).zip(&self.events) {
            match log.read(id(number)) {
                Ok(Some(records)) => {
                    let record = records.get(0).ok_or("nothing")?;
                    if record.body != event.body || record.id.get() != number {
                        return Err(format!("{number} is wrong"));
                    }
                }
                Err(ReadError::Damaged(_)) => {
                    lost.insert(number);
                }
                other => return Err(format!("{number}: {other:?}")),
            }
        }
        for direction in [Direction::Forward, Direction::Backward] {
            self.scan_around(&log, direction, &lost)?;
        }
        self.ask_tags(&log, &lost)?;
        Ok(Outcome::Lost(lost))
    }

    /// Scans, and goes on behind each loss: all the rest is there.
    fn scan_around(
        &self,
        log: &Log,
        direction: Direction,
        lost: &BTreeSet<u64>,
    ) -> Result<(), String> {
        let last = self.events.len() as u64;
        let (mut from, mut to) = (1, last + 1);
        let mut seen = BTreeSet::new();
        while from < to {
            let mut scan = log
                .scan(id(from)..id(to), direction)
                .map_err(|error| error.to_string())?;
            loop {
                match scan.next_records(5, 1 << 20) {
                    Ok(Some(records)) => {
                        for record in records.iter() {
                            let at = usize::try_from(record.id.get() - 1).unwrap();
                            if record.body != self.events[at].body || !seen.insert(record.id.get())
                            {
                                return Err(format!("{direction:?}: {} is wrong", record.id));
                            }
                            match direction {
                                Direction::Forward => from = record.id.get() + 1,
                                Direction::Backward => to = record.id.get(),
                            }
                        }
                    }
                    Ok(None) => {
                        (from, to) = (1, 1);
                        break;
                    }
                    Err(ReadError::Damaged(_)) => {
                        // One id on.
                        match direction {
                            Direction::Forward => from += 1,
                            Direction::Backward => to -= 1,
                        }
                        break;
                    }
                    Err(error) => return Err(format!("{direction:?}: {error:?}")),
                }
            }
        }
        let all: BTreeSet<u64> = (1..=last).collect();
        if seen.union(lost).copied().collect::<BTreeSet<_>>() != all {
            return Err(format!("{direction:?}: a skip: {seen:?}, lost {lost:?}"));
        }
        Ok(())
    }

    /// Questions by tags: right answers at once, or at the latest after the index was mended.
    fn ask_tags(&self, log: &Log, lost: &BTreeSet<u64>) -> Result<(), String> {
        for tag in ["s", "t0", "t1", "k1", "k3", "nobody"] {
            let want: Vec<u64> = (1..)
                .zip(&self.events)
                .filter(|(_, event)| event.tags.iter().any(|it| it == tag))
                .map(|(number, _)| number)
                .collect();
            let mut tries = 0;
            loop {
                let question = query(&[&[tag]]);
                match (log.tag_end(tag.as_bytes()), found(log, &question)) {
                    (Ok(end), Ok(ids)) => {
                        let end = end.map(|end| (end.count, end.last_id));
                        let want_end = want.last().map(|last| (want.len() as u64, *last));
                        if ids != want || end != want_end {
                            return Err(format!("{tag}: {ids:?}, {end:?}, not {want:?}"));
                        }
                        break;
                    }
                    (Err(ReadError::IndexNotReady), _) | (_, Err(ReadError::IndexNotReady))
                        if tries < 3 =>
                    {
                        tries += 1;
                        log.upkeep_now();
                    }
                    // An index that is lost with its segment stays lost, and says so.
                    _ if !lost.is_empty() => break,
                    other => return Err(format!("{tag}: {other:?}")),
                }
            }
        }
        Ok(())
    }

    #[track_caller]
    fn check(&self, disk: &SimDisk, what: &str) -> Outcome {
        match self.examine(disk) {
            Ok(outcome) => outcome,
            Err(error) => panic!("{what}: {error}"),
        }
    }

    /// A copy of the disk to damage.
    fn copy(&self) -> SimDisk {
        self.disk.restart()
    }
}

fn found(log: &Log, question: &Query) -> Result<Vec<u64>, ReadError> {
    let mut scan = log.query(question, log.first()..log.end(), Direction::Forward)?;
    Ok(drain(&mut scan)?.into_iter().map(|seen| seen.id).collect())
}

/// A short sealed segment, and a tail: three records each.
fn two_segments() -> Truth {
    // The large batch does not fit behind the small ones.
    let truth = truth(&[&[40, 0], &[30], &[7_750], &[20, 20]]);
    assert_eq!(files(&truth.disk, ".seg").len(), 2);
    truth
}

/// Where the records and batch headers of a segment end.
fn data_end(bytes: &[u8]) -> usize {
    bytes.iter().rposition(|byte| *byte != 0).unwrap() + 1
}

/// Every bit of a sealed segment, with its index and without.
pub(crate) fn sealed_bits() -> Result<u64, String> {
    let truth = two_segments();
    let file = &files(&truth.disk, ".seg")[0];
    let bytes = truth.disk.read_file(file);
    let every = setting("STRANDLOG_TEST_BITS_EVERY", 3);
    let bits = (0..64 * 8).chain(4_096 * 8..data_end(&bytes) as u64 * 8);
    // Of the zeros in the header and behind the end a sample is enough.
    let zeros = [64, 1_000, 4_095, 9_000, 16_383].map(|byte| byte * 8 + 3);
    let mut refused_ids = 0;
    for bit in bits.filter(|bit| bit % every == 0).chain(zeros) {
        for with_index in [true, false] {
            let disk = truth.copy();
            if !with_index {
                disk.remove_file(&files(&disk, ".idx")[0]);
            }
            disk.flip_bit(file, bit / 8, u32::try_from(bit % 8).unwrap());
            let outcome = truth
                .examine(&disk)
                .map_err(|error| format!("bit {bit}, index {with_index}: {error}"))?;
            let Outcome::Lost(lost) = outcome else {
                panic!("bit {bit}: a sealed segment refuses no open");
            };
            if bit < 4_096 * 8 {
                assert_eq!(lost, BTreeSet::from([1, 2, 3]), "bit {bit}: the header");
            } else {
                assert!(lost.len() <= 1, "bit {bit}: {lost:?} for one bit");
                refused_ids += lost.len();
            }
        }
    }
    assert!(refused_ids > 100, "{refused_ids}");
    Ok(refused_ids as u64)
}

#[test]
fn every_flipped_bit_of_a_sealed_segment_is_detected_or_harmless_and_costs_one_record() {
    sealed_bits().unwrap_or_else(|error| panic!("{error}"));
}

#[test]
fn every_flipped_bit_of_the_tail_is_detected_or_harmless() {
    let truth = truth(&[&[40, 0], &[30], &[20, 20]]);
    let file = &files(&truth.disk, ".seg")[0];
    let bytes = truth.disk.read_file(file);
    let end = data_end(&bytes);
    let every = setting("STRANDLOG_TEST_BITS_EVERY", 3);
    let bits = (0..64 * 8).chain(4_096 * 8..end as u64 * 8 + 512);
    for bit in bits.filter(|bit| bit % every == 0) {
        let disk = truth.copy();
        disk.flip_bit(file, bit / 8, u32::try_from(bit % 8).unwrap());
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
}

#[test]
fn every_flipped_bit_of_a_derived_file_is_harmless() {
    let truth = two_segments();
    let every = setting("STRANDLOG_TEST_BITS_EVERY", 3) * 5;
    for ending in [".idx", ".tags"] {
        let file = &files(&truth.disk, ending)[0];
        let len = truth.disk.read_file(file).len() as u64;
        for bit in (0..len * 8).filter(|bit| bit % every == 0) {
            let disk = truth.copy();
            disk.flip_bit(file, bit / 8, u32::try_from(bit % 8).unwrap());
            let outcome = truth.check(&disk, &format!("{file}, bit {bit}"));
            assert_eq!(outcome, Outcome::Lost(BTreeSet::new()), "{file}, bit {bit}");
        }
    }
}

#[test]
fn every_flipped_bit_of_the_checkpoint_log_is_detected_or_harmless() {
    let truth = two_segments();
    let file = &files(&truth.disk, ".ckp")[0];
    let end = data_end(&truth.disk.read_file(file));
    let every = setting("STRANDLOG_TEST_BITS_EVERY", 3) * 3;
    let bits = (0..64 * 8).chain(4_096 * 8..end as u64 * 8);
    for bit in bits.filter(|bit| bit % every == 0) {
        let disk = truth.copy();
        disk.flip_bit(file, bit / 8, u32::try_from(bit % 8).unwrap());
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
}

/// A longer log: five sealed segments and a tail.
fn long() -> Truth {
    let lens: Vec<usize> = (0..70).map(|number| (number * 137) % 1_100).collect();
    let batches: Vec<&[usize]> = lens.chunks(3).collect();
    truth(&batches)
}

#[test]
fn blocks_that_are_zeroed_filled_swapped_doubled_or_stale_are_never_served() {
    let truth = long();
    let segments = files(&truth.disk, ".seg");
    assert!(segments.len() > 4);
    let count = setting("STRANDLOG_TEST_BLOCKS", 700);
    let mut detected = 0;
    for seed in 0..count {
        let chance = Chance::new(seed);
        let disk = truth.copy();
        let pick = || {
            let file = &segments[usize::try_from(chance.below(segments.len() as u64)).unwrap()];
            let block = [512, 4_096][usize::try_from(chance.below(2)).unwrap()];
            let at = usize::try_from(chance.below(16_384 / block)).unwrap();
            (file.clone(), usize::try_from(block).unwrap(), at)
        };
        let (file, block, at) = pick();
        let (other, _, other_at) = pick();
        let range = at * block..(at + 1) * block;
        let other_at = other_at * 512 / block * block;
        let other_range = other_at..other_at + block;
        let mut bytes = disk.read_file(&file);
        let mut others = disk.read_file(&other);
        let kind = chance.below(5);
        match kind {
            0 => bytes[range].fill(0),
            1 => bytes[range].fill(0xff),
            // Doubled: what stands elsewhere stands here, too.
            2 => bytes[range].copy_from_slice(&others[other_range]),
            3 if file == other => {
                let here = bytes[range.clone()].to_vec();
                let there = bytes[other_range.clone()].to_vec();
                bytes[range].copy_from_slice(&there);
                bytes[other_range].copy_from_slice(&here);
            }
            3 => {
                bytes[range].swap_with_slice(&mut others[other_range]);
                disk.write_file(&other, &others);
            }
            // Stale: the block was zeros and some earlier batches before.
            _ => {
                let half = range.start + usize::try_from(chance.below(block as u64)).unwrap();
                bytes[half..range.end].fill(0);
            }
        }
        let is_changed = bytes != disk.read_file(&file);
        disk.write_file(&file, &bytes);
        let outcome = truth.check(&disk, &format!("seed {seed}, kind {kind}, {file} at {at}"));
        let is_noticed = outcome != Outcome::Lost(BTreeSet::new());
        detected += u64::from(is_noticed);
        let _ = is_changed;
    }
    assert!(detected > count / 4, "{detected}");
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
    for len in (4_096..bytes.len()).step_by(311) {
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
    for ending in [".idx", ".tags"] {
        let file = files(&truth.disk, ending).remove(0);
        let bytes = truth.disk.read_file(&file);
        for len in (0..bytes.len()).step_by(13) {
            let disk = truth.copy();
            disk.write_file(&file, &bytes[..len]);
            let outcome = truth.check(&disk, &format!("{file}, {len} bytes left"));
            assert_eq!(outcome, Outcome::Lost(BTreeSet::new()), "{file}, {len}");
        }
        // The file of a log with the same names and other records.
        let disk = truth.copy();
        let twin = self::truth(&[&[41, 1], &[29], &[7_700], &[20, 20]]);
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
