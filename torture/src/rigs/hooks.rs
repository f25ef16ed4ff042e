//! Receivers of webhooks that hang, reset, refuse, move away, trickle and send without end: every event
//! reaches each of them, in order; no call takes longer than it may; nobody else waits.

use std::collections::HashSet;
use std::io::{self, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use rustix::net::sockopt::{set_socket_linger, set_socket_send_buffer_size};

use crate::calls;
use crate::http::{Call, Client};
use crate::interrupt;
use crate::load::{Load, Shape};
use crate::native;
use crate::rig::{Context, Rig, Slice, Tally, World, nothing};
use crate::vitals::{Vitals, mib};

pub(crate) const RIG: Rig = Rig {
    name: "hooks",
    about: "receivers that time out, reset, answer 500, 429, 410, 302, late, 1 GiB, a byte a second",
    control: "events are given up after the first attempt",
    missing: nothing,
    run,
    ci_cycles: 1,
    control_cycles: 1,
};

/// How long a call may take, in milliseconds; and how much later its end may be, and be seen.
const TIMEOUT_MS: u64 = 1_000;
const LATE_MAX: Duration = Duration::from_millis(1_500);
/// How late an event may be at a receiver that takes everything at once.
const HONEST_MAX: Duration = Duration::from_secs(5);
/// Events, in a long run and else. Each waits for a second attempt at most receivers.
const EVENTS: [u64; 2] = [30, 3];
/// How long an event may take to all receivers, and what comes on top once.
const EVENT_TIME: Duration = Duration::from_secs(8);
const PATIENCE: Duration = Duration::from_secs(15);
const CONTROL_PATIENCE: Duration = Duration::from_secs(6);
/// From this time on that is left, it is a long run.
const LONG: Duration = Duration::from_secs(120);
/// What the longest answer would have, and what may leave the receiver of it: what is read, and what
/// the buffers of the system take.
const ENDLESS_BYTES: u64 = 1 << 30;
const TAKEN_BYTES_MAX: u64 = 16 << 20;
/// Memory that all of it may take.
const WORK_BYTES: u64 = 24 << 20;

/// What a receiver does with the first attempt of each delivery; the others it takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Manner {
    /// It takes all.
    Honest,
    /// It says nothing.
    Hang,
    /// It resets the connection.
    Reset,
    /// It answers so.
    Status(u16),
    /// It wants no more calls, once.
    Gone,
    /// It points elsewhere.
    Redirect,
    /// It takes all, late.
    Late,
    /// It takes all, and answers with more than anybody reads.
    Endless,
    /// It answers with a byte a second.
    Trickle,
}

impl Manner {
    const ALL: [Self; 10] = [
        Self::Honest,
        Self::Hang,
        Self::Reset,
        Self::Status(500),
        Self::Status(429),
        Self::Gone,
        Self::Redirect,
        Self::Late,
        Self::Endless,
        Self::Trickle,
    ];

    fn name(self) -> String {
        match self {
            Self::Status(status) => format!("status-{status}"),
            other => format!("{other:?}").to_lowercase(),
        }
    }
}

/// What a receiver has seen.
#[derive(Debug, Default)]
struct Seen {
    deliveries: HashSet<String>,
    /// The ids of all calls.
    called: Vec<u64>,
    /// Those of the calls that were answered with a success.
    taken: Vec<u64>,
    last_taken: Option<Instant>,
    longest: Duration,
    most_bytes: u64,
}

#[derive(Debug)]
struct Receiver {
    manner: Manner,
    address: SocketAddr,
    seen: Mutex<Seen>,
    end: AtomicBool,
}

