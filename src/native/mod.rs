//! The native API: `/v1/logs`, and what surrounds it.
//!
//! One table of routes; each endpoint translates a request into one call of the product and its
//! outcome into a reply. What is refused is told as `application/problem+json` ([`failure`]); how
//! events look is `render.rs`'s; who may ask at all is `http/access.rs`'s. Nothing here knows how events
//! are kept.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::app::{App, Code, Failure};
use crate::http::{
    Body, BodyRules, Head, HeaderValue, Method, Problem, ProblemType, Reply, Request, Routed,
    Router, StatusCode, Verb, header,
};

mod call;
mod consumers;
mod events;
pub mod failure;
mod health;
mod logs;
mod metrics;
mod ndjson;
mod openapi;
mod publish;
mod records;
mod render;
mod select;
mod sse;
mod streams;
mod webhooks;
pub mod wire;

pub use metrics::Metrics;

use crate::webhook::Hub;

use call::Call;
use failure::Refusal;
use webhooks::Webhooks;

/// What a route leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Endpoint {
    Root,
    Alive,
    Ready,
    Metrics,
    OpenApi,
    ListLogs,
    DescribeLog,
    PutLog,
    Publish,
    ReadLog,
    ReadEvent,
    ListStreams,
    DescribeStream,
    PublishToStream,
    ReadStream,
    ListConsumers,
    DefineConsumer,
    DescribeConsumer,
    RemoveConsumer,
    ReadConsumer,
    Acknowledge,
    Seek,
    ListWebhooks,
    DefineWebhook,
    DescribeWebhook,
    RemoveWebhook,
    PauseWebhook,
    ResumeWebhook,
    SeekWebhook,
    ListDeliveries,
    ListDeadLetters,
    ReplayDeadLetter,
    DiscardDeadLetter,
}

/// Every route of the API.
const ROUTES: &[(Verb, &str, Endpoint)] = &[
    (Verb::Get, "/", Endpoint::Root),
    (Verb::Get, "/healthz", Endpoint::Alive),
    (Verb::Get, "/readyz", Endpoint::Ready),
    (Verb::Get, "/metrics", Endpoint::Metrics),
    (Verb::Get, "/openapi.json", Endpoint::OpenApi),
    (Verb::Get, "/v1/logs", Endpoint::ListLogs),
    (Verb::Get, "/v1/logs/{log}", Endpoint::DescribeLog),
    (Verb::Put, "/v1/logs/{log}", Endpoint::PutLog),
    (Verb::Post, "/v1/logs/{log}/events", Endpoint::Publish),
    (Verb::Get, "/v1/logs/{log}/events", Endpoint::ReadLog),
    (Verb::Get, "/v1/logs/{log}/events/{id}", Endpoint::ReadEvent),
    (Verb::Get, "/v1/logs/{log}/streams", Endpoint::ListStreams),
    (
        Verb::Get,
        "/v1/logs/{log}/streams/{stream}",
        Endpoint::DescribeStream,
    ),
    (
        Verb::Post,
        "/v1/logs/{log}/streams/{stream}/events",
        Endpoint::PublishToStream,
    ),
    (
        Verb::Get,
        "/v1/logs/{log}/streams/{stream}/events",
        Endpoint::ReadStream,
    ),
    (
        Verb::Get,
        "/v1/logs/{log}/consumers",
        Endpoint::ListConsumers,
    ),
    (
        Verb::Put,
        "/v1/logs/{log}/consumers/{name}",
        Endpoint::DefineConsumer,
    ),
    (
        Verb::Get,
        "/v1/logs/{log}/consumers/{name}",
        Endpoint::DescribeConsumer,
    ),
    (
        Verb::Delete,
        "/v1/logs/{log}/consumers/{name}",
        Endpoint::RemoveConsumer,
    ),
    (
        Verb::Get,
        "/v1/logs/{log}/consumers/{name}/events",
        Endpoint::ReadConsumer,
    ),
    (
        Verb::Post,
        "/v1/logs/{log}/consumers/{name}/ack",
        Endpoint::Acknowledge,
    ),
    (
        Verb::Post,
        "/v1/logs/{log}/consumers/{name}/seek",
        Endpoint::Seek,
    ),
    (Verb::Get, "/v1/logs/{log}/webhooks", Endpoint::ListWebhooks),
    (
        Verb::Put,
        "/v1/logs/{log}/webhooks/{name}",
        Endpoint::DefineWebhook,
    ),
    (
        Verb::Get,
        "/v1/logs/{log}/webhooks/{name}",
        Endpoint::DescribeWebhook,
    ),
    (
        Verb::Delete,
        "/v1/logs/{log}/webhooks/{name}",
        Endpoint::RemoveWebhook,
    ),
    (
        Verb::Post,
        "/v1/logs/{log}/webhooks/{name}/pause",
        Endpoint::PauseWebhook,
    ),
    (
        Verb::Post,
        "/v1/logs/{log}/webhooks/{name}/resume",
        Endpoint::ResumeWebhook,
    ),
    (
        Verb::Post,
        "/v1/logs/{log}/webhooks/{name}/seek",
        Endpoint::SeekWebhook,
    ),
    (
        Verb::Get,
        "/v1/logs/{log}/webhooks/{name}/deliveries",
        Endpoint::ListDeliveries,
    ),
    (
        Verb::Get,
        "/v1/logs/{log}/webhooks/{name}/dead-letters",
        Endpoint::ListDeadLetters,
    ),
    (
        Verb::Post,
        "/v1/logs/{log}/webhooks/{name}/dead-letters/{id}/replay",
        Endpoint::ReplayDeadLetter,
    ),
    (
        Verb::Delete,
        "/v1/logs/{log}/webhooks/{name}/dead-letters/{id}",
        Endpoint::DiscardDeadLetter,
    ),
];

