//! Reading the events of one aggregate, whole or a page of them.
//!
//! What retention has removed is missing at the front: the sequence numbers show it. An aggregate
//! that nobody has written to has no events, and is no error: clients rely on it.

use tokio::sync::OwnedSemaphorePermit;

use crate::app::limits::PAGE_EVENTS_MAX;
use crate::app::name::AggregateId;
use crate::app::range::{Reading, Selection};
use crate::app::{Event, Failure, Log};
use crate::http::{Aborted, Query, Reply, RequestId, StatusCode, Writer};

use super::call::{Call, invalid_parameter};
use super::event::EventMessage;
use super::replies::{self, Kind, Refusal};

/// The bytes of records that are read at a time: what one read costs the others on this thread.
const READ_LEN: usize = 128 << 10;
/// A reply up to so many bytes is sent as a whole; of a longer one, pieces about as long.
const PIECE_LEN: usize = 128 << 10;
/// The events of a page if the request does not say.
const PAGE_SIZE_DEFAULT: u64 = 100;

/// All events of an aggregate: `{"items":[...]}`.
pub(super) async fn all(call: &Call<'_>) -> Result<Reply, Refusal> {
    let log = call.context()?;
    let id = aggregate(call)?;
    let items = Items {
        reading: log.read(Log::of_aggregate(id)).await?,
        end: u64::MAX,
        is_first: true,
        tail: "]}",
    };
    reply(call, items).await
}

/// A page of the events of an aggregate: `{"items":[...],"isLast":...}`.
pub(super) async fn page(call: &Call<'_>) -> Result<Reply, Refusal> {
    let log = call.context()?;
    let id = aggregate(call)?;
    let mut query = Query::parse(call.head.query())?;
    let size = query.number("pageSize")?.unwrap_or(PAGE_SIZE_DEFAULT);
    if !(1..=PAGE_EVENTS_MAX).contains(&size) {
        let wanted = format!("a number from 1 to {PAGE_EVENTS_MAX} was expected");
        return Err(invalid_parameter("pageSize", &wanted).into());
    }
    let offset = query.number("pageOffset")?.unwrap_or(0);
    let count = log.aggregate_count(&id).await?;
    let begin = offset.saturating_mul(size);
    if offset > 0 && begin >= count {
        return Err(Refusal::new(
            Kind::NOT_FOUND,
            format!("the aggregate has {count} events, and no page {offset} of {size}"),
        ));
    }
    let end = count.min(begin.saturating_add(size));
    // Without the first event of the page, the first one that is kept may still be in it.
    let from = log.at_aggregate_sequence(&id, begin).await?;
    let items = Items {
        reading: log
            .read(Selection {
                from,
                limit: Some(end - begin),
                ..Log::of_aggregate(id)
            })
            .await?,
        end,
        is_first: true,
        tail: if end == count {
            "],\"isLast\":true}"
        } else {
            "],\"isLast\":false}"
        },
    };
    reply(call, items).await
}

fn aggregate(call: &Call<'_>) -> Result<AggregateId<'static>, Refusal> {
    let name = call.name("aggregateId")?;
    Ok(AggregateId::new(name.into_owned())?)
}

/// Events on their way into a reply.
#[derive(Debug)]
struct Items {
    reading: Reading,
    /// One past the last sequence number that is wanted.
    end: u64,
    is_first: bool,
    /// What comes behind the events.
    tail: &'static str,
}

impl Items {
    /// Writes some more, or the tail; the flag says whether there is more to come.
    async fn write(&mut self, out: &mut Vec<u8>) -> Result<bool, Failure> {
        let records = self.reading.next_page(READ_LEN).await?;
        let Some(records) = records else {
            out.extend_from_slice(self.tail.as_bytes());
            return Ok(false);
        };
        for record in records.iter() {
            let event = Event::from_record(record)?;
            if event.aggregate().is_some_and(|(_, at)| at >= self.end) {
                out.extend_from_slice(self.tail.as_bytes());
                return Ok(false);
            }
            if !std::mem::take(&mut self.is_first) {
                out.push(b',');
            }
            EventMessage::of(&event).write(out);
        }
        Ok(true)
    }
}

/// The reply: with its length if it is short, else written while it is sent.
async fn reply(call: &Call<'_>, mut items: Items) -> Result<Reply, Refusal> {
    let mut body = Vec::with_capacity(4 << 10);
    body.extend_from_slice(b"{\"items\":[");
    while items.write(&mut body).await? {
        if body.len() >= PIECE_LEN {
            let permit = call.door.reader()?;
            let id = call.head.id().clone();
            return Ok(replies::json_head(StatusCode::OK)
                .streamed(move |out| stream(out, body, items, id, permit)));
        }
    }
    Ok(replies::json(StatusCode::OK, body))
}

async fn stream(
    mut out: Writer,
    mut piece: Vec<u8>,
    mut items: Items,
    id: RequestId,
    _permit: OwnedSemaphorePermit,
) -> Result<(), Aborted> {
    loop {
        out.send(std::mem::take(&mut piece)).await?;
        loop {
            match items.write(&mut piece).await {
                Ok(true) if piece.len() < PIECE_LEN => {}
                Ok(true) => break,
                Ok(false) => return Ok(out.send(piece).await?),
                Err(failure) => {
                    tracing::warn!(request_id = id.as_str(), %failure, "a reply could not be finished");
                    return Err(Aborted);
                }
            }
        }
    }
}
