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
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::thread::JoinHandle;
use std::time::Duration;

use bytes::Bytes;
use parking_lot::{Mutex, RwLock};

use crate::commit::new_salt;
use crate::cursor::Cursor;
use crate::error::{CheckpointError, Damage, OpenError};
use crate::format::batch::{self, Chain, Mark};
use crate::format::names::{self, FileName};
use crate::format::record::{self, Draft, Record};
use crate::format::segment::{HEADER_LEN, HeaderFault, SegmentHeader, SegmentKind, VERSION};
use crate::position::EventId;
use crate::queue::{Queue, Refusal, Taken};
use crate::recovery::{self, Ending};
use crate::shared::Shared;
use crate::storage::{Access, EntryKind, Storage, is_full, read_exact_at};
use crate::tail::{self, Tail};
use crate::ticket::{Answer, Ticket, ticket};

/// The longest name of a checkpoint, in bytes.
pub const CHECKPOINT_NAME_LEN_MAX: usize = 1_024;
/// The longest definition, in bytes.
pub const CHECKPOINT_DEFINITION_LEN_MAX: usize = 64 << 10;

/// The usual length of the file, in bytes: some thousand changes between two compactions.
const FILE_LEN: u64 = 256 << 10;
/// How much larger than its content a compacted file is, so that compaction stays rare.
const FILE_GROWTH: u64 = 4;
/// How many bytes of changes one batch of a compacted file holds.
const COMPACTED_BATCH_LEN: usize = 1 << 20;
/// How many changes may wait; each is a short record.
const QUEUE_LEN_MAX: usize = 65_536;
/// The same in bytes, as there may be definitions among them.
const QUEUE_BYTES_MAX: usize = 64 << 20;
/// After how long without changes the last one is proved durable by a mark.
const MARK_AFTER: Duration = Duration::from_secs(1);
const TEMPORARY: &str = "checkpoints.tmp";

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

/// The one writer of the checkpoint log.
#[derive(Debug)]
struct Writer {
    /// None before the first change ever.
    tail: Option<Tail>,
    /// The number of the next record.
    next: EventId,
    failed: Option<Arc<str>>,
    is_clean: bool,
}

/// What is on disk, before there is a log to belong to.
pub(crate) struct Loaded {
    state: HashMap<String, Checkpoint>,
    writer: Writer,
}

/// Reads the checkpoint log of the directory, mends its tail, removes older ones.
pub(crate) fn load(
    storage: &Arc<dyn Storage>,
    log_id: [u8; 16],
    end: EventId,
    salt: u32,
) -> Result<Loaded, OpenError> {
    let mut found: Vec<EventId> = storage
        .list()?
        .into_iter()
        .filter(|entry| matches!(entry.kind, EntryKind::File { .. }))
        .filter_map(|entry| match names::parse(&entry.name) {
            FileName::Checkpoints(first) => Some(first),
            FileName::Lock
            | FileName::Segment(_)
            | FileName::Index(_)
            | FileName::Run
            | FileName::Temporary
            | FileName::Foreign => None,
        })
        .collect();
    found.sort_unstable();
    let Some(newest) = found.pop() else {
        return Ok(Loaded {
            state: HashMap::new(),
            writer: Writer {
                tail: None,
                next: EventId::FIRST,
                failed: None,
                is_clean: true,
            },
        });
    };
    let loaded = load_file(storage, newest, log_id, end, salt)?;
    if !found.is_empty() {
        // The name of the newest may be as young as the process that gave it: it must not be lost
        // after those that it replaces.
        storage.sync_names()?;
    }
    for older in found {
        storage.remove(&names::checkpoints(older))?;
    }
    Ok(loaded)
}

