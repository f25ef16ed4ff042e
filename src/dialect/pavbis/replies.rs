//! What the door answers: every status, text and shape that is not an event or a chart.
//!
//! This is the `documented` profile. Texts of refusals are JSON strings: what the status means, a
//! dash, what was wrong.

use std::borrow::Cow;

use uuid::Uuid;

use crate::app::name::NameError;
use crate::app::{Code, Failure, FailureKind};
use crate::http::{
    HeaderName, HeaderValue, Problem, ProblemType, Reply, RequestId, StatusCode, header,
};
use crate::json::write;
use crate::store::Health;

/// The content type of everything but metrics and unknown paths.
const JSON: HeaderValue = HeaderValue::from_static("application/json; charset=utf-8");
/// The content type of the metrics.
const METRICS: HeaderValue = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
/// Says that a reply was cut, and at how many entries.
const LIMIT_APPLIED: HeaderName = HeaderName::from_static("strandlog-limit-applied");

/// What was wrong, as clients know it.
pub(super) mod text {
    pub(in super::super) const CONTENT_TYPE: &str =
        "Content-Type header must be application/json; charset=utf-8";
    pub(in super::super) const ACCEPT: &str =
        "accept header must be application/json; charset=utf-8";
    pub(in super::super) const PRODUCER_ID: &str = "Key: 'ReceiveEventRequest.XProducerID' Error:Field validation for 'XProducerID' failed on the 'required' tag";
    pub(in super::super) const EVENT_NAME: &str = "Key: 'Event.EventData.Name' Error:Field validation for 'Name' failed on the 'required' tag";
    pub(in super::super) const EMPTY_BODY: &str = "EOF";
    pub(in super::super) const CONSUMER_ID: &str = "missing or invalid consumer id provided";
    pub(in super::super) const EVENT_ID: &str = "missing or invalid event id provided";
    pub(in super::super) const LIMIT: &str = "limit argument is not valid";
    pub(in super::super) const LIMIT_ZERO: &str = "Key: 'ReceiveEvents.Limit' Error:Field validation for 'Limit' failed on the 'required' tag";
    pub(in super::super) const EVENT_NAME_PARAMETER: &str = "Key: 'ReceiveEvents.EventName' Error:Field validation for 'EventName' failed on the 'required' tag";
    pub(in super::super) const ACTION: &str = "action must be ACK";
    pub(in super::super) const OFFSET: &str = "offset argument is not valid";
    pub(in super::super) const OFFSET_TOO_HIGH: &str = "offset can not be greater than event count";
    pub(in super::super) const NO_SUCH_EVENT: &str = "event id not found";
    pub(in super::super) const TERM: &str = "Key: 'SearchTermRequest.Term' Error:Field validation for 'Term' failed on the 'required' tag";
    pub(in super::super) const PERIOD: &str = "period is not supported or invalid";
}