impl Receiver {
    fn start(manner: Manner, elsewhere: SocketAddr) -> io::Result<Arc<Self>> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let receiver = Arc::new(Self {
            manner,
            address: listener.local_addr()?,
            seen: Mutex::default(),
            end: AtomicBool::new(false),
        });
        let shared = Arc::clone(&receiver);
        // Ends with the first connection after the end; see `finish`.
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                if shared.end.load(Ordering::SeqCst) {
                    return;
                }
                let shared = Arc::clone(&shared);
                thread::spawn(move || shared.serve(stream, elsewhere));
            }
        });
        Ok(receiver)
    }

    fn finish(&self) {
        self.end.store(true, Ordering::SeqCst);
        let _woken = TcpStream::connect(self.address);
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn serve(&self, stream: TcpStream, elsewhere: SocketAddr) -> Option<()> {
        let mut reader = BufReader::new(stream.try_clone().ok()?);
        let mut writer = stream;
        loop {
            let called = calls::next(&mut reader)?;
            let first = {
                let mut seen = self.seen();
                seen.called.extend(&called.ids);
                seen.deliveries.insert(called.delivery)
            };
            let odd = match self.manner {
                Manner::Honest => false,
                Manner::Gone => first && self.seen().deliveries.len() == 1,
                Manner::Late | Manner::Endless => true,
                _ => first,
            };
            if !odd {
                self.take(&called.ids);
                answer(&mut writer, "200 OK", "")?;
                continue;
            }
            match self.manner {
                Manner::Honest => {}
                Manner::Hang => return self.until_closed(&mut reader),
                Manner::Reset => {
                    set_socket_linger(&writer, Some(Duration::ZERO)).ok()?;
                    return None;
                }
                Manner::Status(status) => answer(&mut writer, &format!("{status} No"), "")?,
                Manner::Gone => answer(&mut writer, "410 Gone", "")?,
                Manner::Redirect => {
                    let location = format!("Location: http://{elsewhere}/\r\n");
                    answer(&mut writer, "302 Found", &location)?;
                }
                Manner::Late => {
                    thread::sleep(Duration::from_millis(TIMEOUT_MS / 2));
                    self.take(&called.ids);
                    answer(&mut writer, "200 OK", "")?;
                }
                Manner::Endless => {
                    self.take(&called.ids);
                    return self.endless(&mut writer);
                }
                Manner::Trickle => {
                    writer
                        .write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 3600\r\n\r\n")
                        .ok()?;
                    let mut bytes = writer.try_clone().ok()?;
                    thread::spawn(move || {
                        while bytes.write_all(b".").is_ok() {
                            thread::sleep(Duration::from_secs(1));
                        }
                    });
                    return self.until_closed(&mut reader);
                }
            }
        }
    }

    fn take(&self, ids: &[u64]) {
        let mut seen = self.seen();
        seen.taken.extend(ids);
        seen.last_taken = Some(Instant::now());
    }

    /// Waits for the other side to give up, and remembers how long that took.
    fn until_closed(&self, reader: &mut BufReader<TcpStream>) -> Option<()> {
        let start = Instant::now();
        let _closed = reader.read(&mut [0; 1]);
        let mut seen = self.seen();
        seen.longest = seen.longest.max(start.elapsed());
        None
    }

    /// Answers until nobody listens.
    fn endless(&self, writer: &mut TcpStream) -> Option<()> {
        set_socket_send_buffer_size(&*writer, 64 << 10).ok()?;
        let start = Instant::now();
        let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {ENDLESS_BYTES}\r\n\r\n");
        writer.write_all(head.as_bytes()).ok()?;
        let chunk = vec![b'e'; 64 << 10];
        let mut written = 0;
        while written < ENDLESS_BYTES && writer.write_all(&chunk).is_ok() {
            written += chunk.len() as u64;
        }
        let mut seen = self.seen();
        seen.most_bytes = seen.most_bytes.max(written);
        seen.longest = seen.longest.max(start.elapsed());
        None
    }
}

fn answer(writer: &mut TcpStream, status: &str, headers: &str) -> Option<()> {
    let text = format!("HTTP/1.1 {status}\r\n{headers}Content-Length: 0\r\n\r\n");
    writer.write_all(text.as_bytes()).ok()
}

fn run(context: &Context, slice: &Slice) -> Result<Tally, String> {
    let mut tally = Tally::default();
    let long = slice.until.saturating_duration_since(Instant::now()) > LONG && !slice.control;
    let [of_long, of_short] = EVENTS;
    while slice.goes_on(&tally) {
        tally.cycles += 1;
        let events = if long { of_long } else { of_short };
        deliver(context, events, slice.control, &mut tally)?;
    }
    Ok(tally)
}

