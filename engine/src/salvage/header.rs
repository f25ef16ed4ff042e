//! Reading on without a file's header.
//!
//! The mask of the records follows from the log's id and the file's name. That of the batch headers
//! needs the proof key, which is in the damaged header alone; but the first batch header stands at a
//! known place, and if all that it says of its batch holds, the mask that makes it whole is the right
//! one.

use crate::cursor::Cursor;
use crate::format::batch::{self, BatchHeader, Chain};
use crate::format::record;
use crate::format::segment::{HEADER_LEN, Masks, SegmentHeader, SegmentKind};
use crate::position::EventId;

/// Where the proof key stands in a header.
const PROOF_KEY_OFFSET: usize = 48;

/// The masks of a file, and where its batches begin; also if its header is damaged. Then the batch
/// headers may be out of reach, and only single records are found.
pub(crate) fn start_of(bytes: &[u8], log_id: [u8; 16], first: EventId) -> (Masks, Chain) {
    if let Ok(header) = SegmentHeader::decode(bytes) {
        return (header.masks(), Chain::start(&header));
    }
    let stored_key = bytes
        .get(PROOF_KEY_OFFSET..)
        .and_then(|rest| Cursor::new(rest).take_u64());
    let header = SegmentHeader {
        kind: SegmentKind::Events,
        log_id,
        first,
        created_us: 0,
        proof_key: stored_key.unwrap_or(0),
        reserved: 0,
    };
    let by_key = header.masks();
    let start = Chain::start(&header);
    for masks in [Some(by_key), by_first_batch(bytes, by_key.record)] {
        let Some(masks) = masks else { continue };
        let rest = bytes.get(HEADER_LEN..).unwrap_or_default();
        let Some((first_batch, _)) = BatchHeader::decode(rest, masks) else {
            continue;
        };
        let chain = Chain {
            previous: first_batch.previous,
            ..start
        };
        let mut behind = chain;
        if !first_batch.is_mark() && behind.step(bytes, masks, |_, _, _| {}).is_ok() {
            return (masks, chain);
        }
    }
    (by_key, start)
}

/// The masks under which the first batch header is whole.
fn by_first_batch(bytes: &[u8], record: u32) -> Option<Masks> {
    let header = bytes.get(HEADER_LEN..)?.get(..batch::HEADER_LEN)?;
    let (covered, stored) = header.split_last_chunk::<4>()?;
    Some(Masks {
        record,
        batch: u32::from_le_bytes(*stored) ^ crc32fast::hash(covered),
    })
}

