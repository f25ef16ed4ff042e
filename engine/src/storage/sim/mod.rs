//! A disk in memory that fails and loses power on demand, for tests of the engine and of whoever
//! embeds it.
//!
//! Every call of [`Storage`] and [`StorageFile`] except `len` and `freeze` is a *step*, numbered
//! from 0. A test runs its script once in peace to learn the number of steps, and then once for
//! each step at which something shall happen:
//!
//! ```
//! use strandlog_engine::storage::sim::{Left, SimDisk};
//! use strandlog_engine::storage::Storage;
//!
//! fn script(root: &dyn Storage) -> std::io::Result<()> {
//!     root.create("a", 1024)?.sync()?;
//!     root.sync_names()
//! }
//!
//! let disk = SimDisk::new();
//! script(&*disk.root()).expect("nothing fails in peace");
//! for step in 0..disk.steps() {
//!     let disk = SimDisk::new();
//!     disk.crash_at(step);
//!     script(&*disk.root()).expect_err("the power went");
//!     let disk = disk.after_crash(Left::Random(step));
//!     assert!(disk.root().list().expect("the power is back").len() <= 1);
//! }
//! ```
//!
//! # What a power cut leaves
//!
//! The disk follows the letter of POSIX and no particular file system, which is worse than any:
//!
//! - Each *sector* of 512 bytes holds one of the versions it has had since the last good sync of
//!   its file, or a mixture of two. Sectors are independent of each other.
//! - The *length* of a file is anything between the synced one and the last one. What was never
//!   written, or was lost, reads as zeros.
//! - Each *change of a name* since the last [`Storage::sync_names`] of its directory has happened or
//!   not, independently of the others and of all file contents. Syncing a file does not sync its
//!   name. A rename never leaves `to` without a file: it is the old one or the new one, and if it is
//!   the new one, `from` may still stand for that file, too.
//!
//! # What a failed sync does
//!
//! It makes the page cache take the unsynced sectors for clean. Reads go on showing their bytes,
//! also after [`SimDisk::restart`]; later syncs succeed and do nothing for them; a power cut takes
//! them away, even under [`Left::All`]. Only writing a sector again, and then syncing, puts it on
//! the disk. Every real kernel may behave like this.
//!
//! Where nothing was ever synced since the space was allocated, writing again does not help either.
//! ext4 keeps for each *block*, here 4,096 bytes, whether it was written, and reads it as zeros until
//! then. If the first write of a block fails the page cache counts it as written all the same, the
//! file system does not, and what is written there later is zeros after a power cut. Only another
//! file heals that. So whoever wants to go on in a file after a failure must have filled it, and
//! synced that, before.
//!
//! A failed [`Storage::sync_names`] does the same to the changes of names: they are seen, also after
//! [`SimDisk::restart`], and no later sync puts them on the disk. Only a new change of the same name
//! can be synced. A file system with a journal takes no further changes after such a failure; POSIX
//! does not ask for that, and others do without.

#![allow(
    clippy::indexing_slicing,
    reason = "a wrong index here fails a test and nothing else"
)]

mod chance;
mod file;
mod names;
mod world;

#[cfg(test)]
mod tests;

use std::fmt;
use std::io::{self, IoSlice};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use parking_lot::{Mutex, MutexGuard};
use rustix::io::Errno;

pub use self::chance::Left;
use self::file::Content;
use self::names::Node;
use self::world::{ROOT, World};
use super::{Access, DirectoryLock, Entry, LOCK_NAME, Storage, StorageFile, check_name};

/// What goes wrong in a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The device fails. The call may have done a part of its work.
    Eio,
    /// The disk is full, whatever [`SimDisk::capacity`] says.
    Enospc,
    /// The quota is used up.
    Edquot,
    /// The file system has become read-only.
    Erofs,
    /// The file is too large.
    Efbig,
    /// The process has no descriptor left.
    Emfile,
    /// A signal came in.
    Eintr,
    /// A read or write moves half of the bytes; other calls work.
    Short,
    /// A read or write moves nothing and reports no error; other calls work.
    Zero,
}

impl Fault {
    /// All that any call may meet, for sweeps.
    pub const ALL: [Self; 8] = [
        Self::Eio,
        Self::Enospc,
        Self::Edquot,
        Self::Erofs,
        Self::Efbig,
        Self::Eintr,
        Self::Short,
        Self::Zero,
    ];

