//! The delivery machine below any door: lanes of a hub on a product of their own.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use strandlog::app::consumers::Start;
use strandlog::app::limits::STORE;
use strandlog::app::name::{EventType, StreamName};
use strandlog::app::publish::{NewEvent, Publish};
use strandlog::app::{App, Data, Event, Filter, Limits, Log, Parts};
use strandlog::clock::{CountedRandom, HandClock};
use strandlog::http::Method;
use strandlog::store::embedded::{EmbeddedOptions, EmbeddedStore};
use strandlog::store::{Durability, Retention};
use strandlog::webhook::client::{Answer, CallError};
use strandlog::webhook::endpoint::Endpoint;
use strandlog::webhook::history::Selector;
use strandlog::webhook::retry::Backoff;
use strandlog::webhook::{
    DeliveryInfo, Hub, Lane, LaneState, LaneStatus, OwnedCall, Settings, Target, Verdict,
};
use strandlog_engine::storage::sim::SimDisk;

use super::{LONGER_THAN_ANY_PAUSE, NOON_US};
use crate::receiver::{Receiver, Scripted};

struct Rig {
    app: App,
    log: Log,
    hub: Hub,
    clock: HandClock,
    disk: SimDisk,
    /// The name of the lane.
    name: String,
}

/// The bytes of a segment, unless a test needs more.
const SEGMENT_LEN: u64 = 64 << 10;

impl Rig {
    async fn new() -> Self {
        Self::on(SimDisk::new(), SEGMENT_LEN).await
    }

    async fn on(disk: SimDisk, segment_len: u64) -> Self {
        let clock = HandClock::at(NOON_US);
        let options = EmbeddedOptions {
            durability: Durability::Sync,
            segment_len,
            clock: Arc::new(clock.clone()),
            limits: STORE,
        };
        let store = EmbeddedStore::open_on(&disk.root(), options).unwrap();
        let app = App::open(Parts {
            store: Arc::new(store),
            clock: Arc::new(clock.clone()),
            random: Arc::new(CountedRandom::new(1)),
            limits: Limits::default(),
            retention: Retention::default(),
        })
        .await
        .unwrap();
        Self {
            log: app.log("default").unwrap(),
            hub: Hub::new(app.clone(), &Settings::development()),
            app,
            clock,
            disk,
            name: "test/lane".to_owned(),
        }
    }

    async fn publish(&self, count: usize) {
        self.publish_each(&vec![b"1".to_vec(); count]).await;
    }

    async fn publish_each(&self, payloads: &[Vec<u8>]) {
        let event = |json| {
            NewEvent::new(
                StreamName::new("s").unwrap(),
                EventType::new("t").unwrap(),
                Data::Json(json),
            )
        };
        let publish = Publish {
            events: payloads.iter().map(|json| event(json)).collect(),
            ..Publish::default()
        };
        self.log.publish(publish).await.unwrap();
    }

    fn lane(&self, target: impl Target) -> Lane {
        Lane {
            name: self.name.clone(),
            log: self.log.clone(),
            filter: Filter::default(),
            start: Start::First,
            batch_size: 1,
            backoff: Backoff {
                first: Duration::from_millis(10),
                factor: 2,
                max: Duration::from_secs(30),
                attempts_max: None,
            },
            target: Arc::new(target),
        }
    }

    /// Waits until the lane is as `wanted` says.
    async fn until(&self, what: &str, wanted: impl Fn(&LaneStatus) -> bool) -> LaneStatus {
        let asked = async {
            loop {
                if let Some(status) = self.hub.status(&self.name).filter(&wanted) {
                    return status;
                }
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        };
        let found = tokio::time::timeout(Duration::from_secs(20), asked).await;
        found.unwrap_or_else(|_| panic!("{what}: {:?}", self.hub.status(&self.name)))
    }

    async fn until_position(&self, position: u64) {
        self.until("the place", |status| status.position == position)
            .await;
    }

    /// Lets pauses pass until the lane is as `wanted` says.
    async fn pass_pauses(&self, what: &str, wanted: impl Fn(&LaneStatus) -> bool) -> LaneStatus {
        self.until(what, |status| {
            if status.next_attempt_us.is_some() {
                self.clock.advance(LONGER_THAN_ANY_PAUSE);
            }
            wanted(status)
        })
        .await
    }

    async fn close(self) -> SimDisk {
        self.app.stop();
        self.hub.close().await;
        self.app.close().await;
        self.disk
    }
}

type Behaviour = dyn Fn(usize, &[u64]) -> Result<(), String> + Send + Sync;

/// Sends the ids of the events, unless told otherwise.
struct Plain {
    endpoint: Arc<Endpoint>,
    behaviour: Box<Behaviour>,
    calls: AtomicUsize,
}

impl std::fmt::Debug for Plain {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Plain")
    }
}

