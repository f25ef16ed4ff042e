//! What is known of a publish so far: which events are repeats, and what keys are expected to be.

use std::collections::BTreeMap;

use crate::store::{EventId, RankMismatch};

use super::super::tags::BEFORE_LABELS;
use super::{Publish, PublishedEvent};

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
        // The first tag is the stream, whose rank is a matter of expectations.
        let mut of_keys = mismatches
            .iter()
            .filter(|mismatch| mismatch.tag != 0)
            .peekable();
        if of_keys.peek().is_none() {
            return Vec::new();
        }
        let events = self.events_of_records(request);
        of_keys
            .filter_map(|mismatch| {
                let index = *events.get(mismatch.record)?;
                let event = request.events.get(index)?;
                let event_key = BEFORE_LABELS + event.tags.len();
                let of = if event.key.is_some() && mismatch.tag == event_key {
                    KeyOf::Event(index)
                } else {
                    KeyOf::Request
                };
                Some(KnownKey {
                    of,
                    count: mismatch.actual,
                    original: mismatch.last_id,
                })
            })
            .collect()
    }
}
