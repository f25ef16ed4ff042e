//! What a reader sees of the index.

use std::ops::Range;
use std::sync::Arc;

use super::posting::{Posting, Window};
use super::slots::{Held, Slot, Slots};
use super::{Direction, Query, QueryIds, TagEnd, TagError, TagIds, list, tag_hash};

/// The index of the ids from `first` up to, and without, `end`, as if nothing else existed.
///
/// It stays what it is while the index moves on: pieces that are flushed, merged or removed
/// meanwhile live as long as a view of them.
#[derive(Clone, Debug)]
pub(crate) struct TagView {
    slots: Arc<Slots>,
    first: u64,
    end: u64,
    is_known_only: bool,
}

impl TagView {
    pub(crate) fn new(slots: Arc<Slots>, first: u64, end: u64) -> Self {
        let first = first.max(slots.first);
        Self {
            slots,
            first,
            end,
            is_known_only: false,
        }
    }

    /// The same without the events that are lost, tags and all. Otherwise each of them comes up
    /// wherever ids are asked for: it may have carried the tag, and a reader must not pass over it
    /// without a word.
    #[must_use]
    pub(crate) fn known_only(self) -> Self {
        Self {
            is_known_only: true,
            ..self
        }
    }

    /// Whether ids that are lost come up as if they carried every tag.
    pub(crate) fn shows_lost(&self) -> bool {
        !self.is_known_only
    }

    /// Where `tag` stands; `None` if none of the view's events carries it.
    ///
    /// # Errors
    ///
    /// See [`TagError`].
    pub(crate) fn end_of(&self, tag: &[u8]) -> Result<Option<TagEnd>, TagError> {
        self.slots.end_of(tag, tag_hash(tag), self.first, self.end)
    }

    /// The same as [`end_of`](Self::end_of) if memory alone can tell; else none.
    pub(crate) fn end_in_memory(&self, tag: &[u8]) -> Option<Option<TagEnd>> {
        let hash = tag_hash(tag);
        for slot in self.slots().iter().rev() {
            let piece = match &slot.held {
                Held::Memory(piece) => piece,
                Held::Lost => continue,
                Held::Run(_) | Held::Missing => return None,
            };
            if let Some(end) = piece.end_of(tag, hash, self.end) {
                return Some((end.last_id >= self.first).then_some(end));
            }
        }
        Some(None)
    }

    /// The ids that carry `tag`: from `from` up, or from `from` down, `from` included.
    #[must_use]
    pub(crate) fn ids(&self, tag: &[u8], direction: Direction, from: u64) -> TagIds {
        TagIds::new(self.clone(), tag, tag_hash(tag), direction, from)
    }

    /// The id of the `rank`-th event (from 0) that carries `tag`; `None` if it is not in the view. Of
    /// an event that is lost, tags and all, it is the first id that the event may have had.
    ///
    /// # Errors
    ///
    /// See [`TagError`].
    pub(crate) fn id_at_rank(&self, tag: &[u8], rank: u64) -> Result<Option<u64>, TagError> {
        let Some(posting) = self.posting_of_rank(tag, rank)? else {
            return self.lost_at_rank(tag, rank);
        };
        let mut window = Window::default();
        posting.load_rank(rank, &mut window)?;
        Ok(window.at_rank(rank).filter(|&id| self.contains(id)))
    }

    /// Up to `limit` tags that start with `prefix` and come after `after`, in byte order, each with
    /// where it stands.
    ///
    /// The cost grows with the number of tags in the active segment, besides `limit`.
    ///
    /// # Errors
    ///
    /// See [`TagError`].
    pub(crate) fn list(
        &self,
        prefix: &[u8],
        after: Option<&[u8]>,
        limit: usize,
    ) -> Result<Vec<(Vec<u8>, TagEnd)>, TagError> {
        list::list(self, prefix, after, limit)
    }

    /// The ids that match `query`: from `from` up, or from `from` down, `from` included.
    #[must_use]
    pub(crate) fn query(&self, query: &Query, direction: Direction, from: u64) -> QueryIds {
        QueryIds::new(self, query, direction, from)
    }

    /// The first id that can be seen.
    #[must_use]
    pub(crate) fn first(&self) -> u64 {
        self.first
    }

    /// The id after the last one that can be seen.
    #[must_use]
    pub(crate) fn end(&self) -> u64 {
        self.end
    }

    pub(crate) fn contains(&self, id: u64) -> bool {
        self.first <= id && id < self.end
    }

    /// The slots that the view looks at.
    pub(crate) fn slots(&self) -> &[Slot] {
        self.slots.within(self.first, self.end)
    }

    /// The slot of an id of the view.
    pub(crate) fn slot_of(&self, id: u64) -> Option<&Slot> {
        let slots = self.slots();
        let at = slots.partition_point(|slot| slot.span.end <= id);
        slots.get(at)
    }

