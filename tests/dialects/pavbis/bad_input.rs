//! What is refused: the order of checks, headers, credentials, ids, parameters, bodies, methods.

use crate::client::Connection;
use crate::harness::Server;

use super::{
    BASIC, CONSUMER, JSON, PRODUCER, assert_bad, assert_ok, assert_says, get, headers, id_in, post,
    publish, publish_by,
};

const BODY: &str = r#"{"event":{"name":"a"}}"#;
const EVENTS: &str = "/api/v1/streams/s/events";

#[test]
fn headers_are_judged_before_credentials_and_those_before_the_rest() {
    let server = Server::start();
    let says_type =
        r#""Bad Request - Content-Type header must be application/json; charset=utf-8""#;
    let says_accept = r#""Bad Request - accept header must be application/json; charset=utf-8""#;
    for content_type in [
        "text/plain",
        "application/x-www-form-urlencoded",
        "json",
        "",
    ] {
        let reply = server.ask("POST", EVENTS, &[("Content-Type", content_type)], BODY);
        assert_says(&reply, 400, says_type);
    }
    // A body that does not say what it is.
    assert_says(&server.ask("POST", EVENTS, &[BASIC], BODY), 400, says_type);
    for accept in ["text/html", "application/xml, text/*"] {
        let wrong = [("Content-Type", JSON), ("Accept", accept)];
        assert_says(&server.ask("POST", EVENTS, &wrong, BODY), 400, says_accept);
        let reply = server.ask("GET", EVENTS, &[("Accept", accept)], "");
        assert_says(&reply, 400, says_accept);
    }
    let unauthorized = r#""Unauthorized""#;
    assert_says(&server.ask("GET", EVENTS, &[], ""), 401, unauthorized);
    assert_says(
        &server.ask("POST", EVENTS, &[("Content-Type", JSON)], "{"),
        401,
        unauthorized,
    );
    // Then ids and parameters, then the body.
    assert_bad(&post(&server, "/streams/s/events", &[], "{"), "XProducerID");
    assert_bad(
        &post(
            &server,
            "/streams/%00/events",
            &[("X-Producer-ID", "p")],
            "{",
        ),
        "stream name",
    );
    assert_bad(&publish_by(&server, "p", "s", "{"), "too early");
}

#[test]
fn json_is_taken_however_it_is_called() {
    let server = Server::start();
    for content_type in [
        "application/json",
        "APPLICATION/JSON",
        "application/json;charset=utf8; x=y",
    ] {
        for accept in [
            None,
            Some("*/*"),
            Some("application/*"),
            Some("text/html, */*;q=0.1"),
        ] {
            let mut headers = vec![
                BASIC,
                ("Content-Type", content_type),
                ("X-Producer-ID", PRODUCER),
            ];
            headers.extend(accept.map(|accept| ("Accept", accept)));
            id_in(&server.ask("POST", EVENTS, &headers, BODY));
        }
    }
}

