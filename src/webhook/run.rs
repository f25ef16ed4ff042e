//! A lane at work: read, call, move the place, over and over.
//!
//! The place moves only over what was delivered, or became a dead letter, or was never meant for
//! the target; and it is durable before the next call. Whatever goes wrong in between, the same
//! events are sent again: at least once, in order, nothing skipped.
//!
//! A lane never holds events while it pauses: it reads them again, so that ten thousand endpoints
//! that are down cost ten thousand small tasks, and retention is not held up.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::watch;

use crate::app::limits::{CALL_EVENTS_MAX, CALL_LEN_MAX};
use crate::app::range::{Reading, Selection};
use crate::app::{App, Code, Details, Failure};
use crate::clock::Moment;
use crate::store::{EventId, Records};
use crate::unwind::{Panicked, without_panic};

use super::Outside;
use super::attempt::{self, Attempt, Batch, Loops, Outcome};
use super::dead_letters::{GivenUp, Put};
use super::lane::{Lane, LaneState, LaneStatus};
use super::retry::Backoff;
use super::target::Verdict;

/// How long a call that has begun may go on after the lane was told to end. Most answers come in
/// this time and save the endpoint a repeat; nobody waits long for the others.
const GRACE: Duration = Duration::from_secs(1);
/// The pauses while the server itself cannot read or write: a full disk does not empty in a second.
const TROUBLE: Backoff = Backoff {
    first: Duration::from_secs(1),
    factor: 2,
    max: Duration::from_secs(60),
    attempts_max: None,
};
/// After how many events that were not meant for the target its place is made durable all the same.
/// After a crash so many are looked through again, which the index does in no time; but a place
/// that is never moved would fall behind what retention keeps.
const GAP_EVENTS_MAX: u64 = 10_000;
/// After how long it is made durable if there are fewer.
const GAP_TIME_MAX: Duration = Duration::from_secs(10);

/// Tells a lane to end.
#[derive(Clone, Debug)]
pub(super) struct Stop {
    pub(super) own: watch::Receiver<bool>,
    pub(super) app: App,
}

impl Stop {
    fn is_requested(&self) -> bool {
        *self.own.borrow() || self.app.is_stopping()
    }

    /// Resolves once the lane, or the server, is to end.
    async fn requested(&self) {
        let mut own = self.own.clone();
        tokio::select! {
            // A sender that is gone asks for the same.
            _ = own.wait_for(|stop| *stop) => {}
            () = self.app.stopped() => {}
        }
    }

    /// Resolves once a call that has begun is to be given up.
    async fn grace_over(&self) {
        self.requested().await;
        // The end of a process does not depend on a clock that somebody moves by hand.
        tokio::time::sleep(GRACE).await;
    }
}

/// A lane at work.
#[derive(Debug)]
pub(super) struct Runner {
    pub(super) lane: Lane,
    pub(super) outside: Outside,
    pub(super) status: Arc<Mutex<LaneStatus>>,
    pub(super) stop: Stop,
}

/// Why a lane does not go on.
enum Halt {
    /// It is to end.
    Stopped,
    /// The endpoint wants no more calls.
    Gone,
    /// It cannot go on until somebody does something.
    Stuck(String),
    /// It may be able to after a pause.
    Trouble(Failure),
}

impl From<Failure> for Halt {
    fn from(failure: Failure) -> Self {
        Self::Trouble(failure)
    }
}

/// How far a lane has come.
#[derive(Debug)]
struct Place {
    /// Durably.
    kept: u64,
    /// With what was not meant for the target.
    seen: u64,
    /// Since when that is more.
    ahead_since: Option<Moment>,
}

