//! `POST /event/send`, and its older name `/event/received` (spec section 2).
//!
//! Credentials are judged before the body is read: a stranger's body is never in memory. The event
//! is durable before the reply, and its presence in the log is what makes its contracts pending.

use std::sync::Arc;

use crate::app::Data;
use crate::app::limits::{DATA_LEN_MAX, HOPS_MAX};
use crate::app::publish::{NewEvent, Publish};
use crate::http::{Body, Reply, StatusCode};

use super::call::Call;
use super::event::{self, ACCESS_KEY};
use super::input::Input;
use super::registry::{Entity, Event};
use super::replies::{self, Refusal};

/// The name of the query parameter that names the event.
const EVENT_IDENTIFIER: &str = "event-identifier";

impl Call<'_> {
    /// The event that the request names, if its access key is that of the client who may send it.
    pub(super) fn sender(&self) -> Result<Arc<Entity<Event>>, Refusal> {
        let of_header = || {
            let values = self.head.headers().get_all(ACCESS_KEY).iter();
            let values = values.map(|value| String::from_utf8_lossy(value.as_bytes()));
            values.collect::<Vec<_>>().join(", ")
        };
        let key = match self.query.one(ACCESS_KEY) {
            Some(key) => key.to_owned(),
            None => of_header(),
        };
        let identifier = self.query.one(EVENT_IDENTIFIER);
        let Some(identifier) = identifier.filter(|_| !key.is_empty()) else {
            return Err(replies::no_key_or_identifier());
        };
        let now_us = self.door.app.clock().now_us();
        self.door.directory.read(|registry| {
            let event = registry.events.named(identifier);
            let event = event.ok_or_else(|| replies::unknown_event(identifier))?;
            let client = registry.sender_of(event);
            let client = client.ok_or_else(replies::unknown_client)?;
            if client.is_revoked() {
                return Err(replies::revoked(client.id, &client.definition.client_id));
            }
            self.door.tokens.judge_key(client, &key, now_us)?;
            Ok(Arc::clone(event))
        })
    }
}

/// Stores an occurrence.
pub(super) async fn send(call: &Call<'_>, body: Body) -> Result<Reply, Refusal> {
    let event = call.sender()?;
    let hops = call.head.hops(HOPS_MAX)?;
    let input = Input::read(call.head, body, DATA_LEN_MAX, &call.door.bodies).await?;
    let data = input.json()?;
    let identifier = event.identifier.as_str();
    let has_contracts = call
        .door
        .directory
        .read(|registry| registry.plan(identifier).is_some());
    let metadata = event::metadata_of(call.head, &call.query);
    let occurrence = NewEvent {
        hops,
        ..event::occurrence(identifier, Data::Json(data.as_bytes()), &metadata)?
    };
    let publish = Publish {
        events: vec![occurrence],
        ..Publish::default()
    };
    call.door.log.publish(publish).await?;
    Ok(if has_contracts {
        replies::done(StatusCode::OK, replies::PROFILE.accepted, "success")
    } else {
        replies::done(
            StatusCode::NON_AUTHORITATIVE_INFORMATION,
            replies::NO_CONTRACTS,
            "Success, but no contracts exists for this event",
        )
    })
}
