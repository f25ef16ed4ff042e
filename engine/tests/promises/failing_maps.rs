//! A mapped page that cannot be read costs the events that are in it, and not the process.

use std::fs::OpenOptions;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use strandlog_engine::storage::{DiskStorage, Storage, guard_maps, map_faults};
use strandlog_engine::{Direction, EventId, Log, ReadError};

use super::support::{append, bodies, records, small};

fn segments(directory: &Path) -> Vec<PathBuf> {
    let mut segments: Vec<PathBuf> = std::fs::read_dir(directory)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|ending| ending == "seg"))
        .collect();
    segments.sort();
    segments
}

#[test]
fn a_file_cut_short_under_its_map_is_damage_and_not_the_end_of_the_process() {
    guard_maps().unwrap();
    guard_maps().unwrap();
    let directory = tempfile::tempdir().unwrap();
    let storage: Arc<dyn Storage> = Arc::new(DiskStorage::open(directory.path()).unwrap());
    // Without threads: upkeep that opens a file anew meanwhile would notice its length instead.
    let (log, _) = Log::open(storage, small(1)).unwrap();
    while log.describe().segments < 4 {
        append(&log, "s", &[&[7; 2_000]]).unwrap();
    }
    // Every segment is mapped by whoever reads it.
    let whole = bodies(&log);
    let segments = segments(directory.path());
    let before = map_faults();
    let cut = OpenOptions::new().write(true).open(&segments[1]).unwrap();
    cut.set_len(4_096).unwrap();

    let failed = records(&log, Direction::Forward);
    assert!(matches!(failed, Err(ReadError::Damaged(_))), "{failed:?}");
    assert!(map_faults() > before);
    // The rest of the log reads and takes writes.
    append(&log, "s", &[b"after"]).unwrap();
    let last = log
        .read(EventId::new(log.end().get() - 1).unwrap())
        .unwrap()
        .unwrap();
    assert_eq!(last.get(0).unwrap().unwrap().body, b"after");
    assert_eq!(
        log.read(log.first())
            .unwrap()
            .unwrap()
            .get(0)
            .unwrap()
            .unwrap()
            .body,
        whole[0]
    );
}

#[test]
fn a_page_that_goes_after_its_record_was_checked_is_an_error_and_no_panic() {
    guard_maps().unwrap();
    let directory = tempfile::tempdir().unwrap();
    let storage: Arc<dyn Storage> = Arc::new(DiskStorage::open(directory.path()).unwrap());
    let (log, _) = Log::open(storage, small(1)).unwrap();
    // The body of the first record goes over several pages; the second one lies behind it.
    append(&log, "s", &[&[7; 7_000]]).unwrap();
    append(&log, "s", &[&[8; 100]]).unwrap();
    while log.describe().segments < 2 {
        append(&log, "s", &[&[9; 2_000]]).unwrap();
    }
    let mut scan = log
        .scan(log.first()..log.end(), Direction::Forward)
        .unwrap();
    let held = scan.next_records(2, 1 << 20).unwrap().unwrap();
    assert_eq!(held.get(0).unwrap().unwrap().body, [7; 7_000]);

    let path = &segments(directory.path())[0];
    let cut = OpenOptions::new().write(true).open(path).unwrap();
    cut.set_len(8_192).unwrap();
    // The first record still has its head, the second one nothing.
    for lost in [held.get(0), held.get(1)] {
        let Err(ReadError::Damaged(damage)) = lost else {
            panic!("{lost:?}");
        };
        assert_eq!(
            Some(damage.file.as_str()),
            path.file_name().and_then(|name| name.to_str())
        );
        assert!(damage.offset >= 4_096, "{damage}");
    }
    assert!(held.body_bytes(0).is_err());
    assert_eq!(held.iter().filter(Result::is_err).count(), 2);
}
