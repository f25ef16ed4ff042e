//! What can go wrong, one small enum for each verb; and damage, which is named exactly.
#![deny(clippy::wildcard_enum_match_arm)]

use std::fmt;
use std::io;
use std::sync::Arc;

use crate::position::EventId;

/// Bytes that are not what was written: where, which ids, and what is wrong with them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Damage {
    /// The file, by its name in the log's directory.
    pub file: String,
    /// Where in the file the damage begins, in bytes.
    pub offset: u64,
    /// The first id that cannot be read because of it, if the bytes before tell.
    pub first_id: Option<EventId>,
    /// The last id that may be concerned, if anything tells.
    pub last_id: Option<EventId>,
    /// What is wrong, in words.
    pub what: String,
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "damage in {} at offset {}", self.file, self.offset)?;
        match (self.first_id, self.last_id) {
            (Some(first), Some(last)) if first == last => write!(f, " (event {first})")?,
            (Some(first), Some(last)) => write!(f, " (events {first} to {last})")?,
            (Some(first), None) => write!(f, " (from event {first} on)")?,
            (None, Some(last)) => write!(f, " (up to event {last})")?,
            (None, None) => {}
        }
        write!(f, ": {}", self.what)
    }
}

impl std::error::Error for Damage {}

/// Why a log could not be opened. Unless it is [`OpenError::Io`], nothing was changed on disk.
#[derive(Debug)]
#[non_exhaustive]
pub enum OpenError {
    /// Another process, or another part of this one, has the log open.
    InUse,
    /// The directory holds something that is not a log.
    NotALog {
        /// A name that does not belong there.
        name: String,
    },
    /// A file was written by a newer version of the format.
    NewerFormat {
        /// The file.
        file: String,
        /// Its version.
        version: u32,
        /// The newest version this code reads.
        supported: u32,
    },
    /// The log is damaged at a place that was known durable. Nothing was cut or repaired.
    Damaged(Damage),
    /// An option is out of its range.
    Options(&'static str),
    /// The disk failed.
    Io(io::Error),
}

impl fmt::Display for OpenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::InUse => write!(f, "the log is in use by another process"),
            Self::NotALog { name } => {
                write!(f, "the directory is not a log: it holds {name:?}")
            }
            Self::NewerFormat {
                file,
                version,
                supported,
            } => write!(
                f,
                "{file} has format version {version}, and this program reads up to {supported}"
            ),
            Self::Damaged(_) => write!(f, "the log is damaged"),
            Self::Options(what) => write!(f, "option out of range: {what}"),
            Self::Io(_) => write!(f, "could not read or prepare the log's files"),
        }
    }
}

impl std::error::Error for OpenError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Damaged(damage) => Some(damage),
            Self::Io(error) => Some(error),
            Self::InUse | Self::NotALog { .. } | Self::NewerFormat { .. } | Self::Options(_) => {
                None
            }
        }
    }
}

impl From<io::Error> for OpenError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

/// A tag of a new record that did not get the rank it expected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RankMismatch {
    /// Which record of the batch, from 0.
    pub record: usize,
    /// Which of its tags, from 0.
    pub tag: usize,
    /// The rank it expected.
    pub expected: u64,
    /// The rank it would have got: how many records carry the tag, earlier ones of the same batch
    /// included.
    pub actual: u64,
    /// The last *stored* record with this tag; none if only earlier records of the batch carry it.
    pub last_id: Option<EventId>,
}

/// Why an append was refused or failed.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum AppendError {
    /// The batch has no records. Nothing was written.
    Empty,
    /// The batch is longer than a segment of this log holds. Nothing was written.
    TooLarge {
        /// Its length in bytes.
        len: u64,
        /// The longest allowed, in bytes.
        len_max: u64,
    },
    /// Tags did not get the ranks they expected; all such tags are listed, in order. Nothing was
    /// written.
    Ranks(Vec<RankMismatch>),
    /// A condition does not hold. Nothing was written.
    Condition {
        /// Which of the batch's conditions, from 0.
        index: usize,
        /// The last record that matches its query.
        found: EventId,
    },
    /// Too much waits for the writer. Nothing was written; the same append may pass later.
    Busy,
    /// The disk is full. Nothing was written; appends pass again once there is room.
    Full,
    /// The process has no descriptor, or no memory, for another segment. Nothing was written; the
    /// same append may pass later.
    Scarce(Arc<str>),
    /// A piece of the tag index is being rebuilt, and the conditions cannot be judged without it.
    /// Nothing was written; the same append may pass later.
    IndexNotReady,
    /// All ids are spent. Nothing was written.
    IdsSpent,
    /// An earlier write or sync failed, or the log is closing: it takes nothing more until it is
    /// opened again. Nothing was written.
    Failed(Arc<str>),
    /// Writing or syncing this batch failed. Whether it survives a restart is unknown.
    Unknown(Arc<str>),
}

