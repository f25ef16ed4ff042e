//! An endpoint on loopback that answers every request with the same bytes, and remembers them all.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;

use parking_lot::Mutex;
use rustls::{ServerConfig, ServerConnection, StreamOwned};

use crate::webhook::endpoint::Endpoint;

/// What happens to a connection after an answer.
#[derive(Clone, Copy)]
pub(super) enum Then {
    Keep,
    Close,
}

#[derive(Default)]
struct Seen {
    connections: AtomicUsize,
    closed: AtomicUsize,
    requests: Mutex<Vec<String>>,
    stop: AtomicBool,
}

/// Runs in threads of its own; they end when this is dropped and the connections are closed.
pub(super) struct Peer {
    port: u16,
    seen: Arc<Seen>,
}

impl Peer {
    pub(super) fn answering(answer: impl Into<Vec<u8>>, then: Then) -> Self {
        let answer = answer.into();
        Self::start(move |stream, seen| serve(stream, seen, &answer, then))
    }

    pub(super) fn over_tls(
        config: Arc<ServerConfig>,
        answer: impl Into<Vec<u8>>,
        then: Then,
    ) -> Self {
        let answer = answer.into();
        Self::start(move |stream, seen| {
            let connection = ServerConnection::new(Arc::clone(&config)).unwrap();
            serve(StreamOwned::new(connection, stream), seen, &answer, then);
        })
    }

    fn start(serve: impl Fn(TcpStream, &Seen) + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let seen = Arc::new(Seen::default());
        thread::spawn({
            let seen = Arc::clone(&seen);
            let serve = Arc::new(serve);
            move || {
                loop {
                    let (stream, _) = listener.accept().unwrap();
                    if seen.stop.load(Ordering::SeqCst) {
                        return;
                    }
                    seen.connections.fetch_add(1, Ordering::SeqCst);
                    let (seen, serve) = (Arc::clone(&seen), Arc::clone(&serve));
                    thread::spawn(move || {
                        serve(stream, &seen);
                        seen.closed.fetch_add(1, Ordering::SeqCst);
                    });
                }
            }
        });
        Self { port, seen }
    }

    pub(super) fn port(&self) -> u16 {
        self.port
    }

    pub(super) fn endpoint(&self, scheme_and_host: &str, path: &str) -> Endpoint {
        Endpoint::parse(&format!("{scheme_and_host}:{}{path}", self.port)).unwrap()
    }

    pub(super) fn connections(&self) -> usize {
        self.seen.connections.load(Ordering::SeqCst)
    }

    /// How many connections have ended.
    pub(super) fn closed(&self) -> usize {
        self.seen.closed.load(Ordering::SeqCst)
    }

    pub(super) fn requests(&self) -> Vec<String> {
        self.seen.requests.lock().clone()
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        self.seen.stop.store(true, Ordering::SeqCst);
        // Wakes the thread that accepts.
        let _woken = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port));
    }
}

fn serve(mut stream: impl Read + Write, seen: &Seen, answer: &[u8], then: Then) {
    let mut unread = Vec::new();
    // Who does not trust our certificate goes away before the first request.
    while let Some(request) = read_request(&mut stream, &mut unread) {
        seen.requests.lock().push(request);
        if stream.write_all(answer).is_err() || stream.flush().is_err() {
            return;
        }
        if let Then::Close = then {
            return;
        }
    }
}

/// The next request, head and body; none at the end of the connection.
fn read_request(stream: &mut impl Read, unread: &mut Vec<u8>) -> Option<String> {
    let mut buffer = [0; 4_096];
    loop {
        if let Some(len) = request_len(unread) {
            let rest = unread.split_off(len);
            let request = std::mem::replace(unread, rest);
            return Some(String::from_utf8(request).unwrap());
        }
        match stream.read(&mut buffer) {
            Ok(0) | Err(_) => return None,
            Ok(len) => unread.extend_from_slice(&buffer[..len]),
        }
    }
}

fn request_len(bytes: &[u8]) -> Option<usize> {
    let head_len = bytes.windows(4).position(|four| four == b"\r\n\r\n")? + 4;
    let head = str::from_utf8(&bytes[..head_len]).unwrap();
    let body_len: usize = head
        .lines()
        .find_map(|line| line.strip_prefix("content-length: "))
        .map_or(0, |len| len.parse().unwrap());
    (bytes.len() >= head_len + body_len).then_some(head_len + body_len)
}
