//! The event store: its worked examples, every error, and who gets in.

use std::io::Read as _;
use std::sync::Arc;

use aws_lc_rs::encoding::{AsDer as _, PublicKeyX509Der};
use aws_lc_rs::rand;
use aws_lc_rs::rsa::{KeyPair, KeySize};
use aws_lc_rs::signature::{KeyPair as _, RSA_PKCS1_SHA256};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use flate2::read::GzDecoder;
use serde_json::{Value, json};
use strandlog::auth::jwt::Signer;
use strandlog::clock::HandClock;
use strandlog::time;
use strandlog_engine::storage::sim::SimDisk;

use crate::client::Reply;
use crate::harness::{Server, until};

const PREFIX: &str = "/api/monolith/event-store/";
const SECRET: &[u8] = b"at-least-32-bytes-of-secret-material";
const TYPE: &str = "http://www.w3.org/Protocols/rfc2616/rfc2616-sec10.html";
/// 1 January 2100.
const FAR_S: u64 = 4_102_444_800;

fn token(claims: &Value) -> String {
    Signer::hs256(SECRET).unwrap().sign(claims)
}

fn admin() -> String {
    token(&json!({"roles": ["uai_admin"], "exp": FAR_S}))
}

/// Asks for a window, or whatever stands behind the prefix, as the administrator.
fn get(server: &Server, window: &str) -> Reply {
    get_with(server, window, &[])
}

fn get_with(server: &Server, window: &str, more: &[(&str, &str)]) -> Reply {
    let token = admin();
    let json = ("Content-Type", "application/json");
    let headers = [&[("Authorization", &*token), json], more].concat();
    server.ask("GET", &format!("{PREFIX}{window}"), &headers, "")
}

#[track_caller]
fn refused(reply: &Reply, status: u16, title: &str, detail: &str) {
    let (title, detail) = (json!(title), json!(detail));
    assert_eq!(
        reply.text(),
        format!(
            "{{\"type\":\"{TYPE}\",\"title\":{title},\"status\":{status},\"detail\":{detail}}}"
        )
    );
    assert_eq!(reply.status, status);
    assert_eq!(reply.header("content-type"), Some("application/json"));
    assert_eq!(reply.header("www-authenticate"), None);
}

#[track_caller]
fn denied(server: &Server, reply: &Reply, path: &str) {
    let detail = format!("Access denied to url 'http://{}{path}'", server.address);
    refused(reply, 401, "Unauthorized", &detail);
}

const MALFORMED: &str = "The request could not be understood by the server due to malformed syntax";
const UNABLE: &str =
    "The request was well formed but was unable to be followed due to semantic errors";

/// Publishes so many events, each of which says which one it is.
fn fill(server: &Server, count: usize) {
    let mut connection = server.connect();
    let mut published = 0;
    while published < count {
        let batch: Vec<Value> = (published..count.min(published + 1_000))
            .map(|n| json!({"stream": "s", "type": "counted", "data": {"n": n + 1}}))
            .collect();
        published += batch.len();
        let headers = [("Content-Type", "application/json")];
        let body = Value::from(batch).to_string();
        let reply = connection.ask("POST", "/v1/logs/default/events", &headers, body.as_bytes());
        assert_eq!(reply.status, 201, "{}", reply.text());
    }
}

/// The numbers of the events in a reply.
#[track_caller]
fn numbers(reply: &Reply) -> Vec<u64> {
    let body = reply.good();
    let events = body["events"].as_array().unwrap();
    let number = |event: &Value| {
        let inner: Value = serde_json::from_str(event["eventBody"].as_str().unwrap()).unwrap();
        inner["n"].as_u64().unwrap()
    };
    events.iter().map(number).collect()
}

