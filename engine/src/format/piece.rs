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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::segment::SegmentKind;
    use crate::position::EventId;

    #[test]
    fn a_piece_says_which_log_and_segment_it_is_of_and_keeps_the_proof_key() {
        let header = SegmentHeader {
            kind: SegmentKind::Events,
            log_id: *b"0123456789abcdef",
            first: EventId::new(0x1122).unwrap(),
            created_us: u64::MAX,
            proof_key: u64::MAX,
            reserved: u32::MAX,
        };
        let bytes = encode(&header);
        let mut want = Vec::new();
        want.extend_from_slice(b"STRANDRW\x01\0\0\0\0\0\0\0");
        want.extend_from_slice(b"0123456789abcdef");
        want.extend_from_slice(b"\x22\x11\0\0\0\0\0\0\0\0\0\0");
        let checksum = crc32fast::hash(&want);
        want.extend_from_slice(&checksum.to_le_bytes());
        assert_eq!(bytes, want);
    }
}
