//! Faults to plant on purpose, one at a time, to see whether the tests of the promises notice: a
//! test that cannot fail proves nothing.
//!
//! Compiled with the feature `sabotage` only, and even then a log is sound unless
//! [`Options::sabotage`](crate::Options::sabotage) names a fault. Each is a small branch at the place
//! where the real code keeps the promise; what a branch needs more than a line for stands here.

use crate::format::batch::{BatchHeader, Chain};
use crate::format::segment::{SegmentHeader, SegmentKind};
use crate::options::Options;
use crate::recovery::Ending;
use crate::tail::Tail;

/// What is done wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sabotage {
    /// Appends are answered as durable before the sync.
    AckBeforeSync,
    /// The sync of the log does nothing.
    NoSync,
    /// A sync that failed is tried again, and the second answer is believed.
    FailedSyncRetried,
    /// An open takes what it reads for what is on the disk, and does not write it again.
    TailNotRewritten,
    /// Syncs of names do nothing.
    NoNameSync,
    /// A sync of names that failed is tried again, and the next open believes in every name it finds.
    FailedNameSyncForgiven,
    /// The end is published before the sync.
    ReadersSeeUnsynced,
    /// Recovery goes on behind the first batch that is not whole, with the next one that is.
    ReaderResyncs,
    /// What stands behind a cut is left there, and every open uses the same salt.
    OldBytesLeft,
    /// Each record is written as a batch of its own.
    BatchNotAtomic,
    /// The tags of the tail, keys among them, are not rebuilt by an open.
    KeysForgotten,
    /// Changes of checkpoints are answered before they are synced.
    CheckpointAckBeforeSync,
    /// A checkpoint is stored before the log is durable up to it.
    CheckpointBeforeLog,
    /// Records are handed out without a look at their checksums.
    ChecksumIgnored,
}

impl Sabotage {
    /// All of them.
    pub const ALL: [Self; 14] = [
        Self::AckBeforeSync,
        Self::NoSync,
        Self::FailedSyncRetried,
        Self::TailNotRewritten,
        Self::NoNameSync,
        Self::FailedNameSyncForgiven,
        Self::ReadersSeeUnsynced,
        Self::ReaderResyncs,
        Self::OldBytesLeft,
        Self::BatchNotAtomic,
        Self::KeysForgotten,
        Self::CheckpointAckBeforeSync,
        Self::CheckpointBeforeLog,
        Self::ChecksumIgnored,
    ];
}

impl Options {
    /// Whether this fault is planted.
    pub(crate) fn has(&self, fault: Sabotage) -> bool {
        self.sabotage == Some(fault)
    }
}

/// The tail with the fault of these options.
pub(crate) fn planted(mut tail: Tail, options: &Options) -> Tail {
    tail.sabotage = options.sabotage;
    tail
}

/// Whether a sync of the file is left out.
pub(crate) fn skips_sync(tail: &Tail) -> bool {
    match tail.sabotage {
        Some(Sabotage::NoSync) => true,
        Some(Sabotage::CheckpointAckBeforeSync) => tail.header.kind == SegmentKind::Checkpoints,
        _ => false,
    }
}

/// An ending that asks for less to be written than there is to write.
pub(crate) fn taken_for_settled(options: &Options, mut ending: Ending) -> Ending {
    match options.sabotage {
        Some(Sabotage::TailNotRewritten) => ending.chain.synced_to = ending.chain.offset as u64,
        Some(Sabotage::OldBytesLeft) => ending.dirty_end = ending.chain.offset,
        _ => {}
    }
    ending
}

/// The ending behind the last batch that is whole, whatever lies before it.
pub(crate) fn resync(
    options: &Options,
    bytes: &[u8],
    header: &SegmentHeader,
    mut ending: Ending,
    mut places: Vec<usize>,
) -> (Ending, Vec<usize>) {
    let masks = header.masks();
    let mut offset = ending.chain.offset;
    while let Some(rest) = bytes.get(offset..)
        && options.has(Sabotage::ReaderResyncs)
        && !rest.is_empty()
    {
        offset += 8;
        let Some((found, _)) = BatchHeader::decode(rest, masks) else {
            continue;
        };
        let mut chain = Chain {
            offset: offset - 8,
            previous: found.previous,
            next: found.first,
            ..ending.chain
        };
        let mut more = Vec::new();
        if chain.step(bytes, masks, |at, _, _| more.push(at)).is_ok() {
            offset = chain.offset;
            ending.chain = chain;
            ending.dirty_end = ending.dirty_end.max(offset);
            places.extend(more);
        }
    }
    (ending, places)
}
