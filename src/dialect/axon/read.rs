//! Reading the events of one aggregate, whole or a page of them.
//!
//! What retention has removed is missing at the front: the sequence numbers show it. An aggregate
//! that nobody has written to has no events, and is no error: clients rely on it.

use tokio::sync::OwnedSemaphorePermit;

use crate::app::limits::PAGE_EVENTS_MAX;
use crate::app::name::AggregateId;
use crate::app::range::{Reading, Selection};
use crate::app::{Code, Event, Failure, Log};
use crate::http::{Aborted, Query, Reply, RequestId, StatusCode, Writer};

use super::call::{Call, invalid_parameter};
use super::event::EventMessage;
use super::replies::{self, Kind, Refusal};

/// The bytes of records that are read at a time: what one read costs the others on this thread.
const READ_LEN: usize = 128 << 10;
/// A reply up to so many bytes is sent as a whole; of a longer one, pieces about as long.
const PIECE_LEN: usize = 128 << 10;
/// How often a reply is begun, when retention overtakes it each time: it removes a segment at a time,
/// and some in a row.
const BEGUN_MAX: usize = 16;
/// The events of a page if the request does not say.
const PAGE_SIZE_DEFAULT: u64 = 100;

/// All events of an aggregate: `{"items":[...]}`.
pub(super) async fn all(call: &Call<'_>) -> Result<Reply, Refusal> {
    let log = call.context()?;
    let id = aggregate(call)?;
    reply(call, log, &Wanted { id, page: None }).await
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
    let page = Some(Page { size, offset });
    reply(call, log, &Wanted { id, page }).await
}

fn aggregate(call: &Call<'_>) -> Result<AggregateId<'static>, Refusal> {
    let name = call.name("aggregateId")?;
    Ok(AggregateId::new(name.into_owned())?)
}

/// What a request asks for.
#[derive(Debug)]
struct Wanted {
    id: AggregateId<'static>,
    /// All events if absent.
    page: Option<Page>,
}

#[derive(Debug)]
struct Page {
    size: u64,
    offset: u64,
}

impl Wanted {
    async fn open(&self, log: &Log) -> Result<Items, Unread> {
        let all = Log::of_aggregate(self.id.clone());
        let Some(Page { size, offset }) = self.page else {
            return Ok(Items {
                reading: log.read(all).await?,
                end: u64::MAX,
                is_first: true,
                tail: "]}",
            });
        };
        let count = log.aggregate_count(&self.id).await?;
        let begin = offset.saturating_mul(size);
        if offset > 0 && begin >= count {
            return Err(Unread::Refused(Refusal::new(
                Kind::NOT_FOUND,
                format!("the aggregate has {count} events, and no page {offset} of {size}"),
            )));
        }
        let end = count.min(begin.saturating_add(size));
        let selection = Selection {
            // Without the first event of the page, the first one that is kept may still be in it.
            from: log.at_aggregate_sequence(&self.id, begin).await?,
            limit: Some(end - begin),
            ..all
        };
        Ok(Items {
            reading: log.read(selection).await?,
            end,
            is_first: true,
            tail: if end == count {
                "],\"isLast\":true}"
            } else {
                "],\"isLast\":false}"
            },
        })
    }
}

/// Why a reply could not be begun.
#[derive(Debug)]
enum Unread {
    /// Retention has removed what was about to be read.
    Overtaken(Refusal),
    Refused(Refusal),
}

impl From<Failure> for Unread {
    fn from(failure: Failure) -> Self {
        match failure.code {
            Code::Expired => Self::Overtaken(failure.into()),
            _ => Self::Refused(failure.into()),
        }
    }
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
            let event = Event::from_record(record?)?;
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

/// The reply. As long as nothing of it has been sent it is begun anew when retention overtakes it:
/// nobody named the events that are gone, and what is kept is what was asked for.
async fn reply(call: &Call<'_>, log: &Log, wanted: &Wanted) -> Result<Reply, Refusal> {
    let mut begun = 0;
    loop {
        begun += 1;
        match begin(call, log, wanted).await {
            Err(Unread::Overtaken(_)) if begun < BEGUN_MAX => {}
            Err(Unread::Overtaken(refusal) | Unread::Refused(refusal)) => return Err(refusal),
            Ok(reply) => return Ok(reply),
        }
    }
}

/// The reply: with its length if it is short, else written while it is sent.
async fn begin(call: &Call<'_>, log: &Log, wanted: &Wanted) -> Result<Reply, Unread> {
    let mut items = wanted.open(log).await?;
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
