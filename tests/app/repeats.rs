//! Idempotency lasts as long as the data: a repeat answers like the first and stores nothing.

use strandlog::app::name::StreamName;
use strandlog::app::publish::{Expectation, ExpectedLast, NewEvent, Publish, Unless};
use strandlog::app::{Code, Filter};
use strandlog::store::Durability;

use crate::{Rig, batch, event, fill, key_for, keyed, places, publish, replayed};

fn request<'a>(key: &'a str, content: &str, request: Publish<'a>) -> Publish<'a> {
    Publish {
        key: Some(key_for(key, content)),
        ..request
    }
}

#[tokio::test]
async fn a_repeated_request_gets_the_first_answer_and_stores_nothing() {
    let mut rig = Rig::new().await;
    let three = || {
        let events = [event("a", "t"), event("b", "t"), event("a", "t")];
        request("key", "body", batch(events))
    };
    let first = rig.log.publish(three()).await.unwrap();
    assert!(!first.replayed);
    for restarts in 0..2 {
        let again = rig.log.publish(three()).await.unwrap();
        assert!(again.replayed);
        assert_eq!(again.events, first.events, "after {restarts} restarts");
        assert_eq!(again.last_sequence, first.last_sequence);
        assert_eq!(again.durable_id, 3);
        rig = rig.reopened().await;
    }
    assert_eq!(rig.log.last_id(), 3);
}

#[tokio::test]
async fn a_key_used_for_another_request_is_refused() {
    let rig = Rig::new().await;
    let one = || batch([event("a", "t")]);
    rig.log
        .publish(request("key", "body", one()))
        .await
        .unwrap();
    let refused = rig
        .log
        .publish(request("key", "other", one()))
        .await
        .unwrap_err();
    assert_eq!((refused.code, refused.index), (Code::KeyReused, None));
    assert_eq!(rig.log.last_id(), 1);
}

#[tokio::test]
async fn a_refused_request_does_not_use_up_its_key() {
    let rig = Rig::new().await;
    let expecting = |last| Publish {
        expectation: Some(Expectation {
            stream: StreamName::new("a").unwrap(),
            last,
        }),
        ..batch([event("a", "t")])
    };
    let wrong = expecting(ExpectedLast::Sequence(7));
    rig.log
        .publish(request("key", "1", wrong))
        .await
        .unwrap_err();
    let right = expecting(ExpectedLast::Empty);
    let stored = rig.log.publish(request("key", "2", right)).await.unwrap();
    assert!(!stored.replayed);
}

#[tokio::test]
async fn a_repeat_is_answered_even_if_its_expectation_does_not_hold_any_more() {
    let rig = Rig::new().await;
    let first = || Publish {
        expectation: Some(Expectation {
            stream: StreamName::new("a").unwrap(),
            last: ExpectedLast::Empty,
        }),
        ..batch([event("a", "t")])
    };
    rig.log.publish(request("key", "1", first())).await.unwrap();
    fill(&rig.log, "a", 3).await;
    let again = rig.log.publish(request("key", "1", first())).await.unwrap();
    assert!(again.replayed);
    assert_eq!(places(&again), [(1, 0)]);

    let own = || NewEvent {
        expected_sequence: Some(0),
        ..keyed("b", "own", "1")
    };
    publish(&rig.log, [own()]).await.unwrap();
    let again = publish(&rig.log, [own()]).await.unwrap();
    assert_eq!(replayed(&again), [true]);
}

#[tokio::test]
async fn a_repeat_is_answered_even_if_it_is_what_breaks_its_own_condition() {
    let rig = Rig::new().await;
    let unless = || Unless {
        filter: Filter {
            streams: vec![StreamName::new("a").unwrap()],
            ..Filter::default()
        },
        after: 0,
    };
    let by_request = || Publish {
        conditions: vec![unless()],
        ..request("key", "1", batch([event("a", "t")]))
    };
    rig.log.publish(by_request()).await.unwrap();
    assert!(rig.log.publish(by_request()).await.unwrap().replayed);

    let by_event = |content| Publish {
        conditions: vec![unless()],
        ..batch([keyed("a", "own", content)])
    };
    let unmet = rig.log.publish(by_event("1")).await.unwrap_err();
    assert_eq!(unmet.code, Code::ConditionUnmet);
    publish(&rig.log, [keyed("a", "own", "1")]).await.unwrap();
    let again = rig.log.publish(by_event("1")).await.unwrap();
    assert_eq!(replayed(&again), [true]);
    assert_eq!(rig.log.last_id(), 2);
}

#[tokio::test]
async fn known_events_of_a_batch_are_answered_and_the_others_stored() {
    let rig = Rig::new().await;
    publish(&rig.log, [keyed("a", "1", "one"), keyed("a", "2", "two")])
        .await
        .unwrap();
    let mixed = publish(
        &rig.log,
        [
            keyed("a", "3", "three"),
            keyed("a", "2", "two"),
            event("a", "t"),
            keyed("a", "1", "one"),
        ],
    )
    .await
    .unwrap();
    assert_eq!(places(&mixed), [(3, 2), (2, 1), (4, 3), (1, 0)]);
    assert_eq!(replayed(&mixed), [false, true, false, true]);
    assert!(!mixed.replayed);
    assert_eq!((mixed.first_id.get(), mixed.last_id.get()), (1, 4));
    assert_eq!(mixed.last_sequence, 3);
    assert_eq!(rig.log.last_id(), 4);
}

