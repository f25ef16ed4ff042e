//! What is answered: every status, title and text of the event store.
#![deny(clippy::wildcard_enum_match_arm)]

use std::borrow::Cow;

use crate::app::{Details, Failure, FailureKind};
use crate::http::{Head, HeaderValue, Reply, StatusCode, header};
use crate::json::write;
use crate::store::EventId;

/// The content type of every reply, errors included.
pub(super) const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// What every error names as its type.
const TYPE: &str = "http://www.w3.org/Protocols/rfc2616/rfc2616-sec10.html";

const MALFORMED: &str = "The request could not be understood by the server due to malformed syntax";
const UNABLE: &str =
    "The request was well formed but was unable to be followed due to semantic errors";
const BUSY: &str = "Too many replies are being written; ask again in a moment";

const GET_ONLY: HeaderValue = HeaderValue::from_static("GET");
/// After how many seconds to ask again.
const RETRY_AFTER_S: HeaderValue = HeaderValue::from_static("1");

/// Why a window was not read.
#[derive(Debug)]
pub(super) enum Refusal {
    /// No token, a bad one, or not the role.
    Denied,
    /// There is no such path.
    NoRoute,
    /// The path is read only.
    WrongMethod,
    /// A window that no log can have.
    BadWindow,
    /// Retention has removed its beginning.
    Expired {
        /// The first id kept.
        first_id: Option<EventId>,
    },
    /// There are too many readers.
    Busy,
    /// The log could not be read.
    Failed(Box<Failure>),
}

impl From<Failure> for Refusal {
    fn from(failure: Failure) -> Self {
        match failure.kind() {
            FailureKind::Expired => Self::Expired {
                first_id: match failure.details {
                    Details::FirstId(first_id) => Some(first_id),
                    Details::None
                    | Details::Sequence { .. }
                    | Details::Aggregate { .. }
                    | Details::Found { .. }
                    | Details::LastId(_)
                    | Details::Limit(_) => None,
                },
            },
            FailureKind::Busy => Self::Busy,
            FailureKind::Invalid
            | FailureKind::TooLarge
            | FailureKind::NotFound
            | FailureKind::Conflict
            | FailureKind::Unmet
            | FailureKind::KeyReused
            | FailureKind::Denied
            | FailureKind::Full
            | FailureKind::Failed
            | FailureKind::Damaged
            | FailureKind::Unknown => Self::Failed(Box::new(failure)),
        }
    }
}

impl Refusal {
    /// The reply to the request with this head.
    pub(super) fn into_reply(self, head: &Head) -> Reply {
        let (status, detail) = self.told(head);
        let title = status.canonical_reason().unwrap_or_default();
        let mut body = Vec::with_capacity(160 + detail.len());
        body.extend_from_slice(b"{\"type\":");
        write::string(&mut body, TYPE);
        body.extend_from_slice(b",\"title\":");
        write::string(&mut body, title);
        body.extend_from_slice(b",\"status\":");
        write::number(&mut body, status.as_u16().into());
        body.extend_from_slice(b",\"detail\":");
        write::string(&mut body, &detail);
        body.push(b'}');
        let mut reply = Reply::new(status).typed(JSON).full(body);
        match self {
            Self::WrongMethod => reply.set(header::ALLOW, GET_ONLY),
            Self::Busy => reply.set(header::RETRY_AFTER, RETRY_AFTER_S),
            Self::Failed(failure) => {
                tracing::warn!(request_id = head.id().as_str(), %failure, "a window could not be read");
            }
            Self::Denied | Self::NoRoute | Self::BadWindow | Self::Expired { .. } => {}
        }
        reply
    }

    fn told(&self, head: &Head) -> (StatusCode, Cow<'static, str>) {
        let route = || format!("No route found for \"{} {}\"", head.method(), head.path());
        match self {
            Self::Denied => (
                StatusCode::UNAUTHORIZED,
                format!("Access denied to url '{}'", url(head)).into(),
            ),
            Self::NoRoute => (StatusCode::NOT_FOUND, route().into()),
            Self::WrongMethod => (
                StatusCode::METHOD_NOT_ALLOWED,
                format!("{}: Method Not Allowed (Allow: GET)", route()).into(),
            ),
            Self::BadWindow => (StatusCode::BAD_REQUEST, MALFORMED.into()),
            Self::Expired { first_id } => (
                StatusCode::GONE,
                match first_id {
                    Some(first_id) => format!(
                        "Events below {first_id} have been removed; the first event kept is {first_id}"
                    )
                    .into(),
                    None => "Events of the window have been removed".into(),
                },
            ),
            Self::Busy => (StatusCode::SERVICE_UNAVAILABLE, BUSY.into()),
            Self::Failed(_) => (StatusCode::INTERNAL_SERVER_ERROR, UNABLE.into()),
        }
    }
}

/// The address as the client wrote it. TLS ends before us, so the scheme is the one we speak.
fn url(head: &Head) -> String {
    let host = head.headers().get(header::HOST);
    let host = host.and_then(|host| host.to_str().ok());
    let origin = host
        .map(|host| format!("http://{host}"))
        .unwrap_or_default();
    let query = head.query().map(|query| format!("?{query}"));
    format!("{origin}{}{}", head.path(), query.unwrap_or_default())
}
