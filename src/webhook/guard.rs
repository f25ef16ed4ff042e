//! Which addresses may be called: a webhook's address is chosen by a client, and must not become a
//! way into the network of the server.
//!
//! Public unicast addresses may be called, and those that the operator allows. What is judged is
//! the address that a connection is made to, when it is made: a name says nothing, for its owner
//! can change what it means between two looks.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use super::endpoint::{Endpoint, Host};

/// An address may not be called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refused {
    /// The address.
    pub address: IpAddr,
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the address {} may not be called", self.address)
    }
}

impl std::error::Error for Refused {}

/// Judges addresses.
#[derive(Clone, Debug, Default)]
pub struct Guard {
    allow: Vec<IpNet>,
}

impl Guard {
    /// Lets through public addresses and those in `allow`.
    #[must_use]
    pub fn new(allow: Vec<IpNet>) -> Self {
        Self { allow }
    }

    /// Whether this address may be called.
    ///
    /// An IPv6 address that stands for an IPv4 one is judged as that one: mapped (`::ffff:0:0/96`),
    /// compatible (`::/96`) and translated (`64:ff9b::/96`) ones.
    #[must_use]
    pub fn allows(&self, address: IpAddr) -> bool {
        if self.allow.iter().any(|net| net.contains(&address)) {
            return true;
        }
        match address {
            IpAddr::V4(address) => !within_v4(address),
            IpAddr::V6(address) => match embedded(address) {
                Some(inner) => self.allows(IpAddr::V4(inner)),
                None => PUBLIC_V6.contains(&address) && !within_v6(address),
            },
        }
    }

    /// Whether an endpoint may be registered. A name is let through here unless it means this
    /// machine by definition; what it resolves to is judged at every connection.
    ///
    /// # Errors
    ///
    /// [`Refused`] with the address that its host is.
    pub fn judge_url(&self, url: &Endpoint) -> Result<(), Refused> {
        let host = &url.authority().host;
        match host {
            Host::Address(address) => self.judge(*address),
            Host::Name(_) if host.is_localhost() => self
                .judge(IpAddr::V6(Ipv6Addr::LOCALHOST))
                .or_else(|_| self.judge(IpAddr::V4(Ipv4Addr::LOCALHOST))),
            Host::Name(_) => Ok(()),
        }
    }

    fn judge(&self, address: IpAddr) -> Result<(), Refused> {
        if self.allows(address) {
            return Ok(());
        }
        Err(Refused { address })
    }
}

/// The IPv4 address that an IPv6 address stands for, if a packet to it would go there.
fn embedded(address: Ipv6Addr) -> Option<Ipv4Addr> {
    let [.., a, b, c, d] = address.octets();
    EMBEDDING_V6
        .iter()
        .any(|net| net.contains(&address))
        .then(|| Ipv4Addr::new(a, b, c, d))
}

fn within_v4(address: Ipv4Addr) -> bool {
    REFUSED_V4.iter().any(|net| net.contains(&address))
}

fn within_v6(address: Ipv6Addr) -> bool {
    REFUSED_V6.iter().any(|net| net.contains(&address))
}

const fn v4(a: u8, b: u8, c: u8, d: u8, len: u8) -> Ipv4Net {
    Ipv4Net::new_assert(Ipv4Addr::new(a, b, c, d), len)
}

/// The network whose address has these first two groups.
const fn v6(a: u16, b: u16, len: u8) -> Ipv6Net {
    Ipv6Net::new_assert(Ipv6Addr::new(a, b, 0, 0, 0, 0, 0, 0), len)
}

/// What is not public unicast, by the IANA IPv4 Special-Purpose Address Registry and RFC 5771.
const REFUSED_V4: [Ipv4Net; 17] = [
    // This network: RFC 791. Linux takes 0.0.0.0 for the machine itself.
    v4(0, 0, 0, 0, 8),
    // Private use: RFC 1918.
    v4(10, 0, 0, 0, 8),
    // Shared address space behind carriers: RFC 6598.
    v4(100, 64, 0, 0, 10),
    // Loopback: RFC 1122.
    v4(127, 0, 0, 0, 8),
    // Link-local: RFC 3927. Clouds answer with credentials at 169.254.169.254.
    v4(169, 254, 0, 0, 16),
    // Private use: RFC 1918.
    v4(172, 16, 0, 0, 12),
    // Protocol assignments: RFC 6890.
    v4(192, 0, 0, 0, 24),
    // Documentation: RFC 5737.
    v4(192, 0, 2, 0, 24),
    // Once relays of 6to4: RFC 7526.
    v4(192, 88, 99, 0, 24),
    // Private use: RFC 1918.
    v4(192, 168, 0, 0, 16),
    // Benchmarks: RFC 2544.
    v4(198, 18, 0, 0, 15),
    // Documentation: RFC 5737.
    v4(198, 51, 100, 0, 24),
    // Documentation: RFC 5737.
    v4(203, 0, 113, 0, 24),
    // Multicast: RFC 5771.
    v4(224, 0, 0, 0, 4),
    // Reserved: RFC 1112.
    v4(240, 0, 0, 0, 4),
    // Limited broadcast: RFC 919.
    v4(255, 255, 255, 255, 32),
    // Looks public, and is the platform behind each virtual machine of Azure.
    v4(168, 63, 129, 16, 32),
];

