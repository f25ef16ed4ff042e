//! What a lane calls: the part in which webhooks, handlers and the like differ.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use crate::app::Event;
use crate::http::{HeaderName, HeaderValue, Method};
use crate::store::Pending;

use super::client::{Answer, Call, CallError};
use super::endpoint::Endpoint;

/// Whom a lane calls, how, and what the answers mean.
pub trait Target: fmt::Debug + Send + Sync + 'static {
    /// The call that carries these events: at least one, in the order of the log. Asked anew for
    /// each attempt, with the same events as long as the server runs.
    ///
    /// # Errors
    ///
    /// Why there is none, in a few words for the history. It counts as a failed attempt.
    fn call(&self, events: &[Event<'_>], delivery: &DeliveryInfo) -> Result<OwnedCall, String>;

    /// What an outcome means. Unless a target knows better, a status from 200 to 299 means
    /// delivered and everything else, redirects included, that it is to be tried again.
    fn judge(&self, outcome: &Result<Answer, CallError>) -> Verdict {
        match outcome {
            Ok(answer) if answer.status.is_success() => Verdict::Delivered,
            Ok(_) | Err(_) => Verdict::Retry,
        }
    }

    /// How long one call may take.
    fn timeout(&self) -> Duration;

    /// Asked once after an answer meant [`Verdict::Gone`], so that whoever owns the lane remembers
    /// it over a restart. Given up if the lane is told to end meanwhile.
    fn gone(&self) -> Pending<'_, ()> {
        Box::pin(async {})
    }
}

/// Which attempt of which delivery it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeliveryInfo {
    /// Names the delivery: the same for each attempt to deliver the same events to the same lane,
    /// after a restart too. Lower-case letters, digits and hyphens.
    pub id: String,
    /// Which attempt it is, from 1. Counted anew after a restart.
    pub attempt: u32,
    /// The time, in microseconds since 1970 (UTC).
    pub now_us: u64,
}

/// What is to become of events after a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// They are delivered; the lane goes on.
    Delivered,
    /// They are to be sent again after a pause.
    Retry,
    /// They will never be taken: they are kept as dead letters, and the lane goes on.
    Reject,
    /// The endpoint wants no more calls: the lane ends.
    Gone,
}

/// A call with all it needs. Its `Debug` shows neither headers nor body: they may hold secrets.
#[derive(Clone)]
pub struct OwnedCall {
    /// Where to.
    pub endpoint: Arc<Endpoint>,
    /// The method.
    pub method: Method,
    /// Headers to send; see [`Call::headers`].
    pub headers: Vec<(HeaderName, HeaderValue)>,
    /// The body.
    pub body: Bytes,
}

impl OwnedCall {
    /// The call as the client takes it.
    #[must_use]
    pub fn within(&self, timeout: Duration) -> Call<'_> {
        Call {
            endpoint: &self.endpoint,
            method: self.method.clone(),
            headers: self.headers.clone(),
            body: self.body.clone(),
            timeout,
        }
    }
}

impl fmt::Debug for OwnedCall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OwnedCall")
            .field("endpoint", &self.endpoint)
            .field("method", &self.method)
            .field("body_len", &self.body.len())
            .finish_non_exhaustive()
    }
}
