//! Calling HTTP endpoints of others: one machine for webhooks, handlers and contracts.
//!
//! A [`Lane`] is an ordinary reader of a log with a durable place, whose events go to a [`Target`].
//! Each has a task of its own, so a slow endpoint holds up nobody else. What became of each call is
//! in the [`history`]; where a call may go is the [`guard`]'s to say.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::app::{App, Code, Failure, Log};
use crate::store::EventId;
use crate::unwind::{Panicked, to_the_end};

pub mod attempt;
pub mod client;
mod connect;
pub mod dead_letters;
pub mod endpoint;
pub mod guard;
pub mod history;
pub mod lane;
mod pool;
pub mod retry;
mod run;
mod settings;
pub mod signature;
pub mod target;

pub use attempt::{Attempt, Outcome};
pub use client::Client;
pub use dead_letters::DeadLetters;
pub use guard::Guard;
pub use history::History;
pub use lane::{Lane, LaneState, LaneStatus};
pub use settings::Settings;
pub use target::{DeliveryInfo, OwnedCall, Target, Verdict};

use attempt::{Batch, Loops, Room};
use client::CallLimits;
use run::{Runner, Stop};

/// Everything that calls. Clones are the same.
#[derive(Clone, Debug)]
pub struct Hub(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    outside: Outside,
    guard: Guard,
    lanes: Mutex<HashMap<String, Arc<Slot>>>,
}

/// What every lane needs. Clones share it.
#[derive(Clone, Debug)]
struct Outside {
    app: App,
    client: Client,
    history: History,
    dead_letters: DeadLetters,
    room: Room,
    counts: Arc<Counts>,
}

/// Where a lane runs, if it does.
#[derive(Debug, Default)]
struct Slot {
    /// Held while the lane begins or ends.
    running: tokio::sync::Mutex<Option<Running>>,
    status: Mutex<Option<Arc<Mutex<LaneStatus>>>>,
}

#[derive(Debug)]
struct Running {
    stop: watch::Sender<bool>,
    task: JoinHandle<()>,
}

/// How many attempts came to what, since the server was started.
#[derive(Debug, Default)]
pub struct Counts([AtomicU64; Outcome::ALL.len()]);

impl Counts {
    fn place(&self, outcome: Outcome) -> Option<&AtomicU64> {
        let index = Outcome::ALL.iter().position(|known| *known == outcome)?;
        self.0.get(index)
    }

