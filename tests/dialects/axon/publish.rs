//! Publishing raw, as a message and as a list; and how it reads back.

use serde_json::{Value, json};

use super::{EVENTS, JSON, LIST, aggregate, list, message, of_a, raw, refused, taken, without};
use crate::harness::Server;

#[test]
fn the_worked_examples_are_answered_byte_for_byte() {
    let server = Server::start();
    let issue = || {
        let headers = [
            JSON,
            ("AxonIQ-AggregateId", "A"),
            ("AxonIQ-AggregateType", "Giftcard"),
            ("AxonIQ-SequenceNumber", "0"),
        ];
        raw(&server, "GiftCardIssued", &headers, r#"{"amount":550}"#)
    };
    taken(&issue());
    let again = issue();
    refused(&again, 409, "AXONIQ-2000");
    assert_eq!(
        without(again.text(), &["timestamp", "requestId"]),
        concat!(
            r#"{"timestamp":"*","path":"/v1/contexts/default/events/GiftCardIssued","status":409,"#,
            r#""error":"Conflict","requestId":"*","code":"AXONIQ-2000","#,
            r#""message":"Invalid sequence number 0 for aggregate A, expected 1","details":{}}"#
        )
    );
    let redeemed = r#"{"name":"Redeemed","payload":{"amount":52},
  "aggregateId":"A","aggregateType":"Giftcard","sequenceNumber":1,"metaData":{"k":"v"}}"#;
    taken(&server.ask("POST", EVENTS, &[JSON], redeemed));
    let with_a_gap = r#"{"items":[
  {"name":"R","payload":{},"aggregateId":"A","aggregateType":"Giftcard","sequenceNumber":2},
  {"name":"R","payload":{},"aggregateId":"A","aggregateType":"Giftcard","sequenceNumber":4}]}"#;
    let refusal = refused(
        &server.ask("POST", EVENTS, &[LIST], with_a_gap),
        409,
        "AXONIQ-2000",
    );
    assert_eq!(
        refusal["message"],
        "Invalid sequence number 4 for aggregate A, expected 3"
    );
    assert_eq!(refusal["details"], json!({ "index": "1" }));
    let read = server.get("/v1/contexts/default/aggregate/A/events");
    assert_eq!(read.status, 200);
    assert_eq!(read.header("content-type"), Some("application/json"));
    assert_eq!(
        without(read.text(), &["dateTime", "id"]),
        concat!(
            r#"{"items":[{"name":"GiftCardIssued","aggregateId":"A","aggregateType":"Giftcard","#,
            r#""sequenceNumber":0,"dateTime":"*","index":0,"id":"*","metaData":{},"#,
            r#""payload":{"amount":550},"payloadType":"GiftCardIssued","payloadRevision":null},"#,
            r#"{"name":"Redeemed","aggregateId":"A","aggregateType":"Giftcard","#,
            r#""sequenceNumber":1,"dateTime":"*","index":1,"id":"*","metaData":{"k":"v"},"#,
            r#""payload":{"amount":52},"payloadType":"Redeemed","payloadRevision":null}]}"#
        )
    );
    let nobody = server.get("/v1/contexts/default/aggregate/none/events");
    assert_eq!((nobody.status, nobody.text()), (200, r#"{"items":[]}"#));
    let nameless = server.ask("POST", EVENTS, &[JSON], r#"{"payload":{}}"#);
    refused(&nameless, 400, "AXONIQ-0001");
    let bad_number = raw(
        &server,
        "X",
        &[JSON, ("AxonIQ-SequenceNumber", "abc")],
        "{}",
    );
    refused(&bad_number, 400, "AXONIQ-0001");
    let elsewhere = server.ask("POST", "/v1/contexts/other/events", &[JSON], "{}");
    let refusal = refused(&elsewhere, 404, "AXONIQ-1302");
    assert_eq!(refusal["path"], "/v1/contexts/other/events");
    assert_eq!(server.events("default").len(), 2);
}

#[test]
fn replies_carry_the_headers_of_real_ones() {
    let server = Server::start();
    for reply in [
        message(&server, &of_a(0)),
        message(&server, &of_a(0)),
        server.get("/v1/contexts/default/aggregate/A/events"),
        server.get("/v1/contexts/none"),
    ] {
        for (name, value) in [
            (
                "cache-control",
                "no-cache, no-store, max-age=0, must-revalidate",
            ),
            ("pragma", "no-cache"),
            ("expires", "0"),
            ("x-content-type-options", "nosniff"),
            ("x-frame-options", "DENY"),
        ] {
            assert_eq!(reply.header(name), Some(value), "{name}");
        }
    }
}

#[test]
fn a_raw_event_keeps_its_bytes_its_time_and_its_revision() {
    let server = Server::start();
    let payload = "{ \"price\" : 1.50, \"big\": 12345678901234567890,\r\n\"tiny\": 1e-7, \"a\":1,\"a\":2, \"t\": \"\\u00e9\" }\n";
    let headers = [
        ("Content-Type", "application/json; charset=utf-8"),
        ("axoniq-aggregateid", "A/1"),
        ("AXONIQ-AGGREGATETYPE", "T"),
        ("AxonIQ-DateTime", "2022-09-22T23:37:00.000+02:00"),
        ("AxonIQ-PayloadRevision", "1.0"),
    ];
    taken(&raw(&server, "a.b%2Fc", &headers, payload));
    let read = server.get("/v1/contexts/default/aggregate/A%2F1/events");
    read.good();
    assert_eq!(
        without(read.text(), &["id"]),
        format!(
            r#"{{"items":[{{"name":"a.b/c","aggregateId":"A/1","aggregateType":"T","sequenceNumber":0,"dateTime":"2022-09-22T21:37:00.000Z","index":0,"id":"*","metaData":{{}},"payload":{payload},"payloadType":"a.b/c","payloadRevision":"1.0"}}]}}"#
        )
    );
    let id = read.json()["items"][0]["id"].as_str().unwrap().to_owned();
    assert_eq!((id.len(), &id[14..15]), (36, "4"), "a UUIDv4");
}

#[test]
fn a_raw_event_reads_back_as_its_content_type_says() {
    let server = Server::start();
    for (content_type, body, want) in [
        ("text/plain", &b"a \"text\"\n"[..], json!("a \"text\"\n")),
        ("application/xml; charset=utf-8", b"<a/>", json!("<a/>")),
        ("application/octet-stream", b"\x00\xff", json!("AP8=")),
        ("image/png", b"text", json!("dGV4dA==")),
        ("text/plain", b"\xff", json!("/w==")),
        ("application/vnd.card+json", b"[1]", json!([1])),
        ("application/json", b"{\"cut", json!("{\"cut")),
        ("application/json", b"\"\xff\"", json!("Iv8i")),
        ("application/json", b"", json!("")),
        ("application/json", b" null ", Value::Null),
    ] {
        let id = format!("{}-{}", content_type.len(), body.len());
        let headers = [
            ("Content-Type", content_type),
            ("AxonIQ-AggregateId", &id),
            ("AxonIQ-AggregateType", "T"),
        ];
        taken(&raw(&server, "n", &headers, body));
        assert_eq!(
            aggregate(&server, &id)[0]["payload"],
            want,
            "{content_type}"
        );
    }
}

#[test]
fn a_message_comes_back_as_it_was_sent() {
    let server = Server::start();
    let payload = r#"{"a" : 12345678901234567890, "b":[ ], "c":"\ud83d\udeeb"}"#;
    let body = format!(
        r#"{{"name":"n","payload": {payload} ,"aggregateId":"A","aggregateType":"T","sequenceNumber":0,"dateTime":"2022-09-22T21:37:00.123456+00:00","id":"message 1","metaData":{{ "k" : "v\n","k2":"" }},"payloadRevision":"2","payloadType":"other","index":7,"extra":{{"name":"x"}}}}"#
    );
    taken(&server.ask("POST", EVENTS, &[JSON], body));
    let read = server.get("/v1/contexts/default/aggregate/A/events");
    assert_eq!(
        read.text(),
        format!(
            r#"{{"items":[{{"name":"n","aggregateId":"A","aggregateType":"T","sequenceNumber":0,"dateTime":"2022-09-22T21:37:00.123Z","index":0,"id":"message 1","metaData":{{ "k" : "v\n","k2":"" }},"payload":{payload},"payloadType":"n","payloadRevision":"2"}}]}}"#
        )
    );
}

#[test]
fn null_members_are_absent_ones() {
    let server = Server::start();
    let before_ms = server.app.clock().now_us() / 1_000;
    let nulls = json!({ "name": "n", "payload": null, "aggregateId": "A", "aggregateType": "T",
        "sequenceNumber": null, "dateTime": null, "id": null, "metaData": null,
        "payloadRevision": null, "payloadType": null, "index": null });
    taken(&message(&server, &nulls));
    let event = &aggregate(&server, "A")[0];
    assert_eq!(
        (&event["payload"], &event["sequenceNumber"]),
        (&Value::Null, &json!(0))
    );
    assert_eq!(
        (&event["metaData"], &event["payloadRevision"]),
        (&json!({}), &Value::Null)
    );
    let read_us = strandlog::time::read(event["dateTime"].as_str().unwrap()).unwrap();
    assert!(read_us / 1_000 >= i64::try_from(before_ms).unwrap());
}

#[test]
fn the_native_api_sees_the_events_where_the_design_puts_them() {
    let server = Server::start();
    taken(&message(
        &server,
        &json!({ "name": "n", "payload": 1, "aggregateId": "A", "aggregateType": "T", "id": "m",
                 "metaData": { "k": "v" }, "payloadRevision": "1" }),
    ));
    taken(&message(&server, &json!({ "name": "plain" })));
    taken(&message(
        &server,
        &json!({ "name": "plain", "aggregateId": "A", "sequenceNumber": 9, "aggregateType": "" }),
    ));
    taken(&raw(
        &server,
        "plain",
        &[("Content-Type", "application/vnd.a+json")],
        "{}",
    ));
    taken(&raw(
        &server,
        "plain",
        &[("Content-Type", "text/plain")],
        "x",
    ));
    let events = server.events("default");
    let seen: Vec<_> = events
        .iter()
        .map(|event| {
            (
                event["stream"].as_str().unwrap(),
                event["type"].as_str().unwrap(),
                event["metadata"].clone(),
            )
        })
        .collect();
    assert_eq!(
        seen,
        [
            (
                "A",
                "n",
                json!({ "aggregateType": "T", "payloadRevision": "1", "metaData": { "k": "v" } })
            ),
            ("plain", "plain", Value::Null),
            (
                "plain",
                "plain",
                json!({ "aggregateId": "A", "sequenceNumber": 9 })
            ),
            (
                "plain",
                "plain",
                json!({ "contentType": "application/vnd.a+json" })
            ),
            ("plain", "plain", Value::Null),
        ]
    );
    assert_eq!(
        (&events[0]["eventId"], &events[0]["data"]),
        (&json!("m"), &json!(1))
    );
    assert_eq!(events[1]["data"], Value::Null);
    assert_eq!(events[4]["contentType"], "text/plain");
    assert_eq!(events[4]["dataBase64"], "eA==");
    assert_eq!(
        aggregate(&server, "A").len(),
        1,
        "plain events are of no aggregate"
    );
}

#[test]
fn a_list_is_stored_in_order_and_whole() {
    let server = Server::start();
    let mut items = vec![
        json!({ "name": "plain" }),
        of_a(0),
        json!({ "name": "B", "aggregateId": "B", "aggregateType": "T" }),
        of_a(1),
    ];
    taken(&list(&server, &items));
    let names: Vec<_> = server.events("default");
    let names: Vec<_> = names.iter().map(|event| event["type"].as_str()).collect();
    assert_eq!(names, [Some("plain"), Some("R"), Some("B"), Some("R")]);
    let charset = (
        "Content-Type",
        "Application/vnd.axoniq.event.list+JSON; charset=utf-8",
    );
    let array = json!([of_a(2), of_a(3)]).to_string();
    taken(&server.ask("POST", EVENTS, &[charset], array));
    let other_members = json!({ "x": [1], "items": [of_a(4)], "y": null }).to_string();
    taken(&server.ask("POST", EVENTS, &[LIST], other_members));
    assert_eq!(aggregate(&server, "A").len(), 5);
    items[3] = json!({ "name": 7 });
    let refusal = refused(&list(&server, &items), 400, "AXONIQ-0001");
    assert_eq!(
        refusal["details"],
        json!({ "index": "3", "member": "name" })
    );
    assert_eq!(server.events("default").len(), 7);
}

#[test]
fn a_list_of_more_than_ten_thousand_is_refused_as_such() {
    let server = Server::start();
    let items: Vec<Value> = (0..10_001).map(|_| json!({ "name": "n" })).collect();
    refused(&list(&server, &items), 400, "AXONIQ-2002");
    assert!(server.events("default").is_empty());
    taken(&list(&server, &items[..1_000]));
    assert_eq!(server.events("default").len(), 1_000);
}

#[test]
fn the_singular_context_takes_publishes_too() {
    let server = Server::start();
    let singular = "/v1/context/default/events";
    taken(&server.ask("POST", singular, &[JSON], of_a(0).to_string()));
    taken(&server.ask("POST", &format!("{singular}/n"), &[JSON], "{}"));
    taken(&server.ask("POST", singular, &[LIST], json!([of_a(1)]).to_string()));
    assert_eq!(server.events("default").len(), 3);
    let read = server.get("/v1/context/default/aggregate/A/events");
    refused(&read, 404, "AXONIQ-0001");
}

#[test]
fn contexts_are_logs_of_their_own_and_only_those_of_the_settings() {
    let server = Server::start();
    let billing = "/v1/contexts/billing";
    let published = server.ask(
        "POST",
        &format!("{billing}/events"),
        &[JSON],
        of_a(0).to_string(),
    );
    taken(&published);
    taken(&message(&server, &of_a(0)));
    assert_eq!(server.events("billing").len(), 1);
    let read = server.get(&format!("{billing}/aggregate/A/events")).good();
    assert_eq!(read["items"].as_array().unwrap().len(), 1);
    // A log that is no context of the settings.
    assert_eq!(server.ask("PUT", "/v1/logs/orders", &[], "").status, 201);
    for path in [
        "/v1/contexts/orders/events",
        "/v1/contexts/_system/events",
        "/v1/contexts/Default/events",
        "/v1/contexts/%ff/events",
        "/v1/contexts/..%2Fdefault/events",
    ] {
        let reply = server.ask("POST", path, &[JSON], of_a(0).to_string());
        refused(&reply, 404, "AXONIQ-1302");
    }
    let read = server.get("/v1/contexts/orders/aggregate/A/events");
    refused(&read, 404, "AXONIQ-1302");
}

#[test]
fn an_id_may_be_stored_twice() {
    let server = Server::start();
    for _ in 0..2 {
        taken(&message(&server, &json!({ "name": "n", "id": "same" })));
    }
    assert_eq!(server.events("default").len(), 2);
}

#[test]
fn a_stream_that_another_door_owns_is_refused_in_words_of_its_own() {
    let server = Server::start();
    let headers = [
        ("Authorization", "Basic dGVzdDp0ZXN0"),
        ("Content-Type", "application/json; charset=utf-8"),
        ("Accept", "application/json; charset=utf-8"),
        ("X-Producer-ID", "52a454e8-a111-4e5c-a715-2e46fedd8c47"),
    ];
    let body = r#"{"event":{"name":"t"},"payload":{}}"#;
    let owned = server.ask("POST", "/api/v1/streams/A/events", &headers, body);
    assert_eq!(owned.status, 200, "{}", owned.text());
    let refusal = refused(&message(&server, &of_a(0)), 409, "AXONIQ-0001");
    let text = refusal["message"].as_str().unwrap();
    assert!(text.contains("belongs to"), "{text}");
    refused(
        &list(&server, &[json!({ "name": "n" }), of_a(0)]),
        409,
        "AXONIQ-0001",
    );
    assert_eq!(server.events("default").len(), 1);
}
