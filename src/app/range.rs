//! Reading ranges: page by page, waiting for more, or for ever.

use std::ops::Range;
use std::time::Duration;

use bytes::Bytes;

use crate::store::{Direction, EventId, Records};

use super::Log;
use super::failure::Failure;
use super::filter::Filter;

/// Which events to read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Selection {
    /// The lowest id; the oldest that is kept if absent (and `after` as well).
    pub from: Option<EventId>,
    /// The highest id; the last one as of the request if absent.
    pub to: Option<EventId>,
    /// Only ids above this one: where an earlier read ended.
    pub after: Option<u64>,
    /// The most events to give.
    pub limit: Option<u64>,
    /// What they must match.
    pub filter: Filter,
    /// In which order. `from` and `to` name the lowest and highest id in either.
    pub direction: Direction,
    /// Only events recorded at or after this time, in microseconds since 1970 (UTC).
    pub since_us: Option<u64>,
    /// Only events recorded before this time.
    pub until_us: Option<u64>,
}

/// A read of the events that were there when it began.
#[derive(Debug)]
pub struct Reading(());

impl Reading {
    /// The ids the read goes over, half-open; none lies beyond the end of the log as of its start.
    #[must_use]
    pub fn ids(&self) -> Range<EventId> {
        todo!()
    }

    /// The last id of the log when the read began; 0 if it was empty.
    #[must_use]
    pub fn last_id(&self) -> u64 {
        todo!()
    }

    /// Whether the same selection will always give these events, retention aside: its upper end
    /// was named, and the log had reached it and made it durable.
    #[must_use]
    pub fn is_settled(&self) -> bool {
        todo!()
    }

    /// The next events: at most as many as the limit leaves, and about `bytes_max` bytes of
    /// records. `None` at the end.
    ///
    /// # Errors
    ///
    /// [`Failure`] if they cannot be read; nothing is skipped.
    pub async fn next_page(&mut self, bytes_max: usize) -> Result<Option<Records>, Failure> {
        let _ = bytes_max;
        todo!()
    }

    /// Whether events that match are left behind the limit, and from which id (backward: up to
    /// which id) the next read would go on. Asked after the last page.
    ///
    /// # Errors
    ///
    /// [`Failure`] if that cannot be read.
    pub async fn next_id(&mut self) -> Result<Option<EventId>, Failure> {
        todo!()
    }
}

/// A read that goes on with what is published later. Forward only.
#[derive(Debug)]
pub struct Following(());

/// What a following read came to.
#[derive(Debug)]
pub enum Followed {
    /// Events, at least one.
    Page(Records),
    /// None came in time; ask again.
    Idle,
    /// The range, or the limit, is used up, or the server is stopping.
    Ended,
}

impl Following {
    /// The next events, waiting for them for at most `wait`. May be dropped while it waits and
    /// asked again: no event is lost.
    ///
    /// # Errors
    ///
    /// [`Failure`] if they cannot be read; nothing is skipped.
    pub async fn next(&mut self, bytes_max: usize, wait: Duration) -> Result<Followed, Failure> {
        let _ = (bytes_max, wait);
        todo!()
    }
}

/// A read of the records as they lie in the log.
#[derive(Debug)]
pub struct RawReading(());

impl RawReading {
    /// The ids the read goes over, half-open.
    #[must_use]
    pub fn ids(&self) -> Range<EventId> {
        todo!()
    }

    /// The last id of the log when the read began; 0 if it was empty.
    #[must_use]
    pub fn last_id(&self) -> u64 {
        todo!()
    }

    /// Whether the same selection will always give these bytes, retention aside.
    #[must_use]
    pub fn is_settled(&self) -> bool {
        todo!()
    }

    /// The next piece of the stream, about `bytes_max` long, in slices that are not copied. `None`
    /// at the end.
    ///
    /// # Errors
    ///
    /// [`Failure`] if it cannot be read; nothing is skipped.
    pub async fn next_piece(&mut self, bytes_max: usize) -> Result<Option<Vec<Bytes>>, Failure> {
        let _ = bytes_max;
        todo!()
    }
}

impl Log {
    /// One event, as [`Records`] of length 1.
    ///
    /// # Errors
    ///
    /// [`Failure`]: there is no such event yet, or not any more.
    pub async fn event(&self, id: EventId) -> Result<Records, Failure> {
        let _ = id;
        todo!()
    }

    /// Begins to read what is there now.
    ///
    /// # Errors
    ///
    /// [`Failure`]: the range makes no sense, or begins below the oldest id kept.
    pub async fn read(&self, selection: Selection) -> Result<Reading, Failure> {
        let _ = selection;
        todo!()
    }

    /// Like [`read`](Self::read), but if nothing matches, waits for the first event that does: for
    /// `wait` at most, or until the server stops. The read is empty then.
    ///
    /// # Errors
    ///
    /// As for [`read`](Self::read).
    pub async fn read_waiting(
        &self,
        selection: Selection,
        wait: Duration,
    ) -> Result<Reading, Failure> {
        let _ = (selection, wait);
        todo!()
    }

    /// Begins a read that goes on with what is published later, without gap or duplicate.
    ///
    /// # Errors
    ///
    /// As for [`read`](Self::read); going backward is refused.
    pub async fn follow(&self, selection: Selection) -> Result<Following, Failure> {
        let _ = selection;
        todo!()
    }

    /// Begins to read the records as they lie in the log. Neither filter nor order can be chosen.
    ///
    /// # Errors
    ///
    /// As for [`read`](Self::read).
    pub async fn read_raw(&self, selection: Selection) -> Result<RawReading, Failure> {
        let _ = selection;
        todo!()
    }
}
