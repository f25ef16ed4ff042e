//! Events as JSON, written by hand into a buffer that is used again: replays are as fast as this.

use std::io::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::app::{Data, Event, Uid};

use super::time;

/// What becomes of line breaks between the tokens of a payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Breaks {
    /// They stay: the payload is as it was published, byte for byte.
    Keep,
    /// They go, because a line break ends the event.
    Drop,
}

/// Writes one event.
pub(super) fn event(out: &mut Vec<u8>, event: &Event<'_>, breaks: Breaks) {
    out.extend_from_slice(b"{\"id\":");
    number(out, event.id.get());
    out.extend_from_slice(b",\"stream\":");
    string(out, event.stream);
    out.extend_from_slice(b",\"sequence\":");
    number(out, event.sequence);
    out.extend_from_slice(b",\"type\":");
    string(out, event.event_type);
    out.extend_from_slice(b",\"eventId\":");
    match event.uid {
        Uid::Uuid(bytes) => {
            let mut text = [0; uuid::fmt::Hyphenated::LENGTH];
            let text = uuid::Uuid::from_bytes(bytes)
                .hyphenated()
                .encode_lower(&mut text);
            out.push(b'"');
            out.extend_from_slice(text.as_bytes());
            out.push(b'"');
        }
        Uid::Text(text) => string(out, text),
    }
    let recorded_at_us = i64::try_from(event.recorded_at_us).unwrap_or(i64::MAX);
    out.extend_from_slice(b",\"time\":\"");
    time::write(out, event.time_us.unwrap_or(recorded_at_us));
    out.extend_from_slice(b"\",\"recordedAt\":\"");
    time::write(out, recorded_at_us);
    out.push(b'"');
    if !event.labels.is_empty() {
        out.extend_from_slice(b",\"tags\":[");
        for (index, label) in event.labels.clone().enumerate() {
            if index > 0 {
                out.push(b',');
            }
            string(out, label);
        }
        out.push(b']');
    }
    let drops = breaks == Breaks::Drop && event.line_breaks;
    if let Some(metadata) = event.metadata {
        out.extend_from_slice(b",\"metadata\":");
        json(out, metadata, drops);
    }
    match event.data {
        Data::Json(bytes) => {
            out.extend_from_slice(b",\"data\":");
            json(out, bytes, drops);
        }
        Data::Bytes {
            content_type,
            bytes,
        } => {
            out.extend_from_slice(b",\"contentType\":");
            string(out, content_type);
            out.extend_from_slice(b",\"dataBase64\":\"");
            base64(out, bytes);
            out.push(b'"');
        }
    }
    out.push(b'}');
}

/// Copies JSON. A raw line break in it can only stand between tokens: in a string it is written as
/// an escape.
fn json(out: &mut Vec<u8>, json: &[u8], drops: bool) {
    if drops {
        for piece in json.split(|byte| matches!(byte, b'\r' | b'\n')) {
            out.extend_from_slice(piece);
        }
    } else {
        out.extend_from_slice(json);
    }
}

fn base64(out: &mut Vec<u8>, bytes: &[u8]) {
    let start = out.len();
    let len = base64::encoded_len(bytes.len(), true).unwrap_or(0);
    out.resize(start + len, 0);
    if let Some(place) = out.get_mut(start..) {
        let written = STANDARD.encode_slice(bytes, place);
        debug_assert_eq!(written, Ok(len), "the place is as long as the text");
    }
}

/// Writes a JSON string.
pub(super) fn string(out: &mut Vec<u8>, text: &str) {
    out.push(b'"');
    let plain = text
        .bytes()
        .all(|byte| byte >= 0x20 && byte != b'"' && byte != b'\\');
    if plain {
        out.extend_from_slice(text.as_bytes());
    } else {
        for byte in text.bytes() {
            match byte {
                b'"' | b'\\' => out.extend_from_slice(&[b'\\', byte]),
                0..0x20 => {
                    let written = write!(out, "\\u{byte:04x}");
                    debug_assert!(written.is_ok(), "a vector takes every byte");
                }
                _ => out.push(byte),
            }
        }
    }
    out.push(b'"');
}

/// Writes a number in decimal digits.
pub(super) fn number(out: &mut Vec<u8>, mut number: u64) {
    let mut digits = [b'0'; 20];
    let mut len = 0;
    for place in digits.iter_mut().rev() {
        *place = b'0' + u8::try_from(number % 10).unwrap_or(0);
        number /= 10;
        len += 1;
        if number == 0 {
            break;
        }
    }
    out.extend_from_slice(digits.get(20 - len..).unwrap_or(&digits));
}

/// Writes a number, or `null`.
pub(super) fn maybe_number(out: &mut Vec<u8>, value: Option<u64>) {
    match value {
        Some(value) => number(out, value),
        None => out.extend_from_slice(b"null"),
    }
}

/// Writes a string, or `null`.
pub(super) fn maybe_string(out: &mut Vec<u8>, value: Option<&str>) {
    match value {
        Some(value) => string(out, value),
        None => out.extend_from_slice(b"null"),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn strings_read_back_as_they_were(text in any::<String>()) {
            let mut out = Vec::new();
            string(&mut out, &text);
            prop_assert_eq!(serde_json::from_slice::<String>(&out).unwrap(), text);
        }

        #[test]
        fn numbers_are_written_in_decimal(value in any::<u64>()) {
            let mut out = Vec::new();
            number(&mut out, value);
            prop_assert_eq!(String::from_utf8(out).unwrap(), value.to_string());
        }

        #[test]
        fn payloads_that_are_no_json_read_back(bytes in prop::collection::vec(any::<u8>(), 0..100)) {
            let mut out = b"before".to_vec();
            base64(&mut out, &bytes);
            prop_assert_eq!(STANDARD.decode(&out[6..]).unwrap(), bytes);
        }
    }

    #[test]
    fn line_breaks_between_tokens_go_only_where_lines_matter() {
        let text = b"{\r\n \"a\": \"x\\ny\"\n}";
        let mut out = Vec::new();
        json(&mut out, text, true);
        assert_eq!(out, b"{ \"a\": \"x\\ny\"}");
        out.clear();
        json(&mut out, text, false);
        assert_eq!(out, text);
    }
}
