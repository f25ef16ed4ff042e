//! The rules of sequence numbers: the store's optimistic lock.

use std::sync::Barrier;

use serde_json::{Value, json};

use super::{EVENTS, JSON, aggregate, list, message, of_a, raw, refused, taken};
use crate::harness::Server;

#[track_caller]
fn wrong(reply: &crate::client::Reply, got: u64, id: &str, expected: u64) {
    let refusal = refused(reply, 409, "AXONIQ-2000");
    assert_eq!(
        refusal["message"],
        format!("Invalid sequence number {got} for aggregate {id}, expected {expected}")
    );
}

#[test]
fn gaps_repeats_and_lower_numbers_are_refused() {
    let server = Server::start();
    wrong(&message(&server, &of_a(1)), 1, "A", 0);
    taken(&message(&server, &of_a(0)));
    taken(&message(&server, &of_a(1)));
    for (given, expected) in [(0, 2), (1, 2), (3, 2), (i64::MAX as u64, 2)] {
        wrong(&message(&server, &of_a(given)), given, "A", expected);
    }
    taken(&message(&server, &of_a(2)));
    assert_eq!(aggregate(&server, "A").len(), 3);
}

#[test]
fn the_id_alone_is_the_key() {
    let server = Server::start();
    taken(&message(&server, &of_a(0)));
    let mut other_type = of_a(0);
    other_type["aggregateType"] = json!("Order");
    wrong(&message(&server, &other_type), 0, "A", 1);
    other_type["sequenceNumber"] = json!(1);
    taken(&message(&server, &other_type));
    let types: Vec<Value> = aggregate(&server, "A")
        .iter()
        .map(|event| event["aggregateType"].clone())
        .collect();
    assert_eq!(types, [json!("Giftcard"), json!("Order")]);
}

#[test]
fn a_number_may_be_left_out_for_the_first_event_alone() {
    let server = Server::start();
    let mut event = of_a(0);
    event.as_object_mut().unwrap().remove("sequenceNumber");
    taken(&message(&server, &event));
    wrong(&message(&server, &event), 0, "A", 1);
    let headers = [
        JSON,
        ("AxonIQ-AggregateId", "B"),
        ("AxonIQ-AggregateType", "T"),
    ];
    taken(&raw(&server, "n", &headers, "{}"));
    wrong(&raw(&server, "n", &headers, "{}"), 0, "B", 1);
}

#[test]
fn numbers_go_on_inside_a_list_and_several_aggregates_mix() {
    let server = Server::start();
    let of_b = |sequence: u64| json!({ "name": "n", "aggregateId": "B", "aggregateType": "T", "sequenceNumber": sequence });
    taken(&list(
        &server,
        &[of_a(0), of_b(0), of_a(1), of_b(1), of_a(2)],
    ));
    for (items, got, id, expected) in [
        (vec![of_a(3), of_b(2), of_a(5)], 5, "A", 4),
        (vec![of_a(3), of_b(2), of_a(3)], 3, "A", 4),
        (vec![of_a(3), of_b(3)], 3, "B", 2),
        (vec![of_a(4), of_a(3)], 4, "A", 3),
    ] {
        wrong(&list(&server, &items), got, id, expected);
    }
    // Every counter is where it was.
    taken(&list(&server, &[of_b(2), of_a(3)]));
    assert_eq!(server.events("default").len(), 7);
}

#[test]
fn events_without_a_type_are_never_checked() {
    let server = Server::start();
    for sequence in [7, 7, 0] {
        let plain = json!({ "name": "n", "aggregateId": "A", "sequenceNumber": sequence });
        taken(&message(&server, &plain));
    }
    assert_eq!(aggregate(&server, "A"), [] as [Value; 0]);
    taken(&message(&server, &of_a(0)));
}

#[test]
fn a_stream_of_the_same_name_does_no_harm() {
    let server = Server::start();
    server.publish(&json!({ "stream": "A", "type": "native", "data": 1 }));
    taken(&message(&server, &of_a(0)));
    server.publish(&json!({ "stream": "A", "type": "native", "data": 1 }));
    taken(&message(&server, &of_a(1)));
    let indices: Vec<_> = aggregate(&server, "A")
        .iter()
        .map(|event| (event["index"].clone(), event["sequenceNumber"].clone()))
        .collect();
    assert_eq!(indices, [(json!(1), json!(0)), (json!(3), json!(1))]);
}

#[test]
fn of_fifty_writers_with_one_number_exactly_one_wins_each_round() {
    const WRITERS: usize = 50;
    const ROUNDS: u64 = 4;
    let server = Server::start();
    let barrier = Barrier::new(WRITERS);
    let (server, barrier) = (&server, &barrier);
    let outcomes: Vec<Vec<u16>> = std::thread::scope(|scope| {
        let writers: Vec<_> = (0..WRITERS)
            .map(|writer| {
                scope.spawn(move || {
                    let mut connection = server.connect();
                    (0..ROUNDS)
                        .map(|round| {
                            let mut event = of_a(round);
                            event["payload"] = json!(writer);
                            barrier.wait();
                            let body = event.to_string();
                            let reply = connection.ask("POST", EVENTS, &[JSON], body.as_bytes());
                            barrier.wait();
                            reply.status
                        })
                        .collect()
                })
            })
            .collect();
        writers
            .into_iter()
            .map(|writer| writer.join().unwrap())
            .collect()
    });
    let events = aggregate(server, "A");
    assert_eq!(events.len() as u64, ROUNDS);
    for (round, event) in events.iter().enumerate() {
        let winners: Vec<usize> = (0..WRITERS)
            .filter(|writer| outcomes[*writer][round] == 200)
            .collect();
        assert_eq!(event["sequenceNumber"], round);
        assert_eq!([event["payload"].as_u64().unwrap() as usize], winners[..]);
        let losers = outcomes.iter().filter(|of| of[round] == 409).count();
        assert_eq!(losers, WRITERS - 1);
    }
}

#[test]
fn numbers_survive_a_restart() {
    let server = Server::start();
    taken(&list(&server, &[of_a(0), of_a(1)]));
    let server = server.restart();
    wrong(&message(&server, &of_a(1)), 1, "A", 2);
    taken(&message(&server, &of_a(2)));
}
