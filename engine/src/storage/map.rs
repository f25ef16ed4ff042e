//! A file of the real disk whose frozen prefix is handed out from a map of it, and the guard for the
//! case that the disk cannot give what is mapped.
//!
//! This is the one place with unsafe code. Its arguments stand at the `unsafe` blocks; if a line of
//! one stops being true, the change starts here.
//!
//! # The guard
//!
//! A page that cannot be read (a bad sector, a file cut short by somebody else) is no error to a
//! program that reads it from a map, but a signal, SIGBUS, that ends the process. With the guard in
//! place the page is replaced by zeros instead and the read goes on: the checksum then refuses what
//! it finds, as it does any other damage. The zeros stay until the map goes, so that a page does not
//! change under a reader again. A page that was read before, let go by the system and then cannot be read
//! again does change, once: whoever hands out what was checked earlier looks at [`map_faults`].

#![allow(unsafe_code, reason = "reading a memory map cannot be done without it")]

use std::fmt;
use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::ptr;
use std::slice;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use memmap2::{MmapOptions, MmapRaw};
use parking_lot::{Condvar, Mutex};
use rustix::fs;
use rustix::mm::{self, MapFlags, ProtFlags};

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
    first_map: OnceLock<Arc<GuardedMap>>,
    /// The latest map of a file that has grown beyond the first. Bytes of the earlier ones keep
    /// them.
    longer_map: Mutex<Option<Arc<GuardedMap>>>,
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
    fn map(&self, len: usize) -> io::Result<Arc<GuardedMap>> {
        let holds = |map: &&Arc<GuardedMap>| map.map.len() >= len;
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
        let map = MmapOptions::new().len(size).map_raw_read_only(&self.fd)?;
        let map = Arc::new(GuardedMap::new(map));
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
    map: Arc<GuardedMap>,
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
        // What the disk cannot give, or somebody else cut off, is no byte that changes: the first
        // touch of such a page ends the process, or is answered with zeros, once and for all.
        unsafe { slice::from_raw_parts(self.map.map.as_ptr(), self.len) }
    }
}

/// How many maps the guard can watch: more than the kernel lets a process have by default
/// (`vm.max_map_count`, 65,530). A map beyond it is used without the guard.
const WATCHED_MAX: usize = 1 << 16;

/// The maps that the guard watches: where each begins (0 for a free place) and how many bytes it
/// has. A place is taken by whoever swaps its start, and the length is in place before the start is.
static WATCHED: [Watched; WATCHED_MAX] = [const {
    Watched {
        start: AtomicUsize::new(0),
        len: AtomicUsize::new(0),
    }
}; WATCHED_MAX];

/// Where the search for a free place begins: most places behind the last one taken are free.
static NEXT: AtomicUsize = AtomicUsize::new(0);

/// How many pages were replaced.
static FAULTS: AtomicU64 = AtomicU64::new(0);

/// What SIGBUS led to before; written once, before the guard's handler can run.
static BEFORE: OnceLock<libc::sigaction> = OnceLock::new();

struct Watched {
    start: AtomicUsize,
    len: AtomicUsize,
}

/// Stands in a place that is being taken, and is the start of no map.
const TAKEN: usize = 1;

/// A map, and its place among those that the guard watches.
struct GuardedMap {
    map: MmapRaw,
    place: Option<&'static Watched>,
}

impl GuardedMap {
    fn new(map: MmapRaw) -> Self {
        let from = NEXT.fetch_add(1, Ordering::Relaxed) % WATCHED_MAX;
        let free = |place: &&Watched| {
            place
                .start
                .compare_exchange(0, TAKEN, Ordering::Acquire, Ordering::Relaxed)
                .is_ok()
        };
        let place = WATCHED
            .iter()
            .cycle()
            .skip(from)
            .take(WATCHED_MAX)
            .find(free);
        if let Some(place) = place {
            place.len.store(map.len(), Ordering::Relaxed);
            let start = map.as_ptr() as usize;
            place.start.store(start, Ordering::Release);
        }
        Self { map, place }
    }
}

