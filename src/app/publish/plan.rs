//! What is known of a publish so far: which events are repeats, and what keys are expected to be.

use std::collections::{BTreeMap, BTreeSet};

use crate::store::{EventId, RankMismatch};

use super::super::tags::BEFORE_LABELS;
use super::{NewEvent, Publish, PublishedEvent};

/// What earlier rounds have learnt. Empty for a publish without known keys, which is almost every
/// one, and then it costs nothing.
#[derive(Clone, Debug, Default)]
pub(super) struct Plan {
    /// Events that were stored before, by their place in the request.
    replayed: BTreeMap<usize, PublishedEvent>,
    /// What the keys of events are expected to be counted as, where that is not 0: the originals
    /// have expired, so the key is free again for one.
    key_ranks: BTreeMap<usize, u64>,
    /// The same for the key of the request.
    pub(super) request_rank: u64,
    /// Streams that are known to belong to whoever publishes.
    pub(super) owned_streams: BTreeSet<String>,
    /// What the tags of ownership are expected to be counted as, where that is not 0: the events of
    /// an earlier owner have expired, so the stream is free again.
    pub(super) claim_ranks: BTreeMap<String, u64>,
}

/// A stream that could not be claimed.
#[derive(Clone, Copy, Debug)]
pub(super) struct RefusedClaim {
    /// The place of its event in the request.
    pub(super) index: usize,
    /// How many events of an owner it has had.
    pub(super) count: u64,
    /// The last of them.
    pub(super) of_owner: Option<EventId>,
}

/// A tag of the server's own behind those of the publisher. They follow in this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum OwnTag {
    Key,
    Aggregate,
    Owned,
    Writer,
    Uid,
    Request,
}

/// The own tags of an event. That of the request is on the first event stored for it only.
pub(super) fn own_tags(
    request: &Publish<'_>,
    event: &NewEvent<'_>,
) -> impl Iterator<Item = OwnTag> + use<> {
    let has_producer = request.producer.is_some();
    [
        (event.key.is_some(), OwnTag::Key),
        (event.aggregate.is_some(), OwnTag::Aggregate),
        (has_producer, OwnTag::Owned),
        (has_producer, OwnTag::Writer),
        (event.findable_by_uid, OwnTag::Uid),
        (request.key.is_some(), OwnTag::Request),
    ]
    .into_iter()
    .filter_map(|(there, tag)| there.then_some(tag))
}

/// What the tag at this place among all tags of an event is, if it is one of the server's own.
pub(super) fn own_tag(request: &Publish<'_>, event: &NewEvent<'_>, tag: usize) -> Option<OwnTag> {
    let place = tag.checked_sub(BEFORE_LABELS + event.tags.len())?;
    own_tags(request, event).nth(place)
}

/// A key that is there already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct KnownKey {
    pub(super) of: KeyOf,
    /// How many events ever carried it.
    pub(super) count: u64,
    /// The last of them; none if it is an earlier event of the same batch.
    pub(super) original: Option<EventId>,
}

/// Whose key it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum KeyOf {
    /// The request's.
    Request,
    /// That of the event at this place in the request.
    Event(usize),
}

impl Plan {
    /// What became of the event at this place, if it was stored before.
    pub(super) fn replayed(&self, index: usize) -> Option<PublishedEvent> {
        if self.replayed.is_empty() {
            return None;
        }
        self.replayed.get(&index).copied()
    }

    /// What the key of the event at this place is expected to be counted as.
    pub(super) fn key_rank(&self, index: usize) -> u64 {
        if self.key_ranks.is_empty() {
            return 0;
        }
        self.key_ranks.get(&index).copied().unwrap_or_default()
    }

    pub(super) fn replay(&mut self, index: usize, event: PublishedEvent) {
        self.replayed.insert(index, event);
    }

    pub(super) fn expect_key_rank(&mut self, index: usize, rank: u64) {
        self.key_ranks.insert(index, rank);
    }

    /// How many events of the request are to be stored.
    pub(super) fn remaining(&self, request: &Publish<'_>) -> usize {
        request.events.len().saturating_sub(self.replayed.len())
    }

    /// The place in the request of the event that is this record of the batch.
    pub(super) fn event_of(&self, record: usize) -> usize {
        if self.replayed.is_empty() {
            return record;
        }
        (0..)
            .filter(|index| !self.replayed.contains_key(index))
            .nth(record)
            .unwrap_or(record)
    }

    /// The places in the request of all events that are records of the batch, in order.
    fn events_of_records(&self, request: &Publish<'_>) -> Vec<usize> {
        (0..request.events.len())
            .filter(|index| self.replayed(*index).is_none())
            .collect()
    }

    /// The keys among the tags that did not get the ranks they expected.
    pub(super) fn known_keys(
        &self,
        request: &Publish<'_>,
        mismatches: &[RankMismatch],
    ) -> Vec<KnownKey> {
        self.mismatched(request, mismatches)
            .into_iter()
            .filter_map(|(index, own_tag, mismatch)| {
                let of = match own_tag {
                    OwnTag::Key => KeyOf::Event(index),
                    OwnTag::Request => KeyOf::Request,
                    OwnTag::Aggregate | OwnTag::Owned | OwnTag::Writer | OwnTag::Uid => {
                        return None;
                    }
                };
                Some(KnownKey {
                    of,
                    count: mismatch.actual,
                    original: mismatch.last_id,
                })
            })
            .collect()
    }

    /// The first event whose stream could not be claimed.
    pub(super) fn refused_claim(
        &self,
        request: &Publish<'_>,
        mismatches: &[RankMismatch],
    ) -> Option<RefusedClaim> {
        self.mismatched(request, mismatches)
            .into_iter()
            .find(|(_, own_tag, _)| *own_tag == OwnTag::Owned)
            .map(|(index, _, mismatch)| RefusedClaim {
                index,
                count: mismatch.actual,
                of_owner: mismatch.last_id,
            })
    }

    /// The own tags that did not get the ranks they expected, with the places of their events.
    fn mismatched<'m>(
        &self,
        request: &Publish<'_>,
        mismatches: &'m [RankMismatch],
    ) -> Vec<(usize, OwnTag, &'m RankMismatch)> {
        // The first tag is the stream, whose rank is a matter of expectations.
        let mut own = mismatches
            .iter()
            .filter(|mismatch| mismatch.tag != 0)
            .peekable();
        if own.peek().is_none() {
            return Vec::new();
        }
        let events = self.events_of_records(request);
        own.filter_map(|mismatch| {
            let index = *events.get(mismatch.record)?;
            let event = request.events.get(index)?;
            Some((index, own_tag(request, event, mismatch.tag)?, mismatch))
        })
        .collect()
    }
}
