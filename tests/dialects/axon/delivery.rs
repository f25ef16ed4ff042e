//! Deliveries to handlers: what is sent, in which order, and what becomes of failures.

use std::sync::Arc;
use std::sync::atomic::{AtomicU16, AtomicUsize, Ordering};

use serde_json::{Value, json};

use super::{JSON, list, message, of_a, raw, refused, taken};
use crate::harness::{Server, until};
use crate::receiver::{Gate, Received, Receiver, Scripted};

const HANDLERS: &str = "/v1/contexts/default/handlers/events";

/// Registers a handler for all events.
#[track_caller]
fn register(server: &Server, id: &str, endpoint: &str, more: &Value) {
    let mut body = json!({ "names": [], "endpoint": endpoint });
    for (member, value) in more.as_object().unwrap() {
        body[member] = value.clone();
    }
    let target = format!("{HANDLERS}/{id}");
    let reply = server.ask("PUT", &target, &[JSON], body.to_string());
    assert!(matches!(reply.status, 200 | 201), "{}", reply.text());
}

fn patch(server: &Server, id: &str, enabled: bool) {
    let target = format!("{HANDLERS}/{id}?enabled={enabled}");
    assert_eq!(server.ask("PATCH", &target, &[], "").status, 204);
}

/// Publishes `count` events without aggregate, named `n<number>` from `first` on.
fn publish(server: &Server, first: usize, count: usize) {
    let items: Vec<Value> = (first..first + count)
        .map(|number| json!({ "name": format!("n{number}"), "payload": number }))
        .collect();
    taken(&list(server, &items));
}

/// The indices of raw deliveries.
fn indices(received: &[Received]) -> Vec<u64> {
    let indices = received
        .iter()
        .map(|request| request.header("axoniq-index"));
    indices
        .map(|index| index.unwrap().parse().unwrap())
        .collect()
}

/// Waits until the last raw delivery is that of this index.
#[track_caller]
fn until_index(receiver: &Receiver, index: u64) {
    until("the last event", || {
        let received = receiver.received();
        (indices(&received).last() == Some(&index)).then_some(())
    });
}

/// What is left of indices if repeats of what came right before are taken out: in order, and
/// nothing skipped.
#[track_caller]
fn at_least_once_in_order(indices: &[u64], count: u64) {
    let mut distinct = indices.to_vec();
    distinct.dedup();
    assert_eq!(distinct, (0..count).collect::<Vec<_>>(), "{indices:?}");
}

fn last_error(server: &Server, id: &str) -> Option<String> {
    let handler = server.get(&format!("{HANDLERS}/{id}")).good();
    handler["lastError"].as_str().map(str::to_owned)
}

#[test]
fn a_raw_delivery_is_the_payload_with_everything_else_in_headers() {
    let server = Server::start();
    let receiver = Receiver::answering(204);
    register(&server, "h", &receiver.url("/e?x=1"), &json!({}));
    let payload = "{ \"amount\" : 12345678901234567890 }\n";
    let headers = [
        JSON,
        ("AxonIQ-AggregateId", "A \u{e9}"),
        ("AxonIQ-AggregateType", "Giftcard"),
        ("AxonIQ-SequenceNumber", "0"),
        ("AxonIQ-DateTime", "2022-09-22T21:37:00.000+00:00"),
        ("AxonIQ-PayloadRevision", "1.0"),
    ];
    taken(&raw(&server, "card.issued", &headers, payload));
    taken(&message(&server, &json!({ "name": "plain", "id": "m 1" })));
    taken(&raw(
        &server,
        "x",
        &[("Content-Type", "text/xml;charset=utf-8")],
        "<a/>",
    ));
    taken(&raw(
        &server,
        "x",
        &[("Content-Type", "application/vnd.a+json")],
        "[]",
    ));
    taken(&raw(&server, "x", &[JSON], "{cut"));
    let native = json!({ "stream": "s", "type": "native", "data": { "k": 1 },
        "metadata": { "user": "u", "n": 1 } });
    server.publish(&native);

    let received = receiver.wait_for(6);
    assert_eq!(indices(&received), [0, 1, 2, 3, 4, 5]);
    let first = &received[0];
    assert_eq!(
        (first.method.as_str(), first.target.as_str()),
        ("POST", "/e?x=1")
    );
    assert_eq!(first.text(), payload);
    for (name, value) in [
        ("content-type", "application/json"),
        ("axoniq-eventname", "card.issued"),
        ("axoniq-datetime", "2022-09-22T21:37:00.000Z"),
        ("axoniq-index", "0"),
        ("axoniq-aggregateid", "A \u{e9}"),
        ("axoniq-aggregatetype", "Giftcard"),
        ("axoniq-sequencenumber", "0"),
        ("axoniq-payloadrevision", "1.0"),
    ] {
        assert_eq!(first.header(name), Some(value), "{name}");
    }
    assert_eq!(first.header("axoniq-messageid").unwrap().len(), 36);
    let plain = &received[1];
    assert_eq!(plain.text(), "null");
    for (name, value) in [
        ("axoniq-messageid", Some("m 1")),
        ("axoniq-sequencenumber", Some("0")),
        ("axoniq-aggregateid", None),
        ("axoniq-aggregatetype", None),
        ("axoniq-payloadrevision", None),
    ] {
        assert_eq!(plain.header(name), value, "{name}");
    }
    let bodies: Vec<_> = received[2..]
        .iter()
        .map(|request| (request.header("content-type").unwrap(), request.text()))
        .collect();
    assert_eq!(
        bodies,
        [
            ("text/xml;charset=utf-8", "<a/>"),
            ("application/vnd.a+json", "[]"),
            ("application/json", "{cut"),
            ("application/json", "{\"k\":1}"),
        ]
    );
    assert_eq!(received[5].header("axoniq-eventname"), Some("native"));
}

