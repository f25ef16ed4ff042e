//! The body of a publish, read as Go's decoder reads it into the structures of the original.
//!
//! Names of members match in any case, the last one of a name wins, members of objects that are
//! there twice add up, `null` changes nothing, unknown members are dropped, and what follows the
//! first JSON value is not looked at. The payload alone is not looked into: its bytes are kept.

use std::borrow::Cow;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error as _, IgnoredAny, MapAccess, Visitor};
use serde_json::value::RawValue;

use crate::json::{self, Reader};

use super::replies::{Refusal, text};

/// An event to be published.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Draft<'a> {
    /// Its name; not checked yet, and empty if there is none.
    pub(super) name: Cow<'a, str>,
    pub(super) version: i64,
    pub(super) system: System<'a>,
    pub(super) trigger: Trigger<'a>,
    /// An object as it was sent, or `null`.
    pub(super) payload: &'a str,
}

/// Where an event comes from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct System<'a> {
    pub(super) id: Cow<'a, str>,
    pub(super) name: Cow<'a, str>,
    pub(super) time: Cow<'a, str>,
    pub(super) timezone: Cow<'a, str>,
}

/// What set an event off.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Trigger<'a> {
    pub(super) kind: Cow<'a, str>,
    pub(super) name: Cow<'a, str>,
}

/// Reads a body.
pub(super) fn read(body: &[u8]) -> Result<Draft<'_>, Refusal> {
    let value = first_value(body)?;
    let mut draft = Draft {
        name: Cow::default(),
        version: 0,
        system: System::default(),
        trigger: Trigger::default(),
        payload: "null",
    };
    each_member(
        value,
        "the body",
        &["event", "system", "trigger", "payload"],
        |name, value| match name {
            "event" => draft.read_event(value),
            "system" => draft.system.read(value),
            "trigger" => draft.trigger.read(value),
            _ => draft.read_payload(value),
        },
    )
    .map_err(|Wrong(what)| Refusal::bad(format!("{what}; nothing was stored")))?;
    if draft.name.is_empty() {
        return Err(Refusal::bad(text::EVENT_NAME));
    }
    Ok(draft)
}

/// The first JSON value of a body, checked. What follows need not even be text.
fn first_value(body: &[u8]) -> Result<&str, Refusal> {
    let (whole, not_text) = match json::text(body) {
        Ok(whole) => (whole, None),
        Err(fault) => {
            let front = body.get(..fault.offset).unwrap_or_default();
            (std::str::from_utf8(front).unwrap_or_default(), Some(fault))
        }
    };
    let mut reader = Reader::new(whole, 0);
    if not_text.is_none() && reader.peek().is_none() {
        return Err(Refusal::bad(text::EMPTY_BODY));
    }
    reader.value().map_err(|fault| {
        let fault = not_text.unwrap_or(fault);
        Refusal::bad(format!(
            "the body: {} (at byte {} of the body); nothing was stored",
            fault.what, fault.offset
        ))
    })
}

/// What is wrong with a body that is JSON, in words.
#[derive(Debug)]
struct Wrong(String);

impl<'a> Draft<'a> {
    fn read_event(&mut self, value: &'a str) -> Result<(), Wrong> {
        each_member(
            value,
            "event",
            &["name", "version"],
            |name, value| match name {
                "name" => read_text(&mut self.name, value, "event.name"),
                _ => {
                    if value != "null" {
                        self.version = value.parse().map_err(|_| {
                            Wrong("event.version must be an integer of 64 bits".to_owned())
                        })?;
                    }
                    Ok(())
                }
            },
        )
    }

    fn read_payload(&mut self, value: &'a str) -> Result<(), Wrong> {
        if value != "null" && !value.starts_with('{') {
            return Err(Wrong("payload must be an object or null".to_owned()));
        }
        self.payload = value;
        Ok(())
    }
}

