//! `application/x-www-form-urlencoded`, in queries and bodies, read the way Express does: leniently.
//!
//! An escape that is none stands for itself, bytes that are no UTF-8 are replaced. Brackets in names
//! have no meaning here; a name that is given again and again has all its values, in order.

use std::borrow::Cow;
use std::fmt::Write as _;

use percent_encoding::percent_decode_str;

use crate::http::path;
use crate::json::write;

/// The most fields of one form: as many as Express reads. Names are compared with each other, so
/// their number must be bounded.
pub(super) const FIELDS_MAX: usize = 1_000;

/// The fields of a form or a query, in order.
#[derive(Clone, Debug, Default)]
pub(super) struct Fields<'a>(Vec<(Cow<'a, str>, Cow<'a, str>)>);

/// A form has more than [`FIELDS_MAX`] fields.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct TooManyFields;

impl<'a> Fields<'a> {
    /// Reads a form.
    pub(super) fn parse(text: &'a str) -> Result<Self, TooManyFields> {
        let mut fields = Vec::new();
        for pair in text.split('&').filter(|pair| !pair.is_empty()) {
            if fields.len() == FIELDS_MAX {
                return Err(TooManyFields);
            }
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            fields.push((decode(name), decode(value)));
        }
        Ok(Self(fields))
    }

    /// The value of a field; none if it is absent, empty, or there again and again: then nobody can
    /// say which one is meant.
    pub(super) fn one(&self, name: &str) -> Option<&str> {
        let mut values = self.0.iter().filter(|(known, _)| known == name);
        let (_, value) = values.next()?;
        (values.next().is_none() && !value.is_empty()).then_some(value)
    }

    /// The fields as a JSON object: a text, or an array of texts, for each name. Values of the names
    /// in `secret` are replaced.
    pub(super) fn write_json(&self, out: &mut Vec<u8>, secret: &[&str]) {
        out.push(b'{');
        let mut first = true;
        for (index, (name, _)) in self.0.iter().enumerate() {
            if self.0.iter().take(index).any(|(known, _)| known == name) {
                continue;
            }
            if !first {
                out.push(b',');
            }
            first = false;
            write::string(out, name);
            out.push(b':');
            if secret.contains(&name.as_ref()) {
                write::string(out, REDACTED);
                continue;
            }
            let values = self.0.iter().filter(|(known, _)| known == name);
            let many = values.clone().nth(1).is_some();
            if many {
                out.push(b'[');
            }
            for (at, (_, value)) in values.enumerate() {
                if at > 0 {
                    out.push(b',');
                }
                write::string(out, value);
            }
            if many {
                out.push(b']');
            }
        }
        out.push(b'}');
    }

    /// The fields as a query again, with the values of the names in `secret` replaced.
    pub(super) fn to_query(&self, secret: &[&str]) -> String {
        let mut query = String::new();
        for (name, value) in &self.0 {
            let shown = if secret.contains(&name.as_ref()) {
                REDACTED
            } else {
                value
            };
            let and = if query.is_empty() { "" } else { "&" };
            let written = write!(query, "{and}{}={}", path::encode(name), path::encode(shown));
            debug_assert!(written.is_ok(), "a string takes every character");
        }
        query
    }
}

/// What stands in place of a secret.
pub(super) const REDACTED: &str = "redacted";

fn decode(text: &str) -> Cow<'_, str> {
    if text.contains('+') {
        let spaced = text.replace('+', " ");
        return Cow::Owned(percent_decode_str(&spaced).decode_utf8_lossy().into_owned());
    }
    percent_decode_str(text).decode_utf8_lossy()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn json(text: &str) -> String {
        let mut out = Vec::new();
        Fields::parse(text).unwrap().write_json(&mut out, &["key"]);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_form_becomes_an_object() {
        for (form, object) in [
            ("", "{}"),
            ("&&", "{}"),
            ("a=1&b=two+words&c", r#"{"a":"1","b":"two words","c":""}"#),
            ("a=1&b=2&a=3", r#"{"a":["1","3"],"b":"2"}"#),
            ("%22=%5c%0a", r#"{"\"":"\\\u000a"}"#),
            ("a=%zz%&b=%ff", "{\"a\":\"%zz%\",\"b\":\"\u{fffd}\"}"),
            ("a[b]=c", r#"{"a[b]":"c"}"#),
            ("key=secret&key=other", r#"{"key":"redacted"}"#),
        ] {
            assert_eq!(json(form), object, "{form}");
            serde_json::from_str::<serde_json::Value>(&json(form)).unwrap();
        }
    }

    #[test]
    fn a_field_that_is_there_twice_or_empty_has_no_value() {
        let fields = Fields::parse("a=1&b=&c=1&c=2").unwrap();
        assert_eq!(fields.one("a"), Some("1"));
        for name in ["b", "c", "d"] {
            assert_eq!(fields.one(name), None, "{name}");
        }
    }

    #[test]
    fn a_query_is_shown_without_its_secrets() {
        let fields = Fields::parse("a=x%26y&key=secret").unwrap();
        assert_eq!(fields.to_query(&["key"]), "a=x%26y&key=redacted");
    }

    #[test]
    fn the_fields_of_a_form_are_counted() {
        let most = "a&".repeat(FIELDS_MAX);
        assert!(Fields::parse(&most).is_ok());
        assert_eq!(
            Fields::parse(&format!("{most}a")).unwrap_err(),
            TooManyFields
        );
    }
}
