//! What clients send without end: bodies beyond every limit, bodies as large as they may be, and names
//! that are all new. Memory stays within what the settings say.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::http::{Call, Client};
use crate::interrupt;
use crate::load::Shape;
use crate::native::{self, Published};
use crate::rig::{Context, Rig, Slice, Tally, World, nothing};
use crate::server::Server;
use crate::vitals::{Vitals, mib};

pub(crate) const RIG: Rig = Rig {
    name: "bounds",
    about: "bodies of every limit and a byte more; 10,000 new streams, keys and consumers a second",
    control: "bodies are as long as they may be, and no longer",
    missing: nothing,
    run,
    ci_cycles: 1,
    control_cycles: 1,
};

/// The limits of the server, as its documents have them, in bytes and in numbers.
const BODY_BYTES: usize = 32 << 20;
const BODIES_BYTES: u64 = 256 << 20;
const DATA_BYTES: usize = 16 << 20;
const METADATA_BYTES: usize = 64 << 10;
const NAME_BYTES: usize = 255;
const BATCH_EVENTS: usize = 10_000;
const TAGS: usize = 32;
const GATEWAY_BYTES: usize = 1 << 20;
const CONSUMERS: u64 = 10_000;
/// What may be taken besides, whatever is asked, and what is allowed on top of any bound.
const WORK_BYTES: u64 = 64 << 20;
const SLACK_PERCENT: u64 = 10;
/// How many whole bodies are sent at a time: together more than may be in memory.
const UPLOADS: usize = 12;
/// How long new names come, how many a second, and in batches of how many.
const NAMES_TIME: [Duration; 2] = [Duration::from_secs(30), Duration::from_secs(3)];
const NAMES_PER_S: u64 = 10_000;
const NAMES_BATCH: u64 = 1_000;
/// From this time on that is left, it is a long run.
const LONG: Duration = Duration::from_secs(120);
const PATIENCE: Duration = Duration::from_secs(60);

fn run(context: &Context, slice: &Slice) -> Result<Tally, String> {
    let mut tally = Tally::default();
    let long = slice.until.saturating_duration_since(Instant::now()) > LONG;
    while slice.goes_on(&tally) {
        let directory = context
            .place
            .fresh("bounds")
            .map_err(|error| error.to_string())?;
        let config = directory.join("strandlog.toml");
        // An event of the longest payload has to fit.
        let text = "segment_bytes = 67108864\n[dialect.newstore]\n[dialect.axon]\ncontexts = [\"default\"]\n";
        std::fs::write(&config, text).map_err(|error| error.to_string())?;
        let mut launch = context.launch(&directory.join("data"), &directory);
        launch.config = Some(config);
        let server = launch.start().map_err(|refused| refused.to_string())?;
        tally.cycles += 1;
        let base = vitals(&server)?.anonymous;
        let watch = Watch::start(server.pid());
        refusals(server.address(), slice.control, &mut tally);
        watch.judge(
            "refused",
            base + WORK_BYTES + BODY_BYTES as u64 * 2,
            &mut tally,
        );
        if !slice.control {
            let watch = Watch::start(server.pid());
            uploads(server.address(), &mut tally);
            watch.judge("uploads", base + BODIES_BYTES + WORK_BYTES, &mut tally);
            let watch = Watch::start(server.pid());
            let [of_long, of_short] = NAMES_TIME;
            let before = vitals(&server)?.anonymous;
            names(
                server.address(),
                if long { of_long } else { of_short },
                &mut tally,
            );
            watch.judge("names", before + WORK_BYTES, &mut tally);
        }
        let healthy = Client::new(server.address()).send(Call::get("/readyz"));
        if !healthy.is_ok_and(|answer| answer.status == 200) {
            tally.findings.other("the server is not ready in the end");
        }
        server.kill();
        let mut random = context.random("bounds", slice.first + tally.cycles);
        World::new(launch, Shape::default(), &mut random).listen(&mut tally.findings);
    }
    Ok(tally)
}

fn vitals(server: &Server) -> Result<Vitals, String> {
    Vitals::of(server.pid()).ok_or_else(|| "the server is gone".to_owned())
}

/// Looks at the memory of a server all the while.
#[derive(Debug)]
struct Watch {
    end: Arc<AtomicBool>,
    highest: Arc<AtomicU64>,
    thread: thread::JoinHandle<()>,
}

impl Watch {
    fn start(pid: u32) -> Self {
        let end = Arc::new(AtomicBool::new(false));
        let highest = Arc::new(AtomicU64::new(0));
        let thread = thread::spawn({
            let (end, highest) = (Arc::clone(&end), Arc::clone(&highest));
            move || {
                while !end.load(Ordering::SeqCst) {
                    if let Some(vitals) = Vitals::of(pid) {
                        highest.fetch_max(vitals.anonymous, Ordering::SeqCst);
                    }
                    thread::sleep(Duration::from_millis(10));
                }
            }
        });
        Self {
            end,
            highest,
            thread,
        }
    }

