//! The streams are those of all doors: what came in elsewhere is read, numbered and acknowledged
//! here, and what came in here is seen elsewhere.

use serde_json::{Value, json};
use strandlog::app::Data;
use strandlog::app::name::{EventType, StreamName};
use strandlog::app::publish::{NewEvent, Publish};

use crate::harness::Server;

use super::{
    CONSUMER, PRODUCER, ack, ack_as, assert_ok, assert_says, get, id_in, next_for, publish,
    publish_by, read_as,
};

const UUID: &str = "0190a0b0-0000-7000-8000-00000000000f";

fn native(server: &Server, stream: &str, name: &str, id: Option<&str>) -> u64 {
    let mut event = json!({"stream": stream, "type": name, "data": {"from": "native"}});
    if let Some(id) = id {
        event["eventId"] = json!(id);
    }
    server.publish(&event)
}

fn shown(id: &str, name: &str, payload: &str) -> String {
    format!(
        r#"{{"eventId":"{id}","event":{{"name":"{name}","version":0}},"system":{{"id":"","name":"","time":"","timezone":""}},"trigger":{{"type":"","name":""}},"payload":{payload}}}"#
    )
}

#[test]
fn events_of_other_doors_are_read_and_acknowledged_in_one_order_with_its_own() {
    let server = Server::start();
    // A UUID in another form, a text, one that the server makes, and a position that is taken.
    native(&server, "s", "a", Some(UUID));
    native(
        &server,
        "s",
        "a",
        Some("{2480B859-E08A-4414-9C7D-003BC1A4B444}"),
    );
    let by_text = native(&server, "s", "a", Some("order 7"));
    native(&server, "s", "a", None);
    native(
        &server,
        "s",
        "a",
        Some("73747261-6e64-8000-8000-000000000003"),
    );
    let own = publish(&server, "s", "a", "{}");
    let ids = next_for(&server, CONSUMER, "s", "a");
    assert_eq!(ids.len(), 6);
    assert_eq!(ids[0], UUID);
    assert_eq!(ids[1], "2480b859-e08a-4414-9c7d-003bc1a4b444");
    assert_eq!(by_text, 3);
    assert_eq!(ids[2], "73747261-6e64-8000-8000-000000000003");
    assert_eq!(ids[4], ids[2], "somebody gave an event this id");
    assert_eq!(ids[5], own);
    let body = read_as(&server, CONSUMER, "s", "a", 2);
    assert_says(
        &body,
        200,
        &format!(
            "[{},{}]",
            shown(&ids[0], "a", r#"{"from":"native"}"#),
            shown(&ids[1], "a", r#"{"from":"native"}"#)
        ),
    );
    // Not the next one: both are found, and told their numbers.
    assert_says(
        &ack(&server, "s", &ids[3]),
        400,
        r#""Bad Request - Consumer offset mismatch: 1->4""#,
    );
    let server = server.restart();
    for id in &ids[..4] {
        assert_ok(&ack(&server, "s", id));
        assert_eq!(ack(&server, "s", id).status, 400);
    }
    // Of two events with one id, that which is found first is meant.
    assert_says(
        &ack(&server, "s", &ids[4]),
        400,
        r#""Bad Request - Consumer offset mismatch: 5->3""#,
    );
    assert_says(
        &ack(&server, "s", "0190a0b0-0000-7000-8000-0000000000ff"),
        404,
        r#""Not Found""#,
    );
}

#[test]
fn an_event_is_found_wherever_in_a_stream_of_others_it_is() {
    let server = Server::start();
    for number in 0..200 {
        let name = format!("n{}", number % 80);
        native(
            &server,
            "s",
            &name,
            Some(&format!("0190a0b0-0000-7000-8000-{number:012}")),
        );
    }
    let id = |number: u64| format!("0190a0b0-0000-7000-8000-{number:012}");
    // Number 159 is the second of n79, which is behind the names that are looked at first.
    assert_says(
        &ack(&server, "s", &id(159)),
        400,
        r#""Bad Request - Consumer offset mismatch: 1->2""#,
    );
    assert_ok(&ack(&server, "s", &id(79)));
    assert_ok(&ack(&server, "s", &id(159)));
    assert_says(&ack(&server, "s", &id(200)), 404, r#""Not Found""#);
    let found = get(&server, &format!("/events/{}/payload", id(79)), &[]);
    assert_says(&found, 200, &shown(&id(79), "n79", r#"{"from":"native"}"#));
}

#[test]
fn payloads_that_are_no_json_are_shown_as_strings() {
    let server = Server::start();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let log = server.app.log("default").unwrap();
    for bytes in [&b"a \"text\"\n"[..], b"\xff\x00"] {
        let data = Data::Bytes {
            content_type: "application/octet-stream",
            bytes,
        };
        let event = NewEvent::new(
            StreamName::new("raw").unwrap(),
            EventType::new("a").unwrap(),
            data,
        );
        let publish = Publish {
            events: vec![event],
            ..Publish::default()
        };
        runtime.block_on(log.publish(publish)).unwrap();
    }
    let ids = next_for(&server, CONSUMER, "raw", "a");
    assert_says(
        &read_as(&server, CONSUMER, "raw", "a", 10),
        200,
        &format!(
            "[{},{}]",
            shown(&ids[0], "a", r#""a \"text\"\u000a""#),
            shown(&ids[1], "a", r#""/wA=""#)
        ),
    );
    for id in ids {
        assert_ok(&ack_as(&server, CONSUMER, "raw", &id));
    }
}

#[test]
fn once_a_stream_has_an_owner_no_other_door_writes_to_it() {
    let mut server = Server::start();
    native(&server, "s", "a", None);
    publish(&server, "s", "a", "{}");
    for _ in 0..2 {
        let event = json!({"stream": "s", "type": "a", "data": 1});
        let refused = server.ask(
            "POST",
            "/v1/logs/default/events",
            &[("Content-Type", "application/json")],
            event.to_string(),
        );
        refused.problem(409, "stream-owned");
        let other = publish_by(&server, "other", "s", r#"{"event":{"name":"a"}}"#);
        assert_says(&other, 423, r#""Locked - Second writers not allowed""#);
        server = server.restart();
    }
    assert_eq!(server.events("default").len(), 2);
}

#[test]
fn what_is_published_here_is_an_event_like_any_other() {
    let server = Server::start();
    let body = r#"{"event":{"name":"a","version":2},"payload":{"n":1.50}}"#;
    let id = id_in(&publish_by(&server, PRODUCER, "s", body));
    let events = server.events("default");
    let event: &Value = &events[0];
    assert_eq!(event["stream"], "s");
    assert_eq!(event["type"], "a");
    assert_eq!(event["eventId"], id.as_str());
    assert_eq!(event["metadata"], json!({"producerId": PRODUCER}));
    assert_eq!(event["data"]["event"], json!({"name": "a", "version": 2}));
    let text = server.get("/v1/logs/default/events");
    assert!(text.text().contains(r#""payload":{"n":1.50}}"#));
}

#[test]
fn a_payload_is_found_by_id_alone() {
    let server = Server::start();
    native(&server, "s", "a", Some(UUID));
    native(&server, "s", "a", Some("text"));
    let own = publish(&server, "t", "b", r#"{"x":1}"#);
    let found = get(&server, &format!("/events/{own}/payload"), &[]);
    assert_says(&found, 200, &shown(&own, "b", r#"{"x":1}"#));
    for id in [UUID, "73747261-6e64-8000-8000-000000000002"] {
        let found = get(&server, &format!("/events/{id}/payload"), &[]);
        assert_says(&found, 200, &shown(id, "a", r#"{"from":"native"}"#));
    }
    for missing in [
        "fa77e595-f86d-42c3-959f-cfb3e9c8830d",
        "73747261-6e64-8000-8000-000000000001",
        "73747261-6e64-8000-8000-000000000009",
    ] {
        assert_says(
            &get(&server, &format!("/events/{missing}/payload"), &[]),
            404,
            r#""Not Found - event id not found""#,
        );
    }
    for bad in ["invalid-uuid", "%00", "7"] {
        assert_says(
            &get(&server, &format!("/events/{bad}/payload"), &[]),
            400,
            r#""Bad Request - missing or invalid event id provided""#,
        );
    }
}