    fn add(&self, outcome: Outcome) {
        if let Some(count) = self.place(outcome) {
            count.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// How many attempts came to this.
    #[must_use]
    pub fn get(&self, outcome: Outcome) -> u64 {
        self.place(outcome)
            .map_or(0, |count| count.load(Ordering::Relaxed))
    }
}

impl Hub {
    /// A hub that calls for this product.
    #[must_use]
    pub fn new(app: App, settings: &Settings) -> Self {
        let guard = Guard::new(settings.allow.clone());
        let clock = Arc::clone(app.clock());
        Self(Arc::new(Shared {
            outside: Outside {
                client: Client::new(guard.clone(), CallLimits::default(), clock),
                history: History::new(app.clone()),
                dead_letters: DeadLetters::new(app.clone()),
                room: Room::new(),
                counts: Arc::default(),
                app,
            },
            guard,
            lanes: Mutex::default(),
        }))
    }

    /// The product behind it.
    #[must_use]
    pub fn app(&self) -> &App {
        &self.0.outside.app
    }

    /// Which addresses may be called.
    #[must_use]
    pub fn guard(&self) -> &Guard {
        &self.0.guard
    }

    /// What calls, for calls that belong to no lane.
    #[must_use]
    pub fn client(&self) -> &Client {
        &self.0.outside.client
    }

    /// What became of calls.
    #[must_use]
    pub fn history(&self) -> &History {
        &self.0.outside.history
    }

    /// What lanes gave up.
    #[must_use]
    pub fn dead_letters(&self) -> &DeadLetters {
        &self.0.outside.dead_letters
    }

    /// How many attempts of lanes came to what.
    #[must_use]
    pub fn counts(&self) -> &Counts {
        &self.0.outside.counts
    }

    fn slot(&self, name: &str) -> Arc<Slot> {
        let mut lanes = self.0.lanes.lock();
        Arc::clone(lanes.entry(name.to_owned()).or_default())
    }

    fn known_slot(&self, name: &str) -> Option<Arc<Slot>> {
        self.0.lanes.lock().get(name).cloned()
    }

    /// Begins a lane; one of the same name is ended first. Its place is durable before this
    /// resolves, so that a start at the end means now. Like the other changes of lanes, it goes on
    /// if nobody waits for it any more.
    ///
    /// # Errors
    ///
    /// [`Failure`]: the filter has too many names; and then nothing was changed. The place cannot be
    /// kept, or lies beyond the end, or the server is stopping; and then no lane of this name runs.
    pub async fn start(&self, lane: Lane) -> Result<(), Failure> {
        lane.filter.check()?;
        let hub = self.clone();
        let begun = to_the_end(async move { hub.begin(lane).await });
        begun.await.unwrap_or_else(|Panicked| Err(mistake()))
    }

    async fn begin(&self, lane: Lane) -> Result<(), Failure> {
        let slot = self.slot(&lane.name);
        let mut running = slot.running.lock().await;
        slot.end(&mut running).await;
        if self.app().is_stopping() {
            return Err(Failure::stopping());
        }
        let begin = lane.log.position_before(lane.start);
        let position = lane.log.begin_progress(&lane.name, begin).await?;
        let status = Arc::new(Mutex::new(LaneStatus::at(position)));
        *slot.status.lock() = Some(Arc::clone(&status));
        let (stop, own) = watch::channel(false);
        let runner = Runner {
            lane,
            outside: self.0.outside.clone(),
            status,
            stop: Stop {
                own,
                app: self.app().clone(),
            },
        };
        let task = tokio::spawn(runner.run());
        *running = Some(Running { stop, task });
        Ok(())
    }

    /// Ends a lane, and waits until it calls nothing more: for a moment at most, in which the
    /// answer to a call may still come. Its place stays.
    pub async fn stop(&self, name: &str) {
        let Some(slot) = self.known_slot(name) else {
            return;
        };
        let (hub, name) = (self.clone(), name.to_owned());
        let ended = to_the_end(async move {
            slot.end(&mut *slot.running.lock().await).await;
            let mut lanes = hub.0.lanes.lock();
            // Here and in the map: nobody else is about to use it.
            if Arc::strong_count(&slot) == 2 {
                lanes.remove(&name);
            }
        });
        if ended.await.is_err() {
            tracing::error!("a lane could not be ended");
        }
    }

    /// Ends a lane, and forgets its place in `log` and what is in memory of it.
    ///
    /// # Errors
    ///
    /// [`Failure`]: the place cannot be removed. The lane has ended all the same.
    pub async fn remove(&self, log: &Log, name: &str) -> Result<(), Failure> {
        self.stop(name).await;
        self.dead_letters().forget(name);
        log.remove_progress(name).await.map(drop)
    }

    /// How a lane does; none if none of this name was begun, or it was ended.
    #[must_use]
    pub fn status(&self, name: &str) -> Option<LaneStatus> {
        let slot = self.known_slot(name)?;
        let status = slot.status.lock().clone()?;
        let status = status.lock().clone();
        Some(status)
    }

    /// Sends one event of a log now, outside of the lane's order; gives what came of it, which the
    /// history of the lane keeps as well.
    ///
    /// # Errors
    ///
    /// [`Failure`]: there is no such event (any more), or the server is stopping.
    pub async fn send(
        &self,
        lane: &str,
        log: &Log,
        id: EventId,
        target: &dyn Target,
    ) -> Result<Attempt, Failure> {
        let Outside {
            app,
            client,
            history,
            room,
            counts,
            ..
        } = &self.0.outside;
        let pages = [log.event(id).await?];
        let _room = tokio::select! {
            room = room.take(&pages) => room,
            () = app.stopped() => return Err(Failure::stopping()),
        };
        let batch = Batch::of(lane, &pages)?
            .ok_or_else(|| Failure::new(Code::Internal, "an event has no record"))?;
        let prepared = attempt::prepare(app, target, &batch, &pages, 1, Loops::Pass)?;
        drop(pages);
        let attempt = tokio::select! {
            attempt = attempt::make(app, client, target, prepared) => attempt,
            () = app.stopped() => return Err(Failure::stopping()),
        };
        let outcome = match attempt.verdict {
            Verdict::Delivered => Outcome::Delivered,
            Verdict::Retry | Verdict::Reject | Verdict::Gone => Outcome::Failed,
        };
        counts.add(outcome);
        attempt.note(history, lane, log, &batch, outcome).await;
        Ok(attempt)
    }

    /// Resolves once no lane calls anything any more. The product must have been told to stop, or
    /// lanes could begin again.
    pub async fn close(&self) {
        let slots: Vec<Arc<Slot>> = self.0.lanes.lock().drain().map(|(_, slot)| slot).collect();
        // All are told before the first is waited for.
        for slot in &slots {
            if let Ok(running) = slot.running.try_lock()
                && let Some(running) = &*running
            {
                running.stop.send_replace(true);
            }
        }
        for slot in slots {
            slot.end(&mut *slot.running.lock().await).await;
        }
    }
}

fn mistake() -> Failure {
    Failure::new(Code::Internal, "the server made a mistake")
}

impl Slot {
    async fn end(&self, running: &mut Option<Running>) {
        if let Some(Running { stop, task }) = running {
            stop.send_replace(true);
            if let Err(error) = task.await {
                tracing::error!(%error, "a lane did not end as it should");
            }
        }
        *running = None;
        *self.status.lock() = None;
    }
}
