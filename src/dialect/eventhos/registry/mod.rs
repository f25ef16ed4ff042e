//! The registry: what there is, by id and by name.
//!
//! Two sources are folded into one: the config file, and documents that the administration routes
//! made. The file wins for what it names. The registry is in memory; a change is durable before it
//! is seen.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use parking_lot::RwLock;
use tokio::sync::{Mutex, OwnedMutexGuard, watch};

use crate::app::{App, Code, Failure, Log};
use crate::auth::secret::random_token;
use crate::unwind::{Panicked, to_the_end};

use super::replies::{self, Refusal};

mod entity;
mod seed;

pub(super) use entity::{
    Action, Client, Contract, Definition, Entity, Event, Oauth, State, System, TokenHash, User,
};

pub(super) use seed::check;

use entity::Kept;

/// The entities of one kind.
#[derive(Clone, Debug)]
pub(super) struct Table<D> {
    by_id: BTreeMap<u64, Arc<Entity<D>>>,
    /// Names that are taken, those of the deleted included.
    ids: HashMap<String, u64>,
    /// What the config file says.
    configured: HashMap<String, D>,
}

impl<D> Default for Table<D> {
    fn default() -> Self {
        Self {
            by_id: BTreeMap::new(),
            ids: HashMap::new(),
            configured: HashMap::new(),
        }
    }
}

impl<D: Definition> Table<D> {
    /// The entity with this id, even if it is deleted.
    pub(super) fn any(&self, id: u64) -> Option<&Arc<Entity<D>>> {
        self.by_id.get(&id)
    }

    /// The entity with this id, if it is in force.
    pub(super) fn get(&self, id: u64) -> Option<&Arc<Entity<D>>> {
        self.any(id).filter(|entity| !entity.deleted)
    }

    /// The entity with this name, even if it is deleted.
    pub(super) fn any_named(&self, identifier: &str) -> Option<&Arc<Entity<D>>> {
        self.any(*self.ids.get(identifier)?)
    }

    /// The entity with this name, if it is in force.
    pub(super) fn named(&self, identifier: &str) -> Option<&Arc<Entity<D>>> {
        self.any_named(identifier).filter(|entity| !entity.deleted)
    }

    /// All that are in force, by id.
    pub(super) fn iter(&self) -> impl Iterator<Item = &Arc<Entity<D>>> {
        self.by_id.values().filter(|entity| !entity.deleted)
    }

    /// All there ever were, as far as anything but their name is known.
    pub(super) fn iter_any(&self) -> impl Iterator<Item = &Arc<Entity<D>>> {
        self.by_id.values()
    }

    fn next_id(&self) -> u64 {
        self.ids.values().max().map_or(1, |last| last + 1)
    }

    /// Puts in force what is kept, or what the config file says of it.
    fn put(&mut self, kept: Kept<D>) -> Option<Arc<Entity<D>>> {
        self.ids.insert(kept.identifier.clone(), kept.id);
        let configured = self.configured.get(&kept.identifier).cloned();
        let is_configured = configured.is_some();
        let Some(definition) = configured.or(kept.definition) else {
            self.by_id.remove(&kept.id);
            return None;
        };
        let entity = Arc::new(Entity {
            id: kept.id,
            identifier: kept.identifier,
            created_at_us: kept.created_at_us,
            updated_at_us: kept.updated_at_us,
            deleted: !is_configured && (kept.deleted || kept.from_config),
            configured: is_configured,
            definition,
            state: kept.state,
        });
        self.by_id.insert(kept.id, Arc::clone(&entity));
        Some(entity)
    }
}

/// A contract with its action.
#[derive(Clone, Debug)]
pub(super) struct Bound {
    pub(super) contract: Arc<Entity<Contract>>,
    pub(super) action: Arc<Entity<Action>>,
}

/// What is done for an event: groups of contracts, one after another.
#[derive(Clone, Debug)]
pub(super) struct Plan {
    pub(super) groups: Vec<Vec<Bound>>,
}

/// Everything there is.
#[derive(Debug, Default)]
pub(super) struct Registry {
    pub(super) clients: Table<Client>,
    pub(super) systems: Table<System>,
    pub(super) events: Table<Event>,
    pub(super) actions: Table<Action>,
    pub(super) contracts: Table<Contract>,
    pub(super) users: Table<User>,
    /// By the names of the events that have active contracts.
    plans: HashMap<String, Arc<Plan>>,
}

/// The table of a kind.
pub(super) trait Tabled: Definition + Send + Sync + 'static {
    /// To look into.
    fn table(registry: &Registry) -> &Table<Self>;
    /// To change.
    fn table_mut(registry: &mut Registry) -> &mut Table<Self>;
}

