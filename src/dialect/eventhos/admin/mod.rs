//! Administration: what there is, made and changed by routes (spec section 6).
//!
//! A member that is absent from a change stays as it is. What the config file defines cannot be
//! changed here; what a client may lose (its token, its standing) can.

use std::sync::Arc;

use serde::Serialize;

use crate::http::{Reply, StatusCode};
use crate::time;

use super::call::Call;
use super::registry::{Entity, Tabled};
use super::replies::{self, Refusal};

pub(super) mod actions;
pub(super) mod clients;
pub(super) mod contracts;
pub(super) mod events;
pub(super) mod page;
pub(super) mod systems;

use page::Page;

/// The longest identifier that a route takes, in bytes: with what makes it unique behind it, it has
/// to be the name of a stream.
const IDENTIFIER_LEN_MAX: usize = 200;
/// The longest text of a definition, in bytes.
const TEXT_LEN_MAX: usize = 4 << 10;

/// Refuses what cannot become a name.
fn check_identifier(identifier: &str) -> Result<(), Refusal> {
    if identifier.len() > IDENTIFIER_LEN_MAX {
        return Err(replies::invalid(format!(
            "Invalid body; identifier is longer than {IDENTIFIER_LEN_MAX} bytes"
        )));
    }
    if identifier.chars().any(char::is_control) {
        return Err(replies::invalid(
            "Invalid body; identifier has a control character",
        ));
    }
    Ok(())
}

/// A text of a definition, if it is given.
fn text(members: &super::input::Members<'_>, name: &str) -> Result<Option<String>, Refusal> {
    let text = members.text(name)?;
    if text.as_ref().is_some_and(|text| text.len() > TEXT_LEN_MAX) {
        return Err(replies::invalid(format!(
            "Invalid body; {name} is longer than {TEXT_LEN_MAX} bytes"
        )));
    }
    Ok(text)
}

/// A time as JavaScript writes it: RFC 3339 in UTC with milliseconds.
pub(super) fn iso_time(time_us: u64) -> String {
    let mut out = Vec::new();
    let seconds_us = time_us - time_us % 1_000_000;
    time::write(&mut out, i64::try_from(seconds_us).unwrap_or(i64::MAX));
    let mut text = String::from_utf8_lossy(&out).into_owned();
    // Whole seconds are written without a fraction.
    text.pop();
    text.push_str(&format!(".{:03}Z", time_us / 1_000 % 1_000));
    text
}

/// The reply to whatever made something.
fn created(code: u32, message: &str, content: &impl Serialize) -> Reply {
    replies::success(StatusCode::CREATED, code, message, Some(content))
}

/// The reply to whatever changed something.
fn changed() -> Reply {
    replies::done(StatusCode::CREATED, replies::CHANGED, "success")
}

/// The reply to whatever reads something.
fn shown(content: &impl Serialize) -> Reply {
    replies::success(StatusCode::OK, replies::READ, "success", Some(content))
}

/// One entity by the id in the path.
fn one<D: Tabled>(call: &Call<'_>) -> Result<Arc<Entity<D>>, Refusal> {
    let id = call.id(D::NAME)?;
    call.door
        .directory
        .read(|registry| D::table(registry).get(id).cloned())
        .ok_or_else(|| replies::not_found(D::NAME))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_milliseconds_and_no_more() {
        assert_eq!(iso_time(0), "1970-01-01T00:00:00.000Z");
        assert_eq!(iso_time(951_782_400_012_999), "2000-02-29T00:00:00.012Z");
    }
}
