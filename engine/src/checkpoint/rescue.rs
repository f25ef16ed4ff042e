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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::made::Made;
    use bytes::Bytes;

    /// What a name is set to, as the body of a record; the position 0 removes it.
    fn change(name: &str, position: u8) -> Vec<u8> {
        let mut body = vec![if position == 0 { 2 } else { 1 }, 0];
        body.extend_from_slice(&[u8::try_from(name.len()).unwrap(), 0, 0, 0, 0, 0]);
        body.extend_from_slice(&[position, 0, 0, 0, 0, 0, 0, 0]);
        body.extend_from_slice(name.as_bytes());
        body
    }

    /// A checkpoint log whose records begin with `first`: each change in a batch of its own.
    fn log(first: u64, changes: &[(&str, u8)]) -> Made {
        let mut made = Made::of(SegmentKind::Checkpoints, first);
        for (name, position) in changes {
            made.batch(&[&change(name, *position)]);
            made.sync();
        }
        made
    }

    fn rescued(files: &[(u64, Vec<u8>)]) -> Rescued {
        let id = |number| EventId::new(number).unwrap();
        let files: Vec<_> = files
            .iter()
            .map(|(at, bytes)| (id(*at), bytes.clone()))
            .collect();
        rescue(&files, log(1, &[]).header.log_id)
    }

    fn state(rescued: &Rescued) -> Vec<(&str, u64)> {
        let state = rescued.state.iter();
        let mut state: Vec<_> = state
            .map(|(name, it)| (name.as_str(), it.position))
            .collect();
        state.sort_unstable();
        state
    }

    const LEN: usize = 16 << 10;

    #[test]
    fn a_sound_log_tells_all_and_only_the_newest_counts() {
        let old = log(1, &[("a", 9), ("gone", 8)]).file(LEN);
        let new = log(4, &[("a", 1), ("b", 2), ("a", 3), ("b", 0)]).file(LEN);
        let found = rescued(&[(1, old), (4, new)]);
        assert_eq!(state(&found), [("a", 3)]);
        assert_eq!(
            (found.position_max(), found.damage, found.next),
            (3, None, None)
        );
        assert_eq!(rescued(&[]).position_max(), 0);
    }

    #[test]
    fn of_a_damaged_log_the_changes_that_read_well_are_kept_on_top_of_the_older_ones() {
        let old = log(1, &[("a", 9), ("old", 8), ("b", 7)]);
        let new = log(4, &[("a", 1), ("b", 2), ("a", 3), ("b", 0), ("c", 4)]);
        let mut damaged = new.file(LEN);
        damaged[new.records[2].0 + 8] ^= 1;
        let found = rescued(&[(1, old.file(LEN)), (4, damaged.clone())]);
        assert_eq!(state(&found), [("a", 1), ("c", 4), ("old", 8)]);
        assert_eq!((found.lost_changes, found.is_foreign), (1, false));
        assert_eq!(found.next, EventId::new(9));
        assert_eq!(found.damage.unwrap().offset, new.records[2].0 as u64);
        assert_eq!(found.state["c"].definition, Bytes::new());
        // An older one that is damaged, too, or stands elsewhere, says nothing.
        let mut bytes = old.file(LEN);
        bytes[60] ^= 1;
        for (at, bytes) in [(1, bytes), (2, old.file(LEN))] {
            let found = rescued(&[(at, bytes), (4, damaged.clone())]);
            assert_eq!(state(&found), [("a", 1), ("c", 4)]);
        }
    }

    #[test]
    fn a_change_that_cannot_be_read_is_damage_and_counted() {
        let mut made = log(4, &[("a", 1)]);
        made.batch(&[b"no change"]);
        let found = rescued(&[(4, made.file(LEN))]);
        assert_eq!(state(&found), [("a", 1)]);
        assert_eq!(found.lost_changes, 1);
        assert_eq!(found.next, EventId::new(6));
        let what = found.damage.unwrap().what;
        assert_eq!(what, "a change of a checkpoint cannot be read");
    }

    #[test]
    fn a_log_of_another_place_or_kind_is_foreign_and_a_damaged_header_is_not() {
        let made = log(4, &[("a", 1)]);
        assert!(rescued(&[(5, made.file(LEN))]).is_foreign);
        assert!(rescued(&[(4, Made::new(4).file(LEN))]).is_foreign);
        let mut other = Made::of(SegmentKind::Checkpoints, 4);
        other.header.log_id[0] ^= 1;
        let mut bytes = other.header.encode();
        bytes.resize(LEN, 0);
        assert!(rescued(&[(4, bytes)]).is_foreign);
        let mut damaged = made.file(LEN);
        damaged[60] ^= 1;
        let found = rescued(&[(4, damaged)]);
        assert_eq!((found.is_foreign, state(&found)), (false, vec![("a", 1)]));
    }

    #[test]
    fn a_checkpoint_at_the_end_of_the_log_is_beyond_its_last_event() {
        let made = log(4, &[("a", 7)]);
        let id = EventId::new(4).unwrap();
        let judged = |end| judge("a.ckp", &made.file(LEN), None, id, end).map(drop);
        assert_eq!(judged(8), Ok(()));
        let damage = judged(7).unwrap_err();
        assert!(
            damage
                .what
                .contains("is at 7, beyond the last event, which is 6"),
            "{damage}"
        );
    }
}
