//! pavbis over the death of the server: numbers without gaps, offsets where they were acknowledged.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use serde_json::Value;

use crate::harness::{Server, wait_until};
use crate::http::{Answer, request};
use crate::settings::setting;

const BASIC: (&str, &str) = ("Authorization", "Basic dGVzdDp0ZXN0");
const JSON: (&str, &str) = ("Content-Type", "application/json; charset=utf-8");
const CONSUMER: (&str, &str) = ("X-Consumer-ID", "2480b859-e08a-4414-9c7d-003bc1a4b555");
const NAMES: [&str; 10] = [
    "placed", "paid", "picked", "packed", "sent", "held", "returned", "refunded", "rated", "closed",
];
const PRODUCERS: u64 = 16;

/// Publishes events of these names in turn until `numbers` reaches `until` or the server is gone; the
/// ids of what was acknowledged go to `published`, by name.
fn publish_all(
    address: &str,
    names: &[&'static str],
    numbers: &AtomicU64,
    until: u64,
    published: &Mutex<BTreeMap<&'static str, BTreeSet<String>>>,
) {
    thread::scope(|scope| {
        for _ in 0..PRODUCERS {
            scope.spawn(|| {
                loop {
                    let number = numbers.fetch_add(1, Ordering::Relaxed);
                    if number >= until {
                        return;
                    }
                    let name = names[usize::try_from(number).unwrap() % names.len()];
                    let body = format!(
                        r#"{{"event":{{"name":"{name}"}},"payload":{{"number":{number}}}}}"#
                    );
                    let headers = [BASIC, JSON, ("X-Producer-ID", "shop")];
                    let path = "/api/v1/streams/orders/events";
                    let Ok(answer) = request(address, "POST", path, &headers, &body) else {
                        return;
                    };
                    assert_eq!(answer.status, 200, "{}", answer.body);
                    let id: String = serde_json::from_str(&answer.body).unwrap();
                    published
                        .lock()
                        .unwrap()
                        .entry(name)
                        .or_default()
                        .insert(id);
                }
            });
        }
    });
}

fn next(address: &str, name: &str, limit: usize) -> Vec<String> {
    let path = format!("/api/v1/streams/orders/events?eventName={name}&limit={limit}");
    let answer = request(address, "GET", &path, &[BASIC, CONSUMER], "").unwrap();
    assert_eq!(answer.status, 200, "{}", answer.body);
    let events: Vec<Value> = serde_json::from_str(&answer.body).unwrap();
    let id = |event: &Value| event["eventId"].as_str().unwrap().to_owned();
    events.iter().map(id).collect()
}

fn ack(address: &str, id: &str) -> std::io::Result<Answer> {
    let path = format!("/api/v1/streams/orders/events/{id}");
    request(address, "POST", &path, &[BASIC, CONSUMER], "")
}

#[test]
fn numbers_have_no_gaps_after_thousands_of_publishes_with_a_kill_in_the_middle() {
    let events = setting("STRANDLOG_TEST_PUBLISHES");
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().join("data");
    let published = Mutex::new(BTreeMap::new());
    let numbers = AtomicU64::new(0);
    let mut server = Server::start(&data);
    thread::scope(|scope| {
        let address = server.address.clone();
        let (numbers, published) = (&numbers, &published);
        scope.spawn(move || publish_all(&address, &NAMES, numbers, events, published));
        wait_until("half of the events are published", || {
            numbers.load(Ordering::Relaxed) >= events / 2
        });
        server.kill();
    });
    let server = Server::start(&data);
    // What was under way when the server died may be there or not, and is not sent again.
    publish_all(&server.address, &NAMES, &numbers, events, &published);
    let published = published.into_inner().unwrap();
    let acknowledged: usize = published.values().map(BTreeSet::len).sum();
    assert!(acknowledged as u64 >= events - 2 * PRODUCERS);

    // An acknowledgement is taken only if the number of its event follows the one before, so taking
    // all of them in the order they are read shows that there is no gap.
    let address = server.address.as_str();
    let numbered: usize = thread::scope(|scope| {
        let consumers = NAMES.map(|name| {
            let mut expected = published[name].clone();
            scope.spawn(move || {
                let mut count = 0;
                loop {
                    let ids = next(address, name, 1_000);
                    if ids.is_empty() {
                        break;
                    }
                    for id in ids {
                        let answer = ack(address, &id).unwrap();
                        assert_eq!((answer.status, answer.body.as_str()), (200, "\"OK\""));
                        expected.remove(&id);
                        count += 1;
                    }
                }
                assert!(expected.is_empty(), "{name}: {} are gone", expected.len());
                count
            })
        });
        consumers.into_iter().map(|one| one.join().unwrap()).sum()
    });
    let most = usize::try_from(events).unwrap();
    assert!((acknowledged..=most).contains(&numbered), "{numbered}");
}

#[test]
fn acknowledgements_survive_kill_9() {
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().join("data");
    let mut server = Server::start(&data);
    let published = Mutex::new(BTreeMap::new());
    publish_all(
        &server.address,
        &["placed"],
        &AtomicU64::new(0),
        600,
        &published,
    );
    for _ in 0..3 {
        let done: AtomicU64 = AtomicU64::new(0);
        let last = thread::scope(|scope| {
            let address = server.address.clone();
            let ids = next(&server.address, "placed", 1_000);
            let done = &done;
            let consumer = scope.spawn(move || {
                let mut last = None;
                for id in ids {
                    match ack(&address, &id) {
                        Ok(answer) => assert_eq!(answer.status, 200, "{}", answer.body),
                        // It may have been moved, and the answer lost.
                        Err(_) => return (last, Some(id)),
                    }
                    done.fetch_add(1, Ordering::Relaxed);
                    last = Some(id);
                }
                (last, None)
            });
            wait_until("some are acknowledged", || {
                done.load(Ordering::Relaxed) >= 40
            });
            server.kill();
            consumer.join().unwrap()
        });
        server = Server::start(&data);
        let (last, under_way) = last;
        let again = ack(&server.address, &last.unwrap()).unwrap();
        assert_eq!(again.status, 400, "{}", again.body);
        let left = next(&server.address, "placed", 2);
        let lost = under_way.unwrap();
        // Either the one under way is next, or it has moved and what follows is.
        if left[0] != lost {
            let again = ack(&server.address, &lost).unwrap();
            assert!(
                again.body.contains("Consumer offset mismatch"),
                "{}",
                again.body
            );
        }
        assert_eq!(ack(&server.address, &left[0]).unwrap().status, 200);
    }
}
