//! JSON Web Tokens (RFC 7519) in their signed compact form (RFC 7515).
//!
//! The algorithm comes with the key, never with the token: what a token says about it must be the
//! same, or it is forged. The signature is judged before the claims are decoded. `exp` and `nbf`
//! are judged by a time that is handed in.
//!
//! The library keeps the keys and computes the signatures. Parts and claims are taken apart here,
//! because the library's own check reads the machine's clock, takes the last of two claims of one
//! name, and does not tell a token that is no token from one with a forbidden algorithm.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::RangeInclusive;
use std::str::FromStr as _;

use aws_lc_rs::rsa::PublicKey;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header};
use serde::de::{self, Deserialize, DeserializeOwned, Deserializer, MapAccess, Visitor};
use serde::ser::Serialize;
use serde_json::value::RawValue;

/// The longest token that is looked at, in bytes. Common servers take no longer header line, so no
/// client has one; and it bounds what a stranger's token can cost before its signature is judged.
pub const TOKEN_LEN_MAX: usize = 8 << 10;
/// The shortest secret of HS256, in bytes: as long as the hash (RFC 7518, section 3.2). A shorter
/// one can be guessed from a single token.
pub const SECRET_LEN_MIN: usize = 32;
/// The length of an RSA modulus, in bits: the least that RFC 7518, section 3.3, allows, and the most
/// that the library verifies with.
const MODULUS_BITS: RangeInclusive<usize> = 2_048..=8_192;

/// The secret is shorter than [`SECRET_LEN_MIN`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WeakSecret;

impl fmt::Display for WeakSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "the secret of HS256 needs {SECRET_LEN_MIN} bytes or more"
        )
    }
}

impl std::error::Error for WeakSecret {}

/// Why a file holds no key that RS256 tokens can be verified with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UnusableKey {
    /// It is a private key, which has no business on a server that only verifies.
    Private,
    /// It is no public key in the PEM form.
    NotPublic,
    /// It is a public key, but not of RSA.
    NotRsa,
    /// It has fewer than 2,048 bits, more than 8,192, or cannot be an RSA key.
    Refused,
}

impl fmt::Display for UnusableKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Private => "it is a private key; the public one is wanted",
            Self::NotPublic => "it is no PEM with a 'PUBLIC KEY' or an 'RSA PUBLIC KEY'",
            Self::NotRsa => "it is not a key of RSA",
            Self::Refused => "it is not a sound RSA key of 2,048 to 8,192 bits",
        })
    }
}

impl std::error::Error for UnusableKey {}

/// Why a token is not accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TokenError {
    /// It is no token, or too long for one, or its claims have not the expected form; also if it
    /// must expire and says no time.
    Malformed,
    /// It is not signed by this key with its algorithm, or it demands (`crit`) that something is
    /// understood that is not.
    Forged,
    /// Its time is over.
    Expired,
    /// Its time has not come.
    NotYetValid,
}

impl fmt::Display for TokenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Malformed => "the token is malformed",
            Self::Forged => "the token's signature is not valid",
            Self::Expired => "the token has expired",
            Self::NotYetValid => "the token is not valid yet",
        })
    }
}

impl std::error::Error for TokenError {}

/// What is asked of a token beside its signature.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rules {
    /// How far the clock of whoever made it may differ from ours, in seconds.
    pub leeway_s: u64,
    /// Whether a token without `exp` is refused.
    pub expiry_required: bool,
}

/// Judges tokens by one key and one algorithm.
#[derive(Clone)]
pub struct Verifier {
    algorithm: Algorithm,
    key: DecodingKey,
}

impl Verifier {
    /// Accepts tokens signed with HMAC-SHA256 under this secret.
    ///
    /// # Errors
    ///
    /// [`WeakSecret`].
    pub fn hs256(secret: &[u8]) -> Result<Self, WeakSecret> {
        strong(secret)?;
        Ok(Self {
            algorithm: Algorithm::HS256,
            key: DecodingKey::from_secret(secret),
        })
    }

    /// Accepts tokens signed with RSASSA-PKCS1-v1_5 and SHA-256 by the owner of this public key,
    /// which is a PEM file.
    ///
    /// # Errors
    ///
    /// [`UnusableKey`]: a key that could verify nothing is found out here, not at the first token.
    pub fn rs256_pem(pem: &[u8]) -> Result<Self, UnusableKey> {
        let text = str::from_utf8(pem).map_err(|_| UnusableKey::NotPublic)?;
        if text.contains("PRIVATE KEY-----") {
            return Err(UnusableKey::Private);
        }
        if !["PUBLIC KEY", "RSA PUBLIC KEY"]
            .iter()
            .any(|kind| text.contains(&format!("-----BEGIN {kind}-----")))
        {
            return Err(UnusableKey::NotPublic);
        }
        let key = DecodingKey::from_rsa_pem(pem).map_err(|_| UnusableKey::NotRsa)?;
        let der = key.try_get_as_bytes().map_err(|_| UnusableKey::NotRsa)?;
        let parsed = PublicKey::from_der(der).map_err(|_| UnusableKey::Refused)?;
        // The library would take another length, and then verify nothing with it.
        let modulus = parsed.modulus();
        let modulus = modulus.big_endian_without_leading_zero();
        let zeros = modulus.first().map_or(0, |byte| byte.leading_zeros());
        let bits = modulus.len() * 8 - zeros as usize;
        if !MODULUS_BITS.contains(&bits) {
            return Err(UnusableKey::Refused);
        }
        Ok(Self {
            algorithm: Algorithm::RS256,
            key,
        })
    }

