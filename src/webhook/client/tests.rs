//! Calls to endpoints that behave well, badly, and not at all.

use std::net::{Ipv4Addr, TcpListener};

use crate::clock::{HandClock, SystemClock};

use super::*;
use peer::{Peer, Then};

mod peer;
mod tls;

const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 4\r\nX-Reply: 1\r\n\r\nfine";

/// Lets loopback through, by IPv4.
fn local() -> Guard {
    Guard::new(vec!["127.0.0.0/8".parse().unwrap()])
}

fn client() -> Client {
    Client::new(local(), CallLimits::default(), Arc::new(SystemClock::new()))
}

fn client_with(change: impl FnOnce(&mut CallLimits)) -> Client {
    let mut limits = CallLimits::default();
    change(&mut limits);
    Client::new(local(), limits, Arc::new(SystemClock::new()))
}

fn post(endpoint: &Endpoint) -> Call<'_> {
    Call {
        endpoint,
        method: Method::POST,
        headers: Vec::new(),
        body: Bytes::from_static(b"body"),
        timeout: Duration::from_secs(20),
    }
}

/// Waits until something that other tasks do has happened.
async fn until(happened: impl Fn() -> bool) {
    for _ in 0..20_000 {
        if happened() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    panic!("it did not happen in time");
}

async fn answer_to(answer: impl Into<Vec<u8>>, then: Then) -> Result<Answer, CallError> {
    let peer = Peer::answering(answer, then);
    let endpoint = peer.endpoint("http://127.0.0.1", "/");
    client().call(post(&endpoint)).await
}

#[tokio::test]
async fn a_call_sends_what_it_was_given_and_brings_back_the_answer() {
    let peer = Peer::answering(OK, Then::Keep);
    let endpoint = peer.endpoint("http://127.0.0.1", "/bill?x=%20&y");
    let mut call = post(&endpoint);
    let header = |name, value| {
        let name = HeaderName::from_static(name);
        (name, HeaderValue::from_static(value))
    };
    call.headers = vec![
        header("x-a", "1"),
        header("x-a", "2"),
        header("content-type", "text/plain"),
        // These would break the message, or reach past the endpoint that was judged.
        header("host", "elsewhere.example"),
        header("content-length", "1"),
        header("transfer-encoding", "chunked"),
        header("connection", "close, x-a"),
        header("upgrade", "h2c"),
        header("expect", "100-continue"),
    ];
    let answer = client().call(call).await.unwrap();
    assert_eq!(answer.status, StatusCode::OK);
    assert_eq!(answer.headers.get("x-reply").unwrap(), "1");
    assert_eq!((&answer.body[..], answer.truncated), (&b"fine"[..], false));
    let port = peer.port();
    let version = env!("CARGO_PKG_VERSION");
    assert_eq!(
        peer.requests(),
        [format!(
            "POST /bill?x=%20&y HTTP/1.1\r\nuser-agent: strandlog/{version}\r\nx-a: 1\r\nx-a: 2\r\n\
             content-type: text/plain\r\nhost: 127.0.0.1:{port}\r\ncontent-length: 4\r\n\r\nbody"
        )]
    );
}

#[tokio::test]
async fn a_method_without_a_body_says_so_only_if_a_body_is_usual() {
    let peer = Peer::answering("HTTP/1.1 204 No Content\r\n\r\n", Then::Keep);
    let endpoint = peer.endpoint("http://127.0.0.1", "");
    let client = client();
    for method in [Method::GET, Method::DELETE, Method::POST, Method::PUT] {
        let mut call = post(&endpoint);
        call.method = method;
        call.body = Bytes::new();
        call.headers = vec![(header::USER_AGENT, HeaderValue::from_static("mine"))];
        let answer = client.call(call).await.unwrap();
        assert_eq!(answer.status, StatusCode::NO_CONTENT);
    }
    let port = peer.port();
    let head =
        |method| format!("{method} / HTTP/1.1\r\nuser-agent: mine\r\nhost: 127.0.0.1:{port}\r\n");
    let none = "content-length: 0\r\n";
    assert_eq!(
        peer.requests(),
        [
            format!("{}\r\n", head("GET")),
            format!("{}\r\n", head("DELETE")),
            format!("{}{none}\r\n", head("POST")),
            format!("{}{none}\r\n", head("PUT")),
        ]
    );
}

#[tokio::test]
async fn every_status_is_an_answer() {
    for (answer, status, body) in [
        (
            "HTTP/1.1 500 Oops\r\nContent-Length: 2\r\n\r\nno",
            500,
            "no",
        ),
        ("HTTP/1.1 404 \r\nContent-Length: 0\r\n\r\n", 404, ""),
        ("HTTP/1.1 999 Odd\r\nContent-Length: 0\r\n\r\n", 999, ""),
        ("HTTP/1.0 200 OK\r\n\r\nold", 200, "old"),
        (
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\none\r\n3\r\ntwo\r\n0\r\n\r\n",
            200,
            "onetwo",
        ),
        (
            "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nuntil the end",
            200,
            "until the end",
        ),
        (
            "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 201 Created\r\nContent-Length: 0\r\n\r\n",
            201,
            "",
        ),
        (
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n",
            101,
            "",
        ),
        (
            "HTTP/1.1 304 Not Modified\r\nContent-Length: 9\r\n\r\n",
            304,
            "",
        ),
    ] {
        let answer = answer_to(answer, Then::Close).await.unwrap();
        assert_eq!(answer.status.as_u16(), status);
        assert_eq!(
            (&answer.body[..], answer.truncated),
            (body.as_bytes(), false)
        );
    }
}

#[tokio::test]
async fn a_redirect_is_an_answer_and_is_not_followed() {
    let target = Peer::answering(OK, Then::Keep);
    for status in [301, 302, 303, 307, 308] {
        let answer = format!(
            "HTTP/1.1 {status} Elsewhere\r\nLocation: http://127.0.0.1:{}/\r\nContent-Length: 0\r\n\r\n",
            target.port()
        );
        let answer = answer_to(answer, Then::Keep).await.unwrap();
        assert_eq!(answer.status.as_u16(), status);
        assert!(answer.headers.contains_key(header::LOCATION));
    }
    assert_eq!(target.connections(), 0);
}

#[tokio::test]
async fn a_long_answer_is_cut_and_its_status_counts() {
    let len = CallLimits::default().answer_len_max;
    let sized = |len: usize| {
        let mut answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {len}\r\n\r\n").into_bytes();
        answer.resize(answer.len() + len, b'x');
        answer
    };
    for (sent, truncated) in [
        (len - 1, false),
        (len, false),
        (len + 1, true),
        (10 << 20, true),
    ] {
        let peer = Peer::answering(sized(sent), Then::Keep);
        let endpoint = peer.endpoint("http://127.0.0.1", "/");
        let client = client();
        let answer = client.call(post(&endpoint)).await.unwrap();
        assert_eq!(answer.status, StatusCode::OK);
        assert_eq!(
            (answer.body.len(), answer.truncated),
            (sent.min(len), truncated)
        );
        if truncated {
            until(|| peer.closed() == 1).await;
        }
        drop(client);
        until(|| peer.closed() == 1).await;
    }
    let mut endless = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n".to_vec();
    for _ in 0..100 {
        endless.extend_from_slice(b"400\r\n");
        endless.resize(endless.len() + 0x400, b'y');
        endless.extend_from_slice(b"\r\n");
    }
    let answer = answer_to(endless, Then::Keep).await.unwrap();
    assert_eq!((answer.body.len(), answer.truncated), (len, true));
}

#[tokio::test]
async fn an_endpoint_that_hangs_costs_the_timeout_and_its_connection() {
    for answer in [
        "",
        "HTTP/1.1 200",
        "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nfour",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nfour\r\n",
    ] {
        let peer = Peer::answering(answer, Then::Keep);
        let endpoint = peer.endpoint("http://127.0.0.1", "/");
        let clock = HandClock::at(0);
        let client = Client::new(local(), CallLimits::default(), Arc::new(clock.clone()));
        let call = tokio::spawn({
            let (client, endpoint) = (client.clone(), endpoint.clone());
            async move { client.call(post(&endpoint)).await }
        });
        until(|| peer.requests().len() == 1).await;
        clock.advance(Duration::from_secs(19));
        tokio::task::yield_now().await;
        assert!(!call.is_finished());
        clock.advance(Duration::from_secs(1));
        assert_eq!(call.await.unwrap().unwrap_err(), CallError::Timeout);
        until(|| peer.closed() == 1).await;
    }
}

#[tokio::test]
async fn a_call_that_is_given_up_closes_its_connection() {
    let peer = Peer::answering("", Then::Keep);
    let endpoint = peer.endpoint("http://127.0.0.1", "/");
    let client = client();
    let call = tokio::spawn(async move { client.call(post(&endpoint)).await });
    until(|| peer.requests().len() == 1).await;
    call.abort();
    until(|| peer.closed() == 1).await;
}

#[tokio::test]
async fn a_refused_address_is_not_connected_to() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let port = listener.local_addr().unwrap().port();
    let limits = CallLimits::default();
    let strict = Client::new(Guard::default(), limits, Arc::new(SystemClock::new()));
    for host in ["127.0.0.1", "[::ffff:127.0.0.1]", "localhost", "LOCALHOST"] {
        for scheme in ["http", "https"] {
            let endpoint = Endpoint::parse(&format!("{scheme}://{host}:{port}/")).unwrap();
            let error = strict.call(post(&endpoint)).await.unwrap_err();
            let CallError::Refused { address } = error else {
                panic!("{endpoint}: {error:?}");
            };
            assert!(address.to_canonical().is_loopback(), "{address}");
        }
    }
    let waiting = listener.accept().unwrap_err();
    assert_eq!(waiting.kind(), io::ErrorKind::WouldBlock);
}

