//! Lists of ids that are longer than a page, a node, a run.

use std::sync::Arc;

use super::twin::{collect, collect_query};
use crate::storage::Storage;
use crate::storage::sim::SimDisk;
use crate::tags::{Direction, Query, Span, TagIndex, TagWriter, check_run, tag_hash};

const SEGMENT: u64 = 30_000;

/// An index of `segments` segments in which the events whose ids are multiples of `step` carry
/// `every {step}`, for these steps.
fn build(disk: &SimDisk, segments: u64, steps: &[u64]) -> Arc<TagIndex> {
    let storage: Arc<dyn Storage> = disk.root();
    let index = Arc::new(TagIndex::open(storage, &[], 1).unwrap());
    let mut writer = TagWriter::new(Arc::clone(&index));
    for segment in 0..segments {
        let first = 1 + segment * SEGMENT;
        for id in first..first + SEGMENT {
            for step in steps.iter().filter(|&step| id.is_multiple_of(*step)) {
                let tag = format!("every {step}").into_bytes();
                writer.push(&tag, tag_hash(&tag), id, id / step - 1);
            }
        }
        writer.apply();
        index.roll(first + SEGMENT);
        index.flush_oldest().unwrap();
    }
    index
}

#[track_caller]
fn check(index: &TagIndex, end: u64, step: u64) {
    let tag = format!("every {step}").into_bytes();
    let view = index.view(1, end);
    let count = (end - 1) / step;
    let last = view.end_of(&tag).unwrap().unwrap();
    assert_eq!((last.count, last.last_id), (count, count * step));
    for rank in (0..count).step_by(97).chain([count - 1]) {
        let id = (rank + 1) * step;
        assert_eq!(view.id_at_rank(&tag, rank).unwrap(), Some(id));
        let mut up = view.ids(&tag, Direction::Forward, id - step + 1);
        assert_eq!(up.next_id().unwrap(), Some(id));
        let mut down = view.ids(&tag, Direction::Backward, id + step - 1);
        assert_eq!(down.next_id().unwrap(), Some(id));
        assert_eq!(down.next_id().unwrap(), (id - step > 0).then(|| id - step));
    }
    assert_eq!(view.id_at_rank(&tag, count).unwrap(), None);
    let all: Vec<u64> = (1..=count).map(|it| it * step).collect();
    assert_eq!(collect(&view, &tag, Direction::Forward, 0).unwrap(), all);
    let mut down = collect(&view, &tag, Direction::Backward, end).unwrap();
    down.reverse();
    assert_eq!(down, all);
}

#[test]
fn long_lists_are_found_in_each_direction_before_and_after_merging() {
    let disk = SimDisk::new();
    let steps = [1, 2, 3, 117, 10_007];
    let index = build(&disk, 5, &steps);
    for merges in [true, false] {
        for step in steps {
            check(&index, 5 * SEGMENT + 1, step);
            // The end of the view lies inside a run.
            check(&index, 3 * SEGMENT - 1234, step);
        }
        assert_eq!(index.merge_once(1).unwrap(), merges);
    }
    assert_eq!(disk.paths().len(), 2);
    for path in disk.paths() {
        let report = check_run(&path, &disk.read_file(&path)).unwrap();
        assert_eq!(report.tags, steps.len() as u64);
    }
}

#[test]
fn a_selective_tag_makes_a_query_fast() {
    let disk = SimDisk::new();
    let index = build(&disk, 4, &[1, 2, 3, 10_007]);
    index.merge_once(1).unwrap();
    let tag = |step: u64| format!("every {step}").into_bytes();
    let query = Query {
        all: vec![vec![tag(1)], vec![tag(3), tag(2)], vec![tag(10_007)]],
    };
    let view = index.view(1, 4 * SEGMENT + 1);
    let reads = disk.steps();
    let found = collect_query(&view, &query, Direction::Forward, 1).unwrap();
    let want = (1..=4 * SEGMENT / 10_007).map(|it| it * 10_007);
    let want: Vec<u64> = want.filter(|id| id % 2 == 0 || id % 3 == 0).collect();
    assert_eq!(found, want);
    let mut down = collect_query(&view, &query, Direction::Backward, u64::MAX).unwrap();
    down.reverse();
    assert_eq!(down, want);
    assert!(disk.steps() - reads <= 3, "opening the run is all there is");
}

#[test]
fn expired_ids_are_left_out_of_a_merge() {
    let disk = SimDisk::new();
    let index = build(&disk, 4, &[1, 3, 50_000]);
    let first = 2 * SEGMENT + 1;
    index.merge_once(first).unwrap();
    let view = index.view(first, 4 * SEGMENT + 1);
    let end = view.end_of(b"every 3").unwrap().unwrap();
    assert_eq!(end.count, 4 * SEGMENT / 3);
    assert_eq!(view.end_of(b"every 50000").unwrap().unwrap().count, 2);
    let up = collect(&view, b"every 3", Direction::Forward, 0).unwrap();
    assert_eq!(up.first(), Some(&(2 * SEGMENT + 3)));
    assert_eq!(view.id_at_rank(b"every 3", 0).unwrap(), None);
    let [path] = disk.paths().try_into().unwrap();
    let report = check_run(&path, &disk.read_file(&path)).unwrap();
    assert_eq!(report.ids, 2 * SEGMENT + 2 * SEGMENT / 3 + 1);
}

#[test]
fn a_view_answers_as_before_when_its_runs_have_been_merged_or_have_expired() {
    let disk = SimDisk::new();
    let segments = 8;
    drop(build(&disk, segments, &[1, 3]));
    let spans: Vec<Span> = (0..segments)
        .map(|segment| Span {
            first: 1 + segment * SEGMENT,
            end: 1 + (segment + 1) * SEGMENT,
        })
        .collect();
    // Nothing has been asked yet, so no run is open.
    let end = segments * SEGMENT + 1;
    let index = TagIndex::open(disk.root(), &spans, end).unwrap();
    let view = index.view(1, end);
    assert!(index.merge_once(1).unwrap());
    index.expire(5 * SEGMENT + 1).unwrap();
    let ids = collect(&view, b"every 3", Direction::Forward, 0).unwrap();
    assert_eq!(ids.len() as u64, segments * SEGMENT / 3);
}
