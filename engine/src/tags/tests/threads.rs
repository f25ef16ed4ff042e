//! Readers are right while pieces are filled, sealed, written and merged beside them.

use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, OnceLock};
use std::thread;
use std::time::Duration;

use super::twin::collect;
use crate::storage::sim::SimDisk;
use crate::storage::{Access, DirectoryLock, Entry, Storage, StorageFile};
use crate::tags::{Direction, TagIndex, TagWriter, tag_hash};

const EVENTS: u64 = 20_000;
const SEGMENT: u64 = 500;
const TAGS: u64 = 7;

fn tag(number: u64) -> Vec<u8> {
    format!("tag {number}").into_bytes()
}

/// Event `id` carries the tag `id % TAGS`, so that every answer can be computed.
#[track_caller]
fn check(index: &TagIndex, first: u64, end: u64) {
    let view = index.view(first, end);
    for number in 0..TAGS {
        let tag = tag(number);
        let ids = (first..end).filter(|id| id % TAGS == number);
        let ids: Vec<u64> = ids.collect();
        // The first event of the tag with number 0 is 7, that of the others their number.
        let rank = |id: u64| id / TAGS - u64::from(number == 0);
        let found = view.end_of(&tag).unwrap();
        let found = found.map(|found| (found.count, found.last_id));
        assert_eq!(found, ids.last().map(|&last| (rank(last) + 1, last)));
        assert_eq!(collect(&view, &tag, Direction::Forward, 0).unwrap(), ids);
        if let Some(&id) = ids.get(ids.len() / 3) {
            assert_eq!(view.id_at_rank(&tag, rank(id)).unwrap(), Some(id));
        }
    }
    let listed = view.list(b"tag", None, 100).unwrap();
    assert_eq!(listed.len() as u64, TAGS.min(end - first));
}

#[test]
fn readers_are_right_while_pieces_move() {
    let disk = SimDisk::new();
    let index = Arc::new(TagIndex::open(disk.root(), &[], 1).unwrap());
    let published = AtomicU64::new(1);
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            let mut writer = TagWriter::new(Arc::clone(&index));
            for id in 1..=EVENTS {
                let tag = tag(id % TAGS);
                writer.push_next(&tag, tag_hash(&tag), id).unwrap();
                if id % 13 == 0 || id % SEGMENT == 0 {
                    writer.apply();
                    published.store(id + 1, Ordering::Release);
                }
                if id % SEGMENT == 0 {
                    while index.frozen_len() > 2 {
                        thread::yield_now();
                    }
                    index.roll(id + 1);
                }
            }
            done.store(true, Ordering::Release);
        });
        scope.spawn(|| {
            while !done.load(Ordering::Acquire) || index.frozen_len() > 0 {
                index.flush_oldest().unwrap();
                index.merge_once(1).unwrap();
                thread::yield_now();
            }
        });
        while !done.load(Ordering::Acquire) {
            let end = published.load(Ordering::Acquire);
            check(&index, end.saturating_sub(1234).max(1), end);
            check(&index, end / 2 + 1, end / 2 + 1 + end / 10);
        }
    });
    check(&index, 1, EVENTS + 1);
}

/// A directory in which the first file of a merge is made only when a piece has been flushed by
/// another thread.
#[derive(Debug)]
struct FlushedMeanwhile {
    directory: Arc<dyn Storage>,
    index: OnceLock<Arc<TagIndex>>,
    flushed: Sender<bool>,
}

impl Storage for FlushedMeanwhile {
    fn create(&self, name: &str, len: u64) -> io::Result<Arc<dyn StorageFile>> {
        if name.contains(".1.tags") {
            let index = Arc::clone(self.index.get().expect("set before the merge"));
            let (done, wait) = channel();
            thread::spawn(move || done.send(index.flush_oldest().is_ok_and(|flushed| flushed)));
            let flushed = wait.recv_timeout(Duration::from_secs(20));
            self.flushed.send(flushed.unwrap_or(false)).unwrap();
        }
        self.directory.create(name, len)
    }

    fn lock(&self) -> io::Result<DirectoryLock> {
        self.directory.lock()
    }

    fn list(&self) -> io::Result<Vec<Entry>> {
        self.directory.list()
    }

    fn open(&self, name: &str, access: Access) -> io::Result<Arc<dyn StorageFile>> {
        self.directory.open(name, access)
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.directory.rename(from, to)
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.directory.remove(name)
    }

    fn sync_names(&self) -> io::Result<()> {
        self.directory.sync_names()
    }

    fn directory(&self, name: &str) -> io::Result<Arc<dyn Storage>> {
        self.directory.directory(name)
    }

    fn create_directory(&self, name: &str) -> io::Result<Arc<dyn Storage>> {
        self.directory.create_directory(name)
    }
}

#[test]
fn a_piece_is_written_while_runs_are_merged() {
    let (flushed, was_flushed) = channel();
    let storage = Arc::new(FlushedMeanwhile {
        directory: SimDisk::new().root(),
        index: OnceLock::new(),
        flushed,
    });
    let index = TagIndex::open(Arc::clone(&storage) as Arc<dyn Storage>, &[], 1).unwrap();
    let index = Arc::new(index);
    storage.index.set(Arc::clone(&index)).unwrap();
    let mut writer = TagWriter::new(Arc::clone(&index));
    for id in 1..=5 * TAGS {
        let tag = tag(id % TAGS);
        writer.push_next(&tag, tag_hash(&tag), id).unwrap();
        if id % TAGS == 0 {
            writer.apply();
            index.roll(id + 1);
            // Four runs to merge, and a piece that waits.
            if id < 5 * TAGS {
                index.flush_oldest().unwrap();
            }
        }
    }
    assert!(index.merge_once(1).unwrap());
    assert!(
        was_flushed.try_recv().unwrap(),
        "the flush waited for the merge"
    );
    assert_eq!(index.frozen_len(), 0);
    check(&index, 1, 5 * TAGS + 1);
}
