//! A copy of a log has everything that was acknowledged before it was begun, opens as a log, and is
//! worth something at every moment.

use std::io::{self, IoSlice};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use bytes::Bytes;
use strandlog_engine::storage::sim::SimDisk;
use strandlog_engine::storage::{Access, DirectoryLock, Entry, Storage, StorageFile};
use strandlog_engine::{
    BackupError, BackupReport, Checkpoint, Log, Options, Retention, backup, repair, verify,
};

use super::support::{append, bodies, contents, files, id, left, open, open_with, small, threaded};

fn copy(from: &SimDisk, to: &SimDisk) -> Result<BackupReport, BackupError> {
    let (from, to): (Arc<dyn Storage>, Arc<dyn Storage>) = (from.root(), to.root());
    backup(&from, &to, &mut |done, all| assert!(done <= all))
}

/// What a copy holds, opened on a disk of its own so that it stays as it is.
#[track_caller]
fn held(copy: &SimDisk) -> Vec<Vec<u8>> {
    let disk = copy.restart();
    let report = verify(&(disk.root() as Arc<dyn Storage>), &mut |_, _| ()).unwrap();
    assert_eq!((report.damage, report.derived), (Vec::new(), Vec::new()));
    let (log, _) = open(&disk, 99).unwrap();
    bodies(&log)
}

fn fresh() -> Checkpoint {
    Checkpoint {
        position: 0,
        definition: Bytes::from_static(b"definition"),
    }
}

/// Appends so many records, about four of which fill a segment.
fn fill(log: &Log, count: u64) {
    for number in 0..count {
        append(log, &format!("s{}", number % 3), &[&[b'x'; 2_500]]).unwrap();
    }
}

#[test]
fn a_copy_of_an_open_log_is_the_log() {
    let (source, target) = (SimDisk::new(), SimDisk::new());
    let (log, _) = open(&source, 1).unwrap();
    fill(&log, 30);
    log.create_checkpoint("c", fresh()).wait().unwrap();
    log.advance_checkpoint("c", 17).wait().unwrap();
    let before = contents(&source);
    let report = copy(&source, &target).unwrap();
    assert_eq!(contents(&source), before, "the source is not touched");
    assert_eq!((report.first, report.last), (Some(id(1)), Some(id(30))));
    assert_eq!(report.copied, log.describe().segments);
    assert_eq!((report.kept, report.removed), (0, 0));
    assert_eq!(held(&target), bodies(&log));

    let (copied, opened) = open(&target, 2).unwrap();
    assert_eq!(opened.segments_reindexed, 0, "the index came along");
    assert_eq!(copied.checkpoint("c").unwrap().position, 17);
    assert_eq!(copied.tag_end(b"s1").unwrap(), log.tag_end(b"s1").unwrap());
    append(&copied, "s1", &[b"and on"]).unwrap();
}

#[test]
fn a_later_copy_takes_what_is_new_and_keeps_what_was_whole() {
    let (source, target) = (SimDisk::new(), SimDisk::new());
    let (log, _) = open(&source, 1).unwrap();
    fill(&log, 30);
    let first = copy(&source, &target).unwrap();
    fill(&log, 10);
    let want = bodies(&log);
    log.close().unwrap();
    // Damage that comes to a segment after it was copied stays where it is.
    let oldest = files(&source, ".seg").remove(0);
    source.flip_bit(&oldest, 5_000, 3);
    let second = copy(&source, &target).unwrap();
    assert_eq!(second.kept, first.copied - 1);
    assert_eq!(second.damage, []);
    assert!(second.bytes < first.bytes);
    assert_eq!(held(&target), want);
}

#[test]
fn damage_in_a_sealed_segment_is_named_and_copied_as_it_is() {
    let (source, target) = (SimDisk::new(), SimDisk::new());
    let (log, _) = open(&source, 1).unwrap();
    fill(&log, 30);
    log.close().unwrap();
    let file = files(&source, ".seg").remove(1);
    source.flip_bit(&file, 5_000, 3);
    let report = copy(&source, &target).unwrap();
    let [damage] = report.damage.as_slice() else {
        panic!("{report:?}");
    };
    assert_eq!(damage.file, file);
    let (log, _) = open(&target, 2).unwrap();
    assert_eq!(log.end(), id(31));
    assert!(log.read(id(1)).unwrap().is_some() && log.read(id(30)).unwrap().is_some());
}

