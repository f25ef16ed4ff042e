//! Opening a log: from a directory to everything that is needed to serve it (FORMAT.md, section 12).
//!
//! First everything is read and judged; only when nothing speaks against it is anything changed.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;

use crate::begin::{begin_segment, new_salt};
use crate::checkpoint;
use crate::commit::{Start, Writer};
use crate::error::{Damage, OpenError};
use crate::format::batch::Mark;
use crate::format::names::{self, FileName};
use crate::format::record;
use crate::format::segment::{HEADER_LEN, HeaderFault, SegmentHeader, SegmentKind, VERSION};
use crate::losses::{self, Losses};
use crate::options::{Background, Options, SEGMENT_LEN_MAX, SEGMENT_LEN_MIN};
use crate::position::EventId;
use crate::recovery::{self, Ending, RecoveryReport};
use crate::segment::{ActiveSegment, SealedSegment, Segment, SegmentList};
use crate::shared::{Parts, Shared};
use crate::storage::{
    Access, DirectoryLock, EntryKind, NameTrouble, Storage, StorageFile, WatchedNames,
    read_exact_at,
};
use crate::tags::{Span, TagIndex, TagWriter, tag_hash};
use crate::tail::{self, Tail};
use crate::upkeep;

/// How many sealed segments may be indexed again before the log opens. After a crash it is one or
/// two; when more are missing the index has been removed, and the log opens without waiting for it.
const REINDEX_AT_OPEN_MAX: usize = 2;

/// An open log before its threads start.
pub(crate) struct Opened {
    pub(crate) shared: Arc<Shared>,
    pub(crate) writer: Writer,
    pub(crate) checkpoints: checkpoint::Loaded,
    pub(crate) report: RecoveryReport,
}

/// What the names in the directory say.
#[derive(Debug, Default)]
struct Listing {
    /// First ids and file lengths, ascending.
    segments: Vec<(EventId, u64)>,
    indexed: Vec<EventId>,
    /// Segments with a record of losses.
    with_losses: Vec<EventId>,
    temporary: Vec<String>,
    foreign: Option<String>,
    has_derived: bool,
}

/// The log's directory, and the right to it.
struct Place {
    storage: Arc<dyn Storage>,
    names: Arc<NameTrouble>,
    lock: DirectoryLock,
}

/// The tail as it was found.
struct FoundTail {
    file: Arc<dyn StorageFile>,
    bytes: Vec<u8>,
    header: SegmentHeader,
    ending: Ending,
    /// Where its records begin.
    places: Vec<usize>,
}

pub(crate) fn open(storage: Arc<dyn Storage>, options: Options) -> Result<Opened, OpenError> {
    check(&options)?;
    let watched = WatchedNames::new(storage);
    #[cfg(feature = "sabotage")]
    let watched = watched.planted(&options);
    let names = watched.trouble();
    let storage: Arc<dyn Storage> = Arc::new(watched);
    // Before the lock, which leaves a file behind: a foreign directory is not touched.
    list(&storage)?.refuse_foreign()?;
    let lock = storage.lock().map_err(|error| match error.kind() {
        io::ErrorKind::WouldBlock => OpenError::InUse,
        _ => OpenError::Io(error),
    })?;
    let listing = list(&storage)?;
    listing.refuse_foreign()?;
    match listing.segments.last().copied() {
        Some((first, _)) => {
            if listing.with_losses.contains(&first) {
                // Repair names a new tail last.
                return Err(OpenError::Damaged(Damage {
                    file: names::losses(first),
                    offset: 0,
                    first_id: None,
                    last_id: None,
                    what: "a repair of the newest segment was not finished".to_owned(),
                }));
            }
            let tail = find_tail(&storage, first)?;
            let place = Place {
                storage,
                names,
                lock,
            };
            open_existing(place, options, &listing, tail)
        }
        None if listing.has_derived => Err(OpenError::Damaged(Damage {
            file: names::segment(EventId::FIRST),
            offset: 0,
            first_id: None,
            last_id: None,
            what: "there are index or checkpoint files, but no segment is left".to_owned(),
        })),
        None => {
            let place = Place {
                storage,
                names,
                lock,
            };
            begin(place, options, &listing)
        }
    }
}

