//! Group commit: many publishers, one writer, one sync for each group.
//!
//! A publisher hands over a batch, encoded and almost checksummed on its own thread, and waits. The
//! writer takes everything that is waiting, and for the whole group:
//!
//! 1. judges each batch in the order of arrival: its conditions and expected ranks, against
//!    everything before it, earlier batches of the same group included; a refused batch leaves no
//!    trace;
//! 2. gives out ids, ranks and times, and finishes the checksums;
//! 3. writes the group to the tail, as one batch of the format;
//! 4. syncs the tail, once;
//! 5. enters the tags in the index and moves the published end, which makes the records readable;
//! 6. answers the publishers.
//!
//! Five promises rest on this order:
//! - ids on disk are dense and ascending, and an id is visible only after every lower one
//!   (2 before 3; one writer; 5 for the group as a whole);
//! - a batch is all or nothing, since recovery takes or drops a group as a whole (3);
//! - of two publishers with the same expectation one wins (1, one writer);
//! - nobody reads a record that a crash could take back (4 before 5);
//! - an answer means "durable and readable" (5 before 6).
//!
//! Under [`Durability::Os`] step 4 is left out, and made up for at intervals. A single append may
//! ask for the weaker level: it is answered after step 3, and the rest happens all the same.
//!
//! If 3 or 4 fails, the log has failed: this group is of unknown fate, and no later one is taken. A
//! full disk is met before 1: a batch is judged only when there is room for it.
//!
//! While the writer waits for a sync the publishers of the next group encode theirs; what is left
//! for the writer between two syncs is some forty bytes of checksum a record.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use crate::batch::{Batch, Receipt};
use crate::begin::open_segment;
use crate::error::{AppendError, RankMismatch};
use crate::format::batch as batch_format;
use crate::format::batch::Mark;
use crate::options::Durability;
use crate::position::{Direction, EventId};
use crate::queue::Taken;
#[cfg(feature = "sabotage")]
use crate::sabotage::Sabotage;
use crate::segment::{ActiveSegment, SealedSegment, Segment, SegmentList};
use crate::shared::{Health, Shared};
use crate::storage::{StorageFile, is_full, is_scarce};
use crate::tags::{ID_MAX, TagError, TagWriter};
use crate::tail::{self, Tail};
use crate::ticket::Ticket;

/// After how long without appends the writer proves the last one durable by a mark.
const MARK_AFTER: Duration = Duration::from_secs(1);
/// A group is written once it has this many bytes, even if more is waiting: beyond that a longer
/// write gains nothing, and the first publishers would wait for the last ones.
const GROUP_LEN_MAX: usize = 4 << 20;
/// How many pieces of the tag index may be in memory only. With more the writer writes one itself:
/// memory must not grow because upkeep lags behind.
const FROZEN_PIECES_MAX: usize = 3;

/// What the writer is asked for.
#[derive(Debug)]
pub(crate) enum Request {
    /// Store this.
    Append {
        batch: Batch,
        ticket: Ticket<Result<Receipt, AppendError>>,
    },
    /// Make everything before durable.
    Flush {
        ticket: Ticket<Result<(), AppendError>>,
    },
    /// The same, and prove it for the next open; nothing is taken afterwards.
    Close {
        ticket: Ticket<Result<(), AppendError>>,
    },
}

/// A batch that has been judged and encoded, and waits for its group.
#[derive(Debug)]
struct Member {
    batch: Batch,
    receipt: Receipt,
    ticket: Ticket<Result<Receipt, AppendError>>,
}

/// The one writer of a log.
#[derive(Debug)]
pub(crate) struct Writer {
    shared: Arc<Shared>,
    tail: Tail,
    active: ActiveSegment,
    tags: TagWriter,
    /// The id of the next record.
    next: EventId,
    recorded_at_us: u64,
    group: Vec<Member>,
    group_len: usize,
    /// Batches that were refused because of what is in the group, perhaps.
    refused: Vec<(Ticket<Result<Receipt, AppendError>>, AppendError)>,
    /// When the tail was last synced, by the log's clock.
    synced_at_us: u64,
    /// The last thing in the tail is the mark of a clean stop.
    is_clean: bool,
    ranks: Vec<u64>,
}

/// Where a writer goes on.
pub(crate) struct Start {
    pub(crate) tail: Tail,
    pub(crate) active: ActiveSegment,
    pub(crate) tags: TagWriter,
    pub(crate) next: EventId,
    pub(crate) recorded_at_us: u64,
    pub(crate) is_clean: bool,
}

