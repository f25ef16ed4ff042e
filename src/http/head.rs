//! The head of a request: what hyper leaves to us to check, and the request's id.
//!
//! hyper has judged the syntax, the framing (two lengths, lengths that are none, a coding that does
//! not end in `chunked`), the number of headers and the size of its buffer. The rest is here.

use hyper::header::{HeaderMap, HeaderName, HeaderValue};
use hyper::{Method, Uri, Version, header};

use super::body::Body;
use super::problem::{Member, Problem, ProblemType};

/// The longest target, in bytes: a filter of 64 names of 255 bytes, all escaped, is beyond it, and
/// such a question is better asked by several requests.
const TARGET_LEN_MAX: usize = 16 << 10;
/// The largest head, in bytes, names and values of its headers and the target: what the connection
/// buffer holds (see `server.rs`) less the line ends.
const HEAD_LEN_MAX: usize = 64 << 10;
/// The longest request id that is taken over from a client, in bytes: it stands in every log line.
const REQUEST_ID_LEN_MAX: usize = 128;

/// The name of the header that carries request ids.
pub const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// A request.
#[derive(Debug)]
pub struct Request {
    /// Everything before the body.
    pub head: Head,
    /// The body, not read yet.
    pub body: Body,
}

/// Everything of a request but its body.
#[derive(Debug)]
pub struct Head {
    method: Method,
    uri: Uri,
    version: Version,
    headers: HeaderMap,
    id: RequestId,
}

/// Names a request in replies and logs: visible ASCII without quotes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestId(HeaderValue);

impl RequestId {
    /// The id a client has given its request, if it gave one that can stand in a log line.
    #[must_use]
    pub fn given(headers: &HeaderMap) -> Option<Self> {
        let value = headers.get(X_REQUEST_ID)?;
        let sane = (1..=REQUEST_ID_LEN_MAX).contains(&value.len())
            && value
                .as_bytes()
                .iter()
                .all(|byte| byte.is_ascii_alphanumeric() || b"-_.:/+=@".contains(byte));
        sane.then(|| Self(value.clone()))
    }

    /// The id of the `number`th request of the process that `prefix` names.
    #[must_use]
    pub fn generated(prefix: &str, number: u64) -> Self {
        let mut text = String::with_capacity(prefix.len() + 17);
        text.push_str(prefix);
        text.push('-');
        text.push_str(&number.to_string());
        Self(HeaderValue::try_from(text).unwrap_or(HeaderValue::from_static("-")))
    }

    /// The id as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        self.0.to_str().unwrap_or("-")
    }

    /// The id as a header.
    #[must_use]
    pub fn to_header(&self) -> HeaderValue {
        self.0.clone()
    }
}

impl Request {
    /// A request as hyper gives it.
    #[must_use]
    pub fn new(request: hyper::Request<hyper::body::Incoming>, id: RequestId) -> Self {
        let (parts, body) = request.into_parts();
        Self {
            head: Head {
                method: parts.method,
                uri: parts.uri,
                version: parts.version,
                headers: parts.headers,
                id,
            },
            body: Body::new(body),
        }
    }
}

impl Head {
    /// Its method.
    #[must_use]
    pub fn method(&self) -> &Method {
        &self.method
    }

    /// Whether only the head of the reply is wanted.
    #[must_use]
    pub fn is_head(&self) -> bool {
        self.method == Method::HEAD
    }

    /// Its path, still percent-encoded. Of a target that names a host, the path alone counts: this
    /// server is nobody's proxy.
    #[must_use]
    pub fn path(&self) -> &str {
        self.uri.path()
    }

    /// Whether it is about the server as a whole: `OPTIONS *`.
    #[must_use]
    pub fn is_for_server(&self) -> bool {
        self.path() == "*"
    }

    /// Its query, still percent-encoded.
    #[must_use]
    pub fn query(&self) -> Option<&str> {
        self.uri.query()
    }

    /// Its headers.
    #[must_use]
    pub fn headers(&self) -> &HeaderMap {
        &self.headers
    }

    /// Its id.
    #[must_use]
    pub fn id(&self) -> &RequestId {
        &self.id
    }

    /// The value of a header that may be given once, as visible ASCII and spaces.
    ///
    /// # Errors
    ///
    /// A [`Problem`] if it is given twice, or has other characters.
    pub fn one(&self, name: &HeaderName) -> Result<Option<&str>, Problem> {
        let mut values = self.headers.get_all(name).iter();
        let Some(value) = values.next() else {
            return Ok(None);
        };
        if values.next().is_some() {
            return Err(invalid(name, "it is given more than once"));
        }
        match value.to_str() {
            Ok(text) => Ok(Some(text)),
            Err(_) => Err(invalid(name, "it has characters other than visible ASCII")),
        }
    }

