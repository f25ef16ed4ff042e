//! An index and its naive twin, driven side by side.

use std::collections::BTreeMap;
use std::io;
use std::ops::Range;
use std::sync::Arc;

use crate::storage::Storage;
use crate::tags::{
    Direction, MemoryTags, Query, Span, TagEnd, TagError, TagIndex, TagView, TagWriter, tag_hash,
};

/// A log that keeps the tags of all its events, and the index of it.
pub(crate) struct Twin {
    pub(crate) storage: Arc<dyn Storage>,
    pub(crate) index: Arc<TagIndex>,
    writer: Option<TagWriter>,
    pub(crate) log: Log,
}

/// The naive twin: what an index is derived from.
#[derive(Clone, Debug)]
pub(crate) struct Log {
    /// First ids of the segments, the active one's last.
    pub(crate) segments: Vec<u64>,
    pub(crate) next_id: u64,
    /// The ids of each tag with their ranks, expired ones too.
    pub(crate) tags: BTreeMap<Vec<u8>, Vec<(u64, u64)>>,
}

impl Log {
    pub(crate) fn new() -> Self {
        Self {
            segments: vec![1],
            next_id: 1,
            tags: BTreeMap::new(),
        }
    }

    pub(crate) fn first(&self) -> u64 {
        self.segments[0]
    }

    pub(crate) fn active_first(&self) -> u64 {
        *self.segments.last().unwrap()
    }

    pub(crate) fn sealed(&self) -> Vec<Span> {
        let pairs = self.segments.windows(2);
        pairs
            .map(|pair| Span {
                first: pair[0],
                end: pair[1],
            })
            .collect()
    }

    /// What a rebuild from the records of these ids gives.
    pub(crate) fn memory(&self, ids: Range<u64>) -> MemoryTags {
        let mut memory = MemoryTags::new(ids.start);
        for (tag, all) in &self.tags {
            for &(id, rank) in all.iter().filter(|(id, _)| ids.contains(id)) {
                memory.insert(tag, tag_hash(tag), id, rank).unwrap();
            }
        }
        memory
    }

    /// The ids of `tag` in a view, with ranks.
    pub(crate) fn ids(&self, tag: &[u8], first: u64, end: u64) -> Vec<(u64, u64)> {
        let first = first.max(self.first());
        let all = self.tags.get(tag).into_iter().flatten();
        all.filter(|(id, _)| (first..end).contains(id))
            .copied()
            .collect()
    }

    pub(crate) fn end_of(&self, tag: &[u8], first: u64, end: u64) -> Option<TagEnd> {
        let &(last_id, rank) = self.ids(tag, first, end).last()?;
        Some(TagEnd {
            count: rank + 1,
            last_id,
        })
    }
}

impl Twin {
    pub(crate) fn new(storage: Arc<dyn Storage>) -> Self {
        Self::open(storage).unwrap()
    }

    pub(crate) fn open(storage: Arc<dyn Storage>) -> io::Result<Self> {
        let index = Arc::new(TagIndex::open(Arc::clone(&storage), &[], 1)?);
        Ok(Self {
            storage,
            writer: Some(TagWriter::new(Arc::clone(&index))),
            index,
            log: Log::new(),
        })
    }

    pub(crate) fn append(&mut self, tags: &[Vec<u8>]) {
        let writer = self.writer.as_mut().unwrap();
        let id = self.log.next_id;
        for tag in tags {
            let hash = tag_hash(tag);
            let expected = self.log.end_of(tag, 0, u64::MAX);
            if expected.is_some_and(|end| end.last_id == id) {
                continue;
            }
            let end = writer.push_next(tag, hash, id).unwrap();
            assert_eq!(end, expected, "{tag:?}");
            let rank = end.map_or(0, |end| end.count);
            let all = self.log.tags.entry(tag.clone()).or_default();
            all.push((id, rank));
        }
        self.log.next_id += 1;
    }

    /// Appends without asking the index, whose disk may have failed.
    pub(crate) fn append_unasked(&mut self, tags: &[Vec<u8>]) {
        let id = self.log.next_id;
        for tag in tags {
            let end = self.log.end_of(tag, 0, u64::MAX);
            if end.is_some_and(|end| end.last_id == id) {
                continue;
            }
            let rank = end.map_or(0, |end| end.count);
            let writer = self.writer.as_mut().unwrap();
            writer.push(tag, tag_hash(tag), id, rank);
            let all = self.log.tags.entry(tag.clone()).or_default();
            all.push((id, rank));
        }
        self.log.next_id += 1;
    }

    /// Pushes an event and takes it back.
    pub(crate) fn refuse(&mut self, tags: &[Vec<u8>]) {
        let writer = self.writer.as_mut().unwrap();
        let mark = writer.mark();
        for tag in tags {
            writer
                .push_next(tag, tag_hash(tag), self.log.next_id)
                .unwrap();
        }
        writer.rollback(mark);
    }

