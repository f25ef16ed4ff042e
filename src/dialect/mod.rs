//! Other people's HTTP APIs, spoken so that their clients work unchanged.
//!
//! Each dialect is a folder with the same few files: `mod.rs` its routes, `settings.rs` its section
//! of the config file, `replies.rs` its statuses, codes and bodies as data, `event.rs` how its
//! events are ours and ours are its. No dialect knows another. Which one a path belongs to is said
//! here, and a path of a dialect that is switched off belongs to none.

use std::sync::Arc;

use serde::Deserialize;

use crate::app::{App, Failure};
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

    /// The dialect to which a path belongs, if it is on.
    #[must_use]
    pub fn of_path(&self, path: &str) -> Option<Dialect<'_>> {
        if self.newstore_paths.iter().any(|known| known == path) {
            return self.newstore.as_ref().map(Dialect::Newstore);
        }
        let mut segments = path.strip_prefix('/')?.split('/');
        match (segments.next()?, segments.next()) {
            ("api", Some("v1")) => self.pavbis.as_ref().map(Dialect::Pavbis),
            ("api", Some("monolith")) => self.spotahome.as_ref().map(Dialect::Spotahome),
            ("v1", Some("contexts" | "context" | "handlers" | "authentications")) => {
                self.axon.as_ref().map(Dialect::Axon)
            }
            ("event" | "auth" | "system" | "action" | "contract", _) => {
                self.eventhos.as_ref().map(Dialect::Eventhos)
            }
            _ => None,
        }
    }
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
