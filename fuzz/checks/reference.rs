//! Where a log ends, a second time: written from engine/FORMAT.md alone, slowly and byte by byte, to
//! be compared with the engine's own decision.

use strandlog_engine::fuzzing::{Ended, Found, Judgement};

const HEADER_LEN: usize = 4_096;
const BATCH_HEADER_LEN: usize = 48;
/// What batches with records leave free behind them.
const RESERVED_LEN: usize = 4_096;
const ID_MAX: u64 = (1 << 63) - 1;

/// A number of `len` bytes, the lowest first; nothing if the bytes end before.
fn number(bytes: &[u8], at: usize, len: usize) -> Option<u64> {
    let mut number = 0;
    for place in (0..len).rev() {
        number = number * 256 + u64::from(*bytes.get(at.checked_add(place)?)?);
    }
    Some(number)
}

/// What the CRC-32 of zlib makes of each byte, a bit at a time.
const CRC_OF_BYTE: [u32; 256] = {
    let mut table = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        let mut crc = byte as u32;
        let mut bit = 0;
        while bit < 8 {
            crc = (crc >> 1) ^ (0xedb8_8320 * (crc & 1));
            bit += 1;
        }
        table[byte] = crc;
        byte += 1;
    }
    table
};

fn crc32(pieces: &[&[u8]]) -> u32 {
    let mut crc = u32::MAX;
    for piece in pieces {
        for byte in *piece {
            crc = (crc >> 8) ^ CRC_OF_BYTE[usize::from(crc.to_le_bytes()[0] ^ byte)];
        }
    }
    !crc
}

/// Section 4.
struct Header {
    first: u64,
    checksum: u64,
    record_mask: u32,
    batch_mask: u32,
}

fn header(bytes: &[u8]) -> Result<Header, Judgement> {
    let nothing = || Judgement::NoHeader;
    let whole = bytes.get(..HEADER_LEN).ok_or_else(nothing)?;
    if &whole[..8] != b"STRANDSG" {
        return Err(Judgement::NoHeader);
    }
    let field = |at, len| number(whole, at, len).ok_or_else(nothing);
    let version = field(8, 4)?;
    if version > 1 {
        return Err(Judgement::Newer(
            u32::try_from(version).map_err(|_| nothing())?,
        ));
    }
    let (kind, first, checksum) = (field(12, 4)?, field(32, 8)?, field(60, 4)?);
    if checksum != u64::from(crc32(&[&whole[..60]]))
        || whole[64..].iter().any(|byte| *byte != 0)
        || version != 1
        || !(1..=2).contains(&kind)
        || !(1..=ID_MAX).contains(&first)
    {
        return Err(Judgement::NoHeader);
    }
    Ok(Header {
        first,
        checksum,
        record_mask: crc32(&[&whole[16..40]]),
        batch_mask: crc32(&[&whole[16..40], &whole[48..56]]),
    })
}

/// Section 6, the header alone.
struct Batch {
    len: u64,
    records: u64,
    flags: u64,
    first: u64,
    synced_to: u64,
    salt: u64,
    previous: u64,
    checksum: u64,
}

/// The header at an offset, if its checksum is right and each field has a value that it can have.
fn batch(bytes: &[u8], at: usize, mask: u32) -> Option<Batch> {
    let whole = bytes.get(at..at.checked_add(BATCH_HEADER_LEN)?)?;
    if whole[..4] != [0x42, 0x41, 0x54, 0x80] {
        return None;
    }
    let field = |at, len| number(whole, at, len);
    let batch = Batch {
        len: field(4, 4)?,
        records: field(8, 4)?,
        flags: field(12, 4)?,
        first: field(16, 8)?,
        synced_to: field(24, 8)?,
        salt: field(32, 4)?,
        previous: field(36, 4)?,
        checksum: field(44, 4)?,
    };
    let is_sound = batch.checksum == u64::from(crc32(&[&whole[..44]]) ^ mask)
        && batch.flags <= 2
        && (1..=ID_MAX).contains(&batch.first);
    is_sound.then_some(batch)
}

