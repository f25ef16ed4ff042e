//! Calls over TLS: who is trusted, and for which name.
//!
//! The authority and the certificate (for the name `localhost`, of an authority named `Test CA`) are
//! valid from 2026 to 2126 and were made with `openssl req -x509` and `openssl x509 -req`; their
//! keys protect nothing.

use std::io::{Read as _, Write as _};
use std::net::Shutdown;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rustls::ServerConfig;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};

use super::*;

const AUTHORITY: &str = "MIIBizCCATGgAwIBAgIUDbzwkNCevbZggKvTPRqE1nhl9aUwCgYIKoZIzj0EAwIwEjEQMA4GA1UEAwwHVGVzdCBD\
    QTAgFw0yNjExMjEyMjAzNThaGA8yMTI2MTAyODIyMDM1OFowEjEQMA4GA1UEAwwHVGVzdCBDQTBZMBMGByqGSM49\
    AgEGCCqGSM49AwEHA0IABOMa4Mm1rrnpoI/XghqBXvzZ54jj5pcuN4Y5W1Kvyj9rrZ4rUtpLimKX+WDZiJ3TN/Gw\
    zcfQLGnuEDVDuSX1AqOjYzBhMB0GA1UdDgQWBBSmjWQjhmDIgwgd2q3KI41H+9xHiTAfBgNVHSMEGDAWgBSmjWQj\
    hmDIgwgd2q3KI41H+9xHiTAPBgNVHRMBAf8EBTADAQH/MA4GA1UdDwEB/wQEAwICBDAKBggqhkjOPQQDAgNIADBF\
    AiEA0evxCIOo29PsFwFoN/cxD2LnTDKimb8J8UCpuLk9p1UCICe0bYmRFlp6RkaLQbwxYe2D1CLeq+LMJ5wci/fs\
    gKFf";
const CERTIFICATE: &str = "MIIBojCCAUigAwIBAgIUJWZmcrGndYzW5l/8Hjn+WU7HgC0wCgYIKoZIzj0EAwIwEjEQMA4GA1UEAwwHVGVzdCBD\
    QTAgFw0yNjExMjEyMjAzNThaGA8yMTI2MTAyODIyMDM1OFowFDESMBAGA1UEAwwJbG9jYWxob3N0MFkwEwYHKoZI\
    zj0CAQYIKoZIzj0DAQcDQgAEU+Wqf3vg6OmXznbtw1TDT9ExjU05rhJwgXTbAOyeiYraUWcSbyvP3I2qM8yChyqq\
    98Lg2YZN8eEZyphbdncYOqN4MHYwFAYDVR0RBA0wC4IJbG9jYWxob3N0MAkGA1UdEwQCMAAwEwYDVR0lBAwwCgYI\
    KwYBBQUHAwEwHQYDVR0OBBYEFGEqvcbryy/FyoDzMLr0at21p+guMB8GA1UdIwQYMBaAFKaNZCOGYMiDCB3arcoj\
    jUf73EeJMAoGCCqGSM49BAMCA0gAMEUCIENDA270vtgx0jhwwqwVC1WUE+7D0jebyfSYDUpNkvRrAiEApyv9PqD2\
    Wl7CAphJ7rjBSPbv80W5KH3guCB0/fJwZ1M=";
const KEY: &str = "MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgWpiz8EpOvFi6JRMqMNIqp6EfWJ6wRgegSWA+SDmb\
    GzihRANCAART5ap/e+Do6ZfOdu3DVMNP0TGNTTmuEnCBdNsA7J6JitpRZxJvK8/cjaozzIKHKqr3wuDZhk3x4RnK\
    mFt2dxg6";
/// A time at which they are valid: 2050.
const VALID_US: u64 = 2_524_608_000_000_000;

fn der(text: &str) -> Vec<u8> {
    STANDARD.decode(text).unwrap()
}

fn config() -> Arc<ServerConfig> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(der(KEY)));
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![CertificateDer::from(der(CERTIFICATE))], key)
        .unwrap();
    Arc::new(config)
}

fn client(roots: &[&str], now_us: u64) -> Client {
    Client::with_roots(
        local(),
        CallLimits::default(),
        Arc::new(HandClock::at(now_us)),
        roots
            .iter()
            .map(|root| CertificateDer::from(der(root)))
            .collect(),
    )
}

fn tls_reason(result: Result<Answer, CallError>) -> String {
    match result {
        Err(CallError::Tls { reason }) => reason,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_certificate_for_the_name_by_a_trusted_authority_is_accepted() {
    let peer = Peer::over_tls(config(), OK, Then::Keep);
    let client = client(&[AUTHORITY], VALID_US);
    let endpoint = peer.endpoint("https://localhost", "/hook");
    for _ in 0..2 {
        let answer = client.call(post(&endpoint)).await.unwrap();
        assert_eq!(
            (answer.status, &answer.body[..]),
            (StatusCode::OK, &b"fine"[..])
        );
    }
    // One handshake serves both.
    assert_eq!(peer.connections(), 1);
    assert!(peer.requests()[0].contains(&format!("\r\nhost: localhost:{}\r\n", peer.port())));
}

#[tokio::test]
async fn any_other_certificate_is_refused() {
    let peer = Peer::over_tls(config(), OK, Then::Keep);
    let named = peer.endpoint("https://localhost", "/");
    let unnamed = peer.endpoint("https://127.0.0.1", "/");
    let after_its_end_us = VALID_US * 2;

    let stranger = client(&[CERTIFICATE], VALID_US).call(post(&named)).await;
    assert!(tls_reason(stranger).contains("UnknownIssuer"));
    let other_name = client(&[AUTHORITY], VALID_US).call(post(&unnamed)).await;
    assert!(tls_reason(other_name).contains("not valid for name"));
    let too_early = client(&[AUTHORITY], 0).call(post(&named)).await;
    assert!(tls_reason(too_early).contains("not valid yet"));
    let too_late = client(&[AUTHORITY], after_its_end_us)
        .call(post(&named))
        .await;
    assert!(tls_reason(too_late).contains("expired"));
    let nobody_trusted = client(&[], VALID_US).call(post(&named)).await;
    assert!(tls_reason(nobody_trusted).contains("no root certificates"));
    assert_eq!(peer.requests(), Vec::<String>::new());
}

#[tokio::test]
async fn tls_with_a_plain_port_fails_as_tls() {
    for answer in [
        "HTTP/1.1 400 Bad Request\r\n\r\n",
        "220 mail.example\r\n",
        "",
    ] {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let plain = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut hello = [0; 64];
            assert!(stream.read(&mut hello).unwrap() > 0);
            stream.write_all(answer.as_bytes()).unwrap();
            stream.shutdown(Shutdown::Write).unwrap();
            // Until the client has closed: to close first might take the answer back.
            let _rest = stream.read_to_end(&mut Vec::new());
        });
        let endpoint = Endpoint::parse(&format!("https://127.0.0.1:{port}/")).unwrap();
        let result = client(&[AUTHORITY], VALID_US).call(post(&endpoint)).await;
        let reason = tls_reason(result);
        assert!(!reason.is_empty() && reason.len() <= 200, "{reason}");
        plain.join().unwrap();
    }
}
