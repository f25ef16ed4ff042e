//! The axon dialect, as clients of Axon Synapse use it.

use serde_json::{Value, json};

use crate::client::Reply;
use crate::harness::Server;

mod delivery;
mod errors;
mod handlers;
mod publish;
mod read;
mod sequence;

const EVENTS: &str = "/v1/contexts/default/events";
const JSON: (&str, &str) = ("Content-Type", "application/json");
const LIST: (&str, &str) = ("Content-Type", "application/vnd.axoniq.event.list+json");

/// Publishes a message.
fn message(server: &Server, message: &Value) -> Reply {
    server.ask("POST", EVENTS, &[JSON], message.to_string())
}

/// Publishes a list of messages.
fn list(server: &Server, items: &[Value]) -> Reply {
    let body = json!({ "items": items }).to_string();
    server.ask("POST", EVENTS, &[LIST], body)
}

/// Publishes raw.
fn raw(server: &Server, name: &str, headers: &[(&str, &str)], body: impl AsRef<[u8]>) -> Reply {
    server.ask("POST", &format!("{EVENTS}/{name}"), headers, body)
}

/// A message of the aggregate `A`.
fn of_a(sequence: u64) -> Value {
    json!({ "name": "R", "payload": {}, "aggregateId": "A", "aggregateType": "Giftcard",
            "sequenceNumber": sequence })
}

/// The reply of a publish that was taken.
#[track_caller]
fn taken(reply: &Reply) {
    assert_eq!((reply.status, reply.text()), (200, ""));
    assert_eq!(reply.header("content-type"), None);
    assert_eq!(reply.header("content-length"), Some("0"));
}

/// The error body, which must have this status and code, and every member in its place.
#[track_caller]
fn refused(reply: &Reply, status: u16, code: &str) -> Value {
    assert_eq!(reply.status, status, "{}", reply.text());
    assert_eq!(reply.header("content-type"), Some("application/json"));
    let body = reply.json();
    let names = [
        "\"timestamp\":\"",
        "\",\"path\":\"",
        "\",\"status\":",
        ",\"error\":\"",
        "\",\"requestId\":\"",
        "\",\"code\":\"",
        "\",\"message\":\"",
        "\",\"details\":{",
    ];
    let mut rest = reply.text();
    for name in names {
        let (_, behind) = rest.split_once(name).unwrap_or_else(|| panic!("{name}"));
        rest = behind;
    }
    assert_eq!(body.as_object().unwrap().len(), names.len());
    assert_eq!(body["status"], status);
    assert_eq!(body["code"], code, "{body}");
    assert_eq!(body["requestId"], reply.header("x-request-id").unwrap());
    let details = body["details"].as_object().unwrap();
    assert!(details.values().all(Value::is_string));
    body
}

/// What the events of an aggregate are, whatever their times and ids.
fn aggregate(server: &Server, id: &str) -> Vec<Value> {
    let reply = server.get(&format!("/v1/contexts/default/aggregate/{id}/events"));
    let body = reply.good();
    assert_eq!(body.as_object().unwrap().len(), 1);
    body["items"].as_array().unwrap().clone()
}

/// The text with the values of these string members replaced by a star.
fn without(text: &str, members: &[&str]) -> String {
    let mut out = text.to_owned();
    for member in members {
        let mark = format!("\"{member}\":\"");
        let mut at = 0;
        while let Some(found) = out[at..].find(&mark) {
            let start = at + found + mark.len();
            let end = start + out[start..].find('"').unwrap();
            out.replace_range(start..end, "*");
            at = start;
        }
    }
    out
}
