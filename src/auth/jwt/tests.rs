//! Attacks on tokens, and the edges of their time.

use std::sync::LazyLock;

use aws_lc_rs::encoding::{AsDer as _, PublicKeyX509Der};
use aws_lc_rs::rsa::{KeyPair, KeySize};
use aws_lc_rs::signature::{KeyPair as _, RSA_PKCS1_SHA256};
use aws_lc_rs::{hmac, rand};
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::*;

const SECRET: &[u8] = b"0123456789abcdef0123456789abcdef";
const NOW_S: i64 = 1_700_000_000;
const RULES: Rules = Rules {
    leeway_s: 30,
    expiry_required: true,
};
const HS256: &str = r#"{"alg":"HS256","typ":"JWT"}"#;
const RS256: &str = r#"{"alg":"RS256","typ":"JWT"}"#;

static RSA: LazyLock<KeyPair> = LazyLock::new(|| KeyPair::generate(KeySize::Rsa2048).unwrap());

fn pem(kind: &str, der: &[u8]) -> String {
    let text = STANDARD.encode(der);
    let lines: Vec<&str> = text
        .as_bytes()
        .chunks(64)
        .map(|line| str::from_utf8(line).unwrap())
        .collect();
    let body = lines.join("\n");
    format!("-----BEGIN {kind}-----\n{body}\n-----END {kind}-----\n")
}

fn public_pem(key: &KeyPair) -> String {
    let der: PublicKeyX509Der<'_> = key.public_key().as_der().unwrap();
    pem("PUBLIC KEY", der.as_ref())
}

fn encode(text: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(text)
}

fn message(header: &str, payload: &str) -> String {
    format!("{}.{}", encode(header), encode(payload))
}

fn hmac_with(secret: &[u8], message: &str) -> String {
    let key = hmac::Key::new(hmac::HMAC_SHA256, secret);
    encode(hmac::sign(&key, message.as_bytes()))
}

/// A token with any header and payload, rightly signed.
fn signed(header: &str, payload: &str) -> String {
    let message = message(header, payload);
    format!("{message}.{}", hmac_with(SECRET, &message))
}

fn rsa_signed(key: &KeyPair, header: &str, payload: &str) -> String {
    let message = message(header, payload);
    let mut signature = vec![0; key.public_modulus_len()];
    let random = rand::SystemRandom::new();
    key.sign(
        &RSA_PKCS1_SHA256,
        &random,
        message.as_bytes(),
        &mut signature,
    )
    .unwrap();
    format!("{message}.{}", encode(signature))
}

fn payload() -> String {
    json!({"sub": "ada", "exp": NOW_S + 60}).to_string()
}

fn hs256() -> Verifier {
    Verifier::hs256(SECRET).unwrap()
}

fn at(now_s: i64) -> u64 {
    u64::try_from(now_s).unwrap() * 1_000_000
}

fn judge(verifier: &Verifier, token: &str) -> Result<Value, TokenError> {
    verifier.verify(token, at(NOW_S), &RULES)
}

#[test]
fn what_is_signed_is_accepted_with_all_its_claims() {
    #[derive(Debug, PartialEq, serde::Serialize, serde::Deserialize)]
    struct Claims {
        data: Value,
        exp: i64,
    }
    let claims = Claims {
        data: json!({"id": "a", "n": [1, 2.5, null]}),
        exp: NOW_S + 1,
    };
    let token = Signer::hs256(SECRET).unwrap().sign(&claims);
    assert_eq!(hs256().verify(&token, at(NOW_S), &RULES), Ok(claims));
    // Claims that are signed, but are not those that were wanted.
    let other = signed(HS256, &payload());
    let judged: Result<Claims, _> = hs256().verify(&other, at(NOW_S), &RULES);
    assert_eq!(judged, Err(TokenError::Malformed));
}

#[test]
fn the_example_of_the_standard_is_accepted() {
    // RFC 7515, appendix A.1.
    let key =
        "AyM1SysPpbyDfgZld3umj1qzKObwVMkoqQ-EstJQLr_T-1qS0gZH75aKtMN3Yj0iPS4hcgUuTwjAzZr1Z9CAow";
    let token = "eyJ0eXAiOiJKV1QiLA0KICJhbGciOiJIUzI1NiJ9\
        .eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ\
        .dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
    let verifier = Verifier::hs256(&URL_SAFE_NO_PAD.decode(key).unwrap()).unwrap();
    let claims: Value = verifier.verify(token, at(1_300_819_379), &RULES).unwrap();
    assert_eq!(claims["iss"], "joe");
    let late: Result<Value, _> = verifier.verify(token, at(NOW_S), &RULES);
    assert_eq!(late, Err(TokenError::Expired));
}

