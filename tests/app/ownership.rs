//! Streams that belong to one producer, aggregates that are counted, keys that a door makes, and
//! events that are found by their id.

use std::sync::Arc;

use strandlog::app::event::Uid;
use strandlog::app::name::{AggregateId, EventUid, ProducerId};
use strandlog::app::publish::{AggregateStep, KeyOrigin, Keyed, NewEvent, Publish, Published};
use strandlog::app::range::Selection;
use strandlog::app::{Code, Data, Details, Event, Failure, Filter, Log};
use tokio::sync::Barrier;

use crate::{Rig, batch, event, id, key_for, keyed, publish, read, replayed, with_event};

/// A publish by a producer.
fn by<'a>(producer: &'a str, events: impl IntoIterator<Item = NewEvent<'a>>) -> Publish<'a> {
    Publish {
        producer: Some(ProducerId::new(producer).unwrap()),
        ..batch(events)
    }
}

/// An event whose payload says who published it.
fn from<'a>(producer: &'a str, stream: &'a str) -> NewEvent<'a> {
    NewEvent {
        data: Data::Json(producer.as_bytes()),
        ..event(stream, "t")
    }
}

#[track_caller]
fn assert_owned(outcome: Result<Published, Failure>) {
    let failure = outcome.unwrap_err();
    assert_eq!(failure.code, Code::StreamOwned, "{failure}");
    assert!(failure.changed_nothing());
}

