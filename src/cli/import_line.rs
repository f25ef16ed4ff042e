//! One line of an import file made ready for the server.
//!
//! A line is an event as the server takes it, or as it hands it out: what only the server can say
//! about an event (its id, its sequence, when it was recorded) is left out, so that an export can be
//! imported. A line without an idempotency key gets one that is the same each time.

use std::borrow::Cow;
use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;
use sha2::{Digest, Sha256};

/// What the server adds to an event and refuses from others.
const GIVEN_BY_THE_SERVER: [&str; 3] = ["id", "sequence", "recordedAt"];
const IDEMPOTENCY_KEY: &str = "idempotencyKey";

/// Bytes of the hash in a derived key: 2^64 lines before two of them are likely to share one.
const KEY_HASH_LEN: usize = 16;

/// The members of a JSON object in their order, their values as they stand.
struct Members<'a>(Vec<(Cow<'a, str>, &'a RawValue)>);

impl<'de> Deserialize<'de> for Members<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Object;

        impl<'de> Visitor<'de> for Object {
            type Value = Members<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an event, which is a JSON object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Members<'de>, A::Error> {
                let mut members = Vec::new();
                while let Some((name, value)) = map.next_entry::<String, &RawValue>()? {
                    members.push((Cow::Owned(name), value));
                }
                Ok(Members(members))
            }
        }

        deserializer.deserialize_map(Object)
    }
}

/// Adds the event of `line` to `out`, with a line break behind it.
///
/// `source` and `number` say where the line comes from; a derived key depends on them and on the
/// line's bytes, so that two equal lines are two events, and the same line read again is the same
/// one.
///
/// # Errors
///
/// Why the line is no JSON object, or that it has no key and comes from nowhere; `out` is as it was. Whether it is an event is for the
/// server to say.
pub(crate) fn prepare(
    line: &[u8],
    source: Option<&str>,
    number: u64,
    out: &mut Vec<u8>,
) -> Result<(), String> {
    let Members(members) = serde_json::from_slice(line).map_err(|error| without_line(&error))?;
    let has_key = members.iter().any(|(name, _)| name == IDEMPOTENCY_KEY);
    let given = |name: &str| GIVEN_BY_THE_SERVER.contains(&name);
    if has_key && !members.iter().any(|(name, _)| given(name)) {
        out.extend_from_slice(line);
        out.push(b'\n');
        return Ok(());
    }
    let derived = match (has_key, source) {
        (true, _) => None,
        (false, Some(source)) => Some(derived_key(line, source, number)),
        (false, None) => {
            return Err(
                "it has no idempotencyKey, and standard input has no name that could stand in for \
                 one: give it one with --source"
                    .to_owned(),
            );
        }
    };
    let start = out.len();
    out.push(b'{');
    if let Some(key) = derived {
        out.extend_from_slice(b"\"idempotencyKey\":\"");
        out.extend_from_slice(key.as_bytes());
        out.push(b'"');
    }
    for (name, value) in &members {
        if given(name) {
            continue;
        }
        if out.len() > start + 1 {
            out.push(b',');
        }
        // A string is always JSON.
        serde_json::to_writer(&mut *out, name).map_err(|error| error.to_string())?;
        out.push(b':');
        out.extend_from_slice(value.get().as_bytes());
    }
    out.extend_from_slice(b"}\n");
    Ok(())
}

fn derived_key(line: &[u8], source: &str, number: u64) -> String {
    let hash = Sha256::new()
        // The length keeps a name that ends in digits apart from the number behind it.
        .chain_update((source.len() as u64).to_le_bytes())
        .chain_update(source)
        .chain_update(number.to_le_bytes())
        .chain_update(line)
        .finalize();
    let mut key = String::from("import-");
    for byte in hash.iter().take(KEY_HASH_LEN) {
        key.push_str(&format!("{byte:02x}"));
    }
    key
}

/// serde_json counts lines within what it was given, which is always line 1 here.
fn without_line(error: &serde_json::Error) -> String {
    let text = error.to_string();
    let place = format!(" at line {} column {}", error.line(), error.column());
    match text.strip_suffix(&place) {
        Some(what) => format!("{what} at column {}", error.column()),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn prepared(line: &str, source: &str, number: u64) -> Result<String, String> {
        let mut out = Vec::new();
        prepare(line.as_bytes(), Some(source), number, &mut out)?;
        Ok(String::from_utf8(out).unwrap())
    }

    #[test]
    fn a_line_with_a_key_of_its_own_is_sent_as_it_is() {
        let line = r#"{"stream":"a" , "idempotencyKey":"k","data":{"n": 1.0e2}}"#;
        assert_eq!(prepared(line, "f", 1), Ok(format!("{line}\n")));
    }

    #[test]
    fn a_line_without_a_key_gets_the_same_one_each_time_and_another_one_elsewhere() {
        let line = r#"{"stream":"a","data":1}"#;
        let first = prepared(line, "f", 1).unwrap();
        assert!(
            first.starts_with(r#"{"idempotencyKey":"import-"#),
            "{first}"
        );
        assert!(
            first.ends_with("\",\"stream\":\"a\",\"data\":1}\n"),
            "{first}"
        );
        assert_eq!(prepared(line, "f", 1).unwrap(), first);
        for other in [
            prepared(line, "f", 2),
            prepared(line, "g", 1),
            prepared(r#"{"stream":"a","data":2}"#, "f", 1),
        ] {
            assert_ne!(other.unwrap()[..50], first[..50]);
        }
    }

    #[test]
    fn an_exported_line_loses_what_only_the_server_can_say() {
        let line = r#"{"id":7,"stream":"a","sequence":0,"type":"T","recordedAt":"2020-01-01T00:00:00Z","idempotencyKey":"k","data":{"id": 7}}"#;
        assert_eq!(
            prepared(line, "f", 1).unwrap(),
            "{\"stream\":\"a\",\"type\":\"T\",\"idempotencyKey\":\"k\",\"data\":{\"id\": 7}}\n"
        );
    }

    #[test]
    fn what_is_no_object_is_refused_with_its_column_and_nothing_is_added() {
        for (line, want) in [
            ("[1]", "an event, which is a JSON object"),
            ("{\"a\":1", "EOF while parsing an object at column 6"),
            ("{\"a\":1}{", "trailing characters at column 8"),
            ("no", "expected ident at column 2"),
        ] {
            let mut out = b"before".to_vec();
            let error = prepare(line.as_bytes(), Some("f"), 3, &mut out).unwrap_err();
            assert!(error.contains(want), "{line}: {error}");
            assert_eq!(out, b"before");
        }
        assert!(prepare(b"{\"a\":\"\xff\"}", Some("f"), 1, &mut Vec::new()).is_err());
    }
}
