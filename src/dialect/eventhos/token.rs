//! Tokens: made, and judged (spec sections 2 and 5).
//!
//! A token is a JWT (HS256) that says who it is for. Short tokens expire after 24 hours. A client may
//! have a long-lived one instead, which has no expiry and is the only one accepted of it; once it is
//! removed or replaced it is worth nothing, although its signature still holds.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::auth::jwt::{Rules, Signer, TokenError, Verifier, WeakSecret};

use super::registry::{Client, Entity};
use super::replies::{self, Refusal};

/// How long a short token lives, in seconds.
const LIFETIME_S: u64 = 24 * 60 * 60;

/// How many access keys are known again, and how long they may be, in bytes. A producer sends its key
/// with each event; to judge its signature each time would cost a tenth of the request.
const KNOWN_KEYS_MAX: usize = 1_024;
/// See [`KNOWN_KEYS_MAX`].
const KNOWN_KEY_LEN_MAX: usize = 1_024;

/// Who a token is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Subject {
    /// A client, by its `client_id`.
    Client {
        client_id: String,
        /// Whether the token expires.
        expires: bool,
    },
    /// A user, by name.
    User {
        /// The name.
        username: String,
    },
}

/// Makes and judges tokens.
#[derive(Clone, Debug)]
pub(super) struct Tokens {
    signer: Signer,
    verifier: Verifier,
    known: Arc<KnownKeys>,
}

/// Access keys whose signature was judged and was right. That is a fact about the key for as long as
/// the secret is the same; what may change is asked each time.
#[derive(Default)]
struct KnownKeys(Mutex<HashMap<String, KnownKey>>);

#[derive(Clone)]
struct KnownKey {
    client_id: String,
    /// When the key was judged, in seconds. At an earlier time, which a clock that goes back may
    /// show, it might not be valid yet.
    judged_at_s: u64,
    /// From when on it is expired.
    expires_at_s: u64,
}

impl fmt::Debug for KnownKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("KnownKeys(..)")
    }
}

impl KnownKeys {
    /// Whose key it is, if it is known and valid.
    fn client_id(&self, key: &str, now_us: u64) -> Option<String> {
        let known = self.0.lock().get(key).cloned()?;
        let now_s = now_us / 1_000_000;
        let valid = (known.judged_at_s..known.expires_at_s).contains(&now_s);
        valid.then_some(known.client_id)
    }

    fn insert(&self, key: &str, known: KnownKey) {
        if key.len() > KNOWN_KEY_LEN_MAX {
            return;
        }
        let mut keys = self.0.lock();
        // Keys live for a day, so the map is full of old ones before it is full of used ones.
        if keys.len() >= KNOWN_KEYS_MAX {
            keys.clear();
        }
        keys.insert(key.to_owned(), known);
    }
}

#[derive(Serialize)]
struct Claims<'a> {
    data: Data<'a>,
    iat: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    exp: Option<u64>,
}

#[derive(Serialize)]
#[serde(untagged)]
enum Data<'a> {
    Client {
        id: &'a str,
        #[serde(rename = "subjectType")]
        subject_type: &'static str,
        identifier: &'a str,
    },
    User {
        id: u64,
        #[serde(rename = "subjectType")]
        subject_type: &'static str,
        username: &'a str,
    },
}

/// Claims as they come in; whatever else there is has no meaning.
#[derive(Deserialize)]
struct GivenClaims {
    #[serde(default)]
    data: GivenData,
    #[serde(default)]
    exp: Value,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct GivenData {
    #[serde(rename = "subjectType")]
    subject_type: Value,
    id: Value,
    username: Value,
}

impl Tokens {
    /// Tokens under this secret.
    ///
    /// # Errors
    ///
    /// [`WeakSecret`].
    pub(super) fn new(secret: &[u8]) -> Result<Self, WeakSecret> {
        Ok(Self {
            signer: Signer::hs256(secret)?,
            verifier: Verifier::hs256(secret)?,
            known: Arc::default(),
        })
    }

    /// A token for a client; one that does not expire if it is long-lived.
    pub(super) fn for_client(
        &self,
        client_id: &str,
        identifier: &str,
        now_us: u64,
        long_lived: bool,
    ) -> String {
        let iat = now_us / 1_000_000;
        self.signer.sign(&Claims {
            data: Data::Client {
                id: client_id,
                subject_type: "client",
                identifier,
            },
            iat,
            exp: (!long_lived).then_some(iat + LIFETIME_S),
        })
    }

    /// A token for a user.
    pub(super) fn for_user(&self, id: u64, username: &str, now_us: u64) -> String {
        let iat = now_us / 1_000_000;
        self.signer.sign(&Claims {
            data: Data::User {
                id,
                subject_type: "user",
                username,
            },
            iat,
            exp: Some(iat + LIFETIME_S),
        })
    }

    /// Who a token is for.
    ///
    /// # Errors
    ///
    /// [`TokenError`]; a subject that is neither a client nor a user, and a user's token that never
    /// expires, are malformed.
    pub(super) fn subject(&self, token: &str, now_us: u64) -> Result<Subject, TokenError> {
        self.judge(token, now_us).map(|(subject, _)| subject)
    }