#[tokio::test]
async fn a_key_used_for_another_event_refuses_the_whole_batch_and_names_the_index() {
    let rig = Rig::new().await;
    publish(&rig.log, [keyed("a", "1", "one")]).await.unwrap();
    let refused = publish(&rig.log, [keyed("a", "2", "two"), keyed("a", "1", "uno")])
        .await
        .unwrap_err();
    assert_eq!((refused.code, refused.index), (Code::KeyReused, Some(1)));
    assert_eq!(rig.log.last_id(), 1);
    let stored = publish(&rig.log, [keyed("a", "2", "two")]).await.unwrap();
    assert_eq!(replayed(&stored), [false]);
}

#[tokio::test]
async fn one_key_twice_in_a_batch_is_refused_at_the_second() {
    let rig = Rig::new().await;
    for second in ["one", "two"] {
        let refused = publish(&rig.log, [keyed("a", "1", "one"), keyed("a", "1", second)])
            .await
            .unwrap_err();
        assert_eq!((refused.code, refused.index), (Code::RepeatedKey, Some(1)));
    }
    assert_eq!(rig.log.last_id(), 0);
}

#[tokio::test]
async fn expectations_of_a_batch_are_judged_without_its_repeats() {
    let rig = Rig::new().await;
    publish(&rig.log, [keyed("a", "1", "one")]).await.unwrap();
    let rest = NewEvent {
        expected_sequence: Some(1),
        ..keyed("a", "2", "two")
    };
    let stored = publish(&rig.log, [keyed("a", "1", "one"), rest])
        .await
        .unwrap();
    assert_eq!(places(&stored), [(1, 0), (2, 1)]);

    // The stream does not stand where the batch as a whole expects it, so what is new is refused.
    let behind = Publish {
        expectation: Some(Expectation {
            stream: StreamName::new("a").unwrap(),
            last: ExpectedLast::Empty,
        }),
        ..batch([keyed("a", "1", "one"), keyed("a", "3", "three")])
    };
    let refused = rig.log.publish(behind).await.unwrap_err();
    assert_eq!(
        (refused.code, refused.index),
        (Code::SequenceMismatch, Some(1))
    );
}

#[tokio::test]
async fn a_repeated_request_finds_the_events_that_were_repeats_in_the_first_place() {
    let rig = Rig::new().await;
    publish(&rig.log, [keyed("a", "1", "one")]).await.unwrap();
    let mixed = || {
        let events = [event("b", "t"), keyed("a", "1", "one"), event("b", "t")];
        request("key", "body", batch(events))
    };
    let first = rig.log.publish(mixed()).await.unwrap();
    assert_eq!(places(&first), [(2, 0), (1, 0), (3, 1)]);
    let again = rig.log.publish(mixed()).await.unwrap();
    assert!(again.replayed);
    assert_eq!(again.events, first.events);
}

#[tokio::test]
async fn of_requests_with_one_key_at_the_same_time_one_stores_and_all_get_its_answer() {
    let rig = Rig::new().await;
    let publishers: Vec<_> = (0..16)
        .map(|_| {
            let log = rig.log.clone();
            tokio::spawn(async move {
                let events = [event("a", "t"), keyed("a", "own", "1")];
                log.publish(request("key", "body", batch(events))).await
            })
        })
        .collect();
    let mut stored = 0;
    for publisher in publishers {
        let published = publisher.await.unwrap().unwrap();
        assert_eq!(places(&published), [(1, 0), (2, 1)]);
        stored += usize::from(!published.replayed);
    }
    assert_eq!(stored, 1);
    assert_eq!(rig.log.last_id(), 2);
}

#[tokio::test]
async fn keys_of_requests_and_of_events_do_not_meet() {
    let rig = Rig::new().await;
    publish(&rig.log, [keyed("a", "key", "1")]).await.unwrap();
    let other = request("key", "2", batch([event("a", "t")]));
    assert!(!rig.log.publish(other).await.unwrap().replayed);
}

#[tokio::test]
async fn a_repeat_is_as_durable_as_it_asks_for() {
    let rig = Rig::new().await;
    let with = |durability| Publish {
        durability: Some(durability),
        ..request("key", "1", batch([event("a", "t")]))
    };
    rig.log.publish(with(Durability::Os)).await.unwrap();
    let again = rig.log.publish(with(Durability::Sync)).await.unwrap();
    assert!(again.replayed);
    assert_eq!(again.durable_id, 1);
}

#[tokio::test]
async fn a_large_batch_of_known_events_is_answered_in_order_from_several_segments() {
    let rig = Rig::new().await;
    let keys: Vec<String> = (0..1_000).map(|n| format!("key-{n}")).collect();
    for some in keys.chunks(100) {
        publish(&rig.log, some.iter().map(|key| keyed("a", key, key)))
            .await
            .unwrap();
    }
    // As long as a segment takes, across the ends of the first ones, and not in their order.
    let some = || keys.iter().skip(50).take(250).rev();
    let again = publish(&rig.log, some().map(|key| keyed("a", key, key)))
        .await
        .unwrap();
    assert!(again.replayed);
    let want: Vec<(u64, u64)> = (50..300).rev().map(|n| (n + 1, n)).collect();
    assert_eq!(places(&again), want);
    assert!(rig.log.describe().state.segments > Some(3));
}
