//! Consumers: reading moves nothing, acknowledging moves forward only, lag counts what is left.

use std::time::Duration;

use strandlog::app::consumers::{ConsumerDefinition, Seek, Start};
use strandlog::app::name::{ConsumerName, EventType, StreamName};
use strandlog::app::{Code, Details, Filter, Log};

use crate::{LONG, Rig, event, fill, id, ids, label, publish, tagged};

fn name(text: &str) -> ConsumerName<'_> {
    ConsumerName::new(text).unwrap()
}

fn of(filter: Filter) -> ConsumerDefinition {
    ConsumerDefinition {
        filter,
        start: Start::First,
    }
}

fn starting(start: Start) -> ConsumerDefinition {
    ConsumerDefinition {
        filter: Filter::default(),
        start,
    }
}

async fn define(log: &Log, consumer: &str, definition: ConsumerDefinition) -> bool {
    let defined = log.define_consumer(&name(consumer), definition).await;
    defined.unwrap().created
}

async fn given(log: &Log, consumer: &str, limit: Option<u64>) -> Vec<u64> {
    let consuming = log.consume(&name(consumer), limit, Duration::ZERO).await;
    ids(consuming.unwrap().reading).await
}

#[tokio::test]
async fn reading_has_no_side_effect_and_acknowledging_survives_a_restart() {
    let rig = Rig::new().await;
    fill(&rig.log, "a", 10).await;
    assert!(define(&rig.log, "c", ConsumerDefinition::default()).await);
    for _ in 0..2 {
        assert_eq!(given(&rig.log, "c", Some(3)).await, [1, 2, 3]);
    }
    assert_eq!(rig.log.acknowledge(&name("c"), id(3)).await.unwrap(), 3);
    assert_eq!(given(&rig.log, "c", Some(2)).await, [4, 5]);
    let rig = rig.reopened().await;
    assert_eq!(given(&rig.log, "c", Some(2)).await, [4, 5]);
}

#[tokio::test]
async fn an_ack_at_or_below_the_checkpoint_changes_nothing_and_one_beyond_the_end_is_refused() {
    let rig = Rig::new().await;
    fill(&rig.log, "a", 5).await;
    define(&rig.log, "c", ConsumerDefinition::default()).await;
    rig.log.acknowledge(&name("c"), id(4)).await.unwrap();
    for below in [1, 4] {
        assert_eq!(rig.log.acknowledge(&name("c"), id(below)).await.unwrap(), 4);
    }
    let refused = rig.log.acknowledge(&name("c"), id(6)).await.unwrap_err();
    assert_eq!(refused.code, Code::BeyondEnd);
    assert_eq!(refused.details, Details::LastId(5));
    assert_eq!(rig.log.consumer(&name("c")).await.unwrap().checkpoint, 4);
}

#[tokio::test]
async fn a_checkpoint_can_be_sought_anywhere_up_to_the_end() {
    let rig = Rig::new().await;
    fill(&rig.log, "a", 5).await;
    define(&rig.log, "c", ConsumerDefinition::default()).await;
    for (seek, place) in [(Seek::End, 5), (Seek::To(2), 2), (Seek::First, 0)] {
        assert_eq!(rig.log.seek(&name("c"), seek).await.unwrap(), place);
    }
    let refused = rig.log.seek(&name("c"), Seek::To(6)).await.unwrap_err();
    assert_eq!(refused.code, Code::BeyondEnd);
}

#[tokio::test]
async fn the_same_definition_again_is_the_same_consumer_and_another_is_refused() {
    let rig = Rig::new().await;
    fill(&rig.log, "a", 2).await;
    let end = || starting(Start::End);
    assert!(define(&rig.log, "c", end()).await);
    fill(&rig.log, "a", 2).await;
    assert!(!define(&rig.log, "c", end()).await);
    assert_eq!(given(&rig.log, "c", None).await, [3, 4]);
    let other = rig
        .log
        .define_consumer(&name("c"), ConsumerDefinition::default())
        .await
        .unwrap_err();
    assert_eq!(other.code, Code::ConsumerExists);
}

#[tokio::test]
async fn a_consumer_begins_where_its_definition_says() {
    let rig = Rig::new().await;
    fill(&rig.log, "a", 4).await;
    define(&rig.log, "first", starting(Start::First)).await;
    define(&rig.log, "end", starting(Start::End)).await;
    define(&rig.log, "third", starting(Start::At(id(3)))).await;
    assert_eq!(given(&rig.log, "first", None).await, [1, 2, 3, 4]);
    assert_eq!(given(&rig.log, "end", None).await, [0; 0]);
    assert_eq!(given(&rig.log, "third", None).await, [3, 4]);
    let beyond = rig
        .log
        .define_consumer(&name("beyond"), starting(Start::At(id(6))))
        .await
        .unwrap_err();
    assert_eq!(beyond.code, Code::BeyondEnd);
}

