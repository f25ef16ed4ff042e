//! The section `[dialect.eventhos]` of the config file.
//!
//! What is named here is in force as it stands here, whatever the administration routes say of an
//! entity of the same name. An entity that vanishes from the file counts as deleted (unless a route
//! had made it before) and gets the same integer id when it comes back.

use std::collections::BTreeMap;
use std::fmt;

use serde::de::{self, Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};

use crate::auth::PlainSecret;
use crate::dialect::SettingError;
use crate::json::write;

use super::registry;
use super::token::Tokens;

/// How long an action may take if the section does not say, in milliseconds: eventhos's own limit.
const ACTION_TIMEOUT_MS_DEFAULT: u64 = 70_000;
/// How long the call of an action may be set to take, in milliseconds: a quarter of an hour.
const ACTION_TIMEOUT_MS_MAX: u64 = 900_000;

/// The section.
#[derive(Clone, Debug, PartialEq, Eq, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// The secret of the tokens it hands out (HS256): at least 32 bytes.
    pub jwt_secret: PlainSecret,
    /// How long a call of an action may take, in milliseconds; so may the call for its token.
    #[serde(default = "action_timeout_ms_default")]
    pub action_timeout_ms: u64,
    /// Who may ask for tokens.
    #[serde(default)]
    pub clients: Vec<Client>,
    /// Producers and consumers.
    #[serde(default)]
    pub systems: Vec<System>,
    /// What may be sent.
    #[serde(default)]
    pub events: Vec<Event>,
    /// What may be called.
    #[serde(default)]
    pub actions: Vec<Action>,
    /// What is called when something is sent.
    #[serde(default)]
    pub contracts: Vec<Contract>,
    /// Who may use the administration routes.
    #[serde(default)]
    pub users: Vec<User>,
}

/// A client: its id is the `client_id` of `/auth/token`.
#[derive(Clone, Debug, PartialEq, Eq, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Client {
    /// Its `client_id`.
    pub id: String,
    /// Its secret.
    pub secret: PlainSecret,
    /// Whether nothing of it is accepted.
    #[serde(default)]
    pub revoked: bool,
    /// The only access key that is accepted of it, if there is one.
    pub long_lived_token: Option<PlainSecret>,
}

/// A system.
#[derive(Clone, Debug, PartialEq, Eq, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct System {
    /// Its name.
    pub identifier: String,
    /// What it does.
    pub class: SystemClass,
    /// The client that sends its events; without one none can be sent.
    pub client: Option<String>,
}

/// What a system does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Deserialize, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum SystemClass {
    /// Its events are sent.
    Producer,
    /// Its actions are called.
    Consumer,
    /// Both.
    Hybrid,
}

/// An event that may be sent.
#[derive(Clone, Debug, PartialEq, Eq, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Event {
    /// Its name: the stream and the type of its occurrences.
    pub identifier: String,
    /// The system whose client may send it.
    pub system: String,
}

/// A call. Header and query values, members of the body, and the path and query of the URL may hold
/// templates.
#[derive(Clone, PartialEq, Eq, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Action {
    /// Its name.
    pub identifier: String,
    /// What is called.
    pub url: String,
    /// How: GET, HEAD, POST, PUT, PATCH or DELETE.
    pub method: String,
    /// The system it belongs to.
    pub system: Option<String>,
    /// Headers.
    #[serde(default)]
    pub headers: BTreeMap<String, String>,
    /// Query parameters, added to those of the URL.
    #[serde(default)]
    pub query: BTreeMap<String, String>,
    /// The body; without one, or with an empty one, the received body is sent as it came.
    pub body: Option<JsonText>,
    /// The event that the answer is an occurrence of.
    pub reply_to: Option<String>,
    /// Where to get a token first.
    pub oauth: Option<OauthClient>,
}

/// Anything else may be a secret.
impl fmt::Debug for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Action")
            .field("identifier", &self.identifier)
            .finish_non_exhaustive()
    }
}

