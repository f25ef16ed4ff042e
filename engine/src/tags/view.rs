//! What a reader sees of the index.

use std::sync::Arc;

use super::posting::{Posting, Window};
use super::slots::{Slot, Slots};
use super::{Direction, Query, QueryIds, TagEnd, TagError, TagIds, list, tag_hash};

/// The index of the ids from `first` up to, and without, `end`, as if nothing else existed.
///
/// It stays what it is while the index moves on: pieces that are flushed, merged or removed
/// meanwhile live as long as a view of them.
#[derive(Clone, Debug)]
pub struct TagView {
    slots: Arc<Slots>,
    first: u64,
    end: u64,
}

impl TagView {
    pub(crate) fn new(slots: Arc<Slots>, first: u64, end: u64) -> Self {
        let first = first.max(slots.first);
        Self { slots, first, end }
    }

    /// Where `tag` stands; `None` if none of the view's events carries it.
    ///
    /// # Errors
    ///
    /// See [`TagError`].
    pub fn end_of(&self, tag: &[u8]) -> Result<Option<TagEnd>, TagError> {
        self.slots.end_of(tag, tag_hash(tag), self.first, self.end)
    }

    /// The ids that carry `tag`: from `from` up, or from `from` down, `from` included.
    #[must_use]
    pub fn ids(&self, tag: &[u8], direction: Direction, from: u64) -> TagIds {
        TagIds::new(self.clone(), tag, tag_hash(tag), direction, from)
    }

    /// The id of the `rank`-th event (from 0) that carries `tag`; `None` if it is not in the view.
    ///
    /// # Errors
    ///
    /// See [`TagError`].
    pub fn id_at_rank(&self, tag: &[u8], rank: u64) -> Result<Option<u64>, TagError> {
        let Some(posting) = self.posting_of_rank(tag, rank)? else {
            return Ok(None);
        };
        let mut window = Window::default();
        posting.load_rank(rank, &mut window)?;
        Ok(window.at_rank(rank).filter(|&id| self.contains(id)))
    }

    /// The ids that carry `tag` from the `rank`-th one on; none if that one is not in the view.
    ///
    /// # Errors
    ///
    /// See [`TagError`].
    pub fn ids_from_rank(
        &self,
        tag: &[u8],
        rank: u64,
        direction: Direction,
    ) -> Result<Option<TagIds>, TagError> {
        let from = self.id_at_rank(tag, rank)?;
        Ok(from.map(|from| self.ids(tag, direction, from)))
    }

    /// Up to `limit` tags that start with `prefix` and come after `after`, in byte order, each with
    /// where it stands.
    ///
    /// The cost grows with the number of tags in the active segment, besides `limit`.
    ///
    /// # Errors
    ///
    /// See [`TagError`].
    pub fn list(
        &self,
        prefix: &[u8],
        after: Option<&[u8]>,
        limit: usize,
    ) -> Result<Vec<(Vec<u8>, TagEnd)>, TagError> {
        list::list(self, prefix, after, limit)
    }

    /// The ids that match `query`: from `from` up, or from `from` down, `from` included.
    #[must_use]
    pub fn query(&self, query: &Query, direction: Direction, from: u64) -> QueryIds {
        QueryIds::new(self, query, direction, from)
    }

    /// The first id that can be seen.
    #[must_use]
    pub fn first(&self) -> u64 {
        self.first
    }

    /// The id after the last one that can be seen.
    #[must_use]
    pub fn end(&self) -> u64 {
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
            Direction::Ascending => id.max(self.first),
            Direction::Descending => id.min(self.end.checked_sub(1)?),
        };
        self.contains(clamped).then_some(clamped)
    }

    /// The id that follows `id` in `direction`.
    pub(crate) fn after(&self, direction: Direction, id: u64) -> Option<u64> {
        let after = match direction {
            Direction::Ascending => id.checked_add(1)?,
            Direction::Descending => id.checked_sub(1)?,
        };
        self.clamp(direction, after).filter(|&it| it == after)
    }

    /// The piece of the tag's ids that holds this rank.
    fn posting_of_rank(&self, tag: &[u8], rank: u64) -> Result<Option<Posting>, TagError> {
        let hash = tag_hash(tag);
        let slots = self.slots();
        let mut missing = None;
        let mut newest = None;
        for (at, slot) in slots.iter().enumerate().rev() {
            if slot.is_missing() {
                missing = missing.or(Some(slot.span));
                continue;
            }
            if let Some(posting) = slot.posting(tag, hash, self.end)? {
                newest = Some((at, posting));
                break;
            }
        }
        // Ids below the first one may be those of an earlier life of the tag, with the same ranks.
        let newest = newest.filter(|(_, posting)| posting.last_id >= self.first);
        if let Some((at, posting)) = newest {
            if posting.has_rank(rank) {
                return Ok(Some(posting));
            }
            if rank < posting.first_rank {
                // Now from the other end: runs grow with age, so the oldest hold most of the ids.
                missing = None;
                for slot in slots.iter().take(at) {
                    if slot.is_missing() {
                        missing = missing.or(Some(slot.span));
                        continue;
                    }
                    if let Some(posting) = slot.posting(tag, hash, self.end)?
                        && posting.last_id >= self.first
                        && posting.has_rank(rank)
                    {
                        return Ok(Some(posting));
                    }
                }
            }
        }
        match missing {
            Some(span) => Err(TagError::Missing { span }),
            None => Ok(None),
        }
    }
}
