//! What became of calls: events in a log of the server's own, newest first to whoever asks.
//!
//! The history is kept apart from `_system`, which is read whole at each start: it may grow, and its
//! oldest entries go
//! ([`DELIVERIES_LEN_MAX`](crate::app::limits::DELIVERIES_LEN_MAX)). Nothing the server does depends
//! on it.

use bytes::Bytes;

use crate::app::name::{EventType, StreamName, TagLabel, shortened};
use crate::app::publish::{NewEvent, Publish};
use crate::app::range::Selection;
use crate::app::{App, Code, Data, Event, Failure, Filter};
use crate::store::{Direction, Durability, EventId, LogName};

/// The history of calls. Clones are the same.
#[derive(Clone, Debug)]
pub struct History(App);

/// Which entries. Texts that are too long for a name are shortened in the same way as by
/// [`History::record`].
#[derive(Clone, Copy, Debug, Default)]
pub struct Selector<'a> {
    /// Of this stream; of any if absent.
    pub stream: Option<&'a str>,
    /// Of one of these types; of any if there are none.
    pub types: &'a [&'a str],
    /// With all of these tags.
    pub tags: &'a [&'a str],
}

/// An entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its id: a later entry has a higher one.
    pub id: EventId,
    /// Its type.
    pub event_type: String,
    /// When it was recorded, in microseconds since 1970 (UTC).
    pub recorded_at_us: u64,
    /// What was recorded.
    pub json: Bytes,
}

/// A page of entries.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EntryPage {
    /// The entries, newest first.
    pub entries: Vec<Entry>,
    /// Before which entry the next page goes on; none if this is the last.
    pub next: Option<EventId>,
}

/// The bytes after which a page ends early, in bytes: entries may hold requests and answers.
const PAGE_LEN_MAX: usize = 4 << 20;

impl History {
    pub(super) fn new(app: App) -> Self {
        Self(app)
    }

    /// Records an entry. Once this resolves it survives the end of the process, and the loss of
    /// power may take the last second: what must not be lost belongs elsewhere.
    ///
    /// `json` is one JSON value of half a MiB at most; no tag is there twice.
    ///
    /// # Errors
    ///
    /// [`Failure`]: a name has a control character or is empty, or the log takes no writes.
    pub async fn record(
        &self,
        stream: &str,
        event_type: &str,
        tags: &[&str],
        json: &[u8],
    ) -> Result<EventId, Failure> {
        self.append(stream, event_type, tags, json, Durability::Os)
            .await
    }

    /// The same, surviving the loss of power once this resolves.
    ///
    /// # Errors
    ///
    /// As for [`record`](Self::record).
    pub async fn record_durably(
        &self,
        stream: &str,
        event_type: &str,
        tags: &[&str],
        json: &[u8],
    ) -> Result<EventId, Failure> {
        self.append(stream, event_type, tags, json, Durability::Sync)
            .await
    }

    async fn append(
        &self,
        stream: &str,
        event_type: &str,
        tags: &[&str],
        json: &[u8],
        durability: Durability,
    ) -> Result<EventId, Failure> {
        let tags = tags.iter().map(|tag| TagLabel::new(shortened(tag)));
        let event = NewEvent {
            tags: tags.collect::<Result<_, _>>()?,
            ..NewEvent::new(
                StreamName::new(shortened(stream))?,
                EventType::new(shortened(event_type))?,
                Data::Json(json),
            )
        };
        let log = self.0.own_log(LogName::deliveries()).await?;
        let published = log.publish(Publish {
            events: vec![event],
            durability: Some(durability),
            ..Publish::default()
        });
        Ok(published.await?.first_id)
    }

    /// The entries before `before` (the newest if absent), at most `limit` of them. What has gone
    /// by now is left out.
    ///
    /// # Errors
    ///
    /// [`Failure`]: a name is none, or they cannot be read.
    pub async fn list(
        &self,
        which: Selector<'_>,
        before: Option<EventId>,
        limit: u64,
    ) -> Result<EntryPage, Failure> {
        let to = match before {
            None => None,
            Some(before) => match EventId::new(before.get() - 1) {
                None => return Ok(EntryPage::default()),
                to => to,
            },
        };
        let selection = Selection {
            to,
            limit: Some(limit),
            filter: filter(which)?,
            direction: Direction::Backward,
            passes_losses: true,
            ..Selection::default()
        };
        let Some(log) = self.0.known_own_log(&LogName::deliveries()) else {
            return Ok(EntryPage::default());
        };
        let mut reading = match log.read(selection).await {
            Err(failure) if failure.code == Code::Expired => return Ok(EntryPage::default()),
            begun => begun?,
        };
        let mut entries = Vec::new();
        let mut len = 0;
        while let Some(records) = reading.next_page(PAGE_LEN_MAX - len).await? {
            for record in records.iter() {
                entries.push(entry(&Event::from_record(record?)?));
            }
            len += records.encoded_len();
            if len >= PAGE_LEN_MAX {
                break;
            }
        }
        let more = reading.next_id().await?.is_some();
        let last = entries.last().filter(|_| more);
        Ok(EntryPage {
            next: last.map(|entry| entry.id),
            entries,
        })
    }

    /// One entry.
    ///
    /// # Errors
    ///
    /// [`Failure`]: there is none with this id, or not any more.
    pub async fn entry(&self, id: EventId) -> Result<Entry, Failure> {
        let log = self.0.known_own_log(&LogName::deliveries());
        let log =
            log.ok_or_else(|| Failure::new(Code::NoSuchEvent, "nothing has been recorded yet"))?;
        let records = log.event(id).await?;
        let record = records.iter().next();
        let record =
            record.ok_or_else(|| Failure::new(Code::Internal, "an event has no record"))?;
        Ok(entry(&Event::from_record(record?)?))
    }
}

fn entry(event: &Event<'_>) -> Entry {
    Entry {
        id: event.id,
        event_type: event.event_type.to_owned(),
        recorded_at_us: event.recorded_at_us,
        json: Bytes::copy_from_slice(event.data.bytes()),
    }
}

fn filter(which: Selector<'_>) -> Result<Filter, Failure> {
    let mut filter = Filter::default();
    if let Some(stream) = which.stream {
        filter
            .streams
            .push(StreamName::new(shortened(stream))?.into_owned());
    }
    for event_type in which.types {
        filter
            .types
            .push(EventType::new(shortened(event_type))?.into_owned());
    }
    for tag in which.tags {
        filter
            .tags
            .push(TagLabel::new(shortened(tag))?.into_owned());
    }
    Ok(filter)
}
