//! What threads hand to each other, in every order.

use std::sync::Arc;
use std::time::Duration;

use loom::sync::atomic::{AtomicU64, Ordering};
use loom::thread;

use crate::ends::Ends;
use crate::position::EventId;
use crate::queue::{Queue, Refusal, Taken};
use crate::sync::Mutex;
use crate::ticket::ticket;
use crate::waiters::EndMoved;

/// Runs `test` in every order with at most three switches away from a thread that could go on.
fn explore(test: impl Fn() + Send + Sync + 'static) {
    let mut model = loom::model::Builder::new();
    model.preemption_bound = Some(3);
    model.check(test);
}

fn id(number: u64) -> EventId {
    EventId::new(number).expect("tests use ids that there are")
}

const FOREVER: Duration = Duration::MAX;

/// Two publishers, one writer: everything arrives, in each publisher's order, and both are answered.
pub(crate) fn publishers_and_a_writer() {
    explore(|| {
        let queue = Arc::new(Queue::new(8, 1 << 20));
        let publishers: Vec<_> = (0..2_u32)
            .map(|publisher| {
                let queue = Arc::clone(&queue);
                thread::spawn(move || {
                    let (ticket, answer) = ticket();
                    let pushed = queue.push((publisher, ticket), 8);
                    assert!(pushed.is_ok(), "there is room, and the queue is open");
                    assert_eq!(answer.wait(), Some(publisher + 10));
                })
            })
            .collect();
        let mut seen = 0;
        while seen < 2 {
            match queue.take(None) {
                Taken::Items(items) => {
                    for (publisher, ticket) in items {
                        seen += 1;
                        ticket.answer(publisher + 10);
                    }
                }
                Taken::Idle | Taken::Closed => panic!("nobody closes it"),
            }
        }
        for publisher in publishers {
            publisher.join().expect("it asserts");
        }
    });
}

/// The queue closes while a publisher comes: either it is refused, with the reason, or the writer gets
/// what it brought; nobody waits for ever.
pub(crate) fn a_queue_that_closes() {
    explore(|| {
        let queue = Arc::new(Queue::new(8, 1 << 20));
        let publisher = {
            let queue = Arc::clone(&queue);
            thread::spawn(move || {
                let (ticket, answer) = ticket::<()>();
                match queue.push(ticket, 8) {
                    Ok(()) => answer.wait().is_some(),
                    Err((_ticket, Refusal::Closed(why))) => {
                        assert_eq!(&*why, "the end");
                        false
                    }
                    Err((_, Refusal::Busy)) => panic!("there is room"),
                }
            })
        };
        let closer = {
            let queue = Arc::clone(&queue);
            thread::spawn(move || queue.close(&Arc::from("the end")))
        };
        let mut served = 0;
        loop {
            match queue.take(Some(FOREVER)) {
                Taken::Items(items) => {
                    for ticket in items {
                        served += 1;
                        ticket.answer(());
                    }
                }
                Taken::Closed => break,
                Taken::Idle => panic!("time does not pass"),
            }
        }
        closer.join().expect("it cannot fail");
        let was_answered = publisher.join().expect("it asserts");
        assert_eq!(was_answered, served == 1);
    });
}

/// A writer that ends without an answer leaves nobody waiting.
pub(crate) fn a_ticket_that_is_dropped() {
    explore(|| {
        let (ticket, answer) = ticket::<u8>();
        let writer = thread::spawn(move || drop(ticket));
        assert_eq!(answer.wait(), None);
        writer.join().expect("it cannot fail");
    });
}

/// The same hand-off to a future instead of a thread.
pub(crate) fn an_answer_to_a_future() {
    explore(|| {
        let (ticket, answer) = ticket();
        let writer = thread::spawn(move || ticket.answer(7_u8));
        assert_eq!(loom::future::block_on(answer), Some(7));
        writer.join().expect("it cannot fail");
    });
}

