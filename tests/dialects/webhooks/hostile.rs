//! Endpoints that are hostile, or not the ones that an operator wants to be called.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use serde_json::json;
use strandlog::clock::HandClock;

use super::{
    HOOK, NOON_US, act, attempts, define, hook, ids, outcomes, pass_pause, publish, put, timeless,
    until_hook,
};
use crate::harness::Server;
use crate::receiver::{Receiver, Scripted};

#[test]
fn an_endpoint_in_the_servers_own_network_is_refused_at_registration() {
    let closed = Server::start_with(|settings| settings.webhooks.allow = Vec::new());
    for host in [
        "127.0.0.1:7411",
        "localhost",
        "a.localhost",
        "[::1]",
        "[::ffff:127.0.0.1]",
        "0.0.0.0",
        "10.1.2.3",
        "172.16.0.1",
        "192.168.1.1",
        "169.254.169.254",
        "100.64.0.1",
        "[fd00::1]",
        "[fe80::1]",
        "224.0.0.1",
    ] {
        let definition = json!({ "url": format!("http://{host}/x") });
        let problem = put(&closed, HOOK, &definition).problem(400, "endpoint-refused");
        let detail = problem["detail"].as_str().unwrap();
        assert!(
            detail.contains("allow") && detail.contains("nothing was changed"),
            "{detail}"
        );
    }
    closed.get(HOOK).problem(404, "no-such-webhook");
    let development = Server::start();
    let private = json!({ "url": "http://10.1.2.3/" });
    put(&development, HOOK, &private).problem(400, "endpoint-refused");
    define(&development, "http://127.0.0.1:9/", json!({}));
    put(&development, HOOK, &private).problem(400, "endpoint-refused");
    assert_eq!(hook(&development)["url"], "http://127.0.0.1:9/");
}

#[test]
fn an_endpoint_that_is_not_allowed_any_more_is_never_connected_to() {
    let receiver = Receiver::answering(200);
    for host in ["127.0.0.1", "localhost"] {
        let server = Server::start();
        define(
            &server,
            &format!("http://{host}:{}/", receiver.address().port()),
            json!({}),
        );
        let server = server.restart_with(|settings| settings.webhooks.allow = Vec::new());
        publish(&server, 1, 1);
        let shown = until_hook(&server, "a refusal", |hook| hook["attempts"] == 1);
        let error = shown["lastError"].as_str().unwrap();
        assert!(error.contains("may not be called"), "{error}");
    }
    assert!(receiver.received().is_empty());
}

#[test]
fn a_redirect_is_a_failure_and_is_not_followed() {
    let (server, clock) = timeless();
    let inner = Receiver::answering(200);
    let (to, calls) = (inner.url("/secrets"), AtomicUsize::new(0));
    let receiver = Receiver::start(move |_| {
        let status = [301, 302, 303, 307, 308, 200];
        let call = calls.fetch_add(1, Ordering::SeqCst);
        Scripted::status(status[call]).header("Location", &to)
    });
    define(&server, &receiver.url("/"), json!({}));
    publish(&server, 1, 1);
    for number in 1..=5 {
        pass_pause(&server, &clock, number);
    }
    until_hook(&server, "the delivery", |hook| hook["checkpoint"] == 1);
    assert!(inner.received().is_empty());
    let statuses: Vec<_> = attempts(&server)
        .iter()
        .map(|made| made["status"].clone())
        .collect();
    assert_eq!(json!(statuses), json!([301, 302, 303, 307, 308, 200]));
}

#[test]
fn an_endpoint_that_hangs_fails_at_its_timeout() {
    let clock = HandClock::at(NOON_US);
    let server = Server::start_at(Arc::new(clock.clone()), |_| {});
    let calls = AtomicUsize::new(0);
    let receiver = Receiver::start(move |_| match calls.fetch_add(1, Ordering::SeqCst) {
        0 => Scripted::Hang,
        _ => Scripted::status(200),
    });
    define(&server, &receiver.url("/"), json!({ "timeoutMs": 2_000 }));
    publish(&server, 1, 1);
    receiver.wait_for(1);
    clock.advance(Duration::from_millis(1_900));
    assert_eq!(hook(&server)["attempts"], 0);
    clock.advance(Duration::from_millis(200));
    pass_pause(&server, &clock, 1);
    until_hook(&server, "the delivery", |hook| hook["checkpoint"] == 1);
    let made = &attempts(&server)[0];
    assert_eq!(
        (&made["error"], &made["durationMs"]),
        (&json!("no answer in time"), &json!(2_100))
    );
}

