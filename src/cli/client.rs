//! A small HTTP/1.1 client: one connection, one request at a time, everything with a time limit.
//!
//! It knows the shape of the server's problem documents and nothing else of the API. A request that
//! got no whole answer is a [`ClientError`], and nobody can tell from it whether the server carried
//! the request out.

use std::error::Error;
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1::{self, SendRequest};
use hyper::header::{HOST, HeaderMap, RETRY_AFTER};
use hyper::{Request, Uri};
use hyper_util::rt::TokioIo;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::refusal::{CallFailure, Refusal};

/// How long a connection may take to come about. A server on the same network answers in
/// milliseconds; five seconds leave room for one lost packet and its repeats.
const CONNECT_WAIT: Duration = Duration::from_secs(5);
/// How long the head of an answer, or the next piece of its body, may take. More than the longest
/// time the server itself takes over a request (its body deadline and one slow sync).
const ANSWER_WAIT: Duration = Duration::from_secs(60);
/// The longest answer that is read as a whole, in bytes. The longest ones are pages, which end after
/// 16 MiB of records: the last event (16 MiB at most) may go beyond that, and names and times are
/// added to each.
pub(crate) const ANSWER_LEN_MAX: usize = 64 << 20;

/// What stays as it is in a path segment or a query value (RFC 3986, unreserved).
const ESCAPED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');

/// `text` as one path segment or one query value.
pub(crate) fn escape(text: &str) -> String {
    utf8_percent_encode(text, ESCAPED).to_string()
}

/// Where a server is: the value of `--url`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ServerUrl {
    /// What stands in the `Host` header.
    authority: String,
    host: String,
    port: u16,
    /// What comes before each path; empty, or with a slash in front and none at the end.
    prefix: String,
}

impl fmt::Display for ServerUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "http://{}{}", self.authority, self.prefix)
    }
}

impl FromStr for ServerUrl {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let uri: Uri = text
            .parse()
            .map_err(|error| format!("not a URL ({error}); give it as http://HOST:PORT"))?;
        match uri.scheme_str() {
            Some("http") => {}
            Some("https") => {
                return Err("https is not supported yet; give an http:// URL".to_owned());
            }
            Some(_) | None => return Err("give it as http://HOST:PORT".to_owned()),
        }
        let authority = uri
            .authority()
            .ok_or_else(|| "no host; give it as http://HOST:PORT".to_owned())?;
        if authority.as_str().contains('@') {
            return Err("credentials in the URL are not supported".to_owned());
        }
        if uri.query().is_some() {
            return Err("a query does not belong here; give it as http://HOST:PORT".to_owned());
        }
        let host = authority.host();
        Ok(Self {
            authority: authority.as_str().to_owned(),
            // The brackets of an IPv6 address belong to the URL, not to the address.
            host: host
                .strip_prefix('[')
                .and_then(|host| host.strip_suffix(']'))
                .unwrap_or(host)
                .to_owned(),
            port: authority.port_u16().unwrap_or(80),
            prefix: uri.path().trim_end_matches('/').to_owned(),
        })
    }
}

/// Why there is no whole answer.
#[derive(Debug)]
pub(crate) enum ClientError {
    /// There is no connection; nothing was sent.
    Connect(std::io::Error),
    /// The request could not be put into words; nothing was sent.
    Request(hyper::http::Error),
    /// The connection ended before the answer did.
    Lost(hyper::Error),
    /// The server took longer than this.
    TimedOut(Duration),
    /// The answer is longer than this many bytes.
    TooLong(usize),
    /// The answer says success and is not what that looks like.
    NotAnAnswer,
}

impl fmt::Display for ClientError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Connect(_) => write!(f, "cannot connect"),
            Self::Request(_) => write!(f, "cannot make the request"),
            Self::Lost(_) => write!(f, "the connection was lost"),
            Self::TimedOut(wait) => write!(f, "no answer within {} s", wait.as_secs()),
            Self::TooLong(len) => write!(f, "the answer is longer than {len} bytes"),
            Self::NotAnAnswer => write!(f, "the answer is none that a Strandlog server gives"),
        }
    }
}

