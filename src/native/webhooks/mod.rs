//! `.../webhooks`: endpoints that are called with what is published.

use crate::app::Log;
use crate::http::{Body, Reply, StatusCode, header, query};
use crate::json::write;
use crate::json::{Fault, Reader};
use crate::time;
use crate::webhook::dead_letters::{Closing, Letter};
use crate::webhook::{Outcome, Verdict};

use super::call::{Call, Next, json_reply};
use super::failure::Refusal;
use super::{consumers, wire};

mod definition;
mod describe;
mod keeper;
mod target;

pub(super) use definition::{ATTEMPTS_DEFAULT, ATTEMPTS_MAX, TIMEOUT_MS, TIMEOUT_MS_DEFAULT};
pub(super) use keeper::Webhooks;

use describe::Described;
use keeper::Defined;

/// The log and the webhook that the path names.
fn named(call: &Call<'_>) -> Result<(Log, String), Refusal> {
    let log = call.log()?;
    Ok((log, call.webhook()?.as_str().to_owned()))
}

/// Lists webhooks, a page at a time.
pub(super) fn list(call: &Call<'_>) -> Result<Reply, Refusal> {
    let log = call.log()?;
    let mut query = call.query()?;
    let (after, limit) = call.paging(&mut query)?;
    query.finish()?;
    let webhooks = &call.api.webhooks;
    let page = webhooks.list(&log, after.as_deref(), limit.as_len())?;
    let mut body = Vec::with_capacity(64 + 128 * page.webhooks.len());
    body.extend_from_slice(b"{\"webhooks\":[");
    for (index, webhook) in page.webhooks.iter().enumerate() {
        if index > 0 {
            body.push(b',');
        }
        body.extend_from_slice(b"{\"name\":");
        write::string(&mut body, &webhook.name);
        body.extend_from_slice(b",\"url\":");
        write::string(&mut body, webhook.endpoint.as_str());
        body.extend_from_slice(b",\"state\":");
        write::string(&mut body, webhook.state);
        body.push(b'}');
    }
    Ok(call.end_list(body, Next::After(page.next.as_deref()), limit))
}

/// Defines a webhook (201), or changes the one there is, or leaves it as it is (200).
pub(super) async fn define(call: &Call<'_>, body: Body) -> Result<Reply, Refusal> {
    let (log, name) = named(call)?;
    call.no_query()?;
    let asked = call.read_json(body, None, definition::read).await?;
    let webhooks = &call.api.webhooks;
    let defined = webhooks.define(log.clone(), name.clone(), asked).await?;
    let described = webhooks.describe(&log, &name).await?;
    let body = written(&name, &described, Some(&defined));
    if !defined.created {
        return Ok(json_reply(StatusCode::OK, body));
    }
    Ok(json_reply(StatusCode::CREATED, body).header(header::LOCATION, call.location()))
}

/// Describes a webhook. Its secret is not told.
pub(super) async fn describe(call: &Call<'_>) -> Result<Reply, Refusal> {
    let (log, name) = named(call)?;
    call.no_query()?;
    shown(call, &log, &name).await
}

async fn shown(call: &Call<'_>, log: &Log, name: &str) -> Result<Reply, Refusal> {
    let described = call.api.webhooks.describe(log, name).await?;
    Ok(json_reply(StatusCode::OK, written(name, &described, None)))
}

fn written(name: &str, described: &Described, defined: Option<&Defined>) -> Vec<u8> {
    let definition = &described.webhook.definition;
    let mut body = Vec::with_capacity(512);
    body.extend_from_slice(b"{\"name\":");
    write::string(&mut body, name);
    body.extend_from_slice(b",\"url\":");
    write::string(&mut body, definition.endpoint.as_str());
    body.extend_from_slice(b",\"filter\":");
    consumers::write_filter(&mut body, &definition.filter);
    body.extend_from_slice(b",\"start\":");
    consumers::write_start(&mut body, definition.start);
    body.extend_from_slice(b",\"batchSize\":");
    write::number(&mut body, definition.batch_size as u64);
    body.extend_from_slice(b",\"timeoutMs\":");
    let timeout_ms = u64::try_from(definition.timeout.as_millis());
    write::number(&mut body, timeout_ms.unwrap_or(u64::MAX));
    body.extend_from_slice(b",\"attemptsMax\":");
    write::number(&mut body, u64::from(definition.attempts_max));
    if let Some(secret) = defined.and_then(|defined| defined.secret.as_ref()) {
        body.extend_from_slice(b",\"secret\":");
        write::string(&mut body, &secret.reveal());
    }
    body.extend_from_slice(b",\"state\":");
    write::string(&mut body, described.state);
    body.extend_from_slice(b",\"checkpoint\":");
    write::number(&mut body, described.checkpoint);
    body.extend_from_slice(b",\"lag\":");
    consumers::write_lag(&mut body, described.lag);
    body.extend_from_slice(b",\"attempts\":");
    write::number(&mut body, u64::from(described.attempts));
    body.extend_from_slice(b",\"nextAttemptAt\":");
    maybe_time(&mut body, described.next_attempt_us);
    body.extend_from_slice(b",\"lastError\":");
    write::maybe_string(&mut body, described.last_error.as_deref());
    body.extend_from_slice(b",\"lastErrorAt\":");
    maybe_time(&mut body, described.last_error_us);
    body.extend_from_slice(b",\"lastDeliveredAt\":");
    maybe_time(&mut body, described.last_success_us);
    body.extend_from_slice(b",\"deadLetters\":");
    write::number(&mut body, described.dead_letters as u64);
    body.push(b'}');
    body
}

