//! The files of a log that is to be repaired.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;

use crate::error::OpenError;
use crate::format::names::{self, FileName};
use crate::position::EventId;
use crate::storage::{Access, EntryKind, Storage, read_exact_at};

/// The names of a directory, sorted by what they are.
#[derive(Clone, Debug, Default)]
pub(super) struct Files {
    /// First ids and file lengths.
    pub(super) segments: BTreeMap<EventId, u64>,
    pub(super) indexes: Vec<EventId>,
    pub(super) losses: Vec<EventId>,
    pub(super) runs: Vec<String>,
    /// The numbers of their first records, and their lengths.
    pub(super) checkpoints: BTreeMap<EventId, u64>,
    /// What earlier repairs have put aside, with its length.
    pub(super) set_aside: BTreeMap<String, u64>,
}

pub(super) fn list(storage: &Arc<dyn Storage>) -> Result<Files, OpenError> {
    let mut files = Files::default();
    let mut foreign = None;
    let mut has_own = false;
    for entry in storage.list()? {
        let EntryKind::File { len } = entry.kind else {
            foreign = Some(entry.name);
            continue;
        };
        let mut is_own = true;
        match names::parse(&entry.name) {
            FileName::Segment(first) => {
                files.segments.insert(first, len);
            }
            FileName::Index(first) => files.indexes.push(first),
            FileName::Losses(first) => files.losses.push(first),
            FileName::Run => files.runs.push(entry.name),
            FileName::Checkpoints(first) => {
                files.checkpoints.insert(first, len);
            }
            FileName::SetAside => {
                files.set_aside.insert(entry.name, len);
            }
            FileName::Lock | FileName::Temporary => is_own = false,
            FileName::Foreign => {
                is_own = false;
                foreign = Some(entry.name);
            }
        }
        has_own |= is_own;
    }
    match foreign {
        Some(name) if !has_own => Err(OpenError::NotALog { name }),
        Some(_) | None => Ok(files),
    }
}

/// All bytes of a file.
pub(super) fn read(storage: &Arc<dyn Storage>, name: &str) -> io::Result<Vec<u8>> {
    let file = storage.open(name, Access::Read)?;
    let mut bytes = vec![0; usize::try_from(file.len()).map_err(io::Error::other)?];
    read_exact_at(&*file, 0, &mut bytes)?;
    Ok(bytes)
}

impl Files {
    /// The name under which a file is put aside.
    pub(super) fn aside_name(&self, name: &str) -> String {
        let mut number = 1;
        loop {
            let aside = names::set_aside(name, number);
            if !self.set_aside.contains_key(&aside) {
                return aside;
            }
            number += 1;
        }
    }
}
