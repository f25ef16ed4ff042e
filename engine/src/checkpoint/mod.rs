//! The consumers' checkpoints: a small log of its own, group-committed, compacted by atomic replace
//! (FORMAT.md, section 10).
//!
//! The same story as in `commit.rs`, with changes in place of batches: judge each change in the
//! order of arrival, write those that change something as one batch, sync once, make them visible,
//! answer. What is visible has been synced; a checkpoint never lies beyond what is durable of the
//! log.

use std::collections::HashMap;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::thread::JoinHandle;
use std::time::Duration;

use bytes::Bytes;
use parking_lot::{Mutex, RwLock};

use crate::error::{AppendError, CheckpointError};
use crate::format::batch::Mark;
use crate::queue::{Queue, Refusal, Taken};
use crate::shared::Shared;
use crate::ticket::{Answer, Ticket, ticket};

mod change;
mod file;
mod load;
mod rescue;

use change::encoded_len;
use file::Writer;
pub(crate) use load::{Loaded, check, load};
pub(crate) use rescue::{Rescued, rescue, write_anew};

/// The longest name of a checkpoint, in bytes.
pub const CHECKPOINT_NAME_LEN_MAX: usize = 1_024;
/// The longest definition, in bytes.
pub const CHECKPOINT_DEFINITION_LEN_MAX: usize = 64 << 10;
/// How many changes may wait; each is a short record.
const QUEUE_LEN_MAX: usize = 65_536;
/// The same in bytes, as there may be definitions among them.
const QUEUE_BYTES_MAX: usize = 64 << 20;
/// After how long without changes the last one is proved durable by a mark.
const MARK_AFTER: Duration = Duration::from_secs(1);

/// A consumer's durable place.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Checkpoint {
    /// Everything up to this id is done; 0 at first.
    pub position: u64,
    /// What the layer above keeps with it.
    pub definition: Bytes,
}

/// A change of a checkpoint on its way; resolves with the checkpoint as it is afterwards (as it was
/// before, for a removal).
#[must_use = "nobody learns the outcome otherwise"]
pub struct Checkpointing(Answer<Outcome>);

type Outcome = Result<Checkpoint, CheckpointError>;

impl Checkpointing {
    /// Blocks until the outcome is known.
    ///
    /// # Errors
    ///
    /// [`CheckpointError`].
    pub fn wait(self) -> Outcome {
        self.0.wait().unwrap_or_else(|| Err(no_answer()))
    }
}

impl Future for Checkpointing {
    type Output = Outcome;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Outcome> {
        Pin::new(&mut self.0)
            .poll(context)
            .map(|answer| answer.unwrap_or_else(|| Err(no_answer())))
    }
}

impl fmt::Debug for Checkpointing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Checkpointing").finish_non_exhaustive()
    }
}

fn no_answer() -> CheckpointError {
    CheckpointError::Unknown(Arc::from("the log was closed"))
}

/// What is asked of one checkpoint.
#[derive(Debug)]
pub(crate) enum Change {
    Create(Checkpoint),
    /// Forward only.
    Advance(u64),
    /// Anywhere.
    Seek(u64),
    Remove,
}

#[derive(Debug)]
struct Request {
    name: String,
    change: Change,
    ticket: Ticket<Outcome>,
}

/// All checkpoints of a log.
#[derive(Debug)]
pub(crate) struct Checkpoints {
    shared: Arc<Shared>,
    state: RwLock<HashMap<String, Checkpoint>>,
    queue: Queue<Request>,
    writer: Mutex<Writer>,
    /// Started with the first change: most logs of a server have no consumers.
    thread: Mutex<Option<JoinHandle<()>>>,
}
impl Checkpoints {
    pub(crate) fn new(shared: Arc<Shared>, loaded: Loaded) -> Arc<Self> {
        #[cfg(feature = "sabotage")]
        let loaded = loaded.with_sabotage(&shared.options);
        Arc::new(Self {
            shared,
            state: RwLock::new(loaded.state),
            queue: Queue::new(QUEUE_LEN_MAX, QUEUE_BYTES_MAX),
            writer: Mutex::new(loaded.writer),
            thread: Mutex::new(None),
        })
    }