fn maybe_time(body: &mut Vec<u8>, time_us: Option<u64>) {
    match time_us {
        None => body.extend_from_slice(b"null"),
        Some(time_us) => {
            body.push(b'"');
            time::write(body, i64::try_from(time_us).unwrap_or(i64::MAX));
            body.push(b'"');
        }
    }
}

/// Removes a webhook and its place.
pub(super) async fn remove(call: &Call<'_>) -> Result<Reply, Refusal> {
    let (log, name) = named(call)?;
    call.no_query()?;
    call.api.webhooks.remove(log, name).await?;
    Ok(Reply::new(StatusCode::NO_CONTENT))
}

/// A body that says nothing: none at all, or an object without members.
async fn nothing(call: &Call<'_>, body: Body) -> Result<(), Refusal> {
    fn empty(reader: &mut Reader<'_>) -> Result<(), Fault> {
        let mut object = reader
            .object()
            .ok_or_else(|| wire::expected(reader.clone(), "an object"))?;
        object.next(reader, &[]).map(drop)
    }
    call.no_query()?;
    call.read_json(body, Some(()), empty).await
}

/// Stops calling a webhook.
pub(super) async fn pause(call: &Call<'_>, body: Body) -> Result<Reply, Refusal> {
    let (log, name) = named(call)?;
    nothing(call, body).await?;
    call.api.webhooks.pause(log.clone(), name.clone()).await?;
    shown(call, &log, &name).await
}

/// Calls it again.
pub(super) async fn resume(call: &Call<'_>, body: Body) -> Result<Reply, Refusal> {
    let (log, name) = named(call)?;
    nothing(call, body).await?;
    call.api.webhooks.resume(log.clone(), name.clone()).await?;
    shown(call, &log, &name).await
}

/// Moves its place anywhere.
pub(super) async fn seek(call: &Call<'_>, body: Body) -> Result<Reply, Refusal> {
    let (log, name) = named(call)?;
    call.no_query()?;
    let seek = call.read_json(body, None, consumers::seek_to).await?;
    let checkpoint = call.api.webhooks.seek(log, name, seek).await?;
    Ok(consumers::checkpoint_reply(checkpoint))
}

/// What became of attempts, newest first.
pub(super) async fn deliveries(call: &Call<'_>) -> Result<Reply, Refusal> {
    let (log, name) = named(call)?;
    let mut query = call.query()?;
    let before = call.before(&mut query)?;
    let limit = call.list_limit(&mut query)?;
    let asked = query.all("outcome");
    query.finish()?;
    let mut outcomes = Vec::with_capacity(asked.len());
    for outcome in &asked {
        let known = Outcome::ALL.iter().find(|known| known.as_str() == *outcome);
        let known = known.ok_or_else(|| {
            let all = Outcome::ALL.map(Outcome::as_str).join("', '");
            query::invalid("outcome", &format!("it is none of '{all}'"))
        })?;
        outcomes.push(known.as_str());
    }
    let webhooks = &call.api.webhooks;
    let lane = webhooks.lane(&log, &name)?;
    let count = limit.as_len() as u64;
    let page = webhooks.attempts(&lane, &outcomes, before, count).await?;
    let mut body = Vec::with_capacity(64 + 512 * page.attempts.len());
    body.extend_from_slice(b"{\"deliveries\":[");
    for (index, made) in page.attempts.iter().enumerate() {
        let entry = &made.entry;
        if index > 0 {
            body.push(b',');
        }
        body.extend_from_slice(b"{\"id\":");
        write::number(&mut body, made.id.get());
        body.extend_from_slice(b",\"deliveryId\":");
        write::string(&mut body, &entry.delivery_id);
        body.extend_from_slice(b",\"firstId\":");
        write::number(&mut body, entry.first_id);
        body.extend_from_slice(b",\"lastId\":");
        write::number(&mut body, entry.last_id);
        body.extend_from_slice(b",\"events\":");
        write::number(&mut body, entry.events);
        body.extend_from_slice(b",\"attempt\":");
        write::number(&mut body, u64::from(entry.attempt));
        body.extend_from_slice(b",\"startedAt\":");
        write::string(&mut body, &entry.started_at);
        body.extend_from_slice(b",\"durationMs\":");
        write::number(&mut body, entry.duration_ms);
        body.extend_from_slice(b",\"outcome\":");
        write::string(&mut body, entry.outcome.as_str());
        body.extend_from_slice(b",\"status\":");
        write::maybe_number(&mut body, entry.status.map(u64::from));
        body.extend_from_slice(b",\"error\":");
        write::maybe_string(&mut body, entry.error.as_deref());
        body.extend_from_slice(b",\"response\":");
        write::maybe_string(&mut body, entry.response.as_deref());
        body.push(b'}');
    }
    Ok(call.end_list(body, Next::Before(page.next), limit))
}

