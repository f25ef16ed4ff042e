//! Webhooks whose receivers publish: what goes round in circles comes to an end, and is told.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};
use strandlog::app::limits::HOPS_MAX;

use super::{HOOK, act, attempts, define, hook, ids, outcomes, until_hook};
use crate::client::{Connection, Reply};
use crate::credentials::{BASIC, eventhos_token};
use crate::harness::{Server, until};
use crate::receiver::{Received, Receiver, Scripted};

const EVENTS: &str = "/v1/logs/default/events";
const JSON: (&str, &str) = ("Content-Type", "application/json");
const HOPS: &str = "strandlog-hops";
/// An event that eventhos knows.
const PLACED: &str = "order-placed-k736k3hiW7";

fn hops(call: &Received) -> u8 {
    call.header(HOPS).unwrap().parse().unwrap()
}

fn letters(server: &Server) -> Vec<Value> {
    let page = server.get(&format!("{HOOK}/dead-letters")).good();
    page["deadLetters"].as_array().unwrap().clone()
}

/// Publishes one event of the stream `s` that has come through so many calls.
fn publish(server: &Server, hops: u8) -> Reply {
    let body = json!({ "stream": "s", "type": "t", "data": {} });
    let headers = [JSON, (HOPS, &hops.to_string())];
    server.ask("POST", EVENTS, &headers, body.to_string())
}

/// Publishes an event for every call, and passes on what the call says.
fn echoing(server: &Server) -> Receiver {
    let address: SocketAddr = server.address;
    Receiver::start(move |call| {
        let body = json!({ "stream": "round", "type": "t", "data": call.json()["id"] });
        let headers = [JSON, (HOPS, call.header(HOPS).unwrap())];
        let reply =
            Connection::open(address).ask("POST", EVENTS, &headers, body.to_string().as_bytes());
        Scripted::status(if reply.status == 201 { 200 } else { 500 })
    })
}

#[test]
fn a_webhook_that_causes_its_own_next_call_ends_after_sixteen() {
    let server = Server::start();
    let receiver = echoing(&server);
    define(&server, &receiver.url("/"), json!({}));
    assert_eq!(publish(&server, 0).status, 201);
    let last = u64::from(HOPS_MAX) + 1;
    let ended = until_hook(&server, "the end", |hook| {
        hook["deadLetters"] == 1 && hook["checkpoint"] == last
    });
    let counts: Vec<u8> = receiver.received().iter().map(hops).collect();
    assert_eq!(counts, (1..=HOPS_MAX).collect::<Vec<_>>());
    assert_eq!(ended["state"], "running");

    // What is noted of an attempt is seen a moment after what came of it.
    let noted = until("the last attempt", || {
        let noted = attempts(&server).pop()?;
        (noted["outcome"] != "delivered").then_some(noted)
    });
    assert_eq!(noted["outcome"], "rejected");
    assert_eq!(noted["status"], Value::Null);
    let why = noted["error"].as_str().unwrap();
    assert!(why.contains("loop") && why.contains("16"), "{why}");
    let letter = letters(&server).pop().unwrap();
    assert_eq!(letter["error"], noted["error"]);
    assert_eq!(letter["eventId"], last);

    // Whoever has looked at it can have it sent, and it causes no more than its own answer.
    let target = format!("{HOOK}/dead-letters/{}/replay", letter["id"]);
    assert_eq!(act(&server, "POST", &target).good()["outcome"], "delivered");
    let sent = receiver.received().len();
    assert_eq!(hops(&receiver.received()[sent - 1]), HOPS_MAX);
    until_hook(&server, "the end of the answer", |hook| {
        hook["deadLetters"] == 1 && hook["checkpoint"] == last + 1
    });
    assert_eq!(receiver.received().len(), sent);
}

