//! Checking every byte of a log that is not open.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::Arc;

use crate::checkpoint;
use crate::error::{Damage, OpenError};
use crate::format::batch::Chain;
use crate::format::index;
use crate::format::losses::SegmentLosses;
use crate::format::names::{self, FileName};
use crate::format::segment::{HeaderFault, SegmentHeader, SegmentKind, VERSION};
use crate::losses::{self, Losses};
use crate::position::EventId;
use crate::recovery;
use crate::salvage::{Fault, Place, examine, proven_to};
use crate::storage::{Access, Storage};
use crate::tags::check_run;

/// What [`verify`] found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct VerifyReport {
    /// Segments looked at.
    pub segments: u64,
    /// Records that are whole.
    pub records: u64,
    /// Bytes of all files.
    pub bytes: u64,
    /// The oldest record's id.
    pub first: Option<EventId>,
    /// The newest record's id.
    pub last: Option<EventId>,
    /// What is lost or wrong in the log itself, oldest first.
    pub damage: Vec<Damage>,
    /// What is lost and known to be lost, since a repair has recorded it, oldest first. It is no
    /// damage: the log does all it can without these events.
    pub losses: Vec<Damage>,
    /// What is wrong in derived files. Nothing is lost: they are rebuilt.
    pub derived: Vec<Damage>,
    /// Bytes behind the end that were never acknowledged as durable; the next open drops them.
    pub torn_len: u64,
    /// Files that a repair has put aside. They are no part of the log, and nothing removes them.
    pub set_aside_files: u64,
    /// Their bytes.
    pub set_aside_len: u64,
}

/// Checks every record, batch, chain and derived file of the log in this directory, which must not
/// be open. Changes nothing. `progress` is told how many bytes are done, and of how many.
///
/// # Errors
///
/// [`OpenError::InUse`], [`OpenError::NotALog`], [`OpenError::NewerFormat`], [`OpenError::Io`];
/// damage is not an error here but what the report is for.
pub fn verify(
    storage: &Arc<dyn Storage>,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<VerifyReport, OpenError> {
    let files = list(storage)?;
    let _lock = storage.lock().map_err(|error| match error.kind() {
        io::ErrorKind::WouldBlock => OpenError::InUse,
        _ => OpenError::Io(error),
    })?;
    let mut check = Check {
        storage,
        report: VerifyReport::default(),
        log_id: None,
        recorded: BTreeMap::new(),
        losses: Losses::default(),
        gone: BTreeSet::new(),
        offsets: BTreeMap::new(),
        done: 0,
        total: files.values().sum(),
        progress,
    };
    check.run(&files)?;
    Ok(check.report)
}

fn list(storage: &Arc<dyn Storage>) -> Result<BTreeMap<String, u64>, OpenError> {
    let mut files = BTreeMap::new();
    let mut foreign = None;
    for entry in storage.list()? {
        match (names::parse(&entry.name), entry.kind) {
            (FileName::Lock | FileName::Temporary, _) => {}
            (FileName::Foreign, _) | (_, crate::storage::EntryKind::Directory) => {
                foreign = Some(entry.name);
            }
            (_, crate::storage::EntryKind::File { len }) => {
                files.insert(entry.name, len);
            }
        }
    }
    match foreign {
        Some(name) if files.is_empty() => Err(OpenError::NotALog { name }),
        Some(_) | None => Ok(files),
    }
}

struct Check<'a> {
    storage: &'a Arc<dyn Storage>,
    report: VerifyReport,
    /// Of the newest segment; the others must have the same.
    log_id: Option<[u8; 16]>,
    /// The records of losses that are whole.
    recorded: BTreeMap<EventId, SegmentLosses>,
    losses: Losses,
    /// Segments of which nothing is left, as is recorded.
    gone: BTreeSet<EventId>,
    /// Where each segment ends, and where its records lie, every 8th of them; 0 if that is lost.
    offsets: BTreeMap<EventId, (EventId, Vec<u32>)>,
    done: u64,
    total: u64,
    progress: &'a mut dyn FnMut(u64, u64),
}