    /// Checks what hyper does not.
    ///
    /// # Errors
    ///
    /// A [`Problem`] after which the connection closes: a client, or something between us, that
    /// breaks these rules may have another idea of where the next request begins.
    pub fn check(&self) -> Result<(), Problem> {
        self.check_sizes()?;
        self.check_target()?;
        self.check_host()?;
        self.check_codings()?;
        self.check_expectation()
    }

    fn check_sizes(&self) -> Result<(), Problem> {
        let target_len = self.path().len() + self.query().map_or(0, |query| query.len() + 1);
        if target_len > TARGET_LEN_MAX {
            return Err(Problem::new(
                ProblemType::URI_TOO_LONG,
                format!("the target has {target_len} bytes, more than {TARGET_LEN_MAX}"),
            )
            .closing());
        }
        let headers_len: usize = self
            .headers
            .iter()
            .map(|(name, value)| name.as_str().len() + value.len())
            .sum();
        if headers_len + target_len > HEAD_LEN_MAX {
            return Err(Problem::new(
                ProblemType::HEAD_TOO_LARGE,
                format!("the head of the request has more than {HEAD_LEN_MAX} bytes"),
            )
            .closing());
        }
        Ok(())
    }

    /// RFC 9112, section 3.2: a path, alone or behind a host; `*` is for `OPTIONS`, and a bare host
    /// for `CONNECT`, which is for proxies.
    fn check_target(&self) -> Result<(), Problem> {
        let problem = if self.method == Method::CONNECT {
            Problem::new(
                ProblemType::NOT_IMPLEMENTED,
                "this server is no proxy and opens no tunnels; nothing was done",
            )
        } else if self.is_for_server() && self.method != Method::OPTIONS {
            Problem::new(
                ProblemType::MALFORMED_REQUEST,
                "the target '*' is for OPTIONS alone; nothing was done",
            )
        } else if self.path().is_empty() {
            Problem::new(
                ProblemType::MALFORMED_REQUEST,
                "the target has no path; nothing was done",
            )
        } else {
            return Ok(());
        };
        Err(problem.closing())
    }

    /// RFC 9112, section 3.2: exactly one `Host`, and one that can be a host.
    fn check_host(&self) -> Result<(), Problem> {
        let mut hosts = self.headers.get_all(header::HOST).iter();
        let problem = match (hosts.next(), hosts.next()) {
            (None, _) if self.version == Version::HTTP_10 => return Ok(()),
            (None, _) => "the request has no Host header",
            (Some(_), Some(_)) => "the request has two Host headers",
            (Some(host), None) if !is_host(host.as_bytes()) => {
                "the Host header is not a host with an optional port"
            }
            (Some(_), None) => return Ok(()),
        };
        Err(Problem::new(ProblemType::MALFORMED_REQUEST, problem).closing())
    }

    /// hyper takes any coding that ends in `chunked`, but would hand us the bytes of the inner ones.
    fn check_codings(&self) -> Result<(), Problem> {
        let mut codings = self.headers.get_all(header::TRANSFER_ENCODING).iter();
        let (first, second) = (codings.next(), codings.next());
        let plain = first.is_none_or(|value| value.as_bytes().eq_ignore_ascii_case(b"chunked"));
        if plain && second.is_none() {
            return Ok(());
        }
        Err(Problem::new(
            ProblemType::NOT_IMPLEMENTED,
            "the only transfer coding this server knows is 'chunked', once; nothing was read",
        )
        .closing())
    }

    fn check_expectation(&self) -> Result<(), Problem> {
        let met = self
            .headers
            .get_all(header::EXPECT)
            .iter()
            .all(|value| value.as_bytes().eq_ignore_ascii_case(b"100-continue"));
        if met {
            return Ok(());
        }
        Err(Problem::new(
            ProblemType::EXPECTATION_FAILED,
            "the only expectation this server can meet is '100-continue'",
        )
        .closing())
    }
}

/// A host with an optional port: no user, no path, nothing invisible.
fn is_host(host: &[u8]) -> bool {
    !host.is_empty()
        && host
            .iter()
            .all(|byte| byte.is_ascii_alphanumeric() || b"-._~%!$&'()*+,;=:[]".contains(byte))
}

/// The problem of a header whose value makes no sense.
#[must_use]
pub fn invalid(name: &HeaderName, what: &str) -> Problem {
    Problem::new(
        ProblemType::INVALID_HEADER,
        format!("the header '{name}' is not valid: {what}"),
    )
    .with("header", Member::Text(name.as_str().to_owned().into()))
}