#[test]
fn what_a_log_has_lost_since_is_still_in_the_copy_and_a_new_copy_knows_the_loss() {
    let (source, earlier, later) = (SimDisk::new(), SimDisk::new(), SimDisk::new());
    let (log, _) = open(&source, 1).unwrap();
    fill(&log, 30);
    copy(&source, &earlier).unwrap();
    let want = bodies(&log);
    log.close().unwrap();
    // The header of one segment, a record of another.
    let segments = files(&source, ".seg");
    source.flip_bit(&segments[1], 20, 3);
    source.flip_bit(&segments[3], 5_000, 3);
    let root: Arc<dyn Storage> = source.root();
    let repaired = repair(Arc::clone(&root), &small(2), &mut |_| true, &mut |_, _| ()).unwrap();
    assert!(repaired.is_done);
    let found = |disk: &SimDisk| {
        let (log, _) = open(disk, 3).unwrap();
        let found: Vec<_> = (1..=30)
            .map(|number| log.read(id(number)).is_ok())
            .collect();
        found
    };
    assert!(found(&source).contains(&false));

    let report = copy(&source, &later).unwrap();
    assert_eq!(report.damage, [], "it is recorded");
    assert_eq!(found(&later), found(&source));
    // A segment that was written anew has another header than the one that was copied.
    let refused = copy(&source, &earlier);
    assert!(
        matches!(refused, Err(BackupError::Other { .. })),
        "{refused:?}"
    );
    assert_eq!(held(&earlier), want);
}

#[test]
fn a_damaged_segment_takes_nothing_from_an_earlier_copy() {
    let (source, target) = (SimDisk::new(), SimDisk::new());
    let (log, _) = open(&source, 1).unwrap();
    fill(&log, 4);
    copy(&source, &target).unwrap();
    let before = contents(&target);
    fill(&log, 20);
    log.close().unwrap();
    // The segment that was the tail then.
    let newest = files(&target, ".seg").pop().unwrap();
    source.flip_bit(&newest, 4_200, 3);
    let refused = copy(&source, &target);
    assert!(
        matches!(&refused, Err(BackupError::Damaged(damage)) if damage.file == newest),
        "{refused:?}"
    );
    assert_eq!(contents(&target), before);
}

#[test]
fn a_damaged_tail_is_refused_and_the_copy_keeps_what_it_had() {
    let (source, target) = (SimDisk::new(), SimDisk::new());
    let (log, _) = open(&source, 1).unwrap();
    fill(&log, 5);
    copy(&source, &target).unwrap();
    let before = contents(&target);
    fill(&log, 1);
    log.close().unwrap();
    let tail = files(&source, ".seg").pop().unwrap();
    source.flip_bit(&tail, 4_200, 3);
    let refused = copy(&source, &target);
    assert!(
        matches!(&refused, Err(BackupError::Damaged(damage)) if damage.file == tail),
        "{refused:?}"
    );
    assert_eq!(contents(&target), before);
}

#[test]
fn a_torn_end_is_not_copied() {
    let source = SimDisk::new();
    let (log, _) = open(&source, 1).unwrap();
    fill(&log, 2);
    let want = bodies(&log);
    // A write, and then its sync.
    source.crash_at(source.steps() + 1);
    append(&log, "s", &[&[b'y'; 2_000]]).unwrap_err();
    let torn = (0..20).find_map(|seed| {
        let torn = source.after_crash(left(4, seed));
        let report = verify(&(torn.root() as Arc<dyn Storage>), &mut |_, _| ()).unwrap();
        (report.torn_len > 0).then_some(torn)
    });
    let (torn, target) = (torn.expect("a torn end"), SimDisk::new());
    copy(&torn, &target).unwrap();
    let report = verify(&(target.root() as Arc<dyn Storage>), &mut |_, _| ()).unwrap();
    assert_eq!(report.torn_len, 0);
    assert_eq!(held(&target), want);
}

