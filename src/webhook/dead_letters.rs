//! Dead letters: events that a lane gave up, kept until somebody deals with them.
//!
//! They are events in a log of the server's own that never expires: one when an event is given up,
//! one when that is done with. Which are open is the difference, read once for each lane when it is
//! first asked for, and kept in memory from then on. A letter names its event; the event itself stays
//! where it was published, as long as that log keeps it.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

use crate::app::limits::{DEAD_LETTERS_MAX, PAGE_LEN_MAX};
use crate::app::name::{EventType, StreamName, shortened};
use crate::app::publish::{NewEvent, Publish};
use crate::app::range::Selection;
use crate::app::{App, Code, Data, Event, Failure, Filter, Log};
use crate::store::{EventId, LogName};

/// The type of a letter.
const GIVEN_UP: &str = "given-up";
/// The type of what says that a letter is done with.
const CLOSED: &str = "closed";

/// How many letters are appended at once: with the longest names and errors so many fit into a
/// segment of the log.
const APPEND_MAX: usize = 100;

/// The dead letters of all lanes. Clones are the same.
#[derive(Clone, Debug)]
pub struct DeadLetters(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    app: App,
    lanes: Mutex<HashMap<String, Arc<OfLane>>>,
}

/// Held across the appends that change it, so that a letter is never open twice.
type OfLane = tokio::sync::Mutex<Option<Open>>;

/// The open letters of a lane.
#[derive(Debug, Default)]
struct Open {
    /// The event of each letter.
    letters: BTreeMap<EventId, u64>,
    /// Those events.
    events: HashSet<u64>,
}

impl Open {
    fn add(&mut self, letter: EventId, event: u64) {
        self.letters.insert(letter, event);
        self.events.insert(event);
    }

    fn remove(&mut self, letter: EventId) -> bool {
        match self.letters.remove(&letter) {
            Some(event) => self.events.remove(&event),
            None => false,
        }
    }
}

/// Why an event was given up.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct GivenUp {
    /// The log it lies in.
    pub log: String,
    /// Its id there.
    pub event_id: u64,
    /// The delivery; see [`DeliveryInfo::id`](super::target::DeliveryInfo::id).
    pub delivery_id: String,
    /// How many attempts there were.
    pub attempts: u32,
    /// The status of the last answer, if there was one.
    pub status: Option<u16>,
    /// What went wrong last.
    pub error: Option<String>,
}

/// What became of a letter in the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Closing {
    /// It was delivered after all.
    Delivered,
    /// Nobody wanted it.
    Discarded,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Closed {
    letter: u64,
    closing: Closing,
}

/// An open letter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Letter {
    /// Its id: a later one has a higher.
    pub id: EventId,
    /// When it was written, in microseconds since 1970 (UTC).
    pub given_up_us: u64,
    /// What it says.
    pub given_up: GivenUp,
}

/// A page of open letters.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LetterPage {
    /// The letters, newest first.
    pub letters: Vec<Letter>,
    /// Before which letter the next page goes on; none if this is the last.
    pub next: Option<EventId>,
}

/// What became of giving up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Put {
    /// The letters are durable.
    Kept,
    /// There are as many as there may be; nothing was kept.
    Full,
}

impl DeadLetters {
    pub(super) fn new(app: App) -> Self {
        Self(Arc::new(Shared {
            app,
            lanes: Mutex::default(),
        }))
    }

    /// The log of the letters, if there was ever one.
    fn log(&self) -> Option<Log> {
        self.0.app.known_own_log(&LogName::dead_letters())
    }

    fn of_lane(&self, lane: &str) -> Arc<OfLane> {
        let mut lanes = self.0.lanes.lock();
        Arc::clone(lanes.entry(lane.to_owned()).or_default())
    }

    /// Forgets what is in memory of a lane that is no more.
    pub(super) fn forget(&self, lane: &str) {
        self.0.lanes.lock().remove(lane);
    }

    /// Keeps a letter for each of these events that has none, durably. After a failure some may be
    /// kept, and are not kept twice when this is tried again.
    pub(super) async fn put(&self, lane: &str, given_up: &[GivenUp]) -> Result<Put, Failure> {
        let of_lane = self.of_lane(lane);
        let mut open = of_lane.lock().await;
        let open = self.loaded(lane, &mut open).await?;
        // A lane that was given its place back, or whose server died before the place moved.
        let new = given_up
            .iter()
            .filter(|given_up| !open.events.contains(&given_up.event_id));
        let new: Vec<&GivenUp> = new.collect();
        if new.is_empty() {
            return Ok(Put::Kept);
        }
        if open.letters.len() + new.len() > DEAD_LETTERS_MAX {
            return Ok(Put::Full);
        }
        for chunk in new.chunks(APPEND_MAX) {
            let texts: Vec<Vec<u8>> = chunk.iter().map(to_json).collect();
            let published = self.append(lane, GIVEN_UP, &texts).await?;
            for (letter, given_up) in published.into_iter().zip(chunk) {
                open.add(letter, given_up.event_id);
            }
        }
        Ok(Put::Kept)
    }

    /// How many letters of a lane are open.
    ///
    /// # Errors
    ///
    /// [`Failure`] if they cannot be read.
    pub async fn count(&self, lane: &str) -> Result<usize, Failure> {
        let of_lane = self.of_lane(lane);
        let mut open = of_lane.lock().await;
        Ok(self.loaded(lane, &mut open).await?.letters.len())
    }