impl Writer {
    pub(crate) fn new(shared: Arc<Shared>, start: Start) -> Self {
        let Start {
            tail,
            active,
            tags,
            next,
            recorded_at_us,
            is_clean,
        } = start;
        Self {
            synced_at_us: shared.options.clock.now_us(),
            shared,
            tail,
            active,
            tags,
            next,
            recorded_at_us,
            group: Vec::new(),
            group_len: 0,
            refused: Vec::new(),
            is_clean,
            ranks: Vec::new(),
        }
    }

    /// Works until the log is closed or has failed.
    pub(crate) fn run(mut self) {
        let shared = Arc::clone(&self.shared);
        // Whatever ends this thread, nobody may wait for it: the queue closes, and tickets that are
        // dropped say so by themselves.
        let _ended = EndWrites(&shared);
        loop {
            match shared.queue.take(self.idle_timeout()) {
                Taken::Items(requests) => self.serve(requests),
                Taken::Idle => self.idle(),
                Taken::Closed => break,
            }
        }
    }

    /// Serves everything that waits, on the caller's thread.
    pub(crate) fn serve_waiting(&mut self) {
        let requests = self.shared.queue.take_now();
        self.serve(requests);
    }

    fn serve(&mut self, requests: Vec<Request>) {
        for request in requests {
            match request {
                Request::Append { batch, ticket } => self.append(batch, ticket),
                Request::Flush { ticket } => {
                    let committed = self.commit().and_then(|()| self.name_tail());
                    ticket.answer(committed.and_then(|()| self.make_durable()));
                }
                Request::Close { ticket } => {
                    let committed = self.commit();
                    ticket.answer(committed.and_then(|()| self.close()));
                }
            }
        }
        // Whoever waited has been answered, with the failure too; and a log that is never idle, since
        // something is always refused, must be synced in time all the same.
        if self.commit().is_ok() && !self.tail.is_synced() && self.is_sync_due() {
            let _answered = self.make_durable();
        }
    }

    /// How long the writer may sleep before it has something to do by itself.
    fn idle_timeout(&self) -> Option<Duration> {
        if !self.tail.is_synced() {
            return Some(Duration::from_millis(
                self.shared.options.os_sync_interval_ms,
            ));
        }
        self.tail.is_unproven().then_some(MARK_AFTER)
    }

    /// What is done when nothing has come for a while: sync what is not, prove what is.
    pub(crate) fn idle(&mut self) {
        if self.failure().is_some() {
            return;
        }
        if self.make_durable().is_err() || !self.tail.is_unproven() {
            return;
        }
        if self.tail.room_for_mark()
            && let Err(error) = self.tail.mark(self.next, Mark::Synced)
        {
            self.fail("could not write a mark", &error);
        }
    }

    fn append(&mut self, mut batch: Batch, ticket: Ticket<Result<Receipt, AppendError>>) {
        let outcome = match self.make_room(&batch) {
            Ok(()) => self.judge(&mut batch),
            Err(error) => Err(error),
        };
        match outcome {
            Ok(receipt) => {
                self.group_len += batch.encoded_len();
                self.group.push(Member {
                    batch,
                    receipt,
                    ticket,
                });
            }
            Err(error) => {
                self.shared.counters.appends_refused.add(1);
                // What is refused because of a batch of this group is told so when that one is
                // durable, and not before: a crash could take the reason back.
                match error {
                    AppendError::Ranks(_) | AppendError::Condition { .. }
                        if !self.group.is_empty() =>
                    {
                        self.refused.push((ticket, error));
                    }
                    _ => ticket.answer(Err(error)),
                }
            }
        }
    }

    /// Sees to it that the batch fits behind the group, in this segment or the next.
    fn make_room(&mut self, batch: &Batch) -> Result<(), AppendError> {
        if let Some(why) = self.failure() {
            return Err(AppendError::Failed(why));
        }
        if batch.is_empty() {
            return Err(AppendError::Empty);
        }
        if !self.shared.fits(batch) {
            return Err(AppendError::TooLarge {
                len: batch.encoded_len() as u64,
                len_max: self.shared.batch_len_max(),
            });
        }
        if self.group_len > 0 && self.group_len + batch.encoded_len() > GROUP_LEN_MAX {
            self.commit()?;
        }
        let len = batch_format::HEADER_LEN + self.group_len + batch.encoded_len();
        if len as u64 > self.tail.room() {
            self.commit()?;
            let len = batch_format::HEADER_LEN + batch.encoded_len();
            if len as u64 > self.tail.room() {
                self.roll()?;
            }
        }
        Ok(())
    }

