//! The header of a segment file (FORMAT.md, section 4).

use crate::cursor::Cursor;
use crate::position::EventId;

/// Bytes of the header; batches begin behind it.
pub(crate) const HEADER_LEN: usize = 4_096;
/// The version this code writes, and the newest it reads.
pub(crate) const VERSION: u32 = 1;

const MAGIC: &[u8; 8] = b"STRANDSG";
const COVERED_LEN: usize = 60;

/// What a segment holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SegmentKind {
    /// The records of the log.
    Events,
    /// The consumers' checkpoints.
    Checkpoints,
}

impl SegmentKind {
    const fn code(self) -> u32 {
        match self {
            Self::Events => 1,
            Self::Checkpoints => 2,
        }
    }
}

/// A whole header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SegmentHeader {
    pub(crate) kind: SegmentKind,
    /// Random, the same in all segments of a log.
    pub(crate) log_id: [u8; 16],
    /// The id of the first record.
    pub(crate) first: EventId,
    /// When it was made, in microseconds since 1970.
    pub(crate) created_us: u64,
    /// Random, for this segment only.
    pub(crate) proof_key: u64,
    /// Means nothing, and is kept: the checksum covers it, and the chain of batches begins with that.
    pub(crate) reserved: u32,
}

/// Why bytes are not a header that this code can use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum HeaderFault {
    /// Too few bytes, a wrong magic or a wrong checksum.
    Damaged,
    /// A version from the future.
    Newer(u32),
    /// The checksum fits, but a field says something impossible.
    Impossible,
}

impl SegmentHeader {
    /// The header as it stands in the file.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(HEADER_LEN);
        bytes.extend_from_slice(MAGIC);
        bytes.extend_from_slice(&VERSION.to_le_bytes());
        bytes.extend_from_slice(&self.kind.code().to_le_bytes());
        bytes.extend_from_slice(&self.log_id);
        bytes.extend_from_slice(&self.first.get().to_le_bytes());
        bytes.extend_from_slice(&self.created_us.to_le_bytes());
        bytes.extend_from_slice(&self.proof_key.to_le_bytes());
        bytes.extend_from_slice(&self.reserved.to_le_bytes());
        debug_assert_eq!(bytes.len(), COVERED_LEN);
        let checksum = crc32fast::hash(&bytes);
        bytes.extend_from_slice(&checksum.to_le_bytes());
        bytes.resize(HEADER_LEN, 0);
        bytes
    }

    /// Reads the header at the front of `bytes`.
    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, HeaderFault> {
        let mut cursor = Cursor::new(bytes.get(..HEADER_LEN).ok_or(HeaderFault::Damaged)?);
        let covered = bytes.get(..COVERED_LEN).ok_or(HeaderFault::Damaged)?;
        let magic = cursor.take_array::<8>().ok_or(HeaderFault::Damaged)?;
        let version = cursor.take_u32().ok_or(HeaderFault::Damaged)?;
        if &magic != MAGIC {
            return Err(HeaderFault::Damaged);
        }
        // The version is judged before the checksum: a newer version may compute it otherwise.
        if version > VERSION {
            return Err(HeaderFault::Newer(version));
        }
        let fields = (|| {
            let kind = cursor.take_u32()?;
            let log_id = cursor.take_array::<16>()?;
            let first = cursor.take_u64()?;
            let created_us = cursor.take_u64()?;
            let proof_key = cursor.take_u64()?;
            let reserved = cursor.take_u32()?;
            let checksum = cursor.take_u32()?;
            Some((
                kind, log_id, first, created_us, proof_key, reserved, checksum,
            ))
        })();
        let (kind, log_id, first, created_us, proof_key, reserved, checksum) =
            fields.ok_or(HeaderFault::Damaged)?;
        if checksum != crc32fast::hash(covered) || cursor.rest().iter().any(|byte| *byte != 0) {
            return Err(HeaderFault::Damaged);
        }
        let kind = match kind {
            1 => SegmentKind::Events,
            2 => SegmentKind::Checkpoints,
            _ => return Err(HeaderFault::Impossible),
        };
        if version == 0 {
            return Err(HeaderFault::Impossible);
        }
        Ok(Self {
            kind,
            log_id,
            first: EventId::new(first).ok_or(HeaderFault::Impossible)?,
            created_us,
            proof_key,
            reserved,
        })
    }

    /// The checksum field: where the chain of batches begins.
    pub(crate) fn checksum(&self) -> u32 {
        let bytes = self.encode();
        crc32fast::hash(bytes.get(..COVERED_LEN).unwrap_or_default())
    }

    /// What the checksums of this segment's records and batches are XORed with.
    pub(crate) fn masks(&self) -> Masks {
        let mut hasher = crc32fast::Hasher::new();
        hasher.update(&self.log_id);
        hasher.update(&self.first.get().to_le_bytes());
        let mut with_key = hasher.clone();
        with_key.update(&self.proof_key.to_le_bytes());
        Masks {
            record: hasher.finalize(),
            batch: with_key.finalize(),
        }
    }
}

