//! A disk in memory that knows what was synced: what a loss of power may leave of the rest.
//!
//! The model is as strict as POSIX allows. A file's bytes are safe once the file was synced, its name
//! once its directory was; neither brings the other. Of what is not safe, each sector of 512 bytes is
//! kept, dropped or torn, and each change of a directory kept or dropped, independently of all
//! others. Only a rename is atomic.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{OsStr, OsString};
use std::sync::Arc;

use crate::random::Random;

/// Bytes of a page: what the kernel caches.
pub(crate) const PAGE_LEN: usize = 4096;
/// Bytes of a sector: what a device writes at once, if it writes at all.
const SECTOR_LEN: usize = 512;
/// The inode of the root.
pub(crate) const ROOT: u64 = 1;

type Page = Arc<[u8; PAGE_LEN]>;
/// Pages of zeros are absent.
type Pages = BTreeMap<u64, Page>;

/// What the cuts have done.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Damage {
    pub(crate) sectors_kept: u64,
    pub(crate) sectors_dropped: u64,
    pub(crate) sectors_torn: u64,
    pub(crate) names_kept: u64,
    pub(crate) names_dropped: u64,
}

#[derive(Clone, Debug, Default)]
pub(crate) struct FileNode {
    pub(crate) len: u64,
    pages: Pages,
    safe_len: u64,
    safe: Pages,
    /// Pages that may differ from the safe ones.
    unsafe_pages: BTreeSet<u64>,
}

/// A change of a directory that is not safe yet.
#[derive(Clone, Debug)]
enum Change {
    Add(OsString, u64),
    Remove(OsString),
    Move(OsString, OsString, u64),
}

#[derive(Clone, Debug, Default)]
pub(crate) struct DirectoryNode {
    pub(crate) names: BTreeMap<OsString, u64>,
    safe: BTreeMap<OsString, u64>,
    changes: Vec<Change>,
}

#[derive(Clone, Debug)]
pub(crate) enum Node {
    File(FileNode),
    Directory(DirectoryNode),
}

/// The disk.
#[derive(Clone, Debug)]
pub(crate) struct Disk {
    nodes: BTreeMap<u64, Node>,
    next: u64,
    pub(crate) damage: Damage,
}

impl Disk {
    /// An empty one.
    pub(crate) fn new() -> Self {
        let root = Node::Directory(DirectoryNode::default());
        Self {
            nodes: BTreeMap::from([(ROOT, root)]),
            next: ROOT + 1,
            damage: Damage::default(),
        }
    }

    pub(crate) fn node(&self, ino: u64) -> Option<&Node> {
        self.nodes.get(&ino)
    }

    pub(crate) fn file(&self, ino: u64) -> Option<&FileNode> {
        match self.nodes.get(&ino) {
            Some(Node::File(file)) => Some(file),
            _ => None,
        }
    }

    fn file_mut(&mut self, ino: u64) -> Option<&mut FileNode> {
        match self.nodes.get_mut(&ino) {
            Some(Node::File(file)) => Some(file),
            _ => None,
        }
    }

    pub(crate) fn directory(&self, ino: u64) -> Option<&DirectoryNode> {
        match self.nodes.get(&ino) {
            Some(Node::Directory(directory)) => Some(directory),
            _ => None,
        }
    }

    fn directory_mut(&mut self, ino: u64) -> Option<&mut DirectoryNode> {
        match self.nodes.get_mut(&ino) {
            Some(Node::Directory(directory)) => Some(directory),
            _ => None,
        }
    }

    /// The inode of a name.
    pub(crate) fn lookup(&self, parent: u64, name: &OsStr) -> Option<u64> {
        self.directory(parent)?.names.get(name).copied()
    }

    /// Whether a name of the inode ends with `suffix`.
    pub(crate) fn has_name(&self, ino: u64, suffix: &str) -> bool {
        self.nodes.values().any(|node| match node {
            Node::Directory(directory) => directory.names.iter().any(|(name, of)| {
                *of == ino && name.as_encoded_bytes().ends_with(suffix.as_bytes())
            }),
            Node::File(_) => false,
        })
    }

