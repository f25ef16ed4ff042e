//! Every single bit of a log, flipped: in memory, where each is soon judged, and on the real disk under
//! a log that is open.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;

use strandlog_engine::fuzzing::Checks;
use strandlog_engine::storage::sim::SimDisk;
use strandlog_engine::storage::{DiskStorage, Storage};
use strandlog_engine::{Direction, Log, Options, ReadError, verify};

use super::figures::{Figure, seeds, shared};
use super::support::{
    Chance, Event, HandClock, drain, event, files, id, matches, query, setting, small,
};
use super::truth::data_end;

/// A stretch of a file.
#[derive(Clone, Copy, Debug)]
struct Part {
    start: usize,
    end: usize,
    /// The record that is read.
    id: u64,
    kind: Kind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// Without it no record of the segment can be read.
    SegmentHeader,
    /// The record's own.
    Record,
    /// No record depends on it.
    BatchHeader,
    /// Nothing depends on it.
    Zeros,
}

impl Part {
    fn is_record(&self) -> bool {
        self.kind == Kind::Record
    }
}

/// A segment, taken apart by the lengths that are written in it.
struct Segment {
    name: String,
    file: File,
    bytes: Vec<u8>,
    parts: Vec<Part>,
    is_tail: bool,
}

/// Takes a segment apart by the lengths that are written in it.
fn take_apart(name: &str, bytes: &[u8]) -> Vec<Part> {
    let word = |at: usize| {
        let word = u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap());
        usize::try_from(word).unwrap()
    };
    let mut id: u64 = name[..20].parse().unwrap();
    let mut parts = Vec::new();
    let mut add = |start, end, id, kind| {
        parts.push(Part {
            start,
            end,
            id,
            kind,
        });
    };
    add(0, 64, id, Kind::SegmentHeader);
    add(64, 4_096, id, Kind::Zeros);
    let (mut at, end) = (4_096, data_end(bytes));
    while at < end {
        let (mut record, records) = (at + 48, word(at + 8));
        // A mark is followed by nothing that is its own.
        add(at, record, id - u64::from(records == 0), Kind::BatchHeader);
        for _ in 0..records {
            add(record, record + word(record), id, Kind::Record);
            record += word(record);
            id += 1;
        }
        assert_eq!(record, at + word(at + 4), "a batch is its records");
        at = record;
    }
    add(at, bytes.len(), id - 1, Kind::Zeros);
    parts
}

impl Segment {
    fn new(directory: &Path, name: &str, is_tail: bool) -> Self {
        let path = directory.join(name);
        let bytes = std::fs::read(&path).unwrap();
        let parts = take_apart(name, &bytes);
        let file = OpenOptions::new().write(true).open(path).unwrap();
        Self {
            name: name.to_owned(),
            file,
            bytes,
            parts,
            is_tail,
        }
    }

    fn flip(&self, offset: usize, bit: u32) {
        let byte = self.bytes[offset] ^ 1_u8.rotate_left(bit);
        self.file.write_all_at(&[byte], offset as u64).unwrap();
    }

    fn mend(&self, offset: usize) {
        let byte = self.bytes[offset];
        self.file.write_all_at(&[byte], offset as u64).unwrap();
    }
}

/// A log that is as long as this run wants it, and what is in it.
fn fill(storage: Arc<dyn Storage>, len: usize) -> (Log, Vec<Event>) {
    let chance = Chance::new(3);
    let options = Options {
        segment_len: (len as u64 / 16).clamp(16 << 10, 1 << 20),
        // A time of this century: an earlier one, a small number, looks like the length of a record
        // to whoever searches behind a damaged one.
        clock: HandClock::at(1_790_000_000_123_456),
        ..small(1)
    };
    let (log, _) = Log::open(storage, options).unwrap();
    let mut events = Vec::new();
    while log.describe().bytes < len as u64 || log.describe().segments < 2 {
        let some: Vec<Event> = (0..1 + chance.below(4))
            .map(|_| {
                let number = events.len() as u64 + 1 + chance.below(1 << 20);
                event(number, usize::try_from(chance.below(900)).unwrap())
            })
            .collect();
        let mut batch = strandlog_engine::Batch::new();
        for event in &some {
            let tags: Vec<_> = event
                .tags
                .iter()
                .map(|tag| strandlog_engine::Tag::new(tag.as_bytes()))
                .collect();
            batch.push(&tags, &[&event.body]).unwrap();
        }
        log.append(batch).wait().unwrap();
        events.extend(some);
    }
    log.upkeep_now();
    (log, events)
}

