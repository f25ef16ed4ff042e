//! Executing contracts: the log is read after a durable place, and each occurrence of an event with
//! active contracts has them executed, whatever door it came through.
//!
//! Several occurrences are under way at a time. The place moves only up to the lowest of them that is
//! not done, so a server that is started again begins there; executions whose outcome was recorded
//! meanwhile are not run again. Contracts are looked up when their occurrence is read; one that came
//! into force later than the occurrence does not concern it.
//!
//! The reader takes the end of the log *first* and the names of the events with contracts *then*.
//! Whatever lies before that end was published before the names were taken, so no contract that was
//! in force when its occurrence was sent can be missing.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::{Id, JoinError, JoinHandle, JoinSet};

use crate::app::limits::{PAGE_LEN_MAX, QUERY_TERMS_MAX};
use crate::app::name::EventType;
use crate::app::range::Selection;
use crate::app::{Code, Details, Event, Failure, FailureKind, Filter};
use crate::store::EventId;

use super::event::Metadata;
use super::execution::Surroundings;
use super::history;
use super::registry::{Bound, Plan};

/// The name of the place.
const PLACE: &str = "eventhos/executor";
/// How many occurrences are under way at a time. An occurrence that takes longer than others holds up
/// nobody until there are so many of them.
const OCCURRENCES_MAX: u32 = 64;
/// So many bytes of an occurrence take a place of [`OCCURRENCES_MAX`] more, in bytes: templates hold
/// an occurrence several times over, and all together must fit in memory.
const BYTES_PER_PLACE: usize = 256 << 10;
/// How far the place may lag behind what was looked at and concerned nobody, in ids: saving it costs
/// a write.
const PLACE_LAG_MAX: u64 = 10_000;
/// How long calls that are under way may take to end when the server stops. They are made again when
/// it is started, so this only saves some receivers a second call.
const STOP_GRACE: Duration = Duration::from_millis(500);
/// The pause after the log could not be read.
const READ_PAUSE: Duration = Duration::from_secs(1);

/// Executes contracts.
#[derive(Debug)]
pub(super) struct Executor {
    shared: Arc<Shared>,
    task: tokio::sync::Mutex<Option<JoinHandle<()>>>,
}

#[derive(Debug)]
struct Shared {
    progress: Mutex<Progress>,
    /// Counts what is done, for whoever waits.
    done: watch::Sender<u64>,
}

#[derive(Debug)]
struct Progress {
    /// Everything up to this id was looked at.
    looked_at: u64,
    /// Of that, what is not done.
    unfinished: BTreeSet<u64>,
}

impl Progress {
    fn place(&self) -> u64 {
        self.unfinished
            .first()
            .map_or(self.looked_at, |first| first - 1)
    }

    fn is_done(&self, id: u64) -> bool {
        id <= self.looked_at && !self.unfinished.contains(&id)
    }
}

impl Executor {
    /// Begins, or goes on after the place where it was. The first time of all, what is in the log
    /// already concerns nobody.
    pub(super) async fn start(surroundings: Surroundings) -> Result<Self, Failure> {
        let log = &surroundings.log;
        let last_id = log.last_id();
        let place = log.begin_progress(PLACE, last_id).await?;
        let shared = Arc::new(Shared {
            progress: Mutex::new(Progress {
                looked_at: place,
                unfinished: BTreeSet::new(),
            }),
            done: watch::Sender::new(0),
        });
        let runner = Runner {
            surroundings: Arc::new(surroundings),
            shared: Arc::clone(&shared),
            place,
            recheck: last_id,
            permits: Arc::new(Semaphore::new(OCCURRENCES_MAX as usize)),
            tasks: JoinSet::new(),
            ids: HashMap::new(),
            has_executed: false,
        };
        let task = tokio::spawn(runner.run());
        Ok(Self {
            shared,
            task: tokio::sync::Mutex::new(Some(task)),
        })
    }

    /// Resolves once everything is done for an occurrence.
    pub(super) async fn is_done(&self, id: EventId) {
        let mut done = self.shared.done.subscribe();
        loop {
            done.borrow_and_update();
            if self.shared.progress.lock().is_done(id.get()) {
                return;
            }
            // The sender lives in `self`.
            let _changed = done.changed().await;
        }
    }

