//! Repair: a damaged log opens again, with everything that can still be read and an explicit gap for
//! everything else; nothing damaged is served, no id is given out twice, and no power cut makes it
//! worse.

use std::collections::BTreeSet;
use std::sync::Arc;

use strandlog_engine::storage::Storage;
use strandlog_engine::storage::sim::SimDisk;
use strandlog_engine::{
    AppendError, Batch, Checkpoint, Direction, Log, OpenError, ReadError, RepairAct, RepairPlan,
    RepairReport, Tag, repair, verify,
};

use super::support::{
    Chance, Event, Story, append, contents, event, files, id, open, query, setting, small,
};

/// What a repaired log must be compared with.
pub(crate) struct Truth {
    pub(crate) events: Vec<Event>,
    pub(crate) disk: SimDisk,
}

/// A closed log with these batches of these body lengths, and a checkpoint at its end.
pub(crate) fn truth(batches: &[&[usize]]) -> Truth {
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
    let checkpoint = Checkpoint {
        position: number,
        definition: b"of the consumer".to_vec().into(),
    };
    log.create_checkpoint("consumer", checkpoint)
        .wait()
        .unwrap();
    log.upkeep_now();
    log.close().unwrap();
    Truth {
        events: story.events,
        disk,
    }
}

/// Sealed segments and a tail, with some records in each.
pub(crate) fn long() -> Truth {
    let lens: Vec<usize> = (0..60).map(|number| (number * 137) % 1_100).collect();
    let batches: Vec<&[usize]> = lens.chunks(3).collect();
    let truth = truth(&batches);
    assert!(files(&truth.disk, ".seg").len() >= 4);
    truth
}

/// A sealed segment and a tail with three records each.
pub(crate) fn short() -> Truth {
    truth(&[&[40, 0], &[30], &[7_750], &[20, 20]])
}

pub(crate) fn repair_on(storage: Arc<dyn Storage>, seed: u64) -> Result<RepairReport, OpenError> {
    repair(storage, &small(seed), &mut |_| true, &mut |_, _| {})
}

pub(crate) fn repaired(disk: &SimDisk, seed: u64) -> Result<RepairReport, String> {
    repair_on(disk.root(), seed).map_err(|error| format!("repair: {error:?}"))
}

pub(crate) fn planned(disk: &SimDisk) -> RepairPlan {
    let mut shown = None;
    let report = repair(
        disk.root(),
        &small(9),
        &mut |plan| {
            shown = Some(plan.clone());
            false
        },
        &mut |_, _| {},
    )
    .unwrap();
    assert!(!report.is_done);
    if let Some(shown) = shown {
        assert_eq!(shown, report.plan);
    }
    report.plan
}

impl Truth {
    pub(crate) fn copy(&self) -> SimDisk {
        self.disk.restart()
    }

    pub(crate) fn last(&self) -> u64 {
        self.events.len() as u64
    }

    /// Opens a repaired log and asks it everything; the ids it has lost.
    pub(crate) fn check(&self, disk: &SimDisk) -> Result<BTreeSet<u64>, String> {
        let (log, report) = open(disk, 5).map_err(|error| format!("does not open: {error:?}"))?;
        let lost: BTreeSet<u64> = log
            .losses()
            .into_iter()
            .flat_map(|range| range.start().get()..=range.end().get())
            .collect();
        if report.lost_records != lost.len() as u64 {
            return Err(format!("{} lost, said the start", report.lost_records));
        }
        self.check_reads(&log, &lost)?;
        // The index is made again as far as it can be.
        for _ in 0..3 {
            log.upkeep_now();
        }
        self.check_tags(&log, &lost)?;
        self.check_appends(&log)?;
        self.check_reads(&log, &lost)?;
        log.upkeep_now();
        if log.stats().upkeep_failures > 0 {
            return Err(format!(
                "upkeep failed {} times",
                log.stats().upkeep_failures
            ));
        }
        log.close().map_err(|error| error.to_string())?;
        let verified = verify(&disk.root(), &mut |_, _| {}).map_err(|error| error.to_string())?;
        if !verified.damage.is_empty() || !verified.derived.is_empty() {
            return Err(format!("{:?} {:?}", verified.damage, verified.derived));
        }
        let recorded: BTreeSet<u64> = verified
            .losses
            .iter()
            .flat_map(|it| it.first_id.unwrap().get()..=it.last_id.unwrap().get())
            .collect();
        if recorded != lost {
            return Err(format!("verify says {recorded:?}, the log {lost:?}"));
        }
        let before = contents(disk);
        let again = repaired(disk, 8)?;
        if again.is_done || !again.plan.acts.is_empty() || !again.plan.left.is_empty() {
            return Err(format!("a second repair would do {:?}", again.plan));
        }
        if contents(disk) != before {
            return Err("a second repair has changed something".to_owned());
        }
        Ok(lost)
    }

