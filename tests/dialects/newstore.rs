//! The event gateway: its worked examples, every error, and what becomes of an event.

use std::io::Read as _;

use serde_json::{Value, json};
use strandlog::app::Data;
use strandlog::app::name::{EventType, ProducerId, StreamName};
use strandlog::app::publish::{NewEvent, Publish};
use strandlog_engine::storage::sim::{Fault, Repeat, SimDisk};

use crate::client::Reply;
use crate::harness::Server;

const PATH: &str = "/newstore/events";
const ENTITY: &str = "000816c3-e9b2-440b-8d27-dfaa4cae00ef";
const KEY: &str = "123816c3-e9b2-440b-8d27-dfaa4cae0bbc";

type Header<'a> = (&'a str, &'a str);

const JSON: Header<'_> = ("Content-Type", "application/json");
const HEADERS: [Header<'_>; 5] = [
    ("team", "team-inventory"),
    ("service", "inventory-manager"),
    ("entity-id", ENTITY),
    ("tenant", "dodici"),
    ("idempotency-key", KEY),
];

/// The headers of the examples; those in `more` take the place of others of their names.
fn headers<'a>(more: &[Header<'a>]) -> Vec<Header<'a>> {
    let named = |name: &str| more.iter().any(|(other, _)| *other == name);
    let mut headers: Vec<Header<'a>> = HEADERS.into_iter().chain([JSON]).collect();
    headers.retain(|(name, _)| !named(name));
    headers.extend_from_slice(more);
    headers
}

