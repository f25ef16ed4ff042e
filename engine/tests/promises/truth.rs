//! A log of which everything is known, and what becomes of it when something on its disk is wrong.

use std::collections::BTreeSet;

use strandlog_engine::storage::sim::SimDisk;
use strandlog_engine::{Damage, Direction, Log, OpenError, Query, ReadError, verify};

use super::support::{Act, Event, Story, batch, contents, drain, event, files, id, open, query};

/// What a disk with something wrong on it must be compared with.
pub(crate) struct Truth {
    pub(crate) events: Vec<Event>,
    /// Files of a sound log.
    pub(crate) disk: SimDisk,
    /// The same files at earlier times, the oldest first.
    pub(crate) earlier: Vec<SimDisk>,
}

/// A log with these batches of these body lengths, closed, with all its index files.
pub(crate) fn truth(batches: &[&[usize]]) -> Truth {
    truth_of(1, batches)
}

/// The same with a seed for what makes one log differ from another with the same contents.
pub(crate) fn truth_of(seed: u64, batches: &[&[usize]]) -> Truth {
    let disk = SimDisk::new();
    let (log, _) = open(&disk, seed).unwrap();
    let mut earlier = Vec::new();
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
        earlier.push(disk.restart());
    }
    story.act(&log, &Act::Advance(0)).unwrap();
    log.upkeep_now();
    log.close().unwrap();
    let (log, _) = open(&disk, seed + 1).unwrap();
    story.check(&log).unwrap();
    drop(log);
    Truth {
        events: story.events,
        disk,
        earlier,
    }
}

/// What became of a log with damage in it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    Refused,
    /// Opened; these ids cannot be read.
    Lost(BTreeSet<u64>),
}

impl Truth {
    /// Opens the disk and asks everything: each answer is right, or an error that names what it
    /// is about. What `verify` says beforehand covers what is lost, and what is not lost goes on.
    pub(crate) fn examine(&self, disk: &SimDisk) -> Result<Outcome, String> {
        let before = contents(disk);
        let named = named(disk)?;
        let log = match open(disk, 3) {
            Ok((log, _)) => log,
            Err(OpenError::Damaged(damage)) => {
                if !before.contains_key(&damage.file) {
                    return Err(format!("{damage} names no file"));
                }
                // Only an open compares ranks, which no fault of a disk makes wrong.
                let is_rank = damage.what.contains("rank");
                if named == Some(Vec::new()) && !is_rank {
                    return Err(format!("{damage}, and verify finds none"));
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
                    let record = records.get(0).unwrap().ok_or("nothing")?;
                    if record.body != event.body || record.id.get() != number {
                        return Err(format!("{number} is wrong"));
                    }
                }
                Err(ReadError::Damaged(damage)) => {
                    self.is_named(number, &damage)?;
                    // A record that lies where it does not belong is whole to the one, and not
                    // found by the other.
                    let is_known =
                        |named: &Vec<Damage>| named.iter().any(|it| it.file == damage.file);
                    if !named.as_ref().is_none_or(is_known) {
                        return Err(format!("{number} is lost, and verify says {named:?}"));
                    }
                    lost.insert(number);
                }
                other => return Err(format!("{number}: {other:?}")),
            }
        }
        for direction in [Direction::Forward, Direction::Backward] {
            self.scan_around(&log, direction, &lost)?;
        }
        self.ask_tags(&log, &lost)?;
        if !lost.is_empty() {
            // The rest stays writable, too.
            let added = event(self.events.len() as u64 + 1, 30);
            let batch = batch("s", &[&added.body]);
            let receipt = log
                .append(batch)
                .wait()
                .map_err(|error| error.to_string())?;
            let records = log
                .read(receipt.first_id)
                .map_err(|error| error.to_string())?;
            let records = records.ok_or("what was appended is not there")?;
            if receipt.first_id != id(last + 1)
                || records.get(0).unwrap().unwrap().body != added.body
            {
                return Err(format!("{} was appended", receipt.first_id));
            }
        }
        Ok(Outcome::Lost(lost))
    }

    /// The damage that costs this id names its segment, a place in it, and the id.
    fn is_named(&self, number: u64, damage: &Damage) -> Result<(), String> {
        let segments = files(&self.disk, ".seg");
        let holder = segments
            .iter()
            .rfind(|name| name[..20].parse::<u64>().unwrap() <= number);
        let names_place = |holder: &String| {
            let len = self.disk.read_file(holder).len() as u64;
            damage.file == *holder && damage.offset <= len
        };
        // Without its file an id counts as one of the segment before.
        let is_place = holder.is_some_and(names_place) || segments.contains(&damage.file);
        if is_place && names(damage, number) {
            return Ok(());
        }
        Err(format!("{number} is lost, and the reason is {damage}"))
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
                            let record = record.unwrap();
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
    pub(crate) fn check(&self, disk: &SimDisk, what: &str) -> Outcome {
        match self.examine(disk) {
            Ok(outcome) => outcome,
            Err(error) => panic!("{what}: {error}"),
        }
    }

    /// A copy of the disk to damage.
    pub(crate) fn copy(&self) -> SimDisk {
        self.disk.restart()
    }
}

fn names(damage: &Damage, number: u64) -> bool {
    damage.first_id.is_some_and(|first| first.get() <= number)
        && damage.last_id.is_none_or(|last| last.get() >= number)
}

/// What `verify` says is lost; nothing if it cannot read the format.
pub(crate) fn named(disk: &SimDisk) -> Result<Option<Vec<Damage>>, String> {
    match verify(&disk.root(), &mut |_, _| {}) {
        Ok(report) => Ok(Some(report.damage)),
        Err(OpenError::NewerFormat { .. }) => Ok(None),
        Err(error) => Err(format!("verify: {error:?}")),
    }
}

/// Where the records and batch headers of a file end.
pub(crate) fn data_end(bytes: &[u8]) -> usize {
    bytes
        .iter()
        .rposition(|byte| *byte != 0)
        .map_or(0, |last| last + 1)
}

fn found(log: &Log, question: &Query) -> Result<Vec<u64>, ReadError> {
    let mut scan = log.query(question, log.first()..log.end(), Direction::Forward)?;
    Ok(drain(&mut scan)?.into_iter().map(|seen| seen.id).collect())
}

/// A longer log: five sealed segments and a tail.
pub(crate) fn long() -> Truth {
    let lens: Vec<usize> = (0..70).map(|number| (number * 137) % 1_100).collect();
    let batches: Vec<&[usize]> = lens.chunks(3).collect();
    truth(&batches)
}

/// A log in which every batch is 512 bytes long: what stands in a wrong block is whole batches.
pub(crate) fn even() -> Truth {
    let truth = truth(&[&[396][..]; 60]);
    let bytes = truth.disk.read_file(&files(&truth.disk, ".seg")[0]);
    let starts_batch = |at: usize| bytes[at..].starts_with(&[0x42, 0x41, 0x54, 0x80]);
    assert!((4_096..4_096 + 16 * 512).step_by(512).all(starts_batch));
    truth
}
