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
