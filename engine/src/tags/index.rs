//! The index as a whole: what covers the log, and how that changes.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use parking_lot::{Mutex, RwLock};

use super::memory::MemoryTags;
use super::piece::Piece;
use super::plan::{self, Plan, plan};
use super::run::{Run, RunName, RunWriter};
use super::slots::{Held, Slot, Slots};
use super::{Span, TagError, TagView, merge};
use crate::storage::Storage;

/// The tag index of one log.
///
/// Any thread may ask it for a [`TagView`]; one thread writes, through a
/// [`TagWriter`](super::TagWriter); upkeep ([`flush_oldest`](Self::flush_oldest),
/// [`merge_once`](Self::merge_once)) belongs to a background thread.
///
/// Locks, in this order: `flushing` or `merging`, `state`, the lock of one piece. `state` is held for a
/// clone or a swap only, never across a call to the storage.
#[derive(Debug)]
pub(crate) struct TagIndex {
    storage: Arc<dyn Storage>,
    state: RwLock<State>,
    /// Moves with every new `slots`, so that the writer sees cheaply whether its copy is the last.
    generation: AtomicU64,
    /// Held by whoever flushes: two of them would pick the same piece.
    flushing: Mutex<()>,
    /// Held by whoever merges, for the same reason. Another lock, because a merge of long runs takes
    /// seconds, and a writer that waits for a piece to be written must not wait for that.
    merging: Mutex<()>,
    has_writer: AtomicBool,
}

#[derive(Debug)]
struct State {
    slots: Arc<Slots>,
    /// The first ids of all segments, ascending, the active one's last: a run that is given up is
    /// rebuilt one segment at a time. Where ids are lost a segment counts as several.
    segments: VecDeque<u64>,
    /// What is lost, ascending.
    lost: Arc<[Span]>,
}

impl TagIndex {
    /// Opens the index of a log with these sealed segments, in order, and an active segment that
    /// begins with `active_first`, whose tags the caller adds. Segments follow each other without
    /// gaps; empty ones are left out.
    ///
    /// Reads the names in `storage` only, whatever the size of the log, and removes those that are
    /// left over from a crash, have expired, or fit no segments.
    ///
    /// # Errors
    ///
    /// As the storage reports them.
    pub(crate) fn open(
        storage: Arc<dyn Storage>,
        sealed: &[Span],
        active_first: u64,
    ) -> io::Result<Self> {
        Self::open_with_gaps(storage, sealed, Arc::from([]), active_first)
    }

    /// [`open`](Self::open) for a log that has lost events: `lost` are their ids, ascending, and all
    /// of them lie in sealed segments. A run from before the loss may still know their tags; where
    /// there is none, nobody does.
    ///
    /// # Errors
    ///
    /// As the storage reports them.
    pub(crate) fn open_with_gaps(
        storage: Arc<dyn Storage>,
        sealed: &[Span],
        lost: Arc<[Span]>,
        active_first: u64,
    ) -> io::Result<Self> {
        let gaps = lost.iter().flat_map(|gap| [gap.first, gap.end]);
        let mut segments: Vec<u64> = sealed
            .iter()
            .filter(|span| !span.is_empty())
            .map(|span| span.first)
            .chain(gaps.filter(|id| *id < active_first))
            .chain([active_first])
            .collect();
        segments.sort_unstable();
        segments.dedup();
        let segments = VecDeque::from(segments);
        let first = segments.front().copied().unwrap_or(active_first);
        let names = storage.list()?.into_iter().map(|entry| entry.name);
        let Plan { slots, removed } = plan(&Vec::from(segments.clone()), names);
        if !removed.is_empty() {
            // What is to be removed may have been merged into a run whose name is not durable yet.
            storage.sync_names()?;
            for name in removed {
                storage.remove(&name)?;
            }
            // A run of a tail that was cut must not come back when the segment, sealed again, ends
            // with the same id.
            storage.sync_names()?;
        }
        let slots = slots.into_iter().map(|(span, run)| Slot {
            span,
            held: match run {
                Some(name) => Held::Run(Arc::new(Run::new(Arc::clone(&storage), name))),
                None => without_run(span, &lost),
            },
        });
        let active = Arc::new(Piece::new(MemoryTags::new(active_first)));
        let slots = Arc::new(Slots::new(first, slots.collect(), active));
        Ok(Self {
            storage,
            state: RwLock::new(State {
                slots,
                segments,
                lost,
            }),
            generation: AtomicU64::new(0),
            flushing: Mutex::new(()),
            merging: Mutex::new(()),
            has_writer: AtomicBool::new(false),
        })
    }

    /// What can be seen of the ids from `first` up to, and without, `end`. Everything below `end`
    /// must have been applied.
    #[must_use]
    pub(crate) fn view(&self, first: u64, end: u64) -> TagView {
        TagView::new(self.current().1, first, end)
    }

