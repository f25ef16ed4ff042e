//! Where a segment's records lie: the offset of every 8th of them.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use bytes::Bytes;

use crate::format::index::EVERY;
use crate::format::record::RECORD_LEN_MIN;
use crate::position::EventId;

/// The offsets of a segment that is still written.
///
/// Room for all that fit in the segment is reserved at once, so that readers never see it move;
/// the pages are the kernel's until they are touched.
#[derive(Debug)]
pub(crate) struct GrowingOffsets {
    slots: Box<[AtomicU32]>,
}

impl GrowingOffsets {
    /// Room for the records of a segment of `segment_len` bytes.
    pub(crate) fn new(segment_len: u64) -> Self {
        let records_max = segment_len / RECORD_LEN_MIN as u64;
        let slots = usize::try_from(records_max / EVERY + 1).unwrap_or(0);
        Self {
            slots: (0..slots).map(|_| AtomicU32::new(0)).collect(),
        }
    }

    /// Notes that the record with this index in the segment begins at `offset`.
    ///
    /// Readers see it once the end beyond that record is published.
    pub(crate) fn note(&self, index: u64, offset: usize) {
        if !index.is_multiple_of(EVERY) {
            return;
        }
        let slot = usize::try_from(index / EVERY).unwrap_or(usize::MAX);
        if let (Some(slot), Ok(offset)) = (self.slots.get(slot), u32::try_from(offset)) {
            // Relaxed: the published end is stored (Release) after this and loaded (Acquire)
            // before any reader asks for the record.
            slot.store(offset, Ordering::Relaxed);
        }
    }
}

/// The offsets of a segment, for readers.
#[derive(Clone, Debug)]
pub(crate) enum Offsets {
    /// Of the tail, or of a sealed segment whose index file is not written yet.
    Growing(Arc<GrowingOffsets>),
    /// From a checked index file.
    Stored { file: Bytes, offsets: Range<usize> },
}

impl Offsets {
    /// The id of the nearest indexed record at or below `id`, and its offset; 0 if it is unknown.
    pub(crate) fn at_or_below(&self, first: EventId, id: EventId) -> (u64, usize) {
        let index = id.get().saturating_sub(first.get());
        let slot = usize::try_from(index / EVERY).unwrap_or(usize::MAX);
        let offset = match self {
            Self::Growing(growing) => growing
                .slots
                .get(slot)
                .map_or(0, |slot| slot.load(Ordering::Relaxed)),
            Self::Stored { file, offsets } => file
                .get(offsets.clone())
                .and_then(|slots| slots.get(slot.checked_mul(4)?..))
                .and_then(|rest| rest.first_chunk::<4>())
                .map_or(0, |bytes| u32::from_le_bytes(*bytes)),
        };
        (first.get() + (index - index % EVERY), offset as usize)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(number: u64) -> EventId {
        EventId::new(number).unwrap()
    }

    /// Of a segment that begins with 100 and has 20 records of 40 bytes each.
    fn growing() -> GrowingOffsets {
        let growing = GrowingOffsets::new(1_024);
        for index in 0..20_u8 {
            growing.note(index.into(), 4_144 + 40 * usize::from(index));
        }
        growing
    }

    #[test]
    fn there_is_room_for_as_many_of_the_shortest_records_as_fit() {
        for (segment_len, slots) in [(0, 1), (255, 1), (256, 2), (1_024, 5)] {
            assert_eq!(GrowingOffsets::new(segment_len).slots.len(), slots);
        }
    }

    #[test]
    fn the_nearest_noted_record_below_is_found_whether_noted_or_stored() {
        let growing = growing();
        let mut stored = vec![9; 6];
        for slot in &growing.slots {
            stored.extend_from_slice(&slot.load(Ordering::Relaxed).to_le_bytes());
        }
        let offsets = 6..stored.len();
        let file = Bytes::from(stored);
        let both = [
            Offsets::Growing(Arc::new(growing)),
            Offsets::Stored { file, offsets },
        ];
        for offsets in both {
            for (wanted, at, offset) in [
                (100, 100, 4_144),
                (107, 100, 4_144),
                (108, 108, 4_464),
                (117, 116, 4_784),
                // Never noted, and beyond the room.
                (124, 124, 0),
                (140, 140, 0),
                (10_000, 9_996, 0),
            ] {
                let found = offsets.at_or_below(id(100), id(wanted));
                assert_eq!(found, (at, offset), "{wanted} in {offsets:?}");
            }
        }
    }

    #[test]
    fn an_offset_for_which_there_is_no_room_is_not_noted() {
        let growing = growing();
        growing.note(40, 5_000);
        growing.note(24, usize::MAX);
        let offsets = Offsets::Growing(Arc::new(growing));
        assert_eq!(offsets.at_or_below(id(100), id(124)), (124, 0));
        assert_eq!(offsets.at_or_below(id(100), id(140)), (140, 0));
    }
}
