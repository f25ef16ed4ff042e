//! One HTTP call to somebody else's endpoint, within limits on everything.
//!
//! The address is judged when the connection is made ([`guard`](super::guard)); redirects are
//! answers and are not followed, for they would lead past that judgement to an address that nobody
//! registered.

use std::error::Error;
use std::fmt;
use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::{Request, Response};
use rustls::pki_types::CertificateDer;
use tokio::sync::Semaphore;

use crate::clock::Clock;
use crate::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};

use super::connect::{Connector, within};
use super::guard::Guard;
use super::pool::{Connection, Pool};

pub use super::endpoint::{Endpoint, NotAnEndpoint};

/// Who calls, unless the caller says otherwise.
const USER_AGENT: HeaderValue =
    HeaderValue::from_static(concat!("strandlog/", env!("CARGO_PKG_VERSION")));

/// Headers that frame a message or speak of the connection (RFC 9110, section 7.6.1, and RFC 9112):
/// these are ours to set.
const OWN_HEADERS: [HeaderName; 10] = [
    header::HOST,
    header::CONTENT_LENGTH,
    header::TRANSFER_ENCODING,
    header::TRAILER,
    header::TE,
    header::CONNECTION,
    header::UPGRADE,
    header::EXPECT,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
];

/// Limits of a [`Client`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CallLimits {
    /// The most calls at a time; further ones wait. Each holds a connection and an answer.
    pub calls_max: usize,
    /// How long an address may take to accept a connection, before the next of the host is tried.
    pub connect_timeout: Duration,
    /// How much of an answer's body is read, in bytes.
    pub answer_len_max: usize,
}

impl Default for CallLimits {
    fn default() -> Self {
        Self {
            calls_max: 128,
            connect_timeout: Duration::from_secs(5),
            // What a delivery history or a template can use; receivers need not answer more.
            answer_len_max: 64 << 10,
        }
    }
}

/// One call.
#[derive(Clone, Debug)]
pub struct Call<'a> {
    /// Where to.
    pub endpoint: &'a Endpoint,
    /// The method.
    pub method: Method,
    /// Headers to send. Those that frame the message or speak of the connection are left out;
    /// `User-Agent` replaces ours.
    pub headers: Vec<(HeaderName, HeaderValue)>,
    /// The body.
    pub body: Bytes,
    /// How long all of it may take, from the lookup of the name to the end of the answer.
    pub timeout: Duration,
}

/// What an endpoint answered.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The status, whichever it is: what counts as success is the caller's to say.
    pub status: StatusCode,
    /// The headers.
    pub headers: HeaderMap,
    /// The body, at most as much as the limit.
    pub body: Bytes,
    /// Whether the body was longer.
    pub truncated: bool,
}

/// Why there is no answer. The texts are short, name no secrets, and are fit for a delivery history.
///
/// After [`Refused`](Self::Refused), [`Resolve`](Self::Resolve), [`Connect`](Self::Connect) and
/// [`Tls`](Self::Tls) the endpoint has certainly not seen the request; after the others it may have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CallError {
    /// The host is, or resolves to, an address that may not be called.
    Refused {
        /// The address.
        address: IpAddr,
    },
    /// The host's name could not be resolved.
    Resolve,
    /// No address of the host took a connection.
    Connect {
        /// What happened with the last one.
        kind: io::ErrorKind,
    },
    /// The TLS handshake failed.
    Tls {
        /// Why.
        reason: String,
    },
    /// There was no whole answer in time.
    Timeout,
    /// The connection was closed before the answer was whole.
    Closed,
    /// What came back is not HTTP/1.1, or its head is too large.
    Protocol,
}

impl fmt::Display for CallError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused { address } => write!(f, "the address {address} may not be called"),
            Self::Resolve => f.write_str("the host's name cannot be resolved"),
            Self::Connect { kind } => write!(f, "cannot connect: {kind}"),
            Self::Tls { reason } => write!(f, "the TLS handshake failed: {reason}"),
            Self::Timeout => f.write_str("no answer in time"),
            Self::Closed => f.write_str("the connection was closed before the answer was complete"),
            Self::Protocol => f.write_str("the answer is not valid HTTP/1.1"),
        }
    }
}

impl Error for CallError {}

/// Calls endpoints. Clones share connections and limits.
#[derive(Clone, Debug)]
pub struct Client(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    limits: CallLimits,
    clock: Arc<dyn Clock>,
    calls: Semaphore,
    connector: Connector,
    pool: Pool,
}

impl Client {
    /// A client that trusts the certificate authorities of the machine.
    #[must_use]
    pub fn new(guard: Guard, limits: CallLimits, clock: Arc<dyn Clock>) -> Self {
        Self::build(guard, limits, clock, None)
    }

    /// A client that trusts these certificate authorities, and no others.
    #[must_use]
    pub fn with_roots(
        guard: Guard,
        limits: CallLimits,
        clock: Arc<dyn Clock>,
        roots: Vec<CertificateDer<'static>>,
    ) -> Self {
        Self::build(guard, limits, clock, Some(roots))
    }

