//! What the product promises, below any door: publishing, repeating, reading, consuming, restarting.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod configuring;
mod consumers;
mod directory;
mod events;
mod failing;
mod logs;
mod losses;
mod offsets;
mod ownership;
mod publish;
mod reading;
mod repeats;
#[path = "../../engine/tests/promises/settings.rs"]
mod settings;

use std::sync::Arc;
use std::time::Duration;

use strandlog::app::limits::STORE;
use strandlog::app::name::{EventType, IdempotencyKey, StreamName, TagLabel};
use strandlog::app::publish::{Fingerprint, KeyOrigin, Keyed, NewEvent, Publish, Published};
use strandlog::app::range::{Reading, Selection};
use strandlog::app::{App, Data, Event, Failure, Limits, Log, Parts};
use strandlog::clock::{CountedRandom, HandClock};
use strandlog::store::embedded::{EmbeddedOptions, EmbeddedStore};
use strandlog::store::{Durability, EventId, Retention};
use tempfile::TempDir;

/// A noon in 2026, in microseconds since 1970.
const NOON_US: u64 = 1_790_000_000_000_000;
/// Small enough that a few hundred events fill several.
const SEGMENT_LEN: u64 = 64 << 10;
/// A wait that only a failing test sits through.
const LONG: Duration = Duration::from_secs(30);

/// A product in a directory of its own.
struct Rig {
    app: App,
    log: Log,
    clock: HandClock,
    store: EmbeddedStore,
    directory: TempDir,
}

impl Rig {
    async fn new() -> Self {
        Self::with_clock(tempfile::tempdir().unwrap(), HandClock::at(NOON_US)).await
    }

    async fn with_clock(directory: TempDir, clock: HandClock) -> Self {
        let store = EmbeddedStore::open(directory.path(), options(&clock)).unwrap();
        let app = open(&store, &clock).await;
        Self {
            log: app.log("default").unwrap(),
            app,
            clock,
            store,
            directory,
        }
    }

    /// The same directory, closed and opened again.
    async fn reopened(self) -> Self {
        let Self {
            app,
            log,
            clock,
            store,
            directory,
        } = self;
        app.close().await;
        drop((app, log, store));
        Self::with_clock(directory, clock).await
    }
}

async fn open(store: &EmbeddedStore, clock: &HandClock) -> App {
    App::open(Parts {
        store: Arc::new(store.clone()),
        clock: Arc::new(clock.clone()),
        random: Arc::new(CountedRandom::new(1)),
        limits: Limits::default(),
        retention: Retention::default(),
    })
    .await
    .unwrap()
}

fn options(clock: &HandClock) -> EmbeddedOptions {
    EmbeddedOptions {
        durability: Durability::Sync,
        segment_len: SEGMENT_LEN,
        clock: Arc::new(clock.clone()),
        limits: STORE,
    }
}

fn id(number: u64) -> EventId {
    EventId::new(number).unwrap()
}

/// An event with the payload `1`.
fn event<'a>(stream: &'a str, event_type: &'a str) -> NewEvent<'a> {
    NewEvent::new(
        StreamName::new(stream).unwrap(),
        EventType::new(event_type).unwrap(),
        Data::Json(b"1"),
    )
}

fn tagged<'a>(stream: &'a str, event_type: &'a str, tags: &[&'a str]) -> NewEvent<'a> {
    NewEvent {
        tags: tags.iter().map(|tag| label(tag)).collect(),
        ..event(stream, event_type)
    }
}

fn label(text: &str) -> TagLabel<'_> {
    TagLabel::new(text).unwrap()
}

/// An event with an idempotency key of its own, which stands for `content`.
fn keyed<'a>(stream: &'a str, key: &'a str, content: &'a str) -> NewEvent<'a> {
    NewEvent {
        data: Data::Json(content.as_bytes()),
        key: Some(key_for(key, content)),
        ..event(stream, "t")
    }
}

fn key_for<'a>(key: &'a str, content: &str) -> Keyed<'a> {
    Keyed {
        key: IdempotencyKey::new(key).unwrap(),
        origin: KeyOrigin::Given,
        fingerprint: Fingerprint::of(&[content.as_bytes()]),
    }
}

fn batch<'a>(events: impl IntoIterator<Item = NewEvent<'a>>) -> Publish<'a> {
    Publish {
        events: events.into_iter().collect(),
        ..Publish::default()
    }
}

async fn publish<'a>(
    log: &Log,
    events: impl IntoIterator<Item = NewEvent<'a>>,
) -> Result<Published, Failure> {
    log.publish(batch(events)).await
}

/// Publishes `count` events to `stream`, in batches.
async fn fill(log: &Log, stream: &str, count: usize) {
    let mut left = count;
    while left > 0 {
        let now = left.min(100);
        publish(log, (0..now).map(|_| event(stream, "fill")))
            .await
            .unwrap();
        left -= now;
    }
}

/// The ids of all that a read gives.
async fn ids(mut reading: Reading) -> Vec<u64> {
    let mut ids = Vec::new();
    while let Some(records) = reading.next_page(4 << 10).await.unwrap() {
        ids.extend(records.iter().map(|record| record.unwrap().id.get()));
    }
    ids
}

async fn read(log: &Log, selection: Selection) -> Vec<u64> {
    ids(log.read(selection).await.unwrap()).await
}

/// What became of the published ones: id and sequence of each.
fn places(published: &Published) -> Vec<(u64, u64)> {
    let events = published.events.iter();
    events
        .map(|event| (event.id.get(), event.sequence))
        .collect()
}

fn replayed(published: &Published) -> Vec<bool> {
    published
        .events
        .iter()
        .map(|event| event.replayed)
        .collect()
}

/// Hands the event with this id to `look`.
async fn with_event<T>(log: &Log, number: u64, look: impl FnOnce(&Event<'_>) -> T) -> T {
    let records = log.event(id(number)).await.unwrap();
    look(&Event::from_record(records.get(0).unwrap().unwrap()).unwrap())
}