/// The only part of IPv6 that is handed out for public unicast, by the IANA IPv6 Global Unicast
/// Address Space registry. Outside of it lie `::`, `::1`, discard-only `100::/64`, local
/// translation `64:ff9b:1::/48`, segment routing `5f00::/16`, unique local `fc00::/7`, link-local
/// `fe80::/10`, site-local `fec0::/10` and multicast `ff00::/8`; and whatever comes to be defined.
const PUBLIC_V6: Ipv6Net = v6(0x2000, 0, 3);

/// What of [`PUBLIC_V6`] is not public unicast, by the IANA IPv6 Special-Purpose Address Registry.
const REFUSED_V6: [Ipv6Net; 4] = [
    // Protocol assignments: RFC 2928. Teredo (2001::/32), benchmarks (2001:2::/48) and ORCHIDs
    // (2001:10::/28, 2001:20::/28) are in it.
    v6(0x2001, 0, 23),
    // Documentation: RFC 3849.
    v6(0x2001, 0xdb8, 32),
    // 6to4: RFC 3056. A relay would unpack an IPv4 address of the sender's choice.
    v6(0x2002, 0, 16),
    // Documentation: RFC 9637.
    v6(0x3fff, 0, 20),
];

/// Where the last four bytes are an IPv4 address.
const EMBEDDING_V6: [Ipv6Net; 3] = [
    // Mapped: RFC 4291, section 2.5.5.2.
    Ipv6Net::new_assert(Ipv6Addr::new(0, 0, 0, 0, 0, 0xffff, 0, 0), 96),
    // Compatible: RFC 4291, section 2.5.5.1. It holds `::` and `::1`, too, as 0.0.0.0 and 0.0.0.1.
    v6(0, 0, 96),
    // Translated: RFC 6052. In a network with IPv6 only this is how public IPv4 hosts are reached.
    v6(0x64, 0xff9b, 96),
];

#[cfg(test)]
mod tests {
    use super::*;

    fn guard(allow: &[&str]) -> Guard {
        Guard::new(allow.iter().map(|net| net.parse().unwrap()).collect())
    }

    fn allows(guard: &Guard, address: &str) -> bool {
        guard.allows(address.parse().unwrap())
    }

    #[test]
    fn public_addresses_may_be_called() {
        for address in [
            "1.1.1.1",
            "8.8.8.8",
            "9.255.255.255",
            "11.0.0.0",
            "100.63.255.255",
            "100.128.0.0",
            "126.255.255.255",
            "128.0.0.0",
            "168.63.129.15",
            "169.253.255.255",
            "169.255.0.0",
            "172.15.255.255",
            "172.32.0.0",
            "191.255.255.255",
            "192.0.1.0",
            "192.0.3.0",
            "192.167.255.255",
            "192.169.0.0",
            "198.17.255.255",
            "198.20.0.0",
            "223.255.255.255",
            "2001:200::1",
            "2001:4860:4860::8888",
            "2003::1",
            "2606:4700::1111",
            "2a00:1450:4001::1",
            "3ffe:ffff::1",
            "::ffff:8.8.8.8",
            "::8.8.8.8",
            "64:ff9b::8.8.8.8",
        ] {
            assert!(allows(&guard(&[]), address), "{address}");
        }
    }