impl Runner {
    /// Works until it is told to end.
    pub(super) async fn run(self) {
        let mut troubles = 0_u32;
        let mut troubled_at = None;
        loop {
            let outcome = match without_panic(self.deliver()).await {
                Ok(outcome) => outcome,
                Err(Panicked) => Err(Halt::Trouble(Failure::new(
                    Code::Internal,
                    "the server made a mistake with this delivery",
                ))),
            };
            let halt = match outcome {
                Ok(never) => match never {},
                Err(halt) => halt,
            };
            match halt {
                Halt::Stopped => return,
                Halt::Gone => {
                    tracing::warn!(
                        lane = self.lane.name,
                        "the endpoint wants no more calls, and gets none"
                    );
                    self.stop.requested().await;
                    return;
                }
                Halt::Stuck(why) => {
                    tracing::warn!(lane = self.lane.name, why, "a delivery stands still");
                    self.tell(LaneState::Failing, why);
                    self.stop.requested().await;
                    return;
                }
                Halt::Trouble(failure) => {
                    tracing::warn!(lane = self.lane.name, %failure, "a delivery is put off");
                    self.tell(LaneState::Failing, failure.message.into_owned());
                    let position = Some(self.status.lock().position);
                    if troubled_at != position {
                        troubles = 0;
                        troubled_at = position;
                    }
                    troubles = troubles.saturating_add(1);
                    if self.pause(self.forever(TROUBLE, troubles)).await.is_err() {
                        return;
                    }
                }
            }
        }
    }

    /// Delivers until something is in the way.
    async fn deliver(&self) -> Result<Infallible, Halt> {
        let kept = self.lane.log.progress(&self.lane.name).await?;
        let kept = kept.ok_or_else(|| Halt::Stuck("its place was removed".to_owned()))?;
        self.status.lock().position = kept;
        let mut place = Place {
            kept,
            seen: kept,
            ahead_since: None,
        };
        loop {
            if self.stop.is_requested() {
                self.keep_gap(&mut place).await;
                return Err(Halt::Stopped);
            }
            let mut reading = self.read_after(place.seen).await?;
            let last_id = reading.last_id();
            let pages = collect(&mut reading).await?;
            drop(reading);
            let batch = Batch::first_of(&self.lane.name, &pages).map_err(Failure::from)?;
            let Some(batch) = batch else {
                self.running();
                self.look_past(&mut place, last_id).await;
                continue;
            };
            place.seen = place.seen.max(batch.first.get() - 1);
            let whole = batch.events.len() == pages.iter().map(Records::len).sum::<usize>();
            if let Err(halt) = self.carry(&batch, whole.then_some(pages), &mut place).await {
                self.keep_gap(&mut place).await;
                return Err(halt);
            }
            self.settle(batch.last.get()).await?;
            place = Place {
                kept: batch.last.get(),
                seen: batch.last.get(),
                ahead_since: None,
            };
            self.running();
        }
    }

    async fn read_after(&self, seen: u64) -> Result<Reading, Halt> {
        let limit = self.lane.batch_size.clamp(1, CALL_EVENTS_MAX);
        let selection = Selection {
            after: Some(seen),
            limit: u64::try_from(limit).ok(),
            filter: self.lane.filter.clone(),
            ..Selection::default()
        };
        self.lane.log.read(selection).await.map_err(overtaken)
    }

    /// There was nothing to deliver up to `last_id`: waits for more, or makes the place durable.
    async fn look_past(&self, place: &mut Place, last_id: u64) {
        let clock = self.outside.app.clock();
        place.seen = place.seen.max(last_id);
        if place.seen > place.kept {
            let since = *place.ahead_since.get_or_insert_with(|| clock.moment());
            let due = since.after(GAP_TIME_MAX);
            if place.seen - place.kept >= GAP_EVENTS_MAX || clock.moment() >= due {
                self.keep_gap(place).await;
                return;
            }
            tokio::select! {
                () = self.lane.log.grown_past(place.seen) => {}
                () = clock.sleep_until(due) => {}
                () = self.stop.requested() => {}
            }
        } else {
            tokio::select! {
                () = self.lane.log.grown_past(place.seen) => {}
                () = self.stop.requested() => {}
            }
        }
    }

    /// Makes the place durable where nothing was delivered. What cannot be kept is looked through
    /// again after a restart, so it is tried again at the next occasion and not before.
    async fn keep_gap(&self, place: &mut Place) {
        if place.seen <= place.kept {
            return;
        }
        let (log, name) = (&self.lane.log, &self.lane.name);
        match log.advance_progress(name, place.seen).await {
            Ok(kept) => {
                place.kept = kept;
                place.ahead_since = None;
                self.status.lock().position = kept;
            }
            Err(failure) => {
                tracing::debug!(lane = name, %failure, "a place is not moved over a gap");
                place.ahead_since = Some(self.outside.app.clock().moment());
            }
        }
    }