    /// Who a token is for, and when it expires, in whole seconds, if it says so in such.
    fn judge(&self, token: &str, now_us: u64) -> Result<(Subject, Option<u64>), TokenError> {
        let rules = Rules {
            leeway_s: 0,
            expiry_required: false,
        };
        let claims: GivenClaims = self.verifier.verify(token, now_us, &rules)?;
        let expires = !claims.exp.is_null();
        let expires_at_s = claims.exp.as_u64();
        let text = |value: Value| match value {
            Value::String(text) => Some(text),
            _ => None,
        };
        let data = claims.data;
        let subject = match text(data.subject_type).as_deref() {
            Some("user") => match text(data.username) {
                Some(username) if expires => Subject::User { username },
                Some(_) | None => return Err(TokenError::Malformed),
            },
            // Upstream takes whatever is not a user for a client.
            Some(_) | None => match text(data.id) {
                Some(client_id) => Subject::Client { client_id, expires },
                None => return Err(TokenError::Malformed),
            },
        };
        Ok((subject, expires_at_s))
    }

    /// Judges the access key of the client that owns an event's system.
    pub(super) fn judge_key(
        &self,
        client: &Entity<Client>,
        key: &str,
        now_us: u64,
    ) -> Result<(), Refusal> {
        if let Some(long_lived) = client.long_lived() {
            return if long_lived.is(key) {
                Ok(())
            } else {
                Err(replies::wrong_long_lived())
            };
        }
        let own = client.definition.client_id.as_str();
        if let Some(client_id) = self.known.client_id(key, now_us) {
            return if client_id == own {
                Ok(())
            } else {
                Err(replies::wrong_token())
            };
        }
        match self.judge(key, now_us) {
            Ok((Subject::Client { client_id, expires }, expires_at_s))
                if expires && client_id == own =>
            {
                if let Some(expires_at_s) = expires_at_s {
                    let known = KnownKey {
                        client_id,
                        judged_at_s: now_us / 1_000_000,
                        expires_at_s,
                    };
                    self.known.insert(key, known);
                }
                Ok(())
            }
            Ok(_) | Err(_) => Err(replies::wrong_token()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: &[u8] = b"another-32-bytes-of-secret-material-here";
    const NOW_US: u64 = 1_700_000_000_000_000;

    fn tokens() -> Tokens {
        Tokens::new(SECRET).unwrap()
    }

    fn signed(claims: &Value) -> String {
        Signer::hs256(SECRET).unwrap().sign(claims)
    }

    #[test]
    fn a_key_is_known_again_only_between_the_time_it_was_judged_at_and_its_end() {
        let known = KnownKeys::default();
        let key = KnownKey {
            client_id: "shop".to_owned(),
            judged_at_s: 100,
            expires_at_s: 200,
        };
        known.insert("key", key.clone());
        let client = |at_us| known.client_id("key", at_us);
        assert_eq!(client(100_000_000).as_deref(), Some("shop"));
        assert_eq!(client(199_999_999).as_deref(), Some("shop"));
        assert_eq!(client(200_000_000), None);
        assert_eq!(client(99_999_999), None);
        assert_eq!(known.client_id("kez", 150_000_000), None);
        known.insert(&"x".repeat(KNOWN_KEY_LEN_MAX + 1), key.clone());
        for number in 0..2 * KNOWN_KEYS_MAX {
            known.insert(&number.to_string(), key.clone());
            assert!(known.0.lock().len() <= KNOWN_KEYS_MAX);
        }
        assert!(!format!("{known:?}").contains("shop"));
    }

    #[test]
    fn the_claims_are_those_of_the_spec() {
        use base64::Engine as _;
        let token = tokens().for_client("c1", "shop", NOW_US, false);
        let payload = token.split('.').nth(1).unwrap();
        let payload = base64::engine::general_purpose::URL_SAFE_NO_PAD
            .decode(payload)
            .unwrap();
        let claims: Value = serde_json::from_slice(&payload).unwrap();
        assert_eq!(
            claims,
            serde_json::json!({
                "data": {"id": "c1", "subjectType": "client", "identifier": "shop"},
                "iat": 1_700_000_000, "exp": 1_700_086_400,
            })
        );
    }

    #[test]
    fn a_token_is_for_whom_it_says_and_as_long() {
        let tokens = tokens();
        let client = |expires| Subject::Client {
            client_id: "c1".to_owned(),
            expires,
        };
        let short = tokens.for_client("c1", "shop", NOW_US, false);
        assert_eq!(tokens.subject(&short, NOW_US), Ok(client(true)));
        let end_us = NOW_US + LIFETIME_S * 1_000_000;
        assert_eq!(tokens.subject(&short, end_us - 1), Ok(client(true)));
        assert_eq!(tokens.subject(&short, end_us), Err(TokenError::Expired));
        let long = tokens.for_client("c1", "shop", NOW_US, true);
        assert_eq!(tokens.subject(&long, u64::MAX), Ok(client(false)));
        let user = tokens.for_user(1, "admin", NOW_US);
        let username = "admin".to_owned();
        assert_eq!(
            tokens.subject(&user, NOW_US),
            Ok(Subject::User { username })
        );
    }

    #[test]
    fn tokens_without_a_subject_are_none() {
        let tokens = tokens();
        for claims in [
            serde_json::json!({}),
            serde_json::json!({"data": {}}),
            serde_json::json!({"data": {"id": 1}}),
            serde_json::json!({"data": {"subjectType": "user", "id": 1}}),
            serde_json::json!({"data": {"subjectType": "user", "username": "admin"}}),
            serde_json::json!({"data": "c1"}),
        ] {
            assert_eq!(
                tokens.subject(&signed(&claims), NOW_US),
                Err(TokenError::Malformed),
                "{claims}"
            );
        }
        assert!(Tokens::new(b"short").is_err());
    }
}
