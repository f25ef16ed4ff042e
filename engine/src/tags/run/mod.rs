//! A run: the tags of one or many sealed segments, sorted, in one immutable checked file.
//!
//! FORMAT.md, section 9, describes the bytes. What is verified before use, and how:
//!
//! - The way to a page of tags (a binary search over pages) and from node to node of a list of ids
//!   is found with bytes that nobody has verified. Where it ends is verified: a page has a checksum
//!   and the bounds of the tags that can be in it, so one page proves that a tag is there, or that
//!   it is not. Wrong turns end at a page with the wrong bounds, and that is damage.
//! - A tag that the filter turns away was turned away by a block with its own checksum.
//!
//! Nothing is verified once and trusted later: the bytes are a map of the file, and the disk may
//! hand out other ones when they are read again.

mod check;
mod entry;
mod filter;
mod hashes;
mod header;
mod image;
mod list;
mod name;
mod node;
mod page;
mod pages;
mod repair;
mod scan;
mod tag_page;
mod writer;

use std::io;
use std::sync::{Arc, OnceLock};

use bytes::Bytes;

pub(crate) use check::check_run;
pub(crate) use entry::{Entry, EntryIds};
pub(crate) use image::{Image, Want};
pub(crate) use name::{RunName, TEMPORARY_SUFFIX, run_span};
pub(crate) use repair::repair_run;
pub(crate) use scan::TagScan;
pub(crate) use writer::RunWriter;

use super::{TagDamage, TagError};
use crate::storage::{Access, Storage};
use header::Header;

/// The length of a page. Verifying one is part of each lookup, and costs as much as its length;
/// half of it would not hold the longest tags.
const PAGE_LEN: usize = 2048;
/// What all pages but the first begin with.
const PAGE_HEADER_LEN: usize = 24;
/// The ids of a tag stand beside it while their differences take no more than this; the ids of
/// longer lists would make their neighbours' page longer to search.
const ENTRY_IDS_LEN_MAX: usize = 128;
/// A cache line.
const FILTER_BLOCK_LEN: usize = 64;

/// Whether a writer works in small portions, so that the small runs of tests go all the ways that
/// large ones do.
const SMALL: bool = cfg!(all(test, debug_assertions));

/// What is wrong with the bytes of a run, and where. The caller knows the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Bad {
    /// In bytes from the start of the file.
    pub(crate) offset: u64,
    pub(crate) what: &'static str,
}

/// The parts of a list are sound, and contradict each other.
pub(crate) const OUT_OF_ORDER: Bad = Bad {
    offset: 0,
    what: "the ids of a tag do not ascend",
};

/// Something wrong with this page.
fn page_of(number: u32, what: &'static str) -> Bad {
    Bad {
        offset: u64::from(number) * PAGE_LEN as u64,
        what,
    }
}

/// A run file by its name, opened when it is first asked.
///
/// A clone of the `Arc` keeps its bytes readable after the file is removed.
#[derive(Debug)]
pub(crate) struct Run {
    storage: Arc<dyn Storage>,
    pub(crate) name: RunName,
    opened: OnceLock<Opened>,
}

#[derive(Debug)]
struct Opened {
    bytes: Bytes,
    header: Header,
    key: u64,
}

impl Run {
    pub(crate) fn new(storage: Arc<dyn Storage>, name: RunName) -> Self {
        Self {
            storage,
            name,
            opened: OnceLock::new(),
        }
    }

    /// The bytes, with a verified header.
    #[inline]
    pub(crate) fn image(&self) -> Result<Image<'_>, TagError> {
        let opened = match self.opened.get() {
            Some(opened) => opened,
            None => self.open()?,
        };
        Ok(Image {
            bytes: &opened.bytes,
            header: opened.header,
            key: opened.key,
        })
    }

    /// What the run knows about `tag`.
    #[inline]
    pub(crate) fn find(&self, tag: &[u8], hash: u64) -> Result<Option<Entry<'_>>, TagError> {
        let found = self.image()?.find(tag, hash);
        found.map_err(|bad| self.damaged(bad))
    }

    /// Loads the filter block of this hash into the cache; the number means nothing.
    #[inline]
    pub(crate) fn touch(&self, hash: u64) -> u8 {
        let Some(opened) = self.opened.get() else {
            return 0;
        };
        let offset = opened.header.filter_block_offset(hash);
        opened.bytes.get(offset).copied().unwrap_or_default()
    }

    #[cold]
    pub(crate) fn damaged(&self, bad: Bad) -> TagError {
        TagError::Damaged(TagDamage {
            file: self.name.to_string(),
            offset: bad.offset,
            what: bad.what,
        })
    }

    #[cold]
    fn open(&self) -> Result<&Opened, TagError> {
        let file = match self.storage.open(&self.name.to_string(), Access::Read) {
            // Either somebody took it away, and then it has to be rebuilt; or it was merged or has
            // expired since this view was made, and then giving up the file changes nothing and
            // a new view finds the answer.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(self.damaged(Bad {
                    offset: 0,
                    what: "the file is gone",
                }));
            }
            file => file?,
        };
        file.freeze(file.len());
        let bytes = file.frozen()?;
        let header = Header::decode(&bytes).map_err(|bad| self.damaged(bad))?;
        if (header.span, header.level) != (self.name.span, self.name.level) {
            return Err(self.damaged(Bad {
                offset: 0,
                what: "the file has the name of another one",
            }));
        }
        let key = header::run_key(header.span, header.level);
        Ok(self.opened.get_or_init(|| Opened { bytes, header, key }))
    }
}
