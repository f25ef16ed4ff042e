//! Who may read: whoever has a token of the vendor's user service with the right role.

use serde::Deserialize;

use crate::auth::jwt::Rules;
use crate::http::{Head, header};

use super::Door;
use super::replies::Refusal;

/// A token must end, and clocks differ.
const RULES: Rules = Rules {
    leeway_s: 30,
    expiry_required: true,
};

/// What of a token matters here.
#[derive(Deserialize)]
struct Claims {
    roles: Roles,
}

/// One role, or several.
#[derive(Deserialize)]
#[serde(untagged)]
enum Roles {
    One(String),
    Several(Vec<String>),
}

impl Roles {
    fn contain(&self, role: &str) -> bool {
        match self {
            Self::One(one) => one == role,
            Self::Several(roles) => roles.iter().any(|one| one == role),
        }
    }
}

/// Lets those in whose token has the role. The header is the token itself; a scheme before it is
/// taken as well.
///
/// # Errors
///
/// [`Refusal::Denied`], whatever is wrong; what it is, is told to our own log.
pub(super) fn check(door: &Door, head: &Head) -> Result<(), Refusal> {
    let denied = |why: &str| {
        tracing::debug!(request_id = head.id().as_str(), why, "access denied");
        Err(Refusal::Denied)
    };
    let text = match head.one(&header::AUTHORIZATION) {
        Ok(Some(text)) => text,
        Ok(None) => return denied("there is no token"),
        Err(problem) => return denied(problem.detail()),
    };
    let token = match text.split_once(' ') {
        Some((scheme, token)) if scheme.eq_ignore_ascii_case("bearer") => token.trim_start(),
        Some(_) | None => text,
    };
    let now_us = door.log.app().clock().now_us();
    match door.verifier.verify::<Claims>(token, now_us, &RULES) {
        Ok(claims) if claims.roles.contain(&door.role) => Ok(()),
        Ok(_) => denied("the token has not the role"),
        Err(error) => denied(&error.to_string()),
    }
}
