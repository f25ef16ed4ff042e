//! What is sent to a handler: the call that carries events, in the form it was registered for.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::app::Event;
use crate::http::{HeaderName, HeaderValue, Method, header};
use crate::webhook::endpoint::Endpoint;
use crate::webhook::{DeliveryInfo, OwnedCall, Target};

use super::super::event::{APPLICATION_JSON, EventMessage, write_time};
use super::super::publish::{
    AGGREGATE_ID, AGGREGATE_TYPE, DATE_TIME, EVENT_LIST, PAYLOAD_REVISION, SEQUENCE_NUMBER,
};

/// How long a handler may take for one delivery: as long as common HTTP clients wait.
const CALL_TIME_MAX: Duration = Duration::from_secs(30);

/// Headers of a raw delivery that no publish has; the others are named alike.
const MESSAGE_ID: HeaderName = HeaderName::from_static("axoniq-messageid");
/// See [`MESSAGE_ID`].
const EVENT_NAME: HeaderName = HeaderName::from_static("axoniq-eventname");
/// See [`MESSAGE_ID`].
const INDEX: HeaderName = HeaderName::from_static("axoniq-index");

/// How events are sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum EndpointType {
    /// One event: its payload as the body, the rest as headers.
    #[default]
    #[serde(rename = "http-raw")]
    Raw,
    /// One event as a message.
    #[serde(rename = "http-message")]
    Message,
    /// Several events as a list of messages.
    #[serde(rename = "http-list-of-messages")]
    ListOfMessages,
}

impl EndpointType {
    pub(super) const ALL: [Self; 3] = [Self::Raw, Self::Message, Self::ListOfMessages];

    /// The name that clients know it by.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Raw => "http-raw",
            Self::Message => "http-message",
            Self::ListOfMessages => "http-list-of-messages",
        }
    }

    /// What it is, for people.
    pub(super) fn description(self) -> &'static str {
        match self {
            Self::Raw => {
                "One event at a time: the payload is the body, everything else is in headers"
            }
            Self::Message => "One event at a time, as a JSON message",
            Self::ListOfMessages => "Several events at a time, as a JSON list of messages",
        }
    }
}

/// Whom a handler's lane calls. What an answer means is the same for all: 2xx is the
/// acknowledgement, and everything else is tried again for ever.
pub(super) struct HandlerTarget {
    pub(super) endpoint: Arc<Endpoint>,
    pub(super) endpoint_type: EndpointType,
    /// What the endpoint wants to see besides. May hold secrets, so `Debug` leaves it out.
    pub(super) headers: Vec<(HeaderName, HeaderValue)>,
}

impl fmt::Debug for HandlerTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HandlerTarget")
            .field("endpoint", &self.endpoint)
            .field("endpoint_type", &self.endpoint_type)
            .finish_non_exhaustive()
    }
}

impl Target for HandlerTarget {
    fn call(&self, events: &[Event<'_>], _delivery: &DeliveryInfo) -> Result<OwnedCall, String> {
        let mut headers = self.headers.clone();
        let body = match (self.endpoint_type, events) {
            (EndpointType::Raw, [event]) => raw(&mut headers, event)?,
            (EndpointType::Message, [event]) => {
                headers.push(typed(APPLICATION_JSON)?);
                let mut body = Vec::with_capacity(1 << 10);
                EventMessage::of(event).write(&mut body);
                Bytes::from(body)
            }
            (EndpointType::ListOfMessages, events) => {
                headers.push(typed(EVENT_LIST)?);
                Bytes::from(list(events))
            }
            (EndpointType::Raw | EndpointType::Message, _) => {
                return Err("a delivery of this form carries one event".to_owned());
            }
        };
        Ok(OwnedCall {
            endpoint: Arc::clone(&self.endpoint),
            method: Method::POST,
            headers,
            body,
        })
    }

    fn timeout(&self) -> Duration {
        CALL_TIME_MAX
    }
}

fn list(events: &[Event<'_>]) -> Vec<u8> {
    let mut body = Vec::with_capacity(1 << 10);
    body.extend_from_slice(b"{\"items\":[");
    for (index, event) in events.iter().enumerate() {
        if index > 0 {
            body.push(b',');
        }
        EventMessage::of(event).write(&mut body);
    }
    body.extend_from_slice(b"]}");
    body
}

/// The payload of an event; everything else becomes headers. Index and sequence number are always
/// there, since handlers convert them to numbers without a look.
fn raw(headers: &mut Vec<(HeaderName, HeaderValue)>, event: &Event<'_>) -> Result<Bytes, String> {
    let message = EventMessage::of(event);
    let mut time = Vec::with_capacity(32);
    write_time(&mut time, message.time_us());
    headers.push(typed(message.content_type())?);
    headers.push(named(MESSAGE_ID, event.uid.to_string().as_bytes())?);
    headers.push(named(EVENT_NAME, event.event_type.as_bytes())?);
    headers.push(named(DATE_TIME, &time)?);
    headers.push((INDEX, HeaderValue::from(message.index())));
    for (name, text) in [
        (AGGREGATE_ID, message.aggregate_id()),
        (AGGREGATE_TYPE, message.aggregate_type()),
        (PAYLOAD_REVISION, message.payload_revision()),
    ] {
        if let Some(text) = text {
            headers.push(named(name, text.as_bytes())?);
        }
    }
    let sequence = message.sequence().unwrap_or(0);
    headers.push((SEQUENCE_NUMBER, HeaderValue::from(sequence)));
    Ok(Bytes::copy_from_slice(event.data.bytes()))
}

fn typed(content_type: &str) -> Result<(HeaderName, HeaderValue), String> {
    named(header::CONTENT_TYPE, content_type.as_bytes())
}

/// A header with a text as UTF-8, which receivers read as such or pass on as it is.
fn named(name: HeaderName, text: &[u8]) -> Result<(HeaderName, HeaderValue), String> {
    match HeaderValue::from_bytes(text) {
        Ok(value) => Ok((name, value)),
        Err(_) => Err(format!("the header '{name}' cannot carry its value")),
    }
}