    /// Resolves once nothing is executed any more. The product must have been told to stop.
    pub(super) async fn close(&self) {
        if let Some(task) = self.task.lock().await.take()
            && let Err(error) = task.await
        {
            tracing::error!(%error, "the executor of contracts did not end as it should");
        }
    }
}

struct Runner {
    surroundings: Arc<Surroundings>,
    shared: Arc<Shared>,
    /// As it is kept.
    place: u64,
    /// Occurrences up to this id may have outcomes from before this start.
    recheck: u64,
    permits: Arc<Semaphore>,
    /// Each gives whether everything is done for its occurrence.
    tasks: JoinSet<bool>,
    ids: HashMap<Id, u64>,
    /// Whether anything was executed since the place was kept.
    has_executed: bool,
}

impl Runner {
    async fn run(mut self) {
        let surroundings = Arc::clone(&self.surroundings);
        let app = &surroundings.app;
        let mut changes = surroundings.directory.changes();
        changes.mark_changed();
        let mut names = HashSet::new();
        while !app.is_stopping() {
            let end = surroundings.log.last_id();
            // The sender lives in the directory, so there is no error.
            if changes.has_changed().unwrap_or(true) {
                changes.borrow_and_update();
                names = surroundings
                    .directory
                    .read(|registry| registry.planned().map(str::to_owned).collect());
            }
            let looked_at = self.looked_at();
            if end > looked_at && !names.is_empty() {
                if let Err(failure) = self.look(looked_at, end, &names).await {
                    self.could_not_read(&failure).await;
                    continue;
                }
            } else {
                self.look_up_to(end);
            }
            self.keep_place().await;
            let waiting = self.looked_at();
            tokio::select! {
                () = app.stopped() => {}
                () = surroundings.log.grown_past(waiting), if !names.is_empty() => {}
                // The wait sees the change; the names are still those from before it.
                _changed = changes.changed() => changes.mark_changed(),
                Some(ended) = self.tasks.join_next_with_id() => self.ended(ended),
            }
        }
        let clock = app.clock();
        let grace = clock.sleep_until(clock.moment().after(STOP_GRACE));
        tokio::select! {
            () = async {
                while let Some(ended) = self.tasks.join_next_with_id().await {
                    self.ended(ended);
                }
            } => {}
            () = grace => {}
        }
        self.tasks.shutdown().await;
        self.has_executed = true;
        self.keep_place().await;
    }

    fn looked_at(&self) -> u64 {
        self.shared.progress.lock().looked_at
    }

    fn look_up_to(&self, id: u64) {
        let mut progress = self.shared.progress.lock();
        progress.looked_at = progress.looked_at.max(id);
        drop(progress);
        self.shared.done.send_modify(|done| *done += 1);
    }

    /// Reads what lies after `after` and up to `end`, and begins what is to be done.
    async fn look(&mut self, after: u64, end: u64, names: &HashSet<String>) -> Result<(), Failure> {
        let surroundings = Arc::clone(&self.surroundings);
        let mut filter = Filter::default();
        // More names than a query may have are told apart here instead.
        if names.len() <= QUERY_TERMS_MAX {
            for name in names {
                filter.types.push(EventType::new(name.clone())?);
            }
        }
        let selection = Selection {
            after: Some(after),
            to: EventId::new(end),
            filter,
            ..Selection::default()
        };
        let mut reading = surroundings.log.read(selection).await?;
        while let Some(records) = reading.next_page(PAGE_LEN_MAX).await? {
            for record in records.iter() {
                if surroundings.app.is_stopping() {
                    return Ok(());
                }
                let record = record.map_err(Failure::from)?;
                let id = record.id;
                match Event::from_record(record) {
                    Ok(event) if names.contains(event.event_type) => {
                        let plan = surroundings
                            .directory
                            .read(|registry| registry.plan(event.event_type).cloned());
                        if let Some(plan) = plan {
                            let len = event.data.bytes().len();
                            self.begin(id, len, plan).await;
                        }
                    }
                    Ok(_) => {}
                    Err(error) => tracing::error!(%error, "an occurrence was passed over"),
                }
            }
        }
        self.look_up_to(end);
        Ok(())
    }

