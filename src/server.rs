//! The listener, one task for each connection, and the orderly end.
//!
//! A connection is taken only when there is a permit for it; the task gives the permit back when it
//! is dropped, whatever ended it. Slow clients are held to limits at each step: the head by hyper's
//! timer, the body by `http/body.rs`, the reply by `server/paced.rs`.
//!
//! Stopping: the listener closes; waits inside the product (long polls, event streams) end by
//! themselves; connections without a request close, whatever part of a head they have sent, and
//! busy ones after the reply they are at; whatever is left at the deadline is cut off.

use std::convert::Infallible;
use std::future::{Future, poll_fn};
use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;

use crate::app::Limits;
use crate::clock::Clock;
use crate::doors::Doors;
use crate::http::head::X_REQUEST_ID;
use crate::http::{Problem, ProblemType, Reply, Request, RequestId, StatusCode};
use crate::unwind::{Panicked, without_panic};

mod conversation;
mod descriptors;
mod paced;
mod refusal;
#[cfg(test)]
mod tests;

use conversation::{Conversation, SpokenBody};
use paced::Paced;
use refusal::RequestIds;

/// The buffer of a connection, in bytes. A little more than the largest head that `http/head.rs`
/// lets through, so that one that is too large is told which part of it is.
const BUFFER_LEN_MAX: usize = 72 << 10;
/// The most headers of a request: hyper's own default, said aloud.
const HEADERS_MAX: usize = 100;
/// How much of a reply may wait in the system for a client to take what is before it, in bytes. Without
/// a limit the system takes some megabytes for each client that reads slowly: memory that nobody counts,
/// filled by the threads that serve the others. What is on its way to the client is not counted, so
/// who reads fast is sent as much as ever.
const UNSENT_LEN_MAX: u32 = 128 << 10;
/// The first pause after an accept that failed for want of something, and the longest, which each
/// further one doubles up to: long enough not to spin, short enough not to be noticed.
const ACCEPT_PAUSES: (Duration, Duration) = (Duration::from_millis(5), Duration::from_millis(100));

/// Serves until `shutdown` resolves, then ends in order. The product is told to stop, and left open:
/// whoever opened it closes it, after this has returned.
///
/// # Errors
///
/// None at present: an accept that fails is tried again.
pub async fn run(
    listener: TcpListener,
    doors: Doors,
    shutdown: impl Future<Output = ()>,
) -> io::Result<()> {
    let limits = *doors.app().limits();
    let permits = Arc::new(Semaphore::new(descriptors::fit(limits.connections_max)));
    let server = Arc::new(Server::new(doors));
    let clock = Arc::clone(server.doors.app().clock());
    hold_unsent(&listener);
    let serve = |accepted| Arc::clone(&server).serve(accepted);
    let mut connections = take(&listener, &permits, &*clock, serve, shutdown).await;
    drop(listener);
    server.doors.app().stop();
    let deadline = clock.sleep_until(clock.moment().after(limits.drain_max));
    tokio::select! {
        () = async { while connections.join_next().await.is_some() {} } => {}
        () = deadline => {
            tracing::warn!(connections = connections.len(), "cut off what did not end in time");
            connections.shutdown().await;
        }
    }
    server.doors.close().await;
    Ok(())
}

/// Holds what waits to be sent to [`UNSENT_LEN_MAX`] on all connections of a listener, which inherit
/// it.
#[cfg(any(target_os = "linux", target_os = "android"))]
fn hold_unsent(listener: &TcpListener) {
    if let Err(error) = SockRef::from(listener).set_tcp_notsent_lowat(UNSENT_LEN_MAX) {
        tracing::debug!(%error, "cannot limit what waits to be sent");
    }
}

/// Elsewhere the system's own limits hold.
#[cfg(not(any(target_os = "linux", target_os = "android")))]
fn hold_unsent(_listener: &TcpListener) {}

/// Takes connections and has each served, until `shutdown` resolves; those that are still served.
async fn take<F>(
    listener: &TcpListener,
    permits: &Arc<Semaphore>,
    clock: &dyn Clock,
    serve: impl Fn(Accepted) -> F,
    shutdown: impl Future<Output = ()>,
) -> JoinSet<()>
where
    F: Future<Output = ()> + Send + 'static,
{
    let mut connections = JoinSet::new();
    let mut shutdown = pin!(shutdown);
    loop {
        let mut accepting = pin!(accept(listener, permits, clock));
        let accepted = loop {
            tokio::select! {
                biased;
                () = &mut shutdown => return connections,
                // Forgotten as it ends: until then its task keeps its memory, and after a crowd has
                // left, it may be long until the next one comes.
                Some(_) = connections.join_next() => {}
                accepted = &mut accepting => break accepted,
            }
        };
        connections.spawn(serve(accepted));
    }
}

/// A connection with its place among the connections.
struct Accepted {
    stream: TcpStream,
    _permit: OwnedSemaphorePermit,
}

/// The next connection. May be dropped at any time.
async fn accept(listener: &TcpListener, permits: &Arc<Semaphore>, clock: &dyn Clock) -> Accepted {
    let permit = Arc::clone(permits)
        .acquire_owned()
        .await
        .expect("nobody closes the semaphore");
    let mut pauses = Pauses::default();
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                if pauses.last.is_some() {
                    tracing::info!("connections are accepted again");
                }
                return Accepted {
                    stream,
                    _permit: permit,
                };
            }
            // The client has given up already.
            Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
            // Most likely out of descriptors: some come back as connections end. To say it once
            // is enough; as often as it happens would fill the log.
            Err(error) => {
                if pauses.last.is_none() {
                    tracing::warn!(%error, "cannot accept connections");
                }
                clock.sleep_until(clock.moment().after(pauses.next())).await;
            }
        }
    }
}

