//! Dead letters: given up after the last attempt, kept, sent again by hand.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use serde_json::{Value, json};
use strandlog::app::limits::DEAD_LETTERS_MAX;

use super::{
    HOOK, act, define, hook, ids, outcomes, pass_pause, post, publish, timeless, until_hook,
};
use crate::harness::Server;
use crate::receiver::{Receiver, Scripted};

fn letters(server: &Server) -> Vec<Value> {
    let page = server.get(&format!("{HOOK}/dead-letters")).good();
    page["deadLetters"].as_array().unwrap().clone()
}

fn replay(server: &Server, letter: &Value) -> Value {
    let target = format!("{HOOK}/dead-letters/{}/replay", letter["id"]);
    act(server, "POST", &target).good()
}

/// Takes no event whose number is even, unless it is told to.
fn picky() -> (Receiver, Arc<AtomicBool>) {
    let takes_all = Arc::new(AtomicBool::new(false));
    let told = Arc::clone(&takes_all);
    let receiver = Receiver::start(move |call| {
        let even = call.json()["id"].as_u64().unwrap() % 2 == 0;
        if even && !told.load(Ordering::SeqCst) {
            Scripted::answer(422, "no even ones")
        } else {
            Scripted::status(200)
        }
    });
    (receiver, takes_all)
}

#[test]
fn what_fails_to_the_last_attempt_becomes_a_dead_letter_and_the_rest_goes_on() {
    let (server, clock) = timeless();
    let (receiver, takes_all) = picky();
    let secret = define(&server, &receiver.url("/"), json!({ "attemptsMax": 2 }));
    publish(&server, 1, 5);
    for (checkpoint, dead) in [(2, 1), (5, 2)] {
        pass_pause(&server, &clock, 1);
        until_hook(&server, "a dead letter", |hook| {
            hook["checkpoint"].as_u64() >= Some(checkpoint) && hook["deadLetters"] == dead
        });
    }
    let shown = until_hook(&server, "the end", |hook| hook["checkpoint"] == 5);
    assert_eq!(
        (&shown["state"], &shown["lag"]["events"]),
        (&json!("running"), &json!(0))
    );
    assert_eq!(ids(&receiver), [1, 2, 2, 3, 4, 4, 5]);
    assert_eq!(outcomes(&server)[1..3], ["failed", "dead"]);

    // They outlive the server.
    let server = server.restart();
    let open = letters(&server);
    assert_eq!(open.len(), 2);
    assert_eq!(
        (&open[0]["eventId"], &open[1]["eventId"]),
        (&json!(4), &json!(2))
    );
    assert_eq!(
        (
            &open[0]["attempts"],
            &open[0]["status"],
            &open[0]["expired"]
        ),
        (&json!(2), &json!(422), &json!(false))
    );

    let failed = replay(&server, &open[1]);
    assert_eq!(
        failed,
        json!({ "id": open[1]["id"], "outcome": "failed", "status": 422,
                "error": "the endpoint answered with status 422", "response": "no even ones" })
    );
    assert_eq!(letters(&server), open, "it stays open");
    takes_all.store(true, Ordering::SeqCst);
    assert_eq!(replay(&server, &open[1])["outcome"], "delivered");
    assert_eq!(letters(&server), open[..1]);
    let calls = receiver.received();
    let (first, last) = (&calls[1], &calls[calls.len() - 1]);
    assert_eq!(first.body, last.body);
    assert_eq!(first.header("webhook-id"), last.header("webhook-id"));
    super::deliver::check_signature(last, &secret);
    let again = format!("{HOOK}/dead-letters/{}/replay", open[1]["id"]);
    act(&server, "POST", &again).problem(404, "no-such-dead-letter");

    let drop_it = format!("{HOOK}/dead-letters/{}", open[0]["id"]);
    assert_eq!(act(&server, "DELETE", &drop_it).status, 204);
    act(&server, "DELETE", &drop_it).problem(404, "no-such-dead-letter");
    let server = server.restart();
    assert_eq!(
        (letters(&server), &hook(&server)["deadLetters"]),
        (Vec::new(), &json!(0))
    );
    assert_eq!(hook(&server)["checkpoint"], 5);
}

#[test]
fn a_batch_that_is_given_up_is_a_letter_for_each_event() {
    let (server, _clock) = timeless();
    let refuses = AtomicUsize::new(0);
    let receiver = Receiver::start(move |_| match refuses.fetch_add(1, Ordering::SeqCst) {
        0 => Scripted::status(500),
        _ => Scripted::status(200),
    });
    publish(&server, 1, 3);
    let more = json!({ "attemptsMax": 1, "batchSize": 10, "start": "first" });
    define(&server, &receiver.url("/"), more);
    until_hook(&server, "the letters", |hook| hook["deadLetters"] == 3);
    let open = letters(&server);
    assert_eq!(replay(&server, &open[2])["outcome"], "delivered");
    let calls = receiver.received();
    assert_eq!(
        calls[1].json()["events"].as_array().unwrap().len(),
        1,
        "in the form of a batch"
    );
    assert_eq!(ids(&receiver), [1, 2, 3, 1]);
    let page = server.get(&format!("{HOOK}/dead-letters?limit=1"));
    let next = server.get(&page.link("next").unwrap());
    assert_eq!(
        [
            &page.good()["deadLetters"][0]["eventId"],
            &next.good()["deadLetters"][0]["eventId"]
        ],
        [&json!(3), &json!(2)]
    );
    assert!(next.link("next").is_none());
}

