//! A walk along a file that goes on behind damage.

use super::region::{Place, Region, records_max, salvage};
use crate::format::ALIGNMENT;
use crate::format::batch::{self, BatchFault, BatchHeader, Chain, Mark};
use crate::format::segment::{HEADER_LEN, Masks};
use crate::position::EventId;
use crate::recovery::nonzero_end;
use crate::segment::describe;

/// Where a file is not what was written, and what that costs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Fault {
    pub(crate) offset: usize,
    /// Ids that cannot be read because of it, half-open, ascending.
    pub(crate) lost: Vec<(EventId, EventId)>,
    pub(crate) what: String,
}

/// What a file holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Examined {
    pub(crate) faults: Vec<Fault>,
    /// The last thing in it is a whole seal.
    pub(crate) is_sealed: bool,
    /// Behind the last batch, whole or not.
    pub(crate) offset: usize,
    /// One past the last id that was read, or is known to be lost.
    pub(crate) next: EventId,
    /// One past the last id that may have been given out: bytes that are not zeros may have been
    /// records.
    pub(crate) next_max: EventId,
    /// The time of the last record that was read.
    pub(crate) recorded_at_us: u64,
    /// How many records are whole.
    pub(crate) records: u64,
}

/// Walks along the batches of `bytes` from `start` on, and shows every whole record, ascending by id.
/// `end` is the id before which they all lie, if that is known: the first one of the next segment.
pub(crate) fn examine(
    bytes: &[u8],
    masks: Masks,
    start: Chain,
    end: Option<EventId>,
    visit: &mut dyn FnMut(Place),
) -> Examined {
    let mut walk = Walk {
        bytes,
        masks,
        end,
        chain: start,
        visit,
        examined: Examined {
            faults: Vec::new(),
            is_sealed: false,
            offset: start.offset,
            next: start.next,
            next_max: start.next,
            recorded_at_us: 0,
            records: 0,
        },
    };
    walk.run();
    walk.examined
}

struct Walk<'a> {
    bytes: &'a [u8],
    masks: Masks,
    end: Option<EventId>,
    chain: Chain,
    visit: &'a mut dyn FnMut(Place),
    examined: Examined,
}