impl Check<'_> {
    fn run(&mut self, files: &BTreeMap<String, u64>) -> Result<(), OpenError> {
        let mut segments = Vec::new();
        for (name, len) in files {
            match names::parse(name) {
                FileName::Segment(first) => segments.push(first),
                FileName::SetAside => {
                    self.report.set_aside_files += 1;
                    self.report.set_aside_len += len;
                }
                FileName::Lock
                | FileName::Index(_)
                | FileName::Run
                | FileName::Losses(_)
                | FileName::Checkpoints(_)
                | FileName::Temporary
                | FileName::Foreign => {}
            }
        }
        self.total -= self.report.set_aside_len;
        self.record_of_losses(files, &segments)?;
        let before = self.report.damage.len();
        // The newest first: it says which log this is.
        for position in (0..segments.len()).rev() {
            if let Some(first) = segments.get(position) {
                self.segment(*first, segments.get(position + 1).copied())?;
            }
        }
        if let Some(found) = self.report.damage.get_mut(before..) {
            found.reverse();
        }
        self.report.first = segments
            .first()
            .copied()
            .filter(|_| self.report.records > 0);
        for name in files.keys() {
            match names::parse(name) {
                FileName::Index(first) => self.index(name, first)?,
                FileName::Run => self.run_file(name)?,
                FileName::Checkpoints(first) => self.checkpoints(first)?,
                FileName::Segment(_)
                | FileName::Losses(_)
                | FileName::SetAside
                | FileName::Lock
                | FileName::Temporary
                | FileName::Foreign => {}
            }
        }
        Ok(())
    }

    fn record_of_losses(
        &mut self,
        files: &BTreeMap<String, u64>,
        segments: &[EventId],
    ) -> Result<(), OpenError> {
        for (name, len) in files {
            let FileName::Losses(first) = names::parse(name) else {
                continue;
            };
            self.report.bytes += len;
            self.done += len;
            if !segments.contains(&first) {
                continue;
            }
            match losses::load(self.storage, first, None) {
                Ok(losses) => {
                    self.recorded.insert(first, losses);
                }
                Err(OpenError::Damaged(damage)) => self.report.damage.push(damage),
                Err(error) => return Err(error),
            }
            if segments.last() == Some(&first) {
                let what = "a repair of the newest segment was not finished";
                self.damage(name, 0, None, None, what);
            }
        }
        self.losses = Losses::new(&self.recorded, segments);
        for (from, until) in self.losses.ranges() {
            let at = segments.partition_point(|first| first <= from);
            let segment = at.checked_sub(1).and_then(|at| segments.get(at));
            let file = names::segment(segment.copied().unwrap_or(*from));
            let lost = self.losses.damage(file, *from..*until);
            self.report.losses.push(lost);
        }
        Ok(())
    }

    fn read(&mut self, name: &str) -> Result<bytes::Bytes, OpenError> {
        let file = self.storage.open(name, Access::Read)?;
        file.freeze(file.len());
        let bytes = file.frozen()?;
        self.report.bytes += bytes.len() as u64;
        self.done += bytes.len() as u64;
        (self.progress)(self.done, self.total);
        Ok(bytes)
    }

    fn segment(&mut self, first: EventId, next: Option<EventId>) -> Result<(), OpenError> {
        let name = names::segment(first);
        let bytes = self.read(&name)?;
        self.report.segments += 1;
        let last = next.and_then(|next| EventId::new(next.get() - 1));
        let header = match SegmentHeader::decode(&bytes) {
            Ok(header) => header,
            Err(HeaderFault::Newer(version)) => {
                return Err(OpenError::NewerFormat {
                    file: name,
                    version,
                    supported: VERSION,
                });
            }
            Err(HeaderFault::Damaged | HeaderFault::Impossible) => {
                let what = "the segment's header is damaged";
                if next.is_some_and(|next| self.is_lost(first, next)) {
                    self.gone.insert(first);
                } else {
                    self.damage(&name, 0, Some(first), last, what);
                }
                return Ok(());
            }
        };
        let log_id = *self.log_id.get_or_insert(header.log_id);
        if header.kind != SegmentKind::Events || header.first != first || header.log_id != log_id {
            let what = "the file belongs to another log or another place";
            self.damage(&name, 0, Some(first), last, what);
            return Ok(());
        }
        match next {
            Some(next) => self.sealed(&name, &bytes, &header, next),
            None => self.tail(&name, &bytes, &header),
        }
        Ok(())
    }

    fn tail(&mut self, name: &str, bytes: &[u8], header: &SegmentHeader) {
        let mut records = 0;
        match recovery::judge(name, bytes, header, |_, _| records += 1) {
            Ok(ending) => {
                self.report.torn_len = ending.dropped_len();
                self.report.last = EventId::new(ending.chain.next.get() - 1);
                self.report.records += records;
            }
            Err(damage) => {
                let start = Chain::start(header);
                let examined = examine(bytes, header.masks(), start, None, &mut |_| {});
                // What was never known durable may have been torn.
                let proven = proven_to(bytes, header.masks());
                let mut faults = examined.faults;
                faults.retain(|fault| fault.offset < proven);
                self.report.records += examined.records;
                let found = self.report.damage.len();
                self.faults(name, &faults);
                if self.report.damage.len() == found {
                    self.report.damage.push(damage);
                }
            }
        }
    }

    fn sealed(&mut self, name: &str, bytes: &[u8], header: &SegmentHeader, end: EventId) {
        let mut offsets = Vec::new();
        let mut visit = |place: Place| {
            let index = place.id.get().saturating_sub(header.first.get());
            if index.is_multiple_of(index::EVERY) {
                let slot = usize::try_from(index / index::EVERY).unwrap_or(usize::MAX);
                offsets.resize(slot, 0);
                offsets.push(u32::try_from(place.offset).unwrap_or(u32::MAX));
            }
        };
        let recorded = self.recorded.get(&header.first);
        let cut = recorded.map_or(0, |losses| losses.cut);
        let bytes = match usize::try_from(cut) {
            Ok(cut) if cut > 0 => bytes.get(..cut).unwrap_or(bytes),
            Ok(_) | Err(_) => bytes,
        };
        let start = Chain::start(header);
        let mut examined = examine(bytes, header.masks(), start, Some(end), &mut visit);
        self.report.records += examined.records;
        if examined.is_sealed && examined.next != end {
            examined.faults.push(Fault {
                offset: examined.offset,
                lost: Vec::from_iter((examined.next < end).then_some((examined.next, end))),
                what: "the next segment is missing or has another name".to_owned(),
            });
        }
        self.faults(name, &examined.faults);
        let end = self.losses.trimmed_end(header.first, end);
        if end == header.first {
            self.gone.insert(header.first);
            return;
        }
        self.offsets.insert(header.first, (end, offsets));
    }

    /// Lists what is not known yet of these faults.
    fn faults(&mut self, name: &str, faults: &[Fault]) {
        let first = names::parse(name);
        let before = self.report.damage.len();
        let is_recorded =
            matches!(first, FileName::Segment(first) if self.recorded.contains_key(&first));
        for fault in faults {
            for (from, until) in &fault.lost {
                for (from, until) in self.losses.without(*from, *until) {
                    let last = EventId::new(until.get() - 1);
                    self.damage(name, fault.offset as u64, Some(from), last, &fault.what);
                }
            }
            // It costs no event, but the file is not what was written.
            if fault.lost.is_empty() && !is_recorded {
                self.damage(name, fault.offset as u64, None, None, &fault.what);
            }
        }
        // Segments are visited from the newest to the oldest, and the list is turned around.
        if let Some(found) = self.report.damage.get_mut(before..) {
            found.reverse();
        }
    }

    fn is_lost(&self, first: EventId, end: EventId) -> bool {
        self.losses.without(first, end).is_empty()
    }

    fn index(&mut self, name: &str, first: EventId) -> Result<(), OpenError> {
        let bytes = self.read(name)?;
        let what = match (index::decode(&bytes), self.offsets.get(&first)) {
            (None, _) => Some("the sparse index is damaged"),
            (Some(_), None) if self.gone.contains(&first) => None,
            (Some(_), None) => Some("the index belongs to no sealed segment"),
            (Some((head, range)), Some((end, offsets))) => {
                let stored = bytes.get(range).unwrap_or_default();
                let known = offsets.iter().copied().chain(std::iter::repeat(0));
                // Where nothing is known any more the index may still be right.
                let is_same = Some(head.log_id) == self.log_id
                    && head.end == *end
                    && stored
                        .chunks_exact(4)
                        .zip(known)
                        .all(|(stored, known)| known == 0 || stored == known.to_le_bytes());
                (!is_same).then_some("the sparse index does not fit its segment")
            }
        };
        if let Some(what) = what {
            self.derived(name, 0, what);
        }
        Ok(())
    }

    fn run_file(&mut self, name: &str) -> Result<(), OpenError> {
        let bytes = self.read(name)?;
        if let Err(damage) = check_run(name, &bytes) {
            self.derived(name, damage.offset, damage.what);
        }
        Ok(())
    }

    fn checkpoints(&mut self, first: EventId) -> Result<(), OpenError> {
        let name = names::checkpoints(first);
        let bytes = self.read(&name)?;
        // Of a log whose end cannot be told no checkpoint is said to lie beyond it.
        let end = match self.report.last {
            Some(last) => last.get() + 1,
            None if self.report.damage.is_empty() => 1,
            None => u64::MAX,
        };
        if let Err(damage) = checkpoint::check(&name, &bytes, self.log_id, first, end) {
            self.report.damage.push(damage);
        }
        Ok(())
    }

    fn damage(
        &mut self,
        file: &str,
        offset: u64,
        first_id: Option<EventId>,
        last_id: Option<EventId>,
        what: &str,
    ) {
        self.report.damage.push(Damage {
            file: file.to_owned(),
            offset,
            first_id,
            last_id,
            what: what.to_owned(),
        });
    }

    fn derived(&mut self, file: &str, offset: u64, what: &str) {
        self.report.derived.push(Damage {
            file: file.to_owned(),
            offset,
            first_id: None,
            last_id: None,
            what: what.to_owned(),
        });
    }
}
