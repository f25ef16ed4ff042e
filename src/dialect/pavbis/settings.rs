//! The section `[dialect.pavbis]` of the config file.

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::auth::PlainSecret;

/// The section.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// Who may use it: names and passwords (Basic).
    pub users: BTreeMap<String, PlainSecret>,
}

impl Settings {
    /// The settings of development mode.
    #[must_use]
    pub fn development() -> Self {
        Self {
            users: BTreeMap::from([("test".to_owned(), PlainSecret::new("test"))]),
        }
    }
}
