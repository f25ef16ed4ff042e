//! Heads of requests: what HTTP forbids, what is too large, and what this server does not do.

use std::time::Duration;

use strandlog::app::Limits;

use super::bench::Answer::{Closed, Closing, Problem};
use super::bench::{Bench, framed, get, request};
use crate::harness::EVENTS;

pub(super) fn limits(limits: &mut Limits) {
    limits.header_timeout = Duration::from_secs(1);
}

const MALFORMED: super::bench::Answer = Closing(400, "malformed-request");

pub(super) fn heads_that_trickle_are_cut_off(bench: &mut Bench) {
    let mut silent = bench.server.connect();
    let mut slow = bench.server.connect();
    let head = get("/healthz").repeat(10);
    let reply = slow.read_while_sending(&head, Duration::from_millis(100));
    assert!(reply.is_none(), "{reply:?}");
    silent.read_to_end();
    bench.is_unchanged("a head that trickles");
}

pub(super) fn a_request_names_one_host(bench: &mut Bench) {
    for hosts in [
        "",
        "Host: a\r\nHost: b\r\n",
        "Host: localhost\r\nHost: localhost\r\n",
        "Host: user@localhost\r\n",
        "Host: \r\n",
        "Host: a/b\r\n",
        "Host: a\0b\r\n",
    ] {
        bench.refuses(format!("GET /healthz HTTP/1.1\r\n{hosts}\r\n"), MALFORMED);
    }
    bench.takes("GET /healthz HTTP/1.0\r\n\r\n", 200);
}

pub(super) fn heads_that_are_too_large_are_refused(bench: &mut Bench) {
    let many: String = (0..101).map(|n| format!("X-{n}: 1\r\n")).collect();
    let long = format!("X: {}\r\n", "x".repeat(66_000));
    let longer = format!("X: {}\r\n", "x".repeat(140_000));
    for headers in [many, long, longer] {
        let bytes = request("GET", "/healthz", &headers, "");
        bench.refuses(bytes, Closing(431, "head-too-large"));
    }
}

pub(super) fn targets_that_are_too_long_are_refused(bench: &mut Bench) {
    for len in [17_000, 66_000] {
        let bytes = get(&format!("/{}", "x".repeat(len)));
        bench.refuses(bytes, Closing(414, "uri-too-long"));
    }
}

pub(super) fn bytes_that_do_not_belong_in_a_head_are_refused(bench: &mut Bench) {
    for header in ["X: a\rb\r\n", "X: a\0b\r\n", "X: a\r\n folded\r\n"] {
        bench.refuses(framed(header, ""), MALFORMED);
    }
    bench.refuses(
        b"GET /health\xff HTTP/1.1 \r\nHost: localhost\r\n\r\n",
        MALFORMED,
    );
    bench.refuses(
        b"GET /health\x00 HTTP/1.1\r\nHost: localhost\r\n\r\n",
        MALFORMED,
    );
}

pub(super) fn other_protocols_are_refused(bench: &mut Bench) {
    bench.refuses("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", Closed);
    bench.refuses(
        "GET /healthz HTTP/1.2\r\nHost: localhost\r\n\r\n",
        MALFORMED,
    );
    bench.refuses("GET /healthz\r\n", MALFORMED);
    bench.refuses(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", MALFORMED);
    bench.refuses(b"\x00\x01\x02\x03\xff\xfe\r\n\r\n", MALFORMED);
    // An offer to change the protocol is declined by not taking it up.
    let upgrade = "Connection: Upgrade\r\nUpgrade: websocket\r\n";
    let reply = bench.takes(request("GET", "/healthz", upgrade, ""), 200);
    assert_eq!(reply.header("upgrade"), None);
}

pub(super) fn methods_that_are_not_there_are_refused(bench: &mut Bench) {
    for method in ["PATCH", "DELETE", "TRACE", "PUT"] {
        let answer = Problem(405, "method-not-allowed");
        let reply = bench.refuses(request(method, EVENTS, "", ""), answer);
        let allowed = reply.unwrap();
        assert_eq!(allowed.header("allow"), Some("GET, HEAD, POST, OPTIONS"));
    }
    let trace = request("TRACE", "/nowhere", "", "");
    bench.refuses(trace, Problem(404, "not-found"));
    for method in ["BREW", &"X".repeat(1_000)] {
        let bytes = request(method, EVENTS, "", "");
        bench.refuses(bytes, Problem(501, "not-implemented"));
    }
    for target in ["localhost:80", "other.example:443", EVENTS] {
        let bytes = request("CONNECT", target, "", "");
        bench.refuses(bytes, Closing(501, "not-implemented"));
    }
}

pub(super) fn expectations_are_met_or_refused(bench: &mut Bench) {
    let bytes = framed("Expect: 200-maybe\r\nContent-Length: 2\r\n", "");
    bench.refuses(bytes, Closing(417, "expectation-failed"));
}

pub(super) fn head_and_options_are_answered(bench: &mut Bench) {
    for target in ["/healthz", "/v1/logs/default", EVENTS] {
        let whole = bench.takes(get(target), 200);
        let head = bench.takes(request("HEAD", target, "", ""), 200);
        for name in ["content-type", "content-length", "etag", "cache-control"] {
            assert_eq!(head.header(name), whole.header(name), "{target}: {name}");
        }
        let options = bench.takes(request("OPTIONS", target, "", ""), 204);
        let allow = options.header("allow").unwrap();
        assert!(allow.starts_with("GET, HEAD, "), "{allow}");
    }
    let options = bench.takes(request("OPTIONS", "*", "", ""), 204);
    let allow = options.header("allow").unwrap();
    assert_eq!(allow, "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS");
    bench.refuses(request("GET", "*", "", ""), MALFORMED);
    bench.refuses(
        request("OPTIONS", "/nowhere", "", ""),
        Problem(404, "not-found"),
    );
}

pub(super) fn requests_in_one_packet_are_answered_in_order(bench: &mut Bench) {
    let mut connection = bench.server.connect();
    let requests: String = (0..1_000)
        .map(|n| format!("GET /healthz HTTP/1.1\r\nHost: localhost\r\nX-Request-Id: n{n}\r\n\r\n"))
        .collect();
    connection.send(requests);
    for n in 0..1_000 {
        let reply = connection.read_reply(false);
        assert_eq!(reply.header("x-request-id"), Some(&*format!("n{n}")));
    }
    bench.is_unchanged("a thousand requests");
    // What cannot be read behind them is refused in its turn, with words.
    let two = [get("/healthz"), b"\x00\r\n\r\n".to_vec()].concat();
    connection.send(two);
    assert_eq!(connection.read_reply(false).status, 200);
    connection
        .read_reply(false)
        .problem(400, "malformed-request");
    connection.finish_sending();
    assert_eq!(connection.read_to_end(), b"");
}

pub(super) fn a_target_that_names_a_host_is_its_path(bench: &mut Bench) {
    let far =
        |method: &str, path: &str| request(method, &format!("http://other.example{path}"), "", "");
    bench.takes(far("GET", "/healthz"), 200);
    bench.takes(far("GET", ""), 200);
    bench.refuses(far("GET", "/nowhere"), Problem(404, "not-found"));
    bench.refuses(get("other.example:80"), MALFORMED);
    let foreign = "GET http://localhost/healthz HTTP/1.1\r\nHost: other.example\r\n\r\n";
    bench.refuses(foreign, Problem(403, "foreign-origin"));
}
