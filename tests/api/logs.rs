//! Logs: isolated from each other, created and configured by name.

use serde_json::json;

use crate::harness::{EVENTS, Server, event, ids};

#[test]
fn logs_are_created_listed_and_isolated() {
    let server = Server::start();
    let created = server.ask("PUT", "/v1/logs/billing", &[], "");
    assert_eq!(created.status, 201);
    assert_eq!(
        (&created.json()["log"], &created.json()["lastId"]),
        (&json!("billing"), &json!(0))
    );
    assert_eq!(server.ask("PUT", "/v1/logs/billing", &[], "").status, 200);
    server.fill("s", 2);
    server
        .post("/v1/logs/billing/events", &event("s", "t", 1))
        .good();
    assert_eq!(ids(&server.get(EVENTS).good()), [1, 2]);
    assert_eq!(ids(&server.get("/v1/logs/billing/events").good()), [1]);
    let listed = server.get("/v1/logs").good();
    let names: Vec<_> = listed["logs"]
        .as_array()
        .unwrap()
        .iter()
        .map(|log| &log["log"])
        .collect();
    assert_eq!(names, [&json!("billing"), &json!("default")]);
}

#[test]
fn a_log_is_described() {
    let server = Server::start();
    server.fill("s", 3);
    let log = server.get("/v1/logs/default").good();
    for (member, want) in [
        ("log", json!("default")),
        ("firstId", json!(1)),
        ("lastId", json!(3)),
        ("durableId", json!(3)),
        ("health", json!("writable")),
    ] {
        assert_eq!(log[member], want, "{member}");
    }
    assert!(log["bytes"].as_u64().unwrap() > 0 && log["segments"].as_u64().unwrap() > 0);
}

#[test]
fn retention_can_be_set_and_is_shown() {
    let server = Server::start();
    let settings = json!({ "retention": { "maxBytes": 1_000_000, "maxEvents": null } });
    let log = server.put("/v1/logs/default", &settings).good();
    let want = json!({ "maxAgeSeconds": null, "maxBytes": 1_000_000, "maxEvents": null });
    assert_eq!(log["retention"], want);
    assert_eq!(server.get("/v1/logs/default").good()["retention"], want);
    server
        .put(
            "/v1/logs/default",
            &json!({ "retention": { "maxByte": 1 } }),
        )
        .problem(400, "unknown-member");
    server
        .put(
            "/v1/logs/default",
            &json!({ "retention": { "maxBytes": "1" } }),
        )
        .problem(400, "invalid-member");
}

#[test]
fn what_retention_has_removed_is_gone_and_said_so() {
    let server = Server::start();
    server.fill("s", 20_000);
    server
        .put(
            "/v1/logs/default",
            &json!({ "retention": { "maxEvents": 1_000 } }),
        )
        .good();
    // Retention works in rounds of its own; each publish is an occasion for one.
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(20);
    let first = loop {
        let log = server.get("/v1/logs/default").good();
        let (first, last) = (&log["firstId"], &log["lastId"]);
        let (first, last) = (first.as_u64().unwrap(), last.as_u64().unwrap());
        // Whole segments go, and one holds some two thousand of these.
        if last - first < 6_000 {
            break first;
        }
        assert!(std::time::Instant::now() < deadline, "nothing was removed");
        server.fill("s", 1);
    };
    let problem = server
        .get(&format!("{EVENTS}?from=1"))
        .problem(410, "expired");
    assert!(problem["firstId"].as_u64().unwrap() >= first);
    server
        .get("/v1/logs/default/events/1")
        .problem(410, "expired");
    let page = server.get(&format!("{EVENTS}?limit=1")).good();
    assert!(
        ids(&page)[0] >= first,
        "without a start, what is kept is read"
    );
}

#[test]
fn logs_that_are_not_there_are_not_found() {
    let server = Server::start();
    for name in ["nobody", "_system", "_x"] {
        server
            .get(&format!("/v1/logs/{name}"))
            .problem(404, "no-such-log");
        server
            .post(&format!("/v1/logs/{name}/events"), &event("s", "t", 1))
            .problem(404, "no-such-log");
    }
    let put = server.ask("PUT", "/v1/logs/_mine", &[], "");
    assert!((400..500).contains(&put.status), "{}", put.text());
}

#[test]
fn settings_that_are_not_named_stay() {
    let server = Server::start();
    let target = "/v1/logs/kept";
    let settings = serde_json::json!({ "retention": { "maxEvents": 5 } });
    server.put(target, &settings).good();
    let after = server.put(target, &serde_json::json!({})).good();
    assert_eq!(after["retention"]["maxEvents"], 5);
    let after = server
        .put(target, &serde_json::json!({ "retention": null }))
        .good();
    assert!(after["retention"]["maxEvents"].is_null());
}
