//! Repeats: what to answer when an idempotency key is there already.

use std::collections::{HashMap, HashSet};

use crate::store::{Direction, Durability, EventId, ReadError, ReadRange};

use super::super::Log;
use super::super::envelope::RequestMark;
use super::super::event::Stored;
use super::super::failure::{Code, Failure};
use super::super::limits::{PAGE_EVENTS_MAX, PAGE_LEN_MAX};
use super::super::tags::{self, REQUEST};
use super::encode::key_tag;
use super::plan::{KeyOf, KnownKey, Plan};
use super::{Fingerprint, Publish, Published, PublishedEvent, published};

/// Originals that lie as close as this are read in one go: a few records in between cost less than
/// another read.
const GAP_MAX: u64 = 16;

/// What matters of an event that was stored before.
#[derive(Clone, Copy, Debug)]
struct Original {
    sequence: u64,
    key: Option<Fingerprint>,
    request: Option<RequestMark>,
}

impl Log {
    /// The keys of the request that are there by now. `found` is an event that refused it: its
    /// batch, which may be the first publish of this very request, is waited for.
    pub(super) async fn look_up_keys(
        &self,
        request: &Publish<'_>,
        plan: &Plan,
        found: EventId,
    ) -> Result<Vec<KnownKey>, Failure> {
        let mut asked = Vec::new();
        if let Some(keyed) = &request.key {
            let tag = tags::tag(REQUEST, keyed.key.as_str());
            asked.push((KeyOf::Request, tag, plan.request_rank));
        }
        for (index, event) in request.events.iter().enumerate() {
            if let (Some(keyed), None) = (&event.key, plan.replayed(index)) {
                let tag = tags::tag(key_tag(keyed.origin), keyed.key.as_str());
                asked.push((KeyOf::Event(index), tag, plan.key_rank(index)));
            }
        }
        if asked.is_empty() {
            return Ok(Vec::new());
        }
        self.until_readable(found).await?;
        let mut known = Vec::new();
        for (of, tag, expected) in asked {
            if let Some(end) = self.store.tag_end(tag).await?
                && end.count > expected
            {
                known.push(KnownKey {
                    of,
                    count: end.count,
                    original: EventId::new(end.last_id),
                });
            }
        }
        Ok(known)
    }

    /// Compares the request with the originals of its known keys. Either it is a repeat as a whole,
    /// and this is the answer; or the plan says what to leave out or expect in the next round.
    pub(super) async fn settle(
        &self,
        request: &Publish<'_>,
        plan: &mut Plan,
        known: Vec<KnownKey>,
    ) -> Result<Option<Published>, Failure> {
        refuse_repeated_keys(request)?;
        let ids = known.iter().filter_map(|known| known.original).collect();
        let originals = self.originals(ids).await?;
        for known in known {
            let original = known
                .original
                .and_then(|id| Some((id, originals.get(&id)?)));
            match (known.of, original) {
                // Retention has removed the original, and its key with it.
                (KeyOf::Request, None) => plan.request_rank = known.count,
                (KeyOf::Event(index), None) => plan.expect_key_rank(index, known.count),
                (KeyOf::Request, Some((id, original))) => {
                    let mark = request_mark(request, original)?;
                    let events = self.events_of_request(request, id, mark).await?;
                    return self.replay(request, events).await.map(Some);
                }
                (KeyOf::Event(index), Some((id, original))) => {
                    let event = request.events.get(index);
                    let key = event.and_then(|event| event.key.as_ref());
                    if original.key != key.map(|keyed| keyed.fingerprint) {
                        return Err(Failure::new(
                            Code::KeyReused,
                            format!(
                                "the event's idempotency key stands for another event, {id}; nothing was stored"
                            ),
                        )
                        .at(index));
                    }
                    plan.replay(
                        index,
                        PublishedEvent {
                            id,
                            sequence: original.sequence,
                            replayed: true,
                        },
                    );
                }
            }
        }
        Ok(None)
    }

    /// What became of the events of a request whose first stored event is `first`.
    ///
    /// Events that were themselves repeats then were not stored with it; their own keys lead to
    /// them.
    async fn events_of_request(
        &self,
        request: &Publish<'_>,
        first: EventId,
        mark: RequestMark,
    ) -> Result<Vec<PublishedEvent>, Failure> {
        let ids: Vec<EventId> = (first.get()..)
            .take(usize::try_from(mark.stored).unwrap_or(usize::MAX))
            .map_while(EventId::new)
            .collect();
        let together = ids.len() == request.events.len();
        let in_batch: HashSet<EventId> = ids.iter().copied().collect();
        let mut originals = self.originals(ids.clone()).await?;
        let mut batch = ids.into_iter();
        let mut events = Vec::with_capacity(request.events.len());
        for event in &request.events {
            let mut earlier = None;
            if !together && let Some(keyed) = &event.key {
                let tag = tags::tag(key_tag(keyed.origin), keyed.key.as_str());
                let end = self.store.tag_end(tag).await?;
                let id = end.and_then(|end| EventId::new(end.last_id));
                earlier = id.filter(|id| !in_batch.contains(id));
            }
            if let Some(id) = earlier {
                originals.extend(self.originals(vec![id]).await?);
            }
            let id = earlier
                .or_else(|| batch.next())
                .ok_or_else(original_unlike)?;
            let original = originals.get(&id).ok_or_else(original_unlike)?;
            events.push(PublishedEvent {
                id,
                sequence: original.sequence,
                replayed: earlier.is_some(),
            });
        }
        Ok(events)
    }

