//! Names in a path: percent-decoding of one segment.

use std::borrow::Cow;
use std::fmt;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};

/// Why a segment is no name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SegmentError {
    /// A `%` without two hexadecimal digits behind it.
    Escape {
        /// Where, in bytes from the segment's start.
        offset: usize,
    },
    /// What the escapes stand for is not UTF-8: overlong forms and surrogates included.
    NotUtf8,
    /// It has a control character.
    Control,
}

impl fmt::Display for SegmentError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Escape { offset } => {
                write!(f, "the '%' at byte {offset} has no two hexadecimal digits")
            }
            Self::NotUtf8 => f.write_str("it is not UTF-8"),
            Self::Control => f.write_str("it has a control character"),
        }
    }
}

impl std::error::Error for SegmentError {}

/// The text of a segment. An encoded slash is a slash in the name; a plus sign is a plus sign.
///
/// # Errors
///
/// [`SegmentError`] says what is wrong.
pub fn decode_segment(raw: &str) -> Result<Cow<'_, str>, SegmentError> {
    let text = decode(raw)?;
    if text.chars().any(char::is_control) {
        return Err(SegmentError::Control);
    }
    Ok(text)
}

/// The text behind the escapes, whatever characters it has.
pub(super) fn decode(raw: &str) -> Result<Cow<'_, str>, SegmentError> {
    let mut rest = raw.bytes().enumerate();
    while let Some((offset, byte)) = rest.next() {
        if byte == b'%' {
            let mut hex = || {
                rest.next()
                    .is_some_and(|(_, digit)| digit.is_ascii_hexdigit())
            };
            if !(hex() && hex()) {
                return Err(SegmentError::Escape { offset });
            }
        }
    }
    percent_decode_str(raw)
        .decode_utf8()
        .map_err(|_| SegmentError::NotUtf8)
}

/// What needs no escape in a segment or a query value.
const ESCAPED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');

/// The text as it can stand in a path or a query.
#[must_use]
pub fn encode(text: &str) -> impl fmt::Display + '_ {
    utf8_percent_encode(text, ESCAPED)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn segments_decode_to_what_was_encoded() {
        for name in ["a", "a/b", "../..", "100 %", "a+b", "🛫", "\u{ff}"] {
            let raw = encode(name).to_string();
            assert!(!raw.contains('/'));
            assert_eq!(decode_segment(&raw).unwrap(), name);
        }
        assert_eq!(decode_segment("a+b%2Fc%2f").unwrap(), "a+b/c/");
    }

    #[test]
    fn what_is_no_text_is_refused() {
        for (raw, error) in [
            ("%", SegmentError::Escape { offset: 0 }),
            ("a%0", SegmentError::Escape { offset: 1 }),
            ("a%zz", SegmentError::Escape { offset: 1 }),
            ("%%41", SegmentError::Escape { offset: 0 }),
            ("%ff", SegmentError::NotUtf8),
            ("%c0%ae", SegmentError::NotUtf8),
            ("%ed%a0%80", SegmentError::NotUtf8),
            ("a%00", SegmentError::Control),
            ("%0d%0a", SegmentError::Control),
            ("%7f", SegmentError::Control),
            ("%c2%85", SegmentError::Control),
        ] {
            assert_eq!(decode_segment(raw), Err(error), "{raw}");
        }
    }
}