    /// Each id is right or refused as lost, in each way of reading.
    fn check_reads(&self, log: &Log, lost: &BTreeSet<u64>) -> Result<(), String> {
        let end = log.end().get();
        for number in 1..end {
            match log.read(id(number)) {
                Ok(Some(_)) if lost.contains(&number) => return Err(format!("{number} came back")),
                Ok(Some(records)) => {
                    self.check_one(number, records.get(0).unwrap().unwrap().body)?
                }
                Err(ReadError::Damaged(damage)) if lost.contains(&number) => {
                    let named = damage.first_id.unwrap().get()..=damage.last_id.unwrap().get();
                    if !named.contains(&number) || !named.clone().all(|it| lost.contains(&it)) {
                        return Err(format!("{number} is told as {damage}"));
                    }
                }
                other => return Err(format!("{number}: {other:?}")),
            }
        }
        for direction in [Direction::Forward, Direction::Backward] {
            let (mut from, mut to) = (1, end);
            let mut seen = BTreeSet::new();
            let mut told = BTreeSet::new();
            while from < to {
                let mut scan = log
                    .scan(id(from)..id(to), direction)
                    .map_err(|it| it.to_string())?;
                match scan.next_records(4, 1 << 20) {
                    Ok(Some(records)) => {
                        for record in records.iter() {
                            let record = record.unwrap();
                            self.check_one(record.id.get(), record.body)?;
                            seen.insert(record.id.get());
                            match direction {
                                Direction::Forward => from = record.id.get() + 1,
                                Direction::Backward => to = record.id.get(),
                            }
                        }
                    }
                    Ok(None) => return Err(format!("nothing from {from} to {to}")),
                    Err(ReadError::Damaged(damage)) => {
                        let (first, last) = (damage.first_id.unwrap(), damage.last_id.unwrap());
                        told.extend(first.get()..=last.get());
                        match direction {
                            Direction::Forward => from = last.get() + 1,
                            Direction::Backward => to = first.get(),
                        }
                    }
                    Err(error) => return Err(format!("{direction:?}: {error:?}")),
                }
            }
            if told != *lost || seen != (1..end).filter(|it| !lost.contains(it)).collect() {
                return Err(format!("{direction:?}: saw {seen:?}, was told {told:?}"));
            }
        }
        // Raw, from each gap to the next.
        let mut from = 1;
        while from < end {
            let mut raw = log.raw(id(from)..id(end)).map_err(|it| it.to_string())?;
            match raw.next_piece(1 << 20) {
                Ok(Some(_)) | Ok(None) if lost.contains(&from) => {
                    return Err(format!("raw reading passes over {from}"));
                }
                Ok(_) => from += 1,
                Err(ReadError::Damaged(_)) if lost.contains(&from) => from += 1,
                Err(error) => return Err(format!("raw from {from}: {error:?}")),
            }
        }
        Ok(())
    }

    fn check_one(&self, number: u64, body: &[u8]) -> Result<(), String> {
        let index = usize::try_from(number - 1).unwrap();
        match self.events.get(index) {
            Some(event) if event.body != body => {
                Err(format!("{number} is wrong: {}", body.escape_ascii()))
            }
            None if !body.starts_with(b"after ") => Err(format!("{number} was never published")),
            Some(_) | None => Ok(()),
        }
    }