    /// Decides whether the batch is stored; if so it has its ids, ranks and times afterwards.
    fn judge(&mut self, batch: &mut Batch) -> Result<Receipt, AppendError> {
        let count = batch.len() as u64;
        let last_id = self
            .next
            .get()
            .checked_add(count - 1)
            .and_then(EventId::new)
            .ok_or(AppendError::IdsSpent)?;
        // The id after the last must exist too: it is the published end.
        let next = last_id.next().ok_or(AppendError::IdsSpent)?;
        if next.get() > ID_MAX {
            return Err(AppendError::IdsSpent);
        }
        self.judge_conditions(batch)?;
        let mark = self.tags.mark();
        match self.rank(batch) {
            Ok(mismatches) if mismatches.is_empty() => {}
            Ok(mismatches) => {
                self.tags.rollback(mark);
                return Err(AppendError::Ranks(mismatches));
            }
            Err(error) => {
                self.tags.rollback(mark);
                return Err(self.not_ready(&error));
            }
        }
        let recorded_at_us = self.shared.options.clock.now_us().max(self.recorded_at_us);
        let receipt = self.encode(batch, last_id, recorded_at_us);
        self.next = next;
        self.recorded_at_us = recorded_at_us;
        Ok(receipt)
    }

    fn judge_conditions(&mut self, batch: &Batch) -> Result<(), AppendError> {
        if batch.conditions.is_empty() {
            return Ok(());
        }
        // The records of earlier batches of this group count too, so they have to be in the index;
        // readers do not see them there before they are published.
        self.tags.apply();
        for (index, condition) in batch.conditions.iter().enumerate() {
            // Only what comes after counts, so the search ends there, however old the log is.
            let last = self
                .shared
                .tags
                .view(condition.after.saturating_add(1), self.next.get())
                // An event that is lost for good is no reason to refuse every condition for good.
                .known_only()
                .query(&condition.query, Direction::Backward, self.next.get() - 1)
                .next_id();
            match last {
                Ok(Some(found)) => {
                    return Err(AppendError::Condition {
                        index,
                        found: EventId::new(found).unwrap_or(EventId::FIRST),
                    });
                }
                Ok(None) => {}
                Err(error) => return Err(self.not_ready(&error)),
            }
        }
        Ok(())
    }

    /// Finds the rank of every tag of the batch, and lists those that are not as expected.
    fn rank(&mut self, batch: &Batch) -> Result<Vec<RankMismatch>, TagError> {
        let mut mismatches = Vec::new();
        self.ranks.clear();
        let mut slots = batch.tags.iter();
        for ((record, draft), id) in batch.drafts.iter().enumerate().zip(self.next.get()..) {
            for (tag, slot) in slots.by_ref().take(draft.tag_count).enumerate() {
                let start = slot.start as usize;
                let bytes = batch
                    .buffer
                    .get(start..start + usize::from(slot.len))
                    .unwrap_or_default();
                // A tag whose records have all expired is a new one. The index forgets them when
                // their removal is durable, and not before: a crash could bring them back.
                let end = self.tags.push_next(bytes, slot.hash, id)?;
                let rank = end.map_or(0, |end| end.count);
                if let Some(expected) = slot.expected_rank
                    && expected != rank
                {
                    mismatches.push(RankMismatch {
                        record,
                        tag,
                        expected,
                        actual: rank,
                        last_id: end
                            .filter(|end| end.last_id < self.next.get())
                            .and_then(|end| EventId::new(end.last_id)),
                    });
                }
                self.ranks.push(rank);
            }
        }
        Ok(mismatches)
    }