    /// Makes the place durable behind what was delivered; until that is done, nothing more is.
    async fn settle(&self, position: u64) -> Result<(), Halt> {
        let mut tries = 0_u32;
        loop {
            let moved = self.lane.log.advance_progress(&self.lane.name, position);
            match moved.await {
                Ok(kept) => {
                    self.status.lock().position = kept;
                    return Ok(());
                }
                Err(failure) if failure.code == Code::NoSuchConsumer => {
                    return Err(Halt::Stuck("its place was removed".to_owned()));
                }
                Err(failure) => {
                    tracing::warn!(lane = self.lane.name, %failure, "the place of a delivery is not kept");
                    self.tell(LaneState::Failing, failure.message.into_owned());
                    tries = tries.saturating_add(1);
                    self.pause(self.forever(TROUBLE, tries)).await?;
                }
            }
        }
    }

    /// Sends a batch until it is done with: delivered, or kept as dead letters. What was not read for
    /// it alone is read again.
    async fn carry(
        &self,
        batch: &Batch,
        mut held: Option<Vec<Records>>,
        place: &mut Place,
    ) -> Result<(), Halt> {
        let mut number = 0_u32;
        loop {
            number = number.saturating_add(1);
            let pages = match held.take() {
                Some(pages) => pages,
                None => self.read_again(batch).await?,
            };
            let attempt = self.attempt(batch, pages, number).await?;
            let pause = self.lane.backoff.pause(number, self.random());
            let (outcome, pause) = match (attempt.verdict, pause) {
                (Verdict::Delivered, _) => {
                    self.note(batch, &attempt, Outcome::Delivered).await;
                    self.status.lock().last_success_us = Some(self.outside.app.clock().now_us());
                    return Ok(());
                }
                (Verdict::Gone, _) => {
                    self.note(batch, &attempt, Outcome::Gone).await;
                    // Whoever sees the state may rely on its being remembered.
                    tokio::select! {
                        () = self.lane.target.gone() => {}
                        () = self.stop.requested() => return Err(Halt::Stopped),
                    }
                    self.tell(LaneState::Gone, error_of(&attempt));
                    return Err(Halt::Gone);
                }
                (Verdict::Retry, Some(pause)) => (Outcome::Failed, Some(pause)),
                (Verdict::Retry, None) => (Outcome::Dead, None),
                (Verdict::Reject, _) => (Outcome::Rejected, None),
            };
            let pause = match pause {
                Some(pause) => {
                    self.note(batch, &attempt, Outcome::Failed).await;
                    self.tell(LaneState::Retrying, error_of(&attempt));
                    pause
                }
                None => match self.give_up(batch, &attempt).await {
                    Ok(()) => {
                        self.note(batch, &attempt, outcome).await;
                        self.tell(LaneState::Running, error_of(&attempt));
                        return Ok(());
                    }
                    Err(why) => {
                        // Nothing is lost: it goes on trying.
                        self.note(batch, &attempt, Outcome::Failed).await;
                        self.tell(LaneState::Failing, format!("{}; {why}", error_of(&attempt)));
                        self.forever(self.lane.backoff, number)
                    }
                },
            };
            self.status.lock().attempts = number;
            // What lies before it is done, however long this takes.
            self.keep_gap(place).await;
            self.pause(pause).await?;
        }
    }

    /// One attempt; [`Halt::Stopped`] if it had to be given up.
    async fn attempt(
        &self,
        batch: &Batch,
        pages: Vec<Records>,
        number: u32,
    ) -> Result<Attempt, Halt> {
        let (app, target) = (&self.outside.app, &*self.lane.target);
        let _room = tokio::select! {
            room = self.outside.room.take(&pages) => room,
            () = self.stop.requested() => return Err(Halt::Stopped),
        };
        let prepared = attempt::prepare(app, target, batch, &pages, number, Loops::End);
        drop(pages);
        let made = attempt::make(app, &self.outside.client, target, prepared?);
        tokio::select! {
            attempt = made => Ok(attempt),
            () = self.stop.grace_over() => Err(Halt::Stopped),
        }
    }

    async fn note(&self, batch: &Batch, attempt: &Attempt, outcome: Outcome) {
        self.outside.counts.add(outcome);
        let (lane, log) = (&self.lane.name, &self.lane.log);
        let history = &self.outside.history;
        attempt.note(history, lane, log, batch, outcome).await;
    }

