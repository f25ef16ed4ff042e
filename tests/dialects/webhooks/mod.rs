//! Native webhooks: defined, delivered to, given up, and never a way into the server's network.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use strandlog::clock::HandClock;

use crate::client::Reply;
use crate::harness::{Server, until};
use crate::receiver::Receiver;

mod define;
mod deliver;
mod hostile;
mod lanes;
mod letters;
mod lifecycle;
mod loops;

/// A noon in 2026, in microseconds since 1970.
const NOON_US: u64 = 1_790_000_000_000_000;
/// The webhook of most tests.
const HOOK: &str = "/v1/logs/default/webhooks/hook";
/// Longer than the longest pause between attempts.
const LONGER_THAN_ANY_PAUSE: Duration = Duration::from_secs(301);

/// A server whose clock stands still until the test moves it.
fn timeless() -> (Server, HandClock) {
    let clock = HandClock::at(NOON_US);
    let server = Server::start_at(Arc::new(clock.clone()), |_| {});
    (server, clock)
}

fn put(server: &Server, target: &str, body: &Value) -> Reply {
    let headers = [("Content-Type", "application/json")];
    server.ask("PUT", target, &headers, body.to_string())
}

fn post(server: &Server, target: &str, body: &Value) -> Reply {
    let headers = [("Content-Type", "application/json")];
    server.ask("POST", target, &headers, body.to_string())
}

/// Asks for something without a body.
fn act(server: &Server, method: &str, target: &str) -> Reply {
    server.ask(method, target, &[], "")
}

/// Defines [`HOOK`] with more members; its secret.
fn define(server: &Server, url: &str, more: Value) -> String {
    let mut definition = json!({ "url": url });
    if let Value::Object(more) = more {
        definition.as_object_mut().unwrap().extend(more);
    }
    let reply = put(server, HOOK, &definition);
    assert_eq!(reply.status, 201, "{}", reply.text());
    reply.json()["secret"]
        .as_str()
        .unwrap_or_default()
        .to_owned()
}

fn hook(server: &Server) -> Value {
    server.get(HOOK).good()
}

/// Waits until [`HOOK`] is as `wanted` says.
#[track_caller]
fn until_hook(server: &Server, what: &str, wanted: impl Fn(&Value) -> bool) -> Value {
    until(what, || Some(hook(server)).filter(&wanted))
}

/// Publishes `count` events of the stream `s`, each with its number from `first` on.
fn publish(server: &Server, first: u64, count: u64) {
    let events: Vec<Value> = (first..first + count)
        .map(|n| json!({ "stream": "s", "type": "counted", "data": n }))
        .collect();
    let reply = post(server, "/v1/logs/default/events", &json!(events));
    assert_eq!(reply.status, 201, "{}", reply.text());
}

/// Waits until attempt `number` has failed, and lets the pause after it pass.
fn pass_pause(server: &Server, clock: &HandClock, number: u64) {
    until_hook(server, "a failed attempt", |hook| {
        hook["attempts"] == number && !hook["nextAttemptAt"].is_null()
    });
    clock.advance(LONGER_THAN_ANY_PAUSE);
}

/// The ids of the events in all calls to a receiver, in order.
fn ids(receiver: &Receiver) -> Vec<u64> {
    let received = receiver.received();
    let events = received.iter().flat_map(|call| {
        let body = call.json();
        match body["events"].as_array() {
            Some(events) => events.clone(),
            None => vec![body],
        }
    });
    events.map(|event| event["id"].as_u64().unwrap()).collect()
}

/// The attempts of [`HOOK`], oldest first.
fn attempts(server: &Server) -> Vec<Value> {
    let page = server.get(&format!("{HOOK}/deliveries?limit=1000")).good();
    let mut attempts = page["deliveries"].as_array().unwrap().clone();
    attempts.reverse();
    attempts
}

/// The outcomes of [`HOOK`]'s attempts, oldest first.
fn outcomes(server: &Server) -> Vec<String> {
    let attempts = attempts(server);
    let outcomes = attempts
        .iter()
        .map(|made| made["outcome"].as_str().unwrap().to_owned());
    outcomes.collect()
}