/// What ties the checksums of a segment to that segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Masks {
    pub(crate) record: u32,
    pub(crate) batch: u32,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header() -> SegmentHeader {
        SegmentHeader {
            kind: SegmentKind::Events,
            log_id: *b"0123456789abcdef",
            first: EventId::FIRST,
            created_us: 3,
            proof_key: 4,
            reserved: 0,
        }
    }

    #[test]
    fn a_header_reads_back_as_it_was_written() {
        let bytes = header().encode();
        assert_eq!(bytes.len(), HEADER_LEN);
        assert_eq!(SegmentHeader::decode(&bytes), Ok(header()));
    }

    #[test]
    fn reserved_bytes_are_ignored_and_the_checksum_over_them_is_the_chains() {
        let reserved = SegmentHeader {
            reserved: 7,
            ..header()
        };
        let bytes = reserved.encode();
        let read = SegmentHeader::decode(&bytes).unwrap();
        assert_eq!(read.first, header().first);
        assert_eq!(bytes[60..64], read.checksum().to_le_bytes());
        assert_ne!(read.checksum(), header().checksum());
    }

    #[test]
    fn every_flipped_bit_of_a_header_is_noticed() {
        let whole = header().encode();
        for bit in 0..whole.len() * 8 {
            let mut bytes = whole.clone();
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert!(SegmentHeader::decode(&bytes).is_err(), "bit {bit}");
        }
    }

    #[test]
    fn a_newer_version_is_told_apart_from_damage() {
        let mut bytes = header().encode();
        bytes[8] = 9;
        assert_eq!(SegmentHeader::decode(&bytes), Err(HeaderFault::Newer(9)));
    }

    #[test]
    fn zeros_are_no_header() {
        assert_eq!(
            SegmentHeader::decode(&[0; HEADER_LEN]),
            Err(HeaderFault::Damaged)
        );
    }

    /// The header with one byte changed, under a checksum that fits again.
    fn changed(at: usize, value: u8) -> Result<SegmentHeader, HeaderFault> {
        let mut bytes = header().encode();
        bytes[at] = value;
        let checksum = crc32fast::hash(&bytes[..COVERED_LEN]);
        bytes[COVERED_LEN..COVERED_LEN + 4].copy_from_slice(&checksum.to_le_bytes());
        SegmentHeader::decode(&bytes)
    }

    #[test]
    fn a_header_that_says_what_cannot_be_is_refused_whatever_its_checksum() {
        assert_eq!(changed(8, 1), Ok(header()));
        let checkpoints = changed(12, 2).map(|header| header.kind);
        assert_eq!(checkpoints, Ok(SegmentKind::Checkpoints));
        // The magic; version 0; no kind, and one too many; the first id 0.
        assert_eq!(changed(0, 0), Err(HeaderFault::Damaged));
        for (at, value) in [(8, 0), (12, 0), (12, 3), (32, 0)] {
            assert_eq!(changed(at, value), Err(HeaderFault::Impossible), "{at}");
        }
        // Behind the checksum nothing but zeros can have been written.
        assert_eq!(changed(64, 1), Err(HeaderFault::Damaged));
        assert_eq!(changed(HEADER_LEN - 1, 1), Err(HeaderFault::Damaged));
    }

    #[test]
    fn a_header_without_its_last_byte_is_damaged() {
        let bytes = header().encode();
        let cut = SegmentHeader::decode(&bytes[..HEADER_LEN - 1]);
        assert_eq!(cut, Err(HeaderFault::Damaged));
    }

    #[test]
    fn the_masks_are_those_of_the_format_page_and_only_batches_depend_on_the_proof_key() {
        let bytes = header().encode();
        let masks = header().masks();
        assert_eq!(masks.record, crc32fast::hash(&bytes[16..40]));
        let covered = [&bytes[16..40], &bytes[48..56]].concat();
        assert_eq!(masks.batch, crc32fast::hash(&covered));
        assert_ne!(masks.batch, masks.record);
    }

    #[test]
    fn the_kinds_are_those_of_the_format_page() {
        for (kind, code) in [(SegmentKind::Events, 1), (SegmentKind::Checkpoints, 2)] {
            let bytes = SegmentHeader { kind, ..header() }.encode();
            assert_eq!(bytes[12..16], [code, 0, 0, 0]);
        }
    }
}
