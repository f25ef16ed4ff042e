//! `GET .../events`: range replay, in four representations; and one event.

use crate::app::limits::{JSON_PAGE_LEN_MAX, PAGE_EVENTS_DEFAULT, PAGE_EVENTS_MAX, PAGE_LEN_MAX};
use crate::app::name::StreamName;
use crate::app::range::Reading;
use crate::app::{Event, Failure, Log};
use crate::http::{HeaderValue, Reply, StatusCode, etag, header, prefer};
use crate::json::write;
use crate::store::{Direction, EventId};

use super::call::{Call, json_reply};
use super::failure::Refusal;
use super::render::{self, Breaks};
use super::select::{self, Asked, Sizes};
use super::{ndjson, records, sse};

pub(super) const JSON: &str = "application/json";
pub(super) const NDJSON: &str = "application/x-ndjson";
pub(super) const SSE: &str = "text/event-stream";
pub(super) const RECORDS: &str = "application/vnd.strandlog.records";

/// What a page can hold.
pub(super) const PAGE: Sizes = Sizes {
    default: Some(PAGE_EVENTS_DEFAULT),
    cap: Some(PAGE_EVENTS_MAX),
    follows: false,
};
/// A stream of lines or records goes to the end of the log as of the request.
const WHOLE: Sizes = Sizes {
    default: None,
    cap: None,
    follows: false,
};
const FOLLOWING: Sizes = Sizes {
    default: None,
    cap: None,
    follows: true,
};

/// Reads the log.
pub(super) async fn of_log(call: &Call<'_>) -> Result<Reply, Refusal> {
    let log = call.log()?;
    read(call, log, None).await
}

/// Reads the stream that the path names.
pub(super) async fn of_stream(call: &Call<'_>) -> Result<Reply, Refusal> {
    let log = call.log()?;
    let stream = call.stream()?;
    read(call, log, Some(&stream)).await
}

async fn read(
    call: &Call<'_>,
    log: Log,
    stream: Option<&StreamName<'_>>,
) -> Result<Reply, Refusal> {
    match call.negotiate(&[JSON, NDJSON, SSE, RECORDS])? {
        0 => {
            let asked = select::parse(call, stream, PAGE)?;
            let (reading, stream_tag) = begin(call, &log, stream, &asked).await?;
            page(call, &asked, reading, stream_tag).await
        }
        1 => {
            let asked = select::parse(call, stream, WHOLE)?;
            let (reading, stream_tag) = begin(call, &log, stream, &asked).await?;
            let ids = reading.ids();
            let settled = reading.is_settled();
            let tag = stream_tag.or_else(|| settled.then(|| range_tag("ndjson", &ids)));
            if let Some(tag) = &tag
                && keeps_all(&asked, &reading)
                && call.has(tag)?
            {
                return Ok(not_modified(tag.clone(), settled));
            }
            let mut reply = ndjson::reply(call, reading).await?;
            dress(call, &mut reply, tag, settled);
            Ok(reply)
        }
        2 => sse::reply(call, log, select::parse(call, stream, FOLLOWING)?).await,
        _ => {
            let asked = select::parse(call, stream, WHOLE)?;
            let reading = match call.wait() {
                Some(wait) => log.read_raw_waiting(asked.selection, wait).await?,
                None => log.read_raw(asked.selection).await?,
            };
            let settled = reading.is_settled();
            let tag = settled.then(|| range_tag("records", &reading.ids()));
            if let Some(tag) = &tag
                && call.has(tag)?
            {
                return Ok(not_modified(tag.clone(), settled));
            }
            let mut reply = records::reply(call, reading).await?;
            dress(call, &mut reply, tag, settled);
            Ok(reply)
        }
    }
}

/// Begins a read, and waits for its first event if the client wants that; the tag is that of the
/// stream, if the read is one of a stream.
async fn begin(
    call: &Call<'_>,
    log: &Log,
    stream: Option<&StreamName<'_>>,
    asked: &Asked,
) -> Result<(Reading, Option<HeaderValue>), Refusal> {
    let selection = asked.selection.clone();
    if let Some(wait) = call.wait() {
        let reading = log.read_waiting(selection.clone(), wait).await?;
        if stream.is_none() {
            return Ok((reading, None));
        }
        // Read again below, with a tag that knows of what was waited for.
    }
    // The tag is taken before the events: a tag that is older than the reply costs a reader a
    // refusal, one that is newer would let a writer overlook an event.
    let tag = match stream {
        Some(stream) => log.last_sequence(stream).await?.map(etag::strong),
        None => None,
    };
    Ok((log.read(selection).await?, tag))
}

/// Whether retention has taken nothing that the read would have had. The tag of a stream is its last
/// sequence and so does not tell; a named start that is gone was refused when the read began.
fn keeps_all(asked: &Asked, reading: &Reading) -> bool {
    let selection = &asked.selection;
    let named_start = selection.from.is_some() || selection.after.is_some();
    named_start || reading.ids().start == EventId::FIRST
}