    fn judge(self, what: &'static str, bound: u64, tally: &mut Tally) {
        self.end.store(true, Ordering::SeqCst);
        let _ended = self.thread.join();
        let highest = self.highest.load(Ordering::SeqCst);
        let (figure, of_bound) = match what {
            "refused" => ("refused_mib", "refused_bound_mib"),
            "uploads" => ("uploads_mib", "uploads_bound_mib"),
            _ => ("names_mib", "names_bound_mib"),
        };
        tally.at_most(figure, mib(highest));
        tally.at_most(of_bound, mib(bound));
        if highest > bound + bound * SLACK_PERCENT / 100 {
            tally.findings.other(format!(
                "{what}: {:.1} MiB were taken, {:.1} MiB may be",
                mib(highest),
                mib(bound)
            ));
        }
    }
}

/// What is sent: where to, with which headers, which body.
struct Sent {
    what: &'static str,
    path: &'static str,
    headers: Vec<(&'static str, &'static str)>,
    body: String,
}

/// Everything one step beyond its limit, or at it.
fn beyond(more: usize) -> Vec<Sent> {
    const JSON: (&str, &str) = ("Content-Type", "application/json");
    let events = "/v1/logs/default/events";
    let native = |what, body: String| Sent {
        what,
        path: events,
        headers: vec![JSON],
        body,
    };
    let event = |members: String| format!("{{\"stream\":\"s\",\"type\":\"t\"{members}}}");
    let text = |len: usize| "x".repeat(len);
    let padded = |len: usize| {
        // Spaces between tokens are bytes like any others.
        let start = event(",\"data\":1".to_owned());
        format!("{start}{}", " ".repeat(len.saturating_sub(start.len())))
    };
    let tags: Vec<String> = (0..TAGS + more).map(|tag| format!("\"{tag}\"")).collect();
    let one = event(",\"data\":1".to_owned());
    let lines = format!("{one}\n").repeat(BATCH_EVENTS + more);
    vec![
        native("a body", padded(BODY_BYTES + more)),
        native(
            "a payload",
            event(format!(",\"data\":\"{}\"", text(DATA_BYTES - 2 + more))),
        ),
        native(
            "metadata",
            event(format!(
                ",\"data\":1,\"metadata\":{{\"m\":\"{}\"}}",
                text(METADATA_BYTES - 8 + more)
            )),
        ),
        native(
            "tags",
            event(format!(",\"data\":1,\"tags\":[{}]", tags.join(","))),
        ),
        native(
            "a name",
            format!(
                "{{\"stream\":\"{}\",\"type\":\"t\",\"data\":1}}",
                text(NAME_BYTES + more)
            ),
        ),
        Sent {
            what: "a batch",
            path: events,
            headers: vec![("Content-Type", "application/x-ndjson")],
            body: lines,
        },
        Sent {
            what: "a payload of the gateway",
            path: "/newstore/events",
            headers: vec![
                JSON,
                ("team", "t"),
                ("service", "s"),
                ("entity-id", "e"),
                ("tenant", "a"),
                ("idempotency-key", "k"),
            ],
            body: format!("{{\"x\":\"{}\"}}", text(GATEWAY_BYTES - 8 + more)),
        },
        Sent {
            what: "a raw event",
            path: "/v1/contexts/default/events/raw",
            headers: vec![("Content-Type", "text/plain")],
            body: text(if more > 0 {
                BODY_BYTES + more
            } else {
                DATA_BYTES
            }),
        },
    ]
}

/// Sends what is too much, with its length and in chunks; each must be refused as such.
fn refusals(address: SocketAddr, control: bool, tally: &mut Tally) {
    for sent in beyond(usize::from(!control)) {
        for chunked in [false, true] {
            if interrupt::came() {
                return;
            }
            match status(address, &sent, chunked) {
                Ok(400 | 413) => tally.count("refused", 1.0),
                Ok(status) => tally.findings.other(format!(
                    "{} beyond its limit is answered {status}",
                    sent.what
                )),
                // The refusal came, and the connection ended under what was still sent.
                Err(error) if is_closed(&error) => tally.count("closed", 1.0),
                Err(error) => tally
                    .findings
                    .other(format!("{} beyond its limit: {error}", sent.what)),
            }
        }
    }
}

fn is_closed(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset
    )
}

