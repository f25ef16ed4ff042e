//! Replaying ranges: pages, lines, filters, and what may be kept.

use std::os::unix::fs::FileExt as _;

use serde_json::{Value, json};

use crate::harness::{EVENTS, Server, event, ids, of_stream};

const NDJSON: &str = "application/x-ndjson";

#[track_caller]
fn page(server: &Server, query: &str) -> Vec<u64> {
    ids(&server.get(&format!("{EVENTS}?{query}")).good())
}

#[test]
fn a_range_is_inclusive_and_backward_only_turns_the_order() {
    let server = Server::start();
    server.fill("s", 10);
    assert_eq!(page(&server, "from=3&to=5"), [3, 4, 5]);
    assert_eq!(page(&server, "from=3&to=5&direction=backward"), [5, 4, 3]);
    assert_eq!(page(&server, "after=8"), [9, 10]);
    assert_eq!(page(&server, "limit=2"), [1, 2]);
    assert_eq!(page(&server, "limit=2&direction=backward"), [10, 9]);
    assert_eq!(page(&server, "from=11"), [0; 0]);
    assert_eq!(page(&server, "from=9&to=500"), [9, 10]);
}

#[test]
fn filters_find_streams_types_and_tags() {
    let server = Server::start();
    let mut tagged = event("b", "y", 4);
    tagged["tags"] = json!(["red", "big"]);
    let events = [
        event("a", "x", 1),
        event("b", "x", 2),
        event("a", "y", 3),
        tagged,
    ];
    server.post(EVENTS, &json!(events)).good();
    assert_eq!(page(&server, "stream=a"), [1, 3]);
    assert_eq!(page(&server, "type=x"), [1, 2]);
    assert_eq!(page(&server, "type=x&type=y"), [1, 2, 3, 4]);
    assert_eq!(page(&server, "stream=b&type=y"), [4]);
    assert_eq!(page(&server, "tag=red&tag=big"), [4]);
    assert_eq!(page(&server, "tag=red&tag=small"), [0; 0]);
    assert_eq!(page(&server, "stream=nobody"), [0; 0]);
    let read = ids(&server.get(&format!("{}?type=y", of_stream("a"))).good());
    assert_eq!(read, [3]);
}

#[test]
fn times_of_recording_bound_a_range() {
    let server = Server::start();
    server.fill("s", 3);
    let last = server.get("/v1/logs/default/events/3").good();
    let recorded = last["recordedAt"].as_str().unwrap();
    // All three were recorded by then, `since` counts it in, `until` does not.
    let found = page(&server, &format!("since={recorded}"));
    assert!(found.ends_with(&[3]));
    let before = page(&server, &format!("until={recorded}"));
    assert_eq!([before, found].concat(), [1, 2, 3]);
    assert_eq!(page(&server, "until=1990-01-01T00:00:00Z"), [0; 0]);
    assert_eq!(page(&server, "since=2990-01-01T00:00:00%2B01:00"), [0; 0]);
}

#[test]
fn following_the_links_reads_everything_once() {
    let server = Server::start();
    server.fill("s", 250);
    for (start, want) in [
        ("limit=40", (1..=250).collect::<Vec<_>>()),
        ("limit=40&direction=backward", (1..=250).rev().collect()),
        ("stream=s&type=counted", (1..=250).collect()),
    ] {
        let mut found = Vec::new();
        let mut target = Some(format!("{EVENTS}?{start}"));
        let mut pages = 0;
        while let Some(next) = target {
            let reply = server.get(&next);
            let page = reply.good();
            found.extend(ids(&page));
            target = reply.link("next");
            assert_eq!(target.is_some(), !page["next"].is_null());
            assert_eq!(page["lastId"], 250);
            pages += 1;
        }
        assert_eq!(found, want);
        assert!(pages >= 3, "the pages have limits");
    }
}

#[test]
fn a_reader_that_has_caught_up_is_told_where_to_go_on() {
    let server = Server::start();
    server.fill("s", 3);
    let reply = server.get(&format!("{EVENTS}?from=9"));
    assert_eq!(
        reply.good(),
        json!({ "events": [], "next": null, "lastId": 3 })
    );
    let reply = server.get(&format!("{EVENTS}?from=2"));
    let monitor = reply.link("monitor").unwrap();
    server.fill("s", 1);
    assert_eq!(ids(&server.get(&monitor).good()), [4]);
}

#[test]
fn a_limit_over_the_cap_is_capped_and_said_so() {
    let server = Server::start();
    server.fill("s", 101);
    assert_eq!(ids(&server.get(EVENTS).good()).len(), 100);
    let reply = server.get(&format!("{EVENTS}?limit=1000000000"));
    assert_eq!(reply.header("strandlog-limit-applied"), Some("10000"));
    assert_eq!(ids(&reply.good()).len(), 101);
    assert_eq!(server.get(EVENTS).header("strandlog-limit-applied"), None);
}

