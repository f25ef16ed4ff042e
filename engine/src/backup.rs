//! Copying a log, open or not, into a directory that can be opened as a log itself.
//!
//! Nothing of the source is locked or changed. Its sealed segments never change; its tail grows while
//! it is read, so only what forms a whole chain of batches is taken, which is what recovery would keep
//! of it. The checkpoints are read before the segments: none can lie beyond the end of the copy.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::sync::Arc;

use bytes::Bytes;

use crate::error::Damage;
use crate::format::batch::{BatchFault, Chain, Mark};
use crate::format::index;
use crate::format::names::{self, FileName};
use crate::format::segment::{HEADER_LEN, HeaderFault, SegmentHeader, SegmentKind, VERSION};
use crate::position::EventId;
use crate::recovery;
use crate::segment::describe;
use crate::storage::{Access, EntryKind, Storage, read_exact_at, write_all_at};
use crate::tags::check_run;

/// The name under which a file is written before it gets its own.
const UNFINISHED: &str = "backup.tmp";
/// How often a source that changes meanwhile is looked at again: each time retention has removed a
/// segment, or the checkpoints were rewritten, which takes longer than a look.
const LOOKS_MAX: usize = 20;
/// How much is written at a time, in bytes.
const WRITE_STEP: usize = 4 << 20;

/// What [`backup`] has done.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct BackupReport {
    /// Segments that were copied.
    pub copied: u64,
    /// Segments that an earlier backup had copied whole.
    pub kept: u64,
    /// Segments of an earlier backup that the log does not keep any more, and that were removed.
    pub removed: u64,
    /// Bytes written.
    pub bytes: u64,
    /// The oldest record's id.
    pub first: Option<EventId>,
    /// The newest record's id.
    pub last: Option<EventId>,
    /// What is damaged in the sealed segments that were copied, as they are.
    pub damage: Vec<Damage>,
}

/// Why a log could not be copied. What an earlier backup held is still there.
#[derive(Debug)]
#[non_exhaustive]
pub enum BackupError {
    /// The copy is in use by another process.
    InUse,
    /// One of the directories holds what belongs to no log.
    NotALog {
        /// Its name.
        name: String,
    },
    /// The source has no segments.
    Nothing,
    /// The copy is of another log, or holds what the source does not: it may have been written to, or
    /// the source is the older one.
    Other {
        /// The file that shows it.
        file: String,
    },
    /// Something was written by a newer version.
    Newer {
        /// The file.
        file: String,
        /// Its version.
        version: u32,
    },
    /// The newest segment, or the checkpoints, of the source are damaged.
    Damaged(Damage),
    /// The source changed each time it was looked at.
    Moving,
    /// A directory cannot be read or written.
    Io(io::Error),
}

impl fmt::Display for BackupError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::InUse => write!(f, "the copy is in use by another process"),
            Self::NotALog { name } => write!(f, "the directory is not a log: it holds {name:?}"),
            Self::Nothing => write!(f, "the log has no segments"),
            Self::Other { file } => write!(
                f,
                "the copy is of another log, or has events that this log does not have: see {file}"
            ),
            Self::Newer { file, version } => write!(
                f,
                "{file} has format version {version}, and this program reads up to {VERSION}"
            ),
            Self::Damaged(_) => write!(f, "the log is damaged"),
            Self::Moving => write!(f, "the log changed each time it was looked at"),
            Self::Io(_) => write!(f, "could not read or write the log's files"),
        }
    }
}

impl std::error::Error for BackupError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Damaged(damage) => Some(damage),
            Self::Io(error) => Some(error),
            _ => None,
        }
    }
}

impl From<io::Error> for BackupError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

