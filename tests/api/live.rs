//! Waiting for what comes: long polls, and event streams.

use std::time::Duration;

use serde_json::{Value, json};

use crate::client::Connection;
use crate::harness::{EVENTS, Server, event, ids, of_stream};

const SSE: &str = "text/event-stream";

/// An event stream, read event by event.
struct Stream {
    connection: Connection,
    text: String,
}

impl Stream {
    fn open(server: &Server, target: &str, headers: &[(&str, &str)]) -> Self {
        let mut connection = server.connect();
        let mut headers = headers.to_vec();
        headers.push(("Accept", SSE));
        connection.request("GET", target, &headers, b"");
        let head = connection.read_head().unwrap();
        assert_eq!(head.status, 200);
        assert_eq!(head.header("content-type"), Some(SSE));
        let mut stream = Self {
            connection,
            text: String::new(),
        };
        assert_eq!(stream.next_block().as_deref(), Some("retry: 1000"));
        stream
    }

    fn next_block(&mut self) -> Option<String> {
        loop {
            if let Some((block, rest)) = self.text.split_once("\n\n") {
                let block = block.to_owned();
                self.text = rest.to_owned();
                return Some(block);
            }
            let chunk = self
                .connection
                .read_chunk()
                .expect("the body ends as it should");
            if chunk.is_empty() {
                assert!(self.text.is_empty(), "half an event: {}", self.text);
                return None;
            }
            self.text.push_str(std::str::from_utf8(&chunk).unwrap());
        }
    }

    /// The id of the next event, whose `id` line and data must agree; comments, and ids without an
    /// event, are passed over.
    fn next_id(&mut self) -> Option<u64> {
        loop {
            let block = self.next_block()?;
            if block.starts_with(':') {
                continue;
            }
            let Some((id, data)) = block.split_once("\ndata: ") else {
                assert!(block.starts_with("id: "), "{block}");
                continue;
            };
            let id = id.strip_prefix("id: ").unwrap().parse().unwrap();
            let event: Value = serde_json::from_str(data).unwrap();
            assert_eq!(event["id"], id);
            return Some(id);
        }
    }
}

#[test]
fn a_long_poll_is_answered_by_the_event_it_waits_for() {
    let server = Server::start();
    let mut connection = server.connect();
    let target = format!("{EVENTS}?type=wanted");
    connection.request("GET", &target, &[("Prefer", "wait=20")], b"");
    server.post(EVENTS, &event("s", "other", 1)).good();
    server.post(EVENTS, &event("s", "wanted", 2)).good();
    let reply = connection.read_reply(false);
    assert_eq!(ids(&reply.good()), [2]);
    assert_eq!(reply.header("preference-applied"), Some("wait=20"));
}

#[test]
fn a_long_poll_that_runs_out_is_an_empty_page() {
    let server = Server::start_with(|limits| {
        limits.wait_max = Duration::from_secs(1);
    });
    let reply = server.ask("GET", EVENTS, &[("Prefer", "wait=999999")], "");
    assert_eq!(
        reply.good(),
        json!({ "events": [], "next": null, "lastId": 0 })
    );
    assert_eq!(reply.header("preference-applied"), Some("wait=1"));
    let reply = server.ask("GET", EVENTS, &[("Prefer", "wait=-1")], "");
    assert_eq!(reply.header("preference-applied"), None);
}

#[test]
fn a_stream_replays_then_goes_on_without_gap_or_duplicate() {
    const COUNT: u64 = 600;
    let server = Server::start();
    server.fill("s", 200);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut connection = server.connect();
            for n in 200..COUNT {
                let body = event("s", "counted", n).to_string();
                let headers = [("Content-Type", "application/json")];
                connection
                    .ask("POST", EVENTS, &headers, body.as_bytes())
                    .good();
            }
        });
        let mut stream = Stream::open(&server, EVENTS, &[]);
        for id in 1..=COUNT {
            assert_eq!(stream.next_id(), Some(id));
        }
    });
}