/// What the server as a whole can do (`OPTIONS *`; RFC 9110, section 9.3.7); each path says its own.
const ANY_METHOD: HeaderValue =
    HeaderValue::from_static("GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS");

/// The native API of a product.
#[derive(Debug)]
pub struct Api {
    app: App,
    router: Router<Endpoint>,
    bodies: Arc<BodyRules>,
    /// One permit for each reply that goes on at the client's pace.
    readers: Arc<Semaphore>,
    metrics: Metrics,
    webhooks: Webhooks,
}

impl Api {
    /// The API of this product, whose webhooks `hub` calls. `bodies` is shared by all doors, so that
    /// what they hold in memory has one limit.
    #[must_use]
    pub fn new(app: App, bodies: Arc<BodyRules>, hub: Hub) -> Self {
        let readers = Arc::new(Semaphore::new(app.limits().readers_max));
        Self {
            app,
            router: Router::new(ROUTES),
            bodies,
            readers,
            metrics: Metrics::new(),
            webhooks: Webhooks::new(hub),
        }
    }

    /// Begins to call the webhooks that there are.
    pub async fn begin(&self) {
        self.webhooks.begin().await;
    }

    /// The counters of the server.
    #[must_use]
    pub fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    /// The product behind it.
    #[must_use]
    pub fn app(&self) -> &App {
        &self.app
    }

    /// Answers a request. It is always answered; what fails is told as a problem.
    pub async fn answer(&self, request: Request) -> Reply {
        let Request { head, body } = request;
        let start = self.app.clock().moment();
        let mut route = "other";
        let outcome = match self.route(&head) {
            Ok((endpoint, template, call)) => {
                route = template;
                perform(endpoint, &call, body).await
            }
            Err(Routeless::Problem(problem)) => Err(problem.into()),
            Err(Routeless::Options(allow)) => {
                Ok(Reply::new(StatusCode::NO_CONTENT).header(header::ALLOW, allow))
            }
        };
        let reply = outcome.unwrap_or_else(|refusal| refusal.into_reply(head.id()));
        let time = self.app.clock().moment().since(start);
        self.metrics
            .answered(head.method(), route, reply.status(), time);
        reply
    }

    fn route<'a>(
        &'a self,
        head: &'a Head,
    ) -> Result<(Endpoint, &'static str, Call<'a>), Routeless> {
        crate::http::access::check(head)?;
        if is_unknown(head.method()) {
            return Err(Problem::new(
                ProblemType::NOT_IMPLEMENTED,
                "this server does not know the method",
            )
            .into());
        }
        if head.is_for_server() {
            return Err(Routeless::Options(ANY_METHOD));
        }
        match self.router.route(head.method(), head.path()) {
            Routed::To {
                endpoint,
                template,
                params,
            } => {
                let call = Call {
                    api: self,
                    head,
                    params,
                };
                Ok((endpoint, template, call))
            }
            Routed::OtherMethods(allow) if head.method() == Method::OPTIONS => {
                Err(Routeless::Options(allow.clone()))
            }
            Routed::OtherMethods(allow) => Err(Problem::new(
                ProblemType::METHOD_NOT_ALLOWED,
                "this path has other methods, see the Allow header; nothing was done",
            )
            .allowing(allow.clone())
            .into()),
            Routed::Unknown => Err(unknown_path(head).into()),
        }
    }

    /// A place among the replies that go on at the client's pace.
    fn reader(&self) -> Result<OwnedSemaphorePermit, Failure> {
        Arc::clone(&self.readers).try_acquire_owned().map_err(|_| {
            Failure::new(
                Code::Busy,
                "too many streaming replies are being written; ask again in a moment",
            )
        })
    }
}

/// Why a request goes to no endpoint.
enum Routeless {
    Problem(Problem),
    /// It asks which methods there are.
    Options(HeaderValue),
}

impl From<Problem> for Routeless {
    fn from(problem: Problem) -> Self {
        Self::Problem(problem)
    }
}

