//! Consumers: defined once, read without side effects, moved by acknowledgement alone.

use serde_json::{Value, json};

use crate::harness::{EVENTS, Server, event, ids};

const CONSUMER: &str = "/v1/logs/default/consumers/billing";
const READ: &str = "/v1/logs/default/consumers/billing/events";
const ACK: &str = "/v1/logs/default/consumers/billing/ack";
const SEEK: &str = "/v1/logs/default/consumers/billing/seek";

fn checkpoint(server: &Server) -> Value {
    server.get(CONSUMER).good()["checkpoint"].clone()
}

#[test]
fn a_consumer_reads_acknowledges_and_sees_its_lag() {
    let server = Server::start();
    server.fill("s", 10);
    let reply = server.put(CONSUMER, &json!({}));
    assert_eq!(reply.status, 201);
    let consumer = reply.json();
    assert_eq!(consumer["name"], "billing");
    assert_eq!(
        (&consumer["filter"], &consumer["start"]),
        (&json!({}), &json!("first"))
    );
    assert_eq!(
        (&consumer["checkpoint"], &consumer["lag"]["events"]),
        (&json!(0), &json!(10))
    );
    for _ in 0..2 {
        let page = server.get(&format!("{READ}?limit=4")).good();
        assert_eq!(ids(&page), [1, 2, 3, 4], "reading moves nothing");
        assert_eq!((&page["checkpoint"], &page["next"]), (&json!(0), &json!(5)));
    }
    assert_eq!(
        server.post(ACK, &json!({ "id": 4 })).good(),
        json!({ "checkpoint": 4 })
    );
    assert_eq!(ids(&server.get(&format!("{READ}?limit=2")).good()), [5, 6]);
    assert_eq!(server.get(CONSUMER).good()["lag"]["events"], 6);
}

#[test]
fn a_filter_lets_through_what_it_names_and_lag_counts_that() {
    let server = Server::start();
    let events = [
        event("a", "x", 1),
        event("b", "x", 2),
        event("a", "y", 3),
        event("a", "x", 4),
    ];
    server.post(EVENTS, &json!(events)).good();
    let definition = json!({ "filter": { "stream": "a", "types": ["x"] }, "start": "first" });
    let consumer = server.put(CONSUMER, &definition).good();
    assert_eq!(consumer["filter"], definition["filter"]);
    assert_eq!(consumer["lag"]["events"], 2);
    assert_eq!(ids(&server.get(READ).good()), [1, 4]);
    server.post(ACK, &json!({ "id": 3 })).good();
    assert_eq!(ids(&server.get(READ).good()), [4]);
}

#[test]
fn a_consumer_starts_where_it_is_told() {
    let server = Server::start();
    server.fill("s", 5);
    let first = |start: Value| {
        server.put(CONSUMER, &json!({ "start": start })).good();
        server.fill("s", 1);
        let id = ids(&server.get(READ).good())[0];
        assert_eq!(server.ask("DELETE", CONSUMER, &[], "").status, 204);
        id
    };
    assert_eq!(first(json!("first")), 1);
    assert_eq!(first(json!("end")), 7);
    assert_eq!(first(json!(3)), 3);
}

#[test]
fn the_same_definition_is_no_change_and_another_a_conflict() {
    let server = Server::start();
    let definition = json!({ "filter": { "types": ["x"] } });
    assert_eq!(server.put(CONSUMER, &definition).status, 201);
    assert_eq!(server.put(CONSUMER, &definition).status, 200);
    server
        .put(CONSUMER, &json!({ "filter": { "types": ["y"] } }))
        .problem(409, "consumer-exists");
    assert_eq!(server.ask("DELETE", CONSUMER, &[], "").status, 204);
    for (method, target) in [("GET", CONSUMER), ("DELETE", CONSUMER), ("GET", READ)] {
        server
            .ask(method, target, &[], "")
            .problem(404, "no-such-consumer");
    }
    server
        .post(ACK, &json!({ "id": 1 }))
        .problem(404, "no-such-consumer");
}

#[test]
fn only_what_is_there_can_be_acknowledged_and_nothing_goes_back() {
    let server = Server::start();
    server.fill("s", 5);
    server.put(CONSUMER, &json!({})).good();
    server
        .post(ACK, &json!({ "id": 6 }))
        .problem(409, "beyond-end");
    assert_eq!(checkpoint(&server), 0);
    server.post(ACK, &json!({ "id": 4 })).good();
    assert_eq!(
        server.post(ACK, &json!({ "id": 2 })).good(),
        json!({ "checkpoint": 4 })
    );
    for bad in [
        json!({ "id": 0 }),
        json!({ "id": -1 }),
        json!({ "id": "4" }),
        json!({}),
    ] {
        server.post(ACK, &bad).problem(400, "invalid-member");
    }
    server
        .post(ACK, &json!({ "id": 1, "ids": 1 }))
        .problem(400, "unknown-member");
    assert_eq!(checkpoint(&server), 4);
}

#[test]
fn seek_moves_a_checkpoint_anywhere() {
    let server = Server::start();
    server.fill("s", 5);
    server.put(CONSUMER, &json!({})).good();
    for (place, want) in [
        (json!("end"), 5),
        (json!(2), 2),
        (json!("first"), 0),
        (json!(3), 3),
        (json!(0), 0),
    ] {
        let moved = server.post(SEEK, &json!({ "id": place })).good();
        assert_eq!(moved, json!({ "checkpoint": want }));
        assert_eq!(checkpoint(&server), want);
    }
    server
        .post(SEEK, &json!({ "id": 6 }))
        .problem(409, "beyond-end");
    server
        .post(SEEK, &json!({ "id": "middle" }))
        .problem(400, "invalid-member");
}

#[test]
fn a_consumer_may_wait_for_its_next_event() {
    let server = Server::start();
    server
        .put(CONSUMER, &json!({ "filter": { "types": ["wanted"] } }))
        .good();
    let mut connection = server.connect();
    connection.request("GET", READ, &[("Prefer", "wait=20")], b"");
    server.post(EVENTS, &event("s", "other", 1)).good();
    server.post(EVENTS, &event("s", "wanted", 1)).good();
    let reply = connection.read_reply(false);
    assert_eq!(ids(&reply.good()), [2]);
    assert_eq!(reply.header("preference-applied"), Some("wait=20"));
}

#[test]
fn consumers_are_listed() {
    let server = Server::start();
    for name in ["b", "a%2Fb", "c"] {
        let target = format!("/v1/logs/default/consumers/{name}");
        assert_eq!(server.ask("PUT", &target, &[], "").status, 201);
    }
    let reply = server.get("/v1/logs/default/consumers?limit=2");
    let page = reply.good();
    assert_eq!(
        page["consumers"],
        json!([{ "name": "a/b" }, { "name": "b" }])
    );
    let next = server.get(&reply.link("next").unwrap()).good();
    assert_eq!(
        next,
        json!({ "consumers": [{ "name": "c" }], "next": null })
    );
}
