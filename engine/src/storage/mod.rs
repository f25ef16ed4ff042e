//! The seam between the engine and the disk: every byte the engine reads or writes, every name it
//! creates, moves or removes, passes through the two traits of this module.
//!
//! Their contract is all that the engine assumes about a disk (FORMAT.md, section 2). There are two
//! implementations: [`DiskStorage`], the real one, and [`sim::SimDisk`], which lives in memory,
//! fails any call on demand and loses power at any step with any subset of the unsynced sectors.
//!
//! This module knows nothing of segments, records or indexes.

use std::fmt::Debug;
use std::io::{self, IoSlice};
use std::sync::Arc;

use bytes::Bytes;
use rustix::io::Errno;

pub(crate) mod disk;
mod map;
pub mod sim;
mod transfer;
mod watched;

#[cfg(test)]
mod contract_tests;

pub use disk::DiskStorage;
pub use map::{guard_maps, map_faults};
pub(crate) use transfer::{read_exact_at, write_all_at, zero_range};
pub(crate) use watched::{NameTrouble, WatchedNames};

/// The name of the file that [`Storage::lock`] locks. [`Storage::list`] shows it; whoever removes it
/// lets a second process in.
pub const LOCK_NAME: &str = "lock";

/// What a name in a directory stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EntryKind {
    /// A file, with its length in bytes.
    File {
        /// Its length in bytes, allocated space included.
        len: u64,
    },
    /// A directory.
    Directory,
}

/// One name in a directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The name, without a path.
    pub name: String,
    /// What it stands for.
    pub kind: EntryKind,
}

/// How a file is opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Reading only: [`StorageFile::write_at`] fails.
    Read,
    /// Reading and writing.
    ReadWrite,
}

/// Held for as long as a directory belongs to this process; given back on drop.
#[derive(Debug)]
pub struct DirectoryLock {
    _held: Box<dyn Debug + Send + Sync>,
}

impl DirectoryLock {
    /// A lock that lasts until `held` is dropped.
    pub fn new(held: impl Debug + Send + Sync + 'static) -> Self {
        Self {
            _held: Box::new(held),
        }
    }
}

/// One directory: its files, its names, its sub-directories.
///
/// Names are single path components of at most 255 bytes; an implementation refuses any other with
/// [`io::ErrorKind::InvalidInput`].
///
/// # What survives a crash
///
/// - A *name* (created, renamed, removed) survives once [`sync_names`](Self::sync_names) has
///   returned `Ok` after the change. Before that, each change since the last `sync_names` may or
///   may not have happened, independently of the others.
/// - The *bytes* of a file survive once [`StorageFile::sync`] has returned `Ok` after they were
///   written. Before that each 512-byte sector holds what it held at the last sync, what was
///   written last, or anything in between, independently of its neighbours.
/// - A rename is atomic: after a crash `to` is either the old file or the new one.
/// - Bytes of a file that no write touches never change.
pub trait Storage: Debug + Send + Sync + 'static {
    /// Takes the directory for this process, creating the file [`LOCK_NAME`] if need be.
    ///
    /// # Errors
    ///
    /// [`io::ErrorKind::WouldBlock`] if another process, or another part of this one, holds it.
    fn lock(&self) -> io::Result<DirectoryLock>;

    /// All names in the directory, in no particular order.
    ///
    /// What could never have been created here (sockets, names that are not UTF-8) is left out.
    ///
    /// # Errors
    ///
    /// As the disk reports them.
    fn list(&self) -> io::Result<Vec<Entry>>;

    /// Creates the file `name` with `len` bytes that read as zeros and whose space is really
    /// allocated, open for reading and writing. Writing further lengthens it.
    ///
    /// # Errors
    ///
    /// [`io::ErrorKind::AlreadyExists`] if there is such a name; an error that says the disk is full
    /// (see [`is_full`]) if there is no room, and then the name is gone again.
    fn create(&self, name: &str, len: u64) -> io::Result<Arc<dyn StorageFile>>;

    /// Opens the file `name`.
    ///
    /// One file is written through one object at a time: another one does not know what this one
    /// has frozen. A file that is opened again after a failure may be written where an earlier
    /// object had frozen it, but only with the bytes that are there already.
    ///
    /// # Errors
    ///
    /// [`io::ErrorKind::NotFound`] if there is none.
    fn open(&self, name: &str, access: Access) -> io::Result<Arc<dyn StorageFile>>;

    /// Gives the file `from` the name `to`, replacing a file that had it.
    ///
    /// # Errors
    ///
    /// After an error either name may be in force.
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;

    /// Removes the name `name`. Files that are open, and [`Bytes`] of them, stay readable.
    ///
    /// # Errors
    ///
    /// [`io::ErrorKind::NotFound`] if there is none.
    fn remove(&self, name: &str) -> io::Result<()>;

    /// Returns once every name created, moved or removed so far survives a crash.
    ///
    /// # Errors
    ///
    /// After an error nothing is known about those names, and trying again proves nothing.
    fn sync_names(&self) -> io::Result<()>;

    /// The sub-directory `name`, which must exist.
    ///
    /// # Errors
    ///
    /// [`io::ErrorKind::NotFound`] if there is none.
    fn directory(&self, name: &str) -> io::Result<Arc<dyn Storage>>;

    /// Creates the sub-directory `name`; the name survives a crash after
    /// [`sync_names`](Self::sync_names) on *this* directory.
    ///
    /// # Errors
    ///
    /// [`io::ErrorKind::AlreadyExists`] if there is such a name.
    fn create_directory(&self, name: &str) -> io::Result<Arc<dyn Storage>>;
}

