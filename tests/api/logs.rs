//! Logs: isolated from each other, created and configured by name.

use serde_json::json;

use crate::harness::{EVENTS, Server, event, ids, of_stream};

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
fn what_retention_has_removed_is_not_hidden_by_an_unchanged_tag() {
    // The smallest segments, so that a few hundred events are several.
    let server = Server::start_sized(16 << 10, |_| {});
    let stream = of_stream("old");
    server.post(EVENTS, &event("old", "t", 0)).good();
    for n in 0..40 {
        let filler = event("other", "t", "x".repeat(1_000));
        server.post(EVENTS, &filler).good();
        if n % 10 == 9 {
            server.post(EVENTS, &event("old", "t", n)).good();
        }
    }
    let forms = ["application/json", "application/x-ndjson"];
    let named = format!("{stream}?from=1");
    let settled = format!("{EVENTS}?from=1&to=3");
    let one = format!("{EVENTS}/1");
    let tag_of = |target: &str, form: &str| {
        let reply = server.get_as(target, form);
        reply.header("etag").unwrap().to_owned()
    };
    let again = |target: &str, form: &str, tag: &str| {
        let headers = [("Accept", form), ("If-None-Match", tag)];
        server.ask("GET", target, &headers, "")
    };
    let targets = [&stream, &named, &settled, &one];
    let tags: Vec<Vec<String>> = targets
        .iter()
        .map(|target| {
            let forms = forms
                .iter()
                .filter(|form| !(*target == &one && form.ends_with("ndjson")));
            forms.map(|form| tag_of(target, form)).collect()
        })
        .collect();
    for (target, tags) in targets.iter().zip(&tags) {
        for (form, tag) in forms.iter().zip(tags) {
            assert_eq!(again(target, form, tag).status, 304, "{target} {form}");
        }
    }
    let retention = json!({ "retention": { "maxEvents": 20 } });
    server.put("/v1/logs/default", &retention).good();
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(20);
    while server.get("/v1/logs/default").good()["firstId"] == 1 {
        assert!(std::time::Instant::now() < deadline, "nothing was removed");
        server
            .post(EVENTS, &event("other", "t", "x".repeat(1_000)))
            .good();
    }
    for (target, tags) in targets.iter().zip(&tags) {
        for (form, tag) in forms.iter().zip(tags) {
            let reply = again(target, form, tag);
            if *target == &stream {
                assert_eq!(reply.status, 200, "{form}");
                assert_eq!(reply.header("etag"), Some(tag.as_str()), "{form}");
            } else {
                reply.problem(410, "expired");
            }
        }
    }
    // Unless retention, which may still be at work, has removed that, too.
    loop {
        assert!(std::time::Instant::now() < deadline, "it removes for ever");
        let first = server.get("/v1/logs/default").good()["firstId"].clone();
        let fresh = format!("{stream}?from={first}");
        let reply = server.get_as(&fresh, forms[0]);
        if reply.status == 200
            && again(&fresh, forms[0], reply.header("etag").unwrap()).status == 304
        {
            break;
        }
        assert_ne!(server.get("/v1/logs/default").good()["firstId"], first);
    }
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