/// The pauses between accepts that fail.
#[derive(Default)]
struct Pauses {
    last: Option<Duration>,
}

impl Pauses {
    fn next(&mut self) -> Duration {
        let (first, longest) = ACCEPT_PAUSES;
        let pause = self.last.map_or(first, |last| (2 * last).min(longest));
        self.last = Some(pause);
        pause
    }
}

/// What all connections share.
struct Server {
    doors: Doors,
    http: http1::Builder,
    write_timeout: Duration,
    ids: Arc<RequestIds>,
}

/// How hyper is to serve a connection.
fn http(limits: &Limits) -> http1::Builder {
    let mut http = http1::Builder::new();
    // Without a timer hyper has no timeouts, and says nothing about it.
    http.timer(TokioTimer::new())
        .header_read_timeout(limits.header_timeout)
        .max_buf_size(BUFFER_LEN_MAX)
        .max_headers(HEADERS_MAX);
    // `pipeline_flush` stays off: with it a reply is never sent while unread bytes wait behind
    // its request, so that who sends too much is never told, and bodies are buffered without
    // end.
    http
}

impl Server {
    fn new(doors: Doors) -> Self {
        let limits = *doors.app().limits();
        let ids = Arc::new(RequestIds::new(doors.app().random().next_u64()));
        Self {
            doors,
            http: http(&limits),
            write_timeout: limits.write_timeout,
            ids,
        }
    }

    /// Serves a connection to its end.
    async fn serve(self: Arc<Self>, accepted: Accepted) {
        let Accepted { stream, _permit } = accepted;
        // Replies are written whole; waiting for more would only delay them.
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "cannot switch off Nagle's algorithm");
        }
        self.converse(stream).await;
    }

    /// Serves what is asked on a stream.
    async fn converse(&self, stream: impl AsyncRead + AsyncWrite + Unpin) {
        let conversation = Arc::new(Conversation::default());
        let io = TokioIo::new(Paced::new(
            stream,
            self.write_timeout,
            Arc::clone(&conversation),
            Arc::clone(&self.ids),
        ));
        let service = service_fn(|request| self.answer(request, &conversation));
        let mut connection = pin!(self.http.serve_connection(io, service));
        let app = self.doors.app();
        let mut stopped = pin!(app.stopped());
        let mut listens = false;
        let mut told = false;
        let outcome = poll_fn(|cx| {
            if told {
                return connection.as_mut().poll(cx);
            }
            // One poll leaves this task's waker with the signal. To poll it again each time
            // something arrives would have all connections meet at its lock.
            if !listens {
                listens = true;
                let _signal = stopped.as_mut().poll(cx);
            }
            if !app.is_stopping() {
                return connection.as_mut().poll(cx);
            }
            told = true;
            let (was_idle, begun) = (conversation.is_idle(), conversation.begun());
            connection.as_mut().graceful_shutdown();
            let outcome = connection.as_mut().poll(cx);
            // hyper would wait for the rest of a head, and the stream for the client to close.
            if outcome.is_pending() && was_idle && conversation.begun() == begun {
                return Poll::Ready(Ok(()));
            }
            outcome
        })
        .await;
        if let Err(error) = outcome {
            tracing::debug!(%error, "a connection ended early");
        }
    }

    /// Answers one request.
    async fn answer(
        &self,
        request: hyper::Request<Incoming>,
        conversation: &Arc<Conversation>,
    ) -> Result<hyper::Response<SpokenBody>, Infallible> {
        let turn = conversation.begin();
        let id = RequestId::given(request.headers()).unwrap_or_else(|| self.ids.next());
        let method = request.method().clone();
        let uri = request.uri().clone();
        let start = self.doors.app().clock().moment();
        let request = Request::new(request, id.clone());
        let mut reply = match request.head.check() {
            Ok(()) => match without_panic(self.doors.answer(request)).await {
                Ok(reply) => reply,
                Err(Panicked) => {
                    tracing::error!(request_id = id.as_str(), %method, path = uri.path(), "a request made the server panic");
                    internal(&id)
                }
            },
            Err(problem) => problem.into_reply(&id),
        };
        reply.set(X_REQUEST_ID, id.to_header());
        let status = reply.status();
        let time_us = || {
            let time = self.doors.app().clock().moment().since(start);
            u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
        };
        // A client's mistakes are news to whoever looks after it; successes are not.
        if status.is_server_error() {
            tracing::warn!(request_id = id.as_str(), %method, path = uri.path(), status = status.as_u16(), time_us = time_us(), "answered");
        } else if status.is_client_error() {
            tracing::info!(request_id = id.as_str(), %method, path = uri.path(), status = status.as_u16(), time_us = time_us(), "answered");
        } else {
            tracing::debug!(request_id = id.as_str(), %method, path = uri.path(), status = status.as_u16(), time_us = time_us(), "answered");
        }
        Ok(reply.into_response().map(|body| turn.reply(body)))
    }
}

fn internal(id: &RequestId) -> Reply {
    debug_assert_eq!(
        ProblemType::INTERNAL.status,
        StatusCode::INTERNAL_SERVER_ERROR
    );
    Problem::new(
        ProblemType::INTERNAL,
        "the server made a mistake; whether anything was stored is unknown",
    )
    .closing()
    .into_reply(id)
}
