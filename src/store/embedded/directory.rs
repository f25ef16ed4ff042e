//! The data directory: whose it is, of which version, and who has it open.
//!
//! ```text
//! strandlog        16 bytes: the magic, the format version (u32, little-endian), zeros
//! lock             held while a process has the directory open
//! logs/NAME/       one log of the engine each, and in it
//! logs/NAME/begun  empty: the log has had segments
//! ```
//!
//! Whatever speaks against opening is found before anything is written, so that a refusal leaves
//! the directory as it was.

use std::fmt;
use std::io::{self, IoSlice};
use std::sync::Arc;

use strandlog_engine::OpenError;
use strandlog_engine::storage::{Access, DirectoryLock, EntryKind, LOCK_NAME, Storage};

use super::super::LogName;

/// The file that says whose directory this is.
const MARKER: &str = "strandlog";
/// Its name until it is complete.
const MARKER_UNFINISHED: &str = "strandlog.new";
/// What file systems put into a directory of their own accord.
const LOST_AND_FOUND: &str = "lost+found";
/// The file in a log's directory that says that the log has been open. Without it a log that has lost
/// all its files would be taken for a new one, and begin again at the first id.
const BEGUN: &str = "begun";
/// The directory of the logs.
const LOGS: &str = "logs";

const MAGIC: [u8; 8] = *b"strandlg";
/// The version of the layout above.
const VERSION: u32 = 1;
const MARKER_LEN: usize = 16;

/// Why a data directory could not be opened. One line each; nothing on disk was changed, but for
/// [`Log`](Self::Log): the logs before that one may have been recovered.
#[derive(Debug)]
pub enum DirectoryError {
    /// Another process, or another part of this one, has it open.
    InUse,
    /// It is not empty, and not a data directory.
    NotOurs {
        /// A name that does not belong there.
        name: String,
    },
    /// It was only to be looked at, and there is nothing in it.
    Empty,
    /// It was written by a newer version.
    Newer {
        /// Its format version.
        version: u32,
    },
    /// It cannot be written to.
    NotWritable(io::Error),
    /// The disk is full.
    Full(io::Error),
    /// The disk failed, or the directory cannot be read.
    Io(io::Error),
    /// A log in it has been written to, and there is no segment left of it.
    Lost {
        /// Which.
        name: LogName,
    },
    /// A log in it could not be opened.
    Log {
        /// Which.
        name: LogName,
        /// Why.
        error: OpenError,
    },
}

impl fmt::Display for DirectoryError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::InUse => write!(f, "it is in use by another process"),
            Self::NotOurs { name } => write!(
                f,
                "it is not empty and not a data directory of strandlog: it holds {name:?}"
            ),
            Self::Empty => write!(
                f,
                "it is no data directory of strandlog yet: it holds no logs"
            ),
            Self::Newer { version } => write!(
                f,
                "it has format version {version}, and this program knows versions up to {VERSION}"
            ),
            Self::NotWritable(error) => write!(f, "it is not writable: {error}"),
            Self::Full(error) => write!(f, "the disk is full: {error}"),
            Self::Io(error) => write!(f, "it cannot be opened: {error}"),
            Self::Lost { name } => write!(
                f,
                "log {name:?}: the log has lost its segment files",
                name = name.as_str()
            ),
            Self::Log { name, error } => {
                write!(f, "log {name:?}: {error}", name = name.as_str())?;
                let mut cause = std::error::Error::source(error);
                while let Some(error) = cause {
                    write!(f, ": {error}")?;
                    cause = error.source();
                }
                if matches!(error, OpenError::Damaged(_)) {
                    write!(f, "; `strandlog repair --dry-run` says what can be saved")?;
                }
                Ok(())
            }
        }
    }
}

impl std::error::Error for DirectoryError {}

