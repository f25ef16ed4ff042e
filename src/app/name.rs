//! Names, checked once, where they come in.

use std::borrow::Cow;
use std::fmt;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use sha2::{Digest, Sha256};

use super::limits::{CONTENT_TYPE_LEN_MAX, EVENT_ID_LEN_MAX, KEY_LEN_MAX, NAME_LEN_MAX};
pub use crate::store::LogName;

/// Why a text cannot be a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NameError {
    /// What it was to name: `stream`, `type`, `tag`, ...
    pub what: &'static str,
    /// What is wrong with it.
    pub problem: NameProblem,
}

/// What is wrong with a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NameProblem {
    /// It has no characters.
    Empty,
    /// It is too long.
    TooLong {
        /// Its length in bytes.
        len: usize,
        /// The longest allowed, in bytes.
        len_max: usize,
    },
    /// It has a character that is not allowed.
    Character {
        /// Where, in bytes from the start.
        offset: usize,
        /// Which characters are allowed, in words.
        allowed: &'static str,
    },
}

impl fmt::Display for NameError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = self.what;
        match self.problem {
            NameProblem::Empty => write!(f, "the {what} is empty"),
            NameProblem::TooLong { len, len_max } => {
                write!(f, "the {what} has {len} bytes, more than {len_max}")
            }
            NameProblem::Character { offset, allowed } => {
                write!(
                    f,
                    "the {what} has, at byte {offset}, something other than {allowed}"
                )
            }
        }
    }
}

impl std::error::Error for NameError {}

/// Unicode text without control characters.
fn check_text(what: &'static str, text: &str, len_max: usize) -> Result<(), NameError> {
    check(
        what,
        text,
        len_max,
        "text without control characters",
        |c| !c.is_control(),
    )
}

/// Visible ASCII, and spaces if `spaces` says so.
fn check_ascii(
    what: &'static str,
    text: &str,
    len_max: usize,
    spaces: bool,
) -> Result<(), NameError> {
    let allowed = if spaces {
        "visible ASCII and spaces"
    } else {
        "visible ASCII"
    };
    check(what, text, len_max, allowed, |c| {
        c.is_ascii_graphic() || (spaces && c == ' ')
    })
}

fn check(
    what: &'static str,
    text: &str,
    len_max: usize,
    allowed: &'static str,
    good: impl Fn(char) -> bool,
) -> Result<(), NameError> {
    let problem = if text.is_empty() {
        NameProblem::Empty
    } else if text.len() > len_max {
        NameProblem::TooLong {
            len: text.len(),
            len_max,
        }
    } else if let Some((offset, _)) = text.char_indices().find(|(_, c)| !good(*c)) {
        NameProblem::Character { offset, allowed }
    } else {
        return Ok(());
    };
    Err(NameError { what, problem })
}

macro_rules! name {
    ($(#[$doc:meta])* $name:ident, $what:literal, $check:expr) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name<'a>(Cow<'a, str>);

        impl<'a> $name<'a> {
            /// Checks the text and takes it.
            ///
            /// # Errors
            ///
            /// [`NameError`] says what is wrong with it.
            pub fn new(text: impl Into<Cow<'a, str>>) -> Result<Self, NameError> {
                let text = text.into();
                $check($what, &text)?;
                Ok(Self(text))
            }

            /// The name as text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }

            /// The name with a text of its own.
            #[must_use]
            pub fn into_owned(self) -> $name<'static> {
                $name(Cow::Owned(self.0.into_owned()))
            }

            /// The same name, sharing this one's text.
            #[must_use]
            pub fn by_ref(&self) -> $name<'_> {
                $name(Cow::Borrowed(&self.0))
            }
        }

        impl Serialize for $name<'_> {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(&self.0)
            }
        }

        impl<'de> Deserialize<'de> for $name<'static> {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                Self::new(String::deserialize(deserializer)?).map_err(D::Error::custom)
            }
        }

        impl fmt::Display for $name<'_> {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