#[test]
fn lines_give_all_events_in_order_and_end_at_the_end() {
    let server = Server::start();
    server.fill("s", 10_000);
    let reply = server.get_as(EVENTS, NDJSON);
    assert_eq!(reply.status, 200);
    assert_eq!(reply.header("content-type"), Some(NDJSON));
    assert!(reply.whole && reply.body.ends_with(b"\n"));
    let mut count = 0;
    for (line, n) in reply.text().lines().zip(0_u64..) {
        let event: Value = serde_json::from_str(line).unwrap();
        assert_eq!(
            (&event["id"], &event["data"]["n"]),
            (&json!(n + 1), &json!(n))
        );
        count += 1;
    }
    assert_eq!(count, 10_000);
    let reply = server.get_as(&format!("{EVENTS}?from=9999&direction=backward"), NDJSON);
    assert!(reply.text().starts_with("{\"id\":10000,"));
    assert_eq!(reply.text().lines().count(), 2);
}

#[test]
fn a_payload_with_line_breaks_is_one_line_among_lines() {
    let server = Server::start();
    let data = "{\r\n  \"a\": [\n1 ]\n}";
    let body = format!(r#"{{"stream":"s","type":"t","data":{data}}}"#);
    let headers = [("Content-Type", "application/json")];
    server.ask("POST", EVENTS, &headers, body).good();
    assert!(server.get(EVENTS).text().contains(data));
    let lines = server.get_as(EVENTS, NDJSON);
    assert_eq!(lines.text().lines().count(), 1);
    assert!(lines.text().contains("\"data\":{  \"a\": [1 ]}"));
}

#[test]
fn a_range_that_can_never_change_may_be_kept() {
    let server = Server::start();
    server.fill("s", 5);
    for (target, accept) in [
        (format!("{EVENTS}?from=2&to=4"), "application/json"),
        (format!("{EVENTS}?from=2&to=4"), NDJSON),
        (
            format!("{EVENTS}?from=2&to=4"),
            "application/vnd.strandlog.records",
        ),
        ("/v1/logs/default/events/3".to_owned(), "application/json"),
    ] {
        let first = server.get_as(&target, accept);
        let tag = first.header("etag").unwrap().to_owned();
        assert!(first.header("cache-control").unwrap().contains("immutable"));
        server.fill("s", 1);
        let later = server.get_as(&target, accept);
        assert_eq!(
            (later.header("etag"), &later.body),
            (Some(&*tag), &first.body)
        );
        let headers = [("Accept", accept), ("If-None-Match", tag.as_str())];
        assert_eq!(server.ask("GET", &target, &headers, "").status, 304);
    }
    for target in [
        EVENTS.to_owned(),
        format!("{EVENTS}?from=2"),
        format!("{EVENTS}?from=2&to=4000"),
        format!("{EVENTS}?to=4"),
    ] {
        let reply = server.get(&target);
        assert_eq!(reply.header("cache-control"), Some("no-cache"), "{target}");
        assert_eq!(reply.header("etag"), None, "{target}");
    }
}

#[test]
fn the_head_is_that_of_the_whole_reply() {
    let server = Server::start();
    server.fill("s", 5);
    for accept in ["application/json", NDJSON, "text/event-stream"] {
        let headers = [("Accept", accept), ("Prefer", "wait=20")];
        let target = format!("{EVENTS}?from=2&to=4");
        let reply = server.ask("HEAD", &target, &headers, "");
        assert_eq!(reply.status, 200);
        assert_eq!(reply.header("content-type"), Some(accept));
    }
}

#[test]
fn the_client_chooses_the_representation() {
    let server = Server::start();
    server.fill("s", 1);
    for (accept, want) in [
        ("*/*", "application/json"),
        ("application/json;q=0.1, application/x-ndjson", NDJSON),
        (
            "application/vnd.strandlog.records",
            "application/vnd.strandlog.records",
        ),
    ] {
        let reply = server.get_as(EVENTS, accept);
        assert_eq!(reply.header("content-type"), Some(want));
        assert_eq!(reply.header("vary"), Some("accept"));
    }
    server
        .get_as(EVENTS, "text/html")
        .problem(406, "not-acceptable");
}

#[test]
fn damage_is_named_and_breaks_a_reply_off_instead_of_shortening_it() {
    let server = Server::start();
    server.fill("s", 6_000);
    let oldest = &server.segment_files()[0];
    let file = std::fs::OpenOptions::new()
        .read(true)
        .write(true)
        .open(oldest)
        .unwrap();
    let mut byte = [0];
    // In the middle of the oldest segment, behind what the first read of a replay takes.
    file.read_exact_at(&mut byte, 200 << 10).unwrap();
    file.write_all_at(&[byte[0] ^ 1], 200 << 10).unwrap();

    let reply = server.get_as(EVENTS, NDJSON);
    assert_eq!(
        reply.status, 200,
        "the head was sent before the damage was met"
    );
    assert!(!reply.whole, "the body has no end mark");
    let mut lines: Vec<Value> = reply
        .text()
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let last = lines.pop().unwrap();
    assert_eq!(last["problem"]["code"], "damaged", "{last}");
    assert!(!lines.is_empty());
    for (line, id) in lines.iter().zip(1_u64..) {
        assert_eq!(
            (&line["id"], &line["data"]["n"]),
            (&json!(id), &json!(id - 1))
        );
    }
    let next = lines.len() + 1;
    let target = format!("{EVENTS}?from={next}&limit=1000");
    server.get(&target).problem(500, "damaged");
    assert_eq!(
        page(&server, "from=5999"),
        [5_999, 6_000],
        "the rest stays readable"
    );
    server.fill("s", 1);
}