    /// The segments whose index has to be rebuilt, in order.
    #[must_use]
    pub(crate) fn missing(&self) -> Vec<Span> {
        let slots = self.current().1;
        let missing = slots.all().iter().filter(|slot| slot.is_missing());
        missing.map(|slot| slot.span).collect()
    }

    /// Puts the tags of a missing segment in its place, and returns whether it was missing.
    ///
    /// They are in memory until [`flush_oldest`](Self::flush_oldest) has written them, so provide a
    /// few, flush, and go on.
    pub(crate) fn provide(&self, span: Span, tags: MemoryTags) -> bool {
        let piece = Arc::new(Piece::new(tags));
        self.change(|slots, _| {
            let slot = slots
                .iter_mut()
                .find(|slot| slot.span == span && slot.is_missing());
            match slot {
                Some(slot) => {
                    slot.held = Held::Memory(piece);
                    true
                }
                None => false,
            }
        })
    }

    /// Seals the active piece at `next_first`, the first id of the next segment, and starts the
    /// next one. Pending pushes of the writer go to the new one.
    ///
    /// Only the writer's thread may call it. Each frozen piece is memory, and it is the caller who
    /// decides whether to wait while [`frozen_len`](Self::frozen_len) is high.
    pub(crate) fn roll(&self, next_first: u64) {
        let last = Arc::clone(self.current().1.active());
        let first = last.read().first();
        if first >= next_first {
            return;
        }
        let next = MemoryTags::like(next_first, &last.read());
        let next = Arc::new(Piece::new(next));
        let mut state = self.state.write();
        let mut sealed = state.slots.sealed().to_vec();
        sealed.push(Slot {
            span: Span {
                first,
                end: next_first,
            },
            held: Held::Memory(last),
        });
        state.slots = Arc::new(Slots::new(state.slots.first, sealed, next));
        state.segments.push_back(next_first);
        self.generation.fetch_add(1, Ordering::Release);
    }

    /// How many pieces wait in memory to be written as runs.
    #[must_use]
    pub(crate) fn frozen_len(&self) -> usize {
        let slots = self.current().1;
        let frozen = slots.sealed().iter();
        frozen
            .filter(|slot| matches!(slot.held, Held::Memory(_)))
            .count()
    }

    /// Writes the oldest frozen piece as a run; `false` if there is none.
    ///
    /// The records of all sealed segments must be durable: a run must not know an event that a
    /// crash can take back.
    ///
    /// # Errors
    ///
    /// The piece stays in memory.
    pub(crate) fn flush_oldest(&self) -> Result<bool, TagError> {
        let _flushing = self.flushing.lock();
        let slots = self.current().1;
        let oldest = slots.sealed().iter().find_map(|slot| match &slot.held {
            Held::Memory(piece) => Some((slot.span, piece)),
            Held::Run(_) | Held::Missing | Held::Lost => None,
        });
        let Some((span, piece)) = oldest else {
            return Ok(false);
        };
        let name = RunName { span, level: 0 };
        let mut writer = RunWriter::create(Arc::clone(&self.storage), name)?;
        merge::write_memory(&piece.read(), piece.order(), &mut writer)?;
        writer.finish()?;
        let inputs = [Slot {
            span,
            held: Held::Memory(Arc::clone(piece)),
        }];
        self.swap(&inputs, name)?;
        Ok(true)
    }

    /// Merges four neighbouring runs of one level; `false` if there are none. Ids below `first_id`
    /// are left out.
    ///
    /// # Errors
    ///
    /// The runs stay as they are. After [`TagError::Io`] the merged run may be there as well.
    pub(crate) fn merge_once(&self, first_id: u64) -> Result<bool, TagError> {
        let _merging = self.merging.lock();
        let slots = self.current().1;
        let Some((inputs, level)) = merge::due(slots.sealed()) else {
            return Ok(false);
        };
        let runs: Vec<Arc<Run>> = inputs.iter().filter_map(Slot::run).cloned().collect();
        let (Some(first), Some(last)) = (inputs.first(), inputs.last()) else {
            return Ok(false);
        };
        let name = RunName {
            span: Span {
                first: first.span.first,
                end: last.span.end,
            },
            level: level + 1,
        };
        let mut writer = RunWriter::create(Arc::clone(&self.storage), name)?;
        merge::merge(&runs, first_id.max(slots.first), &mut writer)?;
        writer.finish()?;
        if self.swap(inputs, name)? {
            for run in runs {
                self.storage.remove(&run.name.to_string())?;
            }
        }
        Ok(true)
    }

