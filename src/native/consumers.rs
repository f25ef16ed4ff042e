//! `.../consumers`: named readers with a durable checkpoint.

use crate::app::Filter;
use crate::app::consumers::{Consumer, ConsumerDefinition, Lag, Seek, Start};
use crate::http::{Body, Reply, StatusCode};
use crate::store::{Direction, EventId};

use super::call::{Call, Next, json_reply, limit};
use super::events::{self, Page};
use super::failure::Refusal;
use super::wire;
use crate::json::write;
use crate::json::{Fault, FaultKind, Reader};

/// Lists consumers' names, a page at a time.
pub(super) async fn list(call: &Call<'_>) -> Result<Reply, Refusal> {
    let log = call.log()?;
    let mut query = call.query()?;
    let (after, limit) = call.paging(&mut query)?;
    query.finish()?;
    let page = log.consumers(after.as_deref(), limit.as_len()).await?;
    let mut body = Vec::with_capacity(64 + 32 * page.names.len());
    body.extend_from_slice(b"{\"consumers\":[");
    for (index, name) in page.names.iter().enumerate() {
        if index > 0 {
            body.push(b',');
        }
        body.extend_from_slice(b"{\"name\":");
        write::string(&mut body, name);
        body.push(b'}');
    }
    Ok(call.end_list(body, Next::After(page.next.as_deref()), limit))
}

/// Defines a consumer: 201 if it is new, 200 if it is defined so already.
pub(super) async fn define(call: &Call<'_>, body: Body) -> Result<Reply, Refusal> {
    let log = call.log()?;
    let name = call.consumer()?;
    call.no_query()?;
    let definition = call
        .read_json(body, Some(ConsumerDefinition::default()), definition)
        .await?;
    let defined = log.define_consumer(&name, definition).await?;
    let status = if defined.created {
        StatusCode::CREATED
    } else {
        StatusCode::OK
    };
    Ok(json_reply(status, written(&defined.consumer)))
}

/// `{"filter":{"stream"?,"types"?,"tags"?},"start":"first"|"end"|<id>}`.
fn definition(reader: &mut Reader<'_>) -> Result<ConsumerDefinition, Fault> {
    let mut definition = ConsumerDefinition::default();
    let mut object = reader
        .object()
        .ok_or_else(|| wire::expected(reader.clone(), "an object"))?;
    while let Some(member) = object.next(reader, &["filter", "start"])? {
        if reader.null() {
            continue;
        }
        let read = match member {
            "filter" => wire::filter(reader, &["stream", "types", "tags"])
                .map(|filter| definition.filter = filter),
            _ => start(reader).map(|start| definition.start = start),
        };
        read.map_err(|fault| fault.of(member))?;
    }
    Ok(definition)
}

/// Reads where a reader begins.
pub(super) fn start(reader: &mut Reader<'_>) -> Result<Start, Fault> {
    let (place, offset) = place(reader)?;
    Ok(match place {
        Place::First => Start::First,
        Place::End => Start::End,
        Place::Id(id) => Start::At(event_id(id, offset)?),
    })
}

/// A place in a log as clients name it.
enum Place {
    First,
    End,
    Id(u64),
}

fn place(reader: &mut Reader<'_>) -> Result<(Place, usize), Fault> {
    let offset = reader.offset();
    let place = match reader.clone().string()?.as_deref() {
        Some("first") => Some(Place::First),
        Some("end") => Some(Place::End),
        Some(_) => None,
        None => reader.clone().whole_number()?.map(Place::Id),
    };
    let place =
        place.ok_or_else(|| wire::expected(reader.clone(), "\"first\", \"end\" or an id"))?;
    reader.value()?;
    Ok((place, offset))
}

fn event_id(id: u64, offset: usize) -> Result<EventId, Fault> {
    EventId::new(id).ok_or_else(|| Fault::new(FaultKind::Member, offset, "ids begin at 1"))
}

/// Describes a consumer.
pub(super) async fn describe(call: &Call<'_>) -> Result<Reply, Refusal> {
    let log = call.log()?;
    let name = call.consumer()?;
    call.no_query()?;
    let consumer = log.consumer(&name).await?;
    Ok(json_reply(StatusCode::OK, written(&consumer)))
}

fn written(consumer: &Consumer) -> Vec<u8> {
    let mut body = Vec::with_capacity(256);
    body.extend_from_slice(b"{\"name\":");
    write::string(&mut body, &consumer.name);
    body.extend_from_slice(b",\"filter\":");
    write_filter(&mut body, &consumer.definition.filter);
    body.extend_from_slice(b",\"start\":");
    write_start(&mut body, consumer.definition.start);
    body.extend_from_slice(b",\"checkpoint\":");
    write::number(&mut body, consumer.checkpoint);
    body.extend_from_slice(b",\"lag\":");
    write_lag(&mut body, consumer.lag);
    body.push(b'}');
    body
}

/// Writes which events a reader is given: at most one stream, types, tags.
pub(super) fn write_filter(body: &mut Vec<u8>, filter: &Filter) {
    body.push(b'{');
    let mut first = true;
    if let Some(stream) = filter.streams.first() {
        body.extend_from_slice(b"\"stream\":");
        write::string(body, stream.as_str());
        first = false;
    }
    let types = filter.types.iter().map(|name| name.as_str());
    list_member(body, &mut first, "types", types);
    let tags = filter.tags.iter().map(|name| name.as_str());
    list_member(body, &mut first, "tags", tags);
    body.push(b'}');
}

