//! A server on a free port with a directory of its own.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread::JoinHandle;

use serde_json::{Value, json};
use strandlog::app::limits::STORE;
use strandlog::app::{App, Limits, Parts};
use strandlog::clock::{SystemClock, SystemRandom};
use strandlog::doors::{self, Doors};
use strandlog::server;
use strandlog::store::embedded::{EmbeddedOptions, EmbeddedStore};
use strandlog::store::{Durability, Retention};
use tokio::net::TcpListener;
use tokio::sync::oneshot;

use crate::client::{Connection, Reply};

/// Small, so that a test of a few thousand events goes over several segments.
const SEGMENT_LEN: u64 = 256 << 10;

/// A running server; stops and removes its directory when it is dropped.
pub(crate) struct Server {
    address: SocketAddr,
    pub(crate) app: App,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
    directory: tempfile::TempDir,
}

impl Server {
    pub(crate) fn start() -> Self {
        Self::start_with(|_| {})
    }

    /// A server with other limits.
    pub(crate) fn start_with(change: impl FnOnce(&mut Limits)) -> Self {
        Self::start_sized(SEGMENT_LEN, change)
    }

    /// A server with other limits, whose segments have so many bytes.
    pub(crate) fn start_sized(segment_len: u64, change: impl FnOnce(&mut Limits)) -> Self {
        let mut limits = Limits::default();
        change(&mut limits);
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("data");
        let (started, starting) = std::sync::mpsc::channel();
        let (stop, stopped) = oneshot::channel();
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_multi_thread()
                .worker_threads(2)
                .enable_all()
                .build()
                .unwrap();
            runtime.block_on(async move {
                let clock = Arc::new(SystemClock::new());
                let options = EmbeddedOptions {
                    durability: Durability::Sync,
                    segment_len,
                    clock: clock.clone(),
                    limits: STORE,
                };
                let store = EmbeddedStore::open(&path, options).unwrap();
                let app = App::open(Parts {
                    store: Arc::new(store),
                    clock,
                    random: Arc::new(SystemRandom::new()),
                    limits,
                    retention: Retention::default(),
                })
                .await
                .unwrap();
                let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
                started
                    .send((listener.local_addr().unwrap(), app.clone()))
                    .unwrap();
                let doors = Doors::open(app.clone(), doors::Settings::default());
                let doors = doors.await.unwrap();
                let shutdown = async {
                    let _told_or_dropped = stopped.await;
                };
                server::run(listener, doors, shutdown).await.unwrap();
                app.close().await;
            });
        });
        let (address, app) = starting.recv().unwrap();
        Self {
            address,
            app,
            stop: Some(stop),
            thread: Some(thread),
            directory,
        }
    }

    /// Every file and directory under, and beside, the data directory.
    pub(crate) fn entries(&self) -> Vec<PathBuf> {
        let mut found = vec![self.directory.path().to_owned()];
        let mut next = 0;
        while let Some(path) = found.get(next) {
            if path.is_dir() {
                let inner = std::fs::read_dir(path).unwrap();
                let inner: Vec<PathBuf> = inner.map(|entry| entry.unwrap().path()).collect();
                found.extend(inner);
            }
            next += 1;
        }
        found.sort();
        found
    }

    /// The segment files of the default log, oldest first.
    pub(crate) fn segment_files(&self) -> Vec<PathBuf> {
        let log = self.directory.path().join("data/logs/default");
        let mut files: Vec<PathBuf> = std::fs::read_dir(log)
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .filter(|path| path.extension().is_some_and(|kind| kind == "seg"))
            .collect();
        files.sort();
        files
    }

    pub(crate) fn connect(&self) -> Connection {
        Connection::open(self.address)
    }

    /// Tells the server to stop.
    pub(crate) fn tell_to_stop(&mut self) {
        drop(self.stop.take());
    }

    /// Waits for the end of a server that was told to stop.
    pub(crate) fn wait(&mut self) {
        if let Some(thread) = self.thread.take() {
            let ended = thread.join();
            assert!(
                ended.is_ok() || std::thread::panicking(),
                "the server panicked"
            );
        }
    }

    /// Asks on a connection of its own.
    pub(crate) fn ask(
        &self,
        method: &str,
        target: &str,
        headers: &[(&str, &str)],
        body: impl AsRef<[u8]>,
    ) -> Reply {
        self.connect().ask(method, target, headers, body.as_ref())
    }

    pub(crate) fn get(&self, target: &str) -> Reply {
        self.ask("GET", target, &[], "")
    }

    pub(crate) fn get_as(&self, target: &str, accept: &str) -> Reply {
        self.ask("GET", target, &[("Accept", accept)], "")
    }

    pub(crate) fn post(&self, target: &str, body: &Value) -> Reply {
        self.post_with(target, &[], body)
    }

    pub(crate) fn post_with(&self, target: &str, headers: &[(&str, &str)], body: &Value) -> Reply {
        let mut headers = headers.to_vec();
        headers.push(("Content-Type", "application/json"));
        self.ask("POST", target, &headers, body.to_string())
    }

    pub(crate) fn put(&self, target: &str, body: &Value) -> Reply {
        let headers = [("Content-Type", "application/json")];
        self.ask("PUT", target, &headers, body.to_string())
    }

    /// Publishes `count` events of one stream, which all must be stored.
    pub(crate) fn fill(&self, stream: &str, count: usize) {
        let mut connection = self.connect();
        let mut published = 0;
        while published < count {
            let batch: Vec<Value> = (published..count.min(published + 1_000))
                .map(|n| event(stream, "counted", json!({ "n": n })))
                .collect();
            published += batch.len();
            let body = Value::from(batch).to_string();
            let headers = [("Content-Type", "application/json")];
            let reply = connection.ask("POST", EVENTS, &headers, body.as_bytes());
            assert_eq!(reply.status, 201, "{}", reply.text());
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.tell_to_stop();
        self.wait();
    }
}

/// The events of the default log.
pub(crate) const EVENTS: &str = "/v1/logs/default/events";

/// The events of a stream of the default log.
pub(crate) fn of_stream(stream: &str) -> String {
    format!("/v1/logs/default/streams/{stream}/events")
}

/// An event to publish.
pub(crate) fn event(stream: &str, event_type: &str, data: impl Into<Value>) -> Value {
    json!({ "stream": stream, "type": event_type, "data": data.into() })
}

/// The ids of a page.
pub(crate) fn ids(page: &Value) -> Vec<u64> {
    page["events"]
        .as_array()
        .unwrap()
        .iter()
        .map(|event| event["id"].as_u64().unwrap())
        .collect()
}
