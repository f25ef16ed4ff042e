//! Where the log ends: every row of the table in FORMAT.md, section 7, and torn against damaged tails.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use strandlog_engine::storage::sim::{CallKind, Left, SimDisk};
use strandlog_engine::{Checkpoint, Damage, Log, OpenError, ReadError};

use super::figures::{Figure, seeds, shared};
use super::support::{Chance, append, bodies, contents, files, id, left, open, setting, threaded};

const SEGMENT: &str = "00000000000000000001.seg";

/// Where the batches of a segment begin, by the lengths in their headers, and where the last ends.
fn batches(disk: &SimDisk, file: &str) -> Vec<usize> {
    let bytes = disk.read_file(file);
    let mut places = vec![4_096];
    while let Some(at) = places.last().copied()
        && bytes[at..].starts_with(&[0x42, 0x41, 0x54, 0x80])
    {
        let len = u32::from_le_bytes(bytes[at + 4..at + 8].try_into().unwrap());
        assert!(len >= 48, "a whole batch at {at}");
        places.push(at + usize::try_from(len).unwrap());
    }
    places
}

/// Appends this many records to a new log, and cuts the power.
fn cut_log(records: u8) -> SimDisk {
    let disk = SimDisk::new();
    let (log, _) = open(&disk, 1).unwrap();
    for number in 0..records {
        append(&log, "s", &[&[number; 100]]).unwrap();
    }
    disk.after_crash(Left::Nothing)
}

#[track_caller]
fn refused(disk: &SimDisk) -> Damage {
    let before = contents(disk);
    let damage = match open(disk, 2) {
        Err(OpenError::Damaged(damage)) => damage,
        other => panic!("{other:?}"),
    };
    assert_eq!(contents(disk), before, "nothing is changed");
    damage
}

#[test]
fn zeros_up_to_the_end_are_the_clean_end() {
    let disk = cut_log(5);
    let end = *batches(&disk, SEGMENT).last().unwrap();
    let (log, report) = open(&disk, 2).unwrap();
    assert_eq!((report.dropped_len, report.tail_records), (0, 5));
    append(&log, "s", &[b"six"]).unwrap();
    assert_eq!(batches(&disk, SEGMENT)[5], end, "it goes on right there");
    assert_eq!(bodies(&log).len(), 6);
}

#[test]
fn a_torn_write_is_cut_and_what_is_behind_is_zeroed() {
    // The last batch lost its middle.
    let disk = cut_log(5);
    let places = batches(&disk, SEGMENT);
    let mut bytes = disk.read_file(SEGMENT);
    bytes[places[4] + 80..places[4] + 100].fill(0);
    disk.write_file(SEGMENT, &bytes);
    let (log, report) = open(&disk, 2).unwrap();
    assert_eq!(report.dropped_len, (places[5] - places[4]) as u64);
    assert!(!report.clean);
    assert_eq!(bodies(&log).len(), 4);
    // The zeros are on the disk before the first append.
    let durable = disk.durable_file(SEGMENT);
    assert!(durable[places[4]..].iter().all(|byte| *byte == 0));
    append(&log, "s", &[b"five again"]).unwrap();
    let (log, _) = open(&disk.after_crash(Left::Nothing), 3).unwrap();
    assert_eq!(bodies(&log)[4], b"five again");
}

#[test]
fn a_later_batch_that_says_synced_beyond_the_fault_proves_damage() {
    let disk = cut_log(5);
    let places = batches(&disk, SEGMENT);
    let at = places[1] + 48 + 30;
    disk.flip_bit(SEGMENT, at as u64, 5);
    let damage = refused(&disk);
    assert_eq!(damage.file, SEGMENT);
    assert_eq!(damage.offset, (places[1] + 48) as u64, "the record");
    assert_eq!(damage.first_id, Some(id(2)));
    assert_eq!(damage.last_id, Some(id(2)), "the others are whole");
    assert!(damage.what.contains("checksum"), "{damage}");
}

#[test]
fn a_sealed_tail_goes_on_with_a_new_segment() {
    let fill = |disk: &SimDisk| {
        if let Ok((log, _)) = open(disk, 1) {
            for number in 0..4 {
                let _outcome = append(&log, "s", &[&[number; 3_500]]);
            }
        }
    };
    let calm = SimDisk::new();
    fill(&calm);
    // The name of the second segment is the second rename ever.
    let renames: Vec<u64> = (0..)
        .zip(calm.calls())
        .filter(|(_, call)| call.kind == CallKind::Rename && call.path.ends_with(".seg"))
        .map(|(step, _)| step)
        .collect();
    let disk = SimDisk::new();
    disk.crash_at(renames[1]);
    fill(&disk);
    let disk = disk.after_crash(Left::Nothing);
    assert_eq!(files(&disk, ".seg"), [SEGMENT]);
    let before = disk.read_file(SEGMENT);
    let (log, report) = open(&disk, 2).unwrap();
    assert_eq!(report.dropped_len, 0);
    assert_eq!(files(&disk, ".seg").len(), 2);
    append(&log, "s", &[b"next"]).unwrap();
    assert_eq!(disk.read_file(SEGMENT), before, "sealed is sealed");
    assert_eq!(bodies(&log).len(), 3);
}