/// The media type of a body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MediaType {
    /// Type and subtype, in lower case.
    pub essence: String,
    /// The charset, in lower case, if it is named.
    pub charset: Option<String>,
}

impl Head {
    /// What the body claims to be.
    ///
    /// # Errors
    ///
    /// A [`Problem`] if the header is given twice or cannot be read.
    pub fn content_type(&self) -> Result<Option<MediaType>, Problem> {
        let Some(text) = self.one(&header::CONTENT_TYPE)? else {
            return Ok(None);
        };
        let mut parts = text.split(';');
        let essence = parts.next().unwrap_or_default().trim().to_ascii_lowercase();
        let mut charset = None;
        for part in parts {
            let (name, value) = part.split_once('=').unwrap_or((part, ""));
            if name.trim().eq_ignore_ascii_case("charset") {
                charset = Some(value.trim().trim_matches('"').to_ascii_lowercase());
            }
        }
        Ok(Some(MediaType { essence, charset }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(version: Version, headers: &[(&'static str, &'static str)]) -> Head {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(
                HeaderName::from_static(name),
                HeaderValue::from_static(value),
            );
        }
        Head {
            method: Method::GET,
            uri: Uri::from_static("/"),
            version,
            headers: map,
            id: RequestId::generated("t", 1),
        }
    }

    #[track_caller]
    fn refused(headers: &[(&'static str, &'static str)], want: ProblemType) {
        let problem = head(Version::HTTP_11, headers).check().unwrap_err();
        assert_eq!(problem.problem_type(), want);
        assert!(problem.closes());
    }

    #[test]
    fn a_request_names_one_host() {
        for host in ["a", "a:80", "[::1]:7411", "127.0.0.1"] {
            assert_eq!(head(Version::HTTP_11, &[("host", host)]).check(), Ok(()));
        }
        refused(&[], ProblemType::MALFORMED_REQUEST);
        refused(&[("host", "")], ProblemType::MALFORMED_REQUEST);
        refused(
            &[("host", "a"), ("host", "a")],
            ProblemType::MALFORMED_REQUEST,
        );
        refused(&[("host", "user@a")], ProblemType::MALFORMED_REQUEST);
        refused(&[("host", "a/b")], ProblemType::MALFORMED_REQUEST);
        assert_eq!(head(Version::HTTP_10, &[]).check(), Ok(()));
    }

    #[test]
    fn a_target_is_a_path() {
        let check = |method: Method, uri: &'static str| {
            let mut head = head(Version::HTTP_11, &[("host", "a")]);
            (head.method, head.uri) = (method, Uri::from_static(uri));
            head.check().map_err(|problem| problem.problem_type())
        };
        assert_eq!(check(Method::GET, "/a?b"), Ok(()));
        assert_eq!(check(Method::GET, "http://a"), Ok(()));
        assert_eq!(check(Method::OPTIONS, "*"), Ok(()));
        let malformed = Err(ProblemType::MALFORMED_REQUEST);
        assert_eq!(check(Method::GET, "*"), malformed);
        assert_eq!(check(Method::GET, "a:80"), malformed);
        let unknown = Err(ProblemType::NOT_IMPLEMENTED);
        assert_eq!(check(Method::CONNECT, "a:80"), unknown);
        assert_eq!(check(Method::CONNECT, "/a"), unknown);
    }

    #[test]
    fn only_chunked_and_only_once() {
        for codings in ["gzip, chunked", "chunked, chunked", "identity"] {
            refused(
                &[("host", "a"), ("transfer-encoding", codings)],
                ProblemType::NOT_IMPLEMENTED,
            );
        }
        let chunked = [("host", "a"), ("transfer-encoding", "Chunked")];
        assert_eq!(head(Version::HTTP_11, &chunked).check(), Ok(()));
    }

    #[test]
    fn the_only_expectation_is_to_continue() {
        refused(
            &[("host", "a"), ("expect", "200-maybe")],
            ProblemType::EXPECTATION_FAILED,
        );
        let known = [("host", "a"), ("expect", "100-Continue")];
        assert_eq!(head(Version::HTTP_11, &known).check(), Ok(()));
    }

    #[test]
    fn a_request_id_that_could_forge_a_log_line_is_not_taken_over() {
        let given =
            |value| RequestId::given(head(Version::HTTP_11, &[("x-request-id", value)]).headers());
        assert_eq!(given("req-1").unwrap().as_str(), "req-1");
        for bad in ["", "a b", "a\"b", "a{b", "a\tb"] {
            assert_eq!(given(bad), None, "{bad:?}");
        }
    }
}
