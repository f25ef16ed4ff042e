//! Clients that are slow on purpose, or gone at once: they are closed in time, cost little while they
//! are there, leave nothing behind, and nobody else waits for them.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use rustix::net::sockopt::{set_socket_linger, set_socket_recv_buffer_size};

use crate::http::{Call, Client};
use crate::interrupt;
use crate::load::{Load, Shape};
use crate::native::{self, Published};
use crate::rig::{Context, Rig, Slice, Tally, World, nothing};
use crate::server::Server;
use crate::vitals::{Latencies, Vitals, load, mib, ms, tcp_bytes};

pub(crate) const RIG: Rig = Rig {
    name: "slow",
    about: "slow heads, bodies and readers, silence, resets, slow streams under a fast producer",
    control: "the server waits for slow clients for ten minutes",
    missing: nothing,
    run,
    ci_cycles: 1,
    control_cycles: 1,
};

/// How long the server waits for slow clients, in seconds, and in the control.
const TIMEOUT_S: u64 = 3;
const CONTROL_TIMEOUT_S: u64 = 600;
/// How much later than that a connection may be closed; and how late that may be seen, as it is looked
/// for so often on a machine that has other things to do.
const LATE_MAX: Duration = Duration::from_secs(1);
const SEEN_LATE_MAX: Duration = Duration::from_secs(1);
/// How long it may take until the buffers of the system are full between the server and those who read
/// nothing: their time begins then, which nobody outside can see.
const FILL_MAX: Duration = Duration::from_secs(3);
/// Memory that a slow connection may take, in bytes, and what a server that works takes besides.
const CONNECTION_BYTES_MAX: u64 = 32 << 10;
const WORK_BYTES: u64 = 8 << 20;
/// Within which time the memory is back, and how near, in bytes.
const BACK_MAX: Duration = Duration::from_secs(30);
const BACK_BYTES: u64 = 16 << 20;
/// What the allocator may keep of a connection that is gone, in bytes: glibc gives back what lies at the
/// end of an arena, and there is nearly always something small that stays.
const KEPT_BYTES_MAX: u64 = 24 << 10;
/// How much more memory the same crowd may take when it comes for the third time than the second time:
/// what is kept is to be used again, and whatever is lost would be taken once more.
const AGAIN_BYTES_MAX: u64 = 8 << 20;
/// How much slower an honest client may be than alone, and what is not worth a word.
const HONEST_TIMES_MAX: u32 = 2;
const HONEST_MIN: Duration = Duration::from_millis(20);
/// The part of its own rate that a producer keeps while others read slowly. One twentieth less is what
/// is wanted; a machine that is shared is not steadier than this.
const PRODUCER_PERCENT_MIN: u64 = 80;
/// Memory that a slow reader of a stream may take, in bytes: the piece that is being sent, and the next
/// one. A piece of events is larger than a connection, so these are counted apart.
const READER_BYTES_MAX: u64 = 300 << 10;
/// Memory of the system's own that a slow reader may take, in bytes: what waits to be sent, and what the
/// client has not read, each with what the system needs to keep it.
const SYSTEM_READER_BYTES_MAX: u64 = 512 << 10;
/// From this time on that is left, it is a long run: more of everything, and times are judged.
const LONG: Duration = Duration::from_secs(120);
/// How often slow clients send a byte.
const BYTE_PAUSE: Duration = Duration::from_millis(250);
/// Bytes that nobody's buffers take.
const LOG_BYTES: usize = 12 << 20;
/// Connections that come and go in a second.
const RESETS_PER_S: u32 = 1_000;

/// How much is done.
#[derive(Clone, Copy, Debug)]
struct Size {
    of_each: usize,
    readers: usize,
    alone: Duration,
    resets: Duration,
    judged: bool,
}

impl Size {
    fn of(slice: &Slice) -> Self {
        let long = slice.until.saturating_duration_since(Instant::now()) > LONG;
        if long && !slice.control {
            Self {
                of_each: 500,
                readers: 50,
                alone: Duration::from_secs(5),
                resets: Duration::from_secs(10),
                judged: true,
            }
        } else {
            Self {
                of_each: 40,
                readers: 8,
                alone: Duration::from_secs(1),
                resets: Duration::from_secs(1),
                judged: false,
            }
        }
    }
}