/// Copies the log in `from` into `to`, which is empty or an earlier copy of the same log.
///
/// The log may be open and written to meanwhile: whatever it had acknowledged as durable before the
/// call is in the copy, as a prefix of the log with all its checkpoints, and some of what came later may
/// be. Segments that an earlier call has copied whole are not read again, so damage that has come to
/// them since does not reach the copy; what the copy has of a segment that is damaged is never replaced. What retention has removed from the log is removed from the
/// copy. Every record is checked while it is copied: damage in a sealed segment is reported and copied
/// as it is, for the rest of the segment is still worth having.
///
/// At any moment, also after a crash, `to` holds the earlier copy, the new one, or what lies between
/// them, and opens. `progress` is told how many bytes of the source are done, and of how many.
///
/// # Errors
///
/// [`BackupError`].
pub fn backup(
    from: &Arc<dyn Storage>,
    to: &Arc<dyn Storage>,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<BackupReport, BackupError> {
    Files::of(to)?;
    let _lock = to.lock().map_err(|error| match error.kind() {
        io::ErrorKind::WouldBlock => BackupError::InUse,
        _ => BackupError::Io(error),
    })?;
    let mut copy = Copy {
        from,
        to,
        report: BackupReport::default(),
        done: 0,
        total: 0,
        progress,
    };
    for _ in 0..LOOKS_MAX {
        match copy.look() {
            // A file has gone since the source was listed.
            Err(BackupError::Io(error)) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
            Ok(()) => return Ok(copy.report),
        }
    }
    Err(BackupError::Moving)
}

/// The files of a log's directory.
#[derive(Debug, Default)]
struct Files {
    /// File lengths by first id.
    segments: BTreeMap<EventId, u64>,
    /// What segments are known to have lost, by their first ids.
    losses: BTreeMap<EventId, u64>,
    /// The checkpoint logs, by number.
    checkpoints: BTreeMap<EventId, u64>,
    /// What is derived from the segments, with its length.
    derived: BTreeMap<String, u64>,
}

impl Files {
    fn of(storage: &Arc<dyn Storage>) -> Result<Self, BackupError> {
        let mut files = Self::default();
        let mut foreign = None;
        for entry in storage.list()? {
            let EntryKind::File { len } = entry.kind else {
                foreign = Some(entry.name);
                continue;
            };
            match names::parse(&entry.name) {
                FileName::Segment(first) => {
                    files.segments.insert(first, len);
                }
                FileName::Checkpoints(number) => {
                    files.checkpoints.insert(number, len);
                }
                FileName::Index(_) | FileName::Run => {
                    files.derived.insert(entry.name, len);
                }
                FileName::Losses(first) => {
                    files.losses.insert(first, len);
                }
                FileName::Lock | FileName::Temporary | FileName::SetAside => {}
                FileName::Foreign => foreign = Some(entry.name),
            }
        }
        match foreign {
            // Beside segments a foreign name does no harm, and is left where it is.
            Some(name) if files.segments.is_empty() => Err(BackupError::NotALog { name }),
            Some(_) | None => Ok(files),
        }
    }

    fn len(&self) -> u64 {
        let lens = self.segments.values().chain(self.checkpoints.values());
        let lens = lens.chain(self.losses.values());
        lens.chain(self.derived.values()).sum()
    }
}

struct Copy<'a> {
    from: &'a Arc<dyn Storage>,
    to: &'a Arc<dyn Storage>,
    report: BackupReport,
    done: u64,
    total: u64,
    progress: &'a mut dyn FnMut(u64, u64),
}