fn check(options: &Options) -> Result<(), OpenError> {
    if !(SEGMENT_LEN_MIN..=SEGMENT_LEN_MAX).contains(&options.segment_len) {
        return Err(OpenError::Options("segment_len"));
    }
    if options.queue_len_max == 0 {
        return Err(OpenError::Options("queue_len_max"));
    }
    if options.os_sync_interval_ms == 0 {
        return Err(OpenError::Options("os_sync_interval_ms"));
    }
    Ok(())
}

fn list(storage: &Arc<dyn Storage>) -> Result<Listing, OpenError> {
    let mut listing = Listing::default();
    for entry in storage.list()? {
        let EntryKind::File { len } = entry.kind else {
            listing.foreign = Some(entry.name);
            continue;
        };
        match names::parse(&entry.name) {
            FileName::Lock => {}
            FileName::Segment(first) => listing.segments.push((first, len)),
            FileName::Index(first) => {
                listing.indexed.push(first);
                listing.has_derived = true;
            }
            FileName::Losses(first) => {
                listing.with_losses.push(first);
                listing.has_derived = true;
            }
            FileName::Run | FileName::Checkpoints(_) | FileName::SetAside => {
                listing.has_derived = true;
            }
            FileName::Temporary => listing.temporary.push(entry.name),
            FileName::Foreign => listing.foreign = Some(entry.name),
        }
    }
    listing.segments.sort_unstable();
    listing.indexed.sort_unstable();
    Ok(listing)
}

impl Listing {
    /// Something else lives here, and nothing says that it is a log.
    fn refuse_foreign(&self) -> Result<(), OpenError> {
        match &self.foreign {
            Some(name) if self.segments.is_empty() => {
                Err(OpenError::NotALog { name: name.clone() })
            }
            Some(_) | None => Ok(()),
        }
    }

    fn has_segment(&self, first: EventId) -> bool {
        let firsts = self.segments.binary_search_by_key(&first, |(it, _)| *it);
        firsts.is_ok()
    }

    /// What is recorded as lost.
    fn losses(&self, storage: &Arc<dyn Storage>, log_id: [u8; 16]) -> Result<Losses, OpenError> {
        let mut files = BTreeMap::new();
        for first in self.with_losses.iter().filter(|it| self.has_segment(**it)) {
            files.insert(*first, losses::load(storage, *first, Some(log_id))?);
        }
        let firsts: Vec<EventId> = self.segments.iter().map(|(first, _)| *first).collect();
        Ok(Losses::new(&files, &firsts))
    }

    /// Removes what is not part of the log (any more), and the indexes of segments that are not.
    fn remove_leftovers(&self, storage: &Arc<dyn Storage>) -> io::Result<()> {
        for name in &self.temporary {
            // An expired segment on its way out. If the sync that was to prove its departure failed,
            // only another departure can be proved.
            if let Some(first) = names::parse_leaving(name)
                && !self.has_segment(first)
            {
                storage.rename(name, &names::segment(first))?;
                storage.rename(&names::segment(first), name)?;
            }
        }
        // Names that the last process did not live to sync are what this one builds on.
        storage.sync_names()?;
        for name in &self.temporary {
            storage.remove(name)?;
        }
        for first in &self.indexed {
            if !self.has_segment(*first) {
                storage.remove(&names::index(*first))?;
            }
        }
        for first in &self.with_losses {
            if !self.has_segment(*first) {
                storage.remove(&names::losses(*first))?;
            }
        }
        Ok(())
    }
}

fn find_tail(storage: &Arc<dyn Storage>, first: EventId) -> Result<FoundTail, OpenError> {
    let name = names::segment(first);
    let damage = |what: &str| {
        OpenError::Damaged(Damage {
            file: name.clone(),
            offset: 0,
            first_id: Some(first),
            last_id: None,
            what: what.to_owned(),
        })
    };
    let file = storage.open(&name, Access::ReadWrite)?;
    let len = usize::try_from(file.len()).unwrap_or(usize::MAX);
    if len as u64 > SEGMENT_LEN_MAX {
        return Err(damage("the file is longer than a segment can be"));
    }
    let mut bytes = vec![0; len];
    read_exact_at(&*file, 0, &mut bytes)?;
    let header = SegmentHeader::decode(&bytes).map_err(|fault| match fault {
        HeaderFault::Newer(version) => OpenError::NewerFormat {
            file: name.clone(),
            version,
            supported: VERSION,
        },
        HeaderFault::Damaged | HeaderFault::Impossible => damage("the segment's header is damaged"),
    })?;
    if header.kind != SegmentKind::Events || header.first != first {
        return Err(damage("the file belongs to another place"));
    }
    let mut places = Vec::new();
    let ending = recovery::judge(&name, &bytes, &header, |offset, _| places.push(offset))
        .map_err(OpenError::Damaged)?;
    Ok(FoundTail {
        file,
        bytes,
        header,
        ending,
        places,
    })
}

