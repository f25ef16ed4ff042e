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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::made::{Made, SALT};
    use crate::format::record::encode_draft;

    const LEN: usize = 16 << 10;

    fn id(number: u64) -> EventId {
        EventId::new(number).unwrap()
    }

    /// Three batches with the records 5 and 6, 7, 8 and 9, and a seal.
    fn made() -> Made {
        let mut made = Made::new(5);
        made.batch(&[b"five", &[6; 100]]);
        made.batch(&[b"seven"]);
        made.sync();
        made.batch(&[b"eight", b"nine"]);
        made
    }

    fn sealed() -> Made {
        let mut made = made();
        made.mark(Mark::Seal);
        made
    }

    /// What is found, with the ids of the records that are shown.
    fn found(made: &Made, bytes: &[u8], end: Option<u64>) -> (Examined, Vec<u64>) {
        let mut ids = Vec::new();
        let start = Chain::start(&made.header);
        let examined = examine(
            bytes,
            made.header.masks(),
            start,
            end.map(id),
            &mut |place| {
                let (offset, len) = made.records[usize::try_from(place.id.get() - 5).unwrap()];
                assert_eq!((place.offset, place.len), (offset, len));
                ids.push(place.id.get());
            },
        );
        assert_eq!(examined.records, ids.len() as u64);
        (examined, ids)
    }

    fn lost(examined: &Examined) -> Vec<(usize, Vec<(u64, u64)>)> {
        let of = |fault: &Fault| {
            let lost = fault
                .lost
                .iter()
                .map(|(from, until)| (from.get(), until.get()));
            (fault.offset, lost.collect())
        };
        examined.faults.iter().map(of).collect()
    }

    #[test]
    fn a_sound_file_is_walked_up_to_its_seal_or_its_end() {
        for made in [made(), sealed()] {
            let is_sealed = made.batches.len() == 4;
            for end in [None, Some(10)]
                .into_iter()
                .filter(|end| is_sealed || end.is_none())
            {
                let (examined, ids) = found(&made, &made.file(LEN), end);
                assert_eq!(ids, [5, 6, 7, 8, 9]);
                assert_eq!(lost(&examined), []);
                assert_eq!(
                    (examined.is_sealed, examined.offset),
                    (is_sealed, made.bytes.len())
                );
                assert_eq!((examined.next, examined.next_max), (id(10), id(10)));
                assert_eq!(examined.recorded_at_us, 90);
            }
        }
    }

    #[test]
    fn a_damaged_record_costs_itself_alone() {
        let made = sealed();
        for damaged in 5..10 {
            let (at, len) = made.records[damaged - 5];
            for byte in [at, at + 9, at + len - 24, at + len - 1] {
                let mut bytes = made.file(LEN);
                bytes[byte] ^= 0x40;
                let (examined, ids) = found(&made, &bytes, Some(10));
                let damaged = damaged as u64;
                let want: Vec<u64> = (5..10).filter(|id| *id != damaged).collect();
                assert_eq!(ids, want, "byte {byte}");
                assert_eq!(lost(&examined), [(at, vec![(damaged, damaged + 1)])]);
                assert!(examined.is_sealed);
                assert_eq!((examined.next, examined.next_max), (id(10), id(10)));
            }
        }
    }

    #[test]
    fn a_damaged_batch_header_costs_no_record() {
        let made = sealed();
        for at in made.batches.iter().take(3) {
            let mut bytes = made.file(LEN);
            bytes[*at] ^= 1;
            let (examined, ids) = found(&made, &bytes, Some(10));
            assert_eq!(ids, [5, 6, 7, 8, 9]);
            assert_eq!(lost(&examined), [(*at, vec![])]);
            assert!(examined.is_sealed);
        }
    }

    #[test]
    fn without_the_seal_all_records_are_found_and_the_missing_ones_are_lost() {
        let made = sealed();
        let mut bytes = made.file(LEN);
        bytes[made.batches[3]] ^= 1;
        let (examined, ids) = found(&made, &bytes, Some(12));
        assert_eq!(ids, [5, 6, 7, 8, 9]);
        assert_eq!(lost(&examined), [(made.batches[3], vec![(10, 12)])]);
        assert!(!examined.is_sealed);
        assert_eq!(examined.next, id(12));
    }

    #[test]
    fn records_of_the_next_segment_are_not_shown() {
        let made = sealed();
        let (_, ids) = found(&made, &made.file(LEN), Some(9));
        assert_eq!(ids, [5, 6, 7, 8]);
    }

    #[test]
    fn what_may_have_been_records_at_an_open_end_counts_as_ids_given_out() {
        let made = made();
        let end = made.bytes.len();
        let mut bytes = made.file(LEN);
        // Bytes for three of the shortest records, and one more.
        bytes[end + 96] = 7;
        let (examined, ids) = found(&made, &bytes, None);
        assert_eq!(ids, [5, 6, 7, 8, 9]);
        assert_eq!(lost(&examined), [(end, vec![])]);
        assert_eq!((examined.next, examined.next_max), (id(10), id(13)));
        assert_eq!(examined.offset, end + 104);

        // The last batch without its header: its records are found, and nothing is behind them.
        let mut bytes = made.file(LEN);
        bytes[made.batches[2]] ^= 1;
        let (examined, ids) = found(&made, &bytes, None);
        assert_eq!(ids, [5, 6, 7, 8, 9]);
        assert_eq!((examined.next, examined.next_max), (id(10), id(10)));
        assert_eq!(examined.recorded_at_us, 90);
    }

    #[test]
    fn records_with_no_batch_header_before_them_are_found() {
        let made = made();
        let (start, len) = made.records[0];
        let mut bytes = made.file(HEADER_LEN);
        bytes.extend_from_slice(&made.bytes[start..start + len]);
        let mut ids = Vec::new();
        let start = Chain::start(&made.header);
        examine(&bytes, made.header.masks(), start, None, &mut |place| {
            ids.push((place.id.get(), place.offset));
        });
        assert_eq!(ids, [(5, HEADER_LEN)]);
    }

    #[test]
    fn ids_that_would_pass_the_highest_end_the_walk() {
        let mut made = Made::new(EventId::MAX.get() - 1);
        made.batch(&[b"last but one"]);
        let mut bytes = made.file(LEN);
        // The header says two records, so that none could follow: and the record is damaged.
        let (mut header, _) =
            BatchHeader::decode(&bytes[HEADER_LEN..], made.header.masks()).unwrap();
        header.record_count = 2;
        let encoded = header.encode(made.header.masks()).0;
        bytes[HEADER_LEN..HEADER_LEN + 48].copy_from_slice(&encoded);
        bytes[HEADER_LEN + 60] ^= 1;
        let start = Chain::start(&made.header);
        let examined = examine(&bytes, made.header.masks(), start, None, &mut |_| {});
        assert_eq!((examined.records, examined.next), (0, start.next));
    }

    #[test]
    fn only_a_header_that_can_stand_there_is_the_next_one() {
        let masks = Made::new(5).header.masks();
        let sound = BatchHeader {
            len: 80,
            record_count: 1,
            mark: Mark::Synced,
            first: id(7),
            synced_to: 64,
            salt: SALT,
            previous: 0,
        };
        let search = |header: &BatchHeader| {
            let mut bytes = vec![0; 64];
            bytes.extend_from_slice(&header.encode(masks).0);
            bytes.resize(64 + 80, 0);
            next_header(&bytes, masks, 41, id(7), Some(id(9)))
        };
        assert_eq!(search(&sound), Some((64, sound)));
        let can_be = [
            BatchHeader {
                first: id(9),
                ..sound
            },
            BatchHeader { len: 48, ..sound },
            BatchHeader {
                mark: Mark::Clean,
                record_count: 0,
                ..sound
            },
        ];
        for header in can_be {
            assert_eq!(search(&header), Some((64, header)));
        }
        let cannot_be = [
            // An id that is past, and one beyond the end.
            BatchHeader {
                first: id(6),
                ..sound
            },
            BatchHeader {
                first: id(10),
                ..sound
            },
            BatchHeader {
                synced_to: 65,
                ..sound
            },
            BatchHeader { len: 47, ..sound },
            BatchHeader { len: 81, ..sound },
            BatchHeader {
                mark: Mark::Seal,
                ..sound
            },
        ];
        for header in cannot_be {
            assert_eq!(search(&header), None, "{header:?}");
        }
        // 23 bytes and a header have room for two of the shortest records, not for three.
        let far = |first| {
            let header = BatchHeader {
                first: id(first),
                ..sound
            };
            let mut bytes = vec![0; 64];
            bytes.extend_from_slice(&header.encode(masks).0);
            bytes.resize(64 + 80, 0);
            next_header(&bytes, masks, 41, id(7), None).is_some()
        };
        assert_eq!([far(9), far(10)], [true, false]);
    }

    #[test]
    fn every_record_is_found_by_its_id_from_any_place_before_it() {
        let made = sealed();
        let masks = made.header.masks();
        let mut headless = made.file(LEN);
        for at in &made.batches {
            headless[*at] ^= 1;
        }
        let starts = [
            (0, 5),
            (HEADER_LEN, 5),
            (made.records[1].0, 6),
            (made.batches[1], 7),
        ];
        for bytes in [made.file(LEN), headless] {
            for (from, first) in starts {
                for (wanted, (offset, len)) in (5..).zip(&made.records) {
                    let place = place_of_id(&bytes, masks, (from, id(first)), id(wanted), id(10));
                    let place = place.map(|place| (place.id.get(), place.offset, place.len));
                    let want = (wanted >= first).then_some((wanted, *offset, *len));
                    assert_eq!(place, want, "from {from}");
                }
            }
        }
        let beyond = place_of_id(&made.file(LEN), masks, (0, id(5)), id(10), id(11));
        assert_eq!(beyond, None);
    }

    #[test]
    fn the_highest_proof_of_any_header_counts() {
        let masks = made().header.masks();
        assert_eq!(proven_to(&made().bytes, masks), made().batches[2]);
        assert_eq!(
            proven_to(&made().bytes[..made().batches[1]], masks),
            HEADER_LEN
        );
        assert_eq!(proven_to(&Made::new(5).bytes, masks), HEADER_LEN);
        let mut bytes = made().bytes;
        bytes[made().batches[2]] ^= 1;
        assert_eq!(proven_to(&bytes, masks), HEADER_LEN);
    }

    #[test]
    fn each_fault_is_told_in_words_of_its_own() {
        let fault = crate::format::record::RecordFault::CutShort;
        let faults = [
            BatchFault::End,
            BatchFault::Header,
            BatchFault::OutOfChain,
            BatchFault::Record {
                offset: 7,
                id: id(5),
                fault,
            },
            BatchFault::Contents {
                offset: 7,
                id: id(5),
            },
        ];
        let told = faults.map(|fault| explain(fault, 3));
        assert_eq!(told.clone().map(|(offset, _)| offset), [3, 3, 3, 7, 7]);
        for (at, (_, what)) in told.iter().enumerate() {
            let same = told.iter().filter(|(_, other)| other == what);
            assert_eq!((same.count(), what.len() > 15), (1, true), "{at}");
        }
    }

    #[test]
    fn what_stands_behind_the_last_record_that_is_found_may_have_been_more() {
        let made = made();
        let mut bytes = made.file(LEN);
        bytes[made.batches[2]] ^= 1;
        bytes[made.bytes.len() + 96] = 7;
        let (examined, ids) = found(&made, &bytes, None);
        assert_eq!(ids, [5, 6, 7, 8, 9]);
        assert_eq!((examined.next, examined.next_max), (id(10), id(13)));
    }

    #[test]
    fn a_body_that_looks_like_the_next_record_does_not_take_its_place() {
        let mut made = Made::new(5);
        let mut body = vec![0; 128];
        let draft = encode_draft(&mut body, std::iter::empty(), &[b"forged"]);
        let (mask, none) = (made.header.masks().record, std::iter::empty());
        draft.finish(&mut body, none, id(6), 60, SALT, mask);
        made.batch(&[&body, b"six", b"seven"]);
        let mut bytes = made.file(LEN);
        bytes[made.records[0].0 + 9] ^= 1;
        let (last, len) = made.records[2];
        bytes[last..last + len].fill(7);
        let (examined, ids) = found(&made, &bytes, None);
        assert_eq!(ids, [6]);
        assert_eq!(lost(&examined), [(made.records[0].0, vec![(5, 6), (7, 8)])]);
    }
}
