//! A webhook's receiver: one that often refuses, dawdles or hangs up, and remembers what it was sent.
//!
//! What a server may do follows from the answers alone: it sends everything in order, it goes on
//! only behind what was answered with success, and what it once went on behind is never sent again.

use std::io::{self, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU16, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use serde::Deserialize;

use crate::http::{self, Client};
use crate::load::Load;
use crate::native::{self, Shown};
use crate::oracle::Oracle;
use crate::random::Random;

/// How long the server waits for an answer, in milliseconds.
const CALL_TIMEOUT_MS: u64 = 300;
/// How long a slow answer takes, in milliseconds: some come too late.
const SLOW_MS: (u64, u64) = (20, 600);
/// The most events of a call.
const BATCH_MAX: u64 = 100;
/// How many calls of a hundred are answered as they should be.
const GOOD_PERCENT: u64 = 60;
/// How long the calls of a server that is gone may take to end.
const SETTLE_PATIENCE: Duration = Duration::from_secs(10);
/// How often it is looked whether they have.
const PAUSE: Duration = Duration::from_millis(2);

/// What calls have shown so far, and what their answers allow.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Record {
    /// Everything up to here was shown.
    shown: u64,
    /// The latest call began here, so its server's place was just before it, and durable.
    begun: u64,
    /// Everything up to here may have been answered with success.
    granted: u64,
    /// Calls whose events were read, and those that were answered with success.
    calls: u64,
    successes: u64,
}

impl Record {
    /// A call with the events from `first` to `last`; what is wrong about it.
    fn take(&mut self, first: u64, last: u64) -> Option<String> {
        let Self { begun, granted, .. } = *self;
        self.calls += 1;
        self.begun = begun.max(first);
        self.shown = self.shown.max(last);
        if first > granted + 1 {
            Some(format!(
                "the webhook is called with {first}, though no more than {granted} was answered with success"
            ))
        } else if first < begun {
            Some(format!(
                "the webhook is called with {first} again, and went on with {begun} before"
            ))
        } else {
            None
        }
    }

    fn grant(&mut self, last: u64) {
        self.successes += 1;
        self.granted = self.granted.max(last);
    }
}

#[derive(Debug)]
struct Shared {
    oracle: Arc<Oracle>,
    record: Mutex<Record>,
    random: Mutex<Random>,
    /// Connections that were accepted and have not ended.
    open: AtomicU64,
    /// Where the latest connection came from.
    latest_port: AtomicU16,
    is_honest: AtomicBool,
    /// Slow answers end now: the server that waited for them is gone.
    is_settling: AtomicBool,
    /// What is answered with success is forgotten now and then: a fault on purpose.
    is_deaf: AtomicBool,
    is_over: AtomicBool,
}

/// The receiver; ends when it is dropped.
#[derive(Debug)]
pub(crate) struct Sink {
    address: SocketAddr,
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
    is_defined: AtomicBool,
}

/// What is done about a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Manner {
    Good,
    Slow,
    Error,
    Busy,
    Elsewhere,
    /// The connection is reset before the body was read.
    Reset,
    /// Everything was read, and nothing is answered.
    Silent,
    /// The answer ends in its first line.
    Torn,
}

#[derive(Deserialize)]
struct Calls<'a> {
    #[serde(borrow)]
    events: Vec<Shown<'a>>,
}

