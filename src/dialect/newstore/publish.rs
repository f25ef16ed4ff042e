//! `POST`: one event, durable and readable before it is answered.

use crate::app::Data;
use crate::app::limits::HOPS_MAX;
use crate::app::publish::{NewEvent, Publish};
use crate::http::{Body, Head, header};

use super::Door;
use super::event::{self, Name, Payload};
use super::headers::Headers;
use super::replies::Refusal;

/// The longest payload, in bytes: the gateway's events are facts about one entity.
pub(super) const PAYLOAD_LEN_MAX: usize = 1 << 20;

/// Stores the event of a request, or knows it again.
///
/// # Errors
///
/// The first [`Refusal`] in the order that `mod.rs` gives.
pub(super) async fn publish(door: &Door, head: &Head, body: Body) -> Result<(), Refusal> {
    let headers = Headers::read(head.headers())?;
    let stream = event::stream(&headers).map_err(|error| {
        Refusal::invalid(format!(
            "headers tenant and entity-id cannot name a stream together: {error}"
        ))
    })?;
    let ids = headers.correlation_ids()?;
    expect_json(head)?;
    let hops = head
        .hops(HOPS_MAX)
        .map_err(|problem| Refusal::invalid(problem.detail().to_owned()))?;

    let body = body
        .read_within(PAYLOAD_LEN_MAX, &door.tools.bodies)
        .await
        .map_err(|problem| Refusal::of_body(&problem))?;
    let payload = Payload::read(&body).map_err(|fault| {
        // The documented text has no room for the place.
        tracing::debug!(request_id = head.id().as_str(), offset = fault.offset, what = %fault.what, "a payload is no JSON object");
        Refusal::no_object()
    })?;
    let name = Name::find(payload, &headers);
    let event_type = name
        .event_type()
        .map_err(|error| Refusal::invalid(format!("event name cannot be used: {error}")))?;

    if door.denied_tenants.contains(headers.tenant) {
        return Err(Refusal::denied_by_name("tenant", headers.tenant));
    }
    if door.denied_teams.contains(headers.team) {
        return Err(Refusal::denied_by_name("team", headers.team));
    }

    let metadata = event::metadata(&headers, &ids, &name);
    let key = event::key(&headers, &name)
        .map_err(|error| Refusal::invalid(format!("header idempotency-key: {error}")))?;
    let event = NewEvent {
        metadata: Some(&metadata),
        tags: event::tags(&headers, &ids),
        key: Some(key),
        hops,
        ..NewEvent::new(stream.by_ref(), event_type, Data::Json(&body))
    };
    let request = Publish {
        events: vec![event],
        ..Publish::default()
    };
    match door.log.publish(request).await {
        Ok(_stored_or_known) => Ok(()),
        Err(failure) => Err(Refusal::of_failure(failure, stream.as_str())),
    }
}

/// The body must be JSON by its own account, if it gives one, and as it is.
fn expect_json(head: &Head) -> Result<(), Refusal> {
    let media_type = head
        .content_type()
        .map_err(|problem| Refusal::invalid(problem.detail().to_owned()))?;
    if media_type.is_some_and(|media_type| media_type.essence != "application/json") {
        return Err(Refusal::invalid(
            "header content-type must be application/json",
        ));
    }
    let coding = head
        .one(&header::CONTENT_ENCODING)
        .map_err(|problem| Refusal::invalid(problem.detail().to_owned()))?;
    if coding.is_some_and(|coding| !coding.eq_ignore_ascii_case("identity")) {
        return Err(Refusal::invalid(
            "header content-encoding must be absent: the payload is stored as it is sent",
        ));
    }
    Ok(())
}