/// Reads the record and compares it; whether it is refused.
fn is_refused(log: &Log, events: &[Event], number: u64, file: &str) -> Result<bool, String> {
    match log.read(id(number)) {
        Ok(Some(records)) => {
            let record = records.get(0).unwrap().ok_or("nothing")?;
            let event = &events[usize::try_from(number - 1).unwrap()];
            let tags = record.tags().map(|(tag, _)| tag);
            let is_same = record.id.get() == number
                && record.body == event.body
                && tags.eq(event.tags.iter().map(|tag| tag.as_bytes()));
            match is_same {
                true => Ok(false),
                false => Err(format!("{number} is served with wrong bytes")),
            }
        }
        Err(ReadError::Damaged(damage)) => {
            let is_whole = damage.offset == 0;
            let is_named = damage.file == file
                && damage.first_id.is_some_and(|first| first.get() <= number)
                && damage.last_id.is_some_and(|last| last.get() >= number)
                && (is_whole || damage.first_id == damage.last_id);
            match is_named {
                true => Ok(true),
                false => Err(format!("{number} is refused because of {damage}")),
            }
        }
        other => Err(format!("{number}: {other:?}")),
    }
}

/// Flips each bit of the part, and reads the record that it belongs to. Its neighbours are read
/// once in a while.
fn flip_all(log: &Log, events: &[Event], segment: &Segment, part: Part) -> Result<u64, String> {
    let Segment { name, .. } = segment;
    for offset in part.start..part.end {
        for bit in 0..8 {
            segment.flip(offset, bit);
            let refused = is_refused(log, events, part.id, name)
                .map_err(|error| format!("{name}, byte {offset}, bit {bit}: {error}"))?;
            // The header of the segment that is written to is in memory.
            let is_header = part.kind == Kind::SegmentHeader;
            let wanted = part.is_record() || is_header && !segment.is_tail;
            if refused != wanted {
                let how = if refused { "refused" } else { "served" };
                let place = format!("{name}, byte {offset}, bit {bit}");
                return Err(format!("{place}: {} is {how}, {part:?}", part.id));
            }
        }
        if offset % 509 == 0 && part.kind != Kind::SegmentHeader {
            for number in [part.id - 1, part.id + 1] {
                let holder = segment
                    .parts
                    .iter()
                    .find(|it| it.id == number && it.is_record());
                if holder.is_some() && is_refused(log, events, number, name)? {
                    return Err(format!("byte {offset} costs {number}, too"));
                }
            }
        }
        segment.mend(offset);
    }
    if is_refused(log, events, part.id, name)? {
        return Err(format!("{} does not come back", part.id));
    }
    Ok(8 * (part.end - part.start) as u64)
}

/// Asks in every way for what lies around a flipped bit: no wrong byte, no skip, no other loss.
fn ask_around(log: &Log, events: &[Event], part: Part) -> Result<(), String> {
    let last = events.len() as u64;
    let lost = |number: u64| part.is_record() && number == part.id;
    let (from, to) = (
        part.id.saturating_sub(20).max(1),
        (part.id + 20).min(last + 1),
    );
    for direction in [Direction::Forward, Direction::Backward] {
        for range in [from..part.id, part.id + 1..to] {
            if range.is_empty() {
                continue;
            }
            let mut scan = log
                .scan(id(range.start)..id(range.end), direction)
                .map_err(|error| error.to_string())?;
            let mut seen = drain(&mut scan).map_err(|error| format!("{range:?}: {error:?}"))?;
            if direction == Direction::Backward {
                seen.reverse();
            }
            let want = range.clone().map(|number| {
                let event = &events[usize::try_from(number - 1).unwrap()];
                (number, &event.body)
            });
            if !want.eq(seen.iter().map(|seen| (seen.id, &seen.body))) {
                return Err(format!("{direction:?}: {range:?} is not what it was"));
            }
        }
        let mut across = log
            .scan(id(from)..id(to), direction)
            .map_err(|error| error.to_string())?;
        match drain(&mut across) {
            Ok(_) if !part.is_record() => {}
            Err(ReadError::Damaged(_)) if part.is_record() => {}
            other => return Err(format!("{direction:?} across {}: {other:?}", part.id)),
        }
    }
    let mut raw = log
        .raw(id(from)..id(to))
        .map_err(|error| error.to_string())?;
    let outcome = loop {
        match raw.next_piece(1 << 16) {
            Ok(Some(_)) => {}
            Ok(None) => break Ok(()),
            Err(error) => break Err(error),
        }
    };
    if part.is_record() != matches!(outcome, Err(ReadError::Damaged(_))) {
        return Err(format!("raw, across {}: {outcome:?}", part.id));
    }
    // By a tag that few carry: the answer comes from the index, the bytes from the segment.
    let event = &events[usize::try_from(part.id - 1).unwrap()];
    match matches(log, &query(&[&[&event.tags[2]]]), Direction::Forward) {
        Ok(found) if !lost(part.id) && found.contains(&part.id) => Ok(()),
        Err(ReadError::Damaged(_)) if lost(part.id) => Ok(()),
        other => Err(format!("{}: {other:?}", event.tags[2])),
    }
}

/// Segments of the log in this directory, oldest first.
fn segments(directory: &Path) -> Vec<Segment> {
    let mut names: Vec<String> = std::fs::read_dir(directory)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.ends_with(".seg"))
        .collect();
    names.sort();
    let last = names.last();
    names
        .iter()
        .map(|name| Segment::new(directory, name, Some(name) == last))
        .collect()
}

