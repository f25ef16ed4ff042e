//! Everything that need not happen on the writer's path: the next segment, the sparse index files,
//! the runs of the tag index and their merges, rebuilding what is missing, and retention.
//!
//! Each step is safe to lose: what is made here is derived from the log, or can be made again. A
//! step that fails is tried again in the next round.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::{Condvar, Mutex};

use crate::error::ReadError;
use crate::format::names;
use crate::position::EventId;
use crate::records::Records;
use crate::segment::{Budget, SealedSegment, Segment, SegmentList, SegmentView, index_bytes};
use crate::shared::Shared;
use crate::storage::{Storage, is_full, write_all_at};
use crate::tags::{MemoryTags, Span, TagError, tag_hash};

/// How often upkeep looks around when nobody calls it, for retention by age and failed steps.
const ROUND_EVERY: Duration = Duration::from_secs(1);
/// How many steps of a round may sit out rounds: those on the tag index and the index files.
const STEPS: usize = 4;
/// The longest pause of a step that fails, as a power of two, in rounds: about a minute.
const PAUSE_EXPONENT_MAX: u32 = 6;
/// How much is read at a time when a segment is indexed again, in bytes.
const REINDEX_STEP_LEN: usize = 1 << 20;

/// How upkeep is called.
#[derive(Debug, Default)]
pub(crate) struct UpkeepSignal {
    state: Mutex<SignalState>,
    called: Condvar,
    /// Held during a round: a caller of `expire_now` and the thread take turns.
    round: Mutex<()>,
}

#[derive(Debug, Default)]
struct SignalState {
    is_called: bool,
    is_stopped: bool,
    /// Run files whose bytes turned out to be wrong.
    distrusted: Vec<String>,
    /// Sealed segments without an index file.
    unindexed: Vec<EventId>,
    /// A segment that readers no longer find, and whose departure is not known to be durable.
    leaving: Option<EventId>,
    /// Segments whose departure is durable, and whose files are still there.
    departed: Vec<EventId>,
    /// For each step that may sit out rounds.
    pauses: [Pause; STEPS],
}

/// How a step fares.
#[derive(Clone, Copy, Debug, Default)]
struct Pause {
    /// How often it has failed in a row.
    failures: u32,
    /// How many rounds it sits out.
    rounds_left: u32,
}

impl UpkeepSignal {
    /// Asks for a round.
    pub(crate) fn notify(&self) {
        self.state.lock().is_called = true;
        self.called.notify_one();
    }

    /// Ends the thread after its current step.
    pub(crate) fn stop(&self) {
        self.state.lock().is_stopped = true;
        self.called.notify_all();
    }

    /// Remembers a run file that turned out to be damaged.
    fn note_damage(&self, error: &TagError) {
        if let TagError::Damaged(damage) = error {
            let mut state = self.state.lock();
            if !state.distrusted.contains(&damage.file) {
                state.distrusted.push(damage.file.clone());
            }
        }
    }

    /// Whether a round has been asked for; forgets it.
    pub(crate) fn take_call(&self) -> bool {
        std::mem::take(&mut self.state.lock().is_called)
    }

    /// Whether a step sits this round out, since it has failed again and again: on a full disk a
    /// merge would otherwise write until it is refused, round after round.
    fn is_paused(&self, step: usize) -> bool {
        let mut state = self.state.lock();
        let Some(pause) = state.pauses.get_mut(step) else {
            return false;
        };
        let is_paused = pause.rounds_left > 0;
        pause.rounds_left = pause.rounds_left.saturating_sub(1);
        is_paused
    }

    fn note_outcome(&self, step: usize, is_ok: bool) {
        let mut state = self.state.lock();
        if let Some(pause) = state.pauses.get_mut(step) {
            pause.failures = if is_ok { 0 } else { pause.failures + 1 };
            // The first failure is tried again in the next round: mostly it has passed.
            pause.rounds_left = match pause.failures {
                0 | 1 => 0,
                failures => 1 << (failures - 1).min(PAUSE_EXPONENT_MAX),
            };
        }
    }