fn open_existing(
    place: Place,
    options: Options,
    listing: &Listing,
    tail: FoundTail,
) -> Result<Opened, OpenError> {
    let Place {
        storage,
        names,
        lock,
    } = place;
    let FoundTail {
        file,
        bytes,
        header,
        ending,
        places,
    } = tail;
    #[cfg(feature = "sabotage")]
    let (ending, places) = crate::sabotage::resync(&options, &bytes, &header, ending, places);
    let log_id = header.log_id;
    let end = ending.chain.next;
    // A tail without records knows the time of the last one before it by its header.
    let recorded_at_us = ending.chain.recorded_at_us.max(header.created_us);
    let salt = new_salt(&options);
    let losses = listing.losses(&storage, log_id)?;
    // The checkpoints can still refuse the open, so they come before anything is changed; what they
    // mend is their own file, which is theirs to mend whatever becomes of the log.
    let checkpoints = checkpoint::load(&storage, log_id, end, salt)?;
    let mut report = RecoveryReport {
        clean: matches!(ending.mark, Some(Mark::Clean)) && ending.dropped_len() == 0,
        dropped_len: ending.dropped_len(),
        rewritten_len: ending.chain.offset as u64 - ending.chain.synced_to,
        tail_records: places.len() as u64,
        segments_reindexed: 0,
        lost_records: losses.count(),
    };
    #[cfg(feature = "sabotage")]
    let ending = crate::sabotage::taken_for_settled(&options, ending);
    let mut chain = ending.chain;
    tail::settle(&*file, &bytes, &mut chain, ending.dirty_end)?;
    listing.remove_leftovers(&storage)?;
    file.freeze(chain.offset as u64);

    let is_sealed = ending.mark == Some(Mark::Seal);
    let active_first = if is_sealed { end } else { header.first };
    let spans = spans(listing, active_first);
    let lost = spans.iter().flat_map(|span| losses.within(*span)).collect();
    let mut sealed = sealed_segments(listing, log_id, &spans, &losses);
    let tags = Arc::new(TagIndex::open_with_gaps(
        Arc::clone(&storage),
        &spans,
        lost,
        active_first.get(),
    )?);
    let mut tag_writer = TagWriter::new(Arc::clone(&tags));
    // A batch is written only when the file's name is durable, so whatever stands behind the header
    // proves the name.
    let is_unnamed = ending.dirty_end <= HEADER_LEN;
    #[cfg(feature = "sabotage")]
    let is_unnamed = is_unnamed && !options.has(crate::Sabotage::FailedNameSyncForgiven);
    let (active, tail) = if is_sealed {
        drop(file);
        let file = tail::prepare(&storage, &options)?;
        begin_segment(&storage, &options, log_id, &file, end, recorded_at_us)?
    } else {
        let active = ActiveSegment::new(header, Arc::clone(&file));
        #[cfg(feature = "sabotage")]
        let before = tag_writer.mark();
        fill(&active, &bytes, &places, &mut tag_writer);
        #[cfg(feature = "sabotage")]
        if options.has(crate::Sabotage::KeysForgotten) {
            tag_writer.rollback(before);
        }
        tag_writer.adopt().map_err(|contradiction| {
            OpenError::Damaged(Damage {
                file: names::segment(header.first),
                offset: HEADER_LEN as u64,
                first_id: EventId::new(contradiction.id),
                last_id: EventId::new(contradiction.id),
                what: contradiction.to_string(),
            })
        })?;
        let mut tail = Tail::new(file, header, chain, salt, ending.mark);
        if is_unnamed {
            tail.doubt_name();
        }
        #[cfg(feature = "sabotage")]
        let tail = crate::sabotage::planted(tail, &options);
        (active, tail)
    };
    drop(bytes);
    let mut segments: Vec<Segment> = sealed
        .drain(..)
        .map(|segment| Segment::Sealed(Arc::new(segment)))
        .collect();
    segments.push(Segment::Active(active.clone()));
    let shared = Arc::new(Shared::new(Parts {
        storage,
        names,
        is_tail_unnamed: tail.is_unnamed(),
        options,
        log_id,
        segments: SegmentList::new(segments),
        losses,
        tags,
        lock,
        end,
    }));
    reindex(&shared, &mut report);
    for (first, _) in &listing.segments {
        if *first != active.header.first && listing.indexed.binary_search(first).is_err() {
            shared.note_unindexed(*first);
        }
    }
    shared.upkeep.notify();
    let start = Start {
        tail,
        active,
        tags: tag_writer,
        next: end,
        recorded_at_us,
        is_clean: report.clean,
    };
    Ok(Opened {
        writer: Writer::new(Arc::clone(&shared), start),
        shared,
        checkpoints,
        report,
    })
}

