//! Where a call goes: an address text that is taken apart once, strictly.
//!
//! Two parsers that read one address differently are how a guard is led around: it judges one host,
//! and the call goes to another. So whatever has more than one reading is refused: user and
//! password, backslashes, escapes in the host, and numbers that only some resolvers take for an
//! address.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use hyper::Uri;
use hyper::http::uri::PathAndQuery;
use rustls::pki_types::DnsName;

use crate::http::HeaderValue;

/// The longest address, in bytes: as long as common servers and proxies take in a request line.
pub const ENDPOINT_LEN_MAX: usize = 2_048;

/// Why a text is no endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotAnEndpoint {
    /// It has more than [`ENDPOINT_LEN_MAX`] bytes.
    TooLong,
    /// It has a space, a control character, a backslash, or one that is not ASCII.
    Character {
        /// Where, in bytes from the start.
        offset: usize,
    },
    /// It does not begin with `http://` or `https://`.
    Scheme,
    /// It has a user or a password.
    UserInfo,
    /// It has a fragment, which would never be sent.
    Fragment,
    /// It has no host, or one that is neither a name nor an address.
    Host,
    /// Its host is a number that some take for an address: decimal, octal, hexadecimal, or with
    /// fewer than four parts.
    NumericHost,
    /// Its port is not a number from 1 to 65535.
    Port,
    /// Its path or query has a character that must be escaped.
    Path,
}

impl fmt::Display for NotAnEndpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLong => write!(f, "it is longer than {ENDPOINT_LEN_MAX} bytes"),
            Self::Character { offset } => write!(
                f,
                "the character at byte {offset} must be escaped (a host that is not ASCII is \
                 written in its 'xn--' form)"
            ),
            Self::Scheme => f.write_str("it does not begin with 'http://' or 'https://'"),
            Self::UserInfo => f.write_str("it has a user or a password; use a header"),
            Self::Fragment => f.write_str("it has a fragment ('#'), which is never sent"),
            Self::Host => f.write_str("its host is neither a name nor an address"),
            Self::NumericHost => f.write_str(
                "its host is a number that is no address; an IPv4 address is written as four \
                 decimal numbers without leading zeros",
            ),
            Self::Port => f.write_str("its port is not a number from 1 to 65535"),
            Self::Path => f.write_str("its path or query has a character that must be escaped"),
        }
    }
}

impl std::error::Error for NotAnEndpoint {}

/// The host of an endpoint.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Host {
    /// A name to be resolved, in lower case; perhaps with a dot at its end.
    Name(String),
    /// An address.
    Address(IpAddr),
}

impl Host {
    /// Whether it is `localhost` or a name below it, which mean this machine whatever a resolver
    /// says (RFC 6761, section 6.3).
    #[must_use]
    pub fn is_localhost(&self) -> bool {
        match self {
            Self::Name(name) => {
                let name = name.strip_suffix('.').unwrap_or(name);
                name == "localhost" || name.ends_with(".localhost")
            }
            Self::Address(_) => false,
        }
    }
}

/// Where one connection leads to: scheme, host and port.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Authority {
    /// Whether it is called over TLS.
    pub tls: bool,
    /// The host.
    pub host: Host,
    /// The port.
    pub port: u16,
}

/// An HTTP address that can be called. Its `Debug` leaves out path and query, which often hold
/// secrets.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Endpoint {
    text: String,
    authority: Authority,
    host_header: HeaderValue,
    target: PathAndQuery,
}