    pub(crate) fn get(&self, name: &str) -> Option<Checkpoint> {
        self.state.read().get(name).cloned()
    }

    /// All names, sorted.
    pub(crate) fn names(&self) -> Vec<String> {
        let mut names: Vec<String> = self.state.read().keys().cloned().collect();
        names.sort_unstable();
        names
    }

    /// Hands a change to the writer; under `Background::Inline` it is done when this returns.
    pub(crate) fn change(self: &Arc<Self>, name: &str, change: Change) -> Checkpointing {
        let (ticket, answer) = ticket();
        let definition_len = match &change {
            Change::Create(checkpoint) => checkpoint.definition.len(),
            Change::Advance(_) | Change::Seek(_) | Change::Remove => 0,
        };
        if name.is_empty()
            || name.len() > CHECKPOINT_NAME_LEN_MAX
            || definition_len > CHECKPOINT_DEFINITION_LEN_MAX
        {
            ticket.answer(Err(CheckpointError::TooLarge));
            return Checkpointing(answer);
        }
        let request = Request {
            name: name.to_owned(),
            change,
            ticket,
        };
        match self.queue.push(request, name.len() + definition_len) {
            Ok(()) if self.shared.is_threaded() => self.start_thread(),
            Ok(()) => {
                let requests = self.queue.take_now();
                self.serve(requests);
            }
            Err((request, refusal)) => {
                let error = match refusal {
                    Refusal::Busy => CheckpointError::Busy,
                    Refusal::Closed(why) => CheckpointError::Failed(why),
                };
                request.ticket.answer(Err(error));
            }
        }
        Checkpointing(answer)
    }

    fn start_thread(self: &Arc<Self>) {
        let mut thread = self.thread.lock();
        if thread.is_none() {
            let own = Arc::clone(self);
            let spawned = std::thread::Builder::new()
                .name("strandlog-checkpoints".to_owned())
                .spawn(move || own.run());
            match spawned {
                Ok(handle) => *thread = Some(handle),
                // Without a thread the caller does the work, late but done.
                Err(_) => self.serve(self.queue.take_now()),
            }
        }
    }

    fn run(&self) {
        loop {
            let timeout = self.writer.lock().is_unproven().then_some(MARK_AFTER);
            match self.queue.take(timeout) {
                Taken::Items(requests) => self.serve(requests),
                Taken::Idle => self.writer.lock().prove(Mark::Synced),
                Taken::Closed => return,
            }
        }
    }

    /// Takes nothing more, finishes what waits, and marks the end as clean.
    pub(crate) fn close(&self) {
        self.queue.close(&Arc::from("the log is closed"));
        if let Some(thread) = self.thread.lock().take() {
            // A panic there has been reported to those who waited; closing goes on.
            let _ended = thread.join();
        }
        self.serve(self.queue.take_now());
        self.writer.lock().prove(Mark::Clean);
    }

    /// Gives the checkpoints that were read a name that is durable for certain. If there is no room
    /// for that, the next change sees to it.
    pub(crate) fn settle(&self) -> Result<(), CheckpointError> {
        let mut writer = self.writer.lock();
        match self.write(&mut writer, &HashMap::new()) {
            Err(CheckpointError::Full) => Ok(()),
            settled => settled,
        }
    }

    fn serve(&self, requests: Vec<Request>) {
        if requests.is_empty() {
            return;
        }
        let mut writer = self.writer.lock();
        let mut changed: HashMap<String, Option<Checkpoint>> = HashMap::new();
        let mut count = self.state.read().len();
        let mut answers = Vec::with_capacity(requests.len());
        for Request {
            name,
            change,
            ticket,
        } in requests
        {
            let outcome = match &writer.failed {
                Some(why) => Err(CheckpointError::Failed(Arc::clone(why))),
                None => self.judge(&name, change, &mut changed, &mut count),
            };
            answers.push((ticket, outcome));
        }
        let written = self.write(&mut writer, &changed);
        if written.is_ok() {
            let mut state = self.state.write();
            for (name, checkpoint) in changed {
                match checkpoint {
                    Some(checkpoint) => state.insert(name, checkpoint),
                    None => state.remove(&name),
                };
            }
        }
        for (ticket, outcome) in answers {
            ticket.answer(match (&written, outcome) {
                (Err(error), Ok(_)) => Err(error.clone()),
                (Ok(()), outcome) | (Err(_), outcome @ Err(_)) => outcome,
            });
        }
    }

