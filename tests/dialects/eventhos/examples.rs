//! The worked examples of the spec, byte for byte, in development mode.

use super::*;

/// A reply with its content type and its body.
#[track_caller]
fn replied(reply: &Reply, status: u16, body: &str) {
    assert_eq!((reply.status, reply.text()), (status, body));
    assert_eq!(
        reply.header("content-type"),
        Some("application/json; charset=utf-8")
    );
}

const STORED: &str = r#"{"code":200000,"message":"success"}"#;
const NOTHING_TO_DO: &str =
    r#"{"code":200310,"message":"Success, but no contracts exists for this event"}"#;

#[test]
fn an_occurrence_is_stored_and_answered_at_once() {
    let server = Server::start();
    let token = shop_token(&server);
    let body = r#"{"name":"Morpheush","id":"199"}"#;
    replied(&send(&server, PLACED, &token, body), 200, STORED);
    replied(&send(&server, LONELY, &token, body), 203, NOTHING_TO_DO);

    let events = server.events("default");
    assert_eq!(events.len(), 2);
    assert_eq!(events[0]["stream"], PLACED);
    assert_eq!(events[0]["type"], PLACED);
    assert_eq!(events[0]["data"], json!({"name": "Morpheush", "id": "199"}));
    let metadata = &events[0]["metadata"];
    assert_eq!(metadata["headers"]["access-key"], "redacted");
    assert_eq!(metadata["headers"]["content-type"], "application/json");
    assert_eq!(metadata["query"], json!({"event-identifier": PLACED}));
    assert_eq!(metadata["method"], "POST");
    assert_eq!(
        metadata["url"],
        format!(
            "http://{}/event/send?event-identifier={PLACED}",
            server.address
        )
    );
}

#[test]
fn the_key_may_stand_in_the_query_which_wins() {
    let server = Server::start();
    let token = shop_token(&server);
    let target = format!("/event/send?event-identifier={LONELY}&access-key={token}");
    for (headers, status) in [
        (vec![], 203),
        (vec![("access-key", "no token")], 203),
        (vec![("access-key", token.as_str())], 203),
    ] {
        let reply = server.ask("POST", &target, &headers, "");
        assert_eq!(reply.status, status, "{}", reply.text());
    }
    let wrong = format!("/event/send?event-identifier={LONELY}&access-key=no+token");
    let reply = server.ask("POST", &wrong, &[("access-key", &token)], "");
    refused(&reply, 401, 401_202, "Incorrect token");
    let kept = format!("{:?}", server.events("default"));
    assert!(!kept.contains(&token), "{kept}");
    assert!(kept.contains("access-key=redacted"), "{kept}");
}

