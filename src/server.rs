//! The listener, one task for each connection, and the orderly end.
//!
//! A connection is taken only when there is a permit for it; the task gives the permit back when it
//! is dropped, whatever ended it. Slow clients are held to limits at each step: the head by hyper's
//! timer, the body by `http/body.rs`, the reply by `Paced` below.
//!
//! Stopping: the listener closes; waits inside the product (long polls, event streams) end by
//! themselves; idle connections close, busy ones after the reply they are at; whatever is left at
//! the deadline is cut off.

use std::convert::Infallible;
use std::future::{Future, poll_fn};
use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;
use tokio::time::Sleep;

use crate::doors::Doors;
use crate::http::head::X_REQUEST_ID;
use crate::http::{Problem, ProblemType, Reply, ReplyBody, Request, RequestId, StatusCode};
use crate::unwind::{Panicked, without_panic};

/// The buffer of a connection, in bytes. A little more than the largest head that `http/head.rs`
/// lets through, so that one that is too large is told which part of it is.
const BUFFER_LEN_MAX: usize = 72 << 10;
/// The most headers of a request: hyper's own default, said aloud.
const HEADERS_MAX: usize = 100;
/// The first and the longest pause after an accept that failed for want of something, in
/// milliseconds: long enough not to spin, short enough not to be noticed.
const ACCEPT_PAUSE_MS: (u64, u64) = (5, 100);
/// How much is read and thrown away of what a client still sends after its last reply, in bytes,
/// and for how long. To close at once would reset the connection, and the client might lose the
/// reply that tells it why.
const LINGER_LEN_MAX: usize = 1 << 20;
/// See [`LINGER_LEN_MAX`].
const LINGER_TIME_MAX: Duration = Duration::from_secs(1);

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
    let permits = Arc::new(Semaphore::new(limits.connections_max));
    let server = Arc::new(Server::new(doors));
    let mut connections = JoinSet::new();
    let mut shutdown = pin!(shutdown);
    loop {
        let accepted = tokio::select! {
            biased;
            () = &mut shutdown => break,
            accepted = accept(&listener, &permits, &server) => accepted,
        };
        // What has ended is forgotten here, so the set is no larger than the permits are many.
        while connections.try_join_next().is_some() {}
        connections.spawn(Arc::clone(&server).serve(accepted));
    }
    drop(listener);
    let app = server.doors.app();
    app.stop();
    let clock = app.clock();
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

/// A connection with its place among the connections.
struct Accepted {
    stream: TcpStream,
    _permit: OwnedSemaphorePermit,
}

/// The next connection. May be dropped at any time.
async fn accept(listener: &TcpListener, permits: &Arc<Semaphore>, server: &Server) -> Accepted {
    let permit = Arc::clone(permits)
        .acquire_owned()
        .await
        .expect("nobody closes the semaphore");
    let (mut pause_ms, pause_ms_max) = ACCEPT_PAUSE_MS;
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                return Accepted {
                    stream,
                    _permit: permit,
                };
            }
            // The client has given up already.
            Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
            // Most likely out of descriptors: some come back as connections end.
            Err(error) => {
                tracing::warn!(%error, pause_ms, "cannot accept a connection");
                let clock = server.doors.app().clock();
                let pause = Duration::from_millis(pause_ms);
                clock.sleep_until(clock.moment().after(pause)).await;
                pause_ms = (pause_ms * 2).min(pause_ms_max);
            }
        }
    }
}

/// What all connections share.
struct Server {
    doors: Doors,
    http: http1::Builder,
    write_timeout: Duration,
    /// Tells the requests of this process from those of another.
    id_prefix: String,
    requests: AtomicU64,
}

impl Server {
    fn new(doors: Doors) -> Self {
        let limits = *doors.app().limits();
        let mut http = http1::Builder::new();
        // Without a timer hyper has no timeouts, and says nothing about it.
        http.timer(TokioTimer::new())
            .header_read_timeout(limits.header_timeout)
            .max_buf_size(BUFFER_LEN_MAX)
            .max_headers(HEADERS_MAX);
        // `pipeline_flush` stays off: with it a reply is never sent while unread bytes wait behind
        // its request, so that who sends too much is never told, and bodies are buffered without
        // end.
        let id_prefix = format!("{:08x}", doors.app().random().next_u64() >> 32);
        Self {
            doors,
            http,
            write_timeout: limits.write_timeout,
            id_prefix,
            requests: AtomicU64::new(1),
        }
    }