/// Why a request was not carried out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    /// 400.
    BadRequest {
        /// What was wrong.
        what: Cow<'static, str>,
        /// Whether the connection cannot be used any more.
        closes: bool,
    },
    /// 401.
    Unauthorized,
    /// 403.
    Forbidden(Cow<'static, str>),
    /// 404, of something in the log.
    NotFound(Option<Cow<'static, str>>),
    /// 423.
    Locked,
    /// 500.
    Internal {
        /// What went wrong.
        what: Cow<'static, str>,
        /// After how many seconds it may be worth another try.
        retry_after_s: Option<u32>,
    },
    /// 404, of a path.
    UnknownPath,
    /// 405, with the methods there are.
    OtherMethods(HeaderValue),
    /// The log refused.
    Failure(Box<Failure>),
}

impl Refusal {
    /// 400.
    pub(super) fn bad(what: impl Into<Cow<'static, str>>) -> Self {
        Self::BadRequest {
            what: what.into(),
            closes: false,
        }
    }

    /// 500.
    pub(super) fn internal(what: impl Into<Cow<'static, str>>) -> Self {
        Self::Internal {
            what: what.into(),
            retry_after_s: None,
        }
    }

    /// The event is not the next one.
    pub(super) fn mismatch(next: u64, given: u64) -> Self {
        Self::bad(format!("Consumer offset mismatch: {next}->{given}"))
    }

    /// No event was ever published to the stream.
    pub(super) fn no_such_stream(name: &str) -> Self {
        Self::NotFound(Some(format!("stream {name}").into()))
    }

    /// The reply.
    pub(super) fn into_reply(self, id: &RequestId) -> Reply {
        let said = |status, says: &str, what: &str| string(status, &format!("{says} - {what}"));
        match self {
            Self::BadRequest { what, closes } => {
                let mut reply = said(StatusCode::BAD_REQUEST, "Bad Request", &what);
                if closes {
                    reply.set(header::CONNECTION, HeaderValue::from_static("close"));
                }
                reply
            }
            Self::Unauthorized => string(StatusCode::UNAUTHORIZED, "Unauthorized"),
            Self::Forbidden(what) => said(StatusCode::FORBIDDEN, "Forbidden", &what),
            Self::NotFound(Some(what)) => said(StatusCode::NOT_FOUND, "Not Found", &what),
            Self::NotFound(None) => string(StatusCode::NOT_FOUND, "Not Found"),
            Self::Locked => said(StatusCode::LOCKED, "Locked", "Second writers not allowed"),
            Self::Internal {
                what,
                retry_after_s,
            } => {
                let status = StatusCode::INTERNAL_SERVER_ERROR;
                let mut reply = said(status, "Internal Server Error", &what);
                if let Some(seconds) = retry_after_s {
                    reply.set(header::RETRY_AFTER, HeaderValue::from(seconds));
                }
                reply
            }
            Self::UnknownPath => Reply::new(StatusCode::NOT_FOUND)
                .typed(HeaderValue::from_static("text/plain; charset=utf-8"))
                .full("404 page not found"),
            Self::OtherMethods(allow) => {
                Reply::new(StatusCode::METHOD_NOT_ALLOWED).header(header::ALLOW, allow)
            }
            Self::Failure(failure) => of_failure(&failure, id).into_reply(id),
        }
    }
}

/// How a failure of the product is told; an operator is told of those that are ours.
fn of_failure(failure: &Failure, id: &RequestId) -> Refusal {
    if failure.code == Code::StreamOwned {
        return Refusal::Locked;
    }
    let kind = failure.kind();
    match kind {
        FailureKind::Invalid | FailureKind::TooLarge => {
            return Refusal::bad(failure.message.clone());
        }
        FailureKind::NotFound => return Refusal::NotFound(Some(failure.message.clone())),
        FailureKind::Full | FailureKind::Failed | FailureKind::Damaged | FailureKind::Unknown => {
            tracing::warn!(request_id = id.as_str(), %failure, "a request could not be carried out");
        }
        FailureKind::Expired
        | FailureKind::Conflict
        | FailureKind::Unmet
        | FailureKind::KeyReused
        | FailureKind::Denied
        | FailureKind::Busy => {}
    }
    Refusal::Internal {
        what: failure.message.clone(),
        retry_after_s: kind.retry_after_s(),
    }
}

impl From<Failure> for Refusal {
    fn from(failure: Failure) -> Self {
        Self::Failure(Box::new(failure))
    }
}

impl From<NameError> for Refusal {
    fn from(error: NameError) -> Self {
        Self::bad(error.to_string())
    }
}

impl From<Problem> for Refusal {
    fn from(problem: Problem) -> Self {
        let what = problem.detail().to_owned().into();
        let problem_type = problem.problem_type();
        if problem_type == ProblemType::FOREIGN_ORIGIN {
            return Self::Forbidden(what);
        }
        if problem_type.status.is_client_error() {
            return Self::BadRequest {
                what,
                closes: problem.closes(),
            };
        }
        Self::Internal {
            what,
            retry_after_s: FailureKind::Busy.retry_after_s(),
        }
    }
}

/// A reply with a JSON body.
pub(super) fn json(status: StatusCode, body: Vec<u8>) -> Reply {
    Reply::new(status).typed(JSON).full(body)
}

/// The same as a success that was cut at so many entries, if it was.
pub(super) fn list(body: Vec<u8>, cut_at: Option<u64>) -> Reply {
    let mut reply = json(StatusCode::OK, body);
    if let Some(count) = cut_at {
        reply.set(LIMIT_APPLIED, HeaderValue::from(count));
    }
    reply
}

fn string(status: StatusCode, text: &str) -> Reply {
    let mut body = Vec::with_capacity(text.len() + 2);
    write::string(&mut body, text);
    json(status, body)
}

/// An event was published.
pub(super) fn published(id: &Uuid) -> Reply {
    string(StatusCode::OK, &id.to_string())
}

/// An event was acknowledged.
pub(super) fn acknowledged() -> Reply {
    string(StatusCode::OK, "OK")
}

/// An offset was changed.
pub(super) fn changed(offset: u64, consumer: &Uuid) -> Reply {
    string(
        StatusCode::OK,
        &format!("successfully updated offset to {offset} for consumer {consumer}"),
    )
}

/// How the log is: none if it is well.
pub(super) fn health(ill: Option<&Health>) -> Reply {
    let (status, says) = match ill {
        None | Some(Health::Writable) => (StatusCode::OK, "OK"),
        Some(Health::Full) => (StatusCode::SERVICE_UNAVAILABLE, "FULL"),
        Some(Health::Failed(_)) => (StatusCode::SERVICE_UNAVAILABLE, "FAILED"),
        Some(Health::Closed) => (StatusCode::SERVICE_UNAVAILABLE, "CLOSED"),
    };
    json(status, format!("{{\"status\":\"{says}\"}}").into_bytes())
}

/// The metrics.
pub(super) fn metrics(body: Vec<u8>) -> Reply {
    Reply::new(StatusCode::OK).typed(METRICS).full(body)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reply(refusal: Refusal) -> Reply {
        refusal.into_reply(&RequestId::generated("t", 1))
    }

    #[test]
    fn every_failure_of_the_product_has_one_of_the_documented_statuses() {
        for code in Code::ALL {
            let reply = reply(Failure::new(*code, "what \"happened\"").into());
            let expected = match code.kind() {
                _ if *code == Code::StreamOwned => 423,
                FailureKind::Invalid | FailureKind::TooLarge => 400,
                FailureKind::NotFound => 404,
                FailureKind::Expired
                | FailureKind::Conflict
                | FailureKind::Unmet
                | FailureKind::KeyReused
                | FailureKind::Denied
                | FailureKind::Busy
                | FailureKind::Full
                | FailureKind::Failed
                | FailureKind::Damaged
                | FailureKind::Unknown => 500,
            };
            assert_eq!(reply.status().as_u16(), expected, "{}", code.as_str());
            let again = code.kind().retry_after_s().is_some();
            assert_eq!(reply.headers().contains_key(header::RETRY_AFTER), again);
        }
    }

    #[test]
    fn a_full_disk_is_told_with_its_message() {
        let full = Failure::new(Code::DiskFull, "the disk is \"full\"; nothing was stored");
        let mut response = reply(full.into()).into_response();
        let crate::http::ReplyBody::Full(body) = response.body_mut() else {
            panic!("a refusal has a body");
        };
        assert_eq!(
            body,
            r#""Internal Server Error - the disk is \"full\"; nothing was stored""#
        );
    }

    #[test]
    fn health_is_what_the_log_says() {
        for (ill, status) in [
            (None, 200),
            (Some(Health::Writable), 200),
            (Some(Health::Full), 503),
            (Some(Health::Failed("why".into())), 503),
            (Some(Health::Closed), 503),
        ] {
            assert_eq!(health(ill.as_ref()).status().as_u16(), status);
        }
    }
}