    fn is_stopped(&self) -> bool {
        self.state.lock().is_stopped
    }

    /// Sleeps until called or for [`ROUND_EVERY`]; false if upkeep is over.
    fn wait(&self) -> bool {
        let mut state = self.state.lock();
        if !state.is_called && !state.is_stopped {
            let _timed_out = self.called.wait_for(&mut state, ROUND_EVERY);
        }
        state.is_called = false;
        !state.is_stopped
    }
}

/// The upkeep thread: rounds until the log is closed.
pub(crate) fn run(shared: &Arc<Shared>) {
    while shared.upkeep.wait() {
        round(shared);
    }
}

/// One round of everything that is due.
pub(crate) fn round(shared: &Shared) {
    let _round = shared.upkeep.round.lock();
    for work in [expire, prepare] {
        let _outcome = attempt(shared, work);
    }
    unmap(shared);
    for (step, work) in [reindex, flush, merge, index].into_iter().enumerate() {
        if !shared.upkeep.is_paused(step) {
            let outcome = attempt(shared, work);
            shared.upkeep.note_outcome(step, outcome.is_ok());
        }
    }
}

fn attempt(
    shared: &Shared,
    work: fn(&Shared) -> Result<(), UpkeepError>,
) -> Result<(), UpkeepError> {
    if shared.upkeep.is_stopped() {
        return Ok(());
    }
    let outcome = work(shared);
    if outcome.is_err() {
        shared.counters.upkeep_failures.add(1);
        shared.fail_on_name_trouble();
    }
    outcome
}

/// Does `last` once no round is under way any more, and none can begin: what it gives back (the
/// directory) must not be worked on afterwards.
pub(crate) fn after_last_round(shared: &Shared, last: impl FnOnce()) {
    let _round = shared.upkeep.round.lock();
    last();
}

/// Lets maps of sealed segments go if there are too many: a process that has read all of a large log
/// would otherwise meet the system's limit, and then not even its writer could map a segment.
fn unmap(shared: &Shared) {
    let max = shared.options.segments_mapped_max;
    let is_open = |segment: &Segment| matches!(segment, Segment::Sealed(it) if it.is_open());
    let count = |list: &SegmentList| list.segments().iter().filter(|it| is_open(it)).count();
    if count(&shared.segments.load()) <= max {
        return;
    }
    shared.segments.rcu(|list| {
        let mut excess = count(list).saturating_sub(max / 2);
        let segments = list.segments().iter().map(|segment| match segment {
            Segment::Sealed(sealed) if excess > 0 && sealed.is_open() => {
                excess -= 1;
                Segment::Sealed(Arc::new(sealed.closed()))
            }
            segment => segment.clone(),
        });
        SegmentList::new(segments.collect())
    });
}

/// Removes what retention lets go, now.
pub(crate) fn expire_now(shared: &Shared) -> io::Result<()> {
    let _round = shared.upkeep.round.lock();
    if shared.upkeep.is_stopped() {
        return Err(io::Error::other("the log is closed"));
    }
    let outcome = remove_expired(shared);
    if outcome.is_err() {
        shared.fail_on_name_trouble();
    }
    outcome
}

/// A step did not work out; the next round tries again, so only its type matters.
#[derive(Debug)]
struct UpkeepError;

impl From<io::Error> for UpkeepError {
    fn from(_: io::Error) -> Self {
        Self
    }
}

impl From<ReadError> for UpkeepError {
    fn from(_: ReadError) -> Self {
        Self
    }
}

