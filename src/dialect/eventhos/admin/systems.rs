//! `/system`: producers and consumers.

use serde::Serialize;

use crate::http::{Body, Reply};

use super::super::call::Call;
use super::super::input::{Input, Members};
use super::super::registry::{Entity, NewName, Registry, State, System};
use super::super::replies::{self, Refusal};
use super::super::settings::SystemClass;
use super::{Page, changed, check_identifier, created, iso_time, one, shown, text};

#[derive(Serialize)]
struct Item<'a> {
    id: u64,
    client_id: Option<u64>,
    class: SystemClass,
    identifier: &'a str,
    name: &'a str,
    #[serde(rename = "type")]
    system_type: &'a str,
    description: &'a str,
    deleted: bool,
    created_at: String,
    updated_at: String,
}

fn item(system: &Entity<System>) -> Item<'_> {
    Item {
        id: system.id,
        client_id: system.definition.client,
        class: system.definition.class,
        identifier: &system.identifier,
        name: &system.definition.name,
        system_type: &system.definition.system_type,
        description: &system.definition.description,
        deleted: system.deleted,
        created_at: iso_time(system.created_at_us),
        updated_at: iso_time(system.updated_at_us),
    }
}

fn class(members: &Members<'_>) -> Result<Option<SystemClass>, Refusal> {
    let class = members.text("systemClass")?;
    let class = class.map(|text| match text.as_str() {
        "producer" => Ok(SystemClass::Producer),
        "consumer" => Ok(SystemClass::Consumer),
        "hybrid" => Ok(SystemClass::Hybrid),
        _ => Err(replies::invalid(
            "Invalid body; systemClass is none of producer, consumer and hybrid",
        )),
    });
    class.transpose()
}

/// Refuses a client that does not exist, or has another system than `but`.
fn check_client(registry: &Registry, client: u64, but: Option<u64>) -> Result<(), Refusal> {
    if registry.clients.get(client).is_none() {
        return Err(replies::system_client_not_found(client));
    }
    let mut systems = registry.systems.iter();
    let bound =
        systems.any(|system| system.definition.client == Some(client) && Some(system.id) != but);
    if bound {
        return Err(replies::in_use("clientId"));
    }
    Ok(())
}

/// Makes a system.
pub(crate) async fn create(call: &Call<'_>, body: Body) -> Result<Reply, Refusal> {
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct Content {
        system_id: u64,
    }

    call.allow("system", "create")?;
    let input = Input::read_short(call.head, body, &call.door.bodies).await?;
    let json = input.json()?;
    let members = Members::of(&json);
    let class = class(&members)?.ok_or_else(|| replies::field_required("systemClass"))?;
    let identifier = members.required_name("identifier")?;
    check_identifier(&identifier)?;
    let client = members.id("clientId")?;
    let definition = System {
        class,
        name: text(&members, "name")?.unwrap_or_default(),
        system_type: text(&members, "type")?.unwrap_or_default(),
        description: text(&members, "description")?.unwrap_or_default(),
        client,
    };
    let change = call.door.directory.change().await;
    let name = match client {
        Some(client) => {
            change.read(|registry| check_client(registry, client, None))?;
            NewName::Suffixed(&identifier)
        }
        None => NewName::Exact(&identifier),
    };
    let system = change.add(name, definition, State::default()).await?;
    let content = Content {
        system_id: system.id,
    };
    Ok(created(
        replies::SYSTEM_CREATED,
        "New system created",
        &content,
    ))
}

/// Lists systems.
pub(crate) fn list(call: &Call<'_>) -> Result<Reply, Refusal> {
    call.allow("system", "select")?;
    let class = call.query.one("systemClass");
    call.door.directory.read(|registry| {
        let wanted = |system: &&Entity<System>| match (class, system.definition.class) {
            (None, _) | (Some(_), SystemClass::Hybrid) => true,
            (Some(class), SystemClass::Producer) => class == "producer",
            (Some(class), SystemClass::Consumer) => class == "consumer",
        };
        let systems = registry.systems.iter().map(|system| &**system);
        let systems = systems.filter(wanted).collect();
        Page::of(&call.query).cut_shown(&call.query, systems, item)
    })
}

/// Shows a system.
pub(crate) fn get(call: &Call<'_>) -> Result<Reply, Refusal> {
    call.allow("system", "select")?;
    Ok(shown(&item(&*one::<System>(call)?)))
}

/// Changes a system. `"clientId": null` unbinds its client.
pub(crate) async fn update(call: &Call<'_>, body: Body) -> Result<Reply, Refusal> {
    call.allow("system", "update")?;
    let input = Input::read_short(call.head, body, &call.door.bodies).await?;
    let json = input.json()?;
    let members = Members::of(&json);
    let change = call.door.directory.change().await;
    let system = change.get_own::<System>(call.id("system")?)?;
    let old = system.definition.clone();
    let client = if members.has("clientId") {
        members.id("clientId")?
    } else {
        old.client
    };
    if let Some(client) = client {
        change.read(|registry| check_client(registry, client, Some(system.id)))?;
    }
    let definition = System {
        class: class(&members)?.unwrap_or(old.class),
        name: text(&members, "name")?.unwrap_or(old.name),
        system_type: text(&members, "type")?.unwrap_or(old.system_type),
        description: text(&members, "description")?.unwrap_or(old.description),
        client,
    };
    change
        .replace(&system, definition, State::default())
        .await?;
    Ok(changed())
}

/// Deletes a system without events and actions.
pub(crate) async fn delete(call: &Call<'_>) -> Result<Reply, Refusal> {
    call.allow("system", "delete")?;
    let change = call.door.directory.change().await;
    let system = change.get_own::<System>(call.id("system")?)?;
    change.read(|registry| {
        let mut events = registry.events.iter();
        if events.any(|event| event.definition.system == system.id) {
            return Err(replies::system_has_events());
        }
        let mut actions = registry.actions.iter();
        if actions.any(|action| action.definition.system == Some(system.id)) {
            return Err(replies::system_has_actions());
        }
        Ok(())
    })?;
    change.delete(&system).await?;
    Ok(changed())
}
