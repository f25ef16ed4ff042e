//! Events as publishers send them: one raw with headers, one as a message, many as a list.

use std::borrow::Cow;

use uuid::Builder;

use crate::app::Data;
use crate::app::limits::BATCH_EVENTS_MAX;
use crate::app::name::{AggregateId, EventType, EventUid, NameError, StreamName};
use crate::app::publish::{AggregateStep, NewEvent};
use crate::clock::Random;
use crate::json::{self, Fault, FaultKind, Reader};
use crate::time;

use super::event::{APPLICATION_JSON, Kept, is_json, object_of_strings};
use super::members::{checked, expected, string, whole_number};

/// What was sent of an event besides its name: the parts are checked, and not yet the whole.
#[derive(Debug)]
pub(super) struct Draft<'a> {
    pub(super) payload: Data<'a>,
    /// Of a payload that is JSON, if it says more than that.
    pub(super) content_type: Option<Cow<'a, str>>,
    pub(super) aggregate_id: Option<Cow<'a, str>>,
    pub(super) aggregate_type: Option<Cow<'a, str>>,
    pub(super) sequence: Option<u64>,
    pub(super) time_us: Option<i64>,
    pub(super) id: Option<EventUid<'a>>,
    /// A JSON object of strings.
    pub(super) meta_data: Option<&'a str>,
    pub(super) payload_revision: Option<Cow<'a, str>>,
}

impl<'a> Draft<'a> {
    /// A draft with a payload, and nothing else.
    pub(super) fn new(payload: Data<'a>) -> Self {
        Self {
            payload,
            content_type: None,
            aggregate_id: None,
            aggregate_type: None,
            sequence: None,
            time_us: None,
            id: None,
            meta_data: None,
            payload_revision: None,
        }
    }

    /// The event to publish. It belongs to an aggregate if both its type and its id are named; one
    /// that names no sequence number is to be the aggregate's first. The stream is then named like
    /// the aggregate, else like the event.
    ///
    /// # Errors
    ///
    /// What is wrong, in words.
    pub(super) fn finish(
        self,
        name: EventType<'a>,
        random: &dyn Random,
    ) -> Result<Incoming<'a>, Wrong> {
        let empty_is_absent = |text: Option<Cow<'a, str>>| text.filter(|text| !text.is_empty());
        let aggregate_type = empty_is_absent(self.aggregate_type);
        let mut kept = Kept {
            payload_revision: self.payload_revision,
            content_type: self.content_type,
            meta_data: self.meta_data.map(Cow::Borrowed),
            ..Kept::default()
        };
        let (stream, aggregate) = match (aggregate_type, empty_is_absent(self.aggregate_id)) {
            (Some(_), None) => {
                return Err(Wrong::Whole(
                    "the aggregate type is given without an aggregate id",
                ));
            }
            (Some(aggregate_type), Some(id)) => {
                let stream = id.clone();
                let id = AggregateId::new(id).map_err(Wrong::Name)?;
                let stream = StreamName::new(stream).map_err(Wrong::Name)?;
                kept.aggregate_type = Some(aggregate_type);
                let sequence = self.sequence.unwrap_or(0);
                (stream, Some(AggregateStep { id, sequence }))
            }
            (None, id) => {
                kept.aggregate_id = id;
                kept.sequence = self.sequence;
                let stream = StreamName::new(name.as_str().to_owned()).map_err(Wrong::Name)?;
                (stream, None)
            }
        };
        Ok(Incoming {
            stream,
            event_type: name,
            data: self.payload,
            aggregate,
            metadata: kept.to_metadata(),
            uid: match self.id {
                Some(id) => id,
                None => EventUid::new(new_uuid(random)).map_err(Wrong::Name)?,
            },
            time_us: self.time_us,
        })
    }
}

/// What is wrong with an event as a whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wrong {
    Name(NameError),
    Whole(&'static str),
}

impl std::fmt::Display for Wrong {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Name(error) => error.fmt(f),
            Self::Whole(what) => f.write_str(what),
        }
    }
}

/// A random UUID (version 4), as text.
pub(super) fn new_uuid(random: &dyn Random) -> String {
    let bytes = u128::from(random.next_u64()) << 64 | u128::from(random.next_u64());
    Builder::from_random_bytes(bytes.to_be_bytes())
        .into_uuid()
        .hyphenated()
        .to_string()
}

