//! Beginning a segment: its header, its name, and the salt of this open.

use std::sync::Arc;

use crate::format::batch::Chain;
use crate::format::names;
use crate::format::segment::{HEADER_LEN, SegmentHeader, SegmentKind};
use crate::options::Options;
use crate::position::EventId;
#[cfg(feature = "sabotage")]
use crate::sabotage::Sabotage;
use crate::segment::ActiveSegment;
use crate::shared::Shared;
use crate::storage::{Storage, StorageFile};
use crate::tail::{self, Tail};

/// Gives a prepared file its header and name; the tail of it, for readers and for the writer.
pub(crate) fn open_segment(
    shared: &Shared,
    file: &Arc<dyn StorageFile>,
    first: EventId,
    recorded_at_us: u64,
) -> std::io::Result<(ActiveSegment, Tail)> {
    begin_segment(
        &shared.storage,
        &shared.options,
        shared.log_id,
        file,
        first,
        recorded_at_us,
    )
}

/// [`open_segment`] for a log that is still being opened.
pub(crate) fn begin_segment(
    storage: &Arc<dyn Storage>,
    options: &Options,
    log_id: [u8; 16],
    file: &Arc<dyn StorageFile>,
    first: EventId,
    recorded_at_us: u64,
) -> std::io::Result<(ActiveSegment, Tail)> {
    let header = SegmentHeader {
        kind: SegmentKind::Events,
        log_id,
        first,
        // Never before its first record's predecessor: an empty tail is all that recovery reads of
        // the times before it.
        created_us: options.clock.now_us().max(recorded_at_us),
        proof_key: options.entropy.next_u64(),
        reserved: 0,
    };
    tail::name_segment(
        storage,
        file,
        &header,
        names::PREPARED,
        &names::segment(first),
    )?;
    file.freeze(HEADER_LEN as u64);
    let chain = Chain {
        recorded_at_us,
        ..Chain::start(&header)
    };
    let active = ActiveSegment::new(header, Arc::clone(file));
    let tail = Tail::new(Arc::clone(file), header, chain, new_salt(options), None);
    #[cfg(feature = "sabotage")]
    let tail = crate::sabotage::planted(tail, options);
    Ok((active, tail))
}

/// A salt for this open of the log.
pub(crate) fn new_salt(options: &Options) -> u32 {
    #[cfg(feature = "sabotage")]
    if options.has(Sabotage::OldBytesLeft) {
        return 0;
    }
    let [a, b, c, d, ..] = options.entropy.next_u64().to_le_bytes();
    u32::from_le_bytes([a, b, c, d])
}
