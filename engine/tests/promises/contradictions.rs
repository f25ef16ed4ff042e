//! Bytes with right checksums whose parts contradict each other: nobody writes them, and they are
//! refused all the same (FORMAT.md, sections 5, 6 and 8).

use strandlog_engine::fuzzing::{Chaining, Judgement, judge, right_checksums};
use strandlog_engine::storage::sim::{Left, SimDisk};
use strandlog_engine::{OpenError, verify};

use super::picture::small_log;
use super::support::{append, bodies, files, open};

const SEGMENT: &str = "00000000000000000001.seg";
/// Where the one batch begins, and its two records, each of this length.
const BATCH: usize = 4_096;
const FIRST: usize = BATCH + 48;
const LEN: usize = 48;
const SECOND: usize = FIRST + LEN;

/// A segment with one batch, which has two records with one tag of one byte and one byte of body,
/// and nothing behind it.
fn segment() -> Vec<u8> {
    let disk = SimDisk::new();
    let (log, _) = open(&disk, 1).unwrap();
    append(&log, "s", &[b"a", b"b"]).unwrap();
    let bytes = disk.after_crash(Left::Nothing).read_file(SEGMENT);
    assert_eq!(bytes[FIRST], u8::try_from(LEN).unwrap());
    bytes
}

/// How many records the segment holds with these bytes changed to these, and all checksums right;
/// none if it is damaged.
fn records(changes: &[(usize, u8)]) -> Option<usize> {
    let mut bytes = segment();
    for (at, value) in changes {
        bytes[*at] = *value;
    }
    right_checksums(SEGMENT, &mut bytes, Chaining::Kept);
    match judge(&bytes) {
        Judgement::Ends(ended) => Some(ended.records.len()),
        Judgement::Damaged => None,
        judgement => panic!("{judgement:?}"),
    }
}

#[test]
fn a_batch_that_is_not_the_next_one_or_not_what_it_says_is_none() {
    assert_eq!(records(&[]), Some(2));
    for (what, changes) in [
        ("unknown flags", &[(BATCH + 12, 3)][..]),
        ("records, and the flag of a stop", &[(BATCH + 12, 1)]),
        ("another id", &[(BATCH + 16, 2)]),
        ("another batch before", &[(BATCH + 36, 1), (BATCH + 37, 1)]),
        ("longer than its records", &[(BATCH + 4, 152)]),
        ("more records than it has", &[(BATCH + 8, 3)]),
        ("fewer", &[(BATCH + 8, 1)]),
        ("another salt", &[(BATCH + 32, 1), (BATCH + 33, 1)]),
        ("no id", &[(BATCH + 16, 0)]),
        ("shorter than its header", &[(BATCH + 4, 40)]),
    ] {
        assert_eq!(records(changes), Some(0), "{what}");
    }
    // Its own claim proves that something durable stood here.
    assert_eq!(records(&[(BATCH + 25, 0x40)]), None);
}

#[test]
fn a_record_that_is_not_the_next_one_spoils_its_batch() {
    for (what, changes) in [
        ("another id", &[(SECOND + LEN - 24, 3)][..]),
        ("no id", &[(SECOND + LEN - 24, 0)]),
        ("earlier than the one before", &[(FIRST + LEN - 10, 1)]),
        (
            "another salt",
            &[(SECOND + LEN - 8, 1), (SECOND + LEN - 7, 1)],
        ),
    ] {
        assert_eq!(records(changes), Some(0), "{what}");
    }
}

#[test]
fn a_record_whose_parts_do_not_fit_is_none() {
    for (what, changes) in [
        ("more ranks than there is room for", &[(FIRST + 4, 200)][..]),
        ("more tags than there are", &[(FIRST + 4, 2)]),
        ("fewer", &[(FIRST + 4, 0)]),
        ("tags beyond the body", &[(FIRST + 6, 200)]),
        ("more padding than there is room for", &[(FIRST + 5, 200)]),
        ("an empty tag", &[(FIRST + 8, 0)]),
        ("a tag beyond its section", &[(FIRST + 8, 2)]),
        ("a tag longer than any", &[(FIRST + 9, 3)]),
    ] {
        assert_eq!(records(changes), Some(0), "{what}");
    }
}

