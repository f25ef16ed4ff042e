//! From the bytes of a tail to where the log ends (FORMAT.md, section 7).
//!
//! [`judge`] is the decision, a pure function of the file's bytes; carrying it out is
//! [`tail::settle`](crate::tail::settle). The same decision serves the log and the checkpoint log.

use crate::error::Damage;
use crate::format::ALIGNMENT;
use crate::format::batch::{BatchFault, BatchHeader, Chain, HEADER_LEN, Mark};
use crate::format::record::Record;
use crate::format::segment::{Masks, SegmentHeader};
use crate::segment::describe;
use crate::tail::RESERVED_LEN;

/// What opening a log found and did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RecoveryReport {
    /// Whether the log was closed in order the last time, or is new.
    pub clean: bool,
    /// Bytes behind the end that were dropped: written, but never acknowledged as durable.
    pub dropped_len: u64,
    /// Bytes before the end that had no proof of a sync, and were written again.
    pub rewritten_len: u64,
    /// Records in the tail segment, which were read to open the log.
    pub tail_records: u64,
    /// Sealed segments whose part of the tag index had to be rebuilt.
    pub segments_reindexed: u64,
    /// Events that an earlier repair has recorded as lost.
    pub lost_records: u64,
}

/// Where a file ends, and in which state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ending {
    /// Behind the last valid batch.
    pub(crate) chain: Chain,
    /// What the last valid batch was, if it was a mark.
    pub(crate) mark: Option<Mark>,
    /// Behind the last byte that is not zero; the same as the chain's offset if nothing is torn.
    pub(crate) dirty_end: usize,
    /// Behind the first mark, if there is one.
    pub(crate) first_mark_end: Option<usize>,
}

impl Ending {
    /// Bytes behind the end that are not zeros only.
    pub(crate) fn dropped_len(&self) -> u64 {
        self.dirty_end.saturating_sub(self.chain.offset) as u64
    }
}

