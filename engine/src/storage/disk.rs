//! The real disk: a directory reached through its own descriptor.

use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::Arc;

use rustix::fs::{self, AtFlags, Dir, FallocateFlags, FileType, FlockOperation, Mode, OFlags};
use rustix::io::Errno;

use super::map::MappedFile;
use super::transfer::{uninterrupted, zero_range};
use super::{Access, DirectoryLock, Entry, EntryKind, LOCK_NAME, Storage, StorageFile, check_name};

/// Events are nobody's business but the owner's, unless the owner says so with `chmod`.
const FILE_MODE: Mode = Mode::from_raw_mode(0o600);
const DIRECTORY_MODE: Mode = Mode::from_raw_mode(0o700);

/// A directory of the file system.
///
/// Everything in it is reached through the descriptor that was opened first, so the directory may
/// be moved while it is in use. Each file keeps the descriptor it was opened with: the kernel
/// reports a failed write-back once to each descriptor, and one that is opened later may never hear
/// of it.
#[derive(Debug)]
pub struct DiskStorage {
    directory: OwnedFd,
}

impl DiskStorage {
    /// The directory `path`, which must exist.
    ///
    /// # Errors
    ///
    /// [`io::ErrorKind::NotFound`] if it does not, [`io::ErrorKind::NotADirectory`] if it is
    /// something else.
    pub fn open(path: &Path) -> io::Result<Self> {
        open_directory(fs::CWD, path)
    }

    /// The directory `path`, created with all its parents if it does not exist; their names
    /// survive a crash once this has returned.
    ///
    /// # Errors
    ///
    /// As the disk reports them; some of the parents may have been created.
    pub fn create(path: &Path) -> io::Result<Self> {
        let mut missing = Vec::new();
        let mut at = path;
        while let Err(error) = fs::statat(fs::CWD, at, AtFlags::empty()) {
            if error != Errno::NOENT {
                return Err(error.into());
            }
            missing.push(at);
            at = parent_of(at).ok_or(error)?;
        }

        // The deepest directory that is there may be the leftover of a run that died before it
        // could sync the name. Those above it were synced before it was created.
        if let Some(parent) = parent_of(at) {
            match Self::open(parent) {
                Ok(parent) => parent.sync_names()?,
                // Whoever may not read the parent did not create the directory in it.
                Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {}
                Err(error) => return Err(error),
            }
        }
        for path in missing.into_iter().rev() {
            match fs::mkdirat(fs::CWD, path, DIRECTORY_MODE) {
                // Somebody else may have been faster, which is just as good.
                Ok(()) | Err(Errno::EXIST) => {}
                Err(error) => return Err(error.into()),
            }
            if let Some(parent) = parent_of(path) {
                Self::open(parent)?.sync_names()?;
            }
        }
        Self::open(path)
    }

    fn open_file(&self, name: &str, flags: OFlags) -> io::Result<OwnedFd> {
        uninterrupted(|| {
            let flags = flags | OFlags::CLOEXEC;
            Ok(fs::openat(&self.directory, name, flags, FILE_MODE)?)
        })
    }
}

impl Storage for DiskStorage {
    fn lock(&self) -> io::Result<DirectoryLock> {
        let file = self.open_file(LOCK_NAME, OFlags::CREATE | OFlags::RDWR)?;
        // A lock of the open file, not of the process: a second opening is refused here too, and
        // the kernel gives it back however the process ends.
        uninterrupted(|| Ok(fs::flock(&file, FlockOperation::NonBlockingLockExclusive)?))?;
        Ok(DirectoryLock::new(file))
    }

    fn list(&self) -> io::Result<Vec<Entry>> {
        let mut entries = Vec::new();
        for entry in Dir::read_from(&self.directory)? {
            let entry = entry?;
            let Ok(name) = entry.file_name().to_str() else {
                continue;
            };
            if matches!(name, "." | "..") {
                continue;
            }
            let stat = match fs::statat(&self.directory, name, AtFlags::empty()) {
                Ok(stat) => stat,
                // Removed since it was listed, or a link that leads nowhere.
                Err(Errno::NOENT | Errno::LOOP) => continue,
                Err(error) => return Err(error.into()),
            };
            let kind = match FileType::from_raw_mode(stat.st_mode) {
                FileType::RegularFile => EntryKind::File {
                    len: stat_len(&stat)?,
                },
                FileType::Directory => EntryKind::Directory,
                _ => continue,
            };
            entries.push(Entry {
                name: name.to_owned(),
                kind,
            });
        }
        Ok(entries)
    }