#[test]
fn an_index_that_contradicts_itself_or_its_segment_is_not_believed() {
    let sound = small_log();
    let name = &files(&sound, ".idx")[0];
    let index = sound.read_file(name);
    let (log, _) = open(&sound.restart(), 1).unwrap();
    let want = bodies(&log);
    // Magic, version, density, log, first id, end id, end of the data, an offset.
    for at in [0, 8, 12, 16, 32, 40, 48, 64] {
        let mut bytes = index.clone();
        bytes[at] ^= 16;
        right_checksums(name, &mut bytes, Chaining::Kept);
        let disk = sound.restart();
        disk.write_file(name, &bytes);
        let (log, _) = open(&disk, 1).unwrap();
        assert_eq!(bodies(&log), want, "byte {at}");
    }
}

#[test]
fn more_tags_than_their_section_has_are_none() {
    let disk = SimDisk::new();
    let (log, _) = open(&disk, 1).unwrap();
    append(&log, "s", &[&[b'a'; 100]]).unwrap();
    let mut bytes = disk.after_crash(Left::Nothing).read_file(SEGMENT);
    bytes[FIRST + 4] = 2;
    right_checksums(SEGMENT, &mut bytes, Chaining::Kept);
    let Judgement::Ends(ended) = judge(&bytes) else {
        panic!("nothing says that it was durable");
    };
    assert_eq!((ended.offset, ended.dirty_end > BATCH), (BATCH, true));
}

#[test]
fn a_header_of_no_known_kind_or_version_is_none() {
    let of = |at: usize, value: u8| {
        let mut bytes = segment();
        bytes[at] = value;
        right_checksums(SEGMENT, &mut bytes, Chaining::Kept);
        judge(&bytes)
    };
    for (at, value) in [(12, 3), (12, 0), (8, 0), (32, 0), (100, 1)] {
        assert_eq!(of(at, value), Judgement::NoHeader, "{value} at {at}");
    }
    assert_eq!(of(8, 2), Judgement::Newer(2));
}

#[test]
fn what_contradicts_itself_and_was_durable_is_damage_that_says_so() {
    let disk = SimDisk::new();
    let (log, _) = open(&disk, 1).unwrap();
    append(&log, "s", &[b"a", b"b"]).unwrap();
    append(&log, "s", &[b"c"]).unwrap();
    log.close().unwrap();
    for (at, value, what) in [
        (BATCH + 16, 2, "not the one that follows"),
        (SECOND + LEN - 24, 9, "do not fit their batch"),
    ] {
        let mut bytes = disk.read_file(SEGMENT);
        bytes[at] = value;
        right_checksums(SEGMENT, &mut bytes, Chaining::Kept);
        let damaged = disk.restart();
        damaged.write_file(SEGMENT, &bytes);
        match open(&damaged, 2) {
            Err(OpenError::Damaged(damage)) => {
                assert!(damage.what.contains(what), "{}", damage.what);
            }
            Err(error) => panic!("{error:?}"),
            Ok(_) => panic!("it opens, with {value} at {at}"),
        }
    }
}

/// Each byte of the used part of each run, in three ways: what `verify` takes for sound says the same
/// of every tag, and what it does not is never the end of the process.
#[test]
fn a_run_that_contradicts_itself_is_found_or_says_the_same() {
    let sound = small_log();
    let tags: [&[u8]; 4] = [b"stream a", b"stream b", b"\x00\xff key", b"no tag"];
    let ends = |disk: &SimDisk| {
        let (log, _) = open(&disk.restart(), 1).unwrap();
        tags.map(|tag| log.tag_end(tag).unwrap())
    };
    let want = ends(&sound);
    let (mut found, mut same) = (0, 0);
    for name in files(&sound, ".tags") {
        let run = sound.read_file(&name);
        for at in (0..run.len()).filter(|at| run[*at] != 0 || at % 61 == 0) {
            for change in [1, 0x10, 0xff] {
                let mut bytes = run.clone();
                bytes[at] ^= change;
                right_checksums(&name, &mut bytes, Chaining::Kept);
                let disk = sound.restart();
                disk.write_file(&name, &bytes);
                let report = verify(&disk.root(), &mut |_, _| {}).unwrap();
                if report.derived.iter().any(|damage| damage.file == name) {
                    found += 1;
                } else {
                    assert_eq!(ends(&disk), want, "{name}, byte {at}, {change:#x}");
                    same += 1;
                }
            }
        }
    }
    assert!(found > 100, "{found} found, {same} the same");
}