#[test]
fn messages_look_as_they_are_read() {
    let server = Server::start();
    let one = Receiver::answering(200);
    let many = Receiver::answering(200);
    taken(&message(&server, &of_a(0)));
    let plain = json!({ "name": "plain", "aggregateId": "B", "sequenceNumber": 7,
        "dateTime": "2022-09-22T21:37:00Z", "id": "m", "payloadRevision": "2" });
    taken(&message(&server, &plain));
    server.publish(
        &json!({ "stream": "s", "type": "native", "data": [1], "eventId": "e",
        "time": "2022-09-22T21:37:00Z", "metadata": { "user": "u", "n": 1 } }),
    );
    register(
        &server,
        "one",
        &one.url("/"),
        &json!({ "endpointType": "http-message", "batchSize": 9 }),
    );
    let listed = json!({ "endpointType": "http-list-of-messages", "batchSize": 2 });
    register(&server, "many", &many.url("/"), &listed);

    let messages = one.wait_for(3);
    let read = server.get("/v1/contexts/default/aggregate/A/events");
    assert_eq!(
        read.text(),
        format!("{{\"items\":[{}]}}", messages[0].text())
    );
    assert_eq!(
        messages[1].text(),
        r#"{"name":"plain","aggregateId":"B","aggregateType":null,"sequenceNumber":7,"dateTime":"2022-09-22T21:37:00.000Z","index":1,"id":"m","metaData":{},"payload":null,"payloadType":"plain","payloadRevision":"2"}"#
    );
    assert_eq!(
        messages[2].text(),
        r#"{"name":"native","aggregateId":null,"aggregateType":null,"sequenceNumber":null,"dateTime":"2022-09-22T21:37:00.000Z","index":2,"id":"e","metaData":{"user":"u"},"payload":[1],"payloadType":"native","payloadRevision":null}"#
    );
    for request in &messages {
        assert_eq!(request.header("content-type"), Some("application/json"));
    }

    let lists = many.wait_for(2);
    let list = |messages: &[Received]| {
        let texts: Vec<_> = messages.iter().map(Received::text).collect();
        format!("{{\"items\":[{}]}}", texts.join(","))
    };
    assert_eq!(lists[0].text(), list(&messages[..2]));
    assert_eq!(lists[1].text(), list(&messages[2..]));
    assert_eq!(
        lists[0].header("content-type"),
        Some("application/vnd.axoniq.event.list+json")
    );
}

#[test]
fn names_choose_and_options_become_headers() {
    let server = Server::start();
    let receiver = Receiver::answering(200);
    let options = json!({ "names": ["n1", "n3"], "endpointOptions": [
        { "key": "Authorization", "value": "Bearer s" }, { "key": "X-Empty", "value": "" },
        { "key": "User-Agent", "value": "mine" } ] });
    register(&server, "h", &receiver.url("/"), &options);
    publish(&server, 0, 5);
    let received = receiver.wait_for(2);
    assert_eq!(indices(&received), [1, 3]);
    for request in &received {
        assert_eq!(request.header("authorization"), Some("Bearer s"));
        assert_eq!(request.header("x-empty"), Some(""));
        assert_eq!(request.header("user-agent"), Some("mine"));
    }
}

