//! Making checksums right: behind a wrong one a fuzzer would never get.

use crate::format::segment::{HEADER_LEN, SegmentHeader};
use crate::format::{ALIGNMENT, batch, record};
use crate::tags::repair_run;

/// What becomes of the field by which a batch names the one before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Chaining {
    /// It stays.
    Kept,
    /// It names the batch before, whose checksum has become another one.
    Mended,
}

/// Makes the checksums of a file with this name right, as far as its parts can be made out; all else
/// stays, except that a run gets the length that its header says, if that is less than a mebibyte.
pub fn right_checksums(name: &str, bytes: &mut Vec<u8>, chaining: Chaining) {
    if name.ends_with(".tags") {
        repair_run(bytes);
    } else if name.ends_with(".idx") {
        let covered = bytes.len().saturating_sub(4);
        put_checksum(bytes, covered, 0);
    } else {
        repair_batches(bytes, chaining);
    }
}

/// Writes the checksum of the first `covered` bytes behind those; gives it.
pub(super) fn put_checksum(bytes: &mut [u8], covered: usize, mask: u32) -> Option<u32> {
    let (covered, rest) = bytes.split_at_mut_checked(covered)?;
    let place = rest.first_chunk_mut::<4>()?;
    let checksum = crc32fast::hash(covered) ^ mask;
    *place = checksum.to_le_bytes();
    Some(checksum)
}

/// The same for a segment or a checkpoint log: the header, and at each aligned place what begins as a
/// batch does, with the records in it.
fn repair_batches(bytes: &mut [u8], chaining: Chaining) {
    put_checksum(bytes, 60, 0);
    let Ok(header) = SegmentHeader::decode(bytes) else {
        return;
    };
    let masks = header.masks();
    let mut previous = header.checksum();
    let mut offset = HEADER_LEN;
    while let Some(rest) = bytes.get_mut(offset..) {
        if rest.len() < batch::HEADER_LEN {
            return;
        }
        if !batch::begins_batch(rest) {
            offset += ALIGNMENT;
            continue;
        }
        let mut end = batch::HEADER_LEN;
        while let Some(behind) = rest.get_mut(end..)
            && !batch::begins_batch(behind)
            && let Ok(len) = record::peek_len(behind)
        {
            put_checksum(behind, len - 4, masks.record);
            end += len;
        }
        if let Some(place) = rest
            .get_mut(36..)
            .and_then(|rest| rest.first_chunk_mut::<4>())
            && chaining == Chaining::Mended
        {
            *place = previous.to_le_bytes();
        }
        previous = put_checksum(rest, batch::HEADER_LEN - 4, masks.batch).unwrap_or(previous);
        offset += end;
    }
}
