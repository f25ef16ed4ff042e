//! The first page of a run: what the file is, and how long its parts are.

use xxhash_rust::xxh3::xxh3_64;

use super::{Bad, FILTER_BLOCK_LEN, PAGE_LEN, filter};
use crate::cursor::Cursor;
use crate::tags::{ID_MAX, Span};

const MAGIC: [u8; 8] = *b"STRNDTAG";
const VERSION: u16 = 1;
/// The checksum covers everything behind it.
const CHECKED_FROM: usize = 12;

/// See FORMAT.md, section 9.3.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) span: Span,
    pub(crate) level: u8,
    /// How many pages there are, this one included.
    pub(crate) pages: u32,
    pub(crate) tags: u64,
    /// How many (tag, id) pairs there are.
    pub(crate) pairs: u64,
    pub(crate) filter_blocks: u32,
}

impl Header {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut checked = Vec::with_capacity(PAGE_LEN);
        checked.extend(VERSION.to_le_bytes());
        checked.extend([self.level, 0]);
        checked.extend(self.span.first.to_le_bytes());
        checked.extend(self.span.end.to_le_bytes());
        checked.extend(self.pages.to_le_bytes());
        checked.extend(self.filter_blocks.to_le_bytes());
        checked.extend(self.tags.to_le_bytes());
        checked.extend(self.pairs.to_le_bytes());
        checked.resize(PAGE_LEN - CHECKED_FROM, 0);
        let mut page = Vec::with_capacity(PAGE_LEN);
        page.extend(MAGIC);
        page.extend(crc32fast::hash(&checked).to_le_bytes());
        page.extend(checked);
        page
    }

    /// The header of the file `bytes`, all of it.
    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, Bad> {
        let bad = |what| Bad { offset: 0, what };
        let page = bytes.get(..PAGE_LEN).ok_or(bad("the file is too short"))?;
        let mut cursor = Cursor::new(page);
        if cursor.take(MAGIC.len()) != Some(&MAGIC) {
            return Err(bad("the file does not begin as a run does"));
        }
        let stored = cursor.take_u32();
        if stored != Some(crc32fast::hash(cursor.rest())) {
            return Err(bad("the checksum of the header is wrong"));
        }
        let short = || bad("the header is too short");
        if cursor.take_u16().ok_or_else(short)? != VERSION {
            return Err(bad("the version is not one that this program reads"));
        }
        let level = cursor.take_u8().ok_or_else(short)?;
        cursor.take_u8().ok_or_else(short)?;
        let header = Self {
            level,
            span: Span {
                first: cursor.take_u64().ok_or_else(short)?,
                end: cursor.take_u64().ok_or_else(short)?,
            },
            pages: cursor.take_u32().ok_or_else(short)?,
            filter_blocks: cursor.take_u32().ok_or_else(short)?,
            tags: cursor.take_u64().ok_or_else(short)?,
            pairs: cursor.take_u64().ok_or_else(short)?,
        };
        if header.span.is_empty() || header.span.end > ID_MAX || header.span.first == 0 {
            return Err(bad("the ids of the file are none"));
        }
        if header.pages == 0 || (header.tags > 0) != (header.filter_blocks > 0) {
            return Err(bad("the counts contradict each other"));
        }
        if header.file_len() != bytes.len() as u64 {
            return Err(bad("the file is not as long as its parts"));
        }
        Ok(header)
    }

    /// Where the filter begins, in bytes from the start of the file.
    pub(crate) fn filter_offset(&self) -> u64 {
        u64::from(self.pages) * PAGE_LEN as u64
    }

    /// Where the filter block of this hash begins, if there is one.
    #[inline]
    pub(crate) fn filter_block_offset(&self, hash: u64) -> usize {
        let number = filter::block_of(hash, self.filter_blocks);
        self.pages as usize * PAGE_LEN + number as usize * FILTER_BLOCK_LEN
    }

    pub(crate) fn file_len(&self) -> u64 {
        self.filter_offset() + u64::from(self.filter_blocks) * FILTER_BLOCK_LEN as u64
    }
}

/// Stands in every part of a run, so that a part of another file is not taken for one of it.
pub(crate) fn run_key(span: Span, level: u8) -> u64 {
    let mut name = [0; 17];
    let fields = span.first.to_le_bytes().into_iter();
    let fields = fields.chain(span.end.to_le_bytes()).chain([level]);
    for (byte, field) in name.iter_mut().zip(fields) {
        *byte = field;
    }
    xxh3_64(&name)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOUND: Header = Header {
        span: Span { first: 5, end: 9 },
        level: 1,
        pages: 1,
        tags: 0,
        pairs: 0,
        filter_blocks: 0,
    };

    #[test]
    fn a_header_that_contradicts_itself_is_bad_whatever_its_checksum() {
        assert_eq!(Header::decode(&SOUND.encode()), Ok(SOUND));
        let span = |first, end| Header {
            span: Span { first, end },
            ..SOUND
        };
        let wrong = [
            (span(5, 5), "the ids of the file are none"),
            (span(5, ID_MAX + 1), "the ids of the file are none"),
            (span(0, 9), "the ids of the file are none"),
            (
                Header { pages: 0, ..SOUND },
                "the counts contradict each other",
            ),
            (
                Header { tags: 1, ..SOUND },
                "the counts contradict each other",
            ),
            (
                Header {
                    filter_blocks: 1,
                    ..SOUND
                },
                "the counts contradict each other",
            ),
            (
                Header { pages: 2, ..SOUND },
                "the file is not as long as its parts",
            ),
        ];
        for (header, what) in wrong {
            let found = Header::decode(&header.encode());
            assert_eq!(found, Err(Bad { offset: 0, what }), "{header:?}");
        }
    }

    #[test]
    fn another_version_is_bad_before_anything_else_is_read() {
        let mut bytes = SOUND.encode();
        bytes[CHECKED_FROM] = 2;
        let checksum = crc32fast::hash(&bytes[CHECKED_FROM..]);
        bytes[8..CHECKED_FROM].copy_from_slice(&checksum.to_le_bytes());
        let what = "the version is not one that this program reads";
        assert_eq!(Header::decode(&bytes), Err(Bad { offset: 0, what }));
        let what = "the file is too short";
        let short = Header::decode(&bytes[..PAGE_LEN - 1]);
        assert_eq!(short, Err(Bad { offset: 0, what }));
    }
}