fn deliver(context: &Context, events: u64, control: bool, tally: &mut Tally) -> Result<(), String> {
    let describe = |error: io::Error| error.to_string();
    let directory = context.place.fresh("hooks").map_err(describe)?;
    let config = directory.join("strandlog.toml");
    let text = "segment_bytes = 131072\n[webhooks]\nallow = [\"127.0.0.0/8\"]\n";
    std::fs::write(&config, text).map_err(describe)?;
    let mut launch = context.launch(&directory.join("data"), &directory);
    launch.config = Some(config);
    let mut server = launch.start().map_err(|refused| refused.to_string())?;
    let mut client = Client::new(server.address());

    let elsewhere = Receiver::start(Manner::Honest, server.address()).map_err(describe)?;
    let mut receivers = Vec::new();
    for manner in Manner::ALL {
        let receiver = Receiver::start(manner, elsewhere.address).map_err(describe)?;
        let attempts = if control { 1 } else { 20 };
        let body = format!(
            "{{\"url\":\"http://{}/\",\"timeoutMs\":{TIMEOUT_MS},\"attemptsMax\":{attempts}}}",
            receiver.address
        );
        let path = format!("{}/webhooks/{}", native::LOG, manner.name());
        json(&mut client, "PUT", &path, &body).map_err(describe)?;
        receivers.push(receiver);
    }
    let base = Vitals::of(server.pid()).map_or(0, |vitals| vitals.anonymous);
    let start = Instant::now();
    let lines: String = (0..events)
        .map(|number| format!("{{\"stream\":\"s\",\"type\":\"t\",\"data\":{number}}}\n"))
        .collect();
    native::publish(&mut client, &lines, "events").map_err(describe)?;
    tally.acknowledged += events;

    let patience = if control {
        CONTROL_PATIENCE
    } else {
        PATIENCE + EVENT_TIME * u32::try_from(events).unwrap_or(u32::MAX)
    };
    let mut highest = base;
    Load::wait(patience, || {
        thread::sleep(Duration::from_millis(50));
        highest = highest.max(Vitals::of(server.pid()).map_or(0, |vitals| vitals.anonymous));
        resume(&mut client);
        let has_all = |receiver: &Arc<Receiver>| receiver.seen().taken.last() == Some(&events);
        receivers.iter().all(has_all)
    });
    for receiver in &receivers {
        judge(receiver, events, start, tally);
    }
    if !elsewhere.seen().called.is_empty() {
        tally.findings.other("a redirect was followed");
    }
    tally.at_most("anonymous_more_mib", mib(highest.saturating_sub(base)));
    if highest > base + WORK_BYTES {
        tally.findings.other(format!(
            "{:.1} MiB were taken by calls",
            mib(highest - base)
        ));
    }
    if let Some(status) = server.ended() {
        tally.findings.other(format!("the server ended: {status}"));
    }
    tally.at_most("all_delivered_s", start.elapsed().as_secs_f64());
    server.signal(rustix::process::Signal::TERM);
    if server.wait(Duration::from_secs(10)).is_none() {
        tally.findings.other("the server did not stop within 10 s");
    }
    drop(server);
    for receiver in receivers.iter().chain([&elsewhere]) {
        receiver.finish();
    }
    let world = World::new(launch, Shape::default(), &mut context.random("hooks", 0));
    world.verify(&mut tally.findings);
    world.listen(&mut tally.findings);
    Ok(())
}

/// Has the receiver called again that wanted no more calls, as an operator would.
fn resume(client: &mut Client) {
    let path = format!("{}/webhooks/{}", native::LOG, Manner::Gone.name());
    let shown = client.send(Call::get(&path));
    if shown.is_ok_and(|answer| answer.body.contains("\"state\":\"gone\"")) {
        let _resumed = json(client, "POST", &format!("{path}/resume"), "");
    }
}

fn json(client: &mut Client, method: &str, path: &str, body: &str) -> io::Result<()> {
    let json = [("Content-Type", "application/json")];
    native::ok(client.send(Call {
        method,
        path,
        headers: if body.is_empty() { &[] } else { &json },
        body,
    })?)
    .map(drop)
}

fn judge(receiver: &Receiver, events: u64, start: Instant, tally: &mut Tally) {
    if interrupt::came() {
        return;
    }
    let seen = receiver.seen();
    let name = receiver.manner.name();
    let mut taken = seen.taken.clone();
    // Again is allowed: at least once.
    taken.dedup();
    if taken != (1..=events).collect::<Vec<_>>() {
        tally
            .findings
            .other(format!("{name}: of {events} events {taken:?} were taken"));
    }
    if !seen.called.is_sorted() {
        tally.findings.other(format!(
            "{name}: the calls are out of order: {:?}",
            seen.called
        ));
    }
    tally.count("calls", seen.called.len() as f64);
    tally.at_most("longest_call_s", seen.longest.as_secs_f64());
    if seen.longest > Duration::from_millis(TIMEOUT_MS) + LATE_MAX {
        tally
            .findings
            .other(format!("{name}: a call took {:?}", seen.longest));
    }
    if receiver.manner == Manner::Endless {
        tally.at_most("endless_answer_taken_mib", mib(seen.most_bytes));
        if seen.most_bytes > TAKEN_BYTES_MAX {
            tally.findings.other(format!(
                "{:.0} MiB of an answer without end were taken",
                mib(seen.most_bytes)
            ));
        }
    }
    if receiver.manner == Manner::Honest {
        let late = seen
            .last_taken
            .map(|at| at.saturating_duration_since(start));
        tally.at_most("honest_s", late.unwrap_or_default().as_secs_f64());
        if late.is_none_or(|late| late > HONEST_MAX) {
            tally
                .findings
                .other(format!("an honest receiver had everything after {late:?}"));
        }
    }
}