    /// Writes ids, ranks, time and salt into the records, and notes where they will lie.
    fn encode(&mut self, batch: &mut Batch, last_id: EventId, recorded_at_us: u64) -> Receipt {
        let masks = self.tail.masks();
        let salt = self.tail.salt();
        let start = usize::try_from(self.tail.offset()).unwrap_or(usize::MAX)
            + batch_format::HEADER_LEN
            + self.group_len;
        let segment_first = self.active.header.first.get();
        let mut ranks = self.ranks.as_slice();
        let mut first_tag_ranks = Vec::with_capacity(batch.len());
        let mut id = self.next;
        for draft in &batch.drafts {
            let (own, rest) = ranks.split_at_checked(draft.tag_count).unwrap_or_default();
            ranks = rest;
            first_tag_ranks.push(own.first().copied().unwrap_or(0));
            draft.finish(
                &mut batch.buffer,
                own.iter().copied(),
                id,
                recorded_at_us,
                salt,
                masks.record,
            );
            self.active
                .offsets
                .note(id.get() - segment_first, start + draft.start);
            id = id.next().unwrap_or(EventId::MAX);
        }
        Receipt {
            first_id: self.next,
            last_id,
            first_tag_ranks,
            recorded_at_us,
            durable_id: 0,
        }
    }

    /// Steps 3 to 6 for the group. After an error the log has failed, and everybody in the group has
    /// been told.
    fn commit(&mut self) -> Result<(), AppendError> {
        if self.group.is_empty() {
            return Ok(());
        }
        let group = std::mem::take(&mut self.group);
        let refused = std::mem::take(&mut self.refused);
        self.group_len = 0;
        let outcome = self.store(group);
        for (ticket, error) in refused {
            ticket.answer(Err(match &outcome {
                Ok(()) => error,
                Err(why) => AppendError::Failed(Arc::clone(why)),
            }));
        }
        outcome.map_err(AppendError::Failed)?;
        self.after_commit();
        Ok(())
    }

    fn store(&mut self, group: Vec<Member>) -> Result<(), Arc<str>> {
        if let Err(error) = self.write(&group) {
            let why = self.fail("could not write to the log", &error);
            answer_unknown(group, &why);
            return Err(why);
        }
        let level = self.shared.options.durability;
        let (waiting, early): (Vec<_>, Vec<_>) = group
            .into_iter()
            .partition(|member| member.batch.durability.unwrap_or(level) == Durability::Sync);
        let must_sync = level == Durability::Sync || !waiting.is_empty() || self.is_sync_due();
        if level == Durability::Os {
            // What the log does not promise to survive is readable before it does.
            self.publish();
        }
        #[cfg(feature = "sabotage")]
        if self.shared.options.has(Sabotage::ReadersSeeUnsynced) {
            self.publish();
        }
        #[cfg(feature = "sabotage")]
        let waiting = if self.shared.options.has(Sabotage::AckBeforeSync) {
            self.shared.note_durable(self.next);
            self.answer(waiting);
            Vec::new()
        } else {
            waiting
        };
        // Those who asked for less than the log gives need not wait for the sync.
        self.answer(early);
        if must_sync && let Err(error) = self.sync() {
            let why = self.fail("could not sync the log", &error);
            answer_unknown(waiting, &why);
            return Err(why);
        }
        if level == Durability::Sync {
            self.publish();
        }
        self.answer(waiting);
        Ok(())
    }

    fn write(&mut self, group: &[Member]) -> std::io::Result<()> {
        let pieces: Vec<&[u8]> = group
            .iter()
            .map(|member| member.batch.buffer.as_slice())
            .collect();
        let records: usize = group.iter().map(|member| member.batch.len()).sum();
        let first = group
            .first()
            .map_or(self.next, |member| member.receipt.first_id);
        let record_count = u32::try_from(records).map_err(|_| std::io::ErrorKind::InvalidInput)?;
        self.is_clean = false;
        #[cfg(feature = "sabotage")]
        if self.shared.options.has(Sabotage::BatchNotAtomic)
            && self.tail.room()
                >= (pieces.concat().len() + records * batch_format::HEADER_LEN) as u64
        {
            return self.write_one_by_one(group);
        }
        self.tail.write(first, record_count, &pieces)?;
        let counters = &self.shared.counters;
        counters.commits.add(1);
        counters.appends.add(group.len() as u64);
        counters.records.add(records as u64);
        counters
            .record_bytes
            .add(pieces.iter().map(|piece| piece.len() as u64).sum());
        Ok(())
    }

    #[cfg(feature = "sabotage")]
    fn write_one_by_one(&mut self, group: &[Member]) -> std::io::Result<()> {
        for member in group {
            let mut id = member.receipt.first_id;
            for draft in &member.batch.drafts {
                let bytes = member
                    .batch
                    .buffer
                    .get(draft.start..draft.start + draft.len);
                self.tail.write(id, 1, &[bytes.unwrap_or_default()])?;
                id = id.next().unwrap_or(EventId::MAX);
            }
        }
        Ok(())
    }

