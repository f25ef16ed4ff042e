//! The one door for the fuzz targets to what is not public: decoding, and the decision where a log
//! ends.
//!
//! Public so that `fuzz/`, a package of its own, can call it; of no use to anybody else.

mod repair;

use crate::format::batch::{self, BatchHeader, Mark};
use crate::format::segment::{HeaderFault, Masks, SegmentHeader};
use crate::format::{index, record};
use crate::recovery;
use crate::tags::check_run;

pub use repair::{Chaining, right_checksums};

/// Decodes any bytes as each structure of FORMAT.md, once as they are and once with their checksums
/// made right, for else nothing behind a checksum is ever reached.
///
/// # Panics
///
/// If a decoder panics, or what decodes does not encode back the same.
pub fn decode(bytes: &[u8]) {
    const MASKS: Masks = Masks {
        record: 0x1234_5678,
        batch: 0x8765_4321,
    };
    for bytes in [bytes.to_vec(), with_checksum(bytes, 60, 0)] {
        if let Ok(header) = SegmentHeader::decode(&bytes) {
            let encoded = header.encode();
            assert_eq!(bytes.get(..64), encoded.get(..64), "a segment header");
        }
    }
    for bytes in [
        bytes.to_vec(),
        with_checksum(bytes, batch::HEADER_LEN - 4, MASKS.batch),
    ] {
        if let Some((header, _)) = BatchHeader::decode(&bytes, MASKS) {
            let (encoded, _) = header.encode(MASKS);
            assert_eq!(bytes.get(..40), encoded.get(..40), "a batch header");
        }
    }
    let covered = bytes.len().saturating_sub(4);
    for bytes in [bytes.to_vec(), with_checksum(bytes, covered, MASKS.record)] {
        if let Ok((record, len)) = record::decode(&bytes, MASKS.record) {
            assert!(len <= bytes.len() && record.body.len() < len, "a record");
            let tags_len: usize = record.tags().map(|(tag, _)| tag.len()).sum();
            assert!(tags_len < len, "the tags of a record");
            assert_eq!(
                record::checked_len(&bytes, MASKS.record, record.id),
                Some(len),
                "a scan takes what a read takes"
            );
        }
    }
    for bytes in [bytes.to_vec(), with_checksum(bytes, covered, 0)] {
        if let Some((_, offsets)) = index::decode(&bytes) {
            assert!(offsets.end <= bytes.len(), "an index");
        }
    }
    let run = "00000000000000000001-00000000000000000003.0.tags";
    let _checked = check_run(run, bytes);
    let mut repaired = bytes.to_vec();
    right_checksums(run, &mut repaired, Chaining::Kept);
    let _checked = check_run(run, &repaired);
}

/// The checks that whatever is read of a segment has to pass.
#[derive(Debug)]
pub struct Checks(Masks);

impl Checks {
    /// Those of this segment, if its header is whole.
    #[must_use]
    pub fn of_segment(bytes: &[u8]) -> Option<Self> {
        let header = SegmentHeader::decode(bytes).ok()?;
        Some(Self(header.masks()))
    }

    /// Whether the bytes begin with a whole batch header.
    #[must_use]
    pub fn is_batch_header(&self, bytes: &[u8]) -> bool {
        BatchHeader::decode(bytes, self.0).is_some()
    }

    /// Whether the bytes begin with a whole record, and it has this id.
    #[must_use]
    pub fn is_record(&self, bytes: &[u8], id: u64) -> bool {
        record::decode(bytes, self.0.record).is_ok_and(|(record, _)| record.id.get() == id)
    }
}

/// The bytes with the checksum of the first `covered` of them behind those.
fn with_checksum(bytes: &[u8], covered: usize, mask: u32) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    repair::put_checksum(&mut bytes, covered, mask);
    bytes
}

/// What the bytes of a tail, or of a checkpoint log, are taken for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Judgement {
    /// There is no whole header of a version that is known.
    NoHeader,
    /// The header is of this version, which a later program wrote.
    Newer(u32),
    /// What was durable once is gone.
    Damaged,
    /// The log ends in it.
    Ends(Ended),
}

/// Where and how a log ends in a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ended {
    /// Behind the last valid batch.
    pub offset: usize,
    /// The id of the next record.
    pub next_id: u64,
    /// The time of the last record.
    pub recorded_at_us: u64,
    /// The highest `synced to`.
    pub synced_to: u64,
    /// The flags of the last valid batch, if it is a mark.
    pub mark: Option<u32>,
    /// Behind the last byte that is not zero, and not before `offset`.
    pub dirty_end: usize,
    /// Everything before the end.
    pub records: Vec<Found>,
}

/// A record, and where it lies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// Where it begins in the file.
    pub offset: usize,
    /// Its id.
    pub id: u64,
    /// When it was taken.
    pub recorded_at_us: u64,
    /// Its tags, each with its rank.
    pub tags: Vec<(Vec<u8>, u64)>,
    /// Its body.
    pub body: Vec<u8>,
}

/// Takes any bytes for a tail, as an open does.
#[must_use]
pub fn judge(bytes: &[u8]) -> Judgement {
    let header = match SegmentHeader::decode(bytes) {
        Ok(header) => header,
        Err(HeaderFault::Newer(version)) => return Judgement::Newer(version),
        Err(HeaderFault::Damaged | HeaderFault::Impossible) => return Judgement::NoHeader,
    };
    let mut records = Vec::new();
    let judged = recovery::judge("a tail", bytes, &header, |offset, record| {
        records.push(Found {
            offset,
            id: record.id.get(),
            recorded_at_us: record.recorded_at_us,
            tags: record
                .tags()
                .map(|(tag, rank)| (tag.to_vec(), rank))
                .collect(),
            body: record.body.to_vec(),
        });
    });
    let Ok(ending) = judged else {
        return Judgement::Damaged;
    };
    Judgement::Ends(Ended {
        offset: ending.chain.offset,
        next_id: ending.chain.next.get(),
        recorded_at_us: ending.chain.recorded_at_us,
        synced_to: ending.chain.synced_to,
        mark: ending.mark.map(|mark| match mark {
            Mark::Synced => 0,
            Mark::Clean => 1,
            Mark::Seal => 2,
        }),
        dirty_end: ending.dirty_end,
        records,
    })
}