impl<'a> System<'a> {
    fn read(&mut self, value: &'a str) -> Result<(), Wrong> {
        let names = &["id", "name", "time", "timezone"];
        each_member(value, "system", names, |name, value| match name {
            "id" => read_text(&mut self.id, value, "system.id"),
            "name" => read_text(&mut self.name, value, "system.name"),
            "time" => read_text(&mut self.time, value, "system.time"),
            _ => read_text(&mut self.timezone, value, "system.timezone"),
        })
    }
}

impl<'a> Trigger<'a> {
    fn read(&mut self, value: &'a str) -> Result<(), Wrong> {
        each_member(
            value,
            "trigger",
            &["type", "name"],
            |name, value| match name {
                "type" => read_text(&mut self.kind, value, "trigger.type"),
                _ => read_text(&mut self.name, value, "trigger.name"),
            },
        )
    }
}

/// Reads a text over the one there is; `null` leaves it.
fn read_text<'a>(into: &mut Cow<'a, str>, value: &'a str, what: &str) -> Result<(), Wrong> {
    if value == "null" {
        return Ok(());
    }
    // It is JSON, which was checked before; so all that can be wrong is its kind.
    match Reader::new(value, 0).string() {
        Ok(Some(text)) => {
            *into = text;
            Ok(())
        }
        Ok(None) | Err(_) => Err(Wrong(format!("{what} must be a string"))),
    }
}

/// Hands each member of an object that has one of `names` to `read`, in their order; `null` is an
/// object without members. The object must be checked JSON.
fn each_member<'a>(
    object: &'a str,
    what: &str,
    names: &'static [&'static str],
    mut read: impl FnMut(&'static str, &'a str) -> Result<(), Wrong>,
) -> Result<(), Wrong> {
    if object == "null" {
        return Ok(());
    }
    if !object.starts_with('{') {
        return Err(Wrong(format!("{what} must be an object")));
    }
    let mut wrong = None;
    let members = Members {
        names,
        read: |name, value| read(name, value).map_err(|found| wrong = Some(found)),
    };
    let read = serde_json::Deserializer::from_str(object).deserialize_map(members);
    match (wrong, read) {
        (Some(wrong), _) => Err(wrong),
        (None, Ok(())) => Ok(()),
        (None, Err(error)) => Err(Wrong(format!("{what}: {error}"))),
    }
}

/// Goes over the members of an object.
struct Members<F> {
    names: &'static [&'static str],
    read: F,
}

impl<'de, F: FnMut(&'static str, &'de str) -> Result<(), ()>> Visitor<'de> for Members<F> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut map: A) -> Result<(), A::Error> {
        while let Some(name) = map.next_key_seed(Name(self.names))? {
            match name {
                Some(name) => {
                    let value: &'de RawValue = map.next_value()?;
                    (self.read)(name, value.get()).map_err(|()| A::Error::custom("refused"))?;
                }
                None => {
                    map.next_value::<IgnoredAny>()?;
                }
            }
        }
        Ok(())
    }
}

/// Reads the name of a member; none if it is not one of these.
struct Name(&'static [&'static str]);

impl<'de> DeserializeSeed<'de> for Name {
    type Value = Option<&'static str>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for Name {
    type Value = Option<&'static str>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a member's name")
    }

    fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
        let found = self
            .0
            .iter()
            .find(|name| text.chars().map(folded).eq(name.chars()));
        Ok(found.copied())
    }
}