    /// Every event that is left and carries a tag is found, in order; what comes up beside them is
    /// lost.
    fn check_tags(&self, log: &Log, lost: &BTreeSet<u64>) -> Result<(), String> {
        for tag in ["s", "t0", "t2", "k1", "k5", "nobody"] {
            let want: BTreeSet<u64> = (1..)
                .zip(&self.events)
                .filter(|(number, event)| {
                    !lost.contains(number) && event.tags.iter().any(|it| it == tag)
                })
                .map(|(number, _)| number)
                .collect();
            let question = query(&[&[tag]]);
            let mut found = BTreeSet::new();
            let mut from = 1;
            while from < log.end().get() {
                let range = id(from)..log.end();
                let mut scan = log
                    .query(&question, range, Direction::Forward)
                    .map_err(|error| error.to_string())?;
                match drain_some(&mut scan) {
                    (seen, None) => {
                        found.extend(seen);
                        break;
                    }
                    (seen, Some(ReadError::Damaged(damage))) => {
                        found.extend(seen);
                        from = damage.last_id.unwrap().get() + 1;
                    }
                    (_, Some(error)) => return Err(format!("{tag}: {error:?}")),
                }
            }
            found.retain(|number| *number <= self.last());
            if found != want {
                return Err(format!("{tag}: found {found:?}, not {want:?}"));
            }
            let end = log
                .tag_end(tag.as_bytes())
                .map_err(|error| format!("{tag}: {error:?}"))?;
            if want
                .last()
                .is_some_and(|last| end.is_none_or(|end| end.last_id < *last))
            {
                return Err(format!("{tag} ends at {end:?}, not {:?}", want.last()));
            }
        }
        Ok(())
    }

    /// The log takes more: no id twice, sequences above all that is left, known keys refused.
    fn check_appends(&self, log: &Log) -> Result<(), String> {
        let end = log.end();
        if end.get() <= self.last() {
            return Err(format!(
                "{} ids were given out, the log goes on with {end}",
                self.last()
            ));
        }
        let receipt = append(log, "s", &[b"after one", b"after two"])
            .map_err(|error| format!("append: {error}"))?;
        if receipt.first_id != end {
            return Err(format!("{} after {end}", receipt.first_id));
        }
        let mut ranks = BTreeSet::new();
        for number in 1..=receipt.last_id.get() {
            let Ok(Some(records)) = log.read(id(number)) else {
                continue;
            };
            for (tag, rank) in records.get(0).unwrap().unwrap().tags() {
                if tag == b"s" && !ranks.insert(rank) {
                    return Err(format!("{number} has the sequence {rank} again"));
                }
            }
        }
        for (number, event) in (1..).zip(&self.events) {
            if !matches!(log.read(id(number)), Ok(Some(_))) {
                continue;
            }
            let mut batch = Batch::new();
            let tag = Tag::expecting(event.tags[2].as_bytes(), 0);
            batch.push(&[tag], &[b"after"]).unwrap();
            let again = log.append(batch).wait();
            if !matches!(again, Err(AppendError::Ranks(_))) {
                return Err(format!("the key of {number} is forgotten: {again:?}"));
            }
        }
        Ok(())
    }

    /// Repairs, and checks everything.
    #[track_caller]
    pub(crate) fn repair_and_check(
        &self,
        disk: &SimDisk,
        what: &str,
    ) -> (RepairReport, BTreeSet<u64>) {
        let sound: Vec<_> = contents(disk).into_iter().collect();
        let report = repaired(disk, 4).unwrap_or_else(|error| panic!("{what}: {error}"));
        // What was there is there, under this name or another.
        let after = contents(disk);
        for (name, bytes) in sound {
            let is_log = name.ends_with(".seg") || name.ends_with(".ckp");
            assert!(
                !is_log || after.values().any(|kept| *kept == bytes),
                "{what}: {name} is gone"
            );
        }
        let lost = self.check(disk).unwrap_or_else(|error| {
            panic!("{what}: {error}\nplan: {:#?}", report.plan);
        });
        (report, lost)
    }
}