    /// The open letters of a lane before `before` (the newest if absent), at most `limit` of them.
    ///
    /// # Errors
    ///
    /// [`Failure`] if they cannot be read.
    pub async fn list(
        &self,
        lane: &str,
        before: Option<EventId>,
        limit: usize,
    ) -> Result<LetterPage, Failure> {
        let (ids, more) = {
            let of_lane = self.of_lane(lane);
            let mut open = of_lane.lock().await;
            let letters = &self.loaded(lane, &mut open).await?.letters;
            let mut newest = letters
                .range(..before.unwrap_or(EventId::MAX))
                .rev()
                .map(|(id, _)| *id);
            let ids: Vec<EventId> = newest.by_ref().take(limit).collect();
            (ids, newest.next().is_some())
        };
        let Some(log) = self.log() else {
            return Ok(LetterPage::default());
        };
        let mut letters = Vec::with_capacity(ids.len());
        for id in ids {
            letters.push(read(&log, id).await?);
        }
        let last = letters.last().filter(|_| more);
        Ok(LetterPage {
            next: last.map(|letter| letter.id),
            letters,
        })
    }

    /// An open letter of a lane.
    ///
    /// # Errors
    ///
    /// [`Failure`]: there is none with this id.
    pub async fn letter(&self, lane: &str, id: EventId) -> Result<Letter, Failure> {
        let of_lane = self.of_lane(lane);
        let is_open = {
            let mut open = of_lane.lock().await;
            let open = self.loaded(lane, &mut open).await?;
            open.letters.contains_key(&id)
        };
        match self.log() {
            Some(log) if is_open => read(&log, id).await,
            Some(_) | None => Err(no_such_letter(id)),
        }
    }

    /// Says that a letter is done with, durably.
    ///
    /// # Errors
    ///
    /// [`Failure`]: there is none with this id that is open, or the log takes no writes.
    pub async fn close(&self, lane: &str, id: EventId, closing: Closing) -> Result<(), Failure> {
        let of_lane = self.of_lane(lane);
        let mut open = of_lane.lock().await;
        let open = self.loaded(lane, &mut open).await?;
        if !open.letters.contains_key(&id) {
            return Err(no_such_letter(id));
        }
        let closed = to_json(&Closed {
            letter: id.get(),
            closing,
        });
        self.append(lane, CLOSED, &[closed]).await?;
        open.remove(id);
        Ok(())
    }

    async fn append(
        &self,
        lane: &str,
        event_type: &'static str,
        texts: &[Vec<u8>],
    ) -> Result<Vec<EventId>, Failure> {
        let stream = StreamName::new(shortened(lane))?;
        let event_type = EventType::new(event_type)?;
        let event = |json| NewEvent::new(stream.by_ref(), event_type.by_ref(), Data::Json(json));
        let log = self.0.app.own_log(LogName::dead_letters()).await?;
        let published = log.publish(Publish {
            events: texts.iter().map(|json| event(json)).collect(),
            ..Publish::default()
        });
        let events = published.await?.events;
        Ok(events.into_iter().map(|event| event.id).collect())
    }

    /// The open letters of a lane, read if they are not in memory.
    async fn loaded<'a>(
        &self,
        lane: &str,
        open: &'a mut Option<Open>,
    ) -> Result<&'a mut Open, Failure> {
        let found = match open.take() {
            Some(found) => found,
            None => self.load(lane).await?,
        };
        Ok(open.insert(found))
    }

    async fn load(&self, lane: &str) -> Result<Open, Failure> {
        let selection = Selection {
            filter: Filter {
                streams: vec![StreamName::new(shortened(lane))?.into_owned()],
                ..Filter::default()
            },
            // A letter that is lost is not open any more; one whose closing is lost, is.
            passes_losses: true,
            ..Selection::default()
        };
        let mut open = Open::default();
        let Some(log) = self.log() else {
            return Ok(open);
        };
        let mut reading = log.read(selection).await?;
        while let Some(records) = reading.next_page(PAGE_LEN_MAX).await? {
            for record in records.iter() {
                let event = Event::from_record(record?)?;
                if event.event_type == GIVEN_UP {
                    let given_up: GivenUp = from_json(&event)?;
                    open.add(event.id, given_up.event_id);
                } else {
                    let closed: Closed = from_json(&event)?;
                    if let Some(letter) = EventId::new(closed.letter) {
                        open.remove(letter);
                    }
                }
            }
        }
        Ok(open)
    }
}

async fn read(log: &Log, id: EventId) -> Result<Letter, Failure> {
    let records = log.event(id).await?;
    let record = records.iter().next().ok_or_else(|| no_such_letter(id))?;
    let event = Event::from_record(record?)?;
    Ok(Letter {
        id,
        given_up_us: event.recorded_at_us,
        given_up: from_json(&event)?,
    })
}

fn to_json(value: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(value).expect("texts and numbers can be written as JSON")
}

fn from_json<'a, T: Deserialize<'a>>(event: &Event<'a>) -> Result<T, Failure> {
    serde_json::from_slice(event.data.bytes()).map_err(|error| {
        let message = format!("dead letter {} cannot be read", event.id);
        Failure::new(Code::Unreadable, message).caused_by(&error)
    })
}

fn no_such_letter(id: EventId) -> Failure {
    Failure::new(
        Code::NoSuchDeadLetter,
        format!("there is no open dead letter {id} of this webhook"),
    )
}
