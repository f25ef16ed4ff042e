//! The registry at the start: the documents that are kept, and over them what the config file says.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use parking_lot::RwLock;
use serde_json::value::RawValue;
use tokio::sync::{Mutex, watch};

use crate::app::name::StreamName;
use crate::app::{App, Code, Failure, Log};
use crate::dialect::SettingError;

use super::super::recipe::Recipe;
use super::super::settings::{self, Settings};
use super::entity::{ConfiguredClient, ConfiguredUser, Kept};
use super::{
    Action, Client, Contract, Directory, Event, Oauth, Registry, Shared, State, System, Tabled,
    User,
};

/// What is wrong with an entry of the config file.
fn wrong(entries: &'static str, identifier: &str, what: &str) -> SettingError {
    SettingError::new(entries, format!("{identifier:?}: {what}"))
}

const CLIENTS: &str = "dialect.eventhos.clients";
const SYSTEMS: &str = "dialect.eventhos.systems";
const EVENTS: &str = "dialect.eventhos.events";
const ACTIONS: &str = "dialect.eventhos.actions";
const CONTRACTS: &str = "dialect.eventhos.contracts";
const USERS: &str = "dialect.eventhos.users";

/// Judges what can be judged without the documents.
pub(crate) fn check(settings: &Settings) -> Result<(), SettingError> {
    check_names(CLIENTS, settings.clients.iter().map(|of| &of.id))?;
    check_names(SYSTEMS, settings.systems.iter().map(|of| &of.identifier))?;
    check_names(EVENTS, settings.events.iter().map(|of| &of.identifier))?;
    check_names(ACTIONS, settings.actions.iter().map(|of| &of.identifier))?;
    check_names(USERS, settings.users.iter().map(|of| &of.name))?;
    for client in &settings.clients {
        let token = client.long_lived_token.as_ref();
        if client.secret.reveal().is_empty() || token.is_some_and(|of| of.reveal().is_empty()) {
            return Err(wrong(CLIENTS, &client.id, "its secret or token is empty"));
        }
    }
    for action in &settings.actions {
        let definition = action_of(action, None)?;
        Recipe::of(&definition).map_err(|what| wrong(ACTIONS, &action.identifier, &what))?;
    }
    let mut seen = HashSet::new();
    for contract in &settings.contracts {
        if !seen.insert((&contract.event, &contract.action)) {
            return Err(wrong(
                CONTRACTS,
                &contract_name(contract),
                "it is there twice",
            ));
        }
    }
    for user in &settings.users {
        if user.password.reveal().is_empty() {
            return Err(wrong(USERS, &user.name, "the password is empty"));
        }
        if let Some(bad) = user.permissions.iter().find(|text| !is_permission(text)) {
            let what = format!("{bad:?} is neither '*' nor of the form resource:verb");
            return Err(wrong(USERS, &user.name, &what));
        }
    }
    Ok(())
}

/// Refuses names that cannot stand in a list, and those that are there twice.
fn check_names<'a>(
    entries: &'static str,
    names: impl Iterator<Item = &'a String>,
) -> Result<(), SettingError> {
    let mut seen = HashSet::new();
    for name in names {
        // A name is that of a stream if it is an event's; the others are held to the same.
        StreamName::new(name.as_str())
            .map_err(|error| wrong(entries, name, &format!("it cannot be used: {error}")))?;
        if !seen.insert(name) {
            return Err(wrong(entries, name, "it is there twice"));
        }
    }
    Ok(())
}

fn is_permission(text: &str) -> bool {
    text == "*"
        || text.split_once(':').is_some_and(|(resource, verb)| {
            !resource.is_empty() && !verb.is_empty() && !verb.contains(':')
        })
}

fn contract_name(contract: &settings::Contract) -> String {
    format!("{}/{}", contract.event, contract.action)
}

