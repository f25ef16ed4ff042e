//! Lists of what was received.

use super::*;
use crate::receiver::Scripted;

fn ids(page: &Value) -> Vec<u64> {
    let items = page["items"].as_array().unwrap().iter();
    items.map(|item| item["id"].as_u64().unwrap()).collect()
}

#[test]
fn what_was_received_is_listed_with_what_became_of_it() {
    let receiver =
        Receiver::start(|request| Scripted::status(if request.text() == "2" { 500 } else { 200 }));
    let second = receiver.url("/second");
    let server = start_calling(&receiver, |settings| {
        add_contract(settings, PLACED, "second", &second, 1);
    });
    let token = shop_token(&server);
    assert_eq!(send(&server, PLACED, &token, "1").status, 200);
    assert_eq!(send(&server, PLACED, &token, "2").status, 200);
    assert_eq!(send(&server, LONELY, &token, "3").status, 203);
    server.publish(&json!({"stream": "s", "type": "unknown", "data": 4}));
    let admin = Admin::of(&server);
    admin.executions(1, 2);
    admin.executions(2, 2);
    let page = admin.get("/event/received");
    assert_eq!(ids(&page), [1, 2, 3]);
    let first = &page["items"][0];
    assert_eq!(
        *first,
        json!({"id": 1, "systemId": 1, "eventId": 1, "systemName": "shop",
            "systemIdentifier": "shop", "eventName": PLACED, "eventIdentifier": PLACED,
            "eventDescription": "", "receivedAt": first["receivedAt"],
            "state": ["processed", "processed"]})
    );
    assert_eq!(page["items"][1]["state"], json!(["error", "error"]));
    assert_eq!(page["items"][2]["state"], json!([null]));
    assert_eq!(
        (&page["totalItems"], &page["totalPages"]),
        (&json!(3), &json!(1))
    );
    for (query, wanted) in [
        ("?order=desc&itemsPerPage=2", vec![3, 2]),
        ("?order=desc&itemsPerPage=2&pageIndex=1", vec![1]),
        ("?state=error", vec![2]),
        ("?state=processed", vec![1]),
        ("?state=error&idSearch=2", vec![2]),
        ("?state=error&idSearch=1", vec![]),
        ("?idSearch=3", vec![3]),
        ("?idSearch=4", vec![]),
        ("?idSearch=99", vec![]),
        ("?idSearch=x", vec![]),
        (&format!("?eventIdentifierSearch={LONELY}"), vec![3]),
        ("?eventIdentifierSearch=nothing", vec![]),
        ("?systemId=1", vec![1, 2, 3]),
        ("?systemId=2", vec![]),
        ("?fromTime=2000-01-01", vec![1, 2, 3]),
        ("?toTime=2000-01-01", vec![]),
        ("?fromTime=2100-01-01", vec![]),
        ("?fromTime=2000-01-01&toTime=1999-01-01", vec![]),
        ("?toTime=2100-01-01T00:00:00Z", vec![1, 2, 3]),
    ] {
        let page = admin.get(&format!("/event/received{query}"));
        assert_eq!(ids(&page), wanted, "{query}");
    }
    for bad in ["?state=pending", "?fromTime=yesterday", "?toTime=1"] {
        let reply = admin.ask("GET", &format!("/event/received{bad}"), &Value::Null);
        assert_eq!(
            (reply.status, &reply.json()["code"]),
            (400, &json!(400_000)),
            "{bad}"
        );
    }
}

#[test]
fn what_is_not_there_is_not_found() {
    let server = start(|_| {});
    server.publish(&json!({"stream": "s", "type": "unknown", "data": 4}));
    let admin = Admin::of(&server);
    for id in ["1", "2", "0", "x", "18446744073709551615"] {
        refused(
            &admin.ask("GET", &format!("/event/received/{id}"), &Value::Null),
            404,
            404_000,
            "The received event does not exist.",
        );
        let detail = format!("/event/received/execution-detail/{id}");
        refused(
            &admin.ask("GET", &detail, &Value::Null),
            404,
            404_000,
            "The execution detail does not exist.",
        );
    }
}

#[test]
fn a_received_event_is_shown_as_it_was_sent() {
    let server = start(|_| {});
    let token = shop_token(&server);
    let target = format!("/event/send?event-identifier={LONELY}&access-key={token}&a=1&a=2");
    let body = r#"{"big":9007199254740993}"#;
    let headers = [JSON, ("X-A", "1"), ("Cookie", "session=1")];
    assert_eq!(server.ask("POST", &target, &headers, body).status, 203);
    let admin = Admin::of(&server);
    let reply = admin.ask("GET", "/event/received/1", &Value::Null);
    assert!(reply.text().contains(body), "{}", reply.text());
    assert!(!reply.text().contains(&token) && !reply.text().contains("session=1"));
    let event = &reply.json()["content"]["receivedEvent"];
    let request = &event["received_request"];
    assert_eq!(
        request["query"],
        json!({"event-identifier": LONELY, "access-key": "redacted", "a": ["1", "2"]})
    );
    assert_eq!(request["headers"]["x-a"], "1");
    assert_eq!(request["headers"]["cookie"], "redacted");
    assert_eq!(request["method"], "POST");
    assert_eq!(
        (&event["eventId"], &event["eventIdentifier"], &event["id"]),
        (&json!(2), &json!(LONELY), &json!(1))
    );
}
