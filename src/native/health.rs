//! `/healthz` and `/readyz`: whether the server lives, and whether it takes work.
//!
//! A log that is full or has failed still serves reads, so the server stays alive and says
//! `degraded`; it is not ready, because writes are refused. What has failed takes writes again after
//! a restart only; a full disk recovers by itself.

use crate::http::{Reply, StatusCode};
use crate::json::write;
use crate::store::Health;

use super::call::{Call, json_reply};
use super::failure::Refusal;
use super::logs;

/// Always 200: who can answer is alive. The body says how well.
pub(super) fn alive(call: &Call<'_>) -> Result<Reply, Refusal> {
    reply(call, |_| StatusCode::OK)
}

/// 200 if every log takes writes and the server is not stopping, else 503.
pub(super) fn ready(call: &Call<'_>) -> Result<Reply, Refusal> {
    reply(call, |well| {
        if well {
            StatusCode::OK
        } else {
            StatusCode::SERVICE_UNAVAILABLE
        }
    })
}

fn reply(call: &Call<'_>, status: impl FnOnce(bool) -> StatusCode) -> Result<Reply, Refusal> {
    call.no_query()?;
    let app = &call.api.app;
    let unhealthy = app.unhealthy();
    let stopping = app.is_stopping();
    let word = match (stopping, unhealthy.is_empty()) {
        (true, _) => "stopping",
        (false, true) => "ok",
        (false, false) => "degraded",
    };
    let mut body = b"{\"status\":".to_vec();
    write::string(&mut body, word);
    body.extend_from_slice(b",\"logs\":[");
    for (index, (name, health)) in unhealthy.iter().enumerate() {
        if index > 0 {
            body.push(b',');
        }
        body.extend_from_slice(b"{\"log\":");
        write::string(&mut body, name.as_str());
        body.extend_from_slice(b",\"health\":");
        write::string(&mut body, logs::health(health));
        body.extend_from_slice(b",\"reason\":");
        let reason = match health {
            Health::Failed(reason) => Some(&**reason),
            Health::Writable | Health::Full | Health::Closed => None,
        };
        write::maybe_string(&mut body, reason);
        body.push(b'}');
    }
    body.push(b']');
    // No reason to be unwell: the log does all it can without them.
    let losses = app.losses();
    if !losses.is_empty() {
        body.extend_from_slice(b",\"lost\":[");
        for (index, (name, events)) in losses.iter().enumerate() {
            if index > 0 {
                body.push(b',');
            }
            body.extend_from_slice(b"{\"log\":");
            write::string(&mut body, name.as_str());
            body.extend_from_slice(b",\"events\":");
            write::number(&mut body, *events);
            body.push(b'}');
        }
        body.push(b']');
    }
    body.push(b'}');
    Ok(json_reply(status(word == "ok"), body))
}