impl Copy<'_> {
    /// One look at the source, and all that follows from it.
    fn look(&mut self) -> Result<(), BackupError> {
        let newest = Files::of(self.from)?.checkpoints.pop_last();
        // Kept in memory until the segments are there: some hundred bytes for each checkpoint.
        let checkpoints = match newest {
            Some((number, _)) => {
                let name = names::checkpoints(number);
                Some((number, self.end_of_file(&name, SegmentKind::Checkpoints)?.0))
            }
            None => None,
        };
        // Only now: what these positions stand behind is in the segments that are listed.
        let source = Files::of(self.from)?;
        let kept = Files::of(self.to)?;
        let (Some((&first, _)), Some((&tail, _))) = (
            source.segments.first_key_value(),
            source.segments.last_key_value(),
        ) else {
            return Err(BackupError::Nothing);
        };
        self.total = source.len();
        self.done = 0;
        self.check_kinship(&source, &kept, tail)?;
        self.remove_expired(&kept, first)?;
        for (&segment, &len) in source.segments.range(..tail) {
            self.sealed(segment, len, &source, &kept)?;
        }
        self.tail(tail)?;
        self.losses(&source)?;
        self.derived(&source, &kept)?;
        if let Some((number, file)) = checkpoints {
            self.put(&names::checkpoints(number), &file)?;
            for older in kept.checkpoints.range(..number) {
                self.remove(&names::checkpoints(*older.0))?;
            }
        }
        self.to.sync_names()?;
        self.report.first = Some(first).filter(|first| Some(*first) <= self.report.last);
        (self.progress)(self.total, self.total);
        Ok(())
    }

    /// Refuses a copy of another log, and one that has what the source does not.
    fn check_kinship(
        &self,
        source: &Files,
        kept: &Files,
        tail: EventId,
    ) -> Result<(), BackupError> {
        let newest = self.header(self.from, tail)?;
        let first = source.segments.first_key_value().map(|(first, _)| *first);
        let last = kept.segments.last_key_value().map(|(last, _)| *last);
        for &segment in kept.segments.keys() {
            let other = || BackupError::Other {
                file: names::segment(segment),
            };
            let header = self.header(self.to, segment)?;
            if header.log_id != newest.log_id {
                return Err(other());
            }
            if first.is_some_and(|first| segment < first) {
                continue;
            }
            if !source.segments.contains_key(&segment) {
                return Err(other());
            }
            // The last one may have been made anew in the source: it is copied again in any case.
            if Some(segment) == last {
                continue;
            }
            match self.header(self.from, segment) {
                Ok(found) if found != header => return Err(other()),
                // What is damaged in the source is whole in the copy.
                Ok(_) | Err(BackupError::Damaged(_)) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn header(
        &self,
        storage: &Arc<dyn Storage>,
        first: EventId,
    ) -> Result<SegmentHeader, BackupError> {
        let name = names::segment(first);
        let mut bytes = [0; HEADER_LEN];
        let file = storage.open(&name, Access::Read)?;
        match read_exact_at(&*file, 0, &mut bytes) {
            Err(error) if error.kind() != io::ErrorKind::UnexpectedEof => return Err(error.into()),
            Ok(()) | Err(_) => {}
        }
        header_of(&name, &bytes, Some(first), SegmentKind::Events)
    }

    /// What the source does not keep any more goes first: a copy with a gap would not open whole.
    fn remove_expired(&mut self, kept: &Files, first: EventId) -> Result<(), BackupError> {
        for &segment in kept.segments.range(..first).map(|(segment, _)| segment) {
            self.remove(&names::segment(segment))?;
            self.remove(&names::index(segment))?;
            self.remove(&names::losses(segment))?;
            self.to.sync_names()?;
            self.report.removed += 1;
        }
        Ok(())
    }

    fn sealed(
        &mut self,
        first: EventId,
        len: u64,
        source: &Files,
        kept: &Files,
    ) -> Result<(), BackupError> {
        // With a successor it was whole when it was copied.
        let last = kept.segments.last_key_value().map(|(last, _)| *last);
        if last.is_some_and(|last| first < last) && kept.segments.contains_key(&first) {
            self.report.kept += 1;
            self.advance(len);
            return Ok(());
        }
        let name = names::segment(first);
        let bytes = self.map(&name)?;
        let next = source.segments.range(first..).nth(1).map(|(next, _)| *next);
        let damage = match header_of(&name, &bytes, Some(first), SegmentKind::Events) {
            Ok(header) => damage_of(&name, &bytes, &header, next),
            Err(BackupError::Damaged(damage)) => Some(damage),
            Err(error) => return Err(error),
        };
        if let Some(damage) = damage {
            // What the copy has of the segment may be what the source has lost of it.
            if last == Some(first) {
                return Err(BackupError::Damaged(damage));
            }
            if !source.losses.contains_key(&first) {
                self.report.damage.push(damage);
            }
        }
        self.put(&name, &bytes)?;
        self.report.copied += 1;
        self.advance(len);
        Ok(())
    }

    fn tail(&mut self, first: EventId) -> Result<(), BackupError> {
        let name = names::segment(first);
        let (bytes, chain) = self.end_of_file(&name, SegmentKind::Events)?;
        header_of(&name, &bytes, Some(first), SegmentKind::Events)?;
        self.put(&name, &bytes)?;
        self.report.last = EventId::new(chain.next.get().saturating_sub(1));
        self.report.copied += 1;
        self.advance(bytes.len() as u64);
        Ok(())
    }

    /// A file that may be written to meanwhile, with zeros behind its last whole batch; and where that
    /// ends.
    fn end_of_file(&self, name: &str, kind: SegmentKind) -> Result<(Bytes, Chain), BackupError> {
        let mut fault_at = None;
        for _ in 0..LOOKS_MAX {
            let file = self.from.open(name, Access::Read)?;
            let len = usize::try_from(file.len()).map_err(io::Error::other)?;
            let mut bytes = vec![0; len];
            read_exact_at(&*file, 0, &mut bytes)?;
            let header = header_of(name, &bytes, None, kind)?;
            match recovery::judge(name, &bytes, &header, |_, _| ()) {
                Ok(ending) => {
                    if let Some(rest) = bytes.get_mut(ending.chain.offset..) {
                        rest.fill(0);
                    }
                    return Ok((bytes.into(), ending.chain));
                }
                // A batch that was written behind the place where the reading was proves that what was
                // read before it is old, not that it is damaged. Read once more it is there.
                Err(damage) if fault_at == Some(damage.offset) => {
                    return Err(BackupError::Damaged(damage));
                }
                Err(damage) => fault_at = Some(damage.offset),
            }
        }
        Err(BackupError::Moving)
    }

    /// What is known to be lost, of the segments that lack it in the copy, too: one that was copied
    /// before it was damaged has lost nothing.
    fn losses(&mut self, source: &Files) -> Result<(), BackupError> {
        for (&first, &len) in &source.losses {
            let segment = names::segment(first);
            let file = self.to.open(&segment, Access::Read)?;
            file.freeze(file.len());
            let bytes = file.frozen()?;
            let header = header_of(&segment, &bytes, Some(first), SegmentKind::Events)?;
            let next = source.segments.range(first..).nth(1).map(|(next, _)| *next);
            if damage_of(&segment, &bytes, &header, next).is_some() {
                let name = names::losses(first);
                let bytes = self.map(&name)?;
                self.put(&name, &bytes)?;
            }
            self.advance(len);
        }
        Ok(())
    }

    /// The index files and runs that are whole. What is missing of them is made anew when the copy is
    /// opened, so none is waited for.
    fn derived(&mut self, source: &Files, kept: &Files) -> Result<(), BackupError> {
        for (name, &len) in &source.derived {
            if !kept.derived.contains_key(name) {
                match self.map(name) {
                    Ok(bytes) if is_whole(name, &bytes) => self.put(name, &bytes)?,
                    Ok(_) => {}
                    Err(BackupError::Io(error)) if error.kind() == io::ErrorKind::NotFound => {}
                    Err(error) => return Err(error),
                }
            }
            self.advance(len);
        }
        for name in kept.derived.keys() {
            if !source.derived.contains_key(name) {
                self.remove(name)?;
            }
        }
        Ok(())
    }

    fn map(&self, name: &str) -> Result<Bytes, BackupError> {
        let file = self.from.open(name, Access::Read)?;
        file.freeze(file.len());
        Ok(file.frozen()?)
    }

    /// Writes a file under another name, and gives it its own when it is durable. Unused space is
    /// written as well: a log that is opened on the copy goes on in it (see [`crate::tail::prepare`]).
    fn put(&mut self, name: &str, bytes: &[u8]) -> Result<(), BackupError> {
        self.remove(UNFINISHED)?;
        let file = self.to.create(UNFINISHED, bytes.len() as u64)?;
        let mut offset = 0;
        for step in bytes.chunks(WRITE_STEP) {
            write_all_at(&*file, offset, &[step])?;
            offset += step.len() as u64;
        }
        file.sync()?;
        self.to.rename(UNFINISHED, name)?;
        self.to.sync_names()?;
        self.report.bytes += offset;
        Ok(())
    }

    fn remove(&self, name: &str) -> Result<(), BackupError> {
        match self.to.remove(name) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error.into()),
            Ok(()) | Err(_) => Ok(()),
        }
    }

    fn advance(&mut self, len: u64) {
        self.done += len;
        (self.progress)(self.done, self.total);
    }
}