impl Plain {
    fn to(receiver: &Receiver) -> Self {
        Self::behaving(receiver, |_, _| Ok(()))
    }

    fn behaving(
        receiver: &Receiver,
        behaviour: impl Fn(usize, &[u64]) -> Result<(), String> + Send + Sync + 'static,
    ) -> Self {
        Self {
            endpoint: Arc::new(Endpoint::parse(&receiver.url("/")).unwrap()),
            behaviour: Box::new(behaviour),
            calls: AtomicUsize::new(0),
        }
    }
}

impl Target for Plain {
    fn call(&self, events: &[Event<'_>], _delivery: &DeliveryInfo) -> Result<OwnedCall, String> {
        let ids: Vec<u64> = events.iter().map(|event| event.id.get()).collect();
        (self.behaviour)(self.calls.fetch_add(1, Ordering::SeqCst), &ids)?;
        Ok(OwnedCall {
            endpoint: Arc::clone(&self.endpoint),
            method: Method::POST,
            headers: Vec::new(),
            body: Bytes::from(serde_json::to_vec(&ids).unwrap()),
        })
    }

    fn judge(&self, outcome: &Result<Answer, CallError>) -> Verdict {
        match outcome {
            Ok(answer) if answer.status.is_success() => Verdict::Delivered,
            Ok(answer) if answer.status == 400 => Verdict::Reject,
            Ok(_) | Err(_) => Verdict::Retry,
        }
    }

    fn timeout(&self) -> Duration {
        Duration::from_secs(5)
    }
}

fn bodies(receiver: &Receiver) -> Vec<String> {
    let calls = receiver.received();
    calls.iter().map(|call| call.text().to_owned()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_panic_in_a_lane_is_told_and_the_delivery_tried_again() {
    let rig = Rig::new().await;
    let receiver = Receiver::answering(200);
    rig.publish(2).await;
    let target = Plain::behaving(&receiver, |call, _| {
        assert!(call != 0, "on purpose");
        Ok(())
    });
    rig.hub.start(rig.lane(target)).await.unwrap();
    let failing = rig
        .until("a failure", |status| status.state == LaneState::Failing)
        .await;
    assert!(failing.last_error.unwrap().contains("mistake"));
    rig.pass_pauses("the end", |status| status.position == 2)
        .await;
    assert_eq!(bodies(&receiver), ["[1]", "[2]"]);
    rig.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_cannot_be_made_counts_as_an_attempt_that_failed() {
    let rig = Rig::new().await;
    let receiver = Receiver::answering(200);
    rig.publish(1).await;
    let target = Plain::behaving(&receiver, |call, _| match call {
        0 => Err("it has no shape".to_owned()),
        _ => Ok(()),
    });
    rig.hub.start(rig.lane(target)).await.unwrap();
    let failed = rig.until("a failure", |status| status.attempts == 1).await;
    assert_eq!(failed.state, LaneState::Retrying);
    assert_eq!(failed.last_error.as_deref(), Some("it has no shape"));
    rig.pass_pauses("the end", |status| status.position == 1)
        .await;
    let which = Selector {
        stream: Some("test/lane"),
        ..Selector::default()
    };
    let page = rig.hub.history().list(which, None, 10).await.unwrap();
    let types: Vec<&str> = page
        .entries
        .iter()
        .map(|entry| entry.event_type.as_str())
        .collect();
    assert_eq!(types, ["delivered", "failed"]);
    rig.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rejected_event_becomes_a_dead_letter_at_once_and_the_lane_goes_on() {
    let rig = Rig::new().await;
    let receiver = Receiver::start(|call| match call.text() {
        "[2]" => Scripted::status(400),
        _ => Scripted::status(200),
    });
    rig.publish(3).await;
    rig.hub.start(rig.lane(Plain::to(&receiver))).await.unwrap();
    rig.until_position(3).await;
    assert_eq!(bodies(&receiver), ["[1]", "[2]", "[3]"]);
    let letters = rig
        .hub
        .dead_letters()
        .list("test/lane", None, 10)
        .await
        .unwrap();
    let given_up: Vec<u64> = letters
        .letters
        .iter()
        .map(|letter| letter.given_up.event_id)
        .collect();
    assert_eq!(given_up, [2]);
    rig.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lane_without_a_limit_of_attempts_tries_for_ever() {
    let rig = Rig::new().await;
    let receiver = Receiver::answering(500);
    rig.publish(1).await;
    rig.hub.start(rig.lane(Plain::to(&receiver))).await.unwrap();
    let status = rig
        .pass_pauses("many attempts", |status| status.attempts >= 50)
        .await;
    assert_eq!((status.position, status.state), (0, LaneState::Retrying));
    assert_eq!(rig.hub.dead_letters().count("test/lane").await.unwrap(), 0);
    rig.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_lane_of_a_name_runs_at_a_time_and_the_last_one_begun_stays() {
    let rig = Rig::new().await;
    let first = Receiver::answering(200);
    let second = Receiver::answering(200);
    rig.publish(1).await;
    rig.hub.start(rig.lane(Plain::to(&first))).await.unwrap();
    rig.until_position(1).await;
    rig.hub.start(rig.lane(Plain::to(&second))).await.unwrap();
    rig.publish(1).await;
    rig.until_position(2).await;
    assert_eq!(
        (bodies(&first), bodies(&second)),
        (vec!["[1]".to_owned()], vec!["[2]".to_owned()])
    );

    rig.hub.stop("test/lane").await;
    assert!(rig.hub.status("test/lane").is_none());
    rig.publish(1).await;
    assert_eq!(
        rig.log.progress("test/lane").await.unwrap(),
        Some(2),
        "the place stays"
    );
    rig.hub.remove(&rig.log, "test/lane").await.unwrap();
    assert_eq!(rig.log.progress("test/lane").await.unwrap(), None);
    rig.hub.stop("test/lane").await;

    let at_the_end = Lane {
        start: Start::End,
        ..rig.lane(Plain::to(&second))
    };
    rig.hub.start(at_the_end).await.unwrap();
    rig.publish(1).await;
    rig.until_position(4).await;
    assert_eq!(
        bodies(&second),
        ["[2]", "[4]"],
        "the end is where it was begun"
    );
    assert_eq!(bodies(&first).len(), 1);
    rig.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn lanes_begun_and_ended_all_at_once_leave_one_or_none() {
    let rig = Rig::new().await;
    let receiver = Receiver::answering(200);
    let hub = &rig.hub;
    for _ in 0..5 {
        let starts = (0..8).map(|_| {
            let (hub, lane) = (hub.clone(), rig.lane(Plain::to(&receiver)));
            tokio::spawn(async move { hub.start(lane).await.unwrap() })
        });
        let starts: Vec<_> = starts.collect();
        for start in starts {
            start.await.unwrap();
        }
        rig.publish(1).await;
        rig.until_position(rig.log.last_id()).await;
    }
    assert_eq!(bodies(&receiver), ["[1]", "[2]", "[3]", "[4]", "[5]"]);
    hub.stop("test/lane").await;
    rig.publish(1).await;
    let last = rig.log.last_id();
    assert_eq!(rig.log.progress("test/lane").await.unwrap(), Some(last - 1));
    rig.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_place_that_cannot_be_kept_is_tried_again_and_nothing_is_skipped() {
    let mut rig = Rig::new().await;
    // The longer the name, the sooner the file of places has to be written anew.
    rig.name = "x".repeat(1_000);
    let receiver = Receiver::answering(200);
    rig.hub.start(rig.lane(Plain::to(&receiver))).await.unwrap();
    rig.publish(400).await;
    rig.until("some progress", |status| status.position > 5)
        .await;
    rig.disk.capacity(0);
    let failing = rig
        .until("a full disk", |status| status.state == LaneState::Failing)
        .await;
    assert!(failing.last_error.unwrap().contains("disk is full"));
    let sent = receiver.received().len();
    assert!(sent < 400, "it does not go on without its place");
    rig.clock.advance(Duration::from_secs(61));
    rig.until("another try", |status| status.next_attempt_us.is_some())
        .await;
    assert_eq!(
        receiver.received().len(),
        sent,
        "what is delivered is not sent again"
    );
    rig.disk.capacity(u64::MAX);
    rig.pass_pauses("the end", |status| status.position == 400)
        .await;
    let wanted: Vec<String> = (1..=400).map(|id| format!("[{id}]")).collect();
    assert_eq!(bodies(&receiver), wanted);
    rig.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_crash_a_lane_sends_again_what_it_had_no_durable_place_for() {
    let rig = Rig::new().await;
    let receiver = Receiver::answering(200);
    rig.hub.start(rig.lane(Plain::to(&receiver))).await.unwrap();
    rig.publish(20).await;
    receiver.wait_for(10);
    // The power goes in the middle; what the disk has by then is what is left.
    rig.disk.crash_at(rig.disk.steps());
    let left = rig
        .disk
        .after_crash(strandlog_engine::storage::sim::Left::Random(7));
    rig.app.stop();
    rig.hub.close().await;
    drop(rig);
    let before = bodies(&receiver).len();
    let rig = Rig::on(left, SEGMENT_LEN).await;
    let place = rig.log.progress("test/lane").await.unwrap().unwrap();
    assert!(
        usize::try_from(place).unwrap() <= before,
        "no place is ahead of what was sent"
    );
    rig.hub.start(rig.lane(Plain::to(&receiver))).await.unwrap();
    rig.until_position(20).await;
    let after = bodies(&receiver).split_off(before);
    let wanted: Vec<String> = (place + 1..=20).map(|id| format!("[{id}]")).collect();
    assert_eq!(after, wanted);
    rig.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn large_events_share_a_call_only_as_far_as_its_bytes_go() {
    let rig = Rig::on(SimDisk::new(), 8 << 20).await;
    let receiver = Receiver::answering(200);
    let text = |len: usize| format!("\"{}\"", "x".repeat(len)).into_bytes();
    let large = text(400 << 10);
    let lens = [large.clone(), large.clone(), large, text(3 << 20), text(1)];
    rig.publish_each(&lens).await;
    let lane = Lane {
        batch_size: usize::MAX,
        ..rig.lane(Plain::to(&receiver))
    };
    rig.hub.start(lane).await.unwrap();
    rig.until_position(5).await;
    assert_eq!(bodies(&receiver), ["[1,2]", "[3]", "[4]", "[5]"]);
    rig.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_history_is_listed_by_stream_type_and_tag() {
    let rig = Rig::new().await;
    let history = rig.hub.history();
    let long = "contract/".repeat(60);
    for (n, (stream, event_type, tags)) in [
        (long.as_str(), "started", &["order-1"][..]),
        (&long, "ended", &["order-1", &long]),
        ("other", "ended", &["order-2"]),
    ]
    .into_iter()
    .enumerate()
    {
        let json = format!("{{\"n\":{n}}}");
        let record = history.record_durably(stream, event_type, tags, json.as_bytes());
        assert_eq!(record.await.unwrap().get(), n as u64 + 1);
    }
    let found = async |stream, types: &[&str], tags: &[&str]| {
        let which = Selector {
            stream,
            types,
            tags,
        };
        let page = history.list(which, None, 10).await.unwrap();
        assert!(page.next.is_none());
        page.entries
            .iter()
            .map(|entry| entry.id.get())
            .collect::<Vec<_>>()
    };
    assert_eq!(found(None, &[], &[]).await, [3, 2, 1]);
    assert_eq!(found(Some(&long), &[], &[]).await, [2, 1]);
    assert_eq!(found(Some(&long), &["ended", "failed"], &[]).await, [2]);
    assert_eq!(found(None, &["ended"], &[]).await, [3, 2]);
    assert_eq!(found(None, &[], &["order-1", &long]).await, [2]);
    let entry = history
        .entry(strandlog::store::EventId::FIRST)
        .await
        .unwrap();
    assert_eq!(
        (entry.event_type.as_str(), &*entry.json),
        ("started", &b"{\"n\":0}"[..])
    );
    assert!(history.record("a\nb", "t", &[], b"1").await.is_err());
    rig.close().await;
}
