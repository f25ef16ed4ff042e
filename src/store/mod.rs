//! Where the events are kept: one small async trait, and its implementations.
//!
//! Two levels: a [`Store`] holds logs by name, a [`LogStore`] is one log. Both are object-safe, so
//! that the layers above compile once for whatever keeps the events. They speak in plain values
//! (ids, batches, records, queries); how an implementation arranges bytes is its own matter.
//!
//! # What an implementation must guarantee
//!
//! 1. A receipt means durable (at the level asked for) *and readable*: a read begun after the
//!    append resolved sees the records. The exception is an append that asks for less than the log
//!    gives: its records are readable once they are as durable as the log promises its readers,
//!    which the same commit sees to.
//! 2. Ids are dense and ascending from 1 and never given out twice. A record is visible only when
//!    every lower one is, and never if a crash could still take it back.
//! 3. A batch is stored whole, contiguous and in order, or not at all, across crashes too.
//! 4. Tags are counted over everything ever stored and not only what is kept; what
//!    [`LogStore::tag_end`] tells of a tag holds as long as a record with it is kept.
//! 5. Expected ranks and conditions are judged at the one point where ids are given out, so of two
//!    appends that expect the same rank exactly one passes.
//! 6. Records are handed out checked, or not at all ([`ReadError::Damaged`]); nothing is skipped.
//! 7. Reading changes nothing. A checkpoint moves only when it is told to, and never expires.
//!
//! A future that is dropped gives up the wait, never the deed: an append may still be stored.

use std::fmt;
use std::future::Future;
use std::ops::{Range, RangeInclusive};
use std::pin::Pin;
use std::sync::Arc;

use bytes::Bytes;

pub use strandlog_engine::{
    AppendError, Batch, BatchError, Checkpoint, CheckpointError, Condition, Damage, Direction,
    Durability, EventId, Health, Query, RECORD_LEN_MAX, RankMismatch, ReadError, Receipt, Record,
    Records, Retention, TAG_LEN_MAX, TAGS_MAX, Tag, TagEnd, Tags,
};

pub mod embedded;
mod log_name;

pub use log_name::{LOG_NAME_LEN_MAX, LogName, NotALogName};

/// A value that is on its way.
pub type Pending<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Logs by name.
pub trait Store: fmt::Debug + Send + Sync + 'static {
    /// The names of all logs, hidden ones included, in byte order.
    fn names(&self) -> Vec<LogName>;

    /// The log with this name, if there is one. Does not wait: logs are open from the start.
    fn log(&self, name: &str) -> Option<Arc<dyn LogStore>>;

    /// Creates the log, or gives the one there is. A new log survives a crash once this resolves.
    fn create(&self, name: LogName) -> Pending<'_, Result<Created, CreateError>>;

    /// Finishes what waits, makes everything durable, and takes no more appends; reads go on.
    fn close(&self) -> Pending<'_, ()>;
}

/// What became of creating a log.
#[derive(Clone, Debug)]
pub struct Created {
    /// The log.
    pub log: Arc<dyn LogStore>,
    /// Whether it was not there before.
    pub is_new: bool,
}

/// How much a store holds and does at a time. The numbers and their reasons stand where all limits
/// do, in `app/limits.rs`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StoreLimits {
    /// The most logs.
    pub logs_max: usize,
    /// The most checkpoints of one log.
    pub checkpoints_max: usize,
    /// How many reads that may touch the disk run at a time.
    pub blocking_reads_max: usize,
    /// How many ids below the end count as near it: those are read where the request is served.
    pub near_end_ids: u64,
    /// The bytes of a segment of the server's own log.
    pub system_segment_len: u64,
}

/// Why a log could not be created. None was.
#[derive(Debug)]
pub enum CreateError {
    /// The store holds as many logs as it may.
    TooMany {
        /// The limit.
        logs_max: usize,
    },
    /// The disk is full.
    Full,
    /// The store is closing.
    Closed,
    /// Anything else, with its cause.
    Failed(Box<dyn std::error::Error + Send + Sync>),
}

