//! Bad input, as one table over raw sockets: each line has its answer, stores nothing, and leaves a
//! server that answers the next request.

use crate::harness::{EVENTS, Server, event, of_stream};

/// What a line of the table is answered with.
#[derive(Clone, Copy, Debug)]
enum Answer {
    /// A problem of ours, with this status and code.
    Problem(u16, &'static str),
    /// The same, and the connection closes.
    Closing(u16, &'static str),
    /// A bare status from the HTTP library, and the connection closes.
    Bare(u16),
    /// A success.
    Good(u16),
    /// The connection closes without a reply.
    Closed,
}

use Answer::{Bare, Closed, Closing, Good, Problem};

/// Sends the bytes, compares the answer, and then asks something good.
#[track_caller]
fn check(server: &Server, bytes: impl AsRef<[u8]>, want: Answer) {
    let bytes = bytes.as_ref();
    let shown = String::from_utf8_lossy(&bytes[..bytes.len().min(200)]).into_owned();
    let mut connection = server.connect();
    connection.send(bytes);
    let reply = connection.try_read_reply(bytes.starts_with(b"HEAD"));
    match (want, reply) {
        (Problem(status, code), Some(reply)) => {
            reply.problem(status, code);
        }
        (Closing(status, code), Some(reply)) => {
            reply.problem(status, code);
            assert_eq!(reply.header("connection"), Some("close"), "{shown}");
            connection.finish_sending();
            assert_eq!(connection.read_to_end(), b"", "{shown}");
        }
        (Bare(status), Some(reply)) => {
            assert_eq!(reply.status, status, "{shown}");
            connection.finish_sending();
            assert_eq!(connection.read_to_end(), b"", "{shown}");
        }
        (Good(status), Some(reply)) => assert_eq!(reply.status, status, "{shown}: {reply:?}"),
        (Closed, None) => {}
        (want, reply) => panic!("{shown}: {want:?}, not {reply:?}"),
    }
    answers_on(server, &shown);
}

/// Sends the bytes and goes away: whoever has gone gets no answer.
#[track_caller]
fn check_cut_off(server: &Server, bytes: impl AsRef<[u8]>) {
    let bytes = bytes.as_ref();
    let mut connection = server.connect();
    connection.send(bytes);
    connection.finish_sending();
    connection.read_to_end();
    answers_on(server, &String::from_utf8_lossy(bytes));
}

#[track_caller]
fn answers_on(server: &Server, after: &str) {
    let reply = server.connect().ask("GET", "/healthz", &[], b"");
    assert_eq!(reply.status, 200, "after {after}");
}

/// A request with a correct head, these headers and this body.
fn request(method: &str, target: &str, headers: &str, body: impl AsRef<[u8]>) -> Vec<u8> {
    let body = body.as_ref();
    let mut bytes =
        format!("{method} {target} HTTP/1.1\r\nHost: localhost\r\n{headers}").into_bytes();
    if !body.is_empty() {
        bytes.extend_from_slice(format!("Content-Length: {}\r\n", body.len()).as_bytes());
    }
    bytes.extend_from_slice(b"\r\n");
    bytes.extend_from_slice(body);
    bytes
}

fn get(target: &str) -> Vec<u8> {
    request("GET", target, "", "")
}

fn post(body: impl AsRef<[u8]>) -> Vec<u8> {
    request("POST", EVENTS, JSON, body)
}

const JSON: &str = "Content-Type: application/json\r\n";
const GOOD: &str = r#"{"stream":"s","type":"t","data":1}"#;

#[track_caller]
fn nothing_is_stored(server: &Server) {
    assert_eq!(server.get(EVENTS).good()["lastId"], 0);
}

#[test]
fn heads_that_break_the_rules_of_http_are_refused() {
    let server = Server::start();
    let with = |headers: &str, body: &str| {
        format!("POST {EVENTS} HTTP/1.1\r\nHost: localhost\r\n{JSON}{headers}\r\n{body}")
    };
    for lengths in [
        "Content-Length: 5\r\nContent-Length: 6\r\n",
        "Content-Length: 5, 5\r\n",
        "Content-Length: +5\r\n",
        "Content-Length: -1\r\n",
        "Content-Length: 0x5\r\n",
        "Content-Length: 18446744073709551616\r\n",
        "Transfer-Encoding: xchunked\r\n",
        "Transfer-Encoding: chunked, identity\r\n",
        "Transfer-Encoding : chunked\r\n",
        "X: a\rb\r\n",
        "X: a\0b\r\n",
        "X: a\r\n folded\r\n",
    ] {
        check(&server, with(lengths, "12345"), Bare(400));
    }
    check(
        &server,
        with("Transfer-Encoding: gzip, chunked\r\n", "0\r\n\r\n"),
        Closing(501, "not-implemented"),
    );
    check(
        &server,
        with("Transfer-Encoding: chunked, chunked\r\n", "0\r\n\r\n"),
        Closing(501, "not-implemented"),
    );
    check(
        &server,
        with(
            "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
            "0\r\n\r\n",
        ),
        Closing(501, "not-implemented"),
    );
    check(
        &server,
        "POST /v1/logs/default/events HTTP/1.0\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        Bare(400),
    );
    check(
        &server,
        with("Expect: 200-maybe\r\nContent-Length: 2\r\n", ""),
        Closing(417, "expectation-failed"),
    );
    check(
        &server,
        "GET /healthz HTTP/1.1\r\n\r\n",
        Closing(400, "malformed-request"),
    );
    for hosts in [
        "Host: a\r\nHost: b\r\n",
        "Host: user@localhost\r\n",
        "Host: \r\n",
        "Host: a/b\r\n",
    ] {
        check(
            &server,
            format!("GET /healthz HTTP/1.1\r\n{hosts}\r\n"),
            Closing(400, "malformed-request"),
        );
    }
    check(
        &server,
        b"GET /healthz HTTP/1.1\r\nHost: a\0b\r\n\r\n",
        Bare(400),
    );
    check(
        &server,
        b"GET /health\xff HTTP/1.1 \r\nHost: localhost\r\n\r\n",
        Bare(400),
    );
    check(
        &server,
        "GET /healthz HTTP/1.2\r\nHost: localhost\r\n\r\n",
        Bare(400),
    );
    check(&server, "GET /healthz\r\n", Bare(400));
    check(
        &server,
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        Bare(400),
    );
    check(&server, b"\x00\x01\x02\x03\xff\xfe\r\n\r\n", Bare(400));
    let many: String = (0..101).map(|n| format!("X-{n}: 1\r\n")).collect();
    check(&server, request("GET", "/healthz", &many, ""), Bare(431));
    let long = "x".repeat(66_000);
    check(
        &server,
        request("GET", "/healthz", &format!("X: {long}\r\n"), ""),
        Closing(431, "head-too-large"),
    );
    check(
        &server,
        request("GET", "/healthz", &format!("X: {long}{long}\r\n"), ""),
        Bare(431),
    );
    check(&server, get(&format!("/{long}")), Bare(414));
    check(
        &server,
        get(&format!("/{}", "x".repeat(17_000))),
        Closing(414, "uri-too-long"),
    );
    nothing_is_stored(&server);
}

#[test]
fn two_equal_lengths_are_one() {
    let server = Server::start();
    let len = GOOD.len();
    let twice = format!(
        "POST {EVENTS} HTTP/1.1\r\nHost: localhost\r\n{JSON}Content-Length: {len}\r\nContent-Length: {len}\r\n\r\n{GOOD}"
    );
    check(&server, twice, Good(201));
    assert_eq!(server.get(EVENTS).good()["lastId"], 1);
}

#[test]
fn a_request_smuggled_behind_a_length_is_not_run() {
    let server = Server::start();
    let smuggled = "PUT /v1/logs/smuggled HTTP/1.1\r\nHost: localhost\r\n\r\n";
    for framing in [
        "Content-Length: 6\r\nTransfer-Encoding: chunked\r\n",
        "Transfer-Encoding: chunked\r\nContent-Length: 6\r\n",
    ] {
        let mut connection = server.connect();
        connection.send(format!(
            "GET /healthz HTTP/1.1\r\nHost: localhost\r\n{framing}\r\n0\r\n\r\n{smuggled}"
        ));
        connection.read_reply(false);
        assert_eq!(connection.read_to_end(), b"", "one reply, and the end");
        server.get("/v1/logs/smuggled").problem(404, "no-such-log");
    }
}

#[test]
fn bodies_that_are_framed_wrongly_or_end_early_store_nothing() {
    let server = Server::start();
    let chunked = |chunks: &str| {
        format!(
            "POST {EVENTS} HTTP/1.1\r\nHost: localhost\r\n{JSON}Transfer-Encoding: chunked\r\n\r\n{chunks}"
        )
    };
    let extension = "x".repeat(20_000);
    for chunks in [
        "FFFFFFFFFFFFFFFFF\r\n",
        "-5\r\n12345\r\n0\r\n\r\n",
        "0x5\r\n12345\r\n0\r\n\r\n",
        "5\n12345\r\n0\r\n\r\n",
        "5\r\n123456\r\n0\r\n\r\n",
        &format!("5;{extension}\r\n12345\r\n0\r\n\r\n"),
    ] {
        check(&server, chunked(chunks), Closing(400, "malformed-request"));
    }
    let half = format!(
        "POST {EVENTS} HTTP/1.1\r\nHost: localhost\r\n{JSON}Content-Length: 100\r\n\r\n{GOOD}"
    );
    check_cut_off(&server, half);
    check_cut_off(&server, format!("POST {EVENTS} HT"));
    for chunks in ["22\r\n{\"stream\":", "22\r\n", &format!("22\r\n{GOOD}\r\n")] {
        check_cut_off(&server, chunked(chunks));
    }
    nothing_is_stored(&server);
    let len = GOOD.len();
    let trailers = "Authorization: Basic eDp5\r\nContent-Length: 1\r\n";
    check(
        &server,
        chunked(&format!("{len:x}\r\n{GOOD}\r\n0\r\n{trailers}\r\n")),
        Good(201),
    );
}

#[test]
fn a_body_over_the_limit_is_refused_before_it_is_read() {
    let server = Server::start_with(|limits| limits.body_len_max = 1_000);
    for len in ["1001", "18446744073709551613"] {
        let mut connection = server.connect();
        // Nothing of the body is sent, and nothing more: the answer must come all the same.
        connection.send(format!(
            "POST {EVENTS} HTTP/1.1\r\nHost: localhost\r\n{JSON}Content-Length: {len}\r\n\r\n"
        ));
        let reply = connection.read_reply(false);
        assert_eq!(reply.problem(413, "too-large")["limit"], 1_000);
        assert_eq!(reply.header("connection"), Some("close"));
    }
    let chunk = format!("400\r\n{}\r\n", "x".repeat(0x400));
    let chunked = format!(
        "POST {EVENTS} HTTP/1.1\r\nHost: localhost\r\n{JSON}Transfer-Encoding: chunked\r\n\r\n{}0\r\n\r\n",
        chunk.repeat(8)
    );
    check(&server, chunked, Closing(413, "too-large"));
    nothing_is_stored(&server);
}

#[test]
fn methods_and_paths_that_are_not_there_are_refused() {
    let server = Server::start();
    check(&server, get("/nowhere"), Problem(404, "not-found"));
    check(
        &server,
        get("/v1/logs/default/events/1/2"),
        Problem(404, "not-found"),
    );
    check(
        &server,
        get("/v1/logs/default/events/"),
        Problem(404, "not-found"),
    );
    check(&server, get("/V1/logs"), Problem(404, "not-found"));
    for method in ["PATCH", "DELETE", "TRACE", "PUT"] {
        let mut connection = server.connect();
        let reply = connection.ask(method, EVENTS, &[], b"");
        reply.problem(405, "method-not-allowed");
        assert_eq!(reply.header("allow"), Some("GET, HEAD, POST, OPTIONS"));
    }
    let options = server.ask("OPTIONS", EVENTS, &[], "");
    assert_eq!(
        (options.status, options.header("allow")),
        (204, Some("GET, HEAD, POST, OPTIONS"))
    );
    check(
        &server,
        request("BREW", EVENTS, "", ""),
        Problem(501, "not-implemented"),
    );
    check(
        &server,
        request(&"X".repeat(1_000), EVENTS, "", ""),
        Problem(501, "not-implemented"),
    );
    check(
        &server,
        "CONNECT localhost:80 HTTP/1.1\r\nHost: localhost\r\n\r\n",
        Problem(404, "not-found"),
    );
    check(&server, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", Closed);
    check(
        &server,
        request("OPTIONS", "*", "", ""),
        Problem(404, "not-found"),
    );
    // A target that names another host is its path; nothing is fetched.
    check(
        &server,
        request("GET", "http://other.example/healthz", "", ""),
        Good(200),
    );
    check(&server, request("HEAD", "/healthz", "", ""), Good(200));
}

#[test]
fn a_thousand_requests_in_one_packet_are_answered_in_order() {
    let server = Server::start();
    let mut connection = server.connect();
    let requests: String = (0..1_000)
        .map(|n| format!("GET /healthz HTTP/1.1\r\nHost: localhost\r\nX-Request-Id: n{n}\r\n\r\n"))
        .collect();
    connection.send(requests);
    for n in 0..1_000 {
        let reply = connection.read_reply(false);
        assert_eq!(reply.header("x-request-id"), Some(&*format!("n{n}")));
    }
}

#[test]
fn no_name_of_a_log_becomes_another_path() {
    let server = Server::start();
    let before = server.directories();
    let long = "x".repeat(256);
    for name in [
        "..",
        "%2e%2e",
        "a%2fb",
        "..%2f..%2fescaped",
        ".",
        "CON",
        "A",
        &long,
        ".a",
        "-a",
        "%00",
        "%ff",
        "a%zz",
    ] {
        for method in ["PUT", "GET"] {
            let target = format!("/v1/logs/{name}");
            check(
                &server,
                request(method, &target, "", ""),
                Problem(400, "invalid-log-name"),
            );
        }
    }
    for target in ["/v1/logs/", "/v1/logs//events"] {
        check(&server, get(target), Problem(400, "invalid-log-name"));
    }
    assert_eq!(server.directories(), before, "nothing was made anywhere");
}

#[test]
fn names_that_are_no_text_are_refused() {
    let server = Server::start();
    let long = "x".repeat(256);
    for name in [
        "%ff",
        "%c0%ae",
        "%ed%a0%80",
        "%0",
        "%zz",
        "%00",
        "a%0d%0ab",
        "%7f",
        &long,
    ] {
        for target in [
            format!("/v1/logs/default/streams/{name}"),
            format!("/v1/logs/default/consumers/{name}"),
        ] {
            check(&server, get(&target), Problem(400, "invalid-name"));
        }
        let target = format!("/v1/logs/default/streams/{name}/events");
        let body = r#"{"type":"t","data":1}"#;
        check(
            &server,
            request("POST", &target, JSON, body),
            Problem(400, "invalid-name"),
        );
    }
    check(
        &server,
        get("/v1/logs/default/streams//events"),
        Problem(400, "invalid-name"),
    );
    check(
        &server,
        get("/v1/logs/default/consumers//ack"),
        Problem(400, "invalid-name"),
    );
    for member in ["stream", "type", "eventId"] {
        for value in ["", "a\\u0000", "a\\nb", &long] {
            let others = match member {
                "stream" => r#""type":"t""#,
                "type" => r#""stream":"s""#,
                _ => r#""stream":"s","type":"t""#,
            };
            let body = format!(r#"{{"{member}":"{value}",{others},"data":1}}"#);
            check(&server, post(body), Problem(400, "invalid-name"));
        }
    }
    nothing_is_stored(&server);
}

#[test]
fn headers_of_a_publish_that_make_no_sense_are_refused() {
    let server = Server::start();
    let with = |headers: &str| {
        let headers = format!("{JSON}{headers}");
        request(
            "POST",
            "/v1/logs/default/streams/s/events",
            &headers,
            r#"{"type":"t","data":1}"#,
        )
    };
    for headers in [
        "Idempotency-Key: \r\n",
        "Idempotency-Key: a b\r\n",
        "Idempotency-Key: é\r\n",
        "Idempotency-Key: a\r\nIdempotency-Key: b\r\n",
        &format!("Idempotency-Key: {}\r\n", "x".repeat(300)),
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
    ] {
        check(&server, with(headers), Problem(400, "invalid-header"));
    }
    let of_no_stream = request("POST", EVENTS, &format!("{JSON}If-None-Match: *\r\n"), GOOD);
    check(&server, of_no_stream, Problem(400, "invalid-header"));
    for headers in [
        "",
        "Content-Type: text/xml\r\n",
        "Content-Type: text/plain\r\n",
        "Content-Type: application/json; charset=latin1\r\n",
        "Content-Type: application/json\r\nContent-Encoding: gzip\r\n",
    ] {
        check(
            &server,
            request("POST", EVENTS, headers, GOOD),
            Problem(415, "unsupported-media-type"),
        );
    }
    let two = "Content-Type: application/json\r\nContent-Type: application/json\r\n";
    check(
        &server,
        request("POST", EVENTS, two, GOOD),
        Problem(400, "invalid-header"),
    );
    nothing_is_stored(&server);
}

#[test]
fn bodies_that_are_no_events_are_refused() {
    let server = Server::start();
    let event = |data: &str| format!(r#"{{"stream":"s","type":"t","data":{data}}}"#);
    let deep = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
    let mut not_utf8 = br#"{"stream":"s","type":"t","data":"x"}"#.to_vec();
    not_utf8[33] = 0xff;
    check(&server, post(&not_utf8), Problem(400, "invalid-json"));
    for body in [
        event(r#""\ud800""#),
        event(&deep(10_000)),
        event(&deep(129)),
        event(&"1".repeat(1 << 20)),
        event("NaN"),
        event("01"),
        event("[1,]"),
        format!("\u{feff}{GOOD}"),
        format!("{GOOD},"),
        format!("{GOOD}{GOOD}"),
        format!("{{{}", &GOOD[1..GOOD.len() - 1]),
        r#"{"stream":"s","type":"t","data":1,"data":2}"#.to_owned(),
        "'".to_owned(),
    ] {
        let mut connection = server.connect();
        connection.send(post(&body));
        let problem = connection.read_reply(false).problem(400, "invalid-json");
        assert!(problem["offset"].is_u64(), "the byte is named: {problem}");
    }
    check(&server, post(""), Problem(400, "invalid-json"));
    check(&server, post("[]"), Problem(400, "empty-batch"));
    check(
        &server,
        post(r#"{"events":[]}"#),
        Problem(400, "empty-batch"),
    );
    check(
        &server,
        post(r#"{"stream":"s","type":"t","data":1,"daat":1}"#),
        Problem(400, "unknown-member"),
    );
    check(
        &server,
        post(r#"{"stream":"s","type":"t"}"#),
        Problem(400, "invalid-member"),
    );
    check(&server, post("7"), Problem(400, "invalid-member"));
    let many = format!("[{}{GOOD}]", format!("{GOOD},").repeat(10_000));
    check(&server, post(many), Problem(413, "too-many-events"));
    let metadata = "x".repeat(65 << 10);
    let body = format!(r#"{{"stream":"s","type":"t","data":1,"metadata":{{"m":"{metadata}"}}}}"#);
    check(&server, post(body), Problem(413, "too-large"));
    let ndjson = "Content-Type: application/x-ndjson\r\n";
    let lines = |lines: String| request("POST", EVENTS, ndjson, lines);
    check(
        &server,
        lines("\n\n".to_owned()),
        Problem(400, "empty-batch"),
    );
    check(
        &server,
        lines(format!("[{GOOD}]\n")),
        Problem(400, "invalid-member"),
    );
    let broken = format!("{GOOD}\n").repeat(9_998) + "{\n" + GOOD;
    let mut connection = server.connect();
    connection.send(lines(broken));
    let problem = connection.read_reply(false).problem(400, "invalid-json");
    assert_eq!(
        (problem["line"].as_u64(), problem["index"].as_u64()),
        (Some(9_999), Some(9_998))
    );
    nothing_is_stored(&server);
    check(&server, post(event(&deep(128))), Good(201));
    check(&server, lines(format!("{GOOD}\n\n{GOOD}")), Good(201));
}

#[test]
fn queries_that_make_no_sense_are_refused_by_name() {
    let server = Server::start();
    server.post(EVENTS, &event("s", "t", 1)).good();
    for (query, code, name) in [
        ("from=-1", "invalid-parameter", "from"),
        ("from=0", "invalid-parameter", "from"),
        ("from=1e3", "invalid-parameter", "from"),
        ("from=%201", "invalid-parameter", "from"),
        ("from=", "invalid-parameter", "from"),
        ("from=9223372036854775808", "invalid-parameter", "from"),
        ("from=18446744073709551616", "invalid-parameter", "from"),
        ("from=end", "invalid-parameter", "from"),
        ("to=0", "invalid-parameter", "to"),
        ("after=-1", "invalid-parameter", "after"),
        ("limit=0", "invalid-parameter", "limit"),
        ("limit=-1", "invalid-parameter", "limit"),
        ("limit=x", "invalid-parameter", "limit"),
        ("direction=up", "invalid-parameter", "direction"),
        ("since=yesterday", "invalid-parameter", "since"),
        ("until=2013-01-01", "invalid-parameter", "until"),
        ("stream=", "invalid-parameter", "stream"),
        ("stream=%00", "invalid-parameter", "stream"),
        ("type=%ff", "invalid-parameter", "type"),
        ("from=1&from=1", "repeated-parameter", "from"),
        ("limt=10", "unknown-parameter", "limt"),
        ("FROM=1", "unknown-parameter", "FROM"),
    ] {
        let problem = server.get(&format!("{EVENTS}?{query}")).problem(400, code);
        assert_eq!(problem["parameter"], name, "{query}");
        assert!(
            problem["detail"].as_str().unwrap().contains(name),
            "{query}"
        );
    }
    check(
        &server,
        get(&format!("{EVENTS}?from=5&to=4")),
        Problem(400, "invalid-range"),
    );
    for target in [
        "/v1/logs?x=1",
        "/v1/logs/default?x=1",
        "/v1/logs/default/events/1?x=1",
        "/v1/logs/default/streams?x=1",
        "/v1/logs/default/streams/s?x=1",
        "/v1/logs/default/streams/s/events?stream=s",
        "/v1/logs/default/consumers?x=1",
        "/v1/logs/default/consumers/c?x=1",
    ] {
        check(&server, get(target), Problem(400, "unknown-parameter"));
    }
    let publish = request("POST", &format!("{EVENTS}?x=1"), JSON, GOOD);
    check(&server, publish, Problem(400, "unknown-parameter"));
    for id in ["0", "-1", "x", "1x", "9223372036854775808", "%3x"] {
        let target = format!("/v1/logs/default/events/{id}");
        check(&server, get(&target), Problem(400, "invalid-parameter"));
    }
    check(
        &server,
        get("/v1/logs/default/events/2"),
        Problem(404, "no-such-event"),
    );
    check(
        &server,
        get("/v1/logs/default/events/9223372036854775807"),
        Problem(404, "no-such-event"),
    );
}

#[test]
fn readers_that_ask_for_nonsense_are_refused() {
    let server = Server::start();
    let sse = |headers: &str, query: &str| {
        let headers = format!("Accept: text/event-stream\r\n{headers}");
        request("GET", &format!("{EVENTS}?{query}"), &headers, "")
    };
    for id in ["x", "-1", "9223372036854775808", ""] {
        let headers = format!("Last-Event-ID: {id}\r\n");
        check(&server, sse(&headers, ""), Problem(400, "invalid-header"));
    }
    check(
        &server,
        sse("", "direction=backward"),
        Problem(400, "invalid-range"),
    );
    let accept = |accept: &str| request("GET", EVENTS, &format!("Accept: {accept}\r\n"), "");
    check(&server, accept("text/html"), Problem(406, "not-acceptable"));
    check(
        &server,
        accept("application/json;q=0"),
        Problem(406, "not-acceptable"),
    );
    let one = request(
        "GET",
        "/v1/logs/default/events/1",
        "Accept: text/event-stream\r\n",
        "",
    );
    check(&server, one, Problem(406, "not-acceptable"));
    let tag = request(
        "GET",
        "/v1/logs/default/events?from=1&to=1",
        "If-None-Match: x\r\n",
        "",
    );
    check(&server, tag, Good(200));
}

#[test]
fn definitions_that_make_no_sense_are_refused() {
    let server = Server::start();
    let put = |body: &str| request("PUT", "/v1/logs/default/consumers/c", JSON, body);
    for (body, code) in [
        ("[]", "invalid-member"),
        ("{", "invalid-json"),
        (r#"{"filtre":{}}"#, "unknown-member"),
        (r#"{"filter":{"streams":["a"]}}"#, "unknown-member"),
        (r#"{"filter":{"stream":7}}"#, "invalid-member"),
        (r#"{"filter":{"types":"x"}}"#, "invalid-member"),
        (r#"{"filter":{"types":[""]}}"#, "invalid-name"),
        (r#"{"start":"middle"}"#, "invalid-member"),
        (r#"{"start":0}"#, "invalid-member"),
        (r#"{"start":1.5}"#, "invalid-member"),
    ] {
        check(&server, put(body), Problem(400, code));
    }
    check(
        &server,
        request("PUT", "/v1/logs/default/consumers/c", "", "{}"),
        Problem(415, "unsupported-media-type"),
    );
    server
        .get("/v1/logs/default/consumers/c")
        .problem(404, "no-such-consumer");
}

#[test]
fn a_form_that_there_is_not_is_refused_before_anything_is_done() {
    let server = Server::start();
    let headers = [
        ("Accept", "text/html"),
        ("Content-Type", "application/json"),
    ];
    let body = event("s", "t", 1).to_string();
    for (method, target) in [
        ("GET", "/v1/logs"),
        ("GET", "/v1/logs/default"),
        ("GET", "/v1/logs/default/streams"),
        ("GET", "/v1/logs/default/consumers"),
        ("POST", EVENTS),
    ] {
        let body = if method == "POST" { &*body } else { "" };
        let reply = server.ask(method, target, &headers, body);
        reply.problem(406, "not-acceptable");
    }
    assert_eq!(server.get("/v1/logs/default").good()["lastId"], 0);
    assert_eq!(server.get_as("/healthz", "text/html").status, 200);
}

#[test]
fn what_is_wrong_is_named_where_it_is() {
    let server = Server::start();
    server.fill("..", 2);
    let problem = server
        .get(&format!("{EVENTS}/x"))
        .problem(400, "invalid-parameter");
    let detail = problem["detail"].as_str().unwrap();
    assert!(detail.contains("in the path"), "{detail}");
    assert_eq!(server.get(&format!("{EVENTS}/%31")).good()["id"], 1);
    let headers = [("If-None-Match", "*")];
    let reply = server.post_with(EVENTS, &headers, &event("s", "t", 1));
    assert!(reply.text().contains("if-none-match"), "{}", reply.text());
    let page = server.get(&format!("{}?limit=1", of_stream("..")));
    let next = page.link("next").unwrap();
    assert!(next.contains("/%2E%2E/"), "{next}");
    assert_eq!(server.get(&next).good()["events"][0]["id"], 2);
}