#[test]
fn bytes_behind_a_seal_are_left_over_and_go() {
    // A torn write, zeroed by an open whose sync failed, comes back with the next loss of power.
    let disk = SimDisk::new();
    let (log, _) = open(&disk, 1).unwrap();
    for number in 0..4 {
        append(&log, "s", &[&[number; 3_500]]).unwrap();
    }
    drop(log);
    disk.remove_file(&files(&disk, ".seg")[1]);
    let end = *batches(&disk, SEGMENT).last().unwrap();
    disk.corrupt(SEGMENT, end as u64 + 9, |_| 1);
    let (log, report) = open(&disk, 2).unwrap();
    assert_eq!(report.dropped_len, 10);
    append(&log, "s", &[b"next"]).unwrap();
    assert_eq!(bodies(&log).len(), 3);
    assert_eq!(disk.durable_file(SEGMENT)[end + 9], 0);
}

/// A log of three segments with three records each, closed.
fn three_segments() -> SimDisk {
    let disk = SimDisk::new();
    let (log, _) = open(&disk, 1).unwrap();
    for number in 0..9 {
        append(&log, "s", &[&[number; 2_300]]).unwrap();
    }
    log.upkeep_now();
    assert_eq!(log.describe().segments, 3);
    disk
}

/// The ids that cannot be read, each for damage; all others can.
fn lost(log: &Log) -> Vec<u64> {
    (log.first().get()..log.end().get())
        .filter(|number| match log.read(id(*number)) {
            Ok(Some(_)) => false,
            Err(ReadError::Damaged(damage)) => {
                assert!(damage.first_id <= Some(id(*number)));
                assert!(damage.last_id >= Some(id(*number)));
                true
            }
            other => panic!("{number}: {other:?}"),
        })
        .collect()
}

#[test]
fn damage_in_a_sealed_segment_is_refused_when_it_is_read_and_the_rest_is_served() {
    let disk = three_segments();
    let at = batches(&disk, SEGMENT)[1] + 48 + 500;
    disk.flip_bit(SEGMENT, at as u64, 0);
    let (log, _) = open(&disk, 2).unwrap();
    assert_eq!(lost(&log), [2]);
    append(&log, "s", &[b"the log takes appends"]).unwrap();
    assert_eq!(log.tag_end(b"s").unwrap().unwrap().count, 10);
}

#[test]
fn a_damaged_header_of_the_tail_refuses_the_open_and_of_a_sealed_segment_its_range() {
    for offset in [0, 9, 16, 40, 50, 63] {
        let disk = three_segments();
        disk.corrupt(SEGMENT, offset, |byte| byte ^ 0x10);
        let (log, _) = open(&disk, 2).unwrap();
        assert_eq!(lost(&log), [1, 2, 3], "offset {offset}");
        drop(log);

        let disk = three_segments();
        let tail = files(&disk, ".seg").pop().unwrap();
        disk.corrupt(&tail, offset, |byte| byte ^ 0x10);
        let before = contents(&disk);
        // A changed version looks like a newer one; all else is damage.
        let error = open(&disk, 2).unwrap_err();
        assert!(
            matches!(&error, OpenError::Damaged(damage) if damage.file == tail)
                || (offset == 9 && matches!(error, OpenError::NewerFormat { .. })),
            "offset {offset}: {error:?}"
        );
        assert_eq!(contents(&disk), before);
    }
}

#[test]
fn a_checkpoint_beyond_the_end_refuses_the_open() {
    let disk = SimDisk::new();
    let (log, _) = open(&disk, 1).unwrap();
    append(&log, "s", &[b"one"]).unwrap();
    append(&log, "s", &[b"two"]).unwrap();
    let checkpoint = Checkpoint {
        position: 2,
        ..Checkpoint::default()
    };
    log.create_checkpoint("c", checkpoint).wait().unwrap();
    let disk = disk.after_crash(Left::Nothing);
    // The flip in the last batch could not be told from a torn write; the checkpoint tells.
    let at = batches(&disk, SEGMENT)[1] + 60;
    disk.flip_bit(SEGMENT, at as u64, 1);
    assert!(refused(&disk).file.ends_with(".ckp"));
}

