//! One request on its way through an endpoint: what endpoints ask of it again and again.

use std::borrow::Cow;

use uuid::Uuid;

use crate::app::name::{EventType, ProducerId, StreamName};
use crate::app::{App, Failure, Log};
use crate::http::path::decode_segment;
use crate::http::router::Params;
use crate::http::{Head, HeaderName, Query};

use super::replies::{Refusal, text};
use super::{Door, ids};

/// The log that this door reads and writes.
pub(super) const LOG: &str = "default";

const X_CONSUMER_ID: HeaderName = HeaderName::from_static("x-consumer-id");
const X_PRODUCER_ID: HeaderName = HeaderName::from_static("x-producer-id");

/// A request.
#[derive(Debug)]
pub(super) struct Call<'a> {
    pub(super) door: &'a Door,
    pub(super) head: &'a Head,
    pub(super) params: Params<'a, 'a>,
}

impl<'a> Call<'a> {
    pub(super) fn app(&self) -> &'a App {
        &self.door.app
    }

    pub(super) fn log(&self) -> Result<Log, Failure> {
        self.door.app.log(LOG)
    }

    /// The stream that the path names.
    pub(super) fn stream(&self) -> Result<StreamName<'a>, Refusal> {
        Ok(StreamName::new(self.segment("stream", "stream name")?)?)
    }

    /// The event name in the path.
    pub(super) fn event_name(&self) -> Result<EventType<'a>, Refusal> {
        Ok(EventType::new(self.segment("name", "event name")?)?)
    }

    /// The event that the path names.
    pub(super) fn event(&self) -> Result<Uuid, Refusal> {
        self.uuid("event", text::EVENT_ID)
    }

    /// The consumer that the path names.
    pub(super) fn consumer_in_path(&self) -> Result<Uuid, Refusal> {
        self.uuid("consumer", text::CONSUMER_ID)
    }

    /// The consumer that the header names.
    pub(super) fn consumer(&self) -> Result<Uuid, Refusal> {
        let given = self.head.one(&X_CONSUMER_ID)?;
        given
            .and_then(ids::read)
            .ok_or(Refusal::bad(text::CONSUMER_ID))
    }

    /// The producer that the header names.
    pub(super) fn producer(&self) -> Result<ProducerId<'a>, Refusal> {
        let mut given = self.head.headers().get_all(&X_PRODUCER_ID).iter();
        let producer = given.next().map(|value| value.as_bytes());
        if given.next().is_some() {
            return Err(Refusal::bad("X-Producer-ID is given more than once"));
        }
        let Some(producer) = producer.filter(|producer| !producer.is_empty()) else {
            return Err(Refusal::bad(text::PRODUCER_ID));
        };
        let Ok(producer) = std::str::from_utf8(producer) else {
            return Err(Refusal::bad("X-Producer-ID is not UTF-8"));
        };
        Ok(ProducerId::new(producer)?)
    }

    /// The parameters of the query. Those that nobody asks for are passed over.
    pub(super) fn query(&self) -> Result<Query<'a>, Refusal> {
        Ok(Query::parse(self.head.query())?)
    }

    /// A segment of the path as text.
    pub(super) fn segment(&self, param: &str, what: &'static str) -> Result<Cow<'a, str>, Refusal> {
        let raw = self.params.get(param).unwrap_or_default();
        decode_segment(raw).map_err(|error| {
            Refusal::bad(format!("the {what} in the path cannot be read: {error}"))
        })
    }

    fn uuid(&self, param: &str, otherwise: &'static str) -> Result<Uuid, Refusal> {
        let raw = self.params.get(param).unwrap_or_default();
        let text = decode_segment(raw).ok();
        text.and_then(|text| ids::read(&text))
            .ok_or(Refusal::bad(otherwise))
    }
}

/// The first of the parameters with this name; empty if there is none.
pub(super) fn first<'a>(query: &mut Query<'a>, name: &'static str) -> Cow<'a, str> {
    let given = query.all(name).into_iter();
    given.take(1).next().unwrap_or_default()
}