/// An event that can be published.
#[derive(Debug)]
pub(super) struct Incoming<'a> {
    stream: StreamName<'a>,
    event_type: EventType<'a>,
    data: Data<'a>,
    aggregate: Option<AggregateStep<'a>>,
    metadata: Option<Vec<u8>>,
    uid: EventUid<'a>,
    time_us: Option<i64>,
}

impl Incoming<'_> {
    /// The aggregate it belongs to.
    pub(super) fn aggregate_id(&self) -> Option<&str> {
        self.aggregate.as_ref().map(|step| step.id.as_str())
    }

    /// The same as the product takes it.
    pub(super) fn to_new(&self) -> NewEvent<'_> {
        NewEvent {
            metadata: self.metadata.as_deref(),
            uid: Some(self.uid.by_ref()),
            time_us: self.time_us,
            aggregate: self.aggregate.as_ref().map(|step| AggregateStep {
                id: step.id.by_ref(),
                sequence: step.sequence,
            }),
            ..NewEvent::new(self.stream.by_ref(), self.event_type.by_ref(), self.data)
        }
    }
}

/// The payload of an event that is sent raw, and its content type if that says more of JSON than
/// that it is JSON. What claims to be JSON and is none is kept as bytes.
pub(super) fn raw_payload<'a>(
    content_type: &'a str,
    bytes: &'a [u8],
) -> (Data<'a>, Option<Cow<'a, str>>) {
    if !is_json(content_type) || !is_json_text(bytes) {
        return (
            Data::Bytes {
                content_type,
                bytes,
            },
            None,
        );
    }
    let bare: String = content_type
        .chars()
        .filter(|c| !matches!(c, ' ' | '\t' | '"'))
        .collect();
    let is_plain = [APPLICATION_JSON, "application/json;charset=utf-8"]
        .iter()
        .any(|plain| bare.eq_ignore_ascii_case(plain));
    let kept = (!is_plain).then_some(Cow::Borrowed(content_type));
    (Data::Json(bytes), kept)
}

fn is_json_text(bytes: &[u8]) -> bool {
    let read = |text| {
        let mut reader = Reader::new(text, 0);
        reader.value()?;
        reader.finish()
    };
    json::text(bytes).and_then(read).is_ok()
}

/// Reads a body that is one message.
pub(super) fn one<'a>(body: &'a str, random: &dyn Random) -> Result<Incoming<'a>, Fault> {
    let mut reader = Reader::new(body, 0);
    let event = message(&mut reader, random)?;
    reader.finish()?;
    Ok(event)
}

/// Reads a body that is a list of messages: `{"items":[...]}`, or the array alone.
pub(super) fn list<'a>(body: &'a str, random: &dyn Random) -> Result<Vec<Incoming<'a>>, Fault> {
    const WANTED: &str = "a list of messages, {\"items\":[...]},";
    let mut reader = Reader::new(body, 0);
    let start = reader.clone();
    let events = match reader.object() {
        None => items(&mut reader, WANTED, random)?,
        Some(mut object) => {
            let mut events = None;
            while object.next_known(&mut reader, &["items"])?.is_some() {
                let read =
                    items(&mut reader, "an array of messages", random).map_err(
                        |fault| match fault.index {
                            Some(_) => fault,
                            None => fault.of("items"),
                        },
                    )?;
                events = Some(read);
            }
            events.ok_or_else(|| expected(start.clone(), WANTED))?
        }
    };
    reader.finish()?;
    if events.is_empty() {
        return Err(Fault::new(
            FaultKind::NoEvents,
            0,
            "the list has no messages",
        ));
    }
    Ok(events)
}

fn items<'a>(
    reader: &mut Reader<'a>,
    wanted: &str,
    random: &dyn Random,
) -> Result<Vec<Incoming<'a>>, Fault> {
    let mut array = reader
        .array()
        .ok_or_else(|| expected(reader.clone(), wanted))?;
    let mut events = Vec::new();
    while array.next(reader)? {
        let index = events.len();
        if index == BATCH_EVENTS_MAX {
            return Err(Fault::new(
                FaultKind::TooManyEvents,
                reader.offset(),
                format!("it has more than {BATCH_EVENTS_MAX} events"),
            ));
        }
        let event = message(reader, random).map_err(|fault| Fault {
            index: Some(index),
            ..fault
        })?;
        events.push(event);
    }
    Ok(events)
}