impl fmt::Display for AppendError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => write!(f, "the batch has no records"),
            Self::TooLarge { len, len_max } => {
                write!(f, "a batch of {len} bytes is over the limit of {len_max}")
            }
            Self::Ranks(mismatches) => match mismatches.first() {
                Some(first) => write!(
                    f,
                    "record {}: tag {} would get rank {}, not {}",
                    first.record, first.tag, first.actual, first.expected
                ),
                None => write!(f, "a tag would not get the rank it expects"),
            },
            Self::Condition { index, found } => {
                write!(f, "condition {index} does not hold: event {found} matches")
            }
            Self::Busy => write!(f, "too many appends are waiting"),
            Self::Full => write!(f, "the disk is full"),
            Self::Scarce(why) => write!(f, "no new segment could be made: {why}"),
            Self::IndexNotReady => write!(f, "the tag index is being rebuilt"),
            Self::IdsSpent => write!(f, "all ids are spent"),
            Self::Failed(why) => write!(f, "the log takes no writes until it is reopened: {why}"),
            Self::Unknown(why) => write!(f, "the outcome of the append is unknown: {why}"),
        }
    }
}

impl std::error::Error for AppendError {}

/// Why something could not be read.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum ReadError {
    /// Retention has removed it; go on from `first_id`.
    Expired {
        /// The oldest id that is kept.
        first_id: EventId,
    },
    /// The bytes are damaged. Nothing was skipped or guessed.
    Damaged(Damage),
    /// A piece of the tag index is being rebuilt; the same question may be answered later.
    IndexNotReady,
    /// The disk failed.
    Io(Arc<io::Error>),
}

impl fmt::Display for ReadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Expired { first_id } => {
                write!(f, "expired: the oldest event kept is {first_id}")
            }
            Self::Damaged(_) => write!(f, "the log is damaged there"),
            Self::IndexNotReady => write!(f, "the tag index is being rebuilt"),
            Self::Io(_) => write!(f, "could not read the log's files"),
        }
    }
}

impl std::error::Error for ReadError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Damaged(damage) => Some(damage),
            Self::Io(error) => Some(&**error),
            Self::Expired { .. } | Self::IndexNotReady => None,
        }
    }
}

impl From<io::Error> for ReadError {
    fn from(error: io::Error) -> Self {
        Self::Io(Arc::new(error))
    }
}

/// Why a checkpoint could not be changed.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum CheckpointError {
    /// The log keeps as many checkpoints as it may. Nothing was changed.
    TooMany {
        /// The limit.
        checkpoints_max: usize,
    },
    /// The name or the definition is too long. Nothing was changed.
    TooLarge,
    /// There is no such checkpoint. Nothing was changed.
    NotFound,
    /// There is one already. Nothing was changed.
    Exists,
    /// The position lies beyond the end of the log. Nothing was changed.
    BeyondEnd {
        /// The last id of the log; 0 if it has none.
        last_id: u64,
    },
    /// Too many changes are waiting. Nothing was changed; the same change may pass later.
    Busy,
    /// The disk is full. Nothing was changed.
    Full,
    /// An earlier write or sync failed. Nothing was changed.
    Failed(Arc<str>),
    /// Writing or syncing this change failed. Whether it survives a restart is unknown.
    Unknown(Arc<str>),
}

impl fmt::Display for CheckpointError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooMany { checkpoints_max } => {
                write!(f, "the log keeps {checkpoints_max} checkpoints already")
            }
            Self::TooLarge => write!(f, "the name or the definition is too long"),
            Self::NotFound => write!(f, "there is no such checkpoint"),
            Self::Exists => write!(f, "there is such a checkpoint already"),
            Self::BeyondEnd { last_id } => {
                write!(f, "beyond the end of the log, which is {last_id}")
            }
            Self::Busy => write!(f, "too many changes are waiting"),
            Self::Full => write!(f, "the disk is full"),
            Self::Failed(why) => {
                write!(
                    f,
                    "checkpoints take no writes until the log is reopened: {why}"
                )
            }
            Self::Unknown(why) => write!(f, "the outcome of the change is unknown: {why}"),
        }
    }
}

impl std::error::Error for CheckpointError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn damage_says_where_it_is_and_which_events_it_has_cost() {
        let told = |first, last| {
            let damage = Damage {
                file: "a.seg".to_owned(),
                offset: 4_096,
                first_id: EventId::new(first),
                last_id: EventId::new(last),
                what: "gone".to_owned(),
            };
            damage.to_string()
        };
        let want = |events: &str| format!("damage in a.seg at offset 4096{events}: gone");
        assert_eq!(told(0, 0), want(""));
        assert_eq!(told(3, 3), want(" (event 3)"));
        assert_eq!(told(3, 5), want(" (events 3 to 5)"));
        assert_eq!(told(3, 0), want(" (from event 3 on)"));
        assert_eq!(told(0, 5), want(" (up to event 5)"));
    }
}
