//! Publishing: events stored together or not at all, under conditions, at most once.
//!
//! Idempotency is optimistic. A key is a tag of the event, expected to be new; the store judges that
//! where it gives out ids, so a publish with new keys costs one append and no look-up. Only when the
//! store refuses, because a key is there, is the original read and compared: what it
//! answers for is taken out of the batch, and the rest is submitted again. Expectations and
//! conditions of the rest are judged by the store each time, so none of this needs a lock.

use std::collections::BTreeMap;

use sha2::{Digest, Sha256};

use crate::store::{AppendError, Durability, EventId, RankMismatch, Receipt};

use super::Log;
use super::event::Data;
use super::failure::{Code, Details, Failure};
use super::filter::Filter;
use super::limits::{BATCH_EVENTS_MAX, CONDITIONS_MAX, PUBLISH_ROUNDS_MAX};
use super::name::{
    AggregateId, EventType, EventUid, IdempotencyKey, ProducerId, StreamName, TagLabel,
};
use plan::{OwnTag, Plan};

mod encode;
mod ownership;
mod plan;
mod repeat;

pub(super) use ownership::OwnedLogs;

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
    /// Who publishes, if that makes the streams of the events theirs: the first producer to publish
    /// to a stream owns it from then on, as long as an event of theirs is kept, and nobody else,
    /// with or without a name, can publish to it.
    pub producer: Option<ProducerId<'a>>,
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
    /// The aggregate it belongs to, which is counted apart from the stream.
    pub aggregate: Option<AggregateStep<'a>>,
    /// Whether [`Log::find_by_uid`] is to find it. Costs an entry in the index.
    pub findable_by_uid: bool,
    /// How many calls of webhooks, handlers and actions led to it; see [`HOPS_MAX`].
    ///
    /// [`HOPS_MAX`]: super::limits::HOPS_MAX
    pub hops: u8,
}

impl<'a> NewEvent<'a> {
    /// An event with what each one has; the rest is left out.
    #[must_use]
    pub fn new(stream: StreamName<'a>, event_type: EventType<'a>, data: Data<'a>) -> Self {
        Self {
            stream,
            event_type,
            data,
            metadata: None,
            tags: Vec::new(),
            uid: None,
            time_us: None,
            expected_sequence: None,
            key: None,
            aggregate: None,
            findable_by_uid: false,
            hops: 0,
        }
    }
}

/// The place of an event in its aggregate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AggregateStep<'a> {
    /// The aggregate.
    pub id: AggregateId<'a>,
    /// How many events the aggregate must have had before this one; events earlier in the same
    /// batch count.
    pub sequence: u64,
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
    /// Who made the key.
    pub origin: KeyOrigin,
}

/// Who made a key. Keys of different origin are told apart.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum KeyOrigin {
    /// The publisher chose it.
    #[default]
    Given,
    /// A door made it out of several names, by which its protocol tells repeats.
    Derived,
}

/// What tells a repeated request, or event, from another one with the same key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fingerprint(pub(crate) [u8; 16]);

