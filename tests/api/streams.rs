//! Listing and describing streams.

use serde_json::{Value, json};

use crate::harness::{EVENTS, Server, event, of_stream};

fn names(page: &Value) -> Vec<&str> {
    page["streams"]
        .as_array()
        .unwrap()
        .iter()
        .map(|stream| stream["stream"].as_str().unwrap())
        .collect()
}

#[test]
fn streams_are_listed_by_prefix_and_page() {
    let server = Server::start();
    let events: Vec<Value> = ["order/2", "order/1", "plane/é", "order/10", "order/1"]
        .into_iter()
        .map(|stream| event(stream, "t", 1))
        .collect();
    server.post(EVENTS, &json!(events)).good();
    let target = "/v1/logs/default/streams";
    let all = server.get(target).good();
    assert_eq!(names(&all), ["order/1", "order/10", "order/2", "plane/é"]);
    assert_eq!(
        all["streams"][0],
        json!({ "stream": "order/1", "lastSequence": 1, "lastId": 5 })
    );
    assert!(all["next"].is_null());
    let reply = server.get(&format!("{target}?prefix=order%2F&limit=2"));
    let first = reply.good();
    assert_eq!(names(&first), ["order/1", "order/10"]);
    assert_eq!(first["next"], "order/10");
    let second = server.get(&reply.link("next").unwrap()).good();
    assert_eq!(names(&second), ["order/2"]);
    assert!(second["next"].is_null());
}

#[test]
fn a_stream_is_described_with_its_tag() {
    let server = Server::start();
    server.fill("other", 3);
    server.fill("s", 2);
    let reply = server.get("/v1/logs/default/streams/s");
    assert_eq!(
        reply.good(),
        json!({ "stream": "s", "events": 2, "lastSequence": 1, "lastId": 5,
                "firstSequence": 0, "firstId": 4 })
    );
    assert_eq!(reply.header("etag"), Some("\"1\""));
    let headers = [("If-None-Match", "\"1\"")];
    let again = server.ask("GET", "/v1/logs/default/streams/s", &headers, "");
    assert_eq!(again.status, 304);
    server
        .get("/v1/logs/default/streams/nobody")
        .problem(404, "no-such-stream");
}

#[test]
fn reading_a_stream_gives_the_tag_to_publish_with() {
    let server = Server::start();
    server.fill("s", 3);
    let tag = server
        .get(&of_stream("s"))
        .header("etag")
        .unwrap()
        .to_owned();
    let body = json!({ "type": "t", "data": 1 });
    let reply = server.post_with(&of_stream("s"), &[("If-Match", &tag)], &body);
    assert_eq!(reply.header("etag"), Some("\"3\""));
    let empty = server.get(&of_stream("nobody"));
    assert_eq!(
        (empty.header("etag"), empty.good()["events"].clone()),
        (None, json!([]))
    );
}
