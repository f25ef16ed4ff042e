//! The section `[dialect.eventhos]` of the config file.

use serde::Deserialize;

use crate::auth::PlainSecret;

/// The section.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// The secret of the tokens it hands out (HS256): at least 32 bytes.
    pub jwt_secret: PlainSecret,
}

impl Settings {
    /// The settings of development mode.
    #[must_use]
    pub fn development() -> Self {
        Self {
            jwt_secret: PlainSecret::new("another-32-bytes-of-secret-material-here"),
        }
    }
}
