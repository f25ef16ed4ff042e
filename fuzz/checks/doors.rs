//! What the target `doors` checks: whatever is asked of a server with every dialect on, it answers,
//! it makes no mistake of its own, and what it refuses leaves no event behind.
//!
//! An input is one request or several, with a line `---` between them: a line with method and target,
//! lines of headers, an empty line, the body. `{access}`, `{admin}` and `{uai}` in it stand for a
//! key of a client of eventhos, the token of its administrator, and a token for spotahome.
//!
//! The requests go through hyper's own parser and come in pieces, but over no socket. Nothing is ever
//! called: the guard lets no address through that an input can name, and the runtime could not
//! connect.

use std::convert::Infallible;
use std::io;
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;

use hyper::body::Incoming;
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use strandlog::app::limits::STORE;
use strandlog::app::{App, Limits, Parts};
use strandlog::auth::PlainSecret;
use strandlog::clock::{CountedRandom, HandClock};
use strandlog::dialect::{self, eventhos};
use strandlog::doors::{Doors, Settings};
use strandlog::http::{Request, RequestId};
use strandlog::store::embedded::{EmbeddedOptions, EmbeddedStore};
use strandlog::store::{Durability, Retention, Store};
use strandlog::webhook;
use strandlog_engine::storage::sim::SimDisk;
use tokio::runtime::Runtime;

/// After so many requests the server is a new one, so that what they leave does not pile up.
const REQUESTS_MAX: usize = 500;
/// The same, in logs that were created.
const LOGS_MAX: usize = 24;
/// So much of a reply is read.
const REPLY_LEN_MAX: usize = 64 << 10;
/// A request of one input that goes beyond this is left out.
const REQUESTS_OF_INPUT_MAX: usize = 8;
/// 2026-01-01, in microseconds.
const NOW_US: u64 = 1_767_225_600_000_000;
/// How long an answer may take before it counts as none, in steps.
const PATIENCE: (usize, Duration) = (4_000, Duration::from_millis(5));
/// For this many of those steps the server's clock goes on, too, by this much: longer than anybody
/// may ask to wait.
const PASSING: (usize, Duration) = (40, Duration::from_secs(5));

pub(crate) fn check(input: &[u8]) {
    // Never dropped: at the end of the process nothing is left that could be asked to stop.
    static PRODUCT: Mutex<Option<Product>> = Mutex::new(None);
    let mut product = PRODUCT.lock().expect("who has failed here fails no more");
    for request in split(input, b"\n---\n")
        .into_iter()
        .take(REQUESTS_OF_INPUT_MAX)
    {
        if product.as_ref().is_none_or(Product::is_worn) {
            *product = None;
            *product = Some(Product::open());
        }
        if let Some(product) = &mut *product {
            product.ask(request);
        }
    }
}

fn split<'a>(mut bytes: &'a [u8], by: &[u8]) -> Vec<&'a [u8]> {
    let mut parts = Vec::new();
    while let Some(at) = bytes.windows(by.len()).position(|window| window == by) {
        let (part, rest) = bytes.split_at(at);
        parts.push(part);
        bytes = &rest[by.len()..];
    }
    parts.push(bytes);
    parts
}