    pub(crate) fn apply(&mut self) {
        self.writer.as_mut().unwrap().apply();
    }

    pub(crate) fn roll(&mut self) {
        self.apply();
        if self.log.next_id > self.log.active_first() {
            self.log.segments.push(self.log.next_id);
        }
        self.index.roll(self.log.next_id);
    }

    pub(crate) fn expire(&mut self, segments: usize) {
        let gone = segments.min(self.log.segments.len() - 1);
        self.log.segments.drain(..gone);
        let first = self.log.first();
        self.index.expire(first).unwrap();
    }

    /// Closes the index and opens it again, as after a stop without a last flush.
    pub(crate) fn reopen(&mut self) {
        self.apply();
        self.writer = None;
        let index = TagIndex::open(
            Arc::clone(&self.storage),
            &self.log.sealed(),
            self.log.active_first(),
        );
        self.index = Arc::new(index.unwrap());
        let mut writer = TagWriter::new(Arc::clone(&self.index));
        for (tag, all) in &self.log.tags {
            let active = all.iter().filter(|(id, _)| *id >= self.log.active_first());
            for &(id, rank) in active {
                writer.push(tag, tag_hash(tag), id, rank);
            }
        }
        writer.apply();
        self.writer = Some(writer);
        self.rebuild();
    }

    /// Provides what is missing.
    pub(crate) fn rebuild(&self) {
        for span in self.index.missing() {
            let memory = self.log.memory(span.first..span.end);
            assert!(self.index.provide(span, memory));
        }
        assert_eq!(self.index.missing(), []);
    }

    /// Everything that is applied.
    pub(crate) fn view(&self) -> TagView {
        self.index.view(0, self.log.next_id)
    }

    /// Asks about everything and compares.
    #[track_caller]
    pub(crate) fn check_all(&self) {
        self.check_view(0, self.log.next_id);
    }

    /// Asks about everything in `first..end` and compares.
    #[track_caller]
    pub(crate) fn check_view(&self, first: u64, end: u64) {
        check_view(&self.log, &self.index, first, end).unwrap();
    }
}

/// Compares every answer for `first..end` with the twin's; an error is not a wrong answer.
#[track_caller]
pub(crate) fn check_view(
    log: &Log,
    index: &TagIndex,
    first: u64,
    end: u64,
) -> Result<(), TagError> {
    let view = index.view(first, end);
    let mut listed = Vec::new();
    for tag in log.tags.keys() {
        let want = log.ids(tag, first, end);
        assert_eq!(view.end_of(tag)?, log.end_of(tag, first, end), "{tag:?}");
        if let Some(end) = log.end_of(tag, first, end) {
            listed.push((tag.clone(), end));
        }
        let up: Vec<u64> = want.iter().map(|(id, _)| *id).collect();
        let got = collect(&view, tag, Direction::Forward, 0)?;
        assert_eq!(got, up, "{tag:?} up");
        let mut got = collect(&view, tag, Direction::Backward, u64::MAX)?;
        got.reverse();
        assert_eq!(got, up, "{tag:?} down");
        for at in [
            0,
            want.len() / 3,
            want.len() / 2,
            want.len().saturating_sub(1),
        ] {
            if let Some(&(id, rank)) = want.get(at) {
                assert_eq!(view.id_at_rank(tag, rank)?, Some(id), "{tag:?} {rank}");
                let mut ids = view.ids(tag, Direction::Forward, id.saturating_sub(1));
                let near = up.iter().find(|&&it| it + 1 >= id).copied();
                assert_eq!(ids.next_id()?, near);
            }
        }
        let next = want.last().map_or(0, |(_, rank)| rank + 1);
        assert_eq!(view.id_at_rank(tag, next)?, None, "{tag:?} {next}");
    }
    assert_eq!(view.end_of(b"nobody has this")?, None);
    assert_eq!(view.list(b"", None, usize::MAX)?, listed);
    Ok(())
}

pub(crate) fn collect(
    view: &TagView,
    tag: &[u8],
    direction: Direction,
    from: u64,
) -> Result<Vec<u64>, TagError> {
    let mut ids = view.ids(tag, direction, from);
    let mut all = Vec::new();
    while let Some(id) = ids.next_id()? {
        all.push(id);
    }
    Ok(all)
}

pub(crate) fn collect_query(
    view: &TagView,
    query: &Query,
    direction: Direction,
    from: u64,
) -> Result<Vec<u64>, TagError> {
    let mut ids = view.query(query, direction, from);
    let mut all = Vec::new();
    while let Some(id) = ids.next_id()? {
        all.push(id);
    }
    Ok(all)
}
