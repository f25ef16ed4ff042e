//! Streams: listing and describing them.

use crate::store::{Direction, EventId, Query, ReadRange};

use super::Log;
use super::failure::{Code, Failure};
use super::limits::LIST_MAX;
use super::name::StreamName;
use super::tags::{self, STREAM};

/// A stream in a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StreamEntry {
    /// Its name.
    pub name: String,
    /// The sequence of its last event.
    pub last_sequence: u64,
    /// The id of its last event.
    pub last_id: u64,
}

/// What is known of a stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StreamDescription {
    /// How many events it has had.
    pub count: u64,
    /// The sequence of its last event.
    pub last_sequence: u64,
    /// The id of its last event.
    pub last_id: u64,
    /// Its oldest event that is kept; none if retention removed the last one just now.
    pub first: Option<FirstKept>,
}

/// The oldest event of a stream that is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FirstKept {
    /// Its id.
    pub id: EventId,
    /// Its sequence.
    pub sequence: u64,
}

/// A page of streams.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StreamPage {
    /// The streams, in byte order of their names.
    pub streams: Vec<StreamEntry>,
    /// After which name the next page goes on; none if this is the last.
    pub next: Option<String>,
}

impl Log {
    /// The streams whose names begin with `prefix` and come after `after`, at most `limit` (capped
    /// at [`LIST_MAX`]).
    ///
    /// # Errors
    ///
    /// [`Failure`] if the index cannot be read.
    pub async fn streams(
        &self,
        prefix: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<StreamPage, Failure> {
        let limit = limit.clamp(1, LIST_MAX);
        let mut found = self
            .store
            .tags(
                tags::tag(STREAM, prefix),
                after.map(|after| tags::tag(STREAM, after)),
                // One more tells whether there is another page.
                limit + 1,
            )
            .await?;
        let more = found.len() > limit;
        found.truncate(limit);
        let streams: Vec<StreamEntry> = found
            .iter()
            .filter_map(|(tag, end)| {
                Some(StreamEntry {
                    name: tags::name_of(tag, STREAM)?.to_owned(),
                    last_sequence: end.count.saturating_sub(1),
                    last_id: end.last_id,
                })
            })
            .collect();
        let last = streams.last().filter(|_| more);
        Ok(StreamPage {
            next: last.map(|last| last.name.clone()),
            streams,
        })
    }

    /// What is known of a stream.
    ///
    /// # Errors
    ///
    /// [`Failure`]: no event of it is kept.
    pub async fn stream(&self, name: &StreamName<'_>) -> Result<StreamDescription, Failure> {
        let tag = tags::tag(STREAM, name.as_str());
        let end = self.store.tag_end(tag.clone()).await?.ok_or_else(|| {
            Failure::new(
                Code::NoSuchStream,
                format!("there is no event of a stream {:?}", name.as_str()),
            )
        })?;
        let range = ReadRange {
            ids: self.store.first()..self.store.end(),
            query: Some(Query {
                all: vec![vec![tag]],
            }),
            direction: Direction::Forward,
        };
        let first = self.store.read_range(range).await?.next_page(1, 1).await?;
        let first = first.as_ref().map(|records| records.get(0)).transpose()?;
        Ok(StreamDescription {
            count: end.count,
            last_sequence: end.count.saturating_sub(1),
            last_id: end.last_id,
            first: first.flatten().and_then(|record| {
                let (_stream, sequence) = record.tags().next()?;
                Some(FirstKept {
                    id: record.id,
                    sequence,
                })
            }),
        })
    }

    /// The last sequence of a stream, for its `ETag`; none if no event of it is kept.
    ///
    /// # Errors
    ///
    /// [`Failure`] if the index cannot be read.
    pub async fn last_sequence(&self, name: &StreamName<'_>) -> Result<Option<u64>, Failure> {
        let tag = tags::tag(STREAM, name.as_str());
        let end = self.store.tag_end(tag).await?;
        Ok(end.and_then(|end| end.count.checked_sub(1)))
    }
}
