//! Finding a tag, and its ids, in the bytes of a run.

use super::entry::{Entry, EntryIds};
use super::filter::{self, Probe};
use super::header::Header;
use super::node::Node;
use super::page::{Frame, Kind};
use super::tag_page::{Found, TagPage};
use super::{Bad, FILTER_BLOCK_LEN, PAGE_LEN, page_of};
use crate::tags::posting::Window;

/// The bytes of a run whose header is sound. Nothing else is trusted before it is verified.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Image<'a> {
    pub(crate) bytes: &'a [u8],
    pub(crate) header: Header,
    pub(crate) key: u64,
}

/// How many steps of a binary search are prepared at once.
const TOUCH_STEPS: u32 = 3;

/// Which of the ids of a list is looked for.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Want {
    /// The one with this rank, which the list must have.
    Rank(u64),
    /// The first one at or above this id; the list's last id must be.
    From(u64),
}

impl<'a> Image<'a> {
    /// What the run knows about `tag`.
    #[inline]
    pub(crate) fn find(&self, tag: &[u8], hash: u64) -> Result<Option<Entry<'a>>, Bad> {
        if !self.filter_lets_through(hash)? {
            return Ok(None);
        }
        let (number, page) = self.tag_page_of(tag)?;
        let bad = |what| page_of(number, what);
        match page.find(tag) {
            Found::Nothing => Ok(None),
            Found::Entry(bytes) => match Entry::decode(bytes, self.header.span) {
                Some(entry) => Ok(Some(entry)),
                None => Err(bad("an entry contradicts itself")),
            },
            Found::Unreadable => Err(bad("the entries cannot be read")),
        }
    }

    /// `false` if the run does not have the tag.
    #[inline]
    pub(crate) fn filter_lets_through(&self, hash: u64) -> Result<bool, Bad> {
        if self.header.tags == 0 {
            return Ok(false);
        }
        let number = filter::block_of(hash, self.header.filter_blocks);
        let (offset, block) = self.filter_block(number)?;
        match filter::probe(block, number, self.key, hash) {
            Probe::Absent => Ok(false),
            Probe::Maybe => Ok(true),
            Probe::Damaged => Err(Bad {
                offset,
                what: "the checksum of a filter block is wrong",
            }),
        }
    }

    /// The block `number` of the filter, and where it lies.
    #[inline]
    pub(crate) fn filter_block(
        &self,
        number: u32,
    ) -> Result<(u64, &'a [u8; FILTER_BLOCK_LEN]), Bad> {
        let offset = self.header.filter_offset() + u64::from(number) * FILTER_BLOCK_LEN as u64;
        let block = usize::try_from(offset)
            .ok()
            .and_then(|offset| self.bytes.get(offset..)?.first_chunk());
        match block {
            Some(block) => Ok((offset, block)),
            None => Err(Bad {
                offset,
                what: "the filter is too short",
            }),
        }
    }

    /// The bytes of a page behind the header.
    #[inline]
    pub(crate) fn page(&self, number: u32) -> Result<&'a [u8], Bad> {
        let start = number as usize * PAGE_LEN;
        let page = self.bytes.get(start..start + PAGE_LEN);
        match page {
            Some(page) if (1..self.header.pages).contains(&number) => Ok(page),
            _ => Err(page_of(number, "there is no such page")),
        }
    }

    /// A page of tags, verified.
    #[inline]
    pub(crate) fn tag_page(&self, number: u32) -> Result<TagPage<'a>, Bad> {
        let (frame, content) = Frame::decode(self.page(number)?, number, self.key)?;
        let page = TagPage::decode(content).filter(|_| frame.kind == Kind::Tags);
        page.ok_or_else(|| page_of(number, "it is not a page of tags"))
    }

    /// The page between whose bounds `tag` lies, verified, and its number.
    pub(crate) fn tag_page_of(&self, tag: &[u8]) -> Result<(u32, TagPage<'a>), Bad> {
        // The last page of tags whose lower bound is not above `tag`. Where the middle is a page of
        // ids, the page of tags before it decides.
        let mut found = 0;
        let (mut low, mut high) = (0, self.header.pages);
        let mut untouched = 0;
        // Unverified pages may send `high` below `low`; then the search is over, too.
        while high.saturating_sub(low) > 1 {
            if untouched == 0 {
                std::hint::black_box(self.touch(low, high, TOUCH_STEPS));
                untouched = TOUCH_STEPS;
            }
            untouched -= 1;
            let middle = low + (high - low) / 2;
            let (frame, content) = self.peek(middle)?;
            let at = match frame.kind {
                Kind::Tags => middle,
                Kind::Ids => frame.tag_page,
            };
            if at <= found {
                low = middle;
                continue;
            }
            let content = match frame.kind {
                Kind::Tags => content,
                Kind::Ids if at < high => self.peek(at)?.1,
                Kind::Ids => return Err(page_of(middle, "pages are out of order")),
            };
            let lower = TagPage::peek_lower(content);
            if lower.ok_or_else(|| page_of(at, "it is not a page of tags"))? <= tag {
                found = at;
                low = middle;
            } else {
                high = at;
            }
        }
        let page = self.tag_page(found)?;
        if !page.bounds(tag) {
            return Err(page_of(found, "pages are out of order"));
        }
        Ok((found, page))
    }

    /// Loads the pages that the next `steps` of a binary search may look at; the number means
    /// nothing.
    ///
    /// Each step of the search is a cache miss, and which page is next is known only after it. To
    /// load all seven that can come within three steps takes hardly longer than to load one.
    fn touch(&self, low: u32, high: u32, steps: u32) -> u8 {
        if steps == 0 || high - low <= 1 {
            return 0;
        }
        let middle = low + (high - low) / 2;
        let byte = self.bytes.get(middle as usize * PAGE_LEN);
        byte.copied().unwrap_or_default()
            ^ self.touch(low, middle, steps - 1)
            ^ self.touch(middle, high, steps - 1)
    }

    /// A page, unverified.
    #[inline]
    pub(crate) fn peek(&self, number: u32) -> Result<(Frame, &'a [u8]), Bad> {
        let page = self.page(number)?;
        Frame::peek(page).ok_or_else(|| page_of(number, "a page is of no known kind"))
    }

    /// Fills `window` with ids of the tag with this `hash` and `entry` among which is the wanted
    /// one: all of them, or those of one leaf.
    pub(crate) fn load(
        &self,
        entry: &Entry<'_>,
        hash: u64,
        want: Want,
        window: &mut Window,
    ) -> Result<(), Bad> {
        match entry.ids {
            EntryIds::Inline(differences) => {
                let bad = Bad {
                    offset: 0,
                    what: "the ids of an entry contradict it",
                };
                entry.load(differences, window).ok_or(bad)
            }
            EntryIds::Tree(root) => self.load_leaf(entry, root, hash, want, window),
        }
    }

    fn load_leaf(
        &self,
        entry: &Entry<'_>,
        root: u64,
        hash: u64,
        want: Want,
        window: &mut Window,
    ) -> Result<(), Bad> {
        let mut offset = root;
        let mut parent: Option<Node<'_>> = None;
        loop {
            let bad = |what| Bad { offset, what };
            let node = self.node(offset)?;
            let is_ours = node.owner == owner(self.key, hash);
            let is_in_place = match parent {
                None => {
                    (node.first_rank, node.count, node.last_id)
                        == (entry.first_rank, entry.count, entry.last_id)
                }
                Some(parent) => node.height.checked_add(1) == Some(parent.height),
            };
            let has_it = match want {
                Want::Rank(rank) => node.has_rank(rank),
                Want::From(id) => node.has_first_from(id.max(entry.first_id)),
            };
            if !(is_ours && is_in_place && has_it) {
                return Err(bad("a node belongs elsewhere"));
            }
            if node.height == 0 {
                return node
                    .load(window)
                    .ok_or(bad("the ids of a node contradict it"));
            }
            let child = node.last_child(|child| match want {
                Want::Rank(rank) => child.first_rank <= rank,
                Want::From(id) => child.before < id.max(entry.first_id),
            });
            offset = child.ok_or(bad("a node leads nowhere"))?.offset;
            parent = Some(node);
        }
    }

    /// The node at `offset`, verified.
    fn node(&self, offset: u64) -> Result<Node<'a>, Bad> {
        let bad = |what| Bad { offset, what };
        let nowhere = bad("there is no such node");
        let at = usize::try_from(offset).map_err(|_| nowhere)?;
        let number = u32::try_from(at / PAGE_LEN).map_err(|_| nowhere)?;
        let bytes = self.page(number)?.get(at % PAGE_LEN..);
        Node::decode(bytes.ok_or(nowhere)?).ok_or(bad("the checksum of a node is wrong"))
    }
}

/// Marks the nodes of one list of one run.
pub(crate) fn owner(key: u64, hash: u64) -> u64 {
    key ^ hash
}
