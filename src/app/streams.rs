//! Streams: listing and describing them.

use crate::store::EventId;

use super::Log;
use super::failure::Failure;
use super::name::StreamName;

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
    /// How many events it ever had.
    pub count: u64,
    /// The sequence of its last event.
    pub last_sequence: u64,
    /// The id of its last event.
    pub last_id: u64,
    /// Its oldest event that is kept; none if retention has removed them all.
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
    /// at [`LIST_MAX`](super::limits::LIST_MAX)).
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
        let _ = (prefix, after, limit);
        todo!()
    }

    /// What is known of a stream.
    ///
    /// # Errors
    ///
    /// [`Failure`]: no event was ever published to it.
    pub async fn stream(&self, name: &StreamName<'_>) -> Result<StreamDescription, Failure> {
        let _ = name;
        todo!()
    }

    /// The last sequence of a stream, for its `ETag`; none if no event was ever published to it.
    ///
    /// # Errors
    ///
    /// [`Failure`] if the index cannot be read.
    pub async fn last_sequence(&self, name: &StreamName<'_>) -> Result<Option<u64>, Failure> {
        let _ = name;
        todo!()
    }
}
