//! The section `[dialect.spotahome]` of the config file.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::auth::PlainSecret;
use crate::auth::jwt::{Signer, Verifier};
use crate::dialect::SettingError;

/// The most events of one reply, and the number unless told otherwise: what the vendor documents.
const EVENTS_MAX: u16 = 500;

const JWT_SECRET: &str = "dialect.spotahome.jwt_secret";
const JWT_PUBLIC_KEY_FILE: &str = "dialect.spotahome.jwt_public_key_file";

/// The section.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// The secret of tokens signed with HS256: at least 32 bytes.
    pub jwt_secret: Option<PlainSecret>,
    /// The file with the public key (PEM) of tokens signed with RS256; instead of the secret.
    pub jwt_public_key_file: Option<PathBuf>,
    /// The role that a token must carry.
    #[serde(default = "role_default")]
    pub role: String,
    /// The most events of one reply, from 1 to 500.
    #[serde(default = "events_max_default")]
    pub events_max: u16,
}

fn role_default() -> String {
    "uai_admin".to_owned()
}

fn events_max_default() -> u16 {
    EVENTS_MAX
}

/// The claims of the token of development mode.
#[derive(Serialize)]
struct Claims<'a> {
    sub: &'static str,
    roles: [&'a str; 1],
    iat: u64,
    exp: u64,
}

impl Settings {
    /// The settings of development mode.
    #[must_use]
    pub fn development() -> Self {
        Self {
            jwt_secret: Some(PlainSecret::new("at-least-32-bytes-of-secret-material")),
            jwt_public_key_file: None,
            role: role_default(),
            events_max: events_max_default(),
        }
    }

    /// How to get in, for people: a token if the secret to sign one is here.
    ///
    /// The token is the same each time, so that one that was copied goes on working.
    #[must_use]
    pub fn credentials(&self) -> String {
        let secret = self.jwt_secret.as_ref().map(PlainSecret::reveal);
        let signer = secret.and_then(|secret| Signer::hs256(secret.as_bytes()).ok());
        let Some(signer) = signer else {
            return format!("Authorization: a token with the role {}", self.role);
        };
        let token = signer.sign(&Claims {
            sub: "development",
            roles: [&self.role],
            // 1 January of 2026 and of 2100.
            iat: 1_767_225_600,
            exp: 4_102_444_800,
        });
        format!("Authorization: {token}")
    }

    /// Judges the section. Reads the key file.
    ///
    /// # Errors
    ///
    /// [`SettingError`] names the setting.
    pub fn check(&self) -> Result<(), SettingError> {
        if self.role.is_empty() {
            let what = "it is empty, and no token has such a role";
            return Err(SettingError::new("dialect.spotahome.role", what));
        }
        if !(1..=EVENTS_MAX).contains(&self.events_max) {
            return Err(SettingError::new(
                "dialect.spotahome.events_max",
                format!("{} is not from 1 to {EVENTS_MAX}", self.events_max),
            ));
        }
        self.verifier().map(|_| ())
    }

    /// What judges the tokens.
    pub(super) fn verifier(&self) -> Result<Verifier, SettingError> {
        match (&self.jwt_secret, &self.jwt_public_key_file) {
            (Some(secret), None) => Verifier::hs256(secret.reveal().as_bytes())
                .map_err(|error| SettingError::new(JWT_SECRET, error.to_string())),
            (None, Some(path)) => {
                let unusable = |what: String| {
                    let what = format!("{}: {what}", path.display());
                    SettingError::new(JWT_PUBLIC_KEY_FILE, what)
                };
                let pem = std::fs::read(path).map_err(|error| unusable(error.to_string()))?;
                Verifier::rs256_pem(&pem).map_err(|error| unusable(error.to_string()))
            }
            (None, None) => Err(SettingError::new(
                JWT_SECRET,
                "tokens cannot be judged without it; or set jwt_public_key_file",
            )),
            (Some(_), Some(_)) => Err(SettingError::new(
                JWT_PUBLIC_KEY_FILE,
                "jwt_secret is set as well, and tokens are signed in one way",
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn refused(change: impl FnOnce(&mut Settings), want: &str) {
        let mut settings = Settings::development();
        change(&mut settings);
        let error = settings.check().unwrap_err().to_string();
        assert!(error.starts_with("dialect.spotahome."), "{error}");
        assert!(error.contains(want), "{error}");
    }

    #[test]
    fn tokens_are_signed_in_exactly_one_way() {
        assert_eq!(Settings::development().check(), Ok(()));
        let file = Some(PathBuf::from("/proc/self/no-such-key"));
        refused(|settings| settings.jwt_secret = None, "jwt_secret: tokens");
        let both = file.clone();
        refused(
            |settings| settings.jwt_public_key_file = both,
            "jwt_public_key_file: jwt_secret is set as well",
        );
        refused(
            |settings| {
                settings.jwt_secret = None;
                settings.jwt_public_key_file = file;
            },
            "jwt_public_key_file: /proc/self/no-such-key: No such file",
        );
    }

    #[test]
    fn a_key_that_could_be_guessed_or_is_none_is_refused() {
        refused(
            |settings| settings.jwt_secret = Some(PlainSecret::new("s".repeat(31))),
            "jwt_secret: the secret of HS256 needs 32 bytes",
        );
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("key.pem");
        std::fs::write(&path, "no key").unwrap();
        refused(
            |settings| {
                settings.jwt_secret = None;
                settings.jwt_public_key_file = Some(path);
            },
            "key.pem: it is no PEM",
        );
    }

    #[test]
    fn replies_of_no_event_and_roles_of_no_name_are_refused() {
        for events_max in [0, 501, u16::MAX] {
            refused(|settings| settings.events_max = events_max, "events_max: ");
        }
        refused(
            |settings| settings.role = String::new(),
            "role: it is empty",
        );
    }
}
