//! A segment that is never written again: opened when it is first read.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use parking_lot::Mutex;

use super::offsets::{GrowingOffsets, Offsets};
use super::view::SegmentView;
use crate::error::{Damage, ReadError};
use crate::format::batch::Chain;
use crate::format::index::{self, IndexHead};
use crate::format::names;
use crate::format::segment::{HeaderFault, SegmentHeader, SegmentKind};
use crate::position::EventId;
use crate::salvage::examine;
use crate::storage::{Access, Storage};

/// A sealed segment: known by its name, read on demand.
#[derive(Debug)]
pub(crate) struct SealedSegment {
    pub(crate) first: EventId,
    /// One past its last record: where the next segment begins.
    pub(crate) end: EventId,
    /// Bytes of its file, unused space included.
    pub(crate) file_len: u64,
    log_id: [u8; 16],
    view: OnceLock<SegmentView>,
    /// There is no index file, or a wrong one, and a new one is wanted.
    has_index_trouble: AtomicBool,
    /// Held while it is opened, so that many first readers open it once.
    opening: Mutex<()>,
}

impl SealedSegment {
    /// The segment that begins with `first` and goes up to `end`, not opened yet.
    pub(crate) fn new(first: EventId, end: EventId, file_len: u64, log_id: [u8; 16]) -> Self {
        Self {
            first,
            end,
            file_len,
            log_id,
            view: OnceLock::new(),
            has_index_trouble: AtomicBool::new(false),
            opening: Mutex::new(()),
        }
    }

    /// The segment that was the tail until now; it need not be opened again.
    pub(crate) fn from_view(view: SegmentView, file_len: u64) -> Self {
        let sealed = Self::new(view.header.first, view.end, file_len, view.header.log_id);
        let _first = sealed.view.set(view);
        sealed
    }

    /// The segment for reading. The first call maps the file and reads its sparse index, or
    /// rebuilds that with one scan.
    pub(crate) fn view(&self, storage: &Arc<dyn Storage>) -> Result<&SegmentView, ReadError> {
        if let Some(view) = self.view.get() {
            return Ok(view);
        }
        let _opening = self.opening.lock();
        if let Some(view) = self.view.get() {
            return Ok(view);
        }
        let view = self.open(storage)?;
        Ok(self.view.get_or_init(|| view))
    }

    /// Whether its file is mapped.
    pub(crate) fn is_open(&self) -> bool {
        self.view.get().is_some()
    }

    /// The same segment, not opened.
    pub(crate) fn closed(&self) -> Self {
        Self::new(self.first, self.end, self.file_len, self.log_id)
    }

    /// Whether the index file was found missing or wrong since this was asked last.
    pub(crate) fn take_index_trouble(&self) -> bool {
        self.has_index_trouble.swap(false, Ordering::Relaxed)
    }

    fn open(&self, storage: &Arc<dyn Storage>) -> Result<SegmentView, ReadError> {
        let name = names::segment(self.first);
        let file = match storage.open(&name, Access::Read) {
            Ok(file) => file,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                return Err(ReadError::Damaged(self.damage("the file is missing")));
            }
            Err(error) => return Err(error.into()),
        };
        file.freeze(file.len());
        let bytes = file.frozen()?;
        let header = SegmentHeader::decode(&bytes).map_err(|fault| {
            ReadError::Damaged(self.damage(match fault {
                HeaderFault::Damaged | HeaderFault::Impossible => "the segment's header is damaged",
                HeaderFault::Newer(_) => "the segment is of a newer format",
            }))
        })?;
        if header.kind != SegmentKind::Events
            || header.log_id != self.log_id
            || header.first != self.first
        {
            return Err(ReadError::Damaged(
                self.damage("the file belongs to another log or another place"),
            ));
        }
        let offsets = match self.stored_offsets(storage) {
            Some(offsets) => offsets,
            None => {
                self.has_index_trouble.store(true, Ordering::Relaxed);
                Offsets::Growing(Arc::new(scan_offsets(&bytes, &header, self.end)))
            }
        };
        Ok(SegmentView {
            header,
            masks: header.masks(),
            bytes,
            offsets,
            end: self.end,
            #[cfg(feature = "sabotage")]
            is_trusting: false,
        })
    }

    /// The offsets from the index file; none if it is missing or anything about it is wrong, for
    /// then a scan of the segment gives the same.
    fn stored_offsets(&self, storage: &Arc<dyn Storage>) -> Option<Offsets> {
        let file = storage.open(&names::index(self.first), Access::Read).ok()?;
        file.freeze(file.len());
        let file = file.frozen().ok()?;
        let (head, offsets) = index::decode(&file)?;
        let fits = head.first == self.first && head.end == self.end && head.log_id == self.log_id;
        fits.then_some(Offsets::Stored { file, offsets })
    }

    fn damage(&self, what: &str) -> Damage {
        Damage {
            file: names::segment(self.first),
            offset: 0,
            first_id: Some(self.first),
            last_id: EventId::new(self.end.get().saturating_sub(1)),
            what: what.to_owned(),
        }
    }
}

/// The sparse index of a sealed segment as the bytes of its file.
pub(crate) fn index_bytes(view: &SegmentView, last_recorded_us: u64, data_end: u64) -> Vec<u8> {
    let head = IndexHead {
        log_id: view.header.log_id,
        first: view.header.first,
        end: view.end,
        data_end,
        last_recorded_us,
    };
    let count = index::slot_count(head.first, head.end);
    let offsets = (0..count as u64).map(|slot| {
        let id = head.first.get() + slot * index::EVERY;
        EventId::new(id).map_or(0, |id| {
            u32::try_from(view.offsets.at_or_below(head.first, id).1).unwrap_or(0)
        })
    });
    index::encode(&head, offsets)
}

/// Finds the offsets by walking the batches, on behind damage, so that the records there stay
/// reachable.
fn scan_offsets(bytes: &Bytes, header: &SegmentHeader, end: EventId) -> GrowingOffsets {
    let offsets = GrowingOffsets::new(bytes.len() as u64);
    let start = Chain::start(header);
    examine(bytes, header.masks(), start, Some(end), &mut |place| {
        let index = place.id.get().saturating_sub(header.first.get());
        offsets.note(index, place.offset);
    });
    offsets
}