/// Sends a request, and reads the status of its answer.
fn status(address: SocketAddr, sent: &Sent, chunked: bool) -> io::Result<u16> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    let mut head = format!("POST {} HTTP/1.1\r\nHost: localhost\r\n", sent.path);
    for (name, value) in &sent.headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    if chunked {
        head.push_str("Transfer-Encoding: chunked\r\n\r\n");
    } else {
        head.push_str(&format!("Content-Length: {}\r\n\r\n", sent.body.len()));
    }
    stream.write_all(head.as_bytes())?;
    let mut send = || -> io::Result<()> {
        for chunk in sent.body.as_bytes().chunks(1 << 20) {
            if chunked {
                write!(stream, "{:x}\r\n", chunk.len())?;
            }
            stream.write_all(chunk)?;
            if chunked {
                stream.write_all(b"\r\n")?;
            }
        }
        if chunked {
            stream.write_all(b"0\r\n\r\n")?;
        }
        Ok(())
    };
    let written = send();
    let mut line = String::new();
    let mut reader = BufReader::new((&stream).take(1 << 10));
    match reader.read_line(&mut line) {
        Ok(read) if read > 0 => {}
        // Nothing was said: what went wrong before is the news.
        Ok(_) => written.and(Err(io::ErrorKind::UnexpectedEof.into()))?,
        Err(error) => written.and(Err(error))?,
    }
    let word = line.split(' ').nth(1).and_then(|word| word.parse().ok());
    word.ok_or_else(|| io::Error::other(format!("no status: {line:?}")))
}

/// Whole bodies at a time, more than may be in memory: some wait or are refused, all are answered.
fn uploads(address: SocketAddr, tally: &mut Tally) {
    let body = Arc::new(Sent {
        what: "an upload",
        path: "/v1/logs/default/events",
        headers: vec![("Content-Type", "application/json")],
        // The longest that is read and then refused: nothing has to be written.
        body: format!("[{}]", " ".repeat(BODY_BYTES - 2)),
    });
    let clients: Vec<_> = (0..UPLOADS)
        .map(|_| {
            let body = Arc::clone(&body);
            thread::spawn(move || status(address, &body, false))
        })
        .collect();
    for client in clients {
        match client.join() {
            Ok(Ok(400 | 413 | 503 | 408)) => tally.count("uploads_answered", 1.0),
            Ok(Ok(status)) => tally
                .findings
                .other(format!("an upload is answered {status}")),
            Ok(Err(error)) => tally.findings.other(format!("an upload: {error}")),
            Err(_) => tally.findings.other("an uploading client panicked"),
        }
    }
}

/// New streams, types, tags, keys and consumers, as fast as asked.
fn names(address: SocketAddr, time: Duration, tally: &mut Tally) {
    let mut client = Client::patient(address, PATIENCE);
    let mut definer = Client::patient(address, PATIENCE);
    let start = Instant::now();
    let (mut number, mut consumers, mut full) = (0, 0, 0);
    while start.elapsed() < time && !interrupt::came() {
        let line = |at: u64| {
            format!(
                "{{\"stream\":\"stream-{at}\",\"type\":\"type-{at}\",\"tags\":[\"tag-{at}\"],\"idempotencyKey\":\"key-{at}\",\"data\":{at}}}\n"
            )
        };
        let lines: String = (number..number + NAMES_BATCH).map(line).collect();
        match native::publish(&mut client, &lines, &format!("names-{number}")) {
            Ok(Published::Acknowledged(_)) => tally.acknowledged += NAMES_BATCH,
            other => {
                tally.findings.other(format!("new names: {other:?}"));
                return;
            }
        }
        number += NAMES_BATCH;
        for _ in 0..NAMES_BATCH / 10 {
            let path = format!("{}/consumers/consumer-{consumers}", native::LOG);
            let defined = definer.send(Call {
                method: "PUT",
                path: &path,
                headers: &[("Content-Type", "application/json")],
                body: "{}",
            });
            match defined.map(|answer| answer.status) {
                Ok(200..300) => consumers += 1,
                // There are as many as there may be.
                Ok(400..500) if consumers >= CONSUMERS => full += 1,
                other => {
                    tally
                        .findings
                        .other(format!("consumer {consumers}: {other:?}"));
                    return;
                }
            }
        }
        let due = start
            + Duration::from_secs(1) * u32::try_from(number).unwrap_or(u32::MAX)
                / u32::try_from(NAMES_PER_S).unwrap_or(u32::MAX);
        thread::sleep(due.saturating_duration_since(Instant::now()));
    }
    let seconds = start.elapsed().as_secs_f64();
    tally.at_most("names_per_s", number as f64 / seconds);
    tally.at_most("consumers_per_s", (consumers + full) as f64 / seconds);
    tally.count("consumers", consumers as f64);
}