/// The members of a message. Others (`payloadType` and `index`, which only replies have, among
/// them) mean nothing.
const MESSAGE_MEMBERS: &[&str] = &[
    "name",
    "payload",
    "aggregateId",
    "aggregateType",
    "sequenceNumber",
    "dateTime",
    "id",
    "metaData",
    "payloadRevision",
];

fn message<'a>(reader: &mut Reader<'a>, random: &dyn Random) -> Result<Incoming<'a>, Fault> {
    let start = reader.offset();
    let mut object = reader
        .object()
        .ok_or_else(|| expected(reader.clone(), "a message, which is an object,"))?;
    let mut name = None;
    let mut draft = Draft::new(Data::Json(b"null"));
    while let Some(member) = object.next_known(reader, MESSAGE_MEMBERS)? {
        if reader.null() {
            continue;
        }
        let read = match member {
            "name" => checked(reader, EventType::new).map(|text| name = Some(text)),
            "payload" => reader
                .value()
                .map(|text| draft.payload = Data::Json(text.as_bytes())),
            "aggregateId" => string(reader).map(|text| draft.aggregate_id = Some(text)),
            "aggregateType" => string(reader).map(|text| draft.aggregate_type = Some(text)),
            "sequenceNumber" => whole_number(reader).map(|number| draft.sequence = Some(number)),
            "dateTime" => checked(reader, |text| date_time(&text))
                .map(|time_us| draft.time_us = Some(time_us)),
            "id" => checked(reader, message_id).map(|id| draft.id = id),
            "metaData" => object_of_strings(reader).map(|text| {
                let is_empty =
                    Reader::new(text.get(1..).unwrap_or_default(), 0).peek() == Some(b'}');
                draft.meta_data = (!is_empty).then_some(text);
            }),
            _ => string(reader).map(|text| draft.payload_revision = Some(text)),
        };
        read.map_err(|fault| fault.of(member))?;
    }
    let Some(name) = name else {
        let missing = Fault::new(FaultKind::Member, start, "the message has no name");
        return Err(missing.of("name"));
    };
    draft
        .finish(name, random)
        .map_err(|wrong| Fault::new(FaultKind::Member, start, wrong.to_string()))
}

