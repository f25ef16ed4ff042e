//! What there is: clients, systems, events, actions and contracts, as they are kept.
//!
//! Each is a document of the product, named by its integer id. Ids count from 1 for each kind and are
//! never given out again, because no document is ever removed: what is deleted says so.

use std::fmt;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::auth::PlainSecret;
use crate::auth::secret::StoredSecret;

use super::super::settings::SystemClass;

/// A kind of entity.
pub(crate) trait Definition: Clone + fmt::Debug + Serialize + DeserializeOwned {
    /// The kind of its documents.
    const DOCUMENTS: &'static str;
    /// Its name in messages.
    const NAME: &'static str;

    /// What it is called, for people.
    fn title(&self) -> &str;

    /// What is kept of an entity that stands in the config file, for the time when it does not any
    /// more. Secrets are not copied out of that file.
    fn to_remember(&self) -> Option<Self> {
        None
    }
}

/// An entity as it is kept.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(bound = "D: Definition", rename_all = "camelCase")]
pub(crate) struct Kept<D> {
    pub(crate) id: u64,
    pub(crate) identifier: String,
    pub(crate) created_at_us: u64,
    pub(crate) updated_at_us: u64,
    #[serde(default, skip_serializing_if = "is_default")]
    pub(crate) deleted: bool,
    /// Whether it was never anywhere but in the config file.
    #[serde(default, skip_serializing_if = "is_default")]
    pub(crate) from_config: bool,
    /// None if the config file alone says what it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) definition: Option<D>,
    #[serde(default, skip_serializing_if = "is_default")]
    pub(crate) state: State,
}

/// What routes may change of an entity that the config file defines.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct State {
    /// Of a client: whether nothing of it is accepted.
    #[serde(skip_serializing_if = "is_default")]
    pub(crate) revoked: bool,
    /// Of a client: the hash of its long-lived token.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) long_lived: Option<TokenHash>,
    /// Of a contract: the last id of the log when it came into force. What was there before does not
    /// concern it.
    #[serde(skip_serializing_if = "is_default")]
    pub(crate) after: u64,
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// SHA-256 of a whole token, in hexadecimal. Tokens are made of more randomness than the hash has
/// bits, so it need not be slow.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct TokenHash(String);

impl TokenHash {
    /// The hash of a token.
    pub(crate) fn of(token: &str) -> Self {
        use sha2::Digest as _;
        let mut hex = String::with_capacity(64);
        for byte in sha2::Sha256::digest(token.as_bytes()) {
            let written = fmt::Write::write_fmt(&mut hex, format_args!("{byte:02x}"));
            debug_assert!(written.is_ok(), "a string takes every character");
        }
        Self(hex)
    }

    /// Whether this is the hash of a token.
    pub(crate) fn is_of(&self, token: &str) -> bool {
        crate::auth::secret::equal(self.0.as_bytes(), Self::of(token).0.as_bytes())
    }
}

/// An entity as it is in force.
#[derive(Clone, Debug)]
pub(crate) struct Entity<D> {
    /// Its integer id.
    pub(crate) id: u64,
    /// Its name: unique among those of its kind.
    pub(crate) identifier: String,
    /// When it was first known.
    pub(crate) created_at_us: u64,
    /// When it was last changed.
    pub(crate) updated_at_us: u64,
    /// Whether it is in force no more.
    pub(crate) deleted: bool,
    /// Whether the config file defines it.
    pub(crate) configured: bool,
    /// What it is.
    pub(crate) definition: D,
    /// What routes may change of it.
    pub(crate) state: State,
}

/// A client as a route made it, or the config file names it.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Client {
    /// What it calls itself.
    pub(crate) client_id: String,
    #[serde(default)]
    pub(crate) name: String,
    #[serde(default)]
    pub(crate) description: String,
    /// Its secret, as it is kept; none for one of the config file.
    pub(crate) secret: Option<StoredSecret>,
    /// What the config file says of it.
    #[serde(skip)]
    pub(crate) configured: Option<ConfiguredClient>,
}

/// The secrets of a client of the config file.
#[derive(Clone, Debug)]
pub(crate) struct ConfiguredClient {
    pub(crate) secret: PlainSecret,
    pub(crate) revoked: bool,
    pub(crate) long_lived_token: Option<PlainSecret>,
}

impl Entity<Client> {
    /// Whether nothing of it is accepted.
    pub(crate) fn is_revoked(&self) -> bool {
        self.state.revoked
            || (self.definition.configured.as_ref()).is_some_and(|configured| configured.revoked)
    }

    /// The judge of its long-lived token, if it has one.
    pub(crate) fn long_lived(&self) -> Option<LongLived<'_>> {
        let configured = self.definition.configured.as_ref();
        match configured.and_then(|configured| configured.long_lived_token.as_ref()) {
            Some(token) => Some(LongLived::Plain(token)),
            None => self.state.long_lived.as_ref().map(LongLived::Hash),
        }
    }
}

