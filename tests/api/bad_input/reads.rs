//! What readers and consumers ask for.

use std::time::{Duration, Instant};

use serde_json::json;
use strandlog::app::Limits;

use super::bench::Answer::Problem;
use super::bench::{Bench, JSON, get, post, request};
use crate::harness::{EVENTS, Server, event, ids};

pub(super) fn limits(limits: &mut Limits) {
    limits.wait_max = Duration::from_secs(1);
}

pub(super) fn queries_that_make_no_sense_are_refused_by_name(bench: &mut Bench) {
    bench.takes(post(event("s", "t", 1).to_string()), 201);
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
        let problem = bench.problem(get(&format!("{EVENTS}?{query}")), 400, code);
        assert_eq!(problem["parameter"], name, "{query}");
        let detail = problem["detail"].as_str().unwrap();
        assert!(detail.contains(name), "{query}");
    }
    for range in ["from=5&to=4", "after=6&to=3", "after=4&to=3&from=1"] {
        for form in [
            "application/json",
            "application/x-ndjson",
            "text/event-stream",
        ] {
            let accept = format!("Accept: {form}\r\n");
            let bytes = request("GET", &format!("{EVENTS}?{range}"), &accept, "");
            bench.refuses(bytes, Problem(400, "invalid-range"));
        }
    }
    // Where a reader stands that has read the range to its end.
    let done = bench.takes(get(&format!("{EVENTS}?after=1&to=1")), 200);
    assert_eq!(ids(&done.json()), [0; 0]);
    for target in [
        "/",
        "/healthz",
        "/readyz",
        "/metrics",
        "/openapi.json",
        "/v1/logs",
        "/v1/logs/default",
        "/v1/logs/default/events/1",
        "/v1/logs/default/streams",
        "/v1/logs/default/streams/s",
        "/v1/logs/default/consumers",
        "/v1/logs/default/consumers/c",
    ] {
        let problem = bench.problem(get(&format!("{target}?x=1")), 400, "unknown-parameter");
        assert_eq!(problem["parameter"], "x", "{target}");
    }
    let named = get("/v1/logs/default/streams/s/events?stream=s");
    bench.refuses(named, Problem(400, "unknown-parameter"));
    let body = event("s", "t", 1).to_string();
    let publish = request("POST", &format!("{EVENTS}?x=1"), JSON, body);
    bench.refuses(publish, Problem(400, "unknown-parameter"));
    for id in ["0", "-1", "x", "1x", "9223372036854775808", "%3x"] {
        let target = format!("{EVENTS}/{id}");
        bench.refuses(get(&target), Problem(400, "invalid-parameter"));
    }
    for id in ["2", "9223372036854775807"] {
        let target = format!("{EVENTS}/{id}");
        bench.refuses(get(&target), Problem(404, "no-such-event"));
    }
    let capped = bench.takes(get(&format!("{EVENTS}?limit=1000000000")), 200);
    assert_eq!(capped.header("strandlog-limit-applied"), Some("10000"));
}

pub(super) fn ranges_beyond_either_end_are_told_apart(bench: &mut Bench) {
    let beyond = bench.takes(get(&format!("{EVENTS}?from=5")), 200);
    assert_eq!(
        beyond.json(),
        json!({ "events": [], "next": null, "lastId": 0 })
    );
    assert!(beyond.link("monitor").is_some());

    let mut bench = Bench::new(Server::start_sized(16 << 10, |_| {}));
    let first = retain_the_last(&bench.server);
    bench.look();
    for target in [
        format!("{EVENTS}?from=1"),
        format!("{EVENTS}?after=0"),
        format!("{EVENTS}?to=1"),
        format!("{EVENTS}/1"),
    ] {
        let problem = bench.problem(get(&target), 410, "expired");
        assert!(problem["firstId"].as_u64().unwrap() >= first, "{problem}");
    }
}

/// Publishes until retention has removed something; the first id that is kept.
fn retain_the_last(server: &Server) -> u64 {
    let retention = json!({ "retention": { "maxEvents": 10 } });
    server.put("/v1/logs/default", &retention).good();
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        server.fill("s", 20);
        let first = server.get("/v1/logs/default").good()["firstId"].clone();
        if first != 1 {
            return first.as_u64().unwrap();
        }
        assert!(Instant::now() < deadline, "nothing was removed");
    }
}