/// Writes where a reader begins.
pub(super) fn write_start(body: &mut Vec<u8>, start: Start) {
    match start {
        Start::First => body.extend_from_slice(b"\"first\""),
        Start::End => body.extend_from_slice(b"\"end\""),
        Start::At(id) => write::number(body, id.get()),
    }
}

/// Writes how far a reader is behind.
pub(super) fn write_lag(body: &mut Vec<u8>, lag: Lag) {
    body.extend_from_slice(b"{\"events\":");
    write::number(body, lag.events);
    body.extend_from_slice(b",\"exact\":");
    body.extend_from_slice(if lag.exact { b"true" } else { b"false" });
    body.extend_from_slice(b",\"seconds\":");
    write::number(body, lag.age.as_secs());
    body.push(b'}');
}

fn list_member<'a>(
    body: &mut Vec<u8>,
    first: &mut bool,
    name: &str,
    values: impl ExactSizeIterator<Item = &'a str>,
) {
    if values.len() == 0 {
        return;
    }
    if !std::mem::take(first) {
        body.push(b',');
    }
    write::string(body, name);
    body.extend_from_slice(b":[");
    for (index, value) in values.enumerate() {
        if index > 0 {
            body.push(b',');
        }
        write::string(body, value);
    }
    body.push(b']');
}

/// Removes a consumer and its checkpoint.
pub(super) async fn remove(call: &Call<'_>) -> Result<Reply, Refusal> {
    let log = call.log()?;
    let name = call.consumer()?;
    call.no_query()?;
    log.remove_consumer(&name).await?;
    Ok(Reply::new(StatusCode::NO_CONTENT))
}

/// What comes after the checkpoint. The checkpoint stays where it is.
pub(super) async fn read(call: &Call<'_>) -> Result<Reply, Refusal> {
    let log = call.log()?;
    let name = call.consumer()?;
    call.negotiate(&[events::JSON])?;
    let mut query = call.query()?;
    let limit = limit(&mut query, events::PAGE.default, events::PAGE.cap)?;
    query.finish()?;
    let wait = call.wait().unwrap_or_default();
    let consumed = log.consume(&name, limit.count, wait).await?;
    let last_id = consumed.reading.last_id();
    let checkpoint = Some(consumed.checkpoint);
    let page = Page::read(consumed.reading, Direction::Forward, last_id, checkpoint).await?;
    let mut reply = json_reply(StatusCode::OK, page.body);
    limit.tell(&mut reply);
    events::applied(call, &mut reply);
    Ok(reply)
}

/// Everything up to an id is done.
pub(super) async fn acknowledge(call: &Call<'_>, body: Body) -> Result<Reply, Refusal> {
    let log = call.log()?;
    let name = call.consumer()?;
    call.no_query()?;
    let id = call
        .read_json(body, None, |reader| {
            id_member(reader, |reader| {
                let offset = reader.offset();
                let id = wire::whole_number(reader)?;
                EventId::new(id).ok_or_else(|| {
                    Fault::new(
                        FaultKind::Member,
                        offset,
                        "an acknowledgement names the last event that is done, and ids begin at 1; before the first is done there is nothing to acknowledge",
                    )
                })
            })
        })
        .await?;
    let checkpoint = log.acknowledge(&name, id).await?;
    Ok(checkpoint_reply(checkpoint))
}

/// Moves the checkpoint anywhere: `{"id":<id or 0 or "first" or "end">}`.
pub(super) async fn seek(call: &Call<'_>, body: Body) -> Result<Reply, Refusal> {
    let log = call.log()?;
    let name = call.consumer()?;
    call.no_query()?;
    let seek = call.read_json(body, None, seek_to).await?;
    let checkpoint = log.seek(&name, seek).await?;
    Ok(checkpoint_reply(checkpoint))
}

/// Reads where to move a place: `{"id":<id or 0 or "first" or "end">}`.
pub(super) fn seek_to(reader: &mut Reader<'_>) -> Result<Seek, Fault> {
    let place = id_member(reader, |reader| place(reader).map(|(place, _)| place))?;
    Ok(match place {
        Place::First => Seek::First,
        Place::End => Seek::End,
        Place::Id(id) => Seek::To(id),
    })
}

/// Reads `{"id":...}`.
fn id_member<T>(
    reader: &mut Reader<'_>,
    read: impl Fn(&mut Reader<'_>) -> Result<T, Fault>,
) -> Result<T, Fault> {
    let start = reader.clone();
    let mut object = reader
        .object()
        .ok_or_else(|| wire::expected(start.clone(), "an object with a member 'id'"))?;
    let mut id = None;
    while object.next(reader, &["id"])?.is_some() {
        id = Some(read(reader).map_err(|fault| fault.of("id"))?);
    }
    id.ok_or_else(|| wire::expected(start, "an object with a member 'id'").of("id"))
}

pub(super) fn checkpoint_reply(checkpoint: u64) -> Reply {
    let mut body = b"{\"checkpoint\":".to_vec();
    write::number(&mut body, checkpoint);
    body.push(b'}');
    json_reply(StatusCode::OK, body)
}
