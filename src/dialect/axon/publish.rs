//! Publishing: one event raw, one as a message, or a list that is stored whole or not at all.
//!
//! Order of checks: the context, the name, the headers, the body; then what the log says. An event
//! of an aggregate is the next one of it, or the whole request is refused: the writer of the log
//! judges that where it gives out the positions, so of two with the same number one is stored.

use crate::app::limits::HOPS_MAX;
use crate::app::name::EventType;
use crate::app::publish::{NewEvent, Publish};
use crate::app::{Code, Details, Failure};
use crate::http::{Body, HeaderName, Reply, header, query};
use crate::json;

use super::call::Call;
use super::event::APPLICATION_JSON;
use super::message::{self, Draft, Incoming};
use super::replies::{self, Kind, Refusal};

/// The content type of a list of messages.
pub(super) const EVENT_LIST: &str = "application/vnd.axoniq.event.list+json";

/// The headers of an event that is sent raw; those of a raw delivery are named alike.
pub(super) const AGGREGATE_ID: HeaderName = HeaderName::from_static("axoniq-aggregateid");
/// See [`AGGREGATE_ID`].
pub(super) const AGGREGATE_TYPE: HeaderName = HeaderName::from_static("axoniq-aggregatetype");
/// See [`AGGREGATE_ID`].
pub(super) const SEQUENCE_NUMBER: HeaderName = HeaderName::from_static("axoniq-sequencenumber");
/// See [`AGGREGATE_ID`].
pub(super) const DATE_TIME: HeaderName = HeaderName::from_static("axoniq-datetime");
/// See [`AGGREGATE_ID`].
pub(super) const PAYLOAD_REVISION: HeaderName = HeaderName::from_static("axoniq-payloadrevision");

/// Publishes the body as the payload of one event, whatever bytes they are.
pub(super) async fn raw(call: &Call<'_>, body: Body) -> Result<Reply, Refusal> {
    let log = call.context()?;
    let name = EventType::new(call.name("eventName")?)?;
    call.no_coding()?;
    let Some(content_type) = call.header(&header::CONTENT_TYPE)? else {
        return Err(Refusal::new(
            Kind::INVALID,
            "the header 'content-type' is missing, which says what the payload is; nothing was done",
        ));
    };
    if !is_content_type(content_type) {
        return Err(invalid(
            &header::CONTENT_TYPE,
            "a type and a subtype with a slash between them were expected",
        ));
    }
    let sequence = call
        .header(&SEQUENCE_NUMBER)?
        .map(|text| {
            let number = query::whole_number(text).filter(|_| !text.is_empty());
            number.ok_or_else(|| {
                invalid(
                    &SEQUENCE_NUMBER,
                    "a whole number from 0 to 2^63 - 1 was expected",
                )
            })
        })
        .transpose()?;
    let time_us = call
        .header(&DATE_TIME)?
        .map(|text| message::date_time(text).map_err(|what| invalid(&DATE_TIME, what)))
        .transpose()?;
    let aggregate_id = call.header(&AGGREGATE_ID)?;
    let aggregate_type = call.header(&AGGREGATE_TYPE)?;
    let payload_revision = call.header(&PAYLOAD_REVISION)?;
    let hops = call.head.hops(HOPS_MAX)?;

    let payload = call.read_body(body).await?;
    let (data, content_type) = message::raw_payload(content_type, &payload);
    let draft = Draft {
        content_type,
        aggregate_id: aggregate_id.map(Into::into),
        aggregate_type: aggregate_type.map(Into::into),
        sequence,
        time_us,
        payload_revision: payload_revision.map(Into::into),
        ..Draft::new(data)
    };
    let random = log.app().random();
    let event = draft
        .finish(name, random.as_ref())
        .map_err(|wrong| Refusal::new(Kind::INVALID, format!("{wrong}; nothing was done")))?;
    store(call, &[event], hops).await
}

/// Publishes the message, or the list of messages, that the body is.
pub(super) async fn messages(call: &Call<'_>, body: Body) -> Result<Reply, Refusal> {
    let log = call.context()?;
    let form = call.expect_content_type(&[APPLICATION_JSON, EVENT_LIST])?;
    let hops = call.head.hops(HOPS_MAX)?;
    let payload = call.read_body(body).await?;
    let text = json::text(&payload)?;
    let random = log.app().random().as_ref();
    match form {
        0 => store(call, &[message::one(text, random)?], hops).await,
        _ => store(call, &message::list(text, random)?, hops).await,
    }
}

async fn store(call: &Call<'_>, events: &[Incoming<'_>], hops: u8) -> Result<Reply, Refusal> {
    let new = events.iter().map(|event| NewEvent {
        hops,
        ..event.to_new()
    });
    let request = Publish {
        events: new.collect(),
        ..Publish::default()
    };
    match call.context()?.publish(request).await {
        Ok(_) => Ok(replies::stored()),
        Err(failure) => Err(refused(failure, events)),
    }
}

/// The refusal of a publish. A wrong sequence number is told in the words that clients know; what
/// comes before an event in its list counts.
fn refused(failure: Failure, events: &[Incoming<'_>]) -> Refusal {
    let (code, index, details) = (failure.code, failure.index, failure.details);
    let mut refusal = Refusal::from(failure);
    if let (Code::AggregateSequence, Details::Aggregate { given, next }) = (code, details) {
        let event = index.and_then(|index| events.get(index));
        let id = event.and_then(Incoming::aggregate_id).unwrap_or_default();
        refusal = refusal.saying(format!(
            "Invalid sequence number {given} for aggregate {id}, expected {next}"
        ));
    }
    match index {
        Some(index) if events.len() > 1 => refusal.with("index", index.to_string()),
        Some(_) | None => refusal,
    }
}

fn invalid(header: &HeaderName, what: &str) -> Refusal {
    Refusal::new(
        Kind::INVALID,
        format!("the header '{header}' is not valid: {what}; nothing was done"),
    )
}

/// Whether this has the shape of a content type that can be kept and sent again.
fn is_content_type(text: &str) -> bool {
    let is_token = |text: &str| {
        !text.is_empty()
            && text
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte))
    };
    let essence = text.split(';').next().unwrap_or_default().trim();
    essence
        .split_once('/')
        .is_some_and(|(kind, subtype)| is_token(kind) && is_token(subtype))
        && crate::app::name::ContentType::new(text).is_ok()
}
