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

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use parking_lot::Mutex;

    use super::*;
    use crate::storage::sim::{CallKind, Fault, Repeat, SimDisk};

    /// Takes at most `step` bytes a call, and at most as many pieces as the kernel.
    #[derive(Debug)]
    struct Stingy {
        bytes: Mutex<Vec<u8>>,
        step: usize,
    }

    impl StorageFile for Stingy {
        fn len(&self) -> u64 {
            self.bytes.lock().len() as u64
        }

        fn write_at(&self, offset: u64, pieces: &[IoSlice<'_>]) -> io::Result<usize> {
            assert!((1..=PIECES_MAX).contains(&pieces.len()));
            assert!(pieces.iter().all(|piece| !piece.is_empty()));
            let mut bytes = self.bytes.lock();
            assert_eq!(offset, bytes.len() as u64);
            let offered = pieces.iter().flat_map(|piece| piece.iter());
            bytes.extend(offered.take(self.step));
            Ok(bytes.len() - usize::try_from(offset).unwrap())
        }

        fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
            let bytes = self.bytes.lock();
            let rest = bytes.get(usize::try_from(offset).unwrap()..);
            let rest = rest.unwrap_or_default();
            let len = rest.len().min(buffer.len()).min(self.step);
            buffer[..len].copy_from_slice(&rest[..len]);
            Ok(len)
        }

        fn sync(&self) -> io::Result<()> {
            Ok(())
        }

        fn freeze(&self, _len: u64) {}

        fn frozen(&self) -> io::Result<Bytes> {
            Ok(Bytes::new())
        }
    }

    #[track_caller]
    fn check(pieces: &[&[u8]], step: usize) {
        let file = Stingy {
            bytes: Mutex::default(),
            step,
        };
        write_all_at(&file, 0, pieces).unwrap();
        let want = pieces.concat();
        assert!(*file.bytes.lock() == want, "{step} bytes a call");
        let mut read = vec![0; want.len()];
        read_exact_at(&file, 0, &mut read).unwrap();
        assert!(read == want, "{step} bytes a call");
        let mut more = vec![0; want.len() + 1];
        let error = read_exact_at(&file, 0, &mut more).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
    }

    #[test]
    fn a_call_may_stop_anywhere_inside_any_piece() {
        let alphabet: Vec<u8> = (0..=255).collect();
        for lens in [
            &[][..],
            &[0],
            &[0, 0, 5, 0, 0, 0, 3, 0],
            &[1, 1, 1, 1],
            &[7, 64, 1, 200, 0, 13],
        ] {
            let pieces: Vec<_> = lens.iter().map(|len| &alphabet[..*len]).collect();
            for step in (1..40).chain([100, 1000]) {
                check(&pieces, step);
            }
        }
    }

    #[test]
    fn more_pieces_than_one_call_takes_are_written_in_several() {
        let alphabet: Vec<u8> = (0..=255).collect();
        for count in [15, 16, 17, 1023, 1024, 1025, 3000] {
            let pieces: Vec<_> = (0..count).map(|n| &alphabet[..n % 7]).collect();
            for step in [5, 700, usize::MAX] {
                check(&pieces, step);
            }
        }
    }

    fn on_faulty_disk(
        fault: Fault,
        repeat: Repeat,
        call: impl Fn(&dyn StorageFile) -> io::Result<()>,
    ) -> (SimDisk, io::Result<()>) {
        let disk = SimDisk::new();
        disk.write_file("a", b"0123456789");
        let file = disk.root().open("a", crate::storage::Access::ReadWrite);
        disk.fail_at(1, fault, repeat);
        let result = call(&*file.unwrap());
        (disk, result)
    }

    #[test]
    fn an_interrupted_call_is_repeated_but_not_for_ever() {
        let write = |file: &dyn StorageFile| write_all_at(file, 8, &[b"ab", b"cd"]);
        let read = |file: &dyn StorageFile| read_exact_at(file, 0, &mut [0; 10]);
        let (disk, result) = on_faulty_disk(Fault::Eintr, Repeat::Once, write);
        result.unwrap();
        assert_eq!(disk.read_file("a"), b"01234567abcd");
        let (_, result) = on_faulty_disk(Fault::Eintr, Repeat::Once, read);
        result.unwrap();
        for call in [&write as &dyn Fn(&dyn StorageFile) -> _, &read] {
            let (_, result) = on_faulty_disk(Fault::Eintr, Repeat::FromThenOn, call);
            assert_eq!(result.unwrap_err().kind(), io::ErrorKind::Interrupted);
        }
    }

    #[test]
    fn nothing_moved_is_an_error() {
        for repeat in [Repeat::Once, Repeat::FromThenOn] {
            let (_, result) =
                on_faulty_disk(Fault::Zero, repeat, |file| write_all_at(file, 0, &[b"x"]));
            assert_eq!(result.unwrap_err().kind(), io::ErrorKind::WriteZero);
            let (_, result) = on_faulty_disk(Fault::Zero, repeat, |file| {
                read_exact_at(file, 0, &mut [0; 1])
            });
            assert_eq!(result.unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
        }
    }

    #[test]
    fn short_calls_are_continued() {
        let (disk, result) = on_faulty_disk(Fault::Short, Repeat::FromThenOn, |file| {
            write_all_at(file, 1, &[b"abc", b"", b"defgh"])?;
            read_exact_at(file, 0, &mut [0; 10])
        });
        result.unwrap();
        assert_eq!(disk.read_file("a"), b"0abcdefgh9");
    }

    #[test]
    fn a_range_beyond_the_last_offset_is_refused_before_anything_is_written() {
        let disk = SimDisk::new();
        let file = disk.root().create("a", 4).unwrap();
        for (offset, len) in [(u64::MAX, 1), (u64::MAX - 5, 6)] {
            let pieces: Vec<&[u8]> = vec![b"x"; len];
            let error = write_all_at(&*file, offset, &pieces).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
        }
        write_all_at(&*file, u64::MAX, &[]).unwrap();
        write_all_at(&*file, u64::MAX, &[b"", b""]).unwrap();
        assert_eq!(disk.steps(), 1);
        read_exact_at(&*file, u64::MAX, &mut []).unwrap();
        read_exact_at(&*file, u64::MAX, &mut [0; 9]).unwrap_err();
        zero_range(&*file, u64::MAX - 1, u64::MAX).unwrap_err();
    }

    #[test]
    fn a_range_is_zeroed_exactly() {
        let step = ZERO_STEP as u64;
        for (from, to) in [
            (0, 0),
            (5, 3),
            (3, 5),
            (1, 70_000),
            (7, step + 7),
            (100, 2 * step + 99),
            (0, 2 * step),
        ] {
            let disk = SimDisk::new();
            let len = ZERO_STEP * 2;
            disk.write_file("a", &vec![1; len]);
            let file = disk.root().open("a", crate::storage::Access::ReadWrite);
            zero_range(&*file.unwrap(), from, to).unwrap();
            let writes = disk.calls();
            let writes = writes.iter().filter(|call| call.kind == CallKind::WriteAt);
            assert!(writes.clone().all(|call| call.len <= step));
            let want = to.saturating_sub(from).div_ceil(step);
            assert_eq!(writes.count() as u64, want);
            let bytes = disk.read_file("a");
            assert_eq!(bytes.len(), len.max(usize::try_from(to).unwrap()));
            for (at, byte) in (0..).zip(bytes) {
                assert_eq!(byte == 0, (from..to).contains(&at), "{from}..{to} at {at}");
            }
        }
    }
}