impl Drop for GuardedMap {
    fn drop(&mut self) {
        // Before the addresses can belong to another map.
        if let Some(place) = self.place {
            place.start.store(0, Ordering::Release);
        }
    }
}

/// Lets the process live when a mapped page cannot be read: from then on it reads as zeros, which no
/// checksum accepts. Called once by a program that owns its signals; a second call changes nothing.
///
/// What SIGBUS did before it still does for every other address.
///
/// # Errors
///
/// The operating system refuses the handler.
pub fn guard_maps() -> io::Result<()> {
    if BEFORE.get().is_some() {
        return Ok(());
    }
    let mut before = MaybeUninit::<libc::sigaction>::uninit();
    // SAFETY: both pointers are good for the call, and asking changes nothing.
    let asked = unsafe { libc::sigaction(libc::SIGBUS, ptr::null(), before.as_mut_ptr()) };
    if asked != 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the call has succeeded, so it has written the whole of it.
    let before = unsafe { before.assume_init() };
    if BEFORE.set(before).is_err() {
        return Ok(());
    }
    let mut action = before;
    action.sa_sigaction = on_bus_error as *const () as usize;
    // On the stack that is set aside for signals, if the thread has one.
    action.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK;
    // SAFETY: the handler has the signature that `SA_SIGINFO` asks for, and does only what a
    // signal handler may: see there.
    let set = unsafe { libc::sigaction(libc::SIGBUS, &raw const action, ptr::null_mut()) };
    if set == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

/// How many pages the guard has replaced since the process began.
#[must_use]
pub fn map_faults() -> u64 {
    FAULTS.load(Ordering::SeqCst)
}

/// Runs on the thread that touched the page. Takes no lock, allocates nothing and makes two system
/// calls at most, directly and without touching `errno`.
extern "C" fn on_bus_error(
    _signal: libc::c_int,
    info: *mut libc::siginfo_t,
    _context: *mut libc::c_void,
) {
    // SAFETY: the kernel gives a handler with `SA_SIGINFO` a good pointer, which nobody else has.
    let info = unsafe { &*info };
    // SAFETY: SIGBUS comes with an address.
    let address = unsafe { info.si_addr() } as usize;
    if is_watched(address) {
        // First, so that whoever finds the zeros finds the number changed. If the page cannot be
        // replaced nobody reads the number any more.
        FAULTS.fetch_add(1, Ordering::SeqCst);
        if replace_page(address) {
            return;
        }
    }
    // Not ours: what was to happen before happens when the instruction is tried again.
    if let Some(before) = BEFORE.get() {
        // SAFETY: the action is one that the kernel itself gave out, and `sigaction` may be called
        // in a handler.
        unsafe { libc::sigaction(libc::SIGBUS, before, ptr::null_mut()) };
    }
}

fn is_watched(address: usize) -> bool {
    WATCHED.iter().any(|watched| {
        let start = watched.start.load(Ordering::Acquire);
        let len = watched.len.load(Ordering::Relaxed);
        start > TAKEN && address.wrapping_sub(start) < len
    })
}

/// Puts a page of zeros where the page with this address, of one of our maps, is.
fn replace_page(address: usize) -> bool {
    let page_len = rustix::param::page_size();
    let page = (address & !(page_len - 1)) as *mut core::ffi::c_void;
    // SAFETY: the page is part of a map that only reads, which lives as long as the reader that
    // touched it, so nothing else can be at this address; what it held could not be read. A reader that
    // saw the page before the system let it go sees zeros from here on: bytes behind a shared slice
    // that change once. They are looked at as bytes only, and no decision of safety rests on them.
    let mapped = unsafe {
        mm::mmap_anonymous(
            page,
            page_len,
            ProtFlags::READ,
            MapFlags::PRIVATE | MapFlags::FIXED,
        )
    };
    mapped.is_ok()
}
