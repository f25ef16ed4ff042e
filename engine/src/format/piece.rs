//! The header of a piece of the raw stream (FORMAT.md, section 16).

use super::segment::SegmentHeader;

const MAGIC: &[u8; 8] = b"STRANDRW";
const VERSION: u32 = 1;

/// What a reader of raw records needs of a segment: its header without the proof key.
pub(crate) fn encode(header: &SegmentHeader) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(48);
    bytes.extend_from_slice(MAGIC);
    bytes.extend_from_slice(&VERSION.to_le_bytes());
    bytes.extend_from_slice(&[0; 4]);
    bytes.extend_from_slice(&header.log_id);
    bytes.extend_from_slice(&header.first.get().to_le_bytes());
    bytes.extend_from_slice(&[0; 4]);
    let checksum = crc32fast::hash(&bytes);
    bytes.extend_from_slice(&checksum.to_le_bytes());
    bytes
}
