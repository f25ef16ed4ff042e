//! An HTTP endpoint that does what a test tells it, and remembers what it was sent.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::JoinHandle;

use serde_json::Value;

use crate::harness::until;

/// A request as it came in.
#[derive(Clone, Debug)]
pub(crate) struct Received {
    pub(crate) method: String,
    /// Path and query, as sent.
    pub(crate) target: String,
    /// In the order sent; names in lower case.
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Received {
    /// The value of a header that is there at most once.
    #[track_caller]
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let mut values = self.headers.iter().filter(|(known, _)| known == name);
        let value = values.next();
        assert!(values.next().is_none(), "{name} is there twice");
        value.map(|(_, value)| value.as_str())
    }

    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }

    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }
}

/// What is done with a request.
#[derive(Clone, Debug)]
pub(crate) enum Scripted {
    /// It is answered.
    Answer {
        status: u16,
        headers: Vec<(String, String)>,
        body: Vec<u8>,
    },
    /// It is answered so once the gate is open.
    Behind(Gate, Box<Self>),
    /// These bytes are sent, whatever they are, and the connection ends.
    Raw(Vec<u8>),
    /// The connection ends without a byte.
    Close,
    /// Nothing is sent, and the connection stays until the other side gives it up.
    Hang,
}

impl Scripted {
    /// An answer with this status and nothing else.
    pub(crate) fn status(status: u16) -> Self {
        Self::answer(status, "")
    }

    /// An answer with a body.
    pub(crate) fn answer(status: u16, body: impl Into<Vec<u8>>) -> Self {
        Self::Answer {
            status,
            headers: Vec::new(),
            body: body.into(),
        }
    }

    /// The same with one more header.
    pub(crate) fn header(mut self, name: &str, value: &str) -> Self {
        if let Self::Answer { headers, .. } = &mut self {
            headers.push((name.to_owned(), value.to_owned()));
        }
        self
    }
}

/// Holds answers back until it is opened. Clones are the same gate.
#[derive(Clone, Debug, Default)]
pub(crate) struct Gate(Arc<(Mutex<bool>, Condvar)>);

impl Gate {
    pub(crate) fn open(&self) {
        *lock(&self.0.0) = true;
        self.0.1.notify_all();
    }

