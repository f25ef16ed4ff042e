//! Registering handlers: every route, and what it shows.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use strandlog::auth::PlainSecret;

use super::{JSON, refused};
use crate::client::Reply;
use crate::harness::Server;

const HANDLERS: &str = "/v1/contexts/default/handlers/events";

fn put(server: &Server, id: &str, body: &Value) -> Reply {
    let target = format!("{HANDLERS}/{id}");
    server.ask("PUT", &target, &[JSON], body.to_string())
}

/// An endpoint to which nobody listens.
const NOBODY: &str = "http://127.0.0.1:9/e";

fn disabled(names: &[&str]) -> Value {
    json!({ "names": names, "endpoint": NOBODY, "enabled": false })
}

fn ids(list: &Reply) -> Vec<String> {
    let list = list.good();
    assert_eq!(list.as_object().unwrap().len(), 1);
    let items = list["items"].as_array().unwrap().iter();
    let pairs = items.map(|item| (&item["context"], &item["id"]));
    pairs
        .map(|(context, id)| format!("{}/{}", context.as_str().unwrap(), id.as_str().unwrap()))
        .collect()
}

#[test]
fn the_worked_example_is_answered_byte_for_byte() {
    let server = Server::start();
    let target = format!("{HANDLERS}/h1");
    let body = r#"{"names":["Redeemed"],"endpoint":"http://127.0.0.1:9000/e"}"#;
    let shown = concat!(
        r#"{"id":"h1","synapseInstanceId":null,"names":["Redeemed"],"#,
        r#""endpoint":"http://127.0.0.1:9000/e","endpointType":"http-raw","endpointOptions":[],"#,
        r#""clientId":null,"componentName":null,"batchSize":1,"start":0,"enabled":true,"#,
        r#""context":"default","clientAuthenticationId":null,"serverAuthenticationId":null,"#,
        r#""lastError":null}"#
    );
    let new = server.ask("PUT", &target, &[JSON], body);
    assert_eq!((new.status, new.text()), (201, shown));
    assert_eq!(new.header("content-type"), Some("application/json"));
    let location = format!("http://{}{target}", server.address);
    assert_eq!(new.header("location"), Some(location.as_str()));
    let again = server.ask("PUT", &target, &[JSON], body);
    assert_eq!((again.status, again.text()), (200, shown));
    assert_eq!(again.header("location"), None);
    let read = server.get(&target);
    assert_eq!((read.status, read.text()), (200, shown));
    let patch = server.ask("PATCH", &format!("{target}?enabled=false"), &[], "");
    assert_eq!((patch.status, patch.text()), (204, ""));
    assert_eq!(server.get(&target).good()["enabled"], false);
    let delete = server.ask("DELETE", &target, &[], "");
    assert_eq!((delete.status, delete.text()), (204, ""));
    for method in ["GET", "DELETE"] {
        refused(&server.ask(method, &target, &[], ""), 404, "AXONIQ-0001");
    }
    let patch = server.ask("PATCH", &format!("{target}?enabled=true"), &[], "");
    refused(&patch, 404, "AXONIQ-0001");
}

#[test]
fn everything_that_is_registered_is_shown_again() {
    let server = Server::start();
    let body = json!({
        "names": ["a", "b/c"], "endpoint": "http://127.0.0.1:9/e?x=1",
        "endpointType": "http-list-of-messages",
        "endpointOptions": [{ "key": "Authorization", "value": "Bearer s" }, { "key": "X-A", "value": "" }],
        "clientId": "client", "componentName": "component", "batchSize": 1000, "start": -1,
        "enabled": false, "context": "ignored", "clientAuthenticationId": "c",
        "serverAuthenticationId": "s", "lastError": "ignored", "id": "ignored",
        "synapseInstanceId": "ignored", "extra": [{}]
    });
    let shown = put(&server, "h", &body).good();
    let mut want = body;
    for (member, value) in [
        ("context", json!("default")),
        ("lastError", Value::Null),
        ("id", json!("h")),
        ("synapseInstanceId", Value::Null),
    ] {
        want[member] = value;
    }
    want.as_object_mut().unwrap().remove("extra");
    assert_eq!(shown, want);
    let nulls = json!({ "names": [], "endpoint": NOBODY, "endpointType": null, "batchSize": null,
        "endpointOptions": null, "start": null, "enabled": null, "clientId": null });
    let shown = put(&server, "n", &nulls).good();
    assert_eq!(
        (
            &shown["endpointType"],
            &shown["batchSize"],
            &shown["enabled"]
        ),
        (&json!("http-raw"), &json!(1), &json!(true))
    );
}

