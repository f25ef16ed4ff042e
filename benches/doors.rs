//! What a publish costs the server through each door: CPU time of the server process an event, for
//! the same payload, beside the native API in the same run.
//!
//! A plain program, because it measures another process: `cargo bench --bench doors -- --help`.

#![allow(clippy::disallowed_methods, reason = "a benchmark measures time")]
#![allow(
    clippy::unwrap_used,
    reason = "a benchmark that meets an error has nothing to report"
)]

mod common;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use clap::{Parser, ValueEnum};
use common::report::{Row, Samples, Table};

/// Measures what a publish costs the server through each door.
///
/// Everything is put under STRANDLOG_BENCH_DIR (by default Cargo's directory for such files) and
/// removed at the end.
#[derive(Debug, Parser)]
struct Arguments {
    /// Events a sample.
    #[arg(long, default_value_t = 20_000)]
    events: u64,
    /// Samples of each door, taken in turns.
    #[arg(long, default_value_t = 5)]
    samples: usize,
    /// Connections, each with one request under way.
    #[arg(long, default_value_t = 32)]
    connections: u64,
    /// The durability of the server.
    #[arg(long, value_enum, default_value_t = Durability::Os)]
    durability: Durability,
    /// Add the rows to this file.
    #[arg(long)]
    csv: Option<PathBuf>,
    /// `cargo bench` says this to every bench.
    #[arg(long, hide = true)]
    bench: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Durability {
    Sync,
    Os,
}

impl Durability {
    fn name(self) -> &'static str {
        match self {
            Self::Sync => "sync",
            Self::Os => "os",
        }
    }
}

/// The payload that goes through every door: some 200 bytes, as in the other benches.
const PAYLOAD: &str = r#"{"name":"order.created","orderId":"000816c3-e9b2-440b-8d27-dfaa4cae00ef","customer":"123816c3-e9b2-440b-8d27-dfaa4cae0bbc","total":1250.50,"currency":"EUR","items":[{"sku":"A-1","count":2},{"sku":"B-7","count":1}]}"#;
/// How many entities, streams or aggregates the events are spread over.
const ENTITIES: u64 = 1_000;
/// How far bars allow a door to be above the native API.
const BAR: f64 = 1.25;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Door {
    Native,
    NativeKeyed,
    Newstore,
    Pavbis,
    Eventhos,
    AxonRaw,
    AxonMessage,
    AxonAggregate,
}

impl Door {
    const ALL: [Self; 8] = [
        Self::Native,
        Self::NativeKeyed,
        Self::Newstore,
        Self::Pavbis,
        Self::Eventhos,
        Self::AxonRaw,
        Self::AxonMessage,
        Self::AxonAggregate,
    ];

