//! Writing a run file.

use std::io;
use std::sync::Arc;

use super::SMALL;
use super::filter::{self, FilterBuilder};
use super::hashes::Hashes;
use super::header::{Header, run_key};
use super::list::ListBuilder;
use super::name::{RunName, TEMPORARY_SUFFIX};
use super::pages::Pages;
use super::tag_page::TagPageBuilder;
use crate::storage::{Storage, StorageFile, write_all_at};

/// The filter is built in parts of this many blocks, 4 MiB, whatever its length: the hashes are gone
/// through once for each part.
const FILTER_PART_BLOCKS: u32 = if SMALL { 1 } else { 1 << 16 };

/// Writes a run under a temporary name, tag by tag in byte order, and gives it its own name once it
/// is durable. Dropped before that it leaves nothing behind.
#[derive(Debug)]
pub(crate) struct RunWriter {
    storage: Arc<dyn Storage>,
    name: RunName,
    file: Arc<dyn StorageFile>,
    key: u64,
    pages: Pages,
    tag_page: TagPageBuilder,
    /// The tag whose ids are being added.
    tag: Vec<u8>,
    hash: u64,
    list: ListBuilder,
    hashes: Hashes,
    tags: u64,
    pairs: u64,
    is_renamed: bool,
}

impl RunWriter {
    pub(crate) fn create(storage: Arc<dyn Storage>, name: RunName) -> io::Result<Self> {
        let temporary = name.temporary();
        // An attempt that failed before may have left its file, if removing it failed too.
        match storage.remove(&temporary) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let file = storage.create(&temporary, 0)?;
        let key = run_key(name.span, name.level);
        let hashes = format!("{name}.hashes{TEMPORARY_SUFFIX}");
        Ok(Self {
            pages: Pages::new(Arc::clone(&file), key),
            hashes: Hashes::new(Arc::clone(&storage), hashes),
            storage,
            name,
            file,
            key,
            tag_page: TagPageBuilder::default(),
            tag: Vec::new(),
            hash: 0,
            list: ListBuilder::default(),
            tags: 0,
            pairs: 0,
            is_renamed: false,
        })
    }

    /// Begins with the next tag; ends the one before.
    pub(crate) fn tag(&mut self, tag: &[u8], hash: u64, first_rank: u64) -> io::Result<()> {
        self.end_tag()?;
        assert!(self.tag.as_slice() < tag, "tags come in byte order");
        self.tag.clear();
        self.tag.extend_from_slice(tag);
        self.hash = hash;
        let before = self.name.span.first - 1;
        self.list.begin(self.key, hash, first_rank, before);
        Ok(())
    }

    /// Adds an id of the current tag, higher than its last one.
    pub(crate) fn id(&mut self, id: u64) -> io::Result<()> {
        self.pairs += 1;
        self.list.push(id, &mut self.pages)
    }

    /// Makes the run durable under its own name.
    pub(crate) fn finish(mut self) -> io::Result<()> {
        self.end_tag()?;
        if !self.tag_page.is_empty() {
            self.pages.add_tags(&self.tag_page.finish(None))?;
        }
        let mut header = Header {
            span: self.name.span,
            level: self.name.level,
            pages: self.pages.finish()?,
            tags: self.tags,
            pairs: self.pairs,
            filter_blocks: 0,
        };
        let too_large = |_| io::Error::from(io::ErrorKind::FileTooLarge);
        header.filter_blocks = u32::try_from(filter::blocks(self.tags)).map_err(too_large)?;
        self.write_filter(&header)?;
        write_all_at(self.file.as_ref(), 0, &[&header.encode()])?;
        self.file.sync()?;
        self.storage
            .rename(&self.name.temporary(), &self.name.to_string())?;
        self.is_renamed = true;
        self.storage.sync_names()
    }

    fn end_tag(&mut self) -> io::Result<()> {
        if self.list.is_empty() {
            return Ok(());
        }
        let span = self.name.span;
        let entry = self.list.finish(&mut self.pages)?;
        if !self.tag_page.add(&self.tag, &entry, span) {
            let content = self.tag_page.finish(Some(&self.tag));
            self.pages.add_tags(&content)?;
            let added = self.tag_page.add(&self.tag, &entry, span);
            assert!(added, "an empty page holds any entry");
        }
        self.hashes.push(self.hash)?;
        self.tags += 1;
        Ok(())
    }

    fn write_filter(&self, header: &Header) -> io::Result<()> {
        let mut offset = header.filter_offset();
        let mut first = 0;
        while first < header.filter_blocks {
            let mut part = FilterBuilder::new(header.filter_blocks, first, FILTER_PART_BLOCKS);
            self.hashes.for_each(|hash| part.add(hash))?;
            let bytes = part.encode(self.key);
            write_all_at(self.file.as_ref(), offset, &[&bytes])?;
            offset += bytes.len() as u64;
            first = first.saturating_add(FILTER_PART_BLOCKS);
        }
        Ok(())
    }
}

impl Drop for RunWriter {
    fn drop(&mut self) {
        if !self.is_renamed {
            // What stays is removed at the next attempt or the next start.
            let _ = self.storage.remove(&self.name.temporary());
        }
    }
}
