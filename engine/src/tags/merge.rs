//! Merging runs, and writing one from memory.

use std::io;
use std::sync::Arc;

use super::memory::MemoryTags;
use super::posting::Window;
use super::run::{Entry, Run, RunWriter, TagScan, Want};
use super::slots::Slot;
use super::{TagError, tag_hash};

/// How many neighbouring runs of one level become one of the next.
///
/// More would mean fewer merges and more runs to ask for a new tag: with 4 a log of a thousand
/// segments has at most 15 runs, and each tag is written five times.
pub(crate) const FAN_OUT: usize = 4;

/// The neighbouring runs that are to be merged next, and their level.
pub(crate) fn due(slots: &[Slot]) -> Option<(&[Slot], u8)> {
    let level = |slot: &Slot| slot.run().map(|run| run.name.level);
    let windows = slots.windows(FAN_OUT);
    let due = windows.filter_map(|window| {
        let (first, rest) = window.split_first()?;
        let common = level(first).filter(|&level| level < u8::MAX)?;
        let same = rest.iter().all(|slot| level(slot) == Some(common));
        same.then_some((window, common))
    });
    // Low levels first: their merges are short, and shorten every lookup as much as a long one.
    due.min_by_key(|&(_, level)| level)
}

/// Writes all of `tags`, whose indexes in byte order are `order`.
pub(crate) fn write_memory(
    tags: &MemoryTags,
    order: &[u32],
    writer: &mut RunWriter,
) -> io::Result<()> {
    for &at in order {
        let Some(it) = tags.get(at) else { continue };
        writer.tag(it.tag, it.hash, it.ids.first_rank())?;
        for id in it.ids.iter() {
            writer.id(id)?;
        }
    }
    Ok(())
}

/// Writes the tags of all `runs`, which are neighbours in id order, without the ids below `first`.
pub(crate) fn merge(runs: &[Arc<Run>], first: u64, writer: &mut RunWriter) -> Result<(), TagError> {
    let mut inputs = Vec::with_capacity(runs.len());
    for run in runs {
        let mut input = Input {
            run,
            scan: TagScan::new(run.image()?),
        };
        input.next()?;
        inputs.push(input);
    }
    let mut tag = Vec::new();
    let mut window = Window::default();
    loop {
        let open = inputs.iter().filter(|it| it.scan.entry().is_some());
        let Some(lowest) = open.map(|it| it.scan.tag()).min() else {
            return Ok(());
        };
        tag.clear();
        tag.extend_from_slice(lowest);
        let hash = tag_hash(&tag);
        let mut next_rank = None;
        for input in &mut inputs {
            let Some(entry) = input.scan.entry() else {
                continue;
            };
            if input.scan.tag() != tag {
                continue;
            }
            if entry.last_id >= first {
                let rank = input.first_rank(&entry, hash, first, &mut window)?;
                match next_rank {
                    None => writer.tag(&tag, hash, rank)?,
                    Some(expected) if expected == rank => {}
                    Some(expected) => {
                        return Err(TagError::RankGap {
                            span: input.run.name.span,
                            found: rank,
                            expected,
                        });
                    }
                }
                input.copy_ids(&entry, hash, rank, &mut window, writer)?;
                next_rank = Some(entry.end().count);
            }
            input.next()?;
        }
    }
}

/// One of the runs that are being merged.
struct Input<'a> {
    run: &'a Run,
    scan: TagScan<'a>,
}

impl Input<'_> {
    fn next(&mut self) -> Result<(), TagError> {
        let next = self.scan.next();
        next.map(|_| ()).map_err(|bad| self.run.damaged(bad))
    }

    /// The rank of the tag's first id at or above `first`, which there is.
    fn first_rank(
        &self,
        entry: &Entry<'_>,
        hash: u64,
        first: u64,
        window: &mut Window,
    ) -> Result<u64, TagError> {
        if entry.first_id >= first {
            return Ok(entry.first_rank);
        }
        let loaded = self
            .run
            .image()?
            .load(entry, hash, Want::From(first), window);
        loaded.map_err(|bad| self.run.damaged(bad))?;
        let expired = window.ids.partition_point(|&id| id < first);
        Ok(window.first_rank + expired as u64)
    }

    /// Writes the ids of the tag from the one with this rank on.
    fn copy_ids(
        &self,
        entry: &Entry<'_>,
        hash: u64,
        rank: u64,
        window: &mut Window,
        writer: &mut RunWriter,
    ) -> Result<(), TagError> {
        if entry.count == 1 {
            return Ok(writer.id(entry.first_id)?);
        }
        let image = self.run.image()?;
        let mut rank = rank;
        let mut last = 0;
        while rank < entry.end().count {
            let loaded = image.load(entry, hash, Want::Rank(rank), window);
            loaded.map_err(|bad| self.run.damaged(bad))?;
            let skipped = usize::try_from(rank - window.first_rank).unwrap_or(usize::MAX);
            let ids = window.ids.get(skipped..).unwrap_or_default();
            // Within a window ids ascend; from one to the next only these two lines say so.
            let follows = ids.first().is_some_and(|&first| last < first);
            if !follows || ids.last() > Some(&entry.last_id) {
                return Err(self.run.damaged(super::run::OUT_OF_ORDER));
            }
            for &id in ids {
                last = id;
                writer.id(id)?;
            }
            rank += ids.len() as u64;
        }
        Ok(())
    }
}
