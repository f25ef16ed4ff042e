//! The pages of a run that is being written, in one stream.

use std::io;
use std::sync::Arc;

use super::page::{Frame, Kind};
use super::{PAGE_HEADER_LEN, PAGE_LEN, SMALL};
use crate::storage::{StorageFile, write_all_at};

/// Pages are written in portions of this many bytes.
const BUFFER_LEN: usize = if SMALL { 8 * PAGE_LEN } else { 256 << 10 };

/// Numbers the pages of both kinds as they come, and writes them in order.
///
/// A page of ids takes its number when its first node comes, and lists of several tags fill it, so
/// pages of tags may follow it before it is full. It is closed before its portion is written.
#[derive(Debug)]
pub(crate) struct Pages {
    file: Arc<dyn StorageFile>,
    key: u64,
    /// The pages from the number `written` on.
    buffer: Vec<u8>,
    written: u32,
    /// The last page of tags.
    tag_page: u32,
    ids: Option<IdPage>,
}

/// A page of ids that is not full.
#[derive(Debug)]
struct IdPage {
    frame: Frame,
    content: Vec<u8>,
}

impl Pages {
    /// Page 0, the header, is left as zeros: what it says is known last.
    pub(crate) fn new(file: Arc<dyn StorageFile>, key: u64) -> Self {
        let mut buffer = Vec::with_capacity(BUFFER_LEN + 2 * PAGE_LEN);
        buffer.resize(PAGE_LEN, 0);
        Self {
            file,
            key,
            buffer,
            written: 0,
            tag_page: 0,
            ids: None,
        }
    }

    /// How many bytes the next node can have without beginning a page.
    pub(crate) fn room(&self) -> usize {
        let used = self.ids.as_ref().map(|page| page.content.len());
        used.map_or(0, |used| PAGE_LEN - PAGE_HEADER_LEN - used)
    }

    /// Adds a node, which fits into a page, and returns where it lies in the file.
    pub(crate) fn add_node(&mut self, node: &[u8]) -> io::Result<u64> {
        if self.room() < node.len() {
            self.close_ids();
        }
        let page = match &mut self.ids {
            Some(page) => page,
            None => {
                self.write_full()?;
                let frame = Frame {
                    kind: Kind::Ids,
                    number: self.next_number()?,
                    tag_page: self.tag_page,
                };
                self.buffer.resize(self.buffer.len() + PAGE_LEN, 0);
                self.ids.insert(IdPage {
                    frame,
                    content: Vec::with_capacity(PAGE_LEN),
                })
            }
        };
        let start = u64::from(page.frame.number) * PAGE_LEN as u64;
        let offset = start + (PAGE_HEADER_LEN + page.content.len()) as u64;
        page.content.extend_from_slice(node);
        Ok(offset)
    }

    /// Adds a page of tags.
    pub(crate) fn add_tags(&mut self, content: &[u8]) -> io::Result<()> {
        self.write_full()?;
        let number = self.next_number()?;
        let frame = Frame {
            kind: Kind::Tags,
            number,
            tag_page: number,
        };
        self.buffer.extend(frame.encode(self.key, content));
        self.tag_page = number;
        Ok(())
    }

    /// Writes what is left, and returns how many pages there are.
    pub(crate) fn finish(&mut self) -> io::Result<u32> {
        self.write_all()?;
        Ok(self.written)
    }

    fn next_number(&self) -> io::Result<u32> {
        let buffered = u32::try_from(self.buffer.len() / PAGE_LEN).ok();
        let number = buffered.and_then(|buffered| self.written.checked_add(buffered));
        // One below the highest, so that the number of pages is a number too.
        let number = number.filter(|&number| number < u32::MAX);
        number.ok_or_else(|| io::ErrorKind::FileTooLarge.into())
    }

    fn close_ids(&mut self) {
        let Some(IdPage { frame, content }) = self.ids.take() else {
            return;
        };
        let start = (frame.number - self.written) as usize * PAGE_LEN;
        if let Some(place) = self.buffer.get_mut(start..start + PAGE_LEN) {
            place.copy_from_slice(&frame.encode(self.key, &content));
        }
    }

    fn write_full(&mut self) -> io::Result<()> {
        if self.buffer.len() >= BUFFER_LEN {
            self.write_all()?;
        }
        Ok(())
    }

    fn write_all(&mut self) -> io::Result<()> {
        self.close_ids();
        let next = self.next_number()?;
        let offset = u64::from(self.written) * PAGE_LEN as u64;
        write_all_at(self.file.as_ref(), offset, &[&self.buffer])?;
        self.buffer.clear();
        self.written = next;
        Ok(())
    }
}
