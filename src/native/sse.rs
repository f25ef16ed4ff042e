//! Events as they come (`text/event-stream`): what is there, then what is published later, without
//! gap or duplicate.
//!
//! Each event has its id as `id`, so that a browser's `EventSource` goes on after it by itself:
//! `Last-Event-ID` wins over the query, which stays the same when a client connects again. A
//! comment now and then shows that the connection lives. If reading fails, the last event is
//! `problem`, and the connection ends without the end mark.

use std::time::Duration;

use tokio::sync::OwnedSemaphorePermit;

use crate::app::range::{Followed, Following};
use crate::app::{Event, Failure, Log};
use crate::http::{
    Aborted, HeaderName, HeaderValue, Reply, RequestId, StatusCode, Writer, head, header, query,
};
use crate::json::write;
use crate::store::Records;

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

/// A following read.
pub(super) async fn reply(call: &Call<'_>, log: Log, asked: Asked) -> Result<Reply, Refusal> {
    let mut selection = asked.selection;
    let mut greeting = GREETING.to_owned();
    if let Some(last) = call.head.one(&LAST_EVENT_ID)? {
        let Some(last) = query::whole_number(last) else {
            return Err(head::invalid(&LAST_EVENT_ID, "it is no id").into());
        };
        selection.from = None;
        selection.after = Some(last);
    } else if asked.from_end {
        let end = log.end();
        selection.from = Some(end);
        // A client that is cut off before the first event comes back to here.
        greeting.push_str(&format!("id: {}\n\n", end.get() - 1));
    }
    let permit = call.api.reader()?;
    let following = log.follow(selection).await?;
    let id = call.head.id().clone();
    let heartbeat = call.api.app.limits().heartbeat;
    Ok(Reply::new(StatusCode::OK)
        .typed(HeaderValue::from_static(super::events::SSE))
        .header(header::CACHE_CONTROL, HeaderValue::from_static("no-store"))
        .header(header::VARY, HeaderValue::from_static("accept"))
        .streamed(move |out| write(out, greeting, following, heartbeat, id, permit)))
}

async fn write(
    mut out: Writer,
    greeting: String,
    mut following: Following,
    heartbeat: Duration,
    id: RequestId,
    _permit: OwnedSemaphorePermit,
) -> Result<(), Aborted> {
    out.send(greeting).await?;
    loop {
        let mut text = Vec::new();
        let outcome = match following.next(READ_LEN, heartbeat).await {
            Ok(Followed::Page(records)) => write_events(&mut text, &records),
            Ok(Followed::Idle) => {
                text.extend_from_slice(HEARTBEAT.as_bytes());
                Ok(())
            }
            Ok(Followed::Ended) => return Ok(()),
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
        let event = Event::from_record(record).map_err(|error| not_an_event(&error))?;
        text.extend_from_slice(b"id: ");
        write::number(text, event.id.get());
        text.extend_from_slice(b"\ndata: ");
        render::event(text, &event, Breaks::Drop);
        text.extend_from_slice(b"\n\n");
    }
    Ok(())
}
