//! Every status, code, message and body shape of the dialect.
//!
//! Codes and messages are those of spec section 0 in its `documented` form; what differs in the
//! upstream code stands in [`Profile`], so that a second one can be added as data. Every refusal has
//! the same shape: `{"message","code","errorUUID"}`. The UUID stands in our own log as well.

use std::borrow::Cow;

use serde::Serialize;

use crate::app::{App, Failure, FailureKind};
use crate::http::{HeaderValue, Problem, Reply, RequestId, StatusCode, header};

/// The content type of every JSON reply.
const JSON: HeaderValue = HeaderValue::from_static("application/json; charset=utf-8");
/// The content type of the reply for unknown routes.
const HTML: HeaderValue = HeaderValue::from_static("text/html; charset=utf-8");

/// The codes in which documentation and upstream code differ.
#[derive(Clone, Copy, Debug)]
pub(super) struct Profile {
    /// An occurrence, or a retry, was accepted.
    pub(super) accepted: u32,
    /// The event does not exist.
    pub(super) unknown_event: u32,
    /// The event's system has no client.
    pub(super) unknown_client: u32,
    /// A long-lived token does not match.
    pub(super) wrong_long_lived: u32,
    /// A client with a long-lived token asks for another.
    pub(super) may_not_mint: u32,
}

/// What the documentation says.
pub(super) const PROFILE: Profile = Profile {
    accepted: 200_000,
    unknown_event: 400_024,
    unknown_client: 400_004,
    wrong_long_lived: 401_202,
    may_not_mint: 400_011,
};

/// A manual retry answers with the code of the upstream code in any profile: nothing else is
/// documented.
pub(super) const RETRIED: u32 = 20_000;
/// A system was made.
pub(super) const SYSTEM_CREATED: u32 = 20_001;
/// Something was read, or a token was made.
pub(super) const READ: u32 = 200_000;
/// Something was made or changed.
pub(super) const CHANGED: u32 = 200_001;
/// An occurrence was stored, and there is nothing to call.
pub(super) const NO_CONTRACTS: u32 = 200_310;

/// What the caller is told when something is refused. Nothing was done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Refusal {
    pub(super) status: StatusCode,
    pub(super) code: u32,
    pub(super) message: Cow<'static, str>,
    retry_after_s: Option<u32>,
    closes: bool,
    /// What only our own log is told.
    cause: Option<Box<str>>,
}

impl Refusal {
    /// A refusal.
    pub(super) fn new(
        status: StatusCode,
        code: u32,
        message: impl Into<Cow<'static, str>>,
    ) -> Self {
        Self {
            status,
            code,
            message: message.into(),
            retry_after_s: None,
            closes: false,
            cause: None,
        }
    }

    /// The reply, and a line in our own log.
    pub(super) fn into_reply(self, app: &App, request: &RequestId) -> Reply {
        #[derive(Serialize)]
        struct Body<'a> {
            message: &'a str,
            code: u32,
            #[serde(rename = "errorUUID")]
            error_uuid: String,
        }