    /// The id at or after `id`, in `direction`, that comes first in the view.
    pub(crate) fn clamp(&self, direction: Direction, id: u64) -> Option<u64> {
        let clamped = match direction {
            Direction::Forward => id.max(self.first),
            Direction::Backward => id.min(self.end.checked_sub(1)?),
        };
        self.contains(clamped).then_some(clamped)
    }

    /// The id that follows `id` in `direction`.
    pub(crate) fn after(&self, direction: Direction, id: u64) -> Option<u64> {
        let after = match direction {
            Direction::Forward => id.checked_add(1)?,
            Direction::Backward => id.checked_sub(1)?,
        };
        self.clamp(direction, after).filter(|&it| it == after)
    }

    /// The piece of the tag's ids that holds this rank.
    fn posting_of_rank(&self, tag: &[u8], rank: u64) -> Result<Option<Posting>, TagError> {
        let hash = tag_hash(tag);
        let slots = self.slots();
        let Some((at, newest)) = self.newest_posting(slots, tag, hash)? else {
            return Ok(None);
        };
        if newest.has_rank(rank) {
            return Ok(Some(newest));
        }
        if rank >= newest.first_rank {
            return Ok(None);
        }
        // Ranks ascend with the slots, but a slot without the tag does not say which way to go. So
        // guess, as if the tag's events came evenly, and go on from what is learnt there.
        let (mut low, mut high) = (0, at);
        let mut below = (self.first, 0);
        let mut above = (newest.first_id, newest.first_rank);
        while low < high {
            let guess = interpolate(below, above, rank);
            let at = slots.partition_point(|slot| slot.span.end <= guess);
            let at = at.clamp(low, high - 1);
            // The nearest slot that has the tag, first towards the older ones.
            let older = slots.get(low..=at).unwrap_or_default();
            let found = match self.newest_posting(older, tag, hash)? {
                Some((behind, posting)) => Some((low + behind, posting)),
                None => self.oldest_posting(slots, at + 1..high, tag, hash)?,
            };
            let Some((at, posting)) = found else {
                return Ok(None);
            };
            if posting.has_rank(rank) {
                return Ok(Some(posting));
            }
            if rank < posting.first_rank {
                high = at;
                above = (posting.first_id, posting.first_rank);
            } else {
                low = at + 1;
                below = (posting.last_id + 1, posting.first_rank + posting.count);
            }
        }
        Ok(None)
    }

    /// The first lost id of the gap in which the event of this rank lay, if there is one: events
    /// before it have lower ranks, and one behind it has a higher one.
    fn lost_at_rank(&self, tag: &[u8], rank: u64) -> Result<Option<u64>, TagError> {
        let hash = tag_hash(tag);
        let slots = self.slots();
        for (at, slot) in slots.iter().enumerate().filter(|(_, slot)| slot.is_lost()) {
            let (older, newer) = slots.split_at_checked(at).unwrap_or_default();
            let next = self.oldest_posting(newer, 0..newer.len(), tag, hash)?;
            if next.is_none_or(|(_, posting)| posting.first_rank <= rank) {
                continue;
            }
            let before = self.newest_posting(older, tag, hash)?;
            if before.is_none_or(|(_, posting)| posting.first_rank + posting.count <= rank) {
                return Ok(self.clamp(Direction::Forward, slot.span.first));
            }
        }
        Ok(None)
    }

    /// The last of `slots` that has the tag, and what it has. Ids below the view are as good as
    /// none: they may be of an earlier life of the tag, with the same ranks.
    fn newest_posting(
        &self,
        slots: &[Slot],
        tag: &[u8],
        hash: u64,
    ) -> Result<Option<(usize, Posting)>, TagError> {
        for (at, slot) in slots.iter().enumerate().rev() {
            if let Some(posting) = slot.posting(tag, hash, self.end)? {
                let seen = posting.last_id >= self.first;
                return Ok(seen.then_some((at, posting)));
            }
        }
        Ok(None)
    }

    /// The first of the slots with these indexes that has the tag, and what it has.
    fn oldest_posting(
        &self,
        slots: &[Slot],
        indexes: Range<usize>,
        tag: &[u8],
        hash: u64,
    ) -> Result<Option<(usize, Posting)>, TagError> {
        for at in indexes {
            if let Some(slot) = slots.get(at)
                && let Some(posting) = slot.posting(tag, hash, self.end)?
                && posting.last_id >= self.first
            {
                return Ok(Some((at, posting)));
            }
        }
        Ok(None)
    }
}

/// The id at which this rank lies on the straight line between two (id, rank).
fn interpolate(below: (u64, u64), above: (u64, u64), rank: u64) -> u64 {
    let ids = u128::from(above.0.saturating_sub(below.0));
    let ranks = u128::from(above.1.saturating_sub(below.1)).max(1);
    let step = ids * u128::from(rank.saturating_sub(below.1)) / ranks;
    u64::try_from(step).map_or(u64::MAX, |step| below.0.saturating_add(step))
}
