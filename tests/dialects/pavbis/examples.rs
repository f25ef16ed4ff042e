//! The worked examples, byte for byte, and what they say of order and ownership.

use std::thread;

use crate::harness::Server;

use super::{
    BASIC, CONSUMER, JSON, PRODUCER, ack, ack_as, assert_ok, assert_says, get, id_in, next_for,
    post, publish, publish_by, read_as,
};

const ORDER: &str = r#"{"event":{"name":"OrderPlaced","version":1},
 "system":{"id":"a1","name":"shop","time":"2017-09-06 13:58:12","timezone":"Europe/Berlin"},
 "trigger":{"type":"system","name":"/s.php"},"payload":{"n":1}}"#;
const OTHER_PRODUCER: &str = "f1f5cae6-30b7-43e7-a5e8-746a98bc265e";

#[test]
fn the_worked_examples_are_answered_byte_for_byte() {
    let server = Server::start();
    // 1
    let published = publish_by(&server, PRODUCER, "orders", ORDER);
    let id = id_in(&published);
    assert_says(&published, 200, &format!("\"{id}\""));
    // 2
    assert_says(
        &publish_by(&server, OTHER_PRODUCER, "orders", ORDER),
        423,
        r#""Locked - Second writers not allowed""#,
    );
    // 3
    assert_says(
        &post(&server, "/streams/orders/events", &[], ORDER),
        400,
        r#""Bad Request - Key: 'ReceiveEventRequest.XProducerID' Error:Field validation for 'XProducerID' failed on the 'required' tag""#,
    );
    // 4
    let wrong = [
        ("Authorization", "Basic dGVzdDp3cm9uZw=="),
        ("Content-Type", JSON),
        ("X-Producer-ID", PRODUCER),
    ];
    assert_says(
        &server.ask("POST", "/api/v1/streams/orders/events", &wrong, ORDER),
        401,
        r#""Unauthorized""#,
    );
    // 5
    let event = format!(
        r#"[{{"eventId":"{id}","event":{{"name":"OrderPlaced","version":1}},"system":{{"id":"a1","name":"shop","time":"2017-09-06 13:58:12","timezone":"Europe/Berlin"}},"trigger":{{"type":"system","name":"/s.php"}},"payload":{{"n":1}}}}]"#
    );
    assert_says(
        &read_as(&server, CONSUMER, "orders", "OrderPlaced", 10),
        200,
        &event,
    );
    // Reading moves nothing.
    assert_says(
        &read_as(&server, CONSUMER, "orders", "OrderPlaced", 10),
        200,
        &event,
    );
    // 6
    let consumer = [("X-Consumer-ID", CONSUMER)];
    assert_says(
        &get(
            &server,
            "/streams/orders/events?eventName=OrderPlaced",
            &consumer,
        ),
        400,
        r#""Bad Request - limit argument is not valid""#,
    );
    // 7
    assert_says(
        &read_as(&server, CONSUMER, "void", "OrderPlaced", 10),
        404,
        r#""Not Found - stream void""#,
    );
    // 8
    assert_ok(&ack(&server, "orders", &id));
    // 9
    assert_says(
        &ack(&server, "orders", &id),
        400,
        r#""Bad Request - Consumer offset mismatch: 2->1""#,
    );
    // 10
    assert_says(
        &ack(&server, "orders", "ef452ece-667b-4af3-a09b-8c1a692d818d"),
        404,
        r#""Not Found""#,
    );
    assert_says(
        &read_as(&server, CONSUMER, "orders", "OrderPlaced", 10),
        200,
        "[]",
    );
}

#[test]
fn acknowledging_goes_one_by_one_in_order_and_each_name_for_itself() {
    let server = Server::start();
    let first = publish(&server, "s", "a", "{}");
    let second = publish(&server, "s", "a", "{}");
    let other = publish(&server, "s", "b", "{}");
    assert_says(
        &ack(&server, "s", &second),
        400,
        r#""Bad Request - Consumer offset mismatch: 1->2""#,
    );
    // Events need not have been read.
    assert_ok(&ack(&server, "s", &other));
    assert_ok(&ack(&server, "s", &first));
    assert_eq!(next_for(&server, CONSUMER, "s", "a"), [second.as_str()]);
    let server = server.restart();
    assert_eq!(next_for(&server, CONSUMER, "s", "a"), [second.as_str()]);
    assert!(next_for(&server, CONSUMER, "s", "b").is_empty());
    assert_ok(&ack(&server, "s", &second));
    // Another consumer begins at the first.
    assert_eq!(next_for(&server, PRODUCER, "s", "a"), [first, second]);
}