    /// The answer to a request all of whose events were stored before, once they are as durable as
    /// it asks for.
    pub(super) async fn replay(
        &self,
        request: &Publish<'_>,
        events: Vec<PublishedEvent>,
    ) -> Result<Published, Failure> {
        let answer = published(request, events, true, 0);
        match request.durability.unwrap_or(self.store.durability()) {
            Durability::Sync if self.store.durable_end() <= answer.last_id => {
                let made = self.store.make_durable().await;
                made.map_err(|error| Failure::of_append(&error))?;
            }
            Durability::Sync | Durability::Os => {}
        }
        Ok(Published {
            durable_id: self.durable_id(),
            ..answer
        })
    }

    /// The stored events with these ids, without those that have expired.
    async fn originals(
        &self,
        mut ids: Vec<EventId>,
    ) -> Result<HashMap<EventId, Original>, Failure> {
        ids.sort_unstable();
        ids.dedup();
        let mut originals = HashMap::with_capacity(ids.len());
        if let Some(last) = ids.last() {
            self.until_readable(*last).await?;
        }
        let gaps = self.store.losses();
        // Nobody reads across events that are lost.
        let is_lost_between = |a: &EventId, b: &EventId| {
            let mut gaps = gaps.iter();
            gaps.any(|gap| a < gap.start() && gap.end() < b)
        };
        let is_run =
            |a: &EventId, b: &EventId| b.get() - a.get() <= GAP_MAX && !is_lost_between(a, b);
        for run in ids.chunk_by(is_run) {
            let (Some(first), Some(last)) = (run.first(), run.last()) else {
                continue;
            };
            self.read_originals(*first, *last, run, &mut originals)
                .await?;
        }
        Ok(originals)
    }

    async fn read_originals(
        &self,
        first: EventId,
        last: EventId,
        wanted: &[EventId],
        originals: &mut HashMap<EventId, Original>,
    ) -> Result<(), Failure> {
        let mut start = first.max(self.store.first());
        let end = last.next().unwrap_or(EventId::MAX);
        let mut pages = loop {
            if start >= end {
                return Ok(());
            }
            let range = ReadRange {
                ids: start..end,
                query: None,
                direction: Direction::Forward,
            };
            match self.store.read_range(range).await {
                Ok(pages) => break pages,
                Err(ReadError::Expired { first_id }) if first_id > start => start = first_id,
                Err(error) => return Err(error.into()),
            }
        };
        let records_max = usize::try_from(PAGE_EVENTS_MAX).unwrap_or(usize::MAX);
        while let Some(records) = pages.next_page(records_max, PAGE_LEN_MAX).await? {
            for record in records.iter() {
                let record = record?;
                if wanted.binary_search(&record.id).is_err() {
                    continue;
                }
                let id = record.id;
                let stored = Stored::from_record(record)?;
                originals.insert(
                    id,
                    Original {
                        sequence: stored.event.sequence,
                        key: stored.key,
                        request: stored.request,
                    },
                );
            }
        }
        Ok(())
    }

    /// Waits until the event can be read: an append may be refused because of one that is still
    /// being stored.
    pub(super) async fn until_readable(&self, id: EventId) -> Result<(), Failure> {
        if self.store.end() > id {
            return Ok(());
        }
        let clock = self.app.clock();
        let deadline = clock.moment().after(self.app.limits().repeat_wait_max);
        tokio::select! {
            end = self.store.end_moved(id) => {
                if end > id {
                    return Ok(());
                }
                // The end will not move any more.
                Err(Failure::new(
                    Code::OutcomeUnknown,
                    "the log failed while another publish with the same key was being stored; what is stored is unknown until the server is restarted",
                ))
            }
            () = clock.sleep_until(deadline) => Err(Failure::new(
                Code::Busy,
                "another publish with the same key is still being stored; this one stored nothing",
            )),
        }
    }
}

/// The mark of the request that stored the original, if that was the same request.
fn request_mark(request: &Publish<'_>, original: &Original) -> Result<RequestMark, Failure> {
    let fingerprint = request.key.as_ref().map(|keyed| keyed.fingerprint);
    match original.request {
        Some(mark) if Some(mark.fingerprint) == fingerprint => Ok(mark),
        Some(_) | None => Err(Failure::new(
            Code::KeyReused,
            "the idempotency key was used for another request; nothing was stored",
        )),
    }
}

fn refuse_repeated_keys(request: &Publish<'_>) -> Result<(), Failure> {
    let mut seen = HashSet::new();
    for (index, event) in request.events.iter().enumerate() {
        if let Some(keyed) = &event.key
            && !seen.insert((keyed.origin, keyed.key.as_str()))
        {
            return Err(Failure::new(
                Code::RepeatedKey,
                "an earlier event of the batch has the same idempotency key; nothing was stored",
            )
            .at(index));
        }
    }
    Ok(())
}

fn original_unlike() -> Failure {
    Failure::new(
        Code::Expired,
        "retention has removed a part of what the first publish with this key stored; nothing was stored",
    )
}