fn action_of(action: &settings::Action, system: Option<u64>) -> Result<Action, SettingError> {
    let pairs = |map: &BTreeMap<String, String>| {
        map.iter()
            .map(|(name, value)| (name.clone(), value.clone()))
            .collect()
    };
    let body = action.body.as_ref();
    let body = body.map(|body| RawValue::from_string(body.as_str().to_owned()));
    Ok(Action {
        system,
        name: action.identifier.clone(),
        operation: String::new(),
        description: String::new(),
        url: action.url.clone(),
        method: action.method.clone(),
        headers: pairs(&action.headers),
        query: pairs(&action.query),
        body: body
            .transpose()
            .map_err(|error| wrong(ACTIONS, &action.identifier, &error.to_string()))?,
        reply_to: action.reply_to.clone(),
        oauth: action.oauth.as_ref().map(|oauth| Oauth {
            url: oauth.url.clone(),
            client_id: oauth.client_id.clone(),
            client_secret: oauth.client_secret.reveal().to_owned(),
        }),
    })
}

impl Directory {
    /// Opens the registry with settings that were [checked](check). Every entity of the config file
    /// has its id, durably, once this resolves.
    ///
    /// # Errors
    ///
    /// [`Failure`]: an entry names another that does not exist, or the documents cannot be read or
    /// written.
    pub(in super::super) async fn open(
        app: App,
        log: Log,
        settings: &Settings,
    ) -> Result<Self, Failure> {
        let mut opening = Opening {
            registry: Registry::default(),
            app: app.clone(),
            log: log.clone(),
        };
        opening.load::<Client>()?;
        opening.load::<System>()?;
        opening.load::<Event>()?;
        opening.load::<Action>()?;
        opening.load::<Contract>()?;
        opening.load::<User>()?;
        opening.seed_clients(&settings.clients).await?;
        opening.seed_systems(&settings.systems).await?;
        opening.seed_events(&settings.events).await?;
        opening.seed_actions(&settings.actions).await?;
        opening.seed_contracts(&settings.contracts).await?;
        opening.seed_users(&settings.users).await?;
        opening.registry.plan_all();
        Ok(Self(Arc::new(Shared {
            app,
            log,
            registry: RwLock::new(opening.registry),
            changing: Arc::new(Mutex::default()),
            changed: watch::Sender::new(0),
        })))
    }
}

struct Opening {
    registry: Registry,
    app: App,
    log: Log,
}

impl Opening {
    fn load<D: Tabled>(&mut self) -> Result<(), Failure> {
        for (name, json) in self.app.documents(D::DOCUMENTS) {
            let kept: Kept<D> = serde_json::from_slice(&json).map_err(|error| {
                Failure::new(
                    Code::Unreadable,
                    format!("the document {}/{name} cannot be read", D::DOCUMENTS),
                )
                .caused_by(&error)
            })?;
            D::table_mut(&mut self.registry).put(kept);
        }
        Ok(())
    }

    /// Puts an entity of the config file in force; it gets an id if it has none.
    async fn seed<D: Tabled>(&mut self, identifier: &str, definition: D) -> Result<u64, Failure> {
        let table = D::table_mut(&mut self.registry);
        let remembered = definition.to_remember();
        table.configured.insert(identifier.to_owned(), definition);
        let known = table.ids.get(identifier).copied();
        let id = known.unwrap_or_else(|| table.next_id());
        let before = self.app.document(D::DOCUMENTS, &id.to_string());
        let kept: Option<Kept<D>> = before
            .as_ref()
            .and_then(|json| serde_json::from_slice(json).ok());
        let now_us = self.app.clock().now_us();
        let kept = match kept {
            // What a route made comes back when the file does not name it any more.
            Some(kept) if !kept.from_config => kept,
            Some(kept) => Kept {
                definition: remembered,
                ..kept
            },
            None => Kept {
                id,
                identifier: identifier.to_owned(),
                created_at_us: now_us,
                updated_at_us: now_us,
                deleted: false,
                from_config: true,
                definition: remembered,
                state: State {
                    after: self.log.last_id(),
                    ..State::default()
                },
            },
        };
        let json = serde_json::to_vec(&kept).expect("texts and numbers can be written as JSON");
        if before.is_none_or(|before| *before != *json) {
            self.app
                .put_document(D::DOCUMENTS, &id.to_string(), &json)
                .await?;
        }
        D::table_mut(&mut self.registry).put(kept);
        Ok(id)
    }

