//! The body of a publish: events as a client writes them.
//!
//! An event is `{"stream","type","data","metadata"?,"tags"?,"eventId"?,"time"?,
//! "expectedSequence"?,"idempotencyKey"?}`; in place of `data`, a payload that is not JSON is
//! `"dataBase64"` with `"contentType"`, as it is read back. `null` for an optional member means that
//! it is absent. `data` is stored byte for byte, numbers included.

use std::borrow::Cow;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::app::limits::{BATCH_EVENTS_MAX, DATA_LEN_MAX, EVENT_TAGS_MAX, METADATA_LEN_MAX};
use crate::app::name::{
    ContentType, EventType, EventUid, IdempotencyKey, NameError, StreamName, TagLabel,
};
use crate::app::publish::{Fingerprint, KeyOrigin, Keyed, NewEvent, Unless};
use crate::app::{Data, Filter};

use crate::json::{Fault, FaultKind, Reader};
use crate::time;

/// The form of a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// One event, an array of events, or an object with events and conditions.
    Json,
    /// One event a line; lines without one are passed over.
    Ndjson,
}

/// A body, read and checked.
#[derive(Debug)]
pub struct Parsed<'a> {
    /// Its events, at least one.
    pub events: Vec<WireEvent<'a>>,
    /// Its conditions.
    pub conditions: Vec<Unless>,
}

/// An event as it was sent.
#[derive(Debug)]
pub struct WireEvent<'a> {
    /// All of it, for its fingerprint.
    raw: &'a str,
    /// The stream it goes to.
    pub stream: StreamName<'a>,
    event_type: EventType<'a>,
    payload: Payload<'a>,
    metadata: Option<&'a str>,
    tags: Vec<TagLabel<'a>>,
    uid: Option<EventUid<'a>>,
    time_us: Option<i64>,
    expected_sequence: Option<u64>,
    key: Option<IdempotencyKey<'a>>,
}

#[derive(Debug)]
enum Payload<'a> {
    Json(&'a str),
    Bytes {
        content_type: ContentType<'a>,
        bytes: Vec<u8>,
    },
}

impl WireEvent<'_> {
    /// The event as the product takes it.
    #[must_use]
    pub fn to_new(&self) -> NewEvent<'_> {
        let data = match &self.payload {
            Payload::Json(text) => Data::Json(text.as_bytes()),
            Payload::Bytes {
                content_type,
                bytes,
            } => Data::Bytes {
                content_type: content_type.as_str(),
                bytes,
            },
        };
        NewEvent {
            metadata: self.metadata.map(str::as_bytes),
            tags: self.tags.iter().map(TagLabel::by_ref).collect(),
            uid: self.uid.as_ref().map(EventUid::by_ref),
            time_us: self.time_us,
            expected_sequence: self.expected_sequence,
            key: self.key.as_ref().map(|key| Keyed {
                key: key.by_ref(),
                origin: KeyOrigin::Given,
                fingerprint: Fingerprint::of(&[
                    self.raw.as_bytes(),
                    self.stream.as_str().as_bytes(),
                ]),
            }),
            ..NewEvent::new(self.stream.by_ref(), self.event_type.by_ref(), data)
        }
    }
}

/// Reads a body. `stream` is the one that the path names; events need not name it again, and may
/// not name another.
///
/// # Errors
///
/// The first [`Fault`], with the index of its event and, of lines, the line.
pub fn parse<'a>(
    text: &'a str,
    form: Form,
    stream: Option<&StreamName<'a>>,
) -> Result<Parsed<'a>, Fault> {
    let mut parsed = Parsed {
        events: Vec::new(),
        conditions: Vec::new(),
    };
    match form {
        Form::Ndjson => lines(text, stream, &mut parsed)?,
        Form::Json => {
            let mut reader = Reader::new(text, 0);
            document(&mut reader, stream, &mut parsed)?;
            reader.finish()?;
        }
    }
    if parsed.events.is_empty() {
        return Err(Fault::new(
            FaultKind::NoEvents,
            0,
            "there are no events in it",
        ));
    }
    Ok(parsed)
}

fn lines<'a>(
    text: &'a str,
    stream: Option<&StreamName<'a>>,
    parsed: &mut Parsed<'a>,
) -> Result<(), Fault> {
    let mut base = 0;
    for (number, line) in text.split('\n').enumerate() {
        let mut reader = Reader::new(line, base);
        base += line.len() + 1;
        if reader.peek().is_none() {
            continue;
        }
        push_event(&mut reader, stream, parsed)
            .and_then(|()| {
                reader
                    .finish()
                    .map_err(|fault| with_index(fault, parsed.events.len() - 1))
            })
            .map_err(|fault| Fault {
                line: Some(number + 1),
                ..fault
            })?;
    }
    Ok(())
}