    fn errno(self) -> Option<Errno> {
        match self {
            Self::Eio => Some(Errno::IO),
            Self::Enospc => Some(Errno::NOSPC),
            Self::Edquot => Some(Errno::DQUOT),
            Self::Erofs => Some(Errno::ROFS),
            Self::Efbig => Some(Errno::FBIG),
            Self::Emfile => Some(Errno::MFILE),
            Self::Eintr => Some(Errno::INTR),
            Self::Short | Self::Zero => None,
        }
    }
}

/// How long a fault lasts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Repeat {
    /// For one step.
    Once,
    /// For that step and all later ones, until [`SimDisk::heal`].
    FromThenOn,
}

/// The method a step was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "each is the method of that name")]
pub enum CallKind {
    Lock,
    List,
    Create,
    Open,
    Rename,
    Remove,
    SyncNames,
    Directory,
    CreateDirectory,
    WriteAt,
    ReadAt,
    Sync,
    Frozen,
}

/// One step: what was called on what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Call {
    /// The method.
    pub kind: CallKind,
    /// The path of the file or directory from the root on, as it is called now; for a rename
    /// `from -> to`.
    pub path: Arc<str>,
    /// Where the bytes to be moved begin; 0 if none are.
    pub offset: u64,
    /// How many bytes were to be moved or allocated.
    pub len: u64,
}

impl fmt::Display for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            kind,
            path,
            offset,
            len,
        } = self;
        write!(f, "{kind:?} {path}")?;
        match kind {
            CallKind::WriteAt | CallKind::ReadAt => write!(f, " ({len} bytes at {offset})"),
            CallKind::Create | CallKind::Frozen => write!(f, " ({len} bytes)"),
            _ => Ok(()),
        }
    }
}

/// A simulated disk. Clones are handles of the same disk.
///
/// The same calls in the same order give the same results, on every machine.
#[derive(Clone, Debug)]
pub struct SimDisk {
    world: Arc<Mutex<World>>,
}

impl Default for SimDisk {
    fn default() -> Self {
        Self::new()
    }
}

impl SimDisk {
    /// An empty disk that does all it is told to.
    #[must_use]
    pub fn new() -> Self {
        Self::with_seed(0)
    }

    /// An empty disk where `seed` decides how much of its work a failing call has done.
    #[must_use]
    pub fn with_seed(seed: u64) -> Self {
        Self::of(World::new(seed))
    }

    fn of(world: World) -> Self {
        Self {
            world: Arc::new(Mutex::new(world)),
        }
    }

    /// Its root directory.
    #[must_use]
    pub fn root(&self) -> Arc<dyn Storage> {
        Arc::new(SimDirectory {
            world: Arc::clone(&self.world),
            node: ROOT,
            path: "".into(),
        })
    }

    /// How many steps there have been, failed ones included. The next one has this number.
    #[must_use]
    pub fn steps(&self) -> u64 {
        self.world.lock().calls.len() as u64
    }

    /// All steps so far; the index is the number of the step.
    #[must_use]
    pub fn calls(&self) -> Vec<Call> {
        self.world.lock().calls.clone()
    }

    /// Lets the power fail in the middle of step number `step`. That step may do a part of its work;
    /// it and all later ones fail.
    pub fn crash_at(&self, step: u64) {
        self.world.lock().crash_at = Some(step);
    }

    /// Whether the power has failed.
    #[must_use]
    pub fn has_crashed(&self) -> bool {
        self.world.lock().is_off
    }

    /// The disk after the power failed where it failed, or now; it is switched on and healthy, its
    /// locks are free and its steps count from 0. This disk stays as it is.
    #[must_use]
    pub fn after_crash(&self, left: Left) -> Self {
        Self::of(self.world.lock().after_crash(left))
    }

    /// The disk for the next process, after the one that uses this one was killed: healthy, its
    /// locks free, its steps counted from 0, and everything that was not synced still in the page
    /// cache and still not synced. This disk stays as it is.
    #[must_use]
    pub fn restart(&self) -> Self {
        Self::of(self.world.lock().restarted())
    }

    /// Lets `fault` happen at step number `step`. Of several faults for one step the one that was
    /// named first happens.
    pub fn fail_at(&self, step: u64, fault: Fault, repeat: Repeat) {
        self.world.lock().faults.push((step, fault, repeat));
    }

    /// Lets step number `step` take long: before it does its work `meanwhile` is called, and other
    /// threads find the disk free. What they do with it are steps, too, and go first.
    ///
    /// With [`Repeat::FromThenOn`] all later steps take long, those that `meanwhile` waits for
    /// included. A second call takes the place of the first.
    pub fn slow_at(&self, step: u64, repeat: Repeat, meanwhile: Arc<dyn Fn() + Send + Sync>) {
        self.world.lock().slow = Some((step, repeat, meanwhile));
    }