    /// The claims of a token that this key has signed and whose time it is, at `now_us`
    /// (microseconds since 1970).
    ///
    /// # Errors
    ///
    /// [`TokenError`]. Claims that do not fit into `C` are malformed.
    pub fn verify<C: DeserializeOwned>(
        &self,
        token: &str,
        now_us: u64,
        rules: &Rules,
    ) -> Result<C, TokenError> {
        if token.len() > TOKEN_LEN_MAX {
            return Err(TokenError::Malformed);
        }
        let (message, signature) = token.rsplit_once('.').ok_or(TokenError::Malformed)?;
        let (header, payload) = message.split_once('.').ok_or(TokenError::Malformed)?;
        if payload.contains('.') {
            return Err(TokenError::Malformed);
        }
        self.judge_header(&Members::read(&decode(header)?)?)?;
        let signed =
            jsonwebtoken::crypto::verify(signature, message.as_bytes(), &self.key, self.algorithm)
                .map_err(|_not_base64| TokenError::Malformed)?;
        if !signed {
            return Err(TokenError::Forged);
        }
        let payload = decode(payload)?;
        judge_times(&Members::read(&payload)?, now_us, rules)?;
        serde_json::from_slice(&payload).map_err(|_| TokenError::Malformed)
    }

    fn judge_header(&self, header: &Members) -> Result<(), TokenError> {
        let named = header.0.get("alg").ok_or(TokenError::Malformed)?;
        let named: String = serde_json::from_str(named.get()).map_err(|_| TokenError::Forged)?;
        let algorithm = Algorithm::from_str(&named).map_err(|_| TokenError::Forged)?;
        // A critical extension changes what the signature means (RFC 7515, section 4.1.11), and
        // none is known here.
        if algorithm != self.algorithm || header.0.contains_key("crit") {
            return Err(TokenError::Forged);
        }
        Ok(())
    }
}

impl fmt::Debug for Verifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Verifier")
            .field("algorithm", &self.algorithm)
            .finish_non_exhaustive()
    }
}

/// Makes tokens.
#[derive(Clone)]
pub struct Signer {
    key: EncodingKey,
}

impl Signer {
    /// Signs with HMAC-SHA256 under this secret.
    ///
    /// # Errors
    ///
    /// [`WeakSecret`].
    pub fn hs256(secret: &[u8]) -> Result<Self, WeakSecret> {
        strong(secret)?;
        Ok(Self {
            key: EncodingKey::from_secret(secret),
        })
    }

    /// A token with these claims. It is as long as they are, so a verifier refuses it beyond
    /// [`TOKEN_LEN_MAX`].
    ///
    /// # Panics
    ///
    /// If the claims have no JSON form, as a map with keys that are no strings.
    #[must_use]
    pub fn sign<C: Serialize>(&self, claims: &C) -> String {
        jsonwebtoken::encode(&Header::new(Algorithm::HS256), claims, &self.key)
            .expect("claims are structs with a JSON form, and HMAC takes any key")
    }
}

impl fmt::Debug for Signer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Signer").finish_non_exhaustive()
    }
}

fn strong(secret: &[u8]) -> Result<(), WeakSecret> {
    if secret.len() < SECRET_LEN_MIN {
        return Err(WeakSecret);
    }
    Ok(())
}

fn decode(part: &str) -> Result<Vec<u8>, TokenError> {
    URL_SAFE_NO_PAD
        .decode(part)
        .map_err(|_| TokenError::Malformed)
}

fn judge_times(claims: &Members, now_us: u64, rules: &Rules) -> Result<(), TokenError> {
    let now_us = i128::from(now_us);
    let leeway_us = i128::from(rules.leeway_s) * 1_000_000;
    match claims.time_us("exp")? {
        None if rules.expiry_required => return Err(TokenError::Malformed),
        // From the named moment on it is over (RFC 7519, section 4.1.4).
        Some(end_us) if now_us >= end_us.saturating_add(leeway_us) => {
            return Err(TokenError::Expired);
        }
        None | Some(_) => {}
    }
    match claims.time_us("nbf")? {
        Some(start_us) if now_us < start_us.saturating_sub(leeway_us) => {
            Err(TokenError::NotYetValid)
        }
        None | Some(_) => Ok(()),
    }
}

/// The members of a JSON object, none of them twice.
///
/// Two parties that read a token with a claim given twice may each see another one; RFC 7519,
/// section 4, lets us refuse it.
struct Members(BTreeMap<String, Box<RawValue>>);

impl Members {
    fn read(bytes: &[u8]) -> Result<Self, TokenError> {
        serde_json::from_slice(bytes).map_err(|_| TokenError::Malformed)
    }

    /// A claim that is a time: seconds since 1970, whole or not, of any size and sign. In
    /// microseconds.
    fn time_us(&self, name: &str) -> Result<Option<i128>, TokenError> {
        let Some(text) = self.0.get(name) else {
            return Ok(None);
        };
        let number: serde_json::Number =
            serde_json::from_str(text.get()).map_err(|_| TokenError::Malformed)?;
        if let Some(seconds) = number.as_i128() {
            return Ok(Some(seconds.saturating_mul(1_000_000)));
        }
        let seconds = number.as_f64().ok_or(TokenError::Malformed)?;
        // The conversion saturates, and takes no number for zero.
        Ok(Some((seconds * 1e6) as i128))
    }
}

impl<'de> Deserialize<'de> for Members {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Collect;

        impl<'de> Visitor<'de> for Collect {
            type Value = Members;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Members, A::Error> {
                let mut members = BTreeMap::new();
                while let Some((name, value)) = map.next_entry::<String, Box<RawValue>>()? {
                    if members.insert(name, value).is_some() {
                        return Err(de::Error::custom("a member is there twice"));
                    }
                }
                Ok(Members(members))
            }
        }

        deserializer.deserialize_map(Collect)
    }
}

#[cfg(test)]
mod tests;
