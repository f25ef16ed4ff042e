//! UUIDs: read in every way that people write them, and made for events.

use uuid::{Builder, Uuid};

use crate::app::App;
use crate::store::EventId;

/// What the ids begin with that are made out of a position in the log.
const MARK: &[u8; 6] = b"strand";
/// How many bits of the second half are free: two of them say which layout it is.
const LOW_BITS: u32 = 62;

/// Reads a UUID: canonical, as a URN, in braces, or as 32 hexadecimal digits, in either case.
pub(super) fn read(text: &str) -> Option<Uuid> {
    let urn = text
        .split_at_checked(9)
        .filter(|(prefix, _)| prefix.eq_ignore_ascii_case("urn:uuid:"));
    match urn {
        Some((_, canonical)) if canonical.len() == 36 => Uuid::try_parse(canonical).ok(),
        Some(_) => None,
        None => Uuid::try_parse(text).ok(),
    }
}

/// A fresh UUIDv4.
pub(super) fn fresh(app: &App) -> Uuid {
    let random = app.random();
    let (a, b) = (random.next_u64(), random.next_u64());
    let bytes = (u128::from(a) << 64 | u128::from(b)).to_be_bytes();
    Builder::from_random_bytes(bytes).into_uuid()
}

/// The id of an event that was not given a UUID: a UUIDv8 that carries the event's position, so that
/// it is the same each time, and leads back to the event.
pub(super) fn of_position(position: EventId) -> Uuid {
    let high = u16::try_from(position.get() >> LOW_BITS).unwrap_or_default();
    let low = position.get() & ((1 << LOW_BITS) - 1);
    let [a, b, c, d, e, f] = *MARK;
    let [_, version] = (0x8000 | high).to_be_bytes();
    let first = [a, b, c, d, e, f, 0x80, version];
    let second = (1 << 63 | low).to_be_bytes();
    let bytes =
        u128::from(u64::from_be_bytes(first)) << 64 | u128::from(u64::from_be_bytes(second));
    Uuid::from_u128(bytes)
}

/// The position that an id carries, if it is one of those.
pub(super) fn position(id: &Uuid) -> Option<EventId> {
    let (first, second) = id.as_u64_pair();
    let high = first & 0xFF;
    let position = high.checked_shl(LOW_BITS)? | second & ((1 << LOW_BITS) - 1);
    let position = EventId::new(position)?;
    (of_position(position) == *id).then_some(position)
}

#[cfg(test)]
mod tests {
    use super::*;

    const CANONICAL: &str = "2480b859-e08a-4414-9c7d-003bc1a4b555";

    #[test]
    fn a_uuid_is_read_however_it_is_written() {
        for text in [
            CANONICAL,
            "2480B859-E08A-4414-9C7D-003BC1A4B555",
            "urn:uuid:2480b859-e08a-4414-9c7d-003bc1a4b555",
            "URN:UUID:2480b859-e08a-4414-9c7d-003bc1a4b555",
            "{2480b859-e08a-4414-9c7d-003bc1a4b555}",
            "2480b859e08a44149c7d003bc1a4b555",
        ] {
            assert_eq!(read(text).unwrap().to_string(), CANONICAL, "{text}");
        }
        for text in [
            "",
            "x",
            "2480b859-e08a-4414-9c7d-003bc1a4b55",
            "2480b859-e08a-4414-9c7d-003bc1a4b5555",
            "2480b859-e08a-4414-9c7d-003bc1a4b55g",
            "{2480b859-e08a-4414-9c7d-003bc1a4b555",
            "urn:uuid:",
            "urn:uuid:{2480b859-e08a-4414-9c7d-003bc1a4b555}",
            "é480b859-e08a-4414-9c7d-003bc1a4b555",
            " 2480b859-e08a-4414-9c7d-003bc1a4b555",
        ] {
            assert_eq!(read(text), None, "{text}");
        }
    }

    #[test]
    fn a_position_comes_back_from_its_id() {
        for number in [1, 7, 1 << 32, (1 << 62) - 1, 1 << 62, i64::MAX as u64] {
            let position_before = EventId::new(number).unwrap();
            let id = of_position(position_before);
            assert_eq!(id.get_version_num(), 8);
            assert_eq!(id.get_variant(), uuid::Variant::RFC4122);
            assert_eq!(position(&id), Some(position_before));
        }
        assert_eq!(
            of_position(EventId::FIRST).to_string(),
            "73747261-6e64-8000-8000-000000000001"
        );
    }

    #[test]
    fn an_id_of_somebody_else_carries_no_position() {
        for text in [
            CANONICAL,
            "73747261-6e64-8000-8000-000000000000",
            "73747261-6e64-8002-8000-000000000001",
            "73747261-6e64-8100-8000-000000000001",
            "73747261-6e64-4000-8000-000000000001",
            "73747261-6e64-8000-c000-000000000001",
            "73747261-6e65-8000-8000-000000000001",
        ] {
            assert_eq!(position(&read(text).unwrap()), None, "{text}");
        }
    }
}