/// The only access key that is accepted of a client.
#[derive(Clone, Copy, Debug)]
pub(crate) enum LongLived<'a> {
    /// As the config file has it.
    Plain(&'a PlainSecret),
    /// As a route made it.
    Hash(&'a TokenHash),
}

impl LongLived<'_> {
    /// Whether this is the token.
    pub(crate) fn is(self, token: &str) -> bool {
        match self {
            Self::Plain(secret) => {
                crate::auth::secret::equal(secret.reveal().as_bytes(), token.as_bytes())
            }
            Self::Hash(hash) => hash.is_of(token),
        }
    }
}

impl Definition for Client {
    const DOCUMENTS: &'static str = "eventhos-client";
    const NAME: &'static str = "client";

    fn title(&self) -> &str {
        &self.name
    }
}

/// A system.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct System {
    pub(crate) class: SystemClass,
    #[serde(default)]
    pub(crate) name: String,
    /// What its owner calls its kind.
    #[serde(default, rename = "type")]
    pub(crate) system_type: String,
    #[serde(default)]
    pub(crate) description: String,
    /// The client that sends its events.
    pub(crate) client: Option<u64>,
}

impl Definition for System {
    const DOCUMENTS: &'static str = "eventhos-system";
    const NAME: &'static str = "system";

    fn title(&self) -> &str {
        &self.name
    }

    fn to_remember(&self) -> Option<Self> {
        Some(self.clone())
    }
}

/// An event.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Event {
    pub(crate) system: u64,
    #[serde(default)]
    pub(crate) name: String,
    #[serde(default)]
    pub(crate) operation: String,
    #[serde(default)]
    pub(crate) description: String,
}

impl Definition for Event {
    const DOCUMENTS: &'static str = "eventhos-event";
    const NAME: &'static str = "event";

    fn title(&self) -> &str {
        &self.name
    }

    /// Its occurrences are listed by it.
    fn to_remember(&self) -> Option<Self> {
        Some(self.clone())
    }
}

/// An action. Its token's secret is kept in the clear, for it has to be sent; no reply shows it.
#[derive(Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Action {
    pub(crate) system: Option<u64>,
    #[serde(default)]
    pub(crate) name: String,
    #[serde(default)]
    pub(crate) operation: String,
    #[serde(default)]
    pub(crate) description: String,
    pub(crate) url: String,
    pub(crate) method: String,
    #[serde(default)]
    pub(crate) headers: Vec<(String, String)>,
    #[serde(default)]
    pub(crate) query: Vec<(String, String)>,
    /// JSON, as it was given.
    pub(crate) body: Option<Box<RawValue>>,
    pub(crate) reply_to: Option<String>,
    pub(crate) oauth: Option<Oauth>,
}

/// Anything else may be a secret.
impl fmt::Debug for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Action")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

impl Definition for Action {
    const DOCUMENTS: &'static str = "eventhos-action";
    const NAME: &'static str = "action";

    fn title(&self) -> &str {
        &self.name
    }
}

/// How to get a token for an action.
#[derive(Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Oauth {
    pub(crate) url: String,
    pub(crate) client_id: String,
    pub(crate) client_secret: String,
}

/// A contract.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Contract {
    pub(crate) event: u64,
    pub(crate) action: u64,
    #[serde(default)]
    pub(crate) name: String,
    pub(crate) order: i64,
    pub(crate) active: bool,
}

impl Definition for Contract {
    const DOCUMENTS: &'static str = "eventhos-contract";
    const NAME: &'static str = "contract";

    fn title(&self) -> &str {
        &self.name
    }
}

/// A user of the administration routes, who stands in the config file only.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct User {
    #[serde(skip)]
    pub(crate) configured: Option<ConfiguredUser>,
}

/// What the config file says of a user.
#[derive(Clone, Debug)]
pub(crate) struct ConfiguredUser {
    pub(crate) password: PlainSecret,
    pub(crate) permissions: Vec<String>,
}

impl Definition for User {
    const DOCUMENTS: &'static str = "eventhos-user";
    const NAME: &'static str = "user";

    fn title(&self) -> &str {
        ""
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_told_by_the_whole_of_it() {
        let token = "a".repeat(100);
        let hash = TokenHash::of(&token);
        assert!(hash.is_of(&token));
        assert!(!hash.is_of(&format!("{}b", "a".repeat(99))));
        assert!(!hash.is_of(""));
    }

    #[test]
    fn what_is_kept_reads_back() {
        let kept = Kept {
            id: 7,
            identifier: "bill".to_owned(),
            created_at_us: 1,
            updated_at_us: 2,
            deleted: false,
            from_config: false,
            definition: Some(Action {
                system: None,
                name: String::new(),
                operation: String::new(),
                description: String::new(),
                url: "http://a/".to_owned(),
                method: "POST".to_owned(),
                headers: vec![("a".to_owned(), "b".to_owned())],
                query: Vec::new(),
                body: Some(RawValue::from_string(r#"{"n":1.50}"#.to_owned()).unwrap()),
                reply_to: None,
                oauth: None,
            }),
            state: State::default(),
        };
        let json = serde_json::to_string(&kept).unwrap();
        let read: Kept<Action> = serde_json::from_str(&json).unwrap();
        assert_eq!(serde_json::to_string(&read).unwrap(), json);
        assert!(json.contains(r#"{"n":1.50}"#), "{json}");
    }
}
