//! The sparse index file (FORMAT.md, section 8).

use std::ops::Range;

use crate::cursor::Cursor;
use crate::position::EventId;

/// Of how many records one has its offset in the index. More would make the file smaller and each
/// read by id walk further; 8 records are one or two cache misses, and the index is 0.5 bytes a
/// record.
pub(crate) const EVERY: u64 = 8;

const MAGIC: &[u8; 8] = b"STRANDIX";
const VERSION: u32 = 1;
const HEAD_LEN: usize = 64;

/// What the file says besides the offsets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct IndexHead {
    pub(crate) log_id: [u8; 16],
    pub(crate) first: EventId,
    pub(crate) end: EventId,
    /// Behind the last batch with records.
    pub(crate) data_end: u64,
    pub(crate) last_recorded_us: u64,
}

/// How many offsets a segment with these ids has.
pub(crate) fn slot_count(first: EventId, end: EventId) -> usize {
    let records = end.get().saturating_sub(first.get());
    usize::try_from(records.div_ceil(EVERY)).unwrap_or(usize::MAX)
}

/// The file's bytes. `offsets` has one offset for each [`EVERY`]th record.
pub(crate) fn encode(head: &IndexHead, offsets: impl Iterator<Item = u32>) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(HEAD_LEN + 4 * slot_count(head.first, head.end) + 4);
    bytes.extend_from_slice(MAGIC);
    bytes.extend_from_slice(&VERSION.to_le_bytes());
    bytes.extend_from_slice(&u32::try_from(EVERY).unwrap_or(u32::MAX).to_le_bytes());
    bytes.extend_from_slice(&head.log_id);
    for field in [
        head.first.get(),
        head.end.get(),
        head.data_end,
        head.last_recorded_us,
    ] {
        bytes.extend_from_slice(&field.to_le_bytes());
    }
    for offset in offsets {
        bytes.extend_from_slice(&offset.to_le_bytes());
    }
    let checksum = crc32fast::hash(&bytes);
    bytes.extend_from_slice(&checksum.to_le_bytes());
    bytes
}

/// Reads the file: what it says, and where in `bytes` the offsets lie; `None` if anything about it
/// is wrong.
pub(crate) fn decode(bytes: &[u8]) -> Option<(IndexHead, Range<usize>)> {
    let (covered, checksum) = bytes.split_last_chunk::<4>()?;
    if u32::from_le_bytes(*checksum) != crc32fast::hash(covered) {
        return None;
    }
    let mut cursor = Cursor::new(covered);
    let magic = cursor.take_array::<8>()?;
    let version = cursor.take_u32()?;
    let every = cursor.take_u32()?;
    if &magic != MAGIC || version != VERSION || u64::from(every) != EVERY {
        return None;
    }
    let head = IndexHead {
        log_id: cursor.take_array()?,
        first: EventId::new(cursor.take_u64()?)?,
        end: EventId::new(cursor.take_u64()?)?,
        data_end: cursor.take_u64()?,
        last_recorded_us: cursor.take_u64()?,
    };
    let offsets = HEAD_LEN..covered.len();
    if cursor.rest().len() != slot_count(head.first, head.end).checked_mul(4)? {
        return None;
    }
    Some((head, offsets))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn encoded() -> Vec<u8> {
        let head = IndexHead {
            log_id: [3; 16],
            first: EventId::FIRST,
            end: EventId::new(18).unwrap(),
            data_end: 9_000,
            last_recorded_us: 5,
        };
        encode(&head, [4_144, 5_000, 6_000].into_iter())
    }

    #[test]
    fn an_index_reads_back_as_it_was_written() {
        let bytes = encoded();
        let (head, offsets) = decode(&bytes).unwrap();
        assert_eq!((head.end.get(), head.data_end), (18, 9_000));
        assert_eq!(bytes[offsets].len(), 12);
    }

    #[test]
    fn every_flipped_bit_of_an_index_is_noticed() {
        let whole = encoded();
        for bit in 0..whole.len() * 8 {
            let mut bytes = whole.clone();
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(decode(&bytes), None, "bit {bit}");
        }
    }

    /// The index with one byte changed, or more of them, under a checksum that fits again.
    fn changed(change: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
        let mut bytes = encoded();
        bytes.truncate(bytes.len() - 4);
        change(&mut bytes);
        let checksum = crc32fast::hash(&bytes);
        bytes.extend_from_slice(&checksum.to_le_bytes());
        bytes
    }

    #[test]
    fn an_index_that_is_another_files_or_another_versions_is_none_whatever_its_checksum() {
        assert!(decode(&changed(|_| ())).is_some());
        // The magic, the version, the spacing; the first id and the end become 0.
        for (at, value) in [(0, 9), (8, 9), (12, 9), (32, 0), (40, 0)] {
            let wrong = changed(|bytes| bytes[at] = value);
            assert_eq!(decode(&wrong), None, "{at}");
        }
    }

    #[test]
    fn an_index_with_an_offset_too_few_or_too_many_is_none() {
        for len in [0, 1, 11, 13, 16] {
            let wrong = changed(|bytes| bytes.resize(HEAD_LEN + len, 0));
            assert_eq!(decode(&wrong), None, "{len}");
        }
    }

    #[test]
    fn every_eighth_record_has_an_offset() {
        let id = |number| EventId::new(number).unwrap();
        for (records, slots) in [(0, 0), (1, 1), (8, 1), (9, 2), (16, 2), (17, 3)] {
            assert_eq!(slot_count(id(5), id(5 + records)), slots, "{records}");
        }
        assert_eq!(slot_count(id(5), id(4)), 0);
    }
}
