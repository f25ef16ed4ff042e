//! Clients at work: producers that retry until they are answered, readers that follow, consumers
//! that acknowledge. What they know outlives the server, and is handed on from one to the next.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crate::doors::{self, Door};
use crate::http::Client;
use crate::native::{self, Published};
use crate::oracle::{Oracle, Origin};
use crate::random::Random;
use crate::sink::Sink;

/// How long a client waits before it tries again.
const RETRY_PAUSE: Duration = Duration::from_millis(10);
/// How many events a consumer takes at a time, and one that acknowledges as often as it can.
const CALM_EVENTS: u64 = 200;
const EAGER_EVENTS: u64 = 3;
/// Streams that producers share.
const STREAMS: u64 = 5;

/// How large the events are.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shape {
    /// Producers.
    pub(crate) producers: u64,
    /// The longest padding of an event, in bytes.
    pub(crate) padding_max: u64,
    /// The most events of a batch.
    pub(crate) batch_max: u64,
    /// Consumers. Those from the third on acknowledge after a few events each.
    pub(crate) consumers: usize,
}

impl Default for Shape {
    fn default() -> Self {
        Self {
            producers: 8,
            padding_max: 700,
            batch_max: 6,
            consumers: 2,
        }
    }
}

/// A batch that is under way.
#[derive(Clone, Debug)]
struct Pending {
    origins: Vec<Origin>,
    /// Lines at the native door, the data of the one event elsewhere.
    body: String,
    stream: String,
    name: String,
    key: String,
    floor: u64,
    /// It was sent before, and may be there.
    is_repeat: bool,
}

/// A producer, with what it was not answered yet.
#[derive(Debug)]
struct Producer {
    number: u64,
    batch: u64,
    random: Random,
    pending: Option<Pending>,
}

/// A reader, with the id up to which it has read.
#[derive(Debug)]
struct Reader {
    after: u64,
    lines: bool,
}

/// A consumer.
#[derive(Debug)]
struct Consumer {
    name: String,
    /// How many events it takes before it acknowledges them, at most.
    events_max: u64,
}

/// All clients while they are not at work.
#[derive(Debug)]
pub(crate) struct Crew {
    shape: Shape,
    producers: Vec<Producer>,
    readers: Vec<Reader>,
    consumers: Vec<Consumer>,
    /// Retries come with a key of their own: a fault on purpose, which makes duplicates.
    pub(crate) forgetful: bool,
}

impl Crew {
    /// Clients that have done nothing yet.
    pub(crate) fn new(shape: Shape, random: &mut Random) -> Self {
        Self {
            shape,
            producers: (0..shape.producers)
                .map(|number| Producer {
                    number,
                    batch: 0,
                    random: Random::new(random.next()),
                    pending: None,
                })
                .collect(),
            readers: vec![
                Reader {
                    after: 0,
                    lines: false,
                },
                Reader {
                    after: 0,
                    lines: true,
                },
            ],
            consumers: (1..=shape.consumers)
                .map(|number| Consumer {
                    name: match number {
                        1 => "first".to_owned(),
                        2 => "second".to_owned(),
                        number => format!("eager-{number}"),
                    },
                    events_max: if number > 2 {
                        EAGER_EVENTS
                    } else {
                        CALM_EVENTS
                    },
                })
                .collect(),
            forgetful: false,
        }
    }
}

/// What was answered, and how fast.
#[derive(Debug, Default)]
pub(crate) struct Meter {
    statuses: Mutex<BTreeMap<u16, u64>>,
    slowest_us: AtomicU64,
    reads: AtomicU64,
    failed_reads: AtomicU64,
}

impl Meter {
    /// How many publishes had this status.
    pub(crate) fn count(&self, status: u16) -> u64 {
        let statuses = self
            .statuses
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        statuses.get(&status).copied().unwrap_or(0)
    }

    fn add(&self, status: u16, took: Duration) {
        let mut statuses = self
            .statuses
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        *statuses.entry(status).or_default() += 1;
        let took_us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        self.slowest_us.fetch_max(took_us, Ordering::Relaxed);
    }

    /// The longest that a publish took since the last call.
    pub(crate) fn take_slowest(&self) -> Duration {
        Duration::from_micros(self.slowest_us.swap(0, Ordering::Relaxed))
    }