impl Sink {
    /// A receiver on a free port.
    pub(crate) fn new(oracle: &Arc<Oracle>, seed: u64) -> io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let address = listener.local_addr()?;
        let shared = Arc::new(Shared {
            oracle: Arc::clone(oracle),
            record: Mutex::default(),
            random: Mutex::new(Random::new(seed)),
            open: AtomicU64::new(0),
            latest_port: AtomicU16::new(0),
            is_honest: AtomicBool::new(false),
            is_settling: AtomicBool::new(false),
            is_deaf: AtomicBool::new(false),
            is_over: AtomicBool::new(false),
        });
        let accepting = Arc::clone(&shared);
        let thread = thread::spawn(move || accept(&listener, &accepting));
        Ok(Self {
            address,
            shared,
            thread: Some(thread),
            is_defined: AtomicBool::new(false),
        })
    }

    /// From here on every call is answered with success, or not any more.
    pub(crate) fn be_honest(&self, honest: bool) {
        self.shared.is_honest.store(honest, Ordering::SeqCst);
    }

    /// It forgets calls that it has answered with success: a fault on purpose.
    pub(crate) fn be_deaf(&self) {
        self.shared.is_deaf.store(true, Ordering::SeqCst);
    }

    /// Has the server call, unless it was told before.
    pub(crate) fn define(&self, client: &mut Client) -> io::Result<()> {
        if self.is_defined() {
            return Ok(());
        }
        let definition = format!(
            "{{\"url\":\"http://{}/\",\"start\":\"first\",\"batchSize\":{BATCH_MAX},\
             \"timeoutMs\":{CALL_TIMEOUT_MS},\"attemptsMax\":10000}}",
            self.address
        );
        native::define_webhook(client, &definition)?;
        self.is_defined.store(true, Ordering::SeqCst);
        Ok(())
    }

    /// Whether the server was told, and has said so.
    pub(crate) fn is_defined(&self) -> bool {
        self.is_defined.load(Ordering::SeqCst)
    }

    /// Waits for the calls of a server that is gone: what it has sent is taken note of before the
    /// next one calls.
    pub(crate) fn settle(&self) {
        self.shared.is_settling.store(true, Ordering::SeqCst);
        // Connections are accepted in their order, and this one is the last.
        if let Ok(last) = TcpStream::connect(self.address) {
            let port = last.local_addr().map_or(0, |address| address.port());
            drop(last);
            let deadline = Instant::now() + SETTLE_PATIENCE;
            let is_settled = || {
                self.shared.latest_port.load(Ordering::SeqCst) == port
                    && self.shared.open.load(Ordering::SeqCst) == 0
            };
            while !is_settled() && Instant::now() < deadline {
                thread::sleep(PAUSE);
            }
            if !is_settled() {
                self.shared
                    .oracle
                    .find("the calls of a server that is gone do not end");
            }
        }
        self.shared.is_settling.store(false, Ordering::SeqCst);
    }

    /// Compares the webhook's place with what was called; what is wrong with it.
    pub(crate) fn check(&self, client: &mut Client) -> Option<String> {
        if !self.is_defined() {
            return None;
        }
        let begun = self.shared.record().begun;
        let at = native::webhook_checkpoint(client);
        let granted = self.shared.record().granted;
        match at {
            Ok(at) if at + 1 < begun || at > granted => Some(format!(
                "the webhook's place is {at}: it was called from {begun} on, and up to {granted} was answered with success"
            )),
            Ok(_) => None,
            Err(error) => Some(format!("the webhook's place is not told: {error}")),
        }
    }

    /// Calls so far whose events were read, and those of them that were answered with success.
    pub(crate) fn calls(&self) -> (u64, u64) {
        let record = self.shared.record();
        (record.calls, record.successes)
    }

    /// Waits until everything up to `end` was shown; what is missing.
    pub(crate) fn await_shown(&self, end: u64, patience: Duration) -> Option<String> {
        if !self.is_defined()
            || Load::wait(patience, || self.shared.record().shown >= end)
            || crate::interrupt::came()
        {
            return None;
        }
        let shown = self.shared.record().shown;
        Some(format!(
            "the webhook was shown no more than {shown} of {end} within {patience:?}"
        ))
    }
}

impl Drop for Sink {
    fn drop(&mut self) {
        self.shared.is_over.store(true, Ordering::SeqCst);
        self.shared.is_settling.store(true, Ordering::SeqCst);
        // Somebody has to wake it.
        let _woken = TcpStream::connect(self.address);
        if let Some(thread) = self.thread.take() {
            let _ended = thread.join();
        }
    }
}

impl Shared {
    fn record(&self) -> MutexGuard<'_, Record> {
        self.record
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    fn random(&self) -> MutexGuard<'_, Random> {
        self.random
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    fn manner(&self) -> Manner {
        if self.is_honest.load(Ordering::SeqCst) {
            return Manner::Good;
        }
        let mut random = self.random();
        if random.chance(GOOD_PERCENT) {
            return Manner::Good;
        }
        let others = [
            Manner::Slow,
            Manner::Error,
            Manner::Busy,
            Manner::Elsewhere,
            Manner::Reset,
            Manner::Silent,
            Manner::Torn,
        ];
        let index = random.below(others.len() as u64) as usize;
        others.get(index).copied().unwrap_or(Manner::Error)
    }

    /// Waits as a slow receiver does, while there is somebody who waits for it.
    fn dawdle(&self) {
        let wait = self.random().between(SLOW_MS.0, SLOW_MS.1);
        let until = Instant::now() + Duration::from_millis(wait);
        while Instant::now() < until && !self.is_settling.load(Ordering::SeqCst) {
            thread::sleep(PAUSE);
        }
    }

    /// Takes note of a call, its last id.
    fn take(&self, body: &str) -> Result<u64, String> {
        let calls: Calls<'_> =
            serde_json::from_str(body).map_err(|error| format!("a call is no list: {error}"))?;
        let (Some(first), Some(last)) = (calls.events.first(), calls.events.last()) else {
            return Err("a call without events".to_owned());
        };
        let (first, last) = (first.id, last.id);
        if let Some(wrong) = self.record().take(first, last) {
            self.oracle.find(wrong);
        }
        let mut after = first - 1;
        for event in &calls.events {
            self.oracle.show(event, after);
            after = event.id;
        }
        Ok(last)
    }
}

