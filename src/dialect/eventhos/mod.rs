//! eventhos: a JSON occurrence of a registered event comes in, is answered at once, and then calls
//! the HTTP APIs that contracts bind to it.
//!
//! # What is where
//!
//! - `settings` is the section of the config file, `registry` what there is: clients, systems,
//!   events, actions and contracts, from that file and from the routes in `admin`.
//! - `send` takes occurrences; `token`, `login`, `lock` and `guard` say who may.
//! - `executor` reads the log and has contracts executed; `execution` does one of them, by a `recipe`
//!   with a `template`; `history` is what became of them, `received` shows it, `retry` repeats it.
//! - `replies` has every status, code and body.
//!
//! # Decisions
//!
//! An occurrence is an ordinary event: stream and type are the event's identifier. So an event of
//! that type that came through another door has its contracts executed as well, with empty headers
//! and query. Whatever is stored is stored without the access key, without `Authorization` and
//! without cookies; templates find `redacted` there. What an action sends and gets is recorded
//! without such headers as well, and otherwise as it is: a secret of an action belongs in its
//! `Authorization`, not in its URL.
//!
//! One attempt for each contract. An execution whose outcome is not recorded when the server ends is
//! begun again at the next start. `GET /auth/client/{id}/secret` shows nothing, because secrets are
//! kept as hashes; `PUT` on the same path makes a new one. Clients have no permissions, and users
//! stand in the config file.

use std::sync::Arc;
use std::time::Duration;

use crate::app::{App, Code, Failure, Log};
use crate::auth::jwt::WeakSecret;
use crate::http::{
    Answered, Body, BodyRules, Head, HeaderValue, Method, Reply, Request, Routed, Router,
    StatusCode, Verb, header,
};
use crate::webhook::Hub;

use super::Tools;

mod admin;
mod call;
mod event;
mod execution;
mod executor;
mod form;
mod guard;
mod history;
mod input;
mod lock;
mod login;
mod received;
mod recipe;
mod registry;
mod replies;
mod retry;
mod send;
pub mod settings;
mod template;
mod token;

pub use settings::Settings;

use call::Call;
use execution::Surroundings;
use executor::Executor;
use form::Fields;
use lock::Locks;
use registry::Directory;
use replies::Refusal;
use token::Tokens;

/// What a route leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Endpoint {
    Send,
    Retry,
    Abort,
    ListReceived,
    GetReceived,
    GetExecution,
    Token,
    Login,
    CreateClient,
    ListClients,
    GetClient,
    LongLive,
    Revoke,
    ShowSecret,
    ReplaceSecret,
    CreateSystem,
    ListSystems,
    GetSystem,
    UpdateSystem,
    DeleteSystem,
    CreateEvent,
    ListEvents,
    GetEvent,
    UpdateEvent,
    DeleteEvent,
    CreateAction,
    ListActions,
    GetAction,
    UpdateAction,
    DeleteAction,
    CreateContract,
    ListContracts,
    GetContract,
    UpdateContract,
    UpdateOrder,
    DeleteContract,
}

