//! What goes in through one door comes out of every other as it was: payloads byte for byte.

use std::collections::BTreeMap;

use serde_json::Value;
use serde_json::value::RawValue;

use crate::credentials::{BASIC, eventhos_token, spotahome_token};
use crate::harness::{Server, until};
use crate::receiver::{Receiver, Scripted};

/// The event that all doors publish: eventhos knows it, and a contract waits for it.
const EVENT: &str = "order-placed-k736k3hiW7";

/// Payloads that a careless door would change.
const PAYLOADS: [&str; 10] = [
    "{}",
    r#"{"n":9007199254740993}"#,
    r#"{"n":1e-7,"m":1E5,"z":-0,"p":1.0,"big":123456789012345678901234567890.123456789}"#,
    r#"{"b":1,"a":2,"c":{"z":1,"y":2}}"#,
    r#"{"s":"\u00e9\n\/\"\\","t":"é 🛫 \ud83d\udeeb"}"#,
    r#"{ "spaces" : [ 1 , 2 ] }"#,
    r#"{"same":1,"same":2}"#,
    r#"{"deep":[[[[[{"x":[]}]]]]]}"#,
    r#"{"html":"<a href='x'>&amp;</a>","nul":null,"t":true}"#,
    r#"{"name":"order-placed-k736k3hiW7","total":12.50}"#,
];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum In {
    Native,
    Newstore,
    Pavbis,
    Eventhos,
    AxonRaw,
    AxonMessage,
    AxonList,
}

impl In {
    const ALL: [Self; 7] = [
        Self::Native,
        Self::Newstore,
        Self::Pavbis,
        Self::Eventhos,
        Self::AxonRaw,
        Self::AxonMessage,
        Self::AxonList,
    ];