impl DirectoryError {
    /// What the engine says about one of the logs. It knows nothing of [`BEGUN`]: without a segment
    /// beside it, that is a name of somebody else.
    pub(crate) fn of_log(name: LogName, error: OpenError) -> Self {
        match error {
            OpenError::NotALog { name: foreign } if foreign == BEGUN => Self::Lost { name },
            error => Self::Log { name, error },
        }
    }
}

impl From<io::Error> for DirectoryError {
    fn from(error: io::Error) -> Self {
        if strandlog_engine::storage::is_full(&error) {
            return Self::Full(error);
        }
        match error.kind() {
            io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
                Self::NotWritable(error)
            }
            io::ErrorKind::WouldBlock => Self::InUse,
            _ => Self::Io(error),
        }
    }
}

/// A data directory that is ours, of a version we know, and locked.
#[derive(Debug)]
pub struct DataDirectory {
    /// The directory of the logs.
    logs: Arc<dyn Storage>,
    /// None if it is only looked at while another process may have it.
    _lock: Option<DirectoryLock>,
}

impl DataDirectory {
    /// Takes the directory for this process, laying it out if it is empty.
    pub(crate) fn open(root: &Arc<dyn Storage>) -> Result<Self, DirectoryError> {
        // Judged twice: without the lock, because taking it creates a file, which must not happen
        // to a directory that is not ours; and with it, because only then does the answer last.
        judge(&**root)?;
        let lock = root.lock()?;
        if judge(&**root)? == Found::Empty {
            write_marker(&**root)?;
        }
        let logs = match root.directory(LOGS) {
            Ok(logs) => logs,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let logs = root.create_directory(LOGS)?;
                root.sync_names()?;
                logs
            }
            Err(error) => return Err(error.into()),
        };
        Ok(Self {
            logs,
            _lock: Some(lock),
        })
    }

    /// Takes the directory for this process to look at it; nothing is laid out or repaired.
    ///
    /// # Errors
    ///
    /// What a start would say, and [`DirectoryError::Empty`] where it would lay out a new one.
    pub fn open_at_rest(root: &Arc<dyn Storage>) -> Result<Self, DirectoryError> {
        if judge(&**root)? == Found::Empty {
            return Err(DirectoryError::Empty);
        }
        let lock = root.lock()?;
        Ok(Self {
            _lock: Some(lock),
            ..Self::look_at(root)?
        })
    }

    /// The directory as it is now, which a server may be changing meanwhile. It is not to be written
    /// to.
    ///
    /// # Errors
    ///
    /// As [`open_at_rest`](Self::open_at_rest), but for a directory that is in use.
    pub fn look_at(root: &Arc<dyn Storage>) -> Result<Self, DirectoryError> {
        if judge(&**root)? == Found::Empty {
            return Err(DirectoryError::Empty);
        }
        match root.directory(LOGS) {
            Ok(logs) => Ok(Self { logs, _lock: None }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Err(DirectoryError::Empty),
            Err(error) => Err(error.into()),
        }
    }

    /// The directory of a log that is there.
    ///
    /// # Errors
    ///
    /// There is none, or it cannot be read.
    pub fn log_at_rest(&self, name: &LogName) -> io::Result<Arc<dyn Storage>> {
        self.logs.directory(name.as_str())
    }

    /// The names of the logs, in byte order.
    ///
    /// # Errors
    ///
    /// Something else lies among them, or the directory cannot be read.
    pub fn log_names(&self) -> Result<Vec<LogName>, DirectoryError> {
        let mut names = Vec::new();
        for entry in self.logs.list()? {
            match (entry.kind, entry.name.parse()) {
                (EntryKind::Directory, Ok(name)) => names.push(name),
                (EntryKind::Directory | EntryKind::File { .. }, _) => {
                    return Err(DirectoryError::NotOurs {
                        name: format!("{LOGS}/{}", entry.name),
                    });
                }
            }
        }
        names.sort_unstable();
        Ok(names)
    }

    /// The directory of a log, created if there is none. Its name survives a crash.
    pub(crate) fn log(&self, name: &LogName) -> io::Result<Arc<dyn Storage>> {
        match self.logs.directory(name.as_str()) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let log = self.logs.create_directory(name.as_str())?;
                self.logs.sync_names()?;
                Ok(log)
            }
            found => found,
        }
    }
}

