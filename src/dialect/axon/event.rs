//! Events as Synapse shows them, and what is kept of one beside what every event has.
//!
//! What only Axon knows stands in the event's metadata, an object with these members, each there if
//! it was given: `aggregateType`; `payloadRevision`; `contentType` of JSON that was published as
//! something more special than `application/json`; `metaData`, as it was published; and of an event
//! that belongs to no aggregate, though one was named, `aggregateId` and `sequenceNumber`.

use std::borrow::Cow;

use crate::app::{Data, Event};
use crate::json::write::{base64, maybe_number, maybe_string, number, string};
use crate::json::{Fault, FaultKind, Reader};
use crate::time;

/// Writes a time as an ISO 8601 text in UTC with milliseconds, without quotes: that is how precise
/// times are in Axon, and the form its clients are used to. The log keeps microseconds.
pub(super) fn write_time(out: &mut Vec<u8>, time_us: i64) {
    const WHOLE_LEN: usize = "2022-09-22T21:37:00".len();
    let mut text = Vec::with_capacity(WHOLE_LEN + 8);
    time::write(&mut text, time_us);
    // Without the `Z`, a point and the digits behind it are left, if there are any.
    let digits = text
        .strip_suffix(b"Z")
        .and_then(|text| text.get(WHOLE_LEN + 1..))
        .unwrap_or_default();
    out.extend_from_slice(text.get(..WHOLE_LEN).unwrap_or(&text));
    out.push(b'.');
    out.extend(digits.iter().copied().chain([b'0'; 3]).take(3));
    out.push(b'Z');
}

/// What is kept of an event in its metadata.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Kept<'a> {
    /// The aggregate's type.
    pub(super) aggregate_type: Option<Cow<'a, str>>,
    /// Of an event that belongs to no aggregate.
    pub(super) aggregate_id: Option<Cow<'a, str>>,
    /// Of an event that belongs to no aggregate.
    pub(super) sequence: Option<u64>,
    /// The revision of the payload's type.
    pub(super) payload_revision: Option<Cow<'a, str>>,
    /// Of a payload that is JSON, if it says more than that.
    pub(super) content_type: Option<Cow<'a, str>>,
    /// A JSON object of strings.
    pub(super) meta_data: Option<Cow<'a, str>>,
}

const KEPT_MEMBERS: &[&str] = &[
    "aggregateType",
    "aggregateId",
    "sequenceNumber",
    "payloadRevision",
    "contentType",
    "metaData",
];

impl<'a> Kept<'a> {
    /// The metadata to store; none if there is nothing to keep.
    pub(super) fn to_metadata(&self) -> Option<Vec<u8>> {
        if *self == Self::default() {
            return None;
        }
        let mut out = Vec::new();
        for (name, text) in [
            ("aggregateType", &self.aggregate_type),
            ("aggregateId", &self.aggregate_id),
        ] {
            member(&mut out, name, text.as_deref());
        }
        if let Some(sequence) = self.sequence {
            begin_member(&mut out, "sequenceNumber");
            number(&mut out, sequence);
        }
        for (name, text) in [
            ("payloadRevision", &self.payload_revision),
            ("contentType", &self.content_type),
        ] {
            member(&mut out, name, text.as_deref());
        }
        if let Some(meta_data) = &self.meta_data {
            begin_member(&mut out, "metaData");
            out.extend_from_slice(meta_data.as_bytes());
        }
        out.push(b'}');
        Some(out)
    }

    /// What is kept of an event, whichever door it came through. Of the metadata that other doors
    /// keep, the members that are strings are its `metaData`.
    pub(super) fn of(event: &Event<'a>) -> Self {
        let metadata = event
            .metadata
            .and_then(|bytes| std::str::from_utf8(bytes).ok());
        let Some(metadata) = metadata else {
            return Self::default();
        };
        Self::read(metadata).unwrap_or_else(|_of_another_door| Self {
            meta_data: strings_of(metadata).ok().map(Cow::Owned),
            ..Self::default()
        })
    }

    /// Reads metadata that has no other members than ours, each of its own kind.
    fn read(metadata: &'a str) -> Result<Self, Fault> {
        let mut kept = Self::default();
        let mut reader = Reader::new(metadata, 0);
        let mut object = reader.object().ok_or_else(not_ours)?;
        while let Some(name) = object.next(&mut reader, KEPT_MEMBERS)? {
            match name {
                "sequenceNumber" => {
                    kept.sequence = Some(reader.whole_number()?.ok_or_else(not_ours)?);
                }
                "metaData" => {
                    kept.meta_data = Some(Cow::Borrowed(object_of_strings(&mut reader)?));
                }
                _ => {
                    let text = Some(reader.string()?.ok_or_else(not_ours)?);
                    match name {
                        "aggregateType" => kept.aggregate_type = text,
                        "aggregateId" => kept.aggregate_id = text,
                        "payloadRevision" => kept.payload_revision = text,
                        _ => kept.content_type = text,
                    }
                }
            }
        }
        Ok(kept)
    }
}

