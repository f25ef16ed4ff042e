//! How fast the parts are, on a real disk (Linux only). Prints figures and asserts none:
//! `cargo test --release -p strandlog-engine tags::tests::speed -- --ignored --nocapture`

use std::hint::black_box;
use std::sync::Arc;
use std::time::Duration;

use crate::storage::DiskStorage;
use crate::tags::{Direction, MemoryTags, Query, Span, TagIndex, TagWriter, tag_hash};

/// Runs `work` and prints what one of its `count` parts took: time on the processor, because other
/// work on the machine would count otherwise.
fn time(what: &str, count: u64, work: impl FnOnce()) -> Duration {
    let start = on_processor();
    work();
    let took = on_processor() - start;
    let each = took.as_nanos() as f64 / count as f64;
    println!("{what:50} {each:9.1} ns each, {took:?} in all");
    took
}

/// How long this thread has run so far.
fn on_processor() -> Duration {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    let nanos = text.split(' ').next().unwrap();
    Duration::from_nanos(nanos.parse().unwrap())
}

/// Numbers without an order, the same in each run.
fn mixed(number: u64) -> u64 {
    let mixed = (number ^ 0x5DEE_CE66).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    (mixed ^ (mixed >> 29)).wrapping_mul(0xBF58_476D_1CE4_E5B9) >> 8
}

fn key(number: u64) -> Vec<u8> {
    format!("key:{:016x}", mixed(number)).into_bytes()
}

#[test]
#[ignore = "measures"]
fn inserting() {
    let count = 1_000_000;
    let keys: Vec<Vec<u8>> = (0..count).map(key).collect();
    time("hash of a tag of 20 bytes", count, || {
        keys.iter().for_each(|key| {
            black_box(tag_hash(key));
        });
    });
    let mut memory = MemoryTags::new(1);
    time("insert, all tags new, table grows", count, || {
        for (id, key) in (1..).zip(&keys) {
            memory.insert(key, tag_hash(key), id, 0).unwrap();
        }
    });
    println!(
        "{} bytes of memory a tag",
        memory.memory_len() as u64 / count
    );
    let mut second = MemoryTags::like(1, &memory);
    time("insert, all tags new, like the last segment", count, || {
        for (id, key) in (1..).zip(&keys) {
            second.insert(key, tag_hash(key), id, 0).unwrap();
        }
    });
    time("find a tag in a million", count, || {
        for key in &keys {
            black_box(second.find(key, tag_hash(key)));
        }
    });
    time("sort a million tags", count, || {
        black_box(second.sorted());
    });
    let streams: Vec<Vec<u8>> = (0..100_000).map(key).collect();
    let mut memory = MemoryTags::new(1);
    time("insert, ten ids in each of 100,000 tags", count, || {
        for id in 0..count {
            let key = &streams[usize::try_from(mixed(id) % 100_000).unwrap()];
            let hash = tag_hash(key);
            let rank = memory.find(key, hash).and_then(|at| memory.get(at));
            let rank = rank.map_or(0, |it| it.ids.end().count);
            memory.insert(key, hash, id + 1, rank).unwrap();
        }
    });
    println!(
        "{} bytes of memory an id",
        memory.memory_len() as u64 / count
    );
}

/// An index with this many segments: each event carries a new key, one of 1,000 types of which a
/// few are frequent, and one of 100,000 streams.
fn build(storage: &Arc<DiskStorage>, segments: u64, events: u64, merge: bool) -> Arc<TagIndex> {
    let storage: Arc<dyn crate::storage::Storage> = Arc::<DiskStorage>::clone(storage);
    let index = Arc::new(TagIndex::open(storage, &[], 1).unwrap());
    let mut writer = TagWriter::new(Arc::clone(&index));
    let mut pushed = Duration::ZERO;
    let mut flushed = Duration::ZERO;
    let mut merged = Duration::ZERO;
    for segment in 0..segments {
        let first = 1 + segment * events;
        pushed += time("  push and apply an event with three tags", events, || {
            for id in first..first + events {
                let a_type = mixed(id) % 1000 * (mixed(id + 7) % 1000) / 1000;
                let stream = mixed(id * 3) % 100_000;
                let type_tag = format!("type:{a_type}").into_bytes();
                let stream_tag = format!("stream:{stream}").into_bytes();
                for tag in [key(id), type_tag, stream_tag] {
                    let hash = tag_hash(&tag);
                    writer.push_next(&tag, hash, id).unwrap();
                }
                if id % 100 == 0 {
                    writer.apply();
                }
            }
            writer.apply();
        });
        index.roll(first + events);
        flushed += time("  flush, a pair", events * 3, || {
            index.flush_oldest().unwrap();
        });
        if merge {
            merged += time("  merge, an event", events, || {
                while index.merge_once(1).unwrap() {}
            });
        }
    }
    println!("pushed {pushed:?}, flushed {flushed:?}, merged {merged:?}");
    index
}