    /// Reads that were answered, and that were not.
    pub(crate) fn reads(&self) -> (u64, u64) {
        (
            self.reads.load(Ordering::Relaxed),
            self.failed_reads.load(Ordering::Relaxed),
        )
    }
}

#[derive(Debug)]
struct Shared {
    address: SocketAddr,
    oracle: Arc<Oracle>,
    meter: Arc<Meter>,
    producers_end: AtomicBool,
    readers_end: AtomicBool,
    forgetful: bool,
    shape: Shape,
    sink: Arc<Sink>,
}

/// Clients at work.
#[derive(Debug)]
pub(crate) struct Load {
    shared: Arc<Shared>,
    producers: Vec<JoinHandle<Producer>>,
    readers: Vec<JoinHandle<Reader>>,
    consumers: Vec<JoinHandle<Consumer>>,
    /// What was answered.
    pub(crate) meter: Arc<Meter>,
}

impl Load {
    /// Sets the crew to work.
    pub(crate) fn start(
        crew: Crew,
        oracle: &Arc<Oracle>,
        sink: &Arc<Sink>,
        address: SocketAddr,
    ) -> Self {
        let meter = Arc::new(Meter::default());
        let shared = Arc::new(Shared {
            address,
            oracle: Arc::clone(oracle),
            meter: Arc::clone(&meter),
            producers_end: AtomicBool::new(false),
            readers_end: AtomicBool::new(false),
            forgetful: crew.forgetful,
            shape: crew.shape,
            sink: Arc::clone(sink),
        });
        Self {
            producers: each(crew.producers, &shared, produce),
            readers: each(crew.readers, &shared, follow),
            consumers: each(crew.consumers, &shared, consume),
            shared,
            meter,
        }
    }

    /// Ends the work: each client is answered once more, or refused. Readers end first, as long as
    /// there is something new to wake them.
    pub(crate) fn finish(self) -> Crew {
        self.shared.readers_end.store(true, Ordering::SeqCst);
        let readers = joined(self.readers);
        let consumers = joined(self.consumers);
        self.shared.producers_end.store(true, Ordering::SeqCst);
        Crew {
            shape: self.shared.shape,
            producers: joined(self.producers),
            readers,
            consumers,
            forgetful: self.shared.forgetful,
        }
    }

    /// Waits until `condition` holds; whether it came to that.
    pub(crate) fn wait(patience: Duration, mut condition: impl FnMut() -> bool) -> bool {
        let deadline = Instant::now() + patience;
        while !condition() {
            if Instant::now() >= deadline || crate::interrupt::came() {
                return false;
            }
            thread::sleep(Duration::from_millis(1));
        }
        true
    }
}

fn each<T: Send + 'static>(
    all: Vec<T>,
    shared: &Arc<Shared>,
    work: fn(&Shared, T) -> T,
) -> Vec<JoinHandle<T>> {
    all.into_iter()
        .map(|one| {
            let shared = Arc::clone(shared);
            thread::spawn(move || work(&shared, one))
        })
        .collect()
}

fn joined<T>(threads: Vec<JoinHandle<T>>) -> Vec<T> {
    // A client that panicked has lost its memory: the run would go on without it and prove less.
    threads
        .into_iter()
        .map(|thread| match thread.join() {
            Ok(value) => value,
            Err(panic) => std::panic::resume_unwind(panic),
        })
        .collect()
}

fn produce(shared: &Shared, mut producer: Producer) -> Producer {
    let mut client = Client::new(shared.address);
    while !shared.producers_end.load(Ordering::SeqCst) {
        let pending = match producer.pending.take() {
            Some(pending) => pending,
            None => next_batch(shared, &mut producer),
        };
        let start = Instant::now();
        let published = publish(&mut client, &producer, &pending);
        let took = start.elapsed();
        match published {
            Ok(Published::Acknowledged(receipts)) => {
                shared
                    .oracle
                    .acknowledge(&pending.origins, &receipts, pending.floor);
                shared.meter.add(201, took);
                continue;
            }
            Ok(Published::Stored) => {
                for origin in &pending.origins {
                    shared.oracle.acknowledge_unplaced(*origin, pending.floor);
                }
                shared.meter.add(201, took);
                continue;
            }
            Ok(Published::Refused(status)) => shared.meter.add(status, took),
            Ok(Published::Wrong(what)) => {
                shared
                    .oracle
                    .find(format!("a publish was answered: {what}"));
                shared.meter.add(0, took);
            }
            Err(error) => {
                if error.kind() == std::io::ErrorKind::WouldBlock {
                    shared.meter.add(0, took);
                }
            }
        }
        let mut pending = pending;
        pending.is_repeat = true;
        if shared.forgetful {
            pending.key.push('+');
        }
        producer.pending = Some(pending);
        thread::sleep(RETRY_PAUSE);
    }
    producer
}

