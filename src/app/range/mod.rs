//! Reading ranges: page by page, waiting for more, or for ever.
//!
//! A range is settled once, when the read begins: half-open, clipped to the log's end as of then, so
//! that a read ends however fast others publish.

use std::ops::Range;
use std::time::Duration;

use crate::store::{Direction, EventId, Query, ReadError, Records};

use super::Log;
use super::failure::{Code, Details, Failure};
use super::filter::Filter;
use super::name::AggregateId;
use super::tags::{self, AGGREGATE};

mod following;
mod raw;
mod reading;

pub use following::{Followed, Following};
pub use raw::RawReading;
pub use reading::Reading;

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
    /// The aggregate they must belong to.
    pub aggregate: Option<AggregateId<'static>>,
    /// In which order. `from` and `to` name the lowest and highest id in either.
    pub direction: Direction,
    /// Only events recorded at or after this time, in microseconds since 1970 (UTC).
    pub since_us: Option<u64>,
    /// Only events recorded before this time.
    pub until_us: Option<u64>,
    /// Leaves out events that a repair has recorded as lost, instead of failing at the first one. For
    /// the server's own logs, which must not stand still for ever at what nobody can bring back; whoever
    /// reads a log of others is told.
    pub passes_losses: bool,
}

impl Selection {
    fn check(&self) -> Result<(), Failure> {
        self.filter.check()?;
        if let (Some(from), Some(to)) = (self.from, self.to)
            && from > to
        {
            return Err(Failure::new(
                Code::InvalidRange,
                format!("the range begins at {from}, behind its end {to}"),
            ));
        }
        if let (Some(since), Some(until)) = (self.since_us, self.until_us)
            && since > until
        {
            return Err(Failure::new(
                Code::InvalidRange,
                "the range begins at a time that is later than its end",
            ));
        }
        Ok(())
    }

    /// What the store is asked for; none if every event will do.
    fn query(&self) -> Option<Query> {
        let mut query = self.filter.query();
        if let Some(id) = &self.aggregate {
            query
                .get_or_insert(Query { all: Vec::new() })
                .all
                .push(vec![tags::tag(AGGREGATE, id.as_str())]);
        }
        query
    }

    /// The lowest id the caller named, by either of two ways.
    fn lowest(&self) -> Option<EventId> {
        let behind = self
            .after
            .map(|after| EventId::new(after.saturating_add(1)).unwrap_or(EventId::MAX));
        self.from.max(behind)
    }
}

/// A selection against the log as it is at one moment.
#[derive(Clone, Debug)]
struct Settled {
    /// Half-open; empty if nothing can match.
    ids: Range<EventId>,
    /// The end of the log.
    end: EventId,
    /// Whether the caller named where to begin; if not, what retention takes meanwhile is not
    /// missed.
    named_start: bool,
    /// Whether the range can never hold anything else.
    fixed: bool,
}

impl Log {
    /// One event, as [`Records`] of length 1.
    ///
    /// # Errors
    ///
    /// [`Failure`]: there is no such event yet, or not any more.
    pub async fn event(&self, id: EventId) -> Result<Records, Failure> {
        self.store.read(id).await?.ok_or_else(|| {
            let last_id = self.last_id();
            Failure::new(
                Code::NoSuchEvent,
                format!("there is no event {id} yet; the last one is {last_id}"),
            )
            .with(Details::LastId(last_id))
        })
    }

    /// Begins to read what is there now.
    ///
    /// # Errors
    ///
    /// [`Failure`]: the range makes no sense, or begins below the oldest id kept.
    pub async fn read(&self, selection: Selection) -> Result<Reading, Failure> {
        let settled = self.settle_range(&selection).await?;
        Reading::begin(self, &selection, settled).await
    }

    /// Like [`read`](Self::read), but if nothing matches, waits for the first event that does: for
    /// `wait` at most, or until the server stops. The read is empty then.
    ///
    /// # Errors
    ///
    /// As for [`read`](Self::read).
    pub async fn read_waiting(
        &self,
        mut selection: Selection,
        wait: Duration,
    ) -> Result<Reading, Failure> {
        let deadline = self.app.clock().moment().after(wait);
        loop {
            let mut reading = self.read(selection.clone()).await?;
            let end = reading.end();
            let may_grow = selection.direction == Direction::Forward
                && selection.to.is_none_or(|to| to >= end);
            if !may_grow || reading.is_first_page_there().await? {
                return Ok(reading);
            }
            let lowest = selection.lowest().unwrap_or(EventId::FIRST);
            if !self.end_moved_until(end.max(lowest), deadline).await {
                return Ok(reading);
            }
            // Everything below has been looked at.
            selection.after = selection.after.max(Some(end.get() - 1));
        }
    }