#[test]
fn an_acknowledgement_may_be_empty_a_form_or_json() {
    let server = Server::start();
    let form = "application/x-www-form-urlencoded";
    for (content_type, body) in [
        (None, ""),
        (Some("application/json"), ""),
        (Some(JSON), "{}"),
        (Some("Application/JSON"), "not even json"),
        (Some(form), ""),
        (Some(form), "action=ACK"),
        (
            Some("application/x-www-form-urlencoded; charset=UTF-8"),
            "x=1&action=ACK",
        ),
    ] {
        let id = publish(&server, "s", "a", "{}");
        let mut headers = vec![BASIC, ("X-Consumer-ID", CONSUMER)];
        headers.extend(content_type.map(|content_type| ("Content-Type", content_type)));
        let path = format!("/api/v1/streams/s/events/{id}");
        assert_ok(&server.ask("POST", &path, &headers, body));
    }
}

#[test]
fn the_same_body_twice_is_two_events() {
    let server = Server::start();
    let ids = [(); 2].map(|()| id_in(&publish_by(&server, PRODUCER, "orders", ORDER)));
    assert_eq!(next_for(&server, CONSUMER, "orders", "OrderPlaced"), ids);
}

#[test]
fn an_event_must_be_of_the_stream_in_the_path() {
    let server = Server::start();
    let id = publish(&server, "one", "a", "{}");
    publish(&server, "two", "a", "{}");
    for stream in ["two", "void"] {
        assert_says(&ack(&server, stream, &id), 404, r#""Not Found""#);
    }
    assert_ok(&ack(&server, "one", &id));
}

#[test]
fn a_known_stream_without_events_of_the_name_is_empty() {
    let server = Server::start();
    publish(&server, "s", "a", "{}");
    assert_says(&read_as(&server, CONSUMER, "s", "b", 10), 200, "[]");
}

#[test]
fn what_was_sent_comes_back_in_the_order_of_members_with_zero_values_and_the_payloads_bytes() {
    let server = Server::start();
    let payload =
        "{ \"z\" : 1.0, \"a\":12345678901234567890,\n\t\"e\":1e-7,\"s\":\"\\u00e9/\\/\",\"o\":{} }";
    let body = format!(
        r#"{{"payload":{payload},"eventId":"mine","EVENT":{{"Version":-7,"name":"<a> \"é\""}},"system":{{"time":"x"}},"unknown":[1]}} trailing"#
    );
    let id = id_in(&publish_by(&server, PRODUCER, "s", body));
    let shown = format!(
        r#"{{"eventId":"{id}","event":{{"name":"<a> \"é\"","version":-7}},"system":{{"id":"","name":"","time":"x","timezone":""}},"trigger":{{"type":"","name":""}},"payload":{payload}}}"#
    );
    let name = "%3Ca%3E+%22%C3%A9%22";
    assert_says(
        &read_as(&server, CONSUMER, "s", name, 10),
        200,
        &format!("[{shown}]"),
    );
    // The whole object, whatever the route is called.
    let path = format!("/events/{}/payload", id.to_uppercase());
    assert_says(&get(&server, &path, &[]), 200, &shown);

    let bare = id_in(&publish_by(
        &server,
        PRODUCER,
        "t",
        r#"{"event":{"name":"n"}}"#,
    ));
    assert_says(
        &read_as(&server, CONSUMER, "t", "n", 10),
        200,
        &format!(
            r#"[{{"eventId":"{bare}","event":{{"name":"n","version":0}},"system":{{"id":"","name":"","time":"","timezone":""}},"trigger":{{"type":"","name":""}},"payload":null}}]"#
        ),
    );
}

#[test]
fn names_are_any_text_and_each_pair_counts_for_itself() {
    let server = Server::start();
    let long = "x".repeat(255);
    let pairs = [
        ("ab", "c"),
        ("a", "bc"),
        ("with%20space", "with-hyphen"),
        ("a%2Fb", "%C3%A9"),
        ("..", "."),
        ("%252e", "'; drop table events; --"),
        (&long, &long),
    ];
    for (stream, name) in pairs {
        let name_in_body = name.replace("%C3%A9", "é");
        let ids = [(); 2].map(|()| publish(&server, stream, &name_in_body, "{}"));
        let name = name.replace(' ', "%20").replace(';', "%3B");
        assert_eq!(next_for(&server, CONSUMER, stream, &name), ids, "{stream}");
        for id in ids {
            assert_ok(&ack(&server, stream, &id));
        }
    }
}

#[test]
fn producer_ids_are_compared_as_they_are() {
    let server = Server::start();
    let body = r#"{"event":{"name":"a"}}"#;
    let long = "p".repeat(255);
    for (stream, producer) in [("s1", "p"), ("s2", "Müller & Söhne"), ("s3", &long)] {
        for _ in 0..2 {
            id_in(&publish_by(&server, producer, stream, body));
        }
    }
    for (stream, producer) in [("s1", "P"), ("s1", "p2"), ("s3", "p")] {
        assert_eq!(publish_by(&server, producer, stream, body).status, 423);
    }
    // One producer may own many streams.
    id_in(&publish_by(&server, "p", "s4", body));
}

#[test]
fn of_two_producers_who_race_for_a_stream_one_gets_in() {
    let server = Server::start();
    for round in 0..20 {
        let stream = format!("s{round}");
        let racers = thread::scope(|scope| {
            let racers = [PRODUCER, OTHER_PRODUCER].map(|producer| {
                let (server, stream) = (&server, &stream);
                scope.spawn(move || publish_by(server, producer, stream, ORDER))
            });
            racers.map(|racer| racer.join().unwrap())
        });
        let mut statuses = racers.each_ref().map(|reply| reply.status);
        statuses.sort_unstable();
        assert_eq!(statuses, [200, 423]);
        let winner = racers.iter().find(|reply| reply.status == 200).unwrap();
        let ids = next_for(&server, CONSUMER, &stream, "OrderPlaced");
        assert_eq!(ids, [id_in(winner)]);
    }
}

#[test]
fn of_two_who_acknowledge_the_same_event_one_moves_on() {
    let server = Server::start();
    for round in 1..=20 {
        let id = publish(&server, "s", "a", "{}");
        let replies = thread::scope(|scope| {
            let racers = [(); 2].map(|()| scope.spawn(|| ack(&server, "s", &id)));
            racers.map(|racer| racer.join().unwrap())
        });
        let won = replies.iter().filter(|reply| reply.status == 200).count();
        assert_eq!(won, 1);
        let lost = replies.iter().find(|reply| reply.status != 200).unwrap();
        let says = format!(
            "\"Bad Request - Consumer offset mismatch: {}->{round}\"",
            round + 1
        );
        assert_says(lost, 400, &says);
    }
}

#[test]
fn a_read_is_limited_in_events_and_in_bytes_and_goes_on_behind_what_was_acknowledged() {
    let server = Server::start();
    let body = format!(
        r#"{{"event":{{"name":"a"}},"payload":{{"x":"{}"}}}}"#,
        "x".repeat(200 << 10)
    );
    let large: Vec<String> = (0..45)
        .map(|_| id_in(&publish_by(&server, PRODUCER, "large", &body)))
        .collect();
    let first = next_for(&server, CONSUMER, "large", "a");
    assert!((30..45).contains(&first.len()), "{}", first.len());
    assert!(large.starts_with(&first));
    for id in &first {
        assert_ok(&ack(&server, "large", id));
    }
    let second = next_for(&server, CONSUMER, "large", "a");
    assert_eq!([first, second].concat(), large);

    let ids: Vec<String> = (0..3).map(|_| publish(&server, "s", "a", "{}")).collect();
    let two = read_as(&server, CONSUMER, "s", "a", 2);
    assert_eq!(two.good().as_array().unwrap().len(), 2);
    assert_eq!(two.header("strandlog-limit-applied"), None);
    for id in &ids[..2] {
        assert_ok(&ack_as(&server, CONSUMER, "s", id));
    }
    assert_eq!(next_for(&server, CONSUMER, "s", "a"), ids[2..]);
    let many = read_as(&server, CONSUMER, "s", "a", 1_001);
    assert_eq!(many.header("strandlog-limit-applied"), Some("1000"));
    let server = server.restart_with(|settings| {
        let pavbis = settings.dialects.pavbis.as_mut().unwrap();
        pavbis.limit_max = 2;
    });
    let cut = read_as(&server, PRODUCER, "s", "a", 3);
    assert_eq!(cut.good().as_array().unwrap().len(), 2);
    assert_eq!(cut.header("strandlog-limit-applied"), Some("2"));
}
