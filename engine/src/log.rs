//! The log: open, append, read, close. Puts the parts together.

use std::fmt;
use std::future::Future;
use std::io;
use std::ops::{Range, RangeInclusive};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::thread::JoinHandle;

use parking_lot::Mutex;

use crate::batch::{Batch, Receipt};
use crate::checkpoint::{Change, Checkpoint, Checkpointing, Checkpoints};
use crate::commit::Request;
use crate::error::{AppendError, OpenError, ReadError};
use crate::open::{self, Opened};
use crate::options::{Background, Options, Retention};
use crate::position::{Direction, EventId};
use crate::queue::Refusal;
use crate::records::Records;
use crate::recovery::RecoveryReport;
use crate::scan::{self, RawScan, Scan, index_error};
use crate::segment::Segment;
use crate::shared::{Health, Shared};
use crate::stats::Stats;
use crate::storage::Storage;
use crate::tags::{Query, TagEnd};
use crate::ticket::{Answer, ticket};
use crate::upkeep;
use crate::waiters::EndMoved;

/// An open log. Clones are handles to the same one; the last to go closes it.
///
/// Every method may be called from any thread. Reads below the published end take no lock and never
/// wait for the writer.
#[derive(Clone, Debug)]
pub struct Log(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    shared: Arc<Shared>,
    checkpoints: Arc<Checkpoints>,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

/// A log in numbers.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct LogDescription {
    /// The oldest id that is kept; the next id if there is none.
    pub first: EventId,
    /// One past the last readable id.
    pub end: EventId,
    /// One past the last id that survives the loss of power.
    pub durable_end: EventId,
    /// Segment files.
    pub segments: u64,
    /// Bytes of those files, space allocated ahead included.
    pub bytes: u64,
    /// Events that are lost and known to be lost; see [`Log::losses`].
    pub lost: u64,
    /// What retention is set to.
    pub retention: Retention,
    /// Whether the log takes writes.
    pub health: Health,
}

/// An append on its way: a future, with a blocking twin. Dropping it does not take the batch back.
#[must_use = "nobody learns the outcome otherwise"]
pub struct Appending(Answer<Result<Receipt, AppendError>>);

impl Appending {
    /// Blocks until the outcome is known.
    ///
    /// # Errors
    ///
    /// [`AppendError`]; each variant says whether anything was written.
    pub fn wait(self) -> Result<Receipt, AppendError> {
        self.0.wait().unwrap_or_else(|| Err(writer_gone()))
    }
}

impl Future for Appending {
    type Output = Result<Receipt, AppendError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.0)
            .poll(context)
            .map(|answer| answer.unwrap_or_else(|| Err(writer_gone())))
    }
}

impl fmt::Debug for Appending {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Appending").finish_non_exhaustive()
    }
}

fn writer_gone() -> AppendError {
    AppendError::Unknown(Arc::from("the writer stopped"))
}

impl Log {
    /// Opens the log in this directory, or begins one if the directory is empty.
    ///
    /// Takes time for the newest segment and for listing the names, not for the data. May write:
    /// whatever the last stop left unproved is written again and synced before this returns
    /// (FORMAT.md, section 7).
    ///
    /// # Errors
    ///
    /// [`OpenError`]. Unless it is [`OpenError::Io`], nothing was changed on disk.
    pub fn open(
        storage: Arc<dyn Storage>,
        options: Options,
    ) -> Result<(Self, RecoveryReport), OpenError> {
        let Opened {
            shared,
            writer,
            checkpoints,
            report,
        } = open::open(storage, options)?;
        let checkpoints = Checkpoints::new(Arc::clone(&shared), checkpoints);
        let mut threads = Vec::new();
        match shared.options.background {
            Background::Inline => *shared.inline_writer.lock() = Some(writer),
            Background::Threads => {
                let written = spawn("strandlog-writer", move || writer.run())?;
                let upkept = Arc::clone(&shared);
                match spawn("strandlog-upkeep", move || upkeep::run(&upkept)) {
                    Ok(upkept) => threads.extend([written, upkept]),
                    Err(error) => {
                        // The writer holds the directory as long as it runs.
                        shared.end_writes(Health::Closed);
                        let _ended = written.join();
                        return Err(error.into());
                    }
                }
            }
        }
        let inner = Inner {
            shared,
            checkpoints,
            threads: Mutex::new(threads),
        };
        let log = Self(Arc::new(inner));
        let settled = log.0.checkpoints.settle();
        settled.map_err(|error| OpenError::Io(io::Error::other(error)))?;
        Ok((log, report))
    }

