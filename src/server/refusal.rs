//! Words for what hyper refuses by itself.
//!
//! A head that hyper cannot read never becomes a request: hyper answers it with a status and an
//! empty body, as the last thing it writes, and has no hook for more. So the stream below puts a
//! problem in the place of that reply ([`worded`]); which bytes are hyper's own the stream knows from
//! the [conversation](super::conversation).

use std::sync::atomic::{AtomicU64, Ordering};

use crate::http::head::X_REQUEST_ID;
use crate::http::{Problem, ProblemType, RequestId};

use super::HEADERS_MAX;

/// The longest reply of hyper's own that is looked at, in bytes: a status line and three headers.
const BARE_LEN_MAX: usize = 512;

/// Names requests of this process apart from those of another.
#[derive(Debug)]
pub(super) struct RequestIds {
    prefix: String,
    next: AtomicU64,
}

impl RequestIds {
    /// `random` tells this process from others.
    pub(super) fn new(random: u64) -> Self {
        Self {
            prefix: format!("{:08x}", random >> 32),
            next: AtomicU64::new(1),
        }
    }

    /// An id that no other request has.
    pub(super) fn next(&self) -> RequestId {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        RequestId::generated(&self.prefix, number)
    }
}

/// The reply to send in place of hyper's own; none if `bare` is no such reply, and is to be sent as
/// it is.
pub(super) fn worded(bare: &[u8], ids: &RequestIds) -> Option<Vec<u8>> {
    if bare.len() > BARE_LEN_MAX {
        return None;
    }
    let head = std::str::from_utf8(bare).ok()?.strip_suffix("\r\n\r\n")?;
    let mut lines = head.split("\r\n");
    let status_line = lines.next()?;
    let (version, rest) = status_line.split_once(' ')?;
    if !matches!(version, "HTTP/1.1" | "HTTP/1.0") {
        return None;
    }
    let problem = match rest.get(..3)? {
        "400" => Problem::new(
            ProblemType::MALFORMED_REQUEST,
            "the head of the request cannot be read as HTTP/1.1; nothing was done",
        ),
        "414" => Problem::new(
            ProblemType::URI_TOO_LONG,
            "the target is longer than the server reads; nothing was done",
        ),
        "431" => Problem::new(
            ProblemType::HEAD_TOO_LARGE,
            format!(
                "the request has more than {HEADERS_MAX} headers, or more bytes of them than the server reads; nothing was done"
            ),
        ),
        _ => return None,
    };
    let mut kept = String::new();
    let mut is_empty = false;
    for line in lines {
        let (name, value) = line.split_once(':')?;
        match name.to_ascii_lowercase().as_str() {
            "content-length" => is_empty = value.trim() == "0",
            "connection" => {}
            _ => kept.push_str(&format!("{line}\r\n")),
        }
    }
    if !is_empty {
        return None;
    }
    let id = ids.next();
    let status = problem.problem_type().status.as_u16();
    tracing::info!(
        request_id = id.as_str(),
        status,
        "refused a head that cannot be read"
    );
    let body = problem.to_json(&id);
    let mut reply = format!(
        "{status_line}\r\n{kept}content-type: application/problem+json\r\nconnection: close\r\n{X_REQUEST_ID}: {}\r\ncontent-length: {}\r\n\r\n",
        id.as_str(),
        body.len()
    )
    .into_bytes();
    reply.extend_from_slice(&body);
    Some(reply)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with_words(bare: &str) -> Option<String> {
        let reply = worded(bare.as_bytes(), &RequestIds::new(7 << 32))?;
        Some(String::from_utf8(reply).unwrap())
    }

    #[test]
    fn a_bare_refusal_gets_words_and_keeps_its_status_and_date() {
        let bare = "HTTP/1.1 431 Request Header Fields Too Large\r\nconnection: close\r\ncontent-length: 0\r\ndate: today\r\n\r\n";
        let reply = with_words(bare).unwrap();
        let (head, body) = reply.split_once("\r\n\r\n").unwrap();
        assert!(
            head.starts_with("HTTP/1.1 431 Request Header Fields Too Large\r\ndate: today\r\n")
        );
        assert!(head.ends_with(&format!("content-length: {}", body.len())));
        assert_eq!(head.matches("connection: close").count(), 1);
        let problem: serde_json::Value = serde_json::from_str(body).unwrap();
        assert_eq!(problem["code"], "head-too-large");
        assert_eq!(problem["requestId"], "00000007-1");
    }

    #[test]
    fn whatever_else_is_written_stays_as_it_is() {
        for other in [
            "HTTP/1.1 100 Continue\r\n\r\n",
            "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n",
            "HTTP/1.1 400 Bad Request\r\ncontent-length: 5\r\n\r\n",
            "HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\nmore",
            "HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n",
            "HTTP/2 400\r\ncontent-length: 0\r\n\r\n",
            "",
        ] {
            assert_eq!(with_words(other), None, "{other}");
        }
    }
}
