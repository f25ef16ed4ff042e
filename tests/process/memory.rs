//! What the server holds in memory, whatever clients send and however slowly they read.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;

use crate::harness::{DEADLINE, Server, strandlog};
use crate::http;

/// A server that does not wait for the disk, since nothing is lost here.
fn start(data: &Path) -> Server {
    let mut command = strandlog(["--listen", "127.0.0.1:0", "--log-level", "error"]);
    command.args(["--durability", "os"]).arg("--data").arg(data);
    let server = Server::spawn(command);
    http::publish(&server.address, r#"{"stream":"s","type":"t","data":1}"#).unwrap();
    server
}

/// A figure of the process from its status, in KiB.
fn status_kib(server: &Server, name: &str) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", server.pid())).unwrap();
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    let figure = line.unwrap().split_ascii_whitespace().next().unwrap();
    figure.parse().unwrap()
}

/// Memory that is its own, in KiB; the files of the logs are mapped and not counted.
fn own_kib(server: &Server) -> u64 {
    status_kib(server, "RssAnon")
}

fn connect(address: &str) -> TcpStream {
    let stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    stream.set_write_timeout(Some(DEADLINE)).unwrap();
    stream
}

fn head(method: &str, path: &str, headers: &str) -> String {
    format!(
        "{method} {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n{headers}\r\n"
    )
}

const EVENTS: &str = "/v1/logs/default/events";
/// The longest body that is taken, in bytes.
const BODY_LEN_MAX: usize = 32 << 20;
const MIB: u64 = 1 << 10;

/// Reads the reply to the last request of a connection; its status line.
fn status_of(mut stream: &TcpStream) -> String {
    let mut reply = [0; 12];
    stream.read_exact(&mut reply).unwrap();
    String::from_utf8(reply.to_vec()).unwrap()
}

#[test]
fn bodies_over_the_limit_take_no_more_than_the_limit() {
    const UPLOADS: usize = 3;
    let directory = tempfile::tempdir().unwrap();
    let server = start(&directory.path().join("data"));
    let address = &*server.address;
    let base = own_kib(&server);
    // What is announced and not sent takes nothing.
    let announced: Vec<TcpStream> = (0..50)
        .map(|_| {
            let mut stream = connect(address);
            let len = format!("Content-Length: {BODY_LEN_MAX}\r\n");
            stream
                .write_all(head("POST", EVENTS, &len).as_bytes())
                .unwrap();
            stream
        })
        .collect();
    let mut over = connect(address);
    let len = format!("Content-Length: {}\r\n", BODY_LEN_MAX + 1);
    over.write_all(head("POST", EVENTS, &len).as_bytes())
        .unwrap();
    assert_eq!(status_of(&over), "HTTP/1.1 413");
    let announcing = own_kib(&server).saturating_sub(base);
    assert!(announcing < 8 * MIB, "{announcing} KiB");

    let piece = vec![b' '; 1 << 20];
    std::thread::scope(|scope| {
        for _ in 0..UPLOADS {
            scope.spawn(|| {
                let mut stream = connect(address);
                let coding = "Transfer-Encoding: chunked\r\n";
                stream
                    .write_all(head("POST", EVENTS, coding).as_bytes())
                    .unwrap();
                for _ in 0..=BODY_LEN_MAX / piece.len() {
                    write!(stream, "{:x}\r\n", piece.len()).unwrap();
                    // The last one may find that the server has said all it had to say.
                    let sent = stream
                        .write_all(&piece)
                        .and_then(|()| stream.write_all(b"\r\n"));
                    if sent.is_err() {
                        break;
                    }
                }
                assert_eq!(status_of(&stream), "HTTP/1.1 413");
            });
        }
    });
    // A body grows in a buffer that doubles, of which only what is written takes memory.
    let bodies = (UPLOADS * BODY_LEN_MAX) as u64 / 1_024;
    let peak = status_kib(&server, "VmHWM").saturating_sub(base);
    assert!(peak < bodies + bodies / 10 + 64 * MIB, "{peak} KiB");
    drop(announced);
    assert_eq!(server.last_id(), 1);
}

#[test]
fn names_by_the_thousand_take_little_memory() {
    const NAMES: usize = 10_000;
    const CONSUMERS: usize = 1_000;
    let directory = tempfile::tempdir().unwrap();
    let server = start(&directory.path().join("data"));
    let address = &*server.address;
    let base = own_kib(&server);
    for batch in 0..10 {
        let events: Vec<String> = (0..NAMES / 10)
            .map(|n| {
                format!(
                    r#"{{"stream":"stream-{batch}-{n}","type":"type-{n}","data":{n},"tags":["tag-{batch}-{n}"],"idempotencyKey":"key-{batch}-{n}"}}"#
                )
            })
            .collect();
        let body = format!("[{}]", events.join(","));
        let headers = [("Content-Type", "application/json")];
        let answer = http::request(&server.address, "POST", EVENTS, &headers, &body).unwrap();
        assert_eq!(answer.status, 201, "{}", answer.body);
    }
    let mut stream = connect(address);
    let requests: String = (0..CONSUMERS)
        .map(|n| {
            let closing = if n + 1 == CONSUMERS {
                "Connection: close\r\n"
            } else {
                ""
            };
            head("PUT", &format!("/v1/logs/default/consumers/c{n}"), closing)
        })
        .collect();
    let mut writer = stream.try_clone().unwrap();
    let replies = std::thread::scope(|scope| {
        scope.spawn(move || writer.write_all(requests.as_bytes()).unwrap());
        let mut replies = String::new();
        stream.read_to_string(&mut replies).unwrap();
        replies
    });
    assert_eq!(replies.matches("HTTP/1.1 201 ").count(), CONSUMERS);
    // Some hundred bytes for each name, as the index of the newest segment has them, and no more
    // than a KiB with all that an allocator keeps.
    let grown = own_kib(&server).saturating_sub(base);
    assert!(grown < 48 * MIB, "{grown} KiB");
}

#[test]
fn readers_that_are_slow_take_no_memory_from_the_server() {
    const READERS: usize = 8;
    let directory = tempfile::tempdir().unwrap();
    let server = start(&directory.path().join("data"));
    let address = &*server.address;
    let base = own_kib(&server);
    let readers: Vec<TcpStream> = ["text/event-stream", "application/x-ndjson"]
        .iter()
        .flat_map(|form| (0..READERS).map(move |_| form))
        .map(|form| {
            let mut stream = connect(address);
            let accept = format!("Accept: {form}\r\nPrefer: wait=30\r\n");
            stream
                .write_all(head("GET", EVENTS, &accept).as_bytes())
                .unwrap();
            stream
        })
        .collect();
    let silent: Vec<TcpStream> = (0..200).map(|_| connect(address)).collect();
    let event = format!(
        r#"{{"stream":"s","type":"t","data":"{}"}}"#,
        "x".repeat(1 << 20)
    );
    for _ in 0..48 {
        http::publish(&server.address, &event).unwrap();
    }
    // Each reader could have 48 MiB by this time. It has a piece, of an event or more; a silent
    // connection has some KiB.
    let grown = own_kib(&server).saturating_sub(base);
    assert!(grown < 64 * MIB, "{grown} KiB");
    assert_eq!(server.last_id(), 49);
    drop((readers, silent));
}
