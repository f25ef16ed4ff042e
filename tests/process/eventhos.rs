//! eventhos over the death of the server: what was accepted is executed, what has an outcome is not
//! executed again.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::thread;

use serde_json::Value;

use crate::harness::{Server, strandlog, wait_until};
use crate::http::request;

const JSON: (&str, &str) = ("Content-Type", "application/json");

/// What was called, by path and body, and how often.
type Calls = Arc<Mutex<BTreeMap<(String, String), usize>>>;

/// Answers every call, except the first one of `/slow`, which it keeps waiting. Its thread ends with
/// the process.
fn receiver() -> (String, Calls) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let calls = Calls::default();
    let of_thread = Arc::clone(&calls);
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let calls = Arc::clone(&of_thread);
            thread::spawn(move || serve(stream, &calls));
        }
    });
    (address, calls)
}

fn serve(stream: TcpStream, calls: &Calls) -> Option<()> {
    let mut reader = BufReader::new(stream.try_clone().ok()?);
    let mut writer = stream;
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line).ok()? == 0 {
            return None;
        }
        let path = line.split(' ').nth(1)?.to_owned();
        let mut len = 0;
        loop {
            let mut line = String::new();
            reader.read_line(&mut line).ok()?;
            let (name, value) = line.split_once(':').unwrap_or_default();
            if name.eq_ignore_ascii_case("content-length") {
                len = value.trim().parse().ok()?;
            }
            if line.trim().is_empty() {
                break;
            }
        }
        let mut body = vec![0; len];
        reader.read_exact(&mut body).ok()?;
        let body = String::from_utf8(body).ok()?;
        let is_first = {
            let mut calls = calls.lock().unwrap();
            let count = calls.entry((path.clone(), body)).or_default();
            *count += 1;
            *count == 1
        };
        if path == "/slow" && is_first {
            let _gone = reader.read_to_end(&mut Vec::new());
            return None;
        }
        writer
            .write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
            .ok()?;
    }
}

/// Starts a server whose event `placed` calls `/bill`, and `/slow` when that is done; `paid` calls
/// `/bill` alone.
fn start(directory: &Path, receiver: &str) -> Server {
    let config = directory.join("strandlog.toml");
    let text = format!(
        r#"
        listen = "127.0.0.1:0"
        data = '{}'
        [dialect.eventhos]
        jwt_secret = "another-32-bytes-of-secret-material-here"
        clients = [{{ id = "shop", secret = "shop-secret" }}]
        systems = [{{ identifier = "shop", class = "producer", client = "shop" }}]
        events = [{{ identifier = "placed", system = "shop" }}, {{ identifier = "paid", system = "shop" }}]
        actions = [
            {{ identifier = "bill", url = "http://{receiver}/bill", method = "POST" }},
            {{ identifier = "slow", url = "http://{receiver}/slow", method = "POST" }},
        ]
        contracts = [
            {{ event = "placed", action = "bill" }},
            {{ event = "placed", action = "slow", order = 1 }},
            {{ event = "paid", action = "bill" }},
        ]
        [webhooks]
        allow = ["127.0.0.0/8"]
        "#,
        directory.join("data").display()
    );
    fs::write(&config, text).unwrap();
    let mut command = strandlog(["serve", "--log-level", "warn", "--config"]);
    command.arg(config);
    Server::spawn(command)
}

fn token(server: &Server) -> String {
    let body =
        r#"{"grant_type":"client_credentials","client_id":"shop","client_secret":"shop-secret"}"#;
    let answer = request(&server.address, "POST", "/auth/token", &[JSON], body).unwrap();
    assert_eq!(answer.status, 201, "{}", answer.body);
    let answer: Value = serde_json::from_str(&answer.body).unwrap();
    answer["content"]["jwt_token"].as_str().unwrap().to_owned()
}

/// Sends an occurrence; whether it was accepted.
fn send(address: &str, token: &str, event: &str, body: &str) -> bool {
    let path = format!("/event/send?event-identifier={event}");
    let headers = [JSON, ("access-key", token)];
    match request(address, "POST", &path, &headers, body) {
        Ok(answer) => {
            assert_eq!(
                (answer.status, answer.body.as_str()),
                (200, r#"{"code":200000,"message":"success"}"#)
            );
            true
        }
        Err(_) => false,
    }
}

fn count(calls: &Calls, path: &str, body: &str) -> usize {
    let calls = calls.lock().unwrap();
    let count = calls.get(&(path.to_owned(), body.to_owned()));
    count.copied().unwrap_or(0)
}

#[test]
fn after_a_kill_only_executions_without_an_outcome_run_again() {
    let directory = tempfile::tempdir().unwrap();
    let (address, calls) = receiver();
    let mut server = start(directory.path(), &address);
    let key = token(&server);
    assert!(send(&server.address, &key, "placed", "1"));
    // It was called, which means that the outcome of the first group is recorded.
    wait_until("the slow one is called", || {
        count(&calls, "/slow", "1") == 1
    });
    server.kill();
    let server = start(directory.path(), &address);
    wait_until("it is called again", || count(&calls, "/slow", "1") == 2);
    assert!(send(&server.address, &key, "paid", "2"));
    wait_until("the next one is called", || {
        count(&calls, "/bill", "2") == 1
    });
    server.stop();
    assert_eq!(count(&calls, "/bill", "1"), 1);
    assert_eq!(count(&calls, "/slow", "1"), 2);
}

#[test]
fn what_was_accepted_before_a_kill_is_executed() {
    const SENT: usize = 200;
    let directory = tempfile::tempdir().unwrap();
    let (address, calls) = receiver();
    let mut server = start(directory.path(), &address);
    let key = token(&server);
    let accepted = Mutex::new(Vec::new());
    thread::scope(|scope| {
        for sender in 0..4 {
            let (server_address, key) = (server.address.clone(), key.clone());
            let accepted = &accepted;
            scope.spawn(move || {
                for number in 0..SENT {
                    let body = format!("\"{sender}/{number}\"");
                    if !send(&server_address, &key, "paid", &body) {
                        return;
                    }
                    accepted.lock().unwrap().push(body);
                }
            });
        }
        wait_until("some are accepted", || {
            accepted.lock().unwrap().len() >= SENT
        });
        server.kill();
    });
    let server = start(directory.path(), &address);
    let accepted = accepted.into_inner().unwrap();
    wait_until("all are executed", || {
        accepted.iter().all(|body| count(&calls, "/bill", body) > 0)
    });
    server.stop();
}
