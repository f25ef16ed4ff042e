//! The segments of a log in id order.

use std::sync::Arc;

use super::active::ActiveSegment;
use super::sealed::SealedSegment;
use super::view::SegmentView;
use crate::error::ReadError;
use crate::position::EventId;
use crate::storage::Storage;

/// A segment, sealed or still written.
#[derive(Clone, Debug)]
pub(crate) enum Segment {
    Sealed(Arc<SealedSegment>),
    Active(ActiveSegment),
}

impl Segment {
    /// The id of its first record.
    pub(crate) fn first(&self) -> EventId {
        match self {
            Self::Sealed(sealed) => sealed.first,
            Self::Active(active) => active.header.first,
        }
    }

    /// Bytes of its file, unused space included.
    pub(crate) fn file_len(&self) -> u64 {
        match self {
            Self::Sealed(sealed) => sealed.file_len,
            Self::Active(active) => active.file.len(),
        }
    }

    /// What may be read of it: `end` is the log's published end.
    pub(crate) fn view(
        &self,
        storage: &Arc<dyn Storage>,
        end: EventId,
    ) -> Result<SegmentView, ReadError> {
        match self {
            Self::Sealed(sealed) => sealed.view(storage).cloned(),
            Self::Active(active) => Ok(active.view(end)?),
        }
    }
}

/// All segments, oldest first; the last one is the tail. Never empty while a log is open. A list is
/// never changed: the next one replaces it.
#[derive(Clone, Debug)]
pub(crate) struct SegmentList {
    /// The first ids apart, so that finding a segment touches one small array.
    firsts: Vec<u64>,
    segments: Vec<Segment>,
}

impl SegmentList {
    pub(crate) fn new(segments: Vec<Segment>) -> Self {
        Self {
            firsts: segments
                .iter()
                .map(|segment| segment.first().get())
                .collect(),
            segments,
        }
    }

    /// The segment in which `id` lies, if it is not below the first.
    pub(crate) fn find(&self, id: EventId) -> Option<&Segment> {
        self.segments.get(self.position(id)?)
    }

    /// Where in the list the segment of `id` stands.
    pub(crate) fn position(&self, id: EventId) -> Option<usize> {
        self.firsts
            .partition_point(|first| *first <= id.get())
            .checked_sub(1)
    }

    /// Where the segment of `id` ends: the first id of the next one, or `end` for the tail.
    pub(crate) fn end_of(&self, id: EventId, end: EventId) -> EventId {
        self.position(id)
            .and_then(|position| self.firsts.get(position + 1))
            .and_then(|first| EventId::new(*first))
            .map_or(end, |first| first.min(end))
    }

    pub(crate) fn segments(&self) -> &[Segment] {
        &self.segments
    }

    /// The oldest id that is kept.
    pub(crate) fn first(&self) -> EventId {
        self.segments.first().map_or(EventId::FIRST, Segment::first)
    }
}
