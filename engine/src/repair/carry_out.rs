//! Carrying the plan out: each step is durable before the next one begins, and none takes anything
//! away that the ones behind it still need.

use std::collections::HashMap;
use std::io;
use std::sync::Arc;

use super::files::read;
use super::rebuild::rebuild;
use crate::begin::begin_segment;
use crate::checkpoint::{Checkpoint, write_anew};
use crate::format::losses::SegmentLosses;
use crate::format::names;
use crate::options::Options;
use crate::position::EventId;
use crate::salvage::Place;
use crate::storage::{Access, Storage, write_all_at};
use crate::tail;
use crate::upkeep::write_derived;

/// One step.
#[derive(Clone, Debug)]
pub(super) enum Work {
    /// Writes the same bytes again, and syncs them.
    Settle {
        first: EventId,
        from: usize,
        until: usize,
    },
    Record(SegmentLosses),
    Rebuild {
        first: EventId,
        log_id: [u8; 16],
        places: Vec<Place>,
        set_aside: String,
    },
    NewTail {
        first: EventId,
        log_id: [u8; 16],
        recorded_at_us: u64,
    },
    Checkpoints {
        old: EventId,
        next: EventId,
        log_id: [u8; 16],
        state: HashMap<String, Checkpoint>,
        set_aside: String,
    },
}

pub(super) fn carry_out(
    storage: &Arc<dyn Storage>,
    options: &Options,
    work: &[Work],
) -> io::Result<()> {
    for step in work {
        match step {
            Work::Settle { first, from, until } => settle(storage, *first, *from, *until)?,
            Work::Record(losses) => {
                // Made anew from what is left: of a record that stands twice the old one may name the
                // copy that is damaged.
                remove_if_there(storage, &names::index(losses.first))?;
                let name = names::losses(losses.first);
                write_derived(storage, &name, &losses.encode())?;
            }
            Work::Rebuild {
                first,
                log_id,
                places,
                set_aside,
            } => {
                let name = names::segment(*first);
                let bytes = read(storage, &name)?;
                write_derived(storage, set_aside, &bytes)?;
                let rebuilt = rebuild(&bytes, places, *log_id, *first, options);
                // Not under the name with ".tmp" behind it: that stands for a segment that expires.
                replace(storage, &name, "rebuilt.tmp", &rebuilt)?;
            }
            Work::NewTail {
                first,
                log_id,
                recorded_at_us,
            } => {
                let file = tail::prepare(storage, options)?;
                begin_segment(storage, options, *log_id, &file, *first, *recorded_at_us)?;
            }
            Work::Checkpoints {
                old,
                next,
                log_id,
                state,
                set_aside,
            } => {
                let name = names::checkpoints(*old);
                write_derived(storage, set_aside, &read(storage, &name)?)?;
                write_anew(storage, options, *log_id, *next, state)?;
                storage.remove(&name)?;
                storage.sync_names()?;
            }
        }
    }
    Ok(())
}

fn settle(storage: &Arc<dyn Storage>, first: EventId, from: usize, until: usize) -> io::Result<()> {
    let file = storage.open(&names::segment(first), Access::ReadWrite)?;
    let mut bytes = vec![0; until.saturating_sub(from)];
    crate::storage::read_exact_at(&*file, from as u64, &mut bytes)?;
    write_all_at(&*file, from as u64, &[&bytes])?;
    file.sync()
}

fn remove_if_there(storage: &Arc<dyn Storage>, name: &str) -> io::Result<()> {
    match storage.remove(name) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        Ok(()) | Err(_) => Ok(()),
    }
}

fn replace(
    storage: &Arc<dyn Storage>,
    name: &str,
    temporary: &str,
    bytes: &[u8],
) -> io::Result<()> {
    remove_if_there(storage, temporary)?;
    let file = storage.create(temporary, bytes.len() as u64)?;
    write_all_at(&*file, 0, &[bytes])?;
    file.sync()?;
    drop(file);
    storage.rename(temporary, name)?;
    storage.sync_names()
}
