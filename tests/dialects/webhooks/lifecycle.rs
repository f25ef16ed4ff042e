//! Webhooks over pauses, restarts, and the removal of what they were to deliver.

use std::io::Write;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use serde_json::json;

use super::{HOOK, act, define, hook, ids, post, publish, put, timeless, until_hook};
use crate::harness::{Server, until};
use crate::receiver::{Receiver, Scripted};

/// What the server tells its own log, everything from the finest level on.
#[derive(Clone)]
pub(super) struct Told(Arc<Mutex<Vec<u8>>>);

impl Told {
    pub(super) fn listen() -> Self {
        static TOLD: OnceLock<Told> = OnceLock::new();
        let told = TOLD.get_or_init(|| {
            let told = Self(Arc::default());
            let writer = told.clone();
            let subscriber = tracing_subscriber::fmt()
                .with_max_level(tracing_subscriber::filter::LevelFilter::TRACE)
                .with_writer(move || writer.clone())
                .finish();
            tracing::subscriber::set_global_default(subscriber).unwrap();
            told
        });
        told.clone()
    }

    pub(super) fn text(&self) -> String {
        let bytes = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        String::from_utf8_lossy(&bytes).into_owned()
    }
}

impl Write for Told {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_paused_webhook_gets_nothing_and_goes_on_where_it_was() {
    let server = Server::start();
    let receiver = Receiver::answering(200);
    define(&server, &receiver.url("/"), json!({}));
    publish(&server, 1, 2);
    until_hook(&server, "the place", |hook| hook["checkpoint"] == 2);
    for _ in 0..2 {
        assert_eq!(
            act(&server, "POST", &format!("{HOOK}/pause")).good()["state"],
            "paused"
        );
    }
    publish(&server, 3, 2);
    let server = server.restart();
    let paused = hook(&server);
    assert_eq!(
        (&paused["state"], &paused["checkpoint"]),
        (&json!("paused"), &json!(2))
    );
    assert_eq!(paused["lag"]["events"], 2);
    assert!(paused["lastDeliveredAt"].is_string(), "the history knows");
    // Another definition does not wake it.
    let changed = json!({ "url": receiver.url("/"), "timeoutMs": 1_000 });
    assert_eq!(put(&server, HOOK, &changed).good()["state"], "paused");
    assert_eq!(ids(&receiver), [1, 2]);
    assert_eq!(
        act(&server, "POST", &format!("{HOOK}/resume")).good()["state"],
        "running"
    );
    receiver.wait_for(4);
    assert_eq!(ids(&receiver), [1, 2, 3, 4]);
}

#[test]
fn definitions_and_places_survive_a_restart() {
    let mut server = Server::start();
    let receiver = Receiver::answering(200);
    let secret = define(&server, &receiver.url("/"), json!({}));
    for round in 0..3 {
        publish(&server, 2 * round + 1, 2);
        let done = 2 * round + 2;
        until_hook(&server, "the place", |hook| hook["checkpoint"] == done);
        let before = hook(&server);
        server = server.restart();
        let after = hook(&server);
        for member in [
            "url",
            "filter",
            "start",
            "batchSize",
            "timeoutMs",
            "attemptsMax",
            "checkpoint",
        ] {
            assert_eq!(before[member], after[member]);
        }
    }
    assert_eq!(ids(&receiver), [1, 2, 3, 4, 5, 6]);
    super::deliver::check_signature(&receiver.received()[5], &secret);
}

#[test]
fn what_was_sent_and_not_answered_before_a_stop_is_sent_again_after_the_start() {
    let server = Server::start();
    let calls = AtomicUsize::new(0);
    let receiver = Receiver::start(move |_| match calls.fetch_add(1, Ordering::SeqCst) {
        1 => Scripted::Hang,
        _ => Scripted::status(200),
    });
    define(&server, &receiver.url("/"), json!({}));
    publish(&server, 1, 3);
    receiver.wait_for(2);
    // The server ends although the call hangs.
    let server = server.restart();
    receiver.wait_for(4);
    until_hook(&server, "the place", |hook| hook["checkpoint"] == 3);
    assert_eq!(ids(&receiver), [1, 2, 2, 3]);
    let calls = receiver.received();
    assert_eq!(calls[1].header("webhook-id"), calls[2].header("webhook-id"));
}

#[test]
fn a_server_ends_while_a_webhook_waits_for_its_next_attempt() {
    let (server, _clock) = timeless();
    let receiver = Receiver::answering(500);
    define(&server, &receiver.url("/"), json!({}));
    publish(&server, 1, 1);
    until_hook(&server, "a pause", |hook| !hook["nextAttemptAt"].is_null());
    // Nobody moves the clock: this would hang.
    let server = server.restart();
    receiver.wait_for(2);
    act(&server, "POST", &format!("{HOOK}/pause")).good();
    assert_eq!(hook(&server)["checkpoint"], 0);
}

#[test]
fn what_is_not_for_a_webhook_is_passed_over_for_good() {
    let server = Server::start();
    let receiver = Receiver::answering(200);
    define(
        &server,
        &receiver.url("/"),
        json!({ "filter": { "stream": "other" } }),
    );
    publish(&server, 1, 10);
    assert_eq!(hook(&server)["lag"]["events"], 0);
    let server = server.restart();
    assert_eq!(
        hook(&server)["checkpoint"],
        10,
        "kept at the end of the server"
    );
    server.publish(&json!({ "stream": "other", "type": "t", "data": 1 }));
    receiver.wait_for(1);
    assert_eq!(ids(&receiver), [11]);
}

#[test]
fn a_place_moves_over_a_gap_now_and_then() {
    let (server, clock) = timeless();
    let receiver = Receiver::answering(200);
    define(
        &server,
        &receiver.url("/"),
        json!({ "filter": { "stream": "other" } }),
    );
    publish(&server, 1, 10);
    // The lane begins to wait some time after the publish, so the clock is moved more than once.
    until("the place", || {
        clock.advance(std::time::Duration::from_secs(11));
        (hook(&server)["checkpoint"] == 10).then_some(())
    });
    for thousand in 0..10 {
        publish(&server, 11 + 1_000 * thousand, 1_000);
    }
    until_hook(&server, "the place", |hook| hook["checkpoint"] == 10_010);
    assert!(receiver.received().is_empty());
}

/// Publishes, from event `next` on, until retention removes the oldest events; the first one kept.
pub(super) fn expire(server: &Server, mut next: u64) -> u64 {
    let retention = json!({ "retention": { "maxEvents": 10 } });
    put(server, "/v1/logs/default", &retention).good();
    let first = until("retention", || {
        publish(server, next, 1_000);
        next += 1_000;
        let first = server.get("/v1/logs/default").good()["firstId"].as_u64();
        first.filter(|first| *first > 2)
    });
    put(server, "/v1/logs/default", &json!({ "retention": null })).good();
    first
}

#[test]
fn a_webhook_that_retention_has_overtaken_stands_still_until_it_is_moved() {
    let server = Server::start();
    let receiver = Receiver::answering(200);
    define(&server, &receiver.url("/"), json!({}));
    publish(&server, 1, 1);
    until_hook(&server, "the place", |hook| hook["checkpoint"] == 1);
    act(&server, "POST", &format!("{HOOK}/pause")).good();
    let first = expire(&server, 2);
    act(&server, "POST", &format!("{HOOK}/resume")).good();
    let stuck = until_hook(&server, "the state", |hook| hook["state"] == "failing");
    let error = stuck["lastError"].as_str().unwrap();
    assert!(error.contains("retention has removed"), "{error}");
    assert_eq!(stuck["checkpoint"], 1);
    assert_eq!(receiver.received().len(), 1, "nothing is skipped silently");
    let moved = post(&server, &format!("{HOOK}/seek"), &json!({ "id": "first" })).good();
    assert!(moved["checkpoint"].as_u64().unwrap() + 1 >= first);
    receiver.wait_for(3);
    assert_eq!(ids(&receiver)[1], moved["checkpoint"].as_u64().unwrap() + 1);
}

#[test]
fn a_change_that_a_client_did_not_wait_for_is_made_all_the_same() {
    let server = Server::start();
    let receiver = Receiver::answering(200);
    for round in 0..20 {
        let name = format!("/v1/logs/default/webhooks/w{round}");
        let body = json!({ "url": receiver.url("/") }).to_string();
        let mut connection = server.connect();
        let headers = [("Content-Type", "application/json")];
        connection.request("PUT", &name, &headers, body.as_bytes());
        drop(connection);
    }
    // Whatever is there works; a definition without a lane would be silent for ever.
    let count = until("quiet", || {
        let count = |server: &Server| {
            let page = server.get("/v1/logs/default/webhooks").good();
            page["webhooks"].as_array().unwrap().len()
        };
        let before = count(&server);
        publish(&server, 1, 1);
        (before == count(&server)).then_some(before)
    });
    receiver.wait_for(count);
}