    #[test]
    fn everything_else_is_refused() {
        for address in [
            "0.0.0.0",
            "0.255.255.255",
            "10.0.0.0",
            "10.255.255.255",
            "100.64.0.0",
            "100.100.100.200",
            "100.127.255.255",
            "127.0.0.0",
            "127.0.0.1",
            "127.255.255.255",
            "168.63.129.16",
            "169.254.0.0",
            "169.254.169.254",
            "169.254.255.255",
            "172.16.0.0",
            "172.31.255.255",
            "192.0.0.0",
            "192.0.0.192",
            "192.0.0.255",
            "192.0.2.1",
            "192.88.99.1",
            "192.168.0.0",
            "192.168.255.255",
            "198.18.0.0",
            "198.19.255.255",
            "198.51.100.1",
            "203.0.113.1",
            "224.0.0.0",
            "239.255.255.255",
            "240.0.0.0",
            "255.255.255.254",
            "255.255.255.255",
            "::",
            "::1",
            "::2",
            "::127.0.0.1",
            "::169.254.169.254",
            "::ffff:0.0.0.0",
            "::ffff:10.0.0.1",
            "::ffff:127.0.0.1",
            "::ffff:169.254.169.254",
            "::ffff:0:7f00:1",
            "64:ff9b::127.0.0.1",
            "64:ff9b::169.254.169.254",
            "64:ff9b::1:0:0",
            "64:ff9b:1::8.8.8.8",
            "64:ff9b:1::1",
            "100::1",
            "100:0:0:1::1",
            "1fff:ffff::1",
            "2001::1",
            "2001:0:4136:e378:8000:63bf:3fff:fdd2",
            "2001:1::1",
            "2001:2::1",
            "2001:3::1",
            "2001:10::1",
            "2001:20::1",
            "2001:30::1",
            "2001:1ff:ffff::1",
            "2001:db8::1",
            "2002:7f00:1::1",
            "2002:808:808::1",
            "3fff::1",
            "3fff:fff:ffff::1",
            "4000::1",
            "5f00::1",
            "fc00::1",
            "fd00:ec2::254",
            "fdff::1",
            "fe80::1",
            "febf::1",
            "fec0::1",
            "feff::1",
            "ff00::1",
            "ff02::1",
            "ffff::1",
        ] {
            assert!(!allows(&guard(&[]), address), "{address}");
        }
    }

    #[test]
    fn what_is_allowed_may_be_called_and_only_that() {
        let guard = guard(&["127.0.0.0/8", "10.1.2.3/32", "fd00:1::/32", "fe80::/10"]);
        for (address, allowed) in [
            ("127.0.0.1", true),
            ("127.255.255.255", true),
            ("::ffff:127.0.0.1", true),
            ("64:ff9b::10.1.2.3", true),
            ("10.1.2.3", true),
            ("10.1.2.4", false),
            ("::ffff:10.1.2.4", false),
            ("fd00:1::1", true),
            ("fd00:2::1", false),
            ("fe80::1", true),
            ("::1", false),
            ("169.254.169.254", false),
            ("8.8.8.8", true),
        ] {
            assert_eq!(allows(&guard, address), allowed, "{address}");
        }
    }

    #[test]
    fn an_endpoint_is_judged_by_the_address_its_host_is() {
        let strict = guard(&[]);
        let local = guard(&["127.0.0.0/8"]);
        let local_v6 = guard(&["::1/128"]);
        for (url, refused, refused_locally, refused_locally_v6) in [
            ("http://example.com/", None, None, None),
            ("http://10.example.com/", None, None, None),
            ("http://8.8.8.8/", None, None, None),
            (
                "http://127.0.0.1/",
                Some("127.0.0.1"),
                None,
                Some("127.0.0.1"),
            ),
            ("http://[::1]/", Some("::1"), Some("::1"), None),
            (
                "http://[::ffff:7f00:1]/",
                Some("::ffff:127.0.0.1"),
                None,
                Some("::ffff:127.0.0.1"),
            ),
            ("http://localhost/", Some("127.0.0.1"), None, None),
            ("https://x.LOCALHOST.:1/", Some("127.0.0.1"), None, None),
            (
                "http://10.0.0.1/",
                Some("10.0.0.1"),
                Some("10.0.0.1"),
                Some("10.0.0.1"),
            ),
            (
                "http://169.254.169.254/latest/",
                Some("169.254.169.254"),
                Some("169.254.169.254"),
                Some("169.254.169.254"),
            ),
        ] {
            let endpoint = Endpoint::parse(url).unwrap();
            for (guard, refused) in [
                (&strict, refused),
                (&local, refused_locally),
                (&local_v6, refused_locally_v6),
            ] {
                let refused = refused.map(|address: &str| Refused {
                    address: address.parse().unwrap(),
                });
                assert_eq!(guard.judge_url(&endpoint).err(), refused, "{url}");
            }
        }
    }
}