/// A log of two segments as readers have it: a list that is replaced as a whole, records that are
/// written before the end is moved.
struct Log {
    ends: Arc<Ends>,
    /// How many segments the list has; the engine swaps a pointer here.
    segments: Mutex<usize>,
    /// Read and written with no order of their own, as mapped bytes are: the ends must give it.
    records: [AtomicU64; 2],
}

impl Log {
    fn new() -> Arc<Self> {
        Arc::new(Self {
            ends: Arc::new(Ends::new(id(1))),
            segments: Mutex::new(1),
            records: [AtomicU64::new(0), AtomicU64::new(0)],
        })
    }

    /// The writer stores a record, the second one in a new segment.
    fn write(&self, number: u64) {
        let index = usize::try_from(number - 1).expect("it is small");
        if index > 0 {
            *self.segments.lock() = index + 1;
        }
        self.records[index].store(number, Ordering::Relaxed);
    }

    /// A reader looks at everything below the end that it sees.
    fn read(&self) -> u64 {
        let end = self.ends.published().get();
        for number in 1..end {
            let index = usize::try_from(number - 1).expect("it is small");
            assert!(index < *self.segments.lock(), "a record in no segment");
            let seen = self.records[index].load(Ordering::Relaxed);
            assert_eq!(seen, number, "a record that is not written");
        }
        end
    }
}

/// A reader that waits for a record sees it, whole, in its segment; and sees no more than there is.
pub(crate) fn a_reader_that_waits() {
    reader_and_writer(true);
}

/// The same with a writer that publishes first and writes then, which must be noticed.
pub(crate) fn a_writer_that_is_too_quick() {
    reader_and_writer(false);
}

fn reader_and_writer(in_order: bool) {
    explore(move || {
        let log = Log::new();
        let writer = {
            let log = Arc::clone(&log);
            thread::spawn(move || {
                for number in 1..=2 {
                    if in_order {
                        log.write(number);
                        log.ends.publish(id(number + 1));
                    } else {
                        log.ends.publish(id(number + 1));
                        log.write(number);
                    }
                }
            })
        };
        let mut seen = 1;
        while seen < 3 {
            let told = EndMoved::new(Arc::clone(&log.ends), id(seen)).wait_timeout(FOREVER);
            let end = log.read();
            assert!(id(end) >= told, "the end goes back");
            assert!(end > seen, "woken, and nothing has moved");
            seen = end;
        }
        writer.join().expect("it cannot fail");
    });
}

/// The same with a future.
pub(crate) fn a_future_that_waits() {
    explore(|| {
        let log = Log::new();
        let writer = {
            let log = Arc::clone(&log);
            thread::spawn(move || {
                log.write(1);
                log.ends.publish(id(2));
            })
        };
        let end = loom::future::block_on(EndMoved::new(Arc::clone(&log.ends), id(1)));
        assert_eq!((end, log.read()), (id(2), 2));
        writer.join().expect("it cannot fail");
    });
}

/// Whoever waits for more learns that there will be none; what was published before is not missed.
pub(crate) fn an_end_that_moves_no_more() {
    explore(|| {
        let log = Log::new();
        let writer = {
            let log = Arc::clone(&log);
            thread::spawn(move || {
                log.write(1);
                log.ends.publish(id(2));
                log.ends.finish();
            })
        };
        let mut seen = id(1);
        while !log.ends.is_over() {
            seen = EndMoved::new(Arc::clone(&log.ends), seen).wait_timeout(FOREVER);
        }
        writer.join().expect("it cannot fail");
        assert_eq!(log.read(), 2);
    });
}

/// The durable end is ahead of the published one wherever the writer syncs first.
pub(crate) fn an_end_that_is_durable_first() {
    explore(|| {
        let ends = Arc::new(Ends::new(id(1)));
        let writer = {
            let ends = Arc::clone(&ends);
            thread::spawn(move || {
                for number in 2..4 {
                    ends.note_durable(id(number));
                    ends.publish(id(number));
                }
            })
        };
        let published = ends.published();
        assert!(ends.durable() >= published, "readable, and not durable");
        writer.join().expect("it cannot fail");
    });
}