/// The ids that a scan hands out, and how it ends.
fn drain_some(scan: &mut strandlog_engine::Scan) -> (Vec<u64>, Option<ReadError>) {
    let mut seen = Vec::new();
    loop {
        match scan.next_records(3, 1 << 20) {
            Ok(Some(records)) => seen.extend(records.iter().map(|record| record.unwrap().id.get())),
            Ok(None) => return (seen, None),
            Err(error) => return (seen, Some(error)),
        }
    }
}

pub(crate) fn data_end(bytes: &[u8]) -> usize {
    bytes
        .iter()
        .rposition(|byte| *byte != 0)
        .map_or(0, |last| last + 1)
}

#[test]
fn a_sound_log_is_left_as_it_is() {
    let truth = long();
    let disk = truth.copy();
    let before = contents(&disk);
    let report = repaired(&disk, 4).unwrap();
    assert!(!report.is_done);
    assert_eq!((report.plan.acts, report.plan.left), (vec![], vec![]));
    assert_eq!(report.plan.records, truth.last());
    assert_eq!(contents(&disk), before);
    assert_eq!(truth.check(&disk), Ok(BTreeSet::new()));
}

#[test]
fn a_plan_that_is_not_confirmed_changes_nothing() {
    let truth = short();
    let disk = truth.copy();
    let tail = files(&disk, ".seg").pop().unwrap();
    disk.flip_bit(&tail, 4_096 + 60, 3);
    let before = contents(&disk);
    let plan = planned(&disk);
    assert!(
        matches!(&plan.acts[..], [RepairAct::Close { .. }]),
        "{plan:?}"
    );
    let lost: Vec<_> = plan
        .lost()
        .map(|lost| (lost.first_id, lost.last_id))
        .collect();
    assert_eq!(lost, [(id(4), id(4))]);
    assert_eq!(contents(&disk), before);
}

#[test]
fn every_flipped_bit_of_the_tail_is_repaired_and_costs_one_record() {
    let truth = truth(&[&[40, 0], &[30], &[20, 20]]);
    let file = &files(&truth.disk, ".seg")[0];
    let end = data_end(&truth.disk.read_file(file)) as u64;
    let every = setting("STRANDLOG_TEST_REPAIR_BITS_EVERY");
    let bits = (0..64 * 8).chain(4_096 * 8..end * 8);
    let mut acts = 0;
    for bit in bits.filter(|bit| bit % every == 0) {
        let disk = truth.copy();
        disk.flip_bit(file, bit / 8, u32::try_from(bit % 8).unwrap());
        // A changed version looks like a newer one.
        if (8 * 8..12 * 8).contains(&bit) {
            continue;
        }
        let (report, lost) = truth.repair_and_check(&disk, &format!("bit {bit}"));
        assert!(lost.len() <= 1, "bit {bit}: {lost:?}");
        acts += report.plan.acts.len();
    }
    assert!(acts as u64 * every > 2_000, "{acts}");
}

#[test]
fn every_flipped_bit_of_a_sealed_segment_is_repaired_and_costs_one_record() {
    let truth = short();
    let file = &files(&truth.disk, ".seg")[0];
    let end = data_end(&truth.disk.read_file(file)) as u64;
    let every = setting("STRANDLOG_TEST_REPAIR_BITS_EVERY");
    let bits = (0..64 * 8).chain(4_096 * 8..end * 8);
    for bit in bits.filter(|bit| bit % every == 0) {
        if (8 * 8..12 * 8).contains(&bit) {
            continue;
        }
        for with_runs in [true, false] {
            let disk = truth.copy();
            disk.flip_bit(file, bit / 8, u32::try_from(bit % 8).unwrap());
            if !with_runs {
                for derived in files(&disk, ".tags").iter().chain(&files(&disk, ".idx")) {
                    disk.remove_file(derived);
                }
            }
            let (report, lost) = truth.repair_and_check(&disk, &format!("bit {bit}"));
            assert!(lost.len() <= 1, "bit {bit}: {lost:?}");
            for lost in report.plan.lost() {
                assert_eq!(lost.tags_are_known, with_runs, "bit {bit}");
            }
        }
    }
}