/// Section 5: the record at an offset, its length and its salt.
fn record(bytes: &[u8], at: usize, mask: u32) -> Option<(Found, usize, u64)> {
    let len = usize::try_from(number(bytes, at, 4)?).ok()?;
    if len % 8 != 0 || !(32..=40 << 20).contains(&len) {
        return None;
    }
    let whole = bytes.get(at..at.checked_add(len)?)?;
    if number(whole, len - 4, 4)? != u64::from(crc32(&[&whole[..len - 4]]) ^ mask) {
        return None;
    }
    let count = usize::from(whole[4]);
    let padding = usize::from(whole[5]);
    let tags_end = 8 + usize::try_from(number(whole, 6, 2)?).ok()?;
    let ranks = (len - 24).checked_sub(8 * count)?;
    let body_end = ranks.checked_sub(padding)?;
    let body = whole.get(tags_end..body_end)?.to_vec();
    let mut tags = Vec::new();
    let mut place = 8;
    for index in 0..count {
        let tag_len = usize::try_from(number(whole, place, 2)?).ok()?;
        let end = place + 2 + tag_len;
        if !(1..=600).contains(&tag_len) || end > tags_end {
            return None;
        }
        let rank = number(whole, ranks + 8 * index, 8)?;
        tags.push((whole[place + 2..end].to_vec(), rank));
        place = end;
    }
    let id = number(whole, len - 24, 8)?;
    if place != tags_end || !(1..=ID_MAX).contains(&id) {
        return None;
    }
    let found = Found {
        offset: at,
        id,
        recorded_at_us: number(whole, len - 16, 8)?,
        tags,
        body,
    };
    Some((found, len, number(whole, len - 8, 4)?))
}

/// Where the walk along the batches stands.
struct Walk {
    end: usize,
    previous: u64,
    next: u64,
    recorded_at_us: u64,
    synced_to: u64,
    mark: Option<u32>,
    records: Vec<Found>,
    /// Behind the last batch with records.
    records_end: usize,
}

impl Walk {
    /// Section 6: goes behind the batch at this place, if it is valid.
    fn step(&mut self, bytes: &[u8], header: &Header) -> Option<()> {
        let batch = batch(bytes, self.end, header.batch_mask)?;
        let is_mark = batch.records == 0;
        let fits = batch.previous == self.previous
            && batch.first == self.next
            && batch.synced_to <= self.end as u64
            && (is_mark || batch.flags == 0);
        let end = self.end.checked_add(usize::try_from(batch.len).ok()?)?;
        if !fits || end > bytes.len() {
            return None;
        }
        let mut at = self.end + BATCH_HEADER_LEN;
        let (mut next, mut time) = (self.next, self.recorded_at_us);
        let mut records = Vec::new();
        for _ in 0..batch.records {
            let (found, len, salt) = record(&bytes[..end], at, header.record_mask)?;
            // The published end is the id behind the last, so that one must exist.
            let in_place = found.id == next && salt == batch.salt && next < ID_MAX;
            if !in_place || found.recorded_at_us < time {
                return None;
            }
            (next, time) = (next + 1, found.recorded_at_us);
            records.push(found);
            at += len;
        }
        if at != end {
            return None;
        }
        self.records.append(&mut records);
        *self = Self {
            end,
            previous: batch.checksum,
            next,
            recorded_at_us: time,
            synced_to: self.synced_to.max(batch.synced_to),
            mark: is_mark.then_some(u32::try_from(batch.flags).ok()?),
            records_end: if is_mark { self.records_end } else { end },
            records: std::mem::take(&mut self.records),
        };
        Some(())
    }
}

/// Section 7.
pub(crate) fn judge(bytes: &[u8]) -> Judgement {
    let header = match header(bytes) {
        Ok(header) => header,
        Err(judgement) => return judgement,
    };
    let mut walk = Walk {
        end: HEADER_LEN,
        previous: header.checksum,
        next: header.first,
        recorded_at_us: 0,
        synced_to: HEADER_LEN as u64,
        mark: None,
        records: Vec::new(),
        records_end: HEADER_LEN,
    };
    while walk.mark != Some(2) && walk.step(bytes, &header).is_some() {}

    let is_cut_in_a_batch = batch(bytes, walk.end, header.batch_mask)
        .is_some_and(|batch| batch.len > (bytes.len() - walk.end) as u64);
    let is_without_room = walk.records_end + RESERVED_LEN > bytes.len();
    let mut places = (walk.end.next_multiple_of(8)..bytes.len()).step_by(8);
    let is_proven_longer = places.any(|at| {
        batch(bytes, at, header.batch_mask).is_some_and(|batch| batch.synced_to > walk.end as u64)
    });
    let last = bytes.iter().rposition(|byte| *byte != 0);
    let dirty_end = last.map_or(0, |last| last + 1).max(walk.end);
    if is_cut_in_a_batch || is_without_room || is_proven_longer {
        return Judgement::Damaged;
    }
    Judgement::Ends(Ended {
        offset: walk.end,
        next_id: walk.next,
        recorded_at_us: walk.recorded_at_us,
        synced_to: walk.synced_to,
        mark: walk.mark,
        dirty_end,
        records: walk.records,
    })
}
