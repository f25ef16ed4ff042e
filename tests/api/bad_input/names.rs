//! Names of logs and streams: one becomes a path and is restricted, the other never does.

use strandlog::app::Limits;

use super::bench::Answer::Problem;
use super::bench::{Bench, JSON, get, post, request};
use crate::harness::EVENTS;

pub(super) fn limits(_limits: &mut Limits) {}

pub(super) fn no_name_of_a_log_becomes_a_path(bench: &mut Bench) {
    let before = bench.server.entries();
    let long = "x".repeat(256);
    let refused = Problem(400, "invalid-log-name");
    for name in [
        "..",
        "%2e%2e",
        "a%2fb",
        "..%2f..%2fescaped",
        "%2e%2e%2f%2e%2e%2fescaped",
        "a%5cb",
        ".",
        "CON",
        "A",
        &long,
        ".a",
        "-a",
        "%00",
        "a%00",
        "%ff",
        "a%zz",
    ] {
        for method in ["PUT", "GET"] {
            let target = format!("/v1/logs/{name}");
            bench.refuses(request(method, &target, "", ""), refused);
        }
        let target = format!("/v1/logs/{name}/events");
        bench.refuses(request("POST", &target, JSON, "1"), refused);
    }
    for target in ["/v1/logs/", "/v1/logs//events"] {
        bench.refuses(get(target), refused);
    }
    let after = bench.server.entries();
    assert_eq!(after, before, "nothing was made, and nothing went");
}

pub(super) fn any_text_is_a_name_of_a_stream(bench: &mut Bench) {
    let before = bench.server.entries();
    let long = "x".repeat(255);
    for (raw, name) in [
        ("%2e%2e%2f", "../"),
        ("..", ".."),
        ("a%2fb", "a/b"),
        ("%25", "%"),
        ("%2541", "%41"),
        ("%F0%9F%9B%AB", "\u{1f6eb}"),
        ("a+b", "a+b"),
        (&long, &long),
    ] {
        let target = format!("/v1/logs/default/streams/{raw}/events");
        let body = r#"{"type":"t","data":1}"#;
        let reply = bench.takes(request("POST", &target, JSON, body), 201);
        assert_eq!(reply.json()["events"][0]["stream"], name);
        let page = bench.takes(get(&target), 200).json();
        assert_eq!(page["events"].as_array().unwrap().len(), 1);
        assert_eq!(page["events"][0]["stream"], name);
    }
    assert_eq!(bench.server.entries(), before, "names are only text");
}

/// A name in each place where one can stand.
#[track_caller]
fn refused_everywhere(bench: &mut Bench, raw: &str) {
    let refused = Problem(400, "invalid-name");
    for kind in ["streams", "consumers"] {
        bench.refuses(get(&format!("/v1/logs/default/{kind}/{raw}")), refused);
        bench.refuses(
            get(&format!("/v1/logs/default/{kind}/{raw}/events")),
            refused,
        );
    }
    let target = format!("/v1/logs/default/streams/{raw}/events");
    let body = r#"{"type":"t","data":1}"#;
    bench.refuses(request("POST", &target, JSON, body), refused);
    let target = format!("/v1/logs/default/consumers/{raw}");
    bench.refuses(request("PUT", &target, JSON, "{}"), refused);
}

pub(super) fn what_is_no_text_is_no_name(bench: &mut Bench) {
    for raw in ["%ff", "%c0%ae", "%ed%a0%80", "%0", "%zz", "%"] {
        refused_everywhere(bench, raw);
        let problem = bench.problem(
            get(&format!("{EVENTS}?stream={raw}")),
            400,
            "invalid-parameter",
        );
        assert_eq!(problem["parameter"], "stream");
    }
}

pub(super) fn controls_are_refused_and_not_echoed(bench: &mut Bench) {
    let long = "x".repeat(256);
    for raw in ["%00", "a%0d%0aX-Injected:%201", "%7f", "%c2%85", &long] {
        refused_everywhere(bench, raw);
        let answer = Problem(400, "invalid-name");
        let target = format!("/v1/logs/default/streams/{raw}");
        let reply = bench.refuses(get(&target), answer).unwrap();
        assert_eq!(reply.header("x-injected"), None);
        let shown = reply.text().bytes().all(|byte| !byte.is_ascii_control());
        assert!(shown, "{}", reply.text());
    }
    for target in [
        "/v1/logs/default/streams//events",
        "/v1/logs/default/consumers//ack",
    ] {
        bench.refuses(get(target), Problem(400, "invalid-name"));
    }
    for member in ["stream", "type", "eventId"] {
        for value in ["", "a\\u0000", "a\\nb", &long] {
            let others = match member {
                "stream" => r#""type":"t""#,
                "type" => r#""stream":"s""#,
                _ => r#""stream":"s","type":"t""#,
            };
            let body = format!(r#"{{"{member}":"{value}",{others},"data":1}}"#);
            let problem = bench.problem(post(body), 400, "invalid-name");
            assert_eq!(problem["member"], member, "{problem}");
        }
    }
}