/// A block of any file of the log goes wrong, in the way of this seed.
fn break_block(disk: &SimDisk, seed: u64) -> String {
    let chance = Chance::new(seed);
    let segments = files(disk, ".seg");
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
    match chance.below(5) {
        0 => bytes[range].fill(0),
        1 => bytes[range].fill(0xff),
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
        _ => {
            let half = range.start + usize::try_from(chance.below(block as u64)).unwrap();
            bytes[half..range.end].fill(0);
        }
    }
    disk.write_file(&file, &bytes);
    format!("seed {seed}: {file}, block {at} of {block}")
}

#[test]
fn blocks_that_are_zeroed_filled_swapped_doubled_or_stale_are_repaired() {
    let truth = long();
    let count = setting("STRANDLOG_TEST_REPAIR_BLOCKS");
    let (mut repairs, mut left) = (0, 0);
    for seed in 0..count {
        let disk = truth.copy();
        let mut what = break_block(&disk, seed);
        if seed % 3 == 0 {
            what += &break_block(&disk, seed + count);
        }
        if seed % 4 == 0 {
            for run in files(&disk, ".tags") {
                disk.remove_file(&run);
            }
        }
        let plan = planned(&disk);
        if !plan.left.is_empty() {
            // The header of another segment, whole, in this one's place.
            assert!(
                plan.left[0].what.contains("another place"),
                "{what}: {plan:?}"
            );
            left += 1;
            continue;
        }
        let (report, lost) = truth.repair_and_check(&disk, &what);
        repairs += u64::from(report.is_done);
        assert!(lost.len() < 40 || report.is_done, "{what}: {lost:?}");
    }
    assert!(repairs > count / 3, "{repairs} of {count}");
    assert!(left < count / 8, "{left}");
}

#[test]
fn a_segment_that_is_missing_empty_or_cut_off_becomes_a_gap() {
    let truth = long();
    let segments = files(&truth.disk, ".seg");
    let number = |name: &str| name[..20].parse::<u64>().unwrap();
    let (file, next) = (&segments[1], &segments[2]);
    let all: BTreeSet<u64> = (number(file)..number(next)).collect();
    let bytes = truth.disk.read_file(file);
    for with_runs in [true, false] {
        for content in [None, Some(0), Some(2_000), Some(4_096)] {
            let disk = truth.copy();
            match content {
                Some(len) => disk.write_file(file, &bytes[..len]),
                None => disk.remove_file(file),
            }
            if !with_runs {
                for run in files(&disk, ".tags") {
                    disk.remove_file(&run);
                }
            }
            let (_, lost) = truth.repair_and_check(&disk, &format!("{content:?}"));
            assert_eq!(lost, all, "{content:?}");
        }
    }
    for len in (4_096..bytes.len()).step_by(997) {
        let disk = truth.copy();
        disk.write_file(file, &bytes[..len]);
        let (_, lost) = truth.repair_and_check(&disk, &format!("{len} bytes left"));
        let first = number(next) - lost.len() as u64;
        assert!(lost.iter().copied().eq(first..number(next)), "{lost:?}");
    }
}

#[test]
fn a_tail_that_is_empty_zeroed_or_cut_off_is_closed_behind_all_ids_it_can_have_had() {
    let truth = long();
    let file = files(&truth.disk, ".seg").pop().unwrap();
    let bytes = truth.disk.read_file(&file);
    let used = data_end(&bytes);
    for len in [0, 2_000, 4_096]
        .into_iter()
        .chain((4_100..used).step_by(397))
    {
        let disk = truth.copy();
        disk.write_file(&file, &bytes[..len]);
        let (report, lost) = truth.repair_and_check(&disk, &format!("{len} bytes left"));
        assert!(report.is_done);
        assert!(!lost.is_empty(), "{len}");
    }
    let disk = truth.copy();
    disk.write_file(&file, &vec![0; bytes.len()]);
    truth.repair_and_check(&disk, "zeros");
}

