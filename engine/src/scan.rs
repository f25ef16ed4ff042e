//! Reading ranges: by id, by tags, and as raw bytes for bulk replay.

use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;

use crate::error::ReadError;
use crate::format::{names, piece};
use crate::position::{Direction, EventId};
use crate::records::Records;
use crate::segment::{Budget, Segment, SegmentList, SegmentView};
use crate::shared::Shared;
use crate::tags::{Query, QueryIds, TagError};

/// A read in progress. Ids are fixed when it begins: what is appended later is not part of it.
#[derive(Debug)]
pub struct Scan {
    shared: Arc<Shared>,
    direction: Direction,
    /// What is left of the range.
    left: Range<EventId>,
    /// The ids that match, if the read is by tags.
    matches: Option<QueryIds>,
    /// A match that did not fit into the last answer.
    held_back: Option<EventId>,
}

impl Scan {
    pub(crate) fn range(
        shared: &Arc<Shared>,
        range: Range<EventId>,
        direction: Direction,
    ) -> Result<Self, ReadError> {
        Ok(Self {
            left: clip(shared, range)?,
            shared: Arc::clone(shared),
            direction,
            matches: None,
            held_back: None,
        })
    }

    pub(crate) fn query(
        shared: &Arc<Shared>,
        query: &Query,
        range: Range<EventId>,
        direction: Direction,
    ) -> Result<Self, ReadError> {
        let mut scan = Self::range(shared, range, direction)?;
        if scan.left.is_empty() {
            return Ok(scan);
        }
        let view = shared.tags.view(scan.left.start.get(), scan.left.end.get());
        let from = match direction {
            Direction::Forward => scan.left.start.get(),
            Direction::Backward => scan.left.end.get() - 1,
        };
        scan.matches = Some(view.query(query, direction, from));
        Ok(scan)
    }

    /// The next records: at most `records_max` of them, and at most `bytes_max` encoded bytes unless
    /// the first alone is longer. `None` when the range is done. Stops early where a segment ends,
    /// so a short answer says nothing about the end.
    ///
    /// May touch the disk: the first read of a segment maps it, and cold pages are fetched.
    ///
    /// # Errors
    ///
    /// - [`ReadError::Damaged`]: the next record cannot be read; all before it have been handed out.
    ///   Asking again gives the same error; a new read from the id behind it goes on.
    /// - [`ReadError::Expired`]: retention has overtaken this read.
    /// - [`ReadError::IndexNotReady`]: a piece of the tag index is being rebuilt.
    pub fn next_records(
        &mut self,
        records_max: usize,
        bytes_max: usize,
    ) -> Result<Option<Records>, ReadError> {
        if self.left.is_empty() || records_max == 0 {
            return Ok(None);
        }
        let mut budget = Budget {
            records: records_max,
            bytes: bytes_max,
        };
        let mut records = Records::default();
        match (&self.matches, self.direction) {
            (Some(_), _) => self.next_matches(&mut budget, &mut records)?,
            (None, Direction::Forward) => {
                let (view, until) = self.segment_from(self.left.start)?;
                self.left.start = view
                    .run(self.left.start, until, &mut budget, &mut records)
                    .map_err(ReadError::Damaged)?;
            }
            (None, Direction::Backward) => {
                let last = EventId::new(self.left.end.get() - 1).unwrap_or(EventId::FIRST);
                let (view, _) = self.segment_from(last)?;
                let behind_gap = self.shared.losses.end_before(self.left.end);
                let from = self.left.start.max(view.header.first);
                let from = behind_gap.map_or(from, |behind| from.max(behind));
                self.left.end = view
                    .run_back(from, self.left.end, &mut budget, &mut records)
                    .map_err(ReadError::Damaged)?;
            }
        }
        Ok((!records.is_empty()).then_some(records))
    }

    /// The segment of `id`, and where the part of the range that lies in it ends.
    fn segment_from(&self, id: EventId) -> Result<(SegmentView, EventId), ReadError> {
        segment_from(&self.shared, id, self.left.end)
    }

    fn next_matches(
        &mut self,
        budget: &mut Budget,
        records: &mut Records,
    ) -> Result<(), ReadError> {
        let mut current: Option<(SegmentView, EventId)> = None;
        loop {
            let held_back = self.held_back.take();
            let id = match held_back {
                Some(id) => id,
                None => match self.next_match(records)? {
                    Some(id) => id,
                    None => return Ok(()),
                },
            };
            let in_current = current
                .as_ref()
                .is_some_and(|(view, until)| id >= view.header.first && id < *until);
            if !in_current {
                let segment = match self.segment_from(id) {
                    Ok(segment) => segment,
                    Err(error) => return self.give_up(id, records, error),
                };
                records.push_part(&segment.0);
                current = Some(segment);
            }
            let Some((view, _)) = &current else {
                return Ok(());
            };
            match view.find(id) {
                Ok((_, offset, len)) => {
                    if !budget.take(len, records.is_empty()) {
                        self.held_back = Some(id);
                        return Ok(());
                    }
                    records.push(u32::try_from(offset).unwrap_or(u32::MAX), len);
                }
                Err(damage) => return self.give_up(id, records, ReadError::Damaged(damage)),
            }
        }
    }