    fn shared(&self) -> &Arc<Shared> {
        &self.0.shared
    }

    /// Hands a batch to the writer. Ids are given out in the order of these calls.
    ///
    /// Under [`Background::Inline`] the outcome is known when this returns.
    pub fn append(&self, batch: Batch) -> Appending {
        let (ticket, answer) = ticket();
        let len = batch.encoded_len();
        match self
            .shared()
            .queue
            .push(Request::Append { batch, ticket }, len)
        {
            Ok(()) => self.shared().work_inline(),
            Err((request, refusal)) => {
                self.shared().counters.appends_refused.add(1);
                if let Request::Append { ticket, .. } = request {
                    ticket.answer(Err(refused(refusal)));
                }
            }
        }
        Appending(answer)
    }

    /// Makes everything appended so far durable, whatever its appends asked for. Blocks.
    ///
    /// # Errors
    ///
    /// [`AppendError::Failed`] or [`AppendError::Unknown`]: the log takes no more writes.
    pub fn flush(&self) -> Result<(), AppendError> {
        self.shared().flush()
    }

    /// The oldest id that is kept; the next id if there is none.
    #[must_use]
    pub fn first(&self) -> EventId {
        self.shared().first()
    }

    /// One past the last readable id.
    #[must_use]
    pub fn end(&self) -> EventId {
        self.shared().published()
    }

    /// One past the last id that survives the loss of power.
    #[must_use]
    pub fn durable_end(&self) -> EventId {
        self.shared().durable()
    }

    /// Waits until the end is past `seen`.
    pub fn end_moved(&self, seen: EventId) -> EndMoved {
        EndMoved::new(Arc::clone(&self.shared().ends), seen)
    }

    /// One record, or `None` if the id has not been given out yet.
    ///
    /// # Errors
    ///
    /// [`ReadError::Expired`], [`ReadError::Damaged`], [`ReadError::Io`].
    pub fn read(&self, id: EventId) -> Result<Option<Records>, ReadError> {
        if id >= self.end() {
            return Ok(None);
        }
        scan::read(self.shared(), id).map(Some)
    }

    /// Reads the ids in `range`, as far as they exist now.
    ///
    /// # Errors
    ///
    /// [`ReadError::Expired`] if the range begins below the first id that is kept.
    pub fn scan(&self, range: Range<EventId>, direction: Direction) -> Result<Scan, ReadError> {
        Scan::range(self.shared(), range, direction)
    }

    /// Reads the records in `range` that match `query`, found by the tag index.
    ///
    /// # Errors
    ///
    /// As [`scan`](Self::scan).
    pub fn query(
        &self,
        query: &Query,
        range: Range<EventId>,
        direction: Direction,
    ) -> Result<Scan, ReadError> {
        Scan::query(self.shared(), query, range, direction)
    }

    /// Reads the ids in `range` as they lie in the log, for bulk replay (FORMAT.md, section 16).
    ///
    /// # Errors
    ///
    /// As [`scan`](Self::scan).
    pub fn raw(&self, range: Range<EventId>) -> Result<RawScan, ReadError> {
        RawScan::new(self.shared(), range)
    }

    /// How many records ever carried the tag, and the last one; `None` if no kept record does.
    ///
    /// # Errors
    ///
    /// [`ReadError::IndexNotReady`], [`ReadError::Io`].
    pub fn tag_end(&self, tag: &[u8]) -> Result<Option<TagEnd>, ReadError> {
        self.view(|view| view.end_of(tag))
    }