impl Walk<'_> {
    fn run(&mut self) {
        let mut batch = Vec::new();
        while !self.examined.is_sealed {
            batch.clear();
            let step = self
                .chain
                .step(self.bytes, self.masks, |offset, len, record| {
                    let id = record.id;
                    batch.push(Place { id, offset, len });
                });
            let fault = match step {
                Ok(header) => {
                    self.show(&batch);
                    self.examined.is_sealed = header.mark == Mark::Seal;
                    self.note_end(self.chain.next);
                    continue;
                }
                Err(fault) => fault,
            };
            if !self.pass(fault) {
                break;
            }
        }
        self.examined.offset = self.chain.offset;
        self.examined.next_max = self.examined.next_max.max(self.examined.next);
    }

    /// Goes on behind a fault, if there is anything to go on with.
    fn pass(&mut self, fault: BatchFault) -> bool {
        let at = self.chain.offset;
        let (offset, what) = explain(fault, at);
        let next = self.chain.next;
        if let BatchFault::Record { .. } | BatchFault::Contents { .. } = fault
            && let Some((header, checksum)) = self.header_at(at)
        {
            // The header is whole, and says what belongs to the batch.
            let end = at + header.len as usize;
            let end_id = next.get().saturating_add(u64::from(header.record_count));
            let Some(end_id) = EventId::new(end_id) else {
                return false;
            };
            self.save(
                &Region {
                    start: at + batch::HEADER_LEN,
                    end,
                    ids: next.get()..end_id.get(),
                    salt: Some(header.salt),
                },
                offset,
                what,
                Some(end_id.get()),
            );
            self.chain = Chain {
                offset: end,
                previous: checksum,
                next: end_id,
                recorded_at_us: 0,
                synced_to: header.synced_to,
            };
            self.note_end(end_id);
            return true;
        }
        if let Some((offset_behind, header)) =
            next_header(self.bytes, self.masks, at, next, self.end)
        {
            let region = Region {
                start: at,
                end: offset_behind,
                ids: next.get()..header.first.get(),
                salt: None,
            };
            self.save(&region, offset, what, Some(header.first.get()));
            self.chain = Chain {
                offset: offset_behind,
                previous: header.previous,
                next: header.first,
                recorded_at_us: 0,
                synced_to: 0,
            };
            self.note_end(header.first);
            return true;
        }
        let dirty_end = nonzero_end(self.bytes).max(at);
        let rest = Region {
            start: at,
            end: dirty_end.next_multiple_of(ALIGNMENT).min(self.bytes.len()),
            ids: next.get()..self.id_bound(dirty_end - at),
            salt: None,
        };
        if self.end.is_some() || dirty_end > at {
            let last = self.save(&rest, offset, what, self.end.map(EventId::get));
            // Behind the last record that is found nothing says how many there were.
            let behind = last.map_or(at, |place| place.offset + place.len);
            let more = records_max(rest.end.saturating_sub(behind));
            let next_max = self.examined.next.get().saturating_add(more);
            self.examined.next_max = EventId::new(next_max).unwrap_or(EventId::MAX);
        }
        self.chain.offset = rest.end;
        false
    }

    /// The batch header at `offset`, if it is whole and the batch lies in the file.
    fn header_at(&self, offset: usize) -> Option<(BatchHeader, u32)> {
        let rest = self.bytes.get(offset..)?;
        let (header, checksum) = BatchHeader::decode(rest, self.masks)?;
        let len = header.len as usize;
        (len >= batch::HEADER_LEN && len <= rest.len()).then_some((header, checksum))
    }

    /// No id at or above this one can stand in so many bytes.
    fn id_bound(&self, len: usize) -> u64 {
        let bound = self
            .chain
            .next
            .get()
            .saturating_add(records_max(len.next_multiple_of(ALIGNMENT)) + 1);
        self.end.map_or(bound, |end| end.get().min(bound))
    }

    /// Shows what can be read of a region, and notes what is lost: of the ids before `end`, or else of
    /// those before the last that is found. The last record of it.
    fn save(
        &mut self,
        region: &Region,
        offset: usize,
        what: String,
        end: Option<u64>,
    ) -> Option<Place> {
        let found = salvage(self.bytes, self.masks.record, region);
        let last = found.last().copied();
        let end = end.unwrap_or_else(|| last.map_or(region.ids.start, |place| place.id.get() + 1));
        let mut lost = Vec::new();
        let mut next = region.ids.start;
        let ids = found.iter().map(|place| place.id.get());
        for id in ids.chain([end]) {
            if id > next
                && let (Some(from), Some(until)) = (EventId::new(next), EventId::new(id))
            {
                lost.push((from, until));
            }
            next = id + 1;
        }
        self.examined.faults.push(Fault { offset, lost, what });
        self.show(&found);
        if let Some(end) = EventId::new(end) {
            self.note_end(end);
        }
        last
    }

    fn show(&mut self, places: &[Place]) {
        for place in places {
            if self.end.is_none_or(|end| place.id < end) {
                self.examined.records += 1;
                (self.visit)(*place);
            }
        }
        let last = places
            .last()
            .and_then(|place| self.bytes.get(place.offset..))
            .and_then(crate::format::record::reread);
        if let Some(record) = last {
            self.examined.recorded_at_us = self.examined.recorded_at_us.max(record.recorded_at_us);
        }
    }

    fn note_end(&mut self, next: EventId) {
        self.examined.next = self.examined.next.max(next);
    }
}