    /// The next id that matches; at the end the range is done.
    fn next_match(&mut self, records: &Records) -> Result<Option<EventId>, ReadError> {
        let Some(matches) = &mut self.matches else {
            return Ok(None);
        };
        match matches.next_id() {
            Ok(Some(id)) => Ok(EventId::new(id)),
            Ok(None) => {
                self.left.end = self.left.start;
                Ok(None)
            }
            // What was found before the trouble is handed out first.
            Err(_) if !records.is_empty() => Ok(None),
            Err(error) => Err(index_error(&self.shared, error)),
        }
    }

    /// Hands out what there is; the trouble with `id` comes first the next time.
    fn give_up(
        &mut self,
        id: EventId,
        records: &Records,
        error: ReadError,
    ) -> Result<(), ReadError> {
        self.held_back = Some(id);
        if records.is_empty() {
            Err(error)
        } else {
            Ok(())
        }
    }
}

/// A bulk read: the records of a range as they lie in the log (FORMAT.md, section 16).
#[derive(Debug)]
pub struct RawScan {
    shared: Arc<Shared>,
    left: Range<EventId>,
    /// The segment whose piece header has been sent.
    announced: Option<EventId>,
}

impl RawScan {
    pub(crate) fn new(shared: &Arc<Shared>, range: Range<EventId>) -> Result<Self, ReadError> {
        Ok(Self {
            left: clip(shared, range)?,
            shared: Arc::clone(shared),
            announced: None,
        })
    }

    /// The next stretch of the stream, about `bytes_max` long, in slices that share the segment's
    /// memory; `None` when the range is done. Every record in it has been checked.
    ///
    /// # Errors
    ///
    /// As [`Scan::next_records`]; everything before the trouble has been handed out.
    pub fn next_piece(&mut self, bytes_max: usize) -> Result<Option<Vec<Bytes>>, ReadError> {
        if self.left.is_empty() {
            return Ok(None);
        }
        let (view, until) = segment_from(&self.shared, self.left.start, self.left.end)?;
        let (start, end, next) = view
            .stretch(self.left.start, until, bytes_max)
            .map_err(ReadError::Damaged)?;
        let mut slices = Vec::with_capacity(2);
        if self.announced != Some(view.header.first) {
            slices.push(Bytes::from(piece::encode(&view.header)));
            self.announced = Some(view.header.first);
        }
        slices.push(view.bytes.slice(start..end));
        self.left.start = next;
        Ok(Some(slices))
    }
}

/// What a reader is told of an id that is lost and known to be lost, with all the ids of its gap; so
/// it need not be told of each.
fn refuse_lost(shared: &Shared, list: &SegmentList, id: EventId) -> Result<(), ReadError> {
    let Some((from, until)) = shared.losses.gap_of(id) else {
        return Ok(());
    };
    let segment = list.find(id).map_or(id, Segment::first);
    let file = names::segment(segment);
    Err(ReadError::Damaged(shared.losses.damage(file, from..until)))
}

/// The part of `range` that can be read now.
fn clip(shared: &Shared, range: Range<EventId>) -> Result<Range<EventId>, ReadError> {
    let end = range.end.min(shared.published());
    let first_id = shared.first();
    if range.start < first_id && range.start < range.end {
        return Err(ReadError::Expired { first_id });
    }
    Ok(range.start..end.max(range.start))
}

fn segment_from(
    shared: &Shared,
    id: EventId,
    until: EventId,
) -> Result<(SegmentView, EventId), ReadError> {
    let list = shared.segments.load();
    let Some(segment) = list.find(id) else {
        return Err(ReadError::Expired {
            first_id: list.first(),
        });
    };
    refuse_lost(shared, &list, id)?;
    let end = list.end_of(id, until.min(shared.published()));
    // What was cut may still lie behind the records that count.
    let gap = shared.losses.next_from(id);
    let end = gap.map_or(end, |gap| end.min(gap));
    #[cfg(feature = "sabotage")]
    let is_trusting = shared.options.has(crate::Sabotage::ChecksumIgnored);
    match segment.view(&shared.storage, end) {
        #[cfg(feature = "sabotage")]
        Ok(view) if is_trusting => Ok((
            SegmentView {
                is_trusting,
                ..view
            },
            end,
        )),
        Ok(view) => Ok((view, end)),
        // Retention may have removed the file after the list was looked at.
        Err(_) if id < shared.first() => Err(ReadError::Expired {
            first_id: shared.first(),
        }),
        Err(error) => Err(error),
    }
}

/// What a question to the tag index that failed means for a reader.
pub(crate) fn index_error(shared: &Shared, error: TagError) -> ReadError {
    shared.note_index_trouble(&error);
    match error {
        TagError::Io(error) => error.into(),
        TagError::Missing { .. } | TagError::Damaged(_) | TagError::RankGap { .. } => {
            ReadError::IndexNotReady
        }
    }
}

/// The one record `id`, which has been published.
pub(crate) fn read(shared: &Shared, id: EventId) -> Result<Records, ReadError> {
    let until = id.next().unwrap_or(EventId::MAX);
    let (view, _) = segment_from(shared, id, until)?;
    let (_, offset, len) = view.find(id).map_err(ReadError::Damaged)?;
    let mut records = Records::default();
    records.push_part(&view);
    records.push(u32::try_from(offset).unwrap_or(u32::MAX), len);
    Ok(records)
}