fn not_ours() -> Fault {
    Fault::new(FaultKind::Member, 0, "it is not of this door")
}

fn begin_member(out: &mut Vec<u8>, name: &str) {
    out.push(if out.is_empty() { b'{' } else { b',' });
    string(out, name);
    out.push(b':');
}

fn member(out: &mut Vec<u8>, name: &str, text: Option<&str>) {
    if let Some(text) = text {
        begin_member(out, name);
        string(out, text);
    }
}

/// Reads an object whose values are all strings, as it stands.
pub(super) fn object_of_strings<'a>(reader: &mut Reader<'a>) -> Result<&'a str, Fault> {
    let wrong = |offset| {
        Fault::new(
            FaultKind::Member,
            offset,
            "an object whose values are all strings was expected",
        )
    };
    let offset = reader.offset();
    let before = reader.clone();
    let Some(mut object) = reader.object() else {
        // What is no JSON at all is told so first.
        reader.value()?;
        return Err(wrong(offset));
    };
    while object.next_any(reader)?.is_some() {
        let offset = reader.offset();
        if reader.string()?.is_none() {
            reader.value()?;
            return Err(wrong(offset));
        }
    }
    Ok(before.until(reader))
}

/// The members of an object that are strings, as an object.
fn strings_of(metadata: &str) -> Result<String, Fault> {
    let mut out = Vec::new();
    let mut reader = Reader::new(metadata, 0);
    let mut object = reader.object().ok_or_else(not_ours)?;
    while let Some(name) = object.next_any(&mut reader)? {
        let is_string = reader.peek() == Some(b'"');
        let value = reader.value()?;
        if is_string {
            begin_member(&mut out, &name);
            out.extend_from_slice(value.as_bytes());
        }
    }
    if out.is_empty() {
        out.push(b'{');
    }
    out.push(b'}');
    String::from_utf8(out).map_err(|_| not_ours())
}

/// An event as Synapse sees it.
#[derive(Clone, Debug)]
pub(super) struct EventMessage<'e, 'a> {
    event: &'e Event<'a>,
    kept: Kept<'a>,
}

impl<'e, 'a> EventMessage<'e, 'a> {
    /// The event, whichever door it came through.
    pub(super) fn of(event: &'e Event<'a>) -> Self {
        Self {
            event,
            kept: Kept::of(event),
        }
    }

    /// Its position in the context, from 0.
    pub(super) fn index(&self) -> u64 {
        self.event.id.get() - 1
    }

    /// The aggregate's id, if one was named.
    pub(super) fn aggregate_id(&self) -> Option<&str> {
        match self.event.aggregate() {
            Some((id, _)) => Some(id),
            None => self.kept.aggregate_id.as_deref(),
        }
    }

    /// The aggregate's type, if one was named.
    pub(super) fn aggregate_type(&self) -> Option<&str> {
        self.kept.aggregate_type.as_deref()
    }

    /// Its position in the aggregate, or what was published as such.
    pub(super) fn sequence(&self) -> Option<u64> {
        match self.event.aggregate() {
            Some((_, sequence)) => Some(sequence),
            None => self.kept.sequence,
        }
    }

    /// The revision of its payload's type.
    pub(super) fn payload_revision(&self) -> Option<&str> {
        self.kept.payload_revision.as_deref()
    }

    /// When it happened, in microseconds since 1970.
    pub(super) fn time_us(&self) -> i64 {
        let recorded_at_us = i64::try_from(self.event.recorded_at_us).unwrap_or(i64::MAX);
        self.event.time_us.unwrap_or(recorded_at_us)
    }

    /// What its payload was published as.
    pub(super) fn content_type(&self) -> &str {
        match self.event.data {
            Data::Json(_) => self
                .kept
                .content_type
                .as_deref()
                .unwrap_or(APPLICATION_JSON),
            Data::Bytes { content_type, .. } => content_type,
        }
    }

    /// Writes it as JSON, with the members and their order that clients of Synapse know.
    pub(super) fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(b"{\"name\":");
        string(out, self.event.event_type);
        out.extend_from_slice(b",\"aggregateId\":");
        maybe_string(out, self.aggregate_id());
        out.extend_from_slice(b",\"aggregateType\":");
        maybe_string(out, self.aggregate_type());
        out.extend_from_slice(b",\"sequenceNumber\":");
        maybe_number(out, self.sequence());
        out.extend_from_slice(b",\"dateTime\":\"");
        write_time(out, self.time_us());
        out.extend_from_slice(b"\",\"index\":");
        number(out, self.index());
        out.extend_from_slice(b",\"id\":");
        string(out, &self.event.uid.to_string());
        out.extend_from_slice(b",\"metaData\":");
        let meta_data = self.kept.meta_data.as_deref().unwrap_or("{}");
        out.extend_from_slice(meta_data.as_bytes());
        out.extend_from_slice(b",\"payload\":");
        write_payload(out, self.event.data);
        out.extend_from_slice(b",\"payloadType\":");
        string(out, self.event.event_type);
        out.extend_from_slice(b",\"payloadRevision\":");
        maybe_string(out, self.payload_revision());
        out.push(b'}');
    }
}