fn ask(index: &Arc<TagIndex>, events: u64) {
    let memory: Vec<u64> = (0..1 << 24).collect();
    let mut at = 0;
    time(
        "for comparison: a read anywhere in 128 MiB",
        1 << 21,
        || {
            for it in 0..1_u64 << 21 {
                at = memory[usize::try_from(mixed(it ^ (at & 1)) & ((1 << 24) - 1)).unwrap()];
            }
        },
    );
    black_box(at);
    let mut writer = TagWriter::new(Arc::clone(index));
    let count = 400_000;
    let new: Vec<Vec<u8>> = (0..count).map(|it| key(it + (1 << 40))).collect();
    let old: Vec<Vec<u8>> = (0..count).map(|it| key(1 + mixed(it) % events)).collect();
    for round in ["cold", "warm"] {
        time(&format!("a new tag, {round}"), count, || {
            for tag in &new {
                assert_eq!(writer.end_of(tag, tag_hash(tag)).unwrap(), None);
            }
        });
        time(&format!("an existing tag, {round}"), count, || {
            for tag in &old {
                assert!(writer.end_of(tag, tag_hash(tag)).unwrap().is_some());
            }
        });
    }
    let view = index.view(0, events + 1);
    time("a stream's end", count, || {
        for it in 0..count {
            let tag = format!("stream:{}", mixed(it) % 100_000);
            black_box(view.end_of(tag.as_bytes()).unwrap());
        }
    });
    time("an id by stream and rank", count, || {
        for it in 0..count {
            let tag = format!("stream:{}", mixed(it) % 100_000);
            let end = events / 100_000;
            black_box(
                view.id_at_rank(tag.as_bytes(), mixed(it + 5) % end)
                    .unwrap(),
            );
        }
    });
    time("an id by frequent type and rank", count, || {
        let end = view.end_of(b"type:1").unwrap().unwrap().count;
        for it in 0..count {
            black_box(
                view.id_at_rank(b"type:1", mixed(it) % end)
                    .unwrap()
                    .unwrap(),
            );
        }
    });
    let end = view.end_of(b"type:1").unwrap().unwrap().count;
    time("the ids of a frequent type", end, || {
        let mut ids = view.ids(b"type:1", Direction::Ascending, 0);
        while let Some(id) = ids.next_id().unwrap() {
            black_box(id);
        }
    });
    time("a stream and a frequent type", 1000, || {
        for stream in 0..1000 {
            let stream = format!("stream:{stream}").into_bytes();
            let query = Query {
                all: vec![vec![stream], vec![b"type:1".to_vec(), b"type:2".to_vec()]],
            };
            let mut ids = view.query(&query, Direction::Ascending, 0);
            while let Some(id) = ids.next_id().unwrap() {
                black_box(id);
            }
        }
    });
    time("a page of 1,000 streams", 100, || {
        for it in 0..100 {
            let after = format!("stream:{it}");
            black_box(view.list(b"stream:", Some(after.as_bytes()), 1000).unwrap());
        }
    });
}

#[test]
#[ignore = "measures"]
fn hot_tags() {
    let directory = tempfile::tempdir().unwrap();
    let storage = Arc::new(DiskStorage::open(directory.path()).unwrap());
    let index = Arc::new(TagIndex::open(storage, &[], 1).unwrap());
    let mut writer = TagWriter::new(Arc::clone(&index));
    let streams: Vec<Vec<u8>> = (0..1000).map(key).collect();
    let events = 1_000_000;
    for batch in [1, 1000] {
        let first = if batch == 1 { 1 } else { 1 + events };
        time(
            &format!("three hot tags, batches of {batch}"),
            events,
            || {
                for id in first..first + events {
                    for it in 0..3 {
                        let tag = &streams
                            [usize::try_from(mixed(id) >> (it * 8) & 0xFF).unwrap() + it * 256];
                        let hash = tag_hash(tag);
                        writer.push_next(tag, hash, id).unwrap();
                    }
                    if id % batch == 0 {
                        writer.apply();
                    }
                }
                writer.apply();
            },
        );
        index.roll(first + events);
    }
}

#[test]
#[ignore = "measures"]
fn sixteen_runs() {
    let directory = tempfile::tempdir().unwrap();
    let storage = Arc::new(DiskStorage::open(directory.path()).unwrap());
    let index = build(&storage, 16, 330_000, false);
    ask(&index, 16 * 330_000);
    time(
        "merge of 16 runs to one, a pair",
        16 * 2 * 330_000 * 3,
        || {
            while index.merge_once(1).unwrap() {}
        },
    );
    ask(&index, 16 * 330_000);
}

#[test]
#[ignore = "measures"]
fn many_segments() {
    let directory = tempfile::tempdir().unwrap();
    let storage = Arc::new(DiskStorage::open(directory.path()).unwrap());
    let index = build(&storage, 63, 100_000, true);
    ask(&index, 63 * 100_000);
    let sealed: Vec<Span> = (0..63)
        .map(|it| Span {
            first: 1 + it * 100_000,
            end: 100_001 + it * 100_000,
        })
        .collect();
    drop(index);
    time("open", 1, || {
        let storage: Arc<dyn crate::storage::Storage> = storage;
        TagIndex::open(storage, &sealed, 6_300_001).unwrap();
    });
}