fn prepare(shared: &Shared) -> Result<(), UpkeepError> {
    if shared.names.first().is_some() {
        return Ok(());
    }
    let list = shared.segments.load();
    let Some(Segment::Active(active)) = list.segments().last() else {
        return Ok(());
    };
    let view = active.view(shared.published())?;
    if view.bytes.len() as u64 > active.file.len() / 2 {
        shared.prepare_ahead()?;
    }
    Ok(())
}

fn expire(shared: &Shared) -> Result<(), UpkeepError> {
    Ok(remove_expired(shared)?)
}

fn reindex(shared: &Shared) -> Result<(), UpkeepError> {
    let distrusted = std::mem::take(&mut shared.upkeep.state.lock().distrusted);
    for file in distrusted {
        shared.tags.distrust(&file)?;
    }
    let mut outcome = Ok(());
    for span in shared.tags.missing() {
        if shared.upkeep.is_stopped() {
            break;
        }
        // Each piece is written before the next is made: memory holds one or two, however many are
        // missing.
        flush(shared)?;
        // A segment that cannot be read keeps none of the others from being indexed.
        outcome = outcome.and(reindex_segment(shared, span));
    }
    outcome
}

/// Rebuilds what is missing of the tag index, as far as that is possible; how many segments it were.
pub(crate) fn reindex_missing(shared: &Shared) -> u64 {
    let missing = shared.tags.missing();
    let reindexed = missing
        .into_iter()
        .filter(|span| reindex_segment(shared, *span).is_ok());
    reindexed.count() as u64
}

fn reindex_segment(shared: &Shared, span: Span) -> Result<(), UpkeepError> {
    let list = shared.segments.load();
    let first = EventId::new(span.first).ok_or(UpkeepError)?;
    let Some(Segment::Sealed(sealed)) = list.find(first) else {
        return Err(UpkeepError);
    };
    let view = sealed.view(&shared.storage)?;
    shared.tags.provide(span, tags_of(view, span)?);
    shared.counters.segments_reindexed.add(1);
    Ok(())
}

fn flush(shared: &Shared) -> Result<(), UpkeepError> {
    if shared.names.first().is_some() {
        return Ok(());
    }
    while !shared.upkeep.is_stopped() && shared.tags.frozen_len() > 0 {
        if !done(shared, shared.tags.flush_oldest())? {
            break;
        }
        shared.counters.runs_written.add(1);
    }
    Ok(())
}

fn merge(shared: &Shared) -> Result<(), UpkeepError> {
    if shared.names.first().is_some() {
        return Ok(());
    }
    // The index itself knows from where on ids are gone for good: a segment that is only on its way
    // out may come back after a crash, and what was merged must still answer for it.
    while !shared.upkeep.is_stopped() && done(shared, shared.tags.merge_once(EventId::FIRST.get()))?
    {
        shared.counters.runs_merged.add(1);
    }
    Ok(())
}

/// The outcome of a step on the tag index; damage found on the way is remembered.
fn done(shared: &Shared, outcome: Result<bool, TagError>) -> Result<bool, UpkeepError> {
    outcome.map_err(|error| {
        // Without calling for another round: the next one comes by itself.
        shared.upkeep.note_damage(&error);
        UpkeepError
    })
}

fn index(shared: &Shared) -> Result<(), UpkeepError> {
    if shared.names.first().is_some() {
        return Ok(());
    }
    for segment in shared.segments.load().segments() {
        if let Segment::Sealed(sealed) = segment
            && sealed.take_index_trouble()
            && sealed.end > sealed.first
        {
            shared.note_unindexed(sealed.first);
        }
    }
    let unindexed = std::mem::take(&mut shared.upkeep.state.lock().unindexed);
    let mut outcome = Ok(());
    for first in unindexed {
        if shared.upkeep.is_stopped() {
            break;
        }
        let list = shared.segments.load();
        let sealed = list.segments().iter().find_map(|segment| match segment {
            Segment::Sealed(sealed) if sealed.first == first => Some(sealed),
            Segment::Sealed(_) | Segment::Active(_) => None,
        });
        if let Some(sealed) = sealed
            // One that has lost all its records needs no index.
            && sealed.end > sealed.first
            && let Err(error) = write_index(shared, sealed)
        {
            shared.note_unindexed(first);
            outcome = Err(error);
        }
    }
    outcome
}

