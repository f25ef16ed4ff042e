//! The bytes of one simulated file: what reads show, and what a power cut may leave.

use std::collections::{BTreeMap, BTreeSet};
use std::io::IoSlice;
use std::ops::Range;
use std::sync::Arc;

use super::chance::{Chance, Left};

/// The unit a disk writes; a power cut in the middle of one tears it.
pub(super) const SECTOR: usize = 512;

/// The unit a file system allocates, in sectors: it knows of each whether it was ever written.
const BLOCK_SECTORS: usize = 8;

/// How many versions of a sector are kept beside the current one. Beyond that those in the middle
/// are dropped first: what is on the disk for certain, and the latest ones, matter most.
const VERSIONS_MAX: usize = 6;

/// Reads show `bytes`. A sector that is not in `unsynced` is on the disk as it is there.
#[derive(Clone, Debug, Default)]
pub(super) struct Content {
    bytes: Arc<Vec<u8>>,
    synced_len: usize,
    unsynced: BTreeMap<usize, Unsynced>,
    /// Blocks of which no sector has ever been synced: on the disk they read as zeros, whatever is in
    /// their place.
    unwritten: BTreeSet<usize>,
    /// Blocks that were unwritten when a sync of them failed. The page cache takes them for written
    /// from then on, the file system does not: no write gets there any more.
    lost: BTreeSet<usize>,
}

/// A sector whose current bytes may not be on the disk.
#[derive(Clone, Debug)]
struct Unsynced {
    /// Whole sectors, the oldest first: that one is on the disk if nothing newer is.
    older: Vec<u8>,
    /// A sync of it has failed, and the page cache takes it for clean: no later sync will write
    /// it, unless it is written again.
    forgotten: bool,
}

impl Content {
    /// Bytes that are on the disk.
    pub(super) fn synced(bytes: impl Into<Arc<Vec<u8>>>) -> Self {
        let bytes = bytes.into();
        Self {
            synced_len: bytes.len(),
            bytes,
            ..Self::default()
        }
    }

    /// `len` zeros, of whose length nothing is synced yet.
    pub(super) fn allocated(len: usize) -> Self {
        Self {
            bytes: Arc::new(vec![0; len]),
            unwritten: blocks(0..len.div_ceil(SECTOR)).collect(),
            ..Self::default()
        }
    }

    /// What reads show.
    pub(super) fn bytes(&self) -> &Arc<Vec<u8>> {
        &self.bytes
    }

