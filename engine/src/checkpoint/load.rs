//! Reading the checkpoints of a log that is being opened, or verified.

use std::collections::HashMap;
use std::io;
use std::sync::Arc;

use super::Checkpoint;
use super::change::read_change;
use super::file::Writer;
use crate::error::{Damage, OpenError};
use crate::format::batch::Mark;
use crate::format::names::{self, FileName};
use crate::format::segment::{HeaderFault, SegmentHeader, SegmentKind, VERSION};
use crate::position::EventId;
use crate::recovery::{self, Ending};
use crate::storage::{Access, EntryKind, Storage, read_exact_at};
use crate::tail::{self, Tail};

/// What is on disk, before there is a log to belong to.
pub(crate) struct Loaded {
    pub(super) state: HashMap<String, Checkpoint>,
    pub(super) writer: Writer,
}

#[cfg(feature = "sabotage")]
impl Loaded {
    pub(super) fn with_sabotage(mut self, options: &crate::Options) -> Self {
        self.writer.is_named |= options.has(crate::Sabotage::FailedNameSyncForgiven);
        let tail = self.writer.tail.take();
        self.writer.tail = tail.map(|tail| crate::sabotage::planted(tail, options));
        self
    }
}

/// Reads the checkpoint log of the directory, mends its tail, removes older ones if that is safe.
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
            | FileName::Losses(_)
            | FileName::SetAside
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
                is_named: true,
                older: Vec::new(),
            },
        });
    };
    let mut loaded = load_file(storage, newest, log_id, end, salt)?;
    if loaded.writer.is_named {
        for older in found {
            storage.remove(&names::checkpoints(older))?;
        }
    } else {
        // The name of the newest may not be on the disk, even if a sync says so now: the one that
        // failed to put it there was the last process's. It must not be lost after those that it
        // replaces.
        loaded.writer.older = found;
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
            tail: Some(Tail::new(file, header, chain, salt, ending.mark)),
            failed: None,
            is_clean: ending.mark == Some(Mark::Clean),
            // The first mark stands behind what the file began with. Whatever follows was written
            // when the name was durable.
            is_named: ending
                .first_mark_end
                .is_some_and(|first_mark_end| ending.dirty_end > first_mark_end),
            older: Vec::new(),
        },
    })
}

/// A checkpoint log that is sound.
pub(super) struct Judged {
    header: SegmentHeader,
    ending: Ending,
    pub(super) state: HashMap<String, Checkpoint>,
}

/// Reads the bytes of a checkpoint log: the state it leads to, and where it ends. `end` is the end
/// of the log it belongs to.
pub(super) fn judge(
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