/// A server in development mode, on a disk in memory.
struct Product {
    runtime: Runtime,
    doors: Arc<Doors>,
    app: App,
    store: EmbeddedStore,
    clock: HandClock,
    /// What stands for the placeholders.
    secrets: Vec<(&'static [u8], Vec<u8>)>,
    asked: usize,
}

impl Product {
    fn open() -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build()
            .expect("timers need nothing of the system");
        let clock = HandClock::at(NOW_US);
        let options = EmbeddedOptions {
            durability: Durability::Sync,
            segment_len: 64 << 10,
            clock: Arc::new(clock.clone()),
            limits: STORE,
        };
        let disk = SimDisk::new();
        let store = EmbeddedStore::open_on(&disk.root(), options).expect("the disk is sound");
        let mut dialects = dialect::Settings::development();
        if let Some(eventhos) = &mut dialects.eventhos {
            eventhos.users.push(eventhos::settings::User {
                name: "admin".to_owned(),
                password: PlainSecret::new("admin-password"),
                permissions: vec!["*".to_owned()],
            });
        }
        let settings = Settings {
            dialects,
            webhooks: webhook::Settings::default(),
        };
        let parts = Parts {
            store: Arc::new(store.clone()),
            clock: Arc::new(clock.clone()),
            random: Arc::new(CountedRandom::new(1)),
            limits: Limits::default(),
            retention: Retention::default(),
        };
        let (app, doors) = runtime.block_on(async {
            let app = App::open(parts).await.expect("the disk is sound");
            let doors = Doors::open(app.clone(), settings).await;
            (app, Arc::new(doors.expect("the settings are ours")))
        });
        let mut product = Self {
            runtime,
            doors,
            app,
            store,
            clock,
            secrets: Vec::new(),
            asked: 0,
        };
        let access = product.token(
            "/auth/token",
            r#"{"grant_type":"client_credentials","client_id":"shop","client_secret":"shop-secret"}"#,
            "jwt_token",
        );
        let admin = product.token(
            "/auth/login",
            r#"{"username":"admin","password":"admin-password"}"#,
            "jwt_token",
        );
        let uai = spotahome_token();
        product.secrets = vec![
            (b"{access}", access),
            (b"{admin}", admin),
            (b"{uai}", uai.into_bytes()),
        ];
        product
    }

    /// The token in the reply of a route that hands one out.
    fn token(&mut self, target: &str, body: &str, member: &str) -> Vec<u8> {
        let request = format!("POST {target}\nContent-Type: application/json\n\n{body}");
        let reply = self.converse(&wire(request.as_bytes()), usize::MAX);
        let text = String::from_utf8_lossy(&reply).into_owned();
        let start = text
            .find(&format!("\"{member}\":\""))
            .map(|at| at + member.len() + 4);
        let token = start.and_then(|start| text[start..].split('"').next());
        token
            .unwrap_or_else(|| panic!("{text}"))
            .as_bytes()
            .to_vec()
    }

    fn is_worn(&self) -> bool {
        self.asked >= REQUESTS_MAX || self.store.names().len() > LOGS_MAX
    }

    fn last_ids(&self) -> Vec<(String, u64)> {
        let names = self.store.names();
        let names = names.iter().map(|name| name.as_str().to_owned());
        names
            .filter_map(|name| {
                let id = self.app.log(&name).ok()?.last_id();
                Some((name, id))
            })
            .collect()
    }

    fn ask(&mut self, request: &[u8]) {
        self.asked += 1;
        let mut request = harmless(request);
        for (name, secret) in &self.secrets {
            request = replaced(&request, name, secret);
        }
        let piece = 1 + request.iter().map(|byte| usize::from(*byte)).sum::<usize>() % 97;
        let before = self.last_ids();
        let reply = self.converse(&wire(&request), piece);
        let status = status(&reply);
        let shown = || String::from_utf8_lossy(&request).into_owned();
        // The API of pavbis has that status for some mistakes of its clients.
        let may_fail = request
            .windows(8)
            .take_while(|window| !window.contains(&b'\n'))
            .any(|window| window == b"/api/v1/");
        assert!(
            status.is_some_and(|status| {
                (200..600).contains(&status) && (status != 500 || may_fail)
            }),
            "{}\n\nis answered\n\n{}",
            shown(),
            String::from_utf8_lossy(&reply)
        );
        if status.is_some_and(|status| (400..500).contains(&status)) {
            let after = self.last_ids();
            assert_eq!(before, after, "refused, and yet stored: {}", shown());
        }
    }

