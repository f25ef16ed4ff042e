//! What is answered: every status, word and body of the gateway.
#![deny(clippy::wildcard_enum_match_arm)]

use std::borrow::Cow;

use crate::app::{Code, Failure, FailureKind};
use crate::http::{HeaderValue, Method, Problem, Reply, RequestId, StatusCode, header};
use crate::json::write;

/// A status of an error, and the word that stands for it in the body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Case {
    status: StatusCode,
    word: &'static str,
}

const BAD_REQUEST: Case = Case {
    status: StatusCode::BAD_REQUEST,
    word: "BAD_REQUEST",
};
const FORBIDDEN: Case = Case {
    status: StatusCode::FORBIDDEN,
    word: "FORBIDDEN",
};
const METHOD_NOT_ALLOWED: Case = Case {
    status: StatusCode::METHOD_NOT_ALLOWED,
    word: "METHOD_NOT_ALLOWED",
};
const INTERNAL_SERVER_ERROR: Case = Case {
    status: StatusCode::INTERNAL_SERVER_ERROR,
    word: "INTERNAL_SERVER_ERROR",
};

const JSON: HeaderValue = HeaderValue::from_static("application/json");
const POST_ONLY: HeaderValue = HeaderValue::from_static("POST");
const CLOSE: HeaderValue = HeaderValue::from_static("close");

/// The body is no JSON object.
const NO_OBJECT: &str = "event payload must be a JSON object";
/// The header `correlation-ids` is no JSON object of strings.
const NO_CORRELATION: &str = "header correlation-ids must be a JSON object of strings";
/// Nothing was stored, for reasons that are the server's.
const NOT_STORED: &str = "event could not be stored";
/// The write failed midway. A repeat is safe, because it is known again by its key.
const UNKNOWN: &str =
    "whether the event was stored is unknown; it can be sent again with the same idempotency-key";

/// Why an event was not taken.
#[derive(Debug)]
pub(super) struct Refusal {
    case: Case,
    message: Cow<'static, str>,
    /// Whether the rest of the request was left unread.
    closes: bool,
    /// What our own log is told of it.
    cause: Option<Box<Failure>>,
}

impl Refusal {
    fn new(case: Case, message: impl Into<Cow<'static, str>>) -> Self {
        Self {
            case,
            message: message.into(),
            closes: false,
            cause: None,
        }
    }

    /// Header or body is wrong.
    pub(super) fn invalid(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(BAD_REQUEST, message)
    }

    /// The body is no JSON object.
    pub(super) fn no_object() -> Self {
        Self::invalid(NO_OBJECT)
    }

    /// The header `correlation-ids` is no JSON object of strings.
    pub(super) fn no_correlation() -> Self {
        Self::invalid(NO_CORRELATION)
    }

    /// These headers are absent or empty.
    pub(super) fn missing(names: &[&str]) -> Self {
        Self::invalid(format!("missing required header(s): {}", names.join(", ")))
    }

    /// The caller may not publish.
    pub(super) fn denied(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(FORBIDDEN, message)
    }

    /// A name stands among those that may not publish.
    pub(super) fn denied_by_name(what: &str, name: &str) -> Self {
        Self::denied(format!("{what} {name} is not allowed to publish"))
    }

    /// The path takes `POST` alone.
    pub(super) fn wrong_method(method: &Method) -> Self {
        Self::new(
            METHOD_NOT_ALLOWED,
            format!("{method} is not allowed here, only POST"),
        )
    }

    /// The body could not be read.
    pub(super) fn of_body(problem: &Problem) -> Self {
        let status = problem.problem_type().status;
        let refusal = if status == StatusCode::PAYLOAD_TOO_LARGE {
            Self::invalid(format!(
                "event payload is longer than {} bytes",
                super::publish::PAYLOAD_LEN_MAX
            ))
        } else if status.is_server_error() {
            Self::new(INTERNAL_SERVER_ERROR, NOT_STORED)
        } else {
            Self::invalid(problem.detail().to_owned())
        };
        Self {
            closes: problem.closes(),
            ..refusal
        }
    }

    /// The event was not stored.
    pub(super) fn of_failure(failure: Failure, stream: &str) -> Self {
        let kind = failure.kind();
        if failure.code == Code::StreamOwned {
            return Self::denied(format!("stream {stream} belongs to another producer"));
        }
        let refusal = match kind {
            FailureKind::Invalid | FailureKind::TooLarge => {
                return Self::invalid(failure.message);
            }
            FailureKind::Denied => return Self::denied(failure.message),
            FailureKind::Unknown => Self::new(INTERNAL_SERVER_ERROR, UNKNOWN),
            FailureKind::NotFound
            | FailureKind::Expired
            | FailureKind::Conflict
            | FailureKind::Unmet
            | FailureKind::KeyReused
            | FailureKind::Busy
            | FailureKind::Full
            | FailureKind::Failed
            | FailureKind::Damaged => Self::new(INTERNAL_SERVER_ERROR, NOT_STORED),
        };
        Self {
            cause: Some(Box::new(failure)),
            ..refusal
        }
    }

    /// The reply, after our own log has been told what the client is not.
    pub(super) fn into_reply(self, id: &RequestId) -> Reply {
        if let Some(failure) = &self.cause {
            tracing::warn!(request_id = id.as_str(), %failure, retry = retry(failure.kind()), "an event could not be stored");
        }
        let mut body = Vec::with_capacity(64 + self.message.len());
        body.extend_from_slice(b"{\"status\":");
        write::string(&mut body, self.case.word);
        body.extend_from_slice(b",\"message\":");
        write::string(&mut body, &self.message);
        body.extend_from_slice(b",\"details\":[]}");
        let mut reply = Reply::new(self.case.status).typed(JSON).full(body);
        if self.case == METHOD_NOT_ALLOWED {
            reply.set(header::ALLOW, POST_ONLY);
        }
        if self.closes {
            reply.set(header::CONNECTION, CLOSE);
        }
        reply
    }
}

/// When the same event may be taken.
fn retry(kind: FailureKind) -> &'static str {
    match kind {
        FailureKind::Busy => "in a moment",
        FailureKind::Full => "once there is room on the disk",
        FailureKind::Failed | FailureKind::Unknown => "once the server has been restarted",
        FailureKind::Invalid
        | FailureKind::TooLarge
        | FailureKind::NotFound
        | FailureKind::Expired
        | FailureKind::Conflict
        | FailureKind::Unmet
        | FailureKind::KeyReused
        | FailureKind::Denied
        | FailureKind::Damaged => "not as it is",
    }
}