    /// Serves a connection to its end.
    async fn serve(self: Arc<Self>, accepted: Accepted) {
        let Accepted { stream, _permit } = accepted;
        // Replies are written whole; waiting for more would only delay them.
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "cannot switch off Nagle's algorithm");
        }
        let io = TokioIo::new(Paced::new(stream, self.write_timeout));
        let service = service_fn(|request| self.answer(request));
        let mut connection = pin!(self.http.serve_connection(io, service));
        let app = self.doors.app();
        let mut stopped = pin!(app.stopped());
        let mut listens = false;
        let mut told = false;
        let outcome = poll_fn(|cx| {
            if !told {
                // One poll leaves this task's waker with the signal. To poll it again each time
                // something arrives would have all connections meet at its lock.
                if !listens {
                    listens = true;
                    let _signal = stopped.as_mut().poll(cx);
                }
                if app.is_stopping() {
                    told = true;
                    connection.as_mut().graceful_shutdown();
                }
            }
            connection.as_mut().poll(cx)
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
    ) -> Result<hyper::Response<ReplyBody>, Infallible> {
        let id = RequestId::given(request.headers()).unwrap_or_else(|| {
            let number = self.requests.fetch_add(1, Ordering::Relaxed);
            RequestId::generated(&self.id_prefix, number)
        });
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
        Ok(reply.into_response())
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

/// A stream that holds slow clients to limits: its writer is given up if the client takes nothing
/// for too long, and its end lets the client read the last reply.
struct Paced {
    stream: TcpStream,
    timeout: Duration,
    /// Runs while a write waits.
    stalled: Option<Pin<Box<Sleep>>>,
    /// There once the writing half is closed.
    lingering: Option<Lingering>,
}

struct Lingering {
    deadline: Pin<Box<Sleep>>,
    len_left: usize,
}

impl Paced {
    fn new(stream: TcpStream, timeout: Duration) -> Self {
        Self {
            stream,
            timeout,
            stalled: None,
            lingering: None,
        }
    }

    /// Lets a write that has to wait do so until the deadline, which any progress puts off.
    fn pace<T>(
        &mut self,
        outcome: Poll<io::Result<T>>,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<T>> {
        if outcome.is_ready() {
            self.stalled = None;
            return outcome;
        }
        let timeout = self.timeout;
        let stalled = self
            .stalled
            .get_or_insert_with(|| Box::pin(tokio::time::sleep(timeout)));
        match stalled.as_mut().poll(cx) {
            Poll::Ready(()) => Poll::Ready(Err(io::ErrorKind::TimedOut.into())),
            Poll::Pending => Poll::Pending,
        }
    }
}

impl AsyncRead for Paced {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Paced {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let outcome = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.pace(outcome, cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let outcome = Pin::new(&mut self.stream).poll_write_vectored(cx, slices);
        self.pace(outcome, cx)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    /// Closes the writing half, and reads on for a moment.
    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.lingering.is_none() {
            ready!(Pin::new(&mut this.stream).poll_shutdown(cx))?;
        }
        let lingering = this.lingering.get_or_insert_with(|| Lingering {
            deadline: Box::pin(tokio::time::sleep(LINGER_TIME_MAX)),
            len_left: LINGER_LEN_MAX,
        });
        let mut buffer = [0; 4 << 10];
        loop {
            let mut buffer = ReadBuf::new(&mut buffer);
            match Pin::new(&mut this.stream).poll_read(cx, &mut buffer) {
                Poll::Ready(Ok(())) if !buffer.filled().is_empty() => {
                    lingering.len_left = lingering.len_left.saturating_sub(buffer.filled().len());
                    if lingering.len_left == 0 {
                        return Poll::Ready(Ok(()));
                    }
                }
                // The client has closed its half, or is gone: nothing can be lost any more.
                Poll::Ready(Ok(()) | Err(_)) => return Poll::Ready(Ok(())),
                Poll::Pending => {
                    ready!(lingering.deadline.as_mut().poll(cx));
                    return Poll::Ready(Ok(()));
                }
            }
        }
    }
}