#[test]
fn a_place_that_was_read_just_before_it_was_written_is_no_damage() {
    let (source, target) = (SimDisk::new(), SimDisk::new());
    let (log, _) = open(&source, 1).unwrap();
    fill(&log, 3);
    let late: Arc<dyn Storage> = Arc::new(Late {
        directory: source.root(),
        reads: Arc::default(),
    });
    let report = backup(&late, &(target.root() as Arc<dyn Storage>), &mut |_, _| ()).unwrap();
    assert_eq!(report.last, Some(id(3)));
    assert_eq!(held(&target), bodies(&log));
}

/// A directory in which the first long read of a file does not see its first batch yet, but those
/// that follow it.
#[derive(Debug)]
struct Late {
    directory: Arc<dyn Storage>,
    reads: Arc<AtomicU64>,
}

#[derive(Debug)]
struct LateFile {
    file: Arc<dyn StorageFile>,
    reads: Arc<AtomicU64>,
}

impl Storage for Late {
    fn open(&self, name: &str, access: Access) -> io::Result<Arc<dyn StorageFile>> {
        Ok(Arc::new(LateFile {
            file: self.directory.open(name, access)?,
            reads: Arc::clone(&self.reads),
        }))
    }

    fn list(&self) -> io::Result<Vec<Entry>> {
        self.directory.list()
    }

    fn lock(&self) -> io::Result<DirectoryLock> {
        unreachable!("the source is only read")
    }

    fn create(&self, _: &str, _: u64) -> io::Result<Arc<dyn StorageFile>> {
        unreachable!("the source is only read")
    }

    fn rename(&self, _: &str, _: &str) -> io::Result<()> {
        unreachable!("the source is only read")
    }

    fn remove(&self, _: &str) -> io::Result<()> {
        unreachable!("the source is only read")
    }

    fn sync_names(&self) -> io::Result<()> {
        unreachable!("the source is only read")
    }

    fn directory(&self, _: &str) -> io::Result<Arc<dyn Storage>> {
        unreachable!("the source is only read")
    }

    fn create_directory(&self, _: &str) -> io::Result<Arc<dyn Storage>> {
        unreachable!("the source is only read")
    }
}

impl StorageFile for LateFile {
    fn len(&self) -> u64 {
        self.file.len()
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.file.read_at(offset, buffer)?;
        if buffer.len() > 8_192 && self.reads.fetch_add(1, Ordering::Relaxed) == 0 {
            buffer[4_096..5_000].fill(0);
        }
        Ok(read)
    }

