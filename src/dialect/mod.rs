//! Other people's HTTP APIs, spoken so that their clients work unchanged.
//!
//! Each dialect is a folder with the same few files: `mod.rs` its routes, `settings.rs` its section
//! of the config file, `replies.rs` its statuses, codes and bodies as data, `event.rs` how its
//! events are ours and ours are its. No dialect knows another. Which one a path belongs to is said
//! here, and a path of a dialect that is switched off belongs to none.

use std::fmt;
use std::sync::Arc;

use serde::Deserialize;

use crate::app::{App, Code, Failure};
use crate::http::{Answered, BodyRules, Request};
use crate::webhook::Hub;

pub mod axon;
pub mod eventhos;
pub mod newstore;
pub mod pavbis;
pub mod spotahome;

/// The section `[dialect]` of the config file: a dialect is on if its section is there.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// See [`axon`].
    pub axon: Option<axon::Settings>,
    /// See [`eventhos`].
    pub eventhos: Option<eventhos::Settings>,
    /// See [`newstore`].
    pub newstore: Option<newstore::Settings>,
    /// See [`pavbis`].
    pub pavbis: Option<pavbis::Settings>,
    /// See [`spotahome`].
    pub spotahome: Option<spotahome::Settings>,
}

impl Settings {
    /// The settings of development mode: every dialect, with credentials that everybody knows.
    #[must_use]
    pub fn development() -> Self {
        Self {
            axon: Some(axon::Settings::development()),
            eventhos: Some(eventhos::Settings::development()),
            newstore: Some(newstore::Settings::development()),
            pavbis: Some(pavbis::Settings::development()),
            spotahome: Some(spotahome::Settings::development()),
        }
    }

    /// Judges the sections before anything is opened. Reads the key files that they name.
    ///
    /// # Errors
    ///
    /// [`SettingError`] names the setting that cannot be used.
    pub fn check(&self) -> Result<(), SettingError> {
        if let Some(eventhos) = &self.eventhos {
            eventhos.check()?;
        }
        if let Some(newstore) = &self.newstore {
            newstore.check()?;
            for path in &newstore.paths {
                if let Some(owner) = owner(path) {
                    let what = format!("{path:?} belongs to {owner}");
                    return Err(SettingError::new("dialect.newstore.paths", what));
                }
            }
        }
        if let Some(spotahome) = &self.spotahome {
            spotahome.check()?;
        }
        Ok(())
    }

    /// The dialects that are on, each with how to get in: what development mode tells whoever starts
    /// the server. It has secrets in it.
    #[must_use]
    pub fn credentials(&self) -> Vec<(&'static str, String)> {
        let mut all = Vec::new();
        if let Some(axon) = &self.axon {
            let how = match &axon.api_key {
                None => "none".to_owned(),
                Some(key) => format!("X-API-KEY: {}", key.reveal()),
            };
            all.push(("axon", how));
        }
        if let Some(eventhos) = &self.eventhos {
            all.push(("eventhos", eventhos.credentials()));
        }
        if let Some(newstore) = &self.newstore {
            all.push(("newstore", newstore.credentials()));
        }
        if let Some(pavbis) = &self.pavbis {
            let users = pavbis.users.iter();
            let users: Vec<String> = users
                .map(|(name, password)| format!("Basic {name}:{}", password.reveal()))
                .collect();
            all.push(("pavbis", users.join(", ")));
        }
        if let Some(spotahome) = &self.spotahome {
            all.push(("spotahome", spotahome.credentials()));
        }
        all
    }

    /// The names of the dialects that are on.
    #[must_use]
    pub fn names(&self) -> Vec<&'static str> {
        [
            ("axon", self.axon.is_some()),
            ("eventhos", self.eventhos.is_some()),
            ("newstore", self.newstore.is_some()),
            ("pavbis", self.pavbis.is_some()),
            ("spotahome", self.spotahome.is_some()),
        ]
        .into_iter()
        .filter_map(|(name, is_on)| is_on.then_some(name))
        .collect()
    }
}

/// A setting of a dialect that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SettingError {
    setting: &'static str,
    what: String,
}

impl SettingError {
    /// The setting by its full name (`dialect.NAME.SETTING`), and what is wrong with it.
    #[must_use]
    pub fn new(setting: &'static str, what: impl Into<String>) -> Self {
        Self {
            setting,
            what: what.into(),
        }
    }
}

impl fmt::Display for SettingError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.setting, self.what)
    }
}

impl std::error::Error for SettingError {}

impl From<SettingError> for Failure {
    /// For doors that are opened with settings nobody has judged.
    fn from(error: SettingError) -> Self {
        Self::new(Code::Internal, error.to_string())
    }
}

/// What every dialect is given.
#[derive(Clone, Debug)]
pub struct Tools {
    /// The product.
    pub app: App,
    /// The limits of bodies, shared by all doors.
    pub bodies: Arc<BodyRules>,
    /// What calls others.
    pub hub: Hub,
}

/// The dialects that are on.
#[derive(Debug)]
pub struct Dialects {
    axon: Option<axon::Door>,
    eventhos: Option<eventhos::Door>,
    newstore: Option<newstore::Door>,
    newstore_paths: Vec<String>,
    pavbis: Option<pavbis::Door>,
    spotahome: Option<spotahome::Door>,
}

