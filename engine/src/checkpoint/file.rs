//! The file of the checkpoints: changes at its end, or everything in a new one.

use std::io;
use std::sync::Arc;

use super::change::{COMPACTED_BATCH_LEN, Entry, encode_change, encoded_len, record_len};
use crate::begin::new_salt;
use crate::error::CheckpointError;
use crate::format::batch::{Chain, Mark};
use crate::format::names;
use crate::format::segment::{HEADER_LEN, SegmentHeader, SegmentKind};
use crate::options::Options;
use crate::position::EventId;
use crate::shared::Shared;
use crate::storage::{Storage, is_full, is_scarce, zero_range};
use crate::tail::Tail;

/// The usual length of the file, in bytes: some thousand changes between two compactions.
const FILE_LEN: u64 = 256 << 10;
/// How much larger than its content a compacted file is, so that compaction stays rare.
const FILE_GROWTH: u64 = 4;
pub(super) const TEMPORARY: &str = "checkpoints.tmp";

/// The one writer of the checkpoint log.
#[derive(Debug)]
pub(super) struct Writer {
    /// None before the first change ever.
    pub(super) tail: Option<Tail>,
    /// The number of the next record.
    pub(super) next: EventId,
    pub(super) failed: Option<Arc<str>>,
    pub(super) is_clean: bool,
    /// The name of the file is durable for certain. If it is not, nothing is written to the file: a
    /// new one takes its place.
    pub(super) is_named: bool,
    /// Older files, kept until a later one has a name for certain.
    pub(super) older: Vec<EventId>,
}
impl Writer {
    pub(super) fn is_unproven(&self) -> bool {
        self.failed.is_none() && self.tail.as_ref().is_some_and(Tail::is_unproven)
    }

    /// Proves the last change durable by a mark.
    pub(super) fn prove(&mut self, mark: Mark) {
        let is_wanted = match mark {
            Mark::Clean => !self.is_clean,
            Mark::Synced | Mark::Seal => self.is_unproven(),
        };
        let Some(tail) = self.tail.as_mut() else {
            return;
        };
        if self.failed.is_some() || !self.is_named || !is_wanted || !tail.room_for_mark() {
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

    pub(super) fn append(&mut self, entries: &[Entry<'_>]) -> Result<(), CheckpointError> {
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

    pub(super) fn replace(
        &mut self,
        shared: &Arc<Shared>,
        entries: &[Entry<'_>],
    ) -> Result<(), CheckpointError> {
        let old = self.tail.as_ref().map(|tail| tail.header.first);
        let written = write_file(
            &shared.storage,
            &shared.options,
            shared.log_id,
            self.next,
            entries,
        );
        let (tail, next) = match written {
            Ok(made) => made,
            Err(error) => {
                // Nothing has a name yet, so nothing has changed.
                let _gone = shared.storage.remove(TEMPORARY);
                return Err(if is_full(&error) {
                    CheckpointError::Full
                } else if is_scarce(&error) {
                    CheckpointError::Busy
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
            shared.fail_on_name_trouble();
            return Err(CheckpointError::Unknown(self.fail(&error)));
        }
        self.tail = Some(tail);
        self.next = next;
        self.is_clean = false;
        self.is_named = true;
        self.older.extend(old);
        for old in self.older.drain(..) {
            // A file without a record gives its number to the next one, which has replaced it by now.
            if names::checkpoints(old) != name {
                // The new file has the higher number: an old one that stays is removed at the next
                // open.
                let _gone = shared.storage.remove(&names::checkpoints(old));
            }
        }
        Ok(())
    }

    fn fail(&mut self, error: &io::Error) -> Arc<str> {
        let why: Arc<str> = Arc::from(format!("could not write the checkpoints: {error}"));
        Arc::clone(self.failed.get_or_insert(why))
    }
}

/// Writes a whole new checkpoint log under its temporary name, synced and proved.
pub(super) fn write_file(
    storage: &Arc<dyn Storage>,
    options: &Options,
    log_id: [u8; 16],
    first: EventId,
    entries: &[Entry<'_>],
) -> io::Result<(Tail, EventId)> {
    match storage.remove(TEMPORARY) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    let content_len = (HEADER_LEN + encoded_len(entries)) as u64;
    let len = FILE_LEN
        .min(options.segment_len)
        .max(content_len.saturating_mul(FILE_GROWTH));
    let len = len.next_multiple_of(4_096);
    let file = storage.create(TEMPORARY, len)?;
    // As a segment is: a change that is written here after a failed sync must get to the disk
    // (FORMAT.md, section 3). The sync of what follows makes the zeros durable, too.
    zero_range(&*file, 0, len)?;
    let header = SegmentHeader {
        kind: SegmentKind::Checkpoints,
        log_id,
        first,
        created_us: options.clock.now_us(),
        proof_key: options.entropy.next_u64(),
        reserved: 0,
    };
    crate::storage::write_all_at(&*file, 0, &[&header.encode()])?;
    let tail = Tail::new(file, header, Chain::start(&header), new_salt(options), None);
    #[cfg(feature = "sabotage")]
    let tail = crate::sabotage::planted(tail, options);
    let mut tail = tail;
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
