//! An offset as a record: its tag says whose it is, its body where (docs/RECORDS.md, section 3).

use uuid::Uuid;

use crate::store::{Batch, BatchError, EventId, TAG_LEN_MAX, Tag};

use super::super::limits::NAME_LEN_MAX;
use super::super::name::{EventType, StreamName};

/// What the tags of offsets begin with. Another letter than any tag of an event, so that no look-up
/// of one kind meets the other.
const OFFSET: u8 = b'f';
/// Stands behind the stream; no name has control characters.
const GAP: u8 = 0;
/// The version of the body.
const VERSION: u8 = 1;
/// The bytes of a body.
const BODY_LEN: usize = 1 + 8 + 8 + 8;

const _: () = assert!(2 * NAME_LEN_MAX + 2 + 16 <= TAG_LEN_MAX);

/// Whose offset, and of what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OffsetKey<'a> {
    /// The stream.
    pub stream: StreamName<'a>,
    /// The consumer.
    pub consumer: Uuid,
    /// The type of the events that are counted.
    pub event_type: EventType<'a>,
}

/// Where a consumer is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Offset {
    /// How many events of the type it has done with.
    pub count: u64,
    /// The last of them, if it was known.
    pub last: Option<EventId>,
    /// When it came here, in microseconds since 1970 (UTC).
    pub moved_at_us: u64,
    /// How often it was kept so far: what the next record of it expects.
    pub(super) times: u64,
}

/// What the tags of a stream's offsets, or of all offsets, begin with.
pub(super) fn prefix(stream: Option<&StreamName<'_>>) -> Vec<u8> {
    let mut prefix = vec![OFFSET];
    if let Some(stream) = stream {
        prefix.extend_from_slice(stream.as_str().as_bytes());
        prefix.push(GAP);
    }
    prefix
}

/// Adds a record of an offset that was kept so many times before.
pub(super) fn push(
    batch: &mut Batch,
    tag: &[u8],
    times: u64,
    body: &[u8],
) -> Result<(), BatchError> {
    batch.push(&[Tag::expecting(tag, times)], &[body])
}

impl OffsetKey<'_> {
    pub(super) fn tag(&self) -> Vec<u8> {
        let mut tag = prefix(Some(&self.stream));
        tag.extend_from_slice(self.consumer.as_bytes());
        tag.extend_from_slice(self.event_type.as_str().as_bytes());
        tag
    }

    pub(super) fn of_tag(tag: &[u8]) -> Option<OffsetKey<'static>> {
        let names = tag.strip_prefix(&[OFFSET])?;
        let gap = names.iter().position(|byte| *byte == GAP)?;
        let (stream, rest) = names.split_at_checked(gap)?;
        let (consumer, event_type) = rest.get(1..)?.split_first_chunk::<16>()?;
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).ok();
        Some(OffsetKey {
            stream: StreamName::new(text(stream)?).ok()?,
            consumer: Uuid::from_bytes(*consumer),
            event_type: EventType::new(text(event_type)?).ok()?,
        })
    }
}

impl Offset {
    pub(super) fn encode(&self) -> [u8; BODY_LEN] {
        let numbers = [
            self.count,
            self.last.map_or(0, EventId::get),
            self.moved_at_us,
        ];
        let mut body = [VERSION; BODY_LEN];
        let bytes = numbers.into_iter().flat_map(u64::to_le_bytes);
        for (place, byte) in body.iter_mut().skip(1).zip(bytes) {
            *place = byte;
        }
        body
    }

    /// Reads a body; `times` is how often the offset was kept by then.
    pub(super) fn decode(body: &[u8], times: u64) -> Option<Self> {
        let (&[VERSION], rest) = body.split_first_chunk::<1>()? else {
            return None;
        };
        let (count, rest) = rest.split_first_chunk::<8>()?;
        let (last, rest) = rest.split_first_chunk::<8>()?;
        let (moved_at_us, rest) = rest.split_first_chunk::<8>()?;
        rest.is_empty().then(|| Self {
            count: u64::from_le_bytes(*count),
            last: EventId::new(u64::from_le_bytes(*last)),
            moved_at_us: u64::from_le_bytes(*moved_at_us),
            times,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(stream: &str, event_type: &str) -> OffsetKey<'static> {
        OffsetKey {
            stream: StreamName::new(stream.to_owned()).unwrap(),
            consumer: Uuid::from_bytes([0; 16]),
            event_type: EventType::new(event_type.to_owned()).unwrap(),
        }
    }

    #[test]
    fn a_key_reads_back_from_its_tag() {
        for key in [
            key("a", "b"),
            key("é/🛫", "x y"),
            key(&"s".repeat(255), &"t".repeat(255)),
        ] {
            let tag = key.tag();
            assert!(tag.len() <= TAG_LEN_MAX);
            assert_eq!(OffsetKey::of_tag(&tag), Some(key));
        }
        assert_ne!(key("ab", "c").tag(), key("a", "bc").tag());
        for bad in [
            &b""[..],
            b"f",
            b"fa",
            b"fa\0short",
            b"sa\x00consumer-16-bytest",
        ] {
            assert_eq!(OffsetKey::of_tag(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn an_offset_is_written_as_the_page_on_records_shows() {
        let offset = Offset {
            count: 2,
            last: EventId::new(7),
            moved_at_us: 1,
            times: 3,
        };
        let body = offset.encode();
        let shown = "01 0200000000000000 0700000000000000 0100000000000000";
        let hex: String = body.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(hex, shown.replace(' ', ""));
        assert_eq!(Offset::decode(&body, 3), Some(offset));
        let unknown = Offset {
            last: None,
            ..offset
        };
        assert_eq!(Offset::decode(&unknown.encode(), 3), Some(unknown));
    }

    #[test]
    fn what_another_version_wrote_is_not_guessed_at() {
        let offset = Offset {
            count: 1,
            last: None,
            moved_at_us: 1,
            times: 3,
        };
        let mut newer = offset.encode();
        newer[0] = 2;
        assert_eq!(Offset::decode(&newer, 1), None);
        let body = offset.encode();
        assert_eq!(Offset::decode(&body[..24], 1), None);
        assert_eq!(Offset::decode(&[&body[..], &[0]].concat(), 1), None);
    }
}
