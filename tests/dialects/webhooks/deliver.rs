//! Deliveries: what is sent, in which order, and again after failures.

use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::json;
use strandlog::webhook::signature::Secret;

use super::{
    HOOK, NOON_US, attempts, define, hook, ids, outcomes, pass_pause, post, publish, put, timeless,
    until_hook,
};
use crate::harness::{Server, until};
use crate::receiver::{Gate, Received, Receiver, Scripted};

/// The signature is that of the body as it came.
#[track_caller]
pub(super) fn check_signature(call: &Received, secret: &str) {
    let id = call.header("webhook-id").unwrap();
    let timestamp = call.header("webhook-timestamp").unwrap().parse().unwrap();
    let signed = Secret::parse(secret)
        .unwrap()
        .sign(id, timestamp, &call.body);
    assert_eq!(call.header("webhook-signature"), Some(signed.as_str()));
}

#[test]
fn an_event_is_sent_signed_and_byte_for_byte_as_this_api_shows_it() {
    let (server, _clock) = timeless();
    let receiver = Receiver::answering(204);
    let secret = define(&server, &receiver.url("/in?a=b"), json!({}));
    let odd = "{\"stream\":\"s\",\"type\":\"t\",\"tags\":[\"x\"],\"metadata\":{ \"z\":1,\"a\":[]},\
               \"data\":{\"big\":12345678901234567890123,\"tiny\":1e-7,\n \"b\":{},\"a\":\"\\u00e9\\/\"}}";
    let headers = [("Content-Type", "application/json")];
    server
        .ask("POST", "/v1/logs/default/events", &headers, odd)
        .good();
    let bytes =
        json!({ "stream": "s", "type": "t", "dataBase64": "/wA=", "contentType": "image/x" });
    server.publish(&bytes);
    let calls = receiver.wait_for(2);
    for (call, id) in calls.iter().zip(["1", "2"]) {
        let shown = server.get(&format!("/v1/logs/default/events/{id}"));
        assert_eq!(call.text(), shown.text());
        assert_eq!(
            (call.method.as_str(), call.target.as_str()),
            ("POST", "/in?a=b")
        );
        assert_eq!(call.header("content-type"), Some("application/json"));
        let seconds = (NOON_US / 1_000_000).to_string();
        assert_eq!(call.header("webhook-timestamp"), Some(seconds.as_str()));
        check_signature(call, &secret);
    }
    assert!(
        calls[0]
            .text()
            .contains("12345678901234567890123,\"tiny\":1e-7,\n \"b\":{}")
    );
    assert_ne!(calls[0].header("webhook-id"), calls[1].header("webhook-id"));
    let shown = until_hook(&server, "the place", |hook| hook["checkpoint"] == 2);
    assert!(shown["lastDeliveredAt"].is_string() && shown["lastError"].is_null());
    let made = &attempts(&server)[0];
    assert_eq!(made["deliveryId"], calls[0].header("webhook-id").unwrap());
    assert_eq!(
        (
            &made["firstId"],
            &made["lastId"],
            &made["events"],
            &made["attempt"]
        ),
        (&json!(1), &json!(1), &json!(1), &json!(1))
    );
    assert_eq!(
        (&made["outcome"], &made["status"], &made["error"]),
        (&json!("delivered"), &json!(204), &json!(null))
    );
}

#[test]
fn a_webhook_gets_what_its_filter_lets_through_from_where_it_starts() {
    let server = Server::start();
    let receivers = [(); 4].map(|()| Receiver::answering(200));
    for (stream, event_type, tag) in [
        ("a", "x", "u"),
        ("b", "x", "u"),
        ("a", "y", "u"),
        ("a", "x", "v"),
    ] {
        server.publish(&json!({ "stream": stream, "type": event_type, "tags": [tag], "data": 1 }));
    }
    let definitions = [
        json!({ "start": "first", "filter": { "stream": "a", "types": ["x", "z"] } }),
        json!({ "start": 3 }),
        json!({ "start": "end" }),
        json!({ "start": "first", "filter": { "tags": ["u"] } }),
    ];
    for (n, definition) in definitions.iter().enumerate() {
        let mut definition = definition.clone();
        definition["url"] = json!(receivers[n].url("/"));
        put(
            &server,
            &format!("/v1/logs/default/webhooks/w{n}"),
            &definition,
        )
        .good();
    }
    server.publish(&json!({ "stream": "a", "type": "x", "tags": ["u"], "data": 1 }));
    let wanted: [&[u64]; 4] = [&[1, 4, 5], &[3, 4, 5], &[5], &[1, 2, 3, 5]];
    for (receiver, wanted) in receivers.iter().zip(wanted) {
        receiver.wait_for(wanted.len());
        assert_eq!(ids(receiver), wanted);
    }
    let lag = until("no lag", || {
        let shown = server.get("/v1/logs/default/webhooks/w3").good();
        (shown["checkpoint"] == 5).then(|| shown["lag"]["events"].clone())
    });
    assert_eq!(lag, 0);
}

