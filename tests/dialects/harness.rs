//! A server with every dialect on, on a free port, with a directory that outlives it.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use serde_json::Value;
use strandlog::app::limits::STORE;
use strandlog::app::{App, Limits, Parts};
use strandlog::clock::{Clock, SystemClock, SystemRandom};
use strandlog::doors::{Doors, Settings};
use strandlog::server;
use strandlog::store::embedded::{EmbeddedOptions, EmbeddedStore};
use strandlog::store::{Durability, Retention};
use strandlog_engine::storage::sim::SimDisk;
use tokio::net::TcpListener;
use tokio::sync::oneshot;

use crate::client::{Connection, Reply};

/// Small, so that a test of a few thousand events goes over several segments.
const SEGMENT_LEN: u64 = 256 << 10;
/// How long a test waits for what must come.
const PATIENCE: Duration = Duration::from_secs(20);

/// A running server. Stops, and removes its directory, when it is dropped.
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    pub(crate) app: App,
    settings: Settings,
    clock: Arc<dyn Clock>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
    place: Place,
}

/// Where the events of a server are kept.
#[derive(Clone)]
struct Place {
    directory: Arc<tempfile::TempDir>,
    /// In place of the directory.
    disk: Option<SimDisk>,
    segment_len: u64,
}

impl Server {
    /// A server in development mode.
    pub(crate) fn start() -> Self {
        Self::start_with(|_| {})
    }

    /// A server whose settings differ from those of development mode.
    pub(crate) fn start_with(change: impl FnOnce(&mut Settings)) -> Self {
        Self::start_at(Arc::new(SystemClock::new()), change)
    }

    /// A server with a clock of the test's own.
    pub(crate) fn start_at(clock: Arc<dyn Clock>, change: impl FnOnce(&mut Settings)) -> Self {
        let mut settings = Settings::development();
        change(&mut settings);
        let directory = Arc::new(tempfile::tempdir().unwrap());
        let place = Place {
            directory,
            disk: None,
            segment_len: SEGMENT_LEN,
        };
        Self::open(place, settings, clock)
    }

    /// A server in development mode whose segments have so many bytes: an event is no longer than
    /// one.
    pub(crate) fn start_sized(segment_len: u64) -> Self {
        Self::start_at_place(None, segment_len)
    }

    /// A server in development mode on a disk that fails on demand.
    pub(crate) fn start_on(disk: &SimDisk) -> Self {
        Self::start_at_place(Some(disk.clone()), SEGMENT_LEN)
    }

    fn start_at_place(disk: Option<SimDisk>, segment_len: u64) -> Self {
        let place = Place {
            directory: Arc::new(tempfile::tempdir().unwrap()),
            disk,
            segment_len,
        };
        let clock = Arc::new(SystemClock::new());
        Self::open(place, Settings::development(), clock)
    }

    /// Stops in order and starts again on the same data, on another port.
    pub(crate) fn restart(self) -> Self {
        self.restart_with(|_| {})
    }

    /// The same with other settings.
    pub(crate) fn restart_with(mut self, change: impl FnOnce(&mut Settings)) -> Self {
        self.end();
        let mut settings = self.settings.clone();
        change(&mut settings);
        Self::open(self.place.clone(), settings, self.clock.clone())
    }

    fn open(place: Place, settings: Settings, clock: Arc<dyn Clock>) -> Self {
        let path: PathBuf = place.directory.path().join("data");
        let root = place.disk.as_ref().map(SimDisk::root);
        let segment_len = place.segment_len;
        let (started, starting) = std::sync::mpsc::channel();
        let (stop, stopped) = oneshot::channel();
        let of_doors = settings.clone();
        let of_app = Arc::clone(&clock);
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_multi_thread()
                .worker_threads(2)
                .enable_all()
                .build()
                .unwrap();
            runtime.block_on(async move {
                let options = EmbeddedOptions {
                    durability: Durability::Sync,
                    segment_len,
                    clock: Arc::clone(&of_app),
                    limits: STORE,
                };
                let store = match root {
                    Some(root) => EmbeddedStore::open_on(&root, options),
                    None => EmbeddedStore::open(&path, options),
                };
                let store = store.unwrap();
                let app = App::open(Parts {
                    store: Arc::new(store),
                    clock: of_app,
                    random: Arc::new(SystemRandom::new()),
                    limits: Limits::default(),
                    retention: Retention::default(),
                })
                .await
                .unwrap();
                let doors = Doors::open(app.clone(), of_doors).await.unwrap();
                let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
                started
                    .send((listener.local_addr().unwrap(), app.clone()))
                    .unwrap();
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
            settings,
            clock,
            stop: Some(stop),
            thread: Some(thread),
            place,
        }
    }

    fn end(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let ended = thread.join();
            assert!(
                ended.is_ok() || std::thread::panicking(),
                "the server panicked"
            );
        }
    }

    pub(crate) fn connect(&self) -> Connection {
        Connection::open(self.address)
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

    /// The events of a log, as the native API shows them.
    pub(crate) fn events(&self, log: &str) -> Vec<Value> {
        let page = self.get(&format!("/v1/logs/{log}/events?limit=10000"));
        page.good()["events"].as_array().unwrap().clone()
    }

    /// Publishes one event through the native API, which must be taken; gives its id.
    pub(crate) fn publish(&self, event: &Value) -> u64 {
        let headers = [("Content-Type", "application/json")];
        let target = "/v1/logs/default/events";
        let reply = self.ask("POST", target, &headers, event.to_string());
        reply.good()["firstId"].as_u64().unwrap()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.end();
    }
}

/// Asks again and again until there is an answer.
#[track_caller]
pub(crate) fn until<T>(what: &str, mut ask: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(Instant::now() < deadline, "{what} did not come");
        std::thread::sleep(Duration::from_millis(5));
    }
}
