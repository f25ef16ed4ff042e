//! `POST .../events`: one request, one atomic batch.
//!
//! Order of checks: the log, the stream, the query, the headers, the body; then what the log says.
//! A repeat is answered with the status and body of the first (201), and says so in a header.

use crate::app::Log;
use crate::app::limits::HOPS_MAX;
use crate::app::name::{IdempotencyKey, StreamName};
use crate::app::publish::{
    Expectation, ExpectedLast, Fingerprint, KeyOrigin, Keyed, NewEvent, Publish, Published,
};
use crate::http::{
    Body, Head, HeaderName, HeaderValue, Problem, Reply, StatusCode, etag, head, header, query,
};
use crate::store::Durability;

use super::call::{Call, json_reply};
use super::failure::Refusal;
use super::wire::{self, Form, WireEvent};
use crate::json;
use crate::json::write;

/// Names a request, so that it can be repeated without being stored twice.
const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
/// Says that the request was such a repeat.
const IDEMPOTENCY_REPLAYED: HeaderName = HeaderName::from_static("idempotency-replayed");
/// When the reply to a publish may be given.
const DURABILITY: HeaderName = HeaderName::from_static("strandlog-durability");
/// The id up to which the log was durable.
const DURABLE_ID: HeaderName = HeaderName::from_static("strandlog-durable-id");

/// Publishes to whatever streams the events name.
pub(super) async fn to_log(call: &Call<'_>, body: Body) -> Result<Reply, Refusal> {
    let log = call.log()?;
    publish(call, body, &log, None).await
}

/// Publishes to the stream that the path names.
pub(super) async fn to_stream(call: &Call<'_>, body: Body) -> Result<Reply, Refusal> {
    let log = call.log()?;
    let stream = call.stream()?;
    publish(call, body, &log, Some(&stream)).await
}

async fn publish<'a>(
    call: &Call<'a>,
    body: Body,
    log: &Log,
    stream: Option<&StreamName<'a>>,
) -> Result<Reply, Refusal> {
    call.no_query()?;
    let form = match call.expect_content_type(&["application/json", "application/x-ndjson"])? {
        0 => Form::Json,
        _ => Form::Ndjson,
    };
    let expected = expected_last(call.head)?;
    let expectation = match (stream, expected) {
        (_, None) => None,
        (Some(stream), Some(last)) => Some(Expectation {
            stream: stream.by_ref(),
            last,
        }),
        (None, Some(_)) => {
            let given = if call.head.headers().contains_key(header::IF_MATCH) {
                header::IF_MATCH
            } else {
                header::IF_NONE_MATCH
            };
            return Err(head::invalid(
                &given,
                "conditions on a stream need the path of the stream",
            )
            .into());
        }
    };
    let key = call
        .head
        .one(&IDEMPOTENCY_KEY)?
        .map(IdempotencyKey::new)
        .transpose()
        .map_err(|error| head::invalid(&IDEMPOTENCY_KEY, &error.to_string()))?;
    let durability = durability(call.head)?;
    let hops = call.head.hops(HOPS_MAX)?;

    let payload = call.read_body(body).await?;
    let parsed = wire::parse(
        json::text(&payload)?,
        form,
        stream.map(StreamName::by_ref).as_ref(),
    )?;
    let keyed = key.map(|key| Keyed {
        key,
        origin: KeyOrigin::Given,
        fingerprint: Fingerprint::of(&[
            call.head.path().as_bytes(),
            match form {
                Form::Json => b"json",
                Form::Ndjson => b"ndjson",
            },
            &payload,
        ]),
    });
    let events = parsed.events.iter().map(|event| NewEvent {
        hops,
        ..event.to_new()
    });
    let published = log
        .publish(Publish {
            events: events.collect(),
            expectation,
            conditions: parsed.conditions,
            key: keyed,
            durability,
            producer: None,
        })
        .await?;
    Ok(reply(log, &parsed.events, &published))
}

