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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::{is_full, write_all_at};

    #[test]
    fn a_directory_is_created_with_its_parents() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a/b/c");
        assert_eq!(
            DiskStorage::open(&path).unwrap_err().kind(),
            io::ErrorKind::NotFound
        );
        DiskStorage::create(&path).unwrap().create("f", 1).unwrap();
        let again = DiskStorage::create(&path).unwrap();
        assert_eq!(again.list().unwrap().len(), 1);
        DiskStorage::create(&path.join("../d")).unwrap();
        assert!(directory.path().join("a/b/d").is_dir());
        DiskStorage::create(Path::new("/")).unwrap();
        DiskStorage::create(Path::new(".")).unwrap();
        for (path, kind) in [
            (path.join("f"), io::ErrorKind::NotADirectory),
            (path.join("f/g"), io::ErrorKind::NotADirectory),
            (Path::new("").to_owned(), io::ErrorKind::NotFound),
        ] {
            assert_eq!(DiskStorage::create(&path).unwrap_err().kind(), kind);
        }
    }

    #[test]
    fn the_parent_of_a_name_is_where_its_removal_would_be_synced() {
        for (path, parent) in [
            ("a", Some(".")),
            ("a/b", Some("a")),
            ("a/b/", Some("a")),
            ("/a", Some("/")),
            ("/", None),
            ("", None),
        ] {
            assert_eq!(parent_of(Path::new(path)), parent.map(Path::new), "{path}");
        }
    }

    #[test]
    fn a_directory_may_be_moved_while_it_is_in_use() {
        let directory = tempfile::tempdir().unwrap();
        let (before, after) = (directory.path().join("a"), directory.path().join("b"));
        let storage = DiskStorage::create(&before).unwrap();
        storage.create("f", 0).unwrap();
        std::fs::rename(&before, &after).unwrap();
        let other = DiskStorage::create(&before).unwrap();
        storage.create("g", 0).unwrap();
        storage.sync_names().unwrap();
        assert_eq!(storage.list().unwrap().len(), 2);
        assert_eq!(other.list().unwrap().len(), 0);
        assert!(after.join("g").exists());
    }

    #[test]
    fn a_directory_opened_twice_has_one_lock() {
        let directory = tempfile::tempdir().unwrap();
        let first = DiskStorage::open(directory.path()).unwrap();
        let second = DiskStorage::open(directory.path()).unwrap();
        let held = first.lock().unwrap();
        let refused = second.lock().unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::WouldBlock);
        drop(first);
        second.lock().unwrap_err();
        drop(held);
        second.lock().unwrap();
    }

    #[test]
    fn a_file_without_room_leaves_no_name() {
        let directory = tempfile::tempdir().unwrap();
        let storage = DiskStorage::open(directory.path()).unwrap();
        let error = storage.create("a", 1 << 62).unwrap_err();
        assert!(is_full(&error), "{error:?}");
        storage.create("a", u64::MAX).unwrap_err();
        assert_eq!(storage.list().unwrap(), []);
    }

    #[test]
    fn all_errors_that_say_the_disk_is_full_are_known() {
        for errno in [Errno::NOSPC, Errno::DQUOT, Errno::FBIG] {
            assert!(is_full(&errno.into()), "{errno:?}");
        }
        for errno in [Errno::IO, Errno::ROFS, Errno::INVAL, Errno::NOENT] {
            assert!(!is_full(&errno.into()), "{errno:?}");
        }
    }

    #[test]
    fn the_space_of_a_new_file_is_really_there() {
        use std::os::unix::fs::MetadataExt;
        let directory = tempfile::tempdir().unwrap();
        let storage = DiskStorage::open(directory.path()).unwrap();
        let file = storage.create("a", 1 << 20).unwrap();
        let metadata = std::fs::metadata(directory.path().join("a")).unwrap();
        assert_eq!(metadata.len(), 1 << 20);
        assert!(metadata.blocks() * 512 >= 1 << 20);
        assert_eq!(metadata.mode() & 0o077, 0);
        write_all_at(&*file, (1 << 20) - 1, &[b"xy"]).unwrap();
        assert_eq!(file.len(), (1 << 20) + 1);
    }

    #[test]
    fn what_is_neither_a_file_nor_a_directory_is_left_alone() {
        use std::ffi::OsStr;
        use std::os::unix::ffi::OsStrExt;
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path();
        fs::mkfifoat(fs::CWD, path.join("pipe"), FILE_MODE).unwrap();
        fs::symlink("nowhere", path.join("dangling")).unwrap();
        fs::symlink("loop", path.join("loop")).unwrap();
        std::fs::write(path.join(OsStr::from_bytes(b"\xff")), "").unwrap();
        std::fs::create_dir(path.join("real")).unwrap();
        fs::symlink("real", path.join("link")).unwrap();

        let storage = DiskStorage::open(path).unwrap();
        let mut names: Vec<_> = storage.list().unwrap().into_iter().collect();
        names.sort_by(|a, b| a.name.cmp(&b.name));
        let names: Vec<_> = names
            .iter()
            .map(|entry| (&*entry.name, entry.kind))
            .collect();
        let directory = EntryKind::Directory;
        assert_eq!(names, [("link", directory), ("real", directory)]);
        let refused = storage.open("pipe", Access::Read).unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::InvalidInput);
        storage.directory("link").unwrap();
    }
}
