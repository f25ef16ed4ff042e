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

    /// Where the first batch of the made-up file begins.
    const START: usize = 64;
    const SALT: u32 = 7;

    /// The place before the batch of [`file`].
    fn start() -> Chain {
        Chain {
            offset: START,
            previous: 9,
            next: EventId::new(5).unwrap(),
            recorded_at_us: 100,
            synced_to: 48,
        }
    }

    /// The header of a batch of two records.
    fn header() -> BatchHeader {
        BatchHeader {
            len: 112,
            record_count: 2,
            mark: Mark::Synced,
            first: EventId::new(5).unwrap(),
            synced_to: START as u64,
            salt: SALT,
            previous: 9,
        }
    }

    /// A file with that batch: its records as ids, times and salts.
    fn file(header: &BatchHeader, records: &[(u64, u64, u32)]) -> Vec<u8> {
        let mut bytes = vec![0; START];
        bytes.extend_from_slice(&header.encode(MASKS).0);
        for (id, recorded_at_us, salt) in records {
            let draft = record::encode_draft(&mut bytes, std::iter::empty(), &[]);
            let id = EventId::new(*id).unwrap();
            let none = std::iter::empty();
            draft.finish(&mut bytes, none, id, *recorded_at_us, *salt, MASKS.record);
        }
        bytes.resize(bytes.len() + 100, 0);
        bytes
    }

    const SOUND: [(u64, u64, u32); 2] = [(5, 100, SALT), (6, 100, SALT)];

    /// What a step along the file shows, and comes to.
    fn step(file: &[u8]) -> (Vec<(usize, usize)>, Chain, Result<BatchHeader, BatchFault>) {
        let mut shown = Vec::new();
        let mut chain = start();
        let result = chain.step(file, MASKS, |offset, len, _| shown.push((offset, len)));
        (shown, chain, result)
    }

    #[test]
    fn a_step_shows_the_records_and_goes_behind_the_batch() {
        let (shown, chain, result) = step(&file(&header(), &SOUND));
        assert_eq!(result, Ok(header()));
        assert_eq!(shown, [(START + 48, 32), (START + 80, 32)]);
        let behind = Chain {
            offset: START + 112,
            previous: header().encode(MASKS).1,
            next: EventId::new(7).unwrap(),
            recorded_at_us: 100,
            synced_to: START as u64,
        };
        assert_eq!(chain, behind);
        let mut chain = behind;
        let end = chain.step(&file(&header(), &SOUND), MASKS, |_, _, _| ());
        assert_eq!((chain, end), (behind, Err(BatchFault::End)));
    }

    #[test]
    fn what_is_known_durable_never_becomes_less() {
        let header = BatchHeader {
            synced_to: 40,
            ..header()
        };
        let (_, chain, _) = step(&file(&header, &SOUND));
        assert_eq!(chain.synced_to, start().synced_to);
    }

    #[test]
    fn a_header_that_does_not_follow_is_out_of_chain_and_the_place_stays() {
        let sound = header();
        let wrong = [
            BatchHeader {
                previous: 8,
                ..sound
            },
            BatchHeader {
                first: EventId::new(4).unwrap(),
                ..sound
            },
            BatchHeader {
                first: EventId::new(6).unwrap(),
                ..sound
            },
            BatchHeader {
                synced_to: START as u64 + 1,
                ..sound
            },
            BatchHeader {
                mark: Mark::Clean,
                ..sound
            },
            BatchHeader {
                mark: Mark::Seal,
                ..sound
            },
            // Longer than the file; shorter than a header.
            BatchHeader { len: 300, ..sound },
            BatchHeader { len: 47, ..sound },
        ];
        for header in wrong {
            let found = step(&file(&header, &SOUND));
            assert_eq!(
                found,
                (Vec::new(), start(), Err(BatchFault::OutOfChain)),
                "{header:?}"
            );
        }
    }

    #[test]
    fn records_that_do_not_fit_their_batch_are_told_where_they_stand() {
        let (first, second) = (START + 48, START + 80);
        let wrong = [
            ([(4, 100, SALT), (6, 100, SALT)], first, 5),
            ([(5, 99, SALT), (6, 100, SALT)], first, 5),
            ([(5, 100, SALT), (6, 100, 8)], second, 6),
            ([(5, 100, SALT), (7, 100, SALT)], second, 6),
            ([(5, 101, SALT), (6, 100, SALT)], second, 6),
        ];
        for (records, offset, id) in wrong {
            let id = EventId::new(id).unwrap();
            let (_, chain, result) = step(&file(&header(), &records));
            assert_eq!(
                result,
                Err(BatchFault::Contents { offset, id }),
                "{records:?}"
            );
            assert_eq!(chain, start());
        }
    }

    #[test]
    fn a_batch_that_is_longer_or_shorter_than_its_records_is_refused() {
        let longer = BatchHeader {
            len: 120,
            ..header()
        };
        let (_, _, result) = step(&file(&longer, &SOUND));
        let (offset, id) = (START + 112, EventId::new(7).unwrap());
        assert_eq!(result, Err(BatchFault::Contents { offset, id }));
        let shorter = BatchHeader {
            len: 104,
            ..header()
        };
        let (_, _, result) = step(&file(&shorter, &SOUND));
        let (offset, id) = (START + 80, EventId::new(6).unwrap());
        let fault = RecordFault::CutShort;
        assert_eq!(result, Err(BatchFault::Record { offset, id, fault }));
    }

    #[test]
    fn the_highest_id_ends_a_batch_out_of_chain_for_none_can_follow() {
        let last = EventId::MAX;
        let header = BatchHeader {
            len: 80,
            record_count: 1,
            first: last,
            ..header()
        };
        let mut chain = Chain {
            next: last,
            ..start()
        };
        let file = file(&header, &[(last.get(), 100, SALT)]);
        let result = chain.step(&file, MASKS, |_, _, _| ());
        assert_eq!(result, Err(BatchFault::OutOfChain));
    }

    #[test]
    fn zeros_and_the_end_of_the_bytes_are_the_end_and_other_bytes_are_no_header() {
        for (bytes, want) in [
            (vec![0; START + 100], BatchFault::End),
            (vec![0; START + 3], BatchFault::End),
            (vec![0; START - 1], BatchFault::End),
            (vec![7; START + 100], BatchFault::Header),
        ] {
            assert_eq!(step(&bytes).2, Err(want), "{}", bytes.len());
        }
    }

    #[test]
    fn a_mark_may_say_more_than_that_the_log_goes_on() {
        for mark in [Mark::Synced, Mark::Clean, Mark::Seal] {
            let header = BatchHeader {
                len: 48,
                record_count: 0,
                mark,
                ..header()
            };
            let (shown, chain, result) = step(&file(&header, &[]));
            assert_eq!((shown, result), (Vec::new(), Ok(header)));
            assert_eq!((chain.offset, chain.next), (START + 48, start().next));
            assert!(header.is_mark());
        }
        assert!(!header().is_mark());
    }

    #[test]
    fn what_does_not_begin_like_a_batch_is_none() {
        let file = file(&header(), &SOUND);
        assert!(begins_batch(&file[START..]));
        for at in [0, START + 4, START + 48, file.len() - 3, file.len()] {
            assert!(!begins_batch(&file[at..]), "{at}");
        }
    }
}
