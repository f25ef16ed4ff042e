//! What the dialect answers: every status, code and body, in one place.
//!
//! A refusal carries the union of the two error bodies that clients of Synapse know (see the spec,
//! section 5). Codes are those of Axon Server; where it has none for a case, the one for anything
//! else.
#![deny(clippy::wildcard_enum_match_arm)]

use std::borrow::Cow;

use crate::app::event::NotAnEvent;
use crate::app::name::NameError;
use crate::app::{Code, Failure, FailureKind};
use crate::http::{Head, HeaderName, HeaderValue, Problem, ProblemType, Reply, StatusCode, header};
use crate::json::write::string;
use crate::json::{Fault, FaultKind};

use super::event::write_time;

/// A kind of refusal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Kind {
    status: StatusCode,
    code: &'static str,
}

/// Axon Server's code for what has no code of its own.
const OTHER: &str = "AXONIQ-0001";

macro_rules! kinds {
    ($($(#[$doc:meta])* $name:ident = $status:ident, $code:expr;)*) => {
        impl Kind {
            $($(#[$doc])* pub(super) const $name: Self = Self {
                status: StatusCode::$status,
                code: $code,
            };)*
        }
    };
}

kinds! {
    /// The request makes no sense.
    INVALID = BAD_REQUEST, OTHER;
    /// The body, or an event, is too long.
    TOO_LARGE = BAD_REQUEST, "AXONIQ-2001";
    /// A list has too many events.
    TOO_MANY_EVENTS = BAD_REQUEST, "AXONIQ-2002";
    /// A key is required, and there is none.
    NO_KEY = FORBIDDEN, "AXONIQ-1000";
    /// The key is wrong.
    WRONG_KEY = FORBIDDEN, "AXONIQ-1001";
    /// The request comes from a page of another site.
    FORBIDDEN = FORBIDDEN, OTHER;
    /// There is no such context.
    NO_SUCH_CONTEXT = NOT_FOUND, "AXONIQ-1302";
    /// There is nothing here.
    NOT_FOUND = NOT_FOUND, OTHER;
    /// The path has other methods.
    METHOD_NOT_ALLOWED = METHOD_NOT_ALLOWED, OTHER;
    /// The events do not go on where their aggregate ends.
    WRONG_SEQUENCE = CONFLICT, "AXONIQ-2000";
    /// It contradicts what is there. Not the code of a wrong sequence: clients take that one for a
    /// reason to read the aggregate and try again, which would never end.
    CONFLICT = CONFLICT, OTHER;
    /// The body is of a type that is not taken here.
    UNSUPPORTED_MEDIA_TYPE = UNSUPPORTED_MEDIA_TYPE, OTHER;
    /// The events cannot be written.
    WRITE_FAILED = INTERNAL_SERVER_ERROR, "AXONIQ-9100";
    /// The events cannot be read.
    READ_FAILED = INTERNAL_SERVER_ERROR, "AXONIQ-9000";
    /// We made a mistake.
    INTERNAL = INTERNAL_SERVER_ERROR, OTHER;
    /// It could not be done in time; nothing was.
    BUSY = GATEWAY_TIMEOUT, OTHER;
}

impl Kind {
    /// What a failure of the product is here.
    fn of(code: Code) -> Self {
        match code.kind() {
            FailureKind::Invalid if code == Code::InvalidLogName => Self::NO_SUCH_CONTEXT,
            FailureKind::Invalid => Self::INVALID,
            FailureKind::TooLarge if code == Code::TooManyEvents => Self::TOO_MANY_EVENTS,
            FailureKind::TooLarge => Self::TOO_LARGE,
            FailureKind::NotFound if code == Code::NoSuchLog => Self::NO_SUCH_CONTEXT,
            FailureKind::NotFound | FailureKind::Expired => Self::NOT_FOUND,
            FailureKind::Unmet if code == Code::AggregateSequence => Self::WRONG_SEQUENCE,
            FailureKind::Conflict | FailureKind::Unmet | FailureKind::KeyReused => Self::CONFLICT,
            FailureKind::Denied => Self::FORBIDDEN,
            FailureKind::Busy => Self::BUSY,
            FailureKind::Full | FailureKind::Failed => Self::WRITE_FAILED,
            FailureKind::Damaged => Self::READ_FAILED,
            FailureKind::Unknown if code == Code::OutcomeUnknown => Self::WRITE_FAILED,
            FailureKind::Unknown => Self::INTERNAL,
        }
    }

    /// What a problem with the form of a request is here; those that the dialect says nothing about
    /// keep their status.
    fn of_problem(problem_type: ProblemType) -> Self {
        for (known, kind) in [
            (ProblemType::TOO_LARGE, Self::TOO_LARGE),
            (ProblemType::FOREIGN_ORIGIN, Self::FORBIDDEN),
            (ProblemType::BUSY, Self::BUSY),
        ] {
            if problem_type == known {
                return kind;
            }
        }
        Self {
            status: problem_type.status,
            code: OTHER,
        }
    }
}

/// Why a request was not carried out.
#[derive(Debug)]
pub(super) struct Refusal(Box<Inner>);

#[derive(Debug)]
struct Inner {
    kind: Kind,
    message: Cow<'static, str>,
    details: Vec<(&'static str, String)>,
    retry_after_s: Option<u32>,
    allow: Option<HeaderValue>,
    closes: bool,
    /// What our own log is told, if an operator should know.
    for_our_log: Option<String>,
}

impl Refusal {
    /// A refusal with a message that says what was wrong, and where.
    pub(super) fn new(kind: Kind, message: impl Into<Cow<'static, str>>) -> Self {
        Self(Box::new(Inner {
            kind,
            message: message.into(),
            details: Vec::new(),
            retry_after_s: None,
            allow: None,
            closes: false,
            for_our_log: None,
        }))
    }

    /// The same refusal with something for programs.
    pub(super) fn with(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.0.details.push((name, value.into()));
        self
    }

    /// The same refusal with another message.
    pub(super) fn saying(mut self, message: impl Into<Cow<'static, str>>) -> Self {
        self.0.message = message.into();
        self
    }

    /// The same refusal, naming the methods that are allowed.
    pub(super) fn allowing(mut self, methods: HeaderValue) -> Self {
        self.0.allow = Some(methods);
        self
    }

    /// Says so: `{"timestamp","path","status","error","requestId","code","message","details"}`.
    pub(super) fn into_reply(self, head: &Head, now_us: u64) -> Reply {
        let inner = *self.0;
        if let Some(cause) = &inner.for_our_log {
            tracing::warn!(request_id = head.id().as_str(), %cause, "a request could not be carried out");
        }
        let mut body = Vec::with_capacity(256);
        body.extend_from_slice(b"{\"timestamp\":\"");
        write_time(&mut body, i64::try_from(now_us).unwrap_or(i64::MAX));
        body.extend_from_slice(b"\",\"path\":");
        string(&mut body, head.path());
        body.extend_from_slice(b",\"status\":");
        body.extend_from_slice(inner.kind.status.as_str().as_bytes());
        body.extend_from_slice(b",\"error\":");
        string(
            &mut body,
            inner.kind.status.canonical_reason().unwrap_or("Error"),
        );
        body.extend_from_slice(b",\"requestId\":");
        string(&mut body, head.id().as_str());
        body.extend_from_slice(b",\"code\":");
        string(&mut body, inner.kind.code);
        body.extend_from_slice(b",\"message\":");
        string(&mut body, &inner.message);
        body.extend_from_slice(b",\"details\":{");
        for (index, (name, value)) in inner.details.iter().enumerate() {
            if index > 0 {
                body.push(b',');
            }
            string(&mut body, name);
            body.push(b':');
            string(&mut body, value);
        }
        body.extend_from_slice(b"}}");
        let mut reply = json(inner.kind.status, body);
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

impl From<Problem> for Refusal {
    fn from(problem: Problem) -> Self {
        let kind = Kind::of_problem(problem.problem_type());
        let mut refusal = Self::new(kind, problem.detail().to_owned());
        refusal.0.closes = problem.closes();
        if kind == Kind::BUSY {
            refusal.0.retry_after_s = FailureKind::Busy.retry_after_s();
        }
        refusal
    }
}

impl From<Failure> for Refusal {
    fn from(failure: Failure) -> Self {
        let kind = Kind::of(failure.code);
        let mut refusal = Self::new(kind, failure.message.clone());
        refusal.0.retry_after_s = failure.kind().retry_after_s();
        if kind.status == StatusCode::INTERNAL_SERVER_ERROR {
            refusal.0.for_our_log = Some(failure.to_string());
        }
        refusal
    }
}

impl From<NotAnEvent> for Refusal {
    fn from(error: NotAnEvent) -> Self {
        Failure::from(error).into()
    }
}

impl From<NameError> for Refusal {
    fn from(error: NameError) -> Self {
        Self::new(Kind::INVALID, format!("{error}; nothing was done"))
    }
}

impl From<Fault> for Refusal {
    fn from(fault: Fault) -> Self {
        let kind = match fault.kind {
            FaultKind::TooLarge => Kind::TOO_LARGE,
            FaultKind::TooManyEvents => Kind::TOO_MANY_EVENTS,
            FaultKind::Json
            | FaultKind::UnknownMember
            | FaultKind::Member
            | FaultKind::Name
            | FaultKind::NoEvents => Kind::INVALID,
        };
        let place = match (fault.index, &fault.member) {
            (None, None) => "the body".to_owned(),
            (None, Some(member)) => format!("member '{}'", member.escape_debug()),
            (Some(index), None) => format!("item {index}"),
            (Some(index), Some(member)) => {
                format!("item {index}, member '{}'", member.escape_debug())
            }
        };
        let mut refusal = Self::new(
            kind,
            format!(
                "{place}: {} (at byte {} of the body); nothing was done",
                fault.what, fault.offset
            ),
        );
        if let Some(index) = fault.index {
            refusal = refusal.with("index", index.to_string());
        }
        if let Some(member) = fault.member {
            refusal = refusal.with("member", member);
        }
        refusal
    }
}

/// Real replies name no charset.
const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// A reply with a JSON body that is written while it is sent, if `Reply::streamed` gives it one.
pub(super) fn json_head(status: StatusCode) -> Reply {
    Reply::new(status).typed(JSON)
}

/// A reply with a JSON body.
pub(super) fn json(status: StatusCode, body: Vec<u8>) -> Reply {
    json_head(status).full(body)
}

/// The events are stored.
pub(super) fn stored() -> Reply {
    Reply::new(StatusCode::OK)
}

/// It is done, and there is nothing to say about it.
pub(super) fn done() -> Reply {
    Reply::new(StatusCode::NO_CONTENT)
}

/// What real replies say about caching and embedding, on every reply.
const ON_EVERY_REPLY: [(HeaderName, HeaderValue); 5] = [
    (
        header::CACHE_CONTROL,
        HeaderValue::from_static("no-cache, no-store, max-age=0, must-revalidate"),
    ),
    (header::PRAGMA, HeaderValue::from_static("no-cache")),
    (header::EXPIRES, HeaderValue::from_static("0")),
    (
        header::X_CONTENT_TYPE_OPTIONS,
        HeaderValue::from_static("nosniff"),
    ),
    (header::X_FRAME_OPTIONS, HeaderValue::from_static("DENY")),
];

/// The reply as it leaves the door.
pub(super) fn dressed(mut reply: Reply) -> Reply {
    for (name, value) in ON_EVERY_REPLY {
        reply.set(name, value);
    }
    reply
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_documented_statuses_come_from_the_product() {
        for code in Code::ALL {
            let kind = Kind::of(*code);
            assert!(
                [400, 403, 404, 409, 500, 504].contains(&kind.status.as_u16()),
                "{}",
                code.as_str()
            );
            assert_eq!(
                kind.code == "AXONIQ-2000",
                *code == Code::AggregateSequence,
                "{}",
                code.as_str()
            );
            if !code.kind().changed_nothing() {
                assert_eq!(kind.status, 500, "{}", code.as_str());
            }
        }
    }
}
