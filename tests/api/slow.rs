//! Slow clients: each is held to the limit of what it is slow at, and nobody waits for them.

use std::sync::Barrier;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::client::Connection;
use crate::harness::{EVENTS, Server, event};

/// So many clients of each kind.
const CLIENTS: usize = 8;
/// How long a client is silent before it goes on.
const PAUSE: Duration = Duration::from_millis(50);
const PATIENCE: Duration = Duration::from_secs(20);

fn limited() -> Server {
    Server::start_sized(8 << 20, |limits| {
        limits.header_timeout = Duration::from_millis(500);
        limits.body_timeout = Duration::from_millis(500);
        limits.write_timeout = Duration::from_millis(500);
        limits.readers_max = CLIENTS;
    })
}

/// Runs slow clients, each to its end, while a good one is served all the time.
fn beside_a_good_client(server: &Server, slow: impl Fn(Connection) + Sync) {
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let good = scope.spawn(|| {
            let mut served = 0;
            while !done.load(Ordering::Relaxed) {
                let reply = server.post(EVENTS, &event("good", "t", served));
                assert_eq!(reply.status, 201, "{}", reply.text());
                served += 1;
            }
            served
        });
        let clients: Vec<_> = (0..CLIENTS)
            .map(|_| scope.spawn(|| slow(server.connect())))
            .collect();
        let ended: Vec<_> = clients.into_iter().map(|client| client.join()).collect();
        done.store(true, Ordering::Relaxed);
        assert!(good.join().unwrap() > 0);
        assert!(ended.iter().all(Result::is_ok));
    });
}

#[test]
fn slow_heads_and_silence_end_while_others_are_served() {
    let server = limited();
    beside_a_good_client(&server, |mut connection| {
        let head = format!(
            "GET {EVENTS} HTTP/1.1\r\nHost: localhost\r\nX: {}",
            "x".repeat(999)
        );
        let reply = connection.read_while_sending(head.as_bytes(), PAUSE);
        assert!(reply.is_none(), "{reply:?}");
    });
    beside_a_good_client(&server, |mut connection| {
        assert_eq!(connection.read_to_end(), b"");
    });
    beside_a_good_client(&server, |mut connection| {
        connection.ask("GET", "/healthz", &[], b"").good();
        assert_eq!(connection.read_to_end(), b"");
    });
}

#[test]
fn slow_bodies_are_refused_while_others_are_served() {
    let server = limited();
    let body = event("slow", "t", "x".repeat(999)).to_string();
    for framing in ["Content-Length: 2000", "Transfer-Encoding: chunked"] {
        beside_a_good_client(&server, |mut connection| {
            connection.send(format!(
                "POST {EVENTS} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n{framing}\r\n\r\n"
            ));
            let chunk = format!("{:x}\r\n{body}", 2_000);
            let sent = if framing.ends_with("chunked") {
                &chunk
            } else {
                &body
            };
            let reply = connection.read_while_sending(sent.as_bytes(), PAUSE);
            reply.unwrap().problem(408, "request-timeout");
            assert_eq!(connection.read_to_end(), b"");
        });
    }
    let stored = server.get_as(&format!("{EVENTS}?stream=slow"), "application/json");
    assert_eq!(stored.good()["events"], Value::Array(Vec::new()));
}

/// Each piece of a chunked body is a piece for the server, too. If each took room for a thousand bytes,
/// a few clients that send some bytes now and then would leave none for others.
#[test]
fn a_body_of_many_small_pieces_takes_no_more_room_than_its_bytes() {
    let server = Server::start_with(|limits| {
        limits.body_len_max = 16 << 10;
        // Room for 17 KiB.
        limits.bodies_len_max = 16 << 10;
    });
    let body = event("pieces", "t", "x".repeat(400)).to_string();
    let mut connection = server.connect();
    connection.send(format!(
        "POST {EVENTS} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
    ));
    let mut pieces = String::new();
    for byte in body.chars() {
        pieces.push_str(&format!("1\r\n{byte}\r\n"));
    }
    pieces.push_str("0\r\n\r\n");
    connection.send(pieces);
    assert_eq!(connection.read_reply(false).status, 201);
}

/// Publishes 10 MiB, more than the system's buffers hold of a reply.
fn fill_with_much(server: &Server) {
    let big = event("big", "t", "x".repeat(64 << 10));
    let batch = Value::from(vec![big; 16]);
    for _ in 0..BATCHES {
        server.post(EVENTS, &batch).good();
    }
}

/// See [`fill_with_much`].
const BATCHES: usize = 10;

/// What the system holds at most for a reader that takes nothing, on both sides, in bytes: much less
/// than it would if it was left to it.
const HELD_LEN_MAX: usize = 1 << 20;

#[test]
fn readers_that_take_nothing_are_given_up_while_others_are_served() {
    let server = limited();
    fill_with_much(&server);
    for form in ["application/x-ndjson", "text/event-stream"] {
        let begun = Barrier::new(CLIENTS);
        beside_a_good_client(&server, |mut connection| {
            connection.request("GET", EVENTS, &[("Accept", form)], b"");
            assert_eq!(connection.read_head().unwrap().status, 200);
            begun.wait();
            let deadline = Instant::now() + PATIENCE;
            let none = "strandlog_http_streaming_replies 0";
            while !server
                .get("/metrics")
                .text()
                .lines()
                .any(|line| line == none)
            {
                assert!(Instant::now() < deadline, "the readers are still there");
            }
            // What the system still held is there to be read, and then the reply is broken off.
            let mut held_len = 0;
            while let Some(chunk) = connection.read_chunk() {
                assert!(!chunk.is_empty(), "a broken reply must not look whole");
                held_len += chunk.len();
            }
            assert!(held_len <= HELD_LEN_MAX, "{held_len}");
        });
    }
}

#[test]
fn a_reader_that_is_slow_does_not_hold_up_publishers() {
    let server = Server::start_sized(8 << 20, |limits| {
        limits.write_timeout = Duration::from_secs(60);
        limits.drain_max = Duration::from_millis(100);
    });
    let mut readers: Vec<Connection> = Vec::new();
    for form in ["text/event-stream", "application/x-ndjson"] {
        for _ in 0..CLIENTS {
            let mut reader = server.connect();
            let headers = [("Accept", form), ("Prefer", "wait=20")];
            reader.request("GET", EVENTS, &headers, b"");
            readers.push(reader);
        }
    }
    fill_with_much(&server);
    // Whoever reads in the end gets everything in order, however late.
    let mut reader = readers.swap_remove(0);
    assert_eq!(reader.read_head().unwrap().status, 200);
    let mut line = Vec::new();
    let mut count = 0;
    // No payload has a line break, so each event is two lines.
    while count < 16 * BATCHES {
        for part in reader
            .read_chunk()
            .unwrap()
            .split_inclusive(|byte| *byte == b'\n')
        {
            line.extend_from_slice(part);
            if line.starts_with(b"id: ") && line.ends_with(b"\n") {
                count += 1;
                assert_eq!(line, format!("id: {count}\n").as_bytes());
            }
            if line.ends_with(b"\n") {
                line.clear();
            }
        }
    }
}
