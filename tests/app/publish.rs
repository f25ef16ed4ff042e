//! A batch is all or nothing; expectations and conditions are judged where ids are given out.

use strandlog::app::name::StreamName;
use strandlog::app::publish::{Expectation, ExpectedLast, NewEvent, Publish, Unless};
use strandlog::app::range::Selection;
use strandlog::app::{Code, Details, FailureKind, Filter};
use strandlog::store::Durability;

use crate::{Rig, batch, event, id, label, places, publish, read, tagged};

fn expecting(sequence: u64, event: NewEvent<'_>) -> NewEvent<'_> {
    NewEvent {
        expected_sequence: Some(sequence),
        ..event
    }
}

fn at<'a>(stream: &'a str, last: ExpectedLast, request: Publish<'a>) -> Publish<'a> {
    Publish {
        expectation: Some(Expectation {
            stream: StreamName::new(stream).unwrap(),
            last,
        }),
        ..request
    }
}

#[tokio::test]
async fn ids_are_dense_and_sequences_count_within_a_stream() {
    let rig = Rig::new().await;
    let first = publish(
        &rig.log,
        [event("a", "t"), event("b", "t"), event("a", "u")],
    )
    .await
    .unwrap();
    assert_eq!(places(&first), [(1, 0), (2, 0), (3, 1)]);
    assert_eq!((first.first_id, first.last_id), (id(1), id(3)));
    assert_eq!(first.last_sequence, 1);
    assert_eq!(first.durable_id, 3);
    let second = publish(&rig.log, [event("b", "t")]).await.unwrap();
    assert_eq!(places(&second), [(4, 1)]);
}

#[tokio::test]
async fn an_event_gets_the_sequence_it_expects_or_nothing_is_stored() {
    let rig = Rig::new().await;
    publish(&rig.log, [event("a", "t")]).await.unwrap();
    let refused = publish(&rig.log, [event("b", "t"), expecting(3, event("a", "t"))])
        .await
        .unwrap_err();
    assert_eq!(refused.code, Code::SequenceMismatch);
    assert_eq!(refused.index, Some(1));
    let details = Details::Sequence {
        expected: 3,
        actual: Some(0),
    };
    assert_eq!(refused.details, details);
    assert!(refused.changed_nothing());
    assert_eq!(rig.log.last_id(), 1);
    publish(&rig.log, [expecting(1, event("a", "t"))])
        .await
        .unwrap();
}

#[tokio::test]
async fn an_empty_stream_has_no_actual_sequence() {
    let rig = Rig::new().await;
    let refused = publish(&rig.log, [expecting(1, event("a", "t"))])
        .await
        .unwrap_err();
    let details = Details::Sequence {
        expected: 1,
        actual: None,
    };
    assert_eq!(refused.details, details);
}

#[tokio::test]
async fn a_batch_is_stored_only_if_its_stream_stands_where_expected() {
    let rig = Rig::new().await;
    let two = || batch([event("a", "t"), event("a", "t")]);
    rig.log
        .publish(at("a", ExpectedLast::Empty, two()))
        .await
        .unwrap();
    for last in [
        ExpectedLast::Empty,
        ExpectedLast::Sequence(0),
        ExpectedLast::Sequence(2),
        ExpectedLast::Sequence(u64::MAX),
    ] {
        let refused = rig.log.publish(at("a", last, two())).await.unwrap_err();
        assert_eq!(refused.code, Code::SequenceMismatch, "{last:?}");
        assert_eq!(refused.index, Some(0));
    }
    let stored = rig
        .log
        .publish(at("a", ExpectedLast::Sequence(1), two()))
        .await
        .unwrap();
    assert_eq!(places(&stored), [(3, 2), (4, 3)]);
}

#[tokio::test]
async fn expectations_that_cannot_both_hold_are_refused() {
    let rig = Rig::new().await;
    let contradictory = at(
        "a",
        ExpectedLast::Empty,
        batch([expecting(1, event("a", "t"))]),
    );
    let elsewhere = at("b", ExpectedLast::Empty, batch([event("a", "t")]));
    for request in [contradictory, elsewhere] {
        let refused = rig.log.publish(request).await.unwrap_err();
        assert_eq!(refused.code, Code::InvalidExpectation);
    }
    assert_eq!(rig.log.last_id(), 0);
}

#[tokio::test]
async fn of_many_writers_with_one_expectation_exactly_one_wins() {
    let rig = Rig::new().await;
    for round in 0..5 {
        let writers: Vec<_> = (0..32)
            .map(|_| {
                let log = rig.log.clone();
                tokio::spawn(async move {
                    let event = expecting(round, event("a", "t"));
                    publish(&log, [event]).await.is_ok()
                })
            })
            .collect();
        let mut winners = 0;
        for writer in writers {
            winners += usize::from(writer.await.unwrap());
        }
        assert_eq!(winners, 1, "round {round}");
    }
    assert_eq!(rig.log.last_id(), 5);
}

#[tokio::test]
async fn a_condition_refuses_the_batch_and_names_the_event_in_the_way() {
    let rig = Rig::new().await;
    publish(
        &rig.log,
        [
            tagged("a", "t", &["x", "y"]),
            tagged("a", "u", &["x"]),
            tagged("b", "t", &["y"]),
        ],
    )
    .await
    .unwrap();
    let unless = |filter: Filter, after: u64| Publish {
        conditions: vec![Unless { filter, after }],
        ..batch([event("c", "t")])
    };
    let tags = |names: &[&'static str]| Filter {
        tags: names.iter().map(|name| label(name)).collect(),
        ..Filter::default()
    };

    let refused = rig.log.publish(unless(tags(&["x"]), 1)).await.unwrap_err();
    assert_eq!(refused.code, Code::ConditionUnmet);
    let found = Details::Found {
        condition: 0,
        id: id(2),
    };
    assert_eq!(refused.details, found);

    rig.log.publish(unless(tags(&["x"]), 2)).await.unwrap();
    rig.log.publish(unless(tags(&["x", "y"]), 1)).await.unwrap();
    let anything = rig
        .log
        .publish(unless(Filter::default(), 4))
        .await
        .unwrap_err();
    assert_eq!(anything.kind(), FailureKind::Unmet);
    assert_eq!(read(&rig.log, Selection::default()).await.len(), 5);
}

#[tokio::test]
async fn what_is_wrong_with_an_event_is_said_with_its_index() {
    let rig = Rig::new().await;
    let labels: Vec<String> = (0..33).map(|n| n.to_string()).collect();
    let labels: Vec<&str> = labels.iter().map(String::as_str).collect();
    for (bad, code) in [
        (tagged("a", "t", &["x", "x"]), Code::InvalidEvent),
        (tagged("a", "t", &labels), Code::InvalidEvent),
        (
            NewEvent {
                metadata: Some(&[b' '; (64 << 10) + 1]),
                ..event("a", "t")
            },
            Code::TooLarge,
        ),
    ] {
        let refused = publish(&rig.log, [event("a", "t"), bad]).await.unwrap_err();
        assert_eq!((refused.code, refused.index), (code, Some(1)));
    }
    let nothing = publish(&rig.log, []).await.unwrap_err();
    assert_eq!(nothing.code, Code::EmptyBatch);
    let many = (0..10_001).map(|_| event("a", "t"));
    let refused = publish(&rig.log, many).await.unwrap_err();
    assert_eq!(refused.code, Code::TooManyEvents);
    assert_eq!(rig.log.last_id(), 0);
}

#[tokio::test]
async fn a_batch_longer_than_a_segment_is_refused_as_too_large() {
    let rig = Rig::new().await;
    let data = vec![b'1'; 100 << 10];
    let long = NewEvent {
        data: strandlog::app::Data::Json(&data),
        ..event("a", "t")
    };
    let refused = publish(&rig.log, [long]).await.unwrap_err();
    assert_eq!(refused.kind(), FailureKind::TooLarge);
    publish(&rig.log, [event("a", "t")]).await.unwrap();
}

#[tokio::test]
async fn an_answer_tells_up_to_where_the_log_is_durable() {
    let rig = Rig::new().await;
    let weak = Publish {
        durability: Some(Durability::Os),
        ..batch([event("a", "t")])
    };
    let weak = rig.log.publish(weak).await.unwrap();
    assert!(weak.durable_id <= 1);
    let strong = publish(&rig.log, [event("a", "t")]).await.unwrap();
    assert_eq!(strong.durable_id, 2);
}

#[tokio::test]
async fn a_closed_log_refuses_and_goes_on_serving_reads() {
    let rig = Rig::new().await;
    publish(&rig.log, [event("a", "t")]).await.unwrap();
    rig.app.close().await;
    let refused = publish(&rig.log, [event("a", "t")]).await.unwrap_err();
    assert_eq!(refused.kind(), FailureKind::Failed);
    assert!(refused.changed_nothing());
    assert_eq!(read(&rig.log, Selection::default()).await, [1]);
    assert!(!rig.app.unhealthy().is_empty());
}
