//! Limits on connections, and the orderly end.

use std::time::{Duration, Instant};

use serde_json::json;

use crate::harness::{EVENTS, Server, event};

#[test]
fn a_request_that_has_begun_is_answered_before_the_server_ends() {
    let mut server = Server::start();
    let body = event("s", "t", 1).to_string();
    let mut connection = server.connect();
    let head = format!(
        "POST {EVENTS} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: {}\r\nExpect: 100-continue\r\n\r\n",
        body.len()
    );
    connection.send(head);
    // The interim reply shows that the server has begun to read.
    let mut interim = [0; 12];
    connection.read_exact(&mut interim);
    assert_eq!(&interim, b"HTTP/1.1 100");
    server.tell_to_stop();
    connection.send(&body);
    connection.skip_head();
    let reply = connection.read_reply(false);
    assert_eq!((reply.status, &reply.json()["lastId"]), (201, &json!(1)));
    assert_eq!(
        connection.read_to_end(),
        b"",
        "and then the connection ends"
    );
    server.wait();
}

#[test]
fn what_does_not_end_in_time_is_cut_off() {
    let mut server = Server::start_with(|limits| limits.drain_max = Duration::from_millis(100));
    let mut connection = server.connect();
    connection.send(format!(
        "POST {EVENTS} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 10\r\n\r\n1"
    ));
    server.get("/healthz").good();
    server.tell_to_stop();
    server.wait();
    assert_eq!(connection.read_to_end(), b"");
}

#[test]
fn a_silent_connection_and_a_slow_head_end_at_the_header_timeout() {
    let server = Server::start_with(|limits| limits.header_timeout = Duration::from_millis(200));
    let mut silent = server.connect();
    let mut slow = server.connect();
    slow.send("GET /healthz HT");
    let mut idle = server.connect();
    idle.ask("GET", "/healthz", &[], b"");
    // Each of these fails if the server does not close.
    silent.read_to_end();
    slow.read_to_end();
    idle.read_to_end();
}

#[test]
fn a_slow_body_is_refused_at_its_deadline() {
    let server = Server::start_with(|limits| limits.body_timeout = Duration::from_millis(200));
    let mut connection = server.connect();
    connection.send(format!(
        "POST {EVENTS} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{{"
    ));
    let reply = connection.read_reply(false);
    reply.problem(408, "request-timeout");
    assert_eq!(reply.header("connection"), Some("close"));
    assert_eq!(server.get(EVENTS).good()["lastId"], 0);
}

#[test]
fn connections_beyond_the_limit_wait_for_their_turn() {
    let server = Server::start_with(|limits| limits.connections_max = 1);
    let mut first = server.connect();
    first.ask("GET", "/healthz", &[], b"").good();
    let mut second = server.connect();
    second.request("GET", "/healthz", &[], b"");
    first.ask("GET", "/healthz", &[], b"").good();
    drop(first);
    second.read_reply(false).good();
}

#[test]
fn a_reader_that_takes_nothing_is_given_up() {
    let server = Server::start_sized(8 << 20, |limits| {
        limits.write_timeout = Duration::from_millis(200);
        limits.readers_max = 1;
    });
    let big = "x".repeat(64 << 10);
    for _ in 0..200 {
        server.post(EVENTS, &event("s", "t", big.clone())).good();
    }
    let mut stuck = server.connect();
    stuck.request("GET", EVENTS, &[("Accept", "application/x-ndjson")], b"");
    let head = stuck.read_head().unwrap();
    assert_eq!(head.status, 200);
    // The only place for a reader comes free without the client doing anything.
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        let reply = server.get_as(&format!("{EVENTS}?limit=1"), "application/x-ndjson");
        if reply.status == 200 {
            break;
        }
        reply.problem(503, "busy");
        assert!(Instant::now() < deadline, "the reader is still there");
    }
}

#[test]
fn who_has_asked_nothing_does_not_hold_up_the_end() {
    // Longer than a test has patience, so each connection must be closed before.
    let mut server = Server::start_with(|limits| {
        limits.drain_max = Duration::from_secs(30);
        limits.header_timeout = Duration::from_secs(60);
    });
    let mut connections: Vec<_> = (0..4).map(|_| server.connect()).collect();
    connections[1].send("G");
    connections[2].send(format!("POST {EVENTS} HTTP/1.1\r\nHost: localhost\r\nX: y"));
    connections[3].ask("GET", "/healthz", &[], b"").good();
    connections[3].send("GET /healthz HTTP/1.1\r\nHost");
    // Half a head is with the server once it is seen to have read it.
    server.get("/healthz").good();
    server.tell_to_stop();
    for connection in &mut connections {
        assert_eq!(connection.read_to_end(), b"");
    }
    server.wait();
}

#[test]
fn a_request_that_is_behind_another_on_its_connection_is_not_begun() {
    let mut server = Server::start();
    let body = event("s", "t", 1).to_string();
    let head = |interim: &str| {
        format!(
            "POST {EVENTS} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: {}\r\n{interim}\r\n",
            body.len()
        )
    };
    let mut connection = server.connect();
    connection.send(head("Expect: 100-continue\r\n"));
    let mut interim = [0; 12];
    connection.read_exact(&mut interim);
    server.tell_to_stop();
    connection.send(format!("{body}{}{body}", head("")));
    connection.skip_head();
    let reply = connection.read_reply(false);
    assert_eq!((reply.status, &reply.json()["lastId"]), (201, &json!(1)));
    assert_eq!(connection.read_to_end(), b"", "one reply, and the end");
    server.wait();
}
