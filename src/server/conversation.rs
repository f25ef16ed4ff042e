//! What a connection is at. Its service, the bodies of its replies and the stream below each see a
//! part of that, and hyper tells nobody the whole.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll};

use bytes::Bytes;
use hyper::body::{Body, Frame, SizeHint};

use crate::http::{Aborted, ReplyBody};

/// What a connection is at. All parts run on the connection's own task, so the order of the
/// accesses is that of the program.
#[derive(Debug, Default)]
pub(super) struct Conversation {
    /// Requests taken so far.
    begun: AtomicU64,
    /// Requests whose replies are written as far as the connection's buffer.
    ended: AtomicU64,
    /// Whether bytes of a reply may still lie in that buffer.
    speaking: AtomicBool,
    /// Whether the last reply has been sent, and the client is given the time to read it.
    ending: AtomicBool,
}

/// From the head of a request to the last byte of its reply's body.
#[derive(Debug)]
pub(super) struct Turn(Arc<Conversation>);

impl Conversation {
    /// A request has come.
    pub(super) fn begin(self: &Arc<Self>) -> Turn {
        self.begun.fetch_add(1, Ordering::Relaxed);
        Turn(Arc::clone(self))
    }

    /// How many requests have come so far.
    pub(super) fn begun(&self) -> u64 {
        self.begun.load(Ordering::Relaxed)
    }

    /// Whether no request is being answered and no byte of a reply waits to be sent or, if it was
    /// the last one, to be read.
    pub(super) fn is_idle(&self) -> bool {
        let answered = self.begun() == self.ended.load(Ordering::Relaxed);
        answered && !self.is_speaking() && !self.ending.load(Ordering::Relaxed)
    }

    /// Whether what is written to the stream may be part of a reply of ours.
    pub(super) fn is_speaking(&self) -> bool {
        self.speaking.load(Ordering::Relaxed)
    }

    /// The connection is at its end.
    pub(super) fn end(&self) {
        self.ending.store(true, Ordering::Relaxed);
    }

    /// All that was in the connection's buffer is with the system.
    pub(super) fn flushed(&self) {
        if self.begun() == self.ended.load(Ordering::Relaxed) {
            self.speaking.store(false, Ordering::Relaxed);
        }
    }
}

impl Turn {
    /// The reply is there; from here on it is hyper's to write.
    pub(super) fn reply(self, body: ReplyBody) -> SpokenBody {
        self.0.speaking.store(true, Ordering::Relaxed);
        SpokenBody { body, _turn: self }
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.0.ended.fetch_add(1, Ordering::Relaxed);
    }
}

/// The body of a reply, which ends the turn when hyper is done with it.
#[derive(Debug)]
pub(super) struct SpokenBody {
    body: ReplyBody,
    _turn: Turn,
}

impl Body for SpokenBody {
    type Data = Bytes;
    type Error = Aborted;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Aborted>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