/// Every route. A slash at the end of a path makes no difference.
const ROUTES: &[(Verb, &str, Endpoint)] = &[
    (Verb::Post, "/event/send", Endpoint::Send),
    (Verb::Post, "/event/received", Endpoint::Send),
    (Verb::Post, "/event/send/contract", Endpoint::Retry),
    (Verb::Post, "/event/retry/aborted", Endpoint::Abort),
    (Verb::Get, "/event/received", Endpoint::ListReceived),
    (Verb::Get, "/event/received/{id}", Endpoint::GetReceived),
    (
        Verb::Get,
        "/event/received/execution-detail/{id}",
        Endpoint::GetExecution,
    ),
    (Verb::Post, "/auth/token", Endpoint::Token),
    (Verb::Post, "/auth/login", Endpoint::Login),
    (Verb::Post, "/auth/client", Endpoint::CreateClient),
    (Verb::Get, "/auth/client", Endpoint::ListClients),
    (Verb::Get, "/auth/client/{id}", Endpoint::GetClient),
    (Verb::Put, "/auth/client/{id}/long-live", Endpoint::LongLive),
    (Verb::Put, "/auth/client/{id}/revoke", Endpoint::Revoke),
    (Verb::Get, "/auth/client/{id}/secret", Endpoint::ShowSecret),
    (
        Verb::Put,
        "/auth/client/{id}/secret",
        Endpoint::ReplaceSecret,
    ),
    (Verb::Post, "/system", Endpoint::CreateSystem),
    (Verb::Get, "/system", Endpoint::ListSystems),
    (Verb::Get, "/system/{id}", Endpoint::GetSystem),
    (Verb::Put, "/system/{id}", Endpoint::UpdateSystem),
    (Verb::Delete, "/system/{id}", Endpoint::DeleteSystem),
    (Verb::Post, "/event", Endpoint::CreateEvent),
    (Verb::Get, "/event", Endpoint::ListEvents),
    (Verb::Get, "/event/{id}", Endpoint::GetEvent),
    (Verb::Put, "/event/{id}", Endpoint::UpdateEvent),
    (Verb::Delete, "/event/{id}", Endpoint::DeleteEvent),
    (Verb::Post, "/action", Endpoint::CreateAction),
    (Verb::Get, "/action", Endpoint::ListActions),
    (Verb::Get, "/action/{id}", Endpoint::GetAction),
    (Verb::Put, "/action/{id}", Endpoint::UpdateAction),
    (Verb::Delete, "/action/{id}", Endpoint::DeleteAction),
    (Verb::Post, "/contract", Endpoint::CreateContract),
    (Verb::Get, "/contract", Endpoint::ListContracts),
    (Verb::Get, "/contract/{id}", Endpoint::GetContract),
    (Verb::Put, "/contract/{id}", Endpoint::UpdateContract),
    (Verb::Put, "/contract/order", Endpoint::UpdateOrder),
    (Verb::Delete, "/contract/{id}", Endpoint::DeleteContract),
];

/// The door.
#[derive(Debug)]
pub struct Door {
    app: App,
    bodies: Arc<BodyRules>,
    hub: Hub,
    /// Where occurrences go.
    log: Log,
    directory: Directory,
    tokens: Tokens,
    locks: Locks,
    executor: Executor,
    /// Held from the look at an execution to its repetition, or its end.
    retrying: tokio::sync::Mutex<()>,
    router: Router<Endpoint>,
}

impl Door {
    /// Opens the door: contracts are executed from now on.
    ///
    /// # Errors
    ///
    /// [`Failure`]: the settings cannot be used, or state cannot be read or written.
    pub async fn open(settings: Settings, tools: Tools) -> Result<Self, Failure> {
        settings.check()?;
        let tokens = Tokens::new(settings.jwt_secret.reveal().as_bytes())
            .map_err(|error: WeakSecret| Failure::new(Code::Internal, error.to_string()))?;
        let log = tools.app.log("default")?;
        let directory = Directory::open(tools.app.clone(), log.clone(), &settings).await?;
        warn_of_refused(&directory, &tools.hub);
        let executor = Executor::start(Surroundings::new(
            log.clone(),
            tools.hub.clone(),
            directory.clone(),
            Duration::from_millis(settings.action_timeout_ms),
        ))
        .await?;
        Ok(Self {
            app: tools.app,
            bodies: tools.bodies,
            hub: tools.hub,
            log,
            directory,
            tokens,
            locks: Locks::default(),
            executor,
            retrying: tokio::sync::Mutex::default(),
            router: Router::new(ROUTES),
        })
    }

    /// Answers a request for one of its paths.
    pub async fn answer(&self, request: Request) -> Answered {
        let Request { head, body } = request;
        let path = match head.path().strip_suffix('/') {
            Some("") | None => head.path(),
            Some(path) => path,
        };
        let routed = self.router.route(head.method(), path);
        let route = match &routed {
            Routed::To { template, .. } => template,
            Routed::OtherMethods(_) | Routed::Unknown => "other",
        };
        let reply = match self.reply(&head, body, routed).await {
            Ok(reply) => reply,
            Err(refusal) => refusal.into_reply(&self.app, head.id()),
        };
        Answered { route, reply }
    }

