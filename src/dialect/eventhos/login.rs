//! `POST /auth/token` and `POST /auth/login` (spec section 5).
//!
//! Every attempt costs one slow hash, whether the client or user exists, is of the config file or
//! was made by a route: the time of an answer tells nothing, and guessing is slow.

use serde::Serialize;

use crate::auth::secret;
use crate::http::{Body, Reply};

use super::call::Call;
use super::input::{Input, Members};
use super::replies::{self, Refusal};

/// Makes a token for a client, or for a user.
pub(super) async fn token(call: &Call<'_>, body: Body) -> Result<Reply, Refusal> {
    let input = Input::read_short(call.head, body, &call.door.bodies).await?;
    let json = input.json()?;
    let members = Members::of(&json);
    let grant_type = members.required_text("grant_type")?;
    // Required of users as well, of whom nobody looks at them.
    let client_id = members.required_text("client_id")?;
    let client_secret = members.required_text("client_secret")?;
    match grant_type.as_str() {
        "client_credentials" => client_token(call, &client_id, &client_secret).await,
        "password" => {
            let username = members.required_text("username")?;
            let password = members.required_text("password")?;
            user_token(call, &username, &password).await
        }
        _ => Err(replies::unsupported_grant()),
    }
}

async fn client_token(
    call: &Call<'_>,
    client_id: &str,
    client_secret: &str,
) -> Result<Reply, Refusal> {
    #[derive(Serialize)]
    struct Content<'a> {
        jwt_token: String,
        name: &'a str,
        description: &'a str,
        client_id: u64,
        identifier: &'a str,
        roles: [&'static str; 0],
    }

    let door = call.door;
    let clock = door.app.clock();
    let client = door
        .directory
        .read(|registry| registry.client_called(client_id).cloned());
    if let Some(client) = &client
        && door.locks.is_locked(client.id, clock.moment())
    {
        return Err(replies::locked());
    }
    let definition = client.as_ref().map(|client| &client.definition);
    let stored = definition.and_then(|definition| definition.secret.as_ref());
    let hash_is_right = secret::verify(stored, client_secret).await?;
    let Some(client) = &client else {
        return Err(replies::no_such_client());
    };
    let right = match &client.definition.configured {
        Some(configured) => secret::equal(
            configured.secret.reveal().as_bytes(),
            client_secret.as_bytes(),
        ),
        None => hash_is_right,
    };
    if !right {
        return Err(if door.locks.wrong(client.id, clock.moment()) {
            replies::locked()
        } else {
            replies::wrong_secret()
        });
    }
    door.locks.right(client.id);
    if client.long_lived().is_some() {
        return Err(replies::may_not_mint());
    }
    let definition = &client.definition;
    let content = Content {
        jwt_token: door.tokens.for_client(
            &definition.client_id,
            &client.identifier,
            clock.now_us(),
            false,
        ),
        name: &definition.name,
        description: &definition.description,
        client_id: client.id,
        identifier: &client.identifier,
        roles: [],
    };
    let message = format!("Token generated for client {client_id}");
    Ok(replies::token(&message, &content))
}

/// A user who has shown the right password.
struct LoggedIn {
    id: u64,
    jwt_token: String,
}

async fn log_in(call: &Call<'_>, username: &str, password: &str) -> Result<LoggedIn, Refusal> {
    let door = call.door;
    let user = door
        .directory
        .read(|registry| registry.users.named(username).cloned());
    // Passwords of the config file are not hashed, so this is for its time alone.
    secret::verify(None, password).await?;
    let right = |user: &super::registry::User| {
        let configured = user.configured.as_ref();
        configured.is_some_and(|configured| {
            secret::equal(configured.password.reveal().as_bytes(), password.as_bytes())
        })
    };
    let user = user.filter(|user| right(&user.definition));
    let user = user.ok_or_else(replies::wrong_password)?;
    let now_us = door.app.clock().now_us();
    Ok(LoggedIn {
        id: user.id,
        jwt_token: door.tokens.for_user(user.id, &user.identifier, now_us),
    })
}

async fn user_token(call: &Call<'_>, username: &str, password: &str) -> Result<Reply, Refusal> {
    #[derive(Serialize)]
    struct Content<'a> {
        jwt_token: String,
        name: &'a str,
        description: &'static str,
        user_id: u64,
        username: &'a str,
        roles: [&'static str; 0],
    }

    let user = log_in(call, username, password).await?;
    let content = Content {
        jwt_token: user.jwt_token,
        name: username,
        description: "",
        user_id: user.id,
        username,
        roles: [],
    };
    let message = format!("Token generated for user {username}");
    Ok(replies::token(&message, &content))
}

/// Makes a token for a user of the administration routes.
pub(super) async fn login(call: &Call<'_>, body: Body) -> Result<Reply, Refusal> {
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct Content<'a> {
        #[serde(rename = "jwt_token")]
        jwt_token: String,
        username: &'a str,
        name: &'a str,
        user_id: u64,
        roles: [&'static str; 0],
    }

    let input = Input::read_short(call.head, body, &call.door.bodies).await?;
    let json = input.json()?;
    let members = Members::of(&json);
    let username = members.required_text("username")?;
    let password = members.required_text("password")?;
    let user = log_in(call, &username, &password).await?;
    let content = Content {
        jwt_token: user.jwt_token,
        username: &username,
        name: &username,
        user_id: user.id,
        roles: [],
    };
    let message = format!("User {username} logged in");
    Ok(replies::token(&message, &content))
}
