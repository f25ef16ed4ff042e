//! Who asks: `Authorization: BEARER <token>`, or `access_token` in the query (spec sections 2 and 6).
//!
//! The scheme counts in upper case only; `Bearer` is ignored, as upstream ignores it. Whatever route
//! is asked for, a token that is presented so must be good.

use crate::auth::jwt::TokenError;
use crate::http::{Head, header};

use super::event::ACCESS_TOKEN;
use super::form::Fields;
use super::registry::Registry;
use super::replies::{self, Refusal};
use super::token::{Subject, Tokens};

/// Who asks, and the token by which we know.
pub(super) struct Bearer {
    subject: Subject,
    token: String,
}

/// Who asks; none if no token is presented.
pub(super) fn bearer(
    head: &Head,
    query: &Fields<'_>,
    tokens: &Tokens,
    now_us: u64,
) -> Result<Option<Bearer>, Refusal> {
    let Some(token) = presented(head, query) else {
        return Ok(None);
    };
    match tokens.subject(&token, now_us) {
        Ok(subject) => Ok(Some(Bearer { subject, token })),
        Err(TokenError::Expired) => Err(replies::expired_bearer()),
        Err(TokenError::Malformed | TokenError::Forged | TokenError::NotYetValid) => {
            Err(replies::bad_bearer())
        }
    }
}

fn presented(head: &Head, query: &Fields<'_>) -> Option<String> {
    if let Some(token) = query.one(ACCESS_TOKEN) {
        return Some(token.to_owned());
    }
    let mut values = head.headers().get_all(header::AUTHORIZATION).iter();
    let value = values.find(|value| value.as_bytes().starts_with(b"BEARER"))?;
    let text = String::from_utf8_lossy(value.as_bytes());
    let mut words = text.split(' ');
    (words.next() == Some("BEARER")).then(|| words.next().unwrap_or_default().to_owned())
}

/// Lets through whoever may do `verb` with `resource`.
pub(super) fn allow(
    bearer: Option<&Bearer>,
    registry: &Registry,
    resource: &str,
    verb: &str,
) -> Result<(), Refusal> {
    let bearer = bearer.ok_or_else(replies::no_bearer)?;
    match &bearer.subject {
        Subject::User { username } => {
            let user = registry.users.named(username);
            let configured = user.and_then(|user| user.definition.configured.as_ref());
            let allowed = configured.is_some_and(|user| {
                let mut permissions = user.permissions.iter();
                permissions.any(|permission| permits(permission, resource, verb))
            });
            if allowed {
                Ok(())
            } else {
                Err(replies::lacks_permission())
            }
        }
        Subject::Client { client_id, expires } => {
            let client = registry.client_called(client_id);
            let client = client.ok_or_else(replies::lacks_permission)?;
            if client.is_revoked() {
                return Err(replies::bearer_revoked());
            }
            let current = match client.long_lived() {
                Some(long_lived) => long_lived.is(&bearer.token),
                None => *expires,
            };
            if !current {
                return Err(replies::bearer_superseded());
            }
            // Clients send events; they have no permissions.
            Err(replies::lacks_permission())
        }
    }
}

fn permits(permission: &str, resource: &str, verb: &str) -> bool {
    permission == "*"
        || permission.split_once(':').is_some_and(|(known, allowed)| {
            known == resource && (allowed == "*" || allowed == verb)
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_permission_is_for_a_verb_of_a_resource() {
        for (permission, allowed) in [
            ("*", true),
            ("event:*", true),
            ("event:create", true),
            ("event:select", false),
            ("system:create", false),
            ("system:*", false),
            ("*:create", false),
            ("event", false),
            ("", false),
        ] {
            assert_eq!(
                permits(permission, "event", "create"),
                allowed,
                "{permission}"
            );
        }
    }
}
