//! The log: open, append, read, close. Puts the parts together.

use std::fmt;
use std::future::Future;
use std::io;
use std::ops::Range;
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
                threads.push(spawn("strandlog-writer", move || writer.run())?);
                let upkept = Arc::clone(&shared);
                threads.push(spawn("strandlog-upkeep", move || upkeep::run(&upkept))?);
            }
        }
        let inner = Inner {
            shared,
            checkpoints,
            threads: Mutex::new(threads),
        };
        Ok((Self(Arc::new(inner)), report))
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
        EndMoved::new(Arc::clone(self.shared()), seen)
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

    /// The first kept record that was taken at or after this time; the end if there is none. Costs
    /// some twenty reads, since times never fall.
    ///
    /// # Errors
    ///
    /// [`ReadError::Damaged`], [`ReadError::Io`].
    pub fn id_at_time(&self, recorded_at_us: u64) -> Result<EventId, ReadError> {
        let shared = self.shared();
        let (mut low, mut high) = (shared.first().get(), shared.published().get());
        while low < high {
            let middle = low + (high - low) / 2;
            let Some(id) = EventId::new(middle) else {
                break;
            };
            let records = scan::read(shared, id)?;
            let is_before = records
                .get(0)
                .is_some_and(|record| record.recorded_at_us < recorded_at_us);
            if is_before {
                low = middle + 1;
            } else {
                high = middle;
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
        let outcome = match self.shared.queue.push(Request::Close { ticket }, 0) {
            Ok(()) => {
                self.shared.work_inline();
                answer.wait().unwrap_or_else(|| Err(writer_gone()))
            }
            Err((_, refusal)) => Err(refused(refusal)),
        };
        self.shared.end_writes(Health::Closed);
        self.shared.upkeep.stop();
        for thread in self.threads.lock().drain(..) {
            // A panic there has failed the log, which is what `outcome` says.
            let _ended = thread.join();
        }
        *self.shared.inline_writer.lock() = None;
        *self.shared.lock.lock() = None;
        outcome
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        // Nobody is left to hear of a failure; the next open judges what is on disk anyway.
        let _outcome = self.close();
    }
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
        if let Some(writer) = self.inline_writer.lock().as_mut() {
            writer.serve_waiting();
        }
        if self.upkeep.take_call() {
            upkeep::round(self);
        }
    }

    /// Makes everything appended so far durable.
    pub(crate) fn flush(&self) -> Result<(), AppendError> {
        let (ticket, answer) = ticket();
        match self.queue.push(Request::Flush { ticket }, 0) {
            Ok(()) => {
                self.work_inline();
                answer.wait().unwrap_or_else(|| Err(writer_gone()))
            }
            Err((_, refusal)) => Err(refused(refusal)),
        }
    }
}