#[test]
fn a_call_carries_as_many_events_as_it_may_and_there_are() {
    let server = Server::start();
    let receiver = Receiver::answering(200);
    publish(&server, 1, 7);
    define(
        &server,
        &receiver.url("/"),
        json!({ "start": "first", "batchSize": 3 }),
    );
    let calls = receiver.wait_for(3);
    let sizes: Vec<usize> = calls
        .iter()
        .map(|call| call.json()["events"].as_array().unwrap().len())
        .collect();
    assert_eq!(sizes, [3, 3, 1]);
    assert_eq!(ids(&receiver), [1, 2, 3, 4, 5, 6, 7]);
}

#[test]
fn a_failed_call_is_made_again_with_the_same_id_and_order_is_kept() {
    let (server, clock) = timeless();
    let refusals = AtomicUsize::new(0);
    let receiver = Receiver::start(move |call| {
        let second = call.json()["id"] == 2;
        if second && refusals.fetch_add(1, Ordering::SeqCst) < 2 {
            Scripted::answer(500, "out of luck")
        } else {
            Scripted::status(200)
        }
    });
    let secret = define(&server, &receiver.url("/"), json!({}));
    publish(&server, 1, 4);
    let waiting = until_hook(&server, "a failure", |hook| hook["attempts"] == 1);
    assert_eq!(waiting["state"], "retrying");
    assert_eq!(
        waiting["lastError"],
        "the endpoint answered with status 500"
    );
    assert_eq!(
        (&waiting["checkpoint"], &waiting["lag"]["events"]),
        (&json!(1), &json!(3))
    );
    pass_pause(&server, &clock, 1);
    pass_pause(&server, &clock, 2);
    until_hook(&server, "the end", |hook| hook["checkpoint"] == 4);
    assert_eq!(ids(&receiver), [1, 2, 2, 2, 3, 4]);
    let calls = receiver.received();
    let id = |n: usize| calls[n].header("webhook-id").unwrap();
    assert!(id(1) == id(2) && id(2) == id(3) && id(3) != id(4));
    let time = |n: usize| calls[n].header("webhook-timestamp").unwrap();
    assert!(time(1) < time(2), "the timestamp is that of the attempt");
    calls.iter().for_each(|call| check_signature(call, &secret));
    let made = attempts(&server);
    assert_eq!(
        outcomes(&server),
        [
            "delivered",
            "failed",
            "failed",
            "delivered",
            "delivered",
            "delivered"
        ]
    );
    assert_eq!(
        (
            &made[1]["status"],
            &made[1]["response"],
            &made[2]["attempt"]
        ),
        (&json!(500), &json!("out of luck"), &json!(2))
    );
    let shown = hook(&server);
    assert_eq!(
        (&shown["state"], &shown["attempts"]),
        (&json!("running"), &json!(0))
    );
    assert_eq!(shown["lastError"], "the endpoint answered with status 500");
}

#[test]
fn pauses_grow_from_a_second_to_five_minutes() {
    let (server, clock) = timeless();
    let receiver = Receiver::answering(503);
    define(&server, &receiver.url("/"), json!({}));
    publish(&server, 1, 1);
    let mut pauses = Vec::new();
    for number in 1..=12 {
        let shown = until_hook(&server, "a failure", |hook| {
            hook["attempts"] == number && !hook["nextAttemptAt"].is_null()
        });
        let time = |name: &str| strandlog::time::read(shown[name].as_str().unwrap()).unwrap();
        pauses.push((time("nextAttemptAt") - time("lastErrorAt")) as f64 / 1e6);
        clock.advance(super::LONGER_THAN_ANY_PAUSE);
    }
    for (number, pause) in pauses.iter().enumerate() {
        let whole = f64::from(1 << number).min(300.0);
        assert!((whole / 2.0..=whole).contains(pause), "{pauses:?}");
    }
}

#[test]
fn a_receiver_that_is_down_for_a_while_gets_everything_in_order() {
    let (server, clock) = timeless();
    let receiver = Receiver::answering(200);
    let address = receiver.address();
    define(&server, &receiver.url("/"), json!({}));
    publish(&server, 1, 3);
    until_hook(&server, "the place", |hook| hook["checkpoint"] == 3);
    assert_eq!(ids(&receiver), [1, 2, 3]);
    drop(receiver);
    publish(&server, 4, 3);
    pass_pause(&server, &clock, 1);
    pass_pause(&server, &clock, 2);
    until_hook(&server, "a third failure", |hook| hook["attempts"] == 3);
    publish(&server, 7, 1);
    let receiver = Receiver::start_at(address, |_| Scripted::status(200));
    pass_pause(&server, &clock, 3);
    receiver.wait_for(4);
    assert_eq!(ids(&receiver), [4, 5, 6, 7]);
    let down = &attempts(&server)[3];
    assert!(down["status"].is_null());
    assert!(
        down["error"].as_str().unwrap().contains("connect"),
        "{down}"
    );
}

