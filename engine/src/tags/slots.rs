//! What covers the ids of the log at one moment.

use std::sync::Arc;

use super::piece::Piece;
use super::posting::{Posting, Window};
use super::run::Run;
use super::{Direction, Span, TagEnd, TagError};

/// How many runs ahead the blocks of their filters are loaded.
const TOUCH_AHEAD: usize = 16;

/// The slots of the index at one moment, in id order, without gaps. It never changes; each change
/// of the index makes a new one.
#[derive(Clone, Debug)]
pub(crate) struct Slots {
    /// The log's first id. Slots may begin below it: ids there have expired.
    pub(crate) first: u64,
    /// Never empty: the last one is the active piece, whose span ends with [`u64::MAX`].
    slots: Vec<Slot>,
}

/// Some neighbouring ids and what answers for them.
#[derive(Clone, Debug)]
pub(crate) struct Slot {
    pub(crate) span: Span,
    pub(crate) held: Held,
}

/// What answers for the ids of a slot.
#[derive(Clone, Debug)]
pub(crate) enum Held {
    /// A run file.
    Run(Arc<Run>),
    /// The memory of one segment.
    Memory(Arc<Piece>),
    /// Nothing, until it is rebuilt. Spans one segment, or what lies between the gaps of one.
    Missing,
    /// Nothing, for good: the events of these ids are lost, and what tags they had is not known.
    Lost,
}

impl Slots {
    pub(crate) fn new(first: u64, mut slots: Vec<Slot>, active: Arc<Piece>) -> Self {
        let active_first = active.read().first();
        slots.push(Slot {
            span: Span {
                first: active_first,
                end: u64::MAX,
            },
            held: Held::Memory(active),
        });
        Self { first, slots }
    }

    pub(crate) fn all(&self) -> &[Slot] {
        &self.slots
    }

    /// All but the active one.
    pub(crate) fn sealed(&self) -> &[Slot] {
        self.slots.split_last().map_or(&[], |(_, sealed)| sealed)
    }

    pub(crate) fn active(&self) -> &Arc<Piece> {
        match self.slots.last() {
            Some(Slot {
                held: Held::Memory(piece),
                ..
            }) => piece,
            _ => unreachable!("the last slot is the active piece, by construction"),
        }
    }

    /// The slots that hold ids of `first..end`.
    pub(crate) fn within(&self, first: u64, end: u64) -> &[Slot] {
        let from = self.slots.partition_point(|slot| slot.span.end <= first);
        let to = self.slots.partition_point(|slot| slot.span.first < end);
        self.slots.get(from..to).unwrap_or_default()
    }

    /// The last id of `tag` in `first..end`, and how many there have been up to there.
    pub(crate) fn end_of(
        &self,
        tag: &[u8],
        hash: u64,
        first: u64,
        end: u64,
    ) -> Result<Option<TagEnd>, TagError> {
        newest_end(self.within(first, end), tag, hash, first, end)
    }

    /// The same for all ids that have not expired, published or not.
    #[inline]
    pub(crate) fn latest_end(&self, tag: &[u8], hash: u64) -> Result<Option<TagEnd>, TagError> {
        // Most tags that come have come before, and not long ago.
        if let Some(end) = self.active().end_of(tag, hash, u64::MAX) {
            return Ok(Some(end));
        }
        newest_end(self.sealed(), tag, hash, self.first, u64::MAX)
    }
}

/// The last id of `tag` in `slots`, which hold ids of `first..end`, that lies in there, and how many
/// there have been up to it.
fn newest_end(
    slots: &[Slot],
    tag: &[u8],
    hash: u64,
    first: u64,
    end: u64,
) -> Result<Option<TagEnd>, TagError> {
    let mut touched = slots.len();
    // The newest piece that knows the tag has its end.
    for (at, slot) in slots.iter().enumerate().rev() {
        if at < touched && slot.run().is_some() {
            touched = at.saturating_sub(TOUCH_AHEAD);
            touch(slots.get(touched..=at).unwrap_or_default(), hash);
        }
        if let Some(found) = slot.end_of(tag, hash, end)? {
            return Ok((found.last_id >= first).then_some(found));
        }
    }
    Ok(None)
}

/// Loads the filter blocks that the tag has in these runs.
///
/// A block is one cache miss, and a new tag asks every run. One after the other they would be
/// waited for one by one; loads that do not depend on each other are waited for together.
fn touch(slots: &[Slot], hash: u64) {
    let runs = slots.iter().filter_map(Slot::run);
    let sum = runs.fold(0, |sum, run| sum ^ run.touch(hash));
    std::hint::black_box(sum);
}

impl Slot {
    /// The last id of `tag` below `end`, and how many there have been up to there.
    pub(crate) fn end_of(
        &self,
        tag: &[u8],
        hash: u64,
        end: u64,
    ) -> Result<Option<TagEnd>, TagError> {
        match &self.held {
            Held::Run(run) => {
                let Some(entry) = run.find(tag, hash)? else {
                    return Ok(None);
                };
                if entry.last_id < end {
                    return Ok(Some(entry.end()));
                }
                // The view ends inside the run.
                if entry.first_id >= end {
                    return Ok(None);
                }
                let posting = Posting::in_run(run, &entry, hash)?;
                let mut window = Window::default();
                posting.load_near(end - 1, Direction::Backward, &mut window)?;
                let seen = window.ids.partition_point(|&id| id < end);
                let last_id = seen.checked_sub(1).and_then(|at| window.ids.get(at));
                Ok(last_id.map(|&last_id| TagEnd {
                    count: window.first_rank + seen as u64,
                    last_id,
                }))
            }
            Held::Memory(piece) => Ok(piece.end_of(tag, hash, end)),
            // What is known of the tag says the same without them.
            Held::Lost => Ok(None),
            Held::Missing => Err(TagError::Missing { span: self.span }),
        }
    }

    /// Where the ids of `tag` are. Those from `end` on may be among them, except for the active
    /// piece.
    pub(crate) fn posting(
        &self,
        tag: &[u8],
        hash: u64,
        end: u64,
    ) -> Result<Option<Posting>, TagError> {
        match &self.held {
            Held::Run(run) => match run.find(tag, hash)? {
                Some(entry) => Posting::in_run(run, &entry, hash).map(Some),
                None => Ok(None),
            },
            Held::Memory(piece) => Ok(piece.posting(tag, hash, end)),
            Held::Lost => Ok(None),
            Held::Missing => Err(TagError::Missing { span: self.span }),
        }
    }

    pub(crate) fn run(&self) -> Option<&Arc<Run>> {
        match &self.held {
            Held::Run(run) => Some(run),
            Held::Memory(_) | Held::Missing | Held::Lost => None,
        }
    }

    /// Whether both are the same file, or the same memory.
    pub(crate) fn is(&self, other: &Self) -> bool {
        match (&self.held, &other.held) {
            (Held::Run(one), Held::Run(other)) => Arc::ptr_eq(one, other),
            (Held::Memory(one), Held::Memory(other)) => Arc::ptr_eq(one, other),
            _ => false,
        }
    }

    pub(crate) fn is_active(&self) -> bool {
        self.span.end == u64::MAX
    }

    pub(crate) fn is_missing(&self) -> bool {
        matches!(self.held, Held::Missing)
    }

    pub(crate) fn is_lost(&self) -> bool {
        matches!(self.held, Held::Lost)
    }
}
