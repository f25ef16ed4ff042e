//! One attempt to deliver: the call, what came of it, and its entry in the history.

use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::app::limits::{CALLS_LEN_MAX, HOPS_MAX};
use crate::app::{App, Event, Failure, Log};
use crate::http::hops;
use crate::store::{EventId, ReadError, Record, Records};
use crate::time;

use super::client::{Answer, CallError, Client};
use super::history::History;
use super::target::{DeliveryInfo, OwnedCall, Target, Verdict};

/// How much of an answer's body, and of what went wrong, is kept, in bytes: enough for an error
/// message.
const TEXT_LEN_MAX: usize = 1 << 10;
/// What an event costs in a call besides its record, in bytes: the names of its members.
const EVENT_FRAME_LEN: usize = 512;

/// What became of an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// The events are delivered.
    Delivered,
    /// They are not, and will be sent again.
    Failed,
    /// They will never be taken, and became dead letters.
    Rejected,
    /// It was the last attempt, and they became dead letters.
    Dead,
    /// The endpoint wants no more calls.
    Gone,
}

impl Outcome {
    /// All of them.
    pub const ALL: [Self; 5] = [
        Self::Delivered,
        Self::Failed,
        Self::Rejected,
        Self::Dead,
        Self::Gone,
    ];

    /// The outcome in a word.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Delivered => "delivered",
            Self::Failed => "failed",
            Self::Rejected => "rejected",
            Self::Dead => "dead",
            Self::Gone => "gone",
        }
    }
}

/// An attempt as the history keeps it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LaneEntry {
    /// The lane.
    pub lane: String,
    /// The log whose events were sent.
    pub log: String,
    /// The delivery; see [`DeliveryInfo::id`].
    pub delivery_id: String,
    /// The first event.
    pub first_id: u64,
    /// The last event.
    pub last_id: u64,
    /// How many there were.
    pub events: u64,
    /// Which attempt it was, from 1.
    pub attempt: u32,
    /// When it began, in RFC 3339.
    pub started_at: String,
    /// How long it took, in milliseconds.
    pub duration_ms: u64,
    /// What became of it.
    pub outcome: Outcome,
    /// The status of the answer, if there was one.
    pub status: Option<u16>,
    /// What went wrong, if anything did.
    pub error: Option<String>,
    /// The beginning of the answer's body, as text.
    pub response: Option<String>,
}

/// The events of one delivery, by their ids.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Batch {
    pub(super) first: EventId,
    pub(super) last: EventId,
    pub(super) events: Vec<EventId>,
    /// See [`DeliveryInfo::id`].
    pub(super) delivery: String,
}

impl Batch {
    /// The batch of what was read; none if that is nothing.
    pub(super) fn of(lane: &str, pages: &[Records]) -> Result<Option<Self>, ReadError> {
        let records = pages.iter().flat_map(Records::iter);
        let ids = records.map(|record| record.map(|record| record.id));
        Ok(Self::of_events(lane, ids.collect::<Result<_, _>>()?))
    }

    /// The first events of what was read that are all to be sent, or all to be given up because they
    /// have come through too many calls; none if nothing was read.
    pub(super) fn first_of(lane: &str, pages: &[Records]) -> Result<Option<Self>, ReadError> {
        let mut events = Vec::new();
        let mut first_is_looped = None;
        for record in pages.iter().flat_map(Records::iter) {
            let record = record?;
            let looped = is_looped(record);
            if *first_is_looped.get_or_insert(looped) != looped {
                break;
            }
            events.push(record.id);
        }
        Ok(Self::of_events(lane, events))
    }

