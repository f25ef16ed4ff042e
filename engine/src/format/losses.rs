//! The record of what a segment is known to have lost (FORMAT.md, section 17).

use crate::cursor::Cursor;
use crate::position::EventId;

const MAGIC: &[u8; 8] = b"STRANDLO";
/// The version this code writes, and the newest it reads.
pub(crate) const VERSION: u32 = 1;

/// What one file says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SegmentLosses {
    pub(crate) log_id: [u8; 16],
    /// The first id of the segment.
    pub(crate) first: EventId,
    /// The first id of the segment behind it.
    pub(crate) end: EventId,
    /// The offset in the segment's file at and behind which nothing is part of the log, if repair has
    /// closed it there; 0 if it has a seal.
    pub(crate) cut: u64,
    /// When it was written, in microseconds since 1970.
    pub(crate) made_at_us: u64,
    /// The ids that are lost: half-open, ascending, never empty, not touching one another.
    pub(crate) ranges: Vec<(EventId, EventId)>,
}

/// Why bytes are not such a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LossesFault {
    Damaged,
    /// A version from the future.
    Newer(u32),
}

impl SegmentLosses {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(68 + 16 * self.ranges.len());
        bytes.extend_from_slice(MAGIC);
        bytes.extend_from_slice(&VERSION.to_le_bytes());
        let count = u32::try_from(self.ranges.len()).unwrap_or(u32::MAX);
        bytes.extend_from_slice(&count.to_le_bytes());
        bytes.extend_from_slice(&self.log_id);
        let fields = [self.first.get(), self.end.get(), self.cut, self.made_at_us];
        let ranges = self.ranges.iter();
        let ranges = ranges.flat_map(|(first, end)| [first.get(), end.get()]);
        for field in fields.into_iter().chain(ranges) {
            bytes.extend_from_slice(&field.to_le_bytes());
        }
        let checksum = crc32fast::hash(&bytes);
        bytes.extend_from_slice(&checksum.to_le_bytes());
        bytes
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, LossesFault> {
        let (covered, checksum) = bytes.split_last_chunk::<4>().ok_or(LossesFault::Damaged)?;
        let mut cursor = Cursor::new(covered);
        if &cursor.take_array::<8>().ok_or(LossesFault::Damaged)? != MAGIC {
            return Err(LossesFault::Damaged);
        }
        // Before the checksum: a newer version may compute it otherwise.
        let version = cursor.take_u32().ok_or(LossesFault::Damaged)?;
        if version > VERSION {
            return Err(LossesFault::Newer(version));
        }
        if version == 0 || u32::from_le_bytes(*checksum) != crc32fast::hash(covered) {
            return Err(LossesFault::Damaged);
        }
        Self::fields(&mut cursor).ok_or(LossesFault::Damaged)
    }

    fn fields(cursor: &mut Cursor<'_>) -> Option<Self> {
        let count = cursor.take_u32()?;
        let log_id = cursor.take_array()?;
        let first = EventId::new(cursor.take_u64()?)?;
        let end = EventId::new(cursor.take_u64()?)?;
        let cut = cursor.take_u64()?;
        let made_at_us = cursor.take_u64()?;
        // The bytes that are there decide how much is kept, not the count.
        let mut ranges = Vec::new();
        let mut lowest = first.get();
        for _ in 0..count {
            let from = EventId::new(cursor.take_u64()?)?;
            let until = EventId::new(cursor.take_u64()?)?;
            if from.get() < lowest || until <= from || until > end {
                return None;
            }
            lowest = until.get() + 1;
            ranges.push((from, until));
        }
        cursor.is_empty().then_some(Self {
            log_id,
            first,
            end,
            cut,
            made_at_us,
            ranges,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(number: u64) -> EventId {
        EventId::new(number).unwrap()
    }

    fn losses() -> SegmentLosses {
        SegmentLosses {
            log_id: [7; 16],
            first: id(10),
            end: id(40),
            cut: 9_000,
            made_at_us: 5,
            ranges: vec![(id(10), id(11)), (id(30), id(40))],
        }
    }

    #[test]
    fn a_record_of_losses_reads_back_as_it_was_written() {
        assert_eq!(SegmentLosses::decode(&losses().encode()), Ok(losses()));
        let none = SegmentLosses {
            ranges: Vec::new(),
            ..losses()
        };
        assert_eq!(SegmentLosses::decode(&none.encode()), Ok(none));
    }

    #[test]
    fn every_flipped_bit_is_noticed() {
        let whole = losses().encode();
        for bit in 0..whole.len() * 8 {
            let mut bytes = whole.clone();
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert!(SegmentLosses::decode(&bytes).is_err(), "bit {bit}");
        }
    }

    #[test]
    fn ranges_that_touch_or_leave_the_segment_are_refused() {
        for ranges in [
            vec![(id(9), id(11))],
            vec![(id(39), id(41))],
            vec![(id(12), id(12))],
            vec![(id(12), id(14)), (id(14), id(15))],
            vec![(id(20), id(21)), (id(12), id(14))],
        ] {
            let wrong = SegmentLosses { ranges, ..losses() };
            let decoded = SegmentLosses::decode(&wrong.encode());
            assert_eq!(decoded, Err(LossesFault::Damaged), "{:?}", wrong.ranges);
        }
    }

    #[test]
    fn a_newer_version_is_told_apart_from_damage() {
        let mut bytes = losses().encode();
        bytes[8] = 3;
        assert_eq!(SegmentLosses::decode(&bytes), Err(LossesFault::Newer(3)));
    }

    #[test]
    fn ranges_may_lie_one_id_apart_and_end_with_the_segment() {
        let ranges = vec![(id(10), id(12)), (id(13), id(14)), (id(39), id(40))];
        let close = SegmentLosses { ranges, ..losses() };
        assert_eq!(SegmentLosses::decode(&close.encode()), Ok(close));
    }

    #[test]
    fn what_is_no_record_of_losses_is_damage_whatever_its_checksum() {
        let whole = losses().encode();
        let changed = |at: usize, value: u8, len: usize| {
            let mut bytes = whole.clone();
            bytes.truncate(bytes.len() - 4);
            bytes.resize(bytes.len() + len, 0);
            bytes[at] = value;
            let checksum = crc32fast::hash(&bytes);
            bytes.extend_from_slice(&checksum.to_le_bytes());
            SegmentLosses::decode(&bytes)
        };
        assert_eq!(changed(8, 1, 0), Ok(losses()));
        // The magic; version 0; a range more or less than there are; the first id 0; bytes behind.
        for (at, value, len) in [
            (0, 9, 0),
            (8, 0, 0),
            (12, 3, 0),
            (12, 1, 0),
            (32, 0, 0),
            (8, 1, 1),
        ] {
            let decoded = changed(at, value, len);
            assert_eq!(decoded, Err(LossesFault::Damaged), "{value} at {at}");
        }
    }
}
