//! What retention has removed is told, never passed over.

use strandlog::app::logs::LogSettings;
use strandlog::store::Retention;

use crate::harness::{Server, until};

use super::{CONSUMER, PRODUCER, ack, assert_ok, assert_says, next_for, post, publish, read_as};

/// Publishes to a stream of its own until everything there is now has been removed.
fn remove_all(server: &Server) {
    let before = server.app.log("default").unwrap().last_id();
    let payload = format!(r#"{{"x":"{}"}}"#, "x".repeat(60 << 10));
    for _ in 0..16 {
        publish(server, "filler", "fill", &payload);
    }
    retain(server, Some(1));
    until("retention", || {
        let first = server.app.log("default").unwrap().describe().state.first;
        (first.get() > before).then_some(())
    });
    retain(server, None);
}

fn retain(server: &Server, records_max: Option<u64>) {
    let retention = Some(Retention {
        records_max,
        ..Retention::default()
    });
    let settings = LogSettings { retention };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime
        .block_on(server.app.put_log("default", Some(settings)))
        .unwrap();
}

fn change(server: &Server, consumer: &str, to: u64) -> u16 {
    let path = format!("/s/{consumer}/a/change/{to}");
    post(server, &path, &[], "").status
}

#[test]
fn a_consumer_whose_next_events_are_gone_is_told_and_goes_on_from_where_it_is_sent() {
    let server = Server::start();
    let ids: Vec<String> = (0..3).map(|_| publish(&server, "s", "a", "{}")).collect();
    assert_ok(&ack(&server, "s", &ids[0]));
    // Some of the events stay, so that the numbers go on.
    let payload = format!(r#"{{"x":"{}"}}"#, "x".repeat(60 << 10));
    let late: Vec<String> = (0..16)
        .map(|_| publish(&server, "s", "a", &payload))
        .collect();
    // Four of them fill a segment, and the last four stay.
    retain(&server, Some(3));
    until("retention", || {
        let log = server.app.log("default").unwrap();
        (log.describe().state.first.get() == 16).then_some(())
    });
    let gone = 15;
    for consumer in [CONSUMER, PRODUCER] {
        let offset = u64::from(consumer == CONSUMER);
        assert_says(
            &read_as(&server, consumer, "s", "a", 10),
            500,
            &format!(
                r#""Internal Server Error - retention has removed the events after offset {offset}; the first a of stream s that is kept has number {}; change the offset to {gone} to go on""#,
                gone + 1
            ),
        );
        let kept = &late[usize::try_from(gone - 3).unwrap()..];
        let number = gone + 1;
        let refused = super::ack_as(&server, consumer, "s", &kept[0]);
        let next = offset + 1;
        assert_says(
            &refused,
            400,
            &format!(r#""Bad Request - Consumer offset mismatch: {next}->{number}""#),
        );
        if consumer == PRODUCER {
            // Without an offset only the one named is taken.
            assert_eq!(change(&server, consumer, gone - 1), 500);
            assert_eq!(change(&server, consumer, gone + 1), 500);
        }
        assert_eq!(change(&server, consumer, gone), 200);
        assert_eq!(next_for(&server, consumer, "s", "a"), kept);
        assert_ok(&super::ack_as(&server, consumer, "s", &kept[0]));
    }
    assert_says(&ack(&server, "s", &ids[1]), 404, r#""Not Found""#);
}

#[test]
fn numbers_that_begin_anew_are_not_taken_for_the_old_ones() {
    let server = Server::start();
    let old: Vec<String> = (0..3).map(|_| publish(&server, "s", "a", "{}")).collect();
    for id in &old {
        assert_ok(&ack(&server, "s", id));
    }
    remove_all(&server);
    let mut new = Vec::new();
    let anew = format!(
        r#""Internal Server Error - retention has removed all events that offset 3 of consumer {CONSUMER} counts, and the numbers of a in stream s have begun anew; change the offset to 0 to go on""#
    );
    // Fewer, as many, and more than there were.
    for _ in 0..5 {
        new.push(publish(&server, "s", "a", "{}"));
        assert_says(&read_as(&server, CONSUMER, "s", "a", 10), 500, &anew);
    }
    assert_says(&ack(&server, "s", &new[3]), 500, &anew);
    assert_eq!(next_for(&server, PRODUCER, "s", "a"), new);
    assert_eq!(change(&server, CONSUMER, 0), 200);
    assert_eq!(next_for(&server, CONSUMER, "s", "a"), new);
    for id in &new {
        assert_ok(&ack(&server, "s", id));
    }
}
