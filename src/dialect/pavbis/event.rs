//! How its events are ours, and ours are its.
//!
//! An event that came in through this door is kept as the JSON that goes out: the whole object, with
//! the bytes of its payload as they were sent. Of an event of another door the object is made when
//! it is read: its type is the name, its payload the payload.

use uuid::Uuid;

use crate::app::event::{Data, Event, Uid};
use crate::json::write;

use super::draft::Draft;
use super::ids;

/// The id under which this door shows an event.
pub(super) fn id_of(event: &Event<'_>) -> Uuid {
    let given = match event.uid {
        Uid::Uuid(bytes) => Some(Uuid::from_bytes(bytes)),
        Uid::Text(text) => ids::read(text),
    };
    given.unwrap_or_else(|| ids::of_position(event.id))
}

/// The event object of a draft.
pub(super) fn encode(draft: &Draft<'_>, id: &Uuid) -> Vec<u8> {
    let mut out = Vec::with_capacity(256 + draft.payload.len());
    push_head(&mut out, id, &draft.name, draft.version);
    out.extend_from_slice(b",\"system\":");
    push_texts(
        &mut out,
        [
            ("id", &draft.system.id),
            ("name", &draft.system.name),
            ("time", &draft.system.time),
            ("timezone", &draft.system.timezone),
        ],
    );
    out.extend_from_slice(b",\"trigger\":");
    push_texts(
        &mut out,
        [("type", &draft.trigger.kind), ("name", &draft.trigger.name)],
    );
    out.extend_from_slice(b",\"payload\":");
    out.extend_from_slice(draft.payload.as_bytes());
    out.push(b'}');
    out
}

/// Writes the event object of an event in the log.
pub(super) fn push(out: &mut Vec<u8>, event: &Event<'_>) {
    if event.is_of_owner()
        && let Data::Json(json) = event.data
    {
        out.extend_from_slice(json);
        return;
    }
    push_head(out, &id_of(event), event.event_type, 0);
    out.extend_from_slice(
        br#","system":{"id":"","name":"","time":"","timezone":""},"trigger":{"type":"","name":""},"payload":"#,
    );
    match event.data {
        Data::Json(json) => out.extend_from_slice(json),
        Data::Bytes { bytes, .. } => match std::str::from_utf8(bytes) {
            Ok(text) => write::string(out, text),
            Err(_) => {
                out.push(b'"');
                write::base64(out, bytes);
                out.push(b'"');
            }
        },
    }
    out.push(b'}');
}

fn push_head(out: &mut Vec<u8>, id: &Uuid, name: &str, version: i64) {
    out.extend_from_slice(b"{\"eventId\":");
    write::string(out, &id.to_string());
    out.extend_from_slice(b",\"event\":{\"name\":");
    write::string(out, name);
    out.extend_from_slice(b",\"version\":");
    out.extend_from_slice(version.to_string().as_bytes());
    out.push(b'}');
}

fn push_texts<const N: usize>(out: &mut Vec<u8>, members: [(&str, &str); N]) {
    let mut before = b'{';
    for (name, text) in members {
        out.push(before);
        write::string(out, name);
        out.push(b':');
        write::string(out, text);
        before = b',';
    }
    out.push(b'}');
}
