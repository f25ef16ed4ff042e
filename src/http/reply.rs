//! Replies, and bodies that are written as they come into being.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use hyper::body::{Frame, SizeHint};
use tokio::sync::mpsc;

use super::StatusCode;
use super::header::{self, HeaderMap, HeaderName, HeaderValue};

/// What is answered to a request.
#[derive(Debug)]
pub struct Reply(hyper::Response<ReplyBody>);

/// A reply, and the route it was given on.
#[derive(Debug)]
pub struct Answered {
    /// The template of the route, for counting; `other` if there is none.
    pub route: &'static str,
    /// The reply.
    pub reply: Reply,
}

impl Reply {
    /// A reply without a body.
    #[must_use]
    pub fn new(status: StatusCode) -> Self {
        let mut response = hyper::Response::new(ReplyBody::Empty);
        *response.status_mut() = status;
        Self(response)
    }

    /// The same reply with this content type.
    #[must_use]
    pub fn typed(mut self, content_type: HeaderValue) -> Self {
        self.set(header::CONTENT_TYPE, content_type);
        self
    }

    /// The same reply with this body.
    #[must_use]
    pub fn full(mut self, body: impl Into<Bytes>) -> Self {
        *self.0.body_mut() = ReplyBody::Full(body.into());
        self
    }

    /// The same reply with a body that `produce` writes while it is sent. See [`ReplyBody::Stream`].
    #[must_use]
    pub fn streamed<F>(mut self, produce: impl FnOnce(Writer) -> F) -> Self
    where
        F: Future<Output = Result<(), Aborted>> + Send + 'static,
    {
        *self.0.body_mut() = ReplyBody::stream(produce);
        self
    }

    /// The same reply with this header.
    #[must_use]
    pub fn header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.set(name, value);
        self
    }

    /// Sets a header, in place of an earlier one of the same name.
    pub fn set(&mut self, name: HeaderName, value: HeaderValue) {
        self.0.headers_mut().insert(name, value);
    }

    /// Adds a header beside earlier ones of the same name.
    pub fn add(&mut self, name: HeaderName, value: HeaderValue) {
        self.0.headers_mut().append(name, value);
    }

    /// Its status.
    #[must_use]
    pub fn status(&self) -> StatusCode {
        self.0.status()
    }

    /// Its headers.
    #[must_use]
    pub fn headers(&self) -> &HeaderMap {
        self.0.headers()
    }

    /// The reply as hyper sends it.
    #[must_use]
    pub fn into_response(self) -> hyper::Response<ReplyBody> {
        self.0
    }
}

/// The body of a reply.
pub enum ReplyBody {
    /// None.
    Empty,
    /// Known as a whole.
    Full(Bytes),
    /// Written while it is sent: the producer runs only when the connection has room for more, at
    /// most one piece ahead, and is dropped with the connection.
    Stream(Box<Streaming>),
}

impl fmt::Debug for ReplyBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => f.write_str("Empty"),
            Self::Full(bytes) => write!(f, "Full({} bytes)", bytes.len()),
            Self::Stream(streaming) => streaming.fmt(f),
        }
    }
}

/// The body cannot be finished: the connection is closed without the end mark, so that the client
/// sees a broken reply and never a short one that looks whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Aborted;

impl fmt::Display for Aborted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the reply could not be finished")
    }
}

impl std::error::Error for Aborted {}

/// Nobody reads the body any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gone;

impl From<Gone> for Aborted {
    fn from(_: Gone) -> Self {
        Self
    }
}

/// Where a producer puts the pieces of a body.
#[derive(Debug)]
pub struct Writer(mpsc::Sender<Bytes>);

impl Writer {
    /// Sends a piece once the one before it is taken. Pieces should be large: each is a write of
    /// its own. An empty piece is left out.
    ///
    /// # Errors
    ///
    /// [`Gone`] if the connection is.
    pub async fn send(&mut self, piece: impl Into<Bytes>) -> Result<(), Gone> {
        let piece = piece.into();
        if piece.is_empty() {
            return Ok(());
        }
        self.0.send(piece).await.map_err(|_| Gone)
    }

    /// Resolves once all that was sent is taken. Who makes a piece only then holds none for a client
    /// that reads slowly.
    ///
    /// # Errors
    ///
    /// [`Gone`] if the connection is.
    pub async fn taken(&mut self) -> Result<(), Gone> {
        self.0.reserve().await.map(drop).map_err(|_| Gone)
    }
}

/// A producer and the pieces on their way from it. Both live in the connection's own task.
pub struct Streaming {
    pieces: mpsc::Receiver<Bytes>,
    producer: Option<Producer>,
    aborted: bool,
}

impl fmt::Debug for Streaming {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Streaming")
            .field("produces", &self.producer.is_some())
            .field("aborted", &self.aborted)
            .finish()
    }
}

type Producer = Pin<Box<dyn Future<Output = Result<(), Aborted>> + Send>>;

impl ReplyBody {
    fn stream<F>(produce: impl FnOnce(Writer) -> F) -> Self
    where
        F: Future<Output = Result<(), Aborted>> + Send + 'static,
    {
        let (sender, pieces) = mpsc::channel(1);
        Self::Stream(Box::new(Streaming {
            pieces,
            producer: Some(Box::pin(produce(Writer(sender)))),
            aborted: false,
        }))
    }
}

