//! The section `[dialect.newstore]` of the config file.

use serde::Deserialize;

use crate::dialect::SettingError;
use crate::http::StatusCode;

/// The most paths: each is compared with the path of every request to the server.
const PATHS_MAX: usize = 16;
/// The longest path, in bytes: far above any real one.
const PATH_LEN_MAX: usize = 1_024;

/// The section.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// The paths that take events.
    pub paths: Vec<String>,
    /// Tenants that may not publish.
    pub denied_tenants: Vec<String>,
    /// Teams that may not publish.
    pub denied_teams: Vec<String>,
    /// The status of a success: the original's is not published, so whoever knows it can set it.
    pub success_status: u16,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            paths: vec!["/newstore/events".to_owned()],
            denied_tenants: Vec::new(),
            denied_teams: Vec::new(),
            success_status: 202,
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

    /// How to get in, for people.
    #[must_use]
    pub fn credentials(&self) -> String {
        match self.denied_tenants.as_slice() {
            [] => "none".to_owned(),
            denied => format!("none (denied tenants: {})", denied.join(", ")),
        }
    }

    /// Judges the section by itself.
    ///
    /// # Errors
    ///
    /// [`SettingError`] names the setting.
    pub fn check(&self) -> Result<(), SettingError> {
        self.check_paths()
            .map_err(|what| SettingError::new("dialect.newstore.paths", what))?;
        for (setting, names) in [
            ("dialect.newstore.denied_tenants", &self.denied_tenants),
            ("dialect.newstore.denied_teams", &self.denied_teams),
        ] {
            if names.iter().any(String::is_empty) {
                return Err(SettingError::new(setting, "a name is empty"));
            }
        }
        self.success().map(|_| ())
    }

    /// The status of a success.
    pub(super) fn success(&self) -> Result<StatusCode, SettingError> {
        StatusCode::from_u16(self.success_status)
            .ok()
            .filter(StatusCode::is_success)
            .ok_or_else(|| {
                SettingError::new(
                    "dialect.newstore.success_status",
                    format!("{} is not from 200 to 299", self.success_status),
                )
            })
    }

    fn check_paths(&self) -> Result<(), String> {
        if self.paths.is_empty() {
            return Err("there is none, so nothing could be published".to_owned());
        }
        if self.paths.len() > PATHS_MAX {
            return Err(format!(
                "there are {}, more than {PATHS_MAX}",
                self.paths.len()
            ));
        }
        for (index, path) in self.paths.iter().enumerate() {
            if let Some(what) = fault_of(path) {
                return Err(format!("{path:?} {what}"));
            }
            if self.paths.iter().take(index).any(|other| other == path) {
                return Err(format!("{path:?} is there twice"));
            }
        }
        Ok(())
    }
}

/// What is wrong with a path: most of it would leave a path that no request can have.
fn fault_of(path: &str) -> Option<&'static str> {
    if !path.starts_with('/') {
        return Some("does not begin with '/'");
    }
    if path.len() > PATH_LEN_MAX {
        return Some("is longer than 1,024 bytes");
    }
    if path.contains(['?', '#']) {
        return Some("has a query or a fragment");
    }
    if !path.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Some("has characters that have to be percent-encoded");
    }
    if path.split('/').any(|segment| matches!(segment, "." | "..")) {
        return Some("has a step that clients resolve before they ask");
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn refused(change: impl FnOnce(&mut Settings), want: &str) {
        let mut settings = Settings::development();
        change(&mut settings);
        let error = settings.check().unwrap_err().to_string();
        assert_eq!(error, want);
    }

    #[track_caller]
    fn refused_paths(paths: &[&str], want: &str) {
        let paths = paths.iter().map(|path| (*path).to_owned()).collect();
        refused(
            |settings| settings.paths = paths,
            &format!("dialect.newstore.paths: {want}"),
        );
    }

    #[test]
    fn paths_that_no_request_can_have_are_refused() {
        assert_eq!(Settings::development().check(), Ok(()));
        refused_paths(&[], "there is none, so nothing could be published");
        refused_paths(&["/a"; 17], "there are 17, more than 16");
        refused_paths(&["events"], "\"events\" does not begin with '/'");
        refused_paths(&["/e", "/e?x=1"], "\"/e?x=1\" has a query or a fragment");
        refused_paths(&["/e#f"], "\"/e#f\" has a query or a fragment");
        refused_paths(
            &["/a b"],
            "\"/a b\" has characters that have to be percent-encoded",
        );
        refused_paths(
            &["/é"],
            "\"/é\" has characters that have to be percent-encoded",
        );
        refused_paths(
            &["/a/../b"],
            "\"/a/../b\" has a step that clients resolve before they ask",
        );
        refused_paths(&["/e", "/f", "/e"], "\"/e\" is there twice");
    }

    #[test]
    fn a_success_is_a_success() {
        for status in [200, 201, 204, 299] {
            let settings = Settings {
                success_status: status,
                ..Settings::default()
            };
            assert_eq!(settings.check(), Ok(()));
        }
        for status in [0, 99, 199, 300, 404, 1_000, u16::MAX] {
            refused(
                |settings| settings.success_status = status,
                &format!("dialect.newstore.success_status: {status} is not from 200 to 299"),
            );
        }
    }

    #[test]
    fn a_name_that_no_request_can_have_is_refused() {
        refused(
            |settings| settings.denied_tenants.push(String::new()),
            "dialect.newstore.denied_tenants: a name is empty",
        );
        refused(
            |settings| settings.denied_teams.push(String::new()),
            "dialect.newstore.denied_teams: a name is empty",
        );
    }
}