/// Flips each bit of the part and has it judged by the checks that every read and every start makes.
fn judge_all(bytes: &mut [u8], part: Part, checks: &Checks) -> Result<u64, String> {
    let is_whole = |bytes: &[u8]| match part.kind {
        Kind::SegmentHeader => Checks::of_segment(bytes).is_some(),
        Kind::BatchHeader => checks.is_batch_header(&bytes[part.start..]),
        Kind::Record => checks.is_record(&bytes[part.start..], part.id),
        Kind::Zeros => bytes[part.start..part.end].iter().all(|byte| *byte == 0),
    };
    if !is_whole(bytes) {
        return Err(format!("{part:?} is not whole"));
    }
    // What means nothing has nothing to be judged.
    if part.kind == Kind::Zeros {
        return Ok(0);
    }
    for offset in part.start..part.end {
        for bit in 0..8 {
            bytes[offset] ^= 1 << bit;
            if is_whole(bytes) {
                return Err(format!("byte {offset}, bit {bit}: {part:?} is taken"));
            }
            bytes[offset] ^= 1 << bit;
        }
    }
    Ok(8 * (part.end - part.start) as u64)
}

#[test]
fn every_flipped_bit_of_a_log_fails_the_check_of_what_it_lies_in() {
    let disk = SimDisk::new();
    let len = usize::try_from(setting("STRANDLOG_TEST_CHECKED_KIB")).unwrap() << 10;
    let (log, _) = fill(disk.root(), len);
    log.close().unwrap();
    drop(log);
    let names = files(&disk, ".seg");
    let asked = [8 << 13, 8_192 << 13, 65_536 << 13];
    let figure = Figure::of(
        "C1",
        "flips in a log, judged by the checks of a read",
        asked,
    );
    let flips = shared(names.iter(), 1, |some| {
        let mut count = 0;
        for name in some {
            let mut bytes = disk.read_file(name);
            let checks = Checks::of_segment(&bytes).ok_or("no header")?;
            for part in take_apart(name, &bytes) {
                count += judge_all(&mut bytes, part, &checks)
                    .map_err(|error| format!("{name}: {error}"))?;
            }
        }
        Ok(count)
    });
    figure.reached(flips.unwrap_or_else(|error| panic!("{error}")));
}

#[test]
fn every_flipped_bit_of_a_log_is_detected_by_whoever_reads_the_record_and_costs_no_other() {
    let directory = tempfile::tempdir().unwrap();
    let storage = || -> Arc<dyn Storage> { Arc::new(DiskStorage::open(directory.path()).unwrap()) };
    let len = usize::try_from(setting("STRANDLOG_TEST_LOG_KIB")).unwrap() << 10;
    let (log, events) = fill(storage(), len);
    let segments = segments(directory.path());

    let asked = [24 << 13, 512 << 13, 2_048 << 13];
    let figure = Figure::of("C1", "flips in a log, the record read again", asked);
    let flips = shared(segments.iter(), 1, |some| {
        let mut count = 0;
        for segment in some {
            for part in &segment.parts {
                count += flip_all(&log, &events, segment, *part)?;
            }
        }
        Ok(count)
    });
    figure.reached(flips.unwrap_or_else(|error| panic!("{error}")));

    let figure = Figure::of(
        "C1",
        "flips in that log, every reader asked",
        [20, 5_000, 100_000],
    );
    let place = |seed| {
        let chance = Chance::new(seed);
        let below = |end: usize| usize::try_from(chance.below(end as u64)).unwrap();
        let segment = &segments[below(segments.len())];
        // Records and batch headers only.
        let part = segment.parts[2 + below(segment.parts.len() - 3)];
        let offset = part.start + below(part.end - part.start);
        (segment, part, offset, u32::try_from(below(8)).unwrap())
    };
    let mut count = 0;
    for seed in seeds("STRANDLOG_TEST_SAMPLED_FLIPS") {
        let (segment, part, offset, bit) = place(seed);
        segment.flip(offset, bit);
        if let Err(error) = ask_around(&log, &events, part) {
            panic!("{}, byte {offset}, bit {bit}: {error}", segment.name);
        }
        segment.mend(offset);
        count += 1;
    }
    figure.reached(count);

    log.close().unwrap();
    drop(log);
    let figure = Figure::of("C1", "flips in that log, verified", [1, 250, 1_000]);
    let mut count = 0;
    for seed in seeds("STRANDLOG_TEST_SAMPLED_FLIPS").step_by(20) {
        let (segment, part, offset, bit) = place(seed);
        segment.flip(offset, bit);
        let report = verify(&storage(), &mut |_, _| {}).unwrap();
        let is_named = report.damage.iter().any(|damage| {
            let ids = damage.first_id.map(|first| first.get()) <= Some(part.id)
                && damage.last_id.is_none_or(|last| last.get() >= part.id);
            damage.file == segment.name && (ids || !part.is_record())
        });
        assert!(
            is_named,
            "{}, byte {offset}, bit {bit}: {report:?}",
            segment.name
        );
        segment.mend(offset);
        count += 1;
    }
    figure.reached(count);
}