impl DataDirectory {
    /// Notes that a log has segments.
    pub(crate) fn mark_begun(&self, name: &LogName) -> io::Result<()> {
        mark_begun(&*self.log_at_rest(name)?)
    }

    /// Whether a log has ever had segments.
    pub(crate) fn has_begun(&self, name: &LogName) -> bool {
        let log = self.log_at_rest(name);
        log.is_ok_and(|log| log.open(BEGUN, Access::Read).is_ok())
    }
}

/// What a directory turned out to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Found {
    /// Nothing, or what an interrupted first start left.
    Empty,
    /// A data directory of a version we know.
    Ours,
}

fn judge(root: &dyn Storage) -> Result<Found, DirectoryError> {
    let entries = root.list()?;
    if entries.iter().any(|entry| entry.name == MARKER) {
        return read_marker(root);
    }
    let foreign = entries.into_iter().find(|entry| {
        !matches!(
            entry.name.as_str(),
            LOCK_NAME | MARKER_UNFINISHED | LOST_AND_FOUND
        )
    });
    match foreign {
        None => Ok(Found::Empty),
        Some(entry) => Err(DirectoryError::NotOurs { name: entry.name }),
    }
}

/// Notes that a log has been open. Not before it is: until it has a segment, a crash may leave the
/// directory empty.
pub(super) fn mark_begun(log: &dyn Storage) -> io::Result<()> {
    match log.create(BEGUN, 0) {
        Ok(file) => {
            file.sync()?;
            log.sync_names()
        }
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(error),
    }
}

fn read_marker(root: &dyn Storage) -> Result<Found, DirectoryError> {
    let file = root.open(MARKER, Access::Read)?;
    let mut marker = [0; MARKER_LEN];
    let mut filled = 0;
    while let Some(rest) = marker.get_mut(filled..).filter(|rest| !rest.is_empty()) {
        match file.read_at(u64::try_from(filled).unwrap_or(u64::MAX), rest)? {
            0 => break,
            read => filled += read,
        }
    }
    let not_ours = || DirectoryError::NotOurs {
        name: MARKER.to_owned(),
    };
    let (magic, rest) = marker.split_first_chunk::<8>().ok_or_else(not_ours)?;
    let (version, _zeros) = rest.split_first_chunk::<4>().ok_or_else(not_ours)?;
    let version = u32::from_le_bytes(*version);
    if *magic != MAGIC || filled < MARKER_LEN || version == 0 {
        return Err(not_ours());
    }
    if version > VERSION {
        return Err(DirectoryError::Newer { version });
    }
    Ok(Found::Ours)
}

fn write_marker(root: &dyn Storage) -> Result<(), DirectoryError> {
    match root.remove(MARKER_UNFINISHED) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error.into()),
        Ok(()) | Err(_) => {}
    }
    let file = root.create(MARKER_UNFINISHED, 0)?;
    let marker = [&MAGIC[..], &VERSION.to_le_bytes(), &[0; 4]].concat();
    let mut written = 0;
    while let Some(rest) = marker.get(written..).filter(|rest| !rest.is_empty()) {
        let offset = u64::try_from(written).unwrap_or(u64::MAX);
        match file.write_at(offset, &[IoSlice::new(rest)])? {
            0 => return Err(io::Error::from(io::ErrorKind::WriteZero).into()),
            wrote => written += wrote,
        }
    }
    file.sync()?;
    root.rename(MARKER_UNFINISHED, MARKER)?;
    root.sync_names()?;
    Ok(())
}