impl fmt::Display for CreateError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooMany { logs_max } => write!(f, "there are {logs_max} logs already"),
            Self::Full => write!(f, "the disk is full"),
            Self::Closed => write!(f, "the store is closing"),
            Self::Failed(_) => write!(f, "the log could not be created"),
        }
    }
}

impl std::error::Error for CreateError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Failed(cause) => Some(&**cause),
            Self::TooMany { .. } | Self::Full | Self::Closed => None,
        }
    }
}

/// What is known of a log at one moment.
#[derive(Clone, Debug)]
pub struct LogState {
    /// The oldest id that is kept; the next id to be given out if none is.
    pub first: EventId,
    /// One past the last readable id.
    pub end: EventId,
    /// One past the last id known durable.
    pub durable_end: EventId,
    /// The bytes it takes, reserved space included.
    pub bytes: u64,
    /// In how many separately removable pieces it lies, for people who look at disks; none if the
    /// store has no such notion.
    pub segments: Option<u64>,
    /// Which records may go.
    pub retention: Retention,
    /// Whether it takes writes.
    pub health: Health,
    /// Appends that were stored, records in them, and appends refused, since the log was opened.
    pub counts: LogCounts,
}

/// Plain counters since a log was opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LogCounts {
    /// Appends that were stored.
    pub appends: u64,
    /// Appends that were refused.
    pub appends_refused: u64,
    /// Records stored.
    pub records: u64,
    /// Their encoded bytes.
    pub record_bytes: u64,
    /// Writes that carried them; many appends share one.
    pub commits: u64,
    /// Times the log was made durable.
    pub syncs: u64,
    /// How long that took in all, in microseconds.
    pub sync_time_us: u64,
}

/// Which records to read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReadRange {
    /// Their ids, half-open; clipped to the end as of the call.
    pub ids: Range<EventId>,
    /// What they must match; `None` for all of them.
    pub query: Option<Query>,
    /// In which order.
    pub direction: Direction,
}

/// A tag, and what is known of it.
pub type KnownTag = (Vec<u8>, TagEnd);

