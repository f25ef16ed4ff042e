//! What an endpoint is read as, and what is refused to be one.

use super::*;
use proptest::prelude::*;

fn name(name: &str) -> Host {
    Host::Name(name.to_owned())
}

fn address(address: &str) -> Host {
    Host::Address(address.parse().unwrap())
}

#[test]
fn an_address_is_taken_apart_and_kept_as_it_is() {
    for (text, tls, host, port, host_header, target) in [
        (
            "http://example.com",
            false,
            name("example.com"),
            80,
            "example.com",
            "/",
        ),
        (
            "https://example.com/",
            true,
            name("example.com"),
            443,
            "example.com",
            "/",
        ),
        (
            "HTTPS://Example.COM:8443/A?b=C",
            true,
            name("example.com"),
            8443,
            "example.com:8443",
            "/A?b=C",
        ),
        (
            "http://example.com?q=/?:@",
            false,
            name("example.com"),
            80,
            "example.com",
            "/?q=/?:@",
        ),
        (
            "http://example.com:80/a@b:c",
            false,
            name("example.com"),
            80,
            "example.com",
            "/a@b:c",
        ),
        (
            "http://example.com:443//x//",
            false,
            name("example.com"),
            443,
            "example.com:443",
            "//x//",
        ),
        (
            "https://host./%2e%2E/../a;b",
            true,
            name("host."),
            443,
            "host.",
            "/%2e%2E/../a;b",
        ),
        (
            "http://my_service-1:09009/",
            false,
            name("my_service-1"),
            9009,
            "my_service-1:9009",
            "/",
        ),
        (
            "http://xn--bcher-kva.example/",
            false,
            name("xn--bcher-kva.example"),
            80,
            "xn--bcher-kva.example",
            "/",
        ),
        (
            "http://1.example/",
            false,
            name("1.example"),
            80,
            "1.example",
            "/",
        ),
        (
            "http://0xcafe.example/",
            false,
            name("0xcafe.example"),
            80,
            "0xcafe.example",
            "/",
        ),
        (
            "http://127.0.0.1:9009/bill",
            false,
            address("127.0.0.1"),
            9009,
            "127.0.0.1:9009",
            "/bill",
        ),
        ("http://[::1]/", false, address("::1"), 80, "[::1]", "/"),
        (
            "https://[2001:DB8::0:1]:8443",
            true,
            address("2001:db8::1"),
            8443,
            "[2001:db8::1]:8443",
            "/",
        ),
        (
            "http://[::ffff:10.0.0.1]/",
            false,
            address("::ffff:10.0.0.1"),
            80,
            "[::ffff:10.0.0.1]",
            "/",
        ),
    ] {
        let endpoint = Endpoint::parse(text).unwrap();
        assert_eq!(endpoint.as_str(), text);
        assert_eq!(endpoint.to_string(), text);
        assert_eq!(
            endpoint.authority(),
            &Authority { tls, host, port },
            "{text}"
        );
        assert_eq!(endpoint.host_header(), host_header, "{text}");
        assert_eq!(endpoint.target().to_string(), target, "{text}");
    }
}

