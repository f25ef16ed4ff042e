//! Finding events by how they are counted: by stream and type, by aggregate, by their own id.

use crate::store::{Direction, EventId, Query, ReadRange};

use super::Log;
use super::event::Uid;
use super::failure::Failure;
use super::name::{AggregateId, EventType, StreamName};
use super::range::Selection;
use super::tags::{self, AGGREGATE, PAIR, UID, WRITER};

impl Log {
    /// How many events of this type the stream has had; 0 as well if none of them is kept.
    ///
    /// # Errors
    ///
    /// [`Failure`] if the index cannot be read.
    pub async fn type_count(
        &self,
        stream: &StreamName<'_>,
        event_type: &EventType<'_>,
    ) -> Result<u64, Failure> {
        let tag = tags::pair(stream.as_str(), event_type.as_str());
        let end = self.store.tag_end(tag).await?;
        Ok(end.map_or(0, |end| end.count))
    }

    /// The event with this [`type_sequence`](super::Event::type_sequence), if it is kept.
    ///
    /// # Errors
    ///
    /// [`Failure`] if the index cannot be read.
    pub async fn at_type_sequence(
        &self,
        stream: &StreamName<'_>,
        event_type: &EventType<'_>,
        type_sequence: u64,
    ) -> Result<Option<EventId>, Failure> {
        let tag = tags::pair(stream.as_str(), event_type.as_str());
        Ok(self.store.id_at_rank(tag, type_sequence).await?)
    }

    /// The types of the events of a stream, with how many of each it has had: at most `limit`, in
    /// byte order, those after `after`.
    ///
    /// # Errors
    ///
    /// [`Failure`] if the index cannot be read.
    pub async fn types_of_stream(
        &self,
        stream: &StreamName<'_>,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<(String, u64)>, Failure> {
        let prefix = tags::pair(stream.as_str(), "");
        let after = after.map(|event_type| tags::pair(stream.as_str(), event_type));
        let found = self.store.tags(prefix.clone(), after, limit).await?;
        Ok(found
            .into_iter()
            .filter_map(|(tag, end)| {
                let event_type = String::from_utf8(tag.get(prefix.len()..)?.to_vec()).ok()?;
                Some((event_type, end.count))
            })
            .collect())
    }

    /// The streams with the types of their events, in byte order: at most `limit` pairs.
    ///
    /// # Errors
    ///
    /// [`Failure`] if the index cannot be read.
    pub async fn stream_types(&self, limit: usize) -> Result<Vec<(String, String)>, Failure> {
        self.pairs(PAIR, limit).await
    }

    /// The streams that belong to a producer, with the producers, in byte order: at most `limit`.
    ///
    /// # Errors
    ///
    /// [`Failure`] if the index cannot be read.
    pub async fn owned_streams(&self, limit: usize) -> Result<Vec<(String, String)>, Failure> {
        self.pairs(WRITER, limit).await
    }

    async fn pairs(&self, kind: u8, limit: usize) -> Result<Vec<(String, String)>, Failure> {
        let found = self.store.tags(vec![kind], None, limit).await?;
        Ok(found
            .into_iter()
            .filter_map(|(tag, _end)| {
                let (stream, other) = tags::name_of(&tag, kind)?.split_once('\0')?;
                Some((stream.to_owned(), other.to_owned()))
            })
            .collect())
    }

    /// How many events an aggregate has had: the sequence of its next one.
    ///
    /// # Errors
    ///
    /// [`Failure`] if the index cannot be read.
    pub async fn aggregate_count(&self, id: &AggregateId<'_>) -> Result<u64, Failure> {
        let end = self
            .store
            .tag_end(tags::tag(AGGREGATE, id.as_str()))
            .await?;
        Ok(end.map_or(0, |end| end.count))
    }

    /// The event of an aggregate with this sequence, if it is kept.
    ///
    /// # Errors
    ///
    /// [`Failure`] if the index cannot be read.
    pub async fn at_aggregate_sequence(
        &self,
        id: &AggregateId<'_>,
        sequence: u64,
    ) -> Result<Option<EventId>, Failure> {
        let tag = tags::tag(AGGREGATE, id.as_str());
        Ok(self.store.id_at_rank(tag, sequence).await?)
    }

    /// The events of an aggregate, as a selection that can be read.
    #[must_use]
    pub fn of_aggregate(id: AggregateId<'static>) -> Selection {
        Selection {
            aggregate: Some(id),
            ..Selection::default()
        }
    }

    /// The last event that was published to be found by this id
    /// ([`findable_by_uid`](super::publish::NewEvent::findable_by_uid)), if it is kept.
    ///
    /// # Errors
    ///
    /// [`Failure`] if the index cannot be read.
    pub async fn find_by_uid(&self, uid: Uid<'_>) -> Result<Option<EventId>, Failure> {
        let tag = tags::tag(UID, &uid.to_string());
        let range = ReadRange {
            ids: self.store.first()..self.store.end(),
            query: Some(Query {
                all: vec![vec![tag]],
            }),
            direction: Direction::Backward,
        };
        let mut pages = self.store.read_range(range).await?;
        let found = pages.next_page(1, 1).await?;
        let record = found.as_ref().map(|records| records.get(0)).transpose()?;
        Ok(record.flatten().map(|record| record.id))
    }
}
