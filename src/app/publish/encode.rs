//! A publish as a batch of the store.

use std::collections::BTreeSet;
use std::num::NonZero;

use uuid::Builder;

use crate::store::{Batch, Condition, Query, TAGS_MAX, Tag};

use super::super::App;
use super::super::envelope::{Envelope, RequestMark, has_line_break};
use super::super::event::{Data, Uid};
use super::super::failure::{Code, Details, Failure};
use super::super::limits::{DATA_LEN_MAX, EVENT_TAGS_MAX, METADATA_LEN_MAX};
use super::super::tags::{
    self, AGGREGATE, DERIVED_KEY, KEY, LABEL, OWNED, REQUEST, STREAM, TYPE, UID,
};
use super::plan::Plan;
use super::{KeyOrigin, NewEvent, Publish};

/// The bytes that an event takes in a batch besides its names and payload, about.
const EVENT_OVERHEAD: usize = 192;

/// The events that are no repeats, with what must hold for them; none if all are. `guarded` adds
/// the condition that the streams belong to nobody, behind those of the request.
pub(super) fn batch(
    request: &Publish<'_>,
    plan: &Plan,
    app: &App,
    guarded: bool,
) -> Result<Option<Batch>, Failure> {
    let remaining = plan.remaining(request);
    if remaining == 0 {
        return Ok(None);
    }
    let payload: usize = request.events.iter().map(payload_len).sum();
    let mut batch = Batch::with_capacity(payload.saturating_add(remaining * EVENT_OVERHEAD));
    for condition in &request.conditions {
        batch.require(Condition {
            query: condition
                .filter
                .query()
                .unwrap_or(Query { all: Vec::new() }),
            after: condition.after,
        });
    }
    if guarded {
        batch.require(unowned(request, plan));
    }
    if let Some(durability) = request.durability {
        batch.set_durability(durability);
    }

    let mut buffers = Buffers::default();
    let mut expectation = request.expectation.as_ref();
    let mut request_key = request.key.as_ref();
    let mut claimed = BTreeSet::new();
    let stored = u32::try_from(remaining).unwrap_or(u32::MAX);
    for (index, event) in request.events.iter().enumerate() {
        if plan.replayed(index).is_some() {
            continue;
        }
        let expected = expectation
            .take_if(|expectation| expectation.stream == event.stream)
            .map(|expectation| expectation.next_sequence());
        let sequence = match (expected, event.expected_sequence) {
            (Some(expected), Some(own)) if expected != own => {
                return Err(Failure::new(
                    Code::InvalidExpectation,
                    format!(
                        "the batch expects the event to get sequence {expected}, and the event expects {own}; nothing was stored"
                    ),
                )
                .at(index));
            }
            (expected, own) => expected.or(own),
        };
        let request_key = request_key.take();
        let envelope = Envelope {
            time_us: event.time_us,
            uid: match &event.uid {
                Some(uid) => Uid::of(uid.as_str()),
                None => Uid::Uuid(new_uuid(app)),
            },
            content_type: match event.data {
                Data::Json(_) => None,
                Data::Bytes { content_type, .. } => Some(content_type),
            },
            line_breaks: line_breaks(event),
            request: request_key.map(|keyed| RequestMark {
                fingerprint: keyed.fingerprint,
                stored,
            }),
            key: event.key.as_ref().map(|keyed| keyed.fingerprint),
            hops: NonZero::new(event.hops),
            metadata: event.metadata,
            data: event.data.bytes(),
        };
        check(event)
            .and_then(|()| {
                buffers.begin(&envelope);
                buffers.tag(STREAM, event.stream.as_str(), sequence);
                buffers.tag(TYPE, event.event_type.as_str(), None);
                buffers.pair(event.stream.as_str(), event.event_type.as_str());
                for label in &event.tags {
                    buffers.tag(LABEL, label.as_str(), None);
                }
                // The order is that of `OwnTag`.
                if let Some(keyed) = &event.key {
                    let kind = key_tag(keyed.origin);
                    buffers.tag(kind, keyed.key.as_str(), Some(plan.key_rank(index)));
                }
                if let Some(aggregate) = &event.aggregate {
                    buffers.tag(AGGREGATE, aggregate.id.as_str(), Some(aggregate.sequence));
                }
                if let Some(producer) = &request.producer {
                    let stream = event.stream.as_str();
                    let claims = !plan.owned_streams.contains(stream) && claimed.insert(stream);
                    let rank = plan.claim_ranks.get(stream).copied().unwrap_or_default();
                    buffers.tag(OWNED, stream, claims.then_some(rank));
                    buffers.writer(stream, producer.as_str());
                }
                if event.findable_by_uid {
                    buffers.tag(UID, &envelope.uid.to_string(), None);
                }
                if let Some(keyed) = request_key {
                    buffers.tag(REQUEST, keyed.key.as_str(), Some(plan.request_rank));
                }
                buffers.push(&mut batch, &envelope)
            })
            .map_err(|failure| failure.at(index))?;
    }
    Ok(Some(batch))
}

