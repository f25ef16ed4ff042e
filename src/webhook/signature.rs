//! Signatures of calls by the Standard Webhooks specification (<https://www.standardwebhooks.com>),
//! so that receivers can use its ready-made libraries.
//!
//! What is signed is `{id}.{timestamp}.{body}`, the body byte for byte. The receiver gets the id
//! and the timestamp in headers of their own, refuses old timestamps, and knows a repeat by its id.

use std::fmt;

use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::alphabet;
use base64::engine::DecodePaddingMode;
use base64::engine::general_purpose::{GeneralPurpose, PAD, STANDARD};
use serde::{Deserialize, Serialize};

use crate::auth::secret::fill_random;
use crate::http::HeaderName;

/// Names the message: the same for every attempt to deliver it. It has no dot.
pub const WEBHOOK_ID: HeaderName = HeaderName::from_static("webhook-id");
/// When this attempt was made, in whole seconds since 1970.
pub const WEBHOOK_TIMESTAMP: HeaderName = HeaderName::from_static("webhook-timestamp");
/// One or more signatures, with spaces between them.
pub const WEBHOOK_SIGNATURE: HeaderName = HeaderName::from_static("webhook-signature");

/// What the text of a secret begins with.
const PREFIX: &str = "whsec_";
/// The fewest bytes of a secret, by the specification.
const SECRET_LEN_MIN: usize = 24;
/// The most bytes of a secret, by the specification.
const SECRET_LEN_MAX: usize = 64;
/// The bytes of the secrets made here: as many as the hash has.
const GENERATED_LEN: usize = 32;
/// Base64 with or without padding: both are in use for secrets.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    PAD.with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// The text is no secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotASecret;

impl fmt::Display for NotASecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "a webhook secret is '{PREFIX}' and the base64 of {SECRET_LEN_MIN} to \
             {SECRET_LEN_MAX} bytes"
        )
    }
}

impl std::error::Error for NotASecret {}

/// The secret that a sender and a receiver share. It serializes as its text, in the clear: whoever
/// signs has to have it.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Secret(Vec<u8>);

impl Secret {
    /// The secret with this text: `whsec_` and the base64 of 24 to 64 bytes.
    ///
    /// # Errors
    ///
    /// [`NotASecret`].
    pub fn parse(text: &str) -> Result<Self, NotASecret> {
        let encoded = text.strip_prefix(PREFIX).ok_or(NotASecret)?;
        let bytes = BASE64.decode(encoded).map_err(|_| NotASecret)?;
        if !(SECRET_LEN_MIN..=SECRET_LEN_MAX).contains(&bytes.len()) {
            return Err(NotASecret);
        }
        Ok(Self(bytes))
    }

    /// A new secret.
    ///
    /// # Panics
    ///
    /// If the operating system has no random numbers.
    #[must_use]
    pub fn generate() -> Self {
        let mut bytes = vec![0; GENERATED_LEN];
        fill_random(&mut bytes);
        Self(bytes)
    }

    /// Its text, to be given to the receiver.
    #[must_use]
    pub fn reveal(&self) -> String {
        format!("{PREFIX}{}", STANDARD.encode(&self.0))
    }

    /// The signature of one attempt, for [`WEBHOOK_SIGNATURE`]. `id` and `timestamp_s` are what
    /// stands in the other two headers.
    #[must_use]
    pub fn sign(&self, id: &str, timestamp_s: i64, body: &[u8]) -> String {
        let key = hmac::Key::new(hmac::HMAC_SHA256, &self.0);
        let mut context = hmac::Context::with_key(&key);
        context.update(format!("{id}.{timestamp_s}.").as_bytes());
        context.update(body);
        format!("v1,{}", STANDARD.encode(context.sign()))
    }
}

impl TryFrom<String> for Secret {
    type Error = NotASecret;

    fn try_from(text: String) -> Result<Self, NotASecret> {
        Self::parse(&text)
    }
}

impl From<Secret> for String {
    fn from(secret: Secret) -> Self {
        secret.reveal()
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Secret").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

    #[test]
    fn the_published_example_has_the_published_signature() {
        let secret = Secret::parse(TEXT).unwrap();
        let body = br#"{"test": 2432232314}"#;
        assert_eq!(
            secret.sign("msg_p5jXN8AQM9LWM0D4loKWxJek", 1_614_265_330, body),
            "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
        );
    }

    #[test]
    fn every_part_is_signed() {
        let secret = Secret::parse(TEXT).unwrap();
        let signature = secret.sign("a", 1, b"body");
        assert_eq!(signature, secret.clone().sign("a", 1, b"body"));
        assert_ne!(signature, secret.sign("b", 1, b"body"));
        assert_ne!(signature, secret.sign("a", 2, b"body"));
        assert_ne!(signature, secret.sign("a", -1, b"body"));
        assert_ne!(signature, secret.sign("a", 1, b"body\n"));
        assert_ne!(signature, Secret::generate().sign("a", 1, b"body"));
    }

    #[test]
    fn only_secrets_of_24_to_64_bytes_are_taken() {
        let text = |len: usize| format!("whsec_{}", STANDARD.encode(vec![7; len]));
        for len in [24, 25, 26, 32, 63, 64] {
            let secret = Secret::parse(&text(len)).unwrap();
            assert_eq!(secret.reveal(), text(len));
            assert_eq!(Secret::parse(text(len).trim_end_matches('=')), Ok(secret));
        }
        for text in [
            &text(23),
            &text(65),
            &text(0),
            "",
            "whsec_",
            "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
            "WHSEC_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
            "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaS",
            "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLa-_",
            "whsec_ MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
            "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw\n",
        ] {
            assert_eq!(Secret::parse(text), Err(NotASecret), "{text}");
        }
    }

    #[test]
    fn a_generated_secret_is_new_and_survives_being_written_down() {
        let secret = Secret::generate();
        assert_ne!(secret, Secret::generate());
        let written = serde_json::to_string(&secret).unwrap();
        assert_eq!(serde_json::from_str::<Secret>(&written).unwrap(), secret);
        assert!(serde_json::from_str::<Secret>("\"whsec_\"").is_err());
    }

    #[test]
    fn debug_shows_nothing_of_the_secret() {
        assert_eq!(
            format!("{:?}", Secret::parse(TEXT).unwrap()),
            "Secret { .. }"
        );
    }
}