fn accept(listener: &TcpListener, shared: &Arc<Shared>) {
    loop {
        let accepted = listener.accept();
        if shared.is_over.load(Ordering::SeqCst) {
            return;
        }
        let Ok((stream, from)) = accepted else {
            continue;
        };
        shared.open.fetch_add(1, Ordering::SeqCst);
        shared.latest_port.store(from.port(), Ordering::SeqCst);
        let of = Arc::clone(shared);
        thread::spawn(move || {
            // An end of the connection is the server's own affair.
            let _ended = converse(stream, &of);
            of.open.fetch_sub(1, Ordering::SeqCst);
        });
    }
}

/// Answers the calls of one connection.
fn converse(stream: TcpStream, shared: &Shared) -> io::Result<()> {
    stream.set_read_timeout(Some(http::PATIENCE))?;
    stream.set_write_timeout(Some(http::PATIENCE))?;
    stream.set_nodelay(true)?;
    let mut connection = BufReader::new(stream);
    loop {
        let len = http::read_call_head(&mut connection)?;
        let manner = shared.manner();
        if manner == Manner::Reset {
            // What is left unread makes the end a reset.
            return Ok(());
        }
        let mut body = vec![0; len];
        connection.read_exact(&mut body)?;
        let body = String::from_utf8_lossy(&body);
        let is_unheard = shared.is_deaf.load(Ordering::SeqCst) && shared.random().chance(30);
        let last = if is_unheard {
            Ok(0)
        } else {
            shared.take(&body)
        };
        let last = match last {
            Ok(last) => last,
            Err(wrong) => {
                shared.oracle.find(wrong);
                return Ok(());
            }
        };
        let (status, is_torn) = match manner {
            Manner::Good => ("200 OK", false),
            Manner::Slow => {
                shared.dawdle();
                ("204 No Content", false)
            }
            Manner::Error => ("500 Internal Server Error", false),
            Manner::Busy => ("429 Too Many Requests", false),
            Manner::Elsewhere => ("302 Found\r\nLocation: /elsewhere", false),
            Manner::Torn => ("20", true),
            Manner::Reset | Manner::Silent => return Ok(()),
        };
        if status.starts_with("20") && !is_torn {
            // Before a byte of it is sent: the server may act upon it at once.
            shared.record().grant(last);
        }
        let end = if is_torn {
            ""
        } else if status.starts_with("204") {
            "\r\n\r\n"
        } else {
            "\r\nContent-Length: 2\r\n\r\nok"
        };
        let connection = connection.get_mut();
        connection.write_all(format!("HTTP/1.1 {status}{end}").as_bytes())?;
        if is_torn {
            return Ok(());
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

    use super::*;

    #[test]
    fn calls_go_on_behind_what_was_answered_and_nowhere_else() {
        let mut record = Record::default();
        assert_eq!(record.take(1, 5), None);
        // Not answered, so the same again, perhaps with more.
        assert_eq!(record.take(1, 7), None);
        record.grant(7);
        assert_eq!(record.take(8, 9), None);
        assert_eq!((record.shown, record.begun, record.granted), (9, 8, 7));
    }

    #[test]
    fn a_call_that_leaves_events_out_is_a_finding() {
        let mut record = Record::default();
        assert!(record.take(2, 2).is_some());
        let mut record = Record::default();
        assert_eq!(record.take(1, 5), None);
        assert!(record.take(6, 8).is_some(), "1 to 5 was not answered");
    }

    #[test]
    fn a_call_with_what_was_done_with_is_a_finding() {
        let mut record = Record::default();
        assert_eq!(record.take(1, 5), None);
        record.grant(5);
        assert_eq!(record.take(6, 8), None);
        assert!(record.take(1, 8).is_some());
    }

    #[test]
    fn what_was_called_is_shown_to_the_oracle() {
        let oracle = Arc::new(Oracle::default());
        let sink = Sink::new(&oracle, 1).unwrap();
        sink.be_honest(true);
        let mut client = Client::new(sink.address);
        let event = |id: u64, data: u64| {
            format!(
                r#"{{"id":{id},"stream":"s","sequence":{},"recordedAt":"","data":{data}}}"#,
                id - 1
            )
        };
        let mut call = |body: &str| {
            let call = http::Call {
                method: "POST",
                path: "/",
                headers: &[],
                body,
            };
            client.send(call).unwrap().status
        };
        let body = format!("{{\"events\":[{},{}]}}", event(1, 1), event(2, 1));
        assert_eq!(call(&body), 200);
        assert_eq!(oracle.take_findings().count(), 0);
        assert_eq!(call(&format!("{{\"events\":[{}]}}", event(2, 7))), 200);
        let findings = oracle.take_findings();
        assert_eq!(findings.taken_back, 1, "{findings:?}");
        drop(client);
        sink.settle();
        assert_eq!(oracle.take_findings().count(), 0);
    }
}
