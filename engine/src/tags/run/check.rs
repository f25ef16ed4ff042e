//! Verifying a whole run.

use super::filter;
use super::header::{Header, run_key};
use super::image::{Image, Want};
use super::name::RunName;
use super::page::Frame;
use super::scan::TagScan;
use super::{Bad, page_of};
use crate::tags::posting::Window;
use crate::tags::{Span, TagDamage, tag_hash};

/// What a sound run file holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RunReport {
    /// The ids that it answers for.
    pub span: Span,
    /// How many tags it has.
    pub tags: u64,
    /// How many ids its tags have, all together.
    pub ids: u64,
}

/// Verifies every byte of a run file that means something, and everything that its parts say about
/// each other. Any bytes will do: it never panics.
///
/// # Errors
///
/// The first thing that is wrong.
pub(crate) fn check_run(file: &str, bytes: &[u8]) -> Result<RunReport, TagDamage> {
    check(file, bytes).map_err(|bad| TagDamage {
        file: file.to_owned(),
        offset: bad.offset,
        what: bad.what,
    })
}

fn check(file: &str, bytes: &[u8]) -> Result<RunReport, Bad> {
    let header = Header::decode(bytes)?;
    let name = RunName {
        span: header.span,
        level: header.level,
    };
    if name.to_string() != file {
        return Err(Bad {
            offset: 0,
            what: "the file has the name of another one",
        });
    }
    let key = run_key(header.span, header.level);
    let image = Image { bytes, header, key };
    for number in 1..header.pages {
        Frame::decode(image.page(number)?, number, key)?;
    }
    for number in 0..header.filter_blocks {
        let (offset, block) = image.filter_block(number)?;
        if !filter::is_sound(block, number, key) {
            let what = "the checksum of a filter block is wrong";
            return Err(Bad { offset, what });
        }
    }
    let (mut tags, mut ids) = (0_u64, 0_u64);
    let mut scan = TagScan::new(image);
    while let Some(entry) = scan.next()? {
        let bad = |what| page_of(scan.number(), what);
        let hash = tag_hash(scan.tag());
        if !image.filter_lets_through(hash)? {
            return Err(bad("the filter does not know a tag"));
        }
        if image.find(scan.tag(), hash)? != Some(entry) {
            return Err(bad("a tag is not found where it is"));
        }
        ids = ids.saturating_add(check_ids(&image, &entry, hash).map_err(
            |it| match it.offset {
                0 => bad(it.what),
                _ => it,
            },
        )?);
        tags += 1;
    }
    if (tags, ids) != (header.tags, header.pairs) {
        return Err(Bad {
            offset: 0,
            what: "the counts of the header are wrong",
        });
    }
    let span = header.span;
    Ok(RunReport { span, tags, ids })
}

/// Goes through all ids of a tag, and returns how many there are.
fn check_ids(image: &Image<'_>, entry: &super::Entry<'_>, hash: u64) -> Result<u64, Bad> {
    let bad = |what| Bad { offset: 0, what };
    let mut window = Window::default();
    let (mut rank, end) = (entry.first_rank, entry.end().count);
    let mut last = None;
    while rank < end {
        image.load(entry, hash, Want::Rank(rank), &mut window)?;
        let is_next = window.first_rank == rank
            && window.ids.first().is_some_and(|&first| last < Some(first));
        if !is_next {
            return Err(bad("the ids of a tag do not ascend"));
        }
        if last.is_none() && window.ids.first() != Some(&entry.first_id) {
            return Err(bad("a tag has another first id"));
        }
        last = window.ids.last().copied();
        rank += window.ids.len() as u64;
    }
    if rank != end || last != Some(entry.last_id) {
        return Err(bad("a tag has another last id"));
    }
    Ok(entry.count)
}