        let mut bytes = [0; 16];
        let (high, low) = bytes.split_at_mut(8);
        high.copy_from_slice(&app.random().next_u64().to_ne_bytes());
        low.copy_from_slice(&app.random().next_u64().to_ne_bytes());
        let error_uuid = uuid::Builder::from_random_bytes(bytes).into_uuid();
        let cause = self.cause.as_deref().unwrap_or_default();
        if self.status.is_server_error() {
            tracing::error!(%error_uuid, request = request.as_str(), code = self.code, message = %self.message, cause, "eventhos refused a request");
        } else {
            tracing::debug!(%error_uuid, request = request.as_str(), code = self.code, message = %self.message, cause, "eventhos refused a request");
        }
        let mut reply = json(
            self.status,
            &Body {
                message: &self.message,
                code: self.code,
                error_uuid: error_uuid.to_string(),
            },
        );
        if let Some(seconds) = self.retry_after_s {
            reply.set(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        if self.closes {
            reply.set(header::CONNECTION, HeaderValue::from_static("close"));
        }
        reply
    }
}

/// What the dialect says of the product's own failures: 5002xx, or 500000 for those of no door.
const FAILED: u32 = 500_204;
/// What cannot be read as a request at all, and whatever has no code of its own.
const UNCODED: u32 = 500_000;

impl From<Failure> for Refusal {
    fn from(failure: Failure) -> Self {
        let status = match failure.kind() {
            FailureKind::Invalid | FailureKind::Unmet | FailureKind::KeyReused => {
                StatusCode::BAD_REQUEST
            }
            FailureKind::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            FailureKind::NotFound => StatusCode::NOT_FOUND,
            FailureKind::Expired => StatusCode::GONE,
            FailureKind::Conflict => StatusCode::CONFLICT,
            FailureKind::Denied => StatusCode::FORBIDDEN,
            FailureKind::Busy | FailureKind::Failed => StatusCode::SERVICE_UNAVAILABLE,
            FailureKind::Full => StatusCode::INSUFFICIENT_STORAGE,
            FailureKind::Damaged | FailureKind::Unknown => StatusCode::INTERNAL_SERVER_ERROR,
        };
        let code = if failure.kind() == FailureKind::TooLarge {
            UNCODED
        } else {
            FAILED
        };
        let mut refusal = Self::new(status, code, failure.message);
        refusal.retry_after_s = failure.code.kind().retry_after_s();
        refusal.cause = failure.log_message;
        refusal
    }
}

impl From<Problem> for Refusal {
    fn from(problem: Problem) -> Self {
        let mut refusal = Self::new(
            problem.problem_type().status,
            UNCODED,
            problem.detail().to_owned(),
        );
        refusal.closes = problem.closes();
        refusal
    }
}

impl From<crate::auth::secret::Busy> for Refusal {
    fn from(busy: crate::auth::secret::Busy) -> Self {
        let mut refusal = Self::new(
            StatusCode::TOO_MANY_REQUESTS,
            500_200,
            format!("{busy}; nothing was done"),
        );
        refusal.retry_after_s = Some(1);
        refusal
    }
}

fn bad(code: u32, message: impl Into<Cow<'static, str>>) -> Refusal {
    Refusal::new(StatusCode::BAD_REQUEST, code, message)
}

// Sending.

pub(super) fn no_key_or_identifier() -> Refusal {
    bad(
        400_201,
        "Either the access key or the identifier for the event was not send.",
    )
}

pub(super) fn unknown_event(identifier: &str) -> Refusal {
    bad(
        PROFILE.unknown_event,
        format!("The event {identifier} does not exist."),
    )
}

pub(super) fn unknown_client() -> Refusal {
    Refusal::new(
        StatusCode::NOT_FOUND,
        PROFILE.unknown_client,
        "The client does not exist.",
    )
}

pub(super) fn revoked(id: u64, client_id: &str) -> Refusal {
    Refusal::new(
        StatusCode::FORBIDDEN,
        403_201,
        format!("The client access has been revoked: id: {id}  client_id: {client_id}"),
    )
}

fn incorrect_token(code: u32) -> Refusal {
    Refusal::new(StatusCode::UNAUTHORIZED, code, "Incorrect token")
}

pub(super) fn wrong_token() -> Refusal {
    incorrect_token(401_202)
}

pub(super) fn wrong_long_lived() -> Refusal {
    incorrect_token(PROFILE.wrong_long_lived)
}

pub(super) fn broken_body(what: impl std::fmt::Display) -> Refusal {
    bad(UNCODED, format!("{what}; nothing was stored"))
}

pub(super) fn too_many_fields(max: usize) -> Refusal {
    Refusal::new(
        StatusCode::PAYLOAD_TOO_LARGE,
        UNCODED,
        format!("the form has more than {max} fields; nothing was done"),
    )
}

pub(super) fn unsupported_body(what: &str) -> Refusal {
    Refusal::new(
        StatusCode::UNSUPPORTED_MEDIA_TYPE,
        UNCODED,
        format!("unsupported {what}; nothing was done"),
    )
}

// Retrying and aborting.

pub(super) fn not_sent(what: &str) -> Refusal {
    bad(400_203, format!("{what} was not send."))
}

pub(super) fn detail_not_found() -> Refusal {
    bad(400_203, "Contract Detail was not found.")
}

pub(super) fn detail_prosecuted() -> Refusal {
    bad(400_203, "Contract Detail was prosecuted.")
}

pub(super) fn not_to_be_retried() -> Refusal {
    bad(
        400_206,
        "Detail of the contract does not exist or has already been processed",
    )
}

// Tokens.

pub(super) fn field_required(field: &str) -> Refusal {
    bad(400_001, format!("Invalid body; {field} is required"))
}

/// `what` with its article, as upstream writes it.
pub(super) fn field_is_not(field: &str, what: &str) -> Refusal {
    bad(400_003, format!("Invalid body; {field} is not {what}"))
}

pub(super) fn unsupported_grant() -> Refusal {
    bad(400_002, "Unsupported grand type")
}

const AUTH_FAILED: &str = "Auth failed; Invalid client_id or client_secret.";

pub(super) fn wrong_secret() -> Refusal {
    Refusal::new(StatusCode::UNAUTHORIZED, 401_100, AUTH_FAILED)
}

pub(super) fn no_such_client() -> Refusal {
    Refusal::new(StatusCode::NOT_FOUND, 401_100, AUTH_FAILED)
}

pub(super) fn may_not_mint() -> Refusal {
    Refusal::new(
        StatusCode::FORBIDDEN,
        PROFILE.may_not_mint,
        "Client is not able to generate tokens, use your long live token",
    )
}

pub(super) fn locked() -> Refusal {
    Refusal::new(
        StatusCode::UNAUTHORIZED,
        401_003,
        "Client locked; too many attempts with a wrong secret, try again in 3 minutes",
    )
}

pub(super) fn wrong_password() -> Refusal {
    Refusal::new(
        StatusCode::UNAUTHORIZED,
        401_001,
        "Incorrect username or password",
    )
}

// Administration.

pub(super) fn bad_bearer() -> Refusal {
    incorrect_token(400_001)
}

pub(super) fn expired_bearer() -> Refusal {
    Refusal::new(StatusCode::UNAUTHORIZED, 400_002, "Expired token")
}

pub(super) fn no_bearer() -> Refusal {
    Refusal::new(
        StatusCode::FORBIDDEN,
        403_002,
        "Subject not authorized; no jwt token was send",
    )
}

pub(super) fn lacks_permission() -> Refusal {
    Refusal::new(
        StatusCode::UNAUTHORIZED,
        401_002,
        "Subject not authorized; incorrect permissions",
    )
}

pub(super) fn bearer_revoked() -> Refusal {
    Refusal::new(
        StatusCode::FORBIDDEN,
        403_003,
        "Client authorization credentials have been revoked",
    )
}

pub(super) fn bearer_superseded() -> Refusal {
    Refusal::new(StatusCode::FORBIDDEN, 403_004, "Incorrect token")
}

/// A value of an administration route makes no sense.
pub(super) fn invalid(message: impl Into<Cow<'static, str>>) -> Refusal {
    bad(400_000, message)
}

/// There is no such thing; spec section 8, decision 8.
pub(super) fn not_found(what: &str) -> Refusal {
    Refusal::new(
        StatusCode::NOT_FOUND,
        404_000,
        format!("The {what} does not exist."),
    )
}

pub(super) fn system_client_not_found(id: u64) -> Refusal {
    Refusal::new(
        StatusCode::NOT_FOUND,
        400_301,
        format!("The client with id {id} does not exist."),
    )
}

/// An identifier is taken.
pub(super) fn in_use(field: &str) -> Refusal {
    Refusal::new(
        StatusCode::CONFLICT,
        409_102,
        format!("That {field} is already on use"),
    )
}

/// What stands in the config file cannot be changed by a route.
pub(super) fn configured(what: &str, identifier: &str) -> Refusal {
    Refusal::new(
        StatusCode::CONFLICT,
        409_000,
        format!(
            "The {what} {identifier} is defined in the config file and can only be changed there."
        ),
    )
}

pub(super) fn event_has_contracts() -> Refusal {
    bad(400_207, "Event has active contracts")
}

pub(super) fn system_has_events() -> Refusal {
    bad(400_302, "System has conflicting events")
}

pub(super) fn system_has_actions() -> Refusal {
    bad(400_303, "System has conflicting actions")
}

pub(super) fn action_has_contracts() -> Refusal {
    bad(400_003, "Action has active contracts")
}

pub(super) fn secret_not_kept(id: u64) -> Refusal {
    Refusal::new(
        StatusCode::CONFLICT,
        409_000,
        format!(
            "The secret of a client is kept as a hash only and cannot be shown; PUT /auth/client/{id}/secret makes a new one."
        ),
    )
}

// Successes.

/// `{"code","message","content"?}`.
pub(super) fn success(
    status: StatusCode,
    code: u32,
    message: &str,
    content: Option<&impl Serialize>,
) -> Reply {
    #[derive(Serialize)]
    struct Body<'a, T> {
        code: u32,
        message: &'a str,
        #[serde(skip_serializing_if = "Option::is_none")]
        content: Option<&'a T>,
    }

