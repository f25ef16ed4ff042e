//! The section `[dialect.axon]` of the config file.

use serde::Deserialize;

use crate::auth::PlainSecret;

/// The section.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// The contexts: logs, created at the start if need be.
    pub contexts: Vec<String>,
    /// The key that requests must carry, if any.
    pub api_key: Option<PlainSecret>,
}

impl Settings {
    /// The settings of development mode.
    #[must_use]
    pub fn development() -> Self {
        Self {
            contexts: vec!["default".to_owned(), "billing".to_owned()],
            api_key: None,
        }
    }
}
