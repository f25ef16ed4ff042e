//! How far a consumer is behind.
//!
//! The rank of an event for a tag says how many came before it, so the events with one tag after a
//! place are counted by two look-ups, however many they are. An event has one stream, one type and
//! one pair of them, so a list of alternatives of one kind is a sum. Only a filter that asks for
//! several things at once has to be counted event by event, up to a bound.

use std::time::Duration;

use crate::store::{Direction, EventId, Query, ReadRange, Records};

use super::super::Log;
use super::super::failure::Failure;
use super::super::filter::Filter;
use super::super::limits::{LAG_COUNT_MAX, LAG_LEN_MAX, PAGE_LEN_MAX};
use super::Lag;

/// What is counted so far, and when the oldest of it was recorded.
#[derive(Clone, Copy, Debug)]
struct Counted {
    events: u64,
    exact: bool,
    oldest_us: Option<u64>,
}

impl Log {
    /// What of the events after `position` the filter lets through.
    ///
    /// # Errors
    ///
    /// [`Failure`] if they cannot be read.
    pub async fn lag(&self, filter: &Filter, position: u64) -> Result<Lag, Failure> {
        let end = self.store.end();
        let start = EventId::new(position.saturating_add(1)).unwrap_or(EventId::MAX);
        // What retention has removed is not there to be read any more.
        let start = start.max(self.store.first());
        let counted = if start >= end {
            Counted {
                events: 0,
                exact: true,
                oldest_us: None,
            }
        } else {
            match filter.query() {
                None => self.count_all(start, end).await?,
                Some(query) => match <[_; 1]>::try_from(query.all) {
                    Ok([alternatives]) => self.count_alternatives(alternatives, start, end).await?,
                    Err(all) => self.count_events(Query { all }, start, end).await?,
                },
            }
        };
        let now_us = self.app.clock().now_us();
        let age_us = counted
            .oldest_us
            .map_or(0, |oldest_us| now_us.saturating_sub(oldest_us));
        Ok(Lag {
            events: counted.events,
            exact: counted.exact,
            age: Duration::from_micros(age_us),
        })
    }

    async fn count_all(&self, start: EventId, end: EventId) -> Result<Counted, Failure> {
        let oldest = self.store.read(start).await?;
        let oldest = oldest.as_ref().map(|records| records.get(0)).transpose()?;
        Ok(Counted {
            events: end.get().saturating_sub(start.get()),
            exact: true,
            oldest_us: oldest.flatten().map(|record| record.recorded_at_us),
        })
    }

    async fn count_alternatives(
        &self,
        mut tags: Vec<Vec<u8>>,
        start: EventId,
        end: EventId,
    ) -> Result<Counted, Failure> {
        tags.sort_unstable();
        tags.dedup();
        let mut counted = Counted {
            events: 0,
            exact: true,
            oldest_us: None,
        };
        for tag in tags {
            let query = Query {
                all: vec![vec![tag.clone()]],
            };
            let Some(records) = self.first_match(query, start, end).await? else {
                continue;
            };
            let Some(record) = records.get(0)? else {
                continue;
            };
            let rank = record
                .tags()
                .find(|(bytes, _)| *bytes == tag)
                .map_or(0, |(_, rank)| rank);
            let count = self.store.tag_end(tag).await?.map_or(0, |end| end.count);
            counted.events = counted.events.saturating_add(count.saturating_sub(rank));
            counted.oldest_us = match counted.oldest_us {
                None => Some(record.recorded_at_us),
                // Times never fall with the ids, so the least is that of the first.
                Some(oldest_us) => Some(oldest_us.min(record.recorded_at_us)),
            };
        }
        Ok(counted)
    }

    async fn first_match(
        &self,
        query: Query,
        start: EventId,
        end: EventId,
    ) -> Result<Option<Records>, Failure> {
        let range = ReadRange {
            ids: start..end,
            query: Some(query),
            direction: Direction::Forward,
        };
        Ok(self.store.read_range(range).await?.next_page(1, 1).await?)
    }

    async fn count_events(
        &self,
        query: Query,
        start: EventId,
        end: EventId,
    ) -> Result<Counted, Failure> {
        let range = ReadRange {
            ids: start..end,
            query: Some(query),
            direction: Direction::Forward,
        };
        let mut pages = self.store.read_range(range).await?;
        let mut counted = Counted {
            events: 0,
            exact: true,
            oldest_us: None,
        };
        let mut read_len = 0_usize;
        loop {
            let left = LAG_COUNT_MAX.saturating_sub(counted.events);
            if left == 0 || read_len >= LAG_LEN_MAX {
                // Enough is counted; whether there is one more decides whether that is all.
                counted.exact = pages.next_page(1, 1).await?.is_none();
                return Ok(counted);
            }
            let records_max = usize::try_from(left).unwrap_or(usize::MAX);
            let Some(records) = pages.next_page(records_max, PAGE_LEN_MAX).await? else {
                return Ok(counted);
            };
            if counted.oldest_us.is_none() {
                counted.oldest_us = records.get(0)?.map(|record| record.recorded_at_us);
            }
            read_len = read_len.saturating_add(records.encoded_len());
            let count = u64::try_from(records.len()).unwrap_or(u64::MAX);
            counted.events = counted.events.saturating_add(count);
        }
    }
}
