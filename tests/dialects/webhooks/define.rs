//! Definitions: what is taken, shown, refused, kept.

use serde_json::{Value, json};

use super::{HOOK, act, define, hook, post, publish, put, until_hook};
use crate::harness::{Server, until};
use crate::receiver::Receiver;

const URL: &str = "http://127.0.0.1:9/hook";

#[test]
fn a_webhook_is_defined_once_shown_without_its_secret_and_removed() {
    let server = Server::start();
    let definition = json!({ "url": URL });
    let reply = put(&server, HOOK, &definition);
    assert_eq!(reply.status, 201, "{}", reply.text());
    assert_eq!(reply.header("location"), Some(HOOK));
    let mut created = reply.json();
    let secret = created["secret"].as_str().unwrap().to_owned();
    assert!(secret.starts_with("whsec_"));
    created.as_object_mut().unwrap().remove("secret");
    assert_eq!(
        created,
        json!({
            "name": "hook", "url": URL, "filter": {}, "start": "end", "batchSize": 1,
            "timeoutMs": 15_000, "attemptsMax": 20, "state": "running", "checkpoint": 0,
            "lag": { "events": 0, "exact": true, "seconds": 0 }, "attempts": 0,
            "nextAttemptAt": null, "lastError": null, "lastErrorAt": null,
            "lastDeliveredAt": null, "deadLetters": 0,
        })
    );
    assert_eq!(hook(&server), created);
    let again = put(&server, HOOK, &definition);
    assert_eq!(again.status, 200);
    assert_eq!(again.json(), created);
    let same = put(&server, HOOK, &json!({ "url": URL, "secret": secret }));
    assert_eq!((same.status, same.json()), (200, created));
    let listed = server.get("/v1/logs/default/webhooks").good();
    let entry = json!({ "name": "hook", "url": URL, "state": "running" });
    assert_eq!(listed, json!({ "webhooks": [entry], "next": null }));

    assert_eq!(act(&server, "DELETE", HOOK).status, 204);
    for (method, path) in [
        ("GET", ""),
        ("DELETE", ""),
        ("POST", "/pause"),
        ("POST", "/resume"),
        ("GET", "/deliveries"),
        ("GET", "/dead-letters"),
        ("POST", "/dead-letters/1/replay"),
        ("DELETE", "/dead-letters/1"),
    ] {
        let target = format!("{HOOK}{path}");
        act(&server, method, &target).problem(404, "no-such-webhook");
    }
    let seek = json!({ "id": "end" });
    post(&server, &format!("{HOOK}/seek"), &seek).problem(404, "no-such-webhook");
}

#[test]
fn every_member_is_shown_as_it_was_defined() {
    let server = Server::start();
    let definition = json!({
        "url": "http://127.0.0.1:9/hook?token=a%2Fb",
        "filter": { "stream": "orders", "types": ["placed", "paid"], "tags": ["eu"] },
        "start": "first", "batchSize": 1_000, "timeoutMs": 60_000, "attemptsMax": 10_000,
        "secret": "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
    });
    let reply = put(&server, HOOK, &definition);
    assert_eq!(reply.status, 201, "{}", reply.text());
    let created = reply.json();
    assert!(created["secret"].is_null(), "who has chosen it knows it");
    let shown = hook(&server);
    for (name, value) in definition.as_object().unwrap() {
        if name != "secret" {
            assert_eq!(&shown[name], value, "{name}");
        }
    }
    let mut reordered = definition.clone();
    reordered["filter"]["types"] = json!(["paid", "placed", "paid"]);
    reordered.as_object_mut().unwrap().remove("secret");
    assert_eq!(put(&server, HOOK, &reordered).status, 200);
    assert_eq!(
        hook(&server)["filter"],
        definition["filter"],
        "nothing was changed"
    );
}

