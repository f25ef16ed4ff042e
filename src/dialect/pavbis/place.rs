//! Where a consumer stands in the events of one name, and what is next for it.

use crate::app::event::Event;
use crate::app::filter::Filter;
use crate::app::offsets::{Offset, OffsetKey};
use crate::app::range::Selection;
use crate::app::{App, Failure, Log};
use crate::store::EventId;

use super::replies::Refusal;

/// A consumer in the events of one name of one stream.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    /// Its offset as it was kept; none if it has none yet.
    pub(super) kept: Option<Offset>,
    /// How many events there have been.
    pub(super) count: u64,
}

impl Place {
    /// Looks a place up.
    ///
    /// Numbers begin anew once retention has removed every event of a name. An offset of before
    /// would then pass over new events, so it is refused by the event it was kept with.
    pub(super) async fn of(app: &App, log: &Log, key: &OffsetKey<'_>) -> Result<Self, Refusal> {
        let kept = app.offset(key).await?;
        let count = log.type_count(&key.stream, &key.event_type).await?;
        let place = Self { kept, count };
        if let Some(offset) = kept
            && count > 0
            && is_of_before(log, key, &offset, count).await?
        {
            return Err(Refusal::internal(format!(
                "retention has removed all events that offset {} of consumer {} counts, and the numbers of {} in stream {} have begun anew; change the offset to 0 to go on",
                offset.count, key.consumer, key.event_type, key.stream
            )));
        }
        Ok(place)
    }

    /// How many events the consumer has acknowledged.
    pub(super) fn offset(&self) -> u64 {
        self.kept.map_or(0, |offset| offset.count)
    }
}

async fn is_of_before(
    log: &Log,
    key: &OffsetKey<'_>,
    offset: &Offset,
    count: u64,
) -> Result<bool, Failure> {
    let Some(last) = offset.count.checked_sub(1) else {
        return Ok(false);
    };
    if last >= count {
        return Ok(true);
    }
    let found = log
        .at_type_sequence(&key.stream, &key.event_type, last)
        .await?;
    // Neither is known for good: the offset may have been changed to an event that was gone.
    Ok(found
        .zip(offset.last)
        .is_some_and(|(now, then)| now != then))
}

/// The first event after an offset, which there has been.
pub(super) async fn next_event(
    log: &Log,
    key: &OffsetKey<'_>,
    offset: u64,
) -> Result<EventId, Refusal> {
    let next = log
        .at_type_sequence(&key.stream, &key.event_type, offset)
        .await?;
    if let Some(id) = next {
        return Ok(id);
    }
    let what = match first_kept(log, key).await? {
        Some(first) => format!(
            "retention has removed the events after offset {offset}; the first {} of stream {} that is kept has number {}; change the offset to {first} to go on",
            key.event_type,
            key.stream,
            first + 1
        ),
        None => format!("retention has removed the events after offset {offset}"),
    };
    Err(Refusal::internal(what))
}

/// How many events came before the first one that is kept; none if none is.
pub(super) async fn first_kept(log: &Log, key: &OffsetKey<'_>) -> Result<Option<u64>, Refusal> {
    let selection = Selection {
        limit: Some(1),
        ..events_of(key)
    };
    let page = log.read(selection).await?.next_page(1).await?;
    let record = page.as_ref().map(|records| records.get(0)).transpose();
    let record = record.map_err(Failure::from)?.flatten();
    let event = record.map(Event::from_record).transpose();
    Ok(event
        .map_err(Failure::from)?
        .map(|event| event.type_sequence))
}

/// All events of a name in a stream.
pub(super) fn events_of(key: &OffsetKey<'_>) -> Selection {
    Selection {
        filter: Filter {
            streams: vec![key.stream.clone().into_owned()],
            types: vec![key.event_type.clone().into_owned()],
            tags: Vec::new(),
        },
        ..Selection::default()
    }
}