async fn perform(endpoint: Endpoint, call: &Call<'_>, body: Body) -> Result<Reply, Refusal> {
    if speaks_json_only(endpoint) {
        call.negotiate(&[events::JSON])?;
    }
    match endpoint {
        Endpoint::Root => root(call),
        Endpoint::Alive => health::alive(call),
        Endpoint::Ready => health::ready(call),
        Endpoint::Metrics => metrics::show(call),
        Endpoint::OpenApi => openapi::show(call),
        Endpoint::ListLogs => logs::list(call),
        Endpoint::DescribeLog => logs::describe(call),
        Endpoint::PutLog => logs::put(call, body).await,
        Endpoint::Publish => publish::to_log(call, body).await,
        Endpoint::ReadLog => events::of_log(call).await,
        Endpoint::ReadEvent => events::one(call).await,
        Endpoint::ListStreams => streams::list(call).await,
        Endpoint::DescribeStream => streams::describe(call).await,
        Endpoint::PublishToStream => publish::to_stream(call, body).await,
        Endpoint::ReadStream => events::of_stream(call).await,
        Endpoint::ListConsumers => consumers::list(call).await,
        Endpoint::DefineConsumer => consumers::define(call, body).await,
        Endpoint::DescribeConsumer => consumers::describe(call).await,
        Endpoint::RemoveConsumer => consumers::remove(call).await,
        Endpoint::ReadConsumer => consumers::read(call).await,
        Endpoint::Acknowledge => consumers::acknowledge(call, body).await,
        Endpoint::Seek => consumers::seek(call, body).await,
        Endpoint::ListWebhooks => webhooks::list(call),
        Endpoint::DefineWebhook => webhooks::define(call, body).await,
        Endpoint::DescribeWebhook => webhooks::describe(call).await,
        Endpoint::RemoveWebhook => webhooks::remove(call).await,
        Endpoint::PauseWebhook => webhooks::pause(call, body).await,
        Endpoint::ResumeWebhook => webhooks::resume(call, body).await,
        Endpoint::SeekWebhook => webhooks::seek(call, body).await,
        Endpoint::ListDeliveries => webhooks::deliveries(call).await,
        Endpoint::ListDeadLetters => webhooks::dead_letters(call).await,
        Endpoint::ReplayDeadLetter => webhooks::replay(call, body).await,
        Endpoint::DiscardDeadLetter => webhooks::discard(call).await,
    }
}

/// Whether the replies are JSON whatever the client asks for. Monitors get an answer whatever they
/// accept, a removal has no body, and ranges of events choose among several forms.
fn speaks_json_only(endpoint: Endpoint) -> bool {
    match endpoint {
        Endpoint::Root
        | Endpoint::Alive
        | Endpoint::Ready
        | Endpoint::Metrics
        | Endpoint::OpenApi
        | Endpoint::ReadLog
        | Endpoint::ReadStream
        | Endpoint::RemoveConsumer
        | Endpoint::RemoveWebhook
        | Endpoint::DiscardDeadLetter => false,
        Endpoint::ListLogs
        | Endpoint::DescribeLog
        | Endpoint::PutLog
        | Endpoint::Publish
        | Endpoint::ReadEvent
        | Endpoint::ListStreams
        | Endpoint::DescribeStream
        | Endpoint::PublishToStream
        | Endpoint::ListConsumers
        | Endpoint::DefineConsumer
        | Endpoint::DescribeConsumer
        | Endpoint::ReadConsumer
        | Endpoint::Acknowledge
        | Endpoint::Seek
        | Endpoint::ListWebhooks
        | Endpoint::DefineWebhook
        | Endpoint::DescribeWebhook
        | Endpoint::PauseWebhook
        | Endpoint::ResumeWebhook
        | Endpoint::SeekWebhook
        | Endpoint::ListDeliveries
        | Endpoint::ListDeadLetters
        | Endpoint::ReplayDeadLetter => true,
    }
}

fn root(call: &Call<'_>) -> Result<Reply, Refusal> {
    call.no_query()?;
    Ok(Reply::new(StatusCode::OK)
        .typed(HeaderValue::from_static("text/plain; charset=utf-8"))
        .full("Ok"))
}

fn unknown_path(head: &Head) -> Problem {
    let path = head.path();
    let mut names = path.strip_prefix("/v1/logs/").unwrap_or("-").split('/');
    // An empty name makes a path of another shape, which would only be "not found".
    if names.next() == Some("") {
        return Problem::new(
            failure::problem_type(Code::InvalidLogName),
            "the log name is empty; nothing was done",
        );
    }
    let parent = names.next();
    if matches!(parent, Some("streams" | "consumers" | "webhooks")) && names.next() == Some("") {
        return Problem::new(
            ProblemType::INVALID_NAME,
            "the name in the path is empty; nothing was done",
        );
    }
    Problem::new(ProblemType::NOT_FOUND, "there is nothing at this path")
}

/// A method that no specification of HTTP knows.
fn is_unknown(method: &Method) -> bool {
    ![
        Method::GET,
        Method::HEAD,
        Method::POST,
        Method::PUT,
        Method::DELETE,
        Method::OPTIONS,
        Method::PATCH,
        Method::TRACE,
        Method::CONNECT,
    ]
    .contains(method)
}
