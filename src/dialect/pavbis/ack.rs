//! `POST /streams/{stream}/events/{event}`: a consumer has done with the event that is next for it.

use crate::app::offsets::{Moved, OffsetKey, OffsetMove};
use crate::http::{Body, Query, Reply};

use super::call::{self, Call};
use super::place::Place;
use super::replies::{self, Refusal, text};
use super::{find, gate};

/// The longest body, in bytes. All that can be in it is a word.
const BODY_LEN_MAX: usize = 64 << 10;
/// How often the move is tried while others move the offset, and back.
const ROUNDS_MAX: usize = 8;

pub(super) async fn acknowledge(call: &Call<'_>, body: Body) -> Result<Reply, Refusal> {
    let consumer = call.consumer()?;
    let id = call.event()?;
    let stream = call.stream()?;
    check_action(call, body).await?;

    let (app, log) = (call.app(), call.log()?);
    let found = find::in_stream(app, &log, &stream, &id, consumer).await?;
    let Some(found) = found else {
        return Err(Refusal::NotFound(None));
    };
    let key = OffsetKey {
        stream,
        consumer,
        event_type: found.event_type,
    };
    let mut from = Place::of(app, &log, &key).await?.kept;
    for _round in 0..ROUNDS_MAX {
        let next = from.map_or(0, |offset| offset.count) + 1;
        if found.number != next {
            return Err(Refusal::mismatch(next, found.number));
        }
        let step = OffsetMove {
            from,
            to: found.number,
            last: Some(found.id),
        };
        match app.move_offset(&key, step).await? {
            Moved::Done(_) => return Ok(replies::acknowledged()),
            Moved::Elsewhere(now) => from = now,
        }
    }
    Err(Refusal::internal(
        "the offset kept being moved by others; it was not moved",
    ))
}

/// A form must say what is done. Any other body, and none, has nothing to say.
async fn check_action(call: &Call<'_>, body: Body) -> Result<(), Refusal> {
    let is_form = gate::is_form(call.head)?;
    let payload = body.read_within(BODY_LEN_MAX, &call.door.bodies).await?;
    if !is_form || payload.is_empty() {
        return Ok(());
    }
    let Ok(form) = std::str::from_utf8(&payload) else {
        return Err(Refusal::bad("the form is not UTF-8; nothing was changed"));
    };
    let mut fields = Query::parse(Some(form))?;
    if call::first(&mut fields, "action") == "ACK" {
        Ok(())
    } else {
        Err(Refusal::bad(text::ACTION))
    }
}