    fn of_events(lane: &str, events: Vec<EventId>) -> Option<Self> {
        let (first, last) = (*events.first()?, *events.last()?);
        // A changed filter may give other events between the same two.
        let mut hash = Sha256::new();
        hash.update(lane.as_bytes());
        for id in &events {
            hash.update(id.get().to_le_bytes());
        }
        let mut delivery = String::with_capacity(64);
        for byte in hash.finalize().iter().take(12) {
            delivery.push_str(&format!("{byte:02x}"));
        }
        delivery.push_str(&format!("-{first}-{last}"));
        Some(Self {
            first,
            last,
            events,
            delivery,
        })
    }
}

/// What came of an attempt.
#[derive(Clone, Debug)]
pub struct Attempt {
    /// What it means.
    pub verdict: Verdict,
    /// The status of the answer, if there was one.
    pub status: Option<u16>,
    /// What went wrong, if anything did.
    pub error: Option<String>,
    /// The beginning of the answer's body, as text; none without an answer.
    pub response: Option<String>,
    /// When it began, in microseconds since 1970.
    pub(super) started_us: u64,
    pub(super) duration: Duration,
    pub(super) number: u32,
}

/// The room for calls in memory. Clones share it.
#[derive(Clone, Debug)]
pub(super) struct Room(Arc<Semaphore>);

/// One permit stands for so many bytes.
const PERMIT_LEN: usize = 1 << 10;

impl Room {
    pub(super) fn new() -> Self {
        Self(Arc::new(Semaphore::new(CALLS_LEN_MAX / PERMIT_LEN)))
    }

    /// Room for the call that carries these events; waits for it. Given back when it is dropped.
    pub(super) async fn take(&self, pages: &[Records]) -> OwnedSemaphorePermit {
        let records_len: usize = pages.iter().map(Records::encoded_len).sum();
        let events: usize = pages.iter().map(Records::len).sum();
        // Bytes become base64, which has four characters for three of them.
        let len = records_len + records_len / 3 + events * EVENT_FRAME_LEN;
        let permits = len.div_ceil(PERMIT_LEN).min(CALLS_LEN_MAX / PERMIT_LEN);
        let permits = u32::try_from(permits).unwrap_or(u32::MAX);
        let taken = Arc::clone(&self.0).acquire_many_owned(permits).await;
        taken.expect("nobody closes the semaphore")
    }
}

/// A call that is ready to be made.
#[derive(Debug)]
pub(super) struct Prepared {
    /// Else what is to become of the events, and why.
    call: Result<OwnedCall, (Verdict, String)>,
    number: u32,
    started_us: u64,
}

/// Whether events are sent that have come through as many calls as any may.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Loops {
    /// They are not.
    End,
    /// They are, for somebody asked for this one call.
    Pass,
}

/// Why an event is not sent on that has come through as many calls as any may.
#[must_use]
pub fn looped() -> String {
    format!(
        "the event has come through {HOPS_MAX} calls, one causing the other, which is taken for a loop; it was not sent"
    )
}

/// Whether an event has come through as many calls as any may. What is no event is told elsewhere.
pub(super) fn is_looped(record: Record<'_>) -> bool {
    Event::from_record(record).is_ok_and(|event| event.hops >= HOPS_MAX)
}

/// Asks the target for the call that carries these events.
pub(super) fn prepare(
    app: &App,
    target: &dyn Target,
    batch: &Batch,
    pages: &[Records],
    number: u32,
    loops: Loops,
) -> Result<Prepared, Failure> {
    let records = pages.iter().flat_map(Records::iter);
    let events = records
        .map(|record| Ok(Event::from_record(record?)?))
        .collect::<Result<Vec<_>, Failure>>()?;
    let delivery = DeliveryInfo {
        id: batch.delivery.clone(),
        attempt: number,
        now_us: app.clock().now_us(),
    };
    let hops = events.iter().map(|event| event.hops).max();
    let hops = hops.unwrap_or_default();
    let call = if hops >= HOPS_MAX && loops == Loops::End {
        Err((Verdict::Reject, looped()))
    } else {
        let call = target.call(&events, &delivery).map(|mut call| {
            hops::set(&mut call.headers, hops.saturating_add(1).min(HOPS_MAX));
            call
        });
        call.map_err(|why| (Verdict::Retry, why))
    };
    Ok(Prepared {
        call,
        number,
        started_us: delivery.now_us,
    })
}

