//! `GET /streams/{stream}/events`: what comes after a consumer's offset. Changes nothing.

use crate::app::Failure;
use crate::app::event::Event;
use crate::app::limits::PAGE_LEN_MAX;
use crate::app::name::EventType;
use crate::app::offsets::OffsetKey;
use crate::app::range::Selection;
use crate::http::Reply;

use super::call::{self, Call};
use super::event;
use super::place::{self, Place};
use super::replies::{self, Refusal, text};

/// The bytes after which a reply ends early, in bytes; the consumer reads on. It has to be in memory.
const REPLY_LEN_MAX: usize = 8 << 20;

pub(super) async fn read(call: &Call<'_>) -> Result<Reply, Refusal> {
    let consumer = call.consumer()?;
    let mut query = call.query()?;
    let asked: i64 = call::first(&mut query, "limit")
        .parse()
        .map_err(|_| Refusal::bad(text::LIMIT))?;
    let name = call::first(&mut query, "eventName");
    if name.is_empty() {
        return Err(Refusal::bad(text::EVENT_NAME_PARAMETER));
    }
    if asked == 0 {
        return Err(Refusal::bad(text::LIMIT_ZERO));
    }
    let asked = u64::try_from(asked).map_err(|_| Refusal::bad(text::LIMIT))?;
    let key = OffsetKey {
        stream: call.stream()?,
        consumer,
        event_type: EventType::new(name)?,
    };

    let log = call.log()?;
    let place = Place::of(call.app(), &log, &key).await?;
    if place.count == 0 && log.last_sequence(&key.stream).await?.is_none() {
        return Err(Refusal::no_such_stream(key.stream.as_str()));
    }
    let limit = asked.min(call.door.limit_max);
    let cut_at = (limit < asked).then_some(limit);
    let mut body = b"[".to_vec();
    if place.offset() < place.count {
        let selection = Selection {
            from: Some(place::next_event(&log, &key, place.offset()).await?),
            limit: Some(limit),
            ..place::events_of(&key)
        };
        let mut reading = log.read(selection).await?;
        'pages: while let Some(records) = reading.next_page(PAGE_LEN_MAX).await? {
            for record in records.iter() {
                let record = record.map_err(Failure::from)?;
                let event = Event::from_record(record).map_err(Failure::from)?;
                if body.len() > 1 {
                    body.push(b',');
                }
                event::push(&mut body, &event);
                if body.len() >= REPLY_LEN_MAX {
                    break 'pages;
                }
            }
        }
    }
    body.push(b']');
    Ok(replies::list(body, cut_at))
}