/// Where the stream must stand, by `If-Match` or `If-None-Match`.
fn expected_last(head: &Head) -> Result<Option<ExpectedLast>, Problem> {
    let read = |name: HeaderName| {
        etag::condition(head.headers(), &name).map_err(|what| head::invalid(&name, what))
    };
    match (read(header::IF_MATCH)?, read(header::IF_NONE_MATCH)?) {
        (None, None) => Ok(None),
        (None, Some(etag::Tags::Any)) => Ok(Some(ExpectedLast::Empty)),
        (None, Some(etag::Tags::These(_))) => Err(head::invalid(
            &header::IF_NONE_MATCH,
            "a publish takes '*' only, which says that the stream must be empty",
        )),
        (Some(etag::Tags::These(tags)), None) => {
            let sequence = match tags.as_slice() {
                [tag] => tag
                    .strip_prefix('"')
                    .and_then(|tag| tag.strip_suffix('"'))
                    .filter(|text| !text.is_empty())
                    .and_then(query::whole_number),
                _ => None,
            };
            match sequence {
                Some(sequence) => Ok(Some(ExpectedLast::Sequence(sequence))),
                None => Err(head::invalid(
                    &header::IF_MATCH,
                    "a publish takes one entity tag, the last sequence of the stream in double quotes",
                )),
            }
        }
        (Some(etag::Tags::Any), None) => Err(head::invalid(
            &header::IF_MATCH,
            "a publish takes the last sequence of the stream, not '*'",
        )),
        (Some(_), Some(_)) => Err(head::invalid(
            &header::IF_MATCH,
            "it contradicts If-None-Match",
        )),
    }
}

fn durability(head: &Head) -> Result<Option<Durability>, Problem> {
    match head.one(&DURABILITY)? {
        None => Ok(None),
        Some("sync") => Ok(Some(Durability::Sync)),
        Some("os") => Ok(Some(Durability::Os)),
        Some(_) => Err(head::invalid(&DURABILITY, "it is neither 'sync' nor 'os'")),
    }
}

fn reply(log: &Log, events: &[WireEvent<'_>], published: &Published) -> Reply {
    let mut body = Vec::with_capacity(64 + 64 * events.len());
    body.extend_from_slice(b"{\"firstId\":");
    write::number(&mut body, published.first_id.get());
    body.extend_from_slice(b",\"lastId\":");
    write::number(&mut body, published.last_id.get());
    body.extend_from_slice(b",\"events\":[");
    for (index, (event, stored)) in events.iter().zip(&published.events).enumerate() {
        if index > 0 {
            body.push(b',');
        }
        body.extend_from_slice(b"{\"id\":");
        write::number(&mut body, stored.id.get());
        body.extend_from_slice(b",\"stream\":");
        write::string(&mut body, event.stream.as_str());
        body.extend_from_slice(b",\"sequence\":");
        write::number(&mut body, stored.sequence);
        // Of the event, not of the request: the repeat of a request by its own key is answered word
        // for word as the first was.
        if stored.replayed {
            body.extend_from_slice(b",\"replayed\":true");
        }
        body.push(b'}');
    }
    body.extend_from_slice(b"]}");

    let mut reply = json_reply(StatusCode::CREATED, body);
    reply.set(DURABLE_ID, HeaderValue::from(published.durable_id));
    if published.replayed {
        reply.set(IDEMPOTENCY_REPLAYED, HeaderValue::from_static("true"));
    }
    let mut streams = events.iter().map(|event| event.stream.as_str());
    let first = streams.next();
    if first.is_some() && streams.all(|stream| Some(stream) == first) {
        reply.set(header::ETAG, etag::strong(published.last_sequence));
    }
    if let [stored] = published.events.as_slice() {
        let location = format!("/v1/logs/{}/events/{}", log.name(), stored.id);
        if let Ok(location) = HeaderValue::try_from(location) {
            reply.set(header::LOCATION, location);
        }
    }
    reply
}
