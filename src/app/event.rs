//! An event as it is read: a view of a record, nothing copied.

use std::fmt;
use std::num::NonZero;

use uuid::Uuid;
use uuid::fmt::Hyphenated;

use crate::store::{EventId, Record, Tags};

use super::envelope::{Envelope, RequestMark};
use super::failure::{Code, Failure};
use super::publish::Fingerprint;
use super::tags::{self, BEFORE_LABELS};

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
    /// Its position among the events of its type in its stream, from 0.
    pub type_sequence: u64,
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
    /// How many calls of webhooks, handlers and actions led to it, one to the other, as far as those
    /// who were called passed that on.
    pub hops: u8,
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

impl<'a> Uid<'a> {
    /// The shortest form of this text; its [`Display`](fmt::Display) gives the text back.
    #[must_use]
    pub fn of(text: &'a str) -> Self {
        // Other ways to write a UUID would not come back as they were given.
        let plain =
            text.len() == Hyphenated::LENGTH && !text.bytes().any(|byte| byte.is_ascii_uppercase());
        match Uuid::try_parse(text) {
            Ok(uuid) if plain => Self::Uuid(uuid.into_bytes()),
            Ok(_) | Err(_) => Self::Text(text),
        }
    }
}

impl fmt::Display for Uid<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Uuid(bytes) => Uuid::from_bytes(*bytes).as_hyphenated().fmt(f),
            Self::Text(text) => f.write_str(text),
        }
    }
}

/// The tags a publisher gave an event.
#[derive(Clone, Debug)]
pub struct Labels<'a>(Tags<'a>);

impl<'a> Iterator for Labels<'a> {
    type Item = &'a str;

    fn next(&mut self) -> Option<&'a str> {
        // They stand together, so the first of another kind ends them.
        let (tag, _rank) = self.0.next()?;
        tags::name_of(tag, tags::LABEL)
    }
}

impl Labels<'_> {
    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.clone().next().is_none()
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

impl fmt::Display for NotAnEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "record {} cannot be shown as an event: {}",
            self.id, self.what
        )
    }
}

impl std::error::Error for NotAnEvent {}

impl From<NotAnEvent> for Failure {
    fn from(error: NotAnEvent) -> Self {
        Self::new(Code::Unreadable, error.to_string())
    }
}

impl<'a> Event<'a> {
    /// The aggregate it belongs to, and its position in it, from 0.
    #[must_use]
    pub fn aggregate(&self) -> Option<(&'a str, u64)> {
        let mut tags = self.labels.0.clone();
        tags.find_map(|(tag, rank)| Some((tags::name_of(tag, tags::AGGREGATE)?, rank)))
    }

    /// Whether the owner of its stream published it, as a producer that owns streams.
    #[must_use]
    pub fn is_of_owner(&self) -> bool {
        let mut tags = self.labels.0.clone();
        tags.any(|(tag, _rank)| tag.first() == Some(&tags::OWNED))
    }

    /// Reads the event in a record.
    ///
    /// # Errors
    ///
    /// [`NotAnEvent`] if the record was written by something else, or a newer version.
    pub fn from_record(record: Record<'a>) -> Result<Self, NotAnEvent> {
        Stored::from_record(record).map(|stored| stored.event)
    }
}

/// An event, and what is kept with it for idempotency.
#[derive(Clone, Debug)]
pub(super) struct Stored<'a> {
    pub(super) event: Event<'a>,
    pub(super) request: Option<RequestMark>,
    pub(super) key: Option<Fingerprint>,
}

impl<'a> Stored<'a> {
    pub(super) fn from_record(record: Record<'a>) -> Result<Self, NotAnEvent> {
        let id = record.id;
        let wrong = |what| NotAnEvent { id, what };
        let envelope = Envelope::decode(record.body).map_err(wrong)?;
        let mut tags = record.tags();
        let (stream, sequence) = tags
            .next()
            .and_then(|(tag, rank)| Some((tags::name_of(tag, tags::STREAM)?, rank)))
            .ok_or(wrong("its first tag is not a stream"))?;
        let event_type = tags
            .next()
            .and_then(|(tag, _rank)| tags::name_of(tag, tags::TYPE))
            .ok_or(wrong("its second tag is not a type"))?;
        const { assert!(BEFORE_LABELS == 3) };
        let type_sequence = tags
            .next()
            .and_then(|(tag, rank)| (tag.first() == Some(&tags::PAIR)).then_some(rank))
            .ok_or(wrong("its third tag is not a stream and a type"))?;
        let data = match envelope.content_type {
            None => Data::Json(envelope.data),
            Some(content_type) => Data::Bytes {
                content_type,
                bytes: envelope.data,
            },
        };
        Ok(Self {
            event: Event {
                id,
                stream,
                sequence,
                event_type,
                type_sequence,
                uid: envelope.uid,
                time_us: envelope.time_us,
                recorded_at_us: record.recorded_at_us,
                labels: Labels(tags),
                metadata: envelope.metadata,
                data,
                line_breaks: envelope.line_breaks,
                hops: envelope.hops.map_or(0, NonZero::get),
            },
            request: envelope.request,
            key: envelope.key,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_id_comes_back_as_it_was_given() {
        for (text, short) in [
            ("0190a0b0-0000-7000-8000-00000000000f", true),
            ("0190A0B0-0000-7000-8000-00000000000F", false),
            ("0190a0b0000070008000000000000000f", false),
            ("{0190a0b0-0000-7000-8000-00000000000f}", false),
            ("urn:uuid:0190a0b0-0000-7000-8000-00000000000f", false),
            ("order 1", false),
        ] {
            let uid = Uid::of(text);
            assert_eq!(uid.to_string(), text);
            assert_eq!(matches!(uid, Uid::Uuid(_)), short, "{text}");
        }
    }
}
