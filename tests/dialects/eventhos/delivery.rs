//! Calling actions: what is sent, to whom, in which order, and what becomes of failures.

use std::sync::{Arc, Mutex};

use super::*;
use crate::receiver::{Gate, Scripted};

#[test]
fn the_body_is_passed_on_as_it_came() {
    let receiver = Receiver::answering(200);
    let server = start_calling(&receiver, |_| {});
    let token = shop_token(&server);
    let body = r#"{"z":9007199254740993,"a":[1e-7, {}],"e":"\u00e9"}"#;
    assert_eq!(send(&server, PLACED, &token, body).status, 200);
    let received = &receiver.wait_for(1)[0];
    assert_eq!(
        (received.method.as_str(), received.target.as_str()),
        ("POST", "/bill")
    );
    assert_eq!(received.text(), body);
    assert_eq!(received.header("content-type"), Some("application/json"));
    let date = received.header("eventhosstartdate").unwrap();
    assert!(date.len() == 24 && date.ends_with('Z'), "{date}");
    assert_eq!(received.header("access-key"), None);
    assert_eq!(received.header("authorization"), None);
    // Arrays and scalars as well.
    for (count, body) in [(2, "[1,{\"a\":2}]"), (3, "\"text\""), (4, "null")] {
        assert_eq!(send(&server, PLACED, &token, body).status, 200);
        assert_eq!(receiver.wait_for(count)[count - 1].text(), body);
    }
}