/// JSON as it is; text as a string; all else, and text that is not UTF-8, as base64.
fn write_payload(out: &mut Vec<u8>, data: Data<'_>) {
    match data {
        Data::Json(json) => out.extend_from_slice(json),
        Data::Bytes {
            content_type,
            bytes,
        } => match simdutf8::basic::from_utf8(bytes) {
            Ok(text) if is_text(content_type) => string(out, text),
            Ok(_) | Err(_) => {
                out.push(b'"');
                base64(out, bytes);
                out.push(b'"');
            }
        },
    }
}

/// The content type of most payloads.
pub(super) const APPLICATION_JSON: &str = "application/json";

/// Type and subtype of a content type, in lower case.
fn essence(content_type: &str) -> String {
    let essence = content_type.split(';').next().unwrap_or_default();
    essence.trim().to_ascii_lowercase()
}

/// Whether a content type says that the payload is JSON.
pub(super) fn is_json(content_type: &str) -> bool {
    let essence = essence(content_type);
    essence == APPLICATION_JSON || essence.ends_with("+json")
}

/// Whether a content type says that the payload is text. What claims to be JSON is, though it may
/// be none.
fn is_text(content_type: &str) -> bool {
    let essence = essence(content_type);
    essence.starts_with("text/")
        || essence == "application/xml"
        || essence.ends_with("+xml")
        || is_json(content_type)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(time_us: i64) -> String {
        let mut out = b">".to_vec();
        write_time(&mut out, time_us);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn times_have_milliseconds() {
        assert_eq!(written(0), ">1970-01-01T00:00:00.000Z");
        assert_eq!(written(500_000), ">1970-01-01T00:00:00.500Z");
        assert_eq!(written(1_000), ">1970-01-01T00:00:00.001Z");
        assert_eq!(written(10_999), ">1970-01-01T00:00:00.010Z");
        assert_eq!(written(-1), ">1969-12-31T23:59:59.999Z");
        assert_eq!(written(i64::MAX), ">9999-12-31T23:59:59.999Z");
    }

    #[test]
    fn what_is_kept_reads_back() {
        let kept = Kept {
            aggregate_type: Some("Gift \"card\"".into()),
            aggregate_id: Some("A".into()),
            sequence: Some(7),
            payload_revision: Some("1.0".into()),
            content_type: Some("application/vnd.a+json".into()),
            meta_data: Some(r#"{ "k" : "v\n" }"#.into()),
        };
        let metadata = kept.to_metadata().unwrap();
        let text = std::str::from_utf8(&metadata).unwrap();
        assert_eq!(Kept::read(text), Ok(kept));
        assert!(serde_json::from_str::<serde_json::Value>(text).is_ok());
        assert_eq!(Kept::default().to_metadata(), None);
        let alone = Kept {
            sequence: Some(0),
            ..Kept::default()
        };
        assert_eq!(alone.to_metadata().unwrap(), br#"{"sequenceNumber":0}"#);
    }

    #[test]
    fn of_foreign_metadata_the_strings_are_left() {
        for foreign in [
            r#"{"user":"u"}"#,
            r#"{"aggregateType":1}"#,
            r#"{"metaData":{"a":1}}"#,
            r#"{"sequenceNumber":-1}"#,
        ] {
            assert!(Kept::read(foreign).is_err(), "{foreign}");
        }
        for (metadata, strings) in [
            (
                r#"{ "a" : "1\u00e9", "b": 2, "c": {"d": "e"} , "f":""}"#,
                r#"{"a":"1\u00e9","f":""}"#,
            ),
            (r#"{"a":1}"#, "{}"),
            ("{}", "{}"),
        ] {
            assert_eq!(strings_of(metadata).unwrap(), strings);
        }
    }

    #[test]
    fn payloads_look_as_their_content_type_says() {
        let written = |content_type, bytes| {
            let mut out = Vec::new();
            write_payload(
                &mut out,
                Data::Bytes {
                    content_type,
                    bytes,
                },
            );
            String::from_utf8(out).unwrap()
        };
        for text in [
            "text/plain",
            "TEXT/XML; charset=utf-8",
            "application/xml",
            "image/svg+xml",
            "application/json",
            "application/vnd.a+json; v=1",
        ] {
            assert_eq!(written(text, b"<a>"), "\"<a>\"", "{text}");
            assert_eq!(written(text, b"\xff"), "\"/w==\"", "{text}");
        }
        for binary in ["application/octet-stream", "image/png", "application/jsonp"] {
            assert_eq!(written(binary, b"<a>"), "\"PGE+\"", "{binary}");
        }
    }
}
