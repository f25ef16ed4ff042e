//! The tags with a prefix, in byte order, over all slots.

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::RwLockReadGuard;

use super::memory::MemoryTags;
use super::piece::Piece;
use super::run::{Run, TagScan};
use super::slots::{Held, Slot};
use super::{TagEnd, TagError, TagView, tag_hash};

/// See [`TagView::list`].
pub(crate) fn list(
    view: &TagView,
    prefix: &[u8],
    after: Option<&[u8]>,
    limit: usize,
) -> Result<Vec<(Vec<u8>, TagEnd)>, TagError> {
    // The first tag that can be listed; the smallest tag after another one is that with a zero.
    let from = match after {
        Some(after) if after >= prefix => [after, &[0]].concat(),
        _ => prefix.to_vec(),
    };
    let mut sources = Vec::new();
    for slot in view.slots() {
        sources.push(Source::new(slot, view, &from, prefix, limit)?);
    }
    let mut listed = Vec::new();
    let mut tag = Vec::new();
    while listed.len() < limit {
        let Some(lowest) = sources.iter().filter_map(Source::tag).min() else {
            break;
        };
        if !lowest.starts_with(prefix) {
            break;
        }
        tag.clear();
        tag.extend_from_slice(lowest);
        // The newest slot that sees the tag decides; all of them go on.
        let mut end = None;
        for source in sources.iter_mut().rev() {
            if source.tag() != Some(tag.as_slice()) {
                continue;
            }
            if end.is_none() {
                end = source.end(view.end())?;
            }
            source.next()?;
        }
        if let Some(end) = end.filter(|end| end.last_id >= view.first()) {
            listed.push((tag.clone(), end));
        }
    }
    Ok(listed)
}

/// The tags of one slot, in byte order.
enum Source<'a> {
    Run {
        slot: &'a Slot,
        run: &'a Run,
        scan: TagScan<'a>,
    },
    Frozen {
        tags: RwLockReadGuard<'a, MemoryTags>,
        order: std::slice::Iter<'a, u32>,
    },
    /// The active piece, whose tags have no order: the first ones of those that can be listed.
    Active(BTreeMap<Vec<u8>, TagEnd>),
    /// Events that are lost, tags and all.
    Lost,
}

impl<'a> Source<'a> {
    /// At the first tag that is not below `from`.
    fn new(
        slot: &'a Slot,
        view: &TagView,
        from: &[u8],
        prefix: &[u8],
        limit: usize,
    ) -> Result<Self, TagError> {
        match &slot.held {
            Held::Missing => Err(TagError::Missing { span: slot.span }),
            Held::Lost => Ok(Self::Lost),
            Held::Run(run) => {
                let scan = TagScan::at(run.image()?, from).map_err(|bad| run.damaged(bad))?;
                Ok(Self::Run { slot, run, scan })
            }
            Held::Memory(piece) if slot.is_active() => {
                Ok(Self::Active(first_tags(piece, view, from, prefix, limit)))
            }
            Held::Memory(piece) => {
                let order = piece.order();
                let tags = piece.read();
                let below = |&at: &u32| tags.get(at).is_some_and(|it| it.tag < from);
                let start = order.partition_point(below);
                Ok(Self::Frozen {
                    order: order.get(start..).unwrap_or_default().iter(),
                    tags,
                })
            }
        }
    }

    fn tag(&self) -> Option<&[u8]> {
        match self {
            Self::Run { scan, .. } => scan.entry().map(|_| scan.tag()),
            Self::Frozen { tags, order } => {
                let at = order.as_slice().first()?;
                tags.get(*at).map(|it| it.tag)
            }
            Self::Active(tags) => tags.first_key_value().map(|(tag, _)| tag.as_slice()),
            Self::Lost => None,
        }
    }

    /// Where the tag stands below `end`.
    fn end(&self, end: u64) -> Result<Option<TagEnd>, TagError> {
        match self {
            Self::Run { slot, scan, .. } => match scan.entry() {
                Some(entry) if entry.last_id < end => Ok(Some(entry.end())),
                Some(_) => slot.end_of(scan.tag(), tag_hash(scan.tag()), end),
                None => Ok(None),
            },
            Self::Frozen { tags, order } => {
                let at = order.as_slice().first();
                let it = at.and_then(|&at| tags.get(at));
                Ok(it.and_then(|it| it.ids.below(end)).map(|ids| ids.end()))
            }
            Self::Active(tags) => Ok(tags.first_key_value().map(|(_, &end)| end)),
            Self::Lost => Ok(None),
        }
    }

    fn next(&mut self) -> Result<(), TagError> {
        match self {
            Self::Run { run, scan, .. } => {
                scan.next().map_err(|bad| run.damaged(bad))?;
            }
            Self::Frozen { order, .. } => {
                order.next();
            }
            Self::Active(tags) => {
                tags.pop_first();
            }
            Self::Lost => {}
        }
        Ok(())
    }
}

/// The first `limit` tags from `from` on that start with `prefix` and have ids in the view.
fn first_tags(
    piece: &Arc<Piece>,
    view: &TagView,
    from: &[u8],
    prefix: &[u8],
    limit: usize,
) -> BTreeMap<Vec<u8>, TagEnd> {
    let mut first: BTreeMap<Vec<u8>, TagEnd> = BTreeMap::new();
    piece.visit(prefix, view.end(), |tag, end| {
        let full = first.len() >= limit;
        let is_behind = |(last, _): (&Vec<u8>, _)| last.as_slice() <= tag;
        if tag < from
            || end.last_id < view.first()
            || (full && first.last_key_value().is_none_or(is_behind))
        {
            return;
        }
        first.insert(tag.to_vec(), end);
        if full {
            first.pop_last();
        }
    });
    first
}
