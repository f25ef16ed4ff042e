//! Requests that are well-formed and make no sense here, beside the table of bad input.

use crate::bad_input::bench::Answer::{Good, Problem};
use crate::bad_input::bench::{Bench, JSON, get, request};
use crate::harness::{EVENTS, Server, event, of_stream};

#[test]
fn paths_that_are_almost_right_are_not_there() {
    let mut bench = Bench::new(Server::start());
    for target in [
        "/nowhere",
        "/v1/logs/default/events/1/2",
        "/v1/logs/default/events/",
        "/V1/logs",
        "//healthz",
    ] {
        bench.refuses(get(target), Problem(404, "not-found"));
    }
}

#[test]
fn a_condition_that_is_no_tag_is_not_met() {
    let mut bench = Bench::new(Server::start());
    let target = format!("{EVENTS}?from=1&to=1");
    let bytes = request("GET", &target, "If-None-Match: x\r\n", "");
    bench.refuses(bytes, Good(200));
}

#[test]
fn definitions_that_make_no_sense_are_refused() {
    let mut bench = Bench::new(Server::start());
    let put = |body: &str| request("PUT", "/v1/logs/default/consumers/c", JSON, body);
    for (body, code) in [
        ("[]", "invalid-member"),
        ("{", "invalid-json"),
        (r#"{"filtre":{}}"#, "unknown-member"),
        (r#"{"filter":{"streams":["a"]}}"#, "unknown-member"),
        (r#"{"filter":{"stream":7}}"#, "invalid-member"),
        (r#"{"filter":{"types":"x"}}"#, "invalid-member"),
        (r#"{"filter":{"types":[""]}}"#, "invalid-name"),
        (r#"{"start":"middle"}"#, "invalid-member"),
        (r#"{"start":0}"#, "invalid-member"),
        (r#"{"start":1.5}"#, "invalid-member"),
    ] {
        bench.refuses(put(body), Problem(400, code));
    }
    bench.refuses(
        request("PUT", "/v1/logs/default/consumers/c", "", "{}"),
        Problem(415, "unsupported-media-type"),
    );
}

#[test]
fn a_form_that_there_is_not_is_refused_before_anything_is_done() {
    let server = Server::start();
    let headers = [
        ("Accept", "text/html"),
        ("Content-Type", "application/json"),
    ];
    let body = event("s", "t", 1).to_string();
    for (method, target) in [
        ("GET", "/v1/logs"),
        ("GET", "/v1/logs/default"),
        ("GET", "/v1/logs/default/streams"),
        ("GET", "/v1/logs/default/consumers"),
        ("POST", EVENTS),
    ] {
        let body = if method == "POST" { &*body } else { "" };
        let reply = server.ask(method, target, &headers, body);
        reply.problem(406, "not-acceptable");
    }
    assert_eq!(server.get("/v1/logs/default").good()["lastId"], 0);
    assert_eq!(server.get_as("/healthz", "text/html").status, 200);
}

#[test]
fn what_is_wrong_is_named_where_it_is() {
    let server = Server::start();
    server.fill("..", 2);
    let problem = server
        .get(&format!("{EVENTS}/x"))
        .problem(400, "invalid-parameter");
    let detail = problem["detail"].as_str().unwrap();
    assert!(detail.contains("in the path"), "{detail}");
    assert_eq!(server.get(&format!("{EVENTS}/%31")).good()["id"], 1);
    let headers = [("If-None-Match", "*")];
    let reply = server.post_with(EVENTS, &headers, &event("s", "t", 1));
    assert!(reply.text().contains("if-none-match"), "{}", reply.text());
    let page = server.get(&format!("{}?limit=1", of_stream("..")));
    let next = page.link("next").unwrap();
    assert!(next.contains("/%2E%2E/"), "{next}");
    assert_eq!(server.get(&next).good()["events"][0]["id"], 2);
}
