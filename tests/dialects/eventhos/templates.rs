//! Templates end to end: what a receiver gets.

use super::*;

/// What the receiver gets for one occurrence, with an action changed so.
#[track_caller]
fn received(
    target: &str,
    body: &str,
    change: impl FnOnce(&mut Action),
) -> crate::receiver::Received {
    let receiver = Receiver::answering(200);
    let url = receiver.url(target);
    let server = start(|settings| {
        settings.actions[0].url = url;
        change(&mut settings.actions[0]);
    });
    let token = shop_token(&server);
    let send = format!("/event/send?event-identifier={PLACED}&who=A+%26+B");
    let headers = [
        ("access-key", token.as_str()),
        JSON,
        ("X-Request-Id", "r-1"),
    ];
    let reply = server.ask("POST", &send, &headers, body);
    assert_eq!(reply.status, 200, "{}", reply.text());
    receiver.wait_for(1).remove(0)
}

fn with_body(action: &mut Action, toml: &str) {
    #[derive(serde::Deserialize)]
    struct Section {
        body: strandlog::dialect::eventhos::settings::JsonText,
    }
    let section: Section = toml::from_str(toml).unwrap();
    action.body = Some(section.body);
}

#[test]
fn values_go_where_templates_stand() {
    let body = r#"{"user":{"id":"u/1","n":9007199254740993},"tiny":1e-7,"list":[1, 2]}"#;
    let received = received("/users/${.body.user.id}/x?fixed=1", body, |action| {
        action.method = "put".to_owned();
        action.headers = pairs(&[
            ("X-Id", "id ${.headers.x-request-id}"),
            ("X-None", "${.body.nothing}"),
            ("X-Key", "${.headers.access-key}"),
        ]);
        action.query = pairs(&[
            ("who", "${.query.who}"),
            ("list", "${.body.list}"),
            ("none", "${.body.nothing}"),
        ]);
        with_body(
            action,
            r#"body = { n = "${.body.user.n}", t = "${.body.tiny}", s = "n=${.body.user.n}", user = { id = "${.body.user.id}", gone = "${.body.gone}" }, raw = ["${.body.tiny}"], k = 1.5 }"#,
        );
    });
    assert_eq!(received.method, "PUT");
    assert_eq!(
        received.target,
        "/users/u%2F1/x?fixed=1&list=%5B1%2C2%5D&who=A%20%26%20B"
    );
    assert_eq!(received.header("x-id"), Some("id r-1"));
    assert_eq!(received.header("x-none"), None);
    assert_eq!(received.header("x-key"), Some("redacted"));
    assert_eq!(
        received.text(),
        r#"{"k":1.5,"n":9007199254740993,"raw":["${.body.tiny}"],"s":"n=9007199254740993","t":1e-7,"user":{"id":"u/1"}}"#
    );
}

#[test]
fn what_only_reads_gets_no_body_of_its_own_accord() {
    let got = received("/a", r#"{"a":1}"#, |action| {
        action.method = "GET".to_owned()
    });
    assert_eq!((got.method.as_str(), got.text()), ("GET", ""));
    assert_eq!(got.header("content-type"), None);
    let own = received("/a", "{}", |action| {
        with_body(action, "body = { a = 1 }");
        action.headers = pairs(&[("Content-Type", "application/vnd.own+json")]);
    });
    assert_eq!(own.text(), r#"{"a":1}"#);
    assert_eq!(own.header("content-type"), Some("application/vnd.own+json"));
}

#[test]
fn a_template_that_would_do_harm_calls_nobody() {
    let receiver = Receiver::answering(200);
    let url = |path: &str| receiver.url(path);
    let server = start(|settings| {
        settings.actions[0].url = url("/users/${.body.id}/x");
        settings.actions[0].headers = pairs(&[("X-A", "${.body.a}")]);
    });
    let token = shop_token(&server);
    let admin = Admin::of(&server);
    let bodies = [
        (r#"{"id":"..","a":"1"}"#, "lead out of its path"),
        (r#"{"id":".","a":"1"}"#, "lead out of its path"),
        (r#"{"id":"","a":"1"}"#, "gives no text"),
        (r#"{"a":"1"}"#, "gives no text"),
        (r#"{"id":1,"a":"x\r\nX-Evil: 1"}"#, "control character"),
    ];
    for (id, (body, word)) in (1..).zip(bodies) {
        assert_eq!(send(&server, PLACED, &token, body).status, 200);
        let executions = admin.executions(id, 1);
        assert_eq!(executions[0]["state"], "error");
        let detail = admin.detail(&executions[0]);
        let told = detail["response"]["statusText"].as_str().unwrap();
        assert!(told.contains(word), "{body}: {told}");
    }
    assert!(receiver.received().is_empty());
    let fine = r#"{"id":"a/../b?c#d%2e","a":"1"}"#;
    assert_eq!(send(&server, PLACED, &token, fine).status, 200);
    assert_eq!(
        receiver.wait_for(1)[0].target,
        "/users/a%2F..%2Fb%3Fc%23d%252e/x"
    );
}