#[test]
fn errors_are_those_of_the_spec() {
    let server = start(|settings| {
        settings.systems.push(System {
            identifier: "orphan".to_owned(),
            class: SystemClass::Producer,
            client: None,
        });
        settings.events.push(Event {
            identifier: "orphaned".to_owned(),
            system: "orphan".to_owned(),
        });
        settings.clients.push(Client {
            id: "gone".to_owned(),
            secret: PlainSecret::new("gone-secret"),
            revoked: true,
            long_lived_token: None,
        });
        settings.systems.push(System {
            identifier: "gone".to_owned(),
            class: SystemClass::Hybrid,
            client: Some("gone".to_owned()),
        });
        settings.events.push(Event {
            identifier: "gone-event".to_owned(),
            system: "gone".to_owned(),
        });
    });
    let token = shop_token(&server);
    let missing = "Either the access key or the identifier for the event was not send.";
    let with_key = [("access-key", token.as_str())];
    let post = |target: &str, headers: &[(&str, &str)]| server.ask("POST", target, headers, "");
    refused(
        &post(&format!("/event/send?event-identifier={PLACED}"), &[]),
        400,
        400_201,
        missing,
    );
    refused(&post("/event/send", &with_key), 400, 400_201, missing);
    refused(
        &post("/event/send?event-identifier=", &with_key),
        400,
        400_201,
        missing,
    );
    refused(
        &send(&server, "nope", &token, "{}"),
        400,
        400_024,
        "The event nope does not exist.",
    );
    refused(
        &send(&server, "orphaned", &token, "{}"),
        404,
        400_004,
        "The client does not exist.",
    );
    let gone = Admin::of(&server).get("/auth/client?itemsPerPage=10");
    let gone = &gone["items"].as_array().unwrap()[1];
    assert_eq!(gone["client_id"], "gone");
    refused(
        &send(&server, "gone-event", "whatever", "{}"),
        403,
        403_201,
        &format!(
            "The client access has been revoked: id: {}  client_id: gone",
            gone["id"]
        ),
    );
    // A token of another client, whose own event this is not.
    let foreign = token_of(&server, "gone", "gone-secret");
    for bad in [foreign.as_str(), "x", "a.b.c", &token[..token.len() - 1]] {
        refused(
            &send(&server, PLACED, bad, "{}"),
            401,
            401_202,
            "Incorrect token",
        );
    }
    let broken = send(&server, PLACED, &token, r#"{"a":"#);
    refused(
        &broken,
        400,
        500_000,
        "the body is not JSON: it ends too early (at byte 5); nothing was stored",
    );
    assert!(server.events("default").is_empty());
}

#[test]
fn tokens_are_handed_out_as_in_the_example() {
    let server = Server::start();
    let body =
        r#"{"grant_type":"client_credentials","client_id":"shop","client_secret":"shop-secret"}"#;
    let reply = server.ask("POST", "/auth/token", &[JSON], body);
    let token = reply.json()["content"]["jwt_token"].clone();
    replied(
        &reply,
        201,
        &format!(
            r#"{{"message":"Token generated for client shop","code":200000,"content":{{"jwt_token":{token},"name":"shop","description":"","client_id":1,"identifier":"shop","roles":[]}}}}"#
        ),
    );
    // A form is as good.
    let form = "grant_type=client_credentials&client_id=shop&client_secret=shop-secret";
    let headers = [("Content-Type", "application/x-www-form-urlencoded")];
    assert_eq!(
        server.ask("POST", "/auth/token", &headers, form).status,
        201
    );
}

#[test]
fn the_older_path_and_a_slash_at_the_end_lead_to_the_same() {
    let server = Server::start();
    let token = shop_token(&server);
    for path in ["/event/send/", "/event/received", "/event/received/"] {
        let target = format!("{path}?event-identifier={LONELY}");
        let reply = server.ask("POST", &target, &[("access-key", &token)], "");
        replied(&reply, 203, NOTHING_TO_DO);
    }
    assert_eq!(server.events("default").len(), 3);
}

#[test]
fn any_json_passes_through_byte_for_byte() {
    let server = Server::start();
    let token = shop_token(&server);
    let sent = [
        r#"{"b":1,"a":9007199254740993,"t":1e-7,"e":"\u00e9","n":{ }}"#,
        "[1, [2]]",
        "\"text\"",
        "7",
        "true",
        "null",
        "-0.0",
    ];
    for body in sent {
        let padded = format!(" {body}\n");
        assert_eq!(send(&server, LONELY, &token, padded).status, 203, "{body}");
    }
    let page = server.get("/v1/logs/default/events");
    for body in sent {
        let shown = format!("\"data\":{body}");
        assert!(page.text().contains(&shown), "{shown} in {}", page.text());
    }
}

#[test]
fn a_form_becomes_an_object_and_anything_else_an_empty_one() {
    let server = Server::start();
    let token = shop_token(&server);
    let target = format!("/event/send?event-identifier={LONELY}");
    let ask = |content_type: Option<&str>, body: &str| {
        let mut headers = vec![("access-key", token.as_str())];
        headers.extend(content_type.map(|value| ("Content-Type", value)));
        let reply = server.ask("POST", &target, &headers, body);
        assert_eq!(reply.status, 203, "{}", reply.text());
        server.events("default").last().unwrap()["data"].clone()
    };
    let form = Some("application/x-www-form-urlencoded");
    assert_eq!(
        ask(form, "a=1&b=x+y&a=%32"),
        json!({"a": ["1", "2"], "b": "x y"})
    );
    assert_eq!(
        ask(Some("Application/JSON; charset=UTF-8"), "[1]"),
        json!([1])
    );
    for (content_type, body) in [
        (None, ""),
        (None, "{\"a\":1}"),
        (Some("application/json"), ""),
        (Some("text/plain"), "hello"),
        (Some("application/vnd.api+json"), "{\"a\":1}"),
        (form, ""),
    ] {
        assert_eq!(ask(content_type, body), json!({}), "{content_type:?}");
    }
}

#[test]
fn unknown_routes_are_answered_as_express_does() {
    let server = Server::start();
    for (method, target, shown) in [
        (
            "POST",
            "/event/nothing/here",
            "Cannot POST /event/nothing/here",
        ),
        ("GET", "/event/send?a=b", "Cannot GET /event/send"),
        ("DELETE", "/auth/token", "Cannot DELETE /auth/token"),
        (
            "GET",
            "/system/%3Cscript%3E/'x'/&",
            "Cannot GET /system/%3Cscript%3E/&#39;x&#39;/&amp;",
        ),
        ("PATCH", "/contract//", "Cannot PATCH /contract//"),
    ] {
        let reply = server.ask(method, target, &[], "");
        assert_eq!(reply.status, 404, "{target}");
        assert_eq!(
            reply.header("content-type"),
            Some("text/html; charset=utf-8")
        );
        let pre = format!("<pre>{shown}</pre>");
        assert!(reply.text().contains(&pre), "{}", reply.text());
    }
    let options = server.ask("OPTIONS", "/event/send", &[], "");
    assert_eq!(
        (options.status, options.header("allow")),
        (204, Some("POST, OPTIONS"))
    );
}

#[test]
fn a_bearer_token_is_judged_on_every_route() {
    let server = start(|_| {});
    let token = shop_token(&server);
    let target = format!("/event/send?event-identifier={LONELY}");
    let ask = |target: &str, authorization: &str| {
        let headers = [
            ("access-key", token.as_str()),
            ("Authorization", authorization),
        ];
        server.ask("POST", target, &headers, "")
    };
    for ignored in ["Bearer x", "bearer x", "Basic eDp5", "BEARERx y"] {
        assert_eq!(ask(&target, ignored).status, 203, "{ignored}");
    }
    assert_eq!(ask(&target, &format!("BEARER {token}")).status, 203);
    for bad in ["BEARER x", "BEARER", "BEARER "] {
        refused(&ask(&target, bad), 401, 400_001, "Incorrect token");
        refused(&ask("/event/nowhere", bad), 401, 400_001, "Incorrect token");
    }
    let in_query = format!("{target}&access_token=x");
    refused(&ask(&in_query, "Basic x"), 401, 400_001, "Incorrect token");
    let expired = signed(&json!({
        "data": {"id": "shop", "subjectType": "client", "identifier": "shop"}, "exp": 1
    }));
    refused(
        &ask(&target, &format!("BEARER {expired}")),
        401,
        400_002,
        "Expired token",
    );
    // What was presented is not kept.
    let kept = format!("{:?}", server.events("default"));
    assert!(!kept.contains(&token), "{kept}");
}
