//! Tokens: who gets one, what it is worth, and when a client is locked.

use std::sync::Arc;
use std::time::Duration;

use strandlog::clock::HandClock;

use super::*;

fn ask_token(server: &Server, body: &Value) -> Reply {
    server.ask("POST", "/auth/token", &[JSON], body.to_string())
}

fn credentials(id: &str, secret: &str) -> Value {
    json!({"grant_type": "client_credentials", "client_id": id, "client_secret": secret})
}

const FAILED: &str = "Auth failed; Invalid client_id or client_secret.";

#[test]
fn what_is_missing_or_no_text_is_named() {
    let server = Server::start();
    for (body, code, message) in [
        (json!({}), 400_001, "Invalid body; grant_type is required"),
        (json!([1]), 400_001, "Invalid body; grant_type is required"),
        (json!(7), 400_001, "Invalid body; grant_type is required"),
        (
            json!({"grant_type": 1}),
            400_003,
            "Invalid body; grant_type is not an string",
        ),
        (
            json!({"grant_type": "password", "username": "a", "password": "b"}),
            400_001,
            "Invalid body; client_id is required",
        ),
        (
            json!({"grant_type": "client_credentials", "client_id": ["a"], "client_secret": "b"}),
            400_003,
            "Invalid body; client_id is not an string",
        ),
        (
            json!({"grant_type": "client_credentials", "client_id": "shop", "client_secret": null}),
            400_001,
            "Invalid body; client_secret is required",
        ),
        (
            json!({"grant_type": "code", "client_id": "a", "client_secret": "b"}),
            400_002,
            "Unsupported grand type",
        ),
        (
            json!({"grant_type": "password", "client_id": "a", "client_secret": "b"}),
            400_001,
            "Invalid body; username is required",
        ),
    ] {
        refused(&ask_token(&server, &body), 400, code, message);
    }
    refused(
        &server.ask("POST", "/auth/token", &[JSON], "{"),
        400,
        500_000,
        "the body is not JSON: it ends too early (at byte 1); nothing was stored",
    );
}

#[test]
fn wrong_secrets_and_unknown_clients_are_told_apart_by_status_alone() {
    let server = Server::start();
    let wrong = ask_token(&server, &credentials("shop", "shop-secret "));
    refused(&wrong, 401, 401_100, FAILED);
    let unknown = ask_token(&server, &credentials("shoq", "shop-secret"));
    refused(&unknown, 404, 401_100, FAILED);
}

#[test]
fn the_fourth_wrong_secret_locks_a_client_for_three_minutes() {
    let clock = HandClock::at(1_700_000_000_000_000);
    let server = Server::start_at(Arc::new(clock.clone()), |_| {});
    let wrong = credentials("shop", "guess");
    for _ in 0..3 {
        refused(&ask_token(&server, &wrong), 401, 401_100, FAILED);
    }
    let locked = "Client locked; too many attempts with a wrong secret, try again in 3 minutes";
    refused(&ask_token(&server, &wrong), 401, 401_003, locked);
    let right = credentials("shop", "shop-secret");
    refused(&ask_token(&server, &right), 401, 401_003, locked);
    // An unknown client is not locked, whatever is tried.
    for _ in 0..5 {
        let unknown = ask_token(&server, &credentials("nobody", "guess"));
        refused(&unknown, 404, 401_100, FAILED);
    }
    clock.advance(Duration::from_secs(180));
    assert_eq!(ask_token(&server, &right).status, 201);
    refused(&ask_token(&server, &wrong), 401, 401_100, FAILED);
}

#[test]
fn a_token_is_worth_something_for_a_day() {
    let clock = HandClock::at(1_700_000_000_000_000);
    let server = Server::start_at(Arc::new(clock.clone()), |_| {});
    let token = shop_token(&server);
    clock.advance(Duration::from_secs(24 * 60 * 60 - 1));
    assert_eq!(send(&server, LONELY, &token, "{}").status, 203);
    clock.advance(Duration::from_secs(1));
    let late = send(&server, LONELY, &token, "{}");
    refused(&late, 401, 401_202, "Incorrect token");
}

