//! What surrounds the API: health, metrics, its description, request ids, and who may ask at all.

use serde_json::json;

use crate::harness::{EVENTS, Server, event};

#[test]
fn a_server_in_good_health_says_so() {
    let server = Server::start();
    for target in ["/healthz", "/readyz"] {
        let reply = server.get(target);
        assert_eq!(
            (reply.status, reply.json()),
            (200, json!({ "status": "ok", "logs": [] }))
        );
    }
    let root = server.get("/");
    assert_eq!((root.status, root.text()), (200, "Ok"));
}

#[test]
fn a_server_that_is_stopping_is_not_ready() {
    let server = Server::start();
    let mut connection = server.connect();
    server.app.stop();
    // The connection may be closed before it is asked: that, too, is not ready.
    connection.request("GET", "/readyz", &[], b"");
    if let Some(reply) = connection.try_read_reply(false) {
        assert_eq!(
            (reply.status, &reply.json()["status"]),
            (503, &json!("stopping"))
        );
    }
}

#[test]
fn metrics_count_requests_and_events() {
    let server = Server::start();
    server.fill("s", 7);
    server.get("/nowhere").problem(404, "not-found");
    let reply = server.get("/metrics");
    assert!(
        reply
            .header("content-type")
            .unwrap()
            .starts_with("application/openmetrics-text")
    );
    let text = reply.text();
    for line in [
        "strandlog_http_requests_total{method=\"POST\",route=\"/v1/logs/{log}/events\",status=\"201\"} 1",
        "strandlog_http_requests_total{method=\"GET\",route=\"other\",status=\"404\"} 1",
        "strandlog_log_last_id{log=\"default\"} 7",
        "strandlog_log_durable_id{log=\"default\"} 7",
        "strandlog_log_events_total{log=\"default\"} 7",
        "strandlog_log_health{log=\"default\",health=\"writable\"} 1",
        "# EOF",
    ] {
        assert!(text.lines().any(|found| found == line), "{line}\n{text}");
    }
    assert!(text.contains("strandlog_http_request_seconds_bucket"));
    assert!(
        !text.contains("_system"),
        "the server's own log is nobody's business"
    );
}

#[test]
fn the_description_names_every_path() {
    let server = Server::start();
    let document = server.get("/openapi.json").good();
    assert_eq!(document["openapi"], "3.1.0");
    assert!(document["paths"][EVENTS.replace("default", "{log}")]["post"].is_object());
}

#[test]
fn the_schemas_have_the_members_that_replies_have() {
    let server = Server::start();
    let document = server.get("/openapi.json").good();
    let mut full = event("s", "t", 1);
    full["tags"] = json!(["x"]);
    full["metadata"] = json!({});
    let published = server.post(EVENTS, &full).good();
    server
        .put("/v1/logs/default/consumers/c", &json!({}))
        .good();
    let page = server.get(EVENTS).good();
    for (name, value) in [
        ("Published", published.clone()),
        ("PublishedEvent", published["events"][0].clone()),
        ("Event", page["events"][0].clone()),
        ("Page", page),
        ("Stream", server.get("/v1/logs/default/streams/s").good()),
        ("Streams", server.get("/v1/logs/default/streams").good()),
        (
            "Consumer",
            server.get("/v1/logs/default/consumers/c").good(),
        ),
        ("Consumers", server.get("/v1/logs/default/consumers").good()),
        (
            "ConsumerPage",
            server.get("/v1/logs/default/consumers/c/events").good(),
        ),
        ("Log", server.get("/v1/logs/default").good()),
        ("Logs", server.get("/v1/logs").good()),
        ("Health", server.get("/healthz").good()),
    ] {
        let schema = &document["components"]["schemas"][name];
        for member in value.as_object().unwrap().keys() {
            assert!(
                schema["properties"][member].is_object(),
                "{name} lacks {member}"
            );
        }
        for required in schema["required"].as_array().unwrap() {
            assert!(
                value.get(required.as_str().unwrap()).is_some(),
                "{name}: {required}"
            );
        }
    }
}

#[test]
fn every_reply_names_its_request() {
    let server = Server::start();
    let reply = server.ask("GET", "/healthz", &[("X-Request-Id", "mine-1")], "");
    assert_eq!(reply.header("x-request-id"), Some("mine-1"));
    let reply = server.ask("GET", "/nowhere", &[("X-Request-Id", "a \"b\"")], "");
    let own = reply.header("x-request-id").unwrap().to_owned();
    assert_ne!(own, "a \"b\"");
    assert_eq!(reply.problem(404, "not-found")["requestId"], own.as_str());
    let other = server.get("/healthz");
    assert_ne!(other.header("x-request-id").unwrap(), own);
}

#[test]
fn pages_of_other_sites_are_kept_out() {
    let server = Server::start();
    let body = event("s", "t", 1).to_string();
    for (name, value) in [
        ("Origin", "http://evil.example"),
        ("Origin", "null"),
        ("Origin", "http://localhost:1"),
    ] {
        let headers = [(name, value), ("Content-Type", "application/json")];
        server
            .ask("POST", EVENTS, &headers, &body)
            .problem(403, "foreign-origin");
        let reply = server.ask("GET", EVENTS, &headers, "");
        reply.problem(403, "foreign-origin");
        assert_eq!(reply.header("access-control-allow-origin"), None);
    }
    let mut connection = server.connect();
    connection.send("GET /v1/logs HTTP/1.1\r\nHost: rebound.example:7411\r\n\r\n");
    connection.read_reply(false).problem(403, "foreign-origin");
    connection
        .send("GET /v1/logs HTTP/1.1\r\nHost: localhost:9\r\nOrigin: http://localhost:9\r\n\r\n");
    assert_eq!(connection.read_reply(false).status, 200);
    assert_eq!(server.get(EVENTS).good()["lastId"], 0);
}