    async fn reply(
        &self,
        head: &Head,
        body: Body,
        routed: Routed<'_, '_, Endpoint>,
    ) -> Result<Reply, Refusal> {
        let query = Fields::parse(head.query().unwrap_or_default())
            .map_err(|_| replies::too_many_fields(form::FIELDS_MAX))?;
        // Whatever is asked for, a token that is presented must be good.
        let now_us = self.app.clock().now_us();
        let bearer = guard::bearer(head, &query, &self.tokens, now_us)?;
        let (endpoint, params) = match routed {
            Routed::To {
                endpoint, params, ..
            } => (endpoint, params),
            Routed::OtherMethods(allow) if *head.method() == Method::OPTIONS => {
                return Ok(options(allow));
            }
            Routed::OtherMethods(_) | Routed::Unknown => {
                return Ok(replies::no_route(head.method().as_str(), head.path()));
            }
        };
        let call = Call {
            door: self,
            head,
            query,
            params,
            bearer,
        };
        dispatch(endpoint, &call, body).await
    }

    /// Resolves once nothing is executed any more. The product must have been told to stop.
    pub async fn close(&self) {
        self.executor.close().await;
    }
}

async fn dispatch(endpoint: Endpoint, call: &Call<'_>, body: Body) -> Result<Reply, Refusal> {
    use admin::{actions, clients, contracts, events, systems};
    match endpoint {
        Endpoint::Send => send::send(call, body).await,
        Endpoint::Retry => retry::retry(call, body).await,
        Endpoint::Abort => retry::abort(call, body).await,
        Endpoint::ListReceived => received::list(call).await,
        Endpoint::GetReceived => received::get(call).await,
        Endpoint::GetExecution => received::get_execution(call).await,
        Endpoint::Token => login::token(call, body).await,
        Endpoint::Login => login::login(call, body).await,
        Endpoint::CreateClient => clients::create(call, body).await,
        Endpoint::ListClients => clients::list(call),
        Endpoint::GetClient => clients::get(call),
        Endpoint::LongLive => clients::long_live(call, body).await,
        Endpoint::Revoke => clients::revoke(call, body).await,
        Endpoint::ShowSecret => clients::show_secret(call),
        Endpoint::ReplaceSecret => clients::replace_secret(call).await,
        Endpoint::CreateSystem => systems::create(call, body).await,
        Endpoint::ListSystems => systems::list(call),
        Endpoint::GetSystem => systems::get(call),
        Endpoint::UpdateSystem => systems::update(call, body).await,
        Endpoint::DeleteSystem => systems::delete(call).await,
        Endpoint::CreateEvent => events::create(call, body).await,
        Endpoint::ListEvents => events::list(call),
        Endpoint::GetEvent => events::get(call),
        Endpoint::UpdateEvent => events::update(call, body).await,
        Endpoint::DeleteEvent => events::delete(call).await,
        Endpoint::CreateAction => actions::create(call, body).await,
        Endpoint::ListActions => actions::list(call),
        Endpoint::GetAction => actions::get(call),
        Endpoint::UpdateAction => actions::update(call, body).await,
        Endpoint::DeleteAction => actions::delete(call).await,
        Endpoint::CreateContract => contracts::create(call, body).await,
        Endpoint::ListContracts => contracts::list(call),
        Endpoint::GetContract => contracts::get(call),
        Endpoint::UpdateContract => contracts::update(call, body).await,
        Endpoint::UpdateOrder => contracts::update_order(call, body).await,
        Endpoint::DeleteContract => contracts::delete(call).await,
    }
}

fn options(allow: &HeaderValue) -> Reply {
    Reply::new(StatusCode::NO_CONTENT).header(header::ALLOW, allow.clone())
}

/// Tells of actions that will fail because their addresses may not be called. They are no reason not
/// to start: another action may be urgent.
fn warn_of_refused(directory: &Directory, hub: &Hub) {
    directory.read(|registry| {
        for action in registry.actions.iter() {
            let recipe = recipe::Recipe::of(&action.definition);
            let endpoints = recipe.map(|recipe| recipe.endpoints()).unwrap_or_default();
            for refused in endpoints
                .iter()
                .filter_map(|endpoint| hub.guard().judge_url(endpoint).err())
            {
                tracing::warn!(
                    action = action.identifier,
                    %refused,
                    "an eventhos action cannot be called: its address is not in webhooks.allow"
                );
            }
        }
    });
}