#[test]
fn the_server_chooses_an_id_if_it_is_asked_to() {
    let server = Server::start();
    let post = || server.ask("POST", HANDLERS, &[JSON], disabled(&[]).to_string());
    let (one, other) = (post(), post());
    assert_eq!(one.status, 201);
    let id = one.good()["id"].as_str().unwrap().to_owned();
    assert_eq!((id.len(), &id[14..15]), (36, "4"), "a UUIDv4");
    assert_ne!(other.good()["id"], id.as_str());
    let location = format!("http://{}{HANDLERS}/{id}", server.address);
    assert_eq!(one.header("location"), Some(location.as_str()));
    assert_eq!(server.get(&format!("{HANDLERS}/{id}")).text(), one.text());
}

#[test]
fn handlers_are_listed_by_context_or_all_together() {
    let server = Server::start();
    let all = || server.get("/v1/handlers/events");
    assert_eq!(all().text(), r#"{"items":[]}"#);
    put(&server, "b", &disabled(&[])).good();
    put(&server, "a", &disabled(&[])).good();
    let billing = "/v1/contexts/billing/handlers/events";
    let target = format!("{billing}/a");
    server
        .ask("PUT", &target, &[JSON], disabled(&[]).to_string())
        .good();
    assert_eq!(ids(&server.get(HANDLERS)), ["default/a", "default/b"]);
    assert_eq!(ids(&server.get(billing)), ["billing/a"]);
    assert_eq!(ids(&all()), ["billing/a", "default/a", "default/b"]);
    // Of two handlers with one id, each is its own.
    assert_eq!(server.ask("DELETE", &target, &[], "").status, 204);
    assert_eq!(ids(&all()), ["default/a", "default/b"]);
    let elsewhere = server.get("/v1/contexts/none/handlers/events");
    refused(&elsewhere, 404, "AXONIQ-1302");
    let elsewhere = server.get("/v1/contexts/none/handlers/events/a");
    refused(&elsewhere, 404, "AXONIQ-1302");
}

#[test]
fn a_long_list_is_sent_in_pieces_and_whole() {
    let server = Server::start();
    let mut body = disabled(&[]);
    body["endpointOptions"] = (0..7)
        .map(|n| json!({ "key": format!("X-{n}"), "value": "v".repeat(8_000) }))
        .collect();
    for number in 0..8 {
        put(&server, &format!("h{number}"), &body).good();
    }
    let list = server.get(HANDLERS);
    assert_eq!(list.header("transfer-encoding"), Some("chunked"));
    assert_eq!(ids(&list).len(), 8);
}

#[test]
fn the_endpoint_types_are_three() {
    let server = Server::start();
    let types = server.get("/v1/handlers/events/endpointTypes").good();
    let types = types.as_array().unwrap();
    let names: Vec<_> = types.iter().map(|one| one["name"].as_str()).collect();
    assert_eq!(
        names,
        [
            Some("http-raw"),
            Some("http-message"),
            Some("http-list-of-messages")
        ]
    );
    for one in types {
        assert!(one["description"].is_string());
        assert_eq!(one.as_object().unwrap().len(), 2);
    }
}

#[test]
fn bad_registrations_are_refused_with_what_was_wrong() {
    let server = Server::start();
    let many: Vec<String> = (0..65).map(|n| format!("n{n}")).collect();
    let many_options: Vec<Value> = (0..33)
        .map(|n| json!({ "key": format!("X-{n}"), "value": "v" }))
        .collect();
    let with = |member: &str, value: Value| {
        let mut body = disabled(&["n"]);
        body[member] = value;
        body
    };
    for (body, what) in [
        (json!([]), "a registration"),
        (json!({ "endpoint": NOBODY }), "'names'"),
        (json!({ "names": null, "endpoint": NOBODY }), "'names'"),
        (json!({ "names": [] }), "'endpoint'"),
        (with("names", json!("n")), "'names': an array of strings"),
        (with("names", json!([7])), "'names': a string"),
        (
            with("names", json!([""])),
            "'names': the event type is empty",
        ),
        (with("names", json!(many)), "more than 64"),
        (with("endpoint", json!(7)), "a string"),
        (with("endpoint", json!("")), "'http://'"),
        (with("endpoint", json!("ftp://127.0.0.1/")), "'http://'"),
        (
            with("endpoint", json!("http://u:p@127.0.0.1/")),
            "a user or a password",
        ),
        (
            with("endpoint", json!("http://127.0.0.1/a b")),
            "must be escaped",
        ),
        (
            with("endpoint", json!("http://127.0.0.1/\r\nX: y")),
            "must be escaped",
        ),
        (with("endpoint", json!("http://2130706433/")), "a number"),
        (
            with("endpoint", json!("http://169.254.169.254/")),
            "169.254.169.254 may not be called",
        ),
        (
            with("endpoint", json!("http://10.0.0.1/")),
            "may not be called",
        ),
        (
            with("endpoint", json!(format!("http://a/{}", "x".repeat(2_100)))),
            "longer than",
        ),
        (
            with("endpointType", json!("grpc")),
            "http-raw, http-message",
        ),
        (with("endpointType", json!(1)), "a string"),
        (with("endpointOptions", json!({})), "an array"),
        (
            with("endpointOptions", json!([{ "key": "X-A" }])),
            "a key and a value",
        ),
        (
            with("endpointOptions", json!([{ "key": "Host", "value": "a" }])),
            "the server's to set",
        ),
        (
            with(
                "endpointOptions",
                json!([{ "key": "X", "value": "a\r\nY: b" }]),
            ),
            "visible ASCII",
        ),
        (
            with(
                "endpointOptions",
                json!([{ "key": "X", "value": "a" }, { "key": "x", "value": "b" }]),
            ),
            "there twice",
        ),
        (with("endpointOptions", json!(many_options)), "more than 32"),
        (with("clientId", json!(1)), "'clientId': a string"),
        (with("componentName", json!("c".repeat(256))), "256 bytes"),
        (with("batchSize", json!(0)), "from 1 to 1000"),
        (with("batchSize", json!(1_001)), "from 1 to 1000"),
        (with("batchSize", json!("1")), "a whole number"),
        (with("start", json!(-2)), "an index"),
        (with("start", json!("0")), "an index"),
        (with("start", json!(1.5)), "an index"),
        (
            with("start", json!(1)),
            "there is no event with index 1 yet, the next one gets 0",
        ),
        (with("start", json!(i64::MAX)), "an index"),
        (with("enabled", json!("yes")), "true or false"),
        (with("serverAuthenticationId", json!({})), "a string"),
    ] {
        let refusal = refused(&put(&server, "h", &body), 400, "AXONIQ-0001");
        let text = refusal["message"].as_str().unwrap();
        assert!(text.contains(what), "{text}, for {body}");
    }
    let target = format!("{HANDLERS}/h");
    for body in [
        "",
        "{",
        "\u{feff}{}",
        "{\"names\":[],\"names\":[]}",
        "{} {}",
    ] {
        refused(
            &server.ask("PUT", &target, &[JSON], body),
            400,
            "AXONIQ-0001",
        );
    }
    for headers in [vec![], vec![("Content-Type", "text/plain")]] {
        let body = disabled(&[]).to_string();
        refused(
            &server.ask("PUT", &target, &headers, &body),
            415,
            "AXONIQ-0001",
        );
        refused(
            &server.ask("POST", HANDLERS, &headers, &body),
            415,
            "AXONIQ-0001",
        );
    }
    // More than a definition may have.
    let long: Vec<Value> = (0..10)
        .map(|n| json!({ "key": format!("X-{n}"), "value": "v".repeat(8_000) }))
        .collect();
    let body = with("endpointOptions", json!(long));
    refused(&put(&server, "h", &body), 400, "AXONIQ-2001");
    assert_eq!(server.get(HANDLERS).text(), r#"{"items":[]}"#);
}

#[test]
fn an_endpoint_outside_the_allow_list_is_refused_at_registration() {
    let server = Server::start_with(|settings| settings.webhooks.allow.clear());
    for endpoint in [NOBODY, "http://localhost:9/e", "http://[::1]/"] {
        let body = json!({ "names": [], "endpoint": endpoint });
        let refusal = refused(&put(&server, "h", &body), 400, "AXONIQ-0001");
        let text = refusal["message"].as_str().unwrap();
        assert!(text.contains("may not be called"), "{text}");
    }
    assert_eq!(server.get(HANDLERS).text(), r#"{"items":[]}"#);
}

#[test]
fn an_id_is_any_text_that_can_be_a_name() {
    let server = Server::start();
    for (raw, id, in_link) in [
        ("a%2Fb", "a/b", "a%2Fb"),
        ("a%20b", "a b", "a%20b"),
        ("%C3%A9", "\u{e9}", "%C3%A9"),
        ("%2E%2E", "..", "%2E%2E"),
        (".", ".", "%2E"),
        ("a+b", "a+b", "a%2Bb"),
        ("%22%5C", "\"\\", "%22%5C"),
    ] {
        let new = put(&server, raw, &disabled(&[]));
        assert_eq!(new.good()["id"], id);
        let location = format!("http://{}{HANDLERS}/{in_link}", server.address);
        assert_eq!(new.header("location"), Some(location.as_str()));
        assert_eq!(
            server.get(&format!("{HANDLERS}/{in_link}")).good()["id"],
            id
        );
        let gone = server.ask("DELETE", &format!("{HANDLERS}/{in_link}"), &[], "");
        assert_eq!(gone.status, 204);
    }
    let long = "h".repeat(129);
    for raw in ["%", "%ff", "a%00", "%0d%0aX", &long] {
        for method in ["PUT", "GET", "DELETE", "PATCH"] {
            let target = format!("{HANDLERS}/{raw}");
            let reply = server.ask(method, &target, &[JSON], disabled(&[]).to_string());
            refused(&reply, 400, "AXONIQ-0001");
        }
    }
}

#[test]
fn the_flag_of_a_patch_is_true_or_false() {
    let server = Server::start();
    put(&server, "h", &disabled(&[])).good();
    for query in [
        "",
        "?enabled",
        "?enabled=",
        "?enabled=1",
        "?enabled=TRUE",
        "?enabled=true&enabled=true",
        "?enabled=%zz",
    ] {
        let reply = server.ask("PATCH", &format!("{HANDLERS}/h{query}"), &[], "");
        let refusal = refused(&reply, 400, "AXONIQ-0001");
        let text = refusal["message"].as_str().unwrap();
        assert!(text.contains("enabled"), "{text}");
    }
    for (enabled, times) in [(true, 2), (false, 2)] {
        for _ in 0..times {
            let target = format!("{HANDLERS}/h?enabled={enabled}&x=1");
            assert_eq!(server.ask("PATCH", &target, &[], "").status, 204);
            assert_eq!(
                server.get(&format!("{HANDLERS}/h")).good()["enabled"],
                enabled
            );
        }
    }
}

#[test]
fn handlers_survive_a_restart_and_removed_ones_stay_removed() {
    let server = Server::start();
    let kept = put(&server, "kept", &disabled(&["n"])).text().to_owned();
    put(&server, "gone", &disabled(&[])).good();
    server.ask("DELETE", &format!("{HANDLERS}/gone"), &[], "");
    let server = server.restart();
    assert_eq!(server.get(&format!("{HANDLERS}/kept")).text(), kept);
    assert_eq!(ids(&server.get(HANDLERS)), ["default/kept"]);
    // Without its context a handler waits.
    let server = server.restart_with(|settings| {
        let axon = settings.dialects.axon.as_mut().unwrap();
        axon.contexts = vec!["billing".to_owned()];
    });
    assert_eq!(server.get("/v1/handlers/events").text(), r#"{"items":[]}"#);
    let server = server.restart_with(|settings| {
        let axon = settings.dialects.axon.as_mut().unwrap();
        axon.contexts = vec!["default".to_owned()];
    });
    assert_eq!(server.get(&format!("{HANDLERS}/kept")).text(), kept);
}

#[test]
fn configuration_takes_users_beside_the_key() {
    let server = Server::start_with(|settings| {
        let axon = settings.dialects.axon.as_mut().unwrap();
        axon.api_key = Some(PlainSecret::new("the-key"));
        axon.users = BTreeMap::from([("admin".to_owned(), PlainSecret::new("pa:ss"))]);
    });
    let get = |target: &str, headers: &[(&str, &str)]| server.ask("GET", target, headers, "");
    let user = ("Authorization", "Basic YWRtaW46cGE6c3M=");
    for target in [
        HANDLERS,
        "/v1/handlers/events",
        "/v1/handlers/events/endpointTypes",
    ] {
        refused(&get(target, &[]), 403, "AXONIQ-1000");
        refused(
            &get(target, &[("Authorization", "Basic YWRtaW46cGE=")]),
            403,
            "AXONIQ-1001",
        );
        refused(
            &get(target, &[("Authorization", "Bearer x")]),
            403,
            "AXONIQ-1001",
        );
        refused(
            &get(target, &[user, ("X-API-KEY", "wrong")]),
            403,
            "AXONIQ-1001",
        );
        get(target, &[user]).good();
        get(target, &[("X-API-KEY", "the-key")]).good();
    }
    // What is not there says so only to who may ask.
    refused(&get("/v1/authentications/1", &[user]), 404, "AXONIQ-0001");
}
