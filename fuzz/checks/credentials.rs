//! What the target `credentials` checks: what a request says of its sender is read or refused, and a
//! token passes only if it is signed, says how in the one allowed way, and is within its time.
//!
//! The first byte chooses: `b` lines of `Authorization`, `t` a token, `s` the header and the payload
//! of a token, a line each, which is then signed with the right key.

use std::collections::BTreeMap;

use jsonwebtoken::{Algorithm, EncodingKey, crypto};
use serde_json::Value;
use strandlog::auth::basic::{self, Users};
use strandlog::auth::jwt::{Rules, Verifier};
use strandlog::http::{HeaderMap, HeaderValue, header};
use strandlog::json::write;

const SECRET: &[u8] = b"32 bytes or more of a good secret";
/// 2026-01-01, in seconds.
const NOW_S: u64 = 1_767_225_600;

pub(crate) fn check(bytes: &[u8]) {
    match bytes.split_first() {
        Some((b'b', rest)) => basic(rest),
        Some((b't', rest)) => {
            if let Ok(text) = std::str::from_utf8(rest) {
                token(text);
            }
        }
        Some((b's', rest)) => {
            let end = rest.iter().position(|byte| *byte == b'\n');
            let (head, payload) = rest.split_at(end.unwrap_or(rest.len()));
            signed(head, payload.get(1..).unwrap_or_default());
        }
        _ => {}
    }
}

fn basic(lines: &[u8]) {
    let mut headers = HeaderMap::new();
    for line in lines.split(|byte| *byte == b'\n') {
        if let Ok(value) = HeaderValue::from_bytes(line) {
            headers.append(header::AUTHORIZATION, value);
        }
    }
    let Ok(Some((user, password))) = basic::credentials(&headers) else {
        return;
    };
    assert_eq!(headers.len(), 1, "one of them counts, and which?");
    assert!(!user.contains(':'));
    let mut both = user.clone().into_bytes();
    both.push(b':');
    both.extend_from_slice(&password);
    let mut again = Vec::new();
    write::base64(&mut again, &both);
    let value = headers[header::AUTHORIZATION].as_bytes();
    assert!(value.trim_ascii_end().ends_with(&again), "another reading");
    let users = Users::new(BTreeMap::from([("u".to_owned(), "p:w".to_owned())]));
    let is_right = user == "u" && password == b"p:w";
    assert_eq!(users.verify(&user, &password), is_right);
}

fn verifier() -> Verifier {
    Verifier::hs256(SECRET).expect("it is long enough")
}

fn sign(message: &str) -> String {
    let key = EncodingKey::from_secret(SECRET);
    crypto::sign(message.as_bytes(), &key, Algorithm::HS256).expect("HMAC takes any key")
}

fn rules() -> [Rules; 2] {
    [(0, true), (60, false)].map(|(leeway_s, expiry_required)| Rules {
        leeway_s,
        expiry_required,
    })
}

fn token(text: &str) {
    for rules in rules() {
        let verified = verifier().verify::<Value>(text, NOW_S * 1_000_000, &rules);
        if verified.is_ok() {
            let (message, signature) = text.rsplit_once('.').expect("a token has three parts");
            assert_eq!(sign(message), signature, "taken without a signature");
        }
    }
}

fn signed(head: &[u8], payload: &[u8]) {
    let part = |bytes: &[u8]| {
        let mut text = Vec::new();
        write::base64(&mut text, bytes);
        let text = String::from_utf8(text).expect("base64 is ASCII");
        let text = text.trim_end_matches('=');
        text.replace('+', "-").replace('/', "_")
    };
    let message = format!("{}.{}", part(head), part(payload));
    let token = format!("{message}.{}", sign(&message));
    for rules in rules() {
        let Ok(claims) = verifier().verify::<Value>(&token, NOW_S * 1_000_000, &rules) else {
            continue;
        };
        let head: Value = serde_json::from_slice(head).expect("a token's header is JSON");
        assert_eq!(head["alg"], "HS256");
        assert!(head.get("crit").is_none());
        let want: Value = serde_json::from_slice(payload).expect("a token's payload is JSON");
        assert_eq!(claims, want);
        // A second is more than what numbers with a fraction are rounded by.
        let (now, leeway) = (NOW_S as f64, rules.leeway_s as f64);
        match claims.get("exp") {
            Some(end) => {
                let end = end.as_f64().expect("a time is a number");
                assert!(end + leeway + 1.0 >= now, "it has ended: {end}");
            }
            None => assert!(!rules.expiry_required),
        }
        if let Some(start) = claims.get("nbf") {
            let start = start.as_f64().expect("a time is a number");
            assert!(start - leeway - 1.0 <= now, "it has not begun: {start}");
        }
    }
}