    async fn seed_clients(&mut self, clients: &[settings::Client]) -> Result<(), Failure> {
        for client in clients {
            let definition = Client {
                client_id: client.id.clone(),
                name: client.id.clone(),
                description: String::new(),
                secret: None,
                configured: Some(ConfiguredClient {
                    secret: client.secret.clone(),
                    revoked: client.revoked,
                    long_lived_token: client.long_lived_token.clone(),
                }),
            };
            self.seed(&client.id, definition).await?;
        }
        Ok(())
    }

    async fn seed_systems(&mut self, systems: &[settings::System]) -> Result<(), Failure> {
        let mut bound = HashSet::new();
        for system in systems {
            let client = match &system.client {
                None => None,
                Some(name) => {
                    let client = self.registry.clients.named(name).ok_or_else(|| {
                        let what = format!("there is no client {name:?}");
                        wrong(SYSTEMS, &system.identifier, &what)
                    })?;
                    if !bound.insert(client.id) {
                        let what = format!("the client {name:?} has another system already");
                        return Err(wrong(SYSTEMS, &system.identifier, &what).into());
                    }
                    Some(client.id)
                }
            };
            let definition = System {
                class: system.class,
                name: system.identifier.clone(),
                system_type: String::new(),
                description: String::new(),
                client,
            };
            self.seed(&system.identifier, definition).await?;
        }
        Ok(())
    }

    fn system(
        &self,
        entries: &'static str,
        identifier: &str,
        name: &str,
    ) -> Result<u64, SettingError> {
        let system = self.registry.systems.named(name);
        let system = system
            .ok_or_else(|| wrong(entries, identifier, &format!("there is no system {name:?}")))?;
        Ok(system.id)
    }

    async fn seed_events(&mut self, events: &[settings::Event]) -> Result<(), Failure> {
        for event in events {
            let definition = Event {
                system: self.system(EVENTS, &event.identifier, &event.system)?,
                name: event.identifier.clone(),
                operation: String::new(),
                description: String::new(),
            };
            self.seed(&event.identifier, definition).await?;
        }
        Ok(())
    }

    async fn seed_actions(&mut self, actions: &[settings::Action]) -> Result<(), Failure> {
        for action in actions {
            let name = action.identifier.as_str();
            let system = action.system.as_ref();
            let system = system.map(|system| self.system(ACTIONS, name, system));
            if let Some(reply_to) = &action.reply_to
                && self.registry.events.named(reply_to).is_none()
            {
                let what = format!("there is no event {reply_to:?} to reply to");
                return Err(wrong(ACTIONS, name, &what).into());
            }
            let definition = action_of(action, system.transpose()?)?;
            self.seed(name, definition).await?;
        }
        Ok(())
    }

    async fn seed_contracts(&mut self, contracts: &[settings::Contract]) -> Result<(), Failure> {
        for contract in contracts {
            let name = contract_name(contract);
            let missing = |what: &str, of: &str| {
                wrong(CONTRACTS, &name, &format!("there is no {what} {of:?}"))
            };
            let event = self.registry.events.named(&contract.event);
            let event = event.ok_or_else(|| missing("event", &contract.event))?.id;
            let action = self.registry.actions.named(&contract.action);
            let action = action
                .ok_or_else(|| missing("action", &contract.action))?
                .id;
            let definition = Contract {
                event,
                action,
                name: name.clone(),
                order: contract.order,
                active: true,
            };
            self.seed(&name, definition).await?;
        }
        Ok(())
    }

    async fn seed_users(&mut self, users: &[settings::User]) -> Result<(), Failure> {
        for user in users {
            let definition = User {
                configured: Some(ConfiguredUser {
                    password: user.password.clone(),
                    permissions: user.permissions.clone(),
                }),
            };
            self.seed(&user.name, definition).await?;
        }
        Ok(())
    }
}
