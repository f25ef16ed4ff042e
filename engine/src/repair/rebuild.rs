//! A segment without its header, written anew: the same records at the same offsets, under a header
//! and batch headers that are whole. What is not a record becomes zeros.

use crate::format::batch::{self, BatchHeader, Mark};
use crate::format::record;
use crate::format::segment::{HEADER_LEN, SegmentHeader, SegmentKind};
use crate::options::Options;
use crate::position::EventId;
use crate::salvage::Place;
use crate::tail::RESERVED_LEN;

/// Records that follow one another without a gap, as one batch.
struct Run {
    start: usize,
    end: usize,
    first: EventId,
    count: u32,
    salt: u32,
}

/// The bytes of the new file. `places` are the whole records in `bytes`, ascending; their checksums
/// stay right, since they depend on the log's id and the segment's first id alone.
pub(super) fn rebuild(
    bytes: &[u8],
    places: &[Place],
    log_id: [u8; 16],
    first: EventId,
    options: &Options,
) -> Vec<u8> {
    let recorded_at_us = places
        .first()
        .and_then(|place| record::reread(bytes.get(place.offset..)?))
        .map_or(0, |record| record.recorded_at_us);
    let header = SegmentHeader {
        kind: SegmentKind::Events,
        log_id,
        first,
        created_us: recorded_at_us,
        proof_key: options.entropy.next_u64(),
        reserved: 0,
    };
    let masks = header.masks();
    let runs = runs(bytes, places);
    let data_end = runs.last().map_or(HEADER_LEN, |run| run.end);
    let reserved = usize::try_from(RESERVED_LEN).unwrap_or(usize::MAX);
    let mut out = vec![0; bytes.len().max(data_end.saturating_add(reserved))];
    put(&mut out, 0, &header.encode());
    let mut previous = header.checksum();
    let mut next = first;
    let mut offset = HEADER_LEN;
    for run in &runs {
        put(
            &mut out,
            run.start,
            bytes.get(run.start..run.end).unwrap_or_default(),
        );
        // Where a damaged record was shorter than a batch header the run has none; it is found from
        // the one behind it.
        let Some(at) = run
            .start
            .checked_sub(batch::HEADER_LEN)
            .filter(|at| *at >= offset)
        else {
            offset = run.end;
            next = EventId::new(run.first.get() + u64::from(run.count)).unwrap_or(next);
            continue;
        };
        let mut mark = |out: &mut [u8], at: usize, mark: Mark, run: Option<&Run>, next: EventId| {
            let header = BatchHeader {
                len: u32::try_from(run.map_or(batch::HEADER_LEN, |run| run.end - at))
                    .unwrap_or(u32::MAX),
                record_count: run.map_or(0, |run| run.count),
                mark,
                first: next,
                synced_to: at as u64,
                salt: run.map_or(0, |run| run.salt),
                previous,
            };
            let (encoded, checksum) = header.encode(masks);
            put(out, at, &encoded);
            previous = checksum;
        };
        // Where marks stood there are marks again, so that batches follow one another.
        let is_gap = run.first > next || !(at - offset).is_multiple_of(batch::HEADER_LEN);
        while offset < at && !is_gap {
            mark(&mut out, offset, Mark::Synced, None, next);
            offset += batch::HEADER_LEN;
        }
        mark(&mut out, at, Mark::Synced, Some(run), run.first);
        offset = run.end;
        next = EventId::new(run.first.get() + u64::from(run.count)).unwrap_or(next);
    }
    let seal = BatchHeader {
        len: u32::try_from(batch::HEADER_LEN).unwrap_or(u32::MAX),
        record_count: 0,
        mark: Mark::Seal,
        first: next,
        synced_to: offset as u64,
        salt: 0,
        previous,
    };
    put(&mut out, offset, &seal.encode(masks).0);
    out
}

fn runs(bytes: &[u8], places: &[Place]) -> Vec<Run> {
    let mut runs: Vec<Run> = Vec::new();
    for place in places {
        let salt = bytes
            .get(place.offset..)
            .and_then(record::reread)
            .map_or(0, |record| record.salt);
        let end = place.offset + place.len;
        match runs.last_mut() {
            Some(run)
                if run.end == place.offset
                    && run.salt == salt
                    && run.first.get() + u64::from(run.count) == place.id.get() =>
            {
                run.end = end;
                run.count += 1;
            }
            _ => runs.push(Run {
                start: place.offset,
                end,
                first: place.id,
                count: 1,
                salt,
            }),
        }
    }
    runs
}

fn put(out: &mut [u8], at: usize, bytes: &[u8]) {
    if let Some(place) = out.get_mut(at..at + bytes.len()) {
        place.copy_from_slice(bytes);
    }
}
