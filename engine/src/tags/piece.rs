//! The memory of one segment, as readers and the writer share it.

use std::sync::OnceLock;

use parking_lot::{RwLock, RwLockReadGuard};

use super::memory::{MemoryIds, MemoryTag, MemoryTags, OutOfOrder};
use super::posting::{Posting, Window};
use super::{Direction, TagEnd};

/// How many ids a reader copies, and how many tags it looks at, before it lets go of the lock:
/// some microseconds, for which the writer can wait.
const COPY_MAX: usize = 256;
const LOOK_MAX: usize = 4096;

/// The tags of one segment: of the active one, which the writer adds to, or of a sealed one.
///
/// Sealing changes nothing here; it only means that nobody adds any more.
#[derive(Debug)]
pub(crate) struct Piece {
    tags: RwLock<MemoryTags>,
    /// The indexes of all tags in byte order, once somebody asked for them after sealing.
    order: OnceLock<Vec<u32>>,
}

impl Piece {
    pub(crate) fn new(tags: MemoryTags) -> Self {
        Self {
            tags: RwLock::new(tags),
            order: OnceLock::new(),
        }
    }

    /// For as long as the caller holds this, the writer waits; only sealed pieces are held long.
    pub(crate) fn read(&self) -> RwLockReadGuard<'_, MemoryTags> {
        self.tags.read()
    }

    /// Adds all of `pushes`, (tag, hash, id, rank) each, under one lock.
    pub(crate) fn insert_all<'a>(
        &self,
        pushes: impl Iterator<Item = (&'a [u8], u64, u64, u64)>,
    ) -> Result<(), OutOfOrder> {
        let mut tags = self.tags.write();
        for (tag, hash, id, rank) in pushes {
            tags.insert(tag, hash, id, rank)?;
        }
        Ok(())
    }

    /// The indexes of all tags in byte order. The piece must be sealed.
    pub(crate) fn order(&self) -> &[u32] {
        self.order.get_or_init(|| self.tags.read().sorted())
    }

    /// The last id of `tag` below `end`.
    pub(crate) fn end_of(&self, tag: &[u8], hash: u64, end: u64) -> Option<TagEnd> {
        let tags = self.tags.read();
        let at = tags.find(tag, hash)?;
        Some(tags.get(at)?.ids.below(end)?.end())
    }

    /// Where the ids of `tag` below `end` are.
    pub(crate) fn posting(
        self: &std::sync::Arc<Self>,
        tag: &[u8],
        hash: u64,
        end: u64,
    ) -> Option<Posting> {
        let tags = self.tags.read();
        let at = tags.find(tag, hash)?;
        let ids = tags.get(at)?.ids.below(end)?;
        Some(Posting::in_memory(self, at, ids))
    }

    /// Copies ids of the tag with index `at` around the place that `from` finds in them.
    pub(crate) fn copy(
        &self,
        at: u32,
        direction: Direction,
        from: impl FnOnce(MemoryIds<'_>) -> usize,
        window: &mut Window,
    ) {
        let tags = self.tags.read();
        let Some(MemoryTag { ids, .. }) = tags.get(at) else {
            return window.clear();
        };
        let from = from(ids);
        let (start, end) = match direction {
            Direction::Forward => (from, from.saturating_add(COPY_MAX)),
            Direction::Backward => (from.saturating_sub(COPY_MAX), from),
        };
        window.fill(ids.first_rank() + start as u64, ids.range(start, end));
    }

    /// Calls `visit` with every tag that starts with `prefix` and has ids below `end`, in no
    /// particular order.
    ///
    /// For the active piece, whose order changes with every new tag. It goes through all its tags,
    /// letting the writer in between; tags that come meanwhile have no ids below `end`.
    pub(crate) fn visit(&self, prefix: &[u8], end: u64, mut visit: impl FnMut(&[u8], TagEnd)) {
        let mut at = 0_u32;
        loop {
            let tags = self.tags.read();
            for _ in 0..LOOK_MAX {
                let Some(MemoryTag { tag, ids, .. }) = tags.get(at) else {
                    return;
                };
                at += 1;
                if tag.starts_with(prefix)
                    && let Some(ids) = ids.below(end)
                {
                    visit(tag, ids.end());
                }
            }
        }
    }
}