impl Streaming {
    fn poll_piece(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Aborted>>> {
        loop {
            match self.pieces.poll_recv(cx) {
                Poll::Ready(Some(piece)) => return Poll::Ready(Some(Ok(piece))),
                // The writer is gone, so the producer has ended, or will not write again.
                Poll::Ready(None) if self.producer.is_none() => {
                    return Poll::Ready(std::mem::take(&mut self.aborted).then_some(Err(Aborted)));
                }
                Poll::Ready(None) | Poll::Pending => {}
            }
            let Some(producer) = &mut self.producer else {
                return Poll::Pending;
            };
            match producer.as_mut().poll(cx) {
                Poll::Ready(outcome) => {
                    self.aborted = outcome.is_err();
                    self.producer = None;
                }
                Poll::Pending => {
                    return match self.pieces.poll_recv(cx) {
                        Poll::Ready(Some(piece)) => Poll::Ready(Some(Ok(piece))),
                        Poll::Ready(None) | Poll::Pending => Poll::Pending,
                    };
                }
            }
        }
    }
}

impl hyper::body::Body for ReplyBody {
    type Data = Bytes;
    type Error = Aborted;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Aborted>>> {
        let this = self.get_mut();
        match this {
            Self::Empty => Poll::Ready(None),
            Self::Full(bytes) => {
                let bytes = std::mem::take(bytes);
                *this = Self::Empty;
                Poll::Ready((!bytes.is_empty()).then(|| Ok(Frame::data(bytes))))
            }
            Self::Stream(streaming) => streaming
                .poll_piece(cx)
                .map(|piece| piece.map(|piece| piece.map(Frame::data))),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Empty => true,
            Self::Full(bytes) => bytes.is_empty(),
            Self::Stream(_) => false,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Empty => SizeHint::with_exact(0),
            Self::Full(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Self::Stream(_) => SizeHint::default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use http_body_util::BodyExt;

    use super::*;

    async fn pieces(body: ReplyBody) -> (Vec<Bytes>, bool) {
        let mut body = body;
        let mut pieces = Vec::new();
        loop {
            match body.frame().await {
                Some(Ok(frame)) => pieces.push(frame.into_data().unwrap()),
                Some(Err(Aborted)) => return (pieces, true),
                None => return (pieces, false),
            }
        }
    }

    #[tokio::test]
    async fn what_a_producer_writes_arrives_in_order_and_whole() {
        let body = ReplyBody::stream(|mut out| async move {
            for number in 0..100_u8 {
                out.send(vec![number; 3]).await?;
                if number % 7 == 0 {
                    tokio::task::yield_now().await;
                }
            }
            Ok(())
        });
        let (pieces, aborted) = pieces(body).await;
        assert_eq!(pieces.len(), 100);
        assert!(pieces.iter().zip(0..).all(|(piece, n)| piece[..] == [n; 3]));
        assert!(!aborted);
    }

    #[tokio::test]
    async fn a_producer_is_at_most_a_piece_ahead_of_what_is_taken() {
        let asked = Arc::new(AtomicUsize::new(0));
        let counter = Arc::clone(&asked);
        let mut body = ReplyBody::stream(|mut out| async move {
            for number in 0..100_u8 {
                counter.fetch_add(1, Ordering::Relaxed);
                out.send(vec![number]).await?;
            }
            Ok(())
        });
        for taken in 1..=100 {
            assert!(body.frame().await.unwrap().is_ok());
            // One lies ready, and the next waits to be sent.
            assert!(
                asked.load(Ordering::Relaxed) <= taken + 2,
                "{taken}: {asked:?}"
            );
        }
        assert!(body.frame().await.is_none());
    }

    #[tokio::test]
    async fn a_producer_that_waits_until_all_is_taken_has_nothing_ready() {
        let made = Arc::new(AtomicUsize::new(0));
        let counter = Arc::clone(&made);
        let mut body = ReplyBody::stream(|mut out| async move {
            for number in 0..100_u8 {
                out.taken().await?;
                counter.fetch_add(1, Ordering::Relaxed);
                out.send(vec![number]).await?;
            }
            Ok(())
        });
        for taken in 1..=100 {
            let piece = body.frame().await.unwrap().unwrap().into_data().unwrap();
            assert_eq!(usize::from(piece[0]) + 1, taken);
            assert_eq!(made.load(Ordering::Relaxed), taken);
        }
        assert!(body.frame().await.is_none());
    }

    #[tokio::test]
    async fn an_aborted_body_ends_with_an_error_after_what_was_written() {
        let body = ReplyBody::stream(|mut out| async move {
            out.send("half").await?;
            Err(Aborted)
        });
        assert_eq!(pieces(body).await, (vec![Bytes::from("half")], true));
    }

    #[tokio::test]
    async fn an_empty_stream_ends_at_once() {
        assert_eq!(
            pieces(ReplyBody::stream(|_| async { Ok(()) })).await,
            (vec![], false)
        );
    }
}
