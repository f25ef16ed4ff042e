//! The calls of a webhook, as its receiver reads them.

use std::io::{BufRead, BufReader, Read};
use std::net::TcpStream;

/// A call.
#[derive(Debug)]
pub(crate) struct Called {
    /// What names the delivery, in each attempt.
    pub(crate) delivery: String,
    /// The ids of its events.
    pub(crate) ids: Vec<u64>,
}

/// The next call on a connection; none at its end.
pub(crate) fn next(reader: &mut BufReader<TcpStream>) -> Option<Called> {
    let (mut len, mut delivery) = (0, String::new());
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line).ok()? == 0 {
            return None;
        }
        let line = line.trim().to_ascii_lowercase();
        if let Some(value) = line.strip_prefix("content-length:") {
            len = value.trim().parse().ok()?;
        }
        if let Some(value) = line.strip_prefix("webhook-id:") {
            value.trim().clone_into(&mut delivery);
        }
        if line.is_empty() {
            break;
        }
    }
    let mut body = vec![0; len];
    reader.read_exact(&mut body).ok()?;
    let body: serde_json::Value = serde_json::from_slice(&body).ok()?;
    let id = |event: &serde_json::Value| event.get("id")?.as_u64();
    let ids = match body.get("events").and_then(serde_json::Value::as_array) {
        Some(events) => events.iter().filter_map(id).collect(),
        None => id(&body).into_iter().collect(),
    };
    Some(Called { delivery, ids })
}
