//! Opening connections: resolve, judge, connect to what was judged, and TLS.
//!
//! A name is resolved once for a connection, and the connection goes to an address of that answer:
//! a second look might find another one (DNS rebinding). No proxy is used, for it would resolve the
//! name again, out of sight.

use std::fmt;
use std::future::Future;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use rustls::client::ClientConfig;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::time_provider::TimeProvider;
use rustls::{RootCertStore, crypto};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, lookup_host};
use tokio::sync::{OnceCell, Semaphore};
use tokio_rustls::TlsConnector;

use crate::clock::{Clock, Moment};

use super::client::CallError;
use super::endpoint::{Authority, Host};
use super::guard::Guard;
use super::pool::Connection;

/// The most names that are resolved at a time. The system's resolver blocks a thread for each, for
/// half a minute if no server answers, and cannot be told to stop.
const LOOKUPS_MAX: usize = 16;
/// The most addresses of one name that are tried.
const ADDRESSES_MAX: usize = 8;
/// The buffer of a connection, in bytes. A head that does not fit is refused; of one that arrives at
/// once hyper may take up to twice as much.
const BUFFER_LEN_MAX: usize = 32 << 10;
/// The most headers of an answer.
const HEADERS_MAX: usize = 100;
/// The longest reason of a failed handshake that is told, in bytes: it ends up in histories.
const REASON_LEN_MAX: usize = 200;

/// Opens connections.
pub(super) struct Connector {
    guard: Guard,
    clock: Arc<dyn Clock>,
    connect_timeout: Duration,
    lookups: Arc<Semaphore>,
    /// The authorities that are trusted; those of the machine if none are given.
    roots: Option<Vec<CertificateDer<'static>>>,
    /// Made at the first call that needs it: to read the machine's certificates takes a while.
    tls: OnceCell<TlsConnector>,
}

impl fmt::Debug for Connector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connector")
            .field("guard", &self.guard)
            .field("connect_timeout", &self.connect_timeout)
            .finish_non_exhaustive()
    }
}

impl Connector {
    pub(super) fn new(
        guard: Guard,
        clock: Arc<dyn Clock>,
        connect_timeout: Duration,
        roots: Option<Vec<CertificateDer<'static>>>,
    ) -> Self {
        Self {
            guard,
            clock,
            connect_timeout,
            lookups: Arc::new(Semaphore::new(LOOKUPS_MAX)),
            roots,
            tls: OnceCell::new(),
        }
    }

    /// A new connection to an address that the guard lets through.
    pub(super) async fn connect(&self, authority: &Authority) -> Result<Connection, CallError> {
        let addresses = self.resolve(authority).await?;
        let stream = self.connect_to(&judge(&self.guard, &addresses)?).await?;
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "cannot switch off Nagle's algorithm");
        }
        if authority.tls {
            let name = server_name(&authority.host)?;
            let tls = self.tls.get_or_try_init(|| self.load_tls()).await?;
            let stream = tls
                .connect(name, stream)
                .await
                .map_err(|error| tls_error(&error))?;
            self.open(stream).await
        } else {
            self.open(stream).await
        }
    }

    async fn resolve(&self, authority: &Authority) -> Result<Vec<SocketAddr>, CallError> {
        let port = authority.port;
        let name = match &authority.host {
            Host::Address(address) => return Ok(vec![SocketAddr::new(*address, port)]),
            Host::Name(name) => name.clone(),
        };
        let permit = Arc::clone(&self.lookups)
            .acquire_owned()
            .await
            .map_err(|_closed| CallError::Resolve)?;
        // A task of its own, so that a lookup goes on holding its permit when the call has given up:
        // the thread behind it is still taken.
        let lookup = tokio::spawn(async move {
            let found = lookup_host((name.as_str(), port)).await;
            drop(permit);
            found.map(|addresses| addresses.collect::<Vec<_>>())
        });
        match lookup.await {
            Ok(Ok(addresses)) if !addresses.is_empty() => Ok(addresses),
            Ok(Ok(_) | Err(_)) | Err(_) => Err(CallError::Resolve),
        }
    }

    /// A connection to the first address that takes one.
    async fn connect_to(&self, addresses: &[SocketAddr]) -> Result<TcpStream, CallError> {
        let mut kind = io::ErrorKind::AddrNotAvailable;
        for address in addresses.iter().take(ADDRESSES_MAX) {
            let deadline = self.clock.moment().after(self.connect_timeout);
            match within(&*self.clock, deadline, TcpStream::connect(address)).await {
                Some(Ok(stream)) => return Ok(stream),
                Some(Err(error)) => kind = error.kind(),
                None => kind = io::ErrorKind::TimedOut,
            }
        }
        Err(CallError::Connect { kind })
    }

    async fn open<S>(&self, stream: S) -> Result<Connection, CallError>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let (sender, connection) = http1::Builder::new()
            .max_buf_size(BUFFER_LEN_MAX)
            .max_headers(HEADERS_MAX)
            .handshake(TokioIo::new(stream))
            .await
            .map_err(|_| CallError::Closed)?;
        let driver = tokio::spawn(async move {
            // Whoever waits for an answer is told the error; of an idle connection nobody needs it.
            if let Err(error) = connection.await {
                tracing::debug!(%error, "a connection to a webhook ended");
            }
        });
        Ok(Connection::new(
            sender,
            driver.abort_handle(),
            self.clock.moment(),
        ))
    }

    async fn load_tls(&self) -> Result<TlsConnector, CallError> {
        let certificates = match &self.roots {
            Some(certificates) => certificates.clone(),
            None => native_certificates().await,
        };
        let mut roots = RootCertStore::empty();
        let (_, unusable) = roots.add_parsable_certificates(certificates);
        if unusable > 0 {
            tracing::warn!(unusable, "some root certificates cannot be read");
        }
        if roots.is_empty() {
            return Err(CallError::Tls {
                reason: "there are no root certificates on this machine".to_owned(),
            });
        }
        let provider = Arc::new(crypto::aws_lc_rs::default_provider());
        let time = Arc::new(CertificateTime(Arc::clone(&self.clock)));
        let mut config = ClientConfig::builder_with_details(provider, time)
            .with_safe_default_protocol_versions()
            .expect("this provider has the suites of TLS 1.2 and 1.3")
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(TlsConnector::from(Arc::new(config)))
    }
}