/// The payloads of a stream in order, and whether each is of the owner.
async fn stored(log: &Log, stream: &str) -> Vec<(String, bool)> {
    let selection = Selection {
        filter: Filter {
            streams: vec![strandlog::app::name::StreamName::new(stream.to_owned()).unwrap()],
            ..Filter::default()
        },
        ..Selection::default()
    };
    let mut reading = log.read(selection).await.unwrap();
    let mut stored = Vec::new();
    while let Some(records) = reading.next_page(1 << 20).await.unwrap() {
        for record in records.iter() {
            let record = record.unwrap();
            let event = Event::from_record(record).unwrap();
            let data = String::from_utf8(event.data.bytes().to_vec()).unwrap();
            stored.push((data, event.is_of_owner()));
        }
    }
    stored
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_two_producers_who_race_for_a_stream_one_owns_it_and_the_other_stores_nothing() {
    let rig = Rig::new().await;
    let producers = ["1", "2"];
    let mut wins = [0, 0];
    for round in 0..100 {
        let barrier = Arc::new(Barrier::new(2));
        let racers: Vec<_> = producers
            .into_iter()
            .map(|producer| {
                let (log, barrier) = (rig.log.clone(), Arc::clone(&barrier));
                tokio::spawn(async move {
                    let stream = format!("s{round}");
                    barrier.wait().await;
                    let events = [from(producer, &stream), from(producer, &stream)];
                    log.publish(by(producer, events)).await
                })
            })
            .collect();
        let mut owner = None;
        for (racer, index) in racers.into_iter().zip(0..) {
            match racer.await.unwrap() {
                Ok(_) => assert_eq!(owner.replace(index), None, "both own s{round}"),
                refused => assert_owned(refused),
            }
        }
        let owner = owner.expect("one of them owns it");
        wins[owner] += 1;
        let stream = format!("s{round}");
        let of_owner = (producers[owner].to_owned(), true);
        assert_eq!(
            stored(&rig.log, &stream).await,
            [of_owner.clone(), of_owner]
        );
        let loser = producers[1 - owner];
        assert_owned(rig.log.publish(by(loser, [from(loser, &stream)])).await);
    }
    assert_eq!(wins[0] + wins[1], 100);
    assert_eq!(rig.log.last_id(), 200);
}

#[tokio::test]
async fn nobody_else_writes_to_an_owned_stream_through_any_door_after_a_restart_too() {
    let mut rig = Rig::new().await;
    rig.log.publish(by("p", [from("1", "s")])).await.unwrap();
    for round in 0..2 {
        assert_owned(rig.log.publish(by("q", [from("2", "s")])).await);
        assert_owned(publish(&rig.log, [event("s", "t")]).await);
        assert_owned(publish(&rig.log, [event("free", "t"), event("s", "t")]).await);
        let mixed = [from("2", "new"), from("2", "s")];
        assert_owned(rig.log.publish(by("q", mixed)).await);
        assert!(stored(&rig.log, "new").await.is_empty());
        publish(&rig.log, [event("free", "t")]).await.unwrap();
        rig.log.publish(by("p", [from("1", "s")])).await.unwrap();
        assert_eq!(stored(&rig.log, "s").await.len(), 2 + round);
        rig = rig.reopened().await;
    }
    // What was refused has claimed nothing.
    rig.log.publish(by("r", [from("3", "new")])).await.unwrap();
    let owned = rig.log.owned_streams(10).await.unwrap();
    let owned: Vec<(&str, &str)> = owned
        .iter()
        .map(|(s, p)| (s.as_str(), p.as_str()))
        .collect();
    assert_eq!(owned, [("new", "r"), ("s", "p")]);
}

#[tokio::test]
async fn a_stream_with_events_of_others_can_be_claimed_and_repeats_are_still_answered() {
    let mut rig = Rig::new().await;
    let first = || Publish {
        key: Some(key_for("request", "body")),
        ..batch([event("s", "t")])
    };
    publish(&rig.log, [keyed("s", "k", "1")]).await.unwrap();
    rig.log.publish(first()).await.unwrap();
    rig.log.publish(by("p", [from("2", "s")])).await.unwrap();
    for _ in 0..2 {
        let again = publish(&rig.log, [keyed("s", "k", "1")]).await.unwrap();
        assert_eq!(replayed(&again), [true]);
        assert!(rig.log.publish(first()).await.unwrap().replayed);
        let other = publish(&rig.log, [keyed("s", "k", "other")]).await;
        assert_eq!(other.unwrap_err().code, Code::KeyReused);
        // A repeat beside something new: the new part is refused, so nothing is stored.
        let both = [keyed("s", "k", "1"), keyed("s", "l", "1")];
        assert_owned(publish(&rig.log, both).await);
        rig = rig.reopened().await;
    }
    let stored = stored(&rig.log, "s").await;
    let of_owner: Vec<bool> = stored.iter().map(|(_, of_owner)| *of_owner).collect();
    assert_eq!(of_owner, [false, false, true]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn behind_the_first_event_of_an_owner_there_is_none_of_anybody_else() {
    let rig = Rig::new().await;
    for round in 0..50 {
        let barrier = Arc::new(Barrier::new(3));
        let plain: Vec<_> = (0..2)
            .map(|_| {
                let (log, barrier) = (rig.log.clone(), Arc::clone(&barrier));
                tokio::spawn(async move {
                    let stream = format!("s{round}");
                    barrier.wait().await;
                    let mut stored = 0;
                    while publish(&log, [from("0", &stream)]).await.is_ok() {
                        stored += 1;
                    }
                    stored
                })
            })
            .collect();
        let stream = format!("s{round}");
        barrier.wait().await;
        rig.log
            .publish(by("p", [from("1", &stream)]))
            .await
            .unwrap();
        let mut others = 0;
        for plain in plain {
            others += plain.await.unwrap();
        }
        let stored = stored(&rig.log, &stream).await;
        assert_eq!(stored.len(), others + 1);
        assert_eq!(stored.last(), Some(&("1".to_owned(), true)));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_owner_may_publish_from_many_places_at_once() {
    let rig = Rig::new().await;
    let publishes: Vec<_> = (0..50)
        .map(|_| {
            let log = rig.log.clone();
            tokio::spawn(async move { log.publish(by("p", [from("1", "s")])).await })
        })
        .collect();
    for publish in publishes {
        publish.await.unwrap().unwrap();
    }
    assert_eq!(stored(&rig.log, "s").await.len(), 50);
}

fn of_aggregate<'a>(stream: &'a str, aggregate: &'a str, sequence: u64) -> NewEvent<'a> {
    NewEvent {
        aggregate: Some(AggregateStep {
            id: AggregateId::new(aggregate).unwrap(),
            sequence,
        }),
        ..event(stream, "t")
    }
}

#[tokio::test]
async fn aggregates_are_counted_for_themselves_and_without_gaps() {
    let rig = Rig::new().await;
    // A stream of the same name counts otherwise.
    publish(&rig.log, [event("a", "t"), event("a", "t")])
        .await
        .unwrap();
    let batch = [
        of_aggregate("a", "a", 0),
        of_aggregate("b", "b", 0),
        of_aggregate("a", "a", 1),
        of_aggregate("other", "a", 2),
    ];
    publish(&rig.log, batch).await.unwrap();
    for (sequences, given, next, index) in [
        (vec![2], 2, 3, 0),
        (vec![4], 4, 3, 0),
        (vec![3, 5], 5, 4, 1),
        (vec![3, 3], 3, 4, 1),
    ] {
        let events = sequences.iter().map(|n| of_aggregate("a", "a", *n));
        let refused = publish(&rig.log, events).await.unwrap_err();
        assert_eq!(refused.code, Code::AggregateSequence);
        assert_eq!(refused.details, Details::Aggregate { given, next });
        assert_eq!(refused.index, Some(index), "{sequences:?}");
    }
    assert_eq!(rig.log.last_id(), 6);

    let rig = rig.reopened().await;
    let a = AggregateId::new("a").unwrap();
    assert_eq!(rig.log.aggregate_count(&a).await, Ok(3));
    for (sequence, at) in [(0, Some(3)), (1, Some(5)), (2, Some(6)), (3, None)] {
        let found = rig.log.at_aggregate_sequence(&a, sequence).await.unwrap();
        assert_eq!(found.map(strandlog::store::EventId::get), at);
    }
    assert_eq!(read(&rig.log, Log::of_aggregate(a)).await, [3, 5, 6]);
    with_event(&rig.log, 6, |event| {
        assert_eq!(event.aggregate(), Some(("a", 2)));
        assert_eq!(event.sequence, 0);
    })
    .await;
    publish(&rig.log, [of_aggregate("a", "a", 3)])
        .await
        .unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_fifty_who_publish_the_same_step_exactly_one_wins() {
    let mut rig = Rig::new().await;
    for round in 0..20 {
        let racers: Vec<_> = (0..50)
            .map(|_| {
                let log = rig.log.clone();
                tokio::spawn(async move { publish(&log, [of_aggregate("a", "a", round)]).await })
            })
            .collect();
        let mut won = 0;
        for racer in racers {
            match racer.await.unwrap() {
                Ok(_) => won += 1,
                Err(refused) => {
                    let next = Details::Aggregate {
                        given: round,
                        next: round + 1,
                    };
                    assert_eq!(refused.details, next);
                }
            }
        }
        assert_eq!(won, 1, "round {round}");
        if round == 10 {
            rig = rig.reopened().await;
        }
    }
    assert_eq!(rig.log.last_id(), 20);
}

#[tokio::test]
async fn keys_that_a_door_makes_are_not_those_that_publishers_give() {
    let mut rig = Rig::new().await;
    let derived = |content: &'static str| NewEvent {
        key: Some(Keyed {
            origin: KeyOrigin::Derived,
            ..key_for("k", content)
        }),
        ..keyed("s", "k", content)
    };
    let both = [keyed("s", "k", "1"), derived("2")];
    let first = publish(&rig.log, both.clone()).await.unwrap();
    assert_eq!(replayed(&first), [false, false]);
    for _ in 0..2 {
        let again = publish(&rig.log, both.clone()).await.unwrap();
        assert_eq!(replayed(&again), [true, true]);
        assert_eq!(again.events[1].id, id(2));
        let reused = publish(&rig.log, [derived("1")]).await.unwrap_err();
        assert_eq!(reused.code, Code::KeyReused);
        rig = rig.reopened().await;
    }
    assert_eq!(rig.log.last_id(), 2);
}

#[tokio::test]
async fn an_event_is_found_by_its_id_if_it_was_to_be() {
    let rig = Rig::new().await;
    let uuid = "2480b859-e08a-4414-9c7d-003bc1a4b555";
    let named = |uid: &'static str, findable_by_uid| NewEvent {
        uid: Some(EventUid::new(uid).unwrap()),
        findable_by_uid,
        ..event("s", "t")
    };
    let events = [
        named(uuid, true),
        named("not a uuid", true),
        named("hidden", false),
        named(uuid, true),
        event("s", "t"),
    ];
    publish(&rig.log, events).await.unwrap();
    let rig = rig.reopened().await;
    for (uid, at) in [
        // The last one, if there are two.
        (uuid, Some(4)),
        ("not a uuid", Some(2)),
        ("hidden", None),
        ("nobody", None),
        ("2480B859-E08A-4414-9C7D-003BC1A4B555", None),
    ] {
        let found = rig.log.find_by_uid(Uid::of(uid)).await.unwrap();
        assert_eq!(found.map(strandlog::store::EventId::get), at, "{uid}");
    }
}
