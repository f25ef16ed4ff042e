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
    /// The most events that a read gives, 1 to 10,000; a higher `limit` of a request is cut.
    #[serde(default = "limit_max")]
    pub limit_max: u64,
}

fn limit_max() -> u64 {
    1_000
}

impl Settings {
    /// The settings of development mode.
    #[must_use]
    pub fn development() -> Self {
        Self {
            users: BTreeMap::from([("test".to_owned(), PlainSecret::new("test"))]),
            limit_max: limit_max(),
        }
    }
}
