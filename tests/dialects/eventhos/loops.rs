//! Actions that call this server itself: bounded, and told.

use strandlog::app::limits::HOPS_MAX;

use super::*;

/// Adds a contract for [`LONELY`] whose action is a call with these settings; its id.
#[track_caller]
fn contract(admin: &Admin<'_>, action: &Value) -> u64 {
    let reply = admin.ask("POST", "/action", action);
    assert_eq!(reply.status, 201, "{}", reply.text());
    let action = reply.json()["content"]["actionId"].clone();
    let contract = json!({"eventId": 2, "actionId": action, "name": "Again", "identifier": "again",
        "order": 0, "mailRecipientsOnError": ""});
    let reply = admin.ask("POST", "/contract", &contract);
    assert_eq!(reply.status, 201, "{}", reply.text());
    2
}

fn again(url: &str, headers: &Value) -> Value {
    json!({"system_id": 1, "identifier": "again", "name": "Again", "operation": "new",
        "description": "d", "url": url, "method": "post", "headers": headers,
        "queryUrlParams": [], "body": [], "securityType": 0})
}

#[test]
fn an_action_that_calls_this_server_ends_after_sixteen_calls() {
    let server = start(|_| {});
    let admin = Admin::of(&server);
    let token = shop_token(&server);
    let url = format!(
        "http://{}/event/send?event-identifier={LONELY}",
        server.address
    );
    let key = json!([{"key": "access-key", "value": token}]);
    let contract = contract(&admin, &again(&url, &key));
    assert_eq!(send(&server, LONELY, &token, "{}").status, 200);
    let last = u64::from(HOPS_MAX) + 1;
    let ended = until("the last occurrence", || {
        (server.events("default").len() as u64 == last).then(|| admin.executions(last, 1))
    });
    for id in 1..last {
        assert_eq!(admin.executions(id, 1)[0]["state"], "processed", "{id}");
    }
    assert_eq!(ended[0]["state"], "error");
    let detail = admin.detail(&ended[0]);
    let why = detail["response"]["statusText"].as_str().unwrap();
    assert!(why.contains("loop"), "{why}");
    assert_eq!(detail["request"]["url"], Value::Null);
    assert_eq!(last_id(&server), last);

    // Whoever has looked at it can have it executed, which leads to one more and no further.
    let retried = server.ask(
        "POST",
        &format!("/event/send/contract?event-identifier={LONELY}&contract-id={contract}"),
        &[("access-key", &token), JSON],
        json!({"receivedEventId": last, "contractDetailId": ended[0]["detailId"]}).to_string(),
    );
    assert_eq!(retried.status, 200, "{}", retried.text());
    assert_eq!(admin.executions(last + 1, 1)[0]["state"], "processed");
    assert_eq!(admin.executions(last + 2, 1)[0]["state"], "error");
    assert_eq!(last_id(&server), last + 2);
}

#[test]
fn an_action_cannot_say_itself_how_far_an_occurrence_has_come() {
    let server = start(|_| {});
    let admin = Admin::of(&server);
    let headers = json!([{"key": "Strandlog-Hops", "value": "0"}]);
    let reply = admin.ask("POST", "/action", &again("http://127.0.0.1:9/", &headers));
    let what = "Invalid body; the header \"Strandlog-Hops\" is set by the server";
    refused(&reply, 400, 400_000, what);
}