#[test]
fn a_stream_begins_where_it_is_told() {
    let server = Server::start();
    server.fill("s", 5);
    let first = |target: &str, headers: &[(&str, &str)]| {
        Stream::open(&server, target, headers).next_id().unwrap()
    };
    assert_eq!(first(&format!("{EVENTS}?from=3"), &[]), 3);
    assert_eq!(first(EVENTS, &[("Last-Event-ID", "4")]), 5);
    assert_eq!(
        first(&format!("{EVENTS}?from=1"), &[("Last-Event-ID", "2")]),
        3
    );
    let mut fresh = Stream::open(&server, &format!("{EVENTS}?from=end"), &[]);
    let opening = fresh.next_block().unwrap();
    assert!(opening.starts_with("id: ") && !opening.contains("data"));
    server.fill("s", 1);
    assert_eq!(fresh.next_id(), Some(6));
}

#[test]
fn a_stream_ends_with_its_range() {
    let server = Server::start();
    server.fill("s", 5);
    let mut stream = Stream::open(&server, &format!("{EVENTS}?from=2&to=3"), &[]);
    assert_eq!((stream.next_id(), stream.next_id()), (Some(2), Some(3)));
    assert_eq!(stream.next_id(), None);
    let mut stream = Stream::open(&server, &format!("{EVENTS}?limit=1"), &[]);
    assert_eq!((stream.next_id(), stream.next_id()), (Some(1), None));
}

/// Reads as an `EventSource` does: it connects again with the last id whenever a stream ends, and
/// stops at 204. Gives the ids of what it got, connection by connection.
fn read_as_event_source(server: &Server, target: &str) -> Vec<Vec<u64>> {
    let mut connections = Vec::new();
    let mut last_id: Option<String> = None;
    loop {
        let mut headers = vec![("Accept", SSE)];
        headers.extend(last_id.as_deref().map(|id| ("Last-Event-ID", id)));
        let mut connection = server.connect();
        connection.request("GET", target, &headers, b"");
        let reply = connection.read_reply(false);
        if reply.status == 204 {
            return connections;
        }
        assert_eq!(reply.status, 200, "{}", reply.text());
        let mut ids = Vec::new();
        for block in reply.text().split("\n\n") {
            let mut lines = block.lines();
            if let Some(id) = lines.next().and_then(|line| line.strip_prefix("id: ")) {
                last_id = Some(id.to_owned());
                // Without data the id is kept, and no event is seen.
                if lines.next().is_some() {
                    ids.push(id.parse().unwrap());
                }
            }
        }
        connections.push(ids);
        assert!(connections.len() < 5, "{target}: {connections:?}");
    }
}

#[test]
fn who_has_the_whole_selection_is_told_not_to_come_back() {
    let server = Server::start();
    let events: Vec<Value> = ["a", "b", "a", "b", "b"]
        .into_iter()
        .map(|stream| event(stream, "t", 1))
        .collect();
    server.post(EVENTS, &json!(events)).good();
    for (query, want) in [
        ("to=3", vec![1, 2, 3]),
        ("from=2&to=3", vec![2, 3]),
        ("to=4&stream=a", vec![1, 3]),
        ("from=4&to=5&stream=a", vec![]),
        ("limit=2", vec![1, 2]),
        ("from=2&limit=2", vec![2, 3]),
        ("stream=b&limit=2", vec![2, 4]),
        ("to=5&limit=9", vec![1, 2, 3, 4, 5]),
        ("after=5&to=5", vec![]),
    ] {
        let got = read_as_event_source(&server, &format!("{EVENTS}?{query}"));
        assert_eq!(got, [want], "{query}");
    }
    let mut connection = server.connect();
    let target = format!("{EVENTS}?from=end&limit=1");
    connection.request("GET", &target, &[("Accept", SSE)], b"");
    let head = connection.read_head().unwrap();
    assert_eq!(head.status, 200);
    connection.read_chunk().unwrap();
    server.fill("s", 1);
    let mut text = Vec::new();
    while let Some(chunk) = connection.read_chunk().filter(|chunk| !chunk.is_empty()) {
        text.extend(chunk);
    }
    assert!(text.ends_with(b"\n\nid: done\n\n"));
}