    fn sync(&mut self) -> std::io::Result<()> {
        let clock = &self.shared.options.clock;
        let started_us = clock.now_us();
        let synced = self.tail.sync();
        #[cfg(feature = "sabotage")]
        let synced = if self.shared.options.has(Sabotage::FailedSyncRetried) {
            synced.or_else(|_| self.tail.sync())
        } else {
            synced
        };
        synced?;
        self.synced_at_us = clock.now_us();
        self.shared.counters.syncs.add(1);
        self.shared
            .counters
            .sync_time_us
            .add(self.synced_at_us.saturating_sub(started_us));
        self.shared.note_durable(self.next);
        Ok(())
    }

    /// Whether a log under the weaker durability has gone long enough without a sync.
    fn is_sync_due(&self) -> bool {
        let interval_us = self
            .shared
            .options
            .os_sync_interval_ms
            .saturating_mul(1_000);
        let now_us = self.shared.options.clock.now_us();
        // A clock that went back counts as due: it cannot tell how long it has been.
        now_us < self.synced_at_us || now_us - self.synced_at_us >= interval_us
    }

    fn publish(&mut self) {
        self.tags.apply();
        self.active.file.freeze(self.tail.offset());
        self.shared.publish(self.next);
    }

    fn answer(&self, members: Vec<Member>) {
        let durable_id = self.shared.durable().get() - 1;
        for member in members {
            let receipt = Receipt {
                durable_id,
                ..member.receipt
            };
            member.ticket.answer(Ok(receipt));
        }
    }

    fn after_commit(&self) {
        let half = self.active.file.len() / 2;
        // Upkeep holds the lock while it prepares a segment: then there is nothing to ask for.
        let is_wanted = || {
            self.shared
                .prepared
                .try_lock()
                .is_some_and(|file| file.is_none())
        };
        if self.tail.offset() > half && is_wanted() {
            self.shared.upkeep.notify();
        }
    }

    /// Gives an empty tail a name that is durable for certain.
    fn name_tail(&mut self) -> Result<(), AppendError> {
        if self.tail.is_unnamed() {
            self.roll()?;
        }
        Ok(())
    }

    /// Makes everything written durable.
    fn make_durable(&mut self) -> Result<(), AppendError> {
        if let Some(why) = self.failure() {
            return Err(AppendError::Failed(why));
        }
        if self.tail.is_synced() {
            return Ok(());
        }
        self.sync()
            .map_err(|error| AppendError::Unknown(self.fail("could not sync the log", &error)))
    }

    fn close(&mut self) -> Result<(), AppendError> {
        self.make_durable()?;
        if !self.is_clean && self.tail.room_for_mark() {
            let marked = self
                .tail
                .mark(self.next, Mark::Clean)
                .and_then(|()| self.tail.sync());
            if let Err(error) = marked {
                let why = self.fail("could not mark the end of the log", &error);
                return Err(AppendError::Unknown(why));
            }
            self.is_clean = true;
        }
        self.shared.end_writes(Health::Closed);
        Ok(())
    }

    /// Seals the tail and goes on with a new segment (FORMAT.md, section 3).
    fn roll(&mut self) -> Result<(), AppendError> {
        if let Some(why) = self.failure() {
            return Err(AppendError::Failed(why));
        }
        while self.shared.tags.frozen_len() >= FROZEN_PIECES_MAX {
            if let Err(error) = self.shared.tags.flush_oldest() {
                return Err(self.no_index_room(&error));
            }
        }
        // Held until the file has its final name: upkeep makes the next one under the same temporary
        // name, and must find it free or not look.
        let shared = Arc::clone(&self.shared);
        let mut prepared = shared.prepared.lock();
        let file = match prepared.take().map_or_else(|| shared.make_file(), Ok) {
            Ok(file) => file,
            Err(error) if is_full(&error) => {
                self.shared.note_full(true);
                return Err(AppendError::Full);
            }
            // The log is as it was: only a file under a temporary name could not be made.
            Err(error) if is_scarce(&error) => {
                return Err(AppendError::Scarce(Arc::from(error.to_string())));
            }
            Err(error) => {
                let why = self.fail("could not create a segment", &error);
                return Err(AppendError::Failed(why));
            }
        };
        self.shared.note_full(false);
        self.seal_and_open(&file).map_err(|error| {
            AppendError::Failed(self.fail("could not begin a new segment", &error))
        })
    }

