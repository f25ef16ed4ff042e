//! Clients made by routes: their secrets, their tokens, their end.

use super::*;

#[track_caller]
fn create(admin: &Admin<'_>, identifier: &str, query: &str) -> Value {
    let body =
        json!({"identifier": identifier, "name": "The web", "description": "d", "roles": []});
    let reply = admin.ask("POST", &format!("/auth/client{query}"), &body);
    assert_eq!(reply.status, 201, "{}", reply.text());
    let content = &reply.json()["content"];
    assert_eq!(
        reply.text(),
        format!(
            r#"{{"code":200001,"message":"Client added","content":{{"clientSecret":{},"clientId":{},"access_token":{}}}}}"#,
            content["clientSecret"], content["clientId"], content["access_token"]
        )
    );
    content.clone()
}

/// Gives a client a system with an event; the event's identifier.
#[track_caller]
fn create_event(admin: &Admin<'_>, client: u64, name: &str) -> String {
    let system = json!({"systemClass": "producer", "identifier": name, "name": name, "type": "web",
        "description": "", "clientId": client});
    let system = admin.content("POST", "/system", &system)["systemId"].clone();
    let event = json!({"system_id": system, "identifier": name, "name": name, "operation": "new",
        "description": ""});
    let event = admin.content("POST", "/event", &event)["eventId"].clone();
    let event = admin.get(&format!("/event/{event}"));
    event["identifier"].as_str().unwrap().to_owned()
}

#[test]
fn a_client_can_do_what_it_was_made_for_after_a_restart_too() {
    let server = start(|_| {});
    let admin = Admin::of(&server);
    let client = create(&admin, "Web", "");
    let id = client["clientId"].as_str().unwrap().to_owned();
    let secret = client["clientSecret"].as_str().unwrap().to_owned();
    assert_eq!(client["access_token"], "");
    assert!(id.ends_with("::usil.app") && id.len() == 30, "{id}");
    let event = create_event(&admin, 2, "signed-up");
    assert_eq!(event.len(), "signed-up-".len() + 10, "{event}");
    let again = json!({"identifier": "web", "name": "", "description": "", "roles": []});
    refused(
        &admin.ask("POST", "/auth/client", &again),
        409,
        409_102,
        "That identifier is already on use",
    );
    let server = server.restart();
    let token = token_of(&server, &id, &secret);
    let reply = send(&server, &event, &token, "{}");
    assert_eq!(reply.status, 203, "{}", reply.text());
    let foreign = send(&server, &event, &shop_token(&server), "{}");
    refused(&foreign, 401, 401_202, "Incorrect token");
    // Secrets are nowhere in what is kept or shown.
    let shown = Admin::of(&server).get("/auth/client/2").to_string();
    assert!(
        !shown.contains(&secret) && shown.contains("\"The web\""),
        "{shown}"
    );
    let kept = server.app.document("eventhos-client", "2").unwrap();
    let kept = String::from_utf8(kept.to_vec()).unwrap();
    assert!(
        !kept.contains(&secret) && kept.contains("$argon2id$"),
        "{kept}"
    );
    let configured = server.app.document("eventhos-client", "1").unwrap();
    let configured = String::from_utf8(configured.to_vec()).unwrap();
    assert!(!configured.contains("shop-secret"), "{configured}");
}

#[test]
fn a_secret_is_shown_once_and_can_be_replaced() {
    let server = start(|_| {});
    let admin = Admin::of(&server);
    let client = create(&admin, "web", "");
    let id = client["clientId"].as_str().unwrap();
    refused(
        &admin.ask("GET", "/auth/client/2/secret", &Value::Null),
        409,
        409_000,
        "The secret of a client is kept as a hash only and cannot be shown; PUT /auth/client/2/secret makes a new one.",
    );
    refused(
        &admin.ask("GET", "/auth/client/1/secret", &Value::Null),
        409,
        409_000,
        "The secret of client shop is defined in the config file and can only be changed there.",
    );
    let made = admin.content("PUT", "/auth/client/2/secret", &json!({}));
    let made = made["clientSecret"].as_str().unwrap();
    assert!(!token_of(&server, id, made).is_empty());
    let old = json!({"grant_type": "client_credentials", "client_id": id,
        "client_secret": client["clientSecret"]});
    let reply = server.ask("POST", "/auth/token", &[JSON], old.to_string());
    assert_eq!(reply.status, 401);
    let config = admin.ask("PUT", "/auth/client/1/secret", &json!({}));
    assert_eq!(config.status, 409, "{}", config.text());
}

