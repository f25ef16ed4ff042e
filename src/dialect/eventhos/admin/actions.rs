//! `/action`: what may be called.
//!
//! Functions in JavaScript (`rawFunctionBody`) are refused: no foreign code runs here. An address
//! that may not be called is refused at once where it can be seen.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::value::RawValue;

use crate::http::{Body, Reply};
use crate::json::write;

use super::super::call::Call;
use super::super::event::is_secret_header;
use super::super::form::REDACTED;
use super::super::input::{Input, Members};
use super::super::recipe::Recipe;
use super::super::registry::{Action, Change, Entity, NewName, Oauth, Registry, State, System};
use super::super::replies::{self, Refusal};
use super::{Page, changed, check_identifier, created, iso_time, one, shown, text};

#[derive(Serialize)]
struct Item<'a> {
    id: u64,
    system_id: Option<u64>,
    identifier: &'a str,
    name: &'a str,
    operation: &'a str,
    description: &'a str,
    deleted: bool,
    created_at: String,
    updated_at: String,
    reply_to: Option<&'a str>,
    system_name: Option<&'a str>,
}

fn item<'a>(registry: &'a Registry, action: &'a Entity<Action>) -> Item<'a> {
    let definition = &action.definition;
    let system = definition.system.and_then(|id| registry.systems.any(id));
    Item {
        id: action.id,
        system_id: definition.system,
        identifier: &action.identifier,
        name: &definition.name,
        operation: &definition.operation,
        description: &definition.description,
        deleted: action.deleted,
        created_at: iso_time(action.created_at_us),
        updated_at: iso_time(action.updated_at_us),
        reply_to: definition.reply_to.as_deref(),
        system_name: system.map(|system| system.definition.name.as_str()),
    }
}

/// An action with what it sends; secrets are left out.
#[derive(Serialize)]
struct Details<'a> {
    #[serde(flatten)]
    item: Item<'a>,
    #[serde(rename = "httpConfiguration")]
    http_configuration: HttpConfiguration<'a>,
    security: Security<'a>,
}

#[derive(Serialize)]
struct HttpConfiguration<'a> {
    url: &'a str,
    method: &'a str,
    headers: BTreeMap<&'a str, &'a str>,
    data: Option<&'a RawValue>,
    params: BTreeMap<&'a str, &'a str>,
}

#[derive(Serialize)]
struct Security<'a> {
    #[serde(rename = "type")]
    security_type: &'static str,
    #[serde(rename = "httpConfiguration")]
    http_configuration: BTreeMap<&'static str, &'a str>,
}

fn details<'a>(registry: &'a Registry, action: &'a Entity<Action>) -> Details<'a> {
    let definition = &action.definition;
    let shown = |(name, value): &'a (String, String)| {
        let secret = is_secret_header(name);
        (name.as_str(), if secret { REDACTED } else { value })
    };
    let mut security = BTreeMap::new();
    if let Some(oauth) = &definition.oauth {
        security.insert("url", oauth.url.as_str());
        security.insert("clientId", oauth.client_id.as_str());
    }
    Details {
        item: item(registry, action),
        http_configuration: HttpConfiguration {
            url: &definition.url,
            method: &definition.method,
            headers: definition.headers.iter().map(shown).collect(),
            data: definition.body.as_deref(),
            params: (definition.query.iter())
                .map(|(name, value)| (name.as_str(), value.as_str()))
                .collect(),
        },
        security: Security {
            security_type: if definition.oauth.is_some() {
                "oauth2_client"
            } else {
                "custom"
            },
            http_configuration: security,
        },
    }
}

/// The body of an action: an array of keys and values, or JSON as it is.
fn body(members: &Members<'_>) -> Result<Option<Box<RawValue>>, Refusal> {
    if members
        .raw("rawFunctionBody")
        .is_some_and(|raw| raw.get() != "\"\"")
    {
        return Err(replies::invalid(
            "Invalid body; rawFunctionBody is not supported: this server runs no functions, use body or rawBody with templates",
        ));
    }
    if let Some(raw) = members.raw("rawBody") {
        return Ok(Some(raw.to_owned()));
    }
    let mut out = vec![b'{'];
    for (key, value) in members.pairs("body")? {
        if out.len() > 1 {
            out.push(b',');
        }
        write::string(&mut out, &key);
        out.push(b':');
        out.extend_from_slice(value.get().as_bytes());
    }
    out.push(b'}');
    let json = String::from_utf8(out).expect("it is made of texts");
    RawValue::from_string(json)
        .map(Some)
        .map_err(|_| replies::field_is_not("body", "an array of {key, value}"))
}

/// How a token is got; `old` gives the secret, which no reply shows, if none is given.
fn oauth(members: &Members<'_>, old: Option<&Oauth>) -> Result<Option<Oauth>, Refusal> {
    if members.whole_number("securityType")? != Some(1) {
        return Ok(None);
    }
    let or_old = |name: &str, old: Option<&String>| match members.text(name)? {
        Some(text) if !text.is_empty() => Ok(text),
        Some(_) | None => old.cloned().ok_or_else(|| replies::field_required(name)),
    };
    Ok(Some(Oauth {
        url: or_old("securityUrl", old.map(|old| &old.url))?,
        client_id: or_old("clientId", old.map(|old| &old.client_id))?,
        client_secret: or_old("clientSecret", old.map(|old| &old.client_secret))?,
    }))
}

/// Headers as they are given, with the values that no reply shows where they come back as shown.
fn unredacted(
    mut headers: Vec<(String, String)>,
    old: &[(String, String)],
) -> Vec<(String, String)> {
    for (name, value) in &mut headers {
        if is_secret_header(name) && value == REDACTED {
            let known = old
                .iter()
                .find(|(known, _)| known.eq_ignore_ascii_case(name));
            if let Some((_, known)) = known {
                value.clone_from(known);
            }
        }
    }
    headers
}

