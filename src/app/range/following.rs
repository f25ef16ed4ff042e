//! A read that goes on with what is published later.

use std::time::Duration;

use crate::store::{Direction, EventId, Pages, Query, ReadRange, Records};

use super::super::Log;
use super::super::failure::Failure;
use super::super::limits::PAGE_EVENTS_MAX;
use super::{Selection, Settled};

/// A read that goes on with what is published later. Forward only.
///
/// It keeps the id it goes on from, and moves it only when it gives events: whatever becomes of a
/// wait, the next one begins at the same place, and that is why nothing is lost or given twice.
#[derive(Debug)]
pub struct Following {
    log: Log,
    query: Option<Query>,
    /// The next id to look at.
    next: EventId,
    /// One past the last id that is asked for.
    end: EventId,
    /// How many events may still be given.
    left: u64,
    /// A read up to what was the log's end when it began, and that end.
    pages: Option<(Box<dyn Pages>, EventId)>,
}

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
    pub(super) fn begin(log: &Log, selection: &Selection, settled: &Settled) -> Self {
        Self {
            log: log.clone(),
            query: selection.query(),
            next: settled.ids.start,
            end: selection.to.and_then(EventId::next).unwrap_or(EventId::MAX),
            left: selection.limit.unwrap_or(u64::MAX),
            pages: None,
        }
    }

    /// The next events, waiting for them for at most `wait`. May be dropped while it waits and
    /// asked again: no event is lost.
    ///
    /// # Errors
    ///
    /// [`Failure`] if they cannot be read; nothing is skipped. Retention may overtake a reader that
    /// is slow enough.
    pub async fn next(&mut self, bytes_max: usize, wait: Duration) -> Result<Followed, Failure> {
        let deadline = self.log.app.clock().moment().after(wait);
        loop {
            if self.left == 0 || self.next >= self.end || self.log.app.is_stopping() {
                return Ok(Followed::Ended);
            }
            // Taken out, since a read that is given up in the middle cannot be gone on with.
            let (mut pages, until) = match self.pages.take() {
                Some(open) => open,
                None => match open(&self.log, self.next, self.end, &self.query).await? {
                    Some(open) => open,
                    None => {
                        if self.log.end_moved_until(self.next, deadline).await {
                            continue;
                        }
                        return Ok(if self.log.app.is_stopping() {
                            Followed::Ended
                        } else {
                            Followed::Idle
                        });
                    }
                },
            };
            let records_max = usize::try_from(self.left.min(PAGE_EVENTS_MAX)).unwrap_or(usize::MAX);
            let Some(records) = pages.next_page(records_max, bytes_max).await? else {
                self.next = until;
                continue;
            };
            if let Some(at) = records.len().checked_sub(1)
                && let Some(next) = records.get(at)?.and_then(|last| last.id.next())
            {
                self.next = next;
            }
            let given = u64::try_from(records.len()).unwrap_or(u64::MAX);
            self.left = self.left.saturating_sub(given);
            self.pages = Some((pages, until));
            return Ok(Followed::Page(records));
        }
    }
}

/// Begins to read what is there by now from `next` on, below `end`; none if there is nothing new.
async fn open(
    log: &Log,
    next: EventId,
    end: EventId,
    query: &Option<Query>,
) -> Result<Option<(Box<dyn Pages>, EventId)>, Failure> {
    let until = log.store.end().min(end);
    if next >= until {
        return Ok(None);
    }
    let range = ReadRange {
        ids: next..until,
        query: query.clone(),
        direction: Direction::Forward,
    };
    Ok(Some((log.store.read_range(range).await?, until)))
}