    fn write_at(&self, _: u64, _: &[IoSlice<'_>]) -> io::Result<usize> {
        unreachable!("the source is only read")
    }

    fn sync(&self) -> io::Result<()> {
        unreachable!("the source is only read")
    }

    fn freeze(&self, len: u64) {
        self.file.freeze(len);
    }

    fn frozen(&self) -> io::Result<Bytes> {
        self.file.frozen()
    }
}

#[test]
fn what_has_expired_goes_from_the_copy() {
    let (source, target) = (SimDisk::new(), SimDisk::new());
    let options = |records_max| Options {
        retention: Retention {
            records_max,
            ..Retention::default()
        },
        ..small(1)
    };
    let (log, _) = open_with(&source, options(None)).unwrap();
    fill(&log, 30);
    copy(&source, &target).unwrap();
    log.close().unwrap();
    let (log, _) = open_with(&source, options(Some(9))).unwrap();
    log.upkeep_now();
    assert!(log.first() > id(9));
    let report = copy(&source, &target).unwrap();
    assert!(report.removed > 0);
    assert_eq!(report.first, Some(log.first()));
    let (copied, _) = open(&target, 2).unwrap();
    assert_eq!(copied.first(), log.first());
    assert_eq!(bodies(&copied), bodies(&log));
}

#[test]
fn a_copy_of_another_log_or_with_a_future_of_its_own_is_refused_and_not_touched() {
    let (source, other) = (SimDisk::new(), SimDisk::new());
    let (log, _) = open(&source, 1).unwrap();
    fill(&log, 5);
    drop(open(&other, 2).unwrap());
    let before = contents(&other);
    let refused = copy(&source, &other);
    assert!(
        matches!(refused, Err(BackupError::Other { .. })),
        "{refused:?}"
    );
    assert_eq!(contents(&other), before);

    let target = SimDisk::new();
    copy(&source, &target).unwrap();
    let (copied, _) = open(&target, 3).unwrap();
    let in_use = copy(&source, &target);
    assert!(matches!(in_use, Err(BackupError::InUse)), "{in_use:?}");
    fill(&copied, 20);
    copied.close().unwrap();
    let before = contents(&target);
    let refused = copy(&source, &target);
    assert!(
        matches!(refused, Err(BackupError::Other { .. })),
        "{refused:?}"
    );
    assert_eq!(contents(&target), before);

    let empty = SimDisk::new();
    let refused = copy(&empty, &target);
    assert!(matches!(refused, Err(BackupError::Nothing)), "{refused:?}");
    assert_eq!(contents(&target), before);
}

#[test]
fn a_power_cut_at_any_step_of_a_backup_leaves_a_copy_that_opens() {
    let (source, first) = (SimDisk::new(), SimDisk::new());
    let (log, _) = open(&source, 1).unwrap();
    fill(&log, 12);
    log.create_checkpoint("c", fresh()).wait().unwrap();
    log.advance_checkpoint("c", 12).wait().unwrap();
    copy(&source, &first).unwrap();
    let earlier = bodies(&log);
    fill(&log, 12);
    log.advance_checkpoint("c", 24).wait().unwrap();
    let all = bodies(&log);

    let calm = first.restart();
    copy(&source, &calm).unwrap();
    let steps = calm.steps();
    assert!(steps > 20, "{steps}");
    for step in 0..steps {
        let target = first.restart();
        target.crash_at(step);
        copy(&source, &target).unwrap_err();
        for kind in 0..6 {
            let after = target.after_crash(left(kind, step));
            let bodies = held(&after);
            assert!(
                bodies.len() >= earlier.len() && all.starts_with(&bodies),
                "step {step}, left {kind}: {} records",
                bodies.len()
            );
            // And the next backup completes it.
            copy(&source, &after).unwrap();
            assert_eq!(held(&after), all, "step {step}, left {kind}");
        }
    }
}

#[test]
fn copies_made_while_the_log_is_written_have_all_that_was_acknowledged_before() {
    let source = SimDisk::new();
    let options = Options {
        retention: Retention {
            records_max: Some(40),
            ..Retention::default()
        },
        ..threaded(1)
    };
    let (log, _) = open_with(&source, options).unwrap();
    log.create_checkpoint("c", fresh()).wait().unwrap();
    /// Lets the writers end, also if a check fails.
    struct Over<'a>(&'a AtomicBool);
    impl Drop for Over<'_> {
        fn drop(&mut self) {
            self.0.store(true, Ordering::Relaxed);
        }
    }
    let is_over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let _over = Over(&is_over);
        for writer in 0..3_u8 {
            let (log, is_over) = (&log, &is_over);
            scope.spawn(move || {
                while !is_over.load(Ordering::Relaxed) {
                    append(log, "s", &[&[writer; 300], &[writer; 700]]).unwrap();
                    let last = log.end().get() - 1;
                    log.advance_checkpoint("c", last).wait().unwrap();
                }
            });
        }
        let target = SimDisk::new();
        for round in 0..30 {
            let acknowledged = log.end().get() - 1;
            let report = copy(&source, &target).unwrap();
            assert_eq!(report.damage, []);
            let last = report.last.map_or(0, |last| last.get());
            assert!(
                last >= acknowledged,
                "round {round}: {last} of {acknowledged}"
            );
            let (copied, _) = open(&target.restart(), 2).unwrap();
            assert_eq!(copied.end().get() - 1, last);
            bodies(&copied);
            assert!(copied.checkpoint("c").unwrap().position <= last);
        }
    });
}