#[test]
fn a_handler_starts_where_it_is_told() {
    let server = Server::start();
    publish(&server, 0, 3);
    let (oldest, third, new) = (
        Receiver::answering(200),
        Receiver::answering(200),
        Receiver::answering(200),
    );
    register(&server, "oldest", &oldest.url("/"), &json!({ "start": 0 }));
    register(&server, "third", &third.url("/"), &json!({ "start": 2 }));
    register(&server, "new", &new.url("/"), &json!({ "start": -1 }));
    // Disabled, it begins now all the same.
    let later = Receiver::answering(200);
    let asleep = json!({ "start": -1, "enabled": false });
    register(&server, "later", &later.url("/"), &asleep);
    publish(&server, 3, 2);
    patch(&server, "later", true);
    assert_eq!(indices(&oldest.wait_for(5)), [0, 1, 2, 3, 4]);
    assert_eq!(indices(&third.wait_for(3)), [2, 3, 4]);
    assert_eq!(indices(&new.wait_for(2)), [3, 4]);
    assert_eq!(indices(&later.wait_for(2)), [3, 4]);
}

#[test]
fn failures_are_tried_again_until_they_are_none() {
    let server = Server::start();
    let status = Arc::new(AtomicU16::new(500));
    let told = Arc::clone(&status);
    let receiver = Receiver::start(move |_| match told.load(Ordering::SeqCst) {
        0 => Scripted::Close,
        1 => Scripted::Raw(b"garbage\r\n\r\n".to_vec()),
        302 => Scripted::status(302).header("Location", "/elsewhere"),
        status => Scripted::answer(status, "not now"),
    });
    register(&server, "h", &receiver.url("/e"), &json!({}));
    publish(&server, 0, 3);
    for (next, what) in [
        (500, "500"),
        (302, "302"),
        (404, "404"),
        (0, "closed"),
        (1, "HTTP/1.1"),
    ] {
        status.store(next, Ordering::SeqCst);
        until("the error", || {
            last_error(&server, "h").filter(|error| error.contains(what))
        });
    }
    let failed = receiver.received();
    assert!(
        indices(&failed).iter().all(|index| *index == 0),
        "nothing is skipped"
    );
    assert!(
        failed.iter().all(|request| request.target == "/e"),
        "no redirect is followed"
    );
    status.store(201, Ordering::SeqCst);
    until_index(&receiver, 2);
    at_least_once_in_order(&indices(&receiver.received()), 3);
}

#[test]
fn an_endpoint_that_was_down_gets_everything_in_order() {
    let server = Server::start();
    let address = Receiver::answering(200).address();
    register(&server, "h", &format!("http://{address}/"), &json!({}));
    publish(&server, 0, 20);
    until("the error", || last_error(&server, "h"));
    let receiver = Receiver::start_at(address, |_| Scripted::status(200));
    assert_eq!(indices(&receiver.wait_for(20)), (0..20).collect::<Vec<_>>());
}

#[test]
fn a_slow_endpoint_holds_up_nobody_else() {
    let server = Server::start();
    let gate = Gate::default();
    let held = gate.clone();
    let slow =
        Receiver::start(move |_| Scripted::Behind(held.clone(), Box::new(Scripted::status(200))));
    let quick = Receiver::answering(200);
    register(&server, "slow", &slow.url("/"), &json!({}));
    register(&server, "quick", &quick.url("/"), &json!({}));
    publish(&server, 0, 10);
    assert_eq!(indices(&quick.wait_for(10)).len(), 10);
    assert_eq!(indices(&slow.wait_for(1)), [0], "one call at a time");
    gate.open();
    assert_eq!(indices(&slow.wait_for(10)), (0..10).collect::<Vec<_>>());
}

#[test]
fn a_restart_in_the_middle_loses_nothing_and_keeps_the_order() {
    let server = Server::start();
    let seen = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&seen);
    // The seventh call is taken and never answered: the server ends in the middle of it.
    let receiver = Receiver::start(move |_| {
        if count.fetch_add(1, Ordering::SeqCst) == 6 {
            return Scripted::Hang;
        }
        Scripted::status(200)
    });
    register(&server, "h", &receiver.url("/"), &json!({}));
    publish(&server, 0, 12);
    receiver.wait_for(7);
    let server = server.restart();
    publish(&server, 12, 3);
    until_index(&receiver, 14);
    let received = indices(&receiver.received());
    at_least_once_in_order(&received, 15);
    assert_eq!(received.len(), 16, "only what was on its way is repeated");
}

#[test]
fn a_disabled_handler_gets_nothing_and_goes_on_where_it_was() {
    let server = Server::start();
    let receiver = Receiver::answering(200);
    let witness = Receiver::answering(200);
    register(&server, "h", &receiver.url("/"), &json!({}));
    register(&server, "witness", &witness.url("/"), &json!({}));
    publish(&server, 0, 3);
    receiver.wait_for(3);
    patch(&server, "h", false);
    publish(&server, 3, 3);
    witness.wait_for(6);
    // It stays so over a restart.
    let server = server.restart();
    publish(&server, 6, 1);
    witness.wait_for(7);
    assert_eq!(indices(&receiver.received()), [0, 1, 2]);
    patch(&server, "h", true);
    until_index(&receiver, 6);
    at_least_once_in_order(&indices(&receiver.received()), 7);
}