#[test]
fn what_makes_no_sense_is_refused_by_name() {
    let server = Server::start();
    let cases: &[(Value, &str, Option<&str>)] = &[
        (json!({}), "invalid-member", Some("url")),
        (json!([]), "invalid-member", None),
        (json!({ "url": null }), "invalid-member", Some("url")),
        (json!({ "url": 7 }), "invalid-member", Some("url")),
        (json!({ "url": "" }), "invalid-member", Some("url")),
        (
            json!({ "url": "ftp://example.com/" }),
            "invalid-member",
            Some("url"),
        ),
        (
            json!({ "url": "http://user:pass@example.com/" }),
            "invalid-member",
            Some("url"),
        ),
        (
            json!({ "url": "http://2130706433/" }),
            "invalid-member",
            Some("url"),
        ),
        (
            json!({ "url": "http://a.example/\r\nX: y" }),
            "invalid-member",
            Some("url"),
        ),
        (
            json!({ "url": format!("http://a.example/{}", "a".repeat(2_048)) }),
            "invalid-member",
            Some("url"),
        ),
        (
            json!({ "url": URL, "events": [] }),
            "unknown-member",
            Some("events"),
        ),
        (
            json!({ "url": URL, "batchSize": 0 }),
            "invalid-member",
            Some("batchSize"),
        ),
        (
            json!({ "url": URL, "batchSize": 1_001 }),
            "invalid-member",
            Some("batchSize"),
        ),
        (
            json!({ "url": URL, "batchSize": 1.5 }),
            "invalid-member",
            Some("batchSize"),
        ),
        (
            json!({ "url": URL, "timeoutMs": 99 }),
            "invalid-member",
            Some("timeoutMs"),
        ),
        (
            json!({ "url": URL, "timeoutMs": 60_001 }),
            "invalid-member",
            Some("timeoutMs"),
        ),
        (
            json!({ "url": URL, "attemptsMax": 0 }),
            "invalid-member",
            Some("attemptsMax"),
        ),
        (
            json!({ "url": URL, "attemptsMax": 10_001 }),
            "invalid-member",
            Some("attemptsMax"),
        ),
        (
            json!({ "url": URL, "attemptsMax": -1 }),
            "invalid-member",
            Some("attemptsMax"),
        ),
        (
            json!({ "url": URL, "start": "middle" }),
            "invalid-member",
            Some("start"),
        ),
        (
            json!({ "url": URL, "start": 0 }),
            "invalid-member",
            Some("start"),
        ),
        (
            json!({ "url": URL, "secret": "hunter2hunter2" }),
            "invalid-member",
            Some("secret"),
        ),
        (
            json!({ "url": URL, "secret": "whsec_aHVudGVyMg==" }),
            "invalid-member",
            Some("secret"),
        ),
        (
            json!({ "url": URL, "filter": [] }),
            "invalid-member",
            Some("filter"),
        ),
        (
            json!({ "url": URL, "filter": { "streams": ["a"] } }),
            "unknown-member",
            Some("filter/streams"),
        ),
        (
            json!({ "url": URL, "filter": { "stream": "" } }),
            "invalid-name",
            Some("filter/stream"),
        ),
    ];
    for (body, code, member) in cases {
        let problem = put(&server, HOOK, body).problem(400, code);
        assert_eq!(problem["member"].as_str(), *member, "{body}");
        let detail = problem["detail"].as_str().unwrap();
        assert!(
            !detail.contains("hunter2") && !detail.contains("aHVud"),
            "{detail}"
        );
    }
    let many = |count: usize| (0..count).map(|n| n.to_string()).collect::<Vec<_>>();
    let filter = json!({ "types": many(40), "tags": many(40) });
    let body = json!({ "url": URL, "filter": filter });
    put(&server, HOOK, &body).problem(400, "too-many-terms");
    let headers = [("Content-Type", "application/json")];
    let ask = |body: &str| server.ask("PUT", HOOK, &headers, body);
    ask("{\"url\":").problem(400, "invalid-json");
    ask("").problem(400, "invalid-json");
    ask(&format!("{{\"url\":\"{URL}\",\"url\":\"{URL}\"}}")).problem(400, "invalid-json");
    let plain = [("Content-Type", "text/plain")];
    server
        .ask("PUT", HOOK, &plain, "{}")
        .problem(415, "unsupported-media-type");
    put(&server, &format!("{HOOK}?x=1"), &json!({ "url": URL })).problem(400, "unknown-parameter");
    put(&server, "/v1/logs/none/webhooks/a", &json!({ "url": URL })).problem(404, "no-such-log");
    put(
        &server,
        "/v1/logs/_system/webhooks/a",
        &json!({ "url": URL }),
    )
    .problem(404, "no-such-log");
    put(
        &server,
        "/v1/logs/default/webhooks/",
        &json!({ "url": URL }),
    )
    .problem(400, "invalid-name");
    put(
        &server,
        "/v1/logs/default/webhooks/a%00",
        &json!({ "url": URL }),
    )
    .problem(400, "invalid-name");
    server
        .ask("PATCH", HOOK, &[], "")
        .problem(405, "method-not-allowed");
    server.get(HOOK).problem(404, "no-such-webhook");

    define(&server, URL, json!({}));
    let pause = format!("{HOOK}/pause");
    post(&server, &pause, &json!({ "now": true })).problem(400, "unknown-member");
    assert_eq!(post(&server, &pause, &json!({})).good()["state"], "paused");
    for query in [
        "outcome=lost",
        "before=0",
        "before=x",
        "limit=0",
        "outcomes=dead",
    ] {
        let reply = server.get(&format!("{HOOK}/deliveries?{query}"));
        assert_eq!(reply.status, 400, "{query}: {}", reply.text());
    }
    act(&server, "POST", &format!("{HOOK}/dead-letters/1/replay"))
        .problem(404, "no-such-dead-letter");
    act(&server, "DELETE", &format!("{HOOK}/dead-letters/x")).problem(400, "invalid-parameter");
}

