//! Events that are lost and known to be lost: what repair has recorded, as the rest of the engine asks
//! for it.

use std::collections::BTreeMap;
use std::io;
use std::ops::Range;
use std::sync::Arc;

use crate::error::{Damage, OpenError};
use crate::format::losses::{LossesFault, SegmentLosses, VERSION};
use crate::format::names;
use crate::position::EventId;
use crate::storage::{Access, Storage, read_exact_at};
use crate::tags::Span;

/// The longest record of losses that is read, in bytes: several times what a range for every second
/// record of the longest segment takes.
const FILE_LEN_MAX: u64 = 1 << 30;

/// All recorded losses of a log; never changed while it is open.
#[derive(Clone, Debug, Default)]
pub(crate) struct Losses {
    /// Half-open, ascending, none of them empty.
    ranges: Vec<(EventId, EventId)>,
}

impl Losses {
    /// What the files of `segments` say, which are the first ids of all segments in order; ids that a
    /// later segment has by now are not lost.
    pub(crate) fn new(files: &BTreeMap<EventId, SegmentLosses>, segments: &[EventId]) -> Self {
        let mut ranges: Vec<(EventId, EventId)> = Vec::new();
        for (at, first) in segments.iter().enumerate() {
            let Some(losses) = files.get(first) else {
                continue;
            };
            let next = segments.get(at + 1).copied().unwrap_or(losses.end);
            for (from, until) in &losses.ranges {
                let until = (*until).min(next);
                if *from >= until {
                    continue;
                }
                // One that goes on where the segment before ended is the same gap.
                match ranges.last_mut() {
                    Some((_, end)) if *end == *from => *end = until,
                    _ => ranges.push((*from, until)),
                }
            }
        }
        Self { ranges }
    }

    /// All of them, ascending and half-open.
    pub(crate) fn ranges(&self) -> &[(EventId, EventId)] {
        &self.ranges
    }

    /// How many ids are lost.
    pub(crate) fn count(&self) -> u64 {
        let lens = self
            .ranges
            .iter()
            .map(|(from, until)| until.get() - from.get());
        lens.sum()
    }

    /// The gap in which `id` lies.
    pub(crate) fn gap_of(&self, id: EventId) -> Option<(EventId, EventId)> {
        let at = self.ranges.partition_point(|(_, until)| *until <= id);
        let gap = self.ranges.get(at).copied();
        gap.filter(|(from, _)| *from <= id)
    }

    /// The parts of `first..end` that are in no gap, half-open.
    pub(crate) fn without(&self, first: EventId, end: EventId) -> Vec<(EventId, EventId)> {
        let mut parts = Vec::new();
        let mut from = first;
        while from < end {
            if let Some((_, until)) = self.gap_of(from) {
                from = until;
                continue;
            }
            let until = self.next_from(from).map_or(end, |gap| gap.min(end));
            parts.push((from, until));
            from = until;
        }
        parts
    }

    /// Where the next gap at or behind `id` begins.
    pub(crate) fn next_from(&self, id: EventId) -> Option<EventId> {
        let at = self.ranges.partition_point(|(_, until)| *until <= id);
        self.ranges.get(at).map(|(from, _)| (*from).max(id))
    }

    /// Where the last gap that ends at or before `id` ends.
    pub(crate) fn end_before(&self, id: EventId) -> Option<EventId> {
        let at = self.ranges.partition_point(|(_, until)| *until <= id);
        at.checked_sub(1)
            .and_then(|at| self.ranges.get(at))
            .map(|(_, until)| *until)
    }

    /// One past the last id of `first..end` that is not lost; `first` if all are.
    pub(crate) fn trimmed_end(&self, first: EventId, end: EventId) -> EventId {
        let last = EventId::new(end.get() - 1).filter(|last| *last >= first);
        match last.and_then(|last| self.gap_of(last)) {
            Some((from, _)) => from.max(first),
            None => end,
        }
    }

    /// The lost ids among these, as spans of the tag index, ascending.
    pub(crate) fn within(&self, span: Span) -> Vec<Span> {
        let clipped = self.ranges.iter().map(|(from, until)| Span {
            first: from.get().max(span.first),
            end: until.get().min(span.end),
        });
        clipped.filter(|lost| !lost.is_empty()).collect()
    }

    /// The gap as readers are told it.
    pub(crate) fn damage(&self, file: String, ids: Range<EventId>) -> Damage {
        Damage {
            file,
            offset: 0,
            first_id: Some(ids.start),
            last_id: EventId::new(ids.end.get() - 1),
            what: "lost, and recorded as lost by a repair".to_owned(),
        }
    }
}

