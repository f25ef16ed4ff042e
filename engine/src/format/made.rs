//! Segment files made piece by piece, for unit tests of what reads them.

use super::batch::{self, BatchHeader, Mark};
use super::record::encode_draft;
use super::segment::{HEADER_LEN, SegmentHeader, SegmentKind};
use crate::position::EventId;

/// What the writer of a [`Made`] file salts with.
pub(crate) const SALT: u32 = 11;

/// A segment file, and where what was put into it stands.
pub(crate) struct Made {
    pub(crate) header: SegmentHeader,
    /// The file as far as it is written.
    pub(crate) bytes: Vec<u8>,
    /// Where each batch begins, marks included.
    pub(crate) batches: Vec<usize>,
    /// Where each record begins, and how long it is.
    pub(crate) records: Vec<(usize, usize)>,
    /// What the next header says was known durable.
    pub(crate) synced_to: u64,
    /// The id of the next record.
    pub(crate) next: u64,
    previous: u32,
}

impl Made {
    /// A segment of events without batches, whose first record is `first`.
    pub(crate) fn new(first: u64) -> Self {
        Self::of(SegmentKind::Events, first)
    }

    /// The same of this kind.
    pub(crate) fn of(kind: SegmentKind, first: u64) -> Self {
        let header = SegmentHeader {
            kind,
            log_id: *b"0123456789abcdef",
            first: EventId::new(first).unwrap(),
            created_us: 3,
            proof_key: 4,
            reserved: 0,
        };
        Self {
            header,
            bytes: header.encode(),
            batches: Vec::new(),
            records: Vec::new(),
            synced_to: HEADER_LEN as u64,
            next: first,
            previous: header.checksum(),
        }
    }

    /// Adds a batch. The time of each is ten times its id.
    pub(crate) fn batch(&mut self, bodies: &[&[u8]]) {
        let mut records = Vec::new();
        let start = self.bytes.len() + batch::HEADER_LEN;
        let (first, mask) = (self.next, self.header.masks().record);
        for body in bodies {
            let draft = encode_draft(&mut records, std::iter::empty(), &[body]);
            let id = EventId::new(self.next).unwrap();
            let none = std::iter::empty();
            draft.finish(
                &mut records,
                none,
                id,
                self.next.saturating_mul(10),
                SALT,
                mask,
            );
            self.records.push((start + draft.start, draft.len));
            self.next += 1;
        }
        self.add(
            first,
            u32::try_from(bodies.len()).unwrap(),
            Mark::Synced,
            &records,
        );
    }

    /// Adds a mark.
    pub(crate) fn mark(&mut self, mark: Mark) {
        self.add(self.next, 0, mark, &[]);
    }

    /// From here on headers say that everything so far is durable.
    pub(crate) fn sync(&mut self) {
        self.synced_to = self.bytes.len() as u64;
    }

    /// The file with zeros up to its length.
    pub(crate) fn file(&self, len: usize) -> Vec<u8> {
        let mut bytes = self.bytes.clone();
        bytes.resize(len, 0);
        bytes
    }

    fn add(&mut self, first: u64, record_count: u32, mark: Mark, records: &[u8]) {
        let header = BatchHeader {
            len: u32::try_from(batch::HEADER_LEN + records.len()).unwrap(),
            record_count,
            mark,
            first: EventId::new(first).unwrap(),
            synced_to: self.synced_to,
            salt: SALT,
            previous: self.previous,
        };
        let (encoded, checksum) = header.encode(self.header.masks());
        self.batches.push(self.bytes.len());
        self.bytes.extend_from_slice(&encoded);
        self.bytes.extend_from_slice(records);
        self.previous = checksum;
    }
}
