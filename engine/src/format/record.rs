//! One record (FORMAT.md, section 5).
//!
//! What a publisher knows comes first and is checksummed on the publisher's own thread; what only
//! the writer knows (ranks, id, time, salt) comes last, so that the writer goes on with a checksum
//! that is almost finished and never touches the body again.

use super::aligned;
use crate::cursor::Cursor;
use crate::position::EventId;

/// The most tags a record can carry. An event has about six; the rest is room for correlation ids.
pub const TAGS_MAX: usize = 64;
/// The longest tag, in bytes: two names of 255 bytes and what the layer above puts around them.
pub const TAG_LEN_MAX: usize = 600;
/// The longest record, everything included, in bytes.
pub const RECORD_LEN_MAX: usize = 40 << 20;

/// Length, tag count, padding, length of the tags.
pub(crate) const HEAD_LEN: usize = 8;
/// Id, time, salt, checksum.
pub(crate) const TAIL_LEN: usize = 24;
/// One rank for each tag stands before the tail.
pub(crate) const RANK_LEN: usize = 8;
/// The shortest record: no tags, no body.
pub(crate) const RECORD_LEN_MIN: usize = HEAD_LEN + TAIL_LEN;

const _: () = assert!(
    RECORD_LEN_MAX < (1 << 31),
    "the top bit tells a batch from a record"
);
const _: () = assert!(RECORD_LEN_MIN.is_multiple_of(super::ALIGNMENT));
const _: () = assert!(TAGS_MAX <= u8::MAX as usize);
const _: () = assert!(TAGS_MAX * (2 + TAG_LEN_MAX) <= u16::MAX as usize);

/// A record as it lies in the log: borrowed, checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record<'a> {
    /// Its id.
    pub id: EventId,
    /// When the log took it, in microseconds since 1970 (UTC); never decreases with the id.
    pub recorded_at_us: u64,
    /// The salt of the open that wrote it.
    pub(crate) salt: u32,
    tags: &'a [u8],
    ranks: &'a [u8],
    /// What the publisher stored.
    pub body: &'a [u8],
}

impl Record<'_> {
    /// Whether as many tags as there are ranks fill the section of the tags, each of a length that a
    /// tag can have.
    #[inline]
    fn tags_are_whole(&self) -> bool {
        let mut tags = Cursor::new(self.tags);
        for _ in 0..self.ranks.len() / RANK_LEN {
            let Some(len) = tags.take_u16().map(usize::from) else {
                return false;
            };
            if !(1..=TAG_LEN_MAX).contains(&len) || tags.take(len).is_none() {
                return false;
            }
        }
        tags.rest().is_empty()
    }
}

impl<'a> Record<'a> {
    /// The tags and their ranks, in the order in which they were given.
    #[must_use]
    pub fn tags(&self) -> Tags<'a> {
        Tags {
            tags: Cursor::new(self.tags),
            ranks: Cursor::new(self.ranks),
        }
    }
}

/// The tags of a record, each with its rank: how many earlier events ever carried it.
#[derive(Clone, Debug)]
pub struct Tags<'a> {
    tags: Cursor<'a>,
    ranks: Cursor<'a>,
}

impl<'a> Iterator for Tags<'a> {
    type Item = (&'a [u8], u64);

    fn next(&mut self) -> Option<Self::Item> {
        let len = self.tags.take_u16()?;
        let tag = self.tags.take(usize::from(len))?;
        Some((tag, self.ranks.take_u64()?))
    }
}

/// What is wrong with the bytes of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RecordFault {
    /// It runs past the bytes at hand.
    CutShort,
    /// Its length is impossible.
    Length(u32),
    /// Its checksum does not fit its bytes, or it belongs to another segment.
    Checksum {
        /// What the record says.
        stored: u32,
        /// What its bytes say.
        computed: u32,
    },
    /// The checksum fits, but the parts contradict each other.
    Parts,
}

/// The length of the record at the front of `bytes`, unchecked but possible, or what is wrong.
#[inline]
pub(crate) fn peek_len(bytes: &[u8]) -> Result<usize, RecordFault> {
    let len = Cursor::new(bytes).take_u32().ok_or(RecordFault::CutShort)?;
    let whole = len as usize;
    if !(RECORD_LEN_MIN..=RECORD_LEN_MAX).contains(&whole)
        || !whole.is_multiple_of(super::ALIGNMENT)
    {
        return Err(RecordFault::Length(len));
    }
    if whole > bytes.len() {
        return Err(RecordFault::CutShort);
    }
    Ok(whole)
}

/// Checks and reads the record at the front of `bytes`, which belongs to the segment with this
/// `mask`; also gives its length.
pub(crate) fn decode(bytes: &[u8], mask: u32) -> Result<(Record<'_>, usize), RecordFault> {
    let whole = checked(bytes, mask)?;
    Ok((parts(whole)?, whole.len()))
}

