//! Who may ask: whoever knows the key; without a key, whoever is on this machine.

use crate::app::{Code, Failure};
use crate::auth::basic::{self, Users};
use crate::auth::{PlainSecret, secret};
use crate::http::{Head, HeaderName, access};

use super::replies::{Kind, Refusal};
use super::settings::Settings;

/// Carries the key.
const X_API_KEY: HeaderName = HeaderName::from_static("x-api-key");
/// Carries it in requests to Axon Server itself.
const AXONIQ_ACCESS_TOKEN: HeaderName = HeaderName::from_static("axoniq-access-token");

/// What a request is for, as far as it matters who asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    /// Events.
    Events,
    /// Handlers, and what is not there.
    Configuration,
}

/// Judges who asks.
#[derive(Debug)]
pub(super) enum Gate {
    /// There is no key.
    Open,
    /// There is one, and for configuration users besides.
    Locked { key: PlainSecret, users: Users },
}

impl Gate {
    /// The gate that the settings ask for.
    ///
    /// # Errors
    ///
    /// [`Failure`]: nobody could pass, or everybody although there are users.
    pub(super) fn new(settings: &Settings) -> Result<Self, Failure> {
        let wrong = |what| Failure::new(Code::Denied, format!("[dialect.axon]: {what}"));
        let Some(key) = &settings.api_key else {
            if settings.users.is_empty() {
                return Ok(Self::Open);
            }
            return Err(wrong("'users' protect nothing without an 'api_key'"));
        };
        let can_be_sent = key.reveal().bytes().all(|byte| byte.is_ascii_graphic());
        if key.reveal().is_empty() || !can_be_sent {
            return Err(wrong(
                "'api_key' must be visible ASCII without spaces, and not empty",
            ));
        }
        let users = settings.users.iter();
        Ok(Self::Locked {
            key: key.clone(),
            users: Users::new(
                users
                    .map(|(name, password)| (name.clone(), password.reveal().to_owned()))
                    .collect(),
            ),
        })
    }

    /// Refuses whoever may not ask for this.
    pub(super) fn check(&self, head: &Head, purpose: Purpose) -> Result<(), Refusal> {
        let (key, users) = match self {
            Self::Open => return Ok(access::check(head)?),
            Self::Locked { key, users } => (key, users),
        };
        let headers = head.headers();
        let presented: Vec<_> = headers
            .get_all(&X_API_KEY)
            .iter()
            .chain(headers.get_all(&AXONIQ_ACCESS_TOKEN))
            .collect();
        // A wrong key beside the right one is wrong: something in front may have judged the other.
        let all_right = presented.iter().fold(true, |right, presented| {
            right & secret::equal(presented.as_bytes(), key.reveal().as_bytes())
        });
        if !all_right {
            return Err(wrong_key());
        }
        if !presented.is_empty() {
            return Ok(());
        }
        if purpose == Purpose::Configuration {
            match basic::credentials(headers) {
                Ok(Some((user, password))) if users.verify(&user, &password) => return Ok(()),
                Ok(Some(_)) | Err(_) => return Err(wrong_key()),
                Ok(None) => {}
            }
        }
        Err(Refusal::new(
            Kind::NO_KEY,
            "the request carries no key: the header 'X-API-KEY' is missing; nothing was done",
        ))
    }
}

fn wrong_key() -> Refusal {
    Refusal::new(
        Kind::WRONG_KEY,
        "the key of the request is not valid; nothing was done",
    )
}