    /// Begins a read that goes on with what is published later, without gap or duplicate.
    ///
    /// # Errors
    ///
    /// As for [`read`](Self::read); going backward, or only up to a time, is refused.
    pub async fn follow(&self, selection: Selection) -> Result<Following, Failure> {
        if selection.direction == Direction::Backward || selection.until_us.is_some() {
            return Err(Failure::new(
                Code::InvalidRange,
                "what is published later can only be followed forward, and not up to a time",
            ));
        }
        let settled = self.settle_range(&selection).await?;
        Ok(Following::begin(self, &selection, &settled))
    }

    /// Begins to read the records as they lie in the log. Neither filter nor order can be chosen.
    ///
    /// # Errors
    ///
    /// As for [`read`](Self::read).
    pub async fn read_raw(&self, selection: Selection) -> Result<RawReading, Failure> {
        if selection.direction == Direction::Backward || selection.query().is_some() {
            return Err(Failure::new(
                Code::InvalidRange,
                "raw records can only be read forward, and not by stream, type or tag",
            ));
        }
        let settled = self.settle_range(&selection).await?;
        RawReading::begin(self, &selection, settled).await
    }

    /// Like [`read_raw`](Self::read_raw), but if the range is empty, waits for its first record: for
    /// `wait` at most, or until the server stops. The read is empty then.
    ///
    /// # Errors
    ///
    /// As for [`read_raw`](Self::read_raw).
    pub async fn read_raw_waiting(
        &self,
        selection: Selection,
        wait: Duration,
    ) -> Result<RawReading, Failure> {
        let deadline = self.app.clock().moment().after(wait);
        loop {
            let reading = self.read_raw(selection.clone()).await?;
            let end = reading.end();
            let may_grow = selection.to.is_none_or(|to| to >= end);
            if !may_grow || !reading.ids().is_empty() {
                return Ok(reading);
            }
            let lowest = selection.lowest().unwrap_or(EventId::FIRST);
            if !self.end_moved_until(end.max(lowest), deadline).await {
                return Ok(reading);
            }
        }
    }

    async fn settle_range(&self, selection: &Selection) -> Result<Settled, Failure> {
        selection.check()?;
        let lowest = selection.lowest();
        let durable_end = self.store.durable_end();
        let end = self.store.end();
        let first = self.store.first();
        if let Some(lowest) = lowest
            && lowest < first
        {
            return Err(ReadError::Expired { first_id: first }.into());
        }
        if lowest.is_none() && selection.to.is_some_and(|to| to < first) {
            return Err(ReadError::Expired { first_id: first }.into());
        }
        let mut ids = lowest.unwrap_or(first)..end;
        if let Some(to) = selection.to {
            ids.end = ids.end.min(to.next().unwrap_or(EventId::MAX));
        }
        if let Some(since_us) = selection.since_us {
            ids.start = ids.start.max(self.store.id_at_time(since_us).await?);
        }
        if let Some(until_us) = selection.until_us {
            ids.end = ids.end.min(self.store.id_at_time(until_us).await?);
        }
        Ok(Settled {
            ids,
            end,
            named_start: lowest.is_some(),
            fixed: lowest.is_some() && selection.to.is_some_and(|to| to < durable_end),
        })
    }

    /// Resolves once there is an event after `id`. If the log gets none any more, because it has
    /// failed or the server is stopping, this never resolves: whoever waits listens for that, too.
    pub async fn grown_past(&self, id: u64) {
        let seen = EventId::new(id.saturating_add(1)).unwrap_or(EventId::MAX);
        if self.store.end_moved(seen).await <= seen {
            std::future::pending::<()>().await;
        }
    }

    /// Waits until the end is past `seen`. False if the deadline comes first, or the server stops.
    async fn end_moved_until(&self, seen: EventId, deadline: crate::clock::Moment) -> bool {
        let clock = self.app.clock();
        if clock.moment() >= deadline || self.app.is_stopping() {
            return self.store.end() > seen;
        }
        let moved = async {
            if self.store.end_moved(seen).await <= seen {
                // A log that has failed does not move any more, and says so at once.
                std::future::pending::<()>().await;
            }
        };
        tokio::select! {
            () = moved => true,
            () = clock.sleep_until(deadline) => false,
            () = self.app.stopped() => false,
        }
    }
}
