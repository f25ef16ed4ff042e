//! Who comes in: the headers that say what is spoken, then user and password.

use crate::auth::basic::{self, Users};
use crate::http::{Body, Head, accept};

use super::Endpoint;
use super::replies::{Refusal, text};

const JSON: &str = "application/json";
const FORM: &str = "application/x-www-form-urlencoded";

/// Refuses a body that is not JSON (to acknowledge, it may be a form), and a client that takes no
/// JSON. Without a body nothing need be said about it.
pub(super) fn check_headers(endpoint: Endpoint, head: &Head, body: &Body) -> Result<(), Refusal> {
    let fits = match head.content_type()? {
        None => body.is_empty(),
        Some(media_type) => {
            media_type.essence == JSON
                || (endpoint == Endpoint::Acknowledge && media_type.essence == FORM)
        }
    };
    if !fits {
        return Err(Refusal::bad(text::CONTENT_TYPE));
    }
    if accept::negotiate(head.headers(), &[JSON]).is_none() {
        return Err(Refusal::bad(text::ACCEPT));
    }
    Ok(())
}

/// Whether the body is a form.
pub(super) fn is_form(head: &Head) -> Result<bool, Refusal> {
    let media_type = head.content_type()?;
    Ok(media_type.is_some_and(|media_type| media_type.essence == FORM))
}

/// Refuses whoever is not one of the users.
pub(super) fn check_credentials(users: &Users, head: &Head) -> Result<(), Refusal> {
    match basic::credentials(head.headers()) {
        Ok(Some((user, password))) if users.verify(&user, &password) => Ok(()),
        Ok(_) | Err(_) => Err(Refusal::Unauthorized),
    }
}
