//! Checking every byte of a log that is not open.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;

use crate::checkpoint;
use crate::error::{Damage, OpenError};
use crate::format::ALIGNMENT;
use crate::format::batch::{BatchFault, BatchHeader, Chain, Mark};
use crate::format::index;
use crate::format::names::{self, FileName};
use crate::format::record;
use crate::format::segment::{HeaderFault, SegmentHeader, SegmentKind, VERSION};
use crate::position::EventId;
use crate::recovery;
use crate::segment::describe;
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
    /// What is wrong in derived files. Nothing is lost: they are rebuilt.
    pub derived: Vec<Damage>,
    /// Bytes behind the end that were never acknowledged as durable; the next open drops them.
    pub torn_len: u64,
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
    /// Where the records of each segment lie, every 8th of them.
    offsets: BTreeMap<EventId, Vec<u32>>,
    done: u64,
    total: u64,
    progress: &'a mut dyn FnMut(u64, u64),
}

impl Check<'_> {
    fn run(&mut self, files: &BTreeMap<String, u64>) -> Result<(), OpenError> {
        let segments: Vec<EventId> = files
            .keys()
            .filter_map(|name| match names::parse(name) {
                FileName::Segment(first) => Some(first),
                FileName::Lock
                | FileName::Index(_)
                | FileName::Run
                | FileName::Checkpoints(_)
                | FileName::Temporary
                | FileName::Foreign => None,
            })
            .collect();
        // The newest first: it says which log this is.
        for position in (0..segments.len()).rev() {
            if let Some(first) = segments.get(position) {
                self.segment(*first, segments.get(position + 1).copied())?;
            }
        }
        self.report.damage.reverse();
        self.report.first = segments
            .first()
            .copied()
            .filter(|_| self.report.records > 0);
        for name in files.keys() {
            match names::parse(name) {
                FileName::Index(first) => self.index(name, first)?,
                FileName::Run => self.run_file(name)?,
                FileName::Checkpoints(first) => self.checkpoints(first)?,
                FileName::Segment(_) | FileName::Lock | FileName::Temporary | FileName::Foreign => {
                }
            }
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
                self.damage(&name, 0, Some(first), last, what);
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
            }
            Err(damage) => self.report.damage.push(damage),
        }
        self.report.records += records;
    }

    fn sealed(&mut self, name: &str, bytes: &[u8], header: &SegmentHeader, end: EventId) {
        let masks = header.masks();
        let mut chain = Chain::start(header);
        let mut offsets = Vec::new();
        let mut is_sealed = false;
        let mut found = Vec::new();
        while !is_sealed {
            let start = chain.offset;
            let mut places = Vec::new();
            let step = chain.step(bytes, masks, |offset, _, record| {
                places.push((record.id, offset));
            });
            self.report.records += places.len() as u64;
            for (id, offset) in places {
                if (id.get() - header.first.get()).is_multiple_of(index::EVERY) {
                    offsets.push(u32::try_from(offset).unwrap_or(u32::MAX));
                }
            }
            let fault = match step {
                Ok(batch) => {
                    is_sealed = batch.mark == Mark::Seal;
                    continue;
                }
                Err(fault) => fault,
            };
            let (offset, id, what) = explain(fault, start, &chain);
            let resumed = resume(bytes, header, offset, id);
            self.report.records += resumed.records;
            let lost = if resumed.lost.is_empty() {
                vec![(id, end)]
            } else {
                resumed.lost
            };
            for (from, until) in lost {
                found.push(Damage {
                    file: name.to_owned(),
                    offset: offset as u64,
                    first_id: Some(from),
                    last_id: EventId::new(until.get() - 1).filter(|last| *last >= from),
                    what: what.clone(),
                });
            }
            match resumed.chain {
                Some(next) => chain = next,
                None => break,
            }
        }
        if is_sealed && chain.next != end && found.is_empty() {
            found.push(Damage {
                file: name.to_owned(),
                offset: chain.offset as u64,
                first_id: Some(chain.next),
                last_id: EventId::new(end.get() - 1),
                what: "the next segment is missing or has another name".to_owned(),
            });
        }
        // Segments are visited from the newest to the oldest, and the list is turned around.
        self.report.damage.extend(found.into_iter().rev());
        self.offsets.insert(header.first, offsets);
    }

    fn index(&mut self, name: &str, first: EventId) -> Result<(), OpenError> {
        let bytes = self.read(name)?;
        let what = match (index::decode(&bytes), self.offsets.get(&first)) {
            (None, _) => Some("the sparse index is damaged"),
            (Some(_), None) => Some("the index belongs to no sealed segment"),
            (Some((head, range)), Some(offsets)) => {
                let stored = bytes.get(range).unwrap_or_default();
                let is_same = Some(head.log_id) == self.log_id
                    && stored
                        .chunks_exact(4)
                        .eq(offsets.iter().map(|offset| offset.to_le_bytes()));
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

fn explain(fault: BatchFault, start: usize, chain: &Chain) -> (usize, EventId, String) {
    match fault {
        BatchFault::End => (start, chain.next, "the bytes are gone".to_owned()),
        BatchFault::Header => (
            start,
            chain.next,
            "the header of the batch is damaged".to_owned(),
        ),
        BatchFault::OutOfChain => (
            start,
            chain.next,
            "the batch is not the one that follows here".to_owned(),
        ),
        BatchFault::Record { offset, id, fault } => (offset, id, describe(fault)),
        BatchFault::Contents { offset, id } => {
            (offset, id, "the records do not fit their batch".to_owned())
        }
    }
}

/// What lies behind a fault.
struct Resumed {
    /// The next whole batch, if there is one.
    chain: Option<Chain>,
    /// Ids that are lost before it, half-open.
    lost: Vec<(EventId, EventId)>,
    /// Records that are whole although their batch is not.
    records: u64,
}

/// Goes on behind a fault: records are whole each by their own checksum, and the next batch header
/// takes up the chain.
fn resume(bytes: &[u8], header: &SegmentHeader, offset: usize, id: EventId) -> Resumed {
    let masks = header.masks();
    let mut resumed = Resumed {
        chain: None,
        lost: Vec::new(),
        records: 0,
    };
    let mut next = id;
    let mut offset = offset.next_multiple_of(ALIGNMENT);
    let start = offset;
    while let Some(rest) = bytes.get(offset..) {
        if rest.is_empty() {
            break;
        }
        if offset > start
            && let Some((batch, _)) = BatchHeader::decode(rest, masks)
            && batch.first >= next
        {
            if batch.first > next {
                resumed.lost.push((next, batch.first));
            }
            resumed.chain = Some(Chain {
                offset,
                previous: batch.previous,
                next: batch.first,
                recorded_at_us: 0,
                synced_to: 0,
            });
            return resumed;
        }
        match record::decode(rest, masks.record) {
            Ok((record, len)) if record.id >= next => {
                if record.id > next {
                    resumed.lost.push((next, record.id));
                }
                resumed.records += 1;
                next = record.id.next().unwrap_or(EventId::MAX);
                offset += len;
            }
            Ok(_) | Err(_) => offset += ALIGNMENT,
        }
    }
    resumed.lost.clear();
    resumed
}
