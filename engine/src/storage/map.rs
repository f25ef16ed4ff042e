//! A file of the real disk whose frozen prefix is handed out from a map of it.
//!
//! This is the one place with unsafe code. Its argument stands at the `unsafe` block; if a line of
//! it stops being true, the change starts here.

#![allow(unsafe_code, reason = "reading a memory map cannot be done without it")]

use std::fmt;
use std::io::{self, IoSlice};
use std::os::fd::OwnedFd;
use std::slice;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use memmap2::{MmapOptions, MmapRaw};
use parking_lot::{Condvar, Mutex};
use rustix::fs;

use super::{Access, StorageFile};

/// An open file: written above its frozen prefix, mapped below it.
pub(super) struct MappedFile {
    fd: OwnedFd,
    access: Access,
    len: AtomicU64,
    /// Only grows. No write that begins below it is under way or will ever begin.
    frozen_len: AtomicU64,
    /// Where the writes that are under way begin. Under this lock a write finds its place above
    /// the frozen prefix, and the frozen prefix its end below the writes.
    writes: Mutex<Vec<u64>>,
    write_ended: Condvar,
    /// The map that serves a file allocated in one go for its whole life, read without a lock.
    first_map: OnceLock<Arc<MmapRaw>>,
    /// The latest map of a file that has grown beyond the first. Bytes of the earlier ones keep
    /// them.
    longer_map: Mutex<Option<Arc<MmapRaw>>>,
}

impl MappedFile {
    /// The file behind `fd`, which has `len` bytes and was opened for `access`.
    pub(super) fn new(fd: OwnedFd, access: Access, len: u64) -> Self {
        Self {
            fd,
            access,
            len: AtomicU64::new(len),
            frozen_len: AtomicU64::new(0),
            writes: Mutex::new(Vec::new()),
            write_ended: Condvar::new(),
            first_map: OnceLock::new(),
            longer_map: Mutex::new(None),
        }
    }

    /// A map that holds at least the first `len` bytes, all of which the file has.
    fn map(&self, len: usize) -> io::Result<Arc<MmapRaw>> {
        let holds = |map: &&Arc<MmapRaw>| map.len() >= len;
        if let Some(map) = self.first_map.get().filter(holds) {
            return Ok(Arc::clone(map));
        }
        let mut longer_map = self.longer_map.lock();
        // Another thread may have made the map in the meantime.
        let made = self.first_map.get().filter(holds);
        if let Some(map) = made.or(longer_map.as_ref().filter(holds)) {
            return Ok(Arc::clone(map));
        }

        // The map ends where the file ends now, not where it is said to end: touching a mapped
        // page without a file behind it kills the process.
        let size = usize::try_from(fs::fstat(&self.fd)?.st_size)
            .map_err(|_| io::Error::from(io::ErrorKind::FileTooLarge))?;
        if size < len {
            return Err(io::Error::new(
                io::ErrorKind::UnexpectedEof,
                format!("the file has {size} bytes, of which {len} were written and frozen"),
            ));
        }
        let map = Arc::new(MmapOptions::new().len(size).map_raw_read_only(&self.fd)?);
        if self.first_map.set(Arc::clone(&map)).is_err() {
            *longer_map = Some(Arc::clone(&map));
        }
        Ok(map)
    }
}

impl StorageFile for MappedFile {
    fn len(&self) -> u64 {
        self.len.load(Ordering::Acquire)
    }

    fn write_at(&self, offset: u64, pieces: &[IoSlice<'_>]) -> io::Result<usize> {
        if self.access == Access::Read {
            return Err(io::ErrorKind::PermissionDenied.into());
        }
        {
            let mut writes = self.writes.lock();
            if offset < self.frozen_len.load(Ordering::Relaxed) {
                return Err(io::Error::new(
                    io::ErrorKind::InvalidInput,
                    "a write into the frozen part of a file",
                ));
            }
            writes.push(offset);
        }
        let result = rustix::io::pwritev(&self.fd, pieces, offset);
        {
            let mut writes = self.writes.lock();
            if let Some(ours) = writes.iter().position(|start| *start == offset) {
                writes.swap_remove(ours);
            }
        }
        self.write_ended.notify_all();

        let written = result?;
        let end = offset.saturating_add(written as u64);
        if written > 0 {
            self.len.fetch_max(end, Ordering::AcqRel);
        }
        Ok(written)
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        // The kernel refuses to look beyond the offsets it knows, where no file has bytes.
        let end = offset.checked_add(buffer.len() as u64);
        if end.is_none_or(|end| i64::try_from(end).is_err()) {
            return Ok(0);
        }
        Ok(rustix::io::pread(&self.fd, buffer, offset)?)
    }

    fn sync(&self) -> io::Result<()> {
        Ok(fs::fdatasync(&self.fd)?)
    }

    fn freeze(&self, len: u64) {
        let mut writes = self.writes.lock();
        // Whoever keeps the contract never waits here. Whoever does not must not get hold of bytes
        // that are being written.
        while writes.iter().any(|start| *start < len) {
            self.write_ended.wait(&mut writes);
        }
        self.frozen_len.fetch_max(len, Ordering::Release);
    }

    fn frozen(&self) -> io::Result<Bytes> {
        let len = self.frozen_len.load(Ordering::Acquire);
        if len == 0 {
            // An empty file cannot be mapped.
            return Ok(Bytes::new());
        }
        let len = usize::try_from(len).map_err(|_| io::Error::from(io::ErrorKind::FileTooLarge))?;
        let map = self.map(len)?;
        Ok(Bytes::from_owner(FrozenPrefix { map, len }))
    }
}

impl fmt::Debug for MappedFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MappedFile")
            .field("fd", &self.fd)
            .field("access", &self.access)
            .field("len", &self.len)
            .field("frozen_len", &self.frozen_len)
            .finish_non_exhaustive()
    }
}

/// The first `len` bytes of a map, made by [`MappedFile::frozen`] alone: `len` is at most the
/// length of the map and of the frozen prefix.
struct FrozenPrefix {
    map: Arc<MmapRaw>,
    len: usize,
}

impl AsRef<[u8]> for FrozenPrefix {
    fn as_ref(&self) -> &[u8] {
        // SAFETY: the first `len` bytes are mapped, and nothing changes or cuts them while the
        // slice lives, which is no longer than `self.map` does:
        // - the map is no longer than the file was when it was made, and `len` no longer than the
        //   map; both are checked in `MappedFile::map`;
        // - the `MappedFile` they come from writes above its frozen prefix only: a write takes its
        //   place, and the prefix its new end, under one lock, and the prefix waits for the writes
        //   that began below its new end; the fields are private to this file;
        // - no other object changes them: the directory lock keeps other processes out, and the
        //   contract of `Storage::open` lets an object opened later write below an earlier frozen
        //   prefix only what is there already, which leaves each byte as it is;
        // - no file is cut short: neither this type nor the two traits have a call for it, and a
        //   removed file stays whole for as long as it is mapped.
        unsafe { slice::from_raw_parts(self.map.as_ptr(), self.len) }
    }
}