#[tokio::test]
async fn a_name_is_called_at_those_of_its_addresses_that_are_allowed() {
    // It stands for ::1 as well on most machines, which the guard does not let through.
    let peer = Peer::answering(OK, Then::Keep);
    let endpoint = peer.endpoint("http://localhost", "/");
    let answer = client().call(post(&endpoint)).await.unwrap();
    assert_eq!(answer.status, StatusCode::OK);
}

#[tokio::test]
async fn a_port_where_nobody_listens_is_told_as_such() {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    drop(listener);
    let endpoint = Endpoint::parse(&format!("http://127.0.0.1:{port}/")).unwrap();
    let error = client().call(post(&endpoint)).await.unwrap_err();
    let kind = io::ErrorKind::ConnectionRefused;
    assert_eq!(error, CallError::Connect { kind });
    assert_eq!(error.to_string(), "cannot connect: connection refused");
}

#[tokio::test]
async fn what_is_not_http_is_told_as_such() {
    let many = "X: y\r\n".repeat(101);
    let long = format!("X: {}\r\n", "y".repeat(100 << 10));
    for answer in [
        "SSH-2.0-OpenSSH_9.9\r\n".to_owned(),
        "220 mail.example ESMTP\r\n".to_owned(),
        "hello\r\n\r\n".to_owned(),
        "HTTP/2 200 OK\r\n\r\n".to_owned(),
        "HTTP/1.1 abc\r\n\r\n".to_owned(),
        "HTTP/1.1 200 OK\r\nno colon\r\n\r\n".to_owned(),
        "HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n".to_owned(),
        "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab".to_owned(),
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nab\r\n".to_owned(),
        format!("HTTP/1.1 200 OK\r\n{many}Content-Length: 0\r\n\r\n"),
        format!("HTTP/1.1 200 OK\r\n{long}Content-Length: 0\r\n\r\n"),
    ] {
        let shown = answer.get(..60).unwrap_or(&answer).to_owned();
        let error = answer_to(answer, Then::Keep).await.err();
        assert_eq!(error, Some(CallError::Protocol), "{shown}");
    }
}