/// How to get a token for an action (the OAuth 2.0 client credentials grant).
#[derive(Clone, Debug, PartialEq, Eq, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OauthClient {
    /// Who hands it out.
    pub url: String,
    /// Our id there.
    pub client_id: String,
    /// Our secret there.
    pub client_secret: PlainSecret,
}

/// A contract: each occurrence of the event calls the action.
#[derive(Clone, Debug, PartialEq, Eq, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Contract {
    /// The event.
    pub event: String,
    /// The action.
    pub action: String,
    /// When, among the contracts of one event: lower ones first, equal ones at the same time.
    #[serde(default)]
    pub order: i64,
}

/// A user of the administration routes.
#[derive(Clone, Debug, PartialEq, Eq, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct User {
    /// The name to log in with.
    pub name: String,
    /// The password.
    pub password: PlainSecret,
    /// What is allowed: `resource:verb`, `resource:*` or `*`.
    #[serde(default)]
    pub permissions: Vec<String>,
}

impl Settings {
    /// The settings of development mode.
    #[must_use]
    pub fn development() -> Self {
        let event = |identifier: &str| Event {
            identifier: identifier.to_owned(),
            system: "shop".to_owned(),
        };
        Self {
            jwt_secret: PlainSecret::new("another-32-bytes-of-secret-material-here"),
            action_timeout_ms: ACTION_TIMEOUT_MS_DEFAULT,
            clients: vec![Client {
                id: "shop".to_owned(),
                secret: PlainSecret::new("shop-secret"),
                revoked: false,
                long_lived_token: None,
            }],
            systems: vec![System {
                identifier: "shop".to_owned(),
                class: SystemClass::Producer,
                client: Some("shop".to_owned()),
            }],
            events: vec![
                event("order-placed-k736k3hiW7"),
                event("order-lonely-a1b2c3d4e5"),
            ],
            actions: vec![Action {
                identifier: "bill".to_owned(),
                url: "http://127.0.0.1:9009/bill".to_owned(),
                method: "POST".to_owned(),
                system: None,
                headers: BTreeMap::new(),
                query: BTreeMap::new(),
                body: None,
                reply_to: None,
                oauth: None,
            }],
            contracts: vec![Contract {
                event: "order-placed-k736k3hiW7".to_owned(),
                action: "bill".to_owned(),
                order: 0,
            }],
            users: Vec::new(),
        }
    }

    /// How to get in, for people: the clients with their secrets.
    #[must_use]
    pub fn credentials(&self) -> String {
        let clients = self.clients.iter();
        let clients = clients.map(|client| format!("{} / {}", client.id, client.secret.reveal()));
        let clients: Vec<String> = clients.collect();
        format!("POST /auth/token client {}", clients.join(", "))
    }

    /// Judges what can be judged without the routes' own definitions: secrets, names, addresses,
    /// templates, permissions.
    ///
    /// # Errors
    ///
    /// [`SettingError`] names the entry.
    pub fn check(&self) -> Result<(), SettingError> {
        Tokens::new(self.jwt_secret.reveal().as_bytes())
            .map_err(|error| SettingError::new("dialect.eventhos.jwt_secret", error.to_string()))?;
        if !(1..=ACTION_TIMEOUT_MS_MAX).contains(&self.action_timeout_ms) {
            let what = format!("it is not between 1 and {ACTION_TIMEOUT_MS_MAX}");
            return Err(SettingError::new(
                "dialect.eventhos.action_timeout_ms",
                what,
            ));
        }
        registry::check(self)
    }
}

fn action_timeout_ms_default() -> u64 {
    ACTION_TIMEOUT_MS_DEFAULT
}

/// A value of the config file as JSON text. TOML gives the members of a table no order; here they
/// come by name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JsonText(String);

