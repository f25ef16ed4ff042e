//! What repair means to do, for people to read before it is done.

use std::fmt;

use crate::error::Damage;
use crate::position::EventId;

/// Everything that is wrong with a log, and what can be done about it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct RepairPlan {
    /// What is to be done, in this order.
    pub acts: Vec<RepairAct>,
    /// What no repair can mend; the log stays as it is there.
    pub left: Vec<Damage>,
    /// Segments looked at.
    pub segments: u64,
    /// Records that are whole.
    pub records: u64,
}

/// Events that are lost for ever.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LostEvents {
    /// The first of them.
    pub first_id: EventId,
    /// The last of them.
    pub last_id: EventId,
    /// The index still knows their tags, and with them their streams, sequences and keys. Otherwise
    /// nobody does: readers by tag meet this gap too, and an idempotency key of theirs counts as new.
    pub tags_are_known: bool,
    /// What became of them, in words.
    pub what: String,
}

/// One thing that repair does.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum RepairAct {
    /// Records what a segment has lost, or that it is damaged without a loss. The segment stays as
    /// it is.
    Record {
        /// The segment.
        file: String,
        /// What it has lost.
        lost: Vec<LostEvents>,
    },
    /// Closes the newest segment as it is, and begins a new one behind it.
    Close {
        /// The segment.
        file: String,
        /// What it has lost, ids included that may have been given out and left no trace.
        lost: Vec<LostEvents>,
        /// Bytes that are written again, the same ones: nothing proves that they reached the disk.
        rewritten_len: u64,
        /// The first id of the new segment.
        next_id: EventId,
    },
    /// Writes a segment whose header is gone anew from its records. The old file is put aside.
    Rebuild {
        /// The segment.
        file: String,
        /// How many records it has.
        records: u64,
        /// The name under which the old file is kept.
        set_aside: String,
    },
    /// Writes the checkpoints anew, as far as their changes can be read. The old file is put aside.
    Checkpoints {
        /// The checkpoint log.
        file: String,
        /// What is wrong with it.
        damage: Damage,
        /// How many checkpoints are kept.
        kept: u64,
        /// How many changes cannot be read: the checkpoint concerned stands where it stood before.
        lost_changes: u64,
        /// The name under which the old file is kept.
        set_aside: String,
    },
}

impl RepairPlan {
    /// What is lost for ever and was not known to be before, oldest first.
    pub fn lost(&self) -> impl Iterator<Item = &LostEvents> {
        self.acts.iter().flat_map(RepairAct::lost)
    }
}

impl RepairAct {
    /// What the act declares lost.
    #[must_use]
    pub fn lost(&self) -> &[LostEvents] {
        match self {
            Self::Record { lost, .. } | Self::Close { lost, .. } => lost,
            Self::Rebuild { .. } | Self::Checkpoints { .. } => &[],
        }
    }

    /// The file that it is about.
    #[must_use]
    pub fn file(&self) -> &str {
        match self {
            Self::Record { file, .. }
            | Self::Close { file, .. }
            | Self::Rebuild { file, .. }
            | Self::Checkpoints { file, .. } => file,
        }
    }
}

impl fmt::Display for LostEvents {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.first_id == self.last_id {
            write!(f, "event {}", self.first_id)?;
        } else {
            write!(f, "events {} to {}", self.first_id, self.last_id)?;
        }
        let tags = if self.tags_are_known {
            "their tags are known"
        } else {
            "their tags are not known"
        };
        write!(f, ": {}; {tags}", self.what)
    }
}

impl fmt::Display for RepairAct {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Record { file, lost } if lost.is_empty() => {
                write!(f, "record that {file} is damaged and has lost no event")
            }
            Self::Record { file, .. } => write!(f, "record what {file} has lost"),
            Self::Close { file, next_id, .. } => write!(
                f,
                "close {file} as it is, and go on with event {next_id} in a new segment"
            ),
            Self::Rebuild {
                file,
                records,
                set_aside,
            } => write!(
                f,
                "write {file} anew from its {records} records, and keep the old file as {set_aside}"
            ),
            Self::Checkpoints {
                file,
                kept,
                lost_changes,
                set_aside,
                ..
            } => write!(
                f,
                "write the checkpoints anew, {kept} of them without {lost_changes} changes that \
                 cannot be read, and keep {file} as {set_aside}"
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(number: u64) -> EventId {
        EventId::new(number).unwrap()
    }

    fn lost(first: u64, last: u64, tags_are_known: bool) -> LostEvents {
        LostEvents {
            first_id: id(first),
            last_id: id(last),
            tags_are_known,
            what: "gone".to_owned(),
        }
    }

    #[test]
    fn each_act_says_in_words_what_will_be_done_and_to_which_file() {
        let file = "a.seg".to_owned();
        let set_aside = "a.seg.1.damaged".to_owned();
        let acts = [
            RepairAct::Record {
                file: file.clone(),
                lost: Vec::new(),
            },
            RepairAct::Record {
                file: file.clone(),
                lost: vec![lost(1, 1, true)],
            },
            RepairAct::Close {
                file: file.clone(),
                lost: vec![lost(2, 4, false)],
                rewritten_len: 0,
                next_id: id(7),
            },
            RepairAct::Rebuild {
                file: file.clone(),
                records: 3,
                set_aside: set_aside.clone(),
            },
            RepairAct::Checkpoints {
                file: file.clone(),
                damage: Damage {
                    file,
                    offset: 0,
                    first_id: None,
                    last_id: None,
                    what: "damaged".to_owned(),
                },
                kept: 2,
                lost_changes: 1,
                set_aside,
            },
        ];
        let told = acts.each_ref().map(ToString::to_string);
        let want = [
            "record that a.seg is damaged and has lost no event",
            "record what a.seg has lost",
            "close a.seg as it is, and go on with event 7 in a new segment",
            "write a.seg anew from its 3 records, and keep the old file as a.seg.1.damaged",
            "write the checkpoints anew, 2 of them without 1 changes that cannot be read, and keep \
             a.seg as a.seg.1.damaged",
        ];
        assert_eq!(told, want);
        assert!(acts.iter().all(|act| act.file() == "a.seg"));
        let plan = RepairPlan {
            acts: acts.into(),
            ..RepairPlan::default()
        };
        let lost: Vec<String> = plan.lost().map(ToString::to_string).collect();
        let want = [
            "event 1: gone; their tags are known",
            "events 2 to 4: gone; their tags are not known",
        ];
        assert_eq!(lost, want);
    }
}