fn run(context: &Context, slice: &Slice) -> Result<Tally, String> {
    let mut tally = Tally::default();
    while slice.goes_on(&tally) {
        let size = Size::of(slice);
        let directory = context.place.fresh("slow").map_err(describe)?;
        let mut launch = context.launch(&directory.join("data"), &directory);
        launch.config = Some(settings(&directory, slice.control).map_err(describe)?);
        let server = launch.start().map_err(|refused| refused.to_string())?;
        tally.cycles += 1;
        fill(server.address()).map_err(describe)?;
        if !slice.control {
            // First, while the allocator has nothing to give that was taken before.
            streams(&server, size, &mut tally)?;
        }
        let first = clients(&server, size, "first", slice.control, &mut tally)?;
        if !slice.control {
            if size.judged {
                again(&server, size, first, &mut tally)?;
            }
            resets(&server, size, &mut tally)?;
        }
        server.kill();
        let mut random = context.random("slow", slice.first + tally.cycles);
        World::new(launch, Shape::default(), &mut random).listen(&mut tally.findings);
    }
    Ok(tally)
}

#[expect(clippy::needless_pass_by_value, reason = "it is handed over so")]
fn describe(error: io::Error) -> String {
    error.to_string()
}

fn settings(directory: &Path, control: bool) -> io::Result<std::path::PathBuf> {
    let seconds = if control {
        CONTROL_TIMEOUT_S
    } else {
        TIMEOUT_S
    };
    let config = directory.join("strandlog.toml");
    let text = format!(
        "segment_bytes = 1048576\n[timeouts]\nheader_seconds = {seconds}\nbody_seconds = {seconds}\nwrite_seconds = {seconds}\n"
    );
    std::fs::write(&config, text)?;
    Ok(config)
}

/// Enough events that a reader who takes nothing stops the server's writing.
fn fill(address: SocketAddr) -> io::Result<()> {
    const EVENT_BYTES: usize = 50 << 10;
    const BATCH: usize = 10;
    let mut client = Client::new(address);
    let line = format!(
        "{{\"stream\":\"filled\",\"type\":\"t\",\"data\":\"{}\"}}\n",
        "x".repeat(EVENT_BYTES)
    );
    let lines = line.repeat(BATCH);
    for number in 0..LOG_BYTES / EVENT_BYTES / BATCH {
        match native::publish(&mut client, &lines, &format!("fill-{number}"))? {
            Published::Acknowledged(_) => {}
            other => return Err(io::Error::other(format!("{other:?}"))),
        }
    }
    Ok(())
}

fn vitals(server: &Server) -> Result<Vitals, String> {
    Vitals::of(server.pid()).ok_or_else(|| "the server is gone".to_owned())
}

/// An honest client that publishes until it is told to end.
#[derive(Debug)]
struct Honest {
    end: Arc<AtomicBool>,
    latencies: Arc<Latencies>,
    refused: Arc<AtomicU64>,
    thread: JoinHandle<()>,
}

impl Honest {
    fn start(address: SocketAddr, name: &'static str, pause: Duration) -> Self {
        let end = Arc::new(AtomicBool::new(false));
        let latencies = Arc::new(Latencies::default());
        let refused = Arc::new(AtomicU64::new(0));
        let thread = thread::spawn({
            let (end, latencies) = (Arc::clone(&end), Arc::clone(&latencies));
            let refused = Arc::clone(&refused);
            move || {
                let mut client = Client::new(address);
                let line = format!(
                    "{{\"stream\":\"{name}\",\"type\":\"t\",\"data\":\"{}\"}}\n",
                    "y".repeat(2_000)
                );
                for number in 0_u64.. {
                    if end.load(Ordering::SeqCst) {
                        return;
                    }
                    let start = Instant::now();
                    let key = format!("{name}-{number}");
                    match native::publish(&mut client, &line, &key) {
                        Ok(Published::Acknowledged(_)) => latencies.add(start),
                        Ok(_) | Err(_) => {
                            refused.fetch_add(1, Ordering::Relaxed);
                        }
                    }
                    thread::sleep(pause);
                }
            }
        });
        Self {
            end,
            latencies,
            refused,
            thread,
        }
    }

    fn finish(self, tally: &mut Tally) -> Arc<Latencies> {
        self.end.store(true, Ordering::SeqCst);
        let _ended = self.thread.join();
        let refused = self.refused.load(Ordering::SeqCst);
        if refused > 0 {
            tally.findings.other(format!(
                "{refused} publishes of an honest client were not taken"
            ));
        }
        tally.acknowledged += self.latencies.count() as u64;
        self.latencies
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Silent,
    Head,
    Body,
    Reader,
}

impl Kind {
    const ALL: [Self; 4] = [Self::Silent, Self::Head, Self::Body, Self::Reader];

