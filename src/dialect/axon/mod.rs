//! Axon Synapse: events published over HTTP, one at a time or as an atomic list, the events of an
//! aggregate read back, and events pushed to HTTP handlers.
//!
//! A context is a log that the settings name. An event that names both the type and the id of an
//! aggregate belongs to it, and its sequence number must be the aggregate's next: that is the
//! store's optimistic lock, judged by the writer of the log. Where retention has removed all events
//! of an aggregate, its numbers begin at 0 again, so logs with aggregates are best kept whole.
//!
//! Beyond the spec: times are shown with milliseconds, as precise as Axon's are; query parameters
//! that a route does not know mean nothing; of an aggregate whose first events retention has removed,
//! those that are kept are given; one event has at most as many bytes as in the native API, 16 MiB; a
//! stream that another door owns answers 409 with the code of anything else; what cannot be done in
//! time (too much is going on) is a 504 with `Retry-After`.

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::app::{App, Code, Failure, Log};
use crate::http::{
    Answered, Body, Head, HeaderValue, Method, Reply, Request, Routed, Router, StatusCode, Verb,
    header,
};
use crate::store::LogName;

use super::Tools;

mod call;
mod event;
mod gate;
mod handlers;
mod members;
mod message;
mod publish;
mod read;
mod replies;
mod settings;

pub use settings::Settings;

use call::Call;
use gate::{Gate, Purpose};
use handlers::Registry;
use replies::{Kind, Refusal};

/// What a route leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Endpoint {
    PublishRaw,
    PublishMessages,
    ReadAggregate,
    PageAggregate,
    RegisterHandler,
    PutHandler,
    ShowHandler,
    EnableHandler,
    RemoveHandler,
    ListHandlers,
    ListAllHandlers,
    ListEndpointTypes,
}

/// Every route of the dialect. The singular `context` is an alias that some clients use to publish.
const ROUTES: &[(Verb, &str, Endpoint)] = &[
    (
        Verb::Post,
        "/v1/contexts/{context}/events/{eventName}",
        Endpoint::PublishRaw,
    ),
    (
        Verb::Post,
        "/v1/context/{context}/events/{eventName}",
        Endpoint::PublishRaw,
    ),
    (
        Verb::Post,
        "/v1/contexts/{context}/events",
        Endpoint::PublishMessages,
    ),
    (
        Verb::Post,
        "/v1/context/{context}/events",
        Endpoint::PublishMessages,
    ),
    (
        Verb::Get,
        "/v1/contexts/{context}/aggregate/{aggregateId}/events",
        Endpoint::ReadAggregate,
    ),
    (
        Verb::Get,
        "/v1/contexts/{context}/aggregate/{aggregateId}/eventsPaged",
        Endpoint::PageAggregate,
    ),
    (Verb::Post, HANDLERS, Endpoint::RegisterHandler),
    (Verb::Get, HANDLERS, Endpoint::ListHandlers),
    (Verb::Put, HANDLER, Endpoint::PutHandler),
    (Verb::Get, HANDLER, Endpoint::ShowHandler),
    (Verb::Patch, HANDLER, Endpoint::EnableHandler),
    (Verb::Delete, HANDLER, Endpoint::RemoveHandler),
    (Verb::Get, "/v1/handlers/events", Endpoint::ListAllHandlers),
    (
        Verb::Get,
        "/v1/handlers/events/endpointTypes",
        Endpoint::ListEndpointTypes,
    ),
];

const HANDLERS: &str = "/v1/contexts/{context}/handlers/events";
const HANDLER: &str = "/v1/contexts/{context}/handlers/events/{id}";

impl Endpoint {
    fn purpose(self) -> Purpose {
        match self {
            Self::PublishRaw
            | Self::PublishMessages
            | Self::ReadAggregate
            | Self::PageAggregate => Purpose::Events,
            Self::RegisterHandler
            | Self::PutHandler
            | Self::ShowHandler
            | Self::EnableHandler
            | Self::RemoveHandler
            | Self::ListHandlers
            | Self::ListAllHandlers
            | Self::ListEndpointTypes => Purpose::Configuration,
        }
    }
}

/// The door.
#[derive(Debug)]
pub struct Door {
    router: Router<Endpoint>,
    tools: Tools,
    gate: Gate,
    contexts: BTreeMap<String, Log>,
    handlers: Registry,
    /// One permit for each reply that goes on at the client's pace.
    readers: Arc<Semaphore>,
}