/// The kind of tag for the key of an event.
pub(super) fn key_tag(origin: KeyOrigin) -> u8 {
    match origin {
        KeyOrigin::Given => KEY,
        KeyOrigin::Derived => DERIVED_KEY,
    }
}

/// The condition that none of the streams belongs to somebody.
fn unowned(request: &Publish<'_>, plan: &Plan) -> Condition {
    let streams: BTreeSet<&str> = request
        .events
        .iter()
        .enumerate()
        .filter(|(index, _)| plan.replayed(*index).is_none())
        .map(|(_, event)| event.stream.as_str())
        .collect();
    let any = streams
        .into_iter()
        .map(|stream| tags::tag(OWNED, stream))
        .collect();
    Condition {
        query: Query { all: vec![any] },
        after: 0,
    }
}

fn payload_len(event: &NewEvent<'_>) -> usize {
    event.data.bytes().len() + event.metadata.map_or(0, <[u8]>::len)
}

/// Refuses what is too much for one event. Names have been checked by their types.
fn check(event: &NewEvent<'_>) -> Result<(), Failure> {
    let too_large = |what: &str, len: usize, len_max: usize| {
        Failure::new(
            Code::TooLarge,
            format!("the event's {what} has {len} bytes, more than {len_max}; nothing was stored"),
        )
        .with(Details::Limit(u64::try_from(len_max).unwrap_or(u64::MAX)))
    };
    let data_len = event.data.bytes().len();
    if data_len > DATA_LEN_MAX {
        return Err(too_large("data", data_len, DATA_LEN_MAX));
    }
    let metadata_len = event.metadata.map_or(0, <[u8]>::len);
    if metadata_len > METADATA_LEN_MAX {
        return Err(too_large("metadata", metadata_len, METADATA_LEN_MAX));
    }
    if event.tags.len() > EVENT_TAGS_MAX {
        return Err(Failure::new(
            Code::InvalidEvent,
            format!(
                "the event has {} tags, more than {EVENT_TAGS_MAX}; nothing was stored",
                event.tags.len()
            ),
        ));
    }
    if let Data::Bytes { content_type, .. } = event.data {
        super::super::name::ContentType::new(content_type)?;
    }
    Ok(())
}

fn line_breaks(event: &NewEvent<'_>) -> bool {
    let in_data = match event.data {
        Data::Json(json) => has_line_break(json),
        Data::Bytes { .. } => false,
    };
    in_data || event.metadata.is_some_and(has_line_break)
}

/// A fresh UUIDv7.
fn new_uuid(app: &App) -> [u8; 16] {
    let [a, b] = [app.random().next_u64(), app.random().next_u64()];
    let mut random = [0; 10];
    let bytes = a.to_le_bytes().into_iter().chain(b.to_le_bytes());
    for (place, byte) in random.iter_mut().zip(bytes) {
        *place = byte;
    }
    let now_ms = app.clock().now_us() / 1_000;
    Builder::from_unix_timestamp_millis(now_ms, &random)
        .into_uuid()
        .into_bytes()
}

/// The tags and the head of one event, in buffers that serve one event after another.
#[derive(Debug)]
struct Buffers {
    head: Vec<u8>,
    /// The tags, one behind the other.
    tags: Vec<u8>,
    /// For each tag where it ends, and the rank it must get.
    slots: Vec<(usize, Option<u64>)>,
}

impl Default for Buffers {
    fn default() -> Self {
        // An ordinary event fits without growing.
        Self {
            head: Vec::with_capacity(128),
            tags: Vec::with_capacity(256),
            slots: Vec::with_capacity(8),
        }
    }
}

impl Buffers {
    fn begin(&mut self, envelope: &Envelope<'_>) {
        self.head.clear();
        self.tags.clear();
        self.slots.clear();
        envelope.push_head(&mut self.head);
    }

    fn tag(&mut self, kind: u8, name: &str, expected_rank: Option<u64>) {
        tags::push_tag(&mut self.tags, kind, name);
        self.slots.push((self.tags.len(), expected_rank));
    }

    fn pair(&mut self, stream: &str, event_type: &str) {
        tags::push_pair(&mut self.tags, stream, event_type);
        self.slots.push((self.tags.len(), None));
    }

    fn writer(&mut self, stream: &str, producer: &str) {
        tags::push_writer(&mut self.tags, stream, producer);
        self.slots.push((self.tags.len(), None));
    }

    fn push(&self, batch: &mut Batch, envelope: &Envelope<'_>) -> Result<(), Failure> {
        let mut slices = [Tag::new(&[]); TAGS_MAX];
        let mut start = 0;
        for (place, (end, expected_rank)) in slices.iter_mut().zip(&self.slots) {
            *place = Tag {
                bytes: self.tags.get(start..*end).unwrap_or_default(),
                expected_rank: *expected_rank,
            };
            start = *end;
        }
        let slices = slices.get(..self.slots.len()).unwrap_or_default();
        let metadata = envelope.metadata.unwrap_or_default();
        batch.push(slices, &[&self.head, metadata, envelope.data])?;
        Ok(())
    }
}