    /// The same as [`tag_end`](Self::tag_end) if memory alone can tell, as it can of tags that were
    /// used since the last segment began; else `None`. Never blocks.
    #[must_use]
    pub fn tag_end_in_memory(&self, tag: &[u8]) -> Option<Option<TagEnd>> {
        let shared = self.shared();
        let (first, end) = (shared.first().get(), shared.published().get());
        shared.tags.view(first, end).end_in_memory(tag)
    }

    /// The record that has this rank for the tag, if it is kept.
    ///
    /// # Errors
    ///
    /// As [`tag_end`](Self::tag_end).
    pub fn id_at_rank(&self, tag: &[u8], rank: u64) -> Result<Option<EventId>, ReadError> {
        let id = self.view(|view| view.id_at_rank(tag, rank))?;
        Ok(id.and_then(EventId::new))
    }

    /// Up to `limit` tags that begin with `prefix`, in byte order, those after `after` only.
    ///
    /// # Errors
    ///
    /// As [`tag_end`](Self::tag_end).
    pub fn tags(
        &self,
        prefix: &[u8],
        after: Option<&[u8]>,
        limit: usize,
    ) -> Result<Vec<(Vec<u8>, TagEnd)>, ReadError> {
        self.view(|view| view.list(prefix, after, limit))
    }

    fn view<T>(
        &self,
        ask: impl FnOnce(&crate::tags::TagView) -> Result<T, crate::tags::TagError>,
    ) -> Result<T, ReadError> {
        let shared = self.shared();
        let view = shared
            .tags
            .view(shared.first().get(), shared.published().get());
        ask(&view).map_err(|error| index_error(shared, error))
    }

    /// The events that are lost and known to be lost, oldest first: ids in closed ranges. A repair has
    /// recorded them; reading one of them gives [`ReadError::Damaged`] with the whole range.
    #[must_use]
    pub fn losses(&self) -> Vec<RangeInclusive<EventId>> {
        let shared = self.shared();
        let first = shared.first();
        let ranges = shared.losses.ranges().iter();
        let kept = ranges.filter(|(_, until)| *until > first);
        kept.filter_map(|(from, until)| Some((*from).max(first)..=EventId::new(until.get() - 1)?))
            .collect()
    }

    /// The first kept record that was taken at or after this time; the end if there is none. Costs
    /// some twenty reads, since times never fall. When lost events were taken nobody knows: those
    /// between an earlier record and a later one count as later.
    ///
    /// # Errors
    ///
    /// [`ReadError::Damaged`], [`ReadError::Io`].
    pub fn id_at_time(&self, recorded_at_us: u64) -> Result<EventId, ReadError> {
        let shared = self.shared();
        let (mut low, mut high) = (shared.first().get(), shared.published().get());
        while low < high {
            let middle = low + (high - low) / 2;
            let Some(mut id) = EventId::new(middle) else {
                break;
            };
            let gap = shared.losses.gap_of(id);
            if let Some((from, until)) = gap {
                if until.get() >= high {
                    high = from.get().max(low);
                    continue;
                }
                id = until;
            }
            let records = match scan::read(shared, id) {
                // Retention has been faster: what is gone was before.
                Err(ReadError::Expired { first_id }) => {
                    low = first_id.get().max(id.get() + 1);
                    continue;
                }
                read => read?,
            };
            let is_before = records
                .get(0)?
                .is_some_and(|record| record.recorded_at_us < recorded_at_us);
            if is_before {
                low = id.get() + 1;
            } else {
                high = gap.map_or(middle, |(from, _)| from.get().max(low));
            }
        }
        Ok(EventId::new(low).unwrap_or(EventId::FIRST))
    }

    /// The checkpoint of this name.
    #[must_use]
    pub fn checkpoint(&self, name: &str) -> Option<Checkpoint> {
        self.0.checkpoints.get(name)
    }

    /// The names of all checkpoints, sorted.
    #[must_use]
    pub fn checkpoint_names(&self) -> Vec<String> {
        self.0.checkpoints.names()
    }

