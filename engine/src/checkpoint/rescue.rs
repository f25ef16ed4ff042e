//! What can be saved of checkpoint logs, and writing it anew: the part of repair that is about them.

use std::collections::HashMap;
use std::io;
use std::sync::Arc;

use super::Checkpoint;
use super::change::read_change;
use super::file::{TEMPORARY, write_file};
use super::load::judge;
use crate::error::Damage;
use crate::format::names;
use crate::format::record;
use crate::format::segment::{SegmentHeader, SegmentKind};
use crate::options::Options;
use crate::position::EventId;
use crate::salvage::{examine, start_of};
use crate::storage::Storage;

/// The checkpoints of a log as far as its files tell.
#[derive(Clone, Debug, Default)]
pub(crate) struct Rescued {
    pub(crate) state: HashMap<String, Checkpoint>,
    /// What is wrong with the newest file; none if all is well.
    pub(crate) damage: Option<Damage>,
    /// The newest file is of another log, or of another place.
    pub(crate) is_foreign: bool,
    /// Changes that cannot be read.
    pub(crate) lost_changes: u64,
    /// The number for the first record of a new file.
    pub(crate) next: Option<EventId>,
}

impl Rescued {
    /// The highest position of all.
    pub(crate) fn position_max(&self) -> u64 {
        let positions = self.state.values().map(|checkpoint| checkpoint.position);
        positions.max().unwrap_or(0)
    }
}

/// Reads the checkpoint logs of a log, given oldest first with the numbers of their first records: the
/// newest counts, and what stands in an older one is what it began with.
pub(crate) fn rescue(files: &[(EventId, Vec<u8>)], log_id: [u8; 16]) -> Rescued {
    let mut rescued = Rescued::default();
    let Some(((first, bytes), older)) = files.split_last() else {
        return rescued;
    };
    let name = names::checkpoints(*first);
    // Whether positions lie beyond the end is for the caller to see.
    let damage = match judge(&name, bytes, Some(log_id), *first, u64::MAX) {
        Ok(judged) => {
            rescued.state = judged.state;
            return rescued;
        }
        Err(damage) => damage,
    };
    rescued.is_foreign = SegmentHeader::decode(bytes).is_ok_and(|header| {
        header.kind != SegmentKind::Checkpoints || header.log_id != log_id || header.first != *first
    });
    rescued.damage = Some(damage);
    for (first, bytes) in older {
        let name = names::checkpoints(*first);
        if let Ok(judged) = judge(&name, bytes, Some(log_id), *first, u64::MAX) {
            rescued.state = judged.state;
        }
    }
    let (masks, start) = start_of(bytes, log_id, *first);
    let mut changes = Vec::new();
    let examined = examine(bytes, masks, start, None, &mut |place| changes.push(place));
    for place in changes {
        let record = bytes.get(place.offset..).and_then(record::reread);
        match record.as_ref().and_then(read_change) {
            Some((name, Some(checkpoint))) => {
                rescued.state.insert(name, checkpoint);
            }
            Some((name, None)) => {
                rescued.state.remove(&name);
            }
            None => rescued.lost_changes += 1,
        }
    }
    let lost = examined.faults.iter().flat_map(|fault| &fault.lost);
    rescued.lost_changes += lost
        .map(|(from, until)| until.get() - from.get())
        .sum::<u64>();
    rescued.next = first.next().map(|after| after.max(examined.next_max));
    rescued
}

/// Writes the state to a new checkpoint log, whose name is durable when this returns.
pub(crate) fn write_anew(
    storage: &Arc<dyn Storage>,
    options: &Options,
    log_id: [u8; 16],
    first: EventId,
    state: &HashMap<String, Checkpoint>,
) -> io::Result<()> {
    let mut entries: Vec<_> = state
        .iter()
        .map(|(name, checkpoint)| (name.as_str(), Some(checkpoint)))
        .collect();
    entries.sort_unstable_by_key(|(name, _)| *name);
    write_file(storage, options, log_id, first, &entries)?;
    storage.rename(TEMPORARY, &names::checkpoints(first))?;
    storage.sync_names()
}
