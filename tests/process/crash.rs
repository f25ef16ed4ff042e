//! `kill -9` takes nothing back that was acknowledged.

use std::collections::BTreeMap;
use std::io::Write;
use std::process::Stdio;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;

use crate::events::{assert_holds_exactly, exported, file_of, write};
use crate::harness::{Server, run_ok, strandlog, wait_for_end, wait_until};
use crate::http;

#[test]
fn an_import_survives_the_death_of_the_server_and_stores_each_event_once() {
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().join("data");
    let text = file_of(2_000);
    let mut server = Server::start(&data);
    let address = server.address.clone();

    let mut importer = strandlog(["import", "-", "--url", &server.url(), "--batch", "20"])
        .args(["--source", "events.ndjson"])
        .stdin(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut stdin = importer.stdin.take().unwrap();
    let front: String = text.split_inclusive('\n').take(1_000).collect();
    let back: String = text.split_inclusive('\n').skip(1_000).collect();
    stdin.write_all(front.as_bytes()).unwrap();
    let mut seen = 0;
    wait_until("events arrive", || {
        seen = server.last_id();
        seen >= 300
    });
    server.kill();

    let feeder = thread::spawn(move || stdin.write_all(back.as_bytes()).is_ok());
    let server = Server::start_on(&data, &address);
    assert!(server.last_id() >= seen, "what was readable is gone");
    let status = wait_for_end(&mut importer);
    assert!(status.success(), "{status}");
    assert!(feeder.join().unwrap());
    assert_holds_exactly(&server, &text);

    let file = write(directory.path(), "events.ndjson", &text);
    let summary = run_ok(["import", &file, "--url", &server.url(), "--json"]);
    let summary: serde_json::Value = serde_json::from_str(&summary).unwrap();
    assert_eq!(summary["stored"], 0);
}

/// Publishes numbered events from several threads until the server is gone; what was acknowledged,
/// as number by id.
pub(crate) fn publish_until_refused(
    address: &str,
    threads: u64,
    acknowledged: &Arc<AtomicU64>,
) -> thread::JoinHandle<BTreeMap<u64, u64>> {
    let receipts = Arc::new(Mutex::new(BTreeMap::new()));
    let numbers = Arc::new(AtomicU64::new(0));
    let workers: Vec<_> = (0..threads)
        .map(|_| {
            let address = address.to_owned();
            let receipts = Arc::clone(&receipts);
            let numbers = Arc::clone(&numbers);
            let acknowledged = Arc::clone(acknowledged);
            thread::spawn(move || {
                loop {
                    let number = numbers.fetch_add(1, Ordering::Relaxed);
                    let event = format!(r#"{{"stream":"s","type":"T","data":{number}}}"#);
                    let Ok(id) = http::publish(&address, &event) else {
                        return;
                    };
                    receipts.lock().unwrap().insert(id, number);
                    acknowledged.fetch_add(1, Ordering::Relaxed);
                }
            })
        })
        .collect();
    thread::spawn(move || {
        for worker in workers {
            worker.join().unwrap();
        }
        Arc::into_inner(receipts).unwrap().into_inner().unwrap()
    })
}

/// Every acknowledged event has its id and its data; ids are dense; no event is there twice.
#[track_caller]
pub(crate) fn assert_all_there(server: &Server, acknowledged: &BTreeMap<u64, u64>) {
    let events = exported(server);
    let mut numbers = Vec::new();
    for (id, event) in (1..).zip(&events) {
        assert_eq!(event.id, Some(id));
        assert_eq!(event.sequence, Some(id - 1));
        let number: u64 = event.data.get().parse().unwrap();
        if let Some(acknowledged) = acknowledged.get(&id) {
            assert_eq!(number, *acknowledged, "event {id}");
        }
        numbers.push(number);
    }
    let last_acknowledged = acknowledged.keys().last().copied().unwrap();
    assert!(events.len() as u64 >= last_acknowledged);
    let count = numbers.len();
    numbers.sort_unstable();
    numbers.dedup();
    assert_eq!(numbers.len(), count);
}

#[test]
fn every_acknowledged_event_survives_kill_9_again_and_again() {
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().join("data");
    let mut before = 0;
    for round in 0..3 {
        let data = data.join(round.to_string());
        let mut server = Server::start(&data);
        let count = Arc::new(AtomicU64::new(0));
        let load = publish_until_refused(&server.address, 8, &count);
        wait_until("events are acknowledged", || {
            count.load(Ordering::Relaxed) >= 200
        });
        server.kill();
        let acknowledged = load.join().unwrap();
        let server = Server::start(&data);
        assert_all_there(&server, &acknowledged);
        before += acknowledged.len();
    }
    assert!(before >= 600);
}

#[test]
fn a_batch_that_the_server_died_over_is_there_as_a_whole_or_not_at_all() {
    const BATCH: usize = 100;
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().join("data");
    let mut server = Server::start(&data);
    let address = server.address.clone();
    let load = thread::spawn(move || {
        for batch in 0.. {
            let mut body = String::new();
            for _ in 0..BATCH {
                body.push_str(&format!(
                    "{{\"stream\":\"s\",\"type\":\"T\",\"data\":{batch}}}\n"
                ));
            }
            let answer = http::request(
                &address,
                "POST",
                "/v1/logs/default/events",
                &[("Content-Type", "application/x-ndjson")],
                &body,
            );
            if answer.is_err() {
                return;
            }
        }
    });
    wait_until("batches arrive", || server.last_id() >= 2_000);
    server.kill();
    load.join().unwrap();
    let server = Server::start(&data);
    let events = exported(&server);
    assert_eq!(events.len() % BATCH, 0);
    for (index, batch) in events.chunks(BATCH).enumerate() {
        for event in batch {
            assert_eq!(event.data.get(), index.to_string());
        }
    }
}