#[test]
fn the_examples_of_the_specification_are_answered_word_for_word() {
    let server = Server::start();
    let confirmed = r#"{"bookingRequestId":102549,"occurredOn":"2017-07-03T11:20:35+0000"}"#;
    let class = "SAH\\Bookings\\Domain\\BookingConfirmed";
    let time = "2017-07-03T11:20:35Z";
    for name in [class, "a/b"] {
        let data: Value = serde_json::from_str(confirmed).unwrap();
        server.publish(&json!({"stream": "b", "type": name, "time": time, "data": data}));
    }
    let reply = get(&server, "1-2");
    assert_eq!(
        reply.text(),
        concat!(
            r#"{"events":[{"typeName":"SAH\\Bookings\\Domain\\BookingConfirmed","#,
            r#""occurredOn":"2017-07-03T11:20:35.000Z","#,
            r#""eventBody":"{\"bookingRequestId\":102549,\"occurredOn\":\"2017-07-03T11:20:35+0000\"}"},"#,
            r#"{"typeName":"a/b","occurredOn":"2017-07-03T11:20:35.000Z","#,
            r#""eventBody":"{\"bookingRequestId\":102549,\"occurredOn\":\"2017-07-03T11:20:35+0000\"}"}]}"#
        )
    );
    assert_eq!(reply.status, 200);
    assert_eq!(reply.header("content-type"), Some("application/json"));

    let empty = get(&server, "900000-900010");
    assert_eq!((empty.status, empty.text()), (200, r#"{"events":[]}"#));
    for credentials in [
        &[][..],
        &[("Authorization", "")],
        &[("Authorization", "aa.bb.cc")],
    ] {
        let path = format!("{PREFIX}1-2");
        denied(&server, &server.ask("GET", &path, credentials, ""), &path);
    }
    refused(&get(&server, "10-5"), 400, "Bad Request", MALFORMED);
    let detail = format!("No route found for \"GET {PREFIX}a-b\"");
    refused(&get(&server, "a-b"), 404, "Not Found", &detail);

    fill(&server, 1_000);
    let cut = get(&server, "1-100000").good();
    assert_eq!(cut["events"].as_array().unwrap().len(), 500);
    assert_eq!(cut["events"][0]["typeName"], class);
    assert_eq!(
        numbers(&get(&server, "503-100000")),
        (501..=1_000).collect::<Vec<_>>()
    );
}

#[test]
fn a_client_that_counts_sees_every_event_once() {
    let server = Server::start_with(|settings| {
        settings.dialects.spotahome.as_mut().unwrap().events_max = 70;
    });
    fill(&server, 1_234);
    let mut seen = Vec::new();
    loop {
        let from = seen.len() + 1;
        let window = numbers(&get(&server, &format!("{from}-{}", from + 499)));
        if window.is_empty() {
            break;
        }
        assert!(window.len() <= 70);
        seen.extend(window);
    }
    assert_eq!(seen, (1..=1_234).collect::<Vec<_>>());
    assert_eq!(numbers(&get(&server, "0-4")), [1, 2, 3, 4]);
    assert_eq!(numbers(&get(&server, "007-0009")), [7, 8, 9]);
    assert_eq!(numbers(&get(&server, "1234-9223372036854775807")), [1_234]);
    assert_eq!(numbers(&get(&server, "0-0")), [] as [u64; 0]);
}

#[test]
fn a_past_window_is_the_same_bytes_whatever_is_published_later() {
    let server = Server::start();
    fill(&server, 300);
    let first = get(&server, "100-200");
    fill(&server, 300);
    let server = server.restart();
    assert_eq!(get(&server, "100-200").body, first.body);
}

#[test]
fn whoever_has_the_role_and_time_gets_in() {
    let now_s = 1_700_000_000;
    let clock = HandClock::at(now_s * 1_000_000);
    let server = Server::start_at(Arc::new(clock), |_| {});
    let path = format!("{PREFIX}1-2");
    let role = "uai_admin";
    let ask =
        |authorization: &str| server.ask("GET", &path, &[("Authorization", authorization)], "");
    for claims in [
        json!({"roles": [role], "exp": now_s + 1}),
        json!({"roles": role, "exp": now_s + 1, "nbf": now_s}),
        json!({"roles": ["uai_user_manager", role], "exp": now_s - 29, "nbf": now_s + 30}),
        json!({"roles": [role], "exp": FAR_S, "sub": "ada", "extra": {"a": [1]}}),
    ] {
        let token = token(&claims);
        for authorization in [
            token.clone(),
            format!("Bearer {token}"),
            format!("bearer  {token}"),
        ] {
            assert_eq!(ask(&authorization).status, 200, "{claims}");
        }
    }
    for claims in [
        json!({"roles": [role]}),
        json!({"roles": [role], "exp": now_s - 30}),
        json!({"roles": [role], "exp": now_s + 60, "nbf": now_s + 31}),
        json!({"roles": ["uai_user_manager", "uai_invitation_manager"], "exp": FAR_S}),
        json!({"roles": [], "exp": FAR_S}),
        json!({"roles": "uai_admin,uai_user_manager", "exp": FAR_S}),
        json!({"roles": ["UAI_ADMIN"], "exp": FAR_S}),
        json!({"roles": {"uai_admin": true}, "exp": FAR_S}),
        json!({"roles": [role, 7], "exp": FAR_S}),
        json!({"role": role, "exp": FAR_S}),
        json!({"roles": [role], "exp": "never"}),
    ] {
        denied(&server, &ask(&token(&claims)), &path);
    }
    let good = token(&json!({"roles": [role], "exp": FAR_S}));
    let (message, signature) = good.rsplit_once('.').unwrap();
    let none = URL_SAFE_NO_PAD.encode(r#"{"alg":"none"}"#);
    let payload = message.split('.').nth(1).unwrap();
    let other = Signer::hs256(b"another-secret-of-32-bytes-or-more-!").unwrap();
    for bad in [
        String::new(),
        "Bearer".to_owned(),
        format!("Basic {good}"),
        format!("Bearer Bearer {good}"),
        format!("{message}."),
        format!("{message}.{}", signature.to_ascii_uppercase()),
        format!("{none}.{payload}."),
        format!("{none}.{payload}.{signature}"),
        other.sign(&json!({"roles": [role], "exp": FAR_S})),
        format!("{good}{}", "x".repeat(20_000)),
    ] {
        denied(&server, &ask(&bad), &path);
    }
    let twice = [("Authorization", &*good), ("Authorization", &*good)];
    denied(&server, &server.ask("GET", &path, &twice, ""), &path);
}

#[test]
fn tokens_of_a_public_key_are_verified_with_it_alone() {
    let key = KeyPair::generate(KeySize::Rsa2048).unwrap();
    let der: PublicKeyX509Der<'_> = key.public_key().as_der().unwrap();
    let body = STANDARD.encode(der.as_ref());
    let pem = format!("-----BEGIN PUBLIC KEY-----\n{body}\n-----END PUBLIC KEY-----\n");
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("public.pem");
    std::fs::write(&file, &pem).unwrap();
    let server = Server::start_with(|settings| {
        let spotahome = settings.dialects.spotahome.as_mut().unwrap();
        spotahome.jwt_secret = None;
        spotahome.jwt_public_key_file = Some(file);
        spotahome.role = "reader".to_owned();
    });
    let claims = json!({"roles": ["reader"], "exp": FAR_S});
    let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let message = format!("{}.{}", part(&json!({"alg": "RS256"})), part(&claims));
    let mut signature = vec![0; key.public_modulus_len()];
    let random = rand::SystemRandom::new();
    key.sign(
        &RSA_PKCS1_SHA256,
        &random,
        message.as_bytes(),
        &mut signature,
    )
    .unwrap();
    let good = format!("{message}.{}", URL_SAFE_NO_PAD.encode(&signature));
    let path = format!("{PREFIX}1-2");
    let ask = |token: &str| server.ask("GET", &path, &[("Authorization", token)], "");
    assert_eq!(ask(&good).text(), r#"{"events":[]}"#);
    // The public key is no secret.
    let forged = Signer::hs256(pem.as_bytes()).unwrap().sign(&claims);
    for bad in [forged, token(&claims), admin()] {
        denied(&server, &ask(&bad), &path);
    }
}

#[test]
fn credentials_are_judged_before_the_path() {
    let server = Server::start();
    for path in [
        "/api/monolith",
        "/api/monolith/",
        "/api/monolith/event-store/a-b",
        "/api/monolith/event-store/1-2?x='a'",
        "/api/monolith/%2e%2e/1-2",
    ] {
        for method in ["GET", "POST", "BREW"] {
            denied(&server, &server.ask(method, path, &[], ""), path);
        }
    }
    // The address is told as it was written, and cannot break out of the text.
    let mut connection = server.connect();
    connection.send("GET /api/monolith/x HTTP/1.1\r\nHost: store.example:80\r\n\r\n");
    let reply = connection.read_reply(false);
    let detail = "Access denied to url 'http://store.example:80/api/monolith/x'";
    refused(&reply, 401, "Unauthorized", detail);
    let mut connection = server.connect();
    connection.send("GET /api/monolith/x HTTP/1.0\r\n\r\n");
    let reply = connection.read_reply(false);
    let detail = "Access denied to url '/api/monolith/x'";
    refused(&reply, 401, "Unauthorized", detail);
}

#[test]
fn what_is_no_window_is_not_found() {
    let server = Server::start();
    let token = admin();
    let headers = [("Authorization", &*token)];
    for path in [
        "/api/monolith",
        "/api/monolith/event-store",
        "/api/monolith/event-store/",
        "/api/monolith/event-store/1",
        "/api/monolith/event-store/1-",
        "/api/monolith/event-store/-1",
        "/api/monolith/event-store/1-2-3",
        "/api/monolith/event-store/+1-2",
        "/api/monolith/event-store/1--2",
        "/api/monolith/event-store/1-2/",
        "/api/monolith/event-store/1%2F2-3",
        "/api/monolith/event-store/1-2%",
        "/api/monolith/event-store/%ff-2",
        "/api/monolith/Event-store/1-2",
        "/api/monolith/event-store/api/monolith/1-2",
        "/api/monolith/event-store/api/monolith/event-store/api/monolith/event-store/1-2",
    ] {
        for method in ["GET", "POST"] {
            let detail = format!("No route found for \"{method} {path}\"");
            let reply = server.ask(method, path, &headers, "");
            refused(&reply, 404, "Not Found", &detail);
        }
    }
}

#[test]
fn the_path_with_its_prefix_twice_is_the_same() {
    let server = Server::start();
    fill(&server, 3);
    let plain = get(&server, "2-3");
    let doubled = get(&server, "api/monolith/event-store/2-3");
    assert_eq!(numbers(&plain), [2, 3]);
    assert_eq!(doubled.body, plain.body);
    assert_eq!(get(&server, "%32%2D3?unknown=1").body, plain.body);
}

#[test]
fn a_window_that_no_log_can_have_is_malformed() {
    let server = Server::start();
    let digits = "9".repeat(400);
    for window in [
        "10-5",
        "1-0",
        "1-9223372036854775808",
        "18446744073709551616-18446744073709551617",
        &format!("1-{digits}"),
        &format!("{digits}-{digits}"),
    ] {
        refused(&get(&server, window), 400, "Bad Request", MALFORMED);
    }
    let zeros = "0".repeat(400);
    assert_eq!(get(&server, &format!("{zeros}1-{zeros}2")).status, 200);
}

#[test]
fn a_window_is_only_read() {
    let server = Server::start();
    fill(&server, 3);
    let token = admin();
    let headers = [("Authorization", &*token)];
    let path = format!("{PREFIX}1-2");
    for method in ["POST", "PUT", "PATCH", "DELETE", "OPTIONS", "BREW"] {
        let reply = server.ask(method, &path, &headers, "");
        let detail =
            format!("No route found for \"{method} {path}\": Method Not Allowed (Allow: GET)");
        refused(&reply, 405, "Method Not Allowed", &detail);
        assert_eq!(reply.header("allow"), Some("GET"));
    }
    let whole = server.ask("GET", &path, &headers, "");
    let head = server.ask("HEAD", &path, &headers, "");
    assert_eq!((head.status, head.body.len()), (200, 0));
    assert_eq!(
        head.header("content-length"),
        whole.header("content-length")
    );
}

/// What `eventBody` of the only event in a window holds.
#[track_caller]
fn body(server: &Server, id: u64) -> String {
    let reply = get(server, &format!("{id}-{id}")).good();
    reply["events"][0]["eventBody"].as_str().unwrap().to_owned()
}

#[test]
fn payloads_come_back_byte_for_byte() {
    let server = Server::start();
    let json = ("Content-Type", "application/json");
    for payload in [
        "{}",
        "null",
        "12345678901234567890123",
        "1e-7",
        "\"\\u00e9\\/\\\"\\\\ é\u{1f6eb}\u{7f}\"",
        "{ \"b\" : [1,\t2 ],\r\n \"a\":\"\\n\", \"a\":-0.0 }",
    ] {
        let event = format!("{{\"stream\":\"s\",\"type\":\"t\",\"data\":{payload}}}");
        let reply = server.ask("POST", "/v1/logs/default/events", &[json], event);
        let id = reply.good()["firstId"].as_u64().unwrap();
        assert_eq!(body(&server, id), payload);
    }
    for (content_type, bytes, shown) in [
        (
            "text/plain",
            &b"a \"b\"\\\n\x07\xc3\xa9"[..],
            "a \"b\"\\\n\u{7}é",
        ),
        ("application/xml; charset=utf-8", b"<a>1</a>", "<a>1</a>"),
        ("text/plain", b"\xff\xfe", "//4="),
        ("application/octet-stream", b"abcd", "YWJjZA=="),
        ("image/png", b"", ""),
    ] {
        let id = server.publish(&json!({
            "stream": "s", "type": "t", "contentType": content_type,
            "dataBase64": STANDARD.encode(bytes),
        }));
        let inner: String = serde_json::from_str(&body(&server, id)).unwrap();
        assert_eq!(inner, shown);
    }
}

#[test]
fn an_event_of_the_gateway_is_replayed_as_it_was_sent() {
    let server = Server::start();
    let headers = [
        ("Content-Type", "application/json"),
        ("team", "t"),
        ("service", "s"),
        ("entity-id", "e"),
        ("tenant", "dodici"),
        ("idempotency-key", "k"),
    ];
    let payload = "{\"name\":\"order.created\", \"total\":12.50}\n";
    let reply = server.ask("POST", "/newstore/events", &headers, payload);
    assert_eq!(reply.status, 202);
    assert_eq!(body(&server, 1), payload);
    let event = get(&server, "1-1").good()["events"][0].clone();
    assert_eq!(event["typeName"], "order.created");
    // The time of the append, cut to three digits.
    let recorded = server.events("default")[0]["recordedAt"].clone();
    let recorded_us = time::read(recorded.as_str().unwrap()).unwrap();
    let occurred = event["occurredOn"].as_str().unwrap();
    assert_eq!(time::read(occurred), Some(recorded_us / 1_000 * 1_000));
    assert_eq!(occurred.len(), "2017-07-03T11:20:35.000Z".len());
}

fn unzipped(reply: &Reply) -> Vec<u8> {
    assert_eq!(reply.header("content-encoding"), Some("gzip"));
    assert!(reply.whole);
    let mut text = Vec::new();
    GzDecoder::new(&reply.body[..])
        .read_to_end(&mut text)
        .unwrap();
    text
}

#[test]
fn gzip_is_for_whoever_offers_it() {
    let server = Server::start();
    fill(&server, 500);
    for window in ["1-2", "1-500", "900-901"] {
        let plain = get(&server, window);
        assert_eq!(plain.header("content-encoding"), None);
        let zipped = get_with(
            &server,
            window,
            &[("Accept-Encoding", "deflate, gzip;q=0.8")],
        );
        assert_eq!(unzipped(&zipped), plain.body, "{window}");
        for reply in [&plain, &zipped] {
            assert_eq!(reply.header("vary"), Some("Accept-Encoding"));
        }
        let refusing = get_with(&server, window, &[("Accept-Encoding", "gzip;q=0, br")]);
        assert_eq!(refusing.body, plain.body);
    }
    assert_eq!(
        get_with(&server, "2-1", &[("Accept-Encoding", "gzip")]).status,
        400
    );
}

#[test]
fn large_events_are_sent_in_pieces_and_come_whole() {
    let server = Server::start_sized(16 << 20);
    let text = "\"é\\\u{1}".repeat(200_000);
    let bytes: Vec<u8> = (0..700_001_u32)
        .map(|n| n.to_le_bytes()[n as usize % 3])
        .collect();
    server.publish(&json!({"stream": "s", "type": "t", "data": {"text": text}}));
    server.publish(&json!({
        "stream": "s", "type": "t", "contentType": "a/b", "dataBase64": STANDARD.encode(&bytes),
    }));
    server.publish(&json!({
        "stream": "s", "type": "t", "contentType": "text/x", "dataBase64": STANDARD.encode(&text),
    }));
    fill(&server, 1);
    let reply = get(&server, "1-4");
    assert_eq!(
        reply.header("content-length"),
        None,
        "it is sent as it is written"
    );
    assert!(reply.whole);
    let events = reply.good()["events"].clone();
    let body = |index: usize| -> Value {
        serde_json::from_str(events[index]["eventBody"].as_str().unwrap()).unwrap()
    };
    assert_eq!(body(0)["text"], text);
    assert_eq!(STANDARD.decode(body(1).as_str().unwrap()).unwrap(), bytes);
    assert_eq!(body(2), json!(text));
    assert_eq!(body(3), json!({"n": 1}));
    let zipped = get_with(&server, "1-4", &[("Accept-Encoding", "gzip")]);
    assert_eq!(unzipped(&zipped), reply.body);
    let token = admin();
    let headers = [("Authorization", &*token)];
    let head = server.ask("HEAD", &format!("{PREFIX}1-4"), &headers, "");
    assert_eq!((head.status, head.body.len()), (200, 0));
}

#[test]
fn a_window_that_begins_below_what_is_kept_is_gone() {
    let server = Server::start();
    fill(&server, 15_000);
    let settings = json!({"retention": {"maxEvents": 1_000}}).to_string();
    let headers = [("Content-Type", "application/json")];
    let log = "/v1/logs/default";
    server.ask("PUT", log, &headers, settings).good();
    // Retention works in rounds of its own; each publish is an occasion for one.
    until("retention", || {
        fill(&server, 1);
        let first = server.get(log).good()["firstId"].as_u64().unwrap();
        (first > 1).then_some(())
    });
    for window in ["1-2", "0-4", "1-9223372036854775807"] {
        let before = server.get(log).good()["firstId"].as_u64().unwrap();
        let reply = get(&server, window);
        let after = server.get(log).good()["firstId"].as_u64().unwrap();
        assert_eq!(reply.status, 410, "{window}");
        let told = |first: u64| {
            let text = "have been removed; the first event kept is";
            reply.json()["detail"] == format!("Events below {first} {text} {first}")
        };
        // It may have moved meanwhile.
        assert!((before..=after).any(told), "{}", reply.text());
        refused(
            &reply,
            410,
            "Gone",
            reply.json()["detail"].as_str().unwrap(),
        );
    }
    let last = server.get(log).good()["lastId"].as_u64().unwrap();
    let kept = get(&server, &format!("{last}-{last}"));
    assert_eq!(kept.good()["events"].as_array().unwrap().len(), 1);
    assert_eq!(get(&server, "0-0").text(), r#"{"events":[]}"#);
}

#[test]
fn damage_is_told_and_nothing_is_skipped() {
    let disk = SimDisk::new();
    let server = Server::start_on(&disk);
    fill(&server, 6_000);
    let oldest = disk
        .paths()
        .into_iter()
        .filter(|path| path.starts_with("logs/default/") && path.ends_with(".seg"))
        .min()
        .unwrap();
    disk.flip_bit(&oldest, 100_000, 0);
    // The damaged event lies somewhere in here; where it is met first decides how that is told.
    let mut from = 1;
    let (mut told, mut seen) = (0, 0);
    while from <= 2_000 {
        let reply = get(&server, &format!("{from}-{}", from + 99));
        if reply.status == 200 {
            let window = numbers(&reply);
            assert_eq!(window, (from..from + 100).collect::<Vec<_>>());
            seen += 1;
        } else {
            refused(&reply, 500, "Internal Server Error", UNABLE);
            told += 1;
        }
        from += 100;
    }
    assert_eq!(told, 1, "one event is damaged, and its window says so");
    assert_eq!(seen, 19);
}
