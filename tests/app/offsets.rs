//! Offsets: durable, moved by one of many at a time, listed, and kept in a log that does not grow.

use std::collections::BTreeMap;

use strandlog::app::name::{EventType, StreamName};
use strandlog::app::offsets::{Moved, Offset, OffsetKey, OffsetMove};
use strandlog::app::range::Selection;
use strandlog::app::{App, Code, Failure, FailureKind, Log};
use strandlog::clock::HandClock;
use strandlog::store::embedded::{EmbeddedOptions, EmbeddedStore};
use strandlog::store::{LogName, Retention, StoreLimits};
use strandlog_engine::storage::sim::{Left, SimDisk};
use uuid::Uuid;

use crate::settings::setting;
use crate::{NOON_US, Rig, id, options, read};

pub(crate) fn key(stream: &str, consumer: u8, event_type: &str) -> OffsetKey<'static> {
    OffsetKey {
        stream: StreamName::new(stream.to_owned()).unwrap(),
        consumer: Uuid::from_bytes([consumer; 16]),
        event_type: EventType::new(event_type.to_owned()).unwrap(),
    }
}

/// Moves an offset to `to`, from where it is if that is `from`; where it is otherwise.
async fn move_from(app: &App, key: &OffsetKey<'_>, from: u64, to: u64) -> Result<(), u64> {
    let kept = app.offset(key).await.unwrap();
    let at = kept.map_or(0, |offset| offset.count);
    if at != from {
        return Err(at);
    }
    match moved(app, key, kept, to).await.unwrap() {
        Moved::Done(_) => Ok(()),
        Moved::Elsewhere(now) => Err(now.map_or(0, |offset| offset.count)),
    }
}

async fn moved(
    app: &App,
    key: &OffsetKey<'_>,
    from: Option<Offset>,
    to: u64,
) -> Result<Moved, Failure> {
    let step = OffsetMove {
        from,
        to,
        last: None,
    };
    app.move_offset(key, step).await
}

/// Small segments, so that a few thousand moves go over several.
pub(crate) fn small(clock: &HandClock) -> EmbeddedOptions {
    let of_rig = options(clock);
    EmbeddedOptions {
        limits: StoreLimits {
            system_segment_len: 64 << 10,
            ..of_rig.limits
        },
        ..of_rig
    }
}

async fn opened(disk: &SimDisk) -> App {
    open_with(disk, small).await
}

async fn open_with(disk: &SimDisk, options: fn(&HandClock) -> EmbeddedOptions) -> App {
    let clock = HandClock::at(NOON_US);
    let store = EmbeddedStore::open_on(&disk.root(), options(&clock)).unwrap();
    crate::open(&store, &clock).await
}

async fn place(app: &App, key: &OffsetKey<'_>) -> Option<u64> {
    app.offset(key).await.unwrap().map(|offset| offset.count)
}

async fn log_of(app: &App) -> Log {
    app.own_log(LogName::offsets()).await.unwrap()
}

#[tokio::test]
async fn an_offset_moves_from_where_it_is_and_is_there_after_a_restart() {
    let rig = Rig::new().await;
    let (a, b) = (key("s", 1, "t"), key("s", 2, "t"));
    assert_eq!(rig.app.offset(&a).await.unwrap(), None);
    let first = OffsetMove {
        from: None,
        to: 1,
        last: Some(id(7)),
    };
    let Moved::Done(one) = rig.app.move_offset(&a, first).await.unwrap() else {
        panic!("it was nowhere");
    };
    // Whoever has not seen that it moved is told where it is, even if it would go the same way.
    let Moved::Elsewhere(now) = rig.app.move_offset(&a, first).await.unwrap() else {
        panic!("it was moved already");
    };
    assert_eq!(now, Some(one));
    let rig = rig.reopened().await;
    let kept = rig.app.offset(&a).await.unwrap();
    assert_eq!(kept, Some(one));
    assert_eq!(
        (one.count, one.last, one.moved_at_us),
        (1, Some(id(7)), NOON_US)
    );
    assert_eq!(rig.app.offset(&b).await.unwrap(), None);
    assert!(matches!(
        moved(&rig.app, &b, kept, 2).await,
        Ok(Moved::Elsewhere(None))
    ));
    assert_eq!(move_from(&rig.app, &a, 1, 0).await, Ok(()));
    assert_eq!(place(&rig.app, &a).await, Some(0));
}

