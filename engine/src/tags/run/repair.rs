//! Making the checksums of a run right, for the fuzz targets.

use super::header::{Header, run_key};
use super::{FILTER_BLOCK_LEN, PAGE_HEADER_LEN, PAGE_LEN, filter};

/// The longest file that is made as long as its header says, in bytes: enough for any input.
const LEN_MAX: u64 = 1 << 20;

/// Makes the checksums and the keys right, as far as the parts can be made out.
pub(crate) fn repair_run(bytes: &mut Vec<u8>) {
    if bytes.len() < PAGE_LEN {
        return;
    }
    if let Some(len) = wanted_len(bytes) {
        bytes.resize(len, 0);
    }
    cover(bytes, 8, 12, PAGE_LEN);
    let Ok(header) = Header::decode(bytes) else {
        return;
    };
    let key = run_key(header.span, header.level);
    let (pages, blocks) = bytes.split_at_mut(header.pages as usize * PAGE_LEN);
    for page in pages.chunks_exact_mut(PAGE_LEN).skip(1) {
        if let Some(place) = page.get_mut(16..PAGE_HEADER_LEN) {
            place.copy_from_slice(&key.to_le_bytes());
        }
        if page.get(4) == Some(&2) {
            repair_nodes(page);
        }
        cover(page, 0, 4, PAGE_LEN);
    }
    for (number, block) in (0..).zip(blocks.chunks_exact_mut(FILTER_BLOCK_LEN)) {
        filter::repair(block, number, key);
    }
}

/// How long the header says that the file is.
fn wanted_len(bytes: &[u8]) -> Option<usize> {
    let field = |at: usize| {
        let field = bytes.get(at..)?.first_chunk::<4>()?;
        Some(u64::from(u32::from_le_bytes(*field)))
    };
    let len = field(32)? * PAGE_LEN as u64 + field(36)? * FILTER_BLOCK_LEN as u64;
    usize::try_from(len).ok().filter(|_| len <= LEN_MAX)
}

/// Nodes follow one another up to the first that has no length.
fn repair_nodes(page: &mut [u8]) {
    let mut at = PAGE_HEADER_LEN;
    while let Some(node) = page.get_mut(at..) {
        let Some([_, _, _, _, low, high, ..]) = node.first_chunk::<6>() else {
            return;
        };
        let len = usize::from(u16::from_le_bytes([*low, *high]));
        if len < 6 || len > node.len() {
            return;
        }
        cover(node, 0, 4, len);
        at += len;
    }
}

/// Writes at `place` the checksum of the bytes between the other two.
fn cover(bytes: &mut [u8], place: usize, from: usize, to: usize) {
    let Some(checksum) = bytes.get(from..to).map(crc32fast::hash) else {
        return;
    };
    if let Some(place) = bytes
        .get_mut(place..)
        .and_then(|rest| rest.first_chunk_mut::<4>())
    {
        *place = checksum.to_le_bytes();
    }
}
