//! A read of the events that were there when it began.

use std::ops::Range;

use crate::store::{Direction, EventId, Pages, Query, ReadError, ReadRange, Records};

use super::super::Log;
use super::super::failure::Failure;
use super::super::limits::{PAGE_EVENTS_MAX, PAGE_LEN_MAX};
use super::{Selection, Settled};

/// A read of the events that were there when it began.
#[derive(Debug)]
pub struct Reading {
    log: Log,
    query: Option<Query>,
    direction: Direction,
    passes_losses: bool,
    settled: Settled,
    /// None once the range is used up.
    pages: Option<Box<dyn Pages>>,
    /// What has been read and not yet given.
    waiting: Option<Records>,
    /// How many events may still be given.
    left: u64,
    has_begun: bool,
}

impl Reading {
    pub(super) async fn begin(
        log: &Log,
        selection: &Selection,
        mut settled: Settled,
    ) -> Result<Self, Failure> {
        let query = selection.query();
        let pages = open(log, &query, selection.direction, &mut settled).await?;
        Ok(Self {
            log: log.clone(),
            query,
            direction: selection.direction,
            passes_losses: selection.passes_losses,
            settled,
            pages,
            waiting: None,
            left: selection.limit.unwrap_or(u64::MAX),
            has_begun: false,
        })
    }

    /// The ids the read goes over, half-open; none lies beyond the end of the log as of its start.
    #[must_use]
    pub fn ids(&self) -> Range<EventId> {
        self.settled.ids.clone()
    }

    /// The last id of the log when the read began; 0 if it was empty.
    #[must_use]
    pub fn last_id(&self) -> u64 {
        self.settled.end.get() - 1
    }

    pub(super) fn end(&self) -> EventId {
        self.settled.end
    }

    /// Whether the same selection will always give these events, retention aside: both its ends
    /// were named, and the log had reached the upper one and made it durable.
    #[must_use]
    pub fn is_settled(&self) -> bool {
        self.settled.fixed
    }

    /// The next events: at most as many as the limit leaves, and about `bytes_max` bytes of
    /// records. `None` at the end.
    ///
    /// # Errors
    ///
    /// [`Failure`] if they cannot be read; nothing is skipped.
    pub async fn next_page(&mut self, bytes_max: usize) -> Result<Option<Records>, Failure> {
        if let Some(records) = self.waiting.take() {
            return Ok(Some(records));
        }
        let records_max = usize::try_from(self.left.min(PAGE_EVENTS_MAX)).unwrap_or(usize::MAX);
        if records_max == 0 {
            return Ok(None);
        }
        let records = self.next_records(records_max, bytes_max).await?;
        if let Some(records) = &records {
            let given = u64::try_from(records.len()).unwrap_or(u64::MAX);
            self.left = self.left.saturating_sub(given);
            self.has_begun = true;
        }
        Ok(records)
    }

    async fn next_records(
        &mut self,
        records_max: usize,
        bytes_max: usize,
    ) -> Result<Option<Records>, Failure> {
        loop {
            let Some(pages) = &mut self.pages else {
                return Ok(None);
            };
            match pages.next_page(records_max, bytes_max).await {
                Ok(Some(records)) => return Ok(Some(records)),
                Ok(None) => self.pages = None,
                Err(ReadError::Damaged(damage))
                    if self.passes_losses && self.pass(damage.first_id) =>
                {
                    self.pages =
                        open(&self.log, &self.query, self.direction, &mut self.settled).await?;
                }
                // Retention has come in between. Who asked for whatever is kept gets what is kept
                // now, unless that would leave a gap behind what has been given.
                Err(ReadError::Expired { first_id }) if !self.settled.named_start => {
                    match self.direction {
                        Direction::Backward => self.pages = None,
                        Direction::Forward
                            if !self.has_begun && first_id > self.settled.ids.start =>
                        {
                            self.settled.ids.start = first_id;
                            self.pages =
                                open(&self.log, &self.query, self.direction, &mut self.settled)
                                    .await?;
                        }
                        Direction::Forward => {
                            return Err(ReadError::Expired { first_id }.into());
                        }
                    }
                }
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Takes the range to the other side of the recorded loss of `id`; whether there is one.
    fn pass(&mut self, id: Option<EventId>) -> bool {
        let losses = self.log.store.losses();
        let Some(gap) = losses
            .iter()
            .find(|gap| id.is_some_and(|id| gap.contains(&id)))
        else {
            return false;
        };
        let ids = &mut self.settled.ids;
        match self.direction {
            Direction::Forward => ids.start = gap.end().next().unwrap_or(EventId::MAX),
            Direction::Backward => ids.end = *gap.start(),
        }
        true
    }

    /// Whether there is anything to give, having read as much as a page of it.
    pub(super) async fn is_first_page_there(&mut self) -> Result<bool, Failure> {
        if self.waiting.is_none() {
            self.waiting = self.next_page(PAGE_LEN_MAX).await?;
        }
        Ok(self.waiting.is_some())
    }

    /// Whether events that match are left behind the limit, and from which id (backward: up to
    /// which id) the next read would go on. Asked after the last page; ends the read.
    ///
    /// # Errors
    ///
    /// [`Failure`] if that cannot be read.
    pub async fn next_id(&mut self) -> Result<Option<EventId>, Failure> {
        let next = match self.waiting.take() {
            Some(records) => Some(records),
            // An answer of one record may be as long as it wants, so the least will do.
            None => self.next_records(1, 1).await?,
        };
        self.pages = None;
        let record = next.as_ref().map(|records| records.get(0)).transpose()?;
        Ok(record.flatten().map(|record| record.id))
    }
}

/// Opens the pages of a range; none if it is empty. If the caller did not name where to begin and
/// retention moves the first id meanwhile, begins there.
async fn open(
    log: &Log,
    query: &Option<Query>,
    direction: Direction,
    settled: &mut Settled,
) -> Result<Option<Box<dyn Pages>>, Failure> {
    loop {
        if settled.ids.is_empty() {
            return Ok(None);
        }
        let range = ReadRange {
            ids: settled.ids.clone(),
            query: query.clone(),
            direction,
        };
        match log.store.read_range(range).await {
            Ok(pages) => return Ok(Some(pages)),
            Err(ReadError::Expired { first_id })
                if !settled.named_start && first_id > settled.ids.start =>
            {
                settled.ids.start = first_id;
            }
            Err(error) => return Err(error.into()),
        }
    }
}