fn publish(server: &Server, more: &[Header<'_>], body: impl AsRef<[u8]>) -> Reply {
    server.ask("POST", PATH, &headers(more), body)
}

#[track_caller]
fn taken(reply: &Reply) {
    assert_eq!((reply.status, reply.text()), (202, ""));
    assert_eq!(reply.header("content-length"), Some("0"));
}

#[track_caller]
fn refused(reply: &Reply, status: u16, word: &str, message: &str) {
    let want = json!({"status": word, "message": message, "details": []});
    let members = ["status", "message", "details"].map(|name| format!("\"{name}\":{}", want[name]));
    assert_eq!(reply.text(), format!("{{{}}}", members.join(",")));
    assert_eq!(reply.status, status);
    assert_eq!(reply.header("content-type"), Some("application/json"));
}

#[track_caller]
fn invalid(reply: &Reply, message: &str) {
    refused(reply, 400, "BAD_REQUEST", message);
}

const NO_OBJECT: &str = "event payload must be a JSON object";
const NO_CORRELATION: &str = "header correlation-ids must be a JSON object of strings";
const ORDER: &str = r#"{"order_id":"000816c3-e9b2-440b-8d27-dfaa4cae00ef"}"#;

#[test]
fn the_examples_of_the_specification_are_answered_word_for_word() {
    let server = Server::start();
    let body = r#"{"name":"order.created","total":5}"#;
    taken(&publish(&server, &[("correlation-ids", ORDER)], body));
    taken(&publish(&server, &[], body));
    assert_eq!(server.events("default").len(), 1, "the key is known");

    let reply = server.ask("POST", PATH, &[JSON, HEADERS[0]], "{}");
    assert_eq!(reply.status, 400);
    assert_eq!(
        reply.text(),
        r#"{"status":"BAD_REQUEST","message":"missing required header(s): service, entity-id, tenant, idempotency-key","details":[]}"#
    );
    let reply = publish(&server, &[("correlation-ids", "order")], "{}");
    assert_eq!(reply.status, 400);
    assert_eq!(
        reply.text(),
        r#"{"status":"BAD_REQUEST","message":"header correlation-ids must be a JSON object of strings","details":[]}"#
    );
    let reply = publish(&server, &[], "[1]");
    assert_eq!(reply.status, 400);
    assert_eq!(
        reply.text(),
        r#"{"status":"BAD_REQUEST","message":"event payload must be a JSON object","details":[]}"#
    );

    let server = server.restart_with(|settings| {
        let newstore = settings.dialects.newstore.as_mut().unwrap();
        newstore.denied_tenants.push("dodici".to_owned());
        newstore.denied_teams.push("team-closed".to_owned());
    });
    let reply = publish(&server, &[("correlation-ids", "{}")], "{}");
    assert_eq!(reply.status, 403);
    assert_eq!(
        reply.text(),
        r#"{"status":"FORBIDDEN","message":"tenant dodici is not allowed to publish","details":[]}"#
    );
    let reply = publish(
        &server,
        &[("tenant", "Dodici"), ("team", "team-closed")],
        "{}",
    );
    refused(
        &reply,
        403,
        "FORBIDDEN",
        "team team-closed is not allowed to publish",
    );
    assert_eq!(server.events("default").len(), 1, "nothing else was stored");
}

#[test]
fn an_event_is_what_was_sent_wherever_it_is_read() {
    let server = Server::start();
    let body = "{ \"name\":\"order.created\",\n \"n\":12345678901234567890123, \"e\":1e-7, \"s\":\"\\u00e9\\/é\", \"n\":{} }\n";
    let ids = "'{ \"order_id\": \"000816c3\", \"vendor_id\": \"v\" }'";
    taken(&publish(&server, &[("correlation-ids", ids)], body));

    let page = server.get("/v1/logs/default/events");
    assert!(page.text().contains(body), "{}", page.text());
    let event = &page.good()["events"][0];
    assert_eq!(event["stream"], format!("dodici/{ENTITY}"));
    assert_eq!(event["type"], "order.created");
    assert_eq!(
        event["tags"],
        json!([
            "tenant:dodici",
            "team:team-inventory",
            "service:inventory-manager",
            "order_id:000816c3",
            "vendor_id:v"
        ])
    );
    assert_eq!(
        event["metadata"],
        json!({
            "team": "team-inventory", "service": "inventory-manager", "tenant": "dodici",
            "entityId": ENTITY, "idempotencyKey": KEY,
            "correlationIds": {"order_id": "000816c3", "vendor_id": "v"},
            "nameFrom": "payload.name",
        })
    );
    for tag in ["tenant:dodici", "order_id:000816c3", "vendor_id:v"] {
        let found = server.get(&format!("/v1/logs/default/events?tag={tag}"));
        assert_eq!(found.good()["events"][0]["id"], 1, "{tag}");
    }
    let other = server.get("/v1/logs/default/events?tag=tenant:other");
    assert_eq!(other.good()["events"], json!([]));
}

#[test]
fn a_name_is_taken_from_the_first_place_that_has_one() {
    let server = Server::start();
    let header = ("event-name", "from.header");
    for (key, more, body, name) in [
        ("1", vec![header], r#"{"event_name":"b","name":"a"}"#, "a"),
        ("2", vec![header], r#"{"name":"","event_name":"b"}"#, "b"),
        ("3", vec![header], r#"{"name":1}"#, "from.header"),
        ("4", vec![], "{}", "inventory-manager.event"),
        (
            "5",
            vec![("event-name", "")],
            "{}",
            "inventory-manager.event",
        ),
    ] {
        let more = [&more[..], &[("idempotency-key", key)]].concat();
        taken(&publish(&server, &more, body));
        assert_eq!(server.events("default").last().unwrap()["type"], name);
    }
    let long = "n".repeat(256);
    invalid(
        &publish(&server, &[], json!({"name": long}).to_string()),
        "event name cannot be used: the event type has 256 bytes, more than 255",
    );
    invalid(
        &publish(&server, &[], r#"{"name":"a\nb"}"#),
        "event name cannot be used: the event type has, at byte 1, something other than text without control characters",
    );
    assert_eq!(server.events("default").len(), 5);
}

#[test]
fn the_first_of_all_repeats_wins_for_ever() {
    let server = Server::start();
    let body = |total: u64| json!({"name": "order.created", "total": total}).to_string();
    taken(&publish(&server, &[], body(1)));
    let other_entity = [("entity-id", "another"), ("team", "another")];
    taken(&publish(&server, &other_entity, body(2)));
    let server = server.restart();
    taken(&publish(&server, &[], body(3)));
    let events = server.events("default");
    assert_eq!(events.len(), 1);
    assert_eq!(events[0]["data"]["total"], 1);

    // Another tenant, another name or another key is another event.
    taken(&publish(&server, &[("tenant", "tredici")], body(4)));
    taken(&publish(&server, &[], r#"{"name":"order.opened"}"#));
    taken(&publish(&server, &[("idempotency-key", "k")], body(5)));
    assert_eq!(server.events("default").len(), 4);
}

#[test]
fn of_repeats_at_the_same_time_one_is_stored() {
    let server = Server::start();
    for round in 0..10 {
        let key = format!("round-{round}");
        std::thread::scope(|scope| {
            for n in 0..8 {
                let (server, key) = (&server, &key);
                scope.spawn(move || {
                    let body = json!({"name": "counted", "n": n}).to_string();
                    taken(&publish(server, &[("idempotency-key", key)], body));
                });
            }
        });
    }
    assert_eq!(server.events("default").len(), 10);
}

#[test]
fn only_missing_headers_are_told_together() {
    let server = Server::start();
    let all = HEADERS.map(|(name, _)| name);
    for bits in 1..32_usize {
        let missing: Vec<&str> = (0..5)
            .filter(|place| bits >> place & 1 == 1)
            .map(|place| all[place])
            .collect();
        let mut sent: Vec<Header<'_>> = headers(&[("correlation-ids", "order")]);
        // Absent and empty are the same.
        for (place, name) in missing.iter().enumerate() {
            if place % 2 == 0 {
                sent.retain(|(known, _)| known != name);
            } else {
                sent.iter_mut()
                    .filter(|(known, _)| known == name)
                    .for_each(|(_, value)| *value = " ");
            }
        }
        invalid(
            &server.ask("POST", PATH, &sent, "[1]"),
            &format!("missing required header(s): {}", missing.join(", ")),
        );
    }
    assert!(server.events("default").is_empty());
}

#[test]
fn the_first_fault_in_the_order_of_the_checks_is_told() {
    let server = Server::start();
    let long = "x".repeat(1_025);
    let faults: [(Vec<Header<'_>>, &str); 4] = [
        (
            vec![("team", &long)],
            "header team has 1025 bytes, more than 1024",
        ),
        (vec![("correlation-ids", "order")], NO_CORRELATION),
        (
            vec![("Content-Type", "text/plain")],
            "header content-type must be application/json",
        ),
        (vec![], NO_OBJECT),
    ];
    // Each with all that come after it, the refused tenant included.
    for first in 0..faults.len() {
        let mut more = vec![("tenant", "blocked")];
        for (headers, _) in &faults[first..] {
            more.extend_from_slice(headers);
        }
        invalid(&publish(&server, &more, "[1]"), faults[first].1);
    }
    let reply = publish(&server, &[("tenant", "blocked")], "{}");
    let message = "tenant blocked is not allowed to publish";
    refused(&reply, 403, "FORBIDDEN", message);
    // A name that cannot be one is told before that.
    let reply = publish(&server, &[("tenant", "blocked")], r#"{"name":"\u0000"}"#);
    assert_eq!(reply.status, 400);
}

#[test]
fn headers_that_cannot_be_used_are_named() {
    let server = Server::start();
    for name in [
        "team",
        "tenant",
        "idempotency-key",
        "event-name",
        "correlation-ids",
    ] {
        let mut sent = headers(&[(name, "{}")]);
        sent.push((name, "{}"));
        invalid(
            &server.ask("POST", PATH, &sent, "{}"),
            &format!("header {name} is given more than once"),
        );
        let long = "x".repeat(1_025);
        invalid(
            &publish(&server, &[(name, &long)], "{}"),
            &format!("header {name} has 1025 bytes, more than 1024"),
        );
    }
    let mut request = format!("POST {PATH} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\n");
    for (name, value) in headers(&[]).iter().filter(|(name, _)| *name != "team") {
        request.push_str(&format!("{name}: {value}\r\n"));
    }
    let mut bytes = request.into_bytes();
    bytes.extend_from_slice(b"team: \xe9quipe\r\n\r\n{}");
    let mut connection = server.connect();
    connection.send(bytes);
    invalid(&connection.read_reply(false), "header team is not UTF-8");

    invalid(
        &publish(
            &server,
            &[
                ("tenant", &"t".repeat(200)),
                ("entity-id", &"e".repeat(200)),
            ],
            "{}",
        ),
        "headers tenant and entity-id cannot name a stream together: the stream name has 401 bytes, more than 255",
    );
    invalid(
        &publish(&server, &[("entity-id", "a\tb")], "{}"),
        "headers tenant and entity-id cannot name a stream together: the stream name has, at byte 8, something other than text without control characters",
    );
    assert!(server.events("default").is_empty());
}

#[test]
fn headers_hold_whatever_text_they_may() {
    let server = Server::start();
    let longest = "k".repeat(1_024);
    let more = [
        ("team", "\"équipe\" \\ {}"),
        ("tenant", "a/b%"),
        ("idempotency-key", &*longest),
        (
            "correlation-ids",
            r#"{"tenant":"other","é":"\u00e9","long":""}"#,
        ),
    ];
    taken(&publish(&server, &more, "{}"));
    let event = &server.events("default")[0];
    assert_eq!(event["stream"], format!("a%2Fb%25/{ENTITY}"));
    assert_eq!(event["metadata"]["team"], "\"équipe\" \\ {}");
    assert_eq!(event["metadata"]["idempotencyKey"], longest);
    assert_eq!(event["metadata"]["correlationIds"]["tenant"], "other");
    let tags = event["tags"].as_array().unwrap();
    assert!(tags.contains(&json!("tenant:a/b%")) && tags.contains(&json!("é:é")));
    assert!(
        !tags.contains(&json!("tenant:other")),
        "it would pass for the tenant"
    );
}

#[test]
fn correlation_ids_are_optional_and_of_any_type() {
    let server = Server::start();
    let many: Vec<String> = (0..50).map(|n| format!("\"t{n}\":\"{n}\"")).collect();
    let many = format!("{{{}}}", many.join(","));
    for (n, ids) in ["{}", "'{}'", " { } ", ORDER, &many]
        .into_iter()
        .enumerate()
    {
        let key = n.to_string();
        let more = [("correlation-ids", ids), ("idempotency-key", &key)];
        taken(&publish(&server, &more, "{}"));
    }
    let event = server.events("default").pop().unwrap();
    assert_eq!(event["tags"].as_array().unwrap().len(), 32);
    let kept = event["metadata"]["correlationIds"].as_object().unwrap();
    assert_eq!(kept.len(), 50);
    for bad in [
        "",
        "order",
        "[]",
        "null",
        "\"{}\"",
        "'{}",
        "{\"order_id\":1}",
        "{\"order_id\":null}",
        "{\"order_id\":{}}",
        "{\"order_id\":\"1\",}",
        "{} {}",
        "{'order_id':'1'}",
    ] {
        invalid(
            &publish(&server, &[("correlation-ids", bad)], "{}"),
            NO_CORRELATION,
        );
    }
}

#[test]
fn the_body_is_json_by_its_own_account_if_it_gives_one() {
    let server = Server::start();
    for good in [
        "application/json",
        "Application/JSON; charset=utf-8",
        "application/json;v=1",
    ] {
        taken(&publish(&server, &[("Content-Type", good)], "{}"));
    }
    let mut silent = headers(&[]);
    silent.retain(|(name, _)| *name != "Content-Type");
    taken(&server.ask("POST", PATH, &silent, "{}"));
    for bad in [
        "text/plain",
        "application/jsonx",
        "",
        "application/x-ndjson",
    ] {
        invalid(
            &publish(&server, &[("Content-Type", bad)], "{}"),
            "header content-type must be application/json",
        );
    }
    let mut twice = headers(&[]);
    twice.push(JSON);
    invalid(
        &server.ask("POST", PATH, &twice, "{}"),
        "the header 'content-type' is not valid: it is given more than once",
    );
    invalid(
        &publish(&server, &[("Content-Encoding", "gzip")], "{}"),
        "header content-encoding must be absent: the payload is stored as it is sent",
    );
}

#[test]
fn what_is_no_json_object_is_refused() {
    let server = Server::start();
    let deep = |depth: usize| format!("{{\"a\":{}{}}}", "[".repeat(depth), "]".repeat(depth));
    let too_deep = deep(128);
    let bad: [&[u8]; 14] = [
        b"",
        b" ",
        b"[1]",
        b"1",
        b"\"{}\"",
        b"null",
        b"{",
        b"{\"a\":1,}",
        b"{} {}",
        b"{'a':1}",
        b"{\"a\":\"\xff\"}",
        b"\xef\xbb\xbf{}",
        b"{\"a\":\"\\ud800\"}",
        too_deep.as_bytes(),
    ];
    for body in bad {
        invalid(&publish(&server, &[], body), NO_OBJECT);
    }
    taken(&publish(&server, &[], deep(127)));
    let log = server.get("/v1/logs/default").good();
    assert_eq!(log["lastId"], 1);
}

#[test]
fn a_payload_has_a_mebibyte_at_most() {
    let server = Server::start_sized(16 << 20);
    let payload = |len: usize| {
        let front = "{\"a\":\"";
        format!("{front}{}\"}}", "x".repeat(len - front.len() - 2))
    };
    taken(&publish(&server, &[], payload(1 << 20)));
    let reply = publish(&server, &[], payload((1 << 20) + 1));
    invalid(&reply, "event payload is longer than 1048576 bytes");
    assert_eq!(reply.header("connection"), Some("close"));

    // A length that is not announced is counted.
    let mut connection = server.connect();
    let chunked = headers(&[("Transfer-Encoding", "chunked")]);
    connection.request("POST", PATH, &chunked, b"");
    let chunk = [b' '; 64 << 10];
    for _ in 0..17 {
        connection.send(format!("{:x}\r\n", chunk.len()));
        connection.send(chunk);
        connection.send("\r\n");
    }
    let reply = connection.read_reply(false);
    invalid(&reply, "event payload is longer than 1048576 bytes");

    let mut connection = server.connect();
    connection.request("POST", PATH, &headers(&[("Content-Length", "9")]), b"");
    connection.send("{}");
    connection.finish_sending();
    let reply = connection.read_reply(false);
    assert_eq!(
        (reply.status, reply.json()["status"].clone()),
        (400, json!("BAD_REQUEST"))
    );
    assert_eq!(server.events("default").len(), 1);
}

#[test]
fn a_path_takes_post_alone_and_only_as_it_is_written() {
    let server = Server::start();
    for method in ["GET", "PUT", "PATCH", "DELETE", "OPTIONS", "BREW"] {
        let reply = server.ask(method, PATH, &headers(&[]), "");
        let message = format!("{method} is not allowed here, only POST");
        refused(&reply, 405, "METHOD_NOT_ALLOWED", &message);
        assert_eq!(reply.header("allow"), Some("POST"));
    }
    let reply = server.ask("HEAD", PATH, &[], "");
    assert_eq!((reply.status, reply.header("allow")), (405, Some("POST")));
    for path in [
        "/newstore/events/",
        "/newstore",
        "/newstore/events/x",
        "/Newstore/events",
        "/newstore%2Fevents",
        "/newstore//events",
        "/newstore/../newstore/events",
    ] {
        let reply = server.ask("POST", path, &headers(&[]), "{}");
        reply.problem(404, "not-found");
    }
    assert!(server.events("default").is_empty());
    taken(&server.ask("POST", "/newstore/events?a=b", &headers(&[]), "{}"));
}

#[test]
fn paths_and_status_of_success_are_the_operators() {
    let server = Server::start_with(|settings| {
        let newstore = settings.dialects.newstore.as_mut().unwrap();
        newstore.paths = vec!["/a/events".to_owned(), "/events/".to_owned()];
        newstore.success_status = 204;
    });
    for (path, key) in [("/a/events", "1"), ("/events/", "2")] {
        let reply = server.ask("POST", path, &headers(&[("idempotency-key", key)]), "{}");
        assert_eq!((reply.status, reply.text()), (204, ""));
    }
    for path in [PATH, "/events", "/a/events/"] {
        let reply = server.ask("POST", path, &headers(&[]), "{}");
        reply.problem(404, "not-found");
    }
    assert_eq!(server.events("default").len(), 2);
}

#[test]
fn what_comes_from_a_page_of_another_site_is_refused() {
    let server = Server::start();
    let reply = publish(&server, &[("Origin", "http://example.com")], "{}");
    let message = "the request comes from a page of another origin; nothing was done";
    refused(&reply, 403, "FORBIDDEN", message);
    let mut connection = server.connect();
    connection.send(format!("POST {PATH} HTTP/1.1\r\nHost: example.com\r\n\r\n"));
    let reply = connection.read_reply(false);
    assert_eq!(
        (reply.status, reply.json()["status"].clone()),
        (403, json!("FORBIDDEN"))
    );
    assert!(server.events("default").is_empty());
}

#[test]
fn a_stream_that_belongs_to_a_producer_takes_nothing() {
    let server = Server::start();
    let stream = format!("dodici/{ENTITY}");
    let log = server.app.log("default").unwrap();
    let owned = Publish {
        events: vec![NewEvent::new(
            StreamName::new(&*stream).unwrap(),
            EventType::new("t").unwrap(),
            Data::Json(b"{}"),
        )],
        producer: Some(ProducerId::new("p").unwrap()),
        ..Publish::default()
    };
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(log.publish(owned)).unwrap();
    let message = format!("stream {stream} belongs to another producer");
    refused(&publish(&server, &[], "{}"), 403, "FORBIDDEN", &message);
    taken(&publish(&server, &[("entity-id", "free")], "{}"));
    assert_eq!(server.events("default").len(), 2);
}

#[test]
fn an_event_that_cannot_be_stored_is_told_and_can_be_sent_again() {
    let disk = SimDisk::new();
    let server = Server::start_on(&disk);
    taken(&publish(&server, &[], "{}"));
    disk.capacity(disk.used());
    let large = json!({"a": "x".repeat(200_000)}).to_string();
    let not_stored = "event could not be stored";
    let mut sent = 0;
    let full = loop {
        let key = sent.to_string();
        let reply = publish(&server, &[("idempotency-key", &key)], &large);
        if reply.status != 202 {
            break reply;
        }
        sent += 1;
    };
    refused(&full, 500, "INTERNAL_SERVER_ERROR", not_stored);
    let count = |server: &Server| server.get("/v1/logs/default").good()["lastId"].clone();
    assert_eq!(count(&server), json!(sent + 1), "reads go on");
    disk.capacity(u64::MAX);
    let key = sent.to_string();
    taken(&publish(&server, &[("idempotency-key", &key)], &large));
    assert_eq!(count(&server), json!(sent + 2));

    disk.fail_at(disk.steps(), Fault::Eio, Repeat::FromThenOn);
    let failing = publish(&server, &[("idempotency-key", "failing")], "{}");
    // The next segment may or may not be there already: without one, nothing was tried, and the log
    // is as good as before.
    let was_tried = !failing.text().contains(not_stored);
    let message = if was_tried {
        "whether the event was stored is unknown; it can be sent again with the same idempotency-key"
    } else {
        not_stored
    };
    refused(&failing, 500, "INTERNAL_SERVER_ERROR", message);
    disk.heal();
    if was_tried {
        let failed = publish(&server, &[("idempotency-key", "failed")], "{}");
        refused(&failed, 500, "INTERNAL_SERVER_ERROR", not_stored);
    }
    assert_eq!(count(&server), json!(sent + 2));
}

#[test]
fn a_success_can_be_followed_at_once() {
    let server = Server::start();
    let mut live = server.connect();
    let accept = [("Accept", "text/event-stream")];
    live.request("GET", "/v1/logs/default/events?from=end", &accept, b"");
    assert_eq!(live.read_head().unwrap().status, 200);
    taken(&publish(&server, &[], r#"{"name":"order.created"}"#));
    let mut text = String::new();
    while !text.contains("order.created") {
        let chunk = live.read_chunk().unwrap();
        chunk.as_slice().read_to_string(&mut text).unwrap();
    }
    let event = &server.events("default")[0];
    assert!(matches!(event["data"], Value::Object(_)));
}
