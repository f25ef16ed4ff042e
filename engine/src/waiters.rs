//! Waiting for the end of the log to move.

use std::collections::HashMap;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use crate::ends::Ends;
use crate::position::EventId;
use crate::sync::{Condvar, Mutex};

/// Everybody who waits for the end to move.
#[derive(Debug, Default)]
pub(crate) struct Waiters {
    state: Mutex<State>,
    moved: Condvar,
}

#[derive(Debug, Default)]
struct State {
    wakers: HashMap<u64, Waker>,
    next_key: u64,
}

impl Waiters {
    /// Tells everybody to look again. The wakers run after the lock is released.
    pub(crate) fn wake_all(&self) {
        let wakers = {
            let mut state = self.state.lock();
            if state.wakers.is_empty() {
                HashMap::new()
            } else {
                std::mem::take(&mut state.wakers)
            }
        };
        self.moved.notify_all();
        for waker in wakers.into_values() {
            waker.wake();
        }
    }
}

/// Resolves with the end of the log once that is past what the caller has seen, or at once when the
/// log is closed or has failed, since it will not move any more.
#[must_use = "futures do nothing unless they are awaited"]
pub struct EndMoved {
    ends: Arc<Ends>,
    seen: EventId,
    key: Option<u64>,
}

impl EndMoved {
    pub(crate) fn new(ends: Arc<Ends>, seen: EventId) -> Self {
        Self {
            ends,
            seen,
            key: None,
        }
    }

    /// Blocks for at most `timeout`; gives the end as it is then.
    #[must_use]
    pub fn wait_timeout(self, timeout: Duration) -> EventId {
        let mut state = self.ends.waiters.state.lock();
        if !self.is_over() {
            // The end moves before the lock is taken to wake: looking under the lock misses nothing.
            let _timed_out =
                self.ends
                    .waiters
                    .moved
                    .wait_while_for(&mut state, |_| !self.is_over(), timeout);
        }
        drop(state);
        self.ends.published()
    }

    fn is_over(&self) -> bool {
        self.ends.published() > self.seen || self.ends.is_over()
    }
}

impl Future for EndMoved {
    type Output = EventId;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<EventId> {
        if !self.is_over() {
            let ends = Arc::clone(&self.ends);
            let mut state = ends.waiters.state.lock();
            // Again under the lock: who moves the end wakes after that, also under the lock.
            if !self.is_over() {
                let key = self.key.unwrap_or_else(|| {
                    state.next_key += 1;
                    state.next_key
                });
                state.wakers.insert(key, context.waker().clone());
                self.key = Some(key);
                return Poll::Pending;
            }
        }
        Poll::Ready(self.ends.published())
    }
}

impl Drop for EndMoved {
    fn drop(&mut self) {
        // A reader that gives up must not leave its waker behind for as long as nothing is written.
        if let Some(key) = self.key {
            self.ends.waiters.state.lock().wakers.remove(&key);
        }
    }
}

impl fmt::Debug for EndMoved {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EndMoved")
            .field("seen", &self.seen)
            .finish_non_exhaustive()
    }
}
