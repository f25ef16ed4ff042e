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