impl Error for ClientError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Connect(error) => Some(error),
            Self::Request(error) => Some(error),
            Self::Lost(error) => Some(error),
            Self::TimedOut(_) | Self::TooLong(_) | Self::NotAnAnswer => None,
        }
    }
}

/// A request as the commands put it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Call {
    method: hyper::Method,
    path: String,
    headers: Vec<(&'static str, String)>,
    body: Bytes,
}

impl Call {
    /// A `GET` of `path`, which begins with a slash and has its values escaped.
    pub(crate) fn get(path: impl Into<String>) -> Self {
        Self {
            path: path.into(),
            ..Self::default()
        }
    }

    /// A `POST` of `body` to `path`.
    pub(crate) fn post(path: impl Into<String>, content_type: &str, body: Bytes) -> Self {
        Self {
            method: hyper::Method::POST,
            path: path.into(),
            headers: vec![("content-type", content_type.to_owned())],
            body,
        }
    }

    /// The same with one more header.
    #[must_use]
    pub(crate) fn header(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }
}

/// One server and at most one connection to it, which is made when it is needed.
#[derive(Debug)]
pub(crate) struct Client {
    server: ServerUrl,
    connection: Option<Connection>,
}

#[derive(Debug)]
struct Connection {
    sender: SendRequest<Full<Bytes>>,
    driver: JoinHandle<()>,
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

impl Client {
    /// A client without a connection yet.
    pub(crate) fn new(server: ServerUrl) -> Self {
        Self {
            server,
            connection: None,
        }
    }

    /// Sends `call` and waits for the head of the answer.
    ///
    /// After an error, and after a body that was not read to its end, the next call makes a new
    /// connection.
    ///
    /// # Errors
    ///
    /// [`ClientError`]; any status is an answer, not an error.
    pub(crate) async fn send(&mut self, call: &Call) -> Result<Answer, ClientError> {
        // A connection that the server closed while it was idle is no reason to trouble the caller:
        // nothing was sent on it.
        let mut connection = match self.connection.take() {
            Some(mut connection) => match connection.sender.ready().await {
                Ok(()) => connection,
                Err(_closed) => self.connect().await?,
            },
            None => self.connect().await?,
        };
        let mut request = Request::builder()
            .method(call.method.clone())
            .uri(format!("{}{}", self.server.prefix, call.path))
            .header(HOST, &self.server.authority);
        for (name, value) in &call.headers {
            request = request.header(*name, value);
        }
        let request = request
            .body(Full::new(call.body.clone()))
            .map_err(ClientError::Request)?;
        let response = timeout(ANSWER_WAIT, connection.sender.send_request(request))
            .await
            .map_err(|_elapsed| ClientError::TimedOut(ANSWER_WAIT))?
            .map_err(ClientError::Lost)?;
        self.connection = Some(connection);
        let (head, body) = response.into_parts();
        Ok(Answer {
            status: head.status.as_u16(),
            headers: head.headers,
            body,
        })
    }

    async fn connect(&self) -> Result<Connection, ClientError> {
        let stream = timeout(
            CONNECT_WAIT,
            TcpStream::connect((self.server.host.as_str(), self.server.port)),
        )
        .await
        .map_err(|_elapsed| ClientError::TimedOut(CONNECT_WAIT))?
        .map_err(ClientError::Connect)?;
        // A request is one write, and waiting to fill a packet would only delay it.
        stream.set_nodelay(true).map_err(ClientError::Connect)?;
        let (sender, driver) = http1::handshake(TokioIo::new(stream))
            .await
            .map_err(ClientError::Lost)?;
        let driver = tokio::spawn(async move {
            // Whoever waits for an answer is told of the failure.
            let _told = driver.await;
        });
        Ok(Connection { sender, driver })
    }
}

/// The head of an answer, and the rest as it comes.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    headers: HeaderMap,
    body: Incoming,
}

impl Answer {
    /// Whether the request was carried out.
    pub(crate) fn is_success(&self) -> bool {
        (200..300).contains(&self.status)
    }