    /// What the change comes to, with the changes before it in the same group.
    fn judge(
        &self,
        name: &str,
        change: Change,
        changed: &mut HashMap<String, Option<Checkpoint>>,
        count: &mut usize,
    ) -> Outcome {
        let current = match changed.get(name) {
            Some(pending) => pending.clone(),
            None => self.get(name),
        };
        let is_new = current.is_none();
        let after = match (change, current) {
            (Change::Create(_), Some(_)) => return Err(CheckpointError::Exists),
            (Change::Create(checkpoint), None) => {
                let checkpoints_max = self.shared.options.checkpoints_max;
                if *count >= checkpoints_max {
                    return Err(CheckpointError::TooMany { checkpoints_max });
                }
                checkpoint
            }
            (Change::Advance(_) | Change::Seek(_) | Change::Remove, None) => {
                return Err(CheckpointError::NotFound);
            }
            (Change::Advance(position), Some(current)) if position <= current.position => {
                return Ok(current);
            }
            (Change::Advance(position) | Change::Seek(position), Some(current)) => Checkpoint {
                position,
                ..current
            },
            (Change::Remove, Some(current)) => {
                changed.insert(name.to_owned(), None);
                *count -= 1;
                return Ok(current);
            }
        };
        let end = self.shared.published().get();
        if after.position >= end {
            return Err(CheckpointError::BeyondEnd { last_id: end - 1 });
        }
        if is_new {
            *count += 1;
        }
        changed.insert(name.to_owned(), Some(after.clone()));
        Ok(after)
    }

    fn write(
        &self,
        writer: &mut Writer,
        changed: &HashMap<String, Option<Checkpoint>>,
    ) -> Result<(), CheckpointError> {
        // Even "it is there already" is a promise: it must not rest on a name that may be lost.
        if changed.is_empty() && writer.is_named {
            return Ok(());
        }
        self.shared.name_tail().map_err(|error| match error {
            AppendError::Full => CheckpointError::Full,
            AppendError::Scarce(_) => CheckpointError::Busy,
            error => CheckpointError::Failed(Arc::from(error.to_string())),
        })?;
        let position = changed
            .values()
            .flatten()
            .map(|checkpoint| checkpoint.position)
            .max();
        #[cfg(feature = "sabotage")]
        let position = position.filter(|_| {
            let options = &self.shared.options;
            !options.has(crate::Sabotage::CheckpointBeforeLog)
        });
        // The log first: after a power cut a checkpoint must not lie beyond the end.
        if position.is_some_and(|position| position >= self.shared.durable().get()) {
            self.shared
                .flush()
                .map_err(|error| CheckpointError::Unknown(Arc::from(error.to_string())))?;
        }
        let entries: Vec<_> = changed
            .iter()
            .map(|(name, checkpoint)| (name.as_str(), checkpoint.as_ref()))
            .collect();
        let fits = writer.is_named
            && writer
                .tail
                .as_ref()
                .is_some_and(|tail| encoded_len(&entries) as u64 <= tail.room());
        let written = if fits {
            writer.append(&entries)
        } else {
            self.compact(writer, changed)
        };
        self.shared.counters.checkpoint_commits.add(1);
        written
    }

    /// Writes everything to a new file and lets it take the place of the old one.
    fn compact(
        &self,
        writer: &mut Writer,
        changed: &HashMap<String, Option<Checkpoint>>,
    ) -> Result<(), CheckpointError> {
        let state = self.state.read();
        let entries: Vec<_> =
            state
                .iter()
                .filter(|(name, _)| !changed.contains_key(*name))
                .map(|(name, checkpoint)| (name.as_str(), Some(checkpoint)))
                .chain(changed.iter().filter_map(|(name, checkpoint)| {
                    Some((name.as_str(), Some(checkpoint.as_ref()?)))
                }))
                .collect();
        let outcome = writer.replace(&self.shared, &entries);
        drop(state);
        outcome
    }
}
