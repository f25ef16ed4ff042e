//! `/v1/logs`: listing, describing, creating and configuring logs.

use crate::app::logs::{LogDescription, LogSettings};
use crate::http::{Body, Reply, StatusCode};
use crate::store::{Health, Retention};

use super::call::{Call, json_reply};
use super::failure::Refusal;
use super::wire;
use crate::json::write;
use crate::json::{Fault, Reader};

/// Lists the logs. There are at most a few hundred, so the list has no pages.
pub(super) fn list(call: &Call<'_>) -> Result<Reply, Refusal> {
    call.no_query()?;
    let logs = call.api.app.logs();
    let mut body = Vec::with_capacity(64 + 256 * logs.len());
    body.extend_from_slice(b"{\"logs\":[");
    for (index, log) in logs.iter().enumerate() {
        if index > 0 {
            body.push(b',');
        }
        write(&mut body, log);
    }
    body.extend_from_slice(b"]}");
    Ok(json_reply(StatusCode::OK, body))
}

/// Describes a log.
pub(super) fn describe(call: &Call<'_>) -> Result<Reply, Refusal> {
    let log = call.log()?;
    call.no_query()?;
    let mut body = Vec::with_capacity(256);
    write(&mut body, &log.describe());
    Ok(json_reply(StatusCode::OK, body))
}

/// Creates a log (201), or changes the settings of the one there is (200). Without a body, what is
/// there stays as it is.
pub(super) async fn put(call: &Call<'_>, body: Body) -> Result<Reply, Refusal> {
    let raw = call.params.get("log").unwrap_or_default();
    // A name that needs an escape is no log name, so what is not decoded is refused as it stands.
    call.no_query()?;
    let settings = call.read_json(body, Some(None), settings).await?;
    let (description, created) = call.api.app.put_log(raw, settings).await?;
    let mut body = Vec::with_capacity(256);
    write(&mut body, &description);
    let status = if created {
        StatusCode::CREATED
    } else {
        StatusCode::OK
    };
    Ok(json_reply(status, body))
}

/// `{"retention":{"maxAgeSeconds"?,"maxBytes"?,"maxEvents"?}}`; `null` for the server's setting.
/// None if it names no setting.
fn settings(reader: &mut Reader<'_>) -> Result<Option<LogSettings>, Fault> {
    let mut settings = None;
    let mut object = reader
        .object()
        .ok_or_else(|| wire::expected(reader.clone(), "an object"))?;
    while object.next(reader, &["retention"])?.is_some() {
        let retention = if reader.null() {
            None
        } else {
            Some(retention(reader).map_err(|fault| fault.of("retention"))?)
        };
        settings = Some(LogSettings { retention });
    }
    Ok(settings)
}

fn retention(reader: &mut Reader<'_>) -> Result<Retention, Fault> {
    let mut retention = Retention::default();
    let mut object = reader
        .object()
        .ok_or_else(|| wire::expected(reader.clone(), "an object"))?;
    while let Some(member) = object.next(reader, &["maxAgeSeconds", "maxBytes", "maxEvents"])? {
        if reader.null() {
            continue;
        }
        let number = Some(wire::whole_number(reader).map_err(|fault| fault.of(member))?);
        match member {
            "maxAgeSeconds" => retention.age_max_s = number,
            "maxBytes" => retention.bytes_max = number,
            _ => retention.records_max = number,
        }
    }
    Ok(retention)
}

fn write(body: &mut Vec<u8>, log: &LogDescription) {
    let state = &log.state;
    body.extend_from_slice(b"{\"log\":");
    write::string(body, log.name.as_str());
    // The next id to be given out, if no event is kept: `firstId` is always where a reader that
    // wants everything begins.
    body.extend_from_slice(b",\"firstId\":");
    write::number(body, state.first.get());
    body.extend_from_slice(b",\"lastId\":");
    write::number(body, state.end.get() - 1);
    body.extend_from_slice(b",\"durableId\":");
    write::number(body, state.durable_end.get() - 1);
    body.extend_from_slice(b",\"bytes\":");
    write::number(body, state.bytes);
    body.extend_from_slice(b",\"segments\":");
    write::maybe_number(body, state.segments);
    body.extend_from_slice(b",\"retention\":{\"maxAgeSeconds\":");
    write::maybe_number(body, state.retention.age_max_s);
    body.extend_from_slice(b",\"maxBytes\":");
    write::maybe_number(body, state.retention.bytes_max);
    body.extend_from_slice(b",\"maxEvents\":");
    write::maybe_number(body, state.retention.records_max);
    body.extend_from_slice(b"},\"health\":");
    write::string(body, health(&state.health));
    body.push(b'}');
}

/// The state of a log in a word.
pub(super) fn health(health: &Health) -> &'static str {
    match health {
        Health::Writable => "writable",
        Health::Full => "full",
        Health::Failed(_) => "failed",
        Health::Closed => "closed",
    }
}
