//! Whole records between two places of a damaged file.
//!
//! A record is found by what stands around it, not by a look at every place where one could begin:
//! from the front by the lengths of those before it, from the back by lengths that end where the next
//! thing begins. Bodies are written by strangers, and may hold what looks like a record; but it does
//! not end where the record around it ends, so a link from a place that is known never leads to it.
//! Only what neither end reaches is looked for byte by byte, with ids, salts and room that must fit.

use std::ops::Range;

use crate::cursor::Cursor;
use crate::format::record::{self, RECORD_LEN_MIN, TAIL_LEN};
use crate::format::{ALIGNMENT, batch};
use crate::position::EventId;

/// How many bytes may be checksummed for each byte of a region. Lengths that lead nowhere can be put
/// into a body on purpose; without a limit each of them would cost the checksum of megabytes.
const HASHED_PER_BYTE: u64 = 8;
/// The same for a region of any size.
const HASHED_MIN: u64 = 64 << 10;

/// Where a whole record lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) id: EventId,
    pub(crate) offset: usize,
    pub(crate) len: usize,
}

/// Bytes of a file in which records are to be found, and what they can be.
#[derive(Clone, Debug)]
pub(crate) struct Region {
    /// A record or a batch header begins here, or the damage.
    pub(crate) start: usize,
    /// A record or a batch header ends here, or the damage.
    pub(crate) end: usize,
    /// The ids that belong here.
    pub(crate) ids: Range<u64>,
    /// What every record of the batch carries, if its header is whole.
    pub(crate) salt: Option<u32>,
}

/// The most records that fit into so many bytes.
pub(crate) fn records_max(len: usize) -> u64 {
    (len / RECORD_LEN_MIN) as u64
}

/// The whole records of a region, ascending by id.
pub(crate) fn salvage(bytes: &[u8], mask: u32, region: &Region) -> Vec<Place> {
    match bytes.get(..region.end) {
        Some(file) => Search::new(file, mask, region).run(),
        None => Vec::new(),
    }
}

fn place_of(id: u64, offset: usize, len: usize) -> Option<Place> {
    let id = EventId::new(id)?;
    Some(Place { id, offset, len })
}

struct Search<'a> {
    /// The file up to the end of the region.
    file: &'a [u8],
    mask: u32,
    region: &'a Region,
    /// How many bytes may still be checksummed.
    budget: u64,
}

impl<'a> Search<'a> {
    fn new(file: &'a [u8], mask: u32, region: &'a Region) -> Self {
        let len = region.end.saturating_sub(region.start) as u64;
        Self {
            file,
            mask,
            region,
            budget: len.saturating_mul(HASHED_PER_BYTE).max(HASHED_MIN),
        }
    }

    fn run(&mut self) -> Vec<Place> {
        let mut found = Vec::new();
        let (mut offset, mut id) = self.forward_links(&mut found);
        let mut back = Vec::new();
        let (end, end_id) = self.backward_links(offset, id, &mut back);
        // What is left between the two.
        while id < end_id && offset.saturating_add(RECORD_LEN_MIN) <= end {
            let Some(place) = self.next_between(offset, end, id..end_id) else {
                break;
            };
            id = place.id.get() + 1;
            offset = place.offset + place.len;
            found.push(place);
        }
        back.reverse();
        found.extend(back);
        found
    }

    /// Records that follow one another from the start on, over single ones that are damaged but for
    /// their lengths; where and with which id it ends.
    fn forward_links(&mut self, found: &mut Vec<Place>) -> (usize, u64) {
        let Range { start: first, end } = self.region.ids;
        let mut offset = self.region.start;
        // The header of the first batch may be what is damaged.
        if self.len_at(offset, first).is_none()
            && self.len_at(offset + batch::HEADER_LEN, first).is_some()
        {
            offset += batch::HEADER_LEN;
        }
        let mut id = first;
        while id < end {
            if let Some(len) = self.len_at(offset, id) {
                found.extend(place_of(id, offset, len));
                offset += len;
                id += 1;
                continue;
            }
            let rest = self.file.get(offset..).unwrap_or_default();
            let Ok(len) = record::peek_len(rest) else {
                break;
            };
            if id + 1 >= end || self.len_at(offset + len, id + 1).is_none() {
                break;
            }
            offset += len;
            id += 1;
        }
        (offset, id)
    }

    /// Records that end where the one behind them begins, from the end of the region down; they come
    /// in descending order. Nothing below `from`, and no id below `first`.
    fn backward_links(&mut self, from: usize, first: u64, found: &mut Vec<Place>) -> (usize, u64) {
        let mut end = self.region.end;
        let mut end_id = self.region.ids.end;
        // A mark that is damaged may stand at the end.
        if self.last_before(end, end_id, from, first).is_none()
            && let Some(before) = end.checked_sub(batch::HEADER_LEN)
            && self.last_before(before, end_id, from, first).is_some()
        {
            end = before;
        }
        while let Some(place) = self.last_before(end, end_id, from, first) {
            end = place.offset;
            end_id = place.id.get();
            found.push(place);
        }
        (end, end_id)
    }

