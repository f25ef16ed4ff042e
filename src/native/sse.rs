//! Events as they come (`text/event-stream`): what is there, then what is published later, without
//! gap or duplicate.
//!
//! Each event has its id as `id`, so that a browser's `EventSource` goes on after it by itself:
//! `Last-Event-ID` wins over the query, which stays the same when a client connects again. A
//! comment now and then shows that the connection lives. If reading fails, the last event is
//! `problem`, and the connection ends without the end mark.
//!
//! An `EventSource` connects again whenever a stream ends, also when there is nothing left to come.
//! So the end of a selection leaves it with an id that says so (`to`, or [`DONE`] behind a `limit`),
//! and who comes back with that is told to stay away: 204.

use std::time::Duration;

use tokio::sync::OwnedSemaphorePermit;

use crate::app::range::{Followed, Following, Selection};
use crate::app::{App, Event, Failure, Filter, Log};
use crate::http::{
    Aborted, HeaderName, HeaderValue, Reply, RequestId, StatusCode, Writer, head, header, query,
};
use crate::json::write;
use crate::store::{EventId, Records};

use super::call::Call;
use super::failure::{Refusal, not_an_event};
use super::render::{self, Breaks};
use super::select::Asked;

const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");
/// The bytes of records that are read at a time.
const READ_LEN: usize = 64 << 10;
/// Sent first, so that the client knows at once that it is connected: after how many milliseconds
/// it may connect again.
const GREETING: &str = "retry: 1000\n\n";
const HEARTBEAT: &str = ":\n\n";
/// The last id of a stream whose limit is used up.
const DONE: &str = "done";

/// What is sent, and until when.
struct Sending {
    following: Following,
    /// The highest id that is asked for.
    to: Option<EventId>,
    /// How many events may still be sent.
    left: Option<u64>,
    heartbeat: Duration,
}

/// A following read.
pub(super) async fn reply(call: &Call<'_>, log: Log, asked: Asked) -> Result<Reply, Refusal> {
    let mut selection = asked.selection;
    let mut greeting = GREETING.to_owned();
    if let Some(last) = call.head.one(&LAST_EVENT_ID)? {
        if last == DONE {
            return Ok(Reply::new(StatusCode::NO_CONTENT));
        }
        let Some(last) = query::whole_number(last) else {
            return Err(head::invalid(&LAST_EVENT_ID, "it is no id").into());
        };
        if selection.to.is_some_and(|to| last >= to.get()) {
            return Ok(Reply::new(StatusCode::NO_CONTENT));
        }
        if let Some((limit, start)) = selection.limit.zip(dense_start(&selection))
            && last >= start
        {
            let left = limit.saturating_sub(last - start + 1);
            if left == 0 {
                return Ok(Reply::new(StatusCode::NO_CONTENT));
            }
            selection.limit = Some(left);
        }
        selection.from = None;
        selection.after = Some(last);
    } else if asked.from_end {
        let end = log.end();
        selection.from = Some(end);
        // A client that is cut off before the first event comes back to here.
        greeting.push_str(&format!("id: {}\n\n", end.get() - 1));
    }
    let permit = call.api.reader()?;
    let (to, left) = (selection.to, selection.limit);
    let sending = Sending {
        following: log.follow(selection).await?,
        to,
        left,
        heartbeat: call.api.app.limits().heartbeat,
    };
    let app = call.api.app.clone();
    let id = call.head.id().clone();
    Ok(Reply::new(StatusCode::OK)
        .typed(HeaderValue::from_static(super::events::SSE))
        .header(header::CACHE_CONTROL, HeaderValue::from_static("no-store"))
        .header(header::VARY, HeaderValue::from_static("accept"))
        .streamed(move |out| write(out, app, greeting, sending, id, permit)))
}

/// The first id of a selection that takes every event from there on, so that its limit can be told
/// from ids; none for any other.
fn dense_start(selection: &Selection) -> Option<u64> {
    let all = selection.filter == Filter::default() && selection.since_us.is_none();
    let from = selection.from.map(EventId::get);
    let behind = selection.after.map(|after| after.saturating_add(1));
    from.max(behind).filter(|_| all)
}

async fn write(
    mut out: Writer,
    app: App,
    greeting: String,
    mut sending: Sending,
    id: RequestId,
    _permit: OwnedSemaphorePermit,
) -> Result<(), Aborted> {
    out.send(greeting).await?;
    loop {
        let mut text = Vec::new();
        let outcome = match sending.following.next(READ_LEN, sending.heartbeat).await {
            Ok(Followed::Page(records)) => {
                let count = u64::try_from(records.len()).unwrap_or(u64::MAX);
                sending.left = sending.left.map(|left| left.saturating_sub(count));
                // As for lines, nothing is made for a client that has not taken what was made before.
                out.taken().await?;
                write_events(&mut text, &records)
            }
            Ok(Followed::Idle) => {
                text.extend_from_slice(HEARTBEAT.as_bytes());
                Ok(())
            }
            Ok(Followed::Ended) => {
                if sending.left == Some(0) {
                    text.extend_from_slice(format!("id: {DONE}\n\n").as_bytes());
                } else if let Some(to) = sending.to.filter(|_| !app.is_stopping()) {
                    text.extend_from_slice(format!("id: {to}\n\n").as_bytes());
                }
                out.send(text).await?;
                return Ok(());
            }
            Err(failure) => Err(failure),
        };
        if let Err(failure) = outcome {
            text.extend_from_slice(b"event: problem\ndata: ");
            text.extend_from_slice(&Refusal::from(failure).into_problem(&id).to_json(&id));
            text.extend_from_slice(b"\n\n");
            out.send(text).await?;
            return Err(Aborted);
        }
        out.send(text).await?;
    }
}

fn write_events(text: &mut Vec<u8>, records: &Records) -> Result<(), Failure> {
    text.reserve(records.encoded_len() + 256 * records.len());
    for record in records.iter() {
        let event = Event::from_record(record?).map_err(|error| not_an_event(&error))?;
        text.extend_from_slice(b"id: ");
        write::number(text, event.id.get());
        text.extend_from_slice(b"\ndata: ");
        render::event(text, &event, Breaks::Drop);
        text.extend_from_slice(b"\n\n");
    }
    Ok(())
}
