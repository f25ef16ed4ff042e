//! The writer's side of the index.

use std::convert::Infallible;
use std::fmt;
use std::sync::Arc;

use hashbrown::HashTable;
use hashbrown::hash_table::Entry;

use super::memory::OutOfOrder;
use super::slots::Slots;
use super::{TAG_LEN_MAX, TagEnd, TagError, TagIndex};

/// Looks up and adds tags on the commit thread; there is one for each index.
///
/// What is pushed is pending at first: seen by this writer's own lookups, by nobody else, and gone
/// with a [`rollback`](Self::rollback). [`apply`](Self::apply) hands it to the readers, who see it
/// once the published end has passed it; so apply *before* publishing.
pub(crate) struct TagWriter {
    index: Arc<TagIndex>,
    /// The slots as of `generation`: asking the index for them each time would cost a lock.
    slots: Arc<Slots>,
    generation: u64,
    pending: Pending,
}

/// A moment among the pending pushes, to go back to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Mark {
    pushes: usize,
}

/// What was pushed and not applied. Keeps its memory from one batch to the next.
#[derive(Default)]
struct Pending {
    arena: Vec<u8>,
    pushes: Vec<Push>,
    /// The last push of each tag.
    table: HashTable<u32>,
}

#[derive(Clone, Copy)]
struct Push {
    hash: u64,
    id: u64,
    rank: u64,
    tag_start: usize,
    tag_len: usize,
    /// The push before this one with the same tag.
    before: Option<u32>,
}

impl TagWriter {
    /// The writer of `index`, until it is dropped.
    ///
    /// # Panics
    ///
    /// If the index has a writer already.
    #[must_use]
    pub(crate) fn new(index: Arc<TagIndex>) -> Self {
        assert!(index.take_writer(), "an index has one writer");
        let (generation, slots) = index.current();
        Self {
            index,
            slots,
            generation,
            pending: Pending::default(),
        }
    }

    /// Adds the event `id` to those that carry `tag`, and returns where the tag stood before: the
    /// event's rank is its count, or 0. One look at each table does both.
    ///
    /// A tag whose events have all expired counts as new: what a run may still know of it must not
    /// refuse a key for good.
    ///
    /// # Errors
    ///
    /// [`TagError::Missing`] also if the missing segment has nothing to do with the tag: that
    /// cannot be known. Nothing was pushed then.
    pub(crate) fn push_next(
        &mut self,
        tag: &[u8],
        hash: u64,
        id: u64,
    ) -> Result<Option<TagEnd>, TagError> {
        self.refresh();
        let slots = &self.slots;
        let mut end = None;
        self.pending.push_with(tag, hash, id, |before| {
            end = match before {
                Some(before) => Some(TagEnd {
                    count: before.rank + 1,
                    last_id: before.id,
                }),
                None => slots.latest_end(tag, hash)?,
            };
            Ok::<u64, TagError>(end.map_or(0, |end| end.count))
        })?;
        Ok(end)
    }

    /// Adds the event `id` to those that carry `tag`, as the `rank`-th one.
    ///
    /// An event carries a tag once: the same tag and id again is a mistake.
    pub(crate) fn push(&mut self, tag: &[u8], hash: u64, id: u64, rank: u64) {
        let pushed: Result<u64, Infallible> = self.pending.push_with(tag, hash, id, |_| Ok(rank));
        match pushed {
            Ok(_) => {}
        }
    }

    /// The place to which [`rollback`](Self::rollback) can return.
    #[must_use]
    pub(crate) fn mark(&self) -> Mark {
        Mark {
            pushes: self.pending.pushes.len(),
        }
    }

    /// Forgets everything pushed since `mark`, which must not be from before the last
    /// [`apply`](Self::apply).
    pub(crate) fn rollback(&mut self, mark: Mark) {
        self.pending.truncate(mark.pushes);
    }

    /// Moves everything pending into the active piece.
    ///
    /// # Panics
    ///
    /// If ids or ranks are not consecutive, or ids lie below the active segment: a mistake of the
    /// writer's, after which its index would answer wrongly.
    pub(crate) fn apply(&mut self) {
        self.adopt()
            .expect("the writer gives out ids and ranks in order");
    }

    /// [`apply`](Self::apply) for what was read and not given out: records may contradict each other
    /// although each is whole.
    ///
    /// # Errors
    ///
    /// [`OutOfOrder`]; the index is of no use then.
    pub(crate) fn adopt(&mut self) -> Result<(), OutOfOrder> {
        if self.pending.pushes.is_empty() {
            return Ok(());
        }
        self.refresh();
        let pending = &self.pending;
        let pushes = pending
            .pushes
            .iter()
            .map(|push| (push.tag(&pending.arena), push.hash, push.id, push.rank));
        self.slots.active().insert_all(pushes)?;
        self.pending.clear();
        Ok(())
    }

    fn refresh(&mut self) {
        if self.generation != self.index.generation() {
            (self.generation, self.slots) = self.index.current();
        }
    }
}

impl Drop for TagWriter {
    fn drop(&mut self) {
        self.index.give_writer_back();
    }
}

impl fmt::Debug for TagWriter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TagWriter")
            .field("pending", &self.pending.pushes.len())
            .finish_non_exhaustive()
    }
}

impl Push {
    fn tag<'a>(&self, arena: &'a [u8]) -> &'a [u8] {
        arena
            .get(self.tag_start..self.tag_start + self.tag_len)
            .unwrap_or_default()
    }
}

impl Pending {
    /// Adds a push whose rank `rank` gives, from the last push of the same tag if there is one.
    fn push_with<E>(
        &mut self,
        tag: &[u8],
        hash: u64,
        id: u64,
        rank: impl FnOnce(Option<&Push>) -> Result<u64, E>,
    ) -> Result<u64, E> {
        debug_assert!((1..=TAG_LEN_MAX).contains(&tag.len()), "callers check it");
        let at = u32::try_from(self.pushes.len()).expect("a batch is far smaller");
        let Self {
            arena,
            pushes,
            table,
        } = self;
        let found = table.entry(
            hash,
            |&at| {
                pushes
                    .get(at as usize)
                    .is_some_and(|push| push.hash == hash && push.tag(arena) == tag)
            },
            |&at| pushes.get(at as usize).map_or(0, |push| push.hash),
        );
        let mut push = Push {
            hash,
            id,
            rank: 0,
            tag_start: arena.len(),
            tag_len: tag.len(),
            before: None,
        };
        match found {
            Entry::Occupied(mut occupied) => {
                let before = *occupied.get();
                let last = pushes.get(before as usize);
                push.rank = rank(last)?;
                push.tag_start = last.map_or(0, |last| last.tag_start);
                push.before = Some(before);
                *occupied.get_mut() = at;
            }
            Entry::Vacant(vacant) => {
                push.rank = rank(None)?;
                vacant.insert(at);
                arena.extend_from_slice(tag);
            }
        }
        pushes.push(push);
        Ok(push.rank)
    }

    fn truncate(&mut self, len: usize) {
        while self.pushes.len() > len {
            let at = self.pushes.len() - 1;
            let Some(push) = self.pushes.pop() else {
                return;
            };
            // A tag has one index in the table, that of its last push, which is this one.
            let found = self.table.find_entry(push.hash, |&it| it as usize == at);
            if let Ok(mut found) = found {
                match push.before {
                    Some(before) => *found.get_mut() = before,
                    None => {
                        found.remove();
                        self.arena.truncate(push.tag_start);
                    }
                }
            }
        }
    }

    fn clear(&mut self) {
        self.arena.clear();
        self.pushes.clear();
        self.table.clear();
    }
}
