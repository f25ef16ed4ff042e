//! The tail: the one segment that is still written.

use std::io;
use std::sync::Arc;

use super::offsets::{GrowingOffsets, Offsets};
use super::view::SegmentView;
use crate::format::segment::{Masks, SegmentHeader};
use crate::position::EventId;
use crate::storage::StorageFile;

/// What readers and the writer share of the tail.
#[derive(Clone, Debug)]
pub(crate) struct ActiveSegment {
    pub(crate) header: SegmentHeader,
    pub(crate) masks: Masks,
    pub(crate) file: Arc<dyn StorageFile>,
    pub(crate) offsets: Arc<GrowingOffsets>,
}

impl ActiveSegment {
    /// The tail in `file`, whose header is in place.
    pub(crate) fn new(header: SegmentHeader, file: Arc<dyn StorageFile>) -> Self {
        Self {
            header,
            masks: header.masks(),
            offsets: Arc::new(GrowingOffsets::new(file.len())),
            file,
        }
    }

    /// What may be read of it: the records before `end`, which has been published.
    pub(crate) fn view(&self, end: EventId) -> io::Result<SegmentView> {
        Ok(SegmentView {
            header: self.header,
            masks: self.masks,
            bytes: self.file.frozen()?,
            offsets: Offsets::Growing(Arc::clone(&self.offsets)),
            end,
            #[cfg(feature = "sabotage")]
            is_trusting: false,
        })
    }
}