/// One page of JSON: `{"events":[...],"next":<id or null>,"lastId":<id>}`.
///
/// `lastId` is the last id of the log as of the request; of a range that cannot change it is the end
/// of the range, because a page of that must not change either.
async fn page(
    call: &Call<'_>,
    asked: &Asked,
    reading: Reading,
    stream_tag: Option<HeaderValue>,
) -> Result<Reply, Refusal> {
    let settled = reading.is_settled();
    let tag = stream_tag.or_else(|| settled.then(|| range_tag("json", &reading.ids())));
    if let Some(tag) = &tag
        && keeps_all(asked, &reading)
        && call.has(tag)?
    {
        return Ok(not_modified(tag.clone(), settled));
    }
    let last_id = match asked.selection.to {
        Some(to) if settled => to.get(),
        Some(_) | None => reading.last_id(),
    };
    let page = Page::read(reading, asked.selection.direction, last_id, None).await?;
    let mut reply = json_reply(StatusCode::OK, page.body);
    match (page.next, asked.selection.direction) {
        (Some(next), Direction::Forward) => {
            let link = call.link("next", &["after"], "from", &next.to_string());
            reply.set(header::LINK, link);
        }
        (Some(next), Direction::Backward) => {
            reply.set(
                header::LINK,
                call.link("next", &[], "to", &next.to_string()),
            );
        }
        // Where a reader that has caught up goes on, or waits.
        (None, Direction::Forward) if asked.selection.to.is_none() => {
            let from = asked.selection.from.map_or(0, |from| from.get() - 1);
            let after = page
                .last_id
                .max(from)
                .max(asked.selection.after.unwrap_or(0));
            let link = call.link("monitor", &["from"], "after", &after.to_string());
            reply.set(header::LINK, link);
        }
        (None, _) => {}
    }
    asked.limit.tell(&mut reply);
    dress(call, &mut reply, tag, settled);
    Ok(reply)
}

/// A page, written.
#[derive(Debug)]
pub(super) struct Page {
    pub(super) body: Vec<u8>,
    next: Option<EventId>,
    last_id: u64,
}

impl Page {
    /// Reads and writes a page; `checkpoint` is shown if it is given.
    pub(super) async fn read(
        mut reading: Reading,
        direction: Direction,
        last_id: u64,
        checkpoint: Option<u64>,
    ) -> Result<Self, Refusal> {
        let mut body = Vec::with_capacity(4 << 10);
        let mut records_len = 0;
        let mut last_read = None;
        let mut cut = false;
        body.extend_from_slice(b"{\"events\":[");
        while let Some(records) = reading.next_page(PAGE_LEN_MAX).await? {
            for record in records.iter() {
                if last_read.is_some() {
                    body.push(b',');
                }
                let record = record.map_err(Failure::from)?;
                last_read = Some(record.id);
                render::event(&mut body, &Event::from_record(record)?, Breaks::Keep);
            }
            records_len += records.encoded_len();
            if records_len >= JSON_PAGE_LEN_MAX {
                cut = true;
                break;
            }
        }
        let next = match (last_read, direction) {
            (Some(last), Direction::Forward) if cut => last.next(),
            (Some(last), Direction::Backward) if cut => EventId::new(last.get() - 1),
            _ => reading.next_id().await?,
        };
        body.extend_from_slice(b"],\"next\":");
        write::maybe_number(&mut body, next.map(EventId::get));
        body.extend_from_slice(b",\"lastId\":");
        write::number(&mut body, last_id);
        if let Some(checkpoint) = checkpoint {
            body.extend_from_slice(b",\"checkpoint\":");
            write::number(&mut body, checkpoint);
        }
        body.push(b'}');
        Ok(Self {
            body,
            next,
            last_id,
        })
    }
}

/// One event.
pub(super) async fn one(call: &Call<'_>) -> Result<Reply, Refusal> {
    let log = call.log()?;
    let id = call.event_id()?;
    call.no_query()?;
    call.negotiate(&[JSON])?;
    let settled = id.get() <= log.durable_id();
    let records = log.event(id).await?;
    let tag = etag::strong(id);
    if settled && call.has(&tag)? {
        return Ok(not_modified(tag, settled));
    }
    let mut body = Vec::with_capacity(1 << 10);
    for record in records.iter() {
        let record = record.map_err(Failure::from)?;
        render::event(&mut body, &Event::from_record(record)?, Breaks::Keep);
    }
    let mut reply = json_reply(StatusCode::OK, body);
    dress(call, &mut reply, settled.then_some(tag), settled);
    Ok(reply)
}

/// The tag of a range that cannot change. What else the query asks for is part of the address.
fn range_tag(form: &str, ids: &std::ops::Range<EventId>) -> HeaderValue {
    etag::strong(format_args!("{}-{}.{form}", ids.start, ids.end))
}

/// A year: as long as RFC 9111's authors thought anyone would keep anything.
const IMMUTABLE: HeaderValue = HeaderValue::from_static("private, max-age=31536000, immutable");
const NO_CACHE: HeaderValue = HeaderValue::from_static("no-cache");
const VARY: HeaderValue = HeaderValue::from_static("accept");

fn not_modified(tag: HeaderValue, settled: bool) -> Reply {
    let caching = if settled { IMMUTABLE } else { NO_CACHE };
    Reply::new(StatusCode::NOT_MODIFIED)
        .header(header::ETAG, tag)
        .header(header::CACHE_CONTROL, caching)
        .header(header::VARY, VARY)
}

/// Says how long the reply stays true, and what it depends on.
fn dress(call: &Call<'_>, reply: &mut Reply, tag: Option<HeaderValue>, settled: bool) {
    let caching = if settled { IMMUTABLE } else { NO_CACHE };
    reply.set(header::CACHE_CONTROL, caching);
    reply.set(header::VARY, VARY);
    if let Some(tag) = tag {
        reply.set(header::ETAG, tag);
    }
    applied(call, reply);
}

/// Says how long the server would have waited.
pub(super) fn applied(call: &Call<'_>, reply: &mut Reply) {
    if let Some(wait) = call.wait()
        && let Ok(value) = HeaderValue::try_from(format!("wait={}", wait.as_secs()))
    {
        reply.set(prefer::PREFERENCE_APPLIED, value);
    }
}
