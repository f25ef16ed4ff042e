//! The ids of one tag, one after another.

use super::posting::{Posting, Window};
use super::{Direction, TagError, TagView};

/// Hands out the ids of one tag in one direction, and can leap ahead.
///
/// It looks up the tag once in each slot it comes to, and copies the ids in portions of a few
/// hundred, so it holds no lock between two calls.
#[derive(Debug)]
pub(crate) struct TagIds {
    view: TagView,
    tag: Box<[u8]>,
    hash: u64,
    direction: Direction,
    /// Nothing before this id (in our direction) is wanted any more; `None` at the end.
    from: Option<u64>,
    /// The ids of the tag in the slot we are in.
    posting: Option<Posting>,
    window: Window,
    /// The window answers for every id from here (in our direction) to its last one.
    window_from: u64,
    /// The index in the window of the id handed out last, to begin the search at.
    at: usize,
}

impl TagIds {
    pub(crate) fn new(
        view: TagView,
        tag: &[u8],
        hash: u64,
        direction: Direction,
        from: u64,
    ) -> Self {
        let mut ids = Self {
            view,
            tag: tag.into(),
            hash,
            direction,
            from: None,
            posting: None,
            window: Window::default(),
            window_from: 0,
            at: 0,
        };
        ids.from = ids.view.clamp(direction, from);
        ids
    }

    /// The next id, or `None` after the last one.
    ///
    /// # Errors
    ///
    /// The ids handed out so far are right; after a [`TagError::Missing`] that was made good, a new
    /// view goes on from there.
    #[cfg(test)]
    pub(crate) fn next_id(&mut self) -> Result<Option<u64>, TagError> {
        let Some(from) = self.from else {
            return Ok(None);
        };
        let found = self.seek(from)?;
        self.from = found.and_then(|id| self.view.after(self.direction, id));
        Ok(found)
    }

    /// Leaps to the first id at or after `to`, in our direction, and returns it without passing it:
    /// the next call starts there again. Never goes back.
    ///
    /// # Errors
    ///
    /// As [`next_id`](Self::next_id).
    pub(crate) fn seek(&mut self, to: u64) -> Result<Option<u64>, TagError> {
        let Some(from) = self.from else {
            return Ok(None);
        };
        let mut to = match self.direction {
            Direction::Forward => to.max(from),
            Direction::Backward => to.min(from),
        };
        loop {
            if let Some(id) = self.in_window(to) {
                self.from = self.view.clamp(self.direction, id);
                // Outside of the view there is nothing; a run may hold ids beyond either end.
                return Ok(self.from.filter(|&clamped| clamped == id));
            }
            match self.load(to)? {
                Loaded::Window => {}
                Loaded::NothingUpTo(next) => match next {
                    Some(next) => to = next,
                    None => {
                        self.from = None;
                        return Ok(None);
                    }
                },
            }
        }
    }

    /// The first id at or after `to` if the window knows it.
    fn in_window(&mut self, to: u64) -> Option<u64> {
        let ids = self.window.ids.as_slice();
        match self.direction {
            Direction::Forward => {
                if to < self.window_from || ids.last().is_none_or(|&last| last < to) {
                    return None;
                }
                // Mostly it is one of the next few.
                let ahead = ids.get(self.at..)?;
                let steps = ahead.iter().take(4).position(|&id| id >= to);
                self.at += steps.unwrap_or_else(|| ahead.partition_point(|&id| id < to));
            }
            Direction::Backward => {
                if to > self.window_from || ids.first().is_none_or(|&first| first > to) {
                    return None;
                }
                let ahead = ids.get(..=self.at)?;
                let steps = ahead.iter().rev().take(4).position(|&id| id <= to);
                self.at = match steps {
                    Some(steps) => self.at - steps,
                    None => ahead.partition_point(|&id| id <= to).checked_sub(1)?,
                };
            }
        }
        ids.get(self.at).copied()
    }

    /// Fills the window from `to` on, or says up to where there is nothing.
    fn load(&mut self, to: u64) -> Result<Loaded, TagError> {
        let Some(slot) = self.view.slot_of(to) else {
            return Ok(Loaded::NothingUpTo(None));
        };
        let span = slot.span;
        if slot.is_lost() && self.view.shows_lost() {
            self.window.fill(0, std::iter::once(to));
            self.window_from = to;
            self.at = 0;
            return Ok(Loaded::Window);
        }
        let in_span = |id: u64| span.first <= id && id < span.end;
        if !self
            .posting
            .as_ref()
            .is_some_and(|posting| in_span(posting.first_id))
        {
            self.posting = slot.posting(&self.tag, self.hash, self.view.end())?;
        }
        let posting = self
            .posting
            .as_ref()
            .filter(|posting| match self.direction {
                Direction::Forward => posting.last_id >= to,
                Direction::Backward => posting.first_id <= to,
            });
        let Some(posting) = posting else {
            return Ok(Loaded::NothingUpTo(match self.direction {
                Direction::Forward => self.view.clamp(self.direction, span.end),
                Direction::Backward => span
                    .first
                    .checked_sub(1)
                    .and_then(|last| self.view.clamp(self.direction, last)),
            }));
        };
        posting.load_near(to, self.direction, &mut self.window)?;
        self.window_from = to;
        self.at = match self.direction {
            Direction::Forward => 0,
            Direction::Backward => self.window.ids.len().saturating_sub(1),
        };
        Ok(Loaded::Window)
    }
}

/// What [`TagIds::load`] found.
enum Loaded {
    /// The window has the id that was looked for.
    Window,
    /// Nothing before this id (in our direction), which is in the view; `None`: nothing at all.
    NothingUpTo(Option<u64>),
}
