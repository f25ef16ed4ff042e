//! The tag index: for a tag, how many events carry it, the last one, and their ids in order.
//!
//! It is the log's only secondary index. Streams, types, correlation ids and idempotency keys are
//! all tags, so conditions, stream reads, filters and idempotency are all questions to it.
//!
//! # The shape
//!
//! The ids of the log are covered without gaps by *slots*, in id order:
//!
//! ```text
//! | run, level 2      | run, level 1 | run 0 | run 0 | frozen | frozen | active ... |
//!   many segments       4 segments     1       1       1        1        the tail
//! ```
//!
//! - A **run** is an immutable, checked file (FORMAT.md, section 9). Four neighbours of one level are
//!   merged into one of the next, so a log of a million segments has some thirty.
//! - A **frozen** piece is the memory of a sealed segment, until it is written as a run.
//! - The **active** piece is the memory of the segment that is being written.
//! - A **lost** slot stands for events that are gone, tags and all (`losses.rs`).
//! - A **missing** slot is a sealed segment without either. Its pieces are rebuilt from its
//!   records, which is possible one segment at a time because a record stores the *rank* of each of
//!   its tags: how many earlier events carried the tag.
//!
//! # Promises
//!
//! - *No wrong answer.* A question that touches a missing slot, or bytes that fail their checksum,
//!   is answered with an error that says what to rebuild, never with "no such tag".
//! - *Nothing unpublished.* A [`TagView`] sees the ids below the end it was made with, in counts
//!   too.
//! - *Bounded memory.* Runs are mapped, not loaded; what counts is the active and the frozen pieces.
//! - *No waiting.* The writer's lookups and pushes never wait for a flush or a merge.
//!
//! This module knows nothing of records, segment files or the commit queue.

mod error;
mod hash;
mod ids;
mod index;
mod list;
mod memory;
mod merge;
mod piece;
mod plan;
mod pool;
mod posting;
mod query;
mod run;
mod slots;
mod view;
mod writer;

pub(crate) use error::{TagDamage, TagError};
pub(crate) use hash::tag_hash;
pub(crate) use ids::TagIds;
pub(crate) use index::TagIndex;
pub(crate) use memory::MemoryTags;
pub use query::Query;
pub(crate) use query::QueryIds;
pub(crate) use run::{check_run, repair_run, run_span};
pub(crate) use view::TagView;
pub(crate) use writer::TagWriter;

use crate::format::record::TAG_LEN_MAX;
use crate::position::Direction;

/// The highest id. Ids and counts up to here can be added without a thought of overflow.
pub(crate) const ID_MAX: u64 = u64::MAX >> 2;

/// Ids from `first` up to, and without, `end`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Span {
    /// The first id.
    pub first: u64,
    /// The id after the last one.
    pub end: u64,
}

impl Span {
    /// Whether no id lies in it.
    #[must_use]
    pub(crate) fn is_empty(self) -> bool {
        self.first >= self.end
    }

    /// Whether every id of `other` lies in it.
    fn covers(self, other: Self) -> bool {
        self.first <= other.first && other.end <= self.end
    }
}

/// Where a tag stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TagEnd {
    /// How many events have carried the tag, expired ones included: the rank of the next one.
    ///
    /// Once the last of them has expired the tag is forgotten, and counting starts at 0 again.
    pub count: u64,
    /// The last event that carries the tag.
    pub last_id: u64,
}

#[cfg(test)]
mod tests;