    /// Creates a file or a directory under a name that is free; its inode.
    pub(crate) fn create(&mut self, parent: u64, name: &OsStr, is_directory: bool) -> Option<u64> {
        let ino = self.next;
        let directory = self.directory_mut(parent)?;
        directory.names.insert(name.to_owned(), ino);
        directory.changes.push(Change::Add(name.to_owned(), ino));
        let node = if is_directory {
            Node::Directory(DirectoryNode::default())
        } else {
            Node::File(FileNode::default())
        };
        self.nodes.insert(ino, node);
        self.next += 1;
        Some(ino)
    }

    /// Removes a name. The inode stays: the name may come back at a cut.
    pub(crate) fn remove(&mut self, parent: u64, name: &OsStr) -> Option<u64> {
        let directory = self.directory_mut(parent)?;
        let ino = directory.names.remove(name)?;
        directory.changes.push(Change::Remove(name.to_owned()));
        Some(ino)
    }

    /// Renames within a directory.
    pub(crate) fn rename(&mut self, parent: u64, from: &OsStr, to: &OsStr) -> Option<()> {
        let directory = self.directory_mut(parent)?;
        let ino = directory.names.remove(from)?;
        directory.names.insert(to.to_owned(), ino);
        let change = Change::Move(from.to_owned(), to.to_owned(), ino);
        directory.changes.push(change);
        Some(())
    }

    /// Reads, up to the end of the file.
    pub(crate) fn read(&self, ino: u64, offset: u64, len: usize) -> Option<Vec<u8>> {
        let file = self.file(ino)?;
        let end = file.len.min(offset.saturating_add(len as u64));
        let mut bytes = vec![0; usize::try_from(end.saturating_sub(offset)).ok()?];
        for (page, in_page, in_bytes) in pieces(offset, bytes.len()) {
            if let Some(page) = file.pages.get(&page) {
                let source = page.get(in_page..in_page + in_bytes.len())?;
                bytes.get_mut(in_bytes)?.copy_from_slice(source);
            }
        }
        Some(bytes)
    }

    /// Writes; the file grows if need be.
    pub(crate) fn write(&mut self, ino: u64, offset: u64, data: &[u8]) -> Option<()> {
        let file = self.file_mut(ino)?;
        for (number, in_page, in_data) in pieces(offset, data.len()) {
            let source = data.get(in_data)?;
            let page = file
                .pages
                .entry(number)
                .or_insert_with(|| Arc::new([0; PAGE_LEN]));
            Arc::make_mut(page)
                .get_mut(in_page..in_page + source.len())?
                .copy_from_slice(source);
            if page.iter().all(|byte| *byte == 0) {
                file.pages.remove(&number);
            }
            file.unsafe_pages.insert(number);
        }
        file.len = file.len.max(offset + data.len() as u64);
        Some(())
    }

    /// Makes a file longer, with zeros, or shorter.
    pub(crate) fn set_len(&mut self, ino: u64, len: u64) -> Option<()> {
        let file = self.file_mut(ino)?;
        if len < file.len {
            let first = len.div_ceil(PAGE_LEN as u64);
            for (number, _) in file.pages.split_off(&first) {
                file.unsafe_pages.insert(number);
            }
            let in_page = usize::try_from(len % PAGE_LEN as u64).ok()?;
            if in_page > 0
                && let Some(page) = file.pages.get_mut(&(len / PAGE_LEN as u64))
            {
                Arc::make_mut(page).get_mut(in_page..)?.fill(0);
                file.unsafe_pages.insert(len / PAGE_LEN as u64);
            }
        }
        file.len = len;
        Some(())
    }

    /// Makes the bytes of a file safe, or the names of a directory.
    pub(crate) fn sync(&mut self, ino: u64) {
        match self.nodes.get_mut(&ino) {
            Some(Node::File(file)) => {
                for number in std::mem::take(&mut file.unsafe_pages) {
                    match file.pages.get(&number) {
                        Some(page) => file.safe.insert(number, Arc::clone(page)),
                        None => file.safe.remove(&number),
                    };
                }
                file.safe_len = file.len;
            }
            Some(Node::Directory(directory)) => {
                directory.safe = directory.names.clone();
                directory.changes.clear();
            }
            None => {}
        }
    }

