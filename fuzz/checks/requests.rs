//! What must hold for any bytes that come as part of a request: an answer or a reason, never a
//! panic, and nothing is taken for JSON that is none.

use std::time::Duration;

use serde::de::IgnoredAny;
use strandlog::http::etag::{self, Tags};
use strandlog::http::path::{decode_segment, encode};
use strandlog::http::query::Query;
use strandlog::http::{HeaderMap, HeaderName, HeaderValue, RequestId, accept, header, prefer};
use strandlog::json;
use strandlog::native::wire::{self, Form};

/// The first byte chooses the part of the request, the others are that part.
pub(crate) fn check(bytes: &[u8]) {
    let Some((part, bytes)) = bytes.split_first() else {
        return;
    };
    match part {
        b'p' => segment(bytes),
        b'q' => query(bytes),
        b'h' => headers(bytes),
        b'n' => body(bytes, Form::Ndjson),
        _ => body(bytes, Form::Json),
    }
}

fn segment(bytes: &[u8]) {
    let Ok(raw) = std::str::from_utf8(bytes) else {
        return;
    };
    let Ok(name) = decode_segment(raw) else {
        return;
    };
    assert!(!name.chars().any(char::is_control));
    let again = encode(&name).to_string();
    assert!(again.is_ascii());
    assert_eq!(decode_segment(&again).ok(), Some(name));
}

fn query(bytes: &[u8]) {
    let Ok(raw) = std::str::from_utf8(bytes) else {
        return;
    };
    let Ok(mut query) = Query::parse(Some(raw)) else {
        return;
    };
    for name in ["from", "to", "after", "limit"] {
        if let Ok(Some(number)) = query.number(name) {
            assert!(i64::try_from(number).is_ok());
        }
    }
    let _streams = query.all("stream");
    let _unknown = query.finish();
}

/// A header a line.
fn headers(bytes: &[u8]) {
    let mut headers = HeaderMap::new();
    for line in bytes.split(|byte| *byte == b'\n') {
        let colon = line.iter().position(|byte| *byte == b':');
        let (name, value) = line.split_at(colon.unwrap_or(0));
        let value = value.get(1..).unwrap_or_default().trim_ascii();
        if let (Ok(name), Ok(value)) =
            (HeaderName::from_bytes(name), HeaderValue::from_bytes(value))
        {
            headers.append(name, value);
        }
    }
    let offers = ["application/json", "application/x-ndjson"];
    let chosen = accept::negotiate(&headers, &offers);
    assert!(chosen.is_none_or(|chosen| chosen < offers.len()));
    assert!(headers.contains_key(header::ACCEPT) || chosen == Some(0));
    let takes_gzip = accept::takes_gzip(&headers);
    assert!(!takes_gzip || headers.contains_key(header::ACCEPT_ENCODING));
    assert!(prefer::wait(&headers).is_none_or(|wait| wait <= Duration::MAX));
    for name in [&header::IF_MATCH, &header::IF_NONE_MATCH] {
        match etag::condition(&headers, name) {
            Ok(None) => assert!(!headers.contains_key(name)),
            Ok(Some(Tags::Any)) | Err(_) => assert!(headers.contains_key(name)),
            Ok(Some(tags @ Tags::These(_))) => {
                let _matches = tags.match_weakly(&etag::strong(7));
            }
        }
    }
    if let Some(id) = RequestId::given(&headers) {
        assert!((1..=128).contains(&id.as_str().len()));
        assert!(id.as_str().bytes().all(|byte| byte.is_ascii_graphic()));
    }
}

fn body(bytes: &[u8], form: Form) {
    let Ok(text) = json::text(bytes) else {
        return;
    };
    let Ok(parsed) = wire::parse(text, form, None) else {
        return;
    };
    assert!(!parsed.events.is_empty());
    for event in &parsed.events {
        assert!(!event.stream.as_str().is_empty());
        let _event = event.to_new();
    }
    let documents: Vec<&str> = match form {
        Form::Json => vec![text],
        Form::Ndjson => text.split('\n').collect(),
    };
    for document in documents {
        if !document.trim_ascii().is_empty() {
            assert!(serde_json::from_str::<IgnoredAny>(document).is_ok());
        }
    }
}