#[tokio::test]
async fn names_that_run_together_are_different_offsets() {
    let rig = Rig::new().await;
    let keys = [
        key("ab", 1, "c"),
        key("a", 1, "bc"),
        key("a", 1, "b"),
        key("a", 2, "b"),
        key("a ", 1, "b"),
    ];
    for (key, to) in keys.iter().zip(1..) {
        assert_eq!(move_from(&rig.app, key, 0, to).await, Ok(()));
    }
    for (key, at) in keys.iter().zip(1..) {
        assert_eq!(place(&rig.app, key).await, Some(at), "{key:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_many_moves_from_one_place_exactly_one_is_done() {
    let rig = Rig::new().await;
    for round in 0..20 {
        let seen = rig.app.offset(&key("s", 1, "t")).await.unwrap();
        let moves: Vec<_> = (0..50)
            .map(|_| {
                let app = rig.app.clone();
                tokio::spawn(async move { moved(&app, &key("s", 1, "t"), seen, round + 1).await })
            })
            .collect();
        let mut done = 0;
        for moved in moves {
            match moved.await.unwrap().unwrap() {
                Moved::Done(_) => done += 1,
                Moved::Elsewhere(now) => assert_eq!(now.unwrap().count, round + 1),
            }
        }
        assert_eq!(done, 1, "round {round}");
    }
    let rig = rig.reopened().await;
    assert_eq!(place(&rig.app, &key("s", 1, "t")).await, Some(20));
}

#[tokio::test]
async fn the_offsets_of_a_stream_are_listed_page_by_page() {
    let rig = Rig::new().await;
    assert_eq!(rig.app.offsets(None, None, 10).await, Ok(Vec::new()));
    let mut keys = Vec::new();
    for stream in ["a", "ab", "b"] {
        for consumer in 0..3 {
            for event_type in ["t", "u"] {
                keys.push(key(stream, consumer, event_type));
            }
        }
    }
    for key in keys.iter().rev() {
        move_from(&rig.app, key, 0, 1).await.unwrap();
    }
    let rig = rig.reopened().await;
    let mut listed = Vec::new();
    loop {
        let after = listed.last();
        let page = rig.app.offsets(None, after, 5).await.unwrap();
        if page.is_empty() {
            break;
        }
        listed.extend(page.into_iter().map(|(key, _)| key));
    }
    assert_eq!(listed, keys);
    let stream = StreamName::new("a").unwrap();
    let of_a = rig.app.offsets(Some(&stream), None, 100).await.unwrap();
    assert!(of_a.iter().map(|(key, _)| key).eq(&keys[..6]));
    assert!(of_a.iter().all(|(_, offset)| offset.count == 1));
}

/// Moves each of `count` offsets on, again and again, all of them at the same time, until each has
/// moved `moves` times or a move fails; where each was acknowledged to be.
async fn move_all(app: &App, count: u8, moves: u64) -> BTreeMap<u8, u64> {
    let movers: Vec<_> = (0..count)
        .map(|consumer| {
            let app = app.clone();
            tokio::spawn(async move {
                let key = key("s", consumer, "t");
                let mut offset = app.offset(&key).await.unwrap();
                for _ in 0..moves {
                    let at = offset.map_or(0, |offset| offset.count);
                    match moved(&app, &key, offset, at + 1).await {
                        Ok(Moved::Done(now)) => offset = Some(now),
                        Ok(Moved::Elsewhere(now)) => panic!("{now:?}, not {offset:?}"),
                        Err(_) => break,
                    }
                }
                (consumer, offset.map_or(0, |offset| offset.count))
            })
        })
        .collect();
    let mut places = BTreeMap::new();
    for mover in movers {
        let (consumer, at) = mover.await.unwrap();
        places.insert(consumer, at);
    }
    places
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn thousands_of_moves_of_ten_offsets_leave_a_small_log_and_every_place() {
    // So many that they would not be kept if the log only grew.
    let moves = setting("STRANDLOG_TEST_MOVES");
    // Segments as in a server; a disk whose syncs cost nothing.
    let disk = SimDisk::new();
    let app = open_with(&disk, options).await;
    // One that moved long ago stays, too.
    move_from(&app, &key("old", 9, "t"), 0, 1).await.unwrap();
    let places = move_all(&app, 10, moves).await;
    assert!(places.values().all(|at| *at == moves));

    let state = log_of(&app).await.describe().state;
    assert!(state.end.get() > 10 * moves);
    let kept = state.end.get() - state.first.get();
    assert!(kept < 30_000, "{kept} records are left");
    assert!(state.bytes <= 6 << 20, "{} bytes are left", state.bytes);
    assert_eq!(state.retention, Retention::default());

    app.close().await;
    let app = open_with(&disk.restart(), options).await;
    for consumer in 0..10 {
        assert_eq!(place(&app, &key("s", consumer, "t")).await, Some(moves));
    }
    let old = app.offset(&key("old", 9, "t")).await.unwrap().unwrap();
    assert_eq!((old.count, old.moved_at_us), (1, NOON_US));
    let listed = app.offsets(None, None, 100).await.unwrap();
    assert_eq!(listed.len(), 11);
    assert_eq!(
        move_from(&app, &key("s", 0, "t"), moves, moves + 1).await,
        Ok(())
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn offsets_that_stay_where_they_are_are_carried_along() {
    let disk = SimDisk::new();
    let app = opened(&disk).await;
    for number in 0..2_000_u64 {
        let mut key = key("still", 0, "t");
        key.consumer = Uuid::from_u128(u128::from(number));
        moved(&app, &key, None, number + 1).await.unwrap();
    }
    move_all(&app, 4, 3_000).await;
    assert!(log_of(&app).await.describe().state.first.get() > 2_000);
    app.close().await;
    let app = opened(&disk.restart()).await;
    for number in 0..2_000_u64 {
        let mut key = key("still", 0, "t");
        key.consumer = Uuid::from_u128(u128::from(number));
        assert_eq!(place(&app, &key).await, Some(number + 1));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_acknowledged_survives_a_power_cut_while_the_log_is_swept() {
    let calm = SimDisk::with_seed(1);
    let app = opened(&calm).await;
    let moves = 3_000;
    move_all(&app, 4, moves).await;
    app.close().await;
    let steps = calm.steps();
    assert!(log_of(&app).await.describe().state.first.get() > 1, "swept");
    for cut in 1..=6 {
        let disk = SimDisk::with_seed(cut);
        // The later half, in which the front is removed.
        disk.crash_at(steps / 2 + steps / 2 * cut / 7);
        let app = opened(&disk).await;
        let acknowledged = move_all(&app, 4, moves).await;
        drop(app);
        let app = opened(&disk.after_crash(Left::Random(cut))).await;
        for (consumer, at) in acknowledged {
            let kept = place(&app, &key("s", consumer, "t")).await.unwrap_or(0);
            // The move under way may have been stored.
            assert!(kept == at || kept == at + 1, "cut {cut}: {kept}, not {at}");
        }
        move_all(&app, 4, 10).await;
    }
}

#[tokio::test]
async fn a_full_disk_refuses_moves_and_takes_them_again_when_there_is_room() {
    let disk = SimDisk::new();
    let app = opened(&disk).await;
    let key = key("s", 1, "t");
    move_from(&app, &key, 0, 1).await.unwrap();
    disk.capacity(disk.used());
    let (at, refused) = loop {
        let kept = app.offset(&key).await.unwrap();
        let at = kept.map_or(0, |offset| offset.count);
        if let Err(refused) = moved(&app, &key, kept, at + 1).await {
            break (at, refused);
        }
    };
    assert_eq!(refused.code, Code::DiskFull);
    assert!(refused.changed_nothing());
    assert_eq!(place(&app, &key).await, Some(at));
    disk.capacity(u64::MAX);
    assert_eq!(move_from(&app, &key, at, at + 1).await, Ok(()));
}

#[tokio::test]
async fn a_stopped_server_moves_nothing_and_places_stay_readable() {
    let rig = Rig::new().await;
    let key = key("s", 1, "t");
    move_from(&rig.app, &key, 0, 1).await.unwrap();
    rig.app.close().await;
    let kept = rig.app.offset(&key).await.unwrap();
    let refused = moved(&rig.app, &key, kept, 2).await.unwrap_err();
    assert_eq!(refused.kind(), FailureKind::Failed);
    assert_eq!(place(&rig.app, &key).await, Some(1));
    // The events of the product are elsewhere.
    assert!(read(&rig.log, Selection::default()).await.is_empty());
}