name!(
    /// The name of a stream: 1 to 255 bytes of text without control characters.
    StreamName,
    "stream name",
    |what, text: &str| check_text(what, text, NAME_LEN_MAX)
);
name!(
    /// The type of an event, written like a stream's name.
    EventType,
    "event type",
    |what, text: &str| check_text(what, text, NAME_LEN_MAX)
);
name!(
    /// A tag that a publisher gives an event, written like a stream's name.
    TagLabel,
    "tag",
    |what, text: &str| check_text(what, text, NAME_LEN_MAX)
);
name!(
    /// The name of a consumer, written like a stream's name.
    ConsumerName,
    "consumer name",
    |what, text: &str| check_text(what, text, NAME_LEN_MAX)
);
name!(
    /// The name of a webhook, written like a stream's name.
    WebhookName,
    "webhook name",
    |what, text: &str| check_text(what, text, NAME_LEN_MAX)
);
name!(
    /// The id of an aggregate, written like a stream's name.
    AggregateId,
    "aggregate id",
    |what, text: &str| check_text(what, text, NAME_LEN_MAX)
);
name!(
    /// The id of a producer that owns streams, written like a stream's name.
    ProducerId,
    "producer id",
    |what, text: &str| check_text(what, text, NAME_LEN_MAX)
);
name!(
    /// The publisher's id of an event (`eventId`), written like a stream's name.
    EventUid,
    "event id",
    |what, text: &str| check_text(what, text, EVENT_ID_LEN_MAX)
);
name!(
    /// An idempotency key: 1 to 255 characters of visible ASCII.
    IdempotencyKey,
    "idempotency key",
    |what, text: &str| check_ascii(what, text, KEY_LEN_MAX, false)
);
name!(
    /// The content type of a payload that is not JSON: 1 to 255 characters of ASCII.
    ContentType,
    "content type",
    |what, text: &str| check_ascii(what, text, CONTENT_TYPE_LEN_MAX, true)
);

/// The text if it is short enough to be a name, else its beginning and a hash of the whole: where
/// the server itself makes a name out of several.
#[must_use]
pub fn shortened(text: &str) -> Cow<'_, str> {
    if text.len() <= NAME_LEN_MAX {
        return Cow::Borrowed(text);
    }
    let hash = Sha256::digest(text.as_bytes());
    let hash = hash.iter().take(HASH_LEN);
    let mut end = NAME_LEN_MAX - 1 - 2 * HASH_LEN;
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    let mut name = text.get(..end).unwrap_or_default().to_owned();
    name.push('~');
    for byte in hash {
        name.push_str(&format!("{byte:02x}"));
    }
    Cow::Owned(name)
}

/// How many bytes of a hash tell shortened names apart: two alike are not to be expected before
/// there are 2^64 of them.
const HASH_LEN: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn problem(text: &str) -> NameProblem {
        StreamName::new(text).unwrap_err().problem
    }

    #[test]
    fn names_are_any_text_of_up_to_255_bytes_without_controls() {
        for good in ["a", "../..", "a/b", "%2e", "🛫 LX 8", &"é".repeat(127)] {
            assert_eq!(StreamName::new(good).unwrap().as_str(), good);
        }
        assert_eq!(problem(""), NameProblem::Empty);
        assert!(matches!(
            problem(&"é".repeat(128)),
            NameProblem::TooLong { len: 256, .. }
        ));
        for control in ["ab\0", "ab\r", "ab\n", "ab\u{7f}", "ab\u{85}"] {
            assert!(matches!(
                problem(control),
                NameProblem::Character { offset: 2, .. }
            ));
        }
    }

    #[test]
    fn idempotency_keys_are_visible_ascii() {
        assert!(IdempotencyKey::new("order-1/2:3").is_ok());
        for bad in ["", "a b", "é", "a\t", &"x".repeat(256)] {
            assert!(IdempotencyKey::new(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_text_that_is_too_long_becomes_a_name_of_its_own() {
        let fits = "x".repeat(NAME_LEN_MAX);
        assert_eq!(shortened(&fits), fits);
        let long = |last| format!("{}{last}", "é".repeat(200));
        let names = [
            shortened(&long("a")).into_owned(),
            shortened(&long("b")).into_owned(),
        ];
        assert_ne!(names[0], names[1]);
        for name in names {
            assert!(
                StreamName::new(name.clone()).is_ok() && name.starts_with("éé"),
                "{name}"
            );
        }
    }
}