/// The open dead letters, newest first.
pub(super) async fn dead_letters(call: &Call<'_>) -> Result<Reply, Refusal> {
    let (log, name) = named(call)?;
    let mut query = call.query()?;
    let before = call.before(&mut query)?;
    let limit = call.list_limit(&mut query)?;
    query.finish()?;
    let webhooks = &call.api.webhooks;
    let lane = webhooks.lane(&log, &name)?;
    let dead_letters = webhooks.hub().dead_letters();
    let page = dead_letters.list(&lane, before, limit.as_len()).await?;
    let first_kept = log.describe().state.first.get();
    let mut body = Vec::with_capacity(64 + 256 * page.letters.len());
    body.extend_from_slice(b"{\"deadLetters\":[");
    for (index, letter) in page.letters.iter().enumerate() {
        if index > 0 {
            body.push(b',');
        }
        write_letter(&mut body, letter, first_kept);
    }
    Ok(call.end_list(body, Next::Before(page.next), limit))
}

fn write_letter(body: &mut Vec<u8>, letter: &Letter, first_kept: u64) {
    let given_up = &letter.given_up;
    body.extend_from_slice(b"{\"id\":");
    write::number(body, letter.id.get());
    body.extend_from_slice(b",\"eventId\":");
    write::number(body, given_up.event_id);
    body.extend_from_slice(b",\"expired\":");
    let expired = given_up.event_id < first_kept;
    body.extend_from_slice(if expired { b"true" } else { b"false" });
    body.extend_from_slice(b",\"deliveryId\":");
    write::string(body, &given_up.delivery_id);
    body.extend_from_slice(b",\"attempts\":");
    write::number(body, u64::from(given_up.attempts));
    body.extend_from_slice(b",\"givenUpAt\":");
    maybe_time(body, Some(letter.given_up_us));
    body.extend_from_slice(b",\"status\":");
    write::maybe_number(body, given_up.status.map(u64::from));
    body.extend_from_slice(b",\"error\":");
    write::maybe_string(body, given_up.error.as_deref());
    body.push(b'}');
}

/// Sends the event of a dead letter once, now. That the endpoint does not take it is no failure of
/// this request: the reply says what came of it.
pub(super) async fn replay(call: &Call<'_>, body: Body) -> Result<Reply, Refusal> {
    let (log, name) = named(call)?;
    let letter = call.event_id()?;
    nothing(call, body).await?;
    let attempt = call.api.webhooks.replay(log, name, letter).await?;
    let mut body = Vec::with_capacity(256);
    body.extend_from_slice(b"{\"id\":");
    write::number(&mut body, letter.get());
    body.extend_from_slice(b",\"outcome\":");
    let outcome = match attempt.verdict {
        Verdict::Delivered => Outcome::Delivered,
        Verdict::Retry | Verdict::Reject | Verdict::Gone => Outcome::Failed,
    };
    write::string(&mut body, outcome.as_str());
    body.extend_from_slice(b",\"status\":");
    write::maybe_number(&mut body, attempt.status.map(u64::from));
    body.extend_from_slice(b",\"error\":");
    write::maybe_string(&mut body, attempt.error.as_deref());
    body.extend_from_slice(b",\"response\":");
    write::maybe_string(&mut body, attempt.response.as_deref());
    body.push(b'}');
    Ok(json_reply(StatusCode::OK, body))
}

/// Drops a dead letter that nobody wants.
pub(super) async fn discard(call: &Call<'_>) -> Result<Reply, Refusal> {
    let (log, name) = named(call)?;
    let letter = call.event_id()?;
    call.no_query()?;
    let webhooks = &call.api.webhooks;
    let lane = webhooks.lane(&log, &name)?;
    let dead_letters = webhooks.hub().dead_letters();
    dead_letters
        .close(&lane, letter, Closing::Discarded)
        .await?;
    Ok(Reply::new(StatusCode::NO_CONTENT))
}
