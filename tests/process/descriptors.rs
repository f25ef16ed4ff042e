//! A server whose limit on open files is reached.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Command, Stdio};

use crate::harness::{BINARY, DEADLINE, Server, lines_of, wait_until};

/// A connection that stays open from one request to the next.
struct Held(BufReader<TcpStream>);

impl Held {
    fn open(address: &str) -> Self {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        Self(BufReader::new(stream))
    }

    /// Asks, and gives the status and the body.
    fn ask(&mut self, method: &str, path: &str, body: &str) -> (u16, String) {
        let request = format!(
            "{method} {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n\
             Content-Length: {}\r\n\r\n{body}",
            body.len()
        );
        self.0.get_mut().write_all(request.as_bytes()).unwrap();
        let (mut status, mut len) = (None, 0);
        loop {
            let mut line = String::new();
            self.0.read_line(&mut line).unwrap();
            if let Some(found) = line.strip_prefix("HTTP/1.1 ") {
                status = found.get(..3).map(|digits| digits.parse().unwrap());
            } else if let Some(found) = line.strip_prefix("content-length: ") {
                len = found.trim().parse().unwrap();
            } else if line == "\r\n" {
                break;
            }
            assert!(!line.is_empty(), "the connection ended");
        }
        let mut body = vec![0; len];
        self.0.read_exact(&mut body).unwrap();
        (status.unwrap(), String::from_utf8(body).unwrap())
    }
}

/// A server with this limit on open files, in `data`.
fn limited(limit: u32, data: &std::path::Path) -> Server {
    let mut command = Command::new("sh");
    command
        .arg("-c")
        .arg(format!("ulimit -n {limit}; exec \"$0\" \"$@\""))
        .arg(BINARY)
        .args(["--listen", "127.0.0.1:0", "--log-level", "info"])
        .arg("--data")
        .arg(data)
        .stderr(Stdio::piped());
    Server::spawn(command)
}

/// The processor time that a process has used, in ticks of 10 ms.
fn used_ticks(pid: u32) -> u64 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    // The name in parentheses may hold anything; the fields behind it are numbers.
    let (_, fields) = stat.rsplit_once(')').unwrap();
    let fields: Vec<&str> = fields.split_ascii_whitespace().collect();
    fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
}

const EVENT: &str = r#"{"stream":"s","type":"t","data":1}"#;

#[test]
fn idle_connections_leave_descriptors_for_the_logs() {
    let directory = tempfile::tempdir().unwrap();
    let server = limited(64, &directory.path().join("data"));
    let mut held = Held::open(&server.address);
    assert_eq!(held.ask("GET", "/healthz", "").0, 200);
    // More than there are descriptors; most wait in the system's queue.
    let idle: Vec<TcpStream> = (0..100)
        .map(|_| TcpStream::connect(&server.address).unwrap())
        .collect();
    let (status, body) = held.ask("PUT", "/v1/logs/another", "");
    assert_eq!(status, 201, "{body}");
    for log in ["default", "another"] {
        let (status, body) = held.ask("POST", &format!("/v1/logs/{log}/events"), EVENT);
        assert_eq!(status, 201, "{body}");
    }
    drop(idle);
    let mut fresh = Held::open(&server.address);
    assert_eq!(fresh.ask("GET", "/healthz", "").0, 200);
    server.stop();
}

#[test]
fn a_server_without_descriptors_serves_whom_it_has_and_recovers() {
    let directory = tempfile::tempdir().unwrap();
    let mut server = limited(40, &directory.path().join("data"));
    let log = lines_of(server.stderr());
    let mut held = Held::open(&server.address);
    // Logs take what is kept for them, until there is none.
    let created = (0..64)
        .take_while(|n| held.ask("PUT", &format!("/v1/logs/l{n}"), "").0 == 201)
        .count();
    assert!((1..64).contains(&created), "{created}");
    let waiting: Vec<TcpStream> = (0..10)
        .map(|_| TcpStream::connect(&server.address).unwrap())
        .collect();
    let refused = "cannot accept connections";
    while !log.recv_timeout(DEADLINE).unwrap().contains(refused) {}

    let before = used_ticks(server.pid());
    let mut rounds = 0;
    // A server that tried again without a pause would use all the time that passes here.
    wait_until("fifty requests are answered", || {
        let (status, body) = held.ask("POST", "/v1/logs/default/events", EVENT);
        assert_eq!(status, 201, "{body}");
        rounds += 1;
        rounds == 50
    });
    let used = used_ticks(server.pid()) - before;
    assert!(used < 50, "{used} ticks for fifty small requests");
    assert_eq!(held.ask("GET", "/healthz", "").0, 200);

    drop(waiting);
    let mut fresh = Held::open(&server.address);
    assert_eq!(fresh.ask("GET", "/healthz", "").0, 200);
    let again = "connections are accepted again";
    let mut told = 0;
    loop {
        let line = log.recv_timeout(DEADLINE).unwrap();
        told += usize::from(line.contains(refused));
        if line.contains(again) {
            break;
        }
    }
    assert!(told < 10, "it is said once for each time: {told}");
    server.stop();
}
