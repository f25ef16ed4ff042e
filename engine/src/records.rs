//! What a read hands out: checked records, not copied.

use bytes::Bytes;

use crate::format::record::{self, Record};

/// Records in the order they were asked for; they keep the segments they lie in alive.
///
/// Every record has been checked, and is part of what was published when it was read.
#[derive(Clone, Debug, Default)]
pub struct Records {
    parts: Vec<Bytes>,
    places: Vec<Place>,
    encoded_len: usize,
}

/// Where a record lies: its part, and its offset in that part.
#[derive(Clone, Copy, Debug)]
struct Place {
    part: u32,
    offset: u32,
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

    /// The record at `index`, counted from 0.
    #[must_use]
    pub fn get(&self, index: usize) -> Option<Record<'_>> {
        let place = self.places.get(index)?;
        let part = self.parts.get(place.part as usize)?;
        // Checked when it was pushed, and frozen since.
        record::reread(part.get(place.offset as usize..)?)
    }

    /// The body of the record at `index`, sharing the segment's memory.
    #[must_use]
    pub fn body_bytes(&self, index: usize) -> Option<Bytes> {
        let part = self.parts.get(self.places.get(index)?.part as usize)?;
        Some(part.slice_ref(self.get(index)?.body))
    }

    /// The records, one after another.
    ///
    /// # Panics
    ///
    /// If a record that was checked when it was read is not one any more, which would mean that a
    /// frozen file has changed.
    #[must_use]
    pub fn iter(&self) -> impl ExactSizeIterator<Item = Record<'_>> + Clone {
        self.places.iter().map(|place| {
            self.parts
                .get(place.part as usize)
                .and_then(|part| part.get(place.offset as usize..))
                .and_then(record::reread)
                .expect("a record that was checked when it was pushed still reads")
        })
    }

    /// Adds a part; records pushed from now on lie in it.
    pub(crate) fn push_part(&mut self, part: Bytes) {
        self.parts.push(part);
    }

    /// Adds the record of `len` bytes at `offset` in the last part, which has been checked.
    pub(crate) fn push(&mut self, offset: u32, len: usize) {
        let part = u32::try_from(self.parts.len().saturating_sub(1)).unwrap_or(u32::MAX);
        self.places.push(Place { part, offset });
        self.encoded_len += len;
    }
}
