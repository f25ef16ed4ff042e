//! The stream of a connection: it holds slow readers to a limit, lets the client read its last reply,
//! and gives words to what hyper refuses by itself.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf, Bytes};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Sleep;

use super::conversation::Conversation;
use super::refusal::{self, RequestIds};

/// How much is read and thrown away of what a client still sends after its last reply, in bytes,
/// and for how long. To close at once would reset the connection, and the client might lose the
/// reply that tells it why.
const LINGER_LEN_MAX: usize = 1 << 20;
/// See [`LINGER_LEN_MAX`].
const LINGER_TIME_MAX: Duration = Duration::from_secs(1);

/// A stream that holds slow clients to limits: its writer is given up if the client takes nothing
/// for too long, and its end lets the client read the last reply.
#[derive(Debug)]
pub(super) struct Paced<S> {
    stream: S,
    timeout: Duration,
    /// Runs while a write waits.
    stalled: Option<Pin<Box<Sleep>>>,
    /// There once the writing half is closed.
    lingering: Option<Lingering>,
    conversation: Arc<Conversation>,
    ids: Arc<RequestIds>,
    /// There while a reply of hyper's own is sent in other words.
    refusal: Option<Refusal>,
}

/// What is sent in place of a reply of hyper's own.
#[derive(Debug)]
struct Refusal {
    left: Bytes,
    /// How many bytes hyper believes that it writes.
    bare_len: usize,
}

#[derive(Debug)]
struct Lingering {
    deadline: Pin<Box<Sleep>>,
    len_left: usize,
}

impl<S: AsyncWrite + Unpin> Paced<S> {
    /// The stream of the connection that `conversation` tells of. `timeout` is how long a write may
    /// wait without progress.
    pub(super) fn new(
        stream: S,
        timeout: Duration,
        conversation: Arc<Conversation>,
        ids: Arc<RequestIds>,
    ) -> Self {
        Self {
            stream,
            timeout,
            stalled: None,
            lingering: None,
            conversation,
            ids,
            refusal: None,
        }
    }

    /// Sends a reply of hyper's own in our words; none if what is written is not one.
    ///
    /// hyper writes it when nothing else is under way, and nothing after it. Should replies of ours
    /// wait before it, because the client reads none of them, it stays bare.
    fn poll_refusal(
        &mut self,
        slices: &[io::IoSlice<'_>],
        cx: &mut Context<'_>,
    ) -> Option<Poll<io::Result<usize>>> {
        if self.refusal.is_none() {
            let begins = |slice: &io::IoSlice<'_>| slice.starts_with(b"HTTP/1.");
            if self.conversation.is_speaking() || !slices.first().is_some_and(begins) {
                return None;
            }
            let bare = slices
                .iter()
                .flat_map(|slice| slice.iter().copied())
                .collect::<Vec<u8>>();
            self.refusal = Some(Refusal {
                left: refusal::worded(&bare, &self.ids)?.into(),
                bare_len: bare.len(),
            });
        }
        let refusal = self.refusal.as_mut()?;
        while !refusal.left.is_empty() {
            match Pin::new(&mut self.stream).poll_write(cx, &refusal.left) {
                Poll::Ready(Ok(0)) => return Some(Poll::Ready(Ok(0))),
                Poll::Ready(Ok(written)) => refusal.left.advance(written),
                other => return Some(other),
            }
        }
        let bare_len = refusal.bare_len;
        self.refusal = None;
        Some(Poll::Ready(Ok(bare_len)))
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

impl<S: AsyncRead + Unpin> AsyncRead for Paced<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Paced<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let outcome = match self.poll_refusal(&[io::IoSlice::new(bytes)], cx) {
            Some(outcome) => outcome,
            None => Pin::new(&mut self.stream).poll_write(cx, bytes),
        };
        self.pace(outcome, cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let outcome = match self.poll_refusal(slices, cx) {
            Some(outcome) => outcome,
            None => Pin::new(&mut self.stream).poll_write_vectored(cx, slices),
        };
        self.pace(outcome, cx)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    /// hyper flushes once its own buffer is empty.
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.conversation.flushed();
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    /// Closes the writing half, and reads on for a moment.
    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        this.conversation.end();
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
