//! The tags of one segment, in memory.

use std::fmt;

use hashbrown::HashTable;
use hashbrown::hash_table::Entry as TableEntry;

use super::pool::{List, Pool};
use super::{ID_MAX, TAG_LEN_MAX, TagEnd};

/// The tags of one segment with the ids that carry them, ready for lookups and for being written
/// as a run.
///
/// A segment holds up to a million (tag, id) pairs, most of them tags with one id. So tag bytes lie
/// in one arena, ids are differences to the segment's first id, a single id lies in its entry, and
/// longer lists share one pool: about 45 bytes plus the tag for a tag with one id, and a handful of
/// allocations in all.
///
/// The tag bytes, the pairs and the differences must each stay below 2^32, which holds for every
/// segment shorter than 4 GiB.
pub(crate) struct MemoryTags {
    first: u64,
    arena: Vec<u8>,
    entries: Vec<Entry>,
    /// Indexes of `entries`, by the tag's hash.
    table: HashTable<u32>,
    pool: Pool,
}

/// One tag. The index of an entry never changes.
#[derive(Clone, Copy)]
struct Entry {
    hash: u64,
    first_rank: u64,
    tag_start: u32,
    count: u32,
    /// With a count of 1 the difference itself, else where the list lies in the pool.
    ids: u32,
    tag_len: u16,
    class: u8,
}

/// The id is not above the tag's last one, or the rank is not the next one, or no record can carry
/// such a tag.
///
/// From a writer that is a mistake of ours; from records it means that they contradict each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct OutOfOrder {
    /// The id.
    pub id: u64,
    /// Its rank.
    pub rank: u64,
}

impl fmt::Display for OutOfOrder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "a tag of event {} has rank {}, which does not follow its last one",
            self.id, self.rank
        )
    }
}

impl std::error::Error for OutOfOrder {}

/// One tag of a [`MemoryTags`].
#[derive(Clone, Copy)]
pub(crate) struct MemoryTag<'a> {
    pub(crate) tag: &'a [u8],
    pub(crate) hash: u64,
    pub(crate) ids: MemoryIds<'a>,
}

/// The ids of one tag in one segment, ascending; at least one.
#[derive(Clone, Copy)]
pub(crate) struct MemoryIds<'a> {
    base: u64,
    first_rank: u64,
    differences: &'a [u32],
}

impl MemoryTags {
    /// No tags yet, for the segment whose first id is `first`.
    #[must_use]
    pub(crate) fn new(first: u64) -> Self {
        Self {
            first,
            arena: Vec::new(),
            entries: Vec::new(),
            table: HashTable::new(),
            pool: Pool::new(),
        }
    }

    /// As [`new`](Self::new), with room for what `like` holds: the next segment is probably much
    /// like the last one, and growing a table of a million tags stalls the writer for milliseconds.
    pub(crate) fn like(first: u64, like: &Self) -> Self {
        Self {
            first,
            arena: Vec::with_capacity(like.arena.len()),
            entries: Vec::with_capacity(like.entries.len()),
            table: HashTable::with_capacity(like.entries.len()),
            pool: Pool::new(),
        }
    }

    /// Notes that the event `id` carries `tag`, as the `rank`-th event that does.
    ///
    /// # Errors
    ///
    /// [`OutOfOrder`], and then nothing has changed.
    ///
    /// # Panics
    ///
    /// If the segment outgrows the limits of this type.
    pub(crate) fn insert(
        &mut self,
        tag: &[u8],
        hash: u64,
        id: u64,
        rank: u64,
    ) -> Result<(), OutOfOrder> {
        let refused = OutOfOrder { id, rank };
        let difference = id
            .checked_sub(self.first)
            .and_then(|difference| u32::try_from(difference).ok())
            .ok_or(refused)?;
        // A rank counts events with lower ids. This also keeps every sum below from overflowing.
        if rank > id || id > ID_MAX || !(1..=TAG_LEN_MAX).contains(&tag.len()) {
            return Err(refused);
        }
        let Self {
            arena,
            entries,
            table,
            pool,
            ..
        } = self;
        let found = table.entry(
            hash,
            |&at| {
                entries
                    .get(at as usize)
                    .is_some_and(|entry| entry.hash == hash && entry.tag(arena) == tag)
            },
            |&at| entries.get(at as usize).map_or(0, |entry| entry.hash),
        );
        match found {
            TableEntry::Vacant(vacant) => {
                let below = "a segment is shorter than 4 GiB";
                let at = u32::try_from(entries.len()).expect(below);
                entries.push(Entry {
                    hash,
                    first_rank: rank,
                    tag_start: u32::try_from(arena.len()).expect(below),
                    count: 1,
                    ids: difference,
                    tag_len: u16::try_from(tag.len()).expect("callers check the tag's length"),
                    class: 0,
                });
                arena.extend_from_slice(tag);
                vacant.insert(at);
            }
            TableEntry::Occupied(occupied) => {
                let entry = entries.get_mut(*occupied.get() as usize).ok_or(refused)?;
                let last = entry.differences(pool).last().copied();
                if last.is_none_or(|last| difference <= last)
                    || entry.first_rank.checked_add(u64::from(entry.count)) != Some(rank)
                {
                    return Err(refused);
                }
                let list = if entry.count == 1 {
                    pool.pair(entry.ids, difference)
                } else {
                    pool.push(entry.list(), entry.count as usize, difference)
                };
                entry.ids = list.start;
                entry.class = list.class;
                entry.count += 1;
            }
        }
        Ok(())
    }

