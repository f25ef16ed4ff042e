//! The section `[dialect.spotahome]` of the config file.

use std::path::PathBuf;

use serde::Deserialize;

use crate::auth::PlainSecret;

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
}

fn role_default() -> String {
    "uai_admin".to_owned()
}

impl Settings {
    /// The settings of development mode.
    #[must_use]
    pub fn development() -> Self {
        Self {
            jwt_secret: Some(PlainSecret::new("at-least-32-bytes-of-secret-material")),
            jwt_public_key_file: None,
            role: role_default(),
        }
    }
}
