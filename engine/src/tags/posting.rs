//! The ids of one tag in one slot, wherever they are kept.

use std::sync::Arc;

use super::memory::MemoryIds;
use super::piece::Piece;
use super::run::{Entry, EntryIds, Run, Want};
use super::{Direction, TagError};

/// Where the ids of one tag in one slot are; at least one id.
#[derive(Debug)]
pub(crate) struct Posting {
    pub(crate) first_rank: u64,
    pub(crate) count: u64,
    pub(crate) first_id: u64,
    pub(crate) last_id: u64,
    source: Source,
}

#[derive(Debug)]
enum Source {
    /// In memory, under this index.
    Memory(Arc<Piece>, u32),
    /// All of them are here.
    Inline(Vec<u64>),
    /// In the run, in a tree with this root; the hash is the tag's.
    Tree(Arc<Run>, u64, u64),
}

/// Some neighbouring ids of a tag, ascending, copied out of where they are kept.
#[derive(Debug, Default)]
pub(crate) struct Window {
    pub(crate) first_rank: u64,
    pub(crate) ids: Vec<u64>,
}

impl Window {
    pub(crate) fn clear(&mut self) {
        self.ids.clear();
    }

    pub(crate) fn fill(&mut self, first_rank: u64, ids: impl Iterator<Item = u64>) {
        self.first_rank = first_rank;
        self.ids.clear();
        self.ids.extend(ids);
    }

    pub(crate) fn at_rank(&self, rank: u64) -> Option<u64> {
        let at = usize::try_from(rank.checked_sub(self.first_rank)?).ok()?;
        self.ids.get(at).copied()
    }
}

impl Posting {
    pub(crate) fn in_memory(piece: &Arc<Piece>, at: u32, ids: MemoryIds<'_>) -> Self {
        let end = ids.end();
        Self {
            first_rank: ids.first_rank(),
            count: ids.len() as u64,
            first_id: ids.range(0, 1).next().unwrap_or(end.last_id),
            last_id: end.last_id,
            source: Source::Memory(Arc::clone(piece), at),
        }
    }

    pub(crate) fn in_run(run: &Arc<Run>, entry: &Entry<'_>, hash: u64) -> Result<Self, TagError> {
        let source = match entry.ids {
            EntryIds::Inline(_) => {
                let mut window = Window::default();
                let loaded =
                    run.image()?
                        .load(entry, hash, Want::Rank(entry.first_rank), &mut window);
                loaded.map_err(|bad| run.damaged(bad))?;
                Source::Inline(window.ids)
            }
            EntryIds::Tree(root) => Source::Tree(Arc::clone(run), root, hash),
        };
        Ok(Self {
            first_rank: entry.first_rank,
            count: entry.count,
            first_id: entry.first_id,
            last_id: entry.last_id,
            source,
        })
    }

    pub(crate) fn has_rank(&self, rank: u64) -> bool {
        rank.checked_sub(self.first_rank)
            .is_some_and(|index| index < self.count)
    }

    /// Fills `window` with ids among which is the one nearest to `id`: the first at or above it
    /// (ascending), the last at or below it (descending). There must be such an id.
    ///
    /// The window goes on from there in `direction`; before that place it may hold ids or not.
    pub(crate) fn load_near(
        &self,
        id: u64,
        direction: Direction,
        window: &mut Window,
    ) -> Result<(), TagError> {
        match &self.source {
            Source::Memory(piece, at) => {
                let below = match direction {
                    Direction::Forward => id,
                    Direction::Backward => id.saturating_add(1),
                };
                piece.copy(*at, direction, |ids| ids.count_below(below), window);
                Ok(())
            }
            Source::Inline(ids) => {
                window.fill(self.first_rank, ids.iter().copied());
                Ok(())
            }
            Source::Tree(run, root, hash) => {
                let want = match direction {
                    Direction::Forward => Want::From(id),
                    // The id after the one we look for is in the same leaf, or begins the next one.
                    Direction::Backward if id < self.last_id => Want::From(id + 1),
                    Direction::Backward => Want::Rank(self.first_rank + self.count - 1),
                };
                self.load_leaf(run, *root, *hash, want, window)?;
                let is_next_leaf = direction == Direction::Backward
                    && window.ids.first().is_some_and(|&first| first > id);
                if is_next_leaf && let Some(rank) = window.first_rank.checked_sub(1) {
                    self.load_leaf(run, *root, *hash, Want::Rank(rank), window)?;
                }
                Ok(())
            }
        }
    }

    /// Fills `window` with ids among which is the one with this rank, which must be one of ours.
    pub(crate) fn load_rank(&self, rank: u64, window: &mut Window) -> Result<(), TagError> {
        match &self.source {
            Source::Memory(piece, at) => {
                let index = usize::try_from(rank.saturating_sub(self.first_rank));
                let index = index.unwrap_or(usize::MAX);
                piece.copy(*at, Direction::Forward, |_| index, window);
                Ok(())
            }
            Source::Inline(ids) => {
                window.fill(self.first_rank, ids.iter().copied());
                Ok(())
            }
            Source::Tree(run, root, hash) => {
                self.load_leaf(run, *root, *hash, Want::Rank(rank), window)
            }
        }
    }

    fn load_leaf(
        &self,
        run: &Run,
        root: u64,
        hash: u64,
        want: Want,
        window: &mut Window,
    ) -> Result<(), TagError> {
        let entry = Entry {
            first_rank: self.first_rank,
            count: self.count,
            first_id: self.first_id,
            last_id: self.last_id,
            ids: EntryIds::Tree(root),
        };
        let loaded = run.image()?.load(&entry, hash, want, window);
        loaded.map_err(|bad| run.damaged(bad))
    }
}