    /// The power is lost: what is left is chosen by `random`, and is all there is from here on.
    pub(crate) fn cut(&mut self, random: &mut Random) {
        // Some cuts keep nearly everything, some nearly nothing: the extremes are rare otherwise.
        let keep = *[0, 10, 50, 50, 90, 100]
            .get(random.below(6) as usize)
            .unwrap_or(&50);
        let tear = *[0, 10, 30].get(random.below(3) as usize).unwrap_or(&10);
        let damage = &mut self.damage;
        for node in self.nodes.values_mut() {
            match node {
                Node::File(file) => cut_file(file, keep, tear, random, damage),
                Node::Directory(directory) => cut_names(directory, keep, random, damage),
            }
        }
        self.forget_unreachable();
    }

    fn forget_unreachable(&mut self) {
        let mut reached = BTreeSet::new();
        let mut open = vec![ROOT];
        while let Some(ino) = open.pop() {
            if reached.insert(ino)
                && let Some(directory) = self.directory(ino)
            {
                open.extend(directory.names.values());
            }
        }
        self.nodes.retain(|ino, _| reached.contains(ino));
    }
}

/// The parts of pages that `len` bytes from `offset` on are: page, offset in it, range of the bytes.
fn pieces(offset: u64, len: usize) -> impl Iterator<Item = (u64, usize, std::ops::Range<usize>)> {
    let mut done = 0;
    std::iter::from_fn(move || {
        if done == len {
            return None;
        }
        let at = offset + done as u64;
        let in_page = (at % PAGE_LEN as u64) as usize;
        let count = (PAGE_LEN - in_page).min(len - done);
        let piece = (at / PAGE_LEN as u64, in_page, done..done + count);
        done += count;
        Some(piece)
    })
}

fn cut_file(file: &mut FileNode, keep: u64, tear: u64, random: &mut Random, damage: &mut Damage) {
    for number in std::mem::take(&mut file.unsafe_pages) {
        let zeros = [0; PAGE_LEN];
        let old = file.safe.get(&number).map_or(&zeros, |page| &**page);
        let new = file.pages.get(&number).map_or(&zeros, |page| &**page);
        if old == new {
            continue;
        }
        let mut left = *old;
        let sectors = left
            .chunks_exact_mut(SECTOR_LEN)
            .zip(old.chunks_exact(SECTOR_LEN))
            .zip(new.chunks_exact(SECTOR_LEN));
        for ((left, old), new) in sectors {
            if old == new {
                continue;
            }
            if random.chance(tear) {
                // The front of the new sector, or its back.
                let at = random.below(SECTOR_LEN as u64) as usize;
                let range = if random.chance(50) {
                    0..at
                } else {
                    at..SECTOR_LEN
                };
                if let (Some(left), Some(new)) = (left.get_mut(range.clone()), new.get(range)) {
                    left.copy_from_slice(new);
                }
                damage.sectors_torn += 1;
            } else if random.chance(keep) {
                left.copy_from_slice(new);
                damage.sectors_kept += 1;
            } else {
                damage.sectors_dropped += 1;
            }
        }
        if left.iter().all(|byte| *byte == 0) {
            file.safe.remove(&number);
        } else {
            file.safe.insert(number, Arc::new(left));
        }
    }
    if file.len != file.safe_len && !random.chance(keep) {
        let (low, high) = (file.len.min(file.safe_len), file.len.max(file.safe_len));
        file.len = if random.chance(30) {
            random.between(low, high + 1)
        } else {
            file.safe_len
        };
    }
    file.safe_len = file.len;
    let len = file.len;
    file.safe
        .retain(|number, _| number * (PAGE_LEN as u64) < len);
    if let Some(page) = file.safe.get_mut(&(len / PAGE_LEN as u64)) {
        let in_page = (len % PAGE_LEN as u64) as usize;
        if let Some(rest) = Arc::make_mut(page).get_mut(in_page..) {
            rest.fill(0);
        }
    }
    file.pages = file.safe.clone();
}