#[test]
fn a_flip_in_the_last_batch_is_cut_if_no_mark_stands_behind_it() {
    // The one case that cannot be decided (FORMAT.md, section 7).
    let disk = cut_log(5);
    let at = batches(&disk, SEGMENT)[4] + 60;
    disk.flip_bit(SEGMENT, at as u64, 1);
    let (log, report) = open(&disk, 2).unwrap();
    assert!(report.dropped_len > 0, "it is reported");
    assert_eq!(bodies(&log).len(), 4);
}

#[test]
fn a_flip_in_the_last_batch_is_damage_after_a_clean_stop() {
    let disk = SimDisk::new();
    let (log, _) = open(&disk, 1).unwrap();
    append(&log, "s", &[b"one"]).unwrap();
    append(&log, "s", &[b"two"]).unwrap();
    log.close().unwrap();
    let at = batches(&disk, SEGMENT)[1] + 60;
    disk.flip_bit(SEGMENT, at as u64, 1);
    assert_eq!(refused(&disk).first_id, Some(id(2)));
}

#[test]
fn a_second_without_appends_proves_the_last_batch() {
    let disk = SimDisk::new();
    let (log, _) = Log::open(disk.root(), threaded(1)).unwrap();
    append(&log, "s", &[b"one"]).unwrap();
    append(&log, "s", &[b"two"]).unwrap();
    let deadline = Duration::from_secs(20);
    #[expect(
        clippy::disallowed_methods,
        reason = "the writer's idle time is real time"
    )]
    let started = Instant::now();
    while batches(&disk, SEGMENT).len() < 4 {
        assert!(started.elapsed() < deadline, "no mark");
        std::thread::yield_now();
        let _end = log
            .end_moved(log.end())
            .wait_timeout(Duration::from_millis(20));
    }
    let disk = disk.after_crash(Left::All);
    let at = batches(&disk, SEGMENT)[1] + 60;
    disk.flip_bit(SEGMENT, at as u64, 1);
    assert_eq!(refused(&disk).first_id, Some(id(2)));
}

#[test]
fn a_tail_that_was_truncated_is_never_taken_for_a_shorter_log() {
    for clean in [true, false] {
        let disk = SimDisk::new();
        let (log, _) = open(&disk, 1).unwrap();
        let sizes = [10, 900, 100, 2_000, 40, 500];
        for size in sizes {
            append(&log, "s", &[&vec![b'x'; size]]).unwrap();
        }
        if clean {
            log.close().unwrap();
        }
        let disk = disk.after_crash(Left::All);
        let bytes = disk.read_file(SEGMENT);
        let end = *batches(&disk, SEGMENT).last().unwrap();
        let every = usize::try_from(setting("STRANDLOG_TEST_LENGTHS_EVERY")).unwrap();
        for len in (0..4_096)
            .step_by(every)
            .chain(4_096..end + 200)
            .chain([bytes.len() - 1])
        {
            disk.write_file(SEGMENT, &bytes[..len]);
            match open(&disk.restart(), 2) {
                Ok((log, _)) => assert_eq!(bodies(&log).len(), sizes.len(), "{len} bytes left"),
                Err(OpenError::Damaged(_)) => {}
                Err(error) => panic!("{len} bytes left: {error:?}"),
            }
        }
    }
}

/// A tail that a cut has left, and the same with an acknowledged bit flipped. What it was: whether
/// the first was torn, and whether there was an acknowledged batch to flip a bit of.
fn torn_and_damaged(seed: u64) -> Result<(bool, bool), String> {
    let chance = Chance::new(seed);
    let disk = SimDisk::with_seed(seed);
    let (log, _) = open(&disk, seed).unwrap();
    disk.crash_at(disk.steps() + 2 + chance.below(16));
    let mut ends = vec![4_096];
    let mut records = 0;
    loop {
        let sizes: Vec<Vec<u8>> = (0..1 + chance.below(3))
            .map(|_| vec![b'x'; usize::try_from(chance.below(400)).unwrap()])
            .collect();
        let slices: Vec<&[u8]> = sizes.iter().map(Vec::as_slice).collect();
        match append(&log, "s", &slices) {
            Ok(_) => {
                ends.push(*batches(&disk, SEGMENT).last().unwrap());
                records += slices.len();
            }
            Err(_) => break,
        }
    }
    drop(log);
    let kind = chance.below(7);
    let after = disk.after_crash(left(kind, seed));
    let (log, report) = open(&after.restart(), 2)
        .map_err(|error| format!("seed {seed}, kind {kind}: a torn tail: {error:?}"))?;
    if bodies(&log).len() < records {
        return Err(format!(
            "seed {seed}, kind {kind}: {records} were acknowledged"
        ));
    }
    let is_torn = report.dropped_len > 0;
    // A bit of any acknowledged batch but the last: the one behind it is proof.
    let until = ends.len().checked_sub(2).map_or(4_096, |at| ends[at]);
    if until == 4_096 {
        return Ok((is_torn, false));
    }
    let at = 4_096 + chance.below(until as u64 - 4_096);
    after.flip_bit(SEGMENT, at, u32::try_from(chance.below(8)).unwrap());
    match open(&after, 3) {
        Err(OpenError::Damaged(_)) => Ok((is_torn, true)),
        opened => Err(format!(
            "seed {seed}, kind {kind}: a flip at {at} below {until}: {opened:?}"
        )),
    }
}

