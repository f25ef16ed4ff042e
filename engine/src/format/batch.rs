//! The header of a batch (FORMAT.md, section 6), and a whole batch.

use super::record::{self, Record, RecordFault};
use super::segment::Masks;
use crate::cursor::Cursor;
use crate::position::EventId;

/// Bytes of the header.
pub(crate) const HEADER_LEN: usize = 48;
/// "BAT" and a byte with the top bit set: no record can be that long.
const MAGIC: u32 = 0x8054_4142;
const CLEAN: u32 = 1;
const SEAL: u32 = 2;

/// What a batch without records says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mark {
    /// Up to where the log was known durable; the log goes on.
    Synced,
    /// The same, at a clean stop.
    Clean,
    /// The last thing in its segment.
    Seal,
}

/// The header of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct BatchHeader {
    /// Of the batch with all its records, in bytes.
    pub(crate) len: u32,
    /// How many records it has.
    pub(crate) record_count: u32,
    /// What it says if it has none.
    pub(crate) mark: Mark,
    /// The id of its first record, or the next id.
    pub(crate) first: EventId,
    /// The offset below which everything was known durable.
    pub(crate) synced_to: u64,
    /// Of the open that wrote it.
    pub(crate) salt: u32,
    /// The checksum field of the batch before.
    pub(crate) previous: u32,
}

impl BatchHeader {
    /// The header as it stands in the file, and its checksum field.
    pub(crate) fn encode(&self, masks: Masks) -> ([u8; HEADER_LEN], u32) {
        let flags = match self.mark {
            Mark::Synced => 0,
            Mark::Clean => CLEAN,
            Mark::Seal => SEAL,
        };
        let mut bytes = Vec::with_capacity(HEADER_LEN);
        for field in [MAGIC, self.len, self.record_count, flags] {
            bytes.extend_from_slice(&field.to_le_bytes());
        }
        bytes.extend_from_slice(&self.first.get().to_le_bytes());
        bytes.extend_from_slice(&self.synced_to.to_le_bytes());
        for field in [self.salt, self.previous, 0] {
            bytes.extend_from_slice(&field.to_le_bytes());
        }
        let checksum = crc32fast::hash(&bytes) ^ masks.batch;
        bytes.extend_from_slice(&checksum.to_le_bytes());
        let mut header = [0; HEADER_LEN];
        debug_assert_eq!(bytes.len(), header.len());
        for (place, byte) in header.iter_mut().zip(bytes) {
            *place = byte;
        }
        (header, checksum)
    }

    /// Reads the header at the front of `bytes`, if there is a whole one that belongs to the
    /// segment with these masks; also gives its checksum field.
    pub(crate) fn decode(bytes: &[u8], masks: Masks) -> Option<(Self, u32)> {
        let (covered, rest) = bytes.split_at_checked(HEADER_LEN - 4)?;
        let mut cursor = Cursor::new(covered);
        if cursor.take_u32()? != MAGIC {
            return None;
        }
        let checksum = Cursor::new(rest).take_u32()?;
        if checksum != crc32fast::hash(covered) ^ masks.batch {
            return None;
        }
        let len = cursor.take_u32()?;
        let record_count = cursor.take_u32()?;
        let mark = match cursor.take_u32()? {
            0 => Mark::Synced,
            CLEAN => Mark::Clean,
            SEAL => Mark::Seal,
            _ => return None,
        };
        let first = EventId::new(cursor.take_u64()?)?;
        let synced_to = cursor.take_u64()?;
        let salt = cursor.take_u32()?;
        let previous = cursor.take_u32()?;
        Some((
            Self {
                len,
                record_count,
                mark,
                first,
                synced_to,
                salt,
                previous,
            },
            checksum,
        ))
    }

    /// Whether it stands for no records.
    pub(crate) fn is_mark(&self) -> bool {
        self.record_count == 0
    }
}

/// Whether the bytes begin like a batch rather than a record. Says nothing about their soundness.
pub(crate) fn begins_batch(bytes: &[u8]) -> bool {
    Cursor::new(bytes).take_u32() == Some(MAGIC)
}

/// Where a walk along the batches of a segment stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Chain {
    /// The offset behind the last valid batch.
    pub(crate) offset: usize,
    /// The checksum field of the last valid batch.
    pub(crate) previous: u32,
    /// The id of the next record.
    pub(crate) next: EventId,
    /// The time of the last record.
    pub(crate) recorded_at_us: u64,
    /// The highest `synced to` so far: below it nothing can have been torn.
    pub(crate) synced_to: u64,
}

