//! What is refused, and how: bad input, unknown paths, keys.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use strandlog::app::limits::STORE;
use strandlog::app::{App, Limits, Parts};
use strandlog::auth::PlainSecret;
use strandlog::clock::{SystemClock, SystemRandom};
use strandlog::dialect::{Tools, axon};
use strandlog::http::BodyRules;
use strandlog::store::embedded::{EmbeddedOptions, EmbeddedStore};
use strandlog::store::{Durability, Retention};
use strandlog::webhook::{self, Hub};

use super::{EVENTS, JSON, LIST, of_a, raw, refused, taken};
use crate::harness::Server;

#[test]
fn bad_messages_are_refused_with_what_was_wrong_and_store_nothing() {
    let server = Server::start();
    let deep = format!(
        r#"{{"name":"n","payload":{}{}}}"#,
        "[".repeat(200),
        "]".repeat(200)
    );
    let long = format!(r#"{{"name":"{}"}}"#, "n".repeat(256));
    let long_id = format!(r#"{{"name":"n","id":"{}"}}"#, "i".repeat(256));
    let long_aggregate = format!(
        r#"{{"name":"n","aggregateType":"T","aggregateId":"{}"}}"#,
        "a".repeat(256)
    );
    for (body, what) in [
        (&b""[..], "too early"),
        (b"{", "too early"),
        (b"[]", "a message"),
        (b"{\"name\":\"n\"}x", "more after"),
        (b"{\"name\":\"\xff\"}", "UTF-8"),
        (b"\xef\xbb\xbf{\"name\":\"n\"}", "byte order mark"),
        (b"{\"name\":\"\\ud800\"}", "surrogate"),
        (b"{\"payload\":{}}", "has no name"),
        (b"{\"name\":null}", "has no name"),
        (b"{\"name\":\"\"}", "is empty"),
        (b"{\"name\":\"a\\u0000\"}", "control characters"),
        (b"{\"name\":1}", "a string was expected"),
        (b"{\"name\":\"n\",\"name\":\"n\"}", "there twice"),
        (b"{\"name\":\"n\",\"sequenceNumber\":-1}", "whole number"),
        (b"{\"name\":\"n\",\"sequenceNumber\":1.5}", "whole number"),
        (b"{\"name\":\"n\",\"sequenceNumber\":\"1\"}", "whole number"),
        (
            b"{\"name\":\"n\",\"sequenceNumber\":9223372036854775808}",
            "whole number",
        ),
        (
            b"{\"name\":\"n\",\"dateTime\":\"2022-13-01T00:00:00Z\"}",
            "ISO 8601",
        ),
        (
            b"{\"name\":\"n\",\"dateTime\":1663882620}",
            "a string was expected",
        ),
        (b"{\"name\":\"n\",\"metaData\":{\"a\":1}}", "all strings"),
        (b"{\"name\":\"n\",\"metaData\":[]}", "all strings"),
        (
            b"{\"name\":\"n\",\"aggregateType\":\"T\"}",
            "without an aggregate id",
        ),
        (
            b"{\"name\":\"n\",\"aggregateType\":\"T\",\"aggregateId\":\"\"}",
            "without an aggregate id",
        ),
        (
            b"{\"name\":\"n\",\"aggregateId\":7}",
            "a string was expected",
        ),
        (
            b"{\"name\":\"n\",\"payloadRevision\":1}",
            "a string was expected",
        ),
        (deep.as_bytes(), "too deeply"),
        (long.as_bytes(), "256 bytes"),
        (long_id.as_bytes(), "256 bytes"),
        (long_aggregate.as_bytes(), "256 bytes"),
    ] {
        let reply = server.ask("POST", EVENTS, &[JSON], body);
        let refusal = refused(&reply, 400, "AXONIQ-0001");
        let text = refusal["message"].as_str().unwrap();
        assert!(text.contains(what), "{text}, for {body:?}");
        assert!(text.contains("nothing was done"), "{text}");
        assert_eq!(refusal["error"], "Bad Request");
    }
    assert!(server.events("default").is_empty());
}

#[test]
fn bad_lists_are_refused() {
    let server = Server::start();
    for (body, what) in [
        ("", "too early"),
        ("{}", "a list of messages"),
        ("7", "a list of messages"),
        (r#"{"items":null}"#, "an array of messages"),
        (r#"{"items":{}}"#, "an array of messages"),
        (r#"{"items":[]}"#, "no messages"),
        ("[]", "no messages"),
        (r#"{"items":[1]}"#, "a message"),
        (r#"{"items":[{"name":"n"},]}"#, "a value was expected"),
        (
            r#"{"items":[{"name":"n"}],"items":[{"name":"n"}]}"#,
            "there twice",
        ),
        (r#"{"items":[{"name":"n"}]}]"#, "more after"),
    ] {
        let reply = server.ask("POST", EVENTS, &[LIST], body);
        let refusal = refused(&reply, 400, "AXONIQ-0001");
        let text = refusal["message"].as_str().unwrap();
        assert!(text.contains(what), "{text}, for {body:?}");
    }
    assert!(server.events("default").is_empty());
}

#[test]
fn bad_headers_and_names_of_raw_events_are_refused() {
    let server = Server::start();
    for (headers, what) in [
        (vec![], "content-type"),
        (vec![("Content-Type", "")], "content-type"),
        (vec![("Content-Type", "json")], "content-type"),
        (vec![("Content-Type", "a/b\u{e9}")], "content-type"),
        (vec![JSON, JSON], "more than once"),
        (
            vec![JSON, ("AxonIQ-SequenceNumber", "")],
            "axoniq-sequencenumber",
        ),
        (
            vec![JSON, ("AxonIQ-SequenceNumber", "-1")],
            "axoniq-sequencenumber",
        ),
        (
            vec![JSON, ("AxonIQ-SequenceNumber", "+1")],
            "axoniq-sequencenumber",
        ),
        (
            vec![JSON, ("AxonIQ-SequenceNumber", "1e3")],
            "axoniq-sequencenumber",
        ),
        (
            vec![JSON, ("AxonIQ-SequenceNumber", "9223372036854775808")],
            "axoniq-sequencenumber",
        ),
        (
            vec![
                JSON,
                ("AxonIQ-SequenceNumber", "1"),
                ("AxonIQ-SequenceNumber", "1"),
            ],
            "more than once",
        ),
        (
            vec![JSON, ("AxonIQ-DateTime", "yesterday")],
            "axoniq-datetime",
        ),
        (
            vec![JSON, ("AxonIQ-DateTime", "2022-09-22T21:37:00")],
            "axoniq-datetime",
        ),
        (
            vec![JSON, ("AxonIQ-AggregateType", "T")],
            "without an aggregate id",
        ),
        (
            vec![
                JSON,
                ("AxonIQ-AggregateType", "T"),
                ("AxonIQ-AggregateId", "a\tb"),
            ],
            "control characters",
        ),
        (
            vec![
                JSON,
                ("AxonIQ-AggregateId", "a"),
                ("AxonIQ-AggregateId", "b"),
            ],
            "more than once",
        ),
    ] {
        let refusal = refused(&raw(&server, "n", &headers, "{}"), 400, "AXONIQ-0001");
        let text = refusal["message"].as_str().unwrap();
        assert!(text.contains(what), "{text}, for {headers:?}");
    }
    let long = "n".repeat(256);
    for name in ["%", "%zz", "%ff", "a%00b", "a%0d%0aX-Y:1", &long] {
        refused(&raw(&server, name, &[JSON], "{}"), 400, "AXONIQ-0001");
    }
    for coding in ["gzip", "br"] {
        let headers = [JSON, ("Content-Encoding", coding)];
        refused(&raw(&server, "n", &headers, "{}"), 415, "AXONIQ-0001");
    }
    assert!(server.events("default").is_empty());
    for (raw_name, name) in [
        ("%2E%2E", ".."),
        ("a%2Fb", "a/b"),
        ("a+b", "a+b"),
        ("%C3%A9", "\u{e9}"),
    ] {
        taken(&raw(&server, raw_name, &[JSON], "{}"));
        assert_eq!(server.events("default").pop().unwrap()["type"], name);
    }
    // Names in headers are UTF-8, too.
    let headers = [
        JSON,
        ("AxonIQ-AggregateId", "\u{e9}"),
        ("AxonIQ-AggregateType", "T"),
    ];
    taken(&raw(&server, "n", &headers, "{}"));
    assert_eq!(server.events("default").pop().unwrap()["stream"], "\u{e9}");
}

#[test]
fn other_content_types_are_415() {
    let server = Server::start();
    for headers in [
        vec![],
        vec![("Content-Type", "text/plain")],
        vec![("Content-Type", "application/x-www-form-urlencoded")],
        vec![("Content-Type", "application/vnd.axoniq.event+json")],
        vec![("Content-Type", "")],
        vec![JSON, ("Content-Encoding", "gzip")],
    ] {
        let reply = server.ask("POST", EVENTS, &headers, of_a(0).to_string());
        let refusal = refused(&reply, 415, "AXONIQ-0001");
        assert_eq!(refusal["error"], "Unsupported Media Type");
    }
    assert!(server.events("default").is_empty());
}

#[test]
fn what_is_too_long_is_refused_as_such() {
    let server = Server::start();
    // Announced, and refused before it is read.
    let mut connection = server.connect();
    connection.send(format!(
        "POST {EVENTS}/n HTTP/1.1\r\nHost: localhost\r\nContent-Type: text/plain\r\nContent-Length: {}\r\n\r\n",
        (32 << 20) + 1
    ));
    let reply = connection.read_reply(false);
    refused(&reply, 400, "AXONIQ-2001");
    assert_eq!(reply.header("connection"), Some("close"));
    // One event is shorter than a body may be.
    let long = vec![b'x'; (16 << 20) + 1];
    let reply = raw(&server, "n", &[("Content-Type", "text/plain")], &long);
    refused(&reply, 400, "AXONIQ-2001");
    let meta_data = json!({ "name": "n", "metaData": { "k": "x".repeat(64 << 10) } });
    let reply = server.ask("POST", EVENTS, &[JSON], meta_data.to_string());
    refused(&reply, 400, "AXONIQ-2001");
    let items = json!([{ "name": "n" }, meta_data]).to_string();
    let refusal = refused(
        &server.ask("POST", EVENTS, &[LIST], items),
        400,
        "AXONIQ-2001",
    );
    assert_eq!(refusal["details"], json!({ "index": "1" }));
    assert!(server.events("default").is_empty());
}

#[test]
fn what_is_not_there_is_told_in_the_dialects_own_way() {
    let server = Server::start();
    for path in [
        "/v1/contexts",
        "/v1/contexts/default",
        "/v1/contexts/default/events/",
        "/v1/contexts/default/events/a/b",
        "/v1/contexts//events",
        "/v1/contexts/default/commands/c",
        "/v1/contexts/default/queries/q",
        "/v1/contexts/default/aggregate//events",
        "/v1/context",
        "/v1/authentications",
        "/v1/authentications/1",
        "/v1/handlers/commands",
    ] {
        for method in ["GET", "POST", "DELETE"] {
            let refusal = refused(&server.ask(method, path, &[], ""), 404, "AXONIQ-0001");
            assert_eq!(refusal["path"], path);
            assert_eq!(refusal["error"], "Not Found");
        }
    }
    for (method, path, allow) in [
        ("GET", EVENTS, "POST, OPTIONS"),
        ("PUT", "/v1/contexts/default/events/n", "POST, OPTIONS"),
        (
            "DELETE",
            "/v1/contexts/default/aggregate/A/events",
            "GET, HEAD, OPTIONS",
        ),
        ("BREW", EVENTS, "POST, OPTIONS"),
    ] {
        let reply = server.ask(method, path, &[], "");
        refused(&reply, 405, "AXONIQ-0001");
        assert_eq!(reply.header("allow"), Some(allow));
    }
    let options = server.ask("OPTIONS", EVENTS, &[], "");
    assert_eq!(
        (options.status, options.header("allow")),
        (204, Some("POST, OPTIONS"))
    );
    // Names of aggregates that cannot be are told, not looked for.
    refused(
        &server.get("/v1/contexts/default/aggregate/a%00/events"),
        400,
        "AXONIQ-0001",
    );
}

#[test]
fn a_path_that_could_break_json_is_quoted() {
    let server = Server::start();
    let mut connection = server.connect();
    connection.send("GET /v1/contexts/a\"b\\c HTTP/1.1\r\nHost: localhost\r\n\r\n");
    let refusal = refused(&connection.read_reply(false), 404, "AXONIQ-0001");
    assert_eq!(refusal["path"], "/v1/contexts/a\"b\\c");
}

#[test]
fn pages_of_other_sites_are_kept_out_while_there_is_no_key() {
    let server = Server::start();
    let foreign = ("Origin", "http://example.com");
    let reply = raw(&server, "n", &[JSON, foreign], "{}");
    refused(&reply, 403, "AXONIQ-0001");
    let mut connection = server.connect();
    connection.send("GET /v1/handlers/events HTTP/1.1\r\nHost: example.com\r\n\r\n");
    refused(&connection.read_reply(false), 403, "AXONIQ-0001");
    assert!(server.events("default").is_empty());
}

fn with_key(settings: &mut strandlog::doors::Settings) {
    let axon = settings.dialects.axon.as_mut().unwrap();
    axon.api_key = Some(PlainSecret::new("the-key"));
    axon.users = BTreeMap::from([("admin".to_owned(), PlainSecret::new("pa:ss"))]);
}

#[test]
fn a_key_that_is_required_is_missing_wrong_or_right() {
    let server = Server::start_with(with_key);
    let ask = |headers: &[(&str, &str)]| {
        let mut all = vec![JSON];
        all.extend_from_slice(headers);
        raw(&server, "n", &all, "{}")
    };
    refused(&ask(&[]), 403, "AXONIQ-1000");
    for wrong in [
        ("X-API-KEY", "the-kez"),
        ("X-API-KEY", ""),
        ("X-API-KEY", "the-key2"),
        ("AxonIQ-Access-Token", "THE-KEY"),
    ] {
        refused(&ask(&[wrong]), 403, "AXONIQ-1001");
    }
    let key = ("x-api-key", "the-key");
    refused(&ask(&[key, ("X-API-KEY", "other")]), 403, "AXONIQ-1001");
    refused(
        &ask(&[key, ("AxonIQ-Access-Token", "other")]),
        403,
        "AXONIQ-1001",
    );
    // Users are for configuration alone.
    refused(
        &ask(&[("Authorization", "Basic YWRtaW46cGE6c3M=")]),
        403,
        "AXONIQ-1000",
    );
    assert!(server.events("default").is_empty());
    taken(&ask(&[key]));
    taken(&ask(&[("AxonIQ-Access-Token", "the-key")]));
    // Who asks is judged before what is there.
    let unknown = "/v1/contexts/none/events";
    refused(
        &server.ask("POST", unknown, &[JSON], "{}"),
        403,
        "AXONIQ-1000",
    );
    refused(
        &server.ask("POST", unknown, &[JSON, key], "{}"),
        404,
        "AXONIQ-1302",
    );
    refused(&server.get("/v1/authentications/1"), 403, "AXONIQ-1000");
}

#[test]
fn settings_that_cannot_be_used_end_the_start_with_a_reason() {
    let directory = tempfile::tempdir().unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    let clock = Arc::new(SystemClock::new());
    let options = EmbeddedOptions {
        durability: Durability::Os,
        segment_len: 64 << 10,
        clock: Arc::clone(&clock) as _,
        limits: STORE,
    };
    let store = EmbeddedStore::open(&directory.path().join("data"), options).unwrap();
    let app = App::open(Parts {
        store: Arc::new(store),
        clock,
        random: Arc::new(SystemRandom::new()),
        limits: Limits::default(),
        retention: Retention::default(),
    });
    let app = runtime.block_on(app).unwrap();
    let tools = Tools {
        app: app.clone(),
        bodies: Arc::new(BodyRules::new(1 << 20, 1 << 20, Duration::from_secs(1))),
        hub: Hub::new(app.clone(), &webhook::Settings::development()),
    };
    let open = |change: fn(&mut axon::Settings)| {
        let mut settings = axon::Settings::development();
        change(&mut settings);
        let opened = runtime.block_on(axon::Door::open(settings, tools.clone()));
        opened.map(|_| ()).map_err(|failure| failure.to_string())
    };
    assert!(open(|_| ()).is_ok());
    for (change, what) in [
        (
            (|settings| settings.contexts = vec!["Billing".to_owned()]) as fn(&mut axon::Settings),
            "\"Billing\"",
        ),
        (
            |settings| settings.contexts = vec!["_system".to_owned()],
            "\"_system\"",
        ),
        (|settings| settings.contexts.clear(), "contexts"),
        (
            |settings| settings.api_key = Some(PlainSecret::new("")),
            "api_key",
        ),
        (
            |settings| settings.api_key = Some(PlainSecret::new("a b")),
            "api_key",
        ),
        (
            |settings| {
                settings.users.insert("u".to_owned(), PlainSecret::new("p"));
            },
            "users",
        ),
    ] {
        let failure = open(change).unwrap_err();
        assert!(
            failure.contains("[dialect.axon]") && failure.contains(what),
            "{failure}"
        );
    }
    runtime.block_on(app.close());
}
