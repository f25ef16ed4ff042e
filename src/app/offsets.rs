//! Offsets: how many events of one type in one stream a consumer has done with.
//!
//! Consumers of this kind are not defined before they are used, there may be millions of them, and
//! each move must be durable and linearizable. So a place is not a checkpoint, of which a log keeps
//! a bounded number in memory, but the last record with its tag in a log of the server's own
//! ([`LogName::offsets`], docs/RECORDS.md, section 3). A move is an append that expects as many
//! moves before it as its caller has seen: of two at the same time one is refused. Nothing of it is
//! held in memory.
//!
//! That log would grow for ever, so `sweep.rs` carries what is still in force to its end and lets
//! the front go.

use std::collections::HashMap;

use crate::store::{AppendError, Batch, Durability, EventId, LogName, ReadError, TagEnd};

use super::failure::{Code, Failure};
use super::limits::LIST_MAX;
use super::name::StreamName;
use super::{App, Log};

mod record;
mod sweep;

pub use record::{Offset, OffsetKey};
pub(super) use sweep::Sweeper;

/// How often a move is put together anew, and a place looked up again. Each round but the first
/// means that the place was moved, or carried to the log's end, in between.
const ROUNDS_MAX: usize = 8;

/// A move of an offset.
#[derive(Clone, Copy, Debug)]
pub struct OffsetMove {
    /// Where it was seen; none if it was never moved.
    pub from: Option<Offset>,
    /// Where it goes.
    pub to: u64,
    /// The last event that is done with then, if it is known.
    pub last: Option<EventId>,
}

/// What became of a move.
#[derive(Clone, Copy, Debug)]
pub enum Moved {
    /// It is where it was to go.
    Done(Offset),
    /// It was somewhere else than where it was seen, and is there still.
    Elsewhere(Option<Offset>),
}

impl App {
    /// Where a consumer is; none if its offset was never moved.
    ///
    /// # Errors
    ///
    /// [`Failure`] if the offsets cannot be read.
    pub async fn offset(&self, key: &OffsetKey<'_>) -> Result<Option<Offset>, Failure> {
        let Some(log) = self.find(LogName::offsets().as_str()) else {
            return Ok(None);
        };
        kept(&log, &key.tag()).await
    }

    /// Moves an offset if it is where the move says; durable once this resolves. It may be moved even
    /// if the caller stops waiting.
    ///
    /// # Errors
    ///
    /// [`Failure`]; only one of kind [`Unknown`](super::FailureKind::Unknown) may have moved it.
    pub async fn move_offset(
        &self,
        key: &OffsetKey<'_>,
        step: OffsetMove,
    ) -> Result<Moved, Failure> {
        let app = self.clone();
        let tag = key.tag();
        // A task of its own: if the caller goes away, the append is still under way, and must be
        // known to be (see `sweep.rs`).
        let moving = tokio::spawn(async move { app.move_kept(tag, step).await });
        moving.await.unwrap_or_else(|failed| {
            Err(
                Failure::new(Code::OutcomeUnknown, "moving the offset was given up")
                    .caused_by(&failed),
            )
        })
    }

    /// The offsets of a stream, or of all streams, ordered by stream, consumer and type: at most
    /// `limit` (capped at [`LIST_MAX`]), those after `after`.
    ///
    /// # Errors
    ///
    /// [`Failure`] if the offsets cannot be read.
    pub async fn offsets(
        &self,
        stream: Option<&StreamName<'_>>,
        after: Option<&OffsetKey<'_>>,
        limit: usize,
    ) -> Result<Vec<(OffsetKey<'static>, Offset)>, Failure> {
        let Some(log) = self.find(LogName::offsets().as_str()) else {
            return Ok(Vec::new());
        };
        let prefix = record::prefix(stream);
        let after = after.map(OffsetKey::tag);
        let found = log.store.tags(prefix, after, limit.min(LIST_MAX)).await?;
        let mut offsets = Vec::with_capacity(found.len());
        for (tag, end) in found {
            let at = match offset_at(&log, &tag, end).await? {
                Some(offset) => Some(offset),
                // Moved since the list was made.
                None => kept(&log, &tag).await?,
            };
            if let (Some(key), Some(offset)) = (OffsetKey::of_tag(&tag), at) {
                offsets.push((key, offset));
            }
        }
        Ok(offsets)
    }

