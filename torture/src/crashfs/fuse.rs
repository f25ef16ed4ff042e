//! What the kernel asks of the file system.

use std::ffi::OsStr;
use std::io;
use std::sync::MutexGuard;
use std::time::{Duration, UNIX_EPOCH};

use fuser::{
    AccessFlags, BsdFileFlags, Errno, FileAttr, FileHandle, FileType, Filesystem, FopenFlags,
    Generation, INodeNo, KernelConfig, LockOwner, OpenFlags, RenameFlags, ReplyAttr, ReplyCreate,
    ReplyData, ReplyDirectory, ReplyEmpty, ReplyEntry, ReplyStatfs, ReplyWrite, Request, TimeOrNow,
    WriteFlags,
};

use super::disk::{Disk, Node, PAGE_LEN};
use super::{CrashFs, Lie, State};

/// How long the kernel may believe us: nobody else changes anything while it is mounted.
const TTL: Duration = Duration::from_secs(3600);
/// The most bytes the kernel hands over at once.
const WRITE_LEN_MAX: u32 = 1 << 20;

/// The side of [`CrashFs`] that the kernel sees.
#[derive(Debug)]
pub(super) struct Face(pub(super) CrashFs);

impl Face {
    /// The state, unless the power is cut: then nobody is answered until nobody is left.
    fn powered(&self) -> Result<MutexGuard<'_, State>, Errno> {
        let mut state = self.0.state();
        while state.is_cut && !state.is_over {
            state = self
                .0
                .changed
                .wait(state)
                .unwrap_or_else(std::sync::PoisonError::into_inner);
        }
        if state.is_over {
            Err(Errno::EIO)
        } else {
            Ok(state)
        }
    }

    /// Makes a change, and cuts the power if this is the change to do so: half of the time just before
    /// it, half of the time just after it. The caller of the last change is never answered.
    fn change<T>(
        &self,
        is_sync: bool,
        change: impl FnOnce(&mut Disk) -> Option<T>,
    ) -> Result<T, Errno> {
        let mut state = self.powered()?;
        state.changes += 1;
        let cut = state.cut_at.is_some_and(|at| state.changes >= at);
        if cut && state.random.chance(50) {
            // A sync that the power is lost in has done nothing that we may count on.
            if !is_sync {
                let _done = change(&mut state.disk);
            }
            return self.lose_power(state);
        }
        let done = change(&mut state.disk);
        if cut {
            return self.lose_power(state);
        }
        done.ok_or(Errno::ENOENT)
    }

    fn lose_power<T>(&self, mut state: MutexGuard<'_, State>) -> Result<T, Errno> {
        state.lose_power();
        drop(state);
        self.0.changed.notify_all();
        self.powered().and(Err(Errno::EIO))
    }

    fn fails(&self) -> bool {
        let mut state = self.0.state();
        state.failed += u64::from(state.writes_fail);
        state.writes_fail
    }
}

fn attr(disk: &Disk, ino: u64) -> Result<FileAttr, Errno> {
    let (kind, size, perm) = match disk.node(ino).ok_or(Errno::ENOENT)? {
        Node::File(file) => (FileType::RegularFile, file.len, 0o600),
        Node::Directory(_) => (FileType::Directory, 0, 0o755),
    };
    Ok(FileAttr {
        ino: INodeNo(ino),
        size,
        blocks: size.div_ceil(512),
        atime: UNIX_EPOCH,
        mtime: UNIX_EPOCH,
        ctime: UNIX_EPOCH,
        crtime: UNIX_EPOCH,
        kind,
        perm,
        nlink: 1,
        uid: 0,
        gid: 0,
        rdev: 0,
        blksize: PAGE_LEN as u32,
        flags: 0,
    })
}

fn attempt<T>(call: impl FnOnce() -> Result<T, Errno>) -> Result<T, Errno> {
    call()
}