#[test]
fn whatever_could_be_read_in_two_ways_is_refused() {
    use NotAnEndpoint::{
        Character, Fragment, Host, NumericHost, Path, Port, Scheme, TooLong, UserInfo,
    };
    let long_label = format!("http://{}.example/", "a".repeat(64));
    let long_name = format!("http://{}example/", "abcdefg.".repeat(32));
    let long = format!("http://example.com/{}", "a".repeat(ENDPOINT_LEN_MAX - 18));
    for (text, error) in [
        ("", Scheme),
        ("example.com", Scheme),
        ("//example.com/", Scheme),
        ("http:/example.com", Scheme),
        ("http:example.com", Scheme),
        ("ftp://example.com/", Scheme),
        ("file:///etc/passwd", Scheme),
        ("gopher://example.com/", Scheme),
        ("unix://socket", Scheme),
        ("httpss://example.com/", Scheme),
        ("x-http://example.com/", Scheme),
        (" http://example.com/", Character { offset: 0 }),
        ("http://example.com/ ", Character { offset: 19 }),
        ("http://example.com/\r\nHost: x", Character { offset: 19 }),
        ("http://exa\tmple.com/", Character { offset: 10 }),
        ("http://example.com/\0", Character { offset: 19 }),
        ("http://example.com/\u{7f}", Character { offset: 19 }),
        ("http://example.com\\@127.0.0.1/", Character { offset: 18 }),
        ("http:\\\\example.com/", Character { offset: 5 }),
        ("http://b\u{fc}cher.example/", Character { offset: 8 }),
        ("http://example.com/\u{e9}", Character { offset: 19 }),
        ("http://\u{ff11}27.0.0.1/", Character { offset: 7 }),
        ("http://127\u{3002}0.0.1/", Character { offset: 10 }),
        ("http://user@example.com/", UserInfo),
        ("http://user:password@example.com/", UserInfo),
        ("http://example.com:80@127.0.0.1/", UserInfo),
        ("http://@example.com/", UserInfo),
        ("http://example.com/#top", Fragment),
        ("http://example.com#@127.0.0.1/", Fragment),
        ("http://", Host),
        ("http:///path", Host),
        ("http://:80/", Host),
        ("http://?q", Host),
        ("http://.", Host),
        ("http://a..b/", Host),
        ("http://.a/", Host),
        ("http://a-/", Host),
        ("http://%31%32%37.0.0.1/", NumericHost),
        ("http://ex%61mple.com/", Host),
        ("http://a,b/", Host),
        ("http://*/", Host),
        (&long_label, Host),
        (&long_name, Host),
        ("http://[::1", Host),
        ("http://::1/", Host),
        ("http://[::1]x/", Host),
        ("http://[]/", Host),
        ("http://[127.0.0.1]/", Host),
        ("http://[fe80::1%25eth0]/", Host),
        ("http://[fe80::1%eth0]/", Host),
        ("http://[v1.x]/", Host),
        ("http://a]b/", Host),
        ("http://2130706433/", NumericHost),
        ("http://0177.0.0.1/", NumericHost),
        ("http://0x7f.1/", NumericHost),
        ("http://0x7f000001/", NumericHost),
        ("http://0X7F000001/", NumericHost),
        ("http://0x/", NumericHost),
        ("http://127.1/", NumericHost),
        ("http://127.0.1/", NumericHost),
        ("http://0/", NumericHost),
        ("http://127.0.0.01/", NumericHost),
        ("http://127.0.0.1./", NumericHost),
        ("http://127.0.0.256/", NumericHost),
        ("http://127.0.0.1.1/", NumericHost),
        ("http://127.0.0.0x1/", NumericHost),
        ("http://example.1/", NumericHost),
        ("http://017700000001/", NumericHost),
        ("http://example.com:/", Port),
        ("http://example.com:0/", Port),
        ("http://example.com:65536/", Port),
        ("http://example.com:+80/", Port),
        ("http://example.com:-1/", Port),
        ("http://example.com:80:80/", Port),
        ("http://example.com:http/", Port),
        ("http://[::1]:99999/", Port),
        ("http://example.com/<a>", Path),
        (&long, TooLong),
    ] {
        assert_eq!(Endpoint::parse(text), Err(error), "{text}");
    }
    assert!(Endpoint::parse(&long[..ENDPOINT_LEN_MAX]).is_ok());
}

#[test]
fn localhost_and_the_names_below_it_are_known() {
    for (text, local) in [
        ("http://localhost/", true),
        ("http://LOCALHOST:80/", true),
        ("http://localhost./", true),
        ("http://a.b.LocalHost./", true),
        ("http://localhost.example/", false),
        ("http://notlocalhost/", false),
        ("http://127.0.0.1/", false),
    ] {
        let endpoint = Endpoint::parse(text).unwrap();
        assert_eq!(endpoint.authority().host.is_localhost(), local, "{text}");
    }
}

#[test]
fn debug_shows_no_path_and_no_query() {
    let endpoint = Endpoint::parse("https://hooks.example/T0/secret?key=secret").unwrap();
    let shown = format!("{endpoint:?}");
    assert!(
        shown.contains("hooks.example") && !shown.contains("secret"),
        "{shown}"
    );
}

proptest! {
    #[test]
    fn another_parser_reads_the_same_host_and_port(
        text in "https?://[a-z0-9.:@\\[\\]/?%x_-]{0,24}",
    ) {
        let Ok(endpoint) = Endpoint::parse(&text) else {
            return Ok(());
        };
        let uri: Uri = text.parse().unwrap();
        let host = match &endpoint.authority.host {
            Host::Name(name) => name.clone(),
            Host::Address(IpAddr::V4(address)) => address.to_string(),
            Host::Address(IpAddr::V6(_)) => return Ok(()),
        };
        let default_port = if endpoint.authority.tls { 443 } else { 80 };
        prop_assert_eq!(uri.host(), Some(host.as_str()));
        prop_assert_eq!(uri.port_u16().unwrap_or(default_port), endpoint.authority.port);
        prop_assert_eq!(uri.path(), endpoint.target.path());
        prop_assert_eq!(uri.query(), endpoint.target.query());
    }

    #[test]
    fn no_text_makes_it_panic(text in ".*") {
        for text in [text.clone(), format!("http://{text}")] {
            if let Ok(endpoint) = Endpoint::parse(&text) {
                prop_assert_eq!(endpoint.as_str(), text);
            }
        }
    }
}