impl JsonText {
    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl<'de> Deserialize<'de> for JsonText {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Written;

        impl<'de> Visitor<'de> for Written {
            type Value = JsonText;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a table, an array, a string, a number or a boolean")
            }

            fn visit_bool<E>(self, value: bool) -> Result<JsonText, E> {
                Ok(JsonText(value.to_string()))
            }

            fn visit_i64<E>(self, value: i64) -> Result<JsonText, E> {
                Ok(JsonText(value.to_string()))
            }

            fn visit_u64<E>(self, value: u64) -> Result<JsonText, E> {
                Ok(JsonText(value.to_string()))
            }

            fn visit_f64<E: de::Error>(self, value: f64) -> Result<JsonText, E> {
                if !value.is_finite() {
                    return Err(E::custom("JSON has no such number"));
                }
                Ok(JsonText(serde_json::to_string(&value).map_err(E::custom)?))
            }

            fn visit_str<E>(self, value: &str) -> Result<JsonText, E> {
                let mut out = Vec::new();
                write::string(&mut out, value);
                Ok(text(out))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<JsonText, A::Error> {
                let mut out = vec![b'['];
                while let Some(JsonText(item)) = items.next_element()? {
                    if out.len() > 1 {
                        out.push(b',');
                    }
                    out.extend_from_slice(item.as_bytes());
                }
                out.push(b']');
                Ok(text(out))
            }

            fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<JsonText, A::Error> {
                let mut out = vec![b'{'];
                while let Some((name, JsonText(value))) =
                    members.next_entry::<String, JsonText>()?
                {
                    if out.len() > 1 {
                        out.push(b',');
                    }
                    write::string(&mut out, &name);
                    out.push(b':');
                    out.extend_from_slice(value.as_bytes());
                }
                out.push(b'}');
                Ok(text(out))
            }
        }

        deserializer.deserialize_any(Written)
    }
}

fn text(bytes: Vec<u8>) -> JsonText {
    JsonText(String::from_utf8(bytes).expect("made of texts and ASCII"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_section_reads_as_the_design_writes_it() {
        let text = r#"
            jwt_secret = "another-32-bytes-of-secret-material-here"
            clients  = [{ id = "shop", secret = "shop-secret" }]
            systems  = [{ identifier = "shop", class = "producer", client = "shop" }]
            events   = [{ identifier = "order-placed-k736k3hiW7", system = "shop" }, { identifier = "order-lonely-a1b2c3d4e5", system = "shop" }]
            actions  = [{ identifier = "bill", url = "http://127.0.0.1:9009/bill", method = "POST" }]
            contracts = [{ event = "order-placed-k736k3hiW7", action = "bill", order = 0 }]
        "#;
        assert_eq!(
            toml::from_str::<Settings>(text).unwrap(),
            Settings::development()
        );
    }

    #[test]
    fn a_body_keeps_the_type_of_its_values() {
        let text = r#"
            identifier = "a"
            url = "http://a/"
            method = "PUT"
            body = { z = "${.body.id}", a = [1, 2.5, true, "\"x\""], nested = { b = -7 } }
            oauth = { url = "http://t/", client_id = "i", client_secret = "s" }
        "#;
        let action: Action = toml::from_str(text).unwrap();
        assert_eq!(
            action.body.unwrap().as_str(),
            r#"{"a":[1,2.5,true,"\"x\""],"nested":{"b":-7},"z":"${.body.id}"}"#
        );
    }

    #[test]
    fn names_that_nobody_reads_are_refused_and_secrets_do_not_show() {
        let text = "jwt_secret = \"another-32-bytes-of-secret-material-here\"\nevent = []";
        let refused = toml::from_str::<Settings>(text).unwrap_err();
        assert!(refused.to_string().contains("`event`"), "{refused}");
        let shown = format!("{:?}", Settings::development());
        assert!(
            !shown.contains("shop-secret") && !shown.contains("material"),
            "{shown}"
        );
    }
}