    /// Creates a checkpoint. [`CheckpointError::Exists`](crate::CheckpointError::Exists) if there is
    /// one of that name.
    pub fn create_checkpoint(&self, name: &str, checkpoint: Checkpoint) -> Checkpointing {
        self.0.checkpoints.change(name, Change::Create(checkpoint))
    }

    /// Moves a checkpoint forward: everything up to `position` is done. At or below where it is
    /// nothing changes.
    pub fn advance_checkpoint(&self, name: &str, position: u64) -> Checkpointing {
        self.0.checkpoints.change(name, Change::Advance(position))
    }

    /// Moves a checkpoint anywhere up to the end.
    pub fn seek_checkpoint(&self, name: &str, position: u64) -> Checkpointing {
        self.0.checkpoints.change(name, Change::Seek(position))
    }

    /// Removes a checkpoint.
    pub fn remove_checkpoint(&self, name: &str) -> Checkpointing {
        self.0.checkpoints.change(name, Change::Remove)
    }

    /// Changes which segments may go. Takes effect within a second, or at
    /// [`expire_now`](Self::expire_now).
    pub fn set_retention(&self, retention: Retention) {
        *self.shared().retention.lock() = retention;
        self.shared().upkeep.notify();
    }

    /// Removes what retention lets go. Blocks while upkeep is at work.
    ///
    /// # Errors
    ///
    /// As the disk reports them; what was removed before stays removed.
    pub fn expire_now(&self) -> io::Result<()> {
        upkeep::expire_now(self.shared())
    }

    /// Does all upkeep that is due, now: runs and merges of the tag index, index files, retention.
    /// Blocks. Useful under [`Background::Inline`], and before measuring.
    pub fn upkeep_now(&self) {
        upkeep::round(self.shared());
    }

    /// Whether the log takes writes.
    #[must_use]
    pub fn health(&self) -> Health {
        self.shared().health()
    }

    /// The log in numbers.
    #[must_use]
    pub fn describe(&self) -> LogDescription {
        let shared = self.shared();
        let list = shared.segments.load();
        LogDescription {
            first: list.first(),
            end: shared.published(),
            durable_end: shared.durable(),
            segments: list.segments().len() as u64,
            bytes: list.segments().iter().map(Segment::file_len).sum(),
            lost: self.losses().iter().map(count).sum(),
            retention: *shared.retention.lock(),
            health: shared.health(),
        }
    }

    /// What the log has done since it was opened.
    #[must_use]
    pub fn stats(&self) -> Stats {
        self.shared().counters.read()
    }

    /// Finishes what waits, makes it durable, marks the end as clean, ends the threads and gives the
    /// directory back. Appends are refused from now on; reads go on.
    ///
    /// # Errors
    ///
    /// [`AppendError::Failed`] or [`AppendError::Unknown`] if the log failed, now or before; it is
    /// closed all the same.
    pub fn close(&self) -> Result<(), AppendError> {
        self.0.close()
    }
}

impl Inner {
    fn close(&self) -> Result<(), AppendError> {
        if self.shared.health() == Health::Closed {
            return Ok(());
        }
        self.checkpoints.close();
        let (ticket, answer) = ticket();
        let outcome = match self.shared.queue.push_always(Request::Close { ticket }) {
            Ok(()) => {
                self.shared.work_inline();
                answer.wait().unwrap_or_else(|| Err(writer_gone()))
            }
            // Somebody else has closed it since.
            Err(_) if self.shared.health() == Health::Closed => return Ok(()),
            Err((_, why)) => Err(AppendError::Failed(why)),
        };
        self.shared.end_writes(Health::Closed);
        self.shared.upkeep.stop();
        for thread in self.threads.lock().drain(..) {
            // A panic there has failed the log, which is what `outcome` says.
            let _ended = thread.join();
        }
        *self.shared.inline_writer.lock() = None;
        upkeep::after_last_round(&self.shared, || *self.shared.lock.lock() = None);
        outcome
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        // Nobody is left to hear of a failure; the next open judges what is on disk anyway.
        let _outcome = self.close();
    }
}

