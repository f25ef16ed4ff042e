//! `POST /streams/{stream}/events`: one event, which makes the stream its producer's.
//!
//! There is no key by which a repeat could be known, so the same body twice is two events, and the
//! reply is given only when the event is durable.

use crate::app::event::Data;
use crate::app::limits::HOPS_MAX;
use crate::app::name::{EventType, EventUid};
use crate::app::publish::{NewEvent, Publish};
use crate::http::{Body, Reply};
use crate::json::write;

use super::call::Call;
use super::replies::{self, Refusal};
use super::{draft, event, ids};

pub(super) async fn publish(call: &Call<'_>, body: Body) -> Result<Reply, Refusal> {
    let producer = call.producer()?;
    let stream = call.stream()?;
    let hops = call.head.hops(HOPS_MAX)?;
    let payload = body.read(&call.door.bodies).await?;
    let draft = draft::read(&payload)?;
    let name = EventType::new(draft.name.as_ref())?;

    let id = ids::fresh(call.app());
    let data = event::encode(&draft, &id);
    let mut metadata = b"{\"producerId\":".to_vec();
    write::string(&mut metadata, producer.as_str());
    metadata.push(b'}');
    let event = NewEvent {
        metadata: Some(&metadata),
        uid: Some(EventUid::new(id.to_string())?),
        findable_by_uid: true,
        hops,
        ..NewEvent::new(stream, name, Data::Json(&data))
    };
    let publish = Publish {
        events: vec![event],
        producer: Some(producer),
        ..Publish::default()
    };
    call.log()?.publish(publish).await?;
    Ok(replies::published(&id))
}