#[tokio::test]
async fn a_connection_that_ends_early_is_no_answer() {
    for answer in [
        "",
        "HTTP/1.1 200 OK",
        "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nfour",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nfour\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nfo",
    ] {
        let error = answer_to(answer, Then::Close).await.unwrap_err();
        assert_eq!(error, CallError::Closed, "{answer}");
    }
}

#[tokio::test]
async fn a_connection_serves_one_call_after_another() {
    let peer = Peer::answering(OK, Then::Keep);
    let (client, other) = (client(), client());
    for path in ["/a", "/b", "/a"] {
        let endpoint = peer.endpoint("http://127.0.0.1", path);
        assert!(client.clone().call(post(&endpoint)).await.is_ok());
    }
    assert_eq!((peer.connections(), peer.requests().len()), (1, 3));
    // Neither another host nor another client shares it.
    let named = peer.endpoint("http://localhost", "/");
    assert!(client.call(post(&named)).await.is_ok());
    assert_eq!(peer.connections(), 2);
    assert!(other.call(post(&named)).await.is_ok());
    assert_eq!(peer.connections(), 3);
    drop((client, other));
    until(|| peer.closed() == 3).await;
}

#[tokio::test]
async fn a_connection_that_was_closed_meanwhile_is_replaced() {
    let peer = Peer::answering(OK, Then::Close);
    let endpoint = peer.endpoint("http://127.0.0.1", "/");
    let client = client();
    for count in 1..=3 {
        let answer = client.call(post(&endpoint)).await.unwrap();
        assert_eq!(&answer.body[..], b"fine");
        assert_eq!(peer.connections(), count);
        until(|| client.0.pool.is_empty()).await;
    }
}

