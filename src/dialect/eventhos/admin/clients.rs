//! `/auth/client`: clients, their secrets and their long-lived tokens (spec section 5).
//!
//! A secret is shown once, when it is made, and kept as a hash. So `GET .../secret` cannot show it,
//! and does not make a new one either: reading changes nothing. `PUT .../secret` makes one.

use serde::Serialize;

use crate::auth::secret::{self, random_token};
use crate::http::{Body, Reply, StatusCode};

use super::super::call::Call;
use super::super::input::{Input, Members};
use super::super::registry::{Client, Entity, NewName, State, TokenHash};
use super::super::replies::{self, Refusal};
use super::{Page, check_identifier, created, one, shown, text};

/// The permissions of clients carry upstream's name.
const RESOURCE: &str = "OAUTH2_client";
/// How many random characters begin a `client_id`.
const CLIENT_ID_LEN: usize = 20;
/// What a `client_id` ends with.
const CLIENT_ID_SUFFIX: &str = "::usil.app";
/// How many characters a secret has: 190 bits.
const SECRET_LEN: usize = 32;

#[derive(Serialize)]
struct Item<'a> {
    id: u64,
    description: &'a str,
    name: &'a str,
    identifier: &'a str,
    roles: [&'static str; 0],
    client_id: &'a str,
    #[serde(rename = "hasLongLiveToken")]
    has_long_live_token: bool,
    revoked: bool,
}

fn item(client: &Entity<Client>) -> Item<'_> {
    Item {
        id: client.id,
        description: &client.definition.description,
        name: &client.definition.name,
        identifier: &client.identifier,
        roles: [],
        client_id: &client.definition.client_id,
        has_long_live_token: client.long_lived().is_some(),
        revoked: client.is_revoked(),
    }
}

/// Makes a client.
pub(crate) async fn create(call: &Call<'_>, body: Body) -> Result<Reply, Refusal> {
    #[derive(Serialize)]
    struct Content<'a> {
        #[serde(rename = "clientSecret")]
        client_secret: &'a str,
        #[serde(rename = "clientId")]
        client_id: &'a str,
        access_token: &'a str,
    }

    call.allow(RESOURCE, "create")?;
    let input = Input::read_short(call.head, body, &call.door.bodies).await?;
    let json = input.json()?;
    let members = Members::of(&json);
    let identifier = members.required_name("identifier")?.to_lowercase();
    check_identifier(&identifier)?;
    let plain_secret = random_token(SECRET_LEN);
    let client_id = format!("{}{CLIENT_ID_SUFFIX}", random_token(CLIENT_ID_LEN));
    let access_token = if call.query.one("longLive") == Some("true") {
        let now_us = call.door.app.clock().now_us();
        let tokens = &call.door.tokens;
        tokens.for_client(&client_id, &identifier, now_us, true)
    } else {
        String::new()
    };
    let definition = Client {
        client_id: client_id.clone(),
        name: text(&members, "name")?.unwrap_or_default(),
        description: text(&members, "description")?.unwrap_or_default(),
        secret: Some(secret::hash(plain_secret.clone()).await?),
        configured: None,
    };
    let state = State {
        long_lived: (!access_token.is_empty()).then(|| TokenHash::of(&access_token)),
        ..State::default()
    };
    let change = call.door.directory.change().await;
    change
        .add(NewName::Exact(&identifier), definition, state)
        .await?;
    let content = Content {
        client_secret: &plain_secret,
        client_id: &client_id,
        access_token: &access_token,
    };
    Ok(created(replies::CHANGED, "Client added", &content))
}

/// Lists clients.
pub(crate) fn list(call: &Call<'_>) -> Result<Reply, Refusal> {
    call.allow(RESOURCE, "select")?;
    call.door.directory.read(|registry| {
        let clients = registry.clients.iter().map(|client| &**client).collect();
        Page::of(&call.query).cut_shown(&call.query, clients, item)
    })
}