macro_rules! tabled {
    ($($kind:ty => $table:ident;)*) => {
        $(impl Tabled for $kind {
            fn table(registry: &Registry) -> &Table<Self> {
                &registry.$table
            }

            fn table_mut(registry: &mut Registry) -> &mut Table<Self> {
                &mut registry.$table
            }
        })*
    };
}

tabled! {
    Client => clients;
    System => systems;
    Event => events;
    Action => actions;
    Contract => contracts;
    User => users;
}

impl Registry {
    /// What is done for occurrences of an event; none if there is no active contract.
    pub(super) fn plan(&self, event: &str) -> Option<&Arc<Plan>> {
        self.plans.get(event)
    }

    /// The events that have active contracts.
    pub(super) fn planned(&self) -> impl Iterator<Item = &str> {
        self.plans.keys().map(String::as_str)
    }

    /// The client that calls itself so, if it is in force.
    pub(super) fn client_called(&self, client_id: &str) -> Option<&Arc<Entity<Client>>> {
        let mut clients = self.clients.iter();
        clients.find(|client| client.definition.client_id == client_id)
    }

    /// The client that may send an event.
    pub(super) fn sender_of(&self, event: &Entity<Event>) -> Option<&Arc<Entity<Client>>> {
        let system = self.systems.get(event.definition.system)?;
        self.clients.get(system.definition.client?)
    }

    fn plan_all(&mut self) {
        let mut plans: HashMap<String, Plan> = HashMap::new();
        let active = self.contracts.iter().filter(|of| of.definition.active);
        let mut active: Vec<_> = active.collect();
        active.sort_by_key(|contract| (contract.definition.order, contract.id));
        for contract in active {
            let (event, action) = (contract.definition.event, contract.definition.action);
            let found = self.events.get(event).zip(self.actions.get(action));
            let Some((event, action)) = found else {
                continue;
            };
            let plan = plans
                .entry(event.identifier.clone())
                .or_insert_with(|| Plan { groups: Vec::new() });
            let bound = Bound {
                contract: Arc::clone(contract),
                action: Arc::clone(action),
            };
            let order = contract.definition.order;
            let of_order = |group: &&mut Vec<Bound>| {
                let first = group.first();
                first.is_some_and(|bound| bound.contract.definition.order == order)
            };
            match plan.groups.last_mut().filter(of_order) {
                Some(group) => group.push(bound),
                None => plan.groups.push(vec![bound]),
            }
        }
        self.plans = plans
            .into_iter()
            .map(|(event, plan)| (event, Arc::new(plan)))
            .collect();
    }
}

/// The registry, and how it is changed. Clones are the same.
#[derive(Clone, Debug)]
pub(super) struct Directory(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    app: App,
    /// The log that events go to: contracts begin at its end.
    log: Log,
    registry: RwLock<Registry>,
    /// Held from the look at what is there to the change of it.
    changing: Arc<Mutex<()>>,
    changed: watch::Sender<u64>,
}