fn load_file(
    storage: &Arc<dyn Storage>,
    first: EventId,
    log_id: [u8; 16],
    end: EventId,
    salt: u32,
) -> Result<Loaded, OpenError> {
    let name = names::checkpoints(first);
    let file = storage.open(&name, Access::ReadWrite)?;
    let len = usize::try_from(file.len()).map_err(io::Error::other)?;
    let mut bytes = vec![0; len];
    read_exact_at(&*file, 0, &mut bytes)?;
    if let Err(HeaderFault::Newer(version)) = SegmentHeader::decode(&bytes) {
        return Err(OpenError::NewerFormat {
            file: name,
            version,
            supported: VERSION,
        });
    }
    let Judged {
        header,
        ending,
        state,
    } = judge(&name, &bytes, Some(log_id), first, end.get()).map_err(OpenError::Damaged)?;
    let mut chain = ending.chain;
    tail::settle(&*file, &bytes, &mut chain, ending.dirty_end)?;
    Ok(Loaded {
        state,
        writer: Writer {
            next: chain.next,
            tail: Some(Tail::new(file, header, chain, salt)),
            failed: None,
            is_clean: ending.mark == Some(Mark::Clean),
        },
    })
}

/// A checkpoint log that is sound.
struct Judged {
    header: SegmentHeader,
    ending: Ending,
    state: HashMap<String, Checkpoint>,
}

/// Reads the bytes of a checkpoint log: the state it leads to, and where it ends. `end` is the end
/// of the log it belongs to.
fn judge(
    name: &str,
    bytes: &[u8],
    log_id: Option<[u8; 16]>,
    first: EventId,
    end: u64,
) -> Result<Judged, Damage> {
    let damage = |what: &str| Damage {
        file: name.to_owned(),
        offset: 0,
        first_id: None,
        last_id: None,
        what: what.to_owned(),
    };
    let header = SegmentHeader::decode(bytes).map_err(|_| damage("the header is damaged"))?;
    let is_ours = log_id.is_none_or(|log_id| header.log_id == log_id);
    if header.kind != SegmentKind::Checkpoints || !is_ours || header.first != first {
        return Err(damage("the file belongs to another log or another place"));
    }
    let mut state = HashMap::new();
    let mut is_readable = true;
    let ending = recovery::judge(name, bytes, &header, |_, record| {
        match read_change(record) {
            Some((name, Some(checkpoint))) => {
                state.insert(name, checkpoint);
            }
            Some((name, None)) => {
                state.remove(&name);
            }
            None => is_readable = false,
        }
    })?;
    if !is_readable {
        return Err(damage("a change of a checkpoint cannot be read"));
    }
    match state
        .iter()
        .find(|(_, checkpoint)| checkpoint.position >= end)
    {
        Some((consumer, checkpoint)) => Err(damage(&format!(
            "the checkpoint of {consumer:?} is at {}, beyond the last event, which is {}: the log \
             has lost events",
            checkpoint.position,
            end.saturating_sub(1)
        ))),
        None => Ok(Judged {
            header,
            ending,
            state,
        }),
    }
}

/// Checks the bytes of a checkpoint log against the log it belongs to.
pub(crate) fn check(
    name: &str,
    bytes: &[u8],
    log_id: Option<[u8; 16]>,
    first: EventId,
    end: u64,
) -> Result<(), Damage> {
    judge(name, bytes, log_id, first, end).map(|_| ())
}

