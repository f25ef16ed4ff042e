//! Requests that are wrong in every way: nothing is stored, and each is told what is wrong.

use super::*;

fn target() -> String {
    format!("/event/send?event-identifier={LONELY}")
}

#[test]
fn bodies_that_are_no_json_are_refused() {
    let server = Server::start();
    let token = shop_token(&server);
    let deep = "[".repeat(200) + &"]".repeat(200);
    let bodies: [&[u8]; 10] = [
        b"{",
        b"{\"a\":1,}",
        b"1 2",
        b"NaN",
        b"'a'",
        b"\xff",
        b"\"\\ud800\"",
        b"\xef\xbb\xbf{}",
        b" ",
        deep.as_bytes(),
    ];
    for body in bodies {
        let reply = send(&server, LONELY, &token, body);
        assert_eq!(reply.status, 400, "{}", String::from_utf8_lossy(body));
        let error = reply.json();
        assert_eq!(error["code"], 500_000);
        let message = error["message"].as_str().unwrap();
        assert!(
            message.starts_with("the body is not JSON: ")
                && message.ends_with("; nothing was stored"),
            "{message}"
        );
    }
    assert!(server.events("default").is_empty());
}

#[test]
fn bodies_that_are_too_large_are_refused() {
    let server = Server::start();
    let token = shop_token(&server);
    let mut body = vec![b'7'; (16 << 20) + 1];
    body[0] = b'"';
    *body.last_mut().unwrap() = b'"';
    let reply = send(&server, LONELY, &token, &body);
    assert_eq!(reply.status, 413);
    assert_eq!(reply.json()["code"], 500_000);
    // A stranger's is not even read.
    let reply = send(&server, LONELY, "x", &body[..1 << 20]);
    refused(&reply, 401, 401_202, "Incorrect token");
    let form = "a&".repeat(1_001);
    let headers = [
        ("access-key", token.as_str()),
        ("Content-Type", "application/x-www-form-urlencoded"),
    ];
    let reply = server.ask("POST", &target(), &headers, form);
    assert_eq!(
        (reply.status, &reply.json()["code"]),
        (413, &json!(500_000))
    );
    let long = "x".repeat(300 << 10);
    let login = json!({"username": long, "password": ""});
    let reply = server.ask("POST", "/auth/login", &[JSON], login.to_string());
    assert_eq!(reply.status, 413);
    assert!(server.events("default").is_empty());
}

#[test]
fn bodies_in_other_codings_are_refused() {
    let server = Server::start();
    let token = shop_token(&server);
    for header in [
        ("Content-Encoding", "gzip"),
        ("Content-Type", "application/json; charset=utf-16"),
    ] {
        let mut headers = vec![("access-key", token.as_str()), header];
        if header.0 == "Content-Encoding" {
            headers.push(JSON);
        }
        let reply = server.ask("POST", &target(), &headers, "{}");
        assert_eq!(
            (reply.status, &reply.json()["code"]),
            (415, &json!(500_000))
        );
    }
    let twice = [("access-key", token.as_str()), JSON, JSON];
    let reply = server.ask("POST", &target(), &twice, "{}");
    assert_eq!(
        (reply.status, &reply.json()["code"]),
        (400, &json!(500_000))
    );
    assert!(server.events("default").is_empty());
}

#[test]
fn names_are_taken_for_nothing_but_names() {
    let server = Server::start();
    let token = shop_token(&server);
    let ask = |identifier: &str| {
        let target = format!("/event/send?event-identifier={identifier}");
        server.ask("POST", &target, &[("access-key", &token)], "")
    };
    for (raw, shown) in [
        ("..%2F..%2Fetc", "../../etc"),
        ("%00", "\u{0}"),
        ("a%0D%0AX-Evil:%201", "a\r\nX-Evil: 1"),
        ("%FF", "\u{fffd}"),
        ("%zz", "%zz"),
        ("%3Cb%3E", "<b>"),
    ] {
        let message = format!("The event {shown} does not exist.");
        refused(&ask(raw), 400, 400_024, &message);
    }
    let long = "x".repeat(300);
    refused(
        &ask(&long),
        400,
        400_024,
        &format!("The event {long} does not exist."),
    );
    // Which of two is meant, nobody can say.
    let twice = format!("{LONELY}&event-identifier={PLACED}");
    assert_eq!(ask(&twice).json()["code"], 400_201);
    let keys = [("access-key", token.as_str()), ("access-key", "x")];
    let reply = server.ask("POST", &target(), &keys, "");
    refused(&reply, 401, 401_202, "Incorrect token");
    let many = format!("{}{}", target(), "&a".repeat(1_001));
    let reply = server.ask("POST", &many, &[("access-key", &token)], "");
    assert_eq!(
        (reply.status, &reply.json()["code"]),
        (413, &json!(500_000))
    );
    assert!(server.events("default").is_empty());
}

#[test]
fn a_stream_that_belongs_to_somebody_else_is_not_written_to() {
    let server = Server::start();
    let token = shop_token(&server);
    let app = server.app.clone();
    // As the owner of the stream, before the first occurrence.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    runtime.block_on(async {
        use strandlog::app::Data;
        use strandlog::app::name::{EventType, ProducerId, StreamName};
        use strandlog::app::publish::{NewEvent, Publish};
        let event = NewEvent::new(
            StreamName::new(LONELY).unwrap(),
            EventType::new("x").unwrap(),
            Data::Json(b"1"),
        );
        let publish = Publish {
            events: vec![event],
            producer: Some(ProducerId::new("somebody").unwrap()),
            ..Publish::default()
        };
        app.log("default").unwrap().publish(publish).await.unwrap();
    });
    let reply = send(&server, LONELY, &token, "{}");
    assert_eq!(
        (reply.status, &reply.json()["code"]),
        (409, &json!(500_204))
    );
    assert_eq!(server.events("default").len(), 1);
}

#[test]
fn a_full_disk_refuses_and_recovers() {
    let disk = strandlog_engine::storage::sim::SimDisk::new();
    let server = Server::start_on(&disk);
    let token = shop_token(&server);
    let body = format!("\"{}\"", "x".repeat(100_000));
    disk.capacity(disk.used());
    let refused = until("a refusal", || {
        let reply = send(&server, LONELY, &token, &body);
        (reply.status != 203).then_some(reply)
    });
    assert_eq!(
        (refused.status, &refused.json()["code"]),
        (507, &json!(500_204))
    );
    assert_eq!(refused.header("retry-after"), Some("10"));
    let stored = server.events("default").len();
    disk.capacity(u64::MAX);
    until("room", || {
        (send(&server, LONELY, &token, &body).status == 203).then_some(())
    });
    assert_eq!(server.events("default").len(), stored + 1);
}
