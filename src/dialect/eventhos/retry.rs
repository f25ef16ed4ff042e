//! Repeating a failed execution by hand, once, or saying that it is not to be (spec section 4).
//!
//! A repetition is a new occurrence, a copy of the first, that says what it repeats: only that
//! contract is executed for it. Its idempotency key is made of the execution's id, so of two requests
//! to repeat one execution one is refused, whenever they come.

use std::borrow::Cow;

use crate::app::name::{IdempotencyKey, TagLabel};
use crate::app::publish::{Fingerprint, KeyOrigin, Keyed, NewEvent, Publish};
use crate::app::range::Selection;
use crate::app::{Code, Data, Event, Failure, Filter, Log};
use crate::http::{Body, Reply, StatusCode};
use crate::store::EventId;

use super::call::Call;
use super::event::{self, Metadata, RetryOf};
use super::history::{self, Detail, ExecutionState};
use super::input::{Input, Members};
use super::replies::{self, Refusal};

/// The tag of the occurrence that repeats an execution.
fn retry_label(detail: u64) -> String {
    format!("eventhos-retry/{detail}")
}

/// Whether an execution was repeated.
pub(super) async fn is_retried(log: &Log, detail: u64) -> Result<bool, Failure> {
    let selection = Selection {
        limit: Some(1),
        filter: Filter {
            tags: vec![TagLabel::new(retry_label(detail))?],
            ..Filter::default()
        },
        ..Selection::default()
    };
    let mut reading = log.read(selection).await?;
    Ok(reading.next_page(1).await?.is_some())
}

/// Repeats an execution. The reply comes once the action was called again, whatever it answered.
pub(super) async fn retry(call: &Call<'_>, body: Body) -> Result<Reply, Refusal> {
    let event = call.sender()?;
    let input = Input::read_short(call.head, body, &call.door.bodies).await?;
    let json = input.json()?;
    let members = Members::of(&json);
    let received = given_id(&members, "receivedEventId", "Received event Id")?;
    let detail = given_id(&members, "contractDetailId", "Contract detail Id")?;
    let contract = call.query.one("contract-id");
    let contract = contract.and_then(|id| id.parse::<u64>().ok());
    let door = call.door;
    let refuse = replies::not_to_be_retried;
    let contract = contract.ok_or_else(refuse)?;
    let in_force = door.directory.read(|registry| {
        let plan = registry.plan(&event.identifier)?;
        let mut bound = plan.groups.iter().flatten();
        bound.find(|bound| bound.contract.id == contract).map(drop)
    });
    in_force.ok_or_else(refuse)?;
    // Nobody aborts it between the look at it and its repetition.
    let turn = door.retrying.lock().await;
    let history = door.hub.history();
    let found = history::detail(history, detail).await?.ok_or_else(refuse)?;
    let execution = &found.execution;
    if execution.contract_id != contract
        || execution.received_event_id != received
        || execution.event_identifier != event.identifier
        || !is_open(call, &found).await?
    {
        return Err(refuse());
    }
    let id = EventId::new(received).ok_or_else(refuse)?;
    let records = match door.log.event(id).await {
        Err(failure) if matches!(failure.code, Code::Expired | Code::NoSuchEvent) => {
            return Err(refuse());
        }
        read => read?,
    };
    let first = records.get(0).map_err(Failure::from)?;
    let first = first.ok_or_else(refuse)?;
    let first = Event::from_record(first).map_err(Failure::from)?;
    let repetition = RetryOf { detail, contract };
    let published = publish_copy(call, &first, repetition).await?;
    drop(turn);
    let Some(published) = published else {
        return Err(refuse());
    };
    tokio::select! {
        () = door.executor.is_done(published) => {}
        () = door.app.stopped() => {
            return Err(Failure::new(
                Code::Stopping,
                "the server is stopping; the action is called when it is started again",
            )
            .into());
        }
    }
    Ok(replies::done(StatusCode::OK, replies::RETRIED, "success"))
}

/// Publishes the copy; none if there is one already.
async fn publish_copy(
    call: &Call<'_>,
    first: &Event<'_>,
    repetition: RetryOf,
) -> Result<Option<EventId>, Failure> {
    let metadata = Metadata {
        url: Cow::Owned(event::shown_url(call.head, &call.query)),
        retry_of: Some(repetition),
        ..Metadata::of(first)
    };
    let metadata = metadata.to_json();
    let label = retry_label(repetition.detail);
    let data = match first.data {
        Data::Json(json) => Data::Json(json),
        Data::Bytes {
            content_type,
            bytes,
        } => Data::Bytes {
            content_type,
            bytes,
        },
    };
    let copy = NewEvent {
        tags: vec![TagLabel::new(label.as_str())?],
        key: Some(Keyed {
            key: IdempotencyKey::new(label.as_str())?,
            fingerprint: Fingerprint::of(&[b"eventhos-retry"]),
            origin: KeyOrigin::Derived,
        }),
        hops: first.hops,
        ..event::occurrence(first.event_type, data, &metadata)?
    };
    let publish = Publish {
        events: vec![copy],
        ..Publish::default()
    };
    let published = call.door.log.publish(publish).await?;
    let stored = published.events.first().filter(|event| !event.replayed);
    Ok(stored.map(|event| event.id))
}

/// Says that an execution is not to be repeated.
pub(super) async fn abort(call: &Call<'_>, body: Body) -> Result<Reply, Refusal> {
    call.allow("event", "retry-aborted")?;
    let event = call.sender()?;
    let input = Input::read_short(call.head, body, &call.door.bodies).await?;
    let json = input.json()?;
    let detail = given_id(
        &Members::of(&json),
        "contractDetailId",
        "Contract Detail Id",
    )?;
    let _turn = call.door.retrying.lock().await;
    let history = call.door.hub.history();
    let found = history::detail(history, detail).await?;
    let found = found.filter(|found| found.execution.event_identifier == event.identifier);
    let found = found.ok_or_else(replies::detail_not_found)?;
    if !is_open(call, &found).await? {
        return Err(replies::detail_prosecuted());
    }
    history::abort(history, detail).await?;
    Ok(replies::done(StatusCode::OK, replies::READ, "success"))
}

/// Whether an execution failed, and was neither repeated nor aborted.
async fn is_open(call: &Call<'_>, detail: &Detail) -> Result<bool, Failure> {
    Ok(detail.execution.state == ExecutionState::Error
        && !history::is_aborted(call.door.hub.history(), detail.id).await?
        && !is_retried(&call.door.log, detail.id).await?)
}

/// An id of the body; without one, or with none, the message names it as upstream does.
fn given_id(members: &Members<'_>, name: &str, shown: &str) -> Result<u64, Refusal> {
    let id = members.id(name).ok().flatten();
    id.ok_or_else(|| replies::not_sent(shown))
}