/// Reads the record of losses of the segment that begins with `first`.
///
/// # Errors
///
/// [`OpenError::Damaged`] if it is not whole, or of another log or another place: what it said is
/// not known, and ids that were cut must not come back.
pub(crate) fn load(
    storage: &Arc<dyn Storage>,
    first: EventId,
    log_id: Option<[u8; 16]>,
) -> Result<SegmentLosses, OpenError> {
    let name = names::losses(first);
    let damage = |what: &str| {
        OpenError::Damaged(Damage {
            file: name.clone(),
            offset: 0,
            first_id: None,
            last_id: None,
            what: what.to_owned(),
        })
    };
    let file = storage.open(&name, Access::Read)?;
    let len = file.len();
    if len > FILE_LEN_MAX {
        return Err(damage("the file is longer than a record of losses can be"));
    }
    let mut bytes = vec![0; usize::try_from(len).map_err(io::Error::other)?];
    read_exact_at(&*file, 0, &mut bytes)?;
    let losses = SegmentLosses::decode(&bytes).map_err(|fault| match fault {
        LossesFault::Damaged => damage("the record of losses is damaged"),
        LossesFault::Newer(version) => OpenError::NewerFormat {
            file: name.clone(),
            version,
            supported: VERSION,
        },
    })?;
    if losses.first != first || log_id.is_some_and(|log_id| losses.log_id != log_id) {
        return Err(damage("the file belongs to another log or another place"));
    }
    Ok(losses)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(number: u64) -> EventId {
        EventId::new(number).unwrap()
    }

    fn of(first: u64, end: u64, ranges: &[(u64, u64)]) -> SegmentLosses {
        SegmentLosses {
            log_id: [0; 16],
            first: id(first),
            end: id(end),
            cut: 0,
            made_at_us: 0,
            ranges: ranges.iter().map(|(a, b)| (id(*a), id(*b))).collect(),
        }
    }

    #[test]
    fn gaps_are_joined_across_segments_and_end_where_a_segment_is_there_again() {
        let files = [
            of(1, 10, &[(3, 4), (8, 10)]),
            of(10, 30, &[(10, 12), (15, 30)]),
        ];
        let files = files.into_iter().map(|file| (file.first, file)).collect();
        let losses = Losses::new(&files, &[id(1), id(10), id(20), id(30)]);
        let ranges: Vec<_> = losses
            .ranges()
            .iter()
            .map(|(a, b)| (a.get(), b.get()))
            .collect();
        assert_eq!(ranges, [(3, 4), (8, 12), (15, 20)]);
        assert_eq!(losses.count(), 10);
        assert_eq!(losses.gap_of(id(11)), Some((id(8), id(12))));
        assert_eq!(losses.gap_of(id(12)), None);
        assert_eq!(losses.next_from(id(4)), Some(id(8)));
        assert_eq!(losses.next_from(id(9)), Some(id(9)));
        assert_eq!(losses.next_from(id(20)), None);
        let parts = losses.without(id(2), id(17));
        let parts: Vec<_> = parts.iter().map(|(a, b)| (a.get(), b.get())).collect();
        assert_eq!(parts, [(2, 3), (4, 8), (12, 15)]);
        assert_eq!(losses.end_before(id(14)), Some(id(12)));
        assert_eq!(losses.end_before(id(3)), None);
        assert_eq!(losses.trimmed_end(id(1), id(10)), id(8));
        assert_eq!(losses.trimmed_end(id(20), id(30)), id(30));
        assert_eq!(losses.trimmed_end(id(15), id(20)), id(15));
    }

    #[test]
    fn the_lost_ids_of_a_span_are_clipped_to_it() {
        let file = of(1, 30, &[(3, 5), (8, 12), (20, 25)]);
        let losses = Losses::new(&[(id(1), file)].into(), &[id(1)]);
        let within = |first, end| {
            let spans = losses.within(Span { first, end }).into_iter();
            spans.map(|span| (span.first, span.end)).collect::<Vec<_>>()
        };
        assert_eq!(within(1, 30), [(3, 5), (8, 12), (20, 25)]);
        assert_eq!(within(4, 9), [(4, 5), (8, 9)]);
        assert_eq!(within(9, 10), [(9, 10)]);
        assert_eq!(within(5, 8), []);
        let damage = losses.damage("a.seg".to_owned(), id(8)..id(12));
        assert_eq!(
            (damage.first_id, damage.last_id),
            (Some(id(8)), Some(id(11)))
        );
        assert_eq!(damage.what, "lost, and recorded as lost by a repair");
    }

    #[test]
    fn a_gap_whose_segment_is_there_again_is_none() {
        let file = of(1, 30, &[(3, 5), (10, 12), (20, 25)]);
        let losses = Losses::new(&[(id(1), file)].into(), &[id(1), id(10)]);
        assert_eq!(losses.ranges(), [(id(3), id(5))]);
        assert_eq!(losses.count(), 2);
        assert_eq!(losses.end_before(id(5)), Some(id(5)));
        assert_eq!(losses.end_before(id(4)), None);
        assert_eq!(losses.trimmed_end(id(4), id(5)), id(4));
        assert_eq!(losses.trimmed_end(id(5), id(5)), id(5));
        assert_eq!(losses.without(id(3), id(5)), []);
        assert_eq!(losses.without(id(5), id(5)), []);
        assert_eq!(losses.without(id(1), id(4)), [(id(1), id(3))]);
    }
}
