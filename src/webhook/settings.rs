//! The section `[webhooks]` of the config file.

use ipnet::IpNet;
use serde::Deserialize;

/// What the server may call.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// Networks that may be called besides the public ones.
    pub allow: Vec<IpNet>,
}

impl Settings {
    /// The settings of development mode: this machine may be called.
    ///
    /// # Panics
    ///
    /// Never: the network is part of the program.
    #[must_use]
    pub fn development() -> Self {
        let loopback = "127.0.0.0/8".parse();
        Self {
            allow: vec![loopback.expect("the network is written in CIDR form")],
        }
    }
}