    fn open(self, address: SocketAddr) -> io::Result<TcpStream> {
        let mut stream = TcpStream::connect(address)?;
        match self {
            Self::Silent => {}
            Self::Head => stream.write_all(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nX-Slow: ")?,
            Self::Body => stream.write_all(
                b"POST /v1/logs/default/events HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 4096\r\n\r\n[",
            )?,
            Self::Reader => {
                set_socket_recv_buffer_size(&stream, 4 << 10)?;
                // Records cost the server next to nothing to send: what is measured is that it
                // waits, not that five hundred ask for everything.
                ask_for_stream(&mut stream, "application/vnd.strandlog.records", 0)?;
            }
        }
        stream.set_nonblocking(true)?;
        Ok(stream)
    }
}

fn ask_for_stream(stream: &mut TcpStream, accept: &str, after: u64) -> io::Result<()> {
    write!(
        stream,
        "GET {}/events?after={after} HTTP/1.1\r\nHost: localhost\r\nAccept: {accept}\r\n\r\n",
        native::LOG
    )
}

/// All kinds at a time, so many of each, and an honest client of that name beside them. The most memory
/// that the server had.
fn clients(
    server: &Server,
    size: Size,
    name: &'static str,
    control: bool,
    tally: &mut Tally,
) -> Result<u64, String> {
    let address = server.address();
    let honest = Honest::start(address, name, Duration::from_millis(5));
    let alone = Instant::now();
    thread::sleep(size.alone);
    let base = vitals(server)?;
    let begun = Instant::now();
    let mut open: Vec<(Kind, TcpStream, Instant)> = Vec::new();
    for kind in [Kind::Silent, Kind::Head, Kind::Body] {
        for _ in 0..size.of_each {
            let stream = kind.open(address).map_err(describe)?;
            open.push((kind, stream, Instant::now()));
        }
    }
    let plain = open.len() as u64;
    thread::sleep(BYTE_PAUSE * 2);
    let of_plain = vitals(server)?.anonymous.saturating_sub(base.anonymous);
    let system_base = tcp_bytes();
    for _ in 0..size.of_each {
        let stream = Kind::Reader.open(address).map_err(describe)?;
        open.push((Kind::Reader, stream, Instant::now()));
    }
    let opened = Instant::now();
    let count = open.len() as u64;
    let (mut highest, mut system_highest) = (0, 0);
    let mut closed = [Duration::ZERO; 4];
    let deadline = opened + Duration::from_secs(TIMEOUT_S) + LATE_MAX + SEEN_LATE_MAX + FILL_MAX;
    let mut all_closed = None;
    while Instant::now() < deadline && !interrupt::came() {
        let now = vitals(server)?;
        highest = highest.max(now.anonymous);
        system_highest = system_highest.max(tcp_bytes());
        open.retain_mut(|(kind, stream, since)| {
            let kept = still_open(*kind, stream);
            if !kept
                && let Some(at) = Kind::ALL.iter().position(|known| known == kind)
                && let Some(last) = closed.get_mut(at)
            {
                *last = since.elapsed().max(*last);
            }
            kept
        });
        // A reader does not see its end before it has read all there is, so the server's own
        // descriptors tell.
        if now.descriptors <= base.descriptors + 2 && opened.elapsed() > BYTE_PAUSE {
            all_closed = Some(opened.elapsed());
            break;
        }
        thread::sleep(BYTE_PAUSE);
    }
    let attacked = Instant::now();
    tally.at_most("load", load());
    let [silent, head, body, _reader] = closed;
    for (what, last) in [("silent", silent), ("slow head", head), ("slow body", body)] {
        if last > Duration::from_secs(TIMEOUT_S) + LATE_MAX + SEEN_LATE_MAX {
            tally
                .findings
                .other(format!("the last {what} was closed after {last:?}"));
        }
    }
    for (figure, value) in [
        ("silent_closed_s", silent),
        ("head_closed_s", head),
        ("body_closed_s", body),
        ("all_closed_s", all_closed.unwrap_or_default()),
    ] {
        tally.at_most(figure, value.as_secs_f64());
    }
    if all_closed.is_none() {
        let left = vitals(server)?.descriptors.saturating_sub(base.descriptors);
        tally.findings.other(format!(
            "{left} slow connections of {count} are there {:?} after the last was opened, with a timeout of {TIMEOUT_S} s",
            opened.elapsed()
        ));
        if control {
            honest.finish(tally);
            return Ok(highest);
        }
    }
    tally.at_most("kib_a_connection", of_plain as f64 / plain as f64 / 1_024.0);
    if of_plain > plain * CONNECTION_BYTES_MAX + WORK_BYTES {
        tally.findings.other(format!(
            "{plain} slow connections took {:.1} MiB, more than 32 KiB each",
            mib(of_plain)
        ));
    }
    let readers = count - plain;
    let of_readers = highest.saturating_sub(base.anonymous + of_plain);
    tally.at_most(
        "kib_a_slow_reader",
        of_readers as f64 / readers as f64 / 1_024.0,
    );
    if of_readers > readers * READER_BYTES_MAX + WORK_BYTES {
        tally.findings.other(format!(
            "{readers} slow readers took {:.1} MiB, more than two pieces each",
            mib(of_readers)
        ));
    }
    let system = system_highest.saturating_sub(system_base);
    tally.at_most(
        "system_kib_a_slow_reader",
        system as f64 / readers as f64 / 1_024.0,
    );
    if system > readers * SYSTEM_READER_BYTES_MAX + WORK_BYTES {
        tally.findings.other(format!(
            "{readers} slow readers took {:.1} MiB of the system's own memory",
            mib(system)
        ));
    }
    drop(open);
    // Alone again: the machine may have had other things to do all the time.
    let again = Instant::now();
    thread::sleep(size.alone);
    let end = Instant::now();
    let latencies = honest.finish(tally);
    let before = latencies.percentile(99, alone, begun);
    let after = latencies.percentile(99, again, end);
    let then = latencies.percentile(99, begun, attacked);
    compare(before.max(after), then, size, tally);
    back(server, base, count, tally);
    Ok(highest)
}

/// The same twice more, now that the allocator has what it keeps for them.
fn again(server: &Server, size: Size, first: u64, tally: &mut Tally) -> Result<(), String> {
    let second = clients(server, size, "second", false, tally)?;
    let third = clients(server, size, "third", false, tally)?;
    tally.at_most("first_crowd_mib", mib(first));
    tally.at_most("second_crowd_mib", mib(second));
    tally.at_most("third_crowd_mib", mib(third));
    if third > second + AGAIN_BYTES_MAX {
        tally.findings.other(format!(
            "the same slow clients took {:.1} MiB, then {:.1} MiB, then {:.1} MiB",
            mib(first),
            mib(second),
            mib(third)
        ));
    }
    Ok(())
}

/// Waits until the memory is as it was, but for what the allocator keeps of so many connections.
fn back(server: &Server, base: Vitals, connections: u64, tally: &mut Tally) {
    let kept = BACK_BYTES.max(connections * KEPT_BYTES_MAX);
    let start = Instant::now();
    let mut left = 0;
    let is_back = Load::wait(BACK_MAX, || {
        left = Vitals::of(server.pid()).map_or(0, |now| now.anonymous);
        left = left.saturating_sub(base.anonymous);
        left <= kept
    });
    tally.at_most("memory_back_s", start.elapsed().as_secs_f64());
    tally.at_most("memory_left_mib", mib(left));
    if !is_back {
        tally.findings.other(format!(
            "{:.1} MiB more than before are taken {BACK_MAX:?} after the last slow client is gone",
            mib(left)
        ));
    }
}

fn compare(alone: Option<Duration>, then: Option<Duration>, size: Size, tally: &mut Tally) {
    let (Some(alone), Some(then)) = (alone, then) else {
        tally
            .findings
            .other("an honest client has published nothing");
        return;
    };
    tally.at_most("honest_p99_alone_ms", ms(alone));
    tally.at_most("honest_p99_then_ms", ms(then));
    if size.judged && then > (alone * HONEST_TIMES_MAX).max(HONEST_MIN) {
        tally.findings.other(format!(
            "honest p99: {alone:?} alone, {then:?} among slow clients"
        ));
    }
}

/// Sends the next byte of what is slow; false once the other side has closed.
fn still_open(kind: Kind, stream: &mut TcpStream) -> bool {
    if kind == Kind::Reader {
        return true;
    }
    let waits =
        |error: &io::Error| matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted);
    let mut answer = [0; 512];
    loop {
        match stream.read(&mut answer) {
            Ok(0) => return false,
            // A refusal; the end comes behind it.
            Ok(_) => {}
            Err(error) if waits(&error) => break,
            Err(_) => return false,
        }
    }
    match kind {
        Kind::Silent | Kind::Reader => true,
        Kind::Head | Kind::Body => match stream.write(b" ") {
            Ok(_) => true,
            Err(error) => waits(&error),
        },
    }
}

/// Connections that are reset: before a byte, in the middle of a request, before the answer.
fn resets(server: &Server, size: Size, tally: &mut Tally) -> Result<(), String> {
    let address = server.address();
    let base = vitals(server)?;
    let honest = Honest::start(address, "among-resets", Duration::from_millis(5));
    let start = Instant::now();
    let (mut number, mut failed) = (0_u32, 0_u32);
    while start.elapsed() < size.resets && !interrupt::came() {
        let reset = || -> io::Result<()> {
            let mut stream = TcpStream::connect_timeout(&address, Duration::from_secs(2))?;
            match number % 3 {
                0 => {}
                1 => stream
                    .write_all(b"POST /v1/logs/default/events HTTP/1.1\r\nHost: localhost\r\n")?,
                _ => stream.write_all(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")?,
            }
            set_socket_linger(&stream, Some(Duration::ZERO))?;
            Ok(())
        };
        failed += u32::from(reset().is_err());
        number += 1;
        let due = start + Duration::from_secs(1) * number / RESETS_PER_S;
        thread::sleep(due.saturating_duration_since(Instant::now()));
    }
    tally.at_most(
        "resets_per_s",
        f64::from(number) / start.elapsed().as_secs_f64(),
    );
    tally.count("connects_refused", f64::from(failed));
    let closed = Load::wait(LATE_MAX + SEEN_LATE_MAX, || {
        // One more is the honest client's own.
        Vitals::of(server.pid()).is_some_and(|now| now.descriptors <= base.descriptors + 3)
    });
    honest.finish(tally);
    if !closed {
        let left = vitals(server)?.descriptors.saturating_sub(base.descriptors);
        tally.findings.other(format!(
            "{left} connections that were reset are still there"
        ));
    }
    let healthy = Client::new(address).send(Call::get("/healthz"));
    if !healthy.is_ok_and(|answer| answer.status == 200) {
        tally.findings.other("no answer after many resets");
    }
    back(server, base, 1, tally);
    Ok(())
}

/// Readers of event streams and of lines that take next to nothing, while somebody publishes as fast as
/// possible: they are paced or given up, and the producer does not notice.
fn streams(server: &Server, size: Size, tally: &mut Tally) -> Result<(), String> {
    let address = server.address();
    let rate = |tally: &mut Tally, name: &'static str, time: Duration| {
        let start = Instant::now();
        let producer = Honest::start(address, name, Duration::ZERO);
        thread::sleep(time);
        let count = producer.latencies.count() as f64;
        let rate = count / start.elapsed().as_secs_f64();
        producer.finish(tally);
        rate
    };
    let before = rate(tally, "before", size.alone);
    let base = vitals(server)?;
    let mut readers = Vec::new();
    for number in 0..size.readers {
        let mut stream = TcpStream::connect(address).map_err(describe)?;
        set_socket_recv_buffer_size(&stream, 4 << 10).map_err(|error| error.to_string())?;
        let accept = ["text/event-stream", "application/x-ndjson"];
        let accept = accept.get(number % accept.len()).copied();
        ask_for_stream(&mut stream, accept.unwrap_or_default(), 0).map_err(describe)?;
        readers.push(stream);
    }
    let begun = Instant::now();
    let among = rate(tally, "among", size.alone.max(Duration::from_secs(1)));
    let taken = vitals(server)?.anonymous.saturating_sub(base.anonymous);
    tally.at_most("kib_a_reader", taken as f64 / size.readers as f64 / 1_024.0);
    if taken > size.readers as u64 * READER_BYTES_MAX + WORK_BYTES {
        tally.findings.other(format!(
            "{} slow readers took {:.1} MiB",
            size.readers,
            mib(taken)
        ));
    }
    // They have taken nothing since their buffers were full.
    let patience = Duration::from_secs(TIMEOUT_S) + LATE_MAX + SEEN_LATE_MAX;
    let given_up = Load::wait(patience, || {
        Vitals::of(server.pid()).is_some_and(|now| now.descriptors <= base.descriptors + 2)
    });
    tally.at_most("readers_given_up_s", begun.elapsed().as_secs_f64());
    if !given_up {
        tally
            .findings
            .other("readers that take nothing are not given up");
    }
    drop(readers);
    let after = rate(tally, "after", size.alone);
    // As for latencies: the machine may have had other things to do all the time.
    let alone = before.min(after);
    tally.at_most("producer_alone_per_s", alone);
    tally.at_most("producer_among_per_s", among);
    if size.judged && among * 100.0 < alone * PRODUCER_PERCENT_MIN as f64 {
        tally.findings.other(format!(
            "a producer makes {among:.0} publishes a second among slow readers, {alone:.0} without"
        ));
    }
    back(server, base, size.readers as u64, tally);
    Ok(())
}
