//! What the target `endpoint` checks: the address of a webhook has one reading, the same that hyper
//! has of it, and none that the guard lets through is of this machine or its network.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use hyper::Uri;
use strandlog::webhook::endpoint::{ENDPOINT_LEN_MAX, Endpoint, Host};
use strandlog::webhook::guard::Guard;

/// The first byte chooses: the text of an address, or the bytes of an IP address.
pub(crate) fn check(bytes: &[u8]) {
    match bytes.split_first() {
        Some((b'4', rest)) => {
            if let Some(octets) = rest.first_chunk::<4>() {
                judge(IpAddr::V4(Ipv4Addr::from(*octets)));
            }
        }
        Some((b'6', rest)) => {
            if let Some(octets) = rest.first_chunk::<16>() {
                judge(IpAddr::V6(Ipv6Addr::from(*octets)));
            }
        }
        _ => {
            if let Ok(text) = std::str::from_utf8(bytes) {
                parse(text);
            }
        }
    }
}

fn parse(text: &str) {
    let Ok(endpoint) = Endpoint::parse(text) else {
        return;
    };
    assert!(text.len() <= ENDPOINT_LEN_MAX && text.bytes().all(|byte| byte.is_ascii_graphic()));
    assert_eq!(endpoint.as_str(), text);
    assert!(!format!("{endpoint:?}").contains('?'), "a query is secret");
    let authority = endpoint.authority();
    let theirs: Uri = text.parse().expect("hyper reads it, too");
    assert_eq!(
        theirs.scheme_str().map(str::to_ascii_lowercase).as_deref(),
        Some(if authority.tls { "https" } else { "http" })
    );
    let host = theirs
        .host()
        .expect("an address has a host")
        .to_ascii_lowercase();
    match &authority.host {
        Host::Name(name) => {
            assert_eq!(*name, host);
            assert!(name.parse::<IpAddr>().is_err(), "{name} is an address");
        }
        Host::Address(address) => {
            let host = host.trim_start_matches('[').trim_end_matches(']');
            assert_eq!(host.parse::<IpAddr>(), Ok(*address));
            judge(*address);
        }
    }
    let default = if authority.tls { 443 } else { 80 };
    assert_eq!(theirs.port_u16().unwrap_or(default), authority.port);
    let refused = Guard::default().judge_url(&endpoint).is_err();
    let is_inside = match &authority.host {
        Host::Address(address) => is_inside(*address),
        host => host.is_localhost(),
    };
    assert!(refused || !is_inside, "{text} is let through");
}

fn judge(address: IpAddr) {
    let allows = Guard::default().allows(address);
    assert!(!allows || !is_inside(address), "{address} is let through");
    let all = Guard::new(vec!["::/0".parse().expect("it is a network")]);
    assert!(
        !address.is_ipv6() || all.allows(address),
        "what is allowed passes"
    );
}

/// Whether an address leads into this machine, or into a network that is somebody's own, by what the
/// standard library knows of that.
fn is_inside(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => {
            let [a, b, ..] = address.octets();
            address.is_private()
                || address.is_loopback()
                || address.is_link_local()
                || address.is_broadcast()
                || address.is_documentation()
                || address.is_multicast()
                || address.is_unspecified()
                || a == 0
                || a >= 240
                || (a == 100 && b & 0xc0 == 64)
        }
        IpAddr::V6(address) => {
            address.is_loopback()
                || address.is_unspecified()
                || address.is_multicast()
                || address.is_unique_local()
                || address.is_unicast_link_local()
                || address
                    .to_ipv4()
                    .is_some_and(|inner| is_inside(IpAddr::V4(inner)))
        }
    }
}
