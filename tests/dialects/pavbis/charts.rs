//! Health, metrics, charts and searches.

use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use strandlog::clock::HandClock;

use crate::harness::Server;

use super::{
    CONSUMER, PRODUCER, ack, ack_as, assert_bad, assert_ok, assert_says, get, post, publish,
};

/// 30 May 2020, 12:00.
const NOON_US: u64 = 1_590_840_000_000_000;

#[test]
fn health_is_told_to_anybody() {
    let server = Server::start();
    let headers = [("Accept", "text/html"), ("Content-Type", "text/plain")];
    let health = server.ask("GET", "/api/v1/health", &headers, "");
    assert_says(&health, 200, r#"{"status":"OK"}"#);
}

#[test]
fn metrics_are_told_in_the_text_of_prometheus_whatever_the_method() {
    let server = Server::start();
    let nothing = server.get("/api/v1/metrics");
    assert!(nothing.text().ends_with("streams_total 0\n"));
    let ids: Vec<String> = (0..2)
        .map(|_| publish(&server, "s\\1", "a", "{}"))
        .collect();
    let other = publish(&server, "s\\1", "b", "{}");
    server.publish(&json!({"stream": "free", "type": "a", "data": 1}));
    for id in &ids {
        assert_ok(&ack(&server, "s\\1", id));
    }
    assert_ok(&ack(&server, "s\\1", &other));
    assert_ok(&ack_as(&server, PRODUCER, "s\\1", &ids[0]));
    let expected = format!(
        r#"# HELP consumer_offset Current offset of each consumer by stream and event name
# TYPE consumer_offset gauge
consumer_offset{{consumerId="{CONSUMER}",eventName="a",stream="s\\1"}} 2
consumer_offset{{consumerId="{CONSUMER}",eventName="b",stream="s\\1"}} 1
consumer_offset{{consumerId="{PRODUCER}",eventName="a",stream="s\\1"}} 1
# HELP consumers_total Consumers that have an offset, by stream
# TYPE consumers_total counter
consumers_total{{stream="s\\1"}} 2
# HELP events_total Events published, by stream and its owner
# TYPE events_total counter
events_total{{producerId="",stream="free"}} 1
events_total{{producerId="{PRODUCER}",stream="s\\1"}} 3
# HELP streams_total Streams, of which 10000 are counted at most
# TYPE streams_total counter
streams_total 2
"#
    );
    for method in ["GET", "POST", "DELETE"] {
        let metrics = server.ask(method, "/api/v1/metrics", &[], "");
        assert_eq!((metrics.status, metrics.text()), (200, expected.as_str()));
        assert_eq!(
            metrics.header("content-type"),
            Some("text/plain; version=0.0.4; charset=utf-8")
        );
    }
    let foreign = [("Origin", "http://example.com")];
    let foreign = server.ask("GET", "/api/v1/metrics", &foreign, "");
    assert_eq!(foreign.status, 403);
    assert!(foreign.text().starts_with(r#""Forbidden - "#));
}

#[test]
fn the_largest_streams_come_first() {
    let server = Server::start();
    assert_says(&get(&server, "/stats/events-per-stream", &[]), 200, "[]");
    for number in 1..=12 {
        for _ in 0..number {
            publish(&server, &format!("s{number:02}"), "a", "{}");
        }
    }
    let chart = get(&server, "/stats/events-per-stream", &[]);
    assert!(
        chart
            .text()
            .starts_with(r#"[{"label":"s12","value":12},{"label":"s11","value":11},"#)
    );
    let chart = chart.good();
    assert_eq!(chart.as_array().unwrap().len(), 10);
    assert_eq!(chart[9], json!({"label": "s03", "value": 3}));
}

#[test]
fn streams_are_shown_with_what_was_consumed_of_them() {
    let server = Server::start();
    assert_says(&get(&server, "/stats/stream-data", &[]), 200, "[]");
    for number in 1..=5 {
        for _ in 0..number {
            publish(&server, &format!("s{number}"), "a", "{}");
        }
    }
    for consumer in [CONSUMER, PRODUCER] {
        let ids = super::next_for(&server, consumer, "s2", "a");
        for id in ids {
            assert_ok(&ack_as(&server, consumer, "s2", &id));
        }
    }
    assert_says(
        &get(&server, "/stats/stream-data", &[]),
        200,
        r#"[{"streamName":"s5","eventsCount":5,"consumedEvents":0,"ranking":"✭✭✭✭✭"},{"streamName":"s4","eventsCount":4,"consumedEvents":0,"ranking":"✭✭✭✭"},{"streamName":"s3","eventsCount":3,"consumedEvents":0,"ranking":"✭✭✭"},{"streamName":"s2","eventsCount":2,"consumedEvents":4,"ranking":"✭✭"},{"streamName":"s1","eventsCount":1,"consumedEvents":0,"ranking":"✭"}]"#,
    );
}

#[test]
fn the_days_of_the_month_are_counted() {
    let clock = HandClock::at(NOON_US - 86_400_000_000);
    let server = Server::start_at(Arc::new(clock.clone()), |_| {});
    for _ in 0..2 {
        publish(&server, "s", "a", "{}");
    }
    clock.advance(Duration::from_secs(86_400));
    for _ in 0..5 {
        publish(&server, "s", "a", "{}");
    }
    let chart = get(&server, "/stats/events-current-month", &[]);
    assert!(chart.text().ends_with(
        r#"{"date":"2020-05-28","eventcount":0,"progress":""},{"date":"2020-05-29","eventcount":2,"progress":"+  2"},{"date":"2020-05-30","eventcount":5,"progress":"+  3"},{"date":"2020-05-31","eventcount":0,"progress":"-  5"}]"#
    ), "{}", chart.text());
    let chart = chart.good();
    assert_eq!(chart.as_array().unwrap().len(), 31);
    assert_eq!(
        chart[0],
        json!({"date": "2020-05-01", "eventcount": 0, "progress": ""})
    );
}

#[test]
fn names_are_searched_by_a_part_of_them() {
    let server = Server::start();
    publish(&server, "nicowa", "Snickers", "{}");
    publish(&server, "nicowa", "Blaam", "{}");
    publish(&server, "a%2Fb", "Sni 2", "{}");
    for query in ["", "?_q=", "?q=nic"] {
        assert_says(
            &post(&server, &format!("/search{query}"), &[], ""),
            400,
            r#""Bad Request - Key: 'SearchTermRequest.Term' Error:Field validation for 'Term' failed on the 'required' tag""#,
        );
    }
    assert_says(
        &post(&server, "/search?_q=NIC", &[], ""),
        200,
        r#"[{"search_result":{"label":"nicowa/Snickers","category":"events","url":"/admin/streams/nicowa/events?eventName=Snickers"}},{"search_result":{"label":"nicowa","category":"streams","url":"/admin/streams/nicowa/events"}}]"#,
    );
    assert_says(
        &post(&server, "/search?_q=i+2", &[], ""),
        200,
        r#"[{"search_result":{"label":"a/b/Sni 2","category":"events","url":"/admin/streams/a%2Fb/events?eventName=Sni%202"}}]"#,
    );
}

#[test]
fn events_of_a_period_are_shown_with_their_consumers_the_newest_first() {
    let clock = HandClock::at(NOON_US - 40 * 86_400_000_000);
    let server = Server::start_at(Arc::new(clock.clone()), |_| {});
    let old = publish(&server, "s", "a", "{}");
    clock.advance(Duration::from_secs(40 * 86_400));
    let new = publish(&server, "s", "a", "{}");
    server.publish(&json!({"stream": "t", "type": "a", "data": 1}));
    let other = publish(&server, "s", "b", "{}");
    for id in [&old, &new] {
        assert_ok(&ack(&server, "s", id));
    }
    assert_ok(&ack_as(&server, PRODUCER, "s", &old));
    let says = format!(
        r#"[{{"eventId":"{other}","eventName":"b","createdAt":"2020-05-30T12:00:00Z","consumerids":[]}},{{"eventId":"{new}","eventName":"a","createdAt":"2020-05-30T12:00:00Z","consumerids":["{CONSUMER}"]}}]"#
    );
    for period in ["6hour", "24hour", "2day", "7day", "14day", "1month"] {
        let path = format!("/event-period-search/s?period={period}");
        assert_says(&post(&server, &path, &[], ""), 200, &says);
    }
    for query in ["", "?period=", "?period=1hour", "?period=1%20month"] {
        assert_says(
            &post(&server, &format!("/event-period-search/s{query}"), &[], ""),
            400,
            r#""Bad Request - period is not supported or invalid""#,
        );
    }
    let empty = post(&server, "/event-period-search/void?period=6hour", &[], "");
    assert_says(&empty, 200, "[]");
    clock.advance(Duration::from_secs(7 * 3_600));
    let path = "/event-period-search/s?period=6hour";
    assert_says(&post(&server, path, &[], ""), 200, "[]");
    assert_bad(
        &post(&server, "/event-period-search/%00?period=6hour", &[], ""),
        "stream name",
    );
}
