//! The frame that all pages but the first share.

use super::{Bad, PAGE_HEADER_LEN, PAGE_LEN};
use crate::cursor::Cursor;

/// What a page holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Tags, with what there is to know about each.
    Tags,
    /// Nodes of lists of ids.
    Ids,
}

/// See FORMAT.md, section 9.4.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Frame {
    pub(crate) kind: Kind,
    /// Counted from 0, which is the header.
    pub(crate) number: u32,
    /// The last page of tags before this page, 0 if there is none; for a page of tags itself.
    pub(crate) tag_page: u32,
}

impl Kind {
    fn code(self) -> u32 {
        match self {
            Self::Tags => 1,
            Self::Ids => 2,
        }
    }
}

impl Frame {
    /// The page with this content, which must leave room for the frame.
    pub(crate) fn encode(&self, key: u64, content: &[u8]) -> Vec<u8> {
        let mut checked = Vec::with_capacity(PAGE_LEN);
        checked.extend(self.kind.code().to_le_bytes());
        checked.extend(self.number.to_le_bytes());
        checked.extend(self.tag_page.to_le_bytes());
        checked.extend(key.to_le_bytes());
        checked.extend_from_slice(content);
        assert!(checked.len() <= PAGE_LEN - 4, "callers leave room");
        checked.resize(PAGE_LEN - 4, 0);
        let mut page = Vec::with_capacity(PAGE_LEN);
        page.extend(crc32fast::hash(&checked).to_le_bytes());
        page.extend(checked);
        page
    }

    /// The frame of a page as it stands there, and its content, neither of them verified: good for
    /// finding the way to a page that is.
    #[inline]
    pub(crate) fn peek(page: &[u8]) -> Option<(Self, &[u8])> {
        let mut cursor = Cursor::new(page);
        cursor.take_u32()?;
        let kind = match cursor.take_u32()? {
            1 => Kind::Tags,
            2 => Kind::Ids,
            _ => return None,
        };
        let frame = Self {
            kind,
            number: cursor.take_u32()?,
            tag_page: cursor.take_u32()?,
        };
        cursor.take_u64()?;
        Some((frame, cursor.rest()))
    }

    /// The frame and the content of the page `number`, verified.
    #[inline]
    pub(crate) fn decode(page: &[u8], number: u32, key: u64) -> Result<(Self, &[u8]), Bad> {
        let bad = |what| Bad {
            offset: u64::from(number) * PAGE_LEN as u64,
            what,
        };
        let mut cursor = Cursor::new(page);
        let stored = cursor.take_u32();
        if stored != Some(crc32fast::hash(cursor.rest())) {
            return Err(bad("the checksum of a page is wrong"));
        }
        let (frame, content) = Self::peek(page).ok_or(bad("a page is of no known kind"))?;
        let stored_key = page.get(16..PAGE_HEADER_LEN);
        if frame.number != number || stored_key != Some(&key.to_le_bytes()) {
            return Err(bad("a page belongs elsewhere"));
        }
        Ok((frame, content))
    }
}
