//! Bytes to values and back, as FORMAT.md describes them.
//!
//! Pure: no files, no clock, no threads. Given bytes, it gives values or says what is wrong with
//! them; given values, it gives bytes. Bytes are never trusted: they come through a cursor that
//! cannot panic, and a length is compared with what is left before it is used.

pub(crate) mod batch;
pub(crate) mod index;
pub(crate) mod losses;
#[cfg(test)]
pub(crate) mod made;
pub(crate) mod names;
pub(crate) mod piece;
pub(crate) mod record;
pub(crate) mod segment;

/// Records and batches begin at multiples of this many bytes (FORMAT.md, section 1).
pub(crate) const ALIGNMENT: usize = 8;

/// `len` rounded up to the next multiple of [`ALIGNMENT`].
pub(crate) const fn aligned(len: usize) -> usize {
    len.next_multiple_of(ALIGNMENT)
}
