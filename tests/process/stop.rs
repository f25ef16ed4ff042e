//! Being told to stop.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use strandlog::clock::{Clock, SystemClock};

use crate::crash::{assert_all_there, publish_until_refused};
use crate::harness::{DEADLINE, Server, lines_of, strandlog, wait_until};
use crate::http;

/// How long a server that is told to stop may take.
const STOP_MAX: Duration = Duration::from_secs(5);

#[test]
fn a_server_under_load_stops_in_time_and_keeps_every_acknowledged_event() {
    for signal in ["TERM", "INT"] {
        let directory = tempfile::tempdir().unwrap();
        let data = directory.path().join("data");
        let server = Server::start(&data);
        let count = Arc::new(AtomicU64::new(0));
        let load = publish_until_refused(&server.address, 8, &count);
        wait_until("events are acknowledged", || {
            count.load(Ordering::Relaxed) >= 200
        });
        let clock = SystemClock::new();
        let told = clock.moment();
        server.signal(signal);
        let (status, more_output) = server.wait();
        let took = clock.moment().since(told);
        assert!(status.success(), "{status}");
        assert!(took <= STOP_MAX, "{took:?}");
        assert_eq!(more_output, [] as [String; 0]);

        let acknowledged = load.join().unwrap();
        let server = Server::start(&data);
        assert_all_there(&server, &acknowledged);
    }
}

#[test]
fn a_reader_who_follows_the_log_gets_a_proper_end_when_the_server_stops() {
    let directory = tempfile::tempdir().unwrap();
    let server = Server::start(&directory.path().join("data"));
    http::publish(&server.address, r#"{"stream":"s","type":"T","data":1}"#).unwrap();
    let mut stream = connect(&server.address);
    write!(
        stream,
        "GET /v1/logs/default/events?from=1 HTTP/1.1\r\nHost: {}\r\nAccept: text/event-stream\r\n\r\n",
        server.address
    )
    .unwrap();
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    while !line.starts_with("data:") {
        line.clear();
        assert!(reader.read_line(&mut line).unwrap() > 0);
    }
    server.signal("TERM");
    let mut rest = Vec::new();
    reader.read_to_end(&mut rest).unwrap();
    // The last chunk of a body that is whole.
    assert!(rest.ends_with(b"0\r\n\r\n"), "{rest:?}");
    let (status, _) = server.wait();
    assert!(status.success(), "{status}");
}

#[test]
fn a_second_signal_ends_the_server_at_once() {
    let directory = tempfile::tempdir().unwrap();
    let mut command = strandlog(["--listen", "127.0.0.1:0", "--log-level", "info"]);
    command
        .arg("--data")
        .arg(directory.path().join("data"))
        .stderr(Stdio::piped());
    let mut server = Server::spawn(command);
    let log = lines_of(server.stderr());

    // A request whose body never ends keeps the server from being done.
    let mut stream = connect(&server.address);
    write!(
        stream,
        "POST /v1/logs/default/events HTTP/1.1\r\nHost: {}\r\nContent-Type: application/json\r\n\
         Content-Length: 100\r\nExpect: 100-continue\r\n\r\n",
        server.address
    )
    .unwrap();
    let mut line = String::new();
    let mut reader = BufReader::new(stream);
    reader.read_line(&mut line).unwrap();
    assert_eq!(line, "HTTP/1.1 100 Continue\r\n");

    server.signal("TERM");
    let mut lines = Vec::new();
    while !lines
        .last()
        .is_some_and(|line: &String| line.contains("a second signal"))
    {
        lines.push(log.recv_timeout(DEADLINE).unwrap());
    }
    server.signal("INT");
    let (status, _) = server.wait();
    assert_eq!(status.code(), Some(130));
}

fn connect(address: &str) -> TcpStream {
    let stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    stream
}