/// The id of a message; an empty one is none.
fn message_id(text: Cow<'_, str>) -> Result<Option<EventUid<'_>>, NameError> {
    if text.is_empty() {
        return Ok(None);
    }
    EventUid::new(text).map(Some)
}

/// Reads a time in ISO 8601 with its offset from UTC, in microseconds since 1970. As Java writes
/// them, it may end with the minutes.
pub(super) fn date_time(text: &str) -> Result<i64, &'static str> {
    const MINUTES_LEN: usize = "2022-09-22T21:37".len();
    let seconds = match text.as_bytes().get(MINUTES_LEN) {
        Some(b'Z' | b'z' | b'+' | b'-') => {
            let (minutes, offset) = text.split_at_checked(MINUTES_LEN).unwrap_or((text, ""));
            Cow::Owned(format!("{minutes}:00{offset}"))
        }
        _ => Cow::Borrowed(text),
    };
    time::read(&seconds).ok_or(
        "a time in ISO 8601 with its offset, like \"2022-09-22T21:37:00.000+00:00\", was expected",
    )
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::clock::CountedRandom;

    fn fault(body: &str) -> Fault {
        let random = CountedRandom::new(1);
        one(body, &random).map(|_| ()).unwrap_err()
    }

    #[test]
    fn times_are_read_as_clients_write_them() {
        let want = 1_663_882_620_000_000;
        for text in [
            "2022-09-22T21:37:00.000+00:00",
            "2022-09-22T21:37:00Z",
            "2022-09-22T23:37:00+02:00",
            "2022-09-22T21:37Z",
            "2022-09-22T21:37+00:00",
        ] {
            assert_eq!(date_time(text), Ok(want), "{text}");
        }
        for bad in [
            "",
            "now",
            "2022-09-22",
            "2022-09-22T21:37",
            "2022-09-22T21:37:00",
            "1663882620",
            "2022-13-22T21:37:00Z",
        ] {
            assert!(date_time(bad).is_err(), "{bad}");
        }
        let wide = format!("{}Z", "\u{e9}".repeat(8));
        assert!(date_time(&wide).is_err());
    }

    #[test]
    fn the_fault_names_the_member_and_the_place() {
        for (body, member, offset) in [
            (r#"{"payload":{}}"#, Some("name"), 0),
            (r#"{"name":""}"#, Some("name"), 8),
            (r#"{"name":7}"#, Some("name"), 8),
            (
                r#"{"name":"n","sequenceNumber":-1}"#,
                Some("sequenceNumber"),
                29,
            ),
            (
                r#"{"name":"n","sequenceNumber":"1"}"#,
                Some("sequenceNumber"),
                29,
            ),
            (
                r#"{"name":"n","sequenceNumber":1.0}"#,
                Some("sequenceNumber"),
                29,
            ),
            (r#"{"name":"n","dateTime":"now"}"#, Some("dateTime"), 23),
            (r#"{"name":"n","metaData":{"a":1}}"#, Some("metaData"), 28),
            (r#"{"name":"n","metaData":[]}"#, Some("metaData"), 23),
            (r#"{"name":"n","aggregateType":"T"}"#, None, 0),
            (r#"{"name":"n","name":"n"}"#, Some("name"), 12),
            (r#"{"name":"n"} x"#, None, 13),
            ("[]", None, 0),
        ] {
            let fault = fault(body);
            assert_eq!(fault.member.as_deref(), member, "{body}: {fault:?}");
            assert_eq!(fault.offset, offset, "{body}: {fault:?}");
        }
    }

    #[test]
    fn a_list_has_at_most_ten_thousand_messages() {
        let random = CountedRandom::new(1);
        let body = |count: usize| format!("[{}]", vec![r#"{"name":"n"}"#; count].join(","));
        assert_eq!(list(&body(10_000), &random).unwrap().len(), 10_000);
        let fault = list(&body(10_001), &random).unwrap_err();
        assert_eq!(fault.kind, FaultKind::TooManyEvents);
    }

    #[test]
    fn made_ids_are_random_uuids() {
        let random = CountedRandom::new(1);
        let (one, other) = (new_uuid(&random), new_uuid(&random));
        assert_ne!(one, other);
        assert_eq!((one.len(), &one[14..15]), (36, "4"));
    }

    #[test]
    fn only_what_is_more_than_json_is_kept_of_its_content_type() {
        for (content_type, kept) in [
            ("application/json", None),
            ("Application/JSON", None),
            ("application/json; charset=UTF-8", None),
            ("application/json;charset=\"utf-8\"", None),
            ("application/json; v=1", Some("application/json; v=1")),
            ("application/vnd.a+json", Some("application/vnd.a+json")),
        ] {
            let (data, content_type) = raw_payload(content_type, b" {} ");
            assert_eq!(data, Data::Json(b" {} "));
            assert_eq!(content_type.as_deref(), kept);
        }
        for (content_type, bytes) in [
            ("application/json", &b"{"[..]),
            ("application/json", b""),
            ("application/json", b"\xef\xbb\xbf{}"),
            ("application/json", b"\"\xff\""),
            ("text/plain", b"{}"),
        ] {
            let want = Data::Bytes {
                content_type,
                bytes,
            };
            assert_eq!(raw_payload(content_type, bytes), (want, None));
        }
    }

    proptest! {
        #[test]
        fn no_body_makes_the_reader_panic(pieces in prop::collection::vec(piece(), 0..20)) {
            let body = pieces.concat();
            let random = CountedRandom::new(1);
            let is_json = serde_json::from_str::<serde_json::Value>(&body).is_ok();
            prop_assert!(is_json || one(&body, &random).is_err());
            prop_assert!(is_json || list(&body, &random).is_err());
        }
    }

    /// Pieces of messages, in any order.
    fn piece() -> impl Strategy<Value = &'static str> {
        prop::sample::select(vec![
            "{",
            "}",
            "[",
            "]",
            ",",
            ":",
            "\"items\":[",
            "{\"name\":\"n\"",
            ",\"metaData\":{",
            "\"a\":\"b\"",
            ",\"payload\":",
            ",\"sequenceNumber\":",
            ",\"id\":",
            ",\"dateTime\":\"2022-09-22T21:37Z\"",
            "\"\\ud83d\\udeeb\"",
            "1",
            "null",
            "\"",
            "\u{e9}",
        ])
    }
}