pub(super) fn acknowledgements_never_go_wrong_or_back(bench: &mut Bench) {
    bench.server.fill("s", 5);
    bench.server.put("/v1/logs/other", &json!({})).good();
    let consumer = "/v1/logs/default/consumers/c";
    bench.server.put(consumer, &json!({})).good();
    bench.look();
    let ack = |body: &str| request("POST", &format!("{consumer}/ack"), JSON, body);
    assert_eq!(bench.takes(ack(r#"{"id":4}"#), 200).json()["checkpoint"], 4);
    let problem = bench.problem(ack(r#"{"id":6}"#), 409, "beyond-end");
    assert_eq!(problem["lastId"], 5);
    for back in [r#"{"id":1}"#, r#"{"id":4}"#] {
        assert_eq!(bench.takes(ack(back), 200).json()["checkpoint"], 4);
    }
    let problem = bench.problem(ack(r#"{"id":0}"#), 400, "invalid-member");
    let detail = problem["detail"].as_str().unwrap();
    assert!(detail.contains("nothing to acknowledge"), "{detail}");
    for bad in [
        r#"{"id":-1}"#,
        r#"{"id":1.5}"#,
        r#"{"id":"5"}"#,
        r#"{"id":18446744073709551616}"#,
        r#"{"id":9223372036854775808}"#,
        r#"{"id":null}"#,
        "{}",
        "5",
    ] {
        bench.refuses(ack(bad), Problem(400, "invalid-member"));
    }
    let elsewhere = "/v1/logs/other/consumers/c/ack";
    let of_other = request("POST", elsewhere, JSON, r#"{"id":5}"#);
    bench.refuses(of_other, Problem(404, "no-such-consumer"));
    assert_eq!(bench.server.get(consumer).good()["checkpoint"], 4);
}

pub(super) fn a_stream_goes_on_after_an_id_alone(bench: &mut Bench) {
    let sse = |headers: &str, query: &str| {
        let headers = format!("Accept: text/event-stream\r\n{headers}");
        request("GET", &format!("{EVENTS}?{query}"), &headers, "")
    };
    for id in ["x", "-1", "1.5", "Done", "9223372036854775808", ""] {
        let header = format!("Last-Event-ID: {id}\r\n");
        let problem = bench.problem(sse(&header, ""), 400, "invalid-header");
        assert_eq!(problem["header"], "last-event-id");
    }
    let two = "Last-Event-ID: 1\r\nLast-Event-ID: 2\r\n";
    bench.refuses(sse(two, ""), Problem(400, "invalid-header"));
    bench.refuses(sse("", "direction=backward"), Problem(400, "invalid-range"));
    let until = "until=2030-01-01T00:00:00Z";
    bench.refuses(sse("", until), Problem(400, "invalid-range"));
}

pub(super) fn a_wish_to_wait_is_capped_or_ignored(bench: &mut Bench) {
    let wait = |wish: &str| request("GET", EVENTS, &format!("Prefer: wait={wish}\r\n"), "");
    let capped = bench.takes(wait("999999"), 200);
    assert_eq!(capped.header("preference-applied"), Some("wait=1"));
    assert_eq!(ids(&capped.json()), [0; 0]);
    for wish in ["-1", "1.5", "x", ""] {
        let ignored = bench.takes(wait(wish), 200);
        assert_eq!(ignored.header("preference-applied"), None, "{wish}");
    }
}

pub(super) fn what_cannot_be_accepted_is_refused(bench: &mut Bench) {
    let accepting =
        |target: &str, accept: &str| request("GET", target, &format!("Accept: {accept}\r\n"), "");
    let refused = Problem(406, "not-acceptable");
    for accept in ["text/html", "application/json;q=0", "*/*;q=0"] {
        bench.refuses(accepting(EVENTS, accept), refused);
        bench.refuses(accepting("/v1/logs", accept), refused);
    }
    let one = accepting("/v1/logs/default/events/1", "text/event-stream");
    bench.refuses(one, refused);
    let body = event("s", "t", 1).to_string();
    let headers = format!("{JSON}Accept: text/html\r\n");
    bench.refuses(request("POST", EVENTS, &headers, body), refused);
}
