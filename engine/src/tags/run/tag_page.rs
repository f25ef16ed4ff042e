//! A page of tags: some neighbouring tags in byte order, and between which bounds they are all.

use super::entry::Entry;
use super::{ENTRY_IDS_LEN_MAX, PAGE_HEADER_LEN, PAGE_LEN};
use crate::cursor::{Cursor, put_varint};
use crate::tags::{Span, TAG_LEN_MAX};

/// Before the bounds: their two lengths and that of the entries.
const LENGTHS_LEN: usize = 8;
/// The length of an upper bound that there is not: every later tag would stand in this page.
const UNBOUNDED: u16 = u16::MAX;

/// The longest entry: three lengths, the tag, five numbers and the differences of its ids.
const ENTRY_LEN_MAX: usize = 3 * 2 + TAG_LEN_MAX + 5 * 10 + ENTRY_IDS_LEN_MAX;
// A page holds any entry between any bounds, so a writer is never stuck with a tag.
const _: () = assert!(PAGE_HEADER_LEN + LENGTHS_LEN + 2 * TAG_LEN_MAX + ENTRY_LEN_MAX <= PAGE_LEN);

/// Collects the content of one page of tags after another.
#[derive(Debug, Default)]
pub(crate) struct TagPageBuilder {
    lower: Vec<u8>,
    entries: Vec<u8>,
    last: Vec<u8>,
    /// One entry, to be measured before it is added.
    entry: Vec<u8>,
}

impl TagPageBuilder {
    pub(crate) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Adds `tag`, which comes after all others, unless it does not fit: then the page has to be
    /// [finished](Self::finish) first, with `tag` as the next one.
    pub(crate) fn add(&mut self, tag: &[u8], entry: &Entry<'_>, span: Span) -> bool {
        let shared = common_len(&self.last, tag);
        let (_, suffix) = tag.split_at_checked(shared).unwrap_or_default();
        self.entry.clear();
        entry.encode(span, &mut self.entry);
        let start = self.entries.len();
        // An upper bound is a byte longer than the last tag at most (see `separator`).
        let upper_len_max = TAG_LEN_MAX.min(tag.len() + 1);
        put_varint(&mut self.entries, shared as u64);
        put_varint(&mut self.entries, suffix.len() as u64);
        put_varint(&mut self.entries, self.entry.len() as u64);
        self.entries.extend_from_slice(suffix);
        self.entries.extend_from_slice(&self.entry);
        let len = LENGTHS_LEN + self.lower.len() + upper_len_max + self.entries.len();
        if len > PAGE_LEN - PAGE_HEADER_LEN {
            self.entries.truncate(start);
            return false;
        }
        self.last.clear();
        self.last.extend_from_slice(tag);
        true
    }

    /// The content of the page, whose successor will begin with the tag `next`.
    pub(crate) fn finish(&mut self, next: Option<&[u8]>) -> Vec<u8> {
        let upper = next.map(|next| separator(&self.last, next));
        let len = |bytes: &[u8]| u16::try_from(bytes.len()).expect("a page is shorter");
        let mut content = Vec::with_capacity(PAGE_LEN);
        content.extend(len(&self.lower).to_le_bytes());
        content.extend(upper.map_or(UNBOUNDED, len).to_le_bytes());
        content.extend(len(&self.entries).to_le_bytes());
        content.extend([0, 0]);
        content.extend_from_slice(&self.lower);
        content.extend_from_slice(upper.unwrap_or_default());
        content.extend_from_slice(&self.entries);
        self.lower.clear();
        self.lower.extend_from_slice(upper.unwrap_or_default());
        self.entries.clear();
        self.last.clear();
        content
    }
}

/// The shortest beginning of `next` that comes after `last`; `last` must come before `next`.
fn separator<'a>(last: &[u8], next: &'a [u8]) -> &'a [u8] {
    next.get(..=common_len(last, next)).unwrap_or(next)
}

/// How many bytes two tags have in common at their beginnings.
fn common_len(one: &[u8], other: &[u8]) -> usize {
    let pairs = one.iter().zip(other);
    pairs.take_while(|(one, other)| one == other).count()
}

/// The content of a page of tags. See FORMAT.md, section 9.5.
#[derive(Clone, Debug)]
pub(crate) struct TagPage<'a> {
    /// No tag before this one is in the page or in any later one.
    pub(crate) lower: &'a [u8],
    /// No tag from this one on is in the page or in any earlier one.
    pub(crate) upper: Option<&'a [u8]>,
    entries: Cursor<'a>,
}

/// One tag of a page, as it is stored.
struct Stored<'a> {
    /// How many bytes it shares with the tag before it.
    shared: usize,
    suffix: &'a [u8],
    entry: &'a [u8],
}

/// What a page says about a tag that lies within its bounds.
#[derive(Debug)]
pub(crate) enum Found<'a> {
    /// The tag has this entry.
    Entry(&'a [u8]),
    /// No event of the run carries the tag.
    Nothing,
    /// The bytes are not those of a page of tags.
    Unreadable,
}

impl<'a> TagPage<'a> {
    #[inline]
    pub(crate) fn decode(content: &'a [u8]) -> Option<Self> {
        let mut cursor = Cursor::new(content);
        let lower_len = cursor.take_u16()?;
        let upper_len = cursor.take_u16()?;
        let entries_len = cursor.take_u16()?;
        cursor.take_u16()?;
        let lower = cursor.take(usize::from(lower_len))?;
        let upper = match upper_len {
            UNBOUNDED => None,
            len => Some(cursor.take(usize::from(len))?),
        };
        let entries = Cursor::new(cursor.take(usize::from(entries_len))?);
        Some(Self {
            lower,
            upper,
            entries,
        })
    }