#[test]
fn a_replaced_handler_keeps_its_place_and_a_new_one_does_not() {
    let server = Server::start();
    let (old, new) = (Receiver::answering(200), Receiver::answering(200));
    register(&server, "h", &old.url("/"), &json!({}));
    publish(&server, 0, 3);
    old.wait_for(3);
    until("the place", || {
        let log = server.app.log("default").unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread()
            .build()
            .unwrap();
        let place = runtime.block_on(log.progress("axon/default/h")).unwrap();
        (place == Some(3)).then_some(())
    });
    register(
        &server,
        "h",
        &new.url("/"),
        &json!({ "start": 0, "endpointType": "http-message" }),
    );
    publish(&server, 3, 2);
    let messages: Vec<Value> = new.wait_for(2).iter().map(Received::json).collect();
    let got: Vec<_> = messages
        .iter()
        .map(|event| event["index"].as_u64())
        .collect();
    assert_eq!(got, [Some(3), Some(4)]);
    assert_eq!(
        server
            .ask("DELETE", &format!("{HANDLERS}/h"), &[], "")
            .status,
        204
    );
    publish(&server, 5, 1);
    let again = Receiver::answering(200);
    register(&server, "h", &again.url("/"), &json!({}));
    assert_eq!(indices(&again.wait_for(6)), [0, 1, 2, 3, 4, 5]);
    assert_eq!((old.received().len(), new.received().len()), (3, 2));
}

#[test]
fn the_last_error_of_a_disabled_handler_is_still_told() {
    let server = Server::start();
    let receiver = Receiver::answering(503);
    register(&server, "h", &receiver.url("/"), &json!({}));
    publish(&server, 0, 1);
    until("the error", || last_error(&server, "h"));
    patch(&server, "h", false);
    let error = last_error(&server, "h").unwrap();
    assert!(error.contains("503"), "{error}");
}

#[test]
fn a_handler_that_retention_overtakes_stands_still_and_says_so() {
    let server = Server::start();
    let receiver = Receiver::answering(200);
    register(
        &server,
        "h",
        &receiver.url("/"),
        &json!({ "enabled": false }),
    );
    let filler = "x".repeat(20_000);
    for _ in 0..4 {
        let items = vec![json!({ "name": "n", "payload": filler }); 10];
        taken(&list(&server, &items));
    }
    let retention = json!({ "retention": { "maxEvents": 10 } }).to_string();
    let put = server.ask("PUT", "/v1/logs/default", &[JSON], retention);
    assert_eq!(put.status, 200, "{}", put.text());
    let first = until("retention", || {
        let log = server.get("/v1/logs/default").good();
        log["firstId"].as_u64().filter(|first| *first == 31)
    });
    patch(&server, "h", true);
    let error = until("the error", || last_error(&server, "h"));
    assert!(error.contains("retention"), "{error}");
    // An index that is not kept any more is no place to begin at.
    let body = json!({ "names": [], "endpoint": receiver.url("/"), "start": 1 }).to_string();
    let reply = server.ask("PUT", &format!("{HANDLERS}/new"), &[JSON], body);
    let refusal = refused(&reply, 400, "AXONIQ-0001");
    let text = refusal["message"].as_str().unwrap();
    assert!(text.contains("the oldest has 30"), "{text}");
    assert!(receiver.received().is_empty());
    // Registered anew, it begins with what is kept.
    assert_eq!(
        server
            .ask("DELETE", &format!("{HANDLERS}/h"), &[], "")
            .status,
        204
    );
    register(&server, "h", &receiver.url("/"), &json!({}));
    assert_eq!(indices(&receiver.wait_for(10))[0], first - 1);
}

#[test]
fn changes_of_one_handler_come_one_after_another() {
    let server = Server::start();
    let receiver = Receiver::answering(200);
    publish(&server, 0, 3);
    let (server, url) = (&server, &receiver.url("/"));
    std::thread::scope(|scope| {
        for worker in 0..6 {
            scope.spawn(move || {
                for round in 0..5 {
                    let target = format!("{HANDLERS}/h");
                    let reply = match (worker + round) % 3 {
                        0 => server.ask("DELETE", &target, &[], ""),
                        1 => {
                            let query = format!("{target}?enabled={}", round % 2 == 0);
                            server.ask("PATCH", &query, &[], "")
                        }
                        _ => {
                            let body = json!({ "names": [], "endpoint": url }).to_string();
                            server.ask("PUT", &target, &[JSON], body)
                        }
                    };
                    assert!(
                        matches!(reply.status, 200 | 201 | 204 | 404),
                        "{}",
                        reply.text()
                    );
                }
            });
        }
    });
    register(server, "h", url, &json!({}));
    publish(server, 3, 1);
    until_index(&receiver, 3);
}