/// Answers with what an expression gives.
macro_rules! answer {
    ($reply:expr, $result:expr, $value:pat => $ok:expr) => {
        match attempt(|| $result) {
            Ok($value) => $ok,
            Err(errno) => $reply.error(errno),
        }
    };
}

impl Filesystem for Face {
    fn init(&mut self, _: &Request, config: &mut KernelConfig) -> io::Result<()> {
        // Smaller is slower, and nothing else.
        let _as_large_as_may_be = config.set_max_write(WRITE_LEN_MAX);
        Ok(())
    }

    fn lookup(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        answer!(reply, {
            let state = self.powered()?;
            let ino = state.disk.lookup(parent.0, name).ok_or(Errno::ENOENT)?;
            attr(&state.disk, ino)
        }, attr => reply.entry(&TTL, &attr, Generation(0)));
    }

    fn getattr(&self, _: &Request, ino: INodeNo, _: Option<FileHandle>, reply: ReplyAttr) {
        answer!(reply, attr(&self.powered()?.disk, ino.0), attr => reply.attr(&TTL, &attr));
    }

    fn setattr(
        &self,
        _: &Request,
        ino: INodeNo,
        _: Option<u32>,
        _: Option<u32>,
        _: Option<u32>,
        size: Option<u64>,
        _: Option<TimeOrNow>,
        _: Option<TimeOrNow>,
        _: Option<std::time::SystemTime>,
        _: Option<FileHandle>,
        _: Option<std::time::SystemTime>,
        _: Option<std::time::SystemTime>,
        _: Option<std::time::SystemTime>,
        _: Option<BsdFileFlags>,
        reply: ReplyAttr,
    ) {
        answer!(reply, match size {
            Some(len) => self.change(false, |disk| {
                disk.set_len(ino.0, len)?;
                attr(disk, ino.0).ok()
            }),
            None => attr(&self.powered()?.disk, ino.0),
        }, attr => reply.attr(&TTL, &attr));
    }

    fn mkdir(&self, _: &Request, parent: INodeNo, name: &OsStr, _: u32, _: u32, reply: ReplyEntry) {
        answer!(reply, self.change(false, |disk| {
            let ino = disk.create(parent.0, name, true)?;
            attr(disk, ino).ok()
        }), attr => reply.entry(&TTL, &attr, Generation(0)));
    }

    fn create(
        &self,
        _: &Request,
        parent: INodeNo,
        name: &OsStr,
        _: u32,
        _: u32,
        _: i32,
        reply: ReplyCreate,
    ) {
        answer!(reply, self.change(false, |disk| {
            let ino = disk.create(parent.0, name, false)?;
            attr(disk, ino).ok()
        }), attr => {
            reply.created(&TTL, &attr, Generation(0), FileHandle(0), FopenFlags::empty());
        });
    }

    fn unlink(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        answer!(reply, self.change(false, |disk| disk.remove(parent.0, name)), _ => reply.ok());
    }

    fn rmdir(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        answer!(reply, self.change(false, |disk| disk.remove(parent.0, name)), _ => reply.ok());
    }

    fn rename(
        &self,
        _: &Request,
        parent: INodeNo,
        name: &OsStr,
        newparent: INodeNo,
        newname: &OsStr,
        flags: RenameFlags,
        reply: ReplyEmpty,
    ) {
        if parent != newparent {
            return reply.error(Errno::EXDEV);
        }
        if !flags.is_empty() {
            return reply.error(Errno::EINVAL);
        }
        answer!(
            reply,
            self.change(false, |disk| disk.rename(parent.0, name, newname)),
            () => reply.ok()
        );
    }

    fn read(
        &self,
        _: &Request,
        ino: INodeNo,
        _: FileHandle,
        offset: u64,
        size: u32,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyData,
    ) {
        answer!(reply, {
            let mut state = self.powered()?;
            if state.is_bad(ino.0, offset.saturating_add(size.into())) {
                state.failed += 1;
                return Err(Errno::EIO);
            }
            state.disk.read(ino.0, offset, size as usize).ok_or(Errno::EIO)
        }, bytes => reply.data(&bytes));
    }