fn write_index(shared: &Shared, sealed: &SealedSegment) -> Result<(), UpkeepError> {
    let view = sealed.view(&shared.storage)?;
    let last = EventId::new(sealed.end.get() - 1).unwrap_or(sealed.first);
    // A damaged segment keeps its index in memory: a file would only hide that a scan is needed.
    let (record, offset, len) = view.find(last).map_err(ReadError::Damaged)?;
    let bytes = index_bytes(view, record.recorded_at_us, (offset + len) as u64);
    write_derived(&shared.storage, &names::index(sealed.first), &bytes)?;
    // From now on the offsets come from the file, and those in memory can go.
    let reopened = Arc::new(SealedSegment::new(
        sealed.first,
        sealed.end,
        sealed.file_len,
        shared.log_id,
    ));
    shared.segments.rcu(|list| {
        let segments = list.segments().iter().map(|segment| match segment {
            Segment::Sealed(old) if old.first == reopened.first => {
                Segment::Sealed(Arc::clone(&reopened))
            }
            Segment::Sealed(_) | Segment::Active(_) => segment.clone(),
        });
        SegmentList::new(segments.collect())
    });
    Ok(())
}

/// Writes a derived file so that it is either whole or absent after a crash.
pub(crate) fn write_derived(
    storage: &Arc<dyn Storage>,
    name: &str,
    bytes: &[u8],
) -> io::Result<()> {
    let temporary = format!("{name}.tmp");
    match storage.remove(&temporary) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    let file = storage.create(&temporary, bytes.len() as u64)?;
    let written = write_all_at(&*file, 0, &[bytes]).and_then(|()| file.sync());
    drop(file);
    if let Err(error) = written {
        let _gone = storage.remove(&temporary);
        return Err(error);
    }
    storage.rename(&temporary, name)?;
    storage.sync_names()
}

/// The tags of a whole segment, or of a part of one between gaps, from its records.
pub(crate) fn tags_of(view: &SegmentView, span: Span) -> Result<MemoryTags, ReadError> {
    let mut tags = MemoryTags::new(span.first);
    let mut from = EventId::new(span.first).unwrap_or(view.header.first);
    let until = EventId::new(span.end).unwrap_or(view.end);
    while from < until {
        let mut records = Records::default();
        let mut budget = Budget {
            records: usize::MAX,
            bytes: REINDEX_STEP_LEN,
        };
        from = view
            .run(from, until, &mut budget, &mut records)
            .map_err(ReadError::Damaged)?;
        for record in records.iter() {
            let record = record?;
            for (tag, rank) in record.tags() {
                tags.insert(tag, tag_hash(tag), record.id.get(), rank)
                    .map_err(|_| {
                        ReadError::Damaged(view.damage(
                            record.id,
                            0,
                            "the ranks of a tag do not follow one another".to_owned(),
                        ))
                    })?;
            }
        }
    }
    Ok(tags)
}

/// Removes the oldest segments as far as retention says (DESIGN: whole segments, never the tail).
fn remove_expired(shared: &Shared) -> io::Result<()> {
    if let Some(why) = shared.names.first() {
        let what = format!("the directory of the log could not be synced: {why}");
        return Err(io::Error::other(what));
    }
    finish_removal(shared)?;
    let retention = *shared.retention.lock();
    let now_us = shared.options.clock.now_us();
    loop {
        let list = shared.segments.load_full();
        let [oldest, later @ ..] = list.segments() else {
            break;
        };
        let Some(next) = later.first() else {
            break;
        };
        let bytes: u64 = list.segments().iter().map(Segment::file_len).sum();
        // Under the weaker durability the loss of power may take the newest ones back.
        let end = shared.published().min(shared.durable());
        let records_left = end.get().saturating_sub(next.first().get());
        let is_over = retention.bytes_max.is_some_and(|max| bytes > max)
            || retention.records_max.is_some_and(|max| records_left >= max)
            || retention
                .age_max_s
                .is_some_and(|max| is_older(shared, later, now_us, max));
        if !is_over {
            break;
        }
        // If nothing but the tail is left, its name is all that says where the ids go on.
        shared.name_tail().map_err(io::Error::other)?;
        remove_segment(shared, oldest)?;
    }
    Ok(())
}

