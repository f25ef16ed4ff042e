//! The same story on the real disk, with the log's own threads: what the simulated one cannot show.

use std::sync::Arc;

use strandlog_engine::storage::{DiskStorage, Storage};
use strandlog_engine::{Log, OpenError, Retention, verify};

use super::support::{Act, Story, append, bodies, script, threaded};

#[test]
fn a_log_on_the_real_disk_keeps_its_story_across_opens() {
    let directory = tempfile::tempdir().unwrap();
    let storage = || -> Arc<dyn Storage> { Arc::new(DiskStorage::open(directory.path()).unwrap()) };
    let mut story = Story::default();
    for (round, acts) in script(4, 120).chunks(40).enumerate() {
        let (log, report) = Log::open(storage(), threaded(round as u64)).unwrap();
        assert!(report.clean);
        story.check(&log).unwrap();
        let again = Log::open(storage(), threaded(99));
        assert!(matches!(again, Err(OpenError::InUse)));
        for act in acts {
            story.act(&log, act).unwrap();
        }
        story.check(&log).unwrap();
        log.close().unwrap();
        let report = verify(&storage(), &mut |_, _| {}).unwrap();
        assert_eq!((report.damage, report.derived), (vec![], vec![]));
    }
}

#[test]
fn what_a_reader_holds_outlives_its_file_and_its_log() {
    let directory = tempfile::tempdir().unwrap();
    let storage: Arc<dyn Storage> = Arc::new(DiskStorage::open(directory.path()).unwrap());
    let (log, _) = Log::open(storage, threaded(1)).unwrap();
    let mut story = Story::default();
    story
        .act(&log, &Act::Append(vec![super::support::event(1, 500)]))
        .unwrap();
    let held = log.read(log.first()).unwrap().unwrap();
    let body = held.body_bytes(0).unwrap();
    for _ in 0..40 {
        append(&log, "s", &[&[0; 2_000]]).unwrap();
    }
    log.set_retention(Retention {
        records_max: Some(1),
        ..Retention::default()
    });
    log.expire_now().unwrap();
    assert!(log.first().get() > 20);
    bodies(&log);
    drop(log);
    drop(held);
    assert_eq!(body, story.events[0].body);
}
