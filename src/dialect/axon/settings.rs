//! The section `[dialect.axon]` of the config file.

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::auth::PlainSecret;

/// The section.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// The contexts: logs, created at the start if need be. There are no others, `default` only if
    /// it is named.
    pub contexts: Vec<String>,
    /// The key that requests must carry (`X-API-KEY`), if any.
    pub api_key: Option<PlainSecret>,
    /// Who may configure handlers with a name and a password (Basic) instead of the key.
    #[serde(default)]
    pub users: BTreeMap<String, PlainSecret>,
}

impl Settings {
    /// The settings of development mode.
    #[must_use]
    pub fn development() -> Self {
        Self {
            contexts: vec!["default".to_owned(), "billing".to_owned()],
            api_key: None,
            users: BTreeMap::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_section_names_its_contexts_and_nothing_unknown() {
        let read = |text: &str| toml::from_str::<Settings>(text);
        let plain = read("contexts = [\"default\", \"billing\"]");
        assert_eq!(plain, Ok(Settings::development()));
        let locked = read("contexts = []\napi_key = \"k\"\nusers = { admin = \"p\" }").unwrap();
        assert_eq!(locked.api_key, Some(PlainSecret::new("k")));
        assert_eq!(locked.users["admin"], PlainSecret::new("p"));
        assert!(!format!("{locked:?}").contains("\"k\""));
        for bad in [
            "",
            "contexts = \"default\"",
            "contexts = []\napikey = \"k\"",
        ] {
            assert!(read(bad).is_err(), "{bad}");
        }
    }
}
