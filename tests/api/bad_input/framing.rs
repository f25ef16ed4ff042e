//! Where a body begins and ends: lengths, codings and chunks that contradict each other.

use std::time::Duration;

use strandlog::app::Limits;

use super::bench::Answer::{Closing, Problem};
use super::bench::{Bench, GOOD, framed};
use crate::harness::EVENTS;

const BODY_LEN_MAX: usize = 1_000;

pub(super) fn limits(limits: &mut Limits) {
    limits.body_len_max = BODY_LEN_MAX;
    limits.body_timeout = Duration::from_millis(500);
}

pub(super) fn lengths_that_are_none_are_refused(bench: &mut Bench) {
    for lengths in [
        "Content-Length: 5\r\nContent-Length: 6\r\n",
        "Content-Length: 5, 5\r\n",
        "Content-Length: +5\r\n",
        "Content-Length: -1\r\n",
        "Content-Length: 0x5\r\n",
        "Content-Length: 18446744073709551616\r\n",
    ] {
        let bytes = framed(lengths, "12345");
        bench.refuses(bytes, Closing(400, "malformed-request"));
    }
}

pub(super) fn two_equal_lengths_are_one(bench: &mut Bench) {
    let len = GOOD.len();
    let lengths = format!("Content-Length: {len}\r\nContent-Length: {len}\r\n");
    let reply = bench.takes(framed(&lengths, GOOD), 201);
    assert_eq!(reply.json()["lastId"], 1);
    let event = bench.server.get(&format!("{EVENTS}/1")).good();
    assert_eq!((&event["stream"], &event["data"]), (&"s".into(), &1.into()));
}

pub(super) fn a_length_over_the_limit_is_refused_before_the_body(bench: &mut Bench) {
    for len in [(BODY_LEN_MAX + 1).to_string(), (u64::MAX - 2).to_string()] {
        // Nothing of the body is sent, and nothing more: the answer must come all the same.
        let head = framed(&format!("Content-Length: {len}\r\n"), "");
        let problem = bench.refuses(head, Closing(413, "too-large")).unwrap();
        assert_eq!(problem.json()["limit"], BODY_LEN_MAX);
        // Who asks first is told before it has sent anything.
        let asks = framed(
            &format!("Content-Length: {len}\r\nExpect: 100-continue\r\n"),
            "",
        );
        let mut connection = bench.server.connect();
        connection.send(asks);
        let mut status = [0; 12];
        connection.read_exact(&mut status);
        assert_eq!(&status, b"HTTP/1.1 413");
    }
    let chunk = format!("400\r\n{}\r\n", "x".repeat(0x400));
    let chunked = framed(
        "Transfer-Encoding: chunked\r\n",
        &format!("{}0\r\n\r\n", chunk.repeat(8)),
    );
    bench.refuses(chunked, Closing(413, "too-large"));
}

pub(super) fn a_request_smuggled_behind_a_length_is_not_run(bench: &mut Bench) {
    let smuggled = "PUT /v1/logs/smuggled HTTP/1.1\r\nHost: localhost\r\n\r\n";
    for framing in [
        "Content-Length: 6\r\nTransfer-Encoding: chunked\r\n",
        "Transfer-Encoding: chunked\r\nContent-Length: 6\r\n",
    ] {
        let mut connection = bench.server.connect();
        connection.send(format!(
            "GET /healthz HTTP/1.1\r\nHost: localhost\r\n{framing}\r\n0\r\n\r\n{smuggled}"
        ));
        connection.read_reply(false);
        assert_eq!(connection.read_to_end(), b"", "one reply, and the end");
        bench.is_unchanged(framing);
        let smuggled = bench.server.get("/v1/logs/smuggled");
        smuggled.problem(404, "no-such-log");
    }
}

pub(super) fn codings_that_frame_nothing_are_refused(bench: &mut Bench) {
    for coding in [
        "Transfer-Encoding: xchunked\r\n",
        "Transfer-Encoding: chunked, identity\r\n",
        "Transfer-Encoding : chunked\r\n",
    ] {
        let bytes = framed(coding, "0\r\n\r\n");
        bench.refuses(bytes, Closing(400, "malformed-request"));
    }
    let old = format!(
        "POST {EVENTS} HTTP/1.0\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
    );
    bench.refuses(old, Closing(400, "malformed-request"));
}

pub(super) fn codings_that_are_not_known_are_refused(bench: &mut Bench) {
    for codings in [
        "Transfer-Encoding: gzip, chunked\r\n",
        "Transfer-Encoding: chunked, chunked\r\n",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
    ] {
        let bytes = framed(codings, "0\r\n\r\n");
        bench.refuses(bytes, Closing(501, "not-implemented"));
    }
}

fn chunked(chunks: &str) -> String {
    framed("Transfer-Encoding: chunked\r\n", chunks)
}

pub(super) fn chunks_that_are_none_are_refused(bench: &mut Bench) {
    let extension = "x".repeat(20_000);
    for chunks in [
        "FFFFFFFFFFFFFFFFF\r\n",
        "-5\r\n12345\r\n0\r\n\r\n",
        "0x5\r\n12345\r\n0\r\n\r\n",
        "5\n12345\r\n0\r\n\r\n",
        "5\r\n123456\r\n0\r\n\r\n",
        &format!("5;{extension}\r\n12345\r\n0\r\n\r\n"),
    ] {
        bench.refuses(chunked(chunks), Closing(400, "malformed-request"));
    }
}

pub(super) fn trailers_are_never_headers(bench: &mut Bench) {
    let len = GOOD.len();
    let with = |trailers: &str| chunked(&format!("{len:x}\r\n{GOOD}\r\n0\r\n{trailers}\r\n"));
    let many: String = (0..200).map(|n| format!("X-{n}: 1\r\n")).collect();
    bench.refuses(with(&many), Closing(400, "malformed-request"));
    // As headers, each of these would make the request another one.
    for trailers in [
        "Authorization: Basic eDp5\r\nContent-Length: 1\r\n",
        "Idempotency-Key: \r\n",
        "Host: elsewhere.example\r\n",
        "If-Match: \"7\"\r\n",
    ] {
        let reply = bench.takes(with(trailers), 201);
        assert_eq!(reply.header("idempotency-replayed"), None);
    }
}

pub(super) fn bodies_that_end_early_store_nothing(bench: &mut Bench) {
    bench.is_left_after(framed("Content-Length: 100\r\n", GOOD));
    bench.is_left_after(format!("POST {EVENTS} HT"));
    bench.is_left_after(framed("Content-Length: 100\r\n", ""));
    for chunks in ["22\r\n{\"stream\":", "22\r\n", &format!("22\r\n{GOOD}\r\n")] {
        bench.is_left_after(chunked(chunks));
    }
}

pub(super) fn a_body_that_trickles_is_refused_at_its_deadline(bench: &mut Bench) {
    let mut connection = bench.server.connect();
    connection.send(framed(&format!("Content-Length: {}\r\n", GOOD.len()), ""));
    let reply = connection.read_while_sending(GOOD.as_bytes(), Duration::from_millis(100));
    let reply = reply.expect("it is told why");
    reply.problem(408, "request-timeout");
    assert_eq!(reply.header("connection"), Some("close"));
    bench.is_unchanged("a body that trickles");
    let unread = framed("Content-Length: 5\r\n", "").replace("/events", "/nowhere");
    bench.refuses(unread, Problem(404, "not-found"));
}