    fn seal_and_open(&mut self, file: &Arc<dyn StorageFile>) -> std::io::Result<()> {
        if self.next == self.active.header.first {
            return self.replace_empty(file);
        }
        if !self.tail.is_synced() {
            self.sync()?;
        }
        self.tail.mark(self.next, Mark::Seal)?;
        self.tail.sync()?;
        self.active.file.freeze(self.tail.offset());
        let (active, tail) = open_segment(&self.shared, file, self.next, self.recorded_at_us)?;
        let sealed = SealedSegment::from_view(self.active.view(self.next)?, self.active.file.len());
        self.shared.replace_tail(Some(sealed), &active);
        self.shared.tags.roll(self.next.get());
        self.shared.note_unindexed(self.active.header.first);
        self.active = active;
        self.tail = tail;
        self.shared.counters.segments_sealed.add(1);
        self.shared.upkeep.notify();
        Ok(())
    }

    /// Puts a new segment in the place of a tail without records: one that is too short for a batch,
    /// since the log had shorter segments when it was made, or one whose name may not be durable.
    /// The new one has the same first id, and so the same name.
    fn replace_empty(&mut self, file: &Arc<dyn StorageFile>) -> std::io::Result<()> {
        let (active, tail) = open_segment(&self.shared, file, self.next, self.recorded_at_us)?;
        self.shared.replace_tail(None, &active);
        self.shared.is_tail_unnamed.store(false, Ordering::Release);
        self.active = active;
        self.tail = tail;
        Ok(())
    }

    fn no_index_room(&self, error: &TagError) -> AppendError {
        match error {
            TagError::Io(error) if is_full(error) => {
                self.shared.note_full(true);
                AppendError::Full
            }
            TagError::Io(_)
            | TagError::Missing { .. }
            | TagError::Damaged(_)
            | TagError::RankGap { .. } => {
                self.shared.fail_on_name_trouble();
                self.not_ready(error)
            }
        }
    }

    /// The index cannot answer now; upkeep rebuilds what is missing.
    fn not_ready(&self, error: &TagError) -> AppendError {
        self.shared.note_index_trouble(error);
        AppendError::IndexNotReady
    }

    /// Why the log takes nothing more, if so.
    fn failure(&self) -> Option<Arc<str>> {
        match self.shared.health() {
            Health::Writable | Health::Full => None,
            Health::Failed(why) => Some(why),
            Health::Closed => Some(Arc::from("the log is closed")),
        }
    }

    fn fail(&self, what: &str, error: &std::io::Error) -> Arc<str> {
        self.shared
            .end_writes(Health::Failed(Arc::from(format!("{what}: {error}"))))
    }
}

fn answer_unknown(group: Vec<Member>, why: &Arc<str>) {
    for member in group {
        member
            .ticket
            .answer(Err(AppendError::Unknown(Arc::clone(why))));
    }
}

/// Ends the log's writes when the writer's thread ends, however it ends.
struct EndWrites<'a>(&'a Shared);

impl Drop for EndWrites<'_> {
    fn drop(&mut self) {
        if !self.0.ends.is_over() {
            self.0
                .end_writes(Health::Failed(Arc::from("the writer stopped")));
        }
        for request in self.0.queue.take_now() {
            // Dropping a request answers its ticket with "none".
            drop(request);
        }
    }
}

impl Shared {
    /// A file for a segment, under its temporary name. The caller holds `prepared`.
    fn make_file(&self) -> std::io::Result<Arc<dyn StorageFile>> {
        tail::prepare(&self.storage, &self.options)
    }

    /// Makes the next segment's file ready, unless one is.
    pub(crate) fn prepare_ahead(&self) -> std::io::Result<()> {
        let mut prepared = self.prepared.lock();
        if prepared.is_none() {
            *prepared = Some(self.make_file()?);
        }
        drop(prepared);
        // There is room again, even if nobody has tried to append since there was none.
        self.note_full(false);
        Ok(())
    }

    /// The tail is sealed, or has gone, and another segment is the tail now.
    fn replace_tail(&self, sealed: Option<SealedSegment>, active: &ActiveSegment) {
        let sealed = sealed.map(Arc::new);
        self.segments.rcu(|list| {
            let mut segments = list.segments().to_vec();
            segments.pop();
            segments.extend(sealed.clone().map(Segment::Sealed));
            segments.push(Segment::Active(active.clone()));
            SegmentList::new(segments)
        });
    }
}
