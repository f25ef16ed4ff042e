//! Streams that belong to one producer.
//!
//! Every event that an owner publishes carries two tags: one of the stream, which the first of them
//! claims by expecting to be the first with it, and one of stream and owner together, by which the
//! owner is known again. So the claim and the event that makes it are one append, and of two
//! producers who race for a stream one stores nothing.
//!
//! Whoever publishes without being a producer adds the condition that no event with the streams'
//! tags is there. A log in which nothing was ever claimed, as most are, is spared that: it is marked
//! before its first claim is submitted, under a lock that every publish holds while it looks at the
//! mark, puts its batch together and hands it over. So what was handed over without the condition
//! comes before the claim.

use std::collections::{BTreeSet, HashSet};

use parking_lot::RwLock;

use crate::store::{AppendError, LogName, Pending, Receipt};

use super::super::failure::{Code, Failure};
use super::super::name::ProducerId;
use super::super::tags::{self, OWNED};
use super::super::{App, Log};
use super::plan::{Plan, RefusedClaim};
use super::{Publish, encode};

/// The logs in which a stream may belong to somebody.
pub(in super::super) type OwnedLogs = RwLock<HashSet<LogName>>;

impl Log {
    /// Finds out what memory knows of the ownership of the streams before the first round. A stream
    /// of which it knows nothing is claimed: mostly it is new, and if it is the producer's already,
    /// the refusal leads to where that is written.
    pub(super) fn plan_ownership(&self, request: &Publish<'_>, plan: &mut Plan) {
        let Some(producer) = &request.producer else {
            return;
        };
        if !self.app.0.owned_logs.read().contains(self.name.as_str()) {
            self.app.0.owned_logs.write().insert(self.name.clone());
        }
        let streams: BTreeSet<&str> = request
            .events
            .iter()
            .map(|event| event.stream.as_str())
            .collect();
        for stream in streams {
            let tag = tags::writer(stream, producer.as_str());
            if let Some(Some(_)) = self.store.tag_end_in_memory(&tag) {
                plan.owned_streams.insert(stream.to_owned());
            }
        }
    }

    async fn is_writer(&self, stream: &str, producer: &ProducerId<'_>) -> Result<bool, Failure> {
        let tag = tags::writer(stream, producer.as_str());
        Ok(self.store.tag_end(tag).await?.is_some())
    }

    /// Hands the events that are no repeats to the store; none if all are.
    pub(super) fn submit(
        &self,
        request: &Publish<'_>,
        plan: &Plan,
    ) -> Result<Option<Pending<'static, Result<Receipt, AppendError>>>, Failure> {
        let owned = self.app.0.owned_logs.read();
        let guarded = request.producer.is_none() && owned.contains(self.name.as_str());
        let batch = encode::batch(request, plan, &self.app, guarded)?;
        Ok(batch.map(|batch| self.store.append(batch)))
    }

    /// After a claim was refused: goes on if the stream belongs to this producer, who was publishing
    /// to it at the same time, or to nobody, because all events of its owner have expired.
    pub(super) async fn settle_claim(
        &self,
        request: &Publish<'_>,
        plan: &mut Plan,
        claim: RefusedClaim,
    ) -> Result<(), Failure> {
        if let Some(id) = claim.of_owner {
            self.until_readable(id).await?;
        }
        let event = request.events.get(claim.index);
        if let (Some(event), Some(producer)) = (event, &request.producer) {
            let stream = event.stream.as_str();
            if self.is_writer(stream, producer).await? {
                plan.owned_streams.insert(stream.to_owned());
                return Ok(());
            }
            // The index forgets an expired event only once its removal is durable.
            if claim.of_owner.is_some_and(|id| id < self.store.first()) {
                plan.claim_ranks.insert(stream.to_owned(), claim.count);
                return Ok(());
            }
        }
        Err(stream_owned(request).at(claim.index))
    }
}

impl App {
    /// Marks the logs in which a stream belongs to somebody, or may: an index that cannot be read
    /// yet is no reason not to start, and the condition is judged where the index is whole.
    pub(in super::super) async fn find_owned_logs(&self) {
        for log in self.all_logs() {
            let found = log.store.tags(vec![OWNED], None, 1).await;
            if found.is_err() || found.is_ok_and(|tags| !tags.is_empty()) {
                self.0.owned_logs.write().insert(log.name);
            }
        }
    }
}

/// The refusal when a stream belongs to somebody else.
pub(super) fn stream_owned(request: &Publish<'_>) -> Failure {
    let mut streams: Vec<&str> = request
        .events
        .iter()
        .map(|event| event.stream.as_str())
        .collect();
    streams.dedup();
    let message = match streams.as_slice() {
        [stream] => {
            format!("the stream {stream:?} belongs to another producer; nothing was stored")
        }
        _ => "a stream of the batch belongs to another producer; nothing was stored".to_owned(),
    };
    Failure::new(Code::StreamOwned, message)
}
