//! What a page of tags says about one tag, apart from its bytes.

use super::ENTRY_IDS_LEN_MAX;
use crate::cursor::{Cursor, put_varint};
use crate::tags::posting::Window;
use crate::tags::{Span, TagEnd};

/// What a run knows about one tag. See FORMAT.md, section 9.5.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Entry<'a> {
    pub(crate) first_rank: u64,
    /// At least 1.
    pub(crate) count: u64,
    pub(crate) first_id: u64,
    pub(crate) last_id: u64,
    pub(crate) ids: EntryIds<'a>,
}

/// The ids between the first and the last one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum EntryIds<'a> {
    /// As differences, in the entry itself.
    Inline(&'a [u8]),
    /// In a tree of nodes, whose root lies here, in bytes from the start of the file.
    Tree(u64),
}

impl<'a> Entry<'a> {
    pub(crate) fn encode(&self, span: Span, bytes: &mut Vec<u8>) {
        let is_tree = matches!(self.ids, EntryIds::Tree(_));
        put_varint(bytes, self.count << 1 | u64::from(is_tree));
        put_varint(bytes, self.first_rank);
        put_varint(bytes, self.first_id - span.first);
        if self.count > 1 {
            put_varint(bytes, self.last_id - self.first_id);
        }
        match self.ids {
            EntryIds::Inline(differences) => bytes.extend_from_slice(differences),
            EntryIds::Tree(root) => put_varint(bytes, root),
        }
    }

    /// `None` if the bytes cannot be what a writer has written.
    #[inline]
    pub(crate) fn decode(bytes: &'a [u8], span: Span) -> Option<Self> {
        let mut cursor = Cursor::new(bytes);
        let count = cursor.take_varint()?;
        let (count, is_tree) = (count >> 1, count & 1 == 1);
        let first_rank = cursor.take_varint()?;
        let first_id = span.first.checked_add(cursor.take_varint()?)?;
        let last_id = match count {
            0 => return None,
            1 => first_id,
            _ => first_id.checked_add(cursor.take_varint()?)?,
        };
        let ids = if is_tree {
            EntryIds::Tree(cursor.take_varint()?)
        } else {
            EntryIds::Inline(cursor.rest())
        };
        // Ids ascend, and a rank counts events with lower ids.
        let fits = last_id < span.end
            && last_id - first_id >= count - 1
            && first_rank.checked_add(count)? <= last_id.checked_add(1)?;
        fits.then_some(Self {
            first_rank,
            count,
            first_id,
            last_id,
            ids,
        })
    }

    pub(crate) fn end(&self) -> TagEnd {
        TagEnd {
            count: self.first_rank + self.count,
            last_id: self.last_id,
        }
    }

    /// Fills `window` with all ids; `None` if `differences`, those of this entry, do not fit it.
    pub(crate) fn load(&self, differences: &[u8], window: &mut Window) -> Option<()> {
        // Each difference has a byte at least: what does not fit here was not written so.
        if self.count > ENTRY_IDS_LEN_MAX as u64 + 2 {
            return None;
        }
        window.first_rank = self.first_rank;
        let ids = &mut window.ids;
        ids.clear();
        ids.push(self.first_id);
        let mut cursor = Cursor::new(differences);
        if self.count > 1 {
            let mut id = self.first_id;
            for _ in 2..self.count {
                id = next_id(id, cursor.take_varint()?)?;
                ids.push(id);
            }
            if id >= self.last_id {
                return None;
            }
            ids.push(self.last_id);
        }
        cursor.is_empty().then_some(())
    }
}

/// The id that follows `id` at this difference.
pub(crate) fn next_id(id: u64, difference: u64) -> Option<u64> {
    if difference == 0 {
        return None;
    }
    id.checked_add(difference)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ids(entry: &Entry<'_>, differences: &[u8]) -> Option<Vec<u64>> {
        let mut window = Window::default();
        entry.load(differences, &mut window)?;
        assert_eq!(window.first_rank, entry.first_rank);
        Some(window.ids)
    }

    #[test]
    fn the_ids_of_an_entry_are_what_its_differences_say_or_it_is_refused() {
        let entry = |count, last_id| Entry {
            first_rank: 2,
            count,
            first_id: 10,
            last_id,
            ids: EntryIds::Inline(&[]),
        };
        assert_eq!(ids(&entry(1, 10), &[]), Some(vec![10]));
        assert_eq!(ids(&entry(2, 11), &[]), Some(vec![10, 11]));
        assert_eq!(ids(&entry(4, 20), &[3, 4]), Some(vec![10, 13, 17, 20]));
        for (entry, differences) in [
            (entry(4, 17), &[3, 4][..]),
            (entry(4, 20), &[3, 0]),
            (entry(4, 20), &[3]),
            (entry(4, 20), &[3, 4, 1]),
            (entry(1, 10), &[1]),
            (entry(ENTRY_IDS_LEN_MAX as u64 + 3, 1 << 40), &[1; 300]),
        ] {
            assert_eq!(ids(&entry, differences), None, "{entry:?}");
        }
    }
}
