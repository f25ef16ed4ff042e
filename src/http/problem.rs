//! What was wrong with a request, as a value; and its RFC 9457 form.
//!
//! The codes and type URIs in this file, and those of the product's failures, are what programs
//! look at: they never change their meaning.

use std::borrow::Cow;

use super::StatusCode;
use super::head::RequestId;
use super::header::{self, HeaderValue};
use super::reply::Reply;

/// A kind of problem: what stays the same each time it occurs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProblemType {
    /// The code that programs look at.
    pub code: &'static str,
    /// The status of the reply.
    pub status: StatusCode,
    /// A short sentence for people.
    pub title: &'static str,
}

macro_rules! problem_types {
    ($($(#[$doc:meta])* $name:ident = $code:literal, $status:ident, $title:literal;)*) => {
        impl ProblemType {
            $($(#[$doc])* pub const $name: Self = Self {
                code: $code,
                status: StatusCode::$status,
                title: $title,
            };)*

            /// The problems that lie in HTTP or in the form of a request, before the product is
            /// asked.
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];
        }
    };
}

problem_types! {
    /// The head of the request breaks the rules of HTTP.
    MALFORMED_REQUEST = "malformed-request", BAD_REQUEST, "The request breaks the rules of HTTP";
    /// A header has a value that makes no sense here.
    INVALID_HEADER = "invalid-header", BAD_REQUEST, "A header is not valid";
    /// A query parameter that this resource does not know.
    UNKNOWN_PARAMETER = "unknown-parameter", BAD_REQUEST, "There is no such query parameter";
    /// A query parameter that may be given once.
    REPEATED_PARAMETER = "repeated-parameter", BAD_REQUEST, "A query parameter is given twice";
    /// A query parameter whose value makes no sense.
    INVALID_PARAMETER = "invalid-parameter", BAD_REQUEST, "A query parameter is not valid";
    /// A name in the path is not one.
    INVALID_NAME = "invalid-name", BAD_REQUEST, "A name is not valid";
    /// The body is not JSON in UTF-8, or nested too deeply.
    INVALID_JSON = "invalid-json", BAD_REQUEST, "The body is not valid JSON";
    /// The body has a member that this resource does not know.
    UNKNOWN_MEMBER = "unknown-member", BAD_REQUEST, "There is no such member";
    /// A member of the body has a value that makes no sense, or is missing.
    INVALID_MEMBER = "invalid-member", BAD_REQUEST, "A member is not valid";
    /// The request comes from a page of another site, or names this server by a foreign name.
    FOREIGN_ORIGIN = "foreign-origin", FORBIDDEN, "The request comes from elsewhere";
    /// There is nothing at this path.
    NOT_FOUND = "not-found", NOT_FOUND, "There is nothing at this path";
    /// The path does not have this method.
    METHOD_NOT_ALLOWED = "method-not-allowed", METHOD_NOT_ALLOWED, "The method is not allowed here";
    /// None of the wanted representations exists.
    NOT_ACCEPTABLE = "not-acceptable", NOT_ACCEPTABLE, "No representation is acceptable";
    /// The body took too long.
    REQUEST_TIMEOUT = "request-timeout", REQUEST_TIMEOUT, "The request took too long";
    /// The body, or a part of it, is too large.
    TOO_LARGE = "too-large", PAYLOAD_TOO_LARGE, "The request is too large";
    /// A batch has too many events.
    TOO_MANY_EVENTS = "too-many-events", PAYLOAD_TOO_LARGE, "There are too many events in one batch";
    /// The target is too long.
    URI_TOO_LONG = "uri-too-long", URI_TOO_LONG, "The target is too long";
    /// The content type or coding of the body is not taken here.
    UNSUPPORTED_MEDIA_TYPE = "unsupported-media-type", UNSUPPORTED_MEDIA_TYPE, "The content type is not supported";
    /// An expectation other than `100-continue`.
    EXPECTATION_FAILED = "expectation-failed", EXPECTATION_FAILED, "The expectation cannot be met";
    /// The head is too large.
    HEAD_TOO_LARGE = "head-too-large", REQUEST_HEADER_FIELDS_TOO_LARGE, "The head is too large";
    /// Too much is going on.
    BUSY = "busy", SERVICE_UNAVAILABLE, "The server is busy";
    /// A method or transfer coding that this server does not know.
    NOT_IMPLEMENTED = "not-implemented", NOT_IMPLEMENTED, "This is not implemented";
    /// We made a mistake.
    INTERNAL = "internal", INTERNAL_SERVER_ERROR, "The server made a mistake";
}

/// A further member of a problem, for programs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Member {
    /// A number.
    Number(u64),
    /// A text.
    Text(Cow<'static, str>),
    /// Nothing, said aloud.
    Null,
}

/// One occurrence of a problem.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem(Box<Inner>);

#[derive(Clone, Debug, PartialEq, Eq)]
struct Inner {
    problem_type: ProblemType,
    detail: Cow<'static, str>,
    members: Vec<(&'static str, Member)>,
    retry_after_s: Option<u32>,
    allow: Option<HeaderValue>,
    closes: bool,
}

impl Problem {
    /// A problem with a sentence about this occurrence: what was wrong, where, and whether anything
    /// happened.
    #[must_use]
    pub fn new(problem_type: ProblemType, detail: impl Into<Cow<'static, str>>) -> Self {
        Self(Box::new(Inner {
            problem_type,
            detail: detail.into(),
            members: Vec::new(),
            retry_after_s: None,
            allow: None,
            closes: false,
        }))
    }

    /// The same problem with one more member.
    #[must_use]
    pub fn with(mut self, name: &'static str, member: Member) -> Self {
        self.0.members.push((name, member));
        self
    }

    /// The same problem, worth another try after so many seconds.
    #[must_use]
    pub fn retry_after(mut self, seconds: u32) -> Self {
        self.0.retry_after_s = Some(seconds);
        self
    }

    /// The same problem, naming the methods that are allowed.
    #[must_use]
    pub fn allowing(mut self, methods: HeaderValue) -> Self {
        self.0.allow = Some(methods);
        self
    }

    /// The same problem, after which the connection cannot be used: where the next request begins
    /// is not known.
    #[must_use]
    pub fn closing(mut self) -> Self {
        self.0.closes = true;
        self
    }

    /// Its kind.
    #[must_use]
    pub fn problem_type(&self) -> ProblemType {
        self.0.problem_type
    }

    /// The sentence about this occurrence.
    #[must_use]
    pub fn detail(&self) -> &str {
        &self.0.detail
    }

    /// Whether the connection closes after it.
    #[must_use]
    pub fn closes(&self) -> bool {
        self.0.closes
    }

    /// The problem as one line of JSON.
    #[must_use]
    pub fn to_json(&self, id: &RequestId) -> Vec<u8> {
        let inner = &*self.0;
        let mut out = Vec::with_capacity(256);
        out.extend_from_slice(b"{\"type\":\"urn:strandlog:problem:");
        out.extend_from_slice(inner.problem_type.code.as_bytes());
        out.extend_from_slice(b"\",\"title\":");
        text(&mut out, inner.problem_type.title);
        out.extend_from_slice(b",\"status\":");
        out.extend_from_slice(inner.problem_type.status.as_str().as_bytes());
        out.extend_from_slice(b",\"code\":");
        text(&mut out, inner.problem_type.code);
        out.extend_from_slice(b",\"detail\":");
        text(&mut out, &inner.detail);
        out.extend_from_slice(b",\"requestId\":");
        text(&mut out, id.as_str());
        for (name, member) in &inner.members {
            out.push(b',');
            text(&mut out, name);
            out.push(b':');
            match member {
                Member::Number(number) => out.extend_from_slice(number.to_string().as_bytes()),
                Member::Text(value) => text(&mut out, value),
                Member::Null => out.extend_from_slice(b"null"),
            }
        }
        out.push(b'}');
        out
    }

    /// The reply that says so as `application/problem+json`.
    #[must_use]
    pub fn into_reply(self, id: &RequestId) -> Reply {
        let body = self.to_json(id);
        let inner = *self.0;
        let mut reply = Reply::new(inner.problem_type.status)
            .typed(HeaderValue::from_static("application/problem+json"))
            .full(body);
        if let Some(seconds) = inner.retry_after_s {
            reply.set(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        if let Some(methods) = inner.allow {
            reply.set(header::ALLOW, methods);
        }
        if inner.closes {
            reply.set(header::CONNECTION, HeaderValue::from_static("close"));
        }
        reply
    }
}

/// Writes a JSON string.
fn text(out: &mut Vec<u8>, text: &str) {
    serde_json::to_writer(out, text).expect("a vector takes every byte, and a string is JSON");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_distinct_words() {
        for (index, one) in ProblemType::ALL.iter().enumerate() {
            assert!(
                one.code
                    .bytes()
                    .all(|byte| byte.is_ascii_lowercase() || byte == b'-')
            );
            for other in &ProblemType::ALL[index + 1..] {
                assert_ne!(one.code, other.code);
            }
        }
    }

    #[test]
    fn a_problem_is_json_whatever_its_texts_hold() {
        let problem = Problem::new(ProblemType::INVALID_NAME, "a \"quoted\"\nline \u{1f6eb}")
            .with("index", Member::Number(3))
            .with("actual", Member::Null)
            .with("name", Member::Text("\u{7}".into()));
        let json = problem.to_json(&RequestId::generated("t", 1));
        let value: serde_json::Value = serde_json::from_slice(&json).unwrap();
        assert_eq!(value["detail"], "a \"quoted\"\nline \u{1f6eb}");
        assert_eq!(value["status"], 400);
        assert_eq!(value["type"], "urn:strandlog:problem:invalid-name");
        assert_eq!(value["index"], 3);
        assert!(value["actual"].is_null());
        assert!(!json.contains(&b'\n'));
    }
}
