//! What a read hands out: checked records, not copied.

use bytes::Bytes;

use crate::error::{Damage, ReadError};
use crate::format::names;
use crate::format::record::{self, Record};
use crate::position::EventId;
use crate::segment::SegmentView;
use crate::storage::map_faults;

/// Records in the order they were asked for; they keep the segments they lie in alive.
///
/// Every record has been checked, and is part of what was published when it was read. It lies in a map
/// all the same: the system may let its page go and fetch it again, and the disk may fail by then. If
/// any page has been replaced since the check (see [`guard_maps`](crate::storage::guard_maps)), a record
/// is checked again when it is handed out.
#[derive(Clone, Debug)]
pub struct Records {
    parts: Vec<Part>,
    places: Vec<Place>,
    encoded_len: usize,
    /// How many pages had been replaced before the first check.
    faults: u64,
}

/// A segment in which records lie.
#[derive(Clone, Debug)]
struct Part {
    bytes: Bytes,
    /// The first id of the segment, which is its name.
    first: EventId,
    /// Of the checksums of its records.
    mask: u32,
}

/// Where a record lies: its part, and its offset in that part.
#[derive(Clone, Copy, Debug)]
struct Place {
    part: u32,
    offset: u32,
}

impl Default for Records {
    /// No records; what is pushed has not been checked yet.
    fn default() -> Self {
        Self {
            parts: Vec::new(),
            places: Vec::new(),
            encoded_len: 0,
            faults: map_faults(),
        }
    }
}

impl Records {
    /// How many records there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.places.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.places.is_empty()
    }

    /// How many bytes they take in the log.
    #[must_use]
    pub fn encoded_len(&self) -> usize {
        self.encoded_len
    }

    /// The record at `index`, counted from 0; none if there are not so many.
    ///
    /// # Errors
    ///
    /// [`ReadError::Damaged`] if the disk could not give its page a second time.
    pub fn get(&self, index: usize) -> Result<Option<Record<'_>>, ReadError> {
        let place = self.places.get(index);
        place.map(|place| self.read(*place)).transpose()
    }

    /// The body of the record at `index`, sharing the segment's memory.
    ///
    /// # Errors
    ///
    /// As [`get`](Self::get).
    pub fn body_bytes(&self, index: usize) -> Result<Option<Bytes>, ReadError> {
        let part = self.places.get(index).map(|place| place.part as usize);
        let (Some(record), Some(part)) = (self.get(index)?, part) else {
            return Ok(None);
        };
        let part = self.parts.get(part);
        Ok(part.map(|part| part.bytes.slice_ref(record.body)))
    }

    /// The records, one after another; an error, as of [`get`](Self::get), stands in the place of one.
    #[must_use]
    pub fn iter(&self) -> impl ExactSizeIterator<Item = Result<Record<'_>, ReadError>> + Clone {
        self.places.iter().map(|place| self.read(*place))
    }

    /// A record that was checked when it was pushed.
    fn read(&self, place: Place) -> Result<Record<'_>, ReadError> {
        let part = self.parts.get(place.part as usize);
        let rest = part.and_then(|part| Some((part, part.bytes.get(place.offset as usize..)?)));
        let record = rest.and_then(|(part, rest)| {
            if map_faults() == self.faults {
                record::reread(rest)
            } else {
                let (record, _) = record::decode(rest, part.mask).ok()?;
                Some(record)
            }
        });
        record.ok_or_else(|| {
            ReadError::Damaged(Damage {
                file: part.map_or_else(String::new, |part| names::segment(part.first)),
                offset: u64::from(place.offset),
                first_id: None,
                last_id: None,
                what: "the disk could not give the record a second time".to_owned(),
            })
        })
    }

    /// Adds a part; records pushed from now on lie in it.
    pub(crate) fn push_part(&mut self, view: &SegmentView) {
        self.parts.push(Part {
            bytes: view.bytes.clone(),
            first: view.header.first,
            mask: view.masks.record,
        });
    }

    /// Adds the record of `len` bytes at `offset` in the last part, which has been checked.
    pub(crate) fn push(&mut self, offset: u32, len: usize) {
        let part = u32::try_from(self.parts.len().saturating_sub(1)).unwrap_or(u32::MAX);
        self.places.push(Place { part, offset });
        self.encoded_len += len;
    }
}