fn document<'a>(
    reader: &mut Reader<'a>,
    stream: Option<&StreamName<'a>>,
    parsed: &mut Parsed<'a>,
) -> Result<(), Fault> {
    match reader.peek() {
        Some(b'[') => events(reader, stream, parsed),
        Some(b'{') if is_batch(reader.clone())? => batch(reader, stream, parsed),
        Some(b'{') => push_event(reader, stream, parsed),
        _ => {
            let offset = reader.offset();
            // What is no JSON at all is told so first.
            reader.value()?;
            Err(Fault::new(
                FaultKind::Member,
                offset,
                "an event, an array of events, or an object with events was expected",
            ))
        }
    }
}

/// Whether the object is a batch: its first member is one of a batch's. An event has none of them.
fn is_batch(mut reader: Reader<'_>) -> Result<bool, Fault> {
    let Some(mut object) = reader.object() else {
        return Ok(false);
    };
    let name = object.next(&mut reader, BATCH_MEMBERS);
    match name {
        Ok(name) => Ok(name.is_some()),
        Err(fault) if fault.kind == FaultKind::UnknownMember => Ok(false),
        Err(fault) => Err(fault),
    }
}

const BATCH_MEMBERS: &[&str] = &["events", "conditions"];

fn batch<'a>(
    reader: &mut Reader<'a>,
    stream: Option<&StreamName<'a>>,
    parsed: &mut Parsed<'a>,
) -> Result<(), Fault> {
    let mut object = reader
        .object()
        .ok_or_else(|| expected(reader.clone(), "an object"))?;
    while let Some(member) = object.next(reader, BATCH_MEMBERS)? {
        match member {
            "events" => events(reader, stream, parsed)?,
            _ => conditions(reader, parsed).map_err(|fault| fault.of("conditions"))?,
        }
    }
    Ok(())
}

fn events<'a>(
    reader: &mut Reader<'a>,
    stream: Option<&StreamName<'a>>,
    parsed: &mut Parsed<'a>,
) -> Result<(), Fault> {
    let mut array = reader
        .array()
        .ok_or_else(|| expected(reader.clone(), "an array of events").of("events"))?;
    while array.next(reader)? {
        push_event(reader, stream, parsed)?;
    }
    Ok(())
}

fn push_event<'a>(
    reader: &mut Reader<'a>,
    stream: Option<&StreamName<'a>>,
    parsed: &mut Parsed<'a>,
) -> Result<(), Fault> {
    let index = parsed.events.len();
    if index == BATCH_EVENTS_MAX {
        return Err(Fault::new(
            FaultKind::TooManyEvents,
            reader.offset(),
            format!("it has more than {BATCH_EVENTS_MAX} events"),
        ));
    }
    let event = event(reader, stream).map_err(|fault| with_index(fault, index))?;
    parsed.events.push(event);
    Ok(())
}

fn with_index(fault: Fault, index: usize) -> Fault {
    Fault {
        index: Some(index),
        ..fault
    }
}

const EVENT_MEMBERS: &[&str] = &[
    "stream",
    "type",
    "data",
    "metadata",
    "tags",
    "eventId",
    "time",
    "expectedSequence",
    "idempotencyKey",
    "dataBase64",
    "contentType",
];