#[test]
fn every_door_leads_to_the_contracts() {
    let receiver = Receiver::answering(200);
    let server = start_calling(&receiver, |settings| {
        settings.actions[0].headers = pairs(&[("X-From", "${.headers.x-a}"), ("X-B", "b")]);
    });
    let id = server.publish(&json!({"stream": "elsewhere", "type": PLACED, "data": {"n": 1}}));
    let received = &receiver.wait_for(1)[0];
    assert_eq!(received.text(), r#"{"n":1}"#);
    assert_eq!(received.header("x-from"), None);
    assert_eq!(received.header("x-b"), Some("b"));
    let other = json!({"stream": PLACED, "type": "other", "data": {"n": 2}});
    server.publish(&other);
    let bytes = json!({"stream": PLACED, "type": PLACED, "dataBase64": "/wA=",
        "contentType": "application/octet-stream"});
    server.publish(&bytes);
    let received = &receiver.wait_for(2)[1];
    assert_eq!(received.body, [0xff, 0]);
    assert_eq!(
        received.header("content-type"),
        Some("application/octet-stream")
    );
    let admin = Admin::of(&server);
    admin.executions(id, 1);
    let shown = admin.get(&format!("/event/received/{id}"));
    let request = &shown["receivedEvent"]["received_request"];
    assert_eq!(
        (&request["headers"], &request["query"], &request["body"]),
        (&json!({}), &json!({}), &json!({"n": 1}))
    );
}

#[test]
fn a_failure_is_recorded_and_not_repeated() {
    let receiver = Receiver::start(|_| {
        Scripted::answer(500, r#"{"why":"broken"}"#).header("Set-Cookie", "s=1")
    });
    let server = start_calling(&receiver, |_| {});
    let token = shop_token(&server);
    assert_eq!(send(&server, PLACED, &token, r#"{"n":1}"#).status, 200);
    let admin = Admin::of(&server);
    let id = last_id(&server);
    let executions = admin.executions(id, 1);
    assert_eq!(
        executions[0],
        json!({"detailId": executions[0]["detailId"], "state": "error", "attempts": 0,
            "isAborted": 0, "contractId": 1, "contractIdentifier": format!("{PLACED}/bill"),
            "contractName": format!("{PLACED}/bill"), "actionId": 1, "actionIdentifier": "bill",
            "actionName": "bill", "actionOperation": "", "actionDescription": ""})
    );
    let detail = admin.detail(&executions[0]);
    assert_eq!(detail["state"], "error");
    let (request, response) = (&detail["request"], &detail["response"]);
    assert_eq!(request["url"], receiver.url("/bill"));
    assert_eq!(request["method"], "post");
    assert_eq!(request["body"], json!({"n": 1}));
    assert_eq!(response["status"], 500);
    assert_eq!(response["statusText"], "Internal Server Error");
    assert_eq!(response["body"], json!({"why": "broken"}));
    assert_eq!(response["headers"]["set-cookie"], "redacted");
    assert!(response["startTime"].as_str() <= response["endTime"].as_str());
    // One attempt: the next one to come is that of the next occurrence.
    assert_eq!(send(&server, PLACED, &token, r#"{"n":2}"#).status, 200);
    let received = receiver.wait_for(2);
    assert_eq!(received[1].text(), r#"{"n":2}"#);
    admin.executions(id + 1, 1);
    assert_eq!(receiver.received().len(), 2);
}

/// The status and text of the only execution of what is sent to this receiver.
#[track_caller]
fn outcome(receiver: &Receiver, change: impl FnOnce(&mut Settings)) -> (Value, Value) {
    let server = start_calling(receiver, change);
    assert_eq!(
        send(&server, PLACED, &shop_token(&server), "{}").status,
        200
    );
    let admin = Admin::of(&server);
    let executions = admin.executions(last_id(&server), 1);
    let detail = admin.detail(&executions[0]);
    let state = detail["state"].clone();
    (state, detail["response"].clone())
}

#[test]
fn an_action_that_hangs_is_given_up() {
    let receiver = Receiver::start(|_| Scripted::Hang);
    let (state, response) = outcome(&receiver, |settings| settings.action_timeout_ms = 50);
    assert_eq!(state, "error");
    assert_eq!(response["status"], Value::Null);
    assert_eq!(response["statusText"], "no answer in time");
}

#[test]
fn a_redirect_is_an_answer_and_not_followed() {
    let private = Receiver::answering(200);
    let location = private.url("/secret");
    let receiver = Receiver::start(move |_| Scripted::status(302).header("Location", &location));
    let (state, response) = outcome(&receiver, |_| {});
    assert_eq!(
        (&state, &response["status"]),
        (&json!("error"), &json!(302))
    );
    assert!(private.received().is_empty());
}

#[test]
fn a_long_answer_is_cut_off() {
    let receiver = Receiver::start(|_| Scripted::answer(200, vec![b'7'; 10 << 20]));
    let (state, response) = outcome(&receiver, |settings| {
        settings.actions[0].reply_to = Some(LONELY.to_owned());
    });
    assert_eq!(state, "processed");
    assert_eq!(response["bodyTruncated"], true);
    assert_eq!(response["body"].as_str().unwrap().len(), 64 << 10);
}

#[test]
fn an_answer_that_is_none_is_an_error() {
    for script in [Scripted::Raw(b"garbage".to_vec()), Scripted::Close] {
        let receiver = Receiver::start(move |_| script.clone());
        let (state, response) = outcome(&receiver, |_| {});
        assert_eq!(
            (&state, &response["status"]),
            (&json!("error"), &Value::Null)
        );
        assert!(response["statusText"].is_string(), "{response}");
    }
}

#[test]
fn an_address_that_is_not_allowed_is_never_called() {
    let receiver = Receiver::answering(200);
    let url = receiver.url("/bill");
    let server = Server::start_with(|settings| {
        settings.webhooks.allow.clear();
        let eventhos = settings.dialects.eventhos.as_mut().unwrap();
        eventhos.actions[0].url = url;
        eventhos.users.push(User {
            name: "admin".to_owned(),
            password: PlainSecret::new("admin-password"),
            permissions: vec!["*".to_owned()],
        });
    });
    assert_eq!(
        send(&server, PLACED, &shop_token(&server), "{}").status,
        200
    );
    let admin = Admin::of(&server);
    let executions = admin.executions(last_id(&server), 1);
    let detail = admin.detail(&executions[0]);
    assert_eq!(
        detail["response"]["statusText"],
        "the address 127.0.0.1 may not be called"
    );
    assert!(receiver.received().is_empty());
}

#[test]
fn groups_come_one_after_another_and_their_members_together() {
    let gates: Arc<Mutex<Vec<(String, Gate)>>> = Arc::default();
    let of_receiver = Arc::clone(&gates);
    let receiver = Receiver::start(move |request| {
        let gate = Gate::default();
        let mut gates = of_receiver.lock().unwrap();
        gates.push((request.target.clone(), gate.clone()));
        // A failure stops neither its group nor the next.
        let status = if request.target == "/a" { 500 } else { 200 };
        Scripted::Behind(gate, Box::new(Scripted::status(status)))
    });
    let url = |path: &str| receiver.url(path);
    let server = start(|settings| {
        settings.actions[0].url = url("/a");
        add_contract(settings, PLACED, "b", &url("/b"), 0);
        add_contract(settings, PLACED, "late", &url("/late"), 5);
        add_contract(settings, PLACED, "early", &url("/early"), -1);
    });
    assert_eq!(
        send(&server, PLACED, &shop_token(&server), "{}").status,
        200
    );
    let targets = |count: usize| {
        let received = receiver.wait_for(count);
        let targets = received.into_iter().map(|request| request.target);
        let mut targets: Vec<String> = targets.collect();
        targets.sort();
        targets
    };
    let open_all = || {
        for (_, gate) in gates.lock().unwrap().iter() {
            gate.open();
        }
    };
    assert_eq!(targets(1), ["/early"]);
    assert_eq!(gates.lock().unwrap().len(), 1);
    open_all();
    // Both are there although neither was answered.
    assert_eq!(targets(3), ["/a", "/b", "/early"]);
    assert_eq!(receiver.received().len(), 3);
    gates.lock().unwrap()[1].1.open();
    let admin = Admin::of(&server);
    admin.executions(last_id(&server), 2);
    // The group is not over while one of its members is not.
    assert_eq!(receiver.received().len(), 3);
    open_all();
    assert_eq!(targets(4), ["/a", "/b", "/early", "/late"]);
    open_all();
    let executions = admin.executions(last_id(&server), 4);
    let state = |name: &str| {
        let mut found = executions.iter();
        let found = found.find(|execution| execution["actionIdentifier"] == name);
        found.unwrap()["state"].clone()
    };
    assert_eq!(state("bill"), "error");
    for name in ["b", "early", "late"] {
        assert_eq!(state(name), "processed", "{name}");
    }
}

#[test]
fn a_slow_occurrence_holds_up_no_other() {
    let gate = Gate::default();
    let held = gate.clone();
    let receiver = Receiver::start(move |request| {
        if request.text() == "1" {
            Scripted::Behind(held.clone(), Box::new(Scripted::status(200)))
        } else {
            Scripted::status(200)
        }
    });
    let server = start_calling(&receiver, |_| {});
    let token = shop_token(&server);
    for body in ["1", "2", "3"] {
        assert_eq!(send(&server, PLACED, &token, body).status, 200);
    }
    let admin = Admin::of(&server);
    admin.executions(3, 1);
    assert_eq!(receiver.received().len(), 3);
    let first = admin.get("/event/received/1");
    assert_eq!(first["executedEventContracts"], json!([]));
    gate.open();
    admin.executions(1, 1);
}

#[test]
fn a_contract_concerns_what_is_sent_after_it() {
    let receiver = Receiver::answering(200);
    let server = start_calling(&receiver, |_| {});
    let admin = Admin::of(&server);
    let token = shop_token(&server);
    assert_eq!(send(&server, LONELY, &token, "1").status, 203);
    let contract = json!({"eventId": 2, "actionId": 1, "identifier": "c"});
    let made = admin.content("POST", "/contract", &contract);
    let contract = format!("/contract/{}", made["actionId"]);
    assert_eq!(send(&server, LONELY, &token, "2").status, 200);
    assert_eq!(receiver.wait_for(1)[0].text(), "2");
    let active = |active: bool| {
        let reply = admin.ask("PUT", &contract, &json!({"active": active}));
        assert_eq!(reply.status, 201, "{}", reply.text());
    };
    active(false);
    assert_eq!(send(&server, LONELY, &token, "3").status, 203);
    active(true);
    assert_eq!(send(&server, LONELY, &token, "4").status, 200);
    assert_eq!(receiver.wait_for(2)[1].text(), "4");
    assert_eq!(admin.ask("DELETE", &contract, &Value::Null).status, 201);
    assert_eq!(send(&server, LONELY, &token, "5").status, 203);
    assert_eq!(receiver.received().len(), 2);
}

#[test]
fn an_answer_can_be_an_occurrence() {
    let receiver = Receiver::start(|request| match request.target.as_str() {
        "/bill" => Scripted::answer(201, r#"{"invoice":9007199254740993}"#),
        _ => Scripted::status(200),
    });
    let after = receiver.url("/after");
    let server = start_calling(&receiver, |settings| {
        add_contract(settings, LONELY, "after", &after, 0);
        settings.actions[0].reply_to = Some(LONELY.to_owned());
    });
    let token = shop_token(&server);
    assert_eq!(send(&server, PLACED, &token, r#"{"n":1}"#).status, 200);
    let received = receiver.wait_for(2);
    assert_eq!(
        (received[1].target.as_str(), received[1].text()),
        ("/after", r#"{"invoice":9007199254740993}"#)
    );
    let admin = Admin::of(&server);
    let answer = last_id(&server);
    let executions = admin.executions(answer, 1);
    assert_eq!(executions[0]["reply_from"], 1);
    assert_eq!(admin.detail(&executions[0])["reply_from"], 1);
    let first = admin.executions(1, 1);
    assert_eq!(first[0]["state"], "processed");
    assert!(first[0].get("reply_from").is_none(), "{first:?}");
}

#[test]
fn answers_that_answer_to_themselves_come_to_an_end() {
    let receiver = Receiver::start(|_| Scripted::answer(200, "plain text"));
    let server = start_calling(&receiver, |settings| {
        settings.actions[0].reply_to = Some(PLACED.to_owned());
    });
    let token = shop_token(&server);
    assert_eq!(send(&server, PLACED, &token, "0").status, 200);
    // The first, and sixteen answers, of which the last one is not sent on.
    let received = receiver.wait_for(16);
    assert_eq!(received[15].text(), r#""plain text""#);
    let admin = Admin::of(&server);
    let ended = admin.executions(17, 1);
    assert_eq!(ended[0]["state"], "error");
    assert_eq!(last_id(&server), 17);
    assert_eq!(receiver.received().len(), 16);
}

#[test]
fn many_occurrences_of_many_events_are_each_executed_once() {
    const EVENTS: usize = 70;
    let receiver = Receiver::answering(200);
    let server = start_calling(&receiver, |settings| {
        // More names than one query may have.
        for n in 0..EVENTS {
            settings.events.push(Event {
                identifier: format!("e{n}"),
                system: "shop".to_owned(),
            });
            settings.contracts.push(Contract {
                event: format!("e{n}"),
                action: "bill".to_owned(),
                order: 0,
            });
        }
    });
    let mut bodies = Vec::new();
    for n in 0..2 * EVENTS {
        let event = format!("e{}", n % EVENTS);
        server.publish(&json!({"stream": "s", "type": event, "data": n}));
        server.publish(&json!({"stream": "s", "type": "other", "data": n}));
        bodies.push(n.to_string());
    }
    let received = receiver.wait_for(2 * EVENTS);
    let mut got: Vec<String> = received
        .iter()
        .map(|request| request.text().to_owned())
        .collect();
    got.sort();
    bodies.sort();
    assert_eq!(got, bodies);
    let admin = Admin::of(&server);
    let page = admin.get("/event/received?order=desc&itemsPerPage=2");
    assert_eq!(page["totalItems"], 2 * EVENTS);
    assert_eq!(page["items"][1]["eventIdentifier"], "e68");
    let server = server.restart();
    server.publish(&json!({"stream": "s", "type": "e0", "data": "last"}));
    let received = receiver.wait_for(2 * EVENTS + 1);
    assert_eq!(received.last().unwrap().text(), "\"last\"");
    assert_eq!(received.len(), 2 * EVENTS + 1);
}
