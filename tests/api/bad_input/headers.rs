//! Headers of a publish: keys and expectations.

use strandlog::app::Limits;

use super::bench::Answer::Problem;
use super::bench::{Bench, GOOD, JSON, request};
use crate::client::Reply;
use crate::harness::EVENTS;

pub(super) fn limits(_limits: &mut Limits) {}

const OF_STREAM: &str = "/v1/logs/default/streams/s/events";

/// A publish to a stream with these headers.
fn with(headers: &str) -> Vec<u8> {
    let body = r#"{"type":"t","data":1}"#;
    request("POST", OF_STREAM, &format!("{JSON}{headers}"), body)
}

#[track_caller]
fn refuses_headers(bench: &mut Bench, headers: &[&str]) {
    for header in headers {
        let problem = bench.problem(with(header), 400, "invalid-header");
        let name = problem["header"].as_str().unwrap();
        assert!(header.to_ascii_lowercase().contains(name), "{problem}");
    }
}

pub(super) fn keys_that_are_none_are_refused(bench: &mut Bench) {
    let long = format!("Idempotency-Key: {}\r\n", "x".repeat(300));
    let headers = [
        "Idempotency-Key: \r\n",
        "Idempotency-Key: a b\r\n",
        "Idempotency-Key: é\r\n",
        "Idempotency-Key: a\r\nIdempotency-Key: b\r\n",
        "Idempotency-Key: a\r\nIdempotency-Key: a\r\n",
        &long,
    ];
    refuses_headers(bench, &headers);
}

pub(super) fn a_key_stands_for_one_request(bench: &mut Bench) {
    let keyed = |key: &str, body: &str| {
        request(
            "POST",
            EVENTS,
            &format!("{JSON}Idempotency-Key: {key}\r\n"),
            body,
        )
    };
    let first = bench.takes(keyed("k", GOOD), 201);
    let other = GOOD.replace('1', "2");
    bench.refuses(keyed("k", &other), Problem(422, "key-reused"));
    let again = bench.takes(keyed("k", GOOD), 201);
    assert_eq!(again.body, first.body);
    assert_eq!(again.header("idempotency-replayed"), Some("true"));

    let last = |bench: &Bench| bench.server.get(EVENTS).good()["lastId"].as_u64().unwrap();
    let before = last(bench);
    let mut connections = [bench.server.connect(), bench.server.connect()];
    for connection in &mut connections {
        connection.send(keyed("both", GOOD));
    }
    let replies: Vec<Reply> = connections
        .iter_mut()
        .map(|connection| connection.read_reply(false))
        .collect();
    for reply in &replies {
        assert_eq!((reply.status, &reply.body), (201, &replies[0].body));
    }
    assert_eq!(last(bench), before + 1);
    bench.look();
}

pub(super) fn expectations_of_a_stream_are_judged(bench: &mut Bench) {
    let headers = [
        "If-Match: *\r\n",
        "If-Match: 5\r\n",
        "If-Match: \"x\"\r\n",
        "If-Match: \"-1\"\r\n",
        "If-Match: \"\"\r\n",
        "If-Match: \"18446744073709551616\"\r\n",
        "If-Match: \"1\", \"2\"\r\n",
        "If-Match: W/\"1\"\r\n",
        "If-Match: \"1\"\r\nIf-None-Match: *\r\n",
        "If-None-Match: \"1\"\r\n",
        "Strandlog-Durability: maybe\r\n",
    ];
    refuses_headers(bench, &headers);
    let of_no_stream = request("POST", EVENTS, &format!("{JSON}If-None-Match: *\r\n"), GOOD);
    bench.refuses(of_no_stream, Problem(400, "invalid-header"));

    let problem = bench.problem(with("If-Match: \"0\"\r\n"), 412, "sequence-mismatch");
    assert!(problem["actualSequence"].is_null(), "{problem}");
    bench.takes(with("If-None-Match: *\r\n"), 201);
    bench.takes(with("If-Match: \"0\"\r\n"), 201);
    for wrong in [
        "If-Match: \"0\"\r\n",
        "If-Match: \"7\"\r\n",
        "If-None-Match: *\r\n",
    ] {
        let problem = bench.problem(with(wrong), 412, "sequence-mismatch");
        assert_eq!(problem["actualSequence"], 1, "{problem}");
    }
}
