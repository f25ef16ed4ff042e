//! The wish to wait (RFC 7240): `Prefer: wait=N`.

use std::time::Duration;

use super::header::{HeaderMap, HeaderName};

/// The name of the request header.
pub const PREFER: HeaderName = HeaderName::from_static("prefer");
/// The name of the reply header that says what was heeded.
pub const PREFERENCE_APPLIED: HeaderName = HeaderName::from_static("preference-applied");

/// How long the client would wait. A preference is a wish: what cannot be read is ignored, and the
/// first of several counts (RFC 7240, section 2).
#[must_use]
pub fn wait(headers: &HeaderMap) -> Option<Duration> {
    headers
        .get_all(PREFER)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|text| text.split(','))
        .filter_map(|preference| preference.split(';').next()?.split_once('='))
        .find(|(name, _)| name.trim().eq_ignore_ascii_case("wait"))
        .and_then(|(_, value)| {
            let value = value.trim().trim_matches('"');
            if value.is_empty() || !value.bytes().all(|byte| byte.is_ascii_digit()) {
                return None;
            }
            // More digits than fit mean "as long as possible".
            Some(Duration::from_secs(value.parse().unwrap_or(u64::MAX)))
        })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::HeaderValue;

    #[track_caller]
    fn check(prefer: &'static str, want: Option<u64>) {
        let mut headers = HeaderMap::new();
        headers.insert(PREFER, HeaderValue::from_static(prefer));
        assert_eq!(wait(&headers), want.map(Duration::from_secs), "{prefer}");
    }

    #[test]
    fn a_wish_to_wait_is_heard() {
        check("wait=10", Some(10));
        check("respond-async, WAIT=5", Some(5));
        check("wait=\"7\"; foo", Some(7));
        check("wait=0", Some(0));
        check("wait=99999999999999999999999", Some(u64::MAX));
    }

    #[test]
    fn what_is_no_wish_to_wait_is_ignored() {
        for prefer in [
            "wait",
            "wait=",
            "wait=-1",
            "wait=1.5",
            "wait=x",
            "return=minimal",
        ] {
            check(prefer, None);
        }
    }
}