#[test]
fn a_start_beyond_the_end_leaves_nothing_behind() {
    let server = Server::start();
    publish(&server, 1, 2);
    let body = json!({ "url": URL, "start": 4 });
    put(&server, HOOK, &body).problem(409, "beyond-end");
    server.get(HOOK).problem(404, "no-such-webhook");
    let next = json!({ "url": URL, "start": 3 });
    assert_eq!(put(&server, HOOK, &next).good()["checkpoint"], 2);
}

#[test]
fn any_name_will_do() {
    let server = Server::start();
    let receiver = Receiver::answering(204);
    let long = "%C3%A9".repeat(127);
    let names = ["a%2Fb", "%2E%2E", "..%2F", "100%25", "%F0%9F%9B%AB", &long];
    for name in names {
        let target = format!("/v1/logs/default/webhooks/{name}");
        let reply = put(&server, &target, &json!({ "url": receiver.url("/") }));
        assert_eq!(reply.status, 201, "{}", reply.text());
        assert_eq!(reply.header("location"), Some(target.as_str()));
        assert_eq!(server.get(&target).good()["state"], "running");
    }
    publish(&server, 1, 1);
    receiver.wait_for(names.len());
    let mut delivery_ids: Vec<String> = receiver
        .received()
        .iter()
        .map(|call| call.header("webhook-id").unwrap().to_owned())
        .collect();
    delivery_ids.sort_unstable();
    delivery_ids.dedup();
    assert_eq!(delivery_ids.len(), names.len(), "each webhook has its own");
    let server = server.restart();
    publish(&server, 2, 1);
    receiver.wait_for(2 * names.len());
    let mut after = None;
    let mut listed = 0;
    loop {
        let query = after.map_or(String::new(), |after: String| format!("&{after}"));
        let reply = server.get(&format!("/v1/logs/default/webhooks?limit=4{query}"));
        listed += reply.good()["webhooks"].as_array().unwrap().len();
        match reply.link("next") {
            Some(next) => after = next.split('&').nth(1).map(str::to_owned),
            None => break,
        }
    }
    assert_eq!(listed, names.len());
}