/// The id of a log, as good as its own, for a log of which one segment is left, and no header: every
/// log with an id that gives the same record mask can read its records. `first` is the first id of the
/// segment, by its name; `seed` is random. None if fewer than two records tell, from the first batch on.
pub(crate) fn log_id_by_records(bytes: &[u8], first: EventId, seed: [u8; 16]) -> Option<[u8; 16]> {
    let rest = bytes.get(HEADER_LEN + batch::HEADER_LEN..)?;
    let len = record::peek_len(rest).ok()?;
    let (covered, stored) = rest.get(..len)?.split_last_chunk::<4>()?;
    let mask = u32::from_le_bytes(*stored) ^ crc32fast::hash(covered);
    let by_batch = by_first_batch(bytes, mask)?;
    let (header, _) = BatchHeader::decode(bytes.get(HEADER_LEN..)?, by_batch)?;
    let mut chain = Chain {
        offset: HEADER_LEN,
        previous: header.previous,
        next: first,
        recorded_at_us: 0,
        synced_to: 0,
    };
    // The mask fits the first record whatever its bytes; a second one proves it.
    let mut records = 0;
    while records < 2 {
        chain.step(bytes, by_batch, |_, _, _| records += 1).ok()?;
    }
    let header = |log_id| SegmentHeader {
        kind: SegmentKind::Events,
        log_id,
        first,
        created_us: 0,
        proof_key: 0,
        reserved: 0,
    };
    let with_last = |last: u32| {
        let mut log_id = seed;
        if let Some(place) = log_id.last_chunk_mut::<4>() {
            *place = last.to_le_bytes();
        }
        log_id
    };
    // A checksum is a sum of what each bit adds to it, so the last 32 bits of the id are the solution
    // of 32 equations.
    let mask_of = |last| header(with_last(last)).masks().record;
    let base = mask_of(0);
    let mut rows: Vec<(u32, u32)> = Vec::with_capacity(32);
    for bit in 0..u32::BITS {
        let mut row = (mask_of(1 << bit) ^ base, 1 << bit);
        for (sum, bits) in &rows {
            if row.0 ^ sum < row.0 {
                row = (row.0 ^ sum, row.1 ^ bits);
            }
        }
        rows.push(row);
        rows.sort_unstable_by(|a, b| b.cmp(a));
    }
    let mut wanted = (mask ^ base, 0);
    for (sum, bits) in &rows {
        if wanted.0 ^ sum < wanted.0 {
            wanted = (wanted.0 ^ sum, wanted.1 ^ bits);
        }
    }
    (mask_of(wanted.1) == mask).then(|| with_last(wanted.1))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::batch::Mark;
    use crate::format::made::Made;
    use crate::format::record::encode_draft;

    #[test]
    fn a_log_that_has_lost_its_id_gets_one_that_reads_its_records() {
        for first in [1, 77, 1 << 40] {
            let first = EventId::new(first).unwrap();
            let lost = SegmentHeader {
                kind: SegmentKind::Events,
                log_id: *b"the lost log id.",
                first,
                created_us: 5,
                proof_key: 6,
                reserved: 0,
            };
            let masks = lost.masks();
            let mut records = Vec::new();
            for id in [first, first.next().unwrap()] {
                let draft = encode_draft(&mut records, std::iter::empty(), &[b"hello"]);
                draft.finish(&mut records, std::iter::empty(), id, 9, 11, masks.record);
            }
            let batch = BatchHeader {
                len: u32::try_from(batch::HEADER_LEN + records.len()).unwrap(),
                record_count: 2,
                mark: Mark::Synced,
                first,
                synced_to: 4_096,
                salt: 11,
                previous: lost.checksum(),
            };
            let mut bytes = vec![0; HEADER_LEN];
            bytes.extend_from_slice(&batch.encode(masks).0);
            bytes.extend_from_slice(&records);
            let log_id = log_id_by_records(&bytes, first, [3; 16]).unwrap();
            let (found, start) = start_of(&bytes, log_id, first);
            assert_eq!(found.record, masks.record);
            assert_eq!(start.previous, lost.checksum());
            bytes[HEADER_LEN + 60] ^= 1;
            assert_eq!(log_id_by_records(&bytes, first, [3; 16]), None);
        }
    }

    #[test]
    fn without_the_proof_key_only_a_first_batch_that_holds_tells_the_masks() {
        let mut made = Made::new(5);
        made.batch(&[b"one", b"two"]);
        let (log_id, first) = (made.header.log_id, made.header.first);
        let masks = |bytes: &[u8]| start_of(bytes, log_id, first).0;
        assert_eq!(masks(&made.bytes), made.header.masks());

        // Damage beside the key leaves it to be used; damage to the key leaves the first batch.
        let mut bytes = made.bytes.clone();
        bytes[8] ^= 1;
        assert_eq!(
            start_of(&bytes, log_id, first).1.previous,
            made.header.checksum()
        );
        for at in [8, PROOF_KEY_OFFSET] {
            let mut bytes = made.bytes.clone();
            bytes[at] ^= 1;
            assert_eq!(masks(&bytes), made.header.masks(), "byte {at}");
        }

        // Any bytes pass under a mask that is made of them, so what they say has to hold.
        let mut marked = Made::new(5);
        marked.mark(Mark::Synced);
        let mut damaged = made.bytes.clone();
        damaged[HEADER_LEN + 32] ^= 1;
        for mut bytes in [marked.bytes, damaged] {
            bytes[PROOF_KEY_OFFSET] ^= 1;
            let found = masks(&bytes);
            assert_eq!(found.record, made.header.masks().record);
            assert_ne!(
                found.batch,
                by_first_batch(&bytes, found.record).unwrap().batch
            );
        }
    }
}