/// The next whole batch header at or behind `from` that can stand there: not one from elsewhere in
/// the same file, which would lead past batches that can be read.
pub(crate) fn next_header(
    bytes: &[u8],
    masks: Masks,
    from: usize,
    next: EventId,
    end: Option<EventId>,
) -> Option<(usize, BatchHeader)> {
    let mut offset = from.next_multiple_of(ALIGNMENT);
    loop {
        let rest = bytes.get(offset..).filter(|rest| !rest.is_empty())?;
        if let Some((header, _)) = BatchHeader::decode(rest, masks) {
            let skipped = header.first.get().checked_sub(next.get());
            let room = offset.saturating_sub(from) + batch::HEADER_LEN;
            let fits = skipped.is_some_and(|skipped| skipped <= records_max(room))
                && end.is_none_or(|end| header.first <= end)
                && header.synced_to <= offset as u64
                && (batch::HEADER_LEN..=rest.len()).contains(&(header.len as usize))
                && (header.is_mark() || header.mark == Mark::Synced);
            if fits {
                return Some((offset, header));
            }
        }
        offset += ALIGNMENT;
    }
}

/// Where the record `id` lies, if it is whole: looked for from the record or batch header at `from`
/// on, which has the id `first` or stands before it. `end` is the id before which all records lie.
pub(crate) fn place_of_id(
    bytes: &[u8],
    masks: Masks,
    (from, first): (usize, EventId),
    id: EventId,
    end: EventId,
) -> Option<Place> {
    let mut start = from.max(HEADER_LEN);
    let mut next = first;
    loop {
        // Up to the next batch: the rest of the one that `start` lies in.
        let found = next_header(bytes, masks, start, next, Some(end));
        let rest = Region {
            start,
            end: found.map_or_else(
                || {
                    nonzero_end(bytes)
                        .next_multiple_of(ALIGNMENT)
                        .min(bytes.len())
                },
                |(offset, _)| offset,
            ),
            ids: next.get()..found.map_or(end, |(_, header)| header.first).get(),
            salt: None,
        };
        if rest.ids.contains(&id.get()) {
            return find(bytes, masks, &rest, id);
        }
        // The batch itself.
        let (offset, header) = found?;
        let batch_end = offset + header.len as usize;
        let ids_end = header.first.get() + u64::from(header.record_count);
        let batch = Region {
            start: offset + batch::HEADER_LEN,
            end: batch_end,
            ids: header.first.get()..ids_end,
            salt: Some(header.salt),
        };
        if batch.ids.contains(&id.get()) {
            return find(bytes, masks, &batch, id);
        }
        start = batch_end;
        next = EventId::new(ids_end)?;
    }
}

/// Below this offset everything was known durable once: the highest that any batch header of the file
/// says, for each said the truth when it was written.
pub(crate) fn proven_to(bytes: &[u8], masks: Masks) -> usize {
    let offsets = (HEADER_LEN..bytes.len()).step_by(ALIGNMENT);
    let headers = offsets.filter_map(|offset| BatchHeader::decode(bytes.get(offset..)?, masks));
    let proven = headers.map(|(header, _)| header.synced_to).max();
    proven.map_or(HEADER_LEN, |proven| {
        usize::try_from(proven).unwrap_or(usize::MAX)
    })
}

fn find(bytes: &[u8], masks: Masks, region: &Region, id: EventId) -> Option<Place> {
    let places = salvage(bytes, masks.record, region);
    places.into_iter().find(|place| place.id == id)
}

fn explain(fault: BatchFault, at: usize) -> (usize, String) {
    match fault {
        BatchFault::End => (at, "the bytes are gone".to_owned()),
        BatchFault::Header => (at, "the header of the batch is damaged".to_owned()),
        BatchFault::OutOfChain => (at, "the batch is not the one that follows here".to_owned()),
        BatchFault::Record { offset, fault, .. } => (offset, describe(fault)),
        BatchFault::Contents { offset, .. } => {
            (offset, "the records do not fit their batch".to_owned())
        }
    }
}
