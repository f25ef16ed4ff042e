//! Reading an aggregate, whole and by pages.

use serde_json::{Value, json};

use super::{JSON, aggregate, list, message, of_a, refused, taken};
use crate::harness::{Server, until};

const PAGED: &str = "/v1/contexts/default/aggregate/A/eventsPaged";

fn numbers(page: &Value) -> Vec<u64> {
    let items = page["items"].as_array().unwrap();
    let numbers = items.iter().map(|event| &event["sequenceNumber"]);
    numbers.map(|number| number.as_u64().unwrap()).collect()
}

#[test]
fn five_events_are_pages_of_two_two_and_one() {
    let server = Server::start();
    let items: Vec<Value> = (0..5).map(of_a).collect();
    taken(&list(&server, &items));
    for (offset, want, is_last) in [
        (0, vec![0, 1], false),
        (1, vec![2, 3], false),
        (2, vec![4], true),
    ] {
        let reply = server.get(&format!("{PAGED}?pageSize=2&pageOffset={offset}"));
        let page = reply.good();
        assert_eq!(numbers(&page), want);
        assert!(reply.text().ends_with(&format!("],\"isLast\":{is_last}}}")));
    }
    for past in [3, 4, 1 << 40, i64::MAX] {
        let reply = server.get(&format!("{PAGED}?pageSize=2&pageOffset={past}"));
        refused(&reply, 404, "AXONIQ-0001");
    }
    let whole = server.get(&format!("{PAGED}?pageSize=5")).good();
    assert_eq!((numbers(&whole).len(), &whole["isLast"]), (5, &json!(true)));
    let default = server.get(PAGED).good();
    assert_eq!(
        (numbers(&default).len(), &default["isLast"]),
        (5, &json!(true))
    );
}

#[test]
fn the_first_page_of_nobody_is_empty_and_the_last() {
    let server = Server::start();
    let reply = server.get(PAGED);
    assert_eq!(
        (reply.status, reply.text()),
        (200, r#"{"items":[],"isLast":true}"#)
    );
    refused(
        &server.get(&format!("{PAGED}?pageOffset=1")),
        404,
        "AXONIQ-0001",
    );
}

#[test]
fn pages_that_make_no_sense_are_refused_by_name() {
    let server = Server::start();
    for (query, name) in [
        ("pageSize=0", "pageSize"),
        ("pageSize=10001", "pageSize"),
        ("pageSize=-1", "pageSize"),
        ("pageSize=", "pageSize"),
        ("pageSize=2&pageSize=2", "pageSize"),
        ("pageOffset=x", "pageOffset"),
        ("pageOffset=9223372036854775808", "pageOffset"),
        ("pageOffset=%zz", "pageOffset"),
    ] {
        let refusal = refused(&server.get(&format!("{PAGED}?{query}")), 400, "AXONIQ-0001");
        let text = refusal["message"].as_str().unwrap();
        assert!(text.contains(name), "{text}");
    }
    // Whatever else clients add means nothing.
    server.get(&format!("{PAGED}?pageSize=1&_=1")).good();
}

#[test]
fn a_long_aggregate_is_sent_in_pieces_and_whole() {
    let server = Server::start();
    let filler = "x".repeat(2_000);
    let items: Vec<Value> = (0..600)
        .map(|n| {
            let mut event = of_a(n);
            event["payload"] = json!(filler);
            event
        })
        .collect();
    // A batch has to fit into one of the small segments.
    for part in items.chunks(100) {
        taken(&list(&server, part));
        taken(&message(&server, &json!({ "name": "between" })));
    }
    let reply = server.get("/v1/contexts/default/aggregate/A/events");
    assert_eq!(reply.header("transfer-encoding"), Some("chunked"));
    let page = reply.good();
    assert_eq!(numbers(&page), (0..600).collect::<Vec<_>>());
    let reply = server.get(&format!("{PAGED}?pageSize=500&pageOffset=1"));
    let page = reply.good();
    assert_eq!(numbers(&page), (500..600).collect::<Vec<_>>());
    assert_eq!(page["isLast"], true);
    let head = server.ask("HEAD", "/v1/contexts/default/aggregate/A/events", &[], "");
    assert_eq!((head.status, head.text()), (200, ""));
}

/// Events of aggregate A that fill a segment every ten or so.
fn long_events() -> Vec<Value> {
    let filler = "x".repeat(20_000);
    let long = |n| {
        let mut event = of_a(n);
        event["payload"] = json!(filler);
        event
    };
    (0..40).map(long).collect()
}

fn keep_ten(server: &Server) {
    let body = json!({ "retention": { "maxEvents": 10 } }).to_string();
    let put = server.ask("PUT", "/v1/logs/default", &[JSON], body);
    assert_eq!(put.status, 200, "{}", put.text());
}

#[test]
fn an_aggregate_that_retention_is_removing_is_not_called_missing() {
    let server = Server::start();
    for part in long_events().chunks(10) {
        taken(&list(&server, part));
    }
    keep_ten(&server);
    until("retention", || {
        let reply = server.get("/v1/contexts/default/aggregate/A/events");
        // It may break off, if it was overtaken when a part was sent.
        assert_eq!(reply.status, 200, "{}", reply.text());
        let log = server.get("/v1/logs/default").good();
        (log["firstId"] == 31).then_some(())
    });
}

#[test]
fn what_retention_has_removed_is_missing_at_the_front() {
    let server = Server::start();
    let items = long_events();
    let of_b = |number: u64| json!({ "name": "n", "aggregateId": "B", "aggregateType": "T", "sequenceNumber": number });
    taken(&list(&server, &[of_b(0), of_b(1)]));
    for part in items.chunks(10) {
        taken(&list(&server, part));
    }
    keep_ten(&server);
    // A long reply breaks off when retention overtakes it: what was sent is no longer all there is.
    // So nothing is read until it has done its work.
    until("retention", || {
        let log = server.get("/v1/logs/default").good();
        (log["firstId"] == 33).then_some(())
    });
    let kept = aggregate(&server, "A");
    let first = kept[0]["sequenceNumber"].as_u64().unwrap();
    assert_eq!(first, 30);
    // A page has what is kept of it.
    for (offset, want, is_last) in [
        (0, vec![], false),
        (1, (30..36).collect::<Vec<_>>(), false),
        (2, (36..40).collect(), true),
    ] {
        let page = server.get(&format!("{PAGED}?pageSize=18&pageOffset={offset}"));
        let page = page.good();
        assert_eq!((numbers(&page), &page["isLast"]), (want, &json!(is_last)));
    }
    let refusal = refused(&message(&server, &of_a(39)), 409, "AXONIQ-2000");
    assert_eq!(
        refusal["message"],
        "Invalid sequence number 39 for aggregate A, expected 40"
    );
    // An aggregate of which nothing is kept begins anew, as soon as its events can no longer come
    // back with a loss of power.
    assert_eq!(aggregate(&server, "B"), [] as [Value; 0]);
    until("a new beginning", || {
        let reply = message(&server, &of_b(0));
        (reply.status != 409).then(|| taken(&reply))
    });
}
