//! Event handlers: endpoints that events are pushed to, in order, until each is taken.
//!
//! A handler is a document of the server and a lane of the delivery machine. Its place in the log is
//! durable; replacing or disabling the handler keeps it, removing the handler forgets it. If
//! retention overtakes a handler it stands still, and `lastError` says so: it would have to skip
//! events. Registered anew it begins where it is told.
//!
//! `clientId`, `componentName` and the two authentication ids are kept and shown, and mean nothing
//! here: whatever an endpoint wants to see goes into `endpointOptions`, which are sent as headers.
//! The context of a handler is the one in the path, whatever the body says.

use tokio::sync::OwnedSemaphorePermit;

use crate::app::Log;
use crate::http::path::encode;
use crate::http::{Aborted, Body, HeaderValue, Query, Reply, StatusCode, Writer, header};
use crate::json::{self, Reader};

use super::call::{Call, invalid_parameter};
use super::event::APPLICATION_JSON;
use super::message::new_uuid;
use super::replies::{self, Kind, Refusal};

mod registration;
mod registry;
mod target;

pub(super) use registry::Registry;

use registration::Registration;
use registry::{Handler, HandlerId};

/// A list up to so many bytes is sent as a whole; of a longer one, pieces about as long.
const PIECE_LEN: usize = 128 << 10;

/// Registers a handler under an id of the server's choice.
pub(super) async fn register(call: &Call<'_>, body: Body) -> Result<Reply, Refusal> {
    let context = call.context()?;
    let registration = read(call, body).await?;
    let id = HandlerId::new(new_uuid(context.app().random().as_ref()))?;
    put(call, context, id, registration).await
}

/// Registers a handler under an id of the client's choice, or replaces the one there is.
pub(super) async fn put_registration(call: &Call<'_>, body: Body) -> Result<Reply, Refusal> {
    let context = call.context()?;
    let id = handler_id(call)?;
    let registration = read(call, body).await?;
    put(call, context, id, registration).await
}

async fn put(
    call: &Call<'_>,
    context: &Log,
    id: HandlerId,
    registration: Registration,
) -> Result<Reply, Refusal> {
    let registry = &call.door.handlers;
    let handler = Handler {
        context: context.clone(),
        id,
        registration,
    };
    let is_new = registry.put(handler.clone()).await?;
    let mut body = Vec::with_capacity(512);
    handler.write(&mut body, registry.last_error(&handler.lane()).as_deref());
    if !is_new {
        return Ok(replies::json(StatusCode::OK, body));
    }
    let location = location(call, &handler)?;
    Ok(replies::json(StatusCode::CREATED, body).header(header::LOCATION, location))
}

/// Where a handler is found: an absolute URL by the name that the client knows this server by.
fn location(call: &Call<'_>, handler: &Handler) -> Result<HeaderValue, Refusal> {
    let origin = match call.head.one(&header::HOST)? {
        Some(host) => format!("http://{host}"),
        // HTTP/1.0 may leave it out.
        None => String::new(),
    };
    // Whoever follows the link would take a name of dots for a step in the path.
    let id = match handler.id.as_str() {
        "." => "%2E".to_owned(),
        ".." => "%2E%2E".to_owned(),
        id => encode(id).to_string(),
    };
    let context = handler.context.name();
    let text = format!("{origin}/v1/contexts/{context}/handlers/events/{id}");
    HeaderValue::try_from(text).map_err(|_| Refusal::new(Kind::INTERNAL, "a link cannot be sent"))
}

async fn read(call: &Call<'_>, body: Body) -> Result<Registration, Refusal> {
    call.expect_content_type(&[APPLICATION_JSON])?;
    let payload = call.read_body(body).await?;
    let mut reader = Reader::new(json::text(&payload)?, 0);
    let registration = Registration::read(&mut reader, call.door.tools.hub.guard())?;
    reader.finish()?;
    Ok(registration)
}

