//! The tags of an event, as docs/RECORDS.md describes them.
//!
//! A tag's first byte says what it stands for, so that names of different kinds never meet.

/// `s` + stream: always the first tag, so its rank is the event's sequence.
pub(super) const STREAM: u8 = b's';
/// `t` + type.
pub(super) const TYPE: u8 = b't';
/// `p` + stream + [`PAIR_GAP`] + type.
pub(super) const PAIR: u8 = b'p';
/// `u` + a tag of the publisher.
pub(super) const LABEL: u8 = b'u';
/// `k` + the idempotency key of the event.
pub(super) const KEY: u8 = b'k';
/// `g` + an idempotency key that a door made out of several names.
pub(super) const DERIVED_KEY: u8 = b'g';
/// `a` + aggregate: its rank is the event's sequence in the aggregate.
pub(super) const AGGREGATE: u8 = b'a';
/// `o` + stream, on every event that the stream's owner published.
pub(super) const OWNED: u8 = b'o';
/// `w` + stream + [`PAIR_GAP`] + the owner, on the same events.
pub(super) const WRITER: u8 = b'w';
/// `e` + the event's id, on events that are looked up by it.
pub(super) const UID: u8 = b'e';
/// `r` + the idempotency key of the request; on the first event stored for it.
pub(super) const REQUEST: u8 = b'r';

/// Stands between the two names of a pair; no name has control characters.
const PAIR_GAP: u8 = 0;

/// How many tags stand before the publisher's own.
pub(super) const BEFORE_LABELS: usize = 3;

/// The tag of this kind with this name.
pub(super) fn tag(kind: u8, name: &str) -> Vec<u8> {
    let mut tag = Vec::with_capacity(1 + name.len());
    push_tag(&mut tag, kind, name);
    tag
}

/// The tag of a stream and a type together.
pub(super) fn pair(stream: &str, event_type: &str) -> Vec<u8> {
    let mut tag = Vec::with_capacity(2 + stream.len() + event_type.len());
    push_pair(&mut tag, stream, event_type);
    tag
}

/// The tag of a stream and its owner together.
pub(super) fn writer(stream: &str, producer: &str) -> Vec<u8> {
    let mut tag = Vec::with_capacity(2 + stream.len() + producer.len());
    push_writer(&mut tag, stream, producer);
    tag
}

pub(super) fn push_tag(buffer: &mut Vec<u8>, kind: u8, name: &str) {
    buffer.push(kind);
    buffer.extend_from_slice(name.as_bytes());
}

pub(super) fn push_pair(buffer: &mut Vec<u8>, stream: &str, event_type: &str) {
    push_tag(buffer, PAIR, stream);
    buffer.push(PAIR_GAP);
    buffer.extend_from_slice(event_type.as_bytes());
}

pub(super) fn push_writer(buffer: &mut Vec<u8>, stream: &str, producer: &str) {
    push_tag(buffer, WRITER, stream);
    buffer.push(PAIR_GAP);
    buffer.extend_from_slice(producer.as_bytes());
}

/// The name in a tag, if the tag is of this kind.
pub(super) fn name_of(tag: &[u8], kind: u8) -> Option<&str> {
    match tag.split_first() {
        Some((first, name)) if *first == kind => std::str::from_utf8(name).ok(),
        Some(_) | None => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_different_kinds_make_different_tags() {
        assert_ne!(tag(STREAM, "a"), tag(TYPE, "a"));
        assert_ne!(pair("ab", "c"), pair("a", "bc"));
    }

    #[test]
    fn a_name_reads_back_from_a_tag_of_its_kind_only() {
        let tag = tag(STREAM, "é");
        assert_eq!(name_of(&tag, STREAM), Some("é"));
        assert_eq!(name_of(&tag, TYPE), None);
        assert_eq!(name_of(b"s\xff", STREAM), None);
        assert_eq!(name_of(b"", STREAM), None);
    }
}
