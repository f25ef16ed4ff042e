//! From the bytes of a damaged log to what can be done about it.

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::sync::Arc;

use super::carry_out::Work;
use super::files::{Files, read};
use super::plan::{LostEvents, RepairAct, RepairPlan};
use crate::checkpoint::{Rescued, rescue};
use crate::error::{Damage, OpenError};
use crate::format::index;
use crate::format::losses::SegmentLosses;
use crate::format::names;
use crate::format::segment::{HEADER_LEN, HeaderFault, SegmentHeader, SegmentKind, VERSION};
use crate::losses;
use crate::options::Options;
use crate::position::EventId;
use crate::recovery;
use crate::salvage::{
    Examined, Place, examine, log_id_by_records, proven_to, records_max, start_of,
};
use crate::storage::Storage;
use crate::tags::{ID_MAX, check_run, run_span};

/// Plans the repair of the log with these files.
pub(super) fn assess(
    storage: &Arc<dyn Storage>,
    options: &Options,
    files: &Files,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<(RepairPlan, Vec<Work>), OpenError> {
    let Some(log_id) = log_id(storage, options, files)? else {
        let mut plan = RepairPlan::default();
        if let Some(damage) = nothing_to_go_by(files) {
            plan.left.push(damage);
        }
        return Ok((plan, Vec::new()));
    };
    let total = files
        .segments
        .values()
        .chain(files.checkpoints.values())
        .sum();
    let mut assessment = Assessment {
        storage,
        options,
        files,
        log_id,
        recorded: BTreeMap::new(),
        plan: RepairPlan::default(),
        work: Vec::new(),
        runs: HashMap::new(),
        done: 0,
        total,
        progress,
    };
    assessment.run()?;
    Ok((assessment.plan, assessment.work))
}

/// The id of the log, by the most of its files; of as many for one as for another, by the newest.
fn log_id(
    storage: &Arc<dyn Storage>,
    options: &Options,
    files: &Files,
) -> Result<Option<[u8; 16]>, OpenError> {
    let mut votes: Vec<[u8; 16]> = Vec::new();
    let mut damaged = Vec::new();
    let segments = files.segments.keys().map(|first| names::segment(*first));
    let checkpoints = files
        .checkpoints
        .keys()
        .map(|first| names::checkpoints(*first));
    for name in checkpoints.chain(segments) {
        let bytes = head(storage, &name)?;
        match SegmentHeader::decode(&bytes) {
            Ok(header) => votes.push(header.log_id),
            Err(HeaderFault::Newer(version)) => {
                return Err(OpenError::NewerFormat {
                    file: name,
                    version,
                    supported: VERSION,
                });
            }
            Err(HeaderFault::Damaged | HeaderFault::Impossible) => {
                // What stands there may be right all the same: records tell.
                let stored = bytes.get(16..).and_then(|rest| rest.first_chunk());
                damaged.push(stored.copied().unwrap_or_default());
            }
        }
    }
    for first in &files.losses {
        if let Ok(losses) = losses::load(storage, *first, None) {
            votes.push(losses.log_id);
        }
    }
    for first in &files.indexes {
        if let Some((head, _)) = index::decode(&read(storage, &names::index(*first))?) {
            votes.push(head.log_id);
        }
    }
    let count = |id: &[u8; 16]| votes.iter().filter(|vote| *vote == id).count();
    let best = votes.iter().max_by_key(|id| count(id)).copied();
    if best.is_some() {
        return Ok(best.filter(|_| !files.segments.is_empty()));
    }
    for (first, id) in files.segments.keys().rev().zip(damaged.iter().rev()) {
        let bytes = read(storage, &names::segment(*first))?;
        let (masks, start) = start_of(&bytes, *id, *first);
        if examine(&bytes, masks, start, None, &mut |_| {}).records > 0 {
            return Ok(Some(*id));
        }
        let halves = [options.entropy.next_u64(), options.entropy.next_u64()];
        let mut seed = [0; 16];
        let random = halves.into_iter().flat_map(u64::to_le_bytes);
        for (place, byte) in seed.iter_mut().zip(random) {
            *place = byte;
        }
        if let Some(id) = log_id_by_records(&bytes, *first, seed) {
            return Ok(Some(id));
        }
    }
    Ok(None)
}

fn head(storage: &Arc<dyn Storage>, name: &str) -> io::Result<Vec<u8>> {
    let file = storage.open(name, crate::storage::Access::Read)?;
    let len = usize::try_from(file.len())
        .unwrap_or(usize::MAX)
        .min(HEADER_LEN);
    let mut bytes = vec![0; len];
    crate::storage::read_exact_at(&*file, 0, &mut bytes)?;
    Ok(bytes)
}

/// What is said of a log without a segment, or without anything that tells which log it is.
fn nothing_to_go_by(files: &Files) -> Option<Damage> {
    let is_empty = files.segments.is_empty()
        && files.indexes.is_empty()
        && files.losses.is_empty()
        && files.runs.is_empty()
        && files.checkpoints.is_empty()
        && files.set_aside.is_empty();
    let first = files.segments.keys().next_back().copied();
    (!is_empty).then(|| Damage {
        file: names::segment(first.unwrap_or(EventId::FIRST)),
        offset: 0,
        first_id: None,
        last_id: None,
        what: match first {
            None => "there are other files of a log, but no segment is left",
            Some(_) => "nothing is left that tells which log this is",
        }
        .to_owned(),
    })
}

struct Assessment<'a> {
    storage: &'a Arc<dyn Storage>,
    options: &'a Options,
    files: &'a Files,
    log_id: [u8; 16],
    /// The records of losses that are whole.
    recorded: BTreeMap<EventId, SegmentLosses>,
    plan: RepairPlan,
    work: Vec<Work>,
    /// Runs of the tag index, and whether they are sound.
    runs: HashMap<String, bool>,
    done: u64,
    total: u64,
    progress: &'a mut dyn FnMut(u64, u64),
}

