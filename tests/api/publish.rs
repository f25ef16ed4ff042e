//! Publishing: one request, one atomic batch, under conditions.

use std::sync::Barrier;

use serde_json::{Value, json};

use crate::harness::{EVENTS, Server, event, ids, of_stream};

#[test]
fn what_is_published_is_read_back_byte_for_byte() {
    let server = Server::start();
    let data = r#"{ "price" : 1.50, "big": 12345678901234567890, "a": 1, "a": 2,
        "text": "\u00e9 \"x\"" }"#;
    let body = format!(
        r#"{{"stream":"orders/7","type":"placed","data":{data},"metadata":{{"k": 1 }},
        "tags":["vip","eu"],"eventId":"e-1","time":"2013-01-01T05:15:00-05:00"}}"#
    );
    let headers = [("Content-Type", "application/json; charset=UTF-8")];
    let reply = server.ask("POST", EVENTS, &headers, body);
    assert_eq!(
        reply.good(),
        json!({ "firstId": 1, "lastId": 1,
                "events": [{ "id": 1, "stream": "orders/7", "sequence": 0 }] })
    );
    assert_eq!(reply.status, 201);
    assert_eq!(reply.header("etag"), Some("\"0\""));
    assert_eq!(reply.header("strandlog-durable-id"), Some("1"));
    assert_eq!(reply.header("location"), Some("/v1/logs/default/events/1"));

    let reply = server.get("/v1/logs/default/events/1");
    let read = reply.good();
    assert!(reply.text().ends_with(&format!("\"data\":{data}}}")));
    assert!(reply.text().contains(r#""metadata":{"k": 1 }"#));
    for (member, want) in [
        ("stream", json!("orders/7")),
        ("sequence", json!(0)),
        ("type", json!("placed")),
        ("eventId", json!("e-1")),
        ("time", json!("2013-01-01T10:15:00Z")),
        ("tags", json!(["vip", "eu"])),
    ] {
        assert_eq!(read[member], want);
    }
}

#[test]
fn an_event_without_id_and_time_gets_them() {
    let server = Server::start();
    server.post(EVENTS, &event("s", "t", 1)).good();
    let read = server.get("/v1/logs/default/events/1").good();
    assert_eq!(read["time"], read["recordedAt"]);
    let uid = read["eventId"].as_str().unwrap();
    assert_eq!((uid.len(), &uid[14..15]), (36, "7"), "a UUIDv7");
    assert!(read.get("tags").is_none() && read.get("metadata").is_none());
}

#[test]
fn a_batch_may_go_to_many_streams_and_comes_in_three_forms() {
    let server = Server::start();
    let events = [event("a", "t", 1), event("b", "t", 2), event("a", "t", 3)];
    let array = server.post(EVENTS, &json!(events)).good();
    assert_eq!(
        (&array["firstId"], &array["lastId"]),
        (&json!(1), &json!(3))
    );
    assert_eq!(
        array["events"][2],
        json!({ "id": 3, "stream": "a", "sequence": 1 })
    );
    let object = server.post(EVENTS, &json!({ "events": events })).good();
    assert_eq!(object["firstId"], 4);
    let lines: String = events.iter().map(|event| format!("{event}\n")).collect();
    let headers = [("Content-Type", "application/x-ndjson")];
    let reply = server.ask("POST", EVENTS, &headers, lines);
    assert_eq!(reply.good()["lastId"], 9);
    assert_eq!(reply.header("etag"), None, "two streams have no one tag");
}

#[test]
fn a_bad_event_in_the_middle_stores_nothing_and_is_named() {
    let server = Server::start();
    let mut events: Vec<Value> = (0..10_000).map(|n| event("s", "t", n)).collect();
    events[4_999] = json!({ "stream": "s", "type": "t", "daat": 1 });
    let problem = server
        .post(EVENTS, &json!(events))
        .problem(400, "unknown-member");
    assert_eq!(
        (&problem["index"], &problem["member"]),
        (&json!(4_999), &json!("daat"))
    );
    let lines: String = events.iter().map(|event| format!("{event}\n")).collect();
    let headers = [("Content-Type", "application/x-ndjson")];
    let problem = server
        .ask("POST", EVENTS, &headers, lines)
        .problem(400, "unknown-member");
    assert_eq!(
        (&problem["index"], &problem["line"]),
        (&json!(4_999), &json!(5_000))
    );
    assert_eq!(server.get(EVENTS).good()["lastId"], 0);
}

#[test]
fn a_stream_that_moved_on_refuses_with_where_it_is() {
    let server = Server::start();
    let target = of_stream("s");
    let body = json!({ "type": "t", "data": 1 });
    let publish = |header: (&str, &str)| server.post_with(&target, &[header], &body);
    assert_eq!(publish(("If-None-Match", "*")).status, 201);
    let problem = publish(("If-None-Match", "*")).problem(412, "sequence-mismatch");
    assert_eq!(
        (&problem["expectedSequence"], &problem["actualSequence"]),
        (&json!(0), &json!(0))
    );
    let reply = publish(("If-Match", "\"0\""));
    assert_eq!(reply.header("etag"), Some("\"1\""));
    let problem = publish(("If-Match", "\"0\"")).problem(412, "sequence-mismatch");
    assert_eq!(
        (&problem["expectedSequence"], &problem["actualSequence"]),
        (&json!(1), &json!(1))
    );
    let problem = server
        .post_with(&of_stream("new"), &[("If-Match", "\"3\"")], &body)
        .problem(412, "sequence-mismatch");
    assert_eq!(
        (&problem["expectedSequence"], &problem["actualSequence"]),
        (&json!(4), &Value::Null)
    );
    assert_eq!(server.get(EVENTS).good()["lastId"], 2);
}

#[test]
fn every_event_may_expect_its_sequence() {
    let server = Server::start();
    let expecting = |stream, sequence: u64| {
        let mut event = event(stream, "t", 1);
        event["expectedSequence"] = sequence.into();
        event
    };
    let batch = json!([expecting("a", 0), expecting("b", 0), expecting("a", 1)]);
    server.post(EVENTS, &batch).good();
    let problem = server
        .post(EVENTS, &json!([expecting("a", 2), expecting("b", 2)]))
        .problem(412, "sequence-mismatch");
    assert_eq!(
        (
            &problem["index"],
            &problem["expectedSequence"],
            &problem["actualSequence"]
        ),
        (&json!(1), &json!(2), &json!(0))
    );
    assert_eq!(server.get(EVENTS).good()["lastId"], 3);
}

#[test]
fn a_condition_refuses_with_the_event_in_the_way() {
    let server = Server::start();
    let mut booked = event("seat-7", "booked", 1);
    booked["tags"] = json!(["flight-1", "row-3"]);
    server
        .post(EVENTS, &json!([booked, event("seat-8", "freed", 1)]))
        .good();
    let publish = |query: Value, after: u64| {
        let conditions = json!([{ "query": query, "after": after }]);
        let events = json!([event("seat-9", "booked", 1)]);
        server.post(
            EVENTS,
            &json!({ "events": events, "conditions": conditions }),
        )
    };
    let query = json!({ "types": ["booked", "held"], "tags": ["flight-1", "row-3"] });
    let problem = publish(query.clone(), 0).problem(412, "condition-unmet");
    assert_eq!(
        (&problem["foundId"], &problem["condition"]),
        (&json!(1), &json!(0))
    );
    publish(query.clone(), 1).good();
    publish(json!({ "tags": ["flight-1", "row-4"] }), 0).good();
    publish(json!({ "streams": ["seat-9"] }), 0).problem(412, "condition-unmet");
}

#[test]
fn of_64_publishers_that_expect_the_same_exactly_one_wins_each_round() {
    const PUBLISHERS: usize = 64;
    const ROUNDS: usize = 10;
    let server = Server::start();
    let barrier = Barrier::new(PUBLISHERS);
    let wins: Vec<usize> = std::thread::scope(|scope| {
        let publishers: Vec<_> = (0..PUBLISHERS)
            .map(|_| {
                scope.spawn(|| {
                    let mut connection = server.connect();
                    let mut wins = 0;
                    for round in 0..ROUNDS {
                        barrier.wait();
                        let expectation = match round.checked_sub(1) {
                            None => ("If-None-Match", "*".to_owned()),
                            Some(last) => ("If-Match", format!("\"{last}\"")),
                        };
                        let headers = [
                            (expectation.0, expectation.1.as_str()),
                            ("Content-Type", "application/json"),
                        ];
                        let body = br#"{"type":"t","data":1}"#;
                        let reply = connection.ask("POST", &of_stream("s"), &headers, body);
                        if reply.status == 201 {
                            wins += 1;
                        } else {
                            let problem = reply.problem(412, "sequence-mismatch");
                            assert_eq!(problem["actualSequence"], round);
                        }
                        barrier.wait();
                    }
                    wins
                })
            })
            .collect();
        publishers
            .into_iter()
            .map(|publisher| publisher.join().unwrap())
            .collect()
    });
    assert_eq!(wins.iter().sum::<usize>(), ROUNDS);
    let page = server.get(&of_stream("s")).good();
    assert_eq!(ids(&page), (1..=ROUNDS as u64).collect::<Vec<_>>());
}

#[test]
fn names_are_any_text_and_only_ever_text() {
    let server = Server::start();
    for name in ["../..", "a/b", "100%", "🛫 LX 8", &"x".repeat(255), "."] {
        let encoded: String = name.bytes().map(|byte| format!("%{byte:02x}")).collect();
        let body = json!({ "type": name, "data": 1, "tags": [name] });
        let published = server.post(&of_stream(&encoded), &body).good();
        assert_eq!(published["events"][0]["stream"], *name);
        let page = server.get(&of_stream(&encoded)).good();
        assert_eq!(page["events"][0]["stream"], *name);
        assert_eq!(page["events"][0]["type"], *name);
        assert_eq!(page["events"][0]["tags"], json!([name]));
    }
}

#[test]
fn a_payload_that_is_no_json_comes_back_as_base64() {
    let server = Server::start();
    let body =
        json!({ "stream": "s", "type": "t", "dataBase64": "AP8=", "contentType": "image/x" });
    server.post(EVENTS, &body).good();
    let read = server.get("/v1/logs/default/events/1").good();
    assert_eq!(
        (&read["dataBase64"], &read["contentType"]),
        (&json!("AP8="), &json!("image/x"))
    );
    assert!(read.get("data").is_none());
}

#[test]
fn a_request_may_ask_for_its_durability() {
    let server = Server::start();
    for durability in ["sync", "os"] {
        let headers = [("Strandlog-Durability", durability)];
        let reply = server.post_with(EVENTS, &headers, &event("s", "t", 1));
        assert_eq!(reply.status, 201);
        let durable: u64 = reply
            .header("strandlog-durable-id")
            .unwrap()
            .parse()
            .unwrap();
        let last = reply.json()["lastId"].as_u64().unwrap();
        assert!(durable <= last);
        assert!(durability == "os" || durable == last);
    }
    let headers = [("Strandlog-Durability", "never")];
    server
        .post_with(EVENTS, &headers, &event("s", "t", 1))
        .problem(400, "invalid-header");
}

#[test]
fn a_refused_batch_does_not_count_where_the_stream_stands() {
    let server = Server::start();
    let expecting = |sequence: u64| {
        let mut event = event("s", "t", sequence);
        event["expectedSequence"] = sequence.into();
        event
    };
    let batch = |events: Vec<Value>| server.post(EVENTS, &events.into());
    let problem = batch(vec![event("s", "t", 1), expecting(5)]).problem(412, "sequence-mismatch");
    assert!(problem["actualSequence"].is_null());
    let problem = batch(vec![expecting(0), expecting(0)]).problem(400, "invalid-expectation");
    assert_eq!(problem["index"], 1);
    batch(vec![expecting(0), expecting(1)]).good();
    let problem = batch(vec![event("s", "t", 1), expecting(5)]).problem(412, "sequence-mismatch");
    assert_eq!(problem["actualSequence"], 1);
}