impl Checkpoints {
    pub(crate) fn new(shared: Arc<Shared>, loaded: Loaded) -> Arc<Self> {
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

    fn serve(&self, requests: Vec<Request>) {
        if requests.is_empty() {
            return;
        }
        let mut writer = self.writer.lock();
        let mut changed: HashMap<String, Option<Checkpoint>> = HashMap::new();
        let mut answers = Vec::with_capacity(requests.len());
        for Request {
            name,
            change,
            ticket,
        } in requests
        {
            let outcome = match &writer.failed {
                Some(why) => Err(CheckpointError::Failed(Arc::clone(why))),
                None => self.judge(&name, change, &mut changed),
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
    ) -> Outcome {
        let current = match changed.get(name) {
            Some(pending) => pending.clone(),
            None => self.get(name),
        };
        let after = match (change, current) {
            (Change::Create(_), Some(_)) => return Err(CheckpointError::Exists),
            (Change::Create(checkpoint), None) => {
                let added = changed.values().filter(|pending| pending.is_some()).count();
                let checkpoints_max = self.shared.options.checkpoints_max;
                if self.state.read().len() + added >= checkpoints_max {
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
                return Ok(current);
            }
        };
        let end = self.shared.published().get();
        if after.position >= end {
            return Err(CheckpointError::BeyondEnd { last_id: end - 1 });
        }
        changed.insert(name.to_owned(), Some(after.clone()));
        Ok(after)
    }

    fn write(
        &self,
        writer: &mut Writer,
        changed: &HashMap<String, Option<Checkpoint>>,
    ) -> Result<(), CheckpointError> {
        if changed.is_empty() {
            return Ok(());
        }
        let position = changed
            .values()
            .flatten()
            .map(|checkpoint| checkpoint.position)
            .max();
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
        let fits = writer
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

type Entry<'a> = (&'a str, Option<&'a Checkpoint>);

impl Writer {
    fn is_unproven(&self) -> bool {
        self.failed.is_none() && self.tail.as_ref().is_some_and(Tail::is_unproven)
    }

    /// Proves the last change durable by a mark.
    fn prove(&mut self, mark: Mark) {
        let is_wanted = match mark {
            Mark::Clean => !self.is_clean,
            Mark::Synced | Mark::Seal => self.is_unproven(),
        };
        let Some(tail) = self.tail.as_mut() else {
            return;
        };
        if self.failed.is_some() || !is_wanted || !tail.room_for_mark() {
            return;
        }
        let marked = tail.mark(self.next, mark).and_then(|()| match mark {
            Mark::Clean => tail.sync(),
            Mark::Synced | Mark::Seal => Ok(()),
        });
        self.is_clean = mark == Mark::Clean && marked.is_ok();
        if let Err(error) = marked {
            self.fail(&error);
        }
    }

    fn append(&mut self, entries: &[Entry<'_>]) -> Result<(), CheckpointError> {
        let Some(tail) = self.tail.as_mut() else {
            return Err(CheckpointError::NotFound);
        };
        self.is_clean = false;
        let outcome = write_entries(tail, self.next, entries).and_then(|next| {
            tail.sync()?;
            Ok(next)
        });
        match outcome {
            Ok(next) => {
                self.next = next;
                Ok(())
            }
            Err(error) => Err(CheckpointError::Unknown(self.fail(&error))),
        }
    }

    fn replace(
        &mut self,
        shared: &Arc<Shared>,
        entries: &[Entry<'_>],
    ) -> Result<(), CheckpointError> {
        let old = self.tail.as_ref().map(|tail| tail.header.first);
        let (tail, next) = match write_file(shared, self.next, entries) {
            Ok(made) => made,
            Err(error) => {
                // Nothing has a name yet, so nothing has changed.
                let _gone = shared.storage.remove(TEMPORARY);
                return Err(if is_full(&error) {
                    CheckpointError::Full
                } else {
                    CheckpointError::Failed(self.fail(&error))
                });
            }
        };
        let name = names::checkpoints(tail.header.first);
        let named = shared
            .storage
            .rename(TEMPORARY, &name)
            .and_then(|()| shared.storage.sync_names());
        if let Err(error) = named {
            return Err(CheckpointError::Unknown(self.fail(&error)));
        }
        self.tail = Some(tail);
        self.next = next;
        self.is_clean = false;
        // A file without a record gives its number to the next one, which has replaced it by now.
        if let Some(old) = old.filter(|old| names::checkpoints(*old) != name) {
            // The new file has the higher number: an old one that stays is removed at the next open.
            let _gone = shared.storage.remove(&names::checkpoints(old));
        }
        Ok(())
    }

    fn fail(&mut self, error: &io::Error) -> Arc<str> {
        let why: Arc<str> = Arc::from(format!("could not write the checkpoints: {error}"));
        Arc::clone(self.failed.get_or_insert(why))
    }
}

/// Writes a whole new checkpoint log under its temporary name, synced and proved.
fn write_file(
    shared: &Shared,
    first: EventId,
    entries: &[Entry<'_>],
) -> io::Result<(Tail, EventId)> {
    let storage = &shared.storage;
    match storage.remove(TEMPORARY) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    let content_len = (HEADER_LEN + encoded_len(entries)) as u64;
    let len = FILE_LEN
        .min(shared.options.segment_len)
        .max(content_len.saturating_mul(FILE_GROWTH));
    let file = storage.create(TEMPORARY, len.next_multiple_of(4_096))?;
    let header = SegmentHeader {
        kind: SegmentKind::Checkpoints,
        log_id: shared.log_id,
        first,
        created_us: shared.options.clock.now_us(),
        proof_key: shared.options.entropy.next_u64(),
    };
    crate::storage::write_all_at(&*file, 0, &[&header.encode()])?;
    let mut tail = Tail::new(
        file,
        header,
        Chain::start(&header),
        new_salt(&shared.options),
    );
    let mut next = first;
    let mut rest = entries;
    while !rest.is_empty() {
        let mut len = 0;
        let count = rest
            .iter()
            .take_while(|entry| {
                len += record_len(entry);
                len <= COMPACTED_BATCH_LEN
            })
            .count()
            .max(1);
        let (some, others) = rest.split_at_checked(count).unwrap_or((rest, &[]));
        next = write_entries(&mut tail, next, some)?;
        rest = others;
    }
    tail.sync()?;
    // The old file goes as soon as this one has its name: no later change proves its last batch.
    tail.mark(next, Mark::Synced)?;
    tail.sync()?;
    Ok((tail, next))
}

fn write_entries(tail: &mut Tail, first: EventId, entries: &[Entry<'_>]) -> io::Result<EventId> {
    let mut buffer = Vec::new();
    let mut next = first;
    for (name, checkpoint) in entries {
        let draft = encode_change(&mut buffer, name, *checkpoint);
        draft.finish(
            &mut buffer,
            std::iter::empty(),
            next,
            0,
            tail.salt(),
            tail.masks().record,
        );
        next = next.next().ok_or(io::ErrorKind::InvalidInput)?;
    }
    let count = u32::try_from(entries.len()).map_err(|_| io::ErrorKind::InvalidInput)?;
    tail.write(first, count, &[&buffer])?;
    Ok(next)
}

const CHANGE_HEAD_LEN: usize = 16;
const SET: u8 = 1;
const REMOVED: u8 = 2;

fn encode_change(buffer: &mut Vec<u8>, name: &str, checkpoint: Option<&Checkpoint>) -> Draft {
    let (what, position, definition) = match checkpoint {
        Some(checkpoint) => (SET, checkpoint.position, &checkpoint.definition[..]),
        None => (REMOVED, 0, &[][..]),
    };
    let mut head = Vec::with_capacity(CHANGE_HEAD_LEN);
    head.extend_from_slice(&[what, 0]);
    head.extend_from_slice(&u16::try_from(name.len()).unwrap_or(u16::MAX).to_le_bytes());
    head.extend_from_slice(
        &u32::try_from(definition.len())
            .unwrap_or(u32::MAX)
            .to_le_bytes(),
    );
    head.extend_from_slice(&position.to_le_bytes());
    record::encode_draft(
        buffer,
        std::iter::empty(),
        &[&head, name.as_bytes(), definition],
    )
}

fn read_change(record: &Record<'_>) -> Option<(String, Option<Checkpoint>)> {
    let mut cursor = Cursor::new(record.body);
    let what = cursor.take_u8()?;
    let _reserved = cursor.take_u8()?;
    let name_len = cursor.take_u16()?;
    let definition_len = cursor.take_u32()?;
    let position = cursor.take_u64()?;
    let name = str::from_utf8(cursor.take(usize::from(name_len))?).ok()?;
    let definition = cursor.take(definition_len as usize)?;
    if !cursor.rest().is_empty() {
        return None;
    }
    match what {
        SET => Some((
            name.to_owned(),
            Some(Checkpoint {
                position,
                definition: Bytes::copy_from_slice(definition),
            }),
        )),
        REMOVED => Some((name.to_owned(), None)),
        _ => None,
    }
}

/// An upper bound of what one entry takes.
fn record_len((name, checkpoint): &Entry<'_>) -> usize {
    let definition_len = checkpoint.map_or(0, |checkpoint| checkpoint.definition.len());
    record::RECORD_LEN_MIN + CHANGE_HEAD_LEN + name.len() + definition_len + 8
}

/// An upper bound of what the entries take, batch headers included.
fn encoded_len(entries: &[Entry<'_>]) -> usize {
    let records: usize = entries.iter().map(record_len).sum();
    records + batch::HEADER_LEN * (2 + records / COMPACTED_BATCH_LEN)
}
