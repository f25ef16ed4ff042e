//! Reading a segment: finding a record by its id, and running along a range.

use bytes::Bytes;

use super::offsets::Offsets;
use crate::error::Damage;
use crate::format::batch::{self, BatchHeader};
use crate::format::names;
use crate::format::record::{self, Record, RecordFault};
use crate::format::segment::{HEADER_LEN, Masks, SegmentHeader};
use crate::position::EventId;
use crate::records::Records;
use crate::salvage::place_of_id;

/// A segment as a reader sees it at one moment: bytes that no longer change, up to an end.
#[derive(Clone, Debug)]
pub(crate) struct SegmentView {
    pub(crate) header: SegmentHeader,
    /// Of the header; kept because each record needs one.
    pub(crate) masks: Masks,
    pub(crate) bytes: Bytes,
    pub(crate) offsets: Offsets,
    /// One past the last record that may be read.
    pub(crate) end: EventId,
    /// Checksums of records are not looked at.
    #[cfg(feature = "sabotage")]
    pub(crate) is_trusting: bool,
}

/// How much a read may take.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Budget {
    pub(crate) records: usize,
    /// Overstepped by the first record only, so that a read always gets on.
    pub(crate) bytes: usize,
}

impl Budget {
    /// Whether another record of `len` bytes fits; counts it if so.
    pub(crate) fn take(&mut self, len: usize, is_first: bool) -> bool {
        if self.records == 0 || (len > self.bytes && !is_first) {
            return false;
        }
        self.records -= 1;
        self.bytes = self.bytes.saturating_sub(len);
        true
    }
}

impl SegmentView {
    /// The record `id`, which lies in this segment, with its offset and length; checked.
    pub(crate) fn find(&self, id: EventId) -> Result<(Record<'_>, usize, usize), Damage> {
        let (start, offset) = self.offsets.at_or_below(self.header.first, id);
        if let Some(found) = self.walk(start, offset, id) {
            return Ok(found);
        }
        // Somewhere on the way a length is wrong. The record itself may be whole: damage costs the
        // record that is hit and no other.
        self.search(start, id)
            .ok_or_else(|| self.damage_at(id, offset))
    }

    /// Steps from record `at` at `offset` to record `id`.
    fn walk(
        &self,
        mut at: u64,
        mut offset: usize,
        id: EventId,
    ) -> Option<(Record<'_>, usize, usize)> {
        if offset < HEADER_LEN {
            return None;
        }
        loop {
            offset = self.skip_batch_header(offset);
            let rest = self.bytes.get(offset..)?;
            if at == id.get() {
                let (record, len) = self.decode(rest).ok()?;
                return (record.id == id).then_some((record, offset, len));
            }
            offset += record::peek_len(rest).ok()?;
            at += 1;
        }
    }

    /// Looks for the record from the nearest known one below on, as repair would: behind a length that
    /// is wrong the way leads over batch headers, and back from what stands behind the damage.
    fn search(&self, start: u64, id: EventId) -> Option<(Record<'_>, usize, usize)> {
        let mut slot = start;
        let anchor = loop {
            let known = EventId::new(slot).unwrap_or(self.header.first);
            let (at, offset) = self.offsets.at_or_below(self.header.first, known);
            let at = EventId::new(at).unwrap_or(self.header.first);
            if offset >= HEADER_LEN {
                break (offset, at);
            }
            if at <= self.header.first {
                break (HEADER_LEN, self.header.first);
            }
            slot = at.get() - 1;
        };
        let place = place_of_id(&self.bytes, self.masks, anchor, id, self.end)?;
        let (record, len) = self.decode(self.bytes.get(place.offset..)?).ok()?;
        (record.id == id).then_some((record, place.offset, len))
    }

    /// Adds the records from `from` to before `until` to `out`, in ascending order, as far as
    /// `budget` goes; gives the id to go on with.
    ///
    /// Damage after the first record ends the run early: the next call meets it first and says so.
    pub(crate) fn run(
        &self,
        from: EventId,
        until: EventId,
        budget: &mut Budget,
        out: &mut Records,
    ) -> Result<EventId, Damage> {
        let (_, mut offset, _) = self.find(from)?;
        out.push_part(self);
        let mut id = from;
        let mut is_first = out.is_empty();
        while id < until {
            let Some(len) = self.len_at(offset, id) else {
                if id > from {
                    return Ok(id);
                }
                return Err(self.damage_of(offset, id));
            };
            if !budget.take(len, is_first) {
                break;
            }
            is_first = false;
            out.push(u32::try_from(offset).unwrap_or(u32::MAX), len);
            offset = self.skip_batch_header(offset + len);
            id = id.next().unwrap_or(EventId::MAX);
        }
        Ok(id)
    }

    /// The bytes of the records from `from` to before `until`, as far as `bytes_max` goes, each
    /// checked: where they begin and end, and the id behind them.
    pub(crate) fn stretch(
        &self,
        from: EventId,
        until: EventId,
        bytes_max: usize,
    ) -> Result<(usize, usize, EventId), Damage> {
        let (_, start, len) = self.find(from)?;
        let mut end = start + len;
        let mut id = from.next().unwrap_or(EventId::MAX);
        while id < until && end - start < bytes_max {
            let offset = self.skip_batch_header(end);
            // As in `run`: damage is met first by the next call. A batch header that is not whole
            // ends the stretch, too, and is left out: no record depends on it.
            if self.has_bad_batch_header(end, offset) {
                break;
            }
            let Some(len) = self.len_at(offset, id) else {
                break;
            };
            end = offset + len;
            id = id.next().unwrap_or(EventId::MAX);
        }
        Ok((start, end, id))
    }