    fn build(
        guard: Guard,
        limits: CallLimits,
        clock: Arc<dyn Clock>,
        roots: Option<Vec<CertificateDer<'static>>>,
    ) -> Self {
        Self(Arc::new(Shared {
            limits,
            calls: Semaphore::new(limits.calls_max.clamp(1, Semaphore::MAX_PERMITS)),
            connector: Connector::new(guard, Arc::clone(&clock), limits.connect_timeout, roots),
            pool: Pool::new(Arc::clone(&clock)),
            clock,
        }))
    }

    /// Makes one call. It is sent once: again only if a connection that had waited turns out to be
    /// closed before a byte of the request was sent.
    ///
    /// The wait for one of [`calls_max`](CallLimits::calls_max) is not part of the call's time, for
    /// the endpoint is not to blame for it; it ends because the time of every call does. Dropping
    /// the future closes the connection.
    ///
    /// # Errors
    ///
    /// [`CallError`] if there is no whole answer.
    pub async fn call(&self, call: Call<'_>) -> Result<Answer, CallError> {
        let shared = &*self.0;
        let _turn = shared
            .calls
            .acquire()
            .await
            .map_err(|_closed| CallError::Closed)?;
        let deadline = shared.clock.moment().after(call.timeout);
        within(&*shared.clock, deadline, shared.exchange(call))
            .await
            .unwrap_or(Err(CallError::Timeout))
    }
}

impl Shared {
    async fn exchange(&self, call: Call<'_>) -> Result<Answer, CallError> {
        let authority = call.endpoint.authority();
        let (connection, response) = self.send(call.endpoint, request(&call)).await?;
        let (head, mut body) = response.into_parts();
        let (body, truncated) = self.read(&mut body).await?;
        if truncated {
            // What is still on its way is not wanted.
            drop(connection);
        } else {
            self.pool.put(authority, connection);
        }
        Ok(Answer {
            status: head.status,
            headers: head.headers,
            body,
            truncated,
        })
    }

    async fn send(
        &self,
        endpoint: &Endpoint,
        mut request: Request<Full<Bytes>>,
    ) -> Result<(Connection, Response<Incoming>), CallError> {
        if let Some(mut connection) = self.pool.take(endpoint.authority()) {
            match connection.send(request).await {
                Ok(response) => return Ok((connection, response)),
                Err(failed) => match failed.unsent {
                    Some(unsent) => request = unsent,
                    None => return Err(call_error(&failed.error)),
                },
            }
        }
        let mut connection = self.connector.connect(endpoint.authority()).await?;
        match connection.send(request).await {
            Ok(response) => Ok((connection, response)),
            Err(failed) => Err(call_error(&failed.error)),
        }
    }

    /// Reads a body up to the limit; whether there was more.
    async fn read(&self, body: &mut Incoming) -> Result<(Bytes, bool), CallError> {
        let mut kept = BytesMut::new();
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|error| call_error(&error))?;
            let Ok(data) = frame.into_data() else {
                // Trailers.
                continue;
            };
            let room = self.limits.answer_len_max - kept.len();
            kept.extend_from_slice(data.get(..room).unwrap_or(&data));
            if data.len() > room {
                return Ok((kept.freeze(), true));
            }
        }
        Ok((kept.freeze(), false))
    }
}

fn request(call: &Call<'_>) -> Request<Full<Bytes>> {
    let mut request = Request::new(Full::new(call.body.clone()));
    *request.method_mut() = call.method.clone();
    *request.uri_mut() = call.endpoint.target();
    let headers = request.headers_mut();
    headers.insert(header::USER_AGENT, USER_AGENT);
    for (name, value) in &call.headers {
        if *name == header::USER_AGENT {
            headers.insert(name, value.clone());
        } else if !OWN_HEADERS.contains(name) {
            headers.append(name, value.clone());
        }
    }
    headers.insert(header::HOST, call.endpoint.host_header().clone());
    // A method that usually has a body says that there is none (RFC 9110, section 8.6).
    if !call.body.is_empty() || [Method::POST, Method::PUT, Method::PATCH].contains(&call.method) {
        headers.insert(header::CONTENT_LENGTH, HeaderValue::from(call.body.len()));
    }
    request
}

/// What an error means for the call.
fn call_error(error: &hyper::Error) -> CallError {
    if error.is_parse() {
        return CallError::Protocol;
    }
    let mut source = error.source();
    while let Some(cause) = source {
        if let Some(io) = cause.downcast_ref::<io::Error>() {
            let tls = io
                .get_ref()
                .is_some_and(|inner| inner.is::<rustls::Error>());
            let malformed = match io.kind() {
                // Chunks that are none come as these kinds.
                io::ErrorKind::InvalidInput | io::ErrorKind::InvalidData => !tls,
                _ => false,
            };
            if malformed {
                return CallError::Protocol;
            }
        }
        source = cause.source();
    }
    CallError::Closed
}

#[cfg(test)]
mod tests;
