//! What waits for a thread of the log: bounded in number and bytes.

use std::sync::Arc;
use std::time::Duration;

use crate::sync::{Condvar, Mutex};

/// Items on their way from many threads to one.
#[derive(Debug)]
pub(crate) struct Queue<T> {
    state: Mutex<State<T>>,
    arrived: Condvar,
    len_max: usize,
    bytes_max: usize,
}

#[derive(Debug)]
struct State<T> {
    items: Vec<T>,
    bytes: usize,
    /// Why nothing more is taken, if so.
    closed: Option<Arc<str>>,
    /// The taking thread sleeps.
    is_idle: bool,
}

/// Why an item was not taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// Too much waits already.
    Busy,
    /// The queue is closed, for this reason.
    Closed(Arc<str>),
}

/// What a taker gets.
#[derive(Debug)]
pub(crate) enum Taken<T> {
    /// Everything that waited, in the order of arrival.
    Items(Vec<T>),
    /// Nothing came in time.
    Idle,
    /// Nothing waits, and nothing will.
    Closed,
}

impl<T> Queue<T> {
    pub(crate) fn new(len_max: usize, bytes_max: usize) -> Self {
        Self {
            state: Mutex::new(State {
                items: Vec::new(),
                bytes: 0,
                closed: None,
                is_idle: false,
            }),
            arrived: Condvar::new(),
            len_max,
            bytes_max,
        }
    }

    /// Adds an item of `bytes` bytes, or gives it back with the reason.
    pub(crate) fn push(&self, item: T, bytes: usize) -> Result<(), (T, Refusal)> {
        let wake = {
            let mut state = self.state.lock();
            if let Some(why) = &state.closed {
                let why = Arc::clone(why);
                return Err((item, Refusal::Closed(why)));
            }
            // An item that is larger than the whole budget still passes when it is alone.
            let is_over = state.bytes.saturating_add(bytes) > self.bytes_max;
            if state.items.len() >= self.len_max || (is_over && !state.items.is_empty()) {
                return Err((item, Refusal::Busy));
            }
            state.items.push(item);
            state.bytes = state.bytes.saturating_add(bytes);
            std::mem::take(&mut state.is_idle)
        };
        if wake {
            self.arrived.notify_one();
        }
        Ok(())
    }

    /// Adds an item whatever waits already: for what must not be refused because others are many.
    pub(crate) fn push_always(&self, item: T) -> Result<(), (T, Arc<str>)> {
        let wake = {
            let mut state = self.state.lock();
            if let Some(why) = &state.closed {
                let why = Arc::clone(why);
                return Err((item, why));
            }
            state.items.push(item);
            std::mem::take(&mut state.is_idle)
        };
        if wake {
            self.arrived.notify_one();
        }
        Ok(())
    }

    /// Everything that waits; sleeps for it, no longer than `timeout` if there is one.
    pub(crate) fn take(&self, timeout: Option<Duration>) -> Taken<T> {
        let mut state = self.state.lock();
        loop {
            if !state.items.is_empty() {
                state.bytes = 0;
                state.is_idle = false;
                return Taken::Items(std::mem::take(&mut state.items));
            }
            if state.closed.is_some() {
                return Taken::Closed;
            }
            state.is_idle = true;
            match timeout {
                None => self.arrived.wait(&mut state),
                Some(timeout) => {
                    let waited = self.arrived.wait_for(&mut state, timeout);
                    if waited.timed_out() && state.items.is_empty() && state.closed.is_none() {
                        state.is_idle = false;
                        return Taken::Idle;
                    }
                }
            }
        }
    }

    /// Everything that waits, without sleeping.
    pub(crate) fn take_now(&self) -> Vec<T> {
        let mut state = self.state.lock();
        state.bytes = 0;
        std::mem::take(&mut state.items)
    }

    /// Takes nothing more; what waits already can still be taken. The first reason stays.
    pub(crate) fn close(&self, why: &Arc<str>) {
        let mut state = self.state.lock();
        state.closed.get_or_insert_with(|| Arc::clone(why));
        drop(state);
        self.arrived.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn items(queue: &Queue<u8>) -> Vec<u8> {
        match queue.take(None) {
            Taken::Items(items) => items,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_queue_takes_so_many_items_and_bytes_and_one_that_is_larger_when_it_is_alone() {
        let queue = Queue::new(3, 10);
        assert_eq!(queue.push(1, 11), Ok(()));
        assert_eq!(queue.push(2, 0), Err((2, Refusal::Busy)));
        assert_eq!(items(&queue), [1]);
        assert_eq!(queue.push(1, 4), Ok(()));
        assert_eq!(queue.push(2, 7), Err((2, Refusal::Busy)));
        assert_eq!(queue.push(3, 6), Ok(()));
        assert_eq!(queue.push(4, 0), Ok(()));
        assert_eq!(queue.push(5, 0), Err((5, Refusal::Busy)));
        assert_eq!(queue.push_always(6), Ok(()));
        assert_eq!(queue.take_now(), [1, 3, 4, 6]);
        assert_eq!(queue.push(7, 10), Ok(()));
        assert_eq!(items(&queue), [7]);
    }

    #[test]
    fn a_closed_queue_says_why_and_gives_out_what_waits() {
        let queue = Queue::new(3, 10);
        assert!(matches!(queue.take(Some(Duration::ZERO)), Taken::Idle));
        assert_eq!(queue.push(1, 1), Ok(()));
        let why: Arc<str> = Arc::from("the first reason");
        queue.close(&why);
        queue.close(&Arc::from("another"));
        assert_eq!(
            queue.push(2, 1),
            Err((2, Refusal::Closed(Arc::clone(&why))))
        );
        assert_eq!(queue.push_always(3), Err((3, why)));
        assert_eq!(items(&queue), [1]);
        assert!(matches!(queue.take(None), Taken::Closed));
        assert!(matches!(queue.take(Some(Duration::ZERO)), Taken::Closed));
    }
}
