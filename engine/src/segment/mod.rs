//! The files of a log in memory: sealed segments, opened when they are first read, and the tail.
//!
//! Readers need no lock: they take the list as it is, find the segment, and get a [`SegmentView`]
//! of bytes that no longer change. Which ids may be seen is decided above, by the published end.
//!
//! Knows the storage and the format; nothing of commits, indexes by tag, or retention.

mod active;
mod list;
mod offsets;
mod sealed;
mod view;

pub(crate) use active::ActiveSegment;
pub(crate) use list::{Segment, SegmentList};

pub(crate) use sealed::{SealedSegment, index_bytes};
pub(crate) use view::{Budget, SegmentView, describe};
