//! Publishing: events stored together or not at all, under conditions, at most once.

use crate::store::{Durability, EventId};

use super::Log;
use super::event::Data;
use super::failure::Failure;
use super::filter::Filter;
use super::name::{EventType, EventUid, IdempotencyKey, StreamName, TagLabel};

/// One request to publish: a batch and what must hold for it.
#[derive(Clone, Debug, Default)]
pub struct Publish<'a> {
    /// The events, in order: at least one.
    pub events: Vec<NewEvent<'a>>,
    /// Where one stream must stand.
    pub expectation: Option<Expectation<'a>>,
    /// Which events must not be there.
    pub conditions: Vec<Unless>,
    /// The key of the request as a whole.
    pub key: Option<Keyed<'a>>,
    /// When the answer may be given; the server's setting if absent.
    pub durability: Option<Durability>,
}

/// An event to be stored.
#[derive(Clone, Debug)]
pub struct NewEvent<'a> {
    /// The stream it goes to.
    pub stream: StreamName<'a>,
    /// Its type.
    pub event_type: EventType<'a>,
    /// Its payload.
    pub data: Data<'a>,
    /// A JSON object in UTF-8, which whoever publishes has checked.
    pub metadata: Option<&'a [u8]>,
    /// Tags, each at most once.
    pub tags: Vec<TagLabel<'a>>,
    /// Its id; a UUIDv7 is made if absent.
    pub uid: Option<EventUid<'a>>,
    /// The publisher's time, in microseconds since 1970 (UTC).
    pub time_us: Option<i64>,
    /// The sequence it must get.
    pub expected_sequence: Option<u64>,
    /// Its own idempotency key.
    pub key: Option<Keyed<'a>>,
}

/// An idempotency key, and what it stands for.
///
/// Keys of requests and keys of events are told apart: the same text may be used for both.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Keyed<'a> {
    /// The key.
    pub key: IdempotencyKey<'a>,
    /// What a repeat must have in common with the first.
    pub fingerprint: Fingerprint,
}

/// What tells a repeated request, or event, from another one with the same key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fingerprint(pub(crate) [u8; 16]);

impl Fingerprint {
    /// The fingerprint of these pieces, one after another; where one ends and the next begins
    /// counts.
    #[must_use]
    pub fn of(pieces: &[&[u8]]) -> Self {
        let _ = pieces;
        todo!()
    }
}

/// Where a stream must stand for a batch to be stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Expectation<'a> {
    /// The stream; the batch must have an event for it.
    pub stream: StreamName<'a>,
    /// Where it must stand before the batch.
    pub last: ExpectedLast,
}

/// The last sequence of a stream, as a publisher expects it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExpectedLast {
    /// The stream has no event.
    Empty,
    /// The last event has this sequence.
    Sequence(u64),
}

/// A condition: no event after `after` matches `filter`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unless {
    /// Which events would be in the way.
    pub filter: Filter,
    /// The last id that may match; 0 if none may.
    pub after: u64,
}

/// What became of a publish.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Published {
    /// The lowest id of the events.
    pub first_id: EventId,
    /// The highest id of the events.
    pub last_id: EventId,
    /// The events, in the order of the request.
    pub events: Vec<PublishedEvent>,
    /// Whether the request as a whole was a repeat, and nothing was stored.
    pub replayed: bool,
    /// The id up to which the log was durable; 0 if nothing was.
    pub durable_id: u64,
    /// The last sequence that the request gave the stream of its last event.
    pub last_sequence: u64,
}

/// One event of a publish. Its stream is that of the request's event at the same place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PublishedEvent {
    /// Its id.
    pub id: EventId,
    /// Its position in its stream.
    pub sequence: u64,
    /// Whether it was stored by an earlier publish with the same key.
    pub replayed: bool,
}

impl Log {
    /// Stores the events, all or none.
    ///
    /// A repeat (the key is known, the fingerprint the same) stores nothing and is answered with
    /// what became of the first, whatever the expectations and conditions say by now. Events that
    /// are repeats on their own are left out of the batch, and expectations are judged without
    /// them: the one for the batch applies to the first event of its stream that is no repeat.
    ///
    /// # Errors
    ///
    /// [`Failure`]; only one of kind [`Unknown`](super::FailureKind::Unknown) may have stored
    /// anything, and a refused key can be used again.
    pub async fn publish(&self, request: Publish<'_>) -> Result<Published, Failure> {
        let _ = request;
        todo!()
    }
}