    fn pass(&self) {
        let mut open = lock(&self.0.0);
        while !*open {
            open = self.0.1.wait(open).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

/// A test that fails elsewhere should not fail here as well.
fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

type Script = dyn Fn(&Received) -> Scripted + Send + Sync;

struct Shared {
    script: Box<Script>,
    received: Mutex<Vec<Received>>,
    connections: Mutex<Vec<TcpStream>>,
    ended: AtomicBool,
}

/// A listening endpoint. Its port is closed, and its connections end, when it is dropped.
pub(crate) struct Receiver {
    address: SocketAddr,
    shared: Arc<Shared>,
    listening: Option<JoinHandle<()>>,
}

impl Receiver {
    /// Listens on a free port of 127.0.0.1. `script` is asked for each request, after the request
    /// was remembered; requests on several connections come at the same time.
    pub(crate) fn start(script: impl Fn(&Received) -> Scripted + Send + Sync + 'static) -> Self {
        Self::start_at("127.0.0.1:0".parse().unwrap(), script)
    }

    /// Listens where an earlier receiver did.
    pub(crate) fn start_at(
        address: SocketAddr,
        script: impl Fn(&Received) -> Scripted + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind(address).unwrap();
        let shared = Arc::new(Shared {
            script: Box::new(script),
            received: Mutex::default(),
            connections: Mutex::default(),
            ended: AtomicBool::new(false),
        });
        let address = listener.local_addr().unwrap();
        let listening = {
            let shared = Arc::clone(&shared);
            std::thread::spawn(move || listen(&listener, &shared))
        };
        Self {
            address,
            shared,
            listening: Some(listening),
        }
    }

    /// Answers every request with this status.
    pub(crate) fn answering(status: u16) -> Self {
        Self::start(move |_| Scripted::status(status))
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// The address of a path of it.
    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// All requests so far, in the order in which they were complete.
    pub(crate) fn received(&self) -> Vec<Received> {
        lock(&self.shared.received).clone()
    }

    /// Waits until there are at least so many requests; all there are.
    #[track_caller]
    pub(crate) fn wait_for(&self, count: usize) -> Vec<Received> {
        until(&format!("request {count}"), || {
            let received = self.received();
            (received.len() >= count).then_some(received)
        })
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.shared.ended.store(true, Ordering::SeqCst);
        // Wakes the listener, which then sees that it is over.
        let _woken = TcpStream::connect(self.address);
        if let Some(listening) = self.listening.take() {
            let _ended = listening.join();
        }
        for connection in lock(&self.shared.connections).drain(..) {
            let _closed = connection.shutdown(Shutdown::Both);
        }
    }
}

fn listen(listener: &TcpListener, shared: &Arc<Shared>) {
    for stream in listener.incoming() {
        if shared.ended.load(Ordering::SeqCst) {
            return;
        }
        let Ok(stream) = stream else { continue };
        let Ok(kept) = stream.try_clone() else {
            continue;
        };
        lock(&shared.connections).push(kept);
        let shared = Arc::clone(shared);
        // Ends with its connection, which ends with the receiver.
        std::thread::spawn(move || serve(stream, &shared));
    }
}

/// Serves a connection to its end; whatever is wrong with it ends it.
fn serve(stream: TcpStream, shared: &Shared) -> Option<()> {
    let mut reader = BufReader::new(stream.try_clone().ok()?);
    let mut writer = stream;
    loop {
        let request = read_request(&mut reader)?;
        lock(&shared.received).push(request.clone());
        let mut scripted = (shared.script)(&request);
        while let Scripted::Behind(gate, then) = scripted {
            gate.pass();
            scripted = *then;
        }
        match scripted {
            Scripted::Answer {
                status,
                headers,
                body,
            } => {
                let mut head = format!("HTTP/1.1 {status} Scripted\r\n");
                for (name, value) in headers {
                    head.push_str(&format!("{name}: {value}\r\n"));
                }
                if status != 204 && status != 304 {
                    head.push_str(&format!("Content-Length: {}\r\n", body.len()));
                }
                head.push_str("\r\n");
                let mut bytes = head.into_bytes();
                bytes.extend_from_slice(&body);
                writer.write_all(&bytes).ok()?;
            }
            Scripted::Raw(bytes) => {
                writer.write_all(&bytes).ok()?;
                writer.shutdown(Shutdown::Both).ok()?;
                return None;
            }
            Scripted::Close => {
                writer.shutdown(Shutdown::Both).ok()?;
                return None;
            }
            Scripted::Hang => {
                let _rest = reader.read_to_end(&mut Vec::new());
                return None;
            }
            Scripted::Behind(..) => unreachable!("gates were passed above"),
        }
    }
}

fn read_request(reader: &mut BufReader<TcpStream>) -> Option<Received> {
    let line = read_line(reader)?;
    let mut parts = line.split(' ');
    let (method, target) = (parts.next()?.to_owned(), parts.next()?.to_owned());
    let mut headers = Vec::new();
    loop {
        let line = read_line(reader)?;
        if line.is_empty() {
            break;
        }
        let (name, value) = line.split_once(':')?;
        headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
    }
    let len = headers
        .iter()
        .find(|(name, _)| name == "content-length")
        .map_or(Some(0), |(_, value)| value.parse().ok())?;
    let mut body = vec![0; len];
    reader.read_exact(&mut body).ok()?;
    Some(Received {
        method,
        target,
        headers,
        body,
    })
}

fn read_line(reader: &mut BufReader<TcpStream>) -> Option<String> {
    let mut line = String::new();
    match reader.read_line(&mut line) {
        Ok(0) | Err(_) => None,
        Ok(_) => Some(line.trim_end_matches(['\r', '\n']).to_owned()),
    }
}

#[test]
fn a_receiver_answers_as_told_and_remembers() {
    let gate = Gate::default();
    let held = gate.clone();
    let receiver = Receiver::start(move |request| match request.target.as_str() {
        "/held" => Scripted::Behind(held.clone(), Box::new(Scripted::status(204))),
        "/close" => Scripted::Close,
        _ => Scripted::answer(200, "hello").header("X-Kind", "plain"),
    });
    let mut connection = crate::client::Connection::open(receiver.address());
    let reply = connection.ask("POST", "/a?b=c", &[("X-A", "1")], b"body");
    assert_eq!((reply.status, reply.text()), (200, "hello"));
    assert_eq!(reply.header("x-kind"), Some("plain"));
    connection.request("GET", "/held", &[], b"");
    receiver.wait_for(2);
    gate.open();
    assert_eq!(connection.read_reply(false).status, 204);
    connection.request("GET", "/close", &[], b"");
    assert!(connection.try_read_reply(false).is_none());
    let received = receiver.received();
    assert_eq!(received.len(), 3);
    assert_eq!(
        (received[0].method.as_str(), received[0].target.as_str()),
        ("POST", "/a?b=c")
    );
    assert_eq!(
        (received[0].header("x-a"), received[0].text()),
        (Some("1"), "body")
    );
    let address = receiver.address();
    drop(receiver);
    let again = Receiver::start_at(address, |_| Scripted::status(200));
    assert!(again.received().is_empty());
}