    /// The record before `end_id` that ends at `end`.
    fn last_before(&mut self, end: usize, end_id: u64, from: usize, first: u64) -> Option<Place> {
        let id = end_id.checked_sub(1).filter(|id| *id >= first)?;
        let tail = Cursor::new(self.file.get(end.checked_sub(TAIL_LEN)?..end)?).take_u64()?;
        if tail != id {
            return None;
        }
        let mut offset = end.checked_sub(RECORD_LEN_MIN)?;
        while offset >= from {
            let len = Cursor::new(self.file.get(offset..)?).take_u32()? as usize;
            if len == end - offset && self.len_at(offset, id) == Some(len) {
                return place_of(id, offset, len);
            }
            offset = offset.checked_sub(ALIGNMENT)?;
        }
        None
    }

    /// The first record between two places whose id is one of `ids`.
    fn next_between(&mut self, from: usize, until: usize, ids: Range<u64>) -> Option<Place> {
        let mut offset = from;
        while offset + RECORD_LEN_MIN <= until {
            let rest = self.file.get(offset..until)?;
            if let Ok(len) = record::peek_len(rest)
                && let Some(id) = Cursor::new(rest.get(len - TAIL_LEN..)?).take_u64()
                // There must have been room for those that are missing before it.
                && ids.contains(&id)
                && id - ids.start <= records_max(offset - from)
                && let Some(len) = self.len_at(offset, id)
            {
                return place_of(id, offset, len);
            }
            offset += ALIGNMENT;
        }
        None
    }

