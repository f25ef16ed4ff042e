//! Who may ask a door that asks for no credentials.
//!
//! Until then the server listens on loopback only, and what is left is the browser on the same
//! machine, in which pages from anywhere run. Two checks keep those out, and they stand here only:
//!
//! - `Host` must name this machine (`localhost`, a name below it, or a loopback address). A foreign
//!   name that resolves to 127.0.0.1 (DNS rebinding) would else make a foreign page same-origin.
//! - `Origin`, which browsers send with whatever a page could do harm by, must be this server's own.
//!
//! Beyond that no CORS header is ever sent, so a page of another origin can read no reply; and a
//! publish needs a content type that makes a browser ask first.

use std::net::{Ipv4Addr, Ipv6Addr};

use super::head::Head;
use super::header;
use super::problem::{Problem, ProblemType};

/// Refuses what comes from a page of another site.
///
/// # Errors
///
/// A [`Problem`]; nothing was done.
pub fn check(head: &Head) -> Result<(), Problem> {
    let host = head.headers().get(header::HOST);
    // A request without Host is HTTP/1.0, which no browser sends.
    if let Some(host) = host
        && !host.to_str().is_ok_and(is_this_machine)
    {
        return Err(foreign(
            "the Host header must name this machine ('localhost' or a loopback address) while the API is open without credentials; nothing was done",
        ));
    }
    if let Some(origin) = head.headers().get(header::ORIGIN) {
        let own = host.zip(origin.as_bytes().strip_prefix(b"http://"));
        if !own.is_some_and(|(host, origin)| host.as_bytes().eq_ignore_ascii_case(origin)) {
            return Err(foreign(
                "the request comes from a page of another origin; nothing was done",
            ));
        }
    }
    Ok(())
}

fn foreign(detail: &'static str) -> Problem {
    Problem::new(ProblemType::FOREIGN_ORIGIN, detail)
}

/// Whether the value of a `Host` header names this machine, whatever the port.
fn is_this_machine(host: &str) -> bool {
    if let Some(rest) = host.strip_prefix('[') {
        return rest
            .split_once(']')
            .and_then(|(address, _port)| address.parse().ok())
            .is_some_and(|address: Ipv6Addr| address.is_loopback());
    }
    let name = host.rsplit_once(':').map_or(host, |(name, _port)| name);
    let name = name.to_ascii_lowercase();
    name == "localhost"
        || name.ends_with(".localhost")
        || name
            .parse()
            .is_ok_and(|address: Ipv4Addr| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_machine_is_named_by_loopback_alone() {
        for own in [
            "localhost",
            "LocalHost:7411",
            "log.localhost:1",
            "127.0.0.1",
            "127.1.2.3:7411",
            "[::1]",
            "[::1]:7411",
        ] {
            assert!(is_this_machine(own), "{own}");
        }
        for foreign in [
            "example.com",
            "localhost.example.com",
            "127.0.0.1.example.com",
            "notlocalhost",
            "0.0.0.0",
            "10.0.0.1",
            "[::]",
            "[::1",
            "127.1",
            "",
        ] {
            assert!(!is_this_machine(foreign), "{foreign}");
        }
    }
}
