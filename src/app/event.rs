//! An event as it is read: a view of a record, nothing copied.

use crate::store::{EventId, Record};

/// An event in the log.
#[derive(Clone, Debug)]
pub struct Event<'a> {
    /// Its position in the log.
    pub id: EventId,
    /// The stream it belongs to.
    pub stream: &'a str,
    /// Its position in the stream, from 0.
    pub sequence: u64,
    /// Its type.
    pub event_type: &'a str,
    /// The id its publisher, or else the server, gave it.
    pub uid: Uid<'a>,
    /// The publisher's time, in microseconds since 1970 (UTC); `recorded_at_us` holds if absent.
    pub time_us: Option<i64>,
    /// When the log took it, in microseconds since 1970 (UTC).
    pub recorded_at_us: u64,
    /// The tags its publisher gave it, in that order.
    pub labels: Labels<'a>,
    /// A JSON object, as published.
    pub metadata: Option<&'a [u8]>,
    /// Its payload.
    pub data: Data<'a>,
    /// Whether `data` (if JSON) or `metadata` has line breaks, which can only be between tokens:
    /// line-oriented representations leave them out.
    pub line_breaks: bool,
}

/// A payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Data<'a> {
    /// JSON, as published, byte for byte. On the way in, whoever publishes has checked that it is
    /// one JSON value in UTF-8.
    Json(&'a [u8]),
    /// Anything else.
    Bytes {
        /// What it is.
        content_type: &'a str,
        /// The bytes.
        bytes: &'a [u8],
    },
}

impl<'a> Data<'a> {
    /// The bytes of the payload.
    #[must_use]
    pub fn bytes(&self) -> &'a [u8] {
        match self {
            Self::Json(bytes) | Self::Bytes { bytes, .. } => bytes,
        }
    }
}

/// An `eventId`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Uid<'a> {
    /// A UUID, which is written in lower case with hyphens.
    Uuid([u8; 16]),
    /// Any other text.
    Text(&'a str),
}

/// The tags a publisher gave an event.
#[derive(Clone, Debug)]
pub struct Labels<'a>(std::marker::PhantomData<&'a ()>);

impl<'a> Iterator for Labels<'a> {
    type Item = &'a str;

    fn next(&mut self) -> Option<&'a str> {
        todo!()
    }
}

impl Labels<'_> {
    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        todo!()
    }
}

/// A record is not an event as docs/RECORDS.md describes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotAnEvent {
    /// The record.
    pub id: EventId,
    /// What is wrong with it.
    pub what: &'static str,
}

impl<'a> Event<'a> {
    /// Reads the event in a record.
    ///
    /// # Errors
    ///
    /// [`NotAnEvent`] if the record was written by something else, or a newer version.
    pub fn from_record(record: Record<'a>) -> Result<Self, NotAnEvent> {
        let _ = record;
        todo!()
    }
}