    fn write(
        &self,
        _: &Request,
        ino: INodeNo,
        _: FileHandle,
        offset: u64,
        data: &[u8],
        _: WriteFlags,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyWrite,
    ) {
        if self.fails() {
            return reply.error(Errno::EIO);
        }
        answer!(
            reply,
            self.change(false, |disk| disk.write(ino.0, offset, data)),
            () => reply.written(data.len() as u32)
        );
    }

    fn flush(&self, _: &Request, _: INodeNo, _: FileHandle, _: LockOwner, reply: ReplyEmpty) {
        reply.ok();
    }

    fn fsync(&self, _: &Request, ino: INodeNo, _: FileHandle, _: bool, reply: ReplyEmpty) {
        if self.fails() {
            return reply.error(Errno::EIO);
        }
        answer!(reply, self.sync(ino, Lie::Files), () => reply.ok());
    }

    fn fsyncdir(&self, _: &Request, ino: INodeNo, _: FileHandle, _: bool, reply: ReplyEmpty) {
        if self.fails() {
            return reply.error(Errno::EIO);
        }
        answer!(reply, self.sync(ino, Lie::Names), () => reply.ok());
    }

    fn readdir(
        &self,
        _: &Request,
        ino: INodeNo,
        _: FileHandle,
        offset: u64,
        mut reply: ReplyDirectory,
    ) {
        let state = match self.powered() {
            Ok(state) => state,
            Err(errno) => return reply.error(errno),
        };
        let Some(directory) = state.disk.directory(ino.0) else {
            return reply.error(Errno::ENOTDIR);
        };
        let own = [(OsStr::new("."), ino.0), (OsStr::new(".."), ino.0)];
        let names = directory
            .names
            .iter()
            .map(|(name, ino)| (name.as_os_str(), *ino));
        for (place, (name, ino)) in (1..).zip(own.into_iter().chain(names)) {
            let kind = match state.disk.node(ino) {
                Some(Node::File(_)) => FileType::RegularFile,
                _ => FileType::Directory,
            };
            if place > offset && reply.add(INodeNo(ino), place, kind, name) {
                break;
            }
        }
        reply.ok();
    }

    fn statfs(&self, _: &Request, _: INodeNo, reply: ReplyStatfs) {
        let blocks = (4 << 30) / PAGE_LEN as u64;
        reply.statfs(
            blocks,
            blocks,
            blocks,
            1 << 20,
            1 << 20,
            PAGE_LEN as u32,
            255,
            PAGE_LEN as u32,
        );
    }

    fn access(&self, _: &Request, _: INodeNo, _: AccessFlags, reply: ReplyEmpty) {
        reply.ok();
    }

    fn fallocate(
        &self,
        _: &Request,
        ino: INodeNo,
        _: FileHandle,
        offset: u64,
        length: u64,
        mode: i32,
        reply: ReplyEmpty,
    ) {
        if mode != 0 {
            return reply.error(Errno::EOPNOTSUPP);
        }
        if self.fails() {
            return reply.error(Errno::EIO);
        }
        answer!(reply, self.change(false, |disk| {
            let len = disk.file(ino.0)?.len;
            disk.set_len(ino.0, len.max(offset.saturating_add(length)))
        }), () => reply.ok());
    }
}

impl Face {
    fn sync(&self, ino: INodeNo, what: Lie) -> Result<(), Errno> {
        let lies = self.0.state().lie == what;
        self.change(true, |disk| {
            if !lies {
                disk.sync(ino.0);
            }
            Some(())
        })
    }
}

impl State {
    /// Whether a read that ends at `end` meets what cannot be read.
    fn is_bad(&self, ino: u64, end: u64) -> bool {
        let Some((suffix, offset)) = &self.bad_reads else {
            return false;
        };
        end > *offset && self.disk.has_name(ino, suffix)
    }
}
