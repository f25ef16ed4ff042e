//! An event reads back as it was published.

use strandlog::app::name::EventUid;
use strandlog::app::publish::NewEvent;
use strandlog::app::{Data, Uid};

use crate::{NOON_US, Rig, event, publish, tagged, with_event};

#[tokio::test]
async fn every_member_of_an_event_reads_back_as_it_was_published() {
    let rig = Rig::new().await;
    let whole = NewEvent {
        data: Data::Json(b" { \"n\" : 1.0e0 } "),
        metadata: Some(br#"{"by":"me"}"#),
        uid: Some(EventUid::new("order 1").unwrap()),
        time_us: Some(-5),
        ..tagged("\u{e9}/1", "placed", &["b", "a"])
    };
    publish(&rig.log, [whole]).await.unwrap();
    with_event(&rig.log, 1, |event| {
        assert_eq!((event.id.get(), event.sequence), (1, 0));
        assert_eq!((event.stream, event.event_type), ("\u{e9}/1", "placed"));
        assert_eq!(event.uid, Uid::Text("order 1"));
        assert_eq!(event.time_us, Some(-5));
        assert_eq!(event.recorded_at_us, NOON_US);
        assert_eq!(event.labels.clone().collect::<Vec<_>>(), ["b", "a"]);
        assert_eq!(event.metadata, Some(&br#"{"by":"me"}"#[..]));
        assert_eq!(event.data, Data::Json(b" { \"n\" : 1.0e0 } "));
        assert!(!event.line_breaks);
    })
    .await;
}

#[tokio::test]
async fn what_a_publisher_leaves_out_is_made_or_stays_out() {
    let rig = Rig::new().await;
    publish(&rig.log, [event("a", "t"), event("a", "t")])
        .await
        .unwrap();
    let uid = |event: &strandlog::app::Event<'_>| {
        assert_eq!((event.time_us, event.metadata), (None, None));
        assert!(event.labels.is_empty());
        event.uid.to_string()
    };
    let first = with_event(&rig.log, 1, uid).await;
    let second = with_event(&rig.log, 2, uid).await;
    assert_ne!(first, second);
    // The version and variant of a UUIDv7, and its time.
    assert_eq!((first.as_bytes()[14], first.len()), (b'7', 36));
    let millis = u64::from_str_radix(&first[..13].replace('-', ""), 16).unwrap();
    assert_eq!(millis, NOON_US / 1_000);
}

#[tokio::test]
async fn line_breaks_between_tokens_are_kept_and_noted() {
    let rig = Rig::new().await;
    let in_data = NewEvent {
        data: Data::Json(b"[1,\n2]"),
        ..event("a", "t")
    };
    let in_metadata = NewEvent {
        metadata: Some(b"{\r}"),
        ..event("a", "t")
    };
    let in_bytes = NewEvent {
        data: Data::Bytes {
            content_type: "text/plain",
            bytes: b"a\nb",
        },
        ..event("a", "t")
    };
    publish(&rig.log, [in_data, in_metadata, in_bytes])
        .await
        .unwrap();
    for (id, line_breaks) in [(1, true), (2, true), (3, false)] {
        with_event(&rig.log, id, |event| {
            assert_eq!(event.line_breaks, line_breaks, "{id}");
        })
        .await;
    }
    with_event(&rig.log, 3, |event| {
        let bytes = Data::Bytes {
            content_type: "text/plain",
            bytes: b"a\nb",
        };
        assert_eq!(event.data, bytes);
    })
    .await;
}

#[tokio::test]
async fn recorded_times_never_fall_though_the_clock_does() {
    let rig = Rig::new().await;
    publish(&rig.log, [event("a", "t")]).await.unwrap();
    rig.clock.set_date(NOON_US - 1_000_000);
    publish(&rig.log, [event("a", "t")]).await.unwrap();
    with_event(&rig.log, 2, |event| {
        assert_eq!(event.recorded_at_us, NOON_US);
    })
    .await;
}