#[test]
fn an_event_that_is_given_up_twice_is_one_letter() {
    let (server, _clock) = timeless();
    let receiver = Receiver::answering(500);
    define(&server, &receiver.url("/"), json!({ "attemptsMax": 1 }));
    publish(&server, 1, 2);
    until_hook(&server, "the letters", |hook| hook["deadLetters"] == 2);
    post(&server, &format!("{HOOK}/seek"), &json!({ "id": "first" })).good();
    receiver.wait_for(4);
    until_hook(&server, "the place", |hook| hook["checkpoint"] == 2);
    let open = letters(&server);
    assert_eq!(open.len(), 2);
    // One that was dealt with may die again.
    act(
        &server,
        "DELETE",
        &format!("{HOOK}/dead-letters/{}", open[1]["id"]),
    );
    post(&server, &format!("{HOOK}/seek"), &json!({ "id": "first" })).good();
    until_hook(&server, "the letters", |hook| hook["deadLetters"] == 2);
    assert_eq!(letters(&server)[0]["eventId"], 1);
}

#[test]
fn with_too_many_dead_letters_a_webhook_goes_on_trying_and_loses_none() {
    let (server, clock) = timeless();
    let receiver = Receiver::answering(500);
    let total = DEAD_LETTERS_MAX + 5;
    let chunk = 1_000;
    for first in (1..=total).step_by(chunk) {
        let count = chunk.min(total + 1 - first);
        publish(&server, first as u64, count as u64);
    }
    let more = json!({ "attemptsMax": 1, "batchSize": 1_000, "start": "first" });
    define(&server, &receiver.url("/"), more);
    let full = until_hook(&server, "too many letters", |hook| {
        hook["state"] == "failing"
    });
    assert_eq!(full["deadLetters"], DEAD_LETTERS_MAX);
    assert_eq!(
        (&full["checkpoint"], &full["lag"]["events"]),
        (&json!(DEAD_LETTERS_MAX), &json!(5))
    );
    let error = full["lastError"].as_str().unwrap();
    assert!(error.contains("too many dead letters"), "{error}");
    let calls = receiver.received().len();
    pass_pause(&server, &clock, 1);
    receiver.wait_for(calls + 1);
    until_hook(&server, "another failure", |hook| hook["attempts"] == 2);
    assert_eq!(hook(&server)["deadLetters"], DEAD_LETTERS_MAX);
    // Room for these five.
    for letter in &letters(&server)[..5] {
        act(
            &server,
            "DELETE",
            &format!("{HOOK}/dead-letters/{}", letter["id"]),
        );
    }
    pass_pause(&server, &clock, 2);
    let shown = until_hook(&server, "the end", |hook| hook["checkpoint"] == total);
    assert_eq!(
        (&shown["state"], &shown["deadLetters"]),
        (&json!("running"), &json!(DEAD_LETTERS_MAX))
    );
}

#[test]
fn a_thousand_events_of_a_webhook_with_the_longest_name_can_be_given_up_at_once() {
    let (server, _clock) = timeless();
    let receiver = Receiver::answering(500);
    publish(&server, 1, 1_000);
    let target = format!("/v1/logs/default/webhooks/{}", "n".repeat(255));
    let definition =
        json!({ "url": receiver.url("/"), "attemptsMax": 1, "batchSize": 1_000, "start": "first" });
    super::put(&server, &target, &definition).good();
    crate::harness::until("the letters", || {
        (server.get(&target).good()["deadLetters"] == 1_000).then_some(())
    });
    assert_eq!(receiver.received().len(), 1);
}

#[test]
fn a_letter_whose_event_retention_has_removed_says_so() {
    let (server, _clock) = timeless();
    let receiver = Receiver::answering(500);
    define(&server, &receiver.url("/"), json!({ "attemptsMax": 1 }));
    publish(&server, 1, 1);
    until_hook(&server, "a dead letter", |hook| hook["deadLetters"] == 1);
    act(&server, "POST", &format!("{HOOK}/pause")).good();
    super::lifecycle::expire(&server, 2);
    let open = letters(&server);
    assert_eq!(
        (&open[0]["eventId"], &open[0]["expired"]),
        (&json!(1), &json!(true))
    );
    let letter = format!("{HOOK}/dead-letters/{}", open[0]["id"]);
    act(&server, "POST", &format!("{letter}/replay")).problem(410, "expired");
    assert_eq!(act(&server, "DELETE", &letter).status, 204);
    assert!(letters(&server).is_empty());
}
