//! The same story on the real disk, with the log's own threads: what the simulated one cannot show.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use strandlog_engine::storage::{DiskStorage, Storage};
use strandlog_engine::{
    Batch, Checkpoint, Direction, Log, OpenError, ReadError, Retention, Tag, verify,
};

use super::support::{Act, Story, append, bodies, records, script, threaded};

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
    let body = held.body_bytes(0).unwrap().unwrap();
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

#[test]
fn producers_consumers_retention_and_upkeep_do_not_get_into_each_others_way() {
    const PRODUCERS: u64 = 4;
    const EACH: u64 = 120;
    let directory = tempfile::tempdir().unwrap();
    let storage = || -> Arc<dyn Storage> { Arc::new(DiskStorage::open(directory.path()).unwrap()) };
    let (log, _) = Log::open(storage(), threaded(1)).unwrap();
    let is_over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let (log, is_over) = (&log, &is_over);
        let producers: Vec<_> = (0..PRODUCERS)
            .map(|producer| {
                scope.spawn(move || {
                    let stream = format!("stream {producer}");
                    for rank in 0..EACH {
                        let mut batch = Batch::new();
                        let key = format!("{stream} {rank}");
                        let tags = [
                            Tag::new(stream.as_bytes()),
                            Tag::expecting(key.as_bytes(), 0),
                        ];
                        batch.push(&tags, &[key.as_bytes(), &[b' '; 600]]).unwrap();
                        log.append(batch).wait().unwrap();
                    }
                })
            })
            .collect();
        scope.spawn(move || {
            log.create_checkpoint("c", Checkpoint::default())
                .wait()
                .unwrap();
            while !is_over.load(Ordering::Relaxed) {
                let position = log.end().get() - 1;
                log.advance_checkpoint("c", position).wait().unwrap();
            }
        });
        scope.spawn(move || {
            log.set_retention(Retention {
                records_max: Some(200),
                ..Retention::default()
            });
            while !is_over.load(Ordering::Relaxed) {
                log.expire_now().unwrap();
                log.upkeep_now();
            }
        });
        scope.spawn(move || {
            while !is_over.load(Ordering::Relaxed) {
                match records(log, Direction::Forward) {
                    Ok(seen) => assert!(seen.windows(2).all(|pair| pair[0].id + 1 == pair[1].id)),
                    Err(ReadError::Expired { .. }) => {}
                    Err(error) => panic!("{error:?}"),
                }
            }
        });
        // Right where retention is at work.
        scope.spawn(move || {
            while !is_over.load(Ordering::Relaxed) {
                match log.read(log.first()) {
                    Ok(_) | Err(ReadError::Expired { .. }) => {}
                    Err(error) => panic!("{error:?}"),
                }
            }
        });
        for producer in producers {
            producer.join().unwrap();
        }
        is_over.store(true, Ordering::Relaxed);
    });
    assert_eq!(log.end().get(), PRODUCERS * EACH + 1);
    log.close().unwrap();
    let report = verify(&storage(), &mut |_, _| {}).unwrap();
    assert_eq!((report.damage, report.derived), (vec![], vec![]));
    let (log, _) = Log::open(storage(), threaded(2)).unwrap();
    // What is left of each producer is in its order.
    for producer in 0..PRODUCERS {
        let stream = format!("stream {producer}").into_bytes();
        let seen = records(&log, Direction::Forward).unwrap();
        let ranks = seen.iter().filter_map(|it| {
            let (tag, rank) = &it.tags[0];
            (*tag == stream).then_some(*rank)
        });
        let ranks: Vec<u64> = ranks.collect();
        assert!(ranks.windows(2).all(|pair| pair[0] + 1 == pair[1]));
    }
}