/// Makes the call. May be dropped; the endpoint may have seen it then.
pub(super) async fn make(
    app: &App,
    client: &Client,
    target: &dyn Target,
    prepared: Prepared,
) -> Attempt {
    let start = app.clock().moment();
    let (verdict, status, error, response) = match &prepared.call {
        Err((verdict, why)) => (*verdict, None, Some(beginning(why.as_bytes())), None),
        Ok(call) => {
            let outcome = client.call(call.within(target.timeout())).await;
            let verdict = target.judge(&outcome);
            let (status, error, response) = told(&outcome, verdict);
            (verdict, status, error, response)
        }
    };
    Attempt {
        verdict,
        status,
        error,
        response,
        started_us: prepared.started_us,
        duration: app.clock().moment().since(start),
        number: prepared.number,
    }
}

type Told = (Option<u16>, Option<String>, Option<String>);

fn told(outcome: &Result<Answer, CallError>, verdict: Verdict) -> Told {
    match outcome {
        Ok(answer) => {
            let status = answer.status.as_u16();
            let error = (verdict != Verdict::Delivered)
                .then(|| format!("the endpoint answered with status {status}"));
            (Some(status), error, Some(beginning(&answer.body)))
        }
        Err(error) => (None, Some(beginning(error.to_string().as_bytes())), None),
    }
}

/// The beginning of a body as text; a character that is cut in two is left out.
fn beginning(body: &[u8]) -> String {
    let cut = body.get(..TEXT_LEN_MAX).unwrap_or(body);
    let whole = match std::str::from_utf8(cut) {
        Err(error) if error.error_len().is_none() => cut.get(..error.valid_up_to()),
        Ok(_) | Err(_) => Some(cut),
    };
    String::from_utf8_lossy(whole.unwrap_or_default()).into_owned()
}

impl Attempt {
    /// Puts the attempt into the history. An entry that cannot be kept costs nothing but itself.
    pub(super) async fn note(
        &self,
        history: &History,
        lane: &str,
        log: &Log,
        batch: &Batch,
        outcome: Outcome,
    ) {
        let mut started_at = Vec::with_capacity(32);
        let started_us = i64::try_from(self.started_us).unwrap_or(i64::MAX);
        time::write(&mut started_at, started_us);
        let entry = LaneEntry {
            lane: lane.to_owned(),
            log: log.name().as_str().to_owned(),
            delivery_id: batch.delivery.clone(),
            first_id: batch.first.get(),
            last_id: batch.last.get(),
            events: u64::try_from(batch.events.len()).unwrap_or(u64::MAX),
            attempt: self.number,
            started_at: String::from_utf8(started_at).unwrap_or_default(),
            duration_ms: u64::try_from(self.duration.as_millis()).unwrap_or(u64::MAX),
            outcome,
            status: self.status,
            error: self.error.clone(),
            response: self.response.clone(),
        };
        let json = serde_json::to_vec(&entry).expect("texts and numbers can be written as JSON");
        if let Err(failure) = history.record(lane, outcome.as_str(), &[], &json).await {
            tracing::debug!(lane, %failure, "an entry of the history is lost");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_beginning_of_a_body_is_text_whatever_it_holds() {
        assert_eq!(beginning(b"no"), "no");
        assert_eq!(beginning(b"a\xffb"), "a\u{fffd}b");
        let long = "é".repeat(TEXT_LEN_MAX);
        assert_eq!(beginning(&long.as_bytes()[1..]).matches('é').count(), 511);
        assert_eq!(beginning(long.as_bytes()).len(), TEXT_LEN_MAX);
        let odd = format!("a{long}");
        assert_eq!(beginning(odd.as_bytes()).len(), TEXT_LEN_MAX - 1);
    }
}