    /// The length of the record at `offset` if it is whole, lies in the region, and is `id`.
    fn len_at(&mut self, offset: usize, id: u64) -> Option<usize> {
        let rest = self.file.get(offset..)?;
        let len = record::peek_len(rest).ok()?;
        let told = Cursor::new(rest.get(len - TAIL_LEN..)?).take_u64()?;
        if told != id {
            return None;
        }
        self.budget = self.budget.checked_sub(len as u64)?;
        let (record, len) = record::decode(rest, self.mask).ok()?;
        let salt = self.region.salt;
        salt.is_none_or(|salt| salt == record.salt).then_some(len)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::record::encode_draft;

    const MASK: u32 = 0x5eed_1234;

    fn record(out: &mut Vec<u8>, id: u64, body: &[u8]) {
        let draft = encode_draft(out, std::iter::empty(), &[body]);
        let id = EventId::new(id).unwrap();
        draft.finish(out, std::iter::empty(), id, 7, 9, MASK);
    }

    fn region(bytes: &[u8], ids: Range<u64>) -> Region {
        Region {
            start: 0,
            end: bytes.len(),
            ids,
            salt: Some(9),
        }
    }

    fn ids(places: &[Place]) -> Vec<u64> {
        places.iter().map(|place| place.id.get()).collect()
    }

    #[test]
    fn records_are_found_around_any_that_are_damaged() {
        let mut whole = Vec::new();
        let mut starts = Vec::new();
        for id in 1..=7 {
            starts.push(whole.len());
            record(&mut whole, id, &[7; 50]);
        }
        for damaged in 0..1 << 7_u32 {
            for at in [0, 20, 40] {
                let mut bytes = whole.clone();
                for (index, start) in starts.iter().enumerate() {
                    if damaged & (1 << index) != 0 {
                        bytes[start + at] ^= 0x18;
                    }
                }
                let found = salvage(&bytes, MASK, &region(&bytes, 1..8));
                let want: Vec<u64> = (1..8).filter(|id| damaged & (1 << (id - 1)) == 0).collect();
                assert_eq!(ids(&found), want, "{damaged:07b}, byte {at}");
            }
        }
    }

    #[test]
    fn what_looks_like_a_record_in_a_damaged_body_is_passed_over() {
        let mut forged = Vec::new();
        record(&mut forged, 2, b"forged");
        record(&mut forged, 3, b"forged");
        let mut bytes = Vec::new();
        record(&mut bytes, 1, &forged);
        let second = bytes.len();
        record(&mut bytes, 2, b"real");
        record(&mut bytes, 3, b"real");
        bytes[0] ^= 0x30;
        let found = salvage(&bytes, MASK, &region(&bytes, 1..4));
        assert_eq!(ids(&found), [2, 3]);
        assert_eq!(found[0].offset, second);
    }

    #[test]
    fn lengths_that_lead_nowhere_cost_a_bounded_number_of_checksums() {
        // Each word is the length of a record that ends within the region, and an id that fits.
        let len = 1_u64 << 16;
        let bytes: Vec<u8> = (0..len / 4).flat_map(|_| len.to_le_bytes()).collect();
        let region = region(&bytes, len - 1..len + 2);
        let mut search = Search::new(&bytes, MASK, &region);
        let budget = search.budget;
        assert_eq!(search.run(), []);
        assert!(search.budget < len, "{} is left of {budget}", search.budget);
        assert_eq!(budget, HASHED_PER_BYTE * bytes.len() as u64);
        let small = Region { end: 64, ..region };
        assert_eq!(Search::new(&bytes, MASK, &small).budget, 65_536);
    }

    /// A record whose body holds others, with these ids, far enough behind its beginning for the
    /// ids before them; then records with the ids behind it.
    fn with_forged(forged_ids: &[u64], first: u64, more: u64) -> (Vec<u8>, Vec<usize>) {
        let mut body = vec![0; 128];
        for id in forged_ids {
            record(&mut body, *id, b"forged");
        }
        let mut bytes = Vec::new();
        let mut starts = vec![0];
        record(&mut bytes, first, &body);
        for id in first + 1..=first + more {
            starts.push(bytes.len());
            record(&mut bytes, id, b"real");
        }
        starts.push(bytes.len());
        (bytes, starts)
    }

    fn places(found: &[Place]) -> Vec<(u64, usize)> {
        found
            .iter()
            .map(|place| (place.id.get(), place.offset))
            .collect()
    }

    #[test]
    fn records_behind_a_length_that_is_gone_are_found_from_the_end_and_not_in_a_body() {
        for trailing in [0, batch::HEADER_LEN] {
            let (mut bytes, starts) = with_forged(&[2, 3], 1, 2);
            bytes[0] ^= 0x30;
            // A damaged mark may stand at the end.
            bytes.resize(bytes.len() + trailing, 7);
            let found = salvage(&bytes, MASK, &region(&bytes, 1..4));
            assert_eq!(
                places(&found),
                [(2, starts[1]), (3, starts[2])],
                "{trailing}"
            );
        }
    }

    #[test]
    fn a_damaged_record_whose_length_is_right_is_stepped_over_with_what_is_in_its_body() {
        // With a damaged batch header and a whole record before it, or nothing.
        for is_first in [true, false] {
            let (mut bytes, mut starts) = with_forged(&[2, 3], 1, 2);
            bytes[9] ^= 1;
            // The last record is gone, so that nothing leads back from the end.
            let last = starts[2];
            bytes[last..].fill(7);
            if !is_first {
                let mut before = vec![7; batch::HEADER_LEN];
                let first = before.len();
                record(&mut before, 1, b"whole");
                let start = before.len();
                let (mut behind, their_starts) = with_forged(&[3, 4], 2, 2);
                behind[9] ^= 1;
                behind[their_starts[2]..].fill(7);
                before.extend_from_slice(&behind);
                bytes = before;
                starts = vec![first, start, start + their_starts[1]];
                let found = salvage(&bytes, MASK, &region(&bytes, 1..5));
                assert_eq!(places(&found), [(1, starts[0]), (3, starts[2])]);
                continue;
            }
            let found = salvage(&bytes, MASK, &region(&bytes, 1..4));
            assert_eq!(places(&found), [(2, starts[1])]);
        }
    }

    #[test]
    fn a_record_that_is_found_in_between_is_gone_behind_and_not_into() {
        let mut bytes = Vec::new();
        record(&mut bytes, 1, &[0; 200]);
        let second = bytes.len();
        let (behind, starts) = with_forged(&[3], 2, 2);
        bytes.extend_from_slice(&behind);
        bytes[0] ^= 0x30;
        let last = second + starts[2];
        bytes[last..].fill(7);
        let found = salvage(&bytes, MASK, &region(&bytes, 1..5));
        assert_eq!(places(&found), [(2, second), (3, second + starts[1])]);
    }

    #[test]
    fn only_ids_and_salts_that_belong_there_and_have_room_before_them_are_found() {
        let mut bytes = Vec::new();
        for id in 1..=3 {
            record(&mut bytes, id, b"");
        }
        let found = |ids, salt| {
            let region = Region {
                salt,
                ..region(&bytes, ids)
            };
            self::ids(&salvage(&bytes, MASK, &region))
        };
        assert_eq!(found(1..4, Some(9)), [1, 2, 3]);
        assert_eq!(found(1..4, None), [1, 2, 3]);
        assert_eq!(found(1..4, Some(8)), []);
        assert_eq!(found(1..3, Some(9)), [1, 2]);
        assert_eq!(found(2..4, Some(9)), [2, 3]);
        assert_eq!(found(1..1, Some(9)), []);

        // Three ids that are missing before it take three of the shortest records.
        for (room, is_found) in [(64, false), (88, false), (96, true), (128, true)] {
            let start = 64;
            let mut bytes = vec![7; start + room];
            record(&mut bytes, 103, b"");
            bytes.resize(bytes.len() + 80, 7);
            let region = Region {
                start,
                ..region(&bytes, 100..110)
            };
            let found = salvage(&bytes, MASK, &region);
            assert_eq!(ids(&found).contains(&103), is_found, "{room}");
        }
    }
}