/// Refuses what cannot be called, or may not be, or answers to nobody.
fn check(call: &Call<'_>, change: &Change, action: &Action) -> Result<(), Refusal> {
    let recipe =
        Recipe::of(action).map_err(|what| replies::invalid(format!("Invalid body; {what}")))?;
    for endpoint in recipe.endpoints() {
        let judged = call.door.hub.guard().judge_url(&endpoint);
        judged.map_err(|refused| replies::invalid(format!("Invalid body; {refused}")))?;
    }
    if let Some(reply_to) = &action.reply_to
        && change.read(|registry| registry.events.named(reply_to).is_none())
    {
        return Err(replies::invalid(format!(
            "Invalid body; reply_to: the event {reply_to} does not exist"
        )));
    }
    Ok(())
}

/// Makes an action.
pub(crate) async fn create(call: &Call<'_>, body_of: Body) -> Result<Reply, Refusal> {
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct Content {
        action_id: u64,
    }

    call.allow("action", "create")?;
    let input = Input::read_short(call.head, body_of, &call.door.bodies).await?;
    let json = input.json()?;
    let members = Members::of(&json);
    let system = members.required_id("system_id")?;
    let identifier = members.required_name("identifier")?;
    check_identifier(&identifier)?;
    let definition = Action {
        system: Some(system),
        name: text(&members, "name")?.unwrap_or_default(),
        operation: text(&members, "operation")?.unwrap_or_default(),
        description: text(&members, "description")?.unwrap_or_default(),
        url: members.required_name("url")?,
        method: members.required_name("method")?,
        headers: members.text_pairs("headers")?,
        query: members.text_pairs("queryUrlParams")?,
        body: body(&members)?,
        reply_to: text(&members, "reply_to")?.filter(|reply_to| !reply_to.is_empty()),
        oauth: oauth(&members, None)?,
    };
    let change = call.door.directory.change().await;
    change.get::<System>(system)?;
    check(call, &change, &definition)?;
    let name = NewName::Suffixed(&identifier);
    let action = change.add(name, definition, State::default()).await?;
    let content = Content {
        action_id: action.id,
    };
    Ok(created(replies::CHANGED, "success", &content))
}

/// Lists actions.
pub(crate) fn list(call: &Call<'_>) -> Result<Reply, Refusal> {
    call.allow("action", "select")?;
    let part = call.query.one("wordSearch").map(str::to_lowercase);
    call.door.directory.read(|registry| {
        let wanted = |action: &&Entity<Action>| {
            let Some(part) = &part else { return true };
            let item = item(registry, action);
            [Some(item.name), Some(item.description), item.system_name]
                .into_iter()
                .flatten()
                .any(|text| text.to_lowercase().contains(part))
        };
        let actions = registry.actions.iter().map(|action| &**action);
        let actions = actions.filter(wanted).collect();
        let item = |action| item(registry, action);
        Page::of(&call.query).cut_shown(&call.query, actions, item)
    })
}

/// Shows an action.
pub(crate) fn get(call: &Call<'_>) -> Result<Reply, Refusal> {
    call.allow("action", "select")?;
    let action = one::<Action>(call)?;
    let directory = &call.door.directory;
    Ok(directory.read(|registry| shown(&details(registry, &action))))
}

/// Changes an action.
pub(crate) async fn update(call: &Call<'_>, body_of: Body) -> Result<Reply, Refusal> {
    call.allow("action", "update")?;
    let input = Input::read_short(call.head, body_of, &call.door.bodies).await?;
    let json = input.json()?;
    let members = Members::of(&json);
    let change = call.door.directory.change().await;
    let action = change.get_own::<Action>(call.id("action")?)?;
    let old = action.definition.clone();
    let bodies = ["body", "rawBody", "rawFunctionBody"];
    let definition = Action {
        system: old.system,
        name: text(&members, "name")?.unwrap_or(old.name),
        operation: text(&members, "operation")?.unwrap_or(old.operation),
        description: text(&members, "description")?.unwrap_or(old.description),
        url: members.text("url")?.unwrap_or(old.url),
        method: members.text("method")?.unwrap_or(old.method),
        headers: if members.has("headers") {
            unredacted(members.text_pairs("headers")?, &old.headers)
        } else {
            old.headers
        },
        query: if members.has("queryUrlParams") {
            members.text_pairs("queryUrlParams")?
        } else {
            old.query
        },
        body: if bodies.iter().any(|name| members.has(name)) {
            body(&members)?
        } else {
            old.body
        },
        reply_to: if members.has("reply_to") {
            text(&members, "reply_to")?.filter(|reply_to| !reply_to.is_empty())
        } else {
            old.reply_to
        },
        oauth: if members.has("securityType") {
            oauth(&members, old.oauth.as_ref())?
        } else {
            old.oauth
        },
    };
    check(call, &change, &definition)?;
    change
        .replace(&action, definition, State::default())
        .await?;
    Ok(changed())
}

/// Deletes an action without contracts.
pub(crate) async fn delete(call: &Call<'_>) -> Result<Reply, Refusal> {
    call.allow("action", "delete")?;
    let change = call.door.directory.change().await;
    let action = change.get_own::<Action>(call.id("action")?)?;
    let bound = change.read(|registry| {
        let mut contracts = registry.contracts.iter();
        contracts.any(|contract| contract.definition.action == action.id)
    });
    if bound {
        return Err(replies::action_has_contracts());
    }
    change.delete(&action).await?;
    Ok(changed())
}
