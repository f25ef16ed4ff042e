//! The floor of every read: the segment files of a log, mapped, walked by their lengths alone, each
//! record checksummed with `crc32fast`.
//!
//! Written from FORMAT.md, sections 4 to 6, so it also shows that the page is enough to read a log.

use std::path::Path;

use bytes::Bytes;
use strandlog_engine::storage::{Access, EntryKind};

use super::storage;

const SEGMENT_HEADER_LEN: usize = 4_096;
const BATCH_HEADER_LEN: usize = 48;
const BATCH_MAGIC: u32 = 0x8054_4142;

/// The segments of a log as mapped bytes.
#[derive(Debug)]
pub(crate) struct MappedLog {
    segments: Vec<(Bytes, u32)>,
}

/// Where a record lies.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place {
    segment: u32,
    offset: u32,
}

impl MappedLog {
    /// Maps every segment in this directory, oldest first.
    pub(crate) fn open(path: &Path) -> Self {
        let storage = storage(path);
        let mut names: Vec<String> = storage
            .list()
            .unwrap()
            .into_iter()
            .filter(|entry| {
                matches!(entry.kind, EntryKind::File { .. }) && entry.name.ends_with(".seg")
            })
            .map(|entry| entry.name)
            .collect();
        names.sort_unstable();
        let segments = names.iter().map(|name| {
            let file = storage.open(name, Access::Read).unwrap();
            file.freeze(file.len());
            let bytes = file.frozen().unwrap();
            let mask = crc32fast::hash(&bytes[16..40]);
            (bytes, mask)
        });
        Self {
            segments: segments.collect(),
        }
    }

    /// Checks every record; how many there are, and how many bytes they take.
    pub(crate) fn scan(&self) -> (u64, u64) {
        let mut records = 0;
        let mut len = 0;
        for (bytes, mask) in &self.segments {
            walk(bytes, |_, record| {
                assert!(is_sound(record, *mask), "a record is damaged");
                records += 1;
                len += record.len() as u64;
            });
        }
        (records, len)
    }

    /// Where each record lies, by id.
    pub(crate) fn places(&self) -> Vec<Place> {
        let mut places = Vec::new();
        for (segment, (bytes, _)) in (0..).zip(&self.segments) {
            walk(bytes, |offset, _| {
                places.push(Place {
                    segment,
                    offset: u32::try_from(offset).unwrap(),
                });
            });
        }
        places
    }

    /// Checks the record at this place; its length.
    pub(crate) fn check(&self, place: Place) -> usize {
        let (bytes, mask) = &self.segments[place.segment as usize];
        let rest = &bytes[place.offset as usize..];
        let record = &rest[..first_u32(rest) as usize];
        assert!(is_sound(record, *mask), "a record is damaged");
        record.len()
    }

    /// The bytes of all segments.
    pub(crate) fn segments(&self) -> impl Iterator<Item = &[u8]> {
        self.segments.iter().map(|(bytes, _)| &bytes[..])
    }
}

#[inline]
fn walk(bytes: &[u8], mut visit: impl FnMut(usize, &[u8])) {
    let mut offset = SEGMENT_HEADER_LEN;
    while offset + 4 <= bytes.len() {
        match first_u32(&bytes[offset..]) {
            0 => break,
            BATCH_MAGIC => offset += BATCH_HEADER_LEN,
            len => {
                let len = len as usize;
                visit(offset, &bytes[offset..offset + len]);
                offset += len;
            }
        }
    }
}

#[inline]
fn is_sound(record: &[u8], mask: u32) -> bool {
    let (covered, stored) = record.split_last_chunk::<4>().unwrap();
    crc32fast::hash(covered) ^ mask == u32::from_le_bytes(*stored)
}

#[inline]
fn first_u32(bytes: &[u8]) -> u32 {
    u32::from_le_bytes(*bytes.first_chunk().unwrap())
}