impl Door {
    /// Opens the door: creates the contexts that are not there yet, and goes on delivering to the
    /// handlers that are registered.
    ///
    /// # Errors
    ///
    /// [`Failure`]: the settings cannot be used, a context cannot be created, or the handlers cannot
    /// be read.
    pub async fn open(settings: Settings, tools: Tools) -> Result<Self, Failure> {
        let gate = Gate::new(&settings)?;
        let contexts = contexts(&tools.app, &settings.contexts).await?;
        let handlers = Registry::open(tools.hub.clone(), contexts.clone()).await?;
        let readers = Arc::new(Semaphore::new(tools.app.limits().readers_max));
        Ok(Self {
            router: Router::new(ROUTES),
            tools,
            gate,
            contexts,
            handlers,
            readers,
        })
    }

    /// Answers a request for one of its paths.
    pub async fn answer(&self, request: Request) -> Answered {
        let Request { head, body } = request;
        let mut route = "other";
        let outcome = match self.route(&head) {
            Ok(Target::Endpoint(endpoint, template, call)) => {
                route = template;
                perform(endpoint, &call, body).await
            }
            Ok(Target::Options(allow)) => {
                Ok(Reply::new(StatusCode::NO_CONTENT).header(header::ALLOW, allow))
            }
            Err(refusal) => Err(refusal),
        };
        let reply = outcome.unwrap_or_else(|refusal| {
            let now_us = self.tools.app.clock().now_us();
            refusal.into_reply(&head, now_us)
        });
        Answered {
            route,
            reply: replies::dressed(reply),
        }
    }

    /// Where a request goes. Who asks is judged first, so that nothing is told about what is there.
    fn route<'a>(&'a self, head: &'a Head) -> Result<Target<'a>, Refusal> {
        let routed = self.router.route(head.method(), head.path());
        let purpose = match &routed {
            Routed::To { endpoint, .. } => endpoint.purpose(),
            Routed::OtherMethods(_) | Routed::Unknown => Purpose::Configuration,
        };
        self.gate.check(head, purpose)?;
        match routed {
            Routed::To {
                endpoint,
                template,
                params,
            } => {
                let call = Call {
                    door: self,
                    head,
                    params,
                };
                Ok(Target::Endpoint(endpoint, template, call))
            }
            Routed::OtherMethods(allow) if head.method() == Method::OPTIONS => {
                Ok(Target::Options(allow.clone()))
            }
            Routed::OtherMethods(allow) => Err(Refusal::new(
                Kind::METHOD_NOT_ALLOWED,
                "this path has other methods, see the Allow header; nothing was done",
            )
            .allowing(allow.clone())),
            Routed::Unknown => Err(Refusal::new(
                Kind::NOT_FOUND,
                "there is nothing at this path",
            )),
        }
    }

    /// A place among the replies that go on at the client's pace.
    fn reader(&self) -> Result<OwnedSemaphorePermit, Failure> {
        Arc::clone(&self.readers).try_acquire_owned().map_err(|_| {
            Failure::new(
                Code::Busy,
                "too many long replies are being written; ask again in a moment",
            )
        })
    }
}

/// Where a request goes.
enum Target<'a> {
    Endpoint(Endpoint, &'static str, Call<'a>),
    /// It asks which methods there are.
    Options(HeaderValue),
}

async fn perform(endpoint: Endpoint, call: &Call<'_>, body: Body) -> Result<Reply, Refusal> {
    match endpoint {
        Endpoint::PublishRaw => publish::raw(call, body).await,
        Endpoint::PublishMessages => publish::messages(call, body).await,
        Endpoint::ReadAggregate => read::all(call).await,
        Endpoint::PageAggregate => read::page(call).await,
        Endpoint::RegisterHandler => handlers::register(call, body).await,
        Endpoint::PutHandler => handlers::put_registration(call, body).await,
        Endpoint::ShowHandler => handlers::show(call),
        Endpoint::EnableHandler => handlers::enable(call).await,
        Endpoint::RemoveHandler => handlers::remove(call).await,
        Endpoint::ListHandlers => handlers::list(call),
        Endpoint::ListAllHandlers => handlers::list_all(call),
        Endpoint::ListEndpointTypes => Ok(handlers::endpoint_types()),
    }
}

/// The logs of the contexts, created if need be.
async fn contexts(app: &App, names: &[String]) -> Result<BTreeMap<String, Log>, Failure> {
    let wrong =
        |what: String| Failure::new(Code::InvalidLogName, format!("[dialect.axon]: {what}"));
    if names.is_empty() {
        return Err(wrong(
            "'contexts' names none, so nothing could be asked for".to_owned(),
        ));
    }
    let mut contexts = BTreeMap::new();
    for name in names {
        match name.parse::<LogName>() {
            Ok(log) if !log.is_hidden() => {}
            Ok(_) => {
                return Err(wrong(format!(
                    "the context {name:?} begins with '_', like the server's own logs"
                )));
            }
            Err(error) => {
                return Err(wrong(format!(
                    "the context {name:?} cannot be a log: {error}"
                )));
            }
        }
        app.put_log(name, None).await?;
        contexts.insert(name.clone(), app.log(name)?);
    }
    Ok(contexts)
}