/// The ids of the segments before the tail, and of the tail itself if it is sealed.
fn spans(listing: &Listing, active_first: EventId) -> Vec<Span> {
    let firsts = listing.segments.iter().map(|(first, _)| first.get());
    let ends = firsts.clone().skip(1).chain([active_first.get()]);
    let spans = firsts.zip(ends).map(|(first, end)| Span { first, end });
    spans.filter(|span| !span.is_empty()).collect()
}

/// The sealed segments with these ids. One whose last records are lost ends before them.
fn sealed_segments(
    listing: &Listing,
    log_id: [u8; 16],
    spans: &[Span],
    losses: &Losses,
) -> Vec<SealedSegment> {
    let sealed = listing.segments.iter().zip(spans);
    let sealed = sealed.filter_map(|((first, len), span)| {
        let end = losses.trimmed_end(*first, EventId::new(span.end)?);
        Some(SealedSegment::new(*first, end, *len, log_id))
    });
    sealed.collect()
}

/// Enters the tail's records into the indexes in memory.
fn fill(active: &ActiveSegment, bytes: &[u8], places: &[usize], tags: &mut TagWriter) {
    for (index, offset) in places.iter().enumerate() {
        active.offsets.note(index as u64, *offset);
        if let Some(record) = bytes.get(*offset..).and_then(record::reread) {
            for (tag, rank) in record.tags() {
                tags.push(tag, tag_hash(tag), record.id.get(), rank);
            }
        }
    }
}

/// Indexes again what the last process did not live to write.
fn reindex(shared: &Shared, report: &mut RecoveryReport) {
    let missing = shared.tags.missing();
    let is_inline = shared.options.background == Background::Inline;
    if missing.len() > REINDEX_AT_OPEN_MAX && !is_inline {
        return;
    }
    // What cannot be indexed now (a damaged segment) stays missing, and is refused when asked for.
    report.segments_reindexed = upkeep::reindex_missing(shared);
}

fn begin(place: Place, options: Options, listing: &Listing) -> Result<Opened, OpenError> {
    let Place {
        storage,
        names,
        lock,
    } = place;
    listing.remove_leftovers(&storage)?;
    let mut log_id = [0; 16];
    let halves = [options.entropy.next_u64(), options.entropy.next_u64()];
    for (place, byte) in log_id
        .iter_mut()
        .zip(halves.into_iter().flat_map(u64::to_le_bytes))
    {
        *place = byte;
    }
    let end = EventId::FIRST;
    let checkpoints = checkpoint::load(&storage, log_id, end, new_salt(&options))?;
    let tags = Arc::new(TagIndex::open(Arc::clone(&storage), &[], end.get())?);
    let tag_writer = TagWriter::new(Arc::clone(&tags));
    let file = tail::prepare(&storage, &options)?;
    let (active, tail) = begin_segment(&storage, &options, log_id, &file, end, 0)?;
    let shared = Arc::new(Shared::new(Parts {
        storage,
        names,
        is_tail_unnamed: tail.is_unnamed(),
        options,
        log_id,
        segments: SegmentList::new(vec![Segment::Active(active.clone())]),
        losses: Losses::default(),
        tags,
        lock,
        end,
    }));
    let start = Start {
        tail,
        active,
        tags: tag_writer,
        next: end,
        recorded_at_us: 0,
        is_clean: false,
    };
    Ok(Opened {
        writer: Writer::new(Arc::clone(&shared), start),
        shared,
        checkpoints,
        report: RecoveryReport {
            clean: true,
            ..RecoveryReport::default()
        },
    })
}
