//! Whole transfers on top of single system calls, which may stop half-way.
//!
//! A call that moves nothing is an error and never a reason to try again, so none of these loops
//! can spin: each round moves at least one byte or ends.

use std::io::{self, IoSlice};
use std::iter;

use super::StorageFile;

/// The most pieces the kernel takes in one call (`IOV_MAX`).
const PIECES_MAX: usize = 1024;

/// Up to this many pieces need no allocation: a batch is a header, its records and a trailer.
const PIECES_ON_STACK: usize = 16;

/// How often in a row a call may be interrupted by a signal before that counts as a failure. A
/// disk that answers so for ever must not keep a thread for ever.
const INTERRUPTIONS_MAX: u32 = 64;

/// Zeros are written in calls of this many bytes, so that one call stays short on a slow disk.
const ZERO_STEP: usize = 1 << 20;

static ZEROS: [u8; 64 << 10] = [0; 64 << 10];

/// Writes all of `pieces`, one after another, from `offset` on.
///
/// One system call if the disk takes everything at once and there are at most 1024 pieces.
///
/// # Errors
///
/// [`io::ErrorKind::InvalidInput`], with nothing written, if the range lies in the frozen prefix or
/// does not end below 2^64. After any other error an unknown part has been written, and
/// [`io::ErrorKind::WriteZero`] says that the disk took no more without saying why.
pub(crate) fn write_all_at(
    file: &dyn StorageFile,
    mut offset: u64,
    pieces: &[&[u8]],
) -> io::Result<()> {
    let end = pieces.iter().try_fold(offset, |end, piece| {
        end.checked_add(u64::try_from(piece.len()).ok()?)
    });
    if end.is_none() {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "the range to write ends beyond 2^64",
        ));
    }

    let mut few = [IoSlice::new(&[]); PIECES_ON_STACK];
    let mut many = Vec::new();
    let slots: &mut [IoSlice<'_>] = if pieces.len() <= PIECES_ON_STACK {
        &mut few
    } else {
        many.resize(pieces.len().min(PIECES_MAX), IoSlice::new(&[]));
        &mut many
    };

    // What is still to be written is `head`, the rest of one piece, and then all of `later`.
    let mut head: &[u8] = &[];
    let mut later = pieces.iter();
    loop {
        while head.is_empty() {
            let Some(piece) = later.next() else {
                return Ok(());
            };
            head = piece;
        }

        let mut used = 0;
        let mut offered = 0_usize;
        let left = iter::once(head).chain(later.clone().copied());
        for (slot, piece) in slots.iter_mut().zip(left.filter(|piece| !piece.is_empty())) {
            *slot = IoSlice::new(piece);
            used += 1;
            offered = offered.saturating_add(piece.len());
        }
        let slices = slots.get(..used).unwrap_or_default();

        let mut written = uninterrupted(|| file.write_at(offset, slices))?;
        if written == 0 {
            return Err(io::ErrorKind::WriteZero.into());
        }
        check_count(written, offered)?;
        // Cannot pass `end`, which was computed without overflow.
        offset = offset.saturating_add(written as u64);
        while written >= head.len() {
            written -= head.len();
            let Some(piece) = later.next() else {
                return Ok(());
            };
            head = piece;
        }
        head = head.get(written..).unwrap_or_default();
    }
}

/// Fills `buffer` from `offset` on.
///
/// # Errors
///
/// [`io::ErrorKind::UnexpectedEof`] if the file ends before that. The buffer's content is unknown
/// after any error.
pub(crate) fn read_exact_at(
    file: &dyn StorageFile,
    mut offset: u64,
    mut buffer: &mut [u8],
) -> io::Result<()> {
    while !buffer.is_empty() {
        let read = uninterrupted(|| file.read_at(offset, buffer))?;
        check_count(read, buffer.len())?;
        if read == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        buffer = buffer.get_mut(read..).unwrap_or_default();
        // Beyond 2^64 there is no byte to read, so the next round ends with "end of file".
        offset = offset.saturating_add(read as u64);
    }
    Ok(())
}

/// Writes zeros from `from` up to `to`, lengthening the file if it ends before; nothing if `from`
/// is not below `to`.
///
/// # Errors
///
/// As [`write_all_at`].
pub(crate) fn zero_range(file: &dyn StorageFile, from: u64, to: u64) -> io::Result<()> {
    let mut at = from;
    while at < to {
        let step = usize::try_from(to - at).map_or(ZERO_STEP, |left| left.min(ZERO_STEP));
        let mut pieces: [&[u8]; ZERO_STEP / ZEROS.len()] = [&[]; _];
        let mut left = step;
        for piece in &mut pieces {
            *piece = ZEROS.get(..left).unwrap_or(&ZEROS);
            left -= piece.len();
        }
        write_all_at(file, at, &pieces)?;
        at += step as u64;
    }
    Ok(())
}

/// Repeats `call` while a signal interrupts it. Not for syncs, which are never repeated.
pub(super) fn uninterrupted<T>(mut call: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    let mut interruptions = 0;
    loop {
        match call() {
            Err(error)
                if error.kind() == io::ErrorKind::Interrupted
                    && interruptions < INTERRUPTIONS_MAX =>
            {
                interruptions += 1;
            }
            result => return result,
        }
    }
}

/// A disk that claims to have moved more than it was asked to has moved nobody knows what.
fn check_count(moved: usize, offered: usize) -> io::Result<()> {
    if moved <= offered {
        return Ok(());
    }
    Err(io::Error::other(format!(
        "the disk claims to have moved {moved} bytes of {offered}"
    )))
}