/// An open file, written at its end and read below it.
///
/// The file has a *frozen* prefix, at first empty, which this object never writes again and hands
/// out without copying. That the same object writes and freezes is what makes handing out `&[u8]`
/// of a file that still grows sound.
///
/// Any thread may call any method at any time; writes to overlapping ranges at the same time leave
/// one or the other in each sector.
pub trait StorageFile: Debug + Send + Sync + 'static {
    /// The length in bytes, allocated space included: what it was when the file was opened, or
    /// what writes through this object have made of it since.
    fn len(&self) -> u64;

    /// Whether the length is zero.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Writes `pieces` one after another from `offset` on, as one system call, and returns how many
    /// bytes were written, which may be fewer than given; callers use `write_all_at`.
    ///
    /// # Errors
    ///
    /// [`io::ErrorKind::InvalidInput`] if `offset` lies in the frozen prefix, and
    /// [`io::ErrorKind::PermissionDenied`] if the file was opened for reading; nothing is written
    /// then. After any other error an unknown part may have been written.
    fn write_at(&self, offset: u64, pieces: &[IoSlice<'_>]) -> io::Result<usize>;

    /// Reads up to `buffer.len()` bytes from `offset` on; 0 at the end of the file.
    ///
    /// # Errors
    ///
    /// As the disk reports them.
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize>;

    /// Returns once every byte written so far survives a crash. One system call, never repeated
    /// after a failure.
    ///
    /// # Errors
    ///
    /// After an error nothing is known about earlier writes, and trying again proves nothing.
    fn sync(&self) -> io::Result<()>;

    /// Extends the frozen prefix to `len` bytes; a smaller or equal `len` changes nothing.
    ///
    /// The bytes below must have been written before this call begins; if a write below `len` is
    /// still under way, the call waits for it.
    fn freeze(&self, len: u64);

    /// The frozen prefix. The bytes are not copied, and stay readable after the file is closed or
    /// its name removed. Costs one small allocation, and a map at the first call and whenever the
    /// prefix has passed the end of the last map.
    ///
    /// # Errors
    ///
    /// If the file cannot be mapped, or is shorter than its frozen prefix.
    fn frozen(&self) -> io::Result<Bytes>;
}

/// Whether an error means that the disk, or the quota on it, is full.
#[must_use]
pub fn is_full(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge
    )
}

/// Whether an error means that the process, or the system, has run out of descriptors or memory: no
/// fault of the disk, and it may pass.
#[must_use]
pub fn is_scarce(error: &io::Error) -> bool {
    let errno = Errno::from_io_error(error);
    errno.is_some_and(|errno| matches!(errno, Errno::MFILE | Errno::NFILE | Errno::NOMEM))
}

/// Refuses what is not the name of one entry in a directory.
fn check_name(name: &str) -> io::Result<()> {
    let is_component = !matches!(name, "" | "." | "..") && !name.contains(['/', '\0']);
    // The limit of every file system in use; longer names fail on all of them alike.
    if is_component && name.len() <= 255 {
        return Ok(());
    }
    Err(io::Error::new(
        io::ErrorKind::InvalidInput,
        format!("{name:?} is not the name of a file or directory"),
    ))
}