fn publish(
    client: &mut Client,
    producer: &Producer,
    pending: &Pending,
) -> std::io::Result<Published> {
    let Pending {
        body, name, key, ..
    } = pending;
    match Door::of(producer.number) {
        Door::Native => native::publish(client, body, key),
        Door::Newstore => doors::newstore(client, (&pending.stream, name), body, key),
        Door::Axon => {
            let aggregate = format!("aggregate-{}", producer.number);
            let sequence = producer.batch - 1;
            doors::axon(
                client,
                (&aggregate, name),
                body,
                sequence,
                pending.is_repeat,
            )
        }
    }
}

fn next_batch(shared: &Shared, producer: &mut Producer) -> Pending {
    let random = &mut producer.random;
    let is_native = Door::of(producer.number).takes_batches();
    let of = if is_native {
        1 + random.below(shared.shape.batch_max)
    } else {
        1
    };
    let mut pending = Pending {
        origins: Vec::new(),
        body: String::new(),
        stream: String::new(),
        name: String::new(),
        key: format!("{}-{}", producer.number, producer.batch),
        floor: shared.oracle.floor(),
        is_repeat: false,
    };
    for index in 0..of {
        let origin = Origin {
            producer: producer.number,
            batch: producer.batch,
            index,
            of,
        };
        let data = origin.data(random.below(shared.shape.padding_max + 1));
        let stream = format!("stream-{}", random.below(STREAMS));
        let name = format!("Type{}", random.below(3));
        pending.body.push_str(&if is_native {
            format!("{{\"stream\":\"{stream}\",\"type\":\"{name}\",\"data\":{data}}}\n")
        } else {
            data
        });
        (pending.stream, pending.name) = (stream, name);
        pending.origins.push(origin);
    }
    producer.batch += 1;
    pending
}

fn follow(shared: &Shared, mut reader: Reader) -> Reader {
    let mut client = Client::new(shared.address);
    while !shared.readers_end.load(Ordering::SeqCst) {
        let mut after = reader.after;
        let read = native::read(&mut client, reader.after, reader.lines, 1, |event| {
            shared.oracle.show(&event, after);
            after = event.id;
        });
        reader.after = after;
        if read.is_ok() {
            shared.meter.reads.fetch_add(1, Ordering::Relaxed);
        } else {
            shared.meter.failed_reads.fetch_add(1, Ordering::Relaxed);
            thread::sleep(RETRY_PAUSE);
        }
    }
    reader
}

fn consume(shared: &Shared, consumer: Consumer) -> Consumer {
    let mut client = Client::new(shared.address);
    while !shared.readers_end.load(Ordering::SeqCst) {
        if consume_once(shared, &mut client, &consumer).is_err() {
            thread::sleep(RETRY_PAUSE);
        }
    }
    consumer
}

fn consume_once(shared: &Shared, client: &mut Client, consumer: &Consumer) -> std::io::Result<()> {
    let name = consumer.name.as_str();
    shared.sink.define(client)?;
    let mut place = shared.oracle.place(name);
    if !place.defined {
        native::define(client, name)?;
        place.defined = true;
        shared.oracle.set_place(name, place);
    }
    // An acknowledgement without an answer may have moved the checkpoint or not.
    let mut after = None;
    let last = native::consume(client, name, consumer.events_max, |event| {
        let before = after.unwrap_or(event.id - 1);
        if after.is_none() && !(place.answered..=place.sent).contains(&before) {
            let (answered, sent) = (place.answered, place.sent);
            let id = event.id;
            shared.oracle.find(format!(
                "consumer {name}, acknowledged {answered}, asked for {sent}, is given {id} first"
            ));
        }
        shared.oracle.show(&event, before);
        after = Some(event.id);
    })?;
    if last == 0 {
        return Ok(());
    }
    place.sent = place.sent.max(last);
    shared.oracle.set_place(name, place);
    native::acknowledge(client, name, last)?;
    place.answered = last;
    shared.oracle.set_place(name, place);
    shared.oracle.count_move();
    Ok(())
}