    json(
        status,
        &Body {
            code,
            message,
            content,
        },
    )
}

/// The same without content.
pub(super) fn done(status: StatusCode, code: u32, message: &str) -> Reply {
    success(status, code, message, None::<&()>)
}

/// `{"message","code","content"}`, the order in which tokens are handed out.
pub(super) fn token(message: &str, content: &impl Serialize) -> Reply {
    #[derive(Serialize)]
    struct Body<'a, T> {
        message: &'a str,
        code: u32,
        content: &'a T,
    }

    json(
        StatusCode::CREATED,
        &Body {
            message,
            code: READ,
            content,
        },
    )
}

fn json(status: StatusCode, body: &impl Serialize) -> Reply {
    let body = serde_json::to_vec(body).expect("replies are texts, numbers and checked JSON");
    Reply::new(status).typed(JSON).full(body)
}

/// The reply for a path, or a method, that leads nowhere: a page, as Express has it.
pub(super) fn no_route(method: &str, path: &str) -> Reply {
    let mut page = String::from(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n<title>Error</title>\n</head>\n<body>\n<pre>",
    );
    escape(&mut page, &format!("Cannot {method} {path}"));
    page.push_str("</pre>\n</body>\n</html>\n");
    Reply::new(StatusCode::NOT_FOUND)
        .typed(HTML)
        .header(
            header::CONTENT_SECURITY_POLICY,
            HeaderValue::from_static("default-src 'none'"),
        )
        .header(
            header::X_CONTENT_TYPE_OPTIONS,
            HeaderValue::from_static("nosniff"),
        )
        .full(page)
}

fn escape(page: &mut String, text: &str) {
    for character in text.chars() {
        match character {
            '&' => page.push_str("&amp;"),
            '<' => page.push_str("&lt;"),
            '>' => page.push_str("&gt;"),
            '"' => page.push_str("&quot;"),
            '\'' => page.push_str("&#39;"),
            other => page.push(other),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_page_repeats_is_escaped() {
        let mut page = String::new();
        escape(&mut page, "<a href=\"x\">'&'</a>");
        assert_eq!(
            page,
            "&lt;a href=&quot;x&quot;&gt;&#39;&amp;&#39;&lt;/a&gt;"
        );
    }
}
