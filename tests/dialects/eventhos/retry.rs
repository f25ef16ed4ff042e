//! Repeating and aborting failed executions by hand.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::*;
use crate::receiver::Scripted;

/// A receiver that fails until it is told otherwise.
fn failing() -> (Receiver, Arc<AtomicBool>) {
    let good = Arc::new(AtomicBool::new(false));
    let of_receiver = Arc::clone(&good);
    let receiver = Receiver::start(move |_| {
        let good = of_receiver.load(Ordering::SeqCst);
        Scripted::status(if good { 200 } else { 500 })
    });
    (receiver, good)
}

/// Asks for the repetition of an execution.
fn retry(server: &Server, token: &str, contract: &str, body: &Value) -> Reply {
    let target = format!(
        "/event/send/contract?event-identifier={PLACED}&access-key={token}&contract-id={contract}"
    );
    server.ask("POST", &target, &[JSON], body.to_string())
}

const NOT_TO_BE: &str = "Detail of the contract does not exist or has already been processed";

#[test]
fn a_failed_execution_is_repeated_once() {
    let (receiver, good) = failing();
    let second = receiver.url("/second");
    let server = start_calling(&receiver, |settings| {
        add_contract(settings, PLACED, "second", &second, 0);
    });
    let token = shop_token(&server);
    assert_eq!(send(&server, PLACED, &token, r#"{"n":1}"#).status, 200);
    let admin = Admin::of(&server);
    let executions = admin.executions(1, 2);
    let bill = executions
        .iter()
        .find(|execution| execution["actionIdentifier"] == "bill")
        .unwrap();
    good.store(true, Ordering::SeqCst);
    let body = json!({"contractDetailId": bill["detailId"], "receivedEventId": 1});
    let reply = retry(&server, &token, "1", &body);
    assert_eq!(
        (reply.status, reply.text()),
        (200, r#"{"code":20000,"message":"success"}"#)
    );
    // The reply came after the call: the outcome is there, of this contract alone.
    let again = admin.get("/event/received/2");
    let executed = again["executedEventContracts"].as_array().unwrap();
    assert_eq!(executed.len(), 1, "{again}");
    assert_eq!(
        (&executed[0]["actionIdentifier"], &executed[0]["state"]),
        (&json!("bill"), &json!("processed"))
    );
    let request = &again["receivedEvent"]["received_request"];
    assert_eq!(request["body"], json!({"n": 1}));
    let url = request["url"].as_str().unwrap();
    assert!(
        url.contains("/event/send/contract") && !url.contains(&token),
        "{url}"
    );
    assert_eq!(receiver.received().len(), 3);
    assert_eq!(receiver.received()[2].text(), r#"{"n":1}"#);
    let first = admin.executions(1, 2);
    let attempts = |name: &str| {
        let mut found = first.iter();
        found
            .find(|execution| execution["actionIdentifier"] == name)
            .unwrap()["attempts"]
            .clone()
    };
    assert_eq!((attempts("bill"), attempts("second")), (json!(1), json!(0)));
    refused(&retry(&server, &token, "1", &body), 400, 400_206, NOT_TO_BE);
    // Nor after a restart.
    let server = server.restart();
    refused(&retry(&server, &token, "1", &body), 400, 400_206, NOT_TO_BE);
    assert_eq!(receiver.received().len(), 3);
}

#[test]
fn of_two_requests_to_repeat_one_execution_one_is_refused() {
    let (receiver, good) = failing();
    let server = start_calling(&receiver, |_| {});
    let token = shop_token(&server);
    assert_eq!(send(&server, PLACED, &token, "1").status, 200);
    let detail = Admin::of(&server).executions(1, 1)[0]["detailId"].clone();
    good.store(true, Ordering::SeqCst);
    let body = json!({"contractDetailId": detail, "receivedEventId": 1});
    let mut statuses = std::thread::scope(|scope| {
        let ask = || retry(&server, &token, "1", &body).status;
        let both = [scope.spawn(ask), scope.spawn(ask)];
        both.map(|thread| thread.join().unwrap())
    });
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 400]);
    assert_eq!(receiver.received().len(), 2);
}

#[test]
fn a_repetition_that_fails_can_be_repeated_in_turn() {
    let (receiver, _) = failing();
    let server = start_calling(&receiver, |_| {});
    let token = shop_token(&server);
    assert_eq!(send(&server, PLACED, &token, "{}").status, 200);
    let admin = Admin::of(&server);
    for received in 1..4 {
        let executions = admin.executions(received, 1);
        let body = json!({"contractDetailId": executions[0]["detailId"],
            "receivedEventId": received});
        assert_eq!(retry(&server, &token, "1", &body).status, 200);
    }
    assert_eq!(admin.executions(4, 1)[0]["state"], "error");
}

#[test]
fn what_cannot_be_repeated_is_refused() {
    let (receiver, good) = failing();
    let server = start_calling(&receiver, |_| {});
    let token = shop_token(&server);
    assert_eq!(send(&server, PLACED, &token, "1").status, 200);
    let admin = Admin::of(&server);
    let failed = admin.executions(1, 1)[0]["detailId"].clone();
    good.store(true, Ordering::SeqCst);
    assert_eq!(send(&server, PLACED, &token, "2").status, 200);
    let processed = admin.executions(2, 1)[0]["detailId"].clone();
    for (contract, body, code, message) in [
        ("1", json!({}), 400_203, "Received event Id was not send."),
        (
            "1",
            json!({"receivedEventId": "x", "contractDetailId": 1}),
            400_203,
            "Received event Id was not send.",
        ),
        (
            "1",
            json!({"receivedEventId": 1}),
            400_203,
            "Contract detail Id was not send.",
        ),
        (
            "1",
            json!({"receivedEventId": 2, "contractDetailId": processed}),
            400_206,
            NOT_TO_BE,
        ),
        (
            "1",
            json!({"receivedEventId": 2, "contractDetailId": failed}),
            400_206,
            NOT_TO_BE,
        ),
        (
            "2",
            json!({"receivedEventId": 1, "contractDetailId": failed}),
            400_206,
            NOT_TO_BE,
        ),
        (
            "",
            json!({"receivedEventId": 1, "contractDetailId": failed}),
            400_206,
            NOT_TO_BE,
        ),
        (
            "1",
            json!({"receivedEventId": 1, "contractDetailId": 999_999}),
            400_206,
            NOT_TO_BE,
        ),
        (
            "1",
            json!({"receivedEventId": 1, "contractDetailId": 0}),
            400_206,
            NOT_TO_BE,
        ),
    ] {
        let reply = retry(&server, &token, contract, &body);
        refused(&reply, 400, code, message);
    }
    let body = json!({"receivedEventId": 1, "contractDetailId": failed});
    let reply = retry(&server, "x", "1", &body);
    refused(&reply, 401, 401_202, "Incorrect token");
    assert_eq!(last_id(&server), 2);
}

#[test]
fn an_aborted_execution_is_not_repeated() {
    let (receiver, _) = failing();
    let server = start_calling(&receiver, |_| {});
    let token = shop_token(&server);
    assert_eq!(send(&server, PLACED, &token, "1").status, 200);
    let admin = Admin::of(&server);
    let detail = admin.executions(1, 1)[0]["detailId"].clone();
    let target = format!("/event/retry/aborted?event-identifier={PLACED}&access-key={token}");
    let abort = |body: Value| admin.ask("POST", &target, &body);
    refused(
        &abort(json!({})),
        400,
        400_203,
        "Contract Detail Id was not send.",
    );
    refused(
        &abort(json!({"contractDetailId": 777})),
        400,
        400_203,
        "Contract Detail was not found.",
    );
    let keyless = admin.ask(
        "POST",
        "/event/retry/aborted",
        &json!({"contractDetailId": detail}),
    );
    assert_eq!(keyless.json()["code"], 400_201);
    let reply = abort(json!({"contractDetailId": detail}));
    assert_eq!(
        (reply.status, reply.text()),
        (200, r#"{"code":200000,"message":"success"}"#)
    );
    refused(
        &abort(json!({"contractDetailId": detail})),
        400,
        400_203,
        "Contract Detail was prosecuted.",
    );
    let body = json!({"contractDetailId": detail, "receivedEventId": 1});
    refused(&retry(&server, &token, "1", &body), 400, 400_206, NOT_TO_BE);
    assert_eq!(admin.executions(1, 1)[0]["isAborted"], 1);
    let server = server.restart();
    refused(&retry(&server, &token, "1", &body), 400, 400_206, NOT_TO_BE);
}