    /// Ends all faults.
    pub fn heal(&self) {
        let mut world = self.world.lock();
        world.faults.clear();
        world.slow = None;
    }

    /// Whether the syncs of files succeed without doing anything, to see whether a test notices.
    pub fn syncs_lie(&self, value: bool) {
        self.world.lock().syncs_lie = value;
    }

    /// Whether the syncs of names succeed without doing anything, to see whether a test notices.
    pub fn name_syncs_lie(&self, value: bool) {
        self.world.lock().name_syncs_lie = value;
    }

    /// Limits the lengths of all files with a name to `bytes` in sum; 2^64-1 lifts the limit. What
    /// is there already stays.
    pub fn capacity(&self, bytes: u64) {
        self.world.lock().capacity = bytes;
    }

    /// The lengths of all files with a name in sum.
    #[must_use]
    pub fn used(&self) -> u64 {
        self.world.lock().used()
    }

    /// The paths of all files, in order.
    #[must_use]
    pub fn paths(&self) -> Vec<String> {
        let world = self.world.lock();
        let mut paths = Vec::new();
        collect_paths(&world, ROOT, "", &mut paths);
        paths.sort();
        paths
    }

    /// What a reader of the file sees.
    ///
    /// # Panics
    ///
    /// If there is no such file.
    #[must_use]
    pub fn read_file(&self, path: &str) -> Vec<u8> {
        let world = self.world.lock();
        world.content(file_at(&world, path)).bytes().to_vec()
    }

    /// What is on the disk of the file for certain.
    ///
    /// # Panics
    ///
    /// If there is no such file.
    #[must_use]
    pub fn durable_file(&self, path: &str) -> Vec<u8> {
        let world = self.world.lock();
        let content = world.content(file_at(&world, path));
        let chance = Left::Nothing.chance(0);
        content.after_crash(Left::Nothing, chance).to_vec()
    }

    /// Gives a file the content `bytes`, on the disk too; it and its directories are created if
    /// they are not there. Objects that have it open see the change.
    ///
    /// # Panics
    ///
    /// If the path leads through a file or to a directory.
    pub fn write_file(&self, path: &str, bytes: &[u8]) {
        let mut world = self.world.lock();
        let (parents, name) = split(path);
        let mut directory = ROOT;
        for parent in parents {
            directory = match world.find(directory, parent) {
                Ok(node) if world.is_directory(node) => node,
                Ok(_) => panic!("{path}: {parent} is a file"),
                Err(_) => {
                    let node = world.add_directory();
                    put_for_good(&mut world, directory, parent, node);
                    node
                }
            };
        }
        match world.find(directory, name) {
            Ok(node) if world.is_directory(node) => panic!("{path} is a directory"),
            Ok(node) => world.replace(node, bytes.to_vec()),
            Err(_) => {
                let node = world.add_file(Content::synced(bytes.to_vec()));
                put_for_good(&mut world, directory, name, node);
            }
        }
    }

    /// Removes a file, on the disk too.
    ///
    /// # Panics
    ///
    /// If there is no such file.
    pub fn remove_file(&self, path: &str) {
        let mut world = self.world.lock();
        let (directory, name) = place(&world, path);
        if let Err(error) = world.take_name(directory, name) {
            panic!("{path}: {error}");
        }
        world.names_mut(directory).sync_one(name);
    }

    /// Changes one byte of a file, on the disk too. Objects that have it open see the change, but
    /// not the [`Bytes`] that they have handed out.
    ///
    /// # Panics
    ///
    /// If there is no such file, or it ends before `offset`.
    pub fn corrupt(&self, path: &str, offset: u64, change: impl FnMut(u8) -> u8) {
        let mut world = self.world.lock();
        let file = file_at(&world, path);
        let len = world.content(file).bytes().len();
        match usize::try_from(offset) {
            Ok(offset) if offset < len => world.content_mut(file).change_byte(offset, change),
            _ => panic!("{path} has {len} bytes, and none at {offset}"),
        }
    }

    /// Flips the bit `bit % 8` of one byte of a file, as [`corrupt`](Self::corrupt) does.
    ///
    /// # Panics
    ///
    /// If there is no such file, or it ends before `offset`.
    pub fn flip_bit(&self, path: &str, offset: u64, bit: u32) {
        self.corrupt(path, offset, |byte| byte ^ 1_u8.rotate_left(bit));
    }
}

fn collect_paths(world: &World, directory: Node, prefix: &str, paths: &mut Vec<String>) {
    for (name, &node) in world.names(directory).now() {
        let path = join(prefix, name);
        if world.is_directory(node) {
            collect_paths(world, node, &path, paths);
        } else {
            paths.push(path);
        }
    }
}

