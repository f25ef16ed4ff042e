//! The one door for the fuzz targets to what is not public: decoding.
//!
//! Public so that `fuzz/`, a package of its own, can call it; of no use to anybody else.

use crate::format::batch::{self, BatchHeader};
use crate::format::segment::{Masks, SegmentHeader};
use crate::format::{index, record};
use crate::tags::check_run;

/// Decodes any bytes as each structure of FORMAT.md, once as they are and once with their checksums
/// made right, for else nothing behind a checksum is ever reached.
///
/// # Panics
///
/// If a decoder panics, or what decodes does not encode back the same.
pub fn decode(bytes: &[u8]) {
    const MASKS: Masks = Masks {
        record: 0x1234_5678,
        batch: 0x8765_4321,
    };
    for bytes in [bytes.to_vec(), with_checksum(bytes, 60, 0)] {
        if let Ok(header) = SegmentHeader::decode(&bytes) {
            let encoded = header.encode();
            // The reserved field is covered by the checksum, and ignored.
            assert_eq!(bytes.get(..56), encoded.get(..56), "a segment header");
        }
    }
    for bytes in [
        bytes.to_vec(),
        with_checksum(bytes, batch::HEADER_LEN - 4, MASKS.batch),
    ] {
        if let Some((header, _)) = BatchHeader::decode(&bytes, MASKS) {
            let (encoded, _) = header.encode(MASKS);
            assert_eq!(bytes.get(..40), encoded.get(..40), "a batch header");
        }
    }
    let covered = bytes.len().saturating_sub(4);
    for bytes in [bytes.to_vec(), with_checksum(bytes, covered, MASKS.record)] {
        if let Ok((record, len)) = record::decode(&bytes, MASKS.record) {
            assert!(len <= bytes.len() && record.body.len() < len, "a record");
            let tags_len: usize = record.tags().map(|(tag, _)| tag.len()).sum();
            assert!(tags_len < len, "the tags of a record");
        }
    }
    for bytes in [bytes.to_vec(), with_checksum(bytes, covered, 0)] {
        if let Some((_, offsets)) = index::decode(&bytes) {
            assert!(offsets.end <= bytes.len(), "an index");
        }
    }
    let _checked = check_run("00000000000000000001-00000000000000000003.0.tags", bytes);
}

/// The bytes with the checksum of the first `covered` of them behind those.
fn with_checksum(bytes: &[u8], covered: usize, mask: u32) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    if let Some((covered, rest)) = bytes.split_at_mut_checked(covered)
        && let Some(place) = rest.first_chunk_mut::<4>()
    {
        *place = (crc32fast::hash(covered) ^ mask).to_le_bytes();
    }
    bytes
}