fn count(ids: &RangeInclusive<EventId>) -> u64 {
    ids.end().get() - ids.start().get() + 1
}

fn spawn(name: &str, work: impl FnOnce() + Send + 'static) -> io::Result<JoinHandle<()>> {
    std::thread::Builder::new()
        .name(name.to_owned())
        .spawn(work)
}

fn refused(refusal: Refusal) -> AppendError {
    match refusal {
        Refusal::Busy => AppendError::Busy,
        Refusal::Closed(why) => AppendError::Failed(why),
    }
}

impl Shared {
    /// Whether the log's own threads do the work.
    pub(crate) fn is_threaded(&self) -> bool {
        self.options.background == Background::Threads
    }

    /// Under `Background::Inline`: does what waits, and the upkeep that follows from it.
    fn work_inline(&self) {
        if self.is_threaded() {
            return;
        }
        self.write_inline();
        if self.upkeep.take_call() {
            upkeep::round(self);
        }
    }

    /// Under `Background::Inline`: does what waits.
    fn write_inline(&self) {
        if let Some(writer) = self.inline_writer.lock().as_mut() {
            writer.serve_waiting();
        }
    }

    /// Makes everything appended so far durable, and the tail's name with it. Upkeep may call this,
    /// so it calls no upkeep.
    pub(crate) fn flush(&self) -> Result<(), AppendError> {
        let (ticket, answer) = ticket();
        match self.queue.push_always(Request::Flush { ticket }) {
            Ok(()) => {
                self.write_inline();
                answer.wait().unwrap_or_else(|| Err(writer_gone()))
            }
            Err((_, why)) => Err(AppendError::Failed(why)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::batch::Tag;
    use crate::storage::sim::{Fault, Left, Repeat, SimDisk};

    fn open(disk: &SimDisk) -> Log {
        let options = Options {
            segment_len: 16 << 10,
            background: Background::Inline,
            ..Options::default()
        };
        Log::open(disk.root(), options).unwrap().0
    }

    fn batch(tag: Tag<'_>, len: usize) -> Batch {
        let mut batch = Batch::new();
        batch.push(&[tag], &[&vec![7; len]]).unwrap();
        batch
    }

    /// Appends that wait at the same time, so that they come into one group as far as they fit.
    fn together(log: &Log, batches: Vec<Batch>) -> Vec<Result<Receipt, AppendError>> {
        let answers: Vec<_> = batches
            .into_iter()
            .map(|batch| {
                let (ticket, answer) = ticket();
                let request = Request::Append { batch, ticket };
                assert!(log.shared().queue.push(request, 0).is_ok());
                Appending(answer)
            })
            .collect();
        log.shared().work_inline();
        answers.into_iter().map(Appending::wait).collect()
    }

    /// Two that fit one behind the other, and one that needs the next segment.
    fn story(log: &Log) -> Vec<Result<Receipt, AppendError>> {
        let tag = Tag::new(b"s");
        together(
            log,
            vec![batch(tag, 3_000), batch(tag, 3_000), batch(tag, 5_000)],
        )
    }

    #[test]
    fn after_a_failed_call_of_a_group_the_writer_writes_nothing_more() {
        let calm = SimDisk::new();
        let log = open(&calm);
        let before = calm.steps();
        assert!(story(&log).iter().all(Result::is_ok));
        for step in before..calm.steps() {
            let disk = SimDisk::new();
            let log = open(&disk);
            disk.fail_at(step, Fault::Eio, Repeat::Once);
            let outcomes = story(&log);
            let stored = outcomes.iter().filter(|outcome| outcome.is_ok()).count();
            if let Health::Failed(_) = log.health() {
                let writes = disk.calls().len() as u64;
                // What upkeep could not sync fails the log, too.
                let is_noticed = outcomes.iter().any(Result::is_err);
                assert!(is_noticed || log.stats().upkeep_failures > 0, "step {step}");
                drop(log);
                assert_eq!(disk.calls().len() as u64, writes, "step {step}");
            }
            for disk in [disk.restart(), disk.after_crash(Left::Nothing)] {
                let log = open(&disk);
                assert!(log.end().get() > stored as u64, "step {step}");
                for id in 1..log.end().get() {
                    assert!(log.read(EventId::new(id).unwrap()).unwrap().is_some());
                }
                assert!(story(&log).iter().all(Result::is_ok), "step {step}");
            }
        }
    }

    #[test]
    fn a_refusal_that_rests_on_a_batch_of_the_same_group_waits_for_it() {
        let first = || batch(Tag::expecting(b"key", 0), 10);
        let disk = SimDisk::new();
        let log = open(&disk);
        let outcomes = together(&log, vec![first(), first()]);
        assert!(outcomes[0].is_ok());
        assert!(matches!(outcomes[1], Err(AppendError::Ranks(_))));
        for offset in 0..2 {
            let disk = SimDisk::new();
            let log = open(&disk);
            disk.fail_at(disk.steps() + offset, Fault::Eio, Repeat::Once);
            let outcomes = together(&log, vec![first(), first()]);
            assert!(matches!(outcomes[0], Err(AppendError::Unknown(_))));
            assert!(matches!(outcomes[1], Err(AppendError::Failed(_))));
        }
    }

    #[test]
    fn an_idle_second_proves_what_recovery_found_once() {
        let killed = SimDisk::new();
        let log = open(&killed);
        assert!(story(&log).iter().all(Result::is_ok));
        let disk = killed.restart();
        let log = open(&disk);
        let idle = || {
            let before = disk.steps();
            log.shared().inline_writer.lock().as_mut().unwrap().idle();
            disk.steps() - before
        };
        assert_eq!(idle(), 1, "a mark is written");
        assert_eq!(idle(), 1, "and synced, by the way");
        assert_eq!(idle(), 0);
    }

    #[test]
    fn under_os_durability_what_is_answered_is_readable() {
        let disk = SimDisk::new();
        let options = Options {
            segment_len: 16 << 10,
            background: Background::Inline,
            durability: crate::options::Durability::Os,
            ..Options::default()
        };
        let log = Log::open(disk.root(), options).unwrap().0;
        let mut synced = batch(Tag::new(b"s"), 10);
        synced.set_durability(crate::options::Durability::Sync);
        // The sync that the second one asks for fails; the first one was answered before.
        disk.fail_at(disk.steps() + 1, Fault::Eio, Repeat::Once);
        let outcomes = together(&log, vec![batch(Tag::new(b"s"), 10), synced]);
        assert!(outcomes[0].is_ok());
        assert!(matches!(outcomes[1], Err(AppendError::Unknown(_))));
        assert!(log.read(EventId::FIRST).unwrap().is_some());
    }

    #[test]
    fn an_idle_second_that_fails_ends_the_writes_and_the_next_does_nothing() {
        let killed = SimDisk::new();
        let log = open(&killed);
        assert!(story(&log).iter().all(Result::is_ok));
        // The write of the mark fails, or the sync that is to follow it.
        for failing in [0, 1] {
            let disk = killed.restart();
            let log = open(&disk);
            let idle = || {
                let before = disk.steps();
                log.shared().inline_writer.lock().as_mut().unwrap().idle();
                disk.steps() - before
            };
            disk.fail_at(disk.steps() + failing, Fault::Eio, Repeat::Once);
            for _ in 0..=failing {
                assert_eq!(idle(), 1);
            }
            assert!(
                matches!(log.health(), Health::Failed(_)),
                "{:?}",
                log.health()
            );
            assert_eq!(idle(), 0);
            let refused = log.append(batch(Tag::new(b"s"), 10)).wait();
            assert!(matches!(refused, Err(AppendError::Failed(_))));
        }
    }

    #[test]
    fn a_batch_without_records_is_refused_and_writes_nothing() {
        let disk = SimDisk::new();
        let log = open(&disk);
        let before = disk.steps();
        let refused = together(&log, vec![Batch::new()]);
        assert!(matches!(refused[0], Err(AppendError::Empty)));
        assert_eq!(disk.steps(), before);
    }
}