    /// Says these bytes to the server, so many at a time; gives what it says, if that comes to an end.
    fn converse(&self, bytes: &[u8], piece: usize) -> Vec<u8> {
        let said = Arc::new(Mutex::new(Vec::new()));
        let wire = Wire {
            heard: bytes.to_vec(),
            at: 0,
            piece,
            said: Arc::clone(&said),
        };
        let doors = &self.doors;
        let service = service_fn(|request: hyper::Request<Incoming>| async move {
            let id = RequestId::given(request.headers())
                .unwrap_or_else(|| RequestId::generated("fuzz", 1));
            let request = Request::new(request, id.clone());
            let reply = match request.head.check() {
                Ok(()) => doors.answer(request).await,
                Err(problem) => problem.into_reply(&id),
            };
            Ok::<_, Infallible>(reply.into_response())
        });
        self.runtime.block_on(async {
            let mut connection = pin!(http1::Builder::new().serve_connection(wire, service));
            let (steps, step) = PATIENCE;
            for number in 0..steps {
                let ended = tokio::time::timeout(step, connection.as_mut()).await;
                let has_answered = said.lock().is_ok_and(|said| status(&said).is_some());
                if ended.is_ok() || (has_answered && number >= PASSING.0) {
                    break;
                }
                if number < PASSING.0 {
                    self.clock.advance(PASSING.1);
                }
            }
        });
        said.lock().map(|said| said.clone()).unwrap_or_default()
    }
}

impl Drop for Product {
    fn drop(&mut self) {
        self.app.stop();
        self.runtime.block_on(async {
            self.doors.close().await;
            self.app.close().await;
        });
    }
}

/// The token that development mode tells whoever starts the server.
fn spotahome_token() -> String {
    dialect::spotahome::Settings::development()
        .credentials()
        .split_once(": ")
        .map(|(_, token)| token.to_owned())
        .unwrap_or_default()
}

/// The status of a reply.
fn status(reply: &[u8]) -> Option<u16> {
    let rest = reply.strip_prefix(b"HTTP/1.1 ")?;
    str::from_utf8(rest.get(..3)?).ok()?.parse().ok()
}

/// Lets no address through but one that may not be called: an input must not reach anybody.
fn harmless(request: &[u8]) -> Vec<u8> {
    const TARGET: &[u8] = b"://127.0.0.1:9";
    // Escapes could hide one.
    let mut bytes = replaced(request, b"\\u00", b"\\u01");
    bytes = replaced(&bytes, b"%68", b"%69");
    bytes = replaced(&bytes, b"%48", b"%49");
    for at in 0..bytes.len() {
        let (_, rest) = bytes.split_at_mut(at);
        if let Some((word, behind)) = rest.split_first_chunk_mut::<4>()
            && word.eq_ignore_ascii_case(b"http")
            && !behind.starts_with(TARGET)
        {
            *word = *b"hxxp";
        }
    }
    bytes
}

fn replaced(bytes: &[u8], what: &[u8], with: &[u8]) -> Vec<u8> {
    split(bytes, what).join(with)
}

/// A request as it goes over the wire.
fn wire(request: &[u8]) -> Vec<u8> {
    let (head, body) = match request.windows(2).position(|two| two == b"\n\n") {
        Some(at) => (&request[..at], &request[at + 2..]),
        None => (request, &b""[..]),
    };
    let mut lines = head.split(|byte| *byte == b'\n');
    let mut bytes = lines.next().unwrap_or_default().to_vec();
    bytes.extend_from_slice(b" HTTP/1.1\r\nHost: 127.0.0.1\r\n");
    for line in lines {
        bytes.extend_from_slice(line);
        bytes.extend_from_slice(b"\r\n");
    }
    let end = format!(
        "Connection: close\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    bytes.extend_from_slice(end.as_bytes());
    bytes.extend_from_slice(body);
    bytes
}

/// A connection: what the client says, and what it is told.
struct Wire {
    heard: Vec<u8>,
    at: usize,
    piece: usize,
    said: Arc<Mutex<Vec<u8>>>,
}

impl Read for Wire {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _context: &mut Context<'_>,
        mut buffer: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        let rest = &self.heard[self.at..];
        let len = rest.len().min(self.piece).min(buffer.remaining());
        if len == 0 {
            // A client that waits for its answer.
            return Poll::Pending;
        }
        buffer.put_slice(&rest[..len]);
        self.at += len;
        Poll::Ready(Ok(()))
    }
}

impl Write for Wire {
    fn poll_write(
        self: Pin<&mut Self>,
        _context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let Ok(mut said) = self.said.lock() else {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        };
        if said.len() > REPLY_LEN_MAX {
            // A client that has seen enough.
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        said.extend_from_slice(bytes);
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