fn header_of(
    name: &str,
    bytes: &[u8],
    first: Option<EventId>,
    kind: SegmentKind,
) -> Result<SegmentHeader, BackupError> {
    let damaged = |what: &str| {
        BackupError::Damaged(Damage {
            file: name.to_owned(),
            offset: 0,
            first_id: first,
            last_id: None,
            what: what.to_owned(),
        })
    };
    let header = SegmentHeader::decode(bytes).map_err(|fault| match fault {
        HeaderFault::Newer(version) => BackupError::Newer {
            file: name.to_owned(),
            version,
        },
        HeaderFault::Damaged | HeaderFault::Impossible => {
            damaged("the segment's header is damaged")
        }
    })?;
    if header.kind != kind || first.is_some_and(|first| header.first != first) {
        return Err(damaged("the file belongs to another place"));
    }
    Ok(header)
}

/// The first thing that is wrong with a sealed segment which ends where `next` begins.
fn damage_of(
    name: &str,
    bytes: &[u8],
    header: &SegmentHeader,
    next: Option<EventId>,
) -> Option<Damage> {
    let mut chain = Chain::start(header);
    let what = loop {
        match chain.step(bytes, header.masks(), |_, _, _| ()) {
            Ok(batch) if batch.is_mark() && batch.mark == Mark::Seal => {
                if next.is_none_or(|next| next == chain.next) {
                    return None;
                }
                break "the segment does not end where the next one begins".to_owned();
            }
            Ok(_) => {}
            Err(BatchFault::Record { fault, .. }) => break describe(fault),
            Err(_) => break "a batch is damaged".to_owned(),
        }
    };
    Some(Damage {
        file: name.to_owned(),
        offset: chain.offset as u64,
        first_id: Some(chain.next),
        last_id: next.and_then(|next| EventId::new(next.get().saturating_sub(1))),
        what,
    })
}

/// Whether a derived file is what it was when it was made.
fn is_whole(name: &str, bytes: &[u8]) -> bool {
    match names::parse(name) {
        FileName::Index(_) => index::decode(bytes).is_some(),
        FileName::Run => check_run(name, bytes).is_ok(),
        _ => false,
    }
}