#[test]
fn forged_tokens_are_refused() {
    let verifier = hs256();
    let good = signed(HS256, &payload());
    assert!(judge(&verifier, &good).is_ok());
    let (body, signature) = good.rsplit_once('.').unwrap();
    let mut forged = Vec::new();
    for alg in [
        "none", "None", "NONE", "nOnE", "", "HS384", "HS512", "RS256", "hs256", "HS256 ",
    ] {
        let header = json!({"alg": alg, "typ": "JWT"}).to_string();
        forged.push(signed(&header, &payload()));
        forged.push(format!("{}.", message(&header, &payload())));
        forged.push(format!("{}.{signature}", message(&header, &payload())));
    }
    for alg in ["null", "1", "[\"HS256\"]", "{\"HS256\":null}", "true"] {
        forged.push(signed(&format!("{{\"alg\":{alg}}}"), &payload()));
    }
    for crit in [r#"["exp"]"#, r#"["b64"],"b64":false"#, "[]", "null"] {
        let header = format!(r#"{{"alg":"HS256","crit":{crit}}}"#);
        forged.push(signed(&header, &payload()));
    }
    forged.push(format!("{body}."));
    forged.push(format!("{body}.{}", &signature[..40]));
    forged.push(format!("{body}.{}", encode([0; 32])));
    forged.push(format!("{body}.{}", encode([0; 33])));
    // The end of another right signature, another payload, another secret, another header.
    let admin = json!({"sub": "root", "exp": NOW_S + 60}).to_string();
    forged.push(format!("{}.{signature}", message(HS256, &admin)));
    let other = hmac_with(b"another secret of thirty-two byte", body);
    forged.push(format!("{body}.{other}"));
    let header = r#"{"typ":"JWT","alg":"HS256"}"#;
    forged.push(format!("{}.{signature}", message(header, &payload())));
    let (empty, padded) = (
        hmac_with(b"", body),
        hmac_with(&[SECRET, b"\0\0"].concat(), body),
    );
    forged.push(format!("{body}.{empty}"));
    // HMAC pads its key with zeros, so a key of up to 64 bytes and the same with zeros behind it
    // are one key: this one is the same secret.
    assert!(judge(&verifier, &format!("{body}.{padded}")).is_ok());
    for token in forged {
        assert_eq!(judge(&verifier, &token), Err(TokenError::Forged), "{token}");
    }
}

#[test]
fn a_public_key_is_no_secret() {
    let pem = public_pem(&RSA);
    let verifier = Verifier::rs256_pem(pem.as_bytes()).unwrap();
    let good = rsa_signed(&RSA, RS256, &payload());
    assert_eq!(judge(&verifier, &good).unwrap()["sub"], "ada");
    let pkcs1 = self::pem("RSA PUBLIC KEY", RSA.public_key().as_ref());
    let same = Verifier::rs256_pem(pkcs1.as_bytes()).unwrap();
    assert!(judge(&same, &good).is_ok());

    let x509: PublicKeyX509Der<'_> = RSA.public_key().as_der().unwrap();
    let mut forged = Vec::new();
    let confused = message(HS256, &payload());
    for public in [
        pem.as_bytes(),
        pem.trim().as_bytes(),
        x509.as_ref(),
        RSA.public_key().as_ref(),
    ] {
        forged.push(format!("{confused}.{}", hmac_with(public, &confused)));
        let right = message(RS256, &payload());
        forged.push(format!("{right}.{}", hmac_with(public, &right)));
    }
    let other = KeyPair::generate(KeySize::Rsa2048).unwrap();
    forged.push(rsa_signed(&other, RS256, &payload()));
    for alg in ["none", "RS384", "PS256", "HS256", "ES256", "EdDSA"] {
        forged.push(rsa_signed(
            &RSA,
            &json!({"alg": alg}).to_string(),
            &payload(),
        ));
    }
    let (body, signature) = good.rsplit_once('.').unwrap();
    forged.push(format!("{body}."));
    forged.push(format!("{body}.{}", &signature[..340]));
    for token in forged {
        assert_eq!(judge(&verifier, &token), Err(TokenError::Forged), "{token}");
    }
    // The other way round: a rightly signed RS256 token says nothing to who shares a secret.
    assert_eq!(judge(&hs256(), &good), Err(TokenError::Forged));
}

#[test]
fn what_is_no_token_is_malformed() {
    let good = signed(HS256, &payload());
    let parts: Vec<&str> = good.split('.').collect();
    let (header, body, signature) = (parts[0], parts[1], parts[2]);
    let mut malformed = vec![
        String::new(),
        ".".to_owned(),
        "..".to_owned(),
        "....".to_owned(),
        "a".to_owned(),
        "a.b".to_owned(),
        "a.b.c".to_owned(),
        format!("{header}.{body}"),
        format!("{header}.{body}.{signature}.{signature}"),
        // The encrypted form has five parts.
        format!("{header}.{body}.{body}.{body}.{signature}"),
        format!(".{body}.{signature}"),
        format!("Bearer {good}"),
        format!(" {good}"),
        format!("{good} "),
        format!("{good}\n"),
        format!("{header}=.{body}.{signature}"),
        format!("{header}.{body}.{signature}="),
        format!("{header}.{body}.{}+", &signature[..42]),
        format!("{header}.{body}.{}/", &signature[..42]),
        // Its last letter stands for four bits and two that must be zero.
        format!("{header}.{body}.{}_", &signature[..42]),
        format!("{header}.{body}.{}\u{e9}", &signature[..42]),
        format!("{}.{body}.{signature}", encode("[\"HS256\"]")),
        format!("{}.{body}.{signature}", encode("\"HS256\"")),
        format!("{}.{body}.{signature}", encode("{\"typ\":\"JWT\"}")),
        format!("{}.{body}.{signature}", encode("{\"alg\":\"HS256\"")),
        format!("{}.{body}.{signature}", encode(b"{\"alg\":\"HS256\xff\"}")),
        format!("{good}{}", "A".repeat(10 << 20)),
        "A".repeat(10 << 20),
        ".".repeat(10 << 20),
    ];
    for header in [
        r#"{"alg":"HS256","alg":"HS256"}"#,
        r#"{"alg":"HS256","alg":"none"}"#,
        r#"{"alg":"none","\u0061lg":"HS256"}"#,
    ] {
        malformed.push(signed(header, &payload()));
    }
    for payload in [
        "",
        "{",
        "null",
        "[]",
        "\"exp\"",
        "{\"exp\":1700000060} x",
        r#"{"exp":1700000060,"exp":1900000000}"#,
        r#"{"exp":1900000000,"\u0065xp":1900000000}"#,
        r#"{"sub":"ada","sub":"root","exp":1700000060}"#,
    ] {
        malformed.push(signed(HS256, payload));
    }
    let padded = format!("{header}.{body}=");
    malformed.push(format!("{padded}.{}", hmac_with(SECRET, &padded)));
    for token in malformed {
        let shown = token.get(..300).unwrap_or(&token);
        assert_eq!(
            judge(&hs256(), &token),
            Err(TokenError::Malformed),
            "{shown}"
        );
    }
}

#[test]
fn a_token_may_have_its_length_and_not_a_byte_more() {
    let with = |len: usize| {
        let claims = json!({"exp": NOW_S + 60, "pad": "x".repeat(len)});
        signed(HS256, &claims.to_string())
    };
    // Three bytes make four letters, so the length is hit exactly.
    let mut len = 6_000;
    while with(len).len() < TOKEN_LEN_MAX {
        len += 1;
    }
    assert_eq!(with(len).len(), TOKEN_LEN_MAX);
    assert!(judge(&hs256(), &with(len)).is_ok());
    let longer = (len..).map(with).find(|token| token.len() > TOKEN_LEN_MAX);
    assert_eq!(
        judge(&hs256(), &longer.unwrap()),
        Err(TokenError::Malformed)
    );
}

#[test]
fn times_are_judged_by_the_time_given() {
    use TokenError::{Expired, Malformed, NotYetValid};
    for (claims, expected) in [
        (r#""exp":1700000001"#, Ok(())),
        (r#""exp":1700000000"#, Ok(())),
        (r#""exp":1699999971"#, Ok(())),
        (r#""exp":1699999970.5"#, Ok(())),
        (r#""exp":1699999970.000001"#, Ok(())),
        (r#""exp":1.7000000005e9"#, Ok(())),
        (r#""exp":1699999970"#, Err(Expired)),
        (r#""exp":1699999969.9"#, Err(Expired)),
        (r#""exp":0"#, Err(Expired)),
        (r#""exp":-0.0"#, Err(Expired)),
        (r#""exp":-1"#, Err(Expired)),
        (r#""exp":-9223372036854775808"#, Err(Expired)),
        (r#""exp":-1e308"#, Err(Expired)),
        (r#""exp":1e-400"#, Err(Expired)),
        (r#""exp":9223372036854775807"#, Ok(())),
        (r#""exp":18446744073709551615"#, Ok(())),
        (r#""exp":18446744073709551616"#, Ok(())),
        (r#""exp":1e308"#, Ok(())),
        (r#""exp":1e309"#, Err(Malformed)),
        (r#""exp":NaN"#, Err(Malformed)),
        (r#""exp":"1900000000""#, Err(Malformed)),
        (r#""exp":null"#, Err(Malformed)),
        (r#""exp":true"#, Err(Malformed)),
        (r#""exp":[1900000000]"#, Err(Malformed)),
        (r#""sub":"ada""#, Err(Malformed)),
        (r#""EXP":1900000000"#, Err(Malformed)),
        (r#""exp":1700000001,"nbf":1700000000"#, Ok(())),
        (r#""exp":1700000001,"nbf":1700000030"#, Ok(())),
        (r#""exp":1700000001,"nbf":1700000030.5"#, Err(NotYetValid)),
        (r#""exp":1700000001,"nbf":1700000031"#, Err(NotYetValid)),
        (
            r#""exp":1700000001,"nbf":18446744073709551615"#,
            Err(NotYetValid),
        ),
        (r#""exp":1700000001,"nbf":1e308"#, Err(NotYetValid)),
        (r#""exp":1700000001,"nbf":-1e308"#, Ok(())),
        (r#""exp":1700000001,"nbf":"0""#, Err(Malformed)),
        (r#""exp":0,"nbf":1900000000"#, Err(Expired)),
        // When it was made is not judged.
        (r#""exp":1700000001,"iat":1900000000"#, Ok(())),
    ] {
        let token = signed(HS256, &format!("{{{claims}}}"));
        let judged = judge(&hs256(), &token).map(drop);
        assert_eq!(judged, expected, "{claims}");
    }
}

#[test]
fn without_the_rule_a_token_may_be_valid_for_ever() {
    let rules = Rules {
        leeway_s: u64::MAX,
        expiry_required: false,
    };
    for (claims, now_us) in [
        ("{}", 0),
        ("{}", u64::MAX),
        (r#"{"exp":0}"#, u64::MAX),
        (r#"{"nbf":18446744073709551615}"#, 0),
    ] {
        let judged: Result<Value, _> = hs256().verify(&signed(HS256, claims), now_us, &rules);
        assert!(judged.is_ok(), "{claims}");
    }
    let judged: Result<Value, _> = hs256().verify(&signed(HS256, r#"{"exp":"0"}"#), 0, &rules);
    assert_eq!(judged, Err(TokenError::Malformed));
}

#[test]
fn weak_secrets_and_unusable_keys_are_refused() {
    assert_eq!(Verifier::hs256(&SECRET[..31]).unwrap_err(), WeakSecret);
    assert_eq!(Signer::hs256(b"").unwrap_err(), WeakSecret);
    assert!(Signer::hs256(SECRET).is_ok());

    let unusable = |pem: &str| Verifier::rs256_pem(pem.as_bytes()).unwrap_err();
    let good = public_pem(&RSA);
    assert_eq!(unusable(""), UnusableKey::NotPublic);
    assert_eq!(unusable("secret"), UnusableKey::NotPublic);
    assert_eq!(
        unusable(&good.replace("PUBLIC KEY", "CERTIFICATE")),
        UnusableKey::NotPublic
    );
    let cut: String = good.lines().filter(|line| !line.contains("END")).collect();
    assert_eq!(unusable(&cut), UnusableKey::NotRsa);
    assert_eq!(
        unusable(&pem("PUBLIC KEY", b"\x30\x00")),
        UnusableKey::NotRsa
    );
    assert_eq!(
        unusable(&pem("RSA PUBLIC KEY", b"\x30\x03\x02\x01\x05")),
        UnusableKey::Refused
    );
    let pkcs8: aws_lc_rs::encoding::Pkcs8V1Der<'_> = RSA.as_der().unwrap();
    assert_eq!(
        unusable(&pem("PRIVATE KEY", pkcs8.as_ref())),
        UnusableKey::Private
    );
    assert_eq!(unusable(&pem("RSA PRIVATE KEY", b"")), UnusableKey::Private);
    // A public key of P-256, and one of RSA with 1,024 bits.
    let ec = "MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEEVs/o5+uQbTjL3chynL4wXgUg2R9\
        q9UU8I5mEovUf86QZ7kOBIjJwqnzD1omageEHWwHdBO6B+dFabmdT9POxg==";
    assert_eq!(
        unusable(&pem("PUBLIC KEY", &STANDARD.decode(ec).unwrap())),
        UnusableKey::NotRsa
    );
    let weak = [
        &b"\x30\x81\x89\x02\x81\x81\x00"[..],
        &[0xc1; 128],
        b"\x02\x03\x01\x00\x01",
    ]
    .concat();
    assert_eq!(
        unusable(&pem("RSA PUBLIC KEY", &weak)),
        UnusableKey::Refused
    );
}

#[test]
fn debug_shows_no_key() {
    let shown = format!("{:?} {:?}", hs256(), Signer::hs256(SECRET).unwrap());
    assert!(shown.contains("HS256"), "{shown}");
    assert!(
        !shown.contains("0123") && !shown.contains("48, 49"),
        "{shown}"
    );
}