    /// The lower bound of a page of tags, without a look at the rest.
    #[inline]
    pub(crate) fn peek_lower(content: &'a [u8]) -> Option<&'a [u8]> {
        let mut cursor = Cursor::new(content);
        let len = cursor.take_u16()?;
        cursor.take(LENGTHS_LEN - 2)?;
        cursor.take(usize::from(len))
    }

    /// Whether `tag` is in this page if it is in any.
    pub(crate) fn bounds(&self, tag: &[u8]) -> bool {
        self.lower <= tag && self.upper.is_none_or(|upper| tag < upper)
    }

    /// Looks for `tag` without putting any other tag together.
    pub(crate) fn find(&self, tag: &[u8]) -> Found<'a> {
        let mut entries = self.entries.clone();
        // How many bytes `tag` has in common with the entry before, which comes before it.
        let mut matched = 0;
        while !entries.is_empty() {
            let Some(stored) = Stored::take(&mut entries) else {
                return Found::Unreadable;
            };
            // Sharing more with its neighbour than `tag` does, it stands on the same side of `tag`.
            if stored.shared > matched {
                continue;
            }
            // Leaving its neighbour, in ascending order, where `tag` still agrees, it is past `tag`.
            if stored.shared < matched {
                return Found::Nothing;
            }
            let rest = tag.get(matched..).unwrap_or_default();
            let common = common_len(stored.suffix, rest);
            match (stored.suffix.get(common), rest.get(common)) {
                (None, None) => return Found::Entry(stored.entry),
                (Some(theirs), Some(ours)) if theirs > ours => return Found::Nothing,
                (Some(_), None) => return Found::Nothing,
                (Some(_) | None, Some(_)) => matched += common,
            }
        }
        Found::Nothing
    }

    /// Takes the next entry, and makes `tag`, which holds the tag before it, its tag. `None` if the
    /// bytes are unreadable, or tags are not in order.
    pub(crate) fn take_next(&mut self, tag: &mut Vec<u8>) -> Option<&'a [u8]> {
        let stored = Stored::take(&mut self.entries)?;
        let after = match tag.get(stored.shared..)?.first() {
            Some(before) => stored.suffix.first()? > before,
            None => tag.is_empty() || !stored.suffix.is_empty(),
        };
        tag.truncate(stored.shared);
        tag.extend_from_slice(stored.suffix);
        (after && self.bounds(tag) && (1..=TAG_LEN_MAX).contains(&tag.len()))
            .then_some(stored.entry)
    }

    pub(crate) fn is_at_end(&self) -> bool {
        self.entries.is_empty()
    }
}

impl<'a> Stored<'a> {
    #[inline]
    fn take(cursor: &mut Cursor<'a>) -> Option<Self> {
        let [shared, suffix_len, entry_len] = cursor.take_lens()?;
        Some(Self {
            shared,
            suffix: cursor.take(suffix_len)?,
            entry: cursor.take(entry_len)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tags::run::entry::EntryIds;

    const SPAN: Span = Span { first: 1, end: 100 };

    fn entry(id: u64) -> Entry<'static> {
        Entry {
            first_rank: 0,
            count: 1,
            first_id: id,
            last_id: id,
            ids: EntryIds::Inline(&[]),
        }
    }

    #[track_caller]
    fn check(content: &[u8], tag: &[u8], want: Option<u64>) {
        let page = TagPage::decode(content).unwrap();
        let got = match page.find(tag) {
            Found::Entry(bytes) => Some(Entry::decode(bytes, SPAN).unwrap().first_id),
            Found::Nothing => None,
            Found::Unreadable => panic!("unreadable"),
        };
        assert_eq!(got, want, "{tag:?}");
    }

    #[test]
    fn a_page_finds_its_tags_and_no_others() {
        let mut builder = TagPageBuilder::default();
        let tags = ["a", "ab", "abc", "abd", "b", "bcd", "bce", "c\0", "c\0\0"];
        for (id, tag) in (1..).zip(tags) {
            assert!(builder.add(tag.as_bytes(), &entry(id), SPAN));
        }
        let content = builder.finish(None);
        for (id, tag) in (1..).zip(tags) {
            check(&content, tag.as_bytes(), Some(id));
        }
        for tag in [
            "", "\0", "aa", "abb", "abcd", "abe", "ba", "bc", "bcf", "c", "c\0\u{1}", "d",
        ] {
            check(&content, tag.as_bytes(), None);
        }
    }

    #[test]
    fn a_page_takes_the_longest_tags_between_the_longest_bounds() {
        let mut builder = TagPageBuilder::default();
        let tag = |last: u8| [&[b'x'; TAG_LEN_MAX - 1][..], &[last]].concat();
        let differences = [1; ENTRY_IDS_LEN_MAX];
        let entry = Entry {
            first_rank: u64::MAX >> 3,
            count: u64::MAX >> 3,
            first_id: u64::MAX >> 1,
            last_id: u64::MAX,
            ids: EntryIds::Inline(&differences),
        };
        assert!(builder.add(&tag(1), &entry, SPAN));
        for last in 2..9 {
            if builder.add(&tag(last), &entry, SPAN) {
                continue;
            }
            let content = builder.finish(Some(&tag(last)));
            assert!(content.len() + PAGE_HEADER_LEN <= PAGE_LEN);
            assert!(builder.add(&tag(last), &entry, SPAN));
        }
    }
}