/// The bytes of a segment, and its header if that is whole.
type SegmentFile = (Vec<u8>, Option<SegmentHeader>);

/// A segment's file, and what can be read of it.
struct Read {
    bytes: Vec<u8>,
    /// None if it is damaged.
    header: Option<SegmentHeader>,
    examined: Examined,
    places: Vec<Place>,
}

/// What becomes of the newest segment.
struct Closing {
    read: Read,
    cut: usize,
    next_max: u64,
    what: String,
}

impl Assessment<'_> {
    fn run(&mut self) -> Result<(), OpenError> {
        for first in &self.files.losses {
            match losses::load(self.storage, *first, Some(self.log_id)) {
                Ok(losses) => {
                    self.recorded.insert(*first, losses);
                }
                // It is made again from the segment.
                Err(OpenError::Damaged(_)) => {}
                Err(error) => return Err(error),
            }
        }
        let firsts: Vec<EventId> = self.files.segments.keys().copied().collect();
        let Some((tail, sealed)) = firsts.split_last() else {
            return Ok(());
        };
        let nexts = firsts.iter().skip(1);
        for (first, next) in sealed.iter().zip(nexts) {
            self.sealed(*first, *next)?;
        }
        let rescued = self.checkpoints()?;
        let is_foreign = rescued.as_ref().is_some_and(|rescued| rescued.is_foreign);
        let position_max = rescued
            .as_ref()
            .filter(|_| !is_foreign)
            .map_or(0, Rescued::position_max);
        self.tail(*tail, position_max)?;
        if let Some(rescued) = rescued {
            self.rescue(rescued);
        }
        Ok(())
    }

    fn read(&mut self, name: &str) -> Result<Vec<u8>, OpenError> {
        let bytes = read(self.storage, name)?;
        self.done += bytes.len() as u64;
        (self.progress)(self.done, self.total);
        Ok(bytes)
    }

    /// A segment's bytes and header; none if it is another log's, which is not ours to mend.
    fn segment(&mut self, first: EventId) -> Result<Option<SegmentFile>, OpenError> {
        let name = names::segment(first);
        let bytes = self.read(&name)?;
        self.plan.segments += 1;
        match SegmentHeader::decode(&bytes) {
            Ok(header)
                if header.kind != SegmentKind::Events
                    || header.log_id != self.log_id
                    || header.first != first =>
            {
                self.leave(
                    name,
                    "the file belongs to another log or another place: put the right \
                    one there, or take it away, and repair again",
                );
                Ok(None)
            }
            Ok(header) => Ok(Some((bytes, Some(header)))),
            Err(_) => Ok(Some((bytes, None))),
        }
    }

    fn leave(&mut self, file: String, what: &str) {
        self.plan.left.push(Damage {
            file,
            offset: 0,
            first_id: None,
            last_id: None,
            what: what.to_owned(),
        });
    }

    /// Examines the first `cut` bytes of a segment; 0 for all of them.
    fn examine(
        &self,
        bytes: &[u8],
        first: EventId,
        cut: usize,
        end: Option<EventId>,
    ) -> (Examined, Vec<Place>) {
        let (masks, start) = start_of(bytes, self.log_id, first);
        let part = if cut == 0 {
            bytes
        } else {
            bytes.get(..cut).unwrap_or(bytes)
        };
        let mut places = Vec::new();
        let examined = examine(part, masks, start, end, &mut |place| places.push(place));
        (examined, places)
    }

    /// Where a segment without a seal was torn: behind everything that was known durable, at the
    /// first batch that is not whole. 0 if it was not.
    fn torn_at(&self, bytes: &[u8], first: EventId, examined: &Examined) -> usize {
        let (masks, _) = start_of(bytes, self.log_id, first);
        let proven = proven_to(bytes, masks);
        let mut faults = examined.faults.iter();
        let torn = faults.find(|fault| fault.offset >= proven);
        torn.map_or(0, |fault| fault.offset)
    }

    fn sealed(&mut self, first: EventId, next: EventId) -> Result<(), OpenError> {
        let Some((bytes, header)) = self.segment(first)? else {
            return Ok(());
        };
        let recorded = self.recorded.get(&first).cloned();
        let mut cut = recorded.as_ref().map_or(0, |losses| losses.cut);
        let offset = usize::try_from(cut).unwrap_or(usize::MAX);
        let (mut examined, mut places) = self.examine(&bytes, first, offset, Some(next));
        if recorded.is_none() && self.files.losses.contains(&first) && !examined.is_sealed {
            // What was recorded is gone: a segment that repair has closed is judged again.
            cut = self.torn_at(&bytes, first, &examined) as u64;
            let offset = usize::try_from(cut).unwrap_or(usize::MAX);
            (examined, places) = self.examine(&bytes, first, offset, Some(next));
        }
        self.plan.records += examined.records;
        let mut lost = lost_of(&examined);
        if examined.next < next {
            lost.push((
                examined.next,
                next,
                "the next segment is missing or has another name".to_owned(),
            ));
        }
        let is_damaged = header.is_none() || !examined.faults.is_empty() || !lost.is_empty();
        if !is_damaged && cut == 0 && !self.files.losses.contains(&first) {
            return Ok(());
        }
        let ranges = joined(&lost);
        let is_known = recorded.as_ref().is_some_and(|recorded| {
            recorded.ranges == ranges && recorded.end == next && recorded.cut == cut
        });
        let old = recorded.map(|recorded| recorded.ranges).unwrap_or_default();
        if !is_known {
            let lost = self.lost_events(&lost, &old)?;
            self.plan.acts.push(RepairAct::Record {
                file: names::segment(first),
                lost,
            });
            self.record(first, next, cut, ranges);
        }
        if header.is_none() && !places.is_empty() {
            self.rebuild(first, places);
        }
        Ok(())
    }

    fn record(&mut self, first: EventId, end: EventId, cut: u64, ranges: Vec<(EventId, EventId)>) {
        self.work.push(Work::Record(SegmentLosses {
            log_id: self.log_id,
            first,
            end,
            cut,
            made_at_us: self.options.clock.now_us(),
            ranges,
        }));
    }

    fn rebuild(&mut self, first: EventId, places: Vec<Place>) {
        let file = names::segment(first);
        let set_aside = self.files.aside_name(&file);
        self.plan.acts.push(RepairAct::Rebuild {
            file,
            records: places.len() as u64,
            set_aside: set_aside.clone(),
        });
        self.work.push(Work::Rebuild {
            first,
            log_id: self.log_id,
            places,
            set_aside,
        });
    }

    /// The newest segment. `position_max` is the highest checkpoint: ids up to there were durable.
    fn tail(&mut self, first: EventId, position_max: u64) -> Result<(), OpenError> {
        let Some((bytes, header)) = self.segment(first)? else {
            return Ok(());
        };
        let (full, places) = self.examine(&bytes, first, 0, None);
        let is_unfinished = self.files.losses.contains(&first);
        let name = names::segment(first);
        let judged = header.map(|header| recovery::judge(&name, &bytes, &header, |_, _| {}));
        let what = match judged {
            Some(Ok(ending)) => {
                self.plan.records += full.records;
                if position_max < ending.chain.next.get() && !is_unfinished {
                    return Ok(());
                }
                self.plan.records -= full.records;
                if is_unfinished {
                    "a repair was not finished".to_owned()
                } else {
                    "a checkpoint lies beyond the last event".to_owned()
                }
            }
            Some(Err(damage)) => damage.what,
            None => "the segment's header is damaged".to_owned(),
        };
        let closing = self.closing(
            first,
            Read {
                bytes,
                header,
                examined: full,
                places,
            },
            what,
            position_max,
        );
        self.close(first, closing)
    }

    /// Where the newest segment is cut, and behind which id the log goes on.
    fn closing(&self, first: EventId, read: Read, what: String, position_max: u64) -> Closing {
        let Read {
            bytes,
            header,
            examined: full,
            places,
        } = read;
        let (masks, _) = start_of(&bytes, self.log_id, first);
        // Every id that anything speaks of, and room for those that left no trace.
        let mut next_max = full.next_max.get().max(position_max.saturating_add(1));
        let is_bare = header.is_none() && places.is_empty();
        let is_short = header.is_some()
            && !full.is_sealed
            && recovery::is_truncated(&bytes, masks, full.offset, full.offset);
        if is_bare || is_short {
            let lens = self.files.segments.values().copied();
            let made_len = lens.chain([self.options.segment_len]).max().unwrap_or(0);
            let made_len = usize::try_from(made_len).unwrap_or(usize::MAX);
            let from = if is_bare {
                HEADER_LEN
            } else {
                bytes.len().min(full.offset)
            };
            let missing = made_len.saturating_sub(from);
            next_max = next_max.max(full.next.get().saturating_add(records_max(missing)));
        }
        if let Some(recorded) = self.recorded.get(&first) {
            next_max = next_max.max(recorded.end.get());
        }
        // The next segment must have a name of its own.
        next_max = next_max.max(first.get() + 1);
        if full.is_sealed {
            let read = Read {
                bytes,
                header,
                examined: full,
                places,
            };
            return Closing {
                read,
                cut: 0,
                next_max,
                what,
            };
        }
        // Without batch headers nothing tells what was torn: all whole records stay.
        let torn_at = if proven_to(&bytes, masks) > HEADER_LEN || header.is_some() {
            self.torn_at(&bytes, first, &full)
        } else {
            0
        };
        let cut = if torn_at == 0 { full.offset } else { torn_at };
        let cut = cut.clamp(HEADER_LEN.min(bytes.len()), bytes.len());
        let (examined, places) = self.examine(&bytes, first, cut, None);
        Closing {
            read: Read {
                bytes,
                header,
                examined,
                places,
            },
            cut,
            next_max,
            what,
        }
    }

    fn close(&mut self, first: EventId, closing: Closing) -> Result<(), OpenError> {
        let Closing {
            read,
            cut,
            next_max,
            what,
        } = closing;
        let examined = read.examined;
        let file = names::segment(first);
        let next = match EventId::new(next_max) {
            Some(next) if next_max < ID_MAX => next,
            Some(_) | None => {
                self.leave(file, "the ids behind it are spent");
                return Ok(());
            }
        };
        self.plan.records += examined.records;
        let mut lost = lost_of(&examined);
        if examined.next < next {
            let what = format!("ids that may have been given out ({what})");
            lost.push((examined.next, next, what));
        }
        let (masks, _) = start_of(&read.bytes, self.log_id, first);
        let proven = proven_to(&read.bytes, masks).max(HEADER_LEN);
        let is_rebuilt = read.header.is_none() && !read.places.is_empty();
        let end = if cut == 0 { examined.offset } else { cut };
        let rewritten_len = if read.header.is_none() {
            0
        } else {
            end.saturating_sub(proven)
        };
        let ranges = joined(&lost);
        let old = self
            .recorded
            .get(&first)
            .map(|losses| losses.ranges.clone());
        let lost = self.lost_events(&lost, &old.unwrap_or_default())?;
        self.plan.acts.push(RepairAct::Close {
            file,
            lost,
            rewritten_len: rewritten_len as u64,
            next_id: next,
        });
        if rewritten_len > 0 {
            self.work.push(Work::Settle {
                first,
                from: proven,
                until: end,
            });
        }
        // A file that is written anew has a seal.
        let recorded_cut = if is_rebuilt { 0 } else { cut as u64 };
        self.record(first, next, recorded_cut, ranges);
        if is_rebuilt {
            self.rebuild(first, read.places);
        }
        let created_us = read.header.map_or(0, |header| header.created_us);
        self.work.push(Work::NewTail {
            first: next,
            log_id: self.log_id,
            recorded_at_us: examined.recorded_at_us.max(created_us),
        });
        Ok(())
    }

    /// What is lost and was not recorded as lost before.
    fn lost_events(
        &mut self,
        lost: &[(EventId, EventId, String)],
        old: &[(EventId, EventId)],
    ) -> Result<Vec<LostEvents>, OpenError> {
        let mut events = Vec::new();
        for (from, until, what) in lost {
            let is_old = old.iter().any(|(first, end)| first <= from && until <= end);
            let Some(last_id) = EventId::new(until.get() - 1).filter(|_| !is_old) else {
                continue;
            };
            events.push(LostEvents {
                first_id: *from,
                last_id,
                tags_are_known: self.are_tags_known(*from, *until)?,
                what: what.clone(),
            });
        }
        Ok(events)
    }

    /// Whether a sound run of the tag index answers for all these ids.
    fn are_tags_known(&mut self, from: EventId, until: EventId) -> Result<bool, OpenError> {
        for name in &self.files.runs {
            let covers = run_span(name)
                .is_some_and(|span| span.first <= from.get() && until.get() <= span.end);
            if !covers {
                continue;
            }
            let is_sound = match self.runs.get(name) {
                Some(is_sound) => *is_sound,
                None => check_run(name, &read(self.storage, name)?).is_ok(),
            };
            self.runs.insert(name.clone(), is_sound);
            if is_sound {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn checkpoints(&mut self) -> Result<Option<Rescued>, OpenError> {
        let mut files = Vec::new();
        for first in self.files.checkpoints.keys() {
            let bytes = self.read(&names::checkpoints(*first))?;
            files.push((*first, bytes));
        }
        Ok((!files.is_empty()).then(|| rescue(&files, self.log_id)))
    }

    fn rescue(&mut self, rescued: Rescued) {
        let (Some(damage), Some(old)) = (rescued.damage, self.files.checkpoints.keys().next_back())
        else {
            return;
        };
        let file = names::checkpoints(*old);
        if rescued.is_foreign {
            self.leave(
                file,
                "the file belongs to another log or another place: put the right one \
                there, or take it away, and repair again",
            );
            return;
        }
        let Some(next) = rescued.next else {
            self.leave(file, "the numbers of its records are spent");
            return;
        };
        let set_aside = self.files.aside_name(&file);
        self.plan.acts.push(RepairAct::Checkpoints {
            file,
            damage,
            kept: rescued.state.len() as u64,
            lost_changes: rescued.lost_changes,
            set_aside: set_aside.clone(),
        });
        self.work.push(Work::Checkpoints {
            old: *old,
            next,
            log_id: self.log_id,
            state: rescued.state,
            set_aside,
        });
    }
}

fn lost_of(examined: &Examined) -> Vec<(EventId, EventId, String)> {
    let faults = examined.faults.iter();
    let lost = faults.flat_map(|fault| {
        let what = format!("{} at offset {}", fault.what, fault.offset);
        fault
            .lost
            .iter()
            .map(move |(from, until)| (*from, *until, what.clone()))
    });
    lost.collect()
}

/// The ranges, those that touch made one.
fn joined(lost: &[(EventId, EventId, String)]) -> Vec<(EventId, EventId)> {
    let mut ranges: Vec<(EventId, EventId)> = Vec::new();
    for (from, until, _) in lost {
        match ranges.last_mut() {
            Some((_, end)) if *end >= *from => *end = (*end).max(*until),
            _ => ranges.push((*from, *until)),
        }
    }
    ranges
}