#[test]
fn torn_tails_open_and_damaged_ones_are_refused() {
    let figure = Figure::of(
        "C3",
        "pairs of a torn tail and a damaged one",
        [300, 100_000, 100_000],
    );
    let torn = AtomicU64::new(0);
    let pairs = setting("STRANDLOG_TEST_TORN_PAIRS");
    let damaged = shared(seeds("STRANDLOG_TEST_TORN_PAIRS"), 64, |seeds| {
        let mut damaged = 0;
        for seed in seeds {
            let (is_torn, is_damaged) = torn_and_damaged(seed)?;
            torn.fetch_add(u64::from(is_torn), Ordering::Relaxed);
            damaged += u64::from(is_damaged);
        }
        Ok(damaged)
    });
    let damaged = damaged.unwrap_or_else(|error| panic!("{error}"));
    let torn = torn.into_inner();
    assert!(
        torn > pairs / 10 && damaged > pairs / 2,
        "{torn}, {damaged}"
    );
    figure.reached(damaged);
}

/// Batches are cut off, and new ones of the same sizes written in their place.
pub(crate) fn old_batches() -> Result<u64, String> {
    for seed in 0..300 {
        let chance = Chance::new(seed);
        // Several batches in flight, none of them synced.
        let disk = SimDisk::with_seed(seed);
        let options = strandlog_engine::Options {
            durability: strandlog_engine::Durability::Os,
            os_sync_interval_ms: 3_600_000,
            ..super::support::small(seed)
        };
        let (log, _) = Log::open(disk.root(), options).unwrap();
        for number in 0..20_u8 {
            append(&log, "s", &[&[number; 200]]).unwrap();
        }
        let mut disk = disk.after_crash(Left::Random(seed));
        drop(log);
        // Now the same sizes once more, cut off again and again at any step.
        let mut want: Vec<Vec<u8>> = Vec::new();
        for generation in 1..4_u8 {
            let (log, _) = match open(&disk, seed + u64::from(generation) * 1_000) {
                Ok(opened) => opened,
                Err(error) => {
                    return Err(format!("seed {seed}, generation {generation}: {error:?}"));
                }
            };
            let found = bodies(&log);
            if generation > 1 {
                if !found.starts_with(&want) {
                    return Err(format!("seed {seed}: acknowledged is lost"));
                }
                let news = &found[want.len()..];
                if news.len() > 1 || news.iter().any(|body| body[0] != 100 + generation - 1) {
                    return Err(format!(
                        "seed {seed}, generation {generation}: old records are back"
                    ));
                }
            }
            want = found;
            disk.crash_at(disk.steps() + chance.below(12));
            while append(&log, "s", &[&[100 + generation; 200]]).is_ok() {
                want.push(vec![100 + generation; 200]);
            }
            disk = disk.after_crash(left(chance.below(7), seed));
        }
    }
    Ok(300)
}

#[test]
fn old_batches_behind_a_cut_never_come_back() {
    old_batches().unwrap_or_else(|error| panic!("{error}"));
}

/// A checksum may end in a zero, and a mark in its checksum: the mark is proof all the same.
#[test]
fn a_mark_proves_damage_also_when_its_last_byte_is_zero() {
    let ends_in_zero = (0..10_000).find_map(|seed| {
        let disk = SimDisk::new();
        let (log, _) = open(&disk, seed).unwrap();
        append(&log, "s", &[b"acknowledged"]).unwrap();
        log.close().unwrap();
        let end = *batches(&disk, SEGMENT).last().unwrap();
        (disk.read_file(SEGMENT)[end - 1] == 0).then_some(disk)
    });
    let disk = ends_in_zero.expect("one checksum in 256 ends in zero");
    disk.flip_bit(SEGMENT, 4_096 + 48 + 20, 1);
    let damage = refused(&disk);
    assert_eq!(damage.first_id, Some(id(1)));
}