#[test]
fn who_is_slow_holds_up_nobody_else() {
    let server = Server::start();
    let gate = Gate::default();
    let held = gate.clone();
    let slow =
        Receiver::start(move |_| Scripted::Behind(held.clone(), Box::new(Scripted::status(200))));
    let quick = Receiver::answering(200);
    for (name, receiver) in [("slow", &slow), ("quick", &quick)] {
        let target = format!("/v1/logs/default/webhooks/{name}");
        put(&server, &target, &json!({ "url": receiver.url("/") })).good();
    }
    publish(&server, 1, 20);
    quick.wait_for(20);
    assert_eq!(ids(&slow), [1]);
    gate.open();
    slow.wait_for(20);
    assert_eq!(ids(&slow), (1..=20).collect::<Vec<_>>());
}

#[test]
fn deliveries_are_listed_newest_first_by_page_and_by_outcome() {
    let (server, clock) = timeless();
    let calls = AtomicUsize::new(0);
    let receiver = Receiver::start(move |_| {
        let odd = calls.fetch_add(1, Ordering::SeqCst).is_multiple_of(2);
        Scripted::status(if odd { 500 } else { 200 })
    });
    define(&server, &receiver.url("/"), json!({}));
    publish(&server, 1, 3);
    for checkpoint in 1..=3 {
        pass_pause(&server, &clock, 1);
        until_hook(&server, "the place", |hook| {
            hook["checkpoint"] == checkpoint
        });
    }
    let list = |query: &str| {
        let mut next = Some(format!("{HOOK}/deliveries?limit=2{query}"));
        let mut pages = Vec::new();
        while let Some(target) = next {
            let reply = server.get(&target);
            let page = reply.good();
            next = reply.link("next");
            assert_eq!(next.is_some(), !page["next"].is_null());
            let made = page["deliveries"].as_array().unwrap().clone();
            pages.push(
                made.iter()
                    .map(|made| {
                        format!(
                            "{}{}",
                            made["firstId"],
                            &made["outcome"].as_str().unwrap()[..1]
                        )
                    })
                    .collect::<Vec<_>>()
                    .join(" "),
            );
        }
        pages
    };
    assert_eq!(list(""), ["3d 3f", "2d 2f", "1d 1f"]);
    assert_eq!(list("&outcome=failed"), ["3f 2f", "1f"]);
    assert_eq!(
        list("&outcome=failed&outcome=delivered"),
        ["3d 3f", "2d 2f", "1d 1f"]
    );
    assert_eq!(list("&outcome=dead"), [""]);
    let metrics = server.get("/metrics");
    for line in [
        "strandlog_delivery_attempts_total{outcome=\"delivered\"} 3",
        "strandlog_delivery_attempts_total{outcome=\"failed\"} 3",
        "strandlog_delivery_attempts_total{outcome=\"gone\"} 0",
    ] {
        assert!(metrics.text().lines().any(|known| known == line), "{line}");
    }
}

#[test]
fn seek_sends_again_or_passes_over() {
    let server = Server::start();
    let receiver = Receiver::answering(200);
    define(&server, &receiver.url("/"), json!({}));
    publish(&server, 1, 3);
    until_hook(&server, "the place", |hook| hook["checkpoint"] == 3);
    let seek = format!("{HOOK}/seek");
    post(&server, &seek, &json!({ "id": 4 })).problem(409, "beyond-end");
    assert_eq!(
        post(&server, &seek, &json!({ "id": 1 })).good(),
        json!({ "checkpoint": 1 })
    );
    receiver.wait_for(5);
    assert_eq!(ids(&receiver), [1, 2, 3, 2, 3]);
    until_hook(&server, "the place", |hook| hook["checkpoint"] == 3);
    super::act(&server, "POST", &format!("{HOOK}/pause")).good();
    publish(&server, 4, 2);
    assert_eq!(
        post(&server, &seek, &json!({ "id": "end" })).good(),
        json!({ "checkpoint": 5 })
    );
    super::act(&server, "POST", &format!("{HOOK}/resume")).good();
    publish(&server, 6, 1);
    receiver.wait_for(6);
    assert_eq!(ids(&receiver), [1, 2, 3, 2, 3, 6]);
}