    fn create(&self, name: &str, len: u64) -> io::Result<Arc<dyn StorageFile>> {
        check_name(name)?;
        let fd = self.open_file(name, OFlags::CREATE | OFlags::EXCL | OFlags::RDWR)?;
        match allocate(fd, len) {
            Ok(file) => Ok(Arc::new(file)),
            Err(error) => {
                // The first error is the one that explains; if the name cannot be removed either,
                // the next opening finds a file of zeros.
                let _ = fs::unlinkat(&self.directory, name, AtFlags::empty());
                Err(error)
            }
        }
    }

    fn open(&self, name: &str, access: Access) -> io::Result<Arc<dyn StorageFile>> {
        check_name(name)?;
        let flags = match access {
            Access::Read => OFlags::RDONLY,
            Access::ReadWrite => OFlags::RDWR,
        };
        // Without NONBLOCK, opening a named pipe would wait for its other end.
        let fd = self.open_file(name, flags | OFlags::NONBLOCK)?;
        let stat = fs::fstat(&fd)?;
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::RegularFile => {}
            FileType::Directory => return Err(io::ErrorKind::IsADirectory.into()),
            _ => {
                return Err(io::Error::new(
                    io::ErrorKind::InvalidInput,
                    format!("{name:?} is not a file"),
                ));
            }
        }
        Ok(Arc::new(MappedFile::new(fd, access, stat_len(&stat)?)))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        check_name(from)?;
        check_name(to)?;
        fs::renameat(&self.directory, from, &self.directory, to)?;
        Ok(())
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        check_name(name)?;
        fs::unlinkat(&self.directory, name, AtFlags::empty())?;
        Ok(())
    }

    fn sync_names(&self) -> io::Result<()> {
        fs::fsync(&self.directory)?;
        Ok(())
    }

    fn directory(&self, name: &str) -> io::Result<Arc<dyn Storage>> {
        check_name(name)?;
        Ok(Arc::new(open_directory(&self.directory, name)?))
    }

    fn create_directory(&self, name: &str) -> io::Result<Arc<dyn Storage>> {
        check_name(name)?;
        fs::mkdirat(&self.directory, name, DIRECTORY_MODE)?;
        self.directory(name)
    }
}

fn open_directory(
    at: impl std::os::fd::AsFd,
    path: impl rustix::path::Arg + Copy,
) -> io::Result<DiskStorage> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let directory = uninterrupted(|| Ok(fs::openat(&at, path, flags, Mode::empty())?))?;
    Ok(DiskStorage { directory })
}

/// The directory that holds the name `path`; none for the root.
fn parent_of(path: &Path) -> Option<&Path> {
    let parent = path.parent()?;
    if parent.as_os_str().is_empty() {
        return (!path.as_os_str().is_empty()).then_some(Path::new("."));
    }
    Some(parent)
}

/// Gives the new file `fd` its first `len` bytes.
fn allocate(fd: OwnedFd, len: u64) -> io::Result<MappedFile> {
    if len == 0 {
        return Ok(MappedFile::new(fd, Access::ReadWrite, 0));
    }
    match uninterrupted(|| Ok(fs::fallocate(&fd, FallocateFlags::empty(), 0, len)?)) {
        Ok(()) => Ok(MappedFile::new(fd, Access::ReadWrite, len)),
        Err(error) if error.kind() == io::ErrorKind::Unsupported => {
            // Slower, but zeros that were written take up room just as well.
            let file = MappedFile::new(fd, Access::ReadWrite, 0);
            zero_range(&file, 0, len)?;
            Ok(file)
        }
        Err(error) => Err(error),
    }
}

fn stat_len(stat: &fs::Stat) -> io::Result<u64> {
    u64::try_from(stat.st_size).map_err(|_| io::ErrorKind::InvalidData.into())
}
