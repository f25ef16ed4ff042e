//! Finding events by the ids under which this door shows them.
//!
//! Those published here are in the index. The ids made for events without a UUID lead to them. What
//! is left are events of other doors with a UUID of their own, which nothing leads to: they are
//! searched, first where the consumer who asks is.

use uuid::Uuid;

use crate::app::event::{Event, Uid};
use crate::app::filter::Filter;
use crate::app::limits::PAGE_LEN_MAX;
use crate::app::name::{EventType, StreamName};
use crate::app::offsets::OffsetKey;
use crate::app::range::Selection;
use crate::app::{App, Code, Failure, Log};
use crate::http::{Reply, StatusCode};
use crate::store::{Direction, EventId};

use super::call::Call;
use super::replies::{self, Refusal, text};
use super::{event, ids};

/// In how many event names of a stream the surroundings of a consumer are looked at before the
/// stream is searched: with more of them the search is not much dearer.
const NAMES_MAX: usize = 64;
/// How many of the newest events of the log are searched for one that nothing leads to, where no
/// stream is named.
const SEARCHED_EVENTS_MAX: u64 = 100_000;
/// After how many bytes of payloads that search ends, in bytes: they are all checked.
const SEARCHED_LEN_MAX: usize = 64 << 20;

/// An event that was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Found {
    pub(super) id: EventId,
    pub(super) event_type: EventType<'static>,
    /// Its number among those of its name in its stream.
    pub(super) number: u64,
}

impl Found {
    fn new(event: &Event<'_>) -> Result<Self, Failure> {
        Ok(Self {
            id: event.id,
            event_type: EventType::new(event.event_type.to_owned())?,
            number: event.type_sequence + 1,
        })
    }
}

/// The event of a stream with this id, for an acknowledgement by this consumer.
pub(super) async fn in_stream(
    app: &App,
    log: &Log,
    stream: &StreamName<'_>,
    id: &Uuid,
    consumer: Uuid,
) -> Result<Option<Found>, Failure> {
    let is_it = |event: &Event<'_>| event.stream == stream.as_str() && event::id_of(event) == *id;
    for position in led_to(log, id).await? {
        if let Some(found) = look(log, position, &is_it).await? {
            return Ok(Some(found));
        }
    }
    if !begins_with_others(log, stream).await? {
        return Ok(None);
    }
    for (name, _count) in log.types_of_stream(stream, None, NAMES_MAX).await? {
        let key = OffsetKey {
            stream: stream.by_ref(),
            consumer,
            event_type: EventType::new(name)?,
        };
        let offset = app.offset(&key).await?.map_or(0, |offset| offset.count);
        // What is next, then what clients get wrong: the last one again, and one too far.
        for rank in [Some(offset), offset.checked_sub(1), offset.checked_add(1)] {
            let Some(rank) = rank else { continue };
            if let Some(position) = log.at_type_sequence(stream, &key.event_type, rank).await?
                && let Some(found) = look(log, position, &is_it).await?
            {
                return Ok(Some(found));
            }
        }
    }
    let of_stream = Selection {
        filter: of_stream(stream),
        ..Selection::default()
    };
    search(log, of_stream, is_it, is_of_owner).await
}

/// The positions that lead to an event with this id, if there is one.
async fn led_to(log: &Log, id: &Uuid) -> Result<Vec<EventId>, Failure> {
    let indexed = log.find_by_uid(Uid::Uuid(id.into_bytes())).await?;
    Ok(indexed.into_iter().chain(ids::position(id)).collect())
}

/// The event at a position, if it is the one.
async fn look(
    log: &Log,
    position: EventId,
    is_it: impl Fn(&Event<'_>) -> bool,
) -> Result<Option<Found>, Failure> {
    let records = match log.event(position).await {
        Ok(records) => records,
        Err(failure) if matches!(failure.code, Code::NoSuchEvent | Code::Expired) => {
            return Ok(None);
        }
        Err(failure) => return Err(failure),
    };
    let Some(record) = records.get(0)? else {
        return Ok(None);
    };
    let event = Event::from_record(record)?;
    if !is_it(&event) {
        return Ok(None);
    }
    Found::new(&event).map(Some)
}

/// Whether a stream has events of other doors: from its owner's first event on all are the owner's,
/// so the first one that is kept tells.
async fn begins_with_others(log: &Log, stream: &StreamName<'_>) -> Result<bool, Failure> {
    let first = Selection {
        filter: of_stream(stream),
        limit: Some(1),
        ..Selection::default()
    };
    let page = log.read(first).await?.next_page(1).await?;
    let record = page.as_ref().map(|records| records.get(0)).transpose()?;
    match record.flatten() {
        Some(record) => Ok(!Event::from_record(record)?.is_of_owner()),
        None => Ok(false),
    }
}

/// The first event of a selection that is the one, before the first at which to stop.
async fn search(
    log: &Log,
    selection: Selection,
    is_it: impl Fn(&Event<'_>) -> bool,
    mut stops: impl FnMut(&Event<'_>) -> bool,
) -> Result<Option<Found>, Failure> {
    let mut reading = log.read(selection).await?;
    while let Some(records) = reading.next_page(PAGE_LEN_MAX).await? {
        for record in records.iter() {
            let event = Event::from_record(record?)?;
            if stops(&event) {
                return Ok(None);
            }
            if is_it(&event) {
                return Found::new(&event).map(Some);
            }
        }
    }
    Ok(None)
}

fn is_of_owner(event: &Event<'_>) -> bool {
    event.is_of_owner()
}

fn of_stream(stream: &StreamName<'_>) -> Filter {
    Filter {
        streams: vec![stream.clone().into_owned()],
        ..Filter::default()
    }
}

/// `GET /events/{event}/payload`: the whole event object, whatever the name says.
pub(super) async fn payload(call: &Call<'_>) -> Result<Reply, Refusal> {
    let id = call.event()?;
    let log = call.log()?;
    let is_it = |event: &Event<'_>| event::id_of(event) == id;
    let mut found = None;
    for position in led_to(&log, &id).await? {
        if found.is_none() {
            found = look(&log, position, is_it).await?;
        }
    }
    if found.is_none() {
        let newest = Selection {
            limit: Some(SEARCHED_EVENTS_MAX),
            direction: Direction::Backward,
            ..Selection::default()
        };
        let mut len = 0;
        let is_far = |event: &Event<'_>| {
            len += event.data.bytes().len();
            len > SEARCHED_LEN_MAX
        };
        found = search(&log, newest, is_it, is_far).await?;
    }
    let Some(found) = found else {
        return Err(Refusal::NotFound(Some(text::NO_SUCH_EVENT.into())));
    };
    let records = log.event(found.id).await?;
    let mut body = Vec::new();
    if let Some(record) = records.get(0).map_err(Failure::from)? {
        let event = Event::from_record(record).map_err(Failure::from)?;
        event::push(&mut body, &event);
    }
    Ok(replies::json(StatusCode::OK, body))
}