    /// Begins what is to be done for an occurrence, when there is room for it.
    async fn begin(&mut self, id: EventId, len: usize, plan: Arc<Plan>) {
        let number = id.get();
        let concerns = |bound: &Bound| bound.contract.state.after < number;
        if !plan.groups.iter().flatten().any(concerns) {
            return;
        }
        let places = u32::try_from(len / BYTES_PER_PLACE).unwrap_or(u32::MAX);
        let places = places.saturating_add(1).min(OCCURRENCES_MAX);
        let permits = Arc::clone(&self.permits).acquire_many_owned(places);
        let mut permits = std::pin::pin!(permits);
        let permit = loop {
            tokio::select! {
                biased;
                Some(ended) = self.tasks.join_next_with_id() => {
                    self.ended(ended);
                    self.keep_place().await;
                }
                permit = &mut permits => break permit,
                () = self.surroundings.app.stopped() => return,
            }
        };
        let Ok(permit) = permit else { return };
        {
            let mut progress = self.shared.progress.lock();
            // Looked at first and done then, or it would seem done for a moment.
            progress.unfinished.insert(number);
            progress.looked_at = progress.looked_at.max(number);
        }
        let occurrence = Occurrence {
            surroundings: Arc::clone(&self.surroundings),
            plan,
            id,
            recheck: number <= self.recheck,
        };
        let task = self.tasks.spawn(occurrence.run(permit));
        self.ids.insert(task.id(), number);
    }

    /// A task has ended; so may others have.
    fn ended(&mut self, ended: Result<(Id, bool), JoinError>) {
        let mut next = Some(ended);
        while let Some(ended) = next {
            let (task, done) = match ended {
                Ok(ended) => ended,
                Err(error) => {
                    tracing::error!(%error, "an occurrence was given up");
                    (error.id(), true)
                }
            };
            if let Some(id) = self.ids.remove(&task)
                && done
            {
                self.shared.progress.lock().unfinished.remove(&id);
                self.has_executed = true;
            }
            next = self.tasks.try_join_next_with_id();
        }
        self.shared.done.send_modify(|done| *done += 1);
    }

    /// Makes the place durable, if that is worth a write.
    async fn keep_place(&mut self) {
        let place = self.shared.progress.lock().place();
        let worth = self.has_executed || place.saturating_sub(self.place) >= PLACE_LAG_MAX;
        if place <= self.place || !worth {
            return;
        }
        match self.surroundings.log.advance_progress(PLACE, place).await {
            Ok(_) => {
                self.place = place;
                self.has_executed = false;
            }
            // What was done is recorded, so it will not be done again.
            Err(failure) => {
                tracing::warn!(%failure, place, "the place of the executor could not be kept");
            }
        }
    }

    async fn could_not_read(&mut self, failure: &Failure) {
        if let (Code::Expired, Details::FirstId(first)) = (failure.code, failure.details) {
            tracing::error!(
                after = self.looked_at(),
                first = first.get(),
                "retention has removed occurrences before their contracts were executed"
            );
            self.look_up_to(first.get() - 1);
            return;
        }
        tracing::error!(%failure, "the log cannot be read for contracts; trying again");
        let clock = self.surroundings.app.clock();
        tokio::select! {
            () = clock.sleep_until(clock.moment().after(READ_PAUSE)) => {}
            () = self.surroundings.app.stopped() => {}
        }
    }
}

/// What is to be done for an occurrence.
struct Occurrence {
    surroundings: Arc<Surroundings>,
    plan: Arc<Plan>,
    id: EventId,
    /// Whether there may be outcomes from before this start.
    recheck: bool,
}

