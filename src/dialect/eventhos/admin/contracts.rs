//! `/contract`: what is called when something is sent.
//!
//! A contract concerns what is sent after it came into force: after it was made, or made active
//! again.

use serde::Serialize;

use crate::http::{Body, Reply};

use super::super::call::Call;
use super::super::input::{Input, Members};
use super::super::registry::{Action, Contract, Entity, Event, NewName, Registry, State};
use super::super::replies::{self, Refusal};
use super::{Page, changed, check_identifier, created, one, shown, text};

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Item<'a> {
    id: u64,
    identifier: &'a str,
    name: &'a str,
    active: bool,
    order: i64,
    event_id: u64,
    action_id: u64,
    producer_name: Option<&'a str>,
    consumer_name: Option<&'a str>,
    event_identifier: Option<&'a str>,
    action_identifier: Option<&'a str>,
}

fn item<'a>(registry: &'a Registry, contract: &'a Entity<Contract>) -> Item<'a> {
    let event = registry.events.any(contract.definition.event);
    let action = registry.actions.any(contract.definition.action);
    let system = |id: u64| {
        let system = registry.systems.any(id)?;
        Some(system.definition.name.as_str())
    };
    Item {
        id: contract.id,
        identifier: &contract.identifier,
        name: &contract.definition.name,
        active: contract.definition.active,
        order: contract.definition.order,
        event_id: contract.definition.event,
        action_id: contract.definition.action,
        producer_name: event.and_then(|event| system(event.definition.system)),
        consumer_name: action.and_then(|action| system(action.definition.system?)),
        event_identifier: event.map(|event| event.identifier.as_str()),
        action_identifier: action.map(|action| action.identifier.as_str()),
    }
}

/// Makes a contract.
pub(crate) async fn create(call: &Call<'_>, body: Body) -> Result<Reply, Refusal> {
    /// Upstream's name for it.
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct Content {
        action_id: u64,
    }

    call.allow("contract", "create")?;
    let input = Input::read_short(call.head, body, &call.door.bodies).await?;
    let json = input.json()?;
    let members = Members::of(&json);
    let definition = Contract {
        event: members.required_id("eventId")?,
        action: members.required_id("actionId")?,
        name: text(&members, "name")?.unwrap_or_default(),
        order: members.whole_number("order")?.unwrap_or(0),
        active: true,
    };
    let identifier = members.required_name("identifier")?;
    check_identifier(&identifier)?;
    let change = call.door.directory.change().await;
    change.get::<Event>(definition.event)?;
    change.get::<Action>(definition.action)?;
    let state = State {
        after: change.last_id(),
        ..State::default()
    };
    let name = NewName::Suffixed(&identifier);
    let contract = change.add(name, definition, state).await?;
    let content = Content {
        action_id: contract.id,
    };
    Ok(created(replies::CHANGED, "success", &content))
}

/// Lists contracts.
pub(crate) fn list(call: &Call<'_>) -> Result<Reply, Refusal> {
    call.allow("contract", "select")?;
    let part = call.query.one("wordSearch").map(str::to_lowercase);
    call.door.directory.read(|registry| {
        let wanted = |contract: &&Entity<Contract>| {
            let Some(part) = &part else { return true };
            let item = item(registry, contract);
            [
                Some(item.name),
                item.producer_name,
                item.consumer_name,
                item.event_identifier,
                item.action_identifier,
            ]
            .into_iter()
            .flatten()
            .any(|text| text.to_lowercase().contains(part))
        };
        let contracts = registry.contracts.iter().map(|contract| &**contract);
        let contracts = contracts.filter(wanted).collect();
        let item = |contract| item(registry, contract);
        Page::of(&call.query).cut_shown(&call.query, contracts, item)
    })
}

/// Shows a contract.
pub(crate) fn get(call: &Call<'_>) -> Result<Reply, Refusal> {
    call.allow("contract", "select")?;
    let contract = one::<Contract>(call)?;
    let directory = &call.door.directory;
    Ok(directory.read(|registry| shown(&item(registry, &contract))))
}

/// Changes a contract.
pub(crate) async fn update(call: &Call<'_>, body: Body) -> Result<Reply, Refusal> {
    call.allow("contract", "update")?;
    let input = Input::read_short(call.head, body, &call.door.bodies).await?;
    let json = input.json()?;
    let members = Members::of(&json);
    let change = call.door.directory.change().await;
    let contract = change.get_own::<Contract>(call.id("contract")?)?;
    let old = contract.definition.clone();
    let active = members.flag("active")?.unwrap_or(old.active);
    let state = if active && !old.active {
        State {
            after: change.last_id(),
            ..State::default()
        }
    } else {
        contract.state.clone()
    };
    let definition = Contract {
        name: text(&members, "name")?.unwrap_or(old.name),
        order: members.whole_number("order")?.unwrap_or(old.order),
        active,
        ..old
    };
    change.replace(&contract, definition, state).await?;
    Ok(changed())
}

/// The most contracts that are put in order by one request: each change is an event of its own.
const ORDERS_MAX: usize = 1_000;

/// Changes the order of several contracts. All are looked at before the first is changed.
pub(crate) async fn update_order(call: &Call<'_>, body: Body) -> Result<Reply, Refusal> {
    call.allow("contract", "update")?;
    let input = Input::read_short(call.head, body, &call.door.bodies).await?;
    let json = input.json()?;
    let members = Members::of(&json);
    let orders = members
        .raw("orders")
        .ok_or_else(|| replies::field_required("orders"))?;
    let orders: Vec<&serde_json::value::RawValue> = serde_json::from_str(orders.get())
        .map_err(|_| replies::field_is_not("orders", "an array"))?;
    if orders.len() > ORDERS_MAX {
        return Err(replies::invalid(format!(
            "Invalid body; orders has more than {ORDERS_MAX} items"
        )));
    }
    let change = call.door.directory.change().await;
    let mut changes = Vec::with_capacity(orders.len());
    for order in orders {
        let members = Members::of(order.get());
        let contract = change.get_own::<Contract>(members.required_id("contractId")?)?;
        let order = members.whole_number("order")?;
        let order = order.ok_or_else(|| replies::field_required("order"))?;
        changes.push((contract, order));
    }
    for (contract, order) in changes {
        let definition = Contract {
            order,
            ..contract.definition.clone()
        };
        change
            .replace(&contract, definition, contract.state.clone())
            .await?;
    }
    Ok(changed())
}

/// Deletes a contract.
pub(crate) async fn delete(call: &Call<'_>) -> Result<Reply, Refusal> {
    call.allow("contract", "delete")?;
    let change = call.door.directory.change().await;
    let contract = change.get_own::<Contract>(call.id("contract")?)?;
    change.delete(&contract).await?;
    Ok(changed())
}
