//! How an occurrence is an event of ours, and an event of ours an occurrence.
//!
//! Stream and type are the event's identifier, the data is the body. The rest of the request stands
//! in the metadata: `{"headers","query","method","url"}`, with what is secret in it replaced. An
//! event that came through another door and has no such metadata reads as a request without headers
//! and query.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::app::name::{EventType, StreamName};
use crate::app::publish::NewEvent;
use crate::app::{Data, Event, Failure};
use crate::http::{Head, HeaderMap, HeaderName, header};
use crate::json::write;

use super::form::{Fields, REDACTED};

/// The name of the access key, as a header and as a query parameter.
pub(super) const ACCESS_KEY: &str = "access-key";
/// The name of a token in a query.
pub(super) const ACCESS_TOKEN: &str = "access_token";
/// Query parameters that are replaced before anything is stored or shown.
pub(super) const SECRET_FIELDS: [&str; 2] = [ACCESS_KEY, ACCESS_TOKEN];
/// Headers that are.
static SECRET_HEADERS: [HeaderName; 7] = [
    HeaderName::from_static(ACCESS_KEY),
    header::AUTHORIZATION,
    header::PROXY_AUTHORIZATION,
    header::COOKIE,
    header::SET_COOKIE,
    HeaderName::from_static("x-api-key"),
    HeaderName::from_static("x-auth-token"),
];

/// Whether what a header says is replaced before it is stored or shown.
pub(super) fn is_secret_header(name: &str) -> bool {
    let mut secret = SECRET_HEADERS.iter();
    secret.any(|known| known.as_str().eq_ignore_ascii_case(name))
}

/// Writes headers as a JSON object. A name that is there again and again has its values in one text,
/// as Node has them; bytes that are no UTF-8 are replaced.
pub(super) fn write_headers(out: &mut Vec<u8>, headers: &HeaderMap) {
    out.push(b'{');
    for (index, name) in headers.keys().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        write::string(out, name.as_str());
        out.push(b':');
        if SECRET_HEADERS.contains(name) {
            write::string(out, REDACTED);
            continue;
        }
        let mut text = String::new();
        for value in headers.get_all(name) {
            if !text.is_empty() {
                text.push_str(", ");
            }
            text.push_str(&String::from_utf8_lossy(value.as_bytes()));
        }
        write::string(out, &text);
    }
    out.push(b'}');
}

/// Where a request went, without what is secret in its query.
pub(super) fn shown_url(head: &Head, query: &Fields<'_>) -> String {
    let host = head.headers().get(header::HOST);
    let host = host.and_then(|host| host.to_str().ok());
    let mut url = format!("http://{}{}", host.unwrap_or_default(), head.path());
    let query = query.to_query(&SECRET_FIELDS);
    if !query.is_empty() {
        url.push('?');
        url.push_str(&query);
    }
    url
}

/// The metadata of an occurrence that a request brought.
pub(super) fn metadata_of(head: &Head, query: &Fields<'_>) -> Vec<u8> {
    let mut out = b"{\"headers\":".to_vec();
    write_headers(&mut out, head.headers());
    out.extend_from_slice(b",\"query\":");
    query.write_json(&mut out, &SECRET_FIELDS);
    out.extend_from_slice(b",\"method\":");
    write::string(&mut out, head.method().as_str());
    out.extend_from_slice(b",\"url\":");
    write::string(&mut out, &shown_url(head, query));
    out.push(b'}');
    out
}

/// The metadata of an occurrence, as it is stored.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Metadata<'a> {
    #[serde(borrow)]
    pub(super) headers: &'a RawValue,
    #[serde(borrow)]
    pub(super) query: &'a RawValue,
    #[serde(borrow)]
    pub(super) method: Cow<'a, str>,
    #[serde(borrow)]
    pub(super) url: Cow<'a, str>,
    /// The execution that this occurrence repeats: only its contract is executed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) retry_of: Option<RetryOf>,
    /// The occurrence whose action answered with this one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) reply_from: Option<u64>,
}

/// What a manual retry repeats.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct RetryOf {
    /// The execution.
    pub(super) detail: u64,
    /// Its contract.
    pub(super) contract: u64,
}

impl<'a> Metadata<'a> {
    /// That of a request that never was.
    pub(super) fn empty() -> Metadata<'static> {
        let object: &RawValue = serde_json::from_str("{}").expect("it is JSON");
        Metadata {
            headers: object,
            query: object,
            method: Cow::Borrowed("POST"),
            url: Cow::Borrowed(""),
            retry_of: None,
            reply_from: None,
        }
    }

    /// That of an event.
    pub(super) fn of(event: &Event<'a>) -> Self {
        let read = event
            .metadata
            .and_then(|metadata| serde_json::from_slice::<Metadata<'a>>(metadata).ok());
        let object = |raw: &RawValue| raw.get().starts_with('{');
        read.filter(|metadata| object(metadata.headers) && object(metadata.query))
            .unwrap_or_else(|| Self::empty())
    }

    /// As it is stored.
    pub(super) fn to_json(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("texts and checked JSON can be written")
    }
}

/// The event that an occurrence becomes.
pub(super) fn occurrence<'a>(
    identifier: &'a str,
    data: Data<'a>,
    metadata: &'a [u8],
) -> Result<NewEvent<'a>, Failure> {
    Ok(NewEvent {
        metadata: Some(metadata),
        ..NewEvent::new(
            StreamName::new(identifier)?,
            EventType::new(identifier)?,
            data,
        )
    })
}

/// The body of an occurrence as JSON. What is none has no JSON to show.
pub(super) fn body_json<'a>(data: &Data<'a>) -> &'a str {
    match data {
        Data::Json(json) => std::str::from_utf8(json).unwrap_or("null"),
        Data::Bytes { .. } => "null",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::HeaderValue;

    #[test]
    fn headers_are_shown_without_what_is_secret() {
        let mut headers = HeaderMap::new();
        for (name, value) in [
            ("access-key", "s1"),
            ("authorization", "BEARER s2"),
            ("cookie", "s3"),
            ("x-a", "1"),
            ("x-a", "2"),
        ] {
            headers.append(
                HeaderName::from_static(name),
                HeaderValue::from_static(value),
            );
        }
        headers.append(
            HeaderName::from_static("x-b"),
            HeaderValue::from_bytes(b"\xff\"").unwrap(),
        );
        let mut out = Vec::new();
        write_headers(&mut out, &headers);
        let shown: serde_json::Value = serde_json::from_slice(&out).unwrap();
        assert_eq!(
            shown,
            serde_json::json!({
                "access-key": "redacted", "authorization": "redacted", "cookie": "redacted",
                "x-a": "1, 2", "x-b": "\u{fffd}\"",
            })
        );
    }

    #[test]
    fn metadata_reads_back_as_it_was_written() {
        let written = Metadata {
            url: Cow::Borrowed("http://a/\"b\""),
            retry_of: Some(RetryOf {
                detail: 3,
                contract: 4,
            }),
            ..Metadata::empty()
        };
        let json = written.to_json();
        let read: Metadata<'_> = serde_json::from_slice(&json).unwrap();
        assert_eq!(read.url, written.url);
        assert_eq!(read.retry_of, written.retry_of);
        assert_eq!(read.to_json(), json);
    }
}