impl Occurrence {
    /// Executes its contracts, group after group; true once everything is recorded.
    async fn run(self, _permit: OwnedSemaphorePermit) -> bool {
        let Some(outcomes) = self.outcomes().await else {
            return false;
        };
        let retry_of = match self.retry_of().await {
            Ok(retry_of) => retry_of,
            Err(NotRead { lasting }) => return lasting,
        };
        for group in &self.plan.groups {
            if self.surroundings.app.is_stopping() {
                return false;
            }
            let mut executions = JoinSet::new();
            for bound in group {
                let contract = &bound.contract;
                let concerned = match retry_of {
                    Some(only) => only == contract.id,
                    None => contract.state.after < self.id.get(),
                };
                if concerned && !outcomes.contains(&contract.id) {
                    let surroundings = Arc::clone(&self.surroundings);
                    executions.spawn(execute(surroundings, bound.clone(), self.id));
                }
            }
            let mut recorded = true;
            while let Some(ended) = executions.join_next().await {
                recorded &= ended.unwrap_or_else(|error| {
                    tracing::error!(%error, "an execution was given up");
                    true
                });
            }
            if !recorded {
                return false;
            }
        }
        true
    }

    /// The contracts that were executed before; none if that cannot be told before the server stops.
    async fn outcomes(&self) -> Option<HashSet<u64>> {
        if !self.recheck {
            return Some(HashSet::new());
        }
        let history = self.surroundings.history();
        loop {
            match history::of_occurrence(history, self.id.get()).await {
                Ok(details) => {
                    let contract = |detail: history::Detail| detail.execution.contract_id;
                    return Some(details.into_iter().map(contract).collect());
                }
                Err(failure) => self.pause(&failure).await?,
            }
        }
    }

    /// The only contract that is to be executed, if there is such a restriction.
    async fn retry_of(&self) -> Result<Option<u64>, NotRead> {
        loop {
            match self.surroundings.log.event(self.id).await {
                Ok(records) => {
                    let event = records.get(0).map(|record| record.map(Event::from_record));
                    let Ok(Some(Ok(event))) = event else {
                        return Err(NotRead { lasting: true });
                    };
                    let retry_of = Metadata::of(&event).retry_of;
                    return Ok(retry_of.map(|retry_of| retry_of.contract));
                }
                Err(failure) if failure.kind() == FailureKind::Busy => {
                    let waited = self.pause(&failure).await;
                    waited.ok_or(NotRead { lasting: false })?;
                }
                Err(failure) => {
                    tracing::error!(%failure, "an occurrence cannot be read for its contracts");
                    return Err(NotRead { lasting: true });
                }
            }
        }
    }

    /// Waits; none if the server stops meanwhile.
    async fn pause(&self, failure: &Failure) -> Option<()> {
        tracing::warn!(%failure, occurrence = self.id.get(), "contracts wait");
        let app = &self.surroundings.app;
        let clock = app.clock();
        tokio::select! {
            () = clock.sleep_until(clock.moment().after(READ_PAUSE)) => Some(()),
            () = app.stopped() => None,
        }
    }
}

/// An occurrence could not be read.
struct NotRead {
    /// Whether trying again would find the same; if not, the server is stopping.
    lasting: bool,
}

/// Executes one contract. The occurrence is read again, from memory most likely, for no task can
/// lend it to another.
async fn execute(surroundings: Arc<Surroundings>, bound: Bound, id: EventId) -> bool {
    let records = match surroundings.log.event(id).await {
        Ok(records) => records,
        Err(failure) => {
            tracing::error!(%failure, "an occurrence cannot be read for its contracts");
            return true;
        }
    };
    let event = records.get(0).map(|record| record.map(Event::from_record));
    match event {
        Ok(Some(Ok(event))) => surroundings.execute(&bound, &event).await,
        Ok(Some(Err(_)) | None) => true,
        Err(error) => {
            tracing::error!(%error, "an occurrence cannot be read for its contracts");
            true
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_place_moves_up_to_the_lowest_that_is_not_done() {
        let mut progress = Progress {
            looked_at: 10,
            unfinished: BTreeSet::from([4, 7]),
        };
        assert_eq!(progress.place(), 3);
        assert!(progress.is_done(3) && progress.is_done(5) && !progress.is_done(4));
        assert!(!progress.is_done(11));
        progress.unfinished.remove(&4);
        assert_eq!(progress.place(), 6);
        progress.unfinished.clear();
        assert_eq!(progress.place(), 10);
    }
}
