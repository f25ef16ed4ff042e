//! Waiting for one answer: a plain future on `std` wakers, and a blocking twin. No runtime.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use crate::sync::{Condvar, Mutex};

/// The side that gives the answer, once. Dropping it instead tells the other side that there will be
/// none, so that nobody waits for a thread that is gone.
pub(crate) struct Ticket<T>(Arc<Slot<T>>);

/// The side that waits for it.
#[must_use = "nobody learns the outcome otherwise"]
pub(crate) struct Answer<T>(Arc<Slot<T>>);

struct Slot<T> {
    state: Mutex<State<T>>,
    answered: Condvar,
}

enum State<T> {
    /// No answer yet; whom to wake.
    Open(Option<Waker>),
    Answered(T),
    /// There will be no answer, or it has been taken.
    Closed,
}

/// Both sides of one answer.
pub(crate) fn ticket<T>() -> (Ticket<T>, Answer<T>) {
    let slot = Arc::new(Slot {
        state: Mutex::new(State::Open(None)),
        answered: Condvar::new(),
    });
    (Ticket(Arc::clone(&slot)), Answer(slot))
}

impl<T> Ticket<T> {
    /// Gives the answer. The waker runs after the lock is released.
    pub(crate) fn answer(self, value: T) {
        self.0.end(State::Answered(value));
    }
}

impl<T> Drop for Ticket<T> {
    fn drop(&mut self) {
        let is_open = matches!(*self.0.state.lock(), State::Open(_));
        if is_open {
            self.0.end(State::Closed);
        }
    }
}

impl<T> Slot<T> {
    fn end(&self, end: State<T>) {
        let before = std::mem::replace(&mut *self.state.lock(), end);
        match before {
            State::Open(Some(waker)) => waker.wake(),
            // A blocked thread may be waiting; a future that was never polled is not.
            State::Open(None) => {
                self.answered.notify_one();
            }
            State::Answered(_) | State::Closed => {}
        }
    }
}

impl<T> Answer<T> {
    /// Blocks until there is an answer; `None` if there will be none.
    pub(crate) fn wait(self) -> Option<T> {
        let mut state = self.0.state.lock();
        loop {
            match std::mem::replace(&mut *state, State::Closed) {
                State::Answered(value) => return Some(value),
                State::Closed => return None,
                State::Open(_) => {
                    *state = State::Open(None);
                    self.0.answered.wait(&mut state);
                }
            }
        }
    }
}

impl<T> Future for Answer<T> {
    type Output = Option<T>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<T>> {
        let mut state = self.0.state.lock();
        match std::mem::replace(&mut *state, State::Closed) {
            State::Answered(value) => Poll::Ready(Some(value)),
            State::Closed => Poll::Ready(None),
            State::Open(_) => {
                *state = State::Open(Some(context.waker().clone()));
                Poll::Pending
            }
        }
    }
}

impl<T> fmt::Debug for Ticket<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ticket").finish_non_exhaustive()
    }
}

impl<T> fmt::Debug for Answer<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Answer").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_reaches_a_blocked_thread() {
        let (ticket, answer) = ticket();
        let waiting = std::thread::spawn(move || answer.wait());
        ticket.answer(7);
        assert_eq!(waiting.join().unwrap(), Some(7));
    }

    #[test]
    fn an_answer_reaches_a_future() {
        let (ticket, mut answer) = ticket();
        let mut context = Context::from_waker(Waker::noop());
        assert_eq!(Pin::new(&mut answer).poll(&mut context), Poll::Pending);
        ticket.answer(7);
        assert_eq!(
            Pin::new(&mut answer).poll(&mut context),
            Poll::Ready(Some(7))
        );
    }

    #[test]
    fn nobody_waits_for_an_answer_that_will_not_come() {
        let (ticket, answer) = ticket::<u8>();
        let waiting = std::thread::spawn(move || answer.wait());
        drop(ticket);
        assert_eq!(waiting.join().unwrap(), None);
    }
}