/// Shows a client.
pub(crate) fn get(call: &Call<'_>) -> Result<Reply, Refusal> {
    call.allow(RESOURCE, "select")?;
    Ok(shown(&item(&*one::<Client>(call)?)))
}

/// Makes, or removes, the long-lived token of a client. From then on nothing else is accepted of it,
/// or short tokens are again.
pub(crate) async fn long_live(call: &Call<'_>, body: Body) -> Result<Reply, Refusal> {
    #[derive(Serialize)]
    struct Content<'a> {
        access_token: &'a str,
    }

    call.allow(RESOURCE, "update")?;
    let remove = call.query.one("remove_long_live") == Some("true");
    let input = Input::read_short(call.head, body, &call.door.bodies).await?;
    if !remove {
        let json = input.json()?;
        Members::of(&json).required_text("identifier")?;
    }
    let change = call.door.directory.change().await;
    let client = change.get::<Client>(call.id("client")?)?;
    let configured = client.definition.configured.as_ref();
    if configured.is_some_and(|configured| configured.long_lived_token.is_some()) {
        return Err(replies::configured("token of client", &client.identifier));
    }
    let token = (!remove).then(|| {
        let now_us = call.door.app.clock().now_us();
        let client_id = &client.definition.client_id;
        call.door
            .tokens
            .for_client(client_id, &client.identifier, now_us, true)
    });
    let state = State {
        long_lived: token.as_deref().map(TokenHash::of),
        ..client.state.clone()
    };
    change.set_state(&client, state).await?;
    Ok(match &token {
        Some(access_token) => created(replies::READ, "Token generated", &Content { access_token }),
        None => replies::done(StatusCode::CREATED, replies::CHANGED, "Token removed"),
    })
}

/// Revokes a client, or takes that back.
pub(crate) async fn revoke(call: &Call<'_>, body: Body) -> Result<Reply, Refusal> {
    call.allow(RESOURCE, "update")?;
    let input = Input::read_short(call.head, body, &call.door.bodies).await?;
    let json = input.json()?;
    let revoke = Members::of(&json)
        .flag("revoke")?
        .ok_or_else(|| replies::field_required("revoke"))?;
    let change = call.door.directory.change().await;
    let client = change.get::<Client>(call.id("client")?)?;
    let configured = client.definition.configured.as_ref();
    if !revoke && configured.is_some_and(|configured| configured.revoked) {
        return Err(replies::configured(
            "revocation of client",
            &client.identifier,
        ));
    }
    let state = State {
        revoked: revoke,
        ..client.state.clone()
    };
    change.set_state(&client, state).await?;
    let message = if revoke {
        "Token revoked"
    } else {
        "Token rectified"
    };
    // Upstream tells how many rows it changed.
    Ok(created(replies::CHANGED, message, &1))
}

/// Says that a secret cannot be shown.
pub(crate) fn show_secret(call: &Call<'_>) -> Result<Reply, Refusal> {
    call.allow(RESOURCE, "select")?;
    let client = one::<Client>(call)?;
    Err(if client.configured {
        replies::configured("secret of client", &client.identifier)
    } else {
        replies::secret_not_kept(client.id)
    })
}

/// Makes a new secret; the one before is worth nothing from then on.
pub(crate) async fn replace_secret(call: &Call<'_>) -> Result<Reply, Refusal> {
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct Content<'a> {
        client_secret: &'a str,
    }

    call.allow(RESOURCE, "update")?;
    let id = call.id("client")?;
    let plain_secret = random_token(SECRET_LEN);
    let hash = secret::hash(plain_secret.clone()).await?;
    let change = call.door.directory.change().await;
    let client = change.get_own::<Client>(id)?;
    let definition = Client {
        secret: Some(hash),
        ..client.definition.clone()
    };
    change
        .replace(&client, definition, client.state.clone())
        .await?;
    let content = Content {
        client_secret: &plain_secret,
    };
    Ok(created(replies::READ, "Secret generated", &content))
}