/// The length of the record at the front of `bytes` if it passes every check of [`decode`] and is
/// `id`.
///
/// The step of a scan: what it leaves out is what costs a scan more than the checks do, to build a
/// record, or an error, and hand it through memory.
#[inline]
pub(crate) fn checked_len(bytes: &[u8], mask: u32, id: EventId) -> Option<usize> {
    let whole = checked(bytes, mask).ok()?;
    let record = split_parts(whole)?;
    (record.id == id && record.tags_are_whole()).then_some(whole.len())
}

/// The bytes of the record at the front of `bytes`, if its checksum is right.
#[inline]
fn checked(bytes: &[u8], mask: u32) -> Result<&[u8], RecordFault> {
    let len = peek_len(bytes)?;
    // Not `ok_or`: it joins the slices with the parts of a fault in memory, and reading them back
    // from there costs as much as a quarter of the checksum of a short record.
    let Some(whole) = bytes.get(..len) else {
        return Err(RecordFault::CutShort);
    };
    let Some((covered, stored)) = whole.split_last_chunk::<4>() else {
        return Err(RecordFault::CutShort);
    };
    let stored = u32::from_le_bytes(*stored);
    let computed = crc32fast::hash(covered) ^ mask;
    if stored != computed {
        return Err(RecordFault::Checksum { stored, computed });
    }
    Ok(whole)
}

/// Reads the record at the front of `bytes`, which has passed [`decode`] or [`checked_len`] before.
#[inline]
pub(crate) fn reread(bytes: &[u8]) -> Option<Record<'_>> {
    split_parts(bytes.get(..peek_len(bytes).ok()?)?)
}

fn parts(whole: &[u8]) -> Result<Record<'_>, RecordFault> {
    split_parts(whole)
        .filter(Record::tags_are_whole)
        .ok_or(RecordFault::Parts)
}

#[inline]
fn split_parts(whole: &[u8]) -> Option<Record<'_>> {
    let mut head = Cursor::new(whole);
    let _len = head.take_u32()?;
    let tag_count = usize::from(head.take_u8()?);
    let padding = usize::from(head.take_u8()?);
    let tags_len = usize::from(head.take_u16()?);
    let ranks_len = tag_count.checked_mul(RANK_LEN)?;
    let (front, tail) = head
        .rest()
        .split_at_checked(head.rest().len().checked_sub(TAIL_LEN)?)?;
    let (front, ranks) = front.split_at_checked(front.len().checked_sub(ranks_len)?)?;
    let (tags, front) = front.split_at_checked(tags_len)?;
    let (body, _zeros) = front.split_at_checked(front.len().checked_sub(padding)?)?;
    let mut tail = Cursor::new(tail);
    let id = EventId::new(tail.take_u64()?)?;
    let recorded_at_us = tail.take_u64()?;
    let salt = tail.take_u32()?;
    Some(Record {
        id,
        recorded_at_us,
        salt,
        tags,
        ranks,
        body,
    })
}

/// What the writer still has to do for a record that a publisher has encoded.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Draft {
    /// Where the record begins in the publisher's buffer.
    pub(crate) start: usize,
    /// Its length, everything included.
    pub(crate) len: usize,
    /// How many tags it has.
    pub(crate) tag_count: usize,
    /// The checksum of everything up to the ranks.
    checksum: u32,
}

/// Appends to `buffer` a record whose ranks, id, time, salt and checksum are still open.
///
/// `body` is given in pieces so that the layer above need not join them first. Lengths are the
/// caller's to check: see `Batch::push`.
pub(crate) fn encode_draft<'a>(
    buffer: &mut Vec<u8>,
    tags: impl Iterator<Item = &'a [u8]>,
    body: &[&[u8]],
) -> Draft {
    let start = buffer.len();
    buffer.extend_from_slice(&[0; HEAD_LEN]);
    let mut tag_count = 0;
    for tag in tags {
        let len = u16::try_from(tag.len()).unwrap_or(u16::MAX);
        buffer.extend_from_slice(&len.to_le_bytes());
        buffer.extend_from_slice(tag);
        tag_count += 1;
    }
    let tags_len = buffer.len() - start - HEAD_LEN;
    for piece in body {
        buffer.extend_from_slice(piece);
    }
    let unpadded = buffer.len() - start;
    let padding = aligned(unpadded) - unpadded;
    buffer.resize(buffer.len() + padding, 0);
    let len = aligned(unpadded) + tag_count * RANK_LEN + TAIL_LEN;

    let mut head = [0; HEAD_LEN];
    let [l0, l1, l2, l3, count, pad, t0, t1] = &mut head;
    [*l0, *l1, *l2, *l3] = u32::try_from(len).unwrap_or(u32::MAX).to_le_bytes();
    *count = u8::try_from(tag_count).unwrap_or(u8::MAX);
    *pad = u8::try_from(padding).unwrap_or(u8::MAX);
    [*t0, *t1] = u16::try_from(tags_len).unwrap_or(u16::MAX).to_le_bytes();
    if let Some(place) = buffer.get_mut(start..start + HEAD_LEN) {
        place.copy_from_slice(&head);
    }
    let checksum = crc32fast::hash(buffer.get(start..).unwrap_or_default());
    buffer.resize(start + len, 0);
    Draft {
        start,
        len,
        tag_count,
        checksum,
    }
}