    async fn move_kept(&self, tag: Vec<u8>, step: OffsetMove) -> Result<Moved, Failure> {
        let log = self.own_log(LogName::offsets()).await?;
        self.0.sweeper.keep_pace().await;
        let mut from = step.from;
        for _round in 0..ROUNDS_MAX {
            let times = from.map_or(0, |offset| offset.times);
            let to = Offset {
                count: step.to,
                last: step.last,
                moved_at_us: self.clock().now_us(),
                times: times + 1,
            };
            let mut batch = Batch::new();
            record::push(&mut batch, &tag, times, &to.encode())?;
            // Also in force once it is acknowledged: what asks for less can be read later only.
            batch.set_durability(Durability::Sync);
            match self.0.sweeper.append(&log, batch).await {
                Ok(_) => {
                    self.owe_sweep(log);
                    return Ok(Moved::Done(to));
                }
                Err(AppendError::Ranks(mismatches)) => {
                    let other = mismatches.first().and_then(|mismatch| mismatch.last_id);
                    if let Some(id) = other {
                        self.until_kept(&log, id).await?;
                    }
                    let now = kept(&log, &tag).await?;
                    // If it has only been carried to the log's end, it is where it was.
                    if now.map(|now| (now.count, now.moved_at_us))
                        != step.from.map(|seen| (seen.count, seen.moved_at_us))
                    {
                        return Ok(Moved::Elsewhere(now));
                    }
                    from = now;
                }
                Err(error) => return Err(Failure::of_append(&error)),
            }
        }
        Err(Failure::new(
            Code::Busy,
            "the offset kept being moved by others at the same time; it was not moved",
        ))
    }

    /// Waits until a move that came first can be read.
    async fn until_kept(&self, log: &Log, id: EventId) -> Result<(), Failure> {
        let clock = self.clock();
        let deadline = clock.moment().after(self.limits().repeat_wait_max);
        tokio::select! {
            end = log.store.end_moved(id) => {
                if end > id {
                    return Ok(());
                }
                // The end will not move any more.
                Err(Failure::new(
                    Code::OutcomeUnknown,
                    "the log failed while another move of the same offset was being stored; where the offset is will be known when the server is restarted",
                ))
            }
            () = clock.sleep_until(deadline) => Err(Failure::new(
                Code::Busy,
                "another move of the same offset is still being stored; it was not moved by this one",
            )),
        }
    }
}

/// The offset with this tag.
async fn kept(log: &Log, tag: &[u8]) -> Result<Option<Offset>, Failure> {
    for _round in 0..ROUNDS_MAX {
        let Some(end) = log.store.tag_end(tag.to_vec()).await? else {
            return Ok(None);
        };
        if let Some(offset) = offset_at(log, tag, end).await? {
            return Ok(Some(offset));
        }
    }
    Err(Failure::new(
        Code::Busy,
        "the offset kept being moved while it was looked up",
    ))
}

/// The offset in the last record of a tag; none if that record has been removed since, which means
/// that there is a later one.
///
/// If its last moves are lost and a repair has recorded that, the offset is where it was before them, or
/// at the beginning if nothing is left: what was done since then is done again, nothing is passed over.
async fn offset_at(log: &Log, tag: &[u8], end: TagEnd) -> Result<Option<Offset>, Failure> {
    let Some(id) = last_kept(log, tag, end).await? else {
        return Ok(Some(Offset {
            count: 0,
            last: None,
            moved_at_us: 0,
            times: end.count,
        }));
    };
    let records = match log.store.read(id).await {
        Ok(records) => records,
        Err(ReadError::Expired { .. }) => None,
        Err(error) => return Err(error.into()),
    };
    let record = records.as_ref().map(|records| records.get(0)).transpose()?;
    record
        .flatten()
        .map(|record| Offset::decode(record.body, end.count).ok_or_else(|| not_an_offset(id)))
        .transpose()
}

/// The last record of a tag that is not recorded as lost; none if there is no other.
async fn last_kept(log: &Log, tag: &[u8], end: TagEnd) -> Result<Option<EventId>, Failure> {
    let mut last = EventId::new(end.last_id);
    let mut ranks_end = end.count;
    for gap in log.store.losses().iter().rev() {
        if last.is_none_or(|id| !gap.contains(&id)) {
            continue;
        }
        // The ids of ranks ascend; those that retention has removed are unknown, and below the others.
        let mut low = 0;
        last = None;
        while low < ranks_end {
            let middle = low + (ranks_end - low) / 2;
            match log.store.id_at_rank(tag.to_vec(), middle).await? {
                Some(id) if id >= *gap.start() => ranks_end = middle,
                before => {
                    last = before;
                    low = middle + 1;
                }
            }
        }
    }
    Ok(last)
}

fn not_an_offset(id: EventId) -> Failure {
    Failure::new(
        Code::Unreadable,
        format!("record {id} of the log of offsets is not an offset that this version knows"),
    )
}

/// Of each key the last record among some, with its body.
type Newest = HashMap<Vec<u8>, (EventId, Vec<u8>)>;
