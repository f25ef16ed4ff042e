//! Events as JSON, written by hand into a buffer that is used again: replays are as fast as this.

use crate::app::{Data, Event, Uid};

use crate::json::write::{base64, number, string};
use crate::time;

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

#[cfg(test)]
mod tests {
    use super::*;

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