impl Draft {
    /// Fills in what only the writer knows. `ranks` has one rank for each tag.
    pub(crate) fn finish(
        &self,
        buffer: &mut [u8],
        ranks: impl Iterator<Item = u64>,
        id: EventId,
        recorded_at_us: u64,
        salt: u32,
        mask: u32,
    ) {
        let open_len = self.tag_count * RANK_LEN + TAIL_LEN;
        let Some(open) = buffer.get_mut(self.start + self.len - open_len..self.start + self.len)
        else {
            debug_assert!(false, "a draft lies within its buffer");
            return;
        };
        let (rank_places, tail) = open.split_at_mut(self.tag_count * RANK_LEN);
        for (place, rank) in rank_places.chunks_exact_mut(RANK_LEN).zip(ranks) {
            place.copy_from_slice(&rank.to_le_bytes());
        }
        if let Some((place, rest)) = tail.split_first_chunk_mut::<8>() {
            *place = id.get().to_le_bytes();
            if let Some((place, rest)) = rest.split_first_chunk_mut::<8>() {
                *place = recorded_at_us.to_le_bytes();
                if let Some(place) = rest.first_chunk_mut::<4>() {
                    *place = salt.to_le_bytes();
                }
            }
        }
        let mut hasher = crc32fast::Hasher::new_with_initial(self.checksum);
        if let Some((covered, place)) = open.split_last_chunk_mut::<4>() {
            hasher.update(covered);
            *place = (hasher.finalize() ^ mask).to_le_bytes();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MASK: u32 = 0x5eed_1234;

    fn encoded(tags: &[&[u8]], body: &[u8]) -> Vec<u8> {
        let mut buffer = Vec::new();
        let draft = encode_draft(&mut buffer, tags.iter().copied(), &[body]);
        let ranks = 0..tags.len() as u64;
        draft.finish(&mut buffer, ranks, EventId::FIRST, 7, 9, MASK);
        buffer
    }

    #[test]
    fn a_record_reads_back_as_it_was_written() {
        for body in [&b""[..], b"x", b"hello", &[0; 100]] {
            let bytes = encoded(&[b"stream", b"t"], body);
            let (record, len) = decode(&bytes, MASK).unwrap();
            assert_eq!(len, bytes.len());
            assert_eq!(record.body, body);
            assert_eq!((record.id, record.recorded_at_us), (EventId::FIRST, 7));
            let tags: Vec<_> = record.tags().collect();
            assert_eq!(tags, [(&b"stream"[..], 0), (&b"t"[..], 1)]);
        }
    }

    #[test]
    fn tags_that_do_not_fill_their_section_are_no_record() {
        let whole = encoded(&[b"stream", b"t"], b"hello");
        // One byte less in the last tag; an empty tag; a tag that reaches beyond the section.
        for (at, value) in [(16, 0), (16, 2), (8, 5), (8, 7), (9, 1)] {
            let mut bytes = whole.clone();
            bytes[at] = value;
            let covered = bytes.len() - 4;
            let checksum = crc32fast::hash(&bytes[..covered]) ^ MASK;
            bytes[covered..].copy_from_slice(&checksum.to_le_bytes());
            let refused = decode(&bytes, MASK).map(drop);
            assert_eq!(refused, Err(RecordFault::Parts), "{value} at {at}");
            assert_eq!(checked_len(&bytes, MASK, EventId::FIRST), None);
        }
        assert!(checked_len(&whole, MASK, EventId::FIRST).is_some());
    }

    #[test]
    fn a_record_without_its_last_bytes_is_cut_short() {
        let bytes = encoded(&[b"stream"], b"hello");
        for len in 0..bytes.len() {
            assert_eq!(decode(&bytes[..len], MASK), Err(RecordFault::CutShort));
        }
    }

    #[test]
    fn every_flipped_bit_is_noticed() {
        let whole = encoded(&[b"stream"], b"hello");
        for bit in 0..whole.len() * 8 {
            let mut bytes = whole.clone();
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert!(decode(&bytes, MASK).is_err(), "bit {bit}");
        }
    }

    #[test]
    fn a_record_of_another_segment_is_refused() {
        let bytes = encoded(&[b"stream"], b"hello");
        assert!(matches!(
            decode(&bytes, MASK ^ 1),
            Err(RecordFault::Checksum { .. })
        ));
    }

    #[test]
    fn zeros_are_no_record() {
        assert_eq!(decode(&[0; 64], 0), Err(RecordFault::Length(0)));
    }

    #[test]
    fn the_smallest_record_is_the_one_of_the_format_page() {
        let mut buffer = Vec::new();
        let draft = encode_draft(&mut buffer, std::iter::empty(), &[]);
        draft.finish(&mut buffer, std::iter::empty(), EventId::FIRST, 0, 0, 0);
        let mut want = [0; RECORD_LEN_MIN];
        want[0] = 0x20;
        want[8] = 1;
        want[28..].copy_from_slice(&[0x0f, 0xef, 0xa8, 0xd3]);
        assert_eq!(buffer, want);
    }

    #[test]
    fn a_record_behind_others_in_the_same_buffer_is_the_same_record() {
        let alone = encoded(&[b"a"], b"second");
        let mut buffer = encoded(&[b"stream", b"t"], b"first");
        let start = buffer.len();
        let draft = encode_draft(&mut buffer, [&b"a"[..]].into_iter(), &[b"sec", b"ond"]);
        assert_eq!((draft.start, draft.len), (start, alone.len()));
        draft.finish(&mut buffer, 0..1, EventId::FIRST, 7, 9, MASK);
        assert_eq!(buffer[start..], alone);
    }

    #[test]
    fn the_longest_tag_is_a_tag_and_a_longer_one_is_none() {
        for (len, is_tag) in [
            (1, true),
            (TAG_LEN_MAX, true),
            (TAG_LEN_MAX + 1, false),
            (0, false),
        ] {
            let bytes = encoded(&[&vec![b'x'; len], b"t"], b"hello");
            let read = decode(&bytes, MASK).map(|(record, _)| record.tags().count());
            let want = if is_tag {
                Ok(2)
            } else {
                Err(RecordFault::Parts)
            };
            assert_eq!(read, want, "{len}");
            let checked = checked_len(&bytes, MASK, EventId::FIRST);
            assert_eq!(checked.is_some(), is_tag, "{len}");
        }
    }

    #[test]
    fn lengths_that_no_record_has_are_told_from_records_that_are_cut_short() {
        let of = |len: usize| peek_len(&u32::try_from(len).unwrap().to_le_bytes());
        for len in [0, 8, 24, 33, 36, RECORD_LEN_MAX + 8, 1 << 31] {
            let len_field = u32::try_from(len).unwrap();
            assert_eq!(of(len), Err(RecordFault::Length(len_field)));
        }
        for len in [RECORD_LEN_MIN, 40, RECORD_LEN_MAX] {
            assert_eq!(of(len), Err(RecordFault::CutShort));
        }
    }

    #[test]
    fn only_the_record_that_was_asked_for_has_its_length_told() {
        let bytes = encoded(&[b"stream"], b"hello");
        let second = EventId::FIRST.next().unwrap();
        assert_eq!(checked_len(&bytes, MASK, EventId::FIRST), Some(bytes.len()));
        assert_eq!(checked_len(&bytes, MASK, second), None);
        assert_eq!(checked_len(&bytes, MASK ^ 1, EventId::FIRST), None);
    }

    #[test]
    fn parts_that_do_not_fit_into_the_record_are_none_whatever_its_checksum() {
        let whole = encoded(&[b"stream"], b"hello");
        // More tags, padding or bytes of tags than there is room for; and the id 0.
        for (at, value) in [(4, 9), (5, 200), (6, 200), (7, 9), (whole.len() - 24, 0)] {
            let mut bytes = whole.clone();
            bytes[at] = value;
            let covered = bytes.len() - 4;
            let checksum = crc32fast::hash(&bytes[..covered]) ^ MASK;
            bytes[covered..].copy_from_slice(&checksum.to_le_bytes());
            let refused = decode(&bytes, MASK).map(drop);
            assert_eq!(refused, Err(RecordFault::Parts), "{value} at {at}");
        }
    }

    #[test]
    fn a_checked_record_is_read_again_from_longer_bytes() {
        let mut bytes = encoded(&[b"stream"], b"hello");
        let (record, _) = decode(&bytes, MASK)
            .map(|(record, len)| (record.body.to_vec(), len))
            .unwrap();
        bytes.extend_from_slice(&[7; 100]);
        assert_eq!(reread(&bytes).unwrap().body, record);
        assert_eq!(reread(&bytes[..16]), None);
    }
}