#[test]
fn in_a_batch_only_what_has_come_too_far_is_given_up() {
    let server = Server::start();
    let receiver = Receiver::answering(200);
    // Everything is there before the first call.
    for hops in [0, 3, HOPS_MAX, HOPS_MAX, 1, HOPS_MAX, 0] {
        assert_eq!(publish(&server, hops).status, 201);
    }
    define(
        &server,
        &receiver.url("/"),
        json!({ "batchSize": 100, "start": "first" }),
    );
    until_hook(&server, "the end", |hook| hook["checkpoint"] == 7);
    assert_eq!(ids(&receiver), [1, 2, 5, 7]);
    // The event that has come furthest counts for all.
    let counts: Vec<u8> = receiver.received().iter().map(hops).collect();
    assert_eq!(counts, [4, 2, 1]);
    let all = until("all attempts", || {
        Some(outcomes(&server)).filter(|outcomes| outcomes.len() >= 5)
    });
    let expected = [
        "delivered",
        "rejected",
        "delivered",
        "rejected",
        "delivered",
    ];
    assert_eq!(all, expected);
    let mut given_up: Vec<u64> = letters(&server)
        .iter()
        .map(|letter| letter["eventId"].as_u64().unwrap())
        .collect();
    given_up.sort_unstable();
    assert_eq!(given_up, [3, 4, 6]);
    assert_eq!(hook(&server)["state"], "running");
}

/// Publishes through each of the doors with this header; what they answered.
fn through_every_door(server: &Server, hops: &str) -> Vec<Reply> {
    let hops = (HOPS, hops);
    let list = ("Content-Type", "application/vnd.axoniq.event.list+json");
    let token = eventhos_token(server);
    let native = json!({ "stream": "s", "type": PLACED, "data": {} }).to_string();
    let of_pavbis = json!({ "event": { "name": PLACED, "version": 1 }, "payload": {} }).to_string();
    let message = json!({ "name": PLACED, "payload": {} }).to_string();
    let axon = "/v1/contexts/default/events";
    let gateway = [
        JSON,
        hops,
        ("team", "t"),
        ("service", "s"),
        ("entity-id", "e"),
        ("tenant", "a"),
        ("idempotency-key", "k"),
        ("event-name", PLACED),
    ];
    let ask = |target: &str, headers: &[(&str, &str)], body: &str| {
        server.ask("POST", target, headers, body)
    };
    vec![
        ask(EVENTS, &[JSON, hops], &native),
        ask(
            "/v1/logs/default/streams/s/events",
            &[("Content-Type", "application/x-ndjson"), hops],
            &native,
        ),
        ask("/newstore/events", &gateway, "{}"),
        ask(
            "/api/v1/streams/p/events",
            &[JSON, BASIC, ("X-Producer-ID", "p"), hops],
            &of_pavbis,
        ),
        ask(
            &format!("/event/send?event-identifier={PLACED}"),
            &[JSON, ("access-key", &token), hops],
            "{}",
        ),
        ask(&format!("{axon}/{PLACED}"), &[JSON, hops], "{}"),
        ask(axon, &[JSON, hops], &message),
        ask(axon, &[list, hops], &format!("{{\"items\":[{message}]}}")),
    ]
}

#[test]
fn every_door_takes_over_how_far_an_event_has_come() {
    let calls = Arc::new(Mutex::new(0));
    let counted = Arc::clone(&calls);
    let receiver = Receiver::start(move |_| {
        *counted.lock().unwrap() += 1;
        Scripted::status(200)
    });
    // Its own action would be called besides.
    let server = Server::start_with(|settings| {
        settings.dialects.eventhos.as_mut().unwrap().contracts = Vec::new();
    });
    define(&server, &receiver.url("/"), json!({}));
    for bad in ["17", "256", "-1", "+1", "1.0", "x", ""] {
        for (door, reply) in through_every_door(&server, bad).iter().enumerate() {
            assert_eq!(reply.status, 400, "{bad:?}, door {door}: {}", reply.text());
            assert!(reply.text().contains(HOPS), "{}", reply.text());
        }
    }
    assert!(server.events("default").is_empty());
    let doors = through_every_door(&server, &HOPS_MAX.to_string());
    for (door, reply) in doors.iter().enumerate() {
        let good = (200..300).contains(&reply.status);
        assert!(good, "door {door}: {}", reply.text());
    }
    until_hook(&server, "the end", |hook| {
        hook["deadLetters"] == doors.len()
    });
    assert_eq!(*calls.lock().unwrap(), 0);
    // What is stored survives a restart with its count.
    let server = server.restart();
    let again = format!("{HOOK}/seek");
    super::post(&server, &again, &json!({ "id": "first" }));
    assert_eq!(publish(&server, 0).status, 201);
    assert_eq!(hops(&receiver.wait_for(1)[0]), 1);
    assert_eq!(*calls.lock().unwrap(), 1);
}