#[test]
fn credentials_that_are_not_right_are_refused_alike() {
    let server = Server::start();
    for credentials in [
        "",
        "Basic",
        "Basic ",
        "Basic !!!",
        "Basic dGVzdA==",
        "Basic dGVzdDo=",
        "Basic VGVzdDp0ZXN0",
        "Basic dGVzdDp0ZXN0MQ==",
        "Bearer dGVzdDp0ZXN0",
        "Digest username=\"test\"",
    ] {
        let reply = server.ask("GET", EVENTS, &[("Authorization", credentials)], "");
        assert_says(&reply, 401, r#""Unauthorized""#);
    }
    let twice = server.ask("GET", EVENTS, &[BASIC, BASIC], "");
    assert_says(&twice, 401, r#""Unauthorized""#);
}

#[test]
fn a_producer_is_named_once_in_up_to_255_bytes_of_text() {
    let server = Server::start();
    let required = "Field validation for 'XProducerID' failed on the 'required' tag";
    for empty in ["", "   "] {
        assert_bad(&publish_by(&server, empty, "s", BODY), required);
    }
    assert_bad(
        &publish_by(&server, &"p".repeat(256), "s", BODY),
        "has 256 bytes, more than 255",
    );
    let twice = [("X-Producer-ID", "p"), ("X-Producer-ID", "p")];
    assert_bad(
        &post(&server, "/streams/s/events", &twice, BODY),
        "more than once",
    );
    let mut connection = server.connect();
    let head = format!(
        "POST {EVENTS} HTTP/1.1\r\nHost: localhost\r\nAuthorization: {}\r\nContent-Type: {JSON}\r\nContent-Length: {}\r\nX-Producer-ID: ",
        BASIC.1,
        BODY.len()
    );
    let request = [head.as_bytes(), b"\xff", b"\r\n\r\n", BODY.as_bytes()].concat();
    connection.send(request);
    assert_bad(&connection.read_reply(false), "not UTF-8");
    // Nothing of this has claimed the stream.
    id_in(&publish_by(&server, PRODUCER, "s", BODY));
}

#[test]
fn bodies_that_are_no_event_are_refused_and_nothing_is_stored() {
    let server = Server::start();
    let name_required = r#""Bad Request - Key: 'Event.EventData.Name' Error:Field validation for 'Name' failed on the 'required' tag""#;
    for nameless in [
        "{}",
        "null",
        r#"{"event":{"name":""}}"#,
        r#"{"event":null}"#,
    ] {
        assert_says(
            &publish_by(&server, PRODUCER, "s", nameless),
            400,
            name_required,
        );
    }
    for empty in ["", " "] {
        assert_says(
            &publish_by(&server, PRODUCER, "s", empty),
            400,
            r#""Bad Request - EOF""#,
        );
    }
    let deep = format!(
        r#"{{"payload":{{"a":{}{}}}}}"#,
        "[".repeat(129),
        "]".repeat(129)
    );
    let long_name = format!(r#"{{"event":{{"name":"{}"}}}}"#, "n".repeat(256));
    for (body, says) in [
        (&b"{"[..], "too early"),
        (b"[]", "the body must be an object"),
        (br#"{"event":"a"}"#, "event must be an object"),
        (
            br#"{"event":{"name":"a","version":"1"}}"#,
            "event.version must be an integer",
        ),
        (
            br#"{"event":{"name":"a","version":1.5}}"#,
            "event.version must be an integer",
        ),
        (
            br#"{"event":{"name":"a"},"payload":[]}"#,
            "payload must be an object or null",
        ),
        (
            br#"{"event":{"name":"a"},"payload":1}"#,
            "payload must be an object or null",
        ),
        (
            br#"{"event":{"name":"a\nb"}}"#,
            "event type has, at byte 1, something other",
        ),
        (
            br#"{"event":{"name":"a\u0000b"}}"#,
            "event type has, at byte 1, something other",
        ),
        (br#"{"event":{"name":"\udc00"}}"#, "lone surrogate"),
        (b"{\"event\":{\"name\":\"\xc3\x28\"}}", "not UTF-8"),
        (deep.as_bytes(), "nested too deeply"),
        (long_name.as_bytes(), "has 256 bytes, more than 255"),
    ] {
        assert_bad(&publish_by(&server, PRODUCER, "s", body), says);
    }
    assert!(server.events("default").is_empty());
}

#[test]
fn a_body_that_is_too_long_is_refused_before_it_is_read() {
    let server = Server::start();
    let announce = |path: &str, len: u64| {
        let mut connection: Connection = server.connect();
        let mut head = format!("POST {path} HTTP/1.1\r\nHost: localhost\r\n");
        let headers = headers(&[("X-Producer-ID", PRODUCER), ("X-Consumer-ID", CONSUMER)]);
        for (name, value) in headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        head.push_str(&format!("Content-Length: {len}\r\n\r\n"));
        connection.send(head);
        connection.read_reply(false)
    };
    let ack = format!("{EVENTS}/{CONSUMER}");
    for (path, len) in [
        (EVENTS, (32 << 20) + 1),
        (EVENTS, 1 << 60),
        (&ack, (64 << 10) + 1),
    ] {
        let reply = announce(path, len);
        assert_bad(&reply, "the body is longer than");
        assert_eq!(reply.header("connection"), Some("close"));
    }
    // A payload that fits into a body, but not into an event.
    let body = format!(
        r#"{{"event":{{"name":"a"}},"payload":{{"x":"{}"}}}}"#,
        "x".repeat(16 << 20)
    );
    assert_bad(
        &publish_by(&server, PRODUCER, "s", body),
        "more than 16777216",
    );
}

#[test]
fn parameters_of_a_read_are_judged_in_their_order() {
    let server = Server::start();
    publish(&server, "s", "a", "{}");
    let consumer = ("X-Consumer-ID", CONSUMER);
    let says_consumer = r#""Bad Request - missing or invalid consumer id provided""#;
    for bad in ["", "x", "2480b859-e08a-4414-9c7d-003bc1a4b55"] {
        let reply = get(
            &server,
            "/streams/s/events?limit=x",
            &[("X-Consumer-ID", bad)],
        );
        assert_says(&reply, 400, says_consumer);
    }
    assert_says(&get(&server, "/streams/s/events", &[]), 400, says_consumer);
    let twice = get(&server, "/streams/s/events", &[consumer, consumer]);
    assert_bad(&twice, "given more than once");
    let says_limit = r#""Bad Request - limit argument is not valid""#;
    for query in [
        "",
        "?eventName=a",
        "?limit=&eventName=a",
        "?limit=x",
        "?limit=1.0&eventName=a",
        "?limit=9223372036854775808&eventName=a",
        "?limit=-1&eventName=a",
    ] {
        let reply = get(&server, &format!("/streams/s/events{query}"), &[consumer]);
        assert_says(&reply, 400, says_limit);
    }
    let says_name = r#""Bad Request - Key: 'ReceiveEvents.EventName' Error:Field validation for 'EventName' failed on the 'required' tag""#;
    for query in ["limit=1", "limit=0&eventName=", "limit=-1&EventName=a"] {
        let reply = get(&server, &format!("/streams/s/events?{query}"), &[consumer]);
        assert_says(&reply, 400, says_name);
    }
    let says_zero = r#""Bad Request - Key: 'ReceiveEvents.Limit' Error:Field validation for 'Limit' failed on the 'required' tag""#;
    for zero in ["0", "-0", "%2B0", "00"] {
        let path = format!("/streams/s/events?limit={zero}&eventName=a");
        assert_says(&get(&server, &path, &[consumer]), 400, says_zero);
    }
    for (path, says) in [
        (
            "/streams/s/events?limit=1&eventName=%00",
            "event type has, at byte 0",
        ),
        ("/streams/s/events?limit=1&eventName=%zz", "'eventName'"),
        (
            "/streams/%ff/events?limit=1&eventName=a",
            "stream name in the path",
        ),
        (
            "/streams/a%0d%0ax:y/events?limit=1&eventName=a",
            "control character",
        ),
    ] {
        assert_bad(&get(&server, path, &[consumer]), says);
    }
    let long = format!("/streams/{}/events?limit=1&eventName=a", "s".repeat(256));
    assert_bad(&get(&server, &long, &[consumer]), "more than 255");
    // The first of two counts, and what nobody asks for is passed over.
    let path = "/streams/s/events?limit=%2B1&limit=x&eventName=a&eventName=b&more=1";
    assert_eq!(
        get(&server, path, &[consumer])
            .good()
            .as_array()
            .unwrap()
            .len(),
        1
    );
}

#[test]
fn consumers_are_named_by_a_uuid_in_any_form() {
    let server = Server::start();
    publish(&server, "s", "a", "{}");
    let id = publish(&server, "s", "a", "{}");
    let first = super::next_for(&server, CONSUMER, "s", "a").remove(0);
    assert_ok(&super::ack(&server, "s", &first));
    for consumer in [
        "2480B859-E08A-4414-9C7D-003BC1A4B555",
        "urn:uuid:2480b859-e08a-4414-9c7d-003bc1a4b555",
        "{2480b859-e08a-4414-9c7d-003bc1a4b555}",
        "2480b859e08a44149c7d003bc1a4b555",
    ] {
        assert_eq!(super::next_for(&server, consumer, "s", "a"), [id.as_str()]);
    }
}

#[test]
fn parts_of_an_acknowledgement_are_judged_in_their_order() {
    let server = Server::start();
    let id = publish(&server, "s", "a", "{}");
    let path = format!("/streams/s/events/{id}");
    let says_consumer = r#""Bad Request - missing or invalid consumer id provided""#;
    assert_says(&post(&server, &path, &[], ""), 400, says_consumer);
    let consumer = ("X-Consumer-ID", CONSUMER);
    let says_event = r#""Bad Request - missing or invalid event id provided""#;
    for bad in ["x", "1", "%00", "2480b859-e08a-4414-9c7d-003bc1a4b55"] {
        let reply = post(
            &server,
            &format!("/streams/s/events/{bad}"),
            &[consumer],
            "",
        );
        assert_says(&reply, 400, says_event);
    }
    let form = ("Content-Type", "application/x-www-form-urlencoded");
    for body in [
        "action=NACK",
        "action=",
        "action=ack",
        "x=1",
        "action=NO&action=ACK",
    ] {
        let headers = [BASIC, form, consumer];
        let reply = server.ask("POST", &format!("/api/v1{path}"), &headers, body);
        assert_says(&reply, 400, r#""Bad Request - action must be ACK""#);
    }
    let headers = [BASIC, form, consumer];
    let reply = server.ask("POST", &format!("/api/v1{path}"), &headers, b"\xff");
    assert_bad(&reply, "the form is not UTF-8");
    let plain = [BASIC, ("Content-Type", "text/plain"), consumer];
    let reply = server.ask("POST", &format!("/api/v1{path}"), &plain, "action=ACK");
    assert_bad(&reply, "Content-Type header must be");
    // None of these moved the offset.
    assert_ok(&super::ack(&server, "s", &id.to_uppercase()));
}

#[test]
fn unknown_paths_and_methods_are_answered_in_the_doors_own_way() {
    let server = Server::start();
    for path in [
        "/api/v1",
        "/api/v1/",
        "/api/v1/streams",
        "/api/v1/streams/s",
        "/api/v1/streams/s/events/",
        "/api/v1/streams//events",
        "/api/v1/health/",
        "/api/v1/events/x",
        "/api/v1/stats/unknown",
        "/api/v1/s/c/n/change/",
        "/api/v1/metrics/",
    ] {
        let reply = server.get(path);
        assert_eq!(
            (reply.status, reply.text()),
            (404, "404 page not found"),
            "{path}"
        );
        assert_eq!(
            reply.header("content-type"),
            Some("text/plain; charset=utf-8")
        );
    }
    for (method, path, allow) in [
        ("DELETE", EVENTS, "GET, HEAD, POST, OPTIONS"),
        ("PUT", EVENTS, "GET, HEAD, POST, OPTIONS"),
        ("OPTIONS", EVENTS, "GET, HEAD, POST, OPTIONS"),
        ("BREW", EVENTS, "GET, HEAD, POST, OPTIONS"),
        ("GET", "/api/v1/streams/s/events/1", "POST, OPTIONS"),
        ("GET", "/api/v1/search", "POST, OPTIONS"),
        ("GET", "/api/v1/s/c/n/change/1", "POST, OPTIONS"),
        ("POST", "/api/v1/health", "GET, HEAD, OPTIONS"),
    ] {
        let reply = server.ask(method, path, &[], "");
        assert_eq!((reply.status, reply.text()), (405, ""), "{method} {path}");
        assert_eq!(reply.header("allow"), Some(allow), "{method} {path}");
    }
}