/// A character of a name in lower case. Beyond ASCII only the long s and the Kelvin sign have a
/// letter of these names as their other case.
fn folded(character: char) -> char {
    match character {
        '\u{17f}' => 's',
        '\u{212a}' => 'k',
        other => other.to_ascii_lowercase(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn draft(body: &str) -> Draft<'_> {
        read(body.as_bytes()).unwrap_or_else(|refusal| panic!("{refusal:?}: {body}"))
    }

    #[track_caller]
    fn refused(body: impl AsRef<[u8]>, says: &str) {
        let refusal = read(body.as_ref()).unwrap_err();
        let Refusal::BadRequest { what, .. } = &refusal else {
            panic!("{refusal:?}");
        };
        assert!(what.contains(says), "{what}");
    }

    #[test]
    fn names_match_in_any_case_and_the_last_one_wins() {
        let draft = draft(
            r#"{"EVENT":{"Name":"a","version":1},"event":{"nAME":"b"},"\u017fystem":{"Id":"x"},
                "payload":{"n":1},"Payload":{"n":2},"eventId":"e","more":[{"event":1}]}"#,
        );
        assert_eq!((draft.name.as_ref(), draft.version), ("b", 1));
        assert_eq!(draft.system.id, "x");
        assert_eq!(draft.payload, r#"{"n":2}"#);
    }

    #[test]
    fn missing_parts_and_nulls_are_zero_values() {
        for body in [
            r#"{"event":{"name":"a"}}"#,
            r#"{"event":{"name":"a","version":null},"system":null,"trigger":{"type":null},"payload":null}"#,
            r#"{"event":{"name":"a","version":-0}}"#,
        ] {
            let draft = draft(body);
            assert_eq!(draft.version, 0);
            assert_eq!(draft.system, System::default());
            assert_eq!(draft.trigger, Trigger::default());
            assert_eq!(draft.payload, "null");
        }
    }

    #[test]
    fn the_payload_is_kept_as_it_was_sent() {
        let payload = "{ \"b\":1.0, \"a\" : 1e-7,\n\"n\":12345678901234567890,\"s\":\"\\u00e9\" }";
        let body = format!("{{\"payload\": {payload} ,\"event\":{{\"name\":\"a\"}}}}");
        assert_eq!(draft(&body).payload, payload);
    }

    #[test]
    fn only_the_first_value_is_read() {
        let first = br#" {"event":{"name":"a"}} "#;
        for rest in [&b"{\"event\":1}"[..], b"]", b"\xff\xfe", b"x"] {
            let body = [first, rest].concat();
            assert_eq!(read(&body).unwrap().name, "a");
        }
    }

    #[test]
    fn wrong_kinds_are_named() {
        refused("[]", "the body must be an object");
        refused("1", "the body must be an object");
        refused(r#"{"event":[]}"#, "event must be an object");
        refused(r#"{"event":{"name":1}}"#, "event.name must be a string");
        for version in ["\"1\"", "1.0", "1e0", "9223372036854775808", "true", "[]"] {
            let body = format!("{{\"event\":{{\"name\":\"a\",\"version\":{version}}}}}");
            refused(body, "event.version must be an integer");
        }
        refused(r#"{"system":"x"}"#, "system must be an object");
        refused(
            r#"{"system":{"timezone":{}}}"#,
            "system.timezone must be a string",
        );
        refused(r#"{"trigger":{"type":1}}"#, "trigger.type must be a string");
        for payload in ["[]", "1", "\"x\"", "true"] {
            refused(
                format!("{{\"payload\":{payload}}}"),
                "payload must be an object or null",
            );
        }
    }

    #[test]
    fn a_name_is_required() {
        for body in ["null", "{}", r#"{"event":{}}"#, r#"{"event":{"name":""}}"#] {
            refused(body, text::EVENT_NAME);
        }
    }

    #[test]
    fn what_is_no_json_is_refused_with_its_place() {
        for body in ["", " \n"] {
            refused(body, text::EMPTY_BODY);
        }
        refused("{", "too early (at byte 1");
        refused(r#"{"event":{"name":"a"},}"#, "at byte 22");
        refused(r#"{"event":{"name":"\ud800"}}"#, "lone surrogate");
        refused(b"{\"event\":{\"name\":\"\xff\"}}", "not UTF-8 (at byte 18");
        refused(b"\xef\xbb\xbf{}", "byte order mark");
        let deep = format!(
            "{{\"payload\":{{\"a\":{}{}}}}}",
            "[".repeat(200),
            "]".repeat(200)
        );
        refused(deep, "nested too deeply");
    }
}
