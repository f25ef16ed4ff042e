//! The ids of one tag on their way into a run.

use std::io;

use super::ENTRY_IDS_LEN_MAX;
use super::entry::{Entry, EntryIds};
use super::image::owner;
use super::node::{CHILDREN_MAX, Child, LEAF_IDS_MAX, NODE_HEADER_LEN, Node};
use super::pages::Pages;
use crate::cursor::put_varint;

/// A leaf with less room than this begins a page of its own: the header would outweigh its ids.
const LEAF_LEN_MIN: usize = NODE_HEADER_LEN + 64;
/// The longest difference.
const DIFFERENCE_LEN_MAX: usize = 10;

/// Collects the ids of one tag after another: a few stay in the tag's entry, more become leaves and,
/// on top of these, inner nodes.
///
/// Memory is bounded whatever the number of ids: a leaf, and one inner node for each level.
#[derive(Debug, Default)]
pub(crate) struct ListBuilder {
    owner: u64,
    first_rank: u64,
    first_id: u64,
    last_id: u64,
    /// The next id's rank.
    next_rank: u64,
    /// The ids that are in no leaf yet.
    ids: Vec<u64>,
    /// The id before them, or a number below all ids of the run.
    before: u64,
    /// The nodes that have no parent yet, by height; each level but the last is shorter than an
    /// inner node can be.
    levels: Vec<Vec<Child>>,
    bytes: Vec<u8>,
}

impl ListBuilder {
    /// Begins with a tag of the run with this `key`, none of whose ids is `before` or less.
    pub(crate) fn begin(&mut self, key: u64, hash: u64, first_rank: u64, before: u64) {
        self.owner = owner(key, hash);
        self.first_rank = first_rank;
        self.next_rank = first_rank;
        self.first_id = before;
        self.last_id = before;
        self.before = before;
        self.ids.clear();
        self.levels.clear();
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.next_rank == self.first_rank
    }

    /// Adds the next id, which must be higher than all before.
    pub(crate) fn push(&mut self, id: u64, pages: &mut Pages) -> io::Result<()> {
        assert!(id > self.last_id, "the ids of a tag ascend");
        if self.is_empty() {
            self.first_id = id;
        }
        if self.ids.len() == LEAF_IDS_MAX {
            self.write_leaves(pages)?;
        }
        self.ids.push(id);
        self.last_id = id;
        self.next_rank += 1;
        Ok(())
    }

    /// The entry of the tag, which has an id at least.
    pub(crate) fn finish(&mut self, pages: &mut Pages) -> io::Result<Entry<'_>> {
        let is_inline = self.levels.is_empty() && self.encode_inline();
        let root = if is_inline {
            None
        } else {
            self.write_leaves(pages)?;
            Some(self.write_inner(pages)?)
        };
        Ok(Entry {
            first_rank: self.first_rank,
            count: self.next_rank - self.first_rank,
            first_id: self.first_id,
            last_id: self.last_id,
            ids: match root {
                Some(root) => EntryIds::Tree(root),
                None => EntryIds::Inline(&self.bytes),
            },
        })
    }

    /// Puts the differences between the first and the last id into `bytes`, if they are few.
    fn encode_inline(&mut self) -> bool {
        self.bytes.clear();
        let Some((_, ids)) = self.ids.split_last() else {
            return false;
        };
        if ids.len() > ENTRY_IDS_LEN_MAX + 1 {
            return false;
        }
        for (id, next) in ids.iter().zip(ids.iter().skip(1)) {
            put_varint(&mut self.bytes, next - id);
        }
        self.bytes.len() <= ENTRY_IDS_LEN_MAX
    }

    /// Writes all ids that are in no leaf yet, in one leaf or two.
    fn write_leaves(&mut self, pages: &mut Pages) -> io::Result<()> {
        let ids = std::mem::take(&mut self.ids);
        let mut rank = self.next_rank - ids.len() as u64;
        let mut rest = ids.iter().copied().peekable();
        while rest.peek().is_some() {
            let room = match pages.room() {
                room if room >= LEAF_LEN_MIN => room,
                _ => super::PAGE_LEN - super::PAGE_HEADER_LEN,
            };
            self.bytes.clear();
            let (mut last_id, mut count) = (self.before, 0);
            while NODE_HEADER_LEN + self.bytes.len() + DIFFERENCE_LEN_MAX <= room
                && let Some(id) = rest.next()
            {
                put_varint(&mut self.bytes, id - last_id);
                last_id = id;
                count += 1;
            }
            let node = Node {
                height: 0,
                owner: self.owner,
                first_rank: rank,
                count,
                before: self.before,
                last_id,
                content: &self.bytes,
            };
            let child = Child {
                first_rank: rank,
                before: self.before,
                offset: pages.add_node(&node.encode())?,
            };
            self.before = last_id;
            rank += count;
            self.add_child(child, rank, last_id, pages)?;
        }
        self.ids = ids;
        self.ids.clear();
        Ok(())
    }

    /// Notes a leaf that ends before `rank`, and writes the inner nodes that it fills.
    fn add_child(
        &mut self,
        child: Child,
        rank: u64,
        last_id: u64,
        pages: &mut Pages,
    ) -> io::Result<()> {
        let mut child = child;
        for height in 0.. {
            if self.levels.len() == height {
                self.levels.push(Vec::new());
            }
            let Some(level) = self.levels.get_mut(height) else {
                break;
            };
            level.push(child);
            if level.len() < CHILDREN_MAX {
                break;
            }
            child = write_inner_node(self.owner, level, height, rank, last_id, pages)?;
        }
        Ok(())
    }

    /// Writes the inner nodes that are not full, and returns where the root lies.
    fn write_inner(&mut self, pages: &mut Pages) -> io::Result<u64> {
        let top = self.levels.iter().rposition(|level| !level.is_empty());
        let mut below: Option<Child> = None;
        for (height, level) in self.levels.iter_mut().enumerate() {
            level.extend(below.take());
            match level.as_slice() {
                [] => {}
                [only] if top == Some(height) => return Ok(only.offset),
                _ => {
                    let (rank, last_id) = (self.next_rank, self.last_id);
                    let node = write_inner_node(self.owner, level, height, rank, last_id, pages)?;
                    if top == Some(height) {
                        return Ok(node.offset);
                    }
                    below = Some(node);
                }
            }
        }
        unreachable!("a list without ids has no nodes")
    }
}

/// Writes the node above all of `level`, whose last id is `last_id`, with the rank before `rank`;
/// leaves the level empty.
fn write_inner_node(
    owner: u64,
    level: &mut Vec<Child>,
    height: usize,
    rank: u64,
    last_id: u64,
    pages: &mut Pages,
) -> io::Result<Child> {
    let first = *level.first().expect("callers have a child");
    let mut content = Vec::with_capacity(level.len() * size_of::<Child>());
    level.iter().for_each(|child| child.encode(&mut content));
    level.clear();
    let node = Node {
        height: u8::try_from(height + 1).expect("64 to the power of 11 is all numbers"),
        owner,
        first_rank: first.first_rank,
        count: rank - first.first_rank,
        before: first.before,
        last_id,
        content: &content,
    };
    Ok(Child {
        offset: pages.add_node(&node.encode())?,
        ..first
    })
}
