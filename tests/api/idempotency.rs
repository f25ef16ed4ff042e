//! Keys: a repeat stores nothing and gets the first answer.

use std::sync::Barrier;

use serde_json::{Value, json};

use crate::harness::{EVENTS, Server, event, of_stream};

fn keyed(key: &str, data: u64) -> Value {
    let mut event = event("s", "t", data);
    event["idempotencyKey"] = key.into();
    event
}

#[test]
fn a_repeated_request_gets_the_first_answer_and_stores_nothing() {
    let server = Server::start();
    let headers = [("Idempotency-Key", "order-1")];
    let body = json!([event("a", "t", 1), event("b", "t", 2)]);
    let first = server.post_with(EVENTS, &headers, &body);
    assert_eq!(first.header("idempotency-replayed"), None);
    server.post(EVENTS, &event("a", "t", 3)).good();
    let again = server.post_with(EVENTS, &headers, &body);
    assert_eq!((again.status, &again.body), (first.status, &first.body));
    assert_eq!(again.header("idempotency-replayed"), Some("true"));
    assert_eq!(server.get(EVENTS).good()["lastId"], 3);
}

#[test]
fn a_key_stands_for_one_body() {
    let server = Server::start();
    let headers = [("Idempotency-Key", "k")];
    server
        .post_with(EVENTS, &headers, &event("a", "t", 1))
        .good();
    server
        .post_with(EVENTS, &headers, &event("a", "t", 2))
        .problem(422, "key-reused");
    assert_eq!(server.get(EVENTS).good()["lastId"], 1);
}

#[test]
fn a_refused_request_does_not_use_up_its_key() {
    let server = Server::start();
    let target = of_stream("s");
    let body = json!({ "type": "t", "data": 1 });
    let headers = [("Idempotency-Key", "k"), ("If-Match", "\"0\"")];
    server
        .post_with(&target, &headers, &body)
        .problem(412, "sequence-mismatch");
    let reply = server.post_with(&target, &[("Idempotency-Key", "k")], &body);
    assert_eq!(reply.header("idempotency-replayed"), None);
    assert_eq!(reply.status, 201);
}

#[test]
fn a_retry_with_an_expectation_that_its_first_try_made_false_is_a_repeat() {
    let server = Server::start();
    let headers = [("Idempotency-Key", "k"), ("If-None-Match", "*")];
    let body = json!({ "type": "t", "data": 1 });
    let first = server.post_with(&of_stream("s"), &headers, &body);
    let again = server.post_with(&of_stream("s"), &headers, &body);
    assert_eq!((again.status, again.body), (first.status, first.body));
}

#[test]
fn of_two_requests_with_one_key_at_the_same_time_one_stores_and_both_are_answered() {
    let server = Server::start();
    for round in 0..20 {
        let key = format!("k{round}");
        let barrier = Barrier::new(2);
        let publish = || {
            let mut connection = server.connect();
            barrier.wait();
            let headers = [
                ("Idempotency-Key", key.as_str()),
                ("Content-Type", "application/json"),
            ];
            let body = event("s", "t", round).to_string();
            connection.ask("POST", EVENTS, &headers, body.as_bytes())
        };
        let (one, two) = std::thread::scope(|scope| {
            let one = scope.spawn(publish);
            let two = publish();
            (one.join().unwrap(), two)
        });
        assert_eq!((one.status, two.status), (201, 201));
        assert_eq!(one.body, two.body);
        let replayed = [&one, &two].map(|reply| reply.header("idempotency-replayed").is_some());
        assert!(
            replayed[0] != replayed[1],
            "one was stored, the other a repeat"
        );
    }
    assert_eq!(server.get(EVENTS).good()["lastId"], 20);
}

#[test]
fn events_known_by_their_keys_are_answered_and_the_others_stored() {
    let server = Server::start();
    server
        .post(EVENTS, &json!([keyed("a", 1), keyed("b", 2)]))
        .good();
    let reply = server.post(
        EVENTS,
        &json!([keyed("b", 2), keyed("c", 3), keyed("a", 1)]),
    );
    assert_eq!(
        reply.good()["events"],
        json!([
            { "id": 2, "stream": "s", "sequence": 1, "replayed": true },
            { "id": 3, "stream": "s", "sequence": 2 },
            { "id": 1, "stream": "s", "sequence": 0, "replayed": true },
        ])
    );
    let reply = server.post(EVENTS, &json!([keyed("a", 1)]));
    assert_eq!(
        reply.good()["events"],
        json!([{ "id": 1, "stream": "s", "sequence": 0, "replayed": true }])
    );
    let problem = server
        .post(EVENTS, &json!([keyed("d", 4), keyed("a", 9)]))
        .problem(422, "key-reused");
    assert_eq!(problem["index"], 1);
    assert_eq!(server.get(EVENTS).good()["lastId"], 3);
}
