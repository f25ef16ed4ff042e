//! One story through all doors, with a restart in the middle.

use serde_json::{Value, json};

use crate::credentials::{BASIC, eventhos_token, spotahome_token};
use crate::harness::{Server, until};
use crate::receiver::{Receiver, Scripted};

const ORDER: &str = "000816c3-e9b2-440b-8d27-dfaa4cae00ef";
const CONSUMER: (&str, &str) = ("X-Consumer-ID", "2480b859-e08a-4414-9c7d-003bc1a4b555");
const JSON: (&str, &str) = ("Content-Type", "application/json");

fn place_order(server: &Server) {
    let reply = server.ask(
        "POST",
        "/newstore/events",
        &[
            JSON,
            ("team", "team-shop"),
            ("service", "shop"),
            ("entity-id", ORDER),
            ("tenant", "dodici"),
            ("idempotency-key", "place-1"),
            ("correlation-ids", &json!({ "order_id": ORDER }).to_string()),
        ],
        r#"{"name":"order.created","total":12.50}"#,
    );
    assert_eq!((reply.status, reply.body.len()), (202, 0));
}

fn pay(server: &Server, sequence: &str) -> u16 {
    let headers = [
        JSON,
        ("AxonIQ-AggregateId", ORDER),
        ("AxonIQ-AggregateType", "Payment"),
        ("AxonIQ-SequenceNumber", sequence),
    ];
    let target = "/v1/contexts/default/events/PaymentReceived";
    let body = r#"{"amount":12.50}"#;
    server.ask("POST", target, &headers, body).status
}

fn unacknowledged(server: &Server) -> Vec<Value> {
    let target = format!("/api/v1/streams/{ORDER}/events?eventName=PaymentReceived&limit=10");
    let reply = server.ask("GET", &target, &[BASIC, CONSUMER], "");
    assert_eq!(reply.status, 200, "{}", reply.text());
    reply.json().as_array().unwrap().clone()
}

fn replay(server: &Server) -> Vec<(String, String)> {
    let token = spotahome_token();
    let target = "/api/monolith/event-store/1-100";
    let reply = server.ask("GET", target, &[("Authorization", &token)], "");
    assert_eq!(reply.status, 200, "{}", reply.text());
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    reply.json()["events"]
        .as_array()
        .unwrap()
        .iter()
        .map(|event| (text(&event["typeName"]), text(&event["eventBody"])))
        .collect()
}

#[test]
fn an_order_goes_through_all_doors_and_a_restart() {
    let receiver = Receiver::start(|_| Scripted::answer(200, r#"{"billed":true}"#));
    let url = receiver.url("/bill");
    let server = Server::start_with(|settings| {
        settings.dialects.eventhos.as_mut().unwrap().actions[0].url = url.clone();
    });

    place_order(&server);
    assert_eq!(pay(&server, "0"), 200);

    let payments = unacknowledged(&server);
    assert_eq!(payments.len(), 1);
    assert_eq!(payments[0]["payload"], json!({ "amount": 12.50 }));
    assert_eq!(payments[0]["event"]["name"], "PaymentReceived");

    let server = server.restart();
    // What the consumer had read it reads again, what the gateway and the store knew they know.
    assert_eq!(unacknowledged(&server), payments);
    place_order(&server);
    assert_eq!(pay(&server, "0"), 409);

    let id = payments[0]["eventId"].as_str().unwrap();
    let target = format!("/api/v1/streams/{ORDER}/events/{id}");
    let form = ("Content-Type", "application/x-www-form-urlencoded");
    let ack = server.ask("POST", &target, &[BASIC, CONSUMER, form], "action=ACK");
    assert_eq!((ack.status, ack.text()), (200, "\"OK\""));
    assert_eq!(unacknowledged(&server), Vec::<Value>::new());

    let token = eventhos_token(&server);
    let sent = server.ask(
        "POST",
        "/event/send?event-identifier=order-placed-k736k3hiW7",
        &[JSON, ("access-key", &token)],
        json!({ "order": ORDER }).to_string(),
    );
    assert_eq!(
        (sent.status, sent.text()),
        (200, r#"{"code":200000,"message":"success"}"#)
    );
    let called = until("the contract's call", || {
        receiver.received().into_iter().next()
    });
    assert_eq!(
        (called.method.as_str(), called.target.as_str()),
        ("POST", "/bill")
    );
    assert_eq!(called.json(), json!({ "order": ORDER }));

    let story = [
        ("order.created", r#"{"name":"order.created","total":12.50}"#),
        ("PaymentReceived", r#"{"amount":12.50}"#),
        (
            "order-placed-k736k3hiW7",
            &json!({ "order": ORDER }).to_string(),
        ),
    ]
    .map(|(name, body)| (name.to_owned(), body.to_owned()));
    assert_eq!(replay(&server), story);
    let server = server.restart();
    assert_eq!(replay(&server), story);
    assert_eq!(unacknowledged(&server), Vec::<Value>::new());

    // One order's events by its correlation id, through the native API.
    let tagged = server.get(&format!("/v1/logs/default/events?tag=order_id:{ORDER}"));
    let tagged = tagged.good();
    assert_eq!(tagged["events"].as_array().unwrap().len(), 1);
    assert_eq!(tagged["events"][0]["type"], "order.created");
}