impl Endpoint {
    /// The endpoint with this address.
    ///
    /// # Errors
    ///
    /// [`NotAnEndpoint`] says what is wrong.
    pub fn parse(text: &str) -> Result<Self, NotAnEndpoint> {
        if text.len() > ENDPOINT_LEN_MAX {
            return Err(NotAnEndpoint::TooLong);
        }
        if let Some(offset) = text
            .bytes()
            .position(|byte| !byte.is_ascii_graphic() || byte == b'\\')
        {
            return Err(NotAnEndpoint::Character { offset });
        }
        let (scheme, rest) = text.split_once("://").ok_or(NotAnEndpoint::Scheme)?;
        let tls = match scheme.to_ascii_lowercase().as_str() {
            "http" => false,
            "https" => true,
            _ => return Err(NotAnEndpoint::Scheme),
        };
        if rest.contains('#') {
            return Err(NotAnEndpoint::Fragment);
        }
        let (authority, target) = match rest.find(['/', '?']) {
            Some(end) => rest.split_at(end),
            None => (rest, ""),
        };
        if authority.contains('@') {
            return Err(NotAnEndpoint::UserInfo);
        }
        let (host, port) = split_port(authority)?;
        let host = parse_host(host)?;
        let default_port = if tls { 443 } else { 80 };
        let port = match port {
            None => default_port,
            Some(port) => parse_port(port)?,
        };
        // A query alone belongs to the root.
        let slash = if target.starts_with('/') { "" } else { "/" };
        let target =
            PathAndQuery::try_from(format!("{slash}{target}")).map_err(|_| NotAnEndpoint::Path)?;
        let shown = match &host {
            Host::Name(name) => name.clone(),
            Host::Address(IpAddr::V4(address)) => address.to_string(),
            Host::Address(IpAddr::V6(address)) => format!("[{address}]"),
        };
        let shown = if port == default_port {
            shown
        } else {
            format!("{shown}:{port}")
        };
        Ok(Self {
            text: text.to_owned(),
            authority: Authority { tls, host, port },
            host_header: HeaderValue::try_from(shown).map_err(|_| NotAnEndpoint::Host)?,
            target,
        })
    }

    /// The address, as it was given.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Where a connection to it leads.
    #[must_use]
    pub fn authority(&self) -> &Authority {
        &self.authority
    }

    /// The value of `Host` in a request to it.
    pub(super) fn host_header(&self) -> &HeaderValue {
        &self.host_header
    }

    /// The target of a request to it: path and query.
    pub(super) fn target(&self) -> Uri {
        Uri::from(self.target.clone())
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Endpoint")
            .field("authority", &self.authority)
            .finish_non_exhaustive()
    }
}

/// Host and port of an authority. The brackets of an IPv6 address stay on.
fn split_port(authority: &str) -> Result<(&str, Option<&str>), NotAnEndpoint> {
    let end = match authority.find(']') {
        Some(bracket) => bracket + 1,
        None => authority.find(':').unwrap_or(authority.len()),
    };
    let (host, rest) = authority.split_at(end);
    match rest.strip_prefix(':') {
        Some(port) => Ok((host, Some(port))),
        None if rest.is_empty() => Ok((host, None)),
        None => Err(NotAnEndpoint::Host),
    }
}

fn parse_port(text: &str) -> Result<u16, NotAnEndpoint> {
    let digits = text.bytes().all(|byte| byte.is_ascii_digit());
    match text.parse() {
        Ok(port) if digits && port > 0 => Ok(port),
        Ok(_) | Err(_) => Err(NotAnEndpoint::Port),
    }
}

fn parse_host(text: &str) -> Result<Host, NotAnEndpoint> {
    if let Some(inner) = text.strip_prefix('[') {
        let inner = inner.strip_suffix(']').ok_or(NotAnEndpoint::Host)?;
        let address: Ipv6Addr = inner.parse().map_err(|_| NotAnEndpoint::Host)?;
        return Ok(Host::Address(IpAddr::V6(address)));
    }
    if let Ok(address) = text.parse::<Ipv4Addr>() {
        return Ok(Host::Address(IpAddr::V4(address)));
    }
    if ends_in_a_number(text) {
        return Err(NotAnEndpoint::NumericHost);
    }
    let name = DnsName::try_from_str(text).map_err(|_| NotAnEndpoint::Host)?;
    Ok(Host::Name(name.as_ref().to_ascii_lowercase()))
}

/// Whether the last part is a decimal, octal or hexadecimal number. No top-level domain is one, so
/// this is meant as an address; resolvers take many forms of them, each with its own reading.
fn ends_in_a_number(host: &str) -> bool {
    let host = host.strip_suffix('.').unwrap_or(host);
    let last = host.rsplit('.').next().unwrap_or_default();
    let hex = last
        .strip_prefix("0x")
        .or_else(|| last.strip_prefix("0X"))
        .is_some_and(|digits| digits.bytes().all(|digit| digit.is_ascii_hexdigit()));
    let decimal = !last.is_empty() && last.bytes().all(|digit| digit.is_ascii_digit());
    hex || decimal
}

#[cfg(test)]
mod tests;