#[tokio::test]
async fn no_request_is_sent_twice() {
    // Each connection is closed as the next call may want to use it.
    let peer = Peer::answering(OK, Then::Close);
    let client = client();
    let mut answered = Vec::new();
    for number in 0..200 {
        let endpoint = peer.endpoint("http://127.0.0.1", &format!("/{number}"));
        match client.call(post(&endpoint)).await {
            Ok(_) => answered.push(number),
            Err(error) => assert_eq!(error, CallError::Closed),
        }
    }
    let seen: Vec<u32> = peer
        .requests()
        .iter()
        .map(|request| {
            let path = request.split(' ').nth(1).unwrap();
            path.trim_start_matches('/').parse().unwrap()
        })
        .collect();
    assert!(seen.is_sorted_by(|a, b| a < b), "{seen:?}");
    assert!(answered.iter().all(|number| seen.contains(number)));
    assert!(answered.contains(&0));
}

#[tokio::test]
async fn an_answer_that_says_close_ends_the_connection() {
    let answer = "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 0\r\n\r\n";
    let peer = Peer::answering(answer, Then::Keep);
    let endpoint = peer.endpoint("http://127.0.0.1", "/");
    let client = client();
    assert!(client.call(post(&endpoint)).await.is_ok());
    assert!(client.call(post(&endpoint)).await.is_ok());
    assert_eq!(peer.connections(), 2);
    until(|| peer.closed() == 2).await;
}

#[tokio::test]
async fn a_connection_does_not_wait_for_ever() {
    let peer = Peer::answering(OK, Then::Keep);
    let endpoint = peer.endpoint("http://127.0.0.1", "/");
    let clock = HandClock::at(0);
    let client = Client::new(local(), CallLimits::default(), Arc::new(clock.clone()));
    assert!(client.call(post(&endpoint)).await.is_ok());
    clock.advance(Duration::from_secs(3));
    assert!(client.call(post(&endpoint)).await.is_ok());
    assert_eq!(peer.connections(), 1);
    // It is closed although nobody calls any more.
    clock.advance(Duration::from_secs(4));
    until(|| peer.closed() == 1).await;
    assert!(client.0.pool.is_empty());
    // Nor is one used for ever that never waits for long.
    for _ in 0..50 {
        assert!(client.call(post(&endpoint)).await.is_ok());
        clock.advance(Duration::from_secs(3));
    }
    assert_eq!(peer.connections(), 3);
}

#[tokio::test]
async fn bytes_behind_an_answer_are_not_taken_for_the_next() {
    let two = "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nfine\
               HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil";
    let peer = Peer::answering(two, Then::Keep);
    let endpoint = peer.endpoint("http://127.0.0.1", "/");
    let client = client();
    for _ in 0..5 {
        let answer = client.call(post(&endpoint)).await.unwrap();
        assert_eq!(&answer.body[..], b"fine");
    }
}

#[tokio::test]
async fn no_more_calls_than_allowed_are_made_at_a_time() {
    let slow = Peer::answering("", Then::Keep);
    let quick = Peer::answering(OK, Then::Keep);
    let client = client_with(|limits| limits.calls_max = 1);
    let first = tokio::spawn({
        let client = client.clone();
        let endpoint = slow.endpoint("http://127.0.0.1", "/");
        async move { client.call(post(&endpoint)).await }
    });
    until(|| slow.requests().len() == 1).await;
    let second = tokio::spawn({
        let client = client.clone();
        let endpoint = quick.endpoint("http://127.0.0.1", "/");
        async move { client.call(post(&endpoint)).await }
    });
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
    assert_eq!((quick.connections(), second.is_finished()), (0, false));
    first.abort();
    assert!(second.await.unwrap().is_ok());
}