fn event<'a>(
    reader: &mut Reader<'a>,
    path_stream: Option<&StreamName<'a>>,
) -> Result<WireEvent<'a>, Fault> {
    let start = reader.offset();
    let whole = reader.clone();
    let mut object = reader
        .object()
        .ok_or_else(|| expected(reader.clone(), "an event, which is an object,"))?;
    let (mut stream, mut event_type, mut data) = (None, None, None);
    let (mut metadata, mut uid, mut time_us) = (None, None, None);
    let (mut expected_sequence, mut key) = (None, None);
    let (mut bytes, mut content_type) = (None, None);
    let mut tags = Vec::new();
    while let Some(member) = object.next(reader, EVENT_MEMBERS)? {
        let optional = !matches!(member, "stream" | "type" | "data");
        if optional && reader.null() {
            continue;
        }
        let read = match member {
            "stream" => name(reader, StreamName::new).map(|name| stream = Some(name)),
            "type" => name(reader, EventType::new).map(|name| event_type = Some(name)),
            "data" => payload(reader, DATA_LEN_MAX).map(|text| data = Some(text)),
            "metadata" if reader.peek() != Some(b'{') => Err(expected(reader.clone(), "an object")),
            "metadata" => payload(reader, METADATA_LEN_MAX).map(|text| metadata = Some(text)),
            "tags" => labels(reader).map(|labels| tags = labels),
            "eventId" => name(reader, EventUid::new).map(|name| uid = Some(name)),
            "time" => instant(reader).map(|time| time_us = Some(time)),
            "expectedSequence" => {
                whole_number(reader).map(|number| expected_sequence = Some(number))
            }
            "idempotencyKey" => name(reader, IdempotencyKey::new).map(|name| key = Some(name)),
            "dataBase64" => base64(reader).map(|decoded| bytes = Some(decoded)),
            _ => media_type(reader).map(|name| content_type = Some(name)),
        };
        read.map_err(|fault| fault.of(member))?;
    }
    let missing = |member: &str| {
        Fault::new(
            FaultKind::Member,
            start,
            format!("the event has no member '{member}'"),
        )
        .of(member)
    };
    let stream = match (stream, path_stream) {
        (Some(stream), Some(of_path)) if stream != *of_path => {
            return Err(Fault::new(
                FaultKind::Member,
                start,
                "the event names another stream than the path",
            )
            .of("stream"));
        }
        (Some(stream), _) => stream,
        (None, Some(of_path)) => of_path.clone(),
        (None, None) => return Err(missing("stream")),
    };
    let payload = match (data, bytes, content_type) {
        (Some(text), None, None) => Payload::Json(text),
        (None, Some(bytes), Some(content_type)) => Payload::Bytes {
            content_type,
            bytes,
        },
        (None, Some(_), None) => return Err(missing("contentType")),
        (None, None, Some(_)) => return Err(missing("dataBase64")),
        (None, None, None) => return Err(missing("data")),
        (Some(_), ..) => {
            return Err(Fault::new(
                FaultKind::Member,
                start,
                "the event has 'data', and 'dataBase64' or 'contentType' as well",
            )
            .of("data"));
        }
    };
    Ok(WireEvent {
        raw: whole.until(reader),
        stream,
        event_type: event_type.ok_or_else(|| missing("type"))?,
        payload,
        metadata,
        tags,
        uid,
        time_us,
        expected_sequence,
        key,
    })
}

/// The fault of a value that is not of the right kind.
pub(super) fn expected(mut reader: Reader<'_>, what: &str) -> Fault {
    let offset = reader.offset();
    // What is no JSON at all is told so first.
    if let Err(fault) = reader.value() {
        return fault;
    }
    Fault::new(FaultKind::Member, offset, format!("{what} was expected"))
}

/// Reads a name by its own rules.
pub(super) fn name<'a, N>(
    reader: &mut Reader<'a>,
    new: impl FnOnce(Cow<'a, str>) -> Result<N, NameError>,
) -> Result<N, Fault> {
    let offset = reader.offset();
    let text = reader
        .string()?
        .ok_or_else(|| expected(reader.clone(), "a string"))?;
    new(text).map_err(|error| Fault::new(FaultKind::Name, offset, error.to_string()))
}

/// Reads a content type: `type/subtype`, with or without parameters (RFC 9110, section 8.3.1).
fn media_type<'a>(reader: &mut Reader<'a>) -> Result<ContentType<'a>, Fault> {
    let start = reader.clone();
    let name = name(reader, ContentType::new)?;
    let essence = name.as_str().split(';').next().unwrap_or_default().trim();
    let is_token = |text: &str| {
        let in_token =
            |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
        !text.is_empty() && text.bytes().all(in_token)
    };
    match essence.split_once('/') {
        Some((kind, subtype)) if is_token(kind) && is_token(subtype) => Ok(name),
        _ => Err(expected(start, "a content type like \"image/png\"")),
    }
}

/// Reads a whole number.
pub(super) fn whole_number(reader: &mut Reader<'_>) -> Result<u64, Fault> {
    reader
        .whole_number()?
        .ok_or_else(|| expected(reader.clone(), "a whole number from 0 to 2^63 - 1"))
}

/// Reads an array of names.
pub(super) fn names<'a, N>(
    reader: &mut Reader<'a>,
    count_max: usize,
    new: impl Fn(Cow<'a, str>) -> Result<N, NameError>,
) -> Result<Vec<N>, Fault> {
    let mut names = Vec::new();
    let mut array = reader
        .array()
        .ok_or_else(|| expected(reader.clone(), "an array of strings"))?;
    while array.next(reader)? {
        if names.len() == count_max {
            return Err(Fault::new(
                FaultKind::Member,
                reader.offset(),
                format!("there are more than {count_max}"),
            ));
        }
        names.push(name(reader, &new)?);
    }
    Ok(names)
}