/// One log.
///
/// The methods that do not return a [`Pending`] answer from memory and never wait.
pub trait LogStore: fmt::Debug + Send + Sync + 'static {
    /// Appends the batch. Ids are given out in the order of these calls, whenever the futures are
    /// awaited.
    fn append(&self, batch: Batch) -> Pending<'static, Result<Receipt, AppendError>>;

    /// The oldest id that is kept; the next id to be given out if none is.
    fn first(&self) -> EventId;

    /// One past the last readable id.
    fn end(&self) -> EventId;

    /// One past the last id known durable.
    fn durable_end(&self) -> EventId;

    /// Resolves with the end: at once if it is past `seen` or will not move any more because the
    /// log has failed or is closed, else when it has moved past `seen`.
    fn end_moved(&self, seen: EventId) -> Pending<'static, EventId>;

    /// The record with this id (as [`Records`] of length 1), or none if it is not readable yet.
    fn read(&self, id: EventId) -> Pending<'_, Result<Option<Records>, ReadError>>;

    /// Begins to read. [`ReadError::Expired`] if the range starts below the oldest id kept.
    fn read_range(&self, range: ReadRange) -> Pending<'_, Result<Box<dyn Pages>, ReadError>>;

    /// Begins to read the records in `ids` (half-open, clipped to the end as of the call) as they
    /// lie in the log, for bulk replay (docs/RECORDS.md).
    fn read_raw(&self, ids: Range<EventId>) -> Pending<'_, Result<Box<dyn RawPieces>, ReadError>>;

    /// How many records ever carried this tag, and the last one; none if no record did.
    fn tag_end(&self, tag: Vec<u8>) -> Pending<'_, Result<Option<TagEnd>, ReadError>>;

    /// What [`tag_end`](Self::tag_end) would give, if memory alone can tell; else `None`.
    fn tag_end_in_memory(&self, tag: &[u8]) -> Option<Option<TagEnd>>;

    /// The record that got this rank for the tag, if it is kept.
    fn id_at_rank(
        &self,
        tag: Vec<u8>,
        rank: u64,
    ) -> Pending<'_, Result<Option<EventId>, ReadError>>;

    /// Up to `limit` tags that begin with `prefix` and come after `after`, in byte order.
    fn tags(
        &self,
        prefix: Vec<u8>,
        after: Option<Vec<u8>>,
        limit: usize,
    ) -> Pending<'_, Result<Vec<KnownTag>, ReadError>>;

    /// The first id recorded at or after this time, in microseconds since 1970; the end if there is
    /// none.
    fn id_at_time(&self, recorded_at_us: u64) -> Pending<'_, Result<EventId, ReadError>>;

    /// The checkpoint with this name, if there is one.
    fn checkpoint(&self, name: &str) -> Pending<'_, Result<Option<Checkpoint>, CheckpointError>>;

    /// The names of all checkpoints, in byte order.
    fn checkpoint_names(&self) -> Pending<'_, Result<Vec<String>, CheckpointError>>;

    /// Creates a checkpoint. Durable once this resolves, like the other changes of checkpoints.
    fn create_checkpoint(
        &self,
        name: &str,
        checkpoint: Checkpoint,
    ) -> Pending<'static, Result<Checkpoint, CheckpointError>>;

    /// Moves a checkpoint forward; below or at its place nothing changes.
    fn advance_checkpoint(
        &self,
        name: &str,
        position: u64,
    ) -> Pending<'static, Result<Checkpoint, CheckpointError>>;

    /// Moves a checkpoint anywhere up to the end.
    fn seek_checkpoint(
        &self,
        name: &str,
        position: u64,
    ) -> Pending<'static, Result<Checkpoint, CheckpointError>>;

    /// Removes a checkpoint; gives it as it was.
    fn remove_checkpoint(
        &self,
        name: &str,
    ) -> Pending<'static, Result<Checkpoint, CheckpointError>>;

    /// Changes which records may go, from now on. Not remembered over a restart: whoever sets it
    /// sets it again.
    fn set_retention(&self, retention: Retention);

    /// Makes everything appended so far durable, whatever its appends asked for.
    fn make_durable(&self) -> Pending<'_, Result<(), AppendError>>;

    /// The durability of appends that ask for none.
    fn durability(&self) -> Durability;

    /// Applies retention now instead of at the next round.
    fn expire_now(&self) -> Pending<'_, Result<(), ReadError>>;

    /// The ids of records that are lost and known to be lost, ascending: reading one of them is refused
    /// as damaged, for ever.
    fn losses(&self) -> Vec<RangeInclusive<EventId>>;

    /// What is known of the log now.
    fn state(&self) -> LogState;

    /// Whether it takes writes.
    fn health(&self) -> Health;
}

/// A read in progress.
pub trait Pages: fmt::Debug + Send {
    /// The next records: at most `records_max`, and but for the first at most `bytes_max` bytes.
    /// `None` at the end of the range, from then on too. If the future is dropped before it
    /// resolves, the read cannot be gone on with.
    fn next_page(
        &mut self,
        records_max: usize,
        bytes_max: usize,
    ) -> Pending<'_, Result<Option<Records>, ReadError>>;
}

/// A raw read in progress.
pub trait RawPieces: fmt::Debug + Send {
    /// The next piece of the stream, about `bytes_max` long, in slices that are not copied. `None`
    /// at the end. If the future is dropped before it resolves, the read cannot be gone on with.
    fn next_piece(
        &mut self,
        bytes_max: usize,
    ) -> Pending<'_, Result<Option<Vec<Bytes>>, ReadError>>;
}