#[test]
fn a_changed_definition_keeps_place_and_secret() {
    let server = Server::start();
    let first = Receiver::answering(200);
    let second = Receiver::answering(200);
    let secret = define(&server, &first.url("/"), json!({}));
    publish(&server, 1, 2);
    first.wait_for(2);
    until_hook(&server, "the place", |hook| hook["checkpoint"] == 2);
    let changed = put(
        &server,
        HOOK,
        &json!({ "url": second.url("/"), "start": "first", "batchSize": 2 }),
    );
    assert_eq!(changed.status, 200, "{}", changed.text());
    let shown = changed.json();
    assert_eq!(
        (&shown["checkpoint"], &shown["secret"]),
        (&json!(2), &Value::Null)
    );
    publish(&server, 3, 1);
    let calls = second.wait_for(1);
    assert_eq!(calls[0].json()["events"][0]["id"], 3);
    super::deliver::check_signature(&calls[0], &secret);
    assert_eq!(first.received().len(), 2);
}

#[test]
fn a_webhook_that_was_removed_leaves_nothing_to_the_next_of_its_name() {
    let server = Server::start();
    let receiver = Receiver::answering(200);
    define(&server, &receiver.url("/"), json!({}));
    publish(&server, 1, 1);
    receiver.wait_for(1);
    until("its history", || {
        let page = server.get(&format!("{HOOK}/deliveries")).good();
        (page["deliveries"].as_array().unwrap().len() == 1).then_some(())
    });
    assert_eq!(act(&server, "DELETE", HOOK).status, 204);
    publish(&server, 2, 1);
    define(&server, &receiver.url("/"), json!({}));
    let page = server.get(&format!("{HOOK}/deliveries")).good();
    assert_eq!(page, json!({ "deliveries": [], "next": null }));
    assert_eq!(hook(&server)["checkpoint"], 2);
    publish(&server, 3, 1);
    receiver.wait_for(2);
    assert_eq!(super::ids(&receiver), [1, 3]);
}

#[test]
fn the_schemas_have_the_members_that_replies_have() {
    let (server, _clock) = super::timeless();
    let receiver = Receiver::answering(500);
    let definition = json!({ "url": receiver.url("/"), "attemptsMax": 1 });
    let created = put(&server, HOOK, &definition).good();
    publish(&server, 1, 1);
    until_hook(&server, "a dead letter", |hook| hook["checkpoint"] == 1);
    let deliveries = server.get(&format!("{HOOK}/deliveries")).good();
    let letters = server.get(&format!("{HOOK}/dead-letters")).good();
    let replay = format!(
        "{HOOK}/dead-letters/{}/replay",
        letters["deadLetters"][0]["id"]
    );
    let document = server.get("/openapi.json").good();
    for (name, value) in [
        ("Webhook", created.clone()),
        ("Lag", created["lag"].clone()),
        ("Webhooks", server.get("/v1/logs/default/webhooks").good()),
        ("Deliveries", deliveries.clone()),
        ("Delivery", deliveries["deliveries"][0].clone()),
        ("DeadLetters", letters.clone()),
        ("DeadLetter", letters["deadLetters"][0].clone()),
        ("Replayed", act(&server, "POST", &replay).good()),
    ] {
        let schema = &document["components"]["schemas"][name];
        for member in value.as_object().unwrap().keys() {
            assert!(
                schema["properties"][member].is_object(),
                "{name} lacks {member}"
            );
        }
        for required in schema["required"].as_array().unwrap() {
            let required = required.as_str().unwrap();
            assert!(value.get(required).is_some(), "{name}: {required}");
        }
    }
}