fn payload<'a>(reader: &mut Reader<'a>, len_max: usize) -> Result<&'a str, Fault> {
    let offset = reader.offset();
    let text = reader.value()?;
    if text.len() > len_max {
        return Err(too_long(offset, text.len(), len_max));
    }
    Ok(text)
}

fn too_long(offset: usize, len: usize, len_max: usize) -> Fault {
    Fault::new(
        FaultKind::TooLarge,
        offset,
        format!("it has {len} bytes, more than {len_max}"),
    )
}

fn labels<'a>(reader: &mut Reader<'a>) -> Result<Vec<TagLabel<'a>>, Fault> {
    let offset = reader.offset();
    let labels = names(reader, EVENT_TAGS_MAX, TagLabel::new)?;
    // At most 32, so comparing all with all is cheaper than a set.
    for (index, label) in labels.iter().enumerate() {
        if labels.iter().take(index).any(|earlier| earlier == label) {
            return Err(Fault::new(
                FaultKind::Member,
                offset,
                format!("the tag '{label}' is there twice"),
            ));
        }
    }
    Ok(labels)
}

fn instant(reader: &mut Reader<'_>) -> Result<i64, Fault> {
    let start = reader.clone();
    let text = reader.string()?;
    text.and_then(|text| time::read(&text)).ok_or_else(|| {
        expected(
            start,
            "a time like \"2013-01-01T05:15:00-05:00\" (RFC 3339, with its offset)",
        )
    })
}

fn base64(reader: &mut Reader<'_>) -> Result<Vec<u8>, Fault> {
    let start = reader.clone();
    let offset = reader.offset();
    let text = reader.string()?;
    let bytes = text
        .and_then(|text| STANDARD.decode(text.as_bytes()).ok())
        .ok_or_else(|| expected(start, "base64 with padding"))?;
    if bytes.len() > DATA_LEN_MAX {
        return Err(too_long(offset, bytes.len(), DATA_LEN_MAX));
    }
    Ok(bytes)
}

fn conditions(reader: &mut Reader<'_>, parsed: &mut Parsed<'_>) -> Result<(), Fault> {
    let mut array = reader
        .array()
        .ok_or_else(|| expected(reader.clone(), "an array of conditions"))?;
    while array.next(reader)? {
        if parsed.conditions.len() == crate::app::limits::CONDITIONS_MAX {
            return Err(Fault::new(
                FaultKind::Member,
                reader.offset(),
                format!("there are more than {}", crate::app::limits::CONDITIONS_MAX),
            ));
        }
        let condition = condition(reader)?;
        parsed.conditions.push(condition);
    }
    Ok(())
}

fn condition(reader: &mut Reader<'_>) -> Result<Unless, Fault> {
    let start = reader.clone();
    let mut object = reader
        .object()
        .ok_or_else(|| expected(start.clone(), "a condition, which is an object,"))?;
    let mut query = None;
    let mut after = 0;
    while let Some(member) = object.next(reader, &["query", "after"])? {
        let read = match member {
            "query" => filter(reader, QUERY_MEMBERS).map(|filter| query = Some(filter)),
            _ => whole_number(reader).map(|number| after = number),
        };
        read.map_err(|fault| fault.of(member))?;
    }
    let filter = query.ok_or_else(|| expected(start, "a condition with a member 'query'"))?;
    Ok(Unless { filter, after })
}

/// The members of a condition's query.
const QUERY_MEMBERS: &[&str] = &["streams", "types", "tags"];

/// Reads a filter with these members: `stream` for one, `streams` for any of several, `types` for
/// any of them, `tags` for all of them.
pub(super) fn filter(reader: &mut Reader<'_>, members: &[&'static str]) -> Result<Filter, Fault> {
    let terms_max = crate::app::limits::QUERY_TERMS_MAX;
    let mut filter = Filter::default();
    let mut object = reader
        .object()
        .ok_or_else(|| expected(reader.clone(), "an object"))?;
    while let Some(member) = object.next(reader, members)? {
        if reader.null() {
            continue;
        }
        let read = match member {
            "stream" => {
                name(reader, StreamName::new).map(|name| filter.streams.push(name.into_owned()))
            }
            "streams" => names(reader, terms_max, StreamName::new).map(|names| {
                filter.streams = names.into_iter().map(StreamName::into_owned).collect();
            }),
            "types" => names(reader, terms_max, EventType::new).map(|names| {
                filter.types = names.into_iter().map(EventType::into_owned).collect();
            }),
            _ => names(reader, terms_max, TagLabel::new).map(|names| {
                filter.tags = names.into_iter().map(TagLabel::into_owned).collect();
            }),
        };
        read.map_err(|fault| fault.of(member))?;
    }
    Ok(filter)
}

#[cfg(test)]
mod tests;