fn join(prefix: &str, name: &str) -> String {
    if prefix.is_empty() {
        name.to_owned()
    } else {
        format!("{prefix}/{name}")
    }
}

fn split(path: &str) -> (Vec<&str>, &str) {
    let mut parts: Vec<_> = path.split('/').collect();
    let name = parts.pop().unwrap_or_default();
    (parts, name)
}

/// The directory and the name in it that `path` leads to.
fn place<'a>(world: &World, path: &'a str) -> (Node, &'a str) {
    let (parents, name) = split(path);
    let directory = parents.into_iter().try_fold(ROOT, |directory, parent| {
        world.find_directory(directory, parent)
    });
    match directory {
        Ok(directory) => (directory, name),
        Err(error) => panic!("{path}: {error}"),
    }
}

fn file_at(world: &World, path: &str) -> Node {
    let (directory, name) = place(world, path);
    match world.find_file(directory, name) {
        Ok(file) => file,
        Err(error) => panic!("{path}: {error}"),
    }
}

fn put_for_good(world: &mut World, directory: Node, name: &str, node: Node) {
    let names = world.names_mut(directory);
    names.put(name, node);
    names.sync_one(name);
}

/// The world at the beginning of a call, after what happens meanwhile if the call takes long.
fn enter(world: &Mutex<World>) -> MutexGuard<'_, World> {
    let mut entered = world.lock();
    if let Some(meanwhile) = entered.meanwhile() {
        drop(entered);
        meanwhile();
        entered = world.lock();
    }
    entered
}

#[derive(Debug)]
struct SimDirectory {
    world: Arc<Mutex<World>>,
    node: Node,
    path: Arc<str>,
}

impl SimDirectory {
    fn call(&self, kind: CallKind, name: &str) -> Call {
        Call {
            kind,
            path: join(&self.path, name).into(),
            offset: 0,
            len: 0,
        }
    }

    fn file(&self, node: Node, name: &str, access: Access, world: &mut World) -> SimFile {
        world.open(node, join(&self.path, name).into());
        SimFile {
            world: Arc::clone(&self.world),
            node,
            access,
            len: AtomicU64::new(world.content(node).bytes().len() as u64),
            frozen_len: AtomicU64::new(0),
        }
    }

    fn sub_directory(&self, node: Node, name: &str) -> Arc<dyn Storage> {
        Arc::new(Self {
            world: Arc::clone(&self.world),
            node,
            path: join(&self.path, name).into(),
        })
    }
}

impl Storage for SimDirectory {
    fn lock(&self) -> io::Result<DirectoryLock> {
        let mut world = enter(&self.world);
        let (turn, _) = world.step(self.call(CallKind::Lock, LOCK_NAME));
        turn.check()?;
        if world.find(self.node, LOCK_NAME).is_err() {
            let file = world.add_file(Content::allocated(0));
            world.names_mut(self.node).put(LOCK_NAME, file);
        }
        if world.set_locked(self.node, true) {
            return Err(Errno::WOULDBLOCK.into());
        }
        Ok(DirectoryLock::new(HeldLock {
            world: Arc::clone(&self.world),
            directory: self.node,
        }))
    }

    fn list(&self) -> io::Result<Vec<Entry>> {
        let mut world = enter(&self.world);
        let (turn, _) = world.step(Call {
            path: Arc::clone(&self.path),
            ..self.call(CallKind::List, "")
        });
        turn.check()?;
        Ok(world.list(self.node))
    }

    fn create(&self, name: &str, len: u64) -> io::Result<Arc<dyn StorageFile>> {
        check_name(name)?;
        let mut world = enter(&self.world);
        let turn = world.step(Call {
            len,
            ..self.call(CallKind::Create, name)
        });
        let node = world.create(self.node, name, len, turn)?;
        Ok(Arc::new(self.file(
            node,
            name,
            Access::ReadWrite,
            &mut world,
        )))
    }

    fn open(&self, name: &str, access: Access) -> io::Result<Arc<dyn StorageFile>> {
        check_name(name)?;
        let mut world = enter(&self.world);
        let (turn, _) = world.step(self.call(CallKind::Open, name));
        turn.check()?;
        let node = world.find_file(self.node, name)?;
        Ok(Arc::new(self.file(node, name, access, &mut world)))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        check_name(from)?;
        check_name(to)?;
        let mut world = enter(&self.world);
        let turn = world.step(self.call(CallKind::Rename, &format!("{from} -> {to}")));
        let renamed = world.rename(self.node, from, to, turn);
        if let Ok(node) = world.find(self.node, to) {
            world.is_at(node, join(&self.path, to).into());
        }
        renamed
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        check_name(name)?;
        let mut world = enter(&self.world);
        let turn = world.step(self.call(CallKind::Remove, name));
        world.remove(self.node, name, turn)
    }

