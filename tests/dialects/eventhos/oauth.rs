//! Actions that need a token of somebody else first.

use super::*;
use crate::receiver::Scripted;
use strandlog::dialect::eventhos::settings::OauthClient;

fn start_with_token(receiver: &Receiver) -> Server {
    let token = receiver.url("/token");
    start_calling(receiver, |settings| {
        let action = &mut settings.actions[0];
        action.oauth = Some(OauthClient {
            url: token,
            client_id: "me".to_owned(),
            client_secret: PlainSecret::new("t0ken secret"),
        });
        action.headers = pairs(&[(
            "Authorization",
            "Bearer ${.oauthResponse.body.access_token}",
        )]);
        action.query = pairs(&[("kind", "${.oauthResponse.headers.x-kind}")]);
    })
}

#[test]
fn the_token_is_asked_for_first_and_used() {
    let receiver = Receiver::start(|request| match request.target.as_str() {
        "/token" => Scripted::answer(200, r#"{"access_token":"tok-1"}"#).header("X-Kind", "k"),
        _ => Scripted::status(200),
    });
    let server = start_with_token(&receiver);
    let token = shop_token(&server);
    assert_eq!(send(&server, PLACED, &token, "{}").status, 200);
    let received = receiver.wait_for(2);
    assert_eq!(
        received[0].text(),
        "client_id=me&client_secret=t0ken%20secret&grant_type=client_credentials&response_type=token"
    );
    assert_eq!(
        received[0].header("content-type"),
        Some("application/x-www-form-urlencoded")
    );
    assert!(received[0].header("eventhosstartdate").is_some());
    assert_eq!(received[1].target, "/bill?kind=k");
    assert_eq!(received[1].header("authorization"), Some("Bearer tok-1"));
    // Neither the secret nor the token is in what is kept.
    let admin = Admin::of(&server);
    let executions = admin.executions(1, 1);
    let detail = admin.detail(&executions[0]);
    assert_eq!(detail["state"], "processed");
    let shown = detail.to_string();
    assert!(
        !shown.contains("t0ken") && !shown.contains("tok-1"),
        "{shown}"
    );
    assert!(!admin.get("/action/1").to_string().contains("t0ken"));
}

#[test]
fn without_a_token_the_action_is_not_called() {
    let receiver = Receiver::start(|_| Scripted::answer(401, r#"{"error":"invalid_client"}"#));
    let server = start_with_token(&receiver);
    let token = shop_token(&server);
    assert_eq!(send(&server, PLACED, &token, "{}").status, 200);
    let admin = Admin::of(&server);
    let executions = admin.executions(1, 1);
    let detail = admin.detail(&executions[0]);
    assert_eq!(detail["state"], "error");
    assert_eq!(detail["request"]["url"], receiver.url("/token"));
    assert_eq!(detail["request"]["body"], Value::Null);
    assert_eq!(
        detail["response"]["body"],
        json!({"error": "invalid_client"})
    );
    assert_eq!(receiver.received().len(), 1);
}
