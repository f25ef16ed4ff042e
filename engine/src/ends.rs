//! Up to where a log can be read, up to where it is durable, and who waits for that to move.

use crate::position::EventId;
use crate::sync::{AtomicBool, AtomicU64, Ordering};
use crate::waiters::Waiters;

/// The two ends of a log, and whether they still move.
#[derive(Debug)]
pub(crate) struct Ends {
    published: AtomicU64,
    durable: AtomicU64,
    /// Nothing moves any more.
    is_over: AtomicBool,
    pub(crate) waiters: Waiters,
}

impl Ends {
    /// Both ends of a log that has just been opened.
    pub(crate) fn new(end: EventId) -> Self {
        Self {
            published: AtomicU64::new(end.get()),
            durable: AtomicU64::new(end.get()),
            is_over: AtomicBool::new(false),
            waiters: Waiters::default(),
        }
    }

    /// The published end.
    pub(crate) fn published(&self) -> EventId {
        // Acquire: whatever the writer did before it published is visible to who sees the end.
        EventId::new(self.published.load(Ordering::Acquire)).unwrap_or(EventId::FIRST)
    }

    /// The durable end.
    pub(crate) fn durable(&self) -> EventId {
        EventId::new(self.durable.load(Ordering::Acquire)).unwrap_or(EventId::FIRST)
    }

    /// Makes everything below `end` readable, and tells who waits for it.
    pub(crate) fn publish(&self, end: EventId) {
        self.published.store(end.get(), Ordering::Release);
        self.waiters.wake_all();
    }

    /// Notes that everything below `end` is durable.
    pub(crate) fn note_durable(&self, end: EventId) {
        self.durable.store(end.get(), Ordering::Release);
    }

    /// Notes that the ends will not move any more, and tells who waits for them.
    pub(crate) fn finish(&self) {
        self.is_over.store(true, Ordering::Release);
        self.waiters.wake_all();
    }

    /// Whether the ends will not move any more.
    pub(crate) fn is_over(&self) -> bool {
        self.is_over.load(Ordering::Acquire)
    }
}