    fn name(self) -> &'static str {
        match self {
            Self::Native => "native",
            Self::NativeKeyed => "native with a key",
            Self::Newstore => "newstore",
            Self::Pavbis => "pavbis",
            Self::Eventhos => "eventhos",
            Self::AxonRaw => "axon raw",
            Self::AxonMessage => "axon message",
            Self::AxonAggregate => "axon, of an aggregate",
        }
    }

    /// What it is compared with: a door whose every publish has a key, with publishes with keys.
    fn floor(self) -> Option<Self> {
        match self {
            Self::Native | Self::NativeKeyed => None,
            Self::Newstore => Some(Self::NativeKeyed),
            Self::Pavbis
            | Self::Eventhos
            | Self::AxonRaw
            | Self::AxonMessage
            | Self::AxonAggregate => Some(Self::Native),
        }
    }

    /// The request of the `n`th event, which goes to the `entity`th entity of this run and is the
    /// `step`th there.
    fn request(self, n: u64, entity: &str, step: u64, token: &str) -> Vec<u8> {
        let json = "Content-Type: application/json\r\n";
        let (target, headers, body) = match self {
            Self::Native => (
                "/v1/logs/default/events".to_owned(),
                json.to_owned(),
                format!(r#"{{"stream":"{entity}","type":"order.created","data":{PAYLOAD}}}"#),
            ),
            Self::NativeKeyed => (
                "/v1/logs/default/events".to_owned(),
                json.to_owned(),
                format!(
                    r#"{{"stream":"{entity}","type":"order.created","idempotencyKey":"{entity}-{n}","data":{PAYLOAD}}}"#
                ),
            ),
            Self::Newstore => (
                "/newstore/events".to_owned(),
                format!(
                    "{json}team: team-inventory\r\nservice: inventory\r\nentity-id: {entity}\r\n\
                     tenant: dodici\r\nidempotency-key: {entity}-{n}\r\n\
                     correlation-ids: {{\"order_id\":\"{entity}\"}}\r\n"
                ),
                PAYLOAD.to_owned(),
            ),
            Self::Pavbis => (
                format!("/api/v1/streams/{entity}/events"),
                format!(
                    "{json}Authorization: Basic dGVzdDp0ZXN0\r\n\
                     X-Producer-ID: 52a454e8-a111-4e5c-a715-2e46fedd8c47\r\n"
                ),
                format!(
                    r#"{{"event":{{"name":"order.created","version":1}},"system":{{"id":"a1","name":"shop","time":"2017-09-06 13:58:12","timezone":"Europe/Berlin"}},"trigger":{{"type":"system","name":"/s.php"}},"payload":{PAYLOAD}}}"#
                ),
            ),
            Self::Eventhos => (
                "/event/send?event-identifier=order-lonely-a1b2c3d4e5".to_owned(),
                format!("{json}access-key: {token}\r\n"),
                PAYLOAD.to_owned(),
            ),
            Self::AxonRaw => (
                "/v1/contexts/default/events/order.created".to_owned(),
                json.to_owned(),
                PAYLOAD.to_owned(),
            ),
            Self::AxonMessage => (
                "/v1/contexts/default/events".to_owned(),
                json.to_owned(),
                format!(r#"{{"name":"order.created","payload":{PAYLOAD}}}"#),
            ),
            Self::AxonAggregate => (
                "/v1/contexts/default/events/order.created".to_owned(),
                format!(
                    "{json}AxonIQ-AggregateId: {entity}\r\nAxonIQ-AggregateType: Order\r\n\
                     AxonIQ-SequenceNumber: {step}\r\n"
                ),
                PAYLOAD.to_owned(),
            ),
        };
        let head = format!(
            "POST {target} HTTP/1.1\r\nHost: localhost\r\n{headers}Content-Length: {}\r\n\r\n",
            body.len()
        );
        [head.into_bytes(), body.into_bytes()].concat()
    }
}

/// The server under test, in development mode on a free port.
struct Server {
    child: Child,
    address: String,
    token: String,
}

impl Server {
    fn start(dir: &Path, durability: Durability) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_strandlog"))
            .args(["serve", "--listen", "127.0.0.1:0", "--log-level", "off"])
            .args(["--durability", durability.name(), "--data"])
            .arg(dir.join("data"))
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        let mut output = BufReader::new(child.stdout.take().unwrap());
        output.read_line(&mut line).unwrap();
        let address = line
            .trim()
            .strip_prefix("listening on http://")
            .unwrap()
            .to_owned();
        let mut server = Self {
            child,
            address,
            token: String::new(),
        };
        server.token = server.eventhos_token();
        server
    }

    fn eventhos_token(&self) -> String {
        let body = r#"{"grant_type":"client_credentials","client_id":"shop","client_secret":"shop-secret"}"#;
        let request = format!(
            "POST /auth/token HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n\
             Content-Length: {}\r\n\r\n{body}",
            body.len()
        );
        let reply = Connection::open(&self.address).ask(request.as_bytes());
        let reply: serde_json::Value = serde_json::from_slice(&reply).unwrap();
        reply["content"]["jwt_token"].as_str().unwrap().to_owned()
    }

    /// The CPU time that the server has taken, in clock ticks.
    fn cpu_ticks(&self) -> u64 {
        let path = format!("/proc/{}/stat", self.child.id());
        let stat = std::fs::read_to_string(path).unwrap();
        // The name of the program, in brackets, may hold spaces.
        let (_, fields) = stat.rsplit_once(") ").unwrap();
        let fields: Vec<&str> = fields.split(' ').collect();
        let ticks = |index: usize| fields[index].parse::<u64>().unwrap();
        ticks(11) + ticks(12)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _gone = self.child.kill();
        let _status = self.child.wait();
    }
}

