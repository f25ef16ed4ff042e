//! A client of a few lines: one request on one connection, read to its end.

use std::io::{self, Read, Write};
use std::net::TcpStream;

use serde_json::Value;

use crate::harness::DEADLINE;

/// An answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) body: String,
}

/// Sends a request, and reads the answer.
pub(crate) fn request(
    address: &str,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: &str,
) -> io::Result<Answer> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(DEADLINE))?;
    let mut head = format!(
        "{method} {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\nContent-Length: {}\r\n",
        body.len()
    );
    for (name, value) in headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    head.push_str("\r\n");
    head.push_str(body);
    stream.write_all(head.as_bytes())?;
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes)?;
    read(&bytes).ok_or_else(|| io::Error::from(io::ErrorKind::UnexpectedEof))
}

/// Makes an answer of its bytes; none if they are not whole.
fn read(bytes: &[u8]) -> Option<Answer> {
    let end = bytes.windows(4).position(|part| part == b"\r\n\r\n")?;
    let head = std::str::from_utf8(bytes.get(..end)?)
        .ok()?
        .to_ascii_lowercase();
    let rest = bytes.get(end + 4..)?;
    let status = head.split(' ').nth(1)?.parse().ok()?;
    let body = if head.contains("\r\ntransfer-encoding: chunked") {
        without_chunks(rest)?
    } else {
        let len: usize = head
            .split("\r\n")
            .find_map(|line| line.strip_prefix("content-length: "))
            .map_or(Some(0), |len| len.parse().ok())?;
        rest.get(..len)?.to_vec()
    };
    Some(Answer {
        status,
        body: String::from_utf8(body).ok()?,
    })
}

fn without_chunks(mut rest: &[u8]) -> Option<Vec<u8>> {
    let mut body = Vec::new();
    loop {
        let end = rest.windows(2).position(|part| part == b"\r\n")?;
        let len = std::str::from_utf8(rest.get(..end)?).ok()?;
        let len = usize::from_str_radix(len, 16).ok()?;
        rest = rest.get(end + 2..)?;
        if len == 0 {
            return Some(body);
        }
        body.extend_from_slice(rest.get(..len)?);
        rest = rest.get(len + 2..)?;
    }
}

/// Gets a JSON document that must be there.
#[track_caller]
pub(crate) fn get_json(address: &str, path: &str) -> Value {
    let answer = request(address, "GET", path, &[("Accept", "application/json")], "").unwrap();
    assert_eq!(answer.status, 200, "{path}: {}", answer.body);
    serde_json::from_str(&answer.body).unwrap()
}

/// Publishes one event to the log `default`; its id once it is acknowledged.
pub(crate) fn publish(address: &str, event: &str) -> io::Result<u64> {
    let answer = request(
        address,
        "POST",
        "/v1/logs/default/events",
        &[("Content-Type", "application/json")],
        event,
    )?;
    if answer.status != 201 {
        return Err(io::Error::other(answer.body));
    }
    let receipt: Value = serde_json::from_str(&answer.body)?;
    receipt["firstId"]
        .as_u64()
        .ok_or_else(|| io::Error::other(answer.body))
}
