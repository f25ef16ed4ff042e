//! Changing offsets, and who has come how far.

use std::sync::Arc;

use serde_json::json;
use strandlog::clock::HandClock;

use crate::harness::Server;

use super::{
    CONSUMER, PRODUCER, ack, ack_as, assert_bad, assert_ok, assert_says, get, next_for, post,
    publish,
};

fn change(
    server: &Server,
    stream: &str,
    consumer: &str,
    name: &str,
    to: &str,
) -> crate::client::Reply {
    let path = format!("/{stream}/{consumer}/{name}/change/{to}");
    post(server, &path, &[], "")
}

#[test]
fn an_offset_is_changed_up_and_down_once_it_is_there() {
    let server = Server::start();
    let ids: Vec<String> = (0..5).map(|_| publish(&server, "s", "a", "{}")).collect();
    let too_high = r#""Internal Server Error - offset can not be greater than event count""#;
    assert_says(&change(&server, "s", CONSUMER, "a", "1"), 500, too_high);
    let to_zero = format!(r#""successfully updated offset to 0 for consumer {CONSUMER}""#);
    assert_says(&change(&server, "s", CONSUMER, "a", "0"), 200, &to_zero);
    assert_says(&get(&server, "/consumers/s", &[]), 200, "[]");
    assert_ok(&ack(&server, "s", &ids[0]));
    for to in [4_usize, 2, 5, 0, 3, 3] {
        let says = format!(r#""successfully updated offset to {to} for consumer {CONSUMER}""#);
        let reply = change(&server, "s", &CONSUMER.to_uppercase(), "a", &to.to_string());
        assert_says(&reply, 200, &says);
        assert_eq!(next_for(&server, CONSUMER, "s", "a"), ids[to..]);
    }
    for to in ["6", "9223372036854775807"] {
        assert_says(&change(&server, "s", CONSUMER, "a", to), 500, too_high);
    }
    let server = server.restart();
    assert_eq!(next_for(&server, CONSUMER, "s", "a"), ids[3..]);
    assert_ok(&ack(&server, "s", &ids[3]));
}

#[test]
fn a_change_names_a_consumer_and_a_number() {
    let server = Server::start();
    publish(&server, "s", "a", "{}");
    for consumer in ["x", "1", "%00"] {
        assert_says(
            &change(&server, "s", consumer, "a", "x"),
            400,
            r#""Bad Request - missing or invalid consumer id provided""#,
        );
    }
    for to in ["x", "-1", "1.0", "9223372036854775808", "%20"] {
        assert_says(
            &change(&server, "s", CONSUMER, "a", to),
            400,
            r#""Bad Request - offset argument is not valid""#,
        );
    }
    assert_bad(
        &change(&server, "s", CONSUMER, "%0d%0a", "1"),
        "event name in the path",
    );
    assert_bad(
        &change(&server, "%ff", CONSUMER, "a", "1"),
        "stream name in the path",
    );
    assert_says(
        &change(&server, "void", CONSUMER, "a", "2"),
        500,
        r#""Internal Server Error - offset can not be greater than event count""#,
    );
}

#[test]
fn names_that_look_like_other_routes_are_names() {
    let server = Server::start();
    let id = publish(&server, "streams", "events", "{}");
    assert_ok(&ack(&server, "streams", &id));
    let reply = change(&server, "streams", CONSUMER, "events", "0");
    assert_eq!(reply.status, 200, "{}", reply.text());
    assert_eq!(next_for(&server, CONSUMER, "streams", "events"), [id]);
}

#[test]
fn consumers_are_listed_with_what_they_have_left() {
    let clock = HandClock::at(1_572_427_286_664_704);
    let server = Server::start_at(Arc::new(clock.clone()), |_| {});
    assert_says(&get(&server, "/consumers/s", &[]), 200, "[]");
    let ids: Vec<String> = (0..3).map(|_| publish(&server, "s", "a", "{}")).collect();
    let other = publish(&server, "s", "b c", "{}");
    publish(&server, "t", "a", "{}");
    assert_ok(&ack(&server, "s", &ids[0]));
    assert_ok(&ack(&server, "s", &other));
    clock.set_date(1_572_427_290_000_000);
    for id in &ids[..2] {
        assert_ok(&ack_as(&server, PRODUCER, "s", id));
    }
    let server = server.restart();
    assert_says(
        &get(&server, "/consumers/s", &[]),
        200,
        &format!(
            r#"[{{"consumerId":"{CONSUMER}","offset":1,"movedAt":"2019-10-30T09:21:26.664704Z","eventName":"a","consumedPercentage":33.33,"behind":2}},{{"consumerId":"{CONSUMER}","offset":1,"movedAt":"2019-10-30T09:21:26.664704Z","eventName":"b c","consumedPercentage":100.00,"behind":0}},{{"consumerId":"{PRODUCER}","offset":2,"movedAt":"2019-10-30T09:21:30Z","eventName":"a","consumedPercentage":66.67,"behind":1}}]"#
        ),
    );
    assert_eq!(get(&server, "/consumers/t", &[]).good(), json!([]));
    assert_bad(&get(&server, "/consumers/%00", &[]), "stream name");
}