#[test]
fn a_stream_that_was_cut_off_goes_on_with_what_is_left_of_its_selection() {
    let server = Server::start();
    server.fill("s", 9);
    let rest = |query: &str, last_id: &str| {
        let headers = [("Accept", SSE), ("Last-Event-ID", last_id)];
        let reply = server.ask("GET", &format!("{EVENTS}?{query}"), &headers, "");
        let blocks = reply.text().split("\n\n");
        let events = blocks.filter(|block| block.contains("\ndata: ")).count();
        (reply.status, events)
    };
    assert_eq!(rest("to=5", "3"), (200, 2));
    assert_eq!(rest("to=5", "5"), (204, 0));
    assert_eq!(rest("to=5", "7"), (204, 0));
    assert_eq!(rest("from=2&limit=4", "3"), (200, 2));
    assert_eq!(rest("after=1&limit=4", "5"), (204, 0));
    assert_eq!(rest("from=2&limit=4", "9"), (204, 0));
    assert_eq!(rest("from=2&limit=4", "done"), (204, 0));
}

#[test]
fn a_silent_stream_shows_that_it_lives() {
    let server = Server::start_with(|limits| {
        limits.heartbeat = Duration::from_millis(50);
    });
    let mut stream = Stream::open(&server, EVENTS, &[]);
    assert_eq!(stream.next_block().as_deref(), Some(":"));
    assert_eq!(stream.next_block().as_deref(), Some(":"));
    server.fill("s", 1);
    assert_eq!(stream.next_id(), Some(1));
}

#[test]
fn streams_and_waits_end_by_themselves_when_the_server_stops() {
    let mut server = Server::start();
    server.fill("s", 1);
    let mut stream = Stream::open(&server, EVENTS, &[]);
    assert_eq!(stream.next_id(), Some(1));
    let mut poll = server.connect();
    poll.request(
        "GET",
        &format!("{EVENTS}?after=1"),
        &[("Prefer", "wait=30")],
        b"",
    );
    // Its request is being worked on once another on the same server has been answered after it;
    // if it is not, it is answered all the same, or not taken at all.
    server.get("/healthz").good();
    server.tell_to_stop();
    assert_eq!(stream.next_id(), None);
    if let Some(reply) = poll.try_read_reply(false) {
        assert_eq!(reply.good()["events"], json!([]));
    }
    server.wait();
}

#[test]
fn more_streams_than_the_limit_are_refused_for_now() {
    let server = Server::start_with(|limits| limits.readers_max = 1);
    let stream = Stream::open(&server, EVENTS, &[]);
    let reply = server.get_as(EVENTS, SSE);
    reply.problem(503, "busy");
    assert!(reply.header("retry-after").is_some());
    drop(stream);
}

#[test]
fn a_long_poll_of_a_stream_is_tagged_with_what_it_waited_for() {
    let server = Server::start();
    let stream = of_stream("s");
    server.post(EVENTS, &event("s", "t", 1)).good();
    for accept in ["application/json", "application/x-ndjson"] {
        let last = server.get(&stream).header("etag").unwrap().to_owned();
        let page = server.get(&stream).good();
        let target = format!("{stream}?after={}", page["lastId"]);
        let mut connection = server.connect();
        let headers = [
            ("Accept", accept),
            ("Prefer", "wait=20"),
            ("If-None-Match", &last),
        ];
        connection.request("GET", &target, &headers, b"");
        std::thread::sleep(Duration::from_millis(100));
        let published = server.post(EVENTS, &event("s", "t", 2));
        published.good();
        let reply = connection.read_reply(false);
        assert_eq!(reply.status, 200, "{accept}");
        assert_eq!(reply.header("etag"), published.header("etag"), "{accept}");
        assert!(reply.text().contains("\"data\":2"), "{}", reply.text());
    }
}

#[test]
fn a_long_poll_for_records_waits_for_one() {
    let server = Server::start();
    let mut connection = server.connect();
    let headers = [
        ("Accept", "application/vnd.strandlog.records"),
        ("Prefer", "wait=20"),
    ];
    let target = format!("{EVENTS}?from=1");
    connection.request("GET", &target, &headers, b"");
    std::thread::sleep(Duration::from_millis(100));
    server.post(EVENTS, &event("s", "t", 1)).good();
    let reply = connection.read_reply(false);
    assert_eq!(reply.header("preference-applied"), Some("wait=20"));
    let without = server.get_as(&target, "application/vnd.strandlog.records");
    assert_eq!(reply.body, without.body);
}