/// Why there is no valid batch at a place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BatchFault {
    /// No bytes are left, or zeros.
    End,
    /// No whole header of this segment.
    Header,
    /// A whole header, but not the one that follows.
    OutOfChain,
    /// The header is in order; a record is not.
    Record {
        /// The offset of the record in the file.
        offset: usize,
        /// The id it should have.
        id: EventId,
        /// What is wrong with it.
        fault: RecordFault,
    },
    /// The records do not fill the batch, or their ids, salts or times do not fit.
    Contents {
        /// The offset of the first record that does not fit.
        offset: usize,
        /// The id it should have.
        id: EventId,
    },
}

impl Chain {
    /// The place before the first batch of a segment.
    pub(crate) fn start(header: &super::segment::SegmentHeader) -> Self {
        Self {
            offset: super::segment::HEADER_LEN,
            previous: header.checksum(),
            next: header.first,
            recorded_at_us: 0,
            synced_to: super::segment::HEADER_LEN as u64,
        }
    }

    /// Reads the batch at this place of `file` and steps behind it, showing each record with its
    /// offset and length to `visit`; on a fault the place stays, and what was shown since the last
    /// step is void.
    pub(crate) fn step<'a>(
        &mut self,
        file: &'a [u8],
        masks: Masks,
        mut visit: impl FnMut(usize, usize, &Record<'a>),
    ) -> Result<BatchHeader, BatchFault> {
        let bytes = file.get(self.offset..).ok_or(BatchFault::End)?;
        match Cursor::new(bytes).take_u32() {
            None | Some(0) => return Err(BatchFault::End),
            Some(_) => {}
        }
        let (header, checksum) = BatchHeader::decode(bytes, masks).ok_or(BatchFault::Header)?;
        let in_chain = header.previous == self.previous
            && header.first == self.next
            && header.synced_to <= self.offset as u64
            && (header.is_mark() || header.mark == Mark::Synced);
        if !in_chain {
            return Err(BatchFault::OutOfChain);
        }
        let whole = bytes
            .get(..header.len as usize)
            .ok_or(BatchFault::OutOfChain)?;
        let mut rest = whole.get(HEADER_LEN..).ok_or(BatchFault::OutOfChain)?;
        let mut offset = self.offset + HEADER_LEN;
        let mut next = Some(header.first);
        let mut recorded_at_us = self.recorded_at_us;
        for _ in 0..header.record_count {
            let id = next.ok_or(BatchFault::OutOfChain)?;
            let (record, len) = record::decode(rest, masks.record)
                .map_err(|fault| BatchFault::Record { offset, id, fault })?;
            if record.id != id
                || record.salt != header.salt
                || record.recorded_at_us < recorded_at_us
            {
                return Err(BatchFault::Contents { offset, id });
            }
            visit(offset, len, &record);
            recorded_at_us = record.recorded_at_us;
            next = id.next();
            offset += len;
            rest = rest.get(len..).unwrap_or_default();
        }
        let next = next.ok_or(BatchFault::OutOfChain)?;
        if !rest.is_empty() {
            return Err(BatchFault::Contents { offset, id: next });
        }
        *self = Self {
            offset,
            previous: checksum,
            next,
            recorded_at_us,
            synced_to: self.synced_to.max(header.synced_to),
        };
        Ok(header)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MASKS: Masks = Masks {
        record: 1,
        batch: 2,
    };

    fn mark() -> BatchHeader {
        BatchHeader {
            len: 48,
            record_count: 0,
            mark: Mark::Clean,
            first: EventId::FIRST,
            synced_to: 4_096,
            salt: 7,
            previous: 9,
        }
    }

    #[test]
    fn a_header_reads_back_as_it_was_written() {
        let (bytes, checksum) = mark().encode(MASKS);
        assert_eq!(BatchHeader::decode(&bytes, MASKS), Some((mark(), checksum)));
        assert!(begins_batch(&bytes));
    }

    #[test]
    fn every_flipped_bit_of_a_header_is_noticed() {
        let (whole, _) = mark().encode(MASKS);
        for bit in 0..whole.len() * 8 {
            let mut bytes = whole;
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(BatchHeader::decode(&bytes, MASKS), None, "bit {bit}");
        }
    }

    #[test]
    fn a_header_of_another_segment_is_refused() {
        let (bytes, _) = mark().encode(MASKS);
        let other = Masks { batch: 3, ..MASKS };
        assert_eq!(BatchHeader::decode(&bytes, other), None);
    }
}