struct Connection(BufReader<TcpStream>);

impl Connection {
    fn open(address: &str) -> Self {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_nodelay(true).unwrap();
        Self(BufReader::new(stream))
    }

    /// Sends a request and reads its reply, which must be a success.
    fn ask(&mut self, request: &[u8]) -> Vec<u8> {
        self.0.get_mut().write_all(request).unwrap();
        let mut status = String::new();
        self.0.read_line(&mut status).unwrap();
        let mut len = 0;
        loop {
            let mut line = String::new();
            self.0.read_line(&mut line).unwrap();
            let line = line.trim_end().to_ascii_lowercase();
            if line.is_empty() {
                break;
            }
            if let Some(value) = line.strip_prefix("content-length: ") {
                len = value.parse().unwrap();
            }
        }
        let mut body = vec![0; len];
        self.0.read_exact(&mut body).unwrap();
        assert!(
            status.starts_with("HTTP/1.1 2"),
            "{status}{}",
            String::from_utf8_lossy(&body)
        );
        body
    }
}

/// One sample: microseconds of the server's CPU an event.
fn sample(server: &Server, door: Door, run: u64, arguments: &Arguments) -> f64 {
    let before = server.cpu_ticks();
    let counter = AtomicU64::new(0);
    thread::scope(|scope| {
        for connection in 0..arguments.connections {
            let counter = &counter;
            scope.spawn(move || {
                let mut link = Connection::open(&server.address);
                // Each connection has entities of its own, so that sequences never race.
                let mut step = 0;
                while counter.fetch_add(1, Ordering::Relaxed) < arguments.events {
                    let of_connection = ENTITIES / arguments.connections.max(1) + 1;
                    let entity = format!("{door:?}-{run}-{connection}-{}", step % of_connection);
                    let request = door.request(step, &entity, step / of_connection, &server.token);
                    link.ask(&request);
                    step += 1;
                }
            });
        }
    });
    let ticks = server.cpu_ticks() - before;
    // Linux counts in hundredths of a second, whatever its own timer does.
    ticks as f64 * 10_000.0 / arguments.events as f64
}

fn main() {
    let arguments = Arguments::parse();
    let dir = common::temp_dir();
    let server = Server::start(dir.path(), arguments.durability);
    let mut samples = vec![Vec::new(); Door::ALL.len()];
    for run in 0..=arguments.samples as u64 {
        for (door, samples) in Door::ALL.into_iter().zip(&mut samples) {
            let cost = sample(&server, door, run, &arguments);
            // The first round warms up.
            if run > 0 {
                samples.push(cost);
            }
        }
    }
    let samples: Vec<Samples> = samples.into_iter().map(Samples::new).collect();
    let of = |door: Door| &samples[Door::ALL.iter().position(|known| *known == door).unwrap()];
    let mut table = Table::new("CPU time of the server a publish of one event");
    for door in Door::ALL {
        let floor = door.floor();
        // How many times the cost of the native API: the other way round than a floor that is to
        // be reached.
        let ratio = floor.map(|floor| of(door).median() / of(floor).median());
        table.add(Row {
            job: format!("publish, {}", door.name()),
            figure: of(door).median(),
            unit: "us CPU",
            spread: of(door).spread(),
            floor: floor.map_or_else(String::new, |floor| floor.name().to_owned()),
            floor_figure: floor.map(|floor| of(floor).median()),
            ratio,
            durability: arguments.durability.name(),
            bar: ratio.map_or_else(String::new, |ratio| {
                let verdict = if ratio <= BAR { "met" } else { "missed" };
                format!("at most {BAR}: {verdict}")
            }),
        });
    }
    drop(server);
    table.finish(dir.path(), arguments.csv.as_deref());
}