    /// Takes the first `len` bytes of `pieces` into the page cache.
    pub(super) fn write(&mut self, offset: usize, pieces: &[IoSlice<'_>], len: usize) {
        if len == 0 {
            return;
        }
        let end = offset + len;
        let known = self.bytes.len().div_ceil(SECTOR * BLOCK_SECTORS);
        self.unwritten
            .extend(known..end.div_ceil(SECTOR * BLOCK_SECTORS));
        // A gap before the write is zeros, with or without the disk.
        for sector in offset / SECTOR..end.div_ceil(SECTOR) {
            let before = sector_of(&self.bytes, sector);
            let unsynced = self.unsynced.entry(sector).or_insert_with(|| Unsynced {
                older: Vec::new(),
                forgotten: false,
            });
            unsynced.forgotten = self.lost.contains(&(sector / BLOCK_SECTORS));
            if unsynced.older.len() == VERSIONS_MAX * SECTOR {
                unsynced.older.drain(SECTOR..2 * SECTOR);
            }
            unsynced.older.extend_from_slice(&before);
        }
        let bytes = Arc::make_mut(&mut self.bytes);
        if bytes.len() < end {
            bytes.resize(end, 0);
        }
        let mut target = &mut bytes[offset..end];
        for piece in pieces {
            let part = piece.len().min(target.len());
            let (head, tail) = target.split_at_mut(part);
            head.copy_from_slice(&piece[..part]);
            target = tail;
        }
    }

    /// A sync that works: everything is on the disk that the page cache holds for dirty.
    pub(super) fn sync(&mut self) {
        self.unsynced.retain(|number, sector| {
            if !sector.forgotten {
                self.unwritten.remove(&(number / BLOCK_SECTORS));
            }
            sector.forgotten
        });
        self.synced_len = self.bytes.len();
    }

    /// A sync that fails: everything dirty is taken for clean from now on.
    pub(super) fn forget(&mut self) {
        for (number, sector) in &mut self.unsynced {
            sector.forgotten = true;
            let block = number / BLOCK_SECTORS;
            if self.unwritten.contains(&block) {
                self.lost.insert(block);
            }
        }
    }

    /// Changes the byte at `offset` in every version of it, as decay of the medium would.
    pub(super) fn change_byte(&mut self, offset: usize, mut change: impl FnMut(u8) -> u8) {
        let bytes = Arc::make_mut(&mut self.bytes);
        bytes[offset] = change(bytes[offset]);
        if let Some(unsynced) = self.unsynced.get_mut(&(offset / SECTOR)) {
            for version in unsynced.older.chunks_mut(SECTOR) {
                version[offset % SECTOR] = change(version[offset % SECTOR]);
            }
        }
    }

    /// What a power cut leaves, chosen by `left`.
    pub(super) fn after_crash(&self, left: Left, mut chance: Chance) -> Arc<Vec<u8>> {
        let len = self.len_after_crash(left, &mut chance);
        if self.unsynced.is_empty() && len == self.bytes.len() {
            return Arc::clone(&self.bytes);
        }
        let mut result = self.bytes[..len].to_vec();
        let progress = chance.progress();
        let count = self.unsynced.values().filter(|s| !s.forgotten).count();
        let mut index = 0;
        for (&number, sector) in &self.unsynced {
            let keeps = left.keeps(index, count);
            index += usize::from(!sector.forgotten);
            let content = match keeps {
                Some(true) if !sector.forgotten => continue,
                Some(_) => sector.version(0),
                None => match sector.any(sector_of(&self.bytes, number), progress, &mut chance) {
                    Some(content) => content,
                    None => continue,
                },
            };
            let start = (number * SECTOR).min(len);
            let end = (start + SECTOR).min(len);
            result[start..end].copy_from_slice(&content[..end - start]);
        }
        Arc::new(result)
    }

    fn len_after_crash(&self, left: Left, chance: &mut Chance) -> usize {
        let (synced, now) = (self.synced_len, self.bytes.len());
        match left {
            Left::Nothing => synced,
            Left::All | Left::EveryOther => now,
            Left::FirstHalf => synced + (now - synced).div_ceil(2),
            Left::Random(_) => match chance.below(4) {
                0 => synced,
                1 => synced + chance.below(now - synced + 1),
                _ => now,
            },
        }
    }
}

impl Unsynced {
    fn version(&self, index: usize) -> [u8; SECTOR] {
        sector_of(&self.older, index)
    }

    /// What chance leaves of the sector, which reads as `current`; nothing returned if that is it.
    fn any(
        &self,
        current: [u8; SECTOR],
        progress: usize,
        chance: &mut Chance,
    ) -> Option<[u8; SECTOR]> {
        // The sync that failed may have got round to some sectors before it did.
        let progress = if self.forgotten {
            progress / 2
        } else {
            progress
        };
        if chance.likely(progress) {
            return None;
        }
        let count = self.older.len() / SECTOR;
        // Most often what is on the disk for certain, so that losing everything is an outcome.
        let old = if progress == 0 || chance.likely(128) {
            0
        } else {
            chance.below(count)
        };
        let mut content = self.version(old);
        if progress > 0 && chance.likely(96) {
            let newer = old + 1 + chance.below(count - old);
            let new = if newer == count {
                current
            } else {
                self.version(newer)
            };
            tear(&mut content, &new, chance);
        }
        Some(content)
    }
}

/// Puts a part of the sector `new` over the sector `old`.
fn tear(old: &mut [u8; SECTOR], new: &[u8; SECTOR], chance: &mut Chance) {
    let cut = chance.below(SECTOR);
    match chance.below(4) {
        0 | 1 => old[..cut].copy_from_slice(&new[..cut]),
        2 => old[cut..].copy_from_slice(&new[cut..]),
        _ => {
            for (old, new) in old.chunks_mut(8).zip(new.chunks(8)) {
                if chance.likely(128) {
                    old.copy_from_slice(new);
                }
            }
        }
    }
}

/// The blocks in which sectors lie.
fn blocks(sectors: Range<usize>) -> Range<usize> {
    sectors.start / BLOCK_SECTORS..sectors.end.div_ceil(BLOCK_SECTORS)
}

/// The sector `number` of `bytes`, with zeros behind their end.
fn sector_of(bytes: &[u8], number: usize) -> [u8; SECTOR] {
    let mut sector = [0; SECTOR];
    let start = (number * SECTOR).min(bytes.len());
    let end = (start + SECTOR).min(bytes.len());
    sector[..end - start].copy_from_slice(&bytes[start..end]);
    sector
}