    /// Keeps a batch as dead letters; else says why not.
    async fn give_up(&self, batch: &Batch, attempt: &Attempt) -> Result<(), String> {
        let given_up = |id: &EventId| GivenUp {
            log: self.lane.log.name().as_str().to_owned(),
            event_id: id.get(),
            delivery_id: batch.delivery.clone(),
            attempts: attempt.number,
            status: attempt.status,
            error: attempt.error.clone(),
        };
        let letters: Vec<GivenUp> = batch.events.iter().map(given_up).collect();
        let (lane, dead_letters) = (&self.lane.name, &self.outside.dead_letters);
        match dead_letters.put(lane, &letters).await {
            Ok(Put::Kept) => {
                tracing::warn!(
                    lane,
                    first = batch.first.get(),
                    last = batch.last.get(),
                    attempts = attempt.number,
                    "events became dead letters"
                );
                Ok(())
            }
            Ok(Put::Full) => Err("there are too many dead letters to give it up".to_owned()),
            Err(failure) => {
                tracing::warn!(lane, %failure, "a dead letter is not kept");
                Err(format!("it could not be given up: {}", failure.message))
            }
        }
    }

    /// The events of a batch once more.
    async fn read_again(&self, batch: &Batch) -> Result<Vec<Records>, Halt> {
        let selection = Selection {
            from: Some(batch.first),
            to: Some(batch.last),
            limit: u64::try_from(batch.events.len()).ok(),
            filter: self.lane.filter.clone(),
            ..Selection::default()
        };
        let mut reading = self.lane.log.read(selection).await.map_err(overtaken)?;
        let mut pages = Vec::new();
        while let Some(records) = reading.next_page(CALL_LEN_MAX).await.map_err(overtaken)? {
            pages.push(records);
        }
        Ok(pages)
    }

    /// Waits, on the server's clock.
    async fn pause(&self, pause: Duration) -> Result<(), Halt> {
        let clock = self.outside.app.clock();
        let pause_us = u64::try_from(pause.as_micros()).unwrap_or(u64::MAX);
        // Whoever sees when the next attempt is to be may rely on it.
        let deadline = clock.moment().after(pause);
        self.status.lock().next_attempt_us = Some(clock.now_us().saturating_add(pause_us));
        tokio::select! {
            biased;
            () = self.stop.requested() => Err(Halt::Stopped),
            () = clock.sleep_until(deadline) => {
                self.status.lock().next_attempt_us = None;
                Ok(())
            }
        }
    }

    /// The pause after an attempt, whichever it was.
    fn forever(&self, backoff: Backoff, attempt: u32) -> Duration {
        let backoff = Backoff {
            attempts_max: None,
            ..backoff
        };
        let pause = backoff.pause(attempt, self.random());
        pause.unwrap_or(backoff.max)
    }

    fn random(&self) -> u64 {
        self.outside.app.random().next_u64()
    }

    /// Nothing is in the way (any more).
    fn running(&self) {
        let mut status = self.status.lock();
        status.state = LaneState::Running;
        status.attempts = 0;
    }

    fn tell(&self, state: LaneState, error: String) {
        let now_us = self.outside.app.clock().now_us();
        let mut status = self.status.lock();
        status.state = state;
        status.last_error = Some(error);
        status.last_error_us = Some(now_us);
    }
}

fn error_of(attempt: &Attempt) -> String {
    attempt.error.clone().unwrap_or_default()
}

/// As many events as one call takes.
async fn collect(reading: &mut Reading) -> Result<Vec<Records>, Halt> {
    let mut pages: Vec<Records> = Vec::new();
    let mut len = 0_usize;
    while len < CALL_LEN_MAX {
        let page = reading.next_page(CALL_LEN_MAX - len).await;
        let Some(records) = page.map_err(overtaken)? else {
            break;
        };
        len = len.saturating_add(records.encoded_len());
        // A page has at least one record, however long that is.
        if len > CALL_LEN_MAX && !pages.is_empty() {
            break;
        }
        pages.push(records);
    }
    Ok(pages)
}

/// A read that failed. What retention has removed does not come back.
fn overtaken(failure: Failure) -> Halt {
    match (failure.code, failure.details) {
        (Code::Expired, Details::FirstId(first)) => Halt::Stuck(format!(
            "retention has removed events that were not delivered yet; the oldest one kept is {first}. Nothing more is delivered until its place is moved"
        )),
        _ => Halt::Trouble(failure),
    }
}