    fn sync_names(&self) -> io::Result<()> {
        let mut world = enter(&self.world);
        let (turn, _) = world.step(Call {
            path: Arc::clone(&self.path),
            ..self.call(CallKind::SyncNames, "")
        });
        world.sync_names(self.node, turn)
    }

    fn directory(&self, name: &str) -> io::Result<Arc<dyn Storage>> {
        check_name(name)?;
        let mut world = enter(&self.world);
        let (turn, _) = world.step(self.call(CallKind::Directory, name));
        turn.check()?;
        let node = world.find_directory(self.node, name)?;
        Ok(self.sub_directory(node, name))
    }

    fn create_directory(&self, name: &str) -> io::Result<Arc<dyn Storage>> {
        check_name(name)?;
        let mut world = enter(&self.world);
        let turn = world.step(self.call(CallKind::CreateDirectory, name));
        let node = world.create_directory(self.node, name, turn)?;
        Ok(self.sub_directory(node, name))
    }
}

#[derive(Debug)]
struct HeldLock {
    world: Arc<Mutex<World>>,
    directory: Node,
}

impl Drop for HeldLock {
    fn drop(&mut self) {
        self.world.lock().set_locked(self.directory, false);
    }
}

#[derive(Debug)]
struct SimFile {
    world: Arc<Mutex<World>>,
    node: Node,
    access: Access,
    /// As the contract has it: what others make of the file does not count.
    len: AtomicU64,
    /// Read and moved under the lock of the world, which is also held during a write.
    frozen_len: AtomicU64,
}

impl SimFile {
    fn call(&self, world: &World, kind: CallKind, offset: u64, len: usize) -> Call {
        Call {
            kind,
            path: world.path(self.node),
            offset,
            len: len as u64,
        }
    }
}

impl StorageFile for SimFile {
    fn len(&self) -> u64 {
        self.len.load(Ordering::Relaxed)
    }

    fn write_at(&self, offset: u64, pieces: &[IoSlice<'_>]) -> io::Result<usize> {
        if self.access == Access::Read {
            return Err(io::ErrorKind::PermissionDenied.into());
        }
        let mut world = enter(&self.world);
        if offset < self.frozen_len.load(Ordering::Relaxed) {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "a write into the frozen part of a file",
            ));
        }
        let len = pieces.iter().map(|piece| piece.len()).sum();
        let call = self.call(&world, CallKind::WriteAt, offset, len);
        let turn = world.step(call);
        let written = world.write(self.node, offset, pieces, turn)?;
        if written > 0 {
            let end = offset.saturating_add(written as u64);
            self.len.fetch_max(end, Ordering::Relaxed);
        }
        Ok(written)
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        let mut world = enter(&self.world);
        let call = self.call(&world, CallKind::ReadAt, offset, buffer.len());
        let (turn, _) = world.step(call);
        world.read(self.node, offset, buffer, turn)
    }

    fn sync(&self) -> io::Result<()> {
        let mut world = enter(&self.world);
        let call = self.call(&world, CallKind::Sync, 0, 0);
        let (turn, _) = world.step(call);
        world.sync(self.node, turn)
    }

    fn freeze(&self, len: u64) {
        let _world = self.world.lock();
        self.frozen_len.fetch_max(len, Ordering::Relaxed);
    }

    fn frozen(&self) -> io::Result<Bytes> {
        let mut world = enter(&self.world);
        let frozen_len = self.frozen_len.load(Ordering::Relaxed);
        let len = usize::try_from(frozen_len).unwrap_or(usize::MAX);
        let call = self.call(&world, CallKind::Frozen, 0, len);
        let (turn, _) = world.step(call);
        turn.check()?;
        let bytes = world.content(self.node).bytes();
        if bytes.len() < len {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(Bytes::from_owner(FrozenPrefix {
            bytes: Arc::clone(bytes),
            len,
        }))
    }
}

impl Drop for SimFile {
    fn drop(&mut self) {
        self.world.lock().close(self.node);
    }
}

/// Shares the bytes of the file; a later write copies them once if this is still there then.
struct FrozenPrefix {
    bytes: Arc<Vec<u8>>,
    len: usize,
}

impl AsRef<[u8]> for FrozenPrefix {
    fn as_ref(&self) -> &[u8] {
        &self.bytes[..self.len]
    }
}