/// The addresses that may be called.
///
/// # Errors
///
/// [`CallError::Refused`] with the first address if none of them may be.
fn judge(guard: &Guard, addresses: &[SocketAddr]) -> Result<Vec<SocketAddr>, CallError> {
    let allowed: Vec<_> = addresses
        .iter()
        .filter(|address| guard.allows(address.ip()))
        .copied()
        .collect();
    match (allowed.is_empty(), addresses.first()) {
        (true, Some(first)) => Err(CallError::Refused {
            address: first.ip(),
        }),
        (true, None) => Err(CallError::Resolve),
        (false, _) => Ok(allowed),
    }
}

/// The name that the certificate must be for.
fn server_name(host: &Host) -> Result<ServerName<'static>, CallError> {
    match host {
        Host::Address(IpAddr::V4(address)) => Ok(ServerName::from(IpAddr::V4(*address))),
        Host::Address(IpAddr::V6(address)) => Ok(ServerName::from(address.to_canonical())),
        Host::Name(name) => {
            let name = name.strip_suffix('.').unwrap_or(name);
            ServerName::try_from(name.to_owned()).map_err(|_| CallError::Tls {
                reason: "a certificate cannot be for this host".to_owned(),
            })
        }
    }
}

/// The authorities that the operator of the machine trusts; `SSL_CERT_FILE` and `SSL_CERT_DIR` name
/// others.
async fn native_certificates() -> Vec<CertificateDer<'static>> {
    let loaded = tokio::task::spawn_blocking(rustls_native_certs::load_native_certs).await;
    let Ok(loaded) = loaded else {
        return Vec::new();
    };
    for error in &loaded.errors {
        tracing::warn!(%error, "cannot load root certificates");
    }
    loaded.certs
}

fn tls_error(error: &io::Error) -> CallError {
    let mut reason = match error.get_ref() {
        Some(inner) => inner.to_string(),
        None => error.kind().to_string(),
    };
    let end = reason.floor_char_boundary(REASON_LEN_MAX);
    reason.truncate(end);
    CallError::Tls { reason }
}

/// Certificates are judged by the same clock as everything else.
#[derive(Debug)]
struct CertificateTime(Arc<dyn Clock>);

impl TimeProvider for CertificateTime {
    fn current_time(&self) -> Option<UnixTime> {
        let now = Duration::from_micros(self.0.now_us());
        Some(UnixTime::since_unix_epoch(now))
    }
}

/// What a future gives, if it gives it before a deadline.
pub(super) async fn within<T>(
    clock: &dyn Clock,
    deadline: Moment,
    future: impl Future<Output = T>,
) -> Option<T> {
    tokio::select! {
        // What is there counts, even if the time is over by now.
        biased;
        output = future => Some(output),
        () = clock.sleep_until(deadline) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_several_addresses_only_the_allowed_ones_are_called() {
        let guard = Guard::new(vec!["127.0.0.0/8".parse().unwrap()]);
        let addresses = |texts: &[&str]| -> Vec<SocketAddr> {
            texts.iter().map(|text| text.parse().unwrap()).collect()
        };
        let mixed = ["10.0.0.1:80", "127.0.0.1:80", "[::1]:80", "8.8.8.8:80"];
        assert_eq!(
            judge(&guard, &addresses(&mixed)),
            Ok(addresses(&["127.0.0.1:80", "8.8.8.8:80"]))
        );
        assert_eq!(
            judge(&guard, &addresses(&["10.0.0.1:80", "169.254.169.254:80"])),
            Err(CallError::Refused {
                address: "10.0.0.1".parse().unwrap()
            })
        );
        assert_eq!(judge(&guard, &[]), Err(CallError::Resolve));
    }
}
