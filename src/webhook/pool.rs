//! Connections that wait for another call: most webhooks are called again and again, and a TLS
//! handshake costs both sides more than the call.

use std::sync::{Arc, Weak};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::client::conn::http1::SendRequest;
use hyper::{Request, Response};
use parking_lot::Mutex;
use tokio::task::AbortHandle;

use crate::clock::{Clock, Moment};

use super::endpoint::Authority;

/// The most connections that wait. The one that has waited longest makes room.
const IDLE_MAX: usize = 64;
/// How long a connection may wait. Common servers close theirs after five seconds, and a request
/// that meets the close may or may not have been taken.
const IDLE_TIME_MAX: Duration = Duration::from_secs(4);
/// How long a connection is used in all: what the host's name means is looked up again after it.
const AGE_MAX: Duration = Duration::from_secs(120);

/// A connection that takes one request after another. It is closed when this is dropped.
#[derive(Debug)]
pub(super) struct Connection {
    sender: SendRequest<Full<Bytes>>,
    driver: AbortHandle,
    made: Moment,
}

/// A request that failed.
pub(super) struct Unanswered {
    pub(super) error: hyper::Error,
    /// The request, if not a byte of it was sent.
    pub(super) unsent: Option<Request<Full<Bytes>>>,
}

impl Connection {
    /// A connection that was opened at `made`; `driver` is the task that moves its bytes.
    pub(super) fn new(sender: SendRequest<Full<Bytes>>, driver: AbortHandle, made: Moment) -> Self {
        Self {
            sender,
            driver,
            made,
        }
    }

    /// Sends a request, and waits for the head of the answer.
    pub(super) async fn send(
        &mut self,
        request: Request<Full<Bytes>>,
    ) -> Result<Response<Incoming>, Unanswered> {
        self.sender
            .try_send_request(request)
            .await
            .map_err(|mut failed| Unanswered {
                unsent: failed.take_message(),
                error: failed.into_error(),
            })
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        // Without it the task would first read what the other side still sends.
        self.driver.abort();
    }
}

/// The connections that wait.
#[derive(Debug)]
pub(super) struct Pool(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    clock: Arc<dyn Clock>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// In the order in which they came.
    idle: Vec<Idle>,
    /// Whether a task looks after those whose time is over.
    reaped: bool,
}

#[derive(Debug)]
struct Idle {
    authority: Authority,
    connection: Connection,
    since: Moment,
}

impl Pool {
    pub(super) fn new(clock: Arc<dyn Clock>) -> Self {
        Self(Arc::new(Shared {
            clock,
            state: Mutex::default(),
        }))
    }

    /// A connection that leads there and takes a request, as far as can be known. The youngest
    /// first, for the other side will close it last.
    pub(super) fn take(&self, authority: &Authority) -> Option<Connection> {
        let mut state = self.0.state.lock();
        state.drop_over(self.0.clock.moment());
        let index = state
            .idle
            .iter()
            .rposition(|idle| idle.authority == *authority && idle.connection.sender.is_ready())?;
        Some(state.idle.remove(index).connection)
    }

    /// Keeps a connection whose answer has been read whole.
    pub(super) fn put(&self, authority: &Authority, connection: Connection) {
        let since = self.0.clock.moment();
        if since.since(connection.made) >= AGE_MAX {
            return;
        }
        let mut state = self.0.state.lock();
        state.drop_over(since);
        if state.idle.len() >= IDLE_MAX {
            state.idle.remove(0);
        }
        state.idle.push(Idle {
            authority: authority.clone(),
            connection,
            since,
        });
        if !state.reaped {
            state.reaped = true;
            let clock = Arc::clone(&self.0.clock);
            tokio::spawn(reap(Arc::downgrade(&self.0), clock));
        }
    }
}

#[cfg(test)]
impl Pool {
    /// Whether no connection waits that could be used.
    pub(super) fn is_empty(&self) -> bool {
        let mut state = self.0.state.lock();
        state.drop_over(self.0.clock.moment());
        state.idle.is_empty()
    }
}

impl State {
    /// Closes the connections that have waited too long, or that the other side has closed.
    fn drop_over(&mut self, now: Moment) {
        self.idle.retain(|idle| {
            now.since(idle.since) < IDLE_TIME_MAX && !idle.connection.sender.is_closed()
        });
    }
}

/// Closes connections when their time is over, until none is left or the pool is gone.
async fn reap(pool: Weak<Shared>, clock: Arc<dyn Clock>) {
    loop {
        let next = {
            let Some(pool) = pool.upgrade() else { return };
            let mut state = pool.state.lock();
            state.drop_over(clock.moment());
            match state.idle.first() {
                Some(oldest) => oldest.since.after(IDLE_TIME_MAX),
                None => {
                    state.reaped = false;
                    return;
                }
            }
        };
        clock.sleep_until(next).await;
    }
}