/// Whether everything before the segments `later` is older than `age_max_s`. A segment is made when
/// the one before it is full, so its header tells without reading a record; if that cannot be read,
/// the next one's tells at least as much.
fn is_older(shared: &Shared, later: &[Segment], now_us: u64, age_max_s: u64) -> bool {
    let created_us = later.iter().find_map(|segment| match segment {
        Segment::Active(active) => Some(active.header.created_us),
        Segment::Sealed(sealed) => Some(sealed.view(&shared.storage).ok()?.header.created_us),
    });
    created_us.is_some_and(|created_us| now_us.saturating_sub(created_us) / 1_000_000 >= age_max_s)
}

fn remove_segment(shared: &Shared, segment: &Segment) -> io::Result<()> {
    let first = segment.first();
    // Readers first: nobody new finds the segment, and who holds it keeps its map.
    shared.segments.rcu(|list| {
        let kept = list
            .segments()
            .iter()
            .filter(|segment| segment.first() != first);
        SegmentList::new(kept.cloned().collect())
    });
    shared.upkeep.state.lock().leaving = Some(first);
    finish_removal(shared)
}

/// Lets the segment go that readers no longer find, if there is one. If that fails the next round
/// tries again, and no other segment goes before: after a crash there must be no gap between the
/// segments. Until it is done the tags of the segment count as taken, for they may come back with it.
///
/// The file gets another name first, and is removed when that is durable: so an open that finds the
/// other name knows what it has to prove (FORMAT.md, section 3), and a file that is removed twice or
/// comes back under that name does no harm.
fn finish_removal(shared: &Shared) -> io::Result<()> {
    let leaving = shared.upkeep.state.lock().leaving;
    if let Some(first) = leaving {
        let (name, left) = (names::segment(first), names::leaving(first));
        match shared.storage.rename(&name, &left) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            // No room for the longer name: what frees room must not need any.
            Err(error) if is_full(&error) => remove_if_there(shared, &name)?,
            Err(error) => return Err(error),
        }
        shared.storage.sync_names()?;
        let mut state = shared.upkeep.state.lock();
        state.leaving = None;
        state.departed.push(first);
        drop(state);
        shared.counters.segments_expired.add(1);
        shared.tags.expire(shared.first().get())?;
    }
    let departed = shared.upkeep.state.lock().departed.clone();
    for first in departed {
        remove_if_there(shared, &names::leaving(first))?;
        remove_if_there(shared, &names::index(first))?;
        remove_if_there(shared, &names::losses(first))?;
        let mut state = shared.upkeep.state.lock();
        state.departed.retain(|other| *other != first);
    }
    Ok(())
}

fn remove_if_there(shared: &Shared, name: &str) -> io::Result<()> {
    match shared.storage.remove(name) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

impl Shared {
    /// Remembers that the tag index could not answer, so that upkeep mends it.
    pub(crate) fn note_index_trouble(&self, error: &TagError) {
        self.upkeep.note_damage(error);
        self.upkeep.notify();
    }

    /// Remembers that a sealed segment has no index file yet.
    pub(crate) fn note_unindexed(&self, first: EventId) {
        let mut state = self.upkeep.state.lock();
        if !state.unindexed.contains(&first) {
            state.unindexed.push(first);
        }
    }
}
