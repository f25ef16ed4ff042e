//! The writer's side of the index.

use std::fmt;
use std::sync::Arc;

use hashbrown::HashTable;
use hashbrown::hash_table::Entry;

use super::slots::Slots;
use super::{TAG_LEN_MAX, TagEnd, TagError, TagIndex};

/// Looks up and adds tags on the commit thread; there is one for each index.
///
/// What is pushed is pending at first: seen by this writer's own lookups, by nobody else, and gone
/// with a [`rollback`](Self::rollback). [`apply`](Self::apply) hands it to the readers, who see it
/// once the published end has passed it; so apply *before* publishing.
pub struct TagWriter {
    index: Arc<TagIndex>,
    /// The slots as of `generation`: asking the index for them each time would cost a lock.
    slots: Arc<Slots>,
    generation: u64,
    pending: Pending,
}

/// A moment among the pending pushes, to go back to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mark {
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
    /// # Panics
    ///
    /// If the index has a writer already.
    #[must_use]
    pub fn new(index: Arc<TagIndex>) -> Self {
        assert!(index.take_writer(), "an index has one writer");
        let (generation, slots) = index.current();
        Self {
            index,
            slots,
            generation,
            pending: Pending::default(),
        }
    }

    /// Where `tag` stands, with everything pushed so far; `None` if no event carries it. The rank
    /// of the next event with the tag is the count, or 0.
    ///
    /// # Errors
    ///
    /// [`TagError::Missing`] also if the missing segment has nothing to do with the tag: that
    /// cannot be known.
    pub fn end_of(&mut self, tag: &[u8], hash: u64) -> Result<Option<TagEnd>, TagError> {
        if let Some(push) = self.pending.last(tag, hash) {
            return Ok(Some(TagEnd {
                count: push.rank + 1,
                last_id: push.id,
            }));
        }
        self.refresh();
        self.slots.end_of(tag, hash, self.slots.first, u64::MAX)
    }

    /// Adds the event `id` to those that carry `tag`, as the `rank`-th one.
    ///
    /// An event carries a tag once: the same tag and id again is a mistake.
    pub fn push(&mut self, tag: &[u8], hash: u64, id: u64, rank: u64) {
        debug_assert!((1..=TAG_LEN_MAX).contains(&tag.len()), "callers check it");
        self.pending.push(tag, hash, id, rank);
    }

    /// The place to which [`rollback`](Self::rollback) can return.
    #[must_use]
    pub fn mark(&self) -> Mark {
        Mark {
            pushes: self.pending.pushes.len(),
        }
    }

    /// Forgets everything pushed since `mark`, which must not be from before the last
    /// [`apply`](Self::apply).
    pub fn rollback(&mut self, mark: Mark) {
        self.pending.truncate(mark.pushes);
    }

    /// Moves everything pending into the active piece.
    ///
    /// # Panics
    ///
    /// If ids or ranks are not consecutive, or ids lie below the active segment: a mistake of the
    /// writer's, after which its index would answer wrongly.
    pub fn apply(&mut self) {
        if self.pending.pushes.is_empty() {
            return;
        }
        self.refresh();
        let pending = &self.pending;
        let pushes = pending
            .pushes
            .iter()
            .map(|push| (pending.tag(push), push.hash, push.id, push.rank));
        self.slots
            .active()
            .insert_all(pushes)
            .expect("the writer gives out ids and ranks in order");
        self.pending.clear();
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

impl Pending {
    fn tag(&self, push: &Push) -> &[u8] {
        self.arena
            .get(push.tag_start..push.tag_start + push.tag_len)
            .unwrap_or_default()
    }

    fn is(&self, at: u32, tag: &[u8], hash: u64) -> bool {
        self.pushes
            .get(at as usize)
            .is_some_and(|push| push.hash == hash && self.tag(push) == tag)
    }

    fn last(&self, tag: &[u8], hash: u64) -> Option<&Push> {
        let at = self.table.find(hash, |&at| self.is(at, tag, hash))?;
        self.pushes.get(*at as usize)
    }

    fn push(&mut self, tag: &[u8], hash: u64, id: u64, rank: u64) {
        let at = u32::try_from(self.pushes.len()).expect("a batch is far smaller");
        let Self {
            arena,
            pushes,
            table,
        } = self;
        let tag_of = |push: &Push| {
            arena
                .get(push.tag_start..push.tag_start + push.tag_len)
                .unwrap_or_default()
        };
        let found = table.entry(
            hash,
            |&at| {
                pushes
                    .get(at as usize)
                    .is_some_and(|push| push.hash == hash && tag_of(push) == tag)
            },
            |&at| pushes.get(at as usize).map_or(0, |push| push.hash),
        );
        let (tag_start, before) = match found {
            Entry::Occupied(mut occupied) => {
                let before = std::mem::replace(occupied.get_mut(), at);
                let start = pushes.get(before as usize).map_or(0, |push| push.tag_start);
                (start, Some(before))
            }
            Entry::Vacant(vacant) => {
                vacant.insert(at);
                (arena.len(), None)
            }
        };
        if before.is_none() {
            arena.extend_from_slice(tag);
        }
        pushes.push(Push {
            hash,
            id,
            rank,
            tag_start,
            tag_len: tag.len(),
            before,
        });
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