#[test]
fn a_tail_whose_first_block_is_gone_keeps_all_its_records() {
    for truth in [long(), truth(&[&[40, 0], &[30], &[20, 20]])] {
        let file = files(&truth.disk, ".seg").pop().unwrap();
        for with_checkpoints in [true, false] {
            let disk = truth.copy();
            let mut bytes = disk.read_file(&file);
            bytes[..4_096].fill(0);
            disk.write_file(&file, &bytes);
            if !with_checkpoints {
                disk.remove_file(&files(&disk, ".ckp")[0]);
            }
            let (report, lost) = truth.repair_and_check(&disk, "the first block");
            let kept = lost.first().is_none_or(|first| *first > truth.last());
            assert!(kept, "{lost:?}");
            assert_eq!(report.set_aside_files, 1);
            assert_eq!(report.set_aside_len, bytes.len() as u64);
            assert_eq!(disk.read_file(&format!("{file}.1.damaged")), bytes);
        }
    }
}

#[test]
fn a_file_of_another_log_is_left_and_said_so() {
    let truth = long();
    let other = SimDisk::new();
    let (log, _) = open(&other, 77).unwrap();
    append(&log, "s", &[b"of another log"]).unwrap();
    log.create_checkpoint("c", Checkpoint::default())
        .wait()
        .unwrap();
    log.close().unwrap();
    for ending in [".seg", ".ckp"] {
        for file in files(&truth.disk, ending) {
            let disk = truth.copy();
            disk.write_file(&file, &other.read_file(&files(&other, ending)[0]));
            let before = contents(&disk);
            let report = repaired(&disk, 4).unwrap();
            assert!(!report.is_done, "{file}: {:?}", report.plan);
            assert_eq!(report.plan.left.len(), 1, "{file}");
            assert_eq!(report.plan.left[0].file, file);
            assert_eq!(contents(&disk), before);
            // Once it is taken away the rest is repaired.
            if file != files(&truth.disk, ".seg")[0] {
                disk.remove_file(&file);
                truth.repair_and_check(&disk, &file);
            }
        }
    }
}

#[test]
fn a_newer_version_is_refused_and_not_touched() {
    let truth = long();
    for file in files(&truth.disk, ".seg")
        .into_iter()
        .chain(files(&truth.disk, ".ckp"))
    {
        let disk = truth.copy();
        disk.corrupt(&file, 8, |_| 2);
        let before = contents(&disk);
        let refused = repair_on(disk.root(), 4).unwrap_err();
        assert!(
            matches!(&refused, OpenError::NewerFormat { file: named, .. } if *named == file),
            "{refused:?}"
        );
        assert_eq!(contents(&disk), before);
    }
}

#[test]
fn a_log_in_use_or_a_foreign_directory_is_not_repaired() {
    let truth = short();
    let (log, _) = open(&truth.disk, 3).unwrap();
    let used = repair_on(truth.disk.root(), 4);
    assert!(matches!(used, Err(OpenError::InUse)));
    drop(log);
    let disk = SimDisk::new();
    disk.write_file("notes.txt", b"mine");
    let foreign = repair_on(disk.root(), 4);
    assert!(matches!(foreign, Err(OpenError::NotALog { .. })));
    assert_eq!(disk.paths(), ["notes.txt"]);
}

/// The damage of a sweep: a tail, a sealed segment, headers, a missing one, checkpoints.
pub(crate) fn broken(truth: &Truth, kind: u64) -> SimDisk {
    let disk = truth.copy();
    let segments = files(&disk, ".seg");
    let tail = segments.last().unwrap();
    match kind {
        0 => disk.flip_bit(tail, 4_096 + 60, 1),
        1 => {
            disk.flip_bit(&segments[1], 4_096 + 60, 1);
            disk.corrupt(&segments[2], 20, |byte| !byte);
            for run in files(&disk, ".tags") {
                disk.remove_file(&run);
            }
        }
        2 => {
            disk.corrupt(tail, 17, |byte| !byte);
            disk.flip_bit(tail, 4_096 + 300, 1);
            disk.remove_file(&segments[1]);
        }
        3 => {
            disk.flip_bit(tail, 4_096 + 60, 1);
            disk.flip_bit(&files(&disk, ".ckp")[0], 4_096 + 60, 1);
        }
        _ => {
            let bytes = disk.read_file(tail);
            disk.write_file(tail, &bytes[..5_000]);
        }
    }
    disk.restart()
}