    /// The value of a header, if there is one that is text.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// The next piece of the body; none at its proper end.
    ///
    /// # Errors
    ///
    /// [`ClientError::Lost`] if the body was cut off, [`ClientError::TimedOut`].
    pub(crate) async fn piece(&mut self) -> Result<Option<Bytes>, ClientError> {
        loop {
            let frame = timeout(ANSWER_WAIT, self.body.frame())
                .await
                .map_err(|_elapsed| ClientError::TimedOut(ANSWER_WAIT))?;
            match frame {
                None => return Ok(None),
                Some(Err(error)) => return Err(ClientError::Lost(error)),
                Some(Ok(frame)) => {
                    // Anything else is a trailer.
                    if let Ok(piece) = frame.into_data() {
                        return Ok(Some(piece));
                    }
                }
            }
        }
    }

    /// The whole body.
    ///
    /// # Errors
    ///
    /// As [`piece`](Self::piece), and [`ClientError::TooLong`] over [`ANSWER_LEN_MAX`] bytes.
    pub(crate) async fn whole(mut self) -> Result<Bytes, ClientError> {
        let Some(first) = self.piece().await? else {
            return Ok(Bytes::new());
        };
        let Some(second) = self.piece().await? else {
            return Ok(first);
        };
        let mut whole = BytesMut::from(first);
        let mut next = Some(second);
        while let Some(piece) = next {
            if whole.len() + piece.len() > ANSWER_LEN_MAX {
                return Err(ClientError::TooLong(ANSWER_LEN_MAX));
            }
            whole.extend_from_slice(&piece);
            next = self.piece().await?;
        }
        Ok(whole.freeze())
    }

    /// What the server says about its refusal.
    ///
    /// # Errors
    ///
    /// As [`whole`](Self::whole).
    pub(crate) async fn refusal(self) -> Result<Refusal, ClientError> {
        let status = self.status;
        let retry_after = self
            .headers
            .get(RETRY_AFTER)
            .and_then(|value| value.to_str().ok()?.parse().ok())
            .map(Duration::from_secs);
        let body = self.whole().await?;
        Ok(Refusal::read(status, retry_after, &body))
    }
}

impl Client {
    /// Sends `call`; an answer that is no success is a failure.
    ///
    /// # Errors
    ///
    /// [`CallFailure`].
    pub(crate) async fn ask(&mut self, call: &Call) -> Result<Answer, CallFailure> {
        let answer = self.send(call).await?;
        if answer.is_success() {
            return Ok(answer);
        }
        Err(CallFailure::Refused(answer.refusal().await?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, want: Result<(&str, u16, &str), &str>) {
        match (text.parse::<ServerUrl>(), want) {
            (Ok(url), Ok((host, port, prefix))) => {
                assert_eq!(
                    (url.host.as_str(), url.port, url.prefix.as_str()),
                    (host, port, prefix)
                );
            }
            (Err(error), Err(want)) => assert!(error.contains(want), "{error}"),
            (got, want) => panic!("{text}: {got:?}, not {want:?}"),
        }
    }

    #[test]
    fn a_server_is_named_by_an_http_url() {
        check("http://127.0.0.1:7411", Ok(("127.0.0.1", 7411, "")));
        check("http://127.0.0.1:7411/", Ok(("127.0.0.1", 7411, "")));
        check("http://[::1]:80/log/", Ok(("::1", 80, "/log")));
        check("http://example.org", Ok(("example.org", 80, "")));
    }

    #[test]
    fn any_other_url_is_refused_with_its_reason() {
        check("https://127.0.0.1:7411", Err("https is not supported yet"));
        check("127.0.0.1:7411", Err("http://HOST:PORT"));
        check("ftp://127.0.0.1", Err("http://HOST:PORT"));
        check("http://me:secret@127.0.0.1", Err("credentials"));
        check("http://127.0.0.1/?a=b", Err("query"));
        check("", Err("not a URL"));
    }

    #[test]
    fn names_are_escaped_whatever_they_hold() {
        assert_eq!(escape("a/b %c\u{e9}&d"), "a%2Fb%20%25c%C3%A9%26d");
    }
}
