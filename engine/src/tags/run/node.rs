//! A node of a list of ids that is too long for its entry.

use super::PAGE_LEN;
use super::entry::next_id;
use crate::cursor::Cursor;
use crate::tags::posting::Window;

/// What a node begins with.
pub(crate) const NODE_HEADER_LEN: usize = 48;
/// The most ids in a leaf: reading one of them costs as much as verifying all.
pub(crate) const LEAF_IDS_MAX: usize = 256;
/// The most children of an inner node.
pub(crate) const CHILDREN_MAX: usize = 64;
const CHILD_LEN: usize = 24;

const _: () = assert!(
    super::PAGE_HEADER_LEN + NODE_HEADER_LEN + CHILDREN_MAX * CHILD_LEN <= PAGE_LEN,
    "an inner node fits into a page"
);

/// See FORMAT.md, section 9.6.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Node<'a> {
    /// 0 for a leaf.
    pub(crate) height: u8,
    /// Which list of which run it belongs to.
    pub(crate) owner: u64,
    pub(crate) first_rank: u64,
    /// How many ids there are in it and below it; at least 1.
    pub(crate) count: u64,
    /// No id of the list lies between this one, which may be in the list or not, and the first id
    /// of the node.
    pub(crate) before: u64,
    pub(crate) last_id: u64,
    /// The differences of a leaf, or the children of an inner node.
    pub(crate) content: &'a [u8],
}

/// Where an inner node leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Child {
    pub(crate) first_rank: u64,
    pub(crate) before: u64,
    /// In bytes from the start of the file.
    pub(crate) offset: u64,
}

impl<'a> Node<'a> {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let len = NODE_HEADER_LEN + self.content.len();
        let mut checked = Vec::with_capacity(len);
        let stored_len = u16::try_from(len).expect("a node fits into a page");
        checked.extend(stored_len.to_le_bytes());
        checked.extend([self.height, 0]);
        checked.extend(self.owner.to_le_bytes());
        checked.extend(self.first_rank.to_le_bytes());
        checked.extend(self.count.to_le_bytes());
        checked.extend(self.before.to_le_bytes());
        checked.extend(self.last_id.to_le_bytes());
        checked.extend_from_slice(self.content);
        let mut bytes = Vec::with_capacity(len);
        bytes.extend(crc32fast::hash(&checked).to_le_bytes());
        bytes.extend(checked);
        bytes
    }

    /// The node at the front of `bytes`, verified; `None` if it fails its checksum.
    pub(crate) fn decode(bytes: &'a [u8]) -> Option<Self> {
        let mut cursor = Cursor::new(bytes);
        let stored = cursor.take_u32()?;
        let len = usize::from(cursor.clone().take_u16()?);
        let checked = cursor.take(len.checked_sub(4)?)?;
        if crc32fast::hash(checked) != stored {
            return None;
        }
        let mut cursor = Cursor::new(checked);
        cursor.take_u16()?;
        let height = cursor.take_u8()?;
        cursor.take_u8()?;
        Some(Self {
            height,
            owner: cursor.take_u64()?,
            first_rank: cursor.take_u64()?,
            count: cursor.take_u64()?,
            before: cursor.take_u64()?,
            last_id: cursor.take_u64()?,
            content: cursor.rest(),
        })
    }

    pub(crate) fn has_rank(&self, rank: u64) -> bool {
        rank.checked_sub(self.first_rank)
            .is_some_and(|index| index < self.count)
    }

    /// Whether the first id at or above `id` is in it or below it.
    pub(crate) fn has_first_from(&self, id: u64) -> bool {
        self.before < id && id <= self.last_id
    }

    /// Fills `window` with the ids of a leaf; `None` if its content contradicts its header.
    pub(crate) fn load(&self, window: &mut Window) -> Option<()> {
        if self.height != 0 || self.count > LEAF_IDS_MAX as u64 {
            return None;
        }
        window.first_rank = self.first_rank;
        window.ids.clear();
        let mut cursor = Cursor::new(self.content);
        let mut id = self.before;
        for _ in 0..self.count {
            id = next_id(id, cursor.take_varint()?)?;
            window.ids.push(id);
        }
        (cursor.is_empty() && id == self.last_id && self.count > 0).then_some(())
    }

    /// The last child for which `is_before` holds; children are in order.
    pub(crate) fn last_child(&self, is_before: impl Fn(&Child) -> bool) -> Option<Child> {
        let children = self.content.chunks_exact(CHILD_LEN);
        let children = children.map_while(Child::decode);
        children.take_while(is_before).last()
    }
}

impl Child {
    pub(crate) fn encode(&self, bytes: &mut Vec<u8>) {
        bytes.extend(self.first_rank.to_le_bytes());
        bytes.extend(self.before.to_le_bytes());
        bytes.extend(self.offset.to_le_bytes());
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        let mut cursor = Cursor::new(bytes);
        Some(Self {
            first_rank: cursor.take_u64()?,
            before: cursor.take_u64()?,
            offset: cursor.take_u64()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn leaf(count: u64, last_id: u64, content: &[u8]) -> Node<'_> {
        Node {
            height: 0,
            owner: 7,
            first_rank: 3,
            count,
            before: 10,
            last_id,
            content,
        }
    }

    fn ids(node: &Node<'_>) -> Option<Vec<u64>> {
        let mut window = Window::default();
        node.load(&mut window)?;
        assert_eq!(window.first_rank, node.first_rank);
        Some(window.ids)
    }

    #[test]
    fn a_leaf_gives_the_ids_that_its_header_speaks_of_or_none() {
        assert_eq!(ids(&leaf(3, 16, &[1, 2, 3])), Some(vec![11, 13, 16]));
        let inner = Node {
            height: 1,
            ..leaf(3, 16, &[1, 2, 3])
        };
        let zeros = vec![1; LEAF_IDS_MAX + 1];
        let over = LEAF_IDS_MAX as u64 + 1;
        for wrong in [
            inner,
            leaf(3, 17, &[1, 2, 3]),
            leaf(2, 13, &[1, 2, 3]),
            leaf(4, 16, &[1, 2, 3]),
            leaf(3, 13, &[1, 2, 0]),
            leaf(0, 10, &[]),
            leaf(over, 10 + over, &zeros),
        ] {
            assert_eq!(ids(&wrong), None, "{wrong:?}");
        }
    }

    #[test]
    fn a_node_knows_which_ranks_and_ids_lie_in_it() {
        let node = leaf(3, 16, &[1, 2, 3]);
        let ranks: Vec<u64> = (0..9).filter(|rank| node.has_rank(*rank)).collect();
        assert_eq!(ranks, [3, 4, 5]);
        let from: Vec<u64> = (0..20).filter(|id| node.has_first_from(*id)).collect();
        assert_eq!(from, (11..=16).collect::<Vec<u64>>());
    }
}
