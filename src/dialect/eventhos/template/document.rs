//! What templates look into: one JSON document, found in by JSONPath and handed out as it was
//! written.
//!
//! A value passes through as text, never through a number of this program: 2^53 + 1, `1e-7` and the
//! order of members arrive as they were sent. The tree of serde_json is only asked where something
//! is.

use std::borrow::Cow;
use std::collections::HashSet;
use std::fmt;

use serde::de::{Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::Value;
use serde_json::value::RawValue;
use serde_json_path::{JsonPath, NormalizedPath, PathElement};

/// A JSON document.
#[derive(Debug)]
pub(crate) struct Document {
    text: String,
    tree: Value,
}

impl Document {
    /// Reads a document.
    ///
    /// # Errors
    ///
    /// What cannot be held: more than 128 levels, a number beyond 1.8e308.
    pub(crate) fn parse(text: String) -> Result<Self, String> {
        let tree = serde_json::from_str(&text).map_err(|error| error.to_string())?;
        Ok(Self { text, tree })
    }

    /// The value that a path finds, as it is written; the first in the document if there are
    /// several.
    pub(crate) fn find(&self, path: &JsonPath) -> Option<&str> {
        let found = path.query_located(&self.tree);
        let mut places: Vec<&NormalizedPath<'_>> = found.locations().collect();
        let mut raw = self.text.as_str();
        let mut depth = 0;
        loop {
            if places.is_empty() {
                return None;
            }
            // A value comes before what it contains.
            if places.iter().any(|place| place.len() == depth) {
                return Some(raw);
            }
            let next = match places.first().and_then(|place| place.get(depth))? {
                PathElement::Index(_) => {
                    let first = places
                        .iter()
                        .filter_map(|place| place.get(depth)?.as_index())
                        .min()?;
                    raw = items(raw)?.get(first)?.get();
                    PathElement::Index(first)
                }
                PathElement::Name(_) => {
                    let names: HashSet<&str> = places
                        .iter()
                        .filter_map(|place| place.get(depth)?.as_name())
                        .collect();
                    let members = members(raw)?;
                    let (name, _) = members
                        .iter()
                        .find(|(name, _)| names.contains(name.as_ref()))?;
                    // Of members with one name the tree has the last one.
                    let (_, value) = members.iter().rfind(|(known, _)| known == name)?;
                    let known = *names.get(name.as_ref())?;
                    raw = value.get();
                    PathElement::Name(known)
                }
            };
            places.retain(|place| place.get(depth) == Some(&next));
            depth += 1;
        }
    }
}

/// A member of an object as it is written.
pub(crate) type Member<'a> = (Cow<'a, str>, &'a RawValue);

/// The members of an object, in order; none if the text is no object.
pub(crate) fn members(raw: &str) -> Option<Vec<Member<'_>>> {
    struct Members;

    impl<'de> Visitor<'de> for Members {
        type Value = Vec<Member<'de>>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("an object")
        }

        fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
            let mut members = Vec::new();
            while let Some(name) = map.next_key::<Name<'de>>()? {
                members.push((name.0, map.next_value()?));
            }
            Ok(members)
        }
    }

    let mut reader = serde_json::Deserializer::from_str(raw);
    reader.deserialize_map(Members).ok()
}

/// A name that is borrowed if it has no escapes.
#[derive(serde::Deserialize)]
struct Name<'a>(#[serde(borrow)] Cow<'a, str>);

/// The items of an array; none if the text is no array.
fn items(raw: &str) -> Option<Vec<&RawValue>> {
    struct Items;

    impl<'de> Visitor<'de> for Items {
        type Value = Vec<&'de RawValue>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("an array")
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
            let mut items = Vec::new();
            while let Some(item) = seq.next_element()? {
                items.push(item);
            }
            Ok(items)
        }
    }

    let mut reader = serde_json::Deserializer::from_str(raw);
    reader.deserialize_seq(Items).ok()
}

/// JSON without the white space between its tokens.
pub(crate) fn compact(raw: &str) -> String {
    let mut out = String::with_capacity(raw.len());
    let mut in_string = false;
    let mut escaped = false;
    for character in raw.chars() {
        if in_string {
            in_string = escaped || character != '"';
            escaped = !escaped && character == '\\';
        } else if character == '"' {
            in_string = true;
        } else if character.is_ascii_whitespace() {
            continue;
        }
        out.push(character);
    }
    out
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn find(text: &str, path: &str) -> Option<String> {
        let document = Document::parse(text.to_owned()).unwrap();
        let path = JsonPath::parse(path).unwrap();
        document.find(&path).map(str::to_owned)
    }

    #[test]
    fn what_is_found_stands_as_it_was_written() {
        let text = r#"{"z": 9007199254740993, "a": [1e-7, {"x": {"q": 1.50 , "b":"\u00e9"}}], "z2": "é\n", "e\u0061": true}"#;
        for (path, raw) in [
            ("$.z", Some("9007199254740993")),
            ("$.a[0]", Some("1e-7")),
            ("$.a[1].x", Some(r#"{"q": 1.50 , "b":"\u00e9"}"#)),
            ("$.a[-1].x.q", Some("1.50")),
            ("$.z2", Some(r#""é\n""#)),
            ("$['ea']", Some("true")),
            ("$", Some(text)),
            ("$.nothing", None),
            ("$.a[7]", None),
            ("$.z.deeper", None),
        ] {
            assert_eq!(find(text, path).as_deref(), raw, "{path}");
        }
    }

    #[test]
    fn of_several_the_first_in_the_document_is_found() {
        let text = r#"{"z":{"id":1},"a":{"id":2,"in":{"id":3}},"list":[{"id":4},{"id":5}]}"#;
        for (path, raw) in [
            ("$..id", "1"),
            ("$.*.id", "1"),
            ("$.a..id", "2"),
            ("$.a.*", "2"),
            ("$.list[*].id", "4"),
            ("$.list[?@.id > 4].id", "5"),
        ] {
            assert_eq!(find(text, path).as_deref(), Some(raw), "{path}");
        }
        assert_eq!(find(r#"{"a":1,"a":2}"#, "$.a").as_deref(), Some("2"));
    }

    #[test]
    fn white_space_goes_from_between_tokens_only() {
        assert_eq!(
            compact("{ \"a b\" :\n[ 1 , \"\\\" \\\\\" , \"c d\" ] }"),
            r#"{"a b":[1,"\" \\","c d"]}"#
        );
    }

    proptest! {
        #[test]
        fn compact_json_says_the_same(text in any::<String>(), number in any::<i64>()) {
            let value = serde_json::json!({"k": [text, number, null, {"n": text}]});
            let pretty = serde_json::to_string_pretty(&value).unwrap();
            prop_assert_eq!(compact(&pretty), value.to_string());
        }
    }
}