fn cut_names(directory: &mut DirectoryNode, keep: u64, random: &mut Random, damage: &mut Damage) {
    for change in std::mem::take(&mut directory.changes) {
        if !random.chance(keep) {
            damage.names_dropped += 1;
            continue;
        }
        damage.names_kept += 1;
        match change {
            Change::Add(name, ino) => {
                directory.safe.insert(name, ino);
            }
            Change::Remove(name) => {
                directory.safe.remove(&name);
            }
            Change::Move(from, to, ino) => {
                if directory.safe.get(&from) == Some(&ino) {
                    directory.safe.remove(&from);
                }
                directory.safe.insert(to, ino);
            }
        }
    }
    directory.names = directory.safe.clone();
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

    use super::*;

    fn name(text: &str) -> &OsStr {
        OsStr::new(text)
    }

    #[test]
    fn what_was_synced_survives_every_cut_and_the_rest_some() {
        let (mut whole, mut gone, mut mixed) = (0, 0, 0);
        for seed in 0..300 {
            let mut disk = Disk::new();
            let ino = disk.create(ROOT, name("f"), false).unwrap();
            disk.write(ino, 0, &[1; 10_000]).unwrap();
            disk.sync(ino);
            disk.sync(ROOT);
            disk.write(ino, 5_000, &[2; 4_000]).unwrap();
            disk.cut(&mut Random::new(seed));
            assert_eq!(disk.lookup(ROOT, name("f")), Some(ino));
            let bytes = disk.read(ino, 0, 20_000).unwrap();
            assert_eq!(bytes.len(), 10_000);
            assert!(
                bytes[..5_000]
                    .iter()
                    .chain(&bytes[9_000..])
                    .all(|byte| *byte == 1)
            );
            match bytes.iter().filter(|byte| **byte == 2).count() {
                0 => gone += 1,
                4_000 => whole += 1,
                _ => mixed += 1,
            }
            let before = bytes;
            disk.cut(&mut Random::new(seed + 1));
            assert_eq!(
                disk.read(ino, 0, 20_000).unwrap(),
                before,
                "a second cut changes nothing"
            );
        }
        assert!(
            whole > 10 && gone > 10 && mixed > 50,
            "{whole} {gone} {mixed}"
        );
    }

    #[test]
    fn a_synced_file_whose_directory_was_not_may_lose_its_name() {
        let mut lost = 0;
        for seed in 0..100 {
            let mut disk = Disk::new();
            let ino = disk.create(ROOT, name("f"), false).unwrap();
            disk.write(ino, 0, &[1; 10]).unwrap();
            disk.sync(ino);
            disk.cut(&mut Random::new(seed));
            match disk.lookup(ROOT, name("f")) {
                Some(ino) => assert_eq!(disk.read(ino, 0, 99).unwrap(), [1; 10]),
                None => lost += 1,
            }
        }
        assert!((20..80).contains(&lost), "{lost}");
    }

    #[test]
    fn a_rename_is_atomic_and_a_removal_may_be_undone() {
        let (mut old, mut new, mut back) = (0, 0, 0);
        for seed in 0..200 {
            let mut disk = Disk::new();
            for (file, byte) in [("a", 1), ("b", 2), ("c", 3)] {
                let ino = disk.create(ROOT, name(file), false).unwrap();
                disk.write(ino, 0, &[byte]).unwrap();
                disk.sync(ino);
            }
            disk.sync(ROOT);
            disk.rename(ROOT, name("a"), name("b")).unwrap();
            disk.remove(ROOT, name("c")).unwrap();
            disk.cut(&mut Random::new(seed));
            let b = disk.lookup(ROOT, name("b")).unwrap();
            match disk.read(b, 0, 1).unwrap()[0] {
                1 => {
                    assert_eq!(disk.lookup(ROOT, name("a")), None);
                    new += 1;
                }
                _ => {
                    assert!(disk.lookup(ROOT, name("a")).is_some());
                    old += 1;
                }
            }
            back += u32::from(disk.lookup(ROOT, name("c")).is_some());
        }
        assert!(old > 40 && new > 40 && back > 40, "{old} {new} {back}");
    }

    #[test]
    fn a_file_cut_short_reads_as_zeros_when_it_grows_again() {
        let mut disk = Disk::new();
        let ino = disk.create(ROOT, name("f"), false).unwrap();
        disk.write(ino, 0, &[1; 9_000]).unwrap();
        disk.set_len(ino, 5_000).unwrap();
        disk.set_len(ino, 9_000).unwrap();
        let bytes = disk.read(ino, 0, 9_000).unwrap();
        assert!(bytes[..5_000].iter().all(|byte| *byte == 1));
        assert!(bytes[5_000..].iter().all(|byte| *byte == 0));
    }
}
