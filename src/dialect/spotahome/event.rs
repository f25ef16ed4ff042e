//! How one of our events looks to a reader of the event store.
//!
//! `{"typeName","occurredOn","eventBody"}`, where `eventBody` is a string that holds JSON: the payload
//! as it was published, if that was JSON, whichever door it came through. Any other payload is a JSON
//! string itself: its text if its content type says that it is text and it is UTF-8, else base64.

use crate::app::{Data, Event};
use crate::json::write;
use crate::time;

/// How the bytes of a payload are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum BodyForm {
    /// JSON, inside a string.
    Json,
    /// Text, as a JSON string inside a string.
    Text,
    /// Any bytes, as a JSON string of base64 inside a string.
    Base64,
}

impl BodyForm {
    /// The form of a payload. Looks at every byte of one that claims to be text.
    pub(super) fn of(data: &Data<'_>) -> Self {
        match data {
            Data::Json(_) => Self::Json,
            Data::Bytes {
                content_type,
                bytes,
            } if is_text(content_type) && simdutf8::basic::from_utf8(bytes).is_ok() => Self::Text,
            Data::Bytes { .. } => Self::Base64,
        }
    }

    /// What stands before the bytes and behind them, between the quotes of `eventBody`.
    pub(super) fn quotes(self) -> &'static [u8] {
        match self {
            Self::Json => b"",
            Self::Text | Self::Base64 => b"\\\"",
        }
    }

    /// Writes some of the bytes. They may be cut anywhere but, for base64, at multiples of three.
    pub(super) fn write(self, out: &mut Vec<u8>, bytes: &[u8]) {
        match self {
            Self::Json => escape(out, bytes, plain_in_json),
            Self::Text => escape(out, bytes, escape_twice),
            Self::Base64 => write::base64(out, bytes),
        }
    }
}

/// Whether a content type is one of text. JSON is among them: what claims to be JSON and is none is
/// shown as what it is.
fn is_text(content_type: &str) -> bool {
    let essence = content_type.split(';').next().unwrap_or_default().trim();
    let essence = essence.to_ascii_lowercase();
    essence.starts_with("text/")
        || ["+xml", "/xml", "+json", "/json"]
            .iter()
            .any(|end| essence.ends_with(end))
        || essence == "application/x-www-form-urlencoded"
}

/// Writes an event up to the opening quote of its body.
pub(super) fn write_front(out: &mut Vec<u8>, event: &Event<'_>) {
    out.extend_from_slice(b"{\"typeName\":");
    write::string(out, event.event_type);
    out.extend_from_slice(b",\"occurredOn\":\"");
    let recorded = || i64::try_from(event.recorded_at_us).unwrap_or(i64::MAX);
    write_time(out, event.time_us.unwrap_or_else(recorded));
    out.extend_from_slice(b"\",\"eventBody\":\"");
}

/// Writes what stands behind an event's body, closing quote included.
pub(super) fn write_back(out: &mut Vec<u8>) {
    out.extend_from_slice(b"\"}");
}

/// Writes a time with exactly three digits of a fraction; what is finer is cut off.
fn write_time(out: &mut Vec<u8>, time_us: i64) {
    const SECONDS_LEN: usize = "2017-07-03T11:20:35".len();
    const LEN: usize = SECONDS_LEN + ".000".len();
    let start = out.len();
    // Cut towards the past, before and after 1970.
    time::write(out, time_us.div_euclid(1_000).saturating_mul(1_000));
    out.pop();
    if out.len() == start + SECONDS_LEN {
        out.push(b'.');
    }
    out.resize(start + LEN, b'0');
    out.push(b'Z');
}

/// Writes bytes, with `special` for those that cannot stand in a string as they are. All of them are
/// ASCII, so it makes no difference where a character of several bytes is cut.
fn escape(out: &mut Vec<u8>, bytes: &[u8], special: fn(&mut Vec<u8>, u8)) {
    let mut rest = bytes;
    while let Some(len) = rest
        .iter()
        .position(|byte| matches!(byte, 0..0x20 | b'"' | b'\\'))
    {
        let (plain, tail) = rest.split_at(len);
        out.extend_from_slice(plain);
        let Some((byte, tail)) = tail.split_first() else {
            return;
        };
        special(out, *byte);
        rest = tail;
    }
    out.extend_from_slice(rest);
}