/// Shows a handler.
pub(super) fn show(call: &Call<'_>) -> Result<Reply, Refusal> {
    let (context, id) = (call.context()?, handler_id(call)?);
    let registry = &call.door.handlers;
    let handler = registry.get(context, &id)?.ok_or_else(|| unknown(&id))?;
    let mut body = Vec::with_capacity(512);
    handler.write(&mut body, registry.last_error(&handler.lane()).as_deref());
    Ok(replies::json(StatusCode::OK, body))
}

/// Lists the handlers of a context.
pub(super) fn list(call: &Call<'_>) -> Result<Reply, Refusal> {
    let context = call.context()?;
    write_list(call, call.door.handlers.handlers(Some(context)))
}

/// Lists the handlers of all contexts.
pub(super) fn list_all(call: &Call<'_>) -> Result<Reply, Refusal> {
    write_list(call, call.door.handlers.handlers(None))
}

/// Begins or ends the deliveries to a handler.
pub(super) async fn enable(call: &Call<'_>) -> Result<Reply, Refusal> {
    let (context, id) = (call.context()?, handler_id(call)?);
    let enabled = match Query::parse(call.head.query())?.one("enabled")?.as_deref() {
        Some("true") => true,
        Some("false") => false,
        Some(_) | None => {
            return Err(invalid_parameter("enabled", "'true' or 'false' was expected").into());
        }
    };
    let registry = &call.door.handlers;
    if !registry.enable(context, &id, enabled).await? {
        return Err(unknown(&id));
    }
    Ok(replies::done())
}

/// Removes a handler, and forgets its place.
pub(super) async fn remove(call: &Call<'_>) -> Result<Reply, Refusal> {
    let (context, id) = (call.context()?, handler_id(call)?);
    if !call.door.handlers.remove(context, &id).await? {
        return Err(unknown(&id));
    }
    Ok(replies::done())
}

/// Lists the ways in which events can be delivered.
pub(super) fn endpoint_types() -> Reply {
    replies::json(StatusCode::OK, registration::endpoint_types())
}

fn handler_id(call: &Call<'_>) -> Result<HandlerId, Refusal> {
    HandlerId::new(call.name("id")?.into_owned())
}

fn unknown(id: &HandlerId) -> Refusal {
    Refusal::new(
        Kind::NOT_FOUND,
        format!("Event handler {} not found; nothing was done", id.as_str()),
    )
}

/// `{"items":[...]}`.
fn write_list(
    call: &Call<'_>,
    mut handlers: impl Iterator<Item = Result<Handler, Refusal>> + Send + 'static,
) -> Result<Reply, Refusal> {
    let registry = call.door.handlers.clone();
    let mut body = Vec::with_capacity(4 << 10);
    body.extend_from_slice(b"{\"items\":[");
    let mut is_first = true;
    let mut write = move |out: &mut Vec<u8>| -> Result<bool, Refusal> {
        for handler in handlers.by_ref() {
            let handler = handler?;
            if !std::mem::take(&mut is_first) {
                out.push(b',');
            }
            handler.write(out, registry.last_error(&handler.lane()).as_deref());
            if out.len() >= PIECE_LEN {
                return Ok(true);
            }
        }
        out.extend_from_slice(b"]}");
        Ok(false)
    };
    if !write(&mut body)? {
        return Ok(replies::json(StatusCode::OK, body));
    }
    let permit = call.door.reader()?;
    let reply = replies::json_head(StatusCode::OK);
    Ok(reply.streamed(move |out| stream(out, body, write, permit)))
}

async fn stream(
    mut out: Writer,
    mut piece: Vec<u8>,
    mut write: impl FnMut(&mut Vec<u8>) -> Result<bool, Refusal>,
    _permit: OwnedSemaphorePermit,
) -> Result<(), Aborted> {
    loop {
        out.send(std::mem::take(&mut piece)).await?;
        match write(&mut piece) {
            Ok(true) => {}
            Ok(false) => return Ok(out.send(piece).await?),
            Err(_) => return Err(Aborted),
        }
    }
}
