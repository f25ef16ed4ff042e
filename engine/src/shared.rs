//! What the readers, the writer and the upkeep of one log share.
//!
//! ```text
//! first <= published end <= durable end        (in ids; under Durability::Os the two ends swap)
//!
//! first          the oldest record that retention has left
//! published end  readers see the records below it, and no others
//! durable end    the records below it survive the loss of power
//! ```

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use arc_swap::ArcSwap;
use parking_lot::Mutex;

use crate::batch::Batch;
use crate::commit::{Request, Writer};
use crate::ends::Ends;
use crate::error::AppendError;
use crate::losses::Losses;
use crate::options::{Options, Retention};
use crate::position::EventId;
use crate::queue::Queue;
use crate::segment::SegmentList;
use crate::stats::Counters;
use crate::storage::{DirectoryLock, NameTrouble, Storage, StorageFile};
use crate::tags::TagIndex;
use crate::upkeep::UpkeepSignal;

/// Whether a log takes writes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Health {
    /// It takes reads and writes.
    Writable,
    /// The disk is full: appends that need a new segment are refused until there is room.
    Full,
    /// A write or a sync failed, for this reason: writes are refused until the log is opened again.
    Failed(Arc<str>),
    /// It has been closed.
    Closed,
}

/// See the module's description.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) storage: Arc<dyn Storage>,
    /// Whether names in `storage` can still be made durable.
    pub(crate) names: Arc<NameTrouble>,
    /// The tail is empty, and its name may not be on the disk (see [`Tail::doubt_name`]).
    ///
    /// [`Tail::doubt_name`]: crate::tail::Tail::doubt_name
    pub(crate) is_tail_unnamed: AtomicBool,
    pub(crate) options: Options,
    pub(crate) log_id: [u8; 16],
    pub(crate) segments: ArcSwap<SegmentList>,
    /// Events that are lost and known to be lost.
    pub(crate) losses: Losses,
    pub(crate) tags: Arc<TagIndex>,
    pub(crate) queue: Queue<Request>,
    pub(crate) ends: Arc<Ends>,
    pub(crate) counters: Counters,
    pub(crate) upkeep: UpkeepSignal,
    /// The next segment, made ready ahead of need. Whoever makes, takes or names that file holds this
    /// lock from the first step to the last, since there is one temporary name.
    pub(crate) prepared: Mutex<Option<Arc<dyn StorageFile>>>,
    pub(crate) retention: Mutex<Retention>,
    /// The writer, if it has no thread of its own. It holds the other end of this cycle until the log
    /// is closed.
    pub(crate) inline_writer: Mutex<Option<Writer>>,
    /// Given back when the log is closed.
    pub(crate) lock: Mutex<Option<DirectoryLock>>,
    health: Mutex<Health>,
}

/// What [`Shared::new`] is made from.
pub(crate) struct Parts {
    pub(crate) storage: Arc<dyn Storage>,
    pub(crate) names: Arc<NameTrouble>,
    pub(crate) is_tail_unnamed: bool,
    pub(crate) options: Options,
    pub(crate) log_id: [u8; 16],
    pub(crate) segments: SegmentList,
    pub(crate) losses: Losses,
    pub(crate) tags: Arc<TagIndex>,
    pub(crate) lock: DirectoryLock,
    /// The end that recovery found; all below it is durable.
    pub(crate) end: EventId,
}

impl Shared {
    pub(crate) fn new(parts: Parts) -> Self {
        let Parts {
            storage,
            names,
            is_tail_unnamed,
            options,
            log_id,
            segments,
            losses,
            tags,
            lock,
            end,
        } = parts;
        Self {
            storage,
            names,
            is_tail_unnamed: AtomicBool::new(is_tail_unnamed),
            log_id,
            segments: ArcSwap::from_pointee(segments),
            losses,
            tags,
            queue: Queue::new(options.queue_len_max, options.queue_bytes_max),
            ends: Arc::new(Ends::new(end)),
            counters: Counters::default(),
            upkeep: UpkeepSignal::default(),
            prepared: Mutex::new(None),
            retention: Mutex::new(options.retention),
            inline_writer: Mutex::new(None),
            lock: Mutex::new(Some(lock)),
            health: Mutex::new(Health::Writable),
            options,
        }
    }

    /// The published end.
    pub(crate) fn published(&self) -> EventId {
        self.ends.published()
    }

    /// The durable end.
    pub(crate) fn durable(&self) -> EventId {
        self.ends.durable()
    }

    /// The oldest id that is kept.
    pub(crate) fn first(&self) -> EventId {
        self.segments.load().first()
    }

    /// Makes everything below `end` readable, and tells who waits for it.
    pub(crate) fn publish(&self, end: EventId) {
        self.ends.publish(end);
    }

    /// Notes that everything below `end` is durable.
    pub(crate) fn note_durable(&self, end: EventId) {
        self.ends.note_durable(end);
    }

    /// Sees to it that the tail's name is durable. What is made durable elsewhere on the word that
    /// this log exists, or removed because a later segment does, needs it first.
    pub(crate) fn name_tail(&self) -> Result<(), AppendError> {
        if !self.is_tail_unnamed.load(Ordering::Acquire) {
            return Ok(());
        }
        self.flush()
    }

    /// A directory that could not be synced is a disk that cannot be trusted: nothing more is written
    /// until the log is opened again.
    pub(crate) fn fail_on_name_trouble(&self) {
        if let Some(why) = self.names.first() {
            let why = format!("could not sync the directory of the log: {why}");
            self.end_writes(Health::Failed(Arc::from(why)));
        }
    }

    pub(crate) fn health(&self) -> Health {
        self.health.lock().clone()
    }

    /// Notes that there is no room, or that there is again.
    pub(crate) fn note_full(&self, is_full: bool) {
        let mut health = self.health.lock();
        match (&*health, is_full) {
            (Health::Writable, true) => *health = Health::Full,
            (Health::Full, false) => *health = Health::Writable,
            (Health::Writable | Health::Full | Health::Failed(_) | Health::Closed, _) => {}
        }
    }

    /// Ends all writing: nothing is taken from now on, and the first failure stays the reason.
    pub(crate) fn end_writes(&self, health: Health) -> Arc<str> {
        let why: Arc<str> = match &health {
            Health::Failed(why) => Arc::clone(why),
            Health::Closed | Health::Writable | Health::Full => Arc::from("the log is closed"),
        };
        {
            let mut current = self.health.lock();
            if !matches!(*current, Health::Failed(_)) {
                *current = health;
            }
        }
        self.queue.close(&why);
        self.ends.finish();
        why
    }

    /// The longest batch that this log takes, in encoded bytes.
    pub(crate) fn batch_len_max(&self) -> u64 {
        let in_segment = crate::tail::batch_len_max(self.options.segment_len)
            .saturating_sub(crate::format::batch::HEADER_LEN as u64);
        in_segment.min(crate::batch::BATCH_LEN_MAX as u64)
    }

    /// Whether the log could ever take this batch.
    pub(crate) fn fits(&self, batch: &Batch) -> bool {
        batch.encoded_len() as u64 <= self.batch_len_max()
    }
}