fn plain_in_json(out: &mut Vec<u8>, byte: u8) {
    match byte {
        b'"' | b'\\' => out.extend_from_slice(&[b'\\', byte]),
        b'\n' => out.extend_from_slice(b"\\n"),
        b'\r' => out.extend_from_slice(b"\\r"),
        b'\t' => out.extend_from_slice(b"\\t"),
        _ => {
            out.extend_from_slice(b"\\u00");
            write_hex(out, byte);
        }
    }
}

/// The escape of a byte, with its own backslashes and quotes escaped again.
fn escape_twice(out: &mut Vec<u8>, byte: u8) {
    match byte {
        b'"' => out.extend_from_slice(b"\\\\\\\""),
        b'\\' => out.extend_from_slice(b"\\\\\\\\"),
        b'\n' => out.extend_from_slice(b"\\\\n"),
        b'\r' => out.extend_from_slice(b"\\\\r"),
        b'\t' => out.extend_from_slice(b"\\\\t"),
        _ => {
            out.extend_from_slice(b"\\\\u00");
            write_hex(out, byte);
        }
    }
}

fn write_hex(out: &mut Vec<u8>, byte: u8) {
    for digit in [byte >> 4, byte & 15] {
        out.push(if digit < 10 {
            b'0' + digit
        } else {
            b'a' - 10 + digit
        });
    }
}

#[cfg(test)]
mod tests {
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;
    use proptest::prelude::*;

    use super::*;

    fn time(time_us: i64) -> String {
        let mut out = b"before ".to_vec();
        write_time(&mut out, time_us);
        String::from_utf8(out.split_off(7)).unwrap()
    }

    /// `eventBody` decoded once, having been written in pieces of three bytes.
    fn body(form: BodyForm, bytes: &[u8]) -> String {
        let mut out = b"\"".to_vec();
        out.extend_from_slice(form.quotes());
        for piece in bytes.chunks(3) {
            form.write(&mut out, piece);
        }
        out.extend_from_slice(form.quotes());
        out.push(b'"');
        serde_json::from_slice(&out).unwrap()
    }

    #[test]
    fn times_have_three_digits_whatever_they_are() {
        assert_eq!(time(1_499_080_835_000_000), "2017-07-03T11:20:35.000Z");
        assert_eq!(time(1_499_080_835_120_000), "2017-07-03T11:20:35.120Z");
        assert_eq!(time(1_499_080_835_123_999), "2017-07-03T11:20:35.123Z");
        assert_eq!(time(0), "1970-01-01T00:00:00.000Z");
        assert_eq!(time(-1), "1969-12-31T23:59:59.999Z");
        assert_eq!(time(i64::MAX), "9999-12-31T23:59:59.999Z");
        assert_eq!(time(i64::MIN), "0000-01-01T00:00:00.000Z");
    }

    #[test]
    fn payloads_that_are_no_json_are_text_if_they_claim_it_and_are() {
        let form = |content_type, bytes| {
            BodyForm::of(&Data::Bytes {
                content_type,
                bytes,
            })
        };
        for text in [
            "text/plain",
            "Text/XML; charset=utf-8",
            "application/xml",
            "application/atom+xml",
            "application/json",
            "application/x-www-form-urlencoded",
        ] {
            assert_eq!(form(text, b"<a/>"), BodyForm::Text, "{text}");
            assert_eq!(form(text, b"\xff"), BodyForm::Base64, "{text}");
        }
        for other in ["application/octet-stream", "image/png", "", "xml"] {
            assert_eq!(form(other, b"abc"), BodyForm::Base64, "{other}");
        }
        assert_eq!(BodyForm::of(&Data::Json(b"{}")), BodyForm::Json);
    }

    proptest! {
        #[test]
        fn json_reads_back_byte_for_byte(text in "[ -~\n\r\té🛫\"\\\\{}]*") {
            prop_assert_eq!(body(BodyForm::Json, text.as_bytes()), text);
        }

        #[test]
        fn text_reads_back_after_two_decodings(text in any::<String>()) {
            let once = body(BodyForm::Text, text.as_bytes());
            prop_assert_eq!(serde_json::from_str::<String>(&once).unwrap(), text);
        }

        #[test]
        fn bytes_read_back_from_base64(bytes in prop::collection::vec(any::<u8>(), 0..100)) {
            let once = body(BodyForm::Base64, &bytes);
            let text: String = serde_json::from_str(&once).unwrap();
            prop_assert_eq!(STANDARD.decode(text).unwrap(), bytes);
        }
    }
}
