//! All tags of a run, in byte order.

use super::entry::Entry;
use super::image::Image;
use super::page::Kind;
use super::tag_page::TagPage;
use super::{Bad, page_of};

/// Goes through the tags of a run, in byte order.
///
/// Each page must begin where the one before it ended, and the last one must have no end, so no tag
/// is left out unnoticed.
#[derive(Clone, Debug)]
pub(crate) struct TagScan<'a> {
    image: Image<'a>,
    page: Option<TagPage<'a>>,
    /// The number of `page`, or 0.
    number: u32,
    tag: Vec<u8>,
    entry: Option<Entry<'a>>,
}

impl<'a> TagScan<'a> {
    /// Before the first tag of all.
    pub(crate) fn new(image: Image<'a>) -> Self {
        Self {
            image,
            page: None,
            number: 0,
            tag: Vec::new(),
            entry: None,
        }
    }

    /// At the first tag that is not below `from`.
    pub(crate) fn at(image: Image<'a>, from: &[u8]) -> Result<Self, Bad> {
        let mut scan = Self::new(image);
        if image.header.tags == 0 {
            return Ok(scan);
        }
        let (number, page) = image.tag_page_of(from)?;
        scan.number = number;
        scan.page = Some(page);
        while scan.next()?.is_some() && scan.tag() < from {}
        Ok(scan)
    }

    /// The tag this is at; empty before the first and after the last one.
    pub(crate) fn tag(&self) -> &[u8] {
        &self.tag
    }

    /// What the run knows about the tag this is at; `None` before the first and after the last one.
    pub(crate) fn entry(&self) -> Option<Entry<'a>> {
        self.entry
    }

    /// The number of the page this is at.
    pub(crate) fn number(&self) -> u32 {
        self.number
    }

    /// Goes to the next tag.
    pub(crate) fn next(&mut self) -> Result<Option<Entry<'a>>, Bad> {
        self.entry = None;
        if self.page.as_ref().is_none_or(TagPage::is_at_end) && !self.next_page()? {
            self.tag.clear();
            return Ok(None);
        }
        let Some(page) = &mut self.page else {
            return Ok(None);
        };
        let bad = |what| page_of(self.number, what);
        let bytes = page.take_next(&mut self.tag);
        let bytes = bytes.ok_or(bad("the entries cannot be read"))?;
        let entry = Entry::decode(bytes, self.image.header.span);
        self.entry = Some(entry.ok_or(bad("an entry contradicts itself"))?);
        Ok(self.entry)
    }

    /// Goes to the next page of tags; `false` at the end.
    fn next_page(&mut self) -> Result<bool, Bad> {
        let lower = self.page.as_ref().map_or(Some(&[][..]), |page| page.upper);
        for number in self.number + 1..self.image.header.pages {
            if self.image.peek(number)?.0.kind == Kind::Ids {
                continue;
            }
            let page = self.image.tag_page(number)?;
            if Some(page.lower) != lower || page.is_at_end() {
                return Err(page_of(number, "pages are out of order"));
            }
            self.number = number;
            self.page = Some(page);
            self.tag.clear();
            return Ok(true);
        }
        // The last page has no upper bound, and without any page there are no tags.
        let is_end = match self.page {
            Some(_) => lower.is_none(),
            None => self.image.header.tags == 0,
        };
        if !is_end {
            return Err(page_of(self.number, "later pages are missing"));
        }
        Ok(false)
    }
}
