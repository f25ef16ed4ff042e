//! Ordinary work for as long as one likes: all doors, readers and a webhook at a part of what the
//! machine can do, while segments fill and go. Nothing may grow but what was asked to.

use std::io::{self, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crate::calls;
use crate::http::{Call, Client};
use crate::interrupt;
use crate::native;
use crate::oracle::Findings;
use crate::rig::{Context, Rig, Slice, Tally, World, nothing};
use crate::server::Server;
use crate::stream::Lines;
use crate::vitals::{Latencies, Vitals, disk_bytes, load, median, mib, ms};

pub(crate) const RIG: Rig = Rig {
    name: "soak",
    about: "all doors, readers and a webhook at 60 % of the peak, with rolls and retention",
    control: "a client opens long polls and never closes them",
    missing: nothing,
    run,
    ci_cycles: 1,
    control_cycles: 1,
};

/// How long it goes on if nobody says, in the control, and at least.
const LENGTH: Duration = Duration::from_secs(60);
const CONTROL_LENGTH: Duration = Duration::from_secs(8);
const LENGTH_MIN: Duration = Duration::from_secs(20);
/// From this length on, latencies are judged: a short run says more about the machine.
const JUDGED_LENGTH: Duration = Duration::from_secs(300);
/// The part of the time in which the peak is looked for, and the longest.
const CALIBRATION: (u32, Duration) = (12, Duration::from_secs(20));
/// The part of the rest in which the server may still grow to its size.
const WARM_UP: u32 = 4;
/// The part of the peak that is asked for, in percent.
const SHARE_PERCENT: u64 = 60;
/// Bytes of a segment, and those that retention keeps.
const SEGMENT_BYTES: u64 = 256 << 10;
const RETAINED_BYTES: u64 = 1 << 20;
/// Padding of an event, in bytes: some segments are filled and go within the shortest run.
const PADDING_BYTES: usize = 700;
/// How much memory may grow: so much of a hundred, or so many bytes.
const GROWTH_MAX: (u64, u64) = (5, 16 << 20);
/// How many descriptors, threads and maps more there may be in the end: what one request or one
/// segment on its way takes.
const DESCRIPTORS_MORE: u64 = 8;
const THREADS_MORE: u64 = 8;
const MAPS_MORE: u64 = 24;
/// How much slower the last part may be than the first, in percent.
const SLOWER_MAX: u64 = 120;
/// Publishers of the native door, and events of their batches; each other door has one.
const NATIVE: usize = 2;
const BATCH: u64 = 10;
/// How long a stream may be silent: the server sends a sign of life more often.
const SILENCE_MAX: Duration = Duration::from_secs(20);
const PAUSE: Duration = Duration::from_millis(20);

const SETTINGS: &str = r#"
[webhooks]
allow = ["127.0.0.0/8"]
[dialect.newstore]
[dialect.axon]
contexts = ["default"]
[dialect.pavbis]
users = { test = "test" }
[dialect.eventhos]
jwt_secret = "another-32-bytes-of-secret-material-here"
clients = [{ id = "shop", secret = "shop-secret" }]
systems = [{ identifier = "shop", class = "producer", client = "shop" }]
events = [{ identifier = "placed", system = "shop" }]
"#;

const JSON: (&str, &str) = ("Content-Type", "application/json");

fn run(context: &Context, slice: &Slice) -> Result<Tally, String> {
    let mut tally = Tally::default();
    while slice.goes_on(&tally) {
        let left = slice.until.saturating_duration_since(Instant::now());
        let length = match context.minutes {
            _ if slice.control => CONTROL_LENGTH,
            Some(minutes) => Duration::from_secs_f64(minutes.clamp(0.5, 600.0) * 60.0),
            None => LENGTH.min(left).max(LENGTH_MIN),
        };
        tally.cycles += 1;
        soak(context, length, slice.control, &mut tally)?;
    }
    Ok(tally)
}

fn soak(
    context: &Context,
    length: Duration,
    control: bool,
    tally: &mut Tally,
) -> Result<(), String> {
    let describe = |error: io::Error| error.to_string();
    let directory = context.place.fresh("soak").map_err(describe)?;
    let config = directory.join("strandlog.toml");
    let settings = format!(
        "segment_bytes = {SEGMENT_BYTES}\n[retention]\nmax_bytes = {RETAINED_BYTES}\n{SETTINGS}"
    );
    std::fs::write(&config, settings).map_err(describe)?;
    let mut launch = context.launch(&directory.join("data"), &directory);
    launch.config = Some(config);
    let server = launch.start().map_err(|refused| refused.to_string())?;

    let work = Arc::new(Work::new(server.address()).map_err(describe)?);
    let sink = Sink::start(&work).map_err(describe)?;
    sink.register(server.address()).map_err(describe)?;
    let mut threads = Vec::new();
    for (number, door) in doors().into_iter().enumerate() {
        work.spawn(&mut threads, move |work| publish(work, door, number));
    }
    work.spawn(&mut threads, |work| follow(work, false));
    work.spawn(&mut threads, |work| follow(work, true));
    work.spawn(&mut threads, listen);
    work.spawn(&mut threads, consume);

    let calibration = (length / CALIBRATION.0).min(CALIBRATION.1);
    wait(calibration);
    let peak = work.latencies.count();
    work.paced.store(true, Ordering::SeqCst);
    tally.at_most("peak_per_s", peak as f64 / calibration.as_secs_f64());
    if control {
        work.spawn(&mut threads, leak);
    }
    watch(&server, &work, &launch.data, length - calibration, tally);

    work.end.store(true, Ordering::SeqCst);
    for thread in threads {
        if thread.join().is_err() {
            return Err("a client panicked".to_owned());
        }
    }
    finish(&work, &server, control, tally);
    drop(sink);
    server.signal(rustix::process::Signal::TERM);
    let mut server = server;
    if server.wait(Duration::from_secs(10)).is_none() {
        tally.findings.other("the server did not stop within 10 s");
    }
    drop(server);
    let world = World::new(
        launch,
        crate::load::Shape::default(),
        &mut context.random("soak", 0),
    );
    world.verify(&mut tally.findings);
    world.listen(&mut tally.findings);
    Ok(())
}

fn wait(time: Duration) {
    let end = Instant::now() + time;
    while Instant::now() < end && !interrupt::came() {
        thread::sleep(PAUSE);
    }
}

/// What is looked at again and again.
#[derive(Debug, Default)]
struct Samples {
    anonymous: Vec<u64>,
    descriptors: Vec<u64>,
    threads: Vec<u64>,
    maps: Vec<u64>,
}

/// Looks at the server until the time is over.
fn watch(
    server: &Server,
    work: &Work,
    data: &std::path::Path,
    length: Duration,
    tally: &mut Tally,
) {
    let interval = (length / 240).clamp(Duration::from_millis(100), Duration::from_secs(1));
    let start = Instant::now();
    let warm = start + length / WARM_UP;
    let end = start + length;
    let segments = RETAINED_BYTES + 2 * SEGMENT_BYTES;
    // What is derived from the segments takes some percent of them.
    let bound = segments + segments / 10;
    let mut samples = Samples::default();
    let mut beyond = 0;
    while Instant::now() < end && !interrupt::came() {
        tally.at_most("load", load());
        let disk = disk_bytes(&data.join("logs/default"));
        tally.at_most("disk_mib", mib(disk));
        // A segment that is full goes a moment later.
        beyond = if disk > bound { beyond + 1 } else { 0 };
        if beyond == 10 {
            tally.findings.other(format!(
                "the log takes {:.1} MiB, more than what is retained, two segments and their indexes ({:.1} MiB)",
                mib(disk),
                mib(bound)
            ));
        }
        let Some(vitals) = Vitals::of(server.pid()) else {
            tally.findings.other("the server is gone");
            return;
        };
        if Instant::now() >= warm {
            samples.anonymous.push(vitals.anonymous);
            samples.descriptors.push(vitals.descriptors);
            samples.threads.push(vitals.threads);
            samples.maps.push(vitals.maps);
        }
        thread::sleep(interval);
    }
    judge(&samples, tally);
    judge_times(work, (warm, end), length, tally);
}

fn quarters(values: &[u64]) -> (u64, u64) {
    let quarter = (values.len() / 4).max(1);
    let first = values.get(..quarter).unwrap_or(values);
    let last = values.get(values.len() - quarter.min(values.len())..);
    (
        median(first.to_vec()),
        median(last.unwrap_or_default().to_vec()),
    )
}

fn judge(samples: &Samples, tally: &mut Tally) {
    let (percent, bytes) = GROWTH_MAX;
    for (what, figures, values, more) in [
        (
            "anonymous bytes",
            ["anonymous_first_mib", "anonymous_last_mib"],
            &samples.anonymous,
            None,
        ),
        (
            "descriptors",
            ["descriptors_first", "descriptors_last"],
            &samples.descriptors,
            Some(DESCRIPTORS_MORE),
        ),
        (
            "threads",
            ["threads_first", "threads_last"],
            &samples.threads,
            Some(THREADS_MORE),
        ),
        (
            "maps",
            ["maps_first", "maps_last"],
            &samples.maps,
            Some(MAPS_MORE),
        ),
    ] {
        let (first, last) = quarters(values);
        let shown = |value: u64| {
            if more.is_none() {
                mib(value)
            } else {
                value as f64
            }
        };
        let [of_first, of_last] = figures;
        tally.at_most(of_first, shown(first));
        tally.at_most(of_last, shown(last));
        let more = more.unwrap_or((first * percent / 100).max(bytes));
        if last > first + more {
            tally.findings.other(format!(
                "{what}: {first} after the warm-up, {last} in the end"
            ));
        }
    }
}

fn judge_times(work: &Work, (warm, end): (Instant, Instant), length: Duration, tally: &mut Tally) {
    let part = end.saturating_duration_since(warm) / 6;
    let first = work.latencies.percentile(99, warm, warm + part);
    let last = work.latencies.percentile(99, end - part, end);
    let middle = work.latencies.percentile(50, warm, end);
    let (Some(first), Some(last), Some(middle)) = (first, last, middle) else {
        tally
            .findings
            .other("nothing was published in a part of the time");
        return;
    };
    tally.at_most("p50_ms", ms(middle));
    tally.at_most("p99_first_ms", ms(first));
    tally.at_most("p99_last_ms", ms(last));
    let slower = last.as_micros() * 100 > first.as_micros() * u128::from(SLOWER_MAX);
    if slower && length >= JUDGED_LENGTH {
        tally
            .findings
            .other(format!("p99 was {first:?}, and {last:?} in the end"));
    }
}

/// What all clients share.
#[derive(Debug)]
struct Work {
    address: SocketAddr,
    end: AtomicBool,
    paced: AtomicBool,
    latencies: Latencies,
    /// Events that were acknowledged, and publishes of which that is not known.
    acknowledged: AtomicU64,
    unknown: AtomicU64,
    shown: AtomicU64,
    delivered: AtomicU64,
    access_key: String,
    findings: Mutex<Findings>,
}

impl Work {
    fn new(address: SocketAddr) -> io::Result<Self> {
        let answer = native::ok(Client::new(address).send(Call {
            method: "POST",
            path: "/auth/token",
            headers: &[JSON],
            body: r#"{"grant_type":"client_credentials","client_id":"shop","client_secret":"shop-secret"}"#,
        })?)?;
        let json: serde_json::Value = serde_json::from_str(&answer.body)?;
        let key = json.pointer("/content/jwt_token");
        let key = key.and_then(serde_json::Value::as_str);
        Ok(Self {
            address,
            end: AtomicBool::new(false),
            paced: AtomicBool::new(false),
            latencies: Latencies::default(),
            acknowledged: AtomicU64::new(0),
            unknown: AtomicU64::new(0),
            shown: AtomicU64::new(0),
            delivered: AtomicU64::new(0),
            access_key: key.unwrap_or_default().to_owned(),
            findings: Mutex::default(),
        })
    }

    fn spawn(
        self: &Arc<Self>,
        threads: &mut Vec<JoinHandle<()>>,
        work: impl FnOnce(&Self) + Send + 'static,
    ) {
        let shared = Arc::clone(self);
        threads.push(thread::spawn(move || work(&shared)));
    }

    fn is_over(&self) -> bool {
        self.end.load(Ordering::SeqCst)
    }

    fn find(&self, words: String) {
        let mut findings = self.findings.lock().unwrap_or_else(PoisonError::into_inner);
        findings.other(words);
    }

    /// Counts an event that somebody was shown after `last`; its id.
    fn see(&self, who: &str, id: u64, last: u64) -> u64 {
        if last != 0 && id != last + 1 {
            self.find(format!("{who} was shown {id} after {last}"));
        }
        self.shown.fetch_add(1, Ordering::Relaxed);
        id
    }
}

#[derive(Clone, Copy, Debug)]
enum Door {
    Native,
    Newstore,
    Axon,
    Pavbis,
    Eventhos,
}

fn doors() -> Vec<Door> {
    let mut doors = vec![Door::Native; NATIVE];
    doors.extend([Door::Newstore, Door::Axon, Door::Pavbis, Door::Eventhos]);
    doors
}

impl Door {
    /// How many events a publish has.
    fn events(self) -> u64 {
        match self {
            Self::Native => BATCH,
            Self::Newstore | Self::Axon | Self::Pavbis | Self::Eventhos => 1,
        }
    }

    /// Publishes what is numbered so; the status.
    fn publish(self, client: &mut Client, number: &str, access_key: &str) -> io::Result<u16> {
        let (path, headers, body): (&str, Vec<(&str, &str)>, String) = match self {
            Self::Native => {
                let padding = "p".repeat(PADDING_BYTES);
                let line = |index: u64| {
                    format!(
                        "{{\"stream\":\"s{index}\",\"type\":\"t\",\"tags\":[\"n:{number}\"],\"data\":{{\"number\":\"{number}\",\"padding\":\"{padding}\"}}}}\n"
                    )
                };
                let headers = vec![
                    ("Content-Type", "application/x-ndjson"),
                    ("Idempotency-Key", number),
                ];
                let lines = (0..BATCH).map(line).collect();
                ("/v1/logs/default/events", headers, lines)
            }
            Self::Newstore => {
                let headers = vec![
                    JSON,
                    ("team", "t"),
                    ("service", "s"),
                    ("entity-id", "e"),
                    ("tenant", "a"),
                    ("idempotency-key", number),
                ];
                let body = format!(r#"{{"name":"created","number":"{number}"}}"#);
                ("/newstore/events", headers, body)
            }
            Self::Axon => {
                let path = "/v1/contexts/default/events/created";
                (path, vec![JSON], format!(r#"{{"number":"{number}"}}"#))
            }
            Self::Pavbis => {
                let headers = vec![
                    JSON,
                    ("Authorization", "Basic dGVzdDp0ZXN0"),
                    ("X-Producer-ID", "soak"),
                ];
                let body = format!(
                    r#"{{"event":{{"name":"created","version":1}},"payload":{{"number":"{number}"}}}}"#
                );
                ("/api/v1/streams/orders/events", headers, body)
            }
            Self::Eventhos => {
                let path = "/event/send?event-identifier=placed";
                let headers = vec![JSON, ("access-key", access_key)];
                (path, headers, format!(r#"{{"number":"{number}"}}"#))
            }
        };
        let answer = client.send(Call {
            method: "POST",
            path,
            headers: &headers,
            body: &body,
        })?;
        Ok(answer.status)
    }
}

fn publish(work: &Work, door: Door, thread: usize) {
    let mut client = Client::new(work.address);
    let begun = Instant::now();
    let (mut number, mut interval, mut next) = (0_u64, None, begun);
    while !work.is_over() {
        if work.paced.load(Ordering::SeqCst) {
            let interval = *interval.get_or_insert_with(|| {
                next = Instant::now();
                let peak = begun.elapsed() / u32::try_from(number.max(1)).unwrap_or(u32::MAX);
                peak * 100 / u32::try_from(SHARE_PERCENT).unwrap_or(100)
            });
            next += interval;
            let now = Instant::now();
            // What was missed is made up for as long as it is little.
            next = next.max(now.checked_sub(interval * 3).unwrap_or(now));
            thread::sleep(
                next.saturating_duration_since(now)
                    .min(Duration::from_secs(1)),
            );
        }
        number += 1;
        let start = Instant::now();
        let name = format!("{thread}-{number}");
        match door.publish(&mut client, &name, &work.access_key) {
            Ok(200..300) => {
                work.latencies.add(start);
                work.acknowledged
                    .fetch_add(door.events(), Ordering::Relaxed);
            }
            Ok(status) => work.find(format!("a publish through {door:?} was answered {status}")),
            Err(error) => {
                work.unknown.fetch_add(1, Ordering::Relaxed);
                work.find(format!("a publish through {door:?}: {error}"));
            }
        }
    }
}

/// Reads what is new, as pages or as lines.
fn follow(work: &Work, lines: bool) {
    let mut client = Client::new(work.address);
    let mut last = 0;
    while !work.is_over() {
        let mut seen = last;
        let read = native::read(&mut client, last, lines, 1, |event| {
            seen = work.see("a reader", event.id, seen);
        });
        last = seen;
        if let Err(error) = read {
            work.find(format!("a reader: {error}"));
            last = 0;
            thread::sleep(PAUSE);
        }
    }
}

/// Follows as an event stream.
fn listen(work: &Work) {
    let mut last = native::last_id(&mut Client::new(work.address)).unwrap_or(0);
    while !work.is_over() {
        let path = format!("{}/events?after={last}", native::LOG);
        let opened = Lines::open(work.address, &path, "text/event-stream", SILENCE_MAX);
        let read = || -> io::Result<()> {
            let mut lines = opened?;
            while let Some(line) = lines.next()? {
                if work.is_over() {
                    return Ok(());
                }
                if let Some(id) = line.strip_prefix("id:") {
                    let id = id.trim().parse().map_err(io::Error::other)?;
                    last = work.see("an event stream", id, last);
                }
            }
            Err(io::Error::other("it ended"))
        };
        if let Err(error) = read() {
            work.find(format!("an event stream: {error}"));
            thread::sleep(PAUSE);
        }
    }
}

fn consume(work: &Work) {
    const NAME: &str = "soak";
    let mut client = Client::new(work.address);
    if let Err(error) = native::define(&mut client, NAME) {
        work.find(format!("a consumer: {error}"));
    }
    let mut seen = 0;
    while !work.is_over() {
        let mut once = || {
            let last = native::consume(&mut client, NAME, 200, |event| {
                seen = work.see("a consumer", event.id, seen);
            })?;
            if last == 0 {
                return Ok(());
            }
            native::acknowledge(&mut client, NAME, last)
        };
        if let Err(error) = once() {
            work.find(format!("a consumer: {error}"));
            seen = 0;
            thread::sleep(PAUSE);
        }
    }
}

/// The fault on purpose: waits for events that do not come, on ever more connections.
fn leak(work: &Work) {
    let mut held = Vec::new();
    while !work.is_over() {
        if let Ok(mut stream) = TcpStream::connect(work.address) {
            let _asked = write!(
                stream,
                "GET {}/events?after=1000000000 HTTP/1.1\r\nHost: localhost\r\nPrefer: wait=30\r\n\r\n",
                native::LOG
            );
            held.push(stream);
        }
        thread::sleep(PAUSE * 2);
    }
}

/// What a webhook calls.
#[derive(Debug)]
struct Sink {
    address: SocketAddr,
}

impl Sink {
    fn start(work: &Arc<Work>) -> io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let address = listener.local_addr()?;
        let work = Arc::clone(work);
        // Ends with the first connection after the end; see `drop`.
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                if work.is_over() {
                    return;
                }
                let work = Arc::clone(&work);
                thread::spawn(move || receive(&work, stream));
            }
        });
        Ok(Self { address })
    }

    fn register(&self, server: SocketAddr) -> io::Result<()> {
        let body = format!("{{\"url\":\"http://{}/\",\"batchSize\":200}}", self.address);
        native::ok(Client::new(server).send(Call {
            method: "PUT",
            path: &format!("{}/webhooks/soak", native::LOG),
            headers: &[JSON],
            body: &body,
        })?)
        .map(drop)
    }
}

impl Drop for Sink {
    fn drop(&mut self) {
        let _woken = TcpStream::connect(self.address);
    }
}

/// Takes calls; the connection ends with the server.
fn receive(work: &Work, stream: TcpStream) -> Option<()> {
    let mut reader = BufReader::new(stream.try_clone().ok()?);
    let mut writer = stream;
    loop {
        for id in calls::next(&mut reader)?.ids {
            // One call at a time, so the ids of all of them go up.
            let before = work.delivered.swap(id, Ordering::SeqCst);
            if before != 0 && id != before + 1 {
                work.find(format!("a webhook was sent {id} after {before}"));
            }
        }
        writer
            .write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
            .ok()?;
    }
}

/// Everything that was acknowledged is counted, and reaches the webhook.
fn finish(work: &Work, server: &Server, control: bool, tally: &mut Tally) {
    let acknowledged = work.acknowledged.load(Ordering::SeqCst);
    tally.acknowledged += acknowledged;
    let last = native::last_id(&mut Client::new(server.address())).unwrap_or(0);
    if last != acknowledged && work.unknown.load(Ordering::SeqCst) == 0 {
        tally.findings.lost += 1;
        tally.findings.other(format!(
            "{acknowledged} events were acknowledged, the last is {last}"
        ));
    }
    let first = native::first_id(&mut Client::new(server.address())).unwrap_or(0);
    tally.at_most("first_id", first as f64);
    if first <= 1 && !control {
        tally
            .findings
            .other("retention has removed nothing, so the run proves little");
    }
    let arrived = crate::load::Load::wait(Duration::from_secs(10), || {
        work.delivered.load(Ordering::SeqCst) >= last
    });
    if !arrived {
        let delivered = work.delivered.load(Ordering::SeqCst);
        tally.findings.other(format!(
            "the webhook was sent events up to {delivered} of {last} 10 s after the last one"
        ));
    }
    tally.count("shown", work.shown.load(Ordering::SeqCst) as f64);
    let mut findings = work.findings.lock().unwrap_or_else(PoisonError::into_inner);
    tally.findings.add(std::mem::take(&mut *findings));
}
