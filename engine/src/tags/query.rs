//! Which events carry the right tags.

use super::{Direction, TagError, TagIds, TagView};

/// A question by tags: an event matches if each group has a tag that the event carries.
///
/// Without groups every event matches. A group without tags matches none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Query {
    /// The groups, each a list of tags.
    pub all: Vec<Vec<Vec<u8>>>,
}

/// Hands out the ids that match a [`Query`], in one direction.
///
/// Each group leaps to where the others are, so the cost follows the most selective group, not the
/// number of events, nor that of ids which carry a common tag.
#[derive(Debug)]
pub(crate) struct QueryIds {
    view: TagView,
    direction: Direction,
    groups: Vec<Group>,
    /// The next id to look at; `None` at the end.
    from: Option<u64>,
}

/// Tags of which an event must carry one.
#[derive(Debug)]
struct Group {
    tags: Vec<TagIds>,
}

impl QueryIds {
    pub(crate) fn new(view: &TagView, query: &Query, direction: Direction, from: u64) -> Self {
        let groups = query.all.iter().map(|tags| Group {
            tags: tags
                .iter()
                .map(|tag| view.ids(tag, direction, from))
                .collect(),
        });
        Self {
            view: view.clone(),
            direction,
            groups: groups.collect(),
            from: view.clamp(direction, from),
        }
    }

    /// The next id that matches, or `None` after the last one.
    ///
    /// # Errors
    ///
    /// The ids handed out so far are right; see [`TagError`].
    pub(crate) fn next_id(&mut self) -> Result<Option<u64>, TagError> {
        let Some(mut candidate) = self.from else {
            return Ok(None);
        };
        // Each group in turn says where it could go on, until all of them name the same id.
        let mut agreed = 0;
        while agreed < self.groups.len() {
            agreed = 0;
            for group in &mut self.groups {
                let Some(next) = group.seek(self.direction, candidate)? else {
                    self.from = None;
                    return Ok(None);
                };
                if next == candidate {
                    agreed += 1;
                } else {
                    candidate = next;
                    agreed = 1;
                }
            }
        }
        self.from = self.view.after(self.direction, candidate);
        Ok(Some(candidate))
    }
}

impl Group {
    /// The first id at or after `to` that carries one of the tags.
    fn seek(&mut self, direction: Direction, to: u64) -> Result<Option<u64>, TagError> {
        let mut nearest: Option<u64> = None;
        for tag in &mut self.tags {
            let Some(id) = tag.seek(to)? else { continue };
            nearest = Some(match (nearest, direction) {
                (None, _) => id,
                (Some(nearest), Direction::Forward) => nearest.min(id),
                (Some(nearest), Direction::Backward) => nearest.max(id),
            });
            if nearest == Some(to) {
                break;
            }
        }
        Ok(nearest)
    }
}