#[test]
fn a_long_lived_token_replaces_all_others_until_it_is_removed() {
    let server = start(|_| {});
    let admin = Admin::of(&server);
    let short = shop_token(&server);
    let live = "/auth/client/1/long-live";
    let reply = admin.ask("PUT", live, &json!({"identifier": "shop"}));
    assert_eq!(reply.status, 201, "{}", reply.text());
    let first = reply.json()["content"]["access_token"]
        .as_str()
        .unwrap()
        .to_owned();
    assert_eq!(
        reply.text(),
        format!(
            r#"{{"code":200000,"message":"Token generated","content":{{"access_token":"{first}"}}}}"#
        )
    );
    assert_eq!(send(&server, LONELY, &first, "{}").status, 203);
    refused(
        &send(&server, LONELY, &short, "{}"),
        401,
        401_202,
        "Incorrect token",
    );
    // After a restart it is known by its hash.
    let server = server.restart();
    let admin = Admin::of(&server);
    assert_eq!(send(&server, LONELY, &first, "{}").status, 203);
    let other = format!("{}x", &first[..first.len() - 1]);
    assert_eq!(send(&server, LONELY, &other, "{}").status, 401);
    // As a bearer it is the client, which has no permissions; the short one is superseded.
    let bearer = |token: &str| {
        let headers = [("Authorization", format!("BEARER {token}"))];
        let headers: Vec<_> = headers.iter().map(|(n, v)| (*n, v.as_str())).collect();
        server.ask("GET", "/event", &headers, "")
    };
    refused(
        &bearer(&first),
        401,
        401_002,
        "Subject not authorized; incorrect permissions",
    );
    refused(&bearer(&short), 403, 403_004, "Incorrect token");
    let removed = admin.ask("PUT", &format!("{live}?remove_long_live=true"), &json!({}));
    assert_eq!(
        removed.text(),
        r#"{"code":200001,"message":"Token removed"}"#
    );
    refused(
        &send(&server, LONELY, &first, "{}"),
        401,
        401_202,
        "Incorrect token",
    );
    refused(&bearer(&first), 403, 403_004, "Incorrect token");
    assert_eq!(send(&server, LONELY, &short, "{}").status, 203);
}

#[test]
fn a_client_can_be_made_with_a_long_lived_token() {
    let server = start(|_| {});
    let admin = Admin::of(&server);
    let client = create(&admin, "web", "?longLive=true");
    let token = client["access_token"].as_str().unwrap();
    let event = create_event(&admin, 2, "signed-up");
    assert_eq!(send(&server, &event, token, "{}").status, 203);
    assert_eq!(
        admin.get("/auth/client/2"),
        json!({"id": 2, "description": "d", "name": "The web", "identifier": "web", "roles": [],
            "client_id": client["clientId"], "hasLongLiveToken": true, "revoked": false})
    );
    let kept = format!("{:?}", server.events("default"));
    assert!(!kept.contains(token), "{kept}");
}

#[test]
fn a_revoked_client_is_refused_until_that_is_taken_back() {
    let server = start(|_| {});
    let admin = Admin::of(&server);
    let token = shop_token(&server);
    let revoke = |flag: bool| admin.ask("PUT", "/auth/client/1/revoke", &json!({"revoke": flag}));
    assert_eq!(
        revoke(true).text(),
        r#"{"code":200001,"message":"Token revoked","content":1}"#
    );
    refused(
        &send(&server, LONELY, &token, "{}"),
        403,
        403_201,
        "The client access has been revoked: id: 1  client_id: shop",
    );
    let headers = [("Authorization", format!("BEARER {token}"))];
    let headers: Vec<_> = headers.iter().map(|(n, v)| (*n, v.as_str())).collect();
    refused(
        &server.ask("GET", "/event", &headers, ""),
        403,
        403_003,
        "Client authorization credentials have been revoked",
    );
    assert_eq!(revoke(false).status, 201);
    assert_eq!(send(&server, LONELY, &token, "{}").status, 203);
    let reply = admin.ask("PUT", "/auth/client/1/revoke", &json!({}));
    refused(&reply, 400, 400_001, "Invalid body; revoke is required");
    let reply = admin.ask("PUT", "/auth/client/9/revoke", &json!({"revoke": true}));
    refused(&reply, 404, 404_000, "The client does not exist.");
}
