//! `/event`: what may be sent.

use serde::Serialize;

use crate::http::{Body, Reply};

use super::super::call::Call;
use super::super::input::{Input, Members};
use super::super::registry::{Entity, Event, NewName, State, System};
use super::super::replies::{self, Refusal};
use super::{Page, changed, check_identifier, created, iso_time, one, shown, text};

#[derive(Serialize)]
struct Item<'a> {
    id: u64,
    system_id: u64,
    identifier: &'a str,
    name: &'a str,
    operation: &'a str,
    description: &'a str,
    deleted: bool,
    created_at: String,
    updated_at: String,
}

fn item(event: &Entity<Event>) -> Item<'_> {
    Item {
        id: event.id,
        system_id: event.definition.system,
        identifier: &event.identifier,
        name: &event.definition.name,
        operation: &event.definition.operation,
        description: &event.definition.description,
        deleted: event.deleted,
        created_at: iso_time(event.created_at_us),
        updated_at: iso_time(event.updated_at_us),
    }
}

/// Makes an event.
pub(crate) async fn create(call: &Call<'_>, body: Body) -> Result<Reply, Refusal> {
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct Content {
        event_id: u64,
    }

    call.allow("event", "create")?;
    let input = Input::read_short(call.head, body, &call.door.bodies).await?;
    let json = input.json()?;
    let members = Members::of(&json);
    let system = members.required_id("system_id")?;
    let identifier = members.required_name("identifier")?;
    check_identifier(&identifier)?;
    let definition = Event {
        system,
        name: text(&members, "name")?.unwrap_or_default(),
        operation: text(&members, "operation")?.unwrap_or_default(),
        description: text(&members, "description")?.unwrap_or_default(),
    };
    let change = call.door.directory.change().await;
    change.get::<System>(system)?;
    let name = NewName::Suffixed(&identifier);
    let event = change.add(name, definition, State::default()).await?;
    let content = Content { event_id: event.id };
    Ok(created(replies::CHANGED, "success", &content))
}

/// Lists events.
pub(crate) fn list(call: &Call<'_>) -> Result<Reply, Refusal> {
    call.allow("event", "select")?;
    let system = call.query.one("systemId");
    let part = call.query.one("eventName").map(str::to_lowercase);
    call.door.directory.read(|registry| {
        let wanted = |event: &&Entity<Event>| {
            system.is_none_or(|system| system == event.definition.system.to_string())
                && part
                    .as_ref()
                    .is_none_or(|part| event.definition.name.to_lowercase().contains(part))
        };
        let events = registry.events.iter().map(|event| &**event);
        let events = events.filter(wanted).collect();
        Page::of(&call.query).cut_shown(&call.query, events, item)
    })
}

/// Shows an event.
pub(crate) fn get(call: &Call<'_>) -> Result<Reply, Refusal> {
    call.allow("event", "select")?;
    Ok(shown(&item(&*one::<Event>(call)?)))
}

/// Changes what is said of an event.
pub(crate) async fn update(call: &Call<'_>, body: Body) -> Result<Reply, Refusal> {
    call.allow("event", "update")?;
    let input = Input::read_short(call.head, body, &call.door.bodies).await?;
    let json = input.json()?;
    let members = Members::of(&json);
    let change = call.door.directory.change().await;
    let event = change.get_own::<Event>(call.id("event")?)?;
    let old = event.definition.clone();
    let definition = Event {
        system: old.system,
        name: text(&members, "name")?.unwrap_or(old.name),
        operation: text(&members, "operation")?.unwrap_or(old.operation),
        description: text(&members, "description")?.unwrap_or(old.description),
    };
    change.replace(&event, definition, State::default()).await?;
    Ok(changed())
}

/// Deletes an event without contracts. Its occurrences stay in the log.
pub(crate) async fn delete(call: &Call<'_>) -> Result<Reply, Refusal> {
    call.allow("event", "delete")?;
    let change = call.door.directory.change().await;
    let event = change.get_own::<Event>(call.id("event")?)?;
    let bound = change.read(|registry| {
        let mut contracts = registry.contracts.iter();
        contracts.any(|contract| contract.definition.event == event.id)
    });
    if bound {
        return Err(replies::event_has_contracts());
    }
    change.delete(&event).await?;
    Ok(changed())
}