    /// Forgets the ids below `first_id`, the first id of a segment. Files with older ids only are
    /// removed.
    ///
    /// Call it when the removal of the expired segments is durable: a tag whose events have all
    /// expired counts from 0 again, which must not meet its older events after a crash.
    ///
    /// # Errors
    ///
    /// As the storage reports them. The ids are forgotten nevertheless, and files that are left
    /// are removed at the next start.
    pub(crate) fn expire(&self, first_id: u64) -> io::Result<()> {
        let expired: Vec<Arc<Run>> = {
            let mut state = self.state.write();
            if first_id <= state.slots.first {
                return Ok(());
            }
            let sealed = state.slots.sealed();
            let kept = sealed.partition_point(|slot| slot.span.end <= first_id);
            let (expired, kept) = sealed.split_at_checked(kept).unwrap_or((sealed, &[]));
            let expired = expired.iter().filter_map(Slot::run).cloned().collect();
            let active = Arc::clone(state.slots.active());
            let slots = Slots::new(first_id, kept.to_vec(), active);
            state.slots = Arc::new(slots);
            while state.segments.get(1).is_some_and(|&next| next <= first_id) {
                state.segments.pop_front();
            }
            self.generation.fetch_add(1, Ordering::Release);
            expired
        };
        for run in &expired {
            // A run is opened when it is first asked, and a view from before may ask it yet: it then
            // finds the bytes here, for they stay readable without a name. Runs that were merged are
            // open already. If this fails, that view fails as it would have.
            let _opened = run.image();
        }
        let names: Vec<RunName> = expired.iter().map(|run| run.name).collect();
        self.remove_all(&names)
    }

    /// Gives up the run `file`, whose bytes were found [damaged](TagError::Damaged): its segments
    /// are missing from now on, and the file is removed. A name that is no run of the index (any
    /// more) is no error.
    ///
    /// # Errors
    ///
    /// As the storage reports them. The segments are missing nevertheless.
    pub(crate) fn distrust(&self, file: &str) -> io::Result<()> {
        let Some(name) = RunName::parse(file) else {
            return Ok(());
        };
        let lost = Arc::clone(&self.state.read().lost);
        let changed = self.change(|sealed, segments| {
            let at = sealed
                .iter()
                .position(|slot| slot.run().is_some_and(|run| run.name == name));
            let Some(at) = at else { return false };
            let missing = plan::spans(segments, name.span).map(|span| Slot {
                span,
                held: without_run(span, &lost),
            });
            let missing: Vec<Slot> = missing.collect();
            sealed.splice(at..=at, missing);
            true
        });
        if changed {
            self.remove_all(&[name])?;
        }
        Ok(())
    }

    /// The slots as they are now, and their generation.
    pub(crate) fn current(&self) -> (u64, Arc<Slots>) {
        let state = self.state.read();
        (
            self.generation.load(Ordering::Acquire),
            Arc::clone(&state.slots),
        )
    }

    pub(crate) fn generation(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }

    pub(crate) fn take_writer(&self) -> bool {
        !self.has_writer.swap(true, Ordering::AcqRel)
    }

    pub(crate) fn give_writer_back(&self) {
        self.has_writer.store(false, Ordering::Release);
    }

    /// Puts the run `name` in the place of `inputs`, and returns whether it did. If one of them has
    /// gone meanwhile (expired, or distrusted) the run is not needed, and is removed.
    fn swap(&self, inputs: &[Slot], name: RunName) -> io::Result<bool> {
        let run = Arc::new(Run::new(Arc::clone(&self.storage), name));
        let swapped = self.change(|sealed, _| {
            let Some(first) = inputs.first() else {
                return false;
            };
            let at = sealed.partition_point(|slot| slot.span.first < first.span.first);
            let Some(place) = sealed.get(at..at + inputs.len()) else {
                return false;
            };
            if !place.iter().zip(inputs).all(|(one, other)| one.is(other)) {
                return false;
            }
            let slot = Slot {
                span: name.span,
                held: Held::Run(run),
            };
            sealed.splice(at..at + inputs.len(), [slot]);
            true
        });
        if !swapped {
            self.remove_all(&[name])?;
        }
        Ok(swapped)
    }

    fn remove_all(&self, names: &[RunName]) -> io::Result<()> {
        if names.is_empty() {
            return Ok(());
        }
        for name in names {
            match self.storage.remove(&name.to_string()) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        self.storage.sync_names()
    }

    /// Changes the sealed slots, given the first ids of all segments, unless `change` says that
    /// nothing changed.
    fn change(&self, change: impl FnOnce(&mut Vec<Slot>, &[u64]) -> bool) -> bool {
        let mut state = self.state.write();
        let mut sealed = state.slots.sealed().to_vec();
        if !change(&mut sealed, state.segments.make_contiguous()) {
            return false;
        }
        let active = Arc::clone(state.slots.active());
        state.slots = Arc::new(Slots::new(state.slots.first, sealed, active));
        self.generation.fetch_add(1, Ordering::Release);
        true
    }
}

/// What stands for the ids of a segment, or of a part of one, that no run answers for.
fn without_run(span: Span, lost: &[Span]) -> Held {
    let at = lost.partition_point(|gap| gap.end <= span.first);
    match lost.get(at) {
        Some(gap) if gap.covers(span) => Held::Lost,
        Some(_) | None => Held::Missing,
    }
}
