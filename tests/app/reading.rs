//! Reading: ranges in either order, by stream, type, tag and time; waiting; following; raw.

use std::time::Duration;

use strandlog::app::name::{EventType, StreamName};
use strandlog::app::range::{Followed, Following, Selection};
use strandlog::app::{Code, Details, Filter};
use strandlog::store::{Direction, Retention, Store};

use crate::{LONG, NOON_US, Rig, event, fill, id, ids, label, publish, read, tagged};

fn streams(names: &[&'static str]) -> Filter {
    Filter {
        streams: names
            .iter()
            .map(|name| StreamName::new(*name).unwrap())
            .collect(),
        ..Filter::default()
    }
}

fn by(filter: Filter) -> Selection {
    Selection {
        filter,
        ..Selection::default()
    }
}

/// Six events: a/t, b/t, a/u, b/u, a/t, b/t, the even ones tagged `even`.
async fn six(rig: &Rig) {
    let events = [
        event("a", "t"),
        tagged("b", "t", &["even"]),
        event("a", "u"),
        tagged("b", "u", &["even"]),
        event("a", "t"),
        tagged("b", "t", &["even", "last"]),
    ];
    publish(&rig.log, events).await.unwrap();
}

#[tokio::test]
async fn bounds_are_inclusive_and_the_order_does_not_change_them() {
    let rig = Rig::new().await;
    six(&rig).await;
    let range = |direction| Selection {
        from: Some(id(2)),
        to: Some(id(4)),
        direction,
        ..Selection::default()
    };
    assert_eq!(read(&rig.log, range(Direction::Forward)).await, [2, 3, 4]);
    assert_eq!(read(&rig.log, range(Direction::Backward)).await, [4, 3, 2]);
    let after = Selection {
        after: Some(4),
        ..Selection::default()
    };
    assert_eq!(read(&rig.log, after).await, [5, 6]);
    for beyond in [Some(6), Some(7), Some(u64::MAX)] {
        let beyond = Selection {
            after: beyond,
            ..Selection::default()
        };
        assert_eq!(read(&rig.log, beyond).await, [0; 0]);
    }
}

#[tokio::test]
async fn a_filter_asks_for_any_stream_any_type_and_all_tags() {
    let rig = Rig::new().await;
    six(&rig).await;
    let types = |names: &[&'static str]| -> Vec<EventType<'static>> {
        let names = names.iter();
        names.map(|name| EventType::new(*name).unwrap()).collect()
    };
    let check = |filter: Filter, want: &'static [u64]| {
        let log = rig.log.clone();
        async move {
            assert_eq!(read(&log, by(filter.clone())).await, want);
            let backward = Selection {
                direction: Direction::Backward,
                ..by(filter)
            };
            let turned: Vec<u64> = want.iter().rev().copied().collect();
            assert_eq!(read(&log, backward).await, turned);
        }
    };
    check(streams(&["a"]), &[1, 3, 5]).await;
    check(streams(&["a", "b"]), &[1, 2, 3, 4, 5, 6]).await;
    check(streams(&["c"]), &[]).await;
    let pair = Filter {
        types: types(&["t"]),
        ..streams(&["b"])
    };
    check(pair, &[2, 6]).await;
    let even = Filter {
        tags: vec![label("even")],
        types: types(&["t"]),
        ..Filter::default()
    };
    check(even, &[2, 6]).await;
    let both = Filter {
        tags: vec![label("even"), label("last")],
        ..Filter::default()
    };
    check(both, &[6]).await;
}

#[tokio::test]
async fn times_bound_a_range_from_inclusive_to_exclusive() {
    let rig = Rig::new().await;
    for _ in 0..4 {
        publish(&rig.log, [event("a", "t")]).await.unwrap();
        rig.clock.advance(Duration::from_secs(1));
    }
    let between = Selection {
        since_us: Some(NOON_US + 1_000_000),
        until_us: Some(NOON_US + 3_000_000),
        ..Selection::default()
    };
    assert_eq!(read(&rig.log, between).await, [2, 3]);
}

#[tokio::test]
async fn pages_go_on_where_the_last_one_ended_in_either_order() {
    let rig = Rig::new().await;
    fill(&rig.log, "a", 25).await;
    for direction in [Direction::Forward, Direction::Backward] {
        for filter in [Filter::default(), streams(&["a"])] {
            let mut selection = Selection {
                limit: Some(10),
                direction,
                filter,
                ..Selection::default()
            };
            let mut seen = Vec::new();
            loop {
                let mut reading = rig.log.read(selection.clone()).await.unwrap();
                while let Some(records) = reading.next_page(1 << 10).await.unwrap() {
                    seen.extend(records.iter().map(|record| record.unwrap().id.get()));
                }
                let Some(next) = reading.next_id().await.unwrap() else {
                    break;
                };
                match direction {
                    Direction::Forward => selection.from = Some(next),
                    Direction::Backward => selection.to = Some(next),
                }
            }
            let mut want: Vec<u64> = (1..=25).collect();
            if direction == Direction::Backward {
                want.reverse();
            }
            assert_eq!(seen, want, "{selection:?}");
        }
    }
}

#[tokio::test]
async fn a_read_ends_at_the_end_as_of_its_begin() {
    let rig = Rig::new().await;
    fill(&rig.log, "a", 3).await;
    let reading = rig.log.read(Selection::default()).await.unwrap();
    fill(&rig.log, "a", 3).await;
    assert_eq!(reading.last_id(), 3);
    assert_eq!(ids(reading).await, [1, 2, 3]);
}

#[tokio::test]
async fn only_a_range_whose_ends_are_named_and_durable_is_settled() {
    let rig = Rig::new().await;
    fill(&rig.log, "a", 3).await;
    for (from, to, settled) in [
        (Some(1), Some(3), true),
        (Some(1), Some(4), false),
        (Some(1), None, false),
        (None, Some(3), false),
    ] {
        let selection = Selection {
            from: from.map(id),
            to: to.map(id),
            ..Selection::default()
        };
        let reading = rig.log.read(selection).await.unwrap();
        assert_eq!(reading.is_settled(), settled, "{from:?} {to:?}");
    }
}

#[tokio::test]
async fn a_range_that_begins_behind_its_end_is_refused() {
    let rig = Rig::new().await;
    let backwards = Selection {
        from: Some(id(3)),
        to: Some(id(2)),
        ..Selection::default()
    };
    let refused = rig.log.read(backwards).await.unwrap_err();
    assert_eq!(refused.code, Code::InvalidRange);
}

#[tokio::test]
async fn an_event_that_is_not_there_yet_is_not_found() {
    let rig = Rig::new().await;
    let refused = rig.log.event(id(1)).await.unwrap_err();
    assert_eq!(refused.code, Code::NoSuchEvent);
}

#[tokio::test]
async fn a_wait_ends_with_the_first_event_that_matches() {
    let rig = Rig::new().await;
    fill(&rig.log, "a", 2).await;
    let log = rig.log.clone();
    let waiting = tokio::spawn(async move {
        let reading = log.read_waiting(by(streams(&["b"])), LONG).await.unwrap();
        ids(reading).await
    });
    fill(&rig.log, "a", 2).await;
    publish(&rig.log, [event("b", "t")]).await.unwrap();
    assert_eq!(waiting.await.unwrap(), [5]);
}

#[tokio::test]
async fn a_wait_for_an_id_still_to_come_ends_when_it_is_there() {
    let rig = Rig::new().await;
    let log = rig.log.clone();
    let waiting = tokio::spawn(async move {
        let later = Selection {
            from: Some(id(3)),
            ..Selection::default()
        };
        ids(log.read_waiting(later, LONG).await.unwrap()).await
    });
    for _ in 0..3 {
        publish(&rig.log, [event("a", "t")]).await.unwrap();
    }
    assert_eq!(waiting.await.unwrap(), [3]);
}

#[tokio::test]
async fn a_wait_that_runs_out_gives_an_empty_read() {
    let rig = Rig::new().await;
    fill(&rig.log, "a", 1).await;
    let log = rig.log.clone();
    let waiting = tokio::spawn(async move {
        let reading = log.read_waiting(by(streams(&["b"])), LONG).await.unwrap();
        (reading.last_id(), ids(reading).await)
    });
    // However the two tasks take turns, the deadline comes.
    while !waiting.is_finished() {
        rig.clock.advance(LONG);
        tokio::task::yield_now().await;
    }
    assert_eq!(waiting.await.unwrap(), (1, vec![]));
}

#[tokio::test]
async fn stopping_ends_waits_and_following_reads() {
    let rig = Rig::new().await;
    let log = rig.log.clone();
    let waiting = tokio::spawn(async move {
        let reading = log.read_waiting(Selection::default(), LONG).await.unwrap();
        ids(reading).await
    });
    let mut following = rig.log.follow(Selection::default()).await.unwrap();
    let following = tokio::spawn(async move { following.next(1 << 10, LONG).await.unwrap() });
    rig.app.stop();
    assert_eq!(waiting.await.unwrap(), [0; 0]);
    assert!(matches!(following.await.unwrap(), Followed::Ended));
}

#[tokio::test]
async fn a_wait_on_a_log_that_takes_no_more_writes_is_a_wait_and_not_a_spin() {
    let rig = Rig::new().await;
    rig.store.close().await;
    let mut following = rig.log.follow(Selection::default()).await.unwrap();
    let waiting = tokio::spawn(async move { following.next(1 << 10, LONG).await.unwrap() });
    tokio::task::yield_now().await;
    assert!(!waiting.is_finished());
    rig.clock.advance(LONG);
    assert!(matches!(waiting.await.unwrap(), Followed::Idle));
}

async fn next_ids(following: &mut Following) -> Vec<u64> {
    match following.next(256, LONG).await.unwrap() {
        Followed::Page(records) => records
            .iter()
            .map(|record| record.unwrap().id.get())
            .collect(),
        Followed::Idle | Followed::Ended => Vec::new(),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn following_gives_what_was_there_and_what_comes_without_gap_or_duplicate() {
    let rig = Rig::new().await;
    fill(&rig.log, "a", 150).await;
    let mut all = rig.log.follow(Selection::default()).await.unwrap();
    let mut some = rig.log.follow(by(streams(&["b"]))).await.unwrap();
    let log = rig.log.clone();
    let publisher = tokio::spawn(async move {
        for _ in 0..50 {
            publish(&log, [event("a", "t"), event("b", "t"), event("a", "t")])
                .await
                .unwrap();
        }
    });
    let mut seen = Vec::new();
    while seen.len() < 300 {
        seen.extend(next_ids(&mut all).await);
    }
    assert_eq!(seen, (1..=300).collect::<Vec<_>>());
    let mut seen = Vec::new();
    while seen.len() < 50 {
        seen.extend(next_ids(&mut some).await);
    }
    assert_eq!(seen, (0..50).map(|n| 152 + 3 * n).collect::<Vec<_>>());
    publisher.await.unwrap();
}

#[tokio::test]
async fn a_following_read_that_is_given_up_while_it_waits_loses_nothing() {
    let rig = Rig::new().await;
    let mut following = rig.log.follow(Selection::default()).await.unwrap();
    for number in 1..=5 {
        {
            let waiting = following.next(256, LONG);
            tokio::pin!(waiting);
            let early = std::future::poll_fn(|context| {
                std::task::Poll::Ready(waiting.as_mut().poll(context).is_ready())
            });
            assert!(!early.await);
        }
        publish(&rig.log, [event("a", "t")]).await.unwrap();
        assert_eq!(next_ids(&mut following).await, [number]);
    }
}

#[tokio::test]
async fn a_following_read_ends_at_its_limit_and_at_its_last_id() {
    let rig = Rig::new().await;
    fill(&rig.log, "a", 10).await;
    let limited = Selection {
        limit: Some(3),
        ..Selection::default()
    };
    let bounded = Selection {
        from: Some(id(2)),
        to: Some(id(4)),
        ..Selection::default()
    };
    for (selection, want) in [(limited, [1, 2, 3]), (bounded, [2, 3, 4])] {
        let mut following = rig.log.follow(selection).await.unwrap();
        let mut seen = Vec::new();
        while let Followed::Page(records) = following.next(1 << 20, LONG).await.unwrap() {
            seen.extend(records.iter().map(|record| record.unwrap().id.get()));
        }
        assert_eq!(seen, want);
    }
}

#[tokio::test]
async fn readers_below_the_first_id_are_told_so_and_the_others_begin_with_it() {
    let rig = Rig::new().await;
    let (_, is_new) = rig.app.put_log("short", None).await.unwrap();
    assert!(is_new);
    let log = rig.app.log("short").unwrap();
    fill(&log, "a", 2_000).await;
    let settings = strandlog::app::logs::LogSettings {
        retention: Some(Retention {
            records_max: Some(1),
            ..Retention::default()
        }),
    };
    rig.app.put_log("short", Some(settings)).await.unwrap();
    // Retention takes effect on its own; the condition is waited for.
    let first = tokio::time::timeout(LONG, async {
        loop {
            let state = log.describe().state;
            if state.segments == Some(1) {
                return state.first;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await
    .unwrap();

    let named = Selection {
        from: Some(id(1)),
        ..Selection::default()
    };
    let expired = log.read(named).await.unwrap_err();
    assert_eq!(expired.code, Code::Expired);
    assert_eq!(expired.details, Details::FirstId(first));
    let from_start = Selection {
        after: Some(0),
        ..Selection::default()
    };
    assert_eq!(log.read(from_start).await.unwrap_err().code, Code::Expired);
    assert_eq!(log.event(id(1)).await.unwrap_err().code, Code::Expired);
    for direction in [Direction::Forward, Direction::Backward] {
        let below = Selection {
            to: Some(id(1)),
            direction,
            ..Selection::default()
        };
        let expired = log.read(below).await.unwrap_err();
        assert_eq!(expired.details, Details::FirstId(first));
    }
    let all = read(&log, Selection::default()).await;
    assert_eq!(all.first().copied(), Some(first.get()));
    assert_eq!(all.last().copied(), Some(2_000));
    let stream = log.stream(&StreamName::new("a").unwrap()).await.unwrap();
    let kept = stream.first.unwrap();
    assert_eq!((kept.id, kept.sequence), (first, first.get() - 1));
    assert_eq!(stream.count, 2_000);
}

#[tokio::test]
async fn raw_records_come_in_pieces_that_begin_with_their_header() {
    let rig = Rig::new().await;
    fill(&rig.log, "a", 500).await;
    let some = Selection {
        from: Some(id(10)),
        limit: Some(400),
        ..Selection::default()
    };
    let mut reading = rig.log.read_raw(some).await.unwrap();
    assert_eq!(reading.ids(), id(10)..id(410));
    let mut len = 0;
    let mut begins_well = None;
    while let Some(slices) = reading.next_piece(16 << 10).await.unwrap() {
        let first = slices.first().unwrap();
        begins_well.get_or_insert(first.starts_with(b"STRANDRW"));
        len += slices.iter().map(bytes::Bytes::len).sum::<usize>();
    }
    assert_eq!(begins_well, Some(true));
    assert!(len > 400 * 64);
    let refused = rig.log.read_raw(by(streams(&["a"]))).await.unwrap_err();
    assert_eq!(refused.code, Code::InvalidRange);
}

#[tokio::test]
async fn streams_are_listed_by_prefix_in_pages_and_described() {
    let rig = Rig::new().await;
    let names = ["a", "order/1", "order/2", "order/3", "z"];
    publish(&rig.log, names.iter().map(|name| event(name, "t")))
        .await
        .unwrap();
    publish(&rig.log, [event("order/2", "t")]).await.unwrap();
    let first = rig.log.streams("order/", None, 2).await.unwrap();
    let listed: Vec<_> = first.streams.iter().map(|one| one.name.as_str()).collect();
    assert_eq!(listed, ["order/1", "order/2"]);
    assert_eq!(first.streams[1].last_sequence, 1);
    assert_eq!(first.streams[1].last_id, 6);
    assert_eq!(first.next.as_deref(), Some("order/2"));
    let second = rig
        .log
        .streams("order/", first.next.as_deref(), 2)
        .await
        .unwrap();
    assert_eq!(second.streams.len(), 1);
    assert_eq!(second.next, None);

    let name = StreamName::new("order/2").unwrap();
    let stream = rig.log.stream(&name).await.unwrap();
    assert_eq!((stream.count, stream.last_id), (2, 6));
    assert_eq!(rig.log.last_sequence(&name).await.unwrap(), Some(1));
    let missing = StreamName::new("order/9").unwrap();
    let refused = rig.log.stream(&missing).await.unwrap_err();
    assert_eq!(refused.code, Code::NoSuchStream);
    assert_eq!(rig.log.last_sequence(&missing).await.unwrap(), None);
}
