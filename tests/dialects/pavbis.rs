//! pavbis/eventserver, as its clients see it: `spec` sections are those of the dialect's behaviour
//! that the documentation of the door describes.

use uuid::Uuid;

use crate::client::Reply;
use crate::harness::Server;

mod bad_input;
mod charts;
mod examples;
mod offsets;
mod retention;
mod shared_streams;

/// `test:test`.
const BASIC: (&str, &str) = ("Authorization", "Basic dGVzdDp0ZXN0");
const JSON: &str = "application/json; charset=utf-8";
const PRODUCER: &str = "52a454e8-a111-4e5c-a715-2e46fedd8c47";
const CONSUMER: &str = "2480b859-e08a-4414-9c7d-003bc1a4b555";

/// What a client of the original sends with every request.
fn headers<'a>(more: &[(&'a str, &'a str)]) -> Vec<(&'a str, &'a str)> {
    let mut headers = vec![BASIC, ("Content-Type", JSON), ("Accept", JSON)];
    headers.extend_from_slice(more);
    headers
}

fn post(server: &Server, path: &str, more: &[(&str, &str)], body: impl AsRef<[u8]>) -> Reply {
    server.ask("POST", &format!("/api/v1{path}"), &headers(more), body)
}

fn get(server: &Server, path: &str, more: &[(&str, &str)]) -> Reply {
    server.ask("GET", &format!("/api/v1{path}"), &headers(more), "")
}

fn publish_by(server: &Server, producer: &str, stream: &str, body: impl AsRef<[u8]>) -> Reply {
    let path = format!("/streams/{stream}/events");
    post(server, &path, &[("X-Producer-ID", producer)], body)
}

/// Publishes an event with this name and payload, which must be taken; its id.
#[track_caller]
fn publish(server: &Server, stream: &str, name: &str, payload: &str) -> String {
    let body = format!(r#"{{"event":{{"name":"{name}"}},"payload":{payload}}}"#);
    id_in(&publish_by(server, PRODUCER, stream, body))
}

/// The id in the reply to a publish.
#[track_caller]
fn id_in(reply: &Reply) -> String {
    assert_eq!(reply.status, 200, "{}", reply.text());
    let id = reply.json().as_str().unwrap().to_owned();
    let uuid = Uuid::try_parse(&id).unwrap();
    assert_eq!(uuid.get_version_num(), 4);
    assert_eq!(uuid.to_string(), id);
    id
}

fn read_as(server: &Server, consumer: &str, stream: &str, name: &str, limit: u64) -> Reply {
    let path = format!("/streams/{stream}/events?eventName={name}&limit={limit}");
    get(server, &path, &[("X-Consumer-ID", consumer)])
}

/// The ids of the events that are next for a consumer.
#[track_caller]
fn next_for(server: &Server, consumer: &str, stream: &str, name: &str) -> Vec<String> {
    let reply = read_as(server, consumer, stream, name, 1_000);
    let events = reply.good();
    let events = events.as_array().unwrap().iter();
    events
        .map(|event| event["eventId"].as_str().unwrap().to_owned())
        .collect()
}

fn ack_as(server: &Server, consumer: &str, stream: &str, id: &str) -> Reply {
    let path = format!("/api/v1/streams/{stream}/events/{id}");
    let form = ("Content-Type", "application/x-www-form-urlencoded");
    let headers = [BASIC, form, ("X-Consumer-ID", consumer)];
    server.ask("POST", &path, &headers, "action=ACK")
}

fn ack(server: &Server, stream: &str, id: &str) -> Reply {
    ack_as(server, CONSUMER, stream, id)
}

#[track_caller]
fn assert_ok(reply: &Reply) {
    assert_says(reply, 200, r#""OK""#);
}

/// The reply has this status and this body, byte for byte.
#[track_caller]
fn assert_says(reply: &Reply, status: u16, body: &str) {
    assert_eq!((reply.status, reply.text()), (status, body));
    assert_eq!(
        reply.header("content-type"),
        Some("application/json; charset=utf-8")
    );
    assert_eq!(reply.header("www-authenticate"), None);
}

/// The reply is a 400 whose text has this in it.
#[track_caller]
fn assert_bad(reply: &Reply, says: &str) {
    assert_eq!(reply.status, 400, "{}", reply.text());
    let text = reply.json().as_str().unwrap().to_owned();
    assert!(text.starts_with("Bad Request - "), "{text}");
    assert!(text.contains(says), "{text}");
}