    /// Memory held, in bytes.
    #[must_use]
    pub(crate) fn memory_len(&self) -> usize {
        self.arena.capacity()
            + self.entries.capacity() * size_of::<Entry>()
            + self.table.allocation_size()
            + self.pool.memory_len()
    }

    /// The first id of the segment.
    pub(crate) fn first(&self) -> u64 {
        self.first
    }

    /// The index of `tag`, which never changes.
    pub(crate) fn find(&self, tag: &[u8], hash: u64) -> Option<u32> {
        self.table
            .find(hash, |&at| {
                self.entries
                    .get(at as usize)
                    .is_some_and(|entry| entry.hash == hash && entry.tag(&self.arena) == tag)
            })
            .copied()
    }

    /// The tag with index `at`; indexes are dense from 0, in the order in which tags came.
    pub(crate) fn get(&self, at: u32) -> Option<MemoryTag<'_>> {
        let entry = self.entries.get(at as usize)?;
        Some(MemoryTag {
            tag: entry.tag(&self.arena),
            hash: entry.hash,
            ids: MemoryIds {
                base: self.first,
                first_rank: entry.first_rank,
                differences: entry.differences(&self.pool),
            },
        })
    }

    /// The indexes of all tags, in byte order of the tags.
    pub(crate) fn sorted(&self) -> Vec<u32> {
        let mut tags: Vec<(&[u8], u32)> = (0..)
            .zip(&self.entries)
            .map(|(at, entry)| (entry.tag(&self.arena), at))
            .collect();
        tags.sort_unstable();
        tags.into_iter().map(|(_, at)| at).collect()
    }
}

impl fmt::Debug for MemoryTags {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryTags")
            .field("first", &self.first)
            .field("tags", &self.entries.len())
            .field("memory_len", &self.memory_len())
            .finish_non_exhaustive()
    }
}

impl Entry {
    fn tag<'a>(&self, arena: &'a [u8]) -> &'a [u8] {
        let start = self.tag_start as usize;
        arena
            .get(start..start + usize::from(self.tag_len))
            .unwrap_or_default()
    }

    fn list(&self) -> List {
        List {
            start: self.ids,
            class: self.class,
        }
    }

    fn differences<'a>(&'a self, pool: &'a Pool) -> &'a [u32] {
        if self.count == 1 {
            std::slice::from_ref(&self.ids)
        } else {
            pool.get(self.list(), self.count as usize)
        }
    }
}

impl<'a> MemoryIds<'a> {
    /// The same without the ids from `end` on; `None` if none is left.
    pub(crate) fn below(self, end: u64) -> Option<Self> {
        let all = self.differences;
        let visible = match all.last() {
            Some(&last) if self.base + u64::from(last) < end => all.len(),
            _ => all.partition_point(|&difference| self.base + u64::from(difference) < end),
        };
        (visible > 0).then(|| Self {
            differences: all.get(..visible).unwrap_or_default(),
            ..self
        })
    }

    pub(crate) fn first_rank(self) -> u64 {
        self.first_rank
    }

    pub(crate) fn len(self) -> usize {
        self.differences.len()
    }

    pub(crate) fn end(self) -> TagEnd {
        TagEnd {
            count: self.first_rank + self.differences.len() as u64,
            last_id: self.base + u64::from(self.differences.last().copied().unwrap_or_default()),
        }
    }

    /// How many of the ids are below `id`.
    pub(crate) fn count_below(self, id: u64) -> usize {
        self.differences
            .partition_point(|&difference| self.base + u64::from(difference) < id)
    }

    pub(crate) fn iter(self) -> impl DoubleEndedIterator<Item = u64> + 'a {
        self.range(0, self.len())
    }

    /// The ids with these indexes, as far as there are any.
    pub(crate) fn range(
        self,
        start: usize,
        end: usize,
    ) -> impl DoubleEndedIterator<Item = u64> + 'a {
        let end = end.min(self.len());
        self.differences
            .get(start.min(end)..end)
            .unwrap_or_default()
            .iter()
            .map(move |&difference| self.base + u64::from(difference))
    }
}