/// The name of a new entity.
#[derive(Clone, Copy, Debug)]
pub(super) enum NewName<'a> {
    /// This one.
    Exact(&'a str),
    /// This one with [`SUFFIX_LEN`] random characters behind it.
    Suffixed(&'a str),
}

/// How many random characters make a name unique.
const SUFFIX_LEN: usize = 10;

impl Directory {
    /// Looks into the registry. Nothing is to be waited for meanwhile.
    pub(super) fn read<T>(&self, look: impl FnOnce(&Registry) -> T) -> T {
        look(&self.0.registry.read())
    }

    /// Counts the changes, for whoever waits for one.
    pub(super) fn changes(&self) -> watch::Receiver<u64> {
        self.0.changed.subscribe()
    }

    /// Begins a change: nobody else changes anything until it is dropped.
    pub(super) async fn change(&self) -> Change {
        Change {
            shared: Arc::clone(&self.0),
            turn: Arc::new(Arc::clone(&self.0.changing).lock_owned().await),
        }
    }
}

/// A change of the registry.
#[derive(Debug)]
pub(super) struct Change {
    shared: Arc<Shared>,
    turn: Arc<OwnedMutexGuard<()>>,
}

impl Change {
    /// Looks into the registry, which nobody else changes.
    pub(super) fn read<T>(&self, look: impl FnOnce(&Registry) -> T) -> T {
        look(&self.shared.registry.read())
    }

    /// The entity with this id, for changing it.
    pub(super) fn get<D: Tabled>(&self, id: u64) -> Result<Arc<Entity<D>>, Refusal> {
        self.read(|registry| D::table(registry).get(id).cloned())
            .ok_or_else(|| replies::not_found(D::NAME))
    }

    /// The same, if a route may change it.
    pub(super) fn get_own<D: Tabled>(&self, id: u64) -> Result<Arc<Entity<D>>, Refusal> {
        let entity = self.get::<D>(id)?;
        if entity.configured {
            return Err(replies::configured(D::NAME, &entity.identifier));
        }
        Ok(entity)
    }

    /// Adds an entity.
    pub(super) async fn add<D: Tabled>(
        &self,
        name: NewName<'_>,
        definition: D,
        state: State,
    ) -> Result<Arc<Entity<D>>, Refusal> {
        let taken = |identifier: &str| {
            self.read(|registry| D::table(registry).ids.contains_key(identifier))
        };
        let identifier = match name {
            NewName::Exact(name) if taken(name) => return Err(replies::in_use("identifier")),
            NewName::Exact(name) => name.to_owned(),
            NewName::Suffixed(name) => loop {
                let identifier = format!("{name}-{}", random_token(SUFFIX_LEN));
                if !taken(&identifier) {
                    break identifier;
                }
            },
        };
        let now_us = self.shared.app.clock().now_us();
        let kept = Kept {
            id: self.read(|registry| D::table(registry).next_id()),
            identifier,
            created_at_us: now_us,
            updated_at_us: now_us,
            deleted: false,
            from_config: false,
            definition: Some(definition),
            state,
        };
        Ok(self.keep(kept).await?)
    }

    /// Replaces what an entity is.
    pub(super) async fn replace<D: Tabled>(
        &self,
        entity: &Entity<D>,
        definition: D,
        state: State,
    ) -> Result<(), Refusal> {
        let kept = Kept {
            definition: Some(definition),
            state,
            ..self.kept(entity)
        };
        Ok(self.keep(kept).await.map(drop)?)
    }

    /// Replaces what routes may change of an entity even if the config file defines it.
    pub(super) async fn set_state<D: Tabled>(
        &self,
        entity: &Entity<D>,
        state: State,
    ) -> Result<(), Refusal> {
        let kept = Kept {
            state,
            ..self.kept(entity)
        };
        Ok(self.keep(kept).await.map(drop)?)
    }

    /// Deletes an entity. Its id and its name stay taken.
    pub(super) async fn delete<D: Tabled>(&self, entity: &Entity<D>) -> Result<(), Refusal> {
        let kept = Kept {
            deleted: true,
            ..self.kept(entity)
        };
        Ok(self.keep(kept).await.map(drop)?)
    }

    /// The last id of the log: where a contract that comes into force begins.
    pub(super) fn last_id(&self) -> u64 {
        self.shared.log.last_id()
    }

    /// An entity as it is kept by now, to be changed now.
    fn kept<D: Tabled>(&self, entity: &Entity<D>) -> Kept<D> {
        let document = self
            .shared
            .app
            .document(D::DOCUMENTS, &entity.id.to_string());
        let kept = document.and_then(|json| serde_json::from_slice::<Kept<D>>(&json).ok());
        // Whatever is in the registry was read from its document, or written to it.
        let kept = kept.expect("every entity is kept");
        Kept {
            updated_at_us: self.shared.app.clock().now_us(),
            ..kept
        }
    }

    /// Keeps an entity and puts it in force, even if nobody waits for it any more: what is durable
    /// must be what is seen.
    async fn keep<D: Tabled>(&self, kept: Kept<D>) -> Result<Arc<Entity<D>>, Failure> {
        let shared = Arc::clone(&self.shared);
        let turn = Arc::clone(&self.turn);
        let keeping = to_the_end(async move {
            let json = serde_json::to_vec(&kept).expect("texts and numbers can be written as JSON");
            let name = kept.id.to_string();
            shared.app.put_document(D::DOCUMENTS, &name, &json).await?;
            let entity = {
                let mut registry = shared.registry.write();
                let entity = D::table_mut(&mut registry).put(kept);
                registry.plan_all();
                // Before anybody sees the change: whoever counts changes and sees none has seen
                // everything that others can act upon.
                shared.changed.send_modify(|changes| *changes += 1);
                entity
            };
            drop(turn);
            Ok(entity.expect("it has a definition, or the config file has one"))
        });
        let kept = keeping.await;
        kept.unwrap_or_else(|Panicked| {
            Err(Failure::new(Code::Internal, "the server made a mistake"))
        })
    }
}