    /// Adds the records from before `until` down to `from` to `out`, in descending order, as far as
    /// `budget` goes; gives the id before which to go on.
    pub(crate) fn run_back(
        &self,
        from: EventId,
        until: EventId,
        budget: &mut Budget,
        out: &mut Records,
    ) -> Result<EventId, Damage> {
        // Records link forward only, so a stretch is walked forward and handed out backward. A
        // stretch of 64 costs one index step and is mostly within the caller's budget.
        const STRETCH: u64 = 64;
        let mut until = until;
        let mut places = Vec::new();
        out.push_part(self);
        while from < until {
            let start = EventId::new(until.get().saturating_sub(STRETCH))
                .map_or(from, |start| start.max(from));
            let mut id = start;
            let mut offset = None;
            while id < until {
                // What stands between two records may be damaged and the second of them whole: a
                // step that fails is not yet damage to the record.
                let next = offset.and_then(|offset| Some((offset, self.len_at(offset, id)?)));
                let found = match next {
                    Some(next) => Ok(next),
                    None => self.find(id).map(|(_, offset, len)| (offset, len)),
                };
                match found {
                    Ok((at, len)) => {
                        places.push((id, at, len));
                        offset = Some(self.skip_batch_header(at + len));
                    }
                    // What lies above the damage is handed out first; below it the next call fails.
                    Err(damage) if id.next() == Some(until) => {
                        return self.backed(until, out, damage);
                    }
                    Err(_) => {
                        places.clear();
                        offset = None;
                    }
                }
                let Some(next) = id.next() else { break };
                id = next;
            }
            for (id, offset, len) in places.drain(..).rev() {
                if !budget.take(len, out.is_empty()) {
                    return Ok(until);
                }
                out.push(u32::try_from(offset).unwrap_or(u32::MAX), len);
                until = id;
            }
        }
        Ok(until)
    }

    fn backed(&self, until: EventId, out: &Records, damage: Damage) -> Result<EventId, Damage> {
        if out.is_empty() {
            Err(damage)
        } else {
            Ok(until)
        }
    }

    /// The length of the record at `offset` if that is `id`, and whole.
    #[inline]
    fn len_at(&self, offset: usize, id: EventId) -> Option<usize> {
        let rest = self.bytes.get(offset..)?;
        #[cfg(feature = "sabotage")]
        if self.is_trusting {
            return record::peek_len(rest).ok();
        }
        record::checked_len(rest, self.masks.record, id)
    }

    /// The record at the front of `rest`, which is whole.
    #[inline]
    fn decode<'a>(&self, rest: &'a [u8]) -> Result<(Record<'a>, usize), RecordFault> {
        #[cfg(feature = "sabotage")]
        if self.is_trusting {
            let record = record::reread(rest).ok_or(RecordFault::Parts)?;
            return Ok((record, record::peek_len(rest)?));
        }
        record::decode(rest, self.masks.record)
    }

    /// What is wrong at `offset`, where [`len_at`](Self::len_at) has not found `id`.
    #[cold]
    fn damage_of(&self, offset: usize, id: EventId) -> Damage {
        let rest = self.bytes.get(offset..).unwrap_or_default();
        match self.decode(rest) {
            Ok(_) => self.damage_at(id, offset),
            Err(fault) => self.damage(id, offset, describe(fault)),
        }
    }

    /// The offset behind the batch header at `offset`, or `offset` itself if there is none.
    fn skip_batch_header(&self, mut offset: usize) -> usize {
        while self.bytes.get(offset..).is_some_and(batch::begins_batch) {
            offset += batch::HEADER_LEN;
        }
        offset
    }

    /// Whether one of the batch headers from `from` up to `until` is not whole.
    fn has_bad_batch_header(&self, from: usize, until: usize) -> bool {
        let mut headers = (from..until).step_by(batch::HEADER_LEN);
        headers.any(|offset| {
            let rest = self.bytes.get(offset..).unwrap_or_default();
            BatchHeader::decode(rest, self.masks).is_none()
        })
    }

    fn damage_at(&self, id: EventId, offset: usize) -> Damage {
        self.damage(id, offset, "the record cannot be found".to_owned())
    }

    pub(crate) fn damage(&self, id: EventId, offset: usize, what: String) -> Damage {
        Damage {
            file: names::segment(self.header.first),
            offset: offset as u64,
            first_id: Some(id),
            last_id: Some(id),
            what,
        }
    }
}

/// What is wrong with a record, in words.
pub(crate) fn describe(fault: RecordFault) -> String {
    match fault {
        RecordFault::CutShort => "the record runs past the end of the data".to_owned(),
        RecordFault::Length(len) => format!("no record has a length of {len}"),
        RecordFault::Checksum { stored, computed } => {
            format!("the checksum is {computed:08x}, not {stored:08x}")
        }
        RecordFault::Parts => "the parts of the record contradict each other".to_owned(),
    }
}