impl Fingerprint {
    /// The fingerprint of these pieces, one after another; where one ends and the next begins
    /// counts.
    #[must_use]
    pub fn of(pieces: &[&[u8]]) -> Self {
        let mut hash = Sha256::new();
        for piece in pieces {
            let len = u64::try_from(piece.len()).unwrap_or(u64::MAX);
            hash.update(len.to_le_bytes());
            hash.update(piece);
        }
        let mut fingerprint = [0; 16];
        for (place, byte) in fingerprint.iter_mut().zip(hash.finalize()) {
            *place = byte;
        }
        Self(fingerprint)
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

impl Expectation<'_> {
    /// The sequence that the next event of the stream must get. No stream gets as far as `u64::MAX`,
    /// so what cannot be expected is never met.
    fn next_sequence(&self) -> u64 {
        match self.last {
            ExpectedLast::Empty => 0,
            ExpectedLast::Sequence(last) => last.saturating_add(1),
        }
    }
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
    /// One key on two events of a batch is refused: which of them it stands for would depend on
    /// what else is stored.
    ///
    /// # Errors
    ///
    /// [`Failure`]; only one of kind [`Unknown`](super::FailureKind::Unknown) may have stored
    /// anything, and a refused key can be used again.
    pub async fn publish(&self, request: Publish<'_>) -> Result<Published, Failure> {
        check(&request)?;
        let mut plan = Plan::default();
        self.plan_ownership(&request, &mut plan);
        for _round in 0..PUBLISH_ROUNDS_MAX {
            let Some(appended) = self.submit(&request, &plan)? else {
                return self.all_replayed(&request, &plan).await;
            };
            let known = match appended.await {
                Ok(receipt) => return Ok(stored(&request, &plan, &receipt)),
                Err(AppendError::Ranks(mismatches)) => {
                    let known = plan.known_keys(&request, &mismatches);
                    if known.is_empty() {
                        if let Some(claim) = plan.refused_claim(&request, &mismatches) {
                            self.settle_claim(&request, &mut plan, claim).await?;
                            continue;
                        }
                        return Err(not_as_counted(&request, &plan, &mismatches));
                    }
                    known
                }
                Err(AppendError::Condition { index, found }) => {
                    // The original of a repeat may well be what matches.
                    let known = self.look_up_keys(&request, &plan, found).await?;
                    if known.is_empty() {
                        // The condition behind the publisher's own is the one on ownership.
                        return Err(if index < request.conditions.len() {
                            condition_unmet(index, found)
                        } else {
                            ownership::stream_owned(&request)
                        });
                    }
                    known
                }
                Err(error) => return Err(Failure::of_append(&error)),
            };
            if let Some(published) = self.settle(&request, &mut plan, known).await? {
                return Ok(published);
            }
        }
        Err(Failure::new(
            Code::Busy,
            "other publishes with the same keys kept coming first; nothing was stored",
        ))
    }

    /// The answer when every event was stored before.
    async fn all_replayed(&self, request: &Publish<'_>, plan: &Plan) -> Result<Published, Failure> {
        let events = (0..request.events.len())
            .filter_map(|index| plan.replayed(index))
            .collect();
        self.replay(request, events).await
    }
}

/// What can be judged without the store; sizes of single events are checked as they are encoded.
fn check(request: &Publish<'_>) -> Result<(), Failure> {
    if request.events.is_empty() {
        return Err(Failure::new(
            Code::EmptyBatch,
            "there are no events to store",
        ));
    }
    if request.events.len() > BATCH_EVENTS_MAX {
        return Err(Failure::new(
            Code::TooManyEvents,
            format!(
                "the batch has {} events, more than {BATCH_EVENTS_MAX}; nothing was stored",
                request.events.len()
            ),
        )
        .with(Details::Limit(
            u64::try_from(BATCH_EVENTS_MAX).unwrap_or(u64::MAX),
        )));
    }
    if request.conditions.len() > CONDITIONS_MAX {
        return Err(Failure::new(
            Code::TooManyTerms,
            format!(
                "the publish has {} conditions, more than {CONDITIONS_MAX}; nothing was stored",
                request.conditions.len()
            ),
        ));
    }
    for condition in &request.conditions {
        condition.filter.check()?;
    }
    if let Some(expectation) = &request.expectation {
        let mut streams = request.events.iter().map(|event| &event.stream);
        if !streams.any(|stream| *stream == expectation.stream) {
            return Err(Failure::new(
                Code::InvalidExpectation,
                "the expectation is for a stream that no event of the batch goes to; nothing was stored",
            ));
        }
    }
    Ok(())
}

/// The answer when the batch was stored.
fn stored(request: &Publish<'_>, plan: &Plan, receipt: &Receipt) -> Published {
    let mut ids = receipt.first_id.get()..;
    let mut sequences = receipt.first_tag_ranks.iter();
    let mut events = Vec::with_capacity(request.events.len());
    for index in 0..request.events.len() {
        let event = plan.replayed(index).unwrap_or_else(|| PublishedEvent {
            id: ids
                .next()
                .and_then(EventId::new)
                .expect("a receipt's ids are ids"),
            sequence: *sequences
                .next()
                .expect("a receipt has a rank for each record"),
            replayed: false,
        });
        events.push(event);
    }
    published(request, events, false, receipt.durable_id)
}

fn published(
    request: &Publish<'_>,
    events: Vec<PublishedEvent>,
    replayed: bool,
    durable_id: u64,
) -> Published {
    let ids = || events.iter().map(|event| event.id);
    // Of the last event's stream, the last event need not be the latest if it is a repeat.
    let last_stream = request.events.last().map(|event| &event.stream);
    let of_last_stream = request
        .events
        .iter()
        .zip(&events)
        .filter(|(event, _)| Some(&event.stream) == last_stream);
    Published {
        first_id: ids().min().unwrap_or(EventId::FIRST),
        last_id: ids().max().unwrap_or(EventId::FIRST),
        last_sequence: of_last_stream
            .map(|(_, event)| event.sequence)
            .max()
            .unwrap_or_default(),
        events,
        replayed,
        durable_id,
    }
}

/// The refusal when a stream, or an aggregate, is not where an event expected it.
fn not_as_counted(request: &Publish<'_>, plan: &Plan, mismatches: &[RankMismatch]) -> Failure {
    let Some(mismatch) = mismatches.first() else {
        return Failure::new(Code::Internal, "the log refused ranks and named none");
    };
    if mismatch.tag != 0 {
        return not_in_aggregate(request, plan, mismatch);
    }
    if let Some(index) = contradicting(request, plan) {
        return Failure::new(
            Code::InvalidExpectation,
            "the event cannot get the sequence it expects if an earlier event of its stream in the same batch does; nothing was stored",
        )
        .at(index);
    }
    let index = plan.event_of(mismatch.record);
    let stream = request
        .events
        .get(index)
        .map_or("", |event| event.stream.as_str());
    // The log counts the records of the batch before this one, too, but stored none of them.
    let before = remaining(request, plan)
        .take_while(|(at, _)| *at < index)
        .filter(|(_, event)| event.stream.as_str() == stream)
        .count();
    let stored = mismatch
        .actual
        .saturating_sub(u64::try_from(before).unwrap_or(u64::MAX));
    let actual = stored.checked_sub(1);
    let expected = mismatch.expected;
    let message = match actual {
        None => format!(
            "the stream {stream:?} is empty, so the event cannot get sequence {expected}; nothing was stored"
        ),
        Some(last) => format!(
            "the stream {stream:?} ends at sequence {last}, so the event cannot get sequence {expected}; nothing was stored"
        ),
    };
    Failure::new(Code::SequenceMismatch, message)
        .at(index)
        .with(Details::Sequence { expected, actual })
}

/// The refusal when an event is not the next one of its aggregate. What comes before it in the batch
/// counts here: the expectations of one aggregate in one batch follow each other.
fn not_in_aggregate(request: &Publish<'_>, plan: &Plan, mismatch: &RankMismatch) -> Failure {
    let index = plan.event_of(mismatch.record);
    let event = request.events.get(index);
    debug_assert_eq!(
        event.and_then(|event| plan::own_tag(request, event, mismatch.tag)),
        Some(OwnTag::Aggregate)
    );
    let aggregate = event.and_then(|event| event.aggregate.as_ref());
    let name = aggregate.map_or("", |aggregate| aggregate.id.as_str());
    Failure::new(
        Code::AggregateSequence,
        format!(
            "the next event of aggregate {name:?} has sequence {}, not {}; nothing was stored",
            mismatch.actual, mismatch.expected
        ),
    )
    .at(index)
    .with(Details::Aggregate {
        given: mismatch.expected,
        next: mismatch.actual,
    })
}

/// The events that are no repeats, and their places in the request.
fn remaining<'a, 'b>(
    request: &'a Publish<'b>,
    plan: &'a Plan,
) -> impl Iterator<Item = (usize, &'a NewEvent<'b>)> {
    let events = request.events.iter().enumerate();
    events.filter(|(index, _)| plan.replayed(*index).is_none())
}

/// The first event whose expectation cannot hold together with that of an earlier event of its
/// stream, wherever the stream stands.
fn contradicting(request: &Publish<'_>, plan: &Plan) -> Option<usize> {
    // Of each stream, how many events were seen, and where their expectations say that it begins.
    let mut streams: BTreeMap<&str, (u64, Option<Option<u64>>)> = BTreeMap::new();
    for (index, event) in remaining(request, plan) {
        let (seen, begins) = streams.entry(event.stream.as_str()).or_default();
        let of_batch = request
            .expectation
            .as_ref()
            .filter(|expectation| *seen == 0 && expectation.stream == event.stream)
            .map(Expectation::next_sequence);
        if let Some(expected) = event.expected_sequence.or(of_batch) {
            let begin = expected.checked_sub(*seen);
            if *begins.get_or_insert(begin) != begin {
                return Some(index);
            }
        }
        *seen += 1;
    }
    None
}

fn condition_unmet(condition: usize, found: EventId) -> Failure {
    Failure::new(
        Code::ConditionUnmet,
        format!("event {found} matches condition {condition}; nothing was stored"),
    )
    .with(Details::Found {
        condition,
        id: found,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fingerprints_tell_where_one_piece_ends_and_the_next_begins() {
        let whole = Fingerprint::of(&[b"abc"]);
        assert_eq!(whole, Fingerprint::of(&[b"abc"]));
        assert_ne!(whole, Fingerprint::of(&[b"ab", b"c"]));
        assert_ne!(whole, Fingerprint::of(&[b"abc", b""]));
    }
}