    /// The stream that the event is in.
    fn stream(self) -> &'static str {
        match self {
            Self::Native => "of-native",
            Self::Newstore => "dodici/e-1",
            Self::Pavbis => "of-pavbis",
            // Plain events are in a stream of their name.
            Self::Eventhos | Self::AxonRaw | Self::AxonMessage | Self::AxonList => EVENT,
        }
    }

    fn publish(self, server: &Server, payload: &str, number: usize) {
        let json = ("Content-Type", "application/json");
        let reply = match self {
            Self::Native => server.ask(
                "POST",
                "/v1/logs/default/events",
                &[json],
                format!(r#"{{"stream":"of-native","type":"{EVENT}","data":{payload}}}"#),
            ),
            Self::Newstore => server.ask(
                "POST",
                "/newstore/events",
                &[
                    json,
                    ("team", "t"),
                    ("service", "s"),
                    ("entity-id", "e-1"),
                    ("tenant", "dodici"),
                    ("idempotency-key", &number.to_string()),
                    ("event-name", EVENT),
                ],
                payload,
            ),
            Self::Pavbis => server.ask(
                "POST",
                "/api/v1/streams/of-pavbis/events",
                &[json, BASIC, ("X-Producer-ID", "p")],
                format!(r#"{{"event":{{"name":"{EVENT}","version":1}},"payload":{payload}}}"#),
            ),
            Self::Eventhos => {
                let token = eventhos_token(server);
                server.ask(
                    "POST",
                    &format!("/event/send?event-identifier={EVENT}"),
                    &[json, ("access-key", &token)],
                    payload,
                )
            }
            Self::AxonRaw => server.ask(
                "POST",
                &format!("/v1/contexts/default/events/{EVENT}"),
                &[json],
                payload,
            ),
            Self::AxonMessage => server.ask(
                "POST",
                "/v1/contexts/default/events",
                &[json],
                format!(r#"{{"name":"{EVENT}","payload":{payload}}}"#),
            ),
            Self::AxonList => server.ask(
                "POST",
                "/v1/contexts/default/events",
                &[("Content-Type", "application/vnd.axoniq.event.list+json")],
                format!(r#"{{"items":[{{"name":"{EVENT}","payload":{payload}}}]}}"#),
            ),
        };
        assert!(
            (200..300).contains(&reply.status),
            "{self:?} {payload}: {}",
            reply.text()
        );
    }

    /// The payload in what another door shows of the event: pavbis keeps its whole event object.
    fn payload_of(self, shown: &str) -> String {
        match self {
            Self::Pavbis => member(shown, "payload"),
            Self::Native
            | Self::Newstore
            | Self::Eventhos
            | Self::AxonRaw
            | Self::AxonMessage
            | Self::AxonList => shown.to_owned(),
        }
    }
}

/// A member of a JSON object, as it stands there.
#[track_caller]
fn member(object: &str, name: &str) -> String {
    let members: BTreeMap<String, Box<RawValue>> =
        serde_json::from_str(object).unwrap_or_else(|error| panic!("{error}: {object}"));
    members[name].get().to_owned()
}

/// The elements of a JSON array, as they stand there.
#[track_caller]
fn elements(array: &str) -> Vec<String> {
    let elements: Vec<Box<RawValue>> =
        serde_json::from_str(array).unwrap_or_else(|error| panic!("{error}: {array}"));
    elements
        .iter()
        .map(|element| element.get().to_owned())
        .collect()
}

/// All payloads published through all doors, in this order, to a server whose handlers, webhooks
/// and contracts call the receiver.
fn all_doors() -> (Server, Receiver, Vec<(In, &'static str)>) {
    let receiver = Receiver::start(|_| Scripted::status(200));
    let server = Server::start_with(|settings| {
        let eventhos = settings.dialects.eventhos.as_mut().unwrap();
        eventhos.actions[0].url = receiver.url("/contract");
    });
    let json = ("Content-Type", "application/json");
    let hook = format!(
        r#"{{"url":"{}","start":"first"}}"#,
        receiver.url("/webhook")
    );
    let reply = server.ask("PUT", "/v1/logs/default/webhooks/all", &[json], hook);
    assert_eq!(reply.status, 201, "{}", reply.text());
    for kind in ["http-raw", "http-message"] {
        let handler = format!(
            r#"{{"names":["{EVENT}"],"endpoint":"{}","endpointType":"{kind}"}}"#,
            receiver.url(&format!("/{kind}"))
        );
        let target = format!("/v1/contexts/default/handlers/events/{kind}");
        let reply = server.ask("PUT", &target, &[json], handler);
        assert_eq!(reply.status, 201, "{}", reply.text());
    }
    let mut published = Vec::new();
    for (number, payload) in PAYLOADS.into_iter().enumerate() {
        for door in In::ALL {
            door.publish(&server, payload, number);
            published.push((door, payload));
        }
    }
    (server, receiver, published)
}

/// The bodies that the receiver was sent at this path, once there are so many.
fn bodies(receiver: &Receiver, path: &str, count: usize) -> Vec<String> {
    until(path, || {
        let bodies: Vec<String> = receiver
            .received()
            .iter()
            .filter(|received| received.target == path)
            .map(|received| received.text().to_owned())
            .collect();
        (bodies.len() >= count).then_some(bodies)
    })
}

#[test]
fn payloads_come_out_of_every_door_as_they_went_in_through_any() {
    let (server, receiver, published) = all_doors();
    let check = |door: &str, shown: &[String]| {
        assert_eq!(shown.len(), published.len(), "{door}");
        for (shown, (from, payload)) in shown.iter().zip(&published) {
            assert_eq!(from.payload_of(shown), *payload, "{from:?} to {door}");
        }
    };

    let page = server.get("/v1/logs/default/events?limit=1000");
    let events = elements(&member(page.text(), "events"));
    let native: Vec<String> = events.iter().map(|event| member(event, "data")).collect();
    check("native", &native);

    let token = spotahome_token();
    let window = server.ask(
        "GET",
        "/api/monolith/event-store/1-500",
        &[("Authorization", &token)],
        "",
    );
    let window = elements(&member(window.text(), "events"));
    let spotahome: Vec<String> = window
        .iter()
        .map(|event| serde_json::from_str(&member(event, "eventBody")).unwrap())
        .collect();
    check("spotahome", &spotahome);

    let webhooks: Vec<String> = bodies(&receiver, "/webhook", published.len())
        .iter()
        .map(|event| member(event, "data"))
        .collect();
    check("webhook", &webhooks);
    check("axon raw", &bodies(&receiver, "/http-raw", published.len()));
    let messages: Vec<String> = bodies(&receiver, "/http-message", published.len())
        .iter()
        .map(|event| member(event, "payload"))
        .collect();
    check("axon message", &messages);

    // Occurrences are executed side by side, so only what came counts here, not in which order.
    let mut contracts = bodies(&receiver, "/contract", published.len());
    let mut wanted = native.clone();
    contracts.sort_unstable();
    wanted.sort_unstable();
    assert_eq!(contracts, wanted, "eventhos");

    for door in In::ALL {
        let stream = door.stream().replace('/', "%2F");
        let target = format!("/api/v1/streams/{stream}/events?eventName={EVENT}&limit=1000");
        let consumer = ("X-Consumer-ID", "2480b859-e08a-4414-9c7d-003bc1a4b555");
        let reply = server.ask("GET", &target, &[BASIC, consumer], "");
        assert_eq!(reply.status, 200, "{}", reply.text());
        let shown: Vec<String> = elements(reply.text())
            .iter()
            .map(|event| member(event, "payload"))
            .collect();
        let wanted: Vec<&str> = published
            .iter()
            .filter(|(from, _)| from.stream() == door.stream())
            .map(|(_, payload)| *payload)
            .collect();
        assert_eq!(shown, wanted, "{door:?} to pavbis");
    }
}

#[test]
fn an_aggregate_reads_back_as_it_was_published() {
    let server = Server::start();
    for (sequence, payload) in PAYLOADS.into_iter().enumerate() {
        let reply = server.ask(
            "POST",
            "/v1/contexts/default/events/Stepped",
            &[
                ("Content-Type", "application/json"),
                ("AxonIQ-AggregateId", "A"),
                ("AxonIQ-AggregateType", "T"),
                ("AxonIQ-SequenceNumber", &sequence.to_string()),
            ],
            payload,
        );
        assert_eq!(reply.status, 200, "{}", reply.text());
    }
    let reply = server.get("/v1/contexts/default/aggregate/A/events");
    let items = elements(&member(reply.text(), "items"));
    let payloads: Vec<String> = items.iter().map(|item| member(item, "payload")).collect();
    assert_eq!(payloads, PAYLOADS);
}

#[test]
fn xml_and_binary_payloads_come_out_of_every_door() {
    const XML: &str = "<?xml version=\"1.0\"?>\n<order id=\"1\">\u{e9} &amp; \"x\"</order>";
    const BINARY: &[u8] = b"\x00\x01\xff\xfe\r\n\"\\";
    const BINARY_BASE64: &str = "AAH//g0KIlw=";
    let receiver = Receiver::start(|_| Scripted::status(200));
    let server = Server::start();
    let json = ("Content-Type", "application/json");
    let handler = format!(r#"{{"names":[],"endpoint":"{}"}}"#, receiver.url("/raw"));
    let target = "/v1/contexts/default/handlers/events/raw";
    assert_eq!(server.ask("PUT", target, &[json], handler).status, 201);
    for (content_type, body) in [
        ("application/xml", XML.as_bytes()),
        ("application/octet-stream", BINARY),
    ] {
        let reply = server.ask(
            "POST",
            "/v1/contexts/default/events/Kept",
            &[("Content-Type", content_type)],
            body,
        );
        assert_eq!(reply.status, 200, "{}", reply.text());
    }

    let events = server.events("default");
    assert_eq!(events[0]["contentType"], "application/xml");
    assert_eq!(events[1]["dataBase64"], BINARY_BASE64);

    let window = server.ask(
        "GET",
        "/api/monolith/event-store/1-2",
        &[("Authorization", &spotahome_token())],
        "",
    );
    let bodies: Vec<String> = window.json()["events"]
        .as_array()
        .unwrap()
        .iter()
        .map(|event| serde_json::from_str(event["eventBody"].as_str().unwrap()).unwrap())
        .collect();
    assert_eq!(bodies, [XML, BINARY_BASE64]);

    let consumer = ("X-Consumer-ID", "2480b859-e08a-4414-9c7d-003bc1a4b555");
    let target = "/api/v1/streams/Kept/events?eventName=Kept&limit=10";
    let read: Value = server.ask("GET", target, &[BASIC, consumer], "").json();
    assert_eq!(read[0]["payload"], XML);
    assert_eq!(read[1]["payload"], BINARY_BASE64);

    let received = until("the calls", || {
        let received = receiver.received();
        (received.len() >= 2).then_some(received)
    });
    assert_eq!(received[0].header("content-type"), Some("application/xml"));
    assert_eq!(received[0].body, XML.as_bytes());
    assert_eq!(received[1].body, BINARY);
}
