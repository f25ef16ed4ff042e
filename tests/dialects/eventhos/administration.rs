//! Systems, events, actions and contracts, made and changed by routes.

use super::*;

/// Makes something; its id.
#[track_caller]
fn make(admin: &Admin<'_>, target: &str, member: &str, body: &Value) -> u64 {
    let reply = admin.ask("POST", target, body);
    assert_eq!(reply.status, 201, "{}", reply.text());
    reply.json()["content"][member].as_u64().unwrap()
}

fn action_body(system: u64, url: &str) -> Value {
    json!({"system_id": system, "identifier": "call", "name": "Call it", "operation": "new",
        "description": "d", "url": url, "method": "post", "headers": [], "queryUrlParams": [],
        "body": [], "securityType": 0})
}

#[test]
fn a_whole_chain_is_made_and_works() {
    let receiver = Receiver::answering(200);
    let server = start(|_| {});
    let admin = Admin::of(&server);
    let made = admin.ask(
        "POST",
        "/system",
        &json!({"systemClass": "consumer", "identifier": "billing", "name": "Billing",
            "type": "x", "description": ""}),
    );
    assert_eq!(
        made.text(),
        r#"{"code":20001,"message":"New system created","content":{"systemId":2}}"#
    );
    // Without a client the identifier stays as it is.
    assert_eq!(admin.get("/system/2")["identifier"], "billing");
    let event = admin.ask(
        "POST",
        "/event",
        &json!({"system_id": 1, "identifier": "order-paid", "name": "Paid", "operation": "update",
            "description": "d"}),
    );
    assert_eq!(
        event.text(),
        r#"{"code":200001,"message":"success","content":{"eventId":3}}"#
    );
    let action = admin.ask("POST", "/action", &action_body(2, &receiver.url("/paid")));
    assert_eq!(
        action.text(),
        r#"{"code":200001,"message":"success","content":{"actionId":2}}"#
    );
    let contract = admin.ask(
        "POST",
        "/contract",
        &json!({"eventId": 3, "actionId": 2, "name": "Pay", "identifier": "pay", "order": 1,
            "mailRecipientsOnError": ""}),
    );
    assert_eq!(
        contract.text(),
        r#"{"code":200001,"message":"success","content":{"actionId":2}}"#
    );
    let event = admin.get("/event/3");
    let identifier = event["identifier"].as_str().unwrap().to_owned();
    assert!(identifier.starts_with("order-paid-"), "{identifier}");
    let token = shop_token(&server);
    let reply = send(&server, &identifier, &token, r#"{"n":1}"#);
    assert_eq!(reply.status, 200, "{}", reply.text());
    let received = receiver.wait_for(1);
    assert_eq!(
        (received[0].method.as_str(), received[0].text()),
        ("POST", r#"{"n":1}"#)
    );
    // All of it is there after a restart, with the same ids.
    let server = server.restart();
    let admin = Admin::of(&server);
    assert_eq!(admin.get("/event/3")["identifier"], identifier.as_str());
    assert_eq!(send(&server, &identifier, &token, r#"{"n":2}"#).status, 200);
    assert_eq!(receiver.wait_for(2)[1].text(), r#"{"n":2}"#);
    let contracts = admin.get("/contract?order=desc");
    assert_eq!(
        contracts["items"][0],
        json!({"id": 2, "identifier": contracts["items"][0]["identifier"], "name": "Pay",
            "active": true, "order": 1, "eventId": 3, "actionId": 2, "producerName": "shop",
            "consumerName": "Billing", "eventIdentifier": identifier,
            "actionIdentifier": admin.get("/action/2")["identifier"]})
    );
}

#[test]
fn only_who_is_allowed_may() {
    let server = start(|settings| {
        settings.users.push(User {
            name: "reader".to_owned(),
            password: PlainSecret::new("reader-password"),
            permissions: vec!["event:select".to_owned(), "system:*".to_owned()],
        });
    });
    let anonymous = server.get("/event");
    refused(
        &anonymous,
        403,
        403_002,
        "Subject not authorized; no jwt token was send",
    );
    let reader = Admin::named(&server, "reader", "reader-password");
    for allowed in ["/event", "/event/received", "/system", "/system/1"] {
        assert_eq!(reader.ask("GET", allowed, &Value::Null).status, 200);
    }
    let lacks = "Subject not authorized; incorrect permissions";
    for (method, target) in [
        ("POST", "/event"),
        ("PUT", "/event/1"),
        ("DELETE", "/event/1"),
        ("GET", "/action"),
        ("POST", "/contract"),
        ("PUT", "/contract/order"),
        ("GET", "/auth/client"),
        ("POST", "/auth/client"),
        ("PUT", "/auth/client/1/revoke"),
        ("PUT", "/auth/client/1/long-live"),
        ("GET", "/auth/client/1/secret"),
        ("POST", "/event/retry/aborted"),
    ] {
        let reply = reader.ask(method, target, &json!({}));
        refused(&reply, 401, 401_002, lacks);
    }
    // A user who is no longer in the file has a token that is worth nothing.
    let authorization = reader.authorization.clone();
    let server = server.restart_with(|settings| {
        let eventhos = settings.dialects.eventhos.as_mut().unwrap();
        eventhos.users.retain(|user| user.name != "reader");
    });
    let headers = [("Authorization", authorization.as_str())];
    let reply = server.ask("GET", "/event", &headers, "");
    refused(&reply, 401, 401_002, lacks);
}

#[test]
fn lists_have_pages() {
    let server = start(|_| {});
    let admin = Admin::of(&server);
    for n in 0..6 {
        let body =
            json!({"system_id": 1, "identifier": format!("e{n}"), "name": format!("n{}", 9 - n)});
        make(&admin, "/event", "eventId", &body);
    }
    let page = admin.get("/event?itemsPerPage=3&pageIndex=1");
    let ids = |page: &Value| {
        let items = page["items"].as_array().unwrap().iter();
        items
            .map(|item| item["id"].as_u64().unwrap())
            .collect::<Vec<_>>()
    };
    assert_eq!(ids(&page), [4, 5, 6]);
    let mut rest = page.clone();
    rest.as_object_mut().unwrap().remove("items");
    assert_eq!(
        rest,
        json!({"pageIndex": 1, "itemsPerPage": 3, "totalItems": 8, "totalPages": 3})
    );
    assert_eq!(ids(&admin.get("/event?order=desc")), [8, 7, 6, 5, 4]);
    assert_eq!(
        ids(&admin.get("/event?activeSort=name&itemsPerPage=3")),
        [8, 7, 6]
    );
    assert_eq!(ids(&admin.get("/event?eventName=N7")), [5]);
    assert_eq!(ids(&admin.get("/event?systemId=7")), Vec::<u64>::new());
    assert_eq!(ids(&admin.get("/event?pageIndex=99")), Vec::<u64>::new());
    assert_eq!(
        admin.get("/system?systemClass=consumer")["totalItems"],
        json!(0)
    );
    assert_eq!(admin.get("/action?wordSearch=BILL")["totalItems"], json!(1));
    assert_eq!(
        admin.get("/contract?wordSearch=zzz")["totalItems"],
        json!(0)
    );
    let reply = admin.ask("GET", "/event?activeSort=secret", &Value::Null);
    assert_eq!(reply.status, 400, "{}", reply.text());
}

#[test]
fn what_is_changed_stays_changed_and_the_rest_as_it_was() {
    let server = start(|_| {});
    let admin = Admin::of(&server);
    let system = json!({"systemClass": "hybrid", "identifier": "crm", "name": "CRM", "type": "t",
        "description": "d"});
    let system = make(&admin, "/system", "systemId", &system);
    let event = json!({"system_id": system, "identifier": "e", "name": "n", "operation": "o"});
    let event = make(&admin, "/event", "eventId", &event);
    let mut body = action_body(system, "http://127.0.0.1:9/x");
    body["headers"] =
        json!([{"key": "Authorization", "value": "s3cret"}, {"key": "X-A", "value": 7}]);
    body["rawBody"] = json!({"a": "${.body.a}", "n": 1.5});
    body["securityType"] = json!(1);
    body["securityUrl"] = json!("http://127.0.0.1:9/token");
    body["clientId"] = json!("me");
    body["clientSecret"] = json!("t0ken-secret");
    let action = make(&admin, "/action", "actionId", &body);
    let contract = json!({"eventId": event, "actionId": action, "identifier": "c"});
    let contract = make(&admin, "/contract", "actionId", &contract);
    let put = |target: String, body: Value| {
        let reply = admin.ask("PUT", &target, &body);
        assert_eq!(
            (reply.status, reply.text()),
            (201, r#"{"code":200001,"message":"success"}"#)
        );
    };
    put(
        format!("/system/{system}"),
        json!({"name": "CRM 2", "clientId": null}),
    );
    put(format!("/event/{event}"), json!({"description": "new"}));
    // The secrets that no reply shows are kept when what is shown comes back.
    let shown = admin.get(&format!("/action/{action}"));
    assert_eq!(
        shown["httpConfiguration"],
        json!({"url": "http://127.0.0.1:9/x", "method": "post",
            "headers": {"Authorization": "redacted", "X-A": "7"},
            "data": {"a": "${.body.a}", "n": 1.5}, "params": {}})
    );
    assert_eq!(shown["security"]["type"], "oauth2_client");
    assert!(!shown.to_string().contains("t0ken"), "{shown}");
    put(
        format!("/action/{action}"),
        json!({"headers": [{"key": "Authorization", "value": "redacted"}],
            "url": "http://127.0.0.1:9/y", "securityType": 1, "reply_to": LONELY}),
    );
    put(format!("/contract/{contract}"), json!({"active": false}));
    put(
        "/contract/order".to_owned(),
        json!({"orders": [{"contractId": contract, "order": 7}]}),
    );
    let server = server.restart();
    let admin = Admin::of(&server);
    let shown = admin.get(&format!("/system/{system}"));
    assert_eq!(
        (&shown["name"], &shown["type"], &shown["class"]),
        (&json!("CRM 2"), &json!("t"), &json!("hybrid"))
    );
    let shown = admin.get(&format!("/event/{event}"));
    assert_eq!(
        (&shown["name"], &shown["description"]),
        (&json!("n"), &json!("new"))
    );
    let shown = admin.get(&format!("/action/{action}"));
    assert_eq!(shown["reply_to"], LONELY);
    assert_eq!(shown["httpConfiguration"]["url"], "http://127.0.0.1:9/y");
    assert_eq!(shown["httpConfiguration"]["data"]["n"], 1.5);
    let shown = admin.get(&format!("/contract/{contract}"));
    assert_eq!(
        (&shown["active"], &shown["order"]),
        (&json!(false), &json!(7))
    );
}

#[test]
fn what_others_need_cannot_be_deleted() {
    let server = start(|_| {});
    let admin = Admin::of(&server);
    let system = json!({"systemClass": "hybrid", "identifier": "crm"});
    let system = make(&admin, "/system", "systemId", &system);
    let event = json!({"system_id": system, "identifier": "e"});
    let event = make(&admin, "/event", "eventId", &event);
    let action = action_body(system, "http://127.0.0.1:9/x");
    let action = make(&admin, "/action", "actionId", &action);
    let contract = json!({"eventId": event, "actionId": action, "identifier": "c"});
    let contract = make(&admin, "/contract", "actionId", &contract);
    let delete = |what: &str, id: u64| admin.ask("DELETE", &format!("/{what}/{id}"), &Value::Null);
    refused(
        &delete("event", event),
        400,
        400_207,
        "Event has active contracts",
    );
    refused(
        &delete("action", action),
        400,
        400_003,
        "Action has active contracts",
    );
    assert_eq!(delete("contract", contract).status, 201);
    refused(
        &delete("system", system),
        400,
        400_302,
        "System has conflicting events",
    );
    assert_eq!(delete("event", event).status, 201);
    refused(
        &delete("system", system),
        400,
        400_303,
        "System has conflicting actions",
    );
    assert_eq!(delete("action", action).status, 201);
    assert_eq!(delete("system", system).status, 201);
    for (what, id) in [("contract", contract), ("event", event), ("system", system)] {
        let message = format!("The {what} does not exist.");
        refused(&delete(what, id), 404, 404_000, &message);
        let shown = admin.ask("GET", &format!("/{what}/{id}"), &Value::Null);
        refused(&shown, 404, 404_000, &message);
    }
    // Ids are never given out again.
    let server = server.restart();
    let admin = Admin::of(&server);
    let again = json!({"system_id": 1, "identifier": "e"});
    assert_eq!(make(&admin, "/event", "eventId", &again), event + 1);
}

#[test]
fn what_stands_in_the_config_file_is_changed_there() {
    let server = start(|_| {});
    let admin = Admin::of(&server);
    for (what, identifier) in [
        ("system", "shop"),
        ("event", PLACED),
        ("action", "bill"),
        ("contract", "order-placed-k736k3hiW7/bill"),
    ] {
        let message = format!(
            "The {what} {identifier} is defined in the config file and can only be changed there."
        );
        let target = format!("/{what}/1");
        let changed = admin.ask("PUT", &target, &json!({"name": "x"}));
        refused(&changed, 409, 409_000, &message);
        let deleted = admin.ask("DELETE", &target, &Value::Null);
        refused(&deleted, 409, 409_000, &message);
    }
    let orders = json!({"orders": [{"contractId": 1, "order": 7}]});
    let reply = admin.ask("PUT", "/contract/order", &orders);
    assert_eq!(reply.status, 409, "{}", reply.text());
}

#[test]
fn what_vanishes_from_the_config_file_counts_as_deleted_until_it_is_back() {
    let server = start(|_| {});
    let token = shop_token(&server);
    let lonely = |settings: &mut strandlog::doors::Settings, there: bool| {
        let eventhos = settings.dialects.eventhos.as_mut().unwrap();
        eventhos.events.retain(|event| event.identifier != LONELY);
        if there {
            eventhos.events.insert(
                0,
                Event {
                    identifier: LONELY.to_owned(),
                    system: "shop".to_owned(),
                },
            );
        }
    };
    assert_eq!(send(&server, LONELY, &token, "{}").status, 203);
    let server = server.restart_with(|settings| lonely(settings, false));
    refused(
        &send(&server, LONELY, &token, "{}"),
        400,
        400_024,
        &format!("The event {LONELY} does not exist."),
    );
    // What was received is still shown.
    let list = Admin::of(&server).get("/event/received");
    assert_eq!(list["items"][0]["eventIdentifier"], LONELY);
    let server = server.restart_with(|settings| lonely(settings, true));
    assert_eq!(send(&server, LONELY, &token, "{}").status, 203);
    assert_eq!(Admin::of(&server).get("/event/2")["identifier"], LONELY);
}

#[test]
fn definitions_that_make_no_sense_are_refused_in_words() {
    let server = start(|_| {});
    let admin = Admin::of(&server);
    let action = |change: Value| {
        let mut body = action_body(1, "http://127.0.0.1:9/x");
        for (name, value) in change.as_object().unwrap() {
            body[name] = value.clone();
        }
        ("/action", body)
    };
    for ((target, body), status, code, message) in [
        (
            ("/system", json!({})),
            400,
            400_001,
            "Invalid body; systemClass is required",
        ),
        (
            ("/system", json!({"systemClass": "x", "identifier": "a"})),
            400,
            400_000,
            "Invalid body; systemClass is none of producer, consumer and hybrid",
        ),
        (
            (
                "/system",
                json!({"systemClass": "hybrid", "identifier": "a", "clientId": 77}),
            ),
            404,
            400_301,
            "The client with id 77 does not exist.",
        ),
        (
            (
                "/system",
                json!({"systemClass": "hybrid", "identifier": "a", "clientId": 1}),
            ),
            409,
            409_102,
            "That clientId is already on use",
        ),
        (
            (
                "/system",
                json!({"systemClass": "hybrid", "identifier": "shop"}),
            ),
            409,
            409_102,
            "That identifier is already on use",
        ),
        (
            (
                "/system",
                json!({"systemClass": "hybrid", "identifier": "a\u{1}"}),
            ),
            400,
            400_000,
            "Invalid body; identifier has a control character",
        ),
        (
            ("/event", json!({"system_id": 9, "identifier": "a"})),
            404,
            404_000,
            "The system does not exist.",
        ),
        (
            ("/event", json!({"system_id": "one", "identifier": "a"})),
            400,
            400_003,
            "Invalid body; system_id is not a number",
        ),
        (
            (
                "/event",
                json!({"system_id": 1, "identifier": "a".repeat(201)}),
            ),
            400,
            400_000,
            "Invalid body; identifier is longer than 200 bytes",
        ),
        (
            (
                "/contract",
                json!({"eventId": 9, "actionId": 1, "identifier": "a"}),
            ),
            404,
            404_000,
            "The event does not exist.",
        ),
        (
            (
                "/contract",
                json!({"eventId": 1, "actionId": 9, "identifier": "a"}),
            ),
            404,
            404_000,
            "The action does not exist.",
        ),
        (
            action(json!({"rawFunctionBody": "return 1"})),
            400,
            400_000,
            "Invalid body; rawFunctionBody is not supported: this server runs no functions, use body or rawBody with templates",
        ),
        (
            action(json!({"url": "http://10.0.0.1/x"})),
            400,
            400_000,
            "Invalid body; the address 10.0.0.1 may not be called",
        ),
        (
            action(json!({"url": "http://${.body.host}/"})),
            400,
            400_000,
            "Invalid body; the URL cannot be used: there is a template in the host of the URL, where none may be",
        ),
        (
            action(json!({"method": "CONNECT"})),
            400,
            400_000,
            "Invalid body; the method is none of GET, HEAD, POST, PUT, PATCH and DELETE",
        ),
        (
            action(json!({"headers": [{"key": "a"}]})),
            400,
            400_003,
            "Invalid body; headers is not an array of {key, value}",
        ),
        (
            action(
                json!({"securityType": 1, "securityUrl": "http://127.0.0.1/t", "clientId": "a"}),
            ),
            400,
            400_001,
            "Invalid body; clientSecret is required",
        ),
        (
            action(json!({"reply_to": "nobody"})),
            400,
            400_000,
            "Invalid body; reply_to: the event nobody does not exist",
        ),
    ] {
        refused(&admin.ask("POST", target, &body), status, code, message);
    }
    // Too long for a document.
    let long = action(json!({"rawBody": {"a": "x".repeat(70_000)}}));
    assert_eq!(admin.ask("POST", long.0, &long.1).status, 413);
    for target in [
        "/event/x",
        "/event/-1",
        "/event/99999999999999999999999",
        "/event/%2e%2e",
    ] {
        let reply = admin.ask("GET", target, &Value::Null);
        refused(&reply, 404, 404_000, "The event does not exist.");
    }
}
