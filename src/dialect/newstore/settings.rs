//! The section `[dialect.newstore]` of the config file.

use serde::Deserialize;

/// The section.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// The paths that take events.
    pub paths: Vec<String>,
    /// Tenants that may not publish.
    pub denied_tenants: Vec<String>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            paths: vec!["/newstore/events".to_owned()],
            denied_tenants: Vec::new(),
        }
    }
}

impl Settings {
    /// The settings of development mode.
    #[must_use]
    pub fn development() -> Self {
        Self {
            denied_tenants: vec!["blocked".to_owned()],
            ..Self::default()
        }
    }
}