/// A dialect that is on.
#[derive(Clone, Copy, Debug)]
pub enum Dialect<'a> {
    /// See [`axon`].
    Axon(&'a axon::Door),
    /// See [`eventhos`].
    Eventhos(&'a eventhos::Door),
    /// See [`newstore`].
    Newstore(&'a newstore::Door),
    /// See [`pavbis`].
    Pavbis(&'a pavbis::Door),
    /// See [`spotahome`].
    Spotahome(&'a spotahome::Door),
}

impl Dialects {
    /// Opens the dialects that have settings.
    ///
    /// # Errors
    ///
    /// [`Failure`] names the dialect whose settings, or state, cannot be used.
    pub async fn open(settings: Settings, tools: &Tools) -> Result<Self, Failure> {
        let newstore_paths = settings.newstore.as_ref().map(|of| of.paths.clone());
        Ok(Self {
            axon: match settings.axon {
                Some(settings) => Some(axon::Door::open(settings, tools.clone()).await?),
                None => None,
            },
            eventhos: match settings.eventhos {
                Some(settings) => Some(eventhos::Door::open(settings, tools.clone()).await?),
                None => None,
            },
            newstore: match settings.newstore {
                Some(settings) => Some(newstore::Door::open(settings, tools.clone()).await?),
                None => None,
            },
            newstore_paths: newstore_paths.unwrap_or_default(),
            pavbis: match settings.pavbis {
                Some(settings) => Some(pavbis::Door::open(settings, tools.clone()).await?),
                None => None,
            },
            spotahome: match settings.spotahome {
                Some(settings) => Some(spotahome::Door::open(settings, tools.clone()).await?),
                None => None,
            },
        })
    }

    /// Resolves once no dialect does anything on its own any more. The product must have been told to
    /// stop.
    pub async fn close(&self) {
        if let Some(door) = &self.eventhos {
            door.close().await;
        }
    }

    /// The dialect to which a path belongs, if it is on.
    #[must_use]
    pub fn of_path(&self, path: &str) -> Option<Dialect<'_>> {
        if self.newstore_paths.iter().any(|known| known == path) {
            return self.newstore.as_ref().map(Dialect::Newstore);
        }
        match Prefix::of(path)? {
            Prefix::Axon => self.axon.as_ref().map(Dialect::Axon),
            Prefix::Eventhos => self.eventhos.as_ref().map(Dialect::Eventhos),
            Prefix::Pavbis => self.pavbis.as_ref().map(Dialect::Pavbis),
            Prefix::Spotahome => self.spotahome.as_ref().map(Dialect::Spotahome),
        }
    }
}

/// A dialect whose paths have a prefix of their own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Prefix {
    Axon,
    Eventhos,
    Pavbis,
    Spotahome,
}

impl Prefix {
    fn of(path: &str) -> Option<Self> {
        let mut segments = path.strip_prefix('/')?.split('/');
        match (segments.next()?, segments.next()) {
            ("api", Some("v1")) => Some(Self::Pavbis),
            ("api", Some("monolith")) => Some(Self::Spotahome),
            ("v1", Some("contexts" | "context" | "handlers" | "authentications")) => {
                Some(Self::Axon)
            }
            ("event" | "auth" | "system" | "action" | "contract", _) => Some(Self::Eventhos),
            _ => None,
        }
    }
}

/// To whom a path belongs whatever the settings say: a dialect that is off may be switched on, and
/// must find its paths free.
fn owner(path: &str) -> Option<&'static str> {
    if let Some(prefix) = Prefix::of(path) {
        return Some(match prefix {
            Prefix::Axon => "the dialect axon",
            Prefix::Eventhos => "the dialect eventhos",
            Prefix::Pavbis => "the dialect pavbis",
            Prefix::Spotahome => "the dialect spotahome",
        });
    }
    let first = path.strip_prefix('/')?.split('/').next()?;
    let native = ["", "v1", "healthz", "readyz", "metrics", "openapi.json"];
    native.contains(&first).then_some("the native API")
}

impl Dialect<'_> {
    /// Answers a request for one of the dialect's paths, in its style whatever goes wrong.
    pub async fn answer(self, request: Request) -> Answered {
        match self {
            Self::Axon(door) => door.answer(request).await,
            Self::Eventhos(door) => door.answer(request).await,
            Self::Newstore(door) => door.answer(request).await,
            Self::Pavbis(door) => door.answer(request).await,
            Self::Spotahome(door) => door.answer(request).await,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_gateway_takes_no_path_that_belongs_to_somebody_else() {
        for (path, owner) in [
            ("/", "the native API"),
            ("//events", "the native API"),
            ("/v1/logs/default/events", "the native API"),
            ("/v1/events", "the native API"),
            ("/metrics", "the native API"),
            ("/v1/contexts", "the dialect axon"),
            ("/event/send", "the dialect eventhos"),
            ("/api/v1/newstore", "the dialect pavbis"),
            ("/api/monolith/event-store", "the dialect spotahome"),
        ] {
            let newstore = newstore::Settings {
                paths: vec!["/newstore/events".to_owned(), path.to_owned()],
                ..newstore::Settings::default()
            };
            let settings = Settings {
                newstore: Some(newstore),
                ..Settings::default()
            };
            assert_eq!(
                settings.check().unwrap_err().to_string(),
                format!("dialect.newstore.paths: {path:?} belongs to {owner}")
            );
        }
        for free in ["/newstore", "/api/v2/events", "/api", "/events/v1"] {
            assert_eq!(owner(free), None, "{free}");
        }
    }

    #[test]
    fn each_dialect_that_is_on_says_how_to_get_in() {
        let settings = Settings::development();
        let told: Vec<&str> = settings
            .credentials()
            .iter()
            .map(|(name, _)| *name)
            .collect();
        assert_eq!(told, settings.names());
        assert_eq!(told.len(), 5);
        let off = Settings::default();
        assert!(off.credentials().is_empty() && off.names().is_empty());
    }
}