/// Decides where the file ends, or that it is damaged. Shows every record of the valid part, with
/// its offset, to `visit`.
///
/// # Errors
///
/// [`Damage`] at a place that was once known durable.
pub(crate) fn judge(
    name: &str,
    bytes: &[u8],
    header: &SegmentHeader,
    mut visit: impl FnMut(usize, &Record<'_>),
) -> Result<Ending, Damage> {
    let masks = header.masks();
    let mut chain = Chain::start(header);
    let mut mark = None;
    let mut batch = Vec::new();
    let mut records_end = chain.offset;
    let mut first_mark_end = None;
    let fault = loop {
        batch.clear();
        match chain.step(bytes, masks, |offset, _, record| {
            batch.push((offset, *record))
        }) {
            Ok(header) => {
                mark = header.is_mark().then_some(header.mark);
                match mark {
                    None => records_end = chain.offset,
                    Some(_) => first_mark_end = first_mark_end.or(Some(chain.offset)),
                }
                for (offset, record) in &batch {
                    visit(*offset, record);
                }
                if mark == Some(Mark::Seal) {
                    break BatchFault::End;
                }
            }
            Err(fault) => break fault,
        }
    };
    if is_truncated(bytes, masks, chain.offset, records_end) {
        return Err(Damage {
            file: name.to_owned(),
            offset: bytes.len() as u64,
            first_id: Some(chain.next),
            last_id: None,
            what: "the file is shorter than it was made".to_owned(),
        });
    }
    let dirty_end = nonzero_end(bytes).max(chain.offset);
    // A header may end in zeros: those of its checksum.
    let headers_end = dirty_end.saturating_add(HEADER_LEN);
    let with_headers = bytes.get(..headers_end).unwrap_or(bytes);
    if let Some(proof) = proof_behind(with_headers, masks, chain.offset) {
        return Err(lost(name, &chain, fault, &proof));
    }
    // Bytes behind a seal prove nothing: they may be of a torn write that an earlier recovery has
    // zeroed, by a sync that failed; the page cache showed zeros from then on, and the disk did not.
    Ok(Ending {
        chain,
        mark,
        dirty_end,
        first_mark_end,
    })
}

/// Whether the file has lost its end. It has had its full length since before the first batch, and
/// every batch left room behind it: neither a batch that reaches beyond the end nor one without that
/// room can be the doing of a torn write.
pub(crate) fn is_truncated(bytes: &[u8], masks: Masks, end: usize, records_end: usize) -> bool {
    let rest = bytes.get(end..).unwrap_or_default();
    let reaches_beyond = BatchHeader::decode(rest, masks)
        .is_some_and(|(header, _)| header.len as usize > rest.len());
    reaches_beyond || records_end as u64 + RESERVED_LEN > bytes.len() as u64
}

/// The offset behind the last byte that is not zero.
pub(crate) fn nonzero_end(bytes: &[u8]) -> usize {
    const ZEROS: [u8; 4_096] = [0; 4_096];
    let mut end = bytes.len();
    // Most of a tail is unused space: whole blocks compare at the speed of memory.
    while let Some(block) = end
        .checked_sub(ZEROS.len())
        .and_then(|start| bytes.get(start..end))
    {
        if block != ZEROS {
            break;
        }
        end -= ZEROS.len();
    }
    bytes
        .get(..end)
        .and_then(|rest| rest.iter().rposition(|byte| *byte != 0))
        .map_or(0, |last| last + 1)
}

/// A whole batch header behind `end` that says the log was durable beyond `end` when it was written.
fn proof_behind(bytes: &[u8], masks: Masks, end: usize) -> Option<BatchHeader> {
    let mut offset = end.next_multiple_of(ALIGNMENT);
    loop {
        let rest = bytes.get(offset..)?;
        if rest.is_empty() {
            return None;
        }
        match BatchHeader::decode(rest, masks) {
            Some((header, _)) if header.synced_to > end as u64 => return Some(header),
            Some(_) | None => offset += ALIGNMENT,
        }
    }
}

fn lost(name: &str, chain: &Chain, fault: BatchFault, proof: &BatchHeader) -> Damage {
    let (offset, what) = match fault {
        BatchFault::End => (chain.offset, "the bytes are gone".to_owned()),
        BatchFault::Header => (
            chain.offset,
            "the header of the batch is damaged".to_owned(),
        ),
        BatchFault::OutOfChain => (
            chain.offset,
            "the batch is not the one that follows here".to_owned(),
        ),
        BatchFault::Record { offset, fault, .. } => (offset, describe(fault)),
        BatchFault::Contents { offset, .. } => {
            (offset, "the records do not fit their batch".to_owned())
        }
    };
    let first_id = match fault {
        BatchFault::Record { id, .. } | BatchFault::Contents { id, .. } => id,
        BatchFault::End | BatchFault::Header | BatchFault::OutOfChain => chain.next,
    };
    let last_id = crate::position::EventId::new(proof.first.get().saturating_sub(1));
    Damage {
        file: name.to_owned(),
        offset: offset as u64,
        first_id: Some(first_id),
        last_id: last_id.filter(|last| *last >= first_id),
        what: format!(
            "{what}, and a later batch says that the log was durable up to offset {}",
            proof.synced_to
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::made::Made;

    const LEN: usize = 16 << 10;

    fn judged(made: &Made, bytes: &[u8]) -> Result<Ending, Damage> {
        judge("a.seg", bytes, &made.header, |_, _| {})
    }

    /// Two batches of two records each, none of them proved.
    fn made() -> Made {
        let mut made = Made::new(5);
        made.batch(&[b"one", b"two"]);
        made.batch(&[b"three", b"four"]);
        made
    }

    #[test]
    fn a_sound_file_ends_behind_its_last_batch_and_shows_its_records() {
        let mut made = made();
        let mut shown = Vec::new();
        let ending = judge("a.seg", &made.file(LEN), &made.header, |offset, record| {
            shown.push((offset, record.id.get()));
        });
        let ending = ending.unwrap();
        let places = made.records.iter().map(|(offset, _)| *offset);
        assert!(shown.into_iter().eq(places.zip(5..)));
        assert_eq!(ending.chain.offset, made.bytes.len());
        assert_eq!((ending.mark, ending.first_mark_end), (None, None));
        assert_eq!(
            (ending.dirty_end, ending.dropped_len()),
            (made.bytes.len(), 0)
        );

        made.sync();
        made.mark(Mark::Synced);
        let first_mark_end = made.bytes.len();
        made.mark(Mark::Clean);
        let ending = judged(&made, &made.file(LEN)).unwrap();
        assert_eq!(ending.mark, Some(Mark::Clean));
        assert_eq!(ending.first_mark_end, Some(first_mark_end));
        assert_eq!(ending.chain.offset, made.bytes.len());
        made.batch(&[b"five"]);
        let ending = judged(&made, &made.file(LEN)).unwrap();
        assert_eq!(
            (ending.mark, ending.first_mark_end),
            (None, Some(first_mark_end))
        );
    }

    #[test]
    fn behind_a_seal_nothing_follows_and_what_stands_there_is_dropped() {
        let mut made = made();
        made.mark(Mark::Seal);
        let end = made.bytes.len();
        made.batch(&[b"left over"]);
        let ending = judged(&made, &made.file(LEN)).unwrap();
        assert_eq!((ending.mark, ending.chain.offset), (Some(Mark::Seal), end));
        assert_eq!(ending.chain.next.get(), 9);
        assert_eq!(ending.dropped_len(), (made.bytes.len() - end) as u64);
    }

    #[test]
    fn a_fault_below_a_proof_is_damage_and_one_at_or_behind_it_is_torn() {
        let second = made().batches[1];
        // What the batch behind the fault says was durable, and whether that proves damage.
        for (synced_to, is_damage) in [(second - 1, false), (second, false), (second + 1, true)] {
            let mut made = made();
            made.synced_to = synced_to as u64;
            made.batch(&[b"five"]);
            let mut bytes = made.file(LEN);
            bytes[made.records[3].0 + 8] ^= 1;
            match judged(&made, &bytes) {
                Ok(ending) => {
                    assert!(!is_damage, "{synced_to}");
                    assert_eq!(ending.chain.offset, second);
                    assert_eq!(ending.dropped_len(), (made.bytes.len() - second) as u64);
                }
                Err(damage) => {
                    assert!(is_damage, "{synced_to}");
                    assert_eq!(damage.offset, made.records[3].0 as u64);
                    let ids = [damage.first_id, damage.last_id];
                    assert_eq!(ids.map(|id| id.unwrap().get()), [8, 8]);
                }
            }
        }
    }

    #[test]
    fn a_damaged_mark_has_cost_no_event() {
        let mut made = made();
        made.sync();
        made.mark(Mark::Synced);
        made.sync();
        made.mark(Mark::Synced);
        let mut bytes = made.file(LEN);
        bytes[made.batches[2]] ^= 1;
        let damage = judged(&made, &bytes).unwrap_err();
        assert_eq!(damage.offset, made.batches[2] as u64);
        assert_eq!(damage.first_id.map(|id| id.get()), Some(9));
        assert_eq!(damage.last_id, None);
    }

    #[test]
    fn a_file_without_the_room_that_every_batch_leaves_has_lost_its_end() {
        let made = made();
        let reserved = usize::try_from(RESERVED_LEN).unwrap();
        let shortest = made.bytes.len() + reserved;
        assert!(judged(&made, &made.file(shortest)).is_ok());
        let damage = judged(&made, &made.file(shortest - 1)).unwrap_err();
        assert_eq!(damage.offset, shortest as u64 - 1);
        assert_eq!(damage.what, "the file is shorter than it was made");

        // A mark may stand in that room, a batch that reaches beyond the file cannot.
        let mut marked = made;
        let records_end = marked.bytes.len();
        marked.mark(Mark::Clean);
        assert!(judged(&marked, &marked.file(records_end + reserved)).is_ok());
        let masks = marked.header.masks();
        let (at, len) = (marked.batches[1], marked.bytes.len() - 48);
        let cut = |len: usize| is_truncated(&marked.bytes[..len], masks, at, 0);
        assert!(!cut(len));
        assert!(cut(len - 1));
    }

    #[test]
    fn the_last_byte_that_is_not_zero_is_found_wherever_it_stands() {
        for len in [0, 1, 4_095, 4_096, 4_097, 8_192, 9_000] {
            let mut bytes = vec![0; len];
            assert_eq!(nonzero_end(&bytes), 0);
            for at in [0, 1, 903, 904, 4_095, 4_096, 4_097, 8_191, 8_999] {
                if at < len {
                    bytes[at] = 1;
                    assert_eq!(nonzero_end(&bytes), at + 1, "of {len}");
                }
            }
        }
    }
}