#[tokio::test]
async fn a_consumer_waits_for_what_its_filter_lets_through() {
    let rig = Rig::new().await;
    let filter = Filter {
        types: vec![EventType::new("wanted").unwrap()],
        ..Filter::default()
    };
    define(&rig.log, "c", of(filter)).await;
    let log = rig.log.clone();
    let waiting = tokio::spawn(async move {
        let consuming = log.consume(&name("c"), Some(10), LONG).await.unwrap();
        ids(consuming.reading).await
    });
    publish(&rig.log, [event("a", "other"), event("a", "wanted")])
        .await
        .unwrap();
    assert_eq!(waiting.await.unwrap(), [2]);
}

#[tokio::test]
async fn lag_counts_what_the_filter_lets_through_behind_the_checkpoint() {
    let rig = Rig::new().await;
    for _ in 0..10 {
        let events = [
            event("a", "t"),
            tagged("b", "t", &["x"]),
            tagged("a", "u", &["x"]),
        ];
        publish(&rig.log, events).await.unwrap();
        rig.clock.advance(Duration::from_secs(1));
    }
    let streams = |names: &[&'static str]| -> Vec<StreamName<'static>> {
        let names = names.iter();
        names.map(|name| StreamName::new(*name).unwrap()).collect()
    };
    let types = || vec![EventType::new("t").unwrap(), EventType::new("u").unwrap()];
    let tag = || vec![label("x")];
    let filters = [
        ("all", Filter::default(), 15),
        (
            "stream",
            Filter {
                streams: streams(&["a"]),
                ..Filter::default()
            },
            10,
        ),
        (
            "streams",
            Filter {
                streams: streams(&["b", "a", "a", "none"]),
                ..Filter::default()
            },
            15,
        ),
        (
            "pairs",
            Filter {
                streams: streams(&["a"]),
                types: types(),
                ..Filter::default()
            },
            10,
        ),
        (
            "tag",
            Filter {
                tags: tag(),
                ..Filter::default()
            },
            10,
        ),
        (
            "both",
            Filter {
                streams: streams(&["a"]),
                tags: tag(),
                ..Filter::default()
            },
            5,
        ),
        (
            "none",
            Filter {
                streams: streams(&["none"]),
                ..Filter::default()
            },
            0,
        ),
    ];
    for (consumer, filter, want) in filters {
        define(&rig.log, consumer, of(filter)).await;
        rig.log.acknowledge(&name(consumer), id(15)).await.unwrap();
        let lag = rig.log.consumer(&name(consumer)).await.unwrap().lag;
        assert_eq!((lag.events, lag.exact), (want, true), "{consumer}");
        // The oldest that is left was recorded five seconds after the first, ten seconds ago.
        let age = if want == 0 { 0 } else { 5 };
        assert_eq!(lag.age, Duration::from_secs(age), "{consumer}");
        rig.log.seek(&name(consumer), Seek::End).await.unwrap();
        let lag = rig.log.consumer(&name(consumer)).await.unwrap().lag;
        assert_eq!((lag.events, lag.age), (0, Duration::ZERO), "{consumer}");
    }
}

#[tokio::test]
async fn consumers_are_listed_and_removed() {
    let rig = Rig::new().await;
    for consumer in ["b", "a", "c"] {
        define(&rig.log, consumer, ConsumerDefinition::default()).await;
    }
    let first = rig.log.consumers(None, 2).await.unwrap();
    assert_eq!(first.names, ["a", "b"]);
    let second = rig.log.consumers(first.next.as_deref(), 2).await.unwrap();
    assert_eq!((second.names, second.next), (vec!["c".to_owned()], None));
    rig.log.remove_consumer(&name("b")).await.unwrap();
    let listed = rig.log.consumers(None, 10).await.unwrap();
    assert_eq!(listed.names, ["a", "c"]);
    for refused in [
        rig.log.remove_consumer(&name("b")).await.unwrap_err(),
        rig.log.consumer(&name("b")).await.unwrap_err(),
        rig.log.acknowledge(&name("b"), id(1)).await.unwrap_err(),
    ] {
        assert_eq!(refused.code, Code::NoSuchConsumer);
    }
}