#[test]
fn answers_that_are_too_long_or_none_at_all_do_no_harm() {
    let (server, clock) = timeless();
    let calls = AtomicUsize::new(0);
    let receiver = Receiver::start(move |_| match calls.fetch_add(1, Ordering::SeqCst) {
        0 => Scripted::Raw(b"SSH-2.0-OpenSSH_9.6\r\n\r\n".to_vec()),
        1 => Scripted::Close,
        2 => Scripted::Raw(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf".to_vec()),
        3 => Scripted::Raw(vec![b'x'; 1 << 20]),
        4 => Scripted::answer(500, vec![0xff; 10 << 20]),
        _ => Scripted::answer(200, vec![b'x'; 10 << 20]),
    });
    define(&server, &receiver.url("/"), json!({}));
    publish(&server, 1, 2);
    for number in 1..=5 {
        pass_pause(&server, &clock, number);
    }
    until_hook(&server, "the end", |hook| hook["checkpoint"] == 2);
    assert_eq!(ids(&receiver), [1, 1, 1, 1, 1, 1, 2]);
    let made = attempts(&server);
    for failed in &made[..4] {
        assert!(
            failed["status"].is_null() && failed["error"].is_string(),
            "{failed}"
        );
    }
    assert_eq!(made[4]["response"].as_str().unwrap().chars().count(), 1_024);
    assert_eq!(made[5]["response"], "x".repeat(1_024));
    assert_eq!(outcomes(&server)[5..], ["delivered", "delivered"]);
}

#[test]
fn who_answers_gone_gets_no_more_calls_until_somebody_says_so() {
    let server = Server::start();
    let calls = AtomicUsize::new(0);
    let receiver = Receiver::start(move |_| match calls.fetch_add(1, Ordering::SeqCst) {
        0 => Scripted::status(410),
        _ => Scripted::status(200),
    });
    define(&server, &receiver.url("/"), json!({}));
    publish(&server, 1, 2);
    let gone = until_hook(&server, "the state", |hook| hook["state"] == "gone");
    assert_eq!(
        (&gone["checkpoint"], &gone["lag"]["events"]),
        (&json!(0), &json!(2))
    );
    assert_eq!(outcomes(&server), ["gone"]);
    let server = server.restart();
    publish(&server, 3, 1);
    let gone = hook(&server);
    assert_eq!(gone["state"], "gone");
    assert_eq!(gone["lastError"], "the endpoint answered with status 410");
    assert_eq!(receiver.received().len(), 1);
    assert_eq!(
        act(&server, "POST", &format!("{HOOK}/resume")).good()["state"],
        "running"
    );
    receiver.wait_for(4);
    assert_eq!(ids(&receiver), [1, 1, 2, 3]);
}

#[test]
fn a_secret_is_told_once_and_shows_up_nowhere_else() {
    let told = crate::webhooks::lifecycle::Told::listen();
    let server = Server::start();
    let receiver = Receiver::answering(500);
    let secret = define(&server, &receiver.url("/"), json!({ "attemptsMax": 1 }));
    let given = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
    let other = "/v1/logs/default/webhooks/other";
    put(
        &server,
        other,
        &json!({ "url": receiver.url("/"), "secret": given }),
    )
    .good();
    publish(&server, 1, 1);
    until_hook(&server, "a dead letter", |hook| hook["deadLetters"] == 1);
    act(&server, "POST", &format!("{HOOK}/pause")).good();
    let server = server.restart();
    act(&server, "POST", &format!("{HOOK}/resume")).good();
    let mut seen = String::new();
    for target in [
        HOOK,
        other,
        "/v1/logs/default/webhooks",
        &format!("{HOOK}/deliveries"),
        &format!("{HOOK}/dead-letters"),
        "/v1/logs/default/events",
        "/metrics",
    ] {
        seen.push_str(server.get(target).text());
    }
    drop(server);
    seen.push_str(&told.text());
    assert!(
        seen.contains("events became dead letters"),
        "the log was heard"
    );
    for text in [secret.as_str(), given] {
        let inner = text.trim_start_matches("whsec_").trim_end_matches('=');
        assert!(!seen.contains(inner));
    }
}
