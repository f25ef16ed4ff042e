//! A read of the records as they lie in the log.

use std::ops::Range;

use bytes::Bytes;

use crate::store::{EventId, RawPieces, ReadError};

use super::super::Log;
use super::super::failure::Failure;
use super::{Selection, Settled};

/// A read of the records as they lie in the log, for bulk replay (docs/RECORDS.md).
#[derive(Debug)]
pub struct RawReading {
    log: Log,
    settled: Settled,
    /// None once the range is used up.
    pieces: Option<Box<dyn RawPieces>>,
    has_begun: bool,
}

impl RawReading {
    pub(super) async fn begin(
        log: &Log,
        selection: &Selection,
        mut settled: Settled,
    ) -> Result<Self, Failure> {
        if let Some(limit) = selection.limit {
            // Ids are dense, so so many events are so many ids.
            let end = settled.ids.start.get().saturating_add(limit);
            let end = EventId::new(end).unwrap_or(EventId::MAX);
            settled.ids.end = settled.ids.end.min(end);
        }
        let pieces = open(log, &mut settled).await?;
        Ok(Self {
            log: log.clone(),
            settled,
            pieces,
            has_begun: false,
        })
    }

    /// The ids the read goes over, half-open.
    #[must_use]
    pub fn ids(&self) -> Range<EventId> {
        self.settled.ids.clone()
    }

    /// The end of the log when the read began.
    pub(super) fn end(&self) -> EventId {
        self.settled.end
    }

    /// The last id of the log when the read began; 0 if it was empty.
    #[must_use]
    pub fn last_id(&self) -> u64 {
        self.settled.end.get() - 1
    }

    /// Whether the same selection will always give these bytes, retention aside.
    #[must_use]
    pub fn is_settled(&self) -> bool {
        self.settled.fixed
    }

    /// The next piece of the stream, about `bytes_max` long, in slices that are not copied. `None`
    /// at the end.
    ///
    /// # Errors
    ///
    /// [`Failure`] if it cannot be read; nothing is skipped.
    pub async fn next_piece(&mut self, bytes_max: usize) -> Result<Option<Vec<Bytes>>, Failure> {
        loop {
            let Some(pieces) = &mut self.pieces else {
                return Ok(None);
            };
            match pieces.next_piece(bytes_max).await {
                Ok(Some(piece)) => {
                    self.has_begun = true;
                    return Ok(Some(piece));
                }
                Ok(None) => self.pieces = None,
                // As for any other read: see there.
                Err(ReadError::Expired { first_id })
                    if !self.settled.named_start
                        && !self.has_begun
                        && first_id > self.settled.ids.start =>
                {
                    self.settled.ids.start = first_id;
                    self.pieces = open(&self.log, &mut self.settled).await?;
                }
                Err(error) => return Err(error.into()),
            }
        }
    }
}

/// Opens the pieces of a range; none if it is empty. Begins where the log does by now if the caller
/// did not name where.
async fn open(log: &Log, settled: &mut Settled) -> Result<Option<Box<dyn RawPieces>>, Failure> {
    loop {
        if settled.ids.is_empty() {
            return Ok(None);
        }
        match log.store.read_raw(settled.ids.clone()).await {
            Ok(pieces) => return Ok(Some(pieces)),
            Err(ReadError::Expired { first_id })
                if !settled.named_start && first_id > settled.ids.start =>
            {
                settled.ids.start = first_id;
            }
            Err(error) => return Err(error.into()),
        }
    }
}