#[test]
fn forged_and_endless_tokens_are_worth_nothing() {
    let server = Server::start();
    let token = shop_token(&server);
    let parts: Vec<&str> = token.split('.').collect();
    let none = "eyJhbGciOiJub25lIiwidHlwIjoiSldUIn0";
    let claims = |data: Value| signed(&json!({"data": data, "exp": 4_000_000_000_u64}));
    let good = json!({"id": "shop", "subjectType": "client", "identifier": "shop"});
    assert_eq!(
        send(&server, LONELY, &claims(good.clone()), "{}").status,
        203
    );
    for bad in [
        format!("{none}.{}.", parts[1]),
        format!("{none}.{}.{}", parts[1], parts[2]),
        format!("{}.{}", parts[0], parts[1]),
        format!("{token}.x"),
        "x".repeat(9_000),
        // Without expiry it would be the long-lived token of a client that has none.
        signed(&json!({"data": good})),
        claims(json!({"id": "shop", "subjectType": "user", "username": "shop"})),
        claims(json!({"id": 1})),
        claims(json!({"identifier": "shop"})),
    ] {
        let reply = send(&server, LONELY, &bad, "{}");
        refused(&reply, 401, 401_202, "Incorrect token");
    }
}

#[test]
fn users_log_in_with_their_password_only() {
    let server = start(|_| {});
    let login = |body: Value| server.ask("POST", "/auth/login", &[JSON], body.to_string());
    let reply = login(json!({"username": "admin", "password": "admin-password"}));
    let content = &reply.good()["content"];
    let token = &content["jwt_token"];
    assert_eq!(
        reply.text(),
        format!(
            r#"{{"message":"User admin logged in","code":200000,"content":{{"jwt_token":{token},"username":"admin","name":"admin","userId":1,"roles":[]}}}}"#
        )
    );
    for bad in [
        json!({"username": "admin", "password": "admin"}),
        json!({"username": "root", "password": "admin-password"}),
        json!({"username": "shop", "password": "shop-secret"}),
    ] {
        refused(&login(bad), 401, 401_001, "Incorrect username or password");
    }
    refused(
        &login(json!({"username": "admin"})),
        400,
        400_001,
        "Invalid body; password is required",
    );
    // The password grant gives a user's token as well.
    let grant = json!({"grant_type": "password", "client_id": "", "client_secret": "",
        "username": "admin", "password": "admin-password"});
    let reply = ask_token(&server, &grant);
    assert_eq!(reply.status, 201, "{}", reply.text());
    let content = &reply.json()["content"];
    assert_eq!(
        (&content["user_id"], &content["username"]),
        (&json!(1), &json!("admin"))
    );
    let mut wrong = grant;
    wrong["password"] = json!("x");
    refused(
        &ask_token(&server, &wrong),
        401,
        401_001,
        "Incorrect username or password",
    );
}

#[test]
fn a_long_lived_token_of_the_config_file_is_the_only_key() {
    let server = start(|settings| {
        settings.clients[0].long_lived_token = Some(PlainSecret::new("long-lived-key"));
    });
    assert_eq!(send(&server, LONELY, "long-lived-key", "{}").status, 203);
    for bad in ["long-lived-kex", "long-lived-key-and-more", "long"] {
        let reply = send(&server, LONELY, bad, "{}");
        refused(&reply, 401, 401_202, "Incorrect token");
    }
    let short = signed(&json!({"data": {"id": "shop"}, "exp": 4_000_000_000_u64}));
    refused(
        &send(&server, LONELY, &short, "{}"),
        401,
        401_202,
        "Incorrect token",
    );
    refused(
        &ask_token(&server, &credentials("shop", "shop-secret")),
        403,
        400_011,
        "Client is not able to generate tokens, use your long live token",
    );
    // Whoever does not know the secret is not told so.
    refused(
        &ask_token(&server, &credentials("shop", "guess")),
        401,
        401_100,
        FAILED,
    );
    let admin = Admin::of(&server);
    let body = json!({"identifier": "shop"});
    let reply = admin.ask("PUT", "/auth/client/1/long-live", &body);
    assert_eq!(reply.status, 409, "{}", reply.text());
}
