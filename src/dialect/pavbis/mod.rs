//! pavbis/eventserver: named streams, each owned by one producer; consumers poll by event name and
//! acknowledge one event at a time, in order.
//!
//! Streams and events are those of the log `default`, shared with the other doors. An event name is
//! a type. The number of an event is its rank among those of its name in its stream, counted from 1,
//! so numbers have no gaps; a consumer's offset is the number of the last event it acknowledged.
//!
//! What the door adds where its protocol is silent:
//!
//! - Retention may remove events that a consumer has not acknowledged. Reading then fails with 500
//!   and says so, and names the offset from which it goes on; the route that changes offsets takes
//!   that one, for a consumer without an offset too. Nothing is passed over unasked.
//! - Replies are bounded: 1,000 events (`limit_max` in the settings; a higher limit is cut), and about 8 MiB of them; charts and
//!   lists look at a bounded number of streams and offsets. `Strandlog-Limit-Applied` says that
//!   something was cut.

use std::sync::Arc;

use tokio::sync::Mutex;

use crate::app::limits::PAGE_EVENTS_MAX;
use crate::app::{App, Code, Failure};
use crate::auth::basic::Users;
use crate::http::{Answered, Body, BodyRules, Reply, Request, Routed, Router, Verb};

use super::Tools;
use call::Call;
use replies::Refusal;

mod ack;
mod call;
mod change;
mod consumers;
mod draft;
mod event;
mod find;
mod gate;
mod ids;
mod metrics;
mod place;
mod publish;
mod read;
mod replies;
mod search;
mod settings;
mod stats;

pub use settings::Settings;

/// What a route leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Endpoint {
    Health,
    Publish,
    Read,
    Acknowledge,
    ChangeOffset,
    Payload,
    Consumers,
    EventsPerStream,
    StreamData,
    EventsOfMonth,
    Search,
    EventsOfPeriod,
}

/// Every route but [`METRICS`].
const ROUTES: &[(Verb, &str, Endpoint)] = &[
    (Verb::Get, "/api/v1/health", Endpoint::Health),
    (
        Verb::Post,
        "/api/v1/streams/{stream}/events",
        Endpoint::Publish,
    ),
    (Verb::Get, "/api/v1/streams/{stream}/events", Endpoint::Read),
    (
        Verb::Post,
        "/api/v1/streams/{stream}/events/{event}",
        Endpoint::Acknowledge,
    ),
    (
        Verb::Post,
        "/api/v1/{stream}/{consumer}/{name}/change/{offset}",
        Endpoint::ChangeOffset,
    ),
    (
        Verb::Get,
        "/api/v1/events/{event}/payload",
        Endpoint::Payload,
    ),
    (Verb::Get, "/api/v1/consumers/{stream}", Endpoint::Consumers),
    (
        Verb::Get,
        "/api/v1/stats/events-per-stream",
        Endpoint::EventsPerStream,
    ),
    (Verb::Get, "/api/v1/stats/stream-data", Endpoint::StreamData),
    (
        Verb::Get,
        "/api/v1/stats/events-current-month",
        Endpoint::EventsOfMonth,
    ),
    (Verb::Post, "/api/v1/search", Endpoint::Search),
    (
        Verb::Post,
        "/api/v1/event-period-search/{stream}",
        Endpoint::EventsOfPeriod,
    ),
];

/// Answers whatever the method.
const METRICS: &str = "/api/v1/metrics";

/// The door.
#[derive(Debug)]
pub struct Door {
    app: App,
    bodies: Arc<BodyRules>,
    users: Users,
    limit_max: u64,
    router: Router<Endpoint>,
    /// Held while the metrics are gathered, which anybody can ask for.
    gathering: Mutex<()>,
}

impl Door {
    /// Opens the door.
    ///
    /// # Errors
    ///
    /// [`Failure`]: the settings cannot be used.
    #[expect(clippy::unused_async, reason = "doors are opened alike")]
    pub async fn open(settings: Settings, tools: Tools) -> Result<Self, Failure> {
        if !(1..=PAGE_EVENTS_MAX).contains(&settings.limit_max) {
            return Err(Failure::new(
                Code::InvalidRange,
                format!(
                    "limit_max of the section [dialect.pavbis] is {}, not 1 to {PAGE_EVENTS_MAX}",
                    settings.limit_max
                ),
            ));
        }
        let users = settings.users.into_iter();
        let users = users.map(|(name, password)| (name, password.reveal().to_owned()));
        Ok(Self {
            app: tools.app,
            bodies: tools.bodies,
            users: Users::new(users.collect()),
            limit_max: settings.limit_max,
            router: Router::new(ROUTES),
            gathering: Mutex::default(),
        })
    }

    /// Answers a request for one of its paths.
    pub async fn answer(&self, request: Request) -> Answered {
        let Request { head, body } = request;
        let (route, outcome) = if head.path() == METRICS {
            (METRICS, metrics::show(self, &head).await)
        } else {
            match self.router.route(head.method(), head.path()) {
                Routed::To {
                    endpoint,
                    template,
                    params,
                } => {
                    let call = Call {
                        door: self,
                        head: &head,
                        params,
                    };
                    (template, perform(endpoint, &call, body).await)
                }
                Routed::OtherMethods(allow) => ("other", Err(Refusal::OtherMethods(allow.clone()))),
                Routed::Unknown => ("other", Err(Refusal::UnknownPath)),
            }
        };
        Answered {
            route,
            reply: outcome.unwrap_or_else(|refusal| refusal.into_reply(head.id())),
        }
    }
}

async fn perform(endpoint: Endpoint, call: &Call<'_>, body: Body) -> Result<Reply, Refusal> {
    if endpoint == Endpoint::Health {
        return Ok(health(&call.door.app));
    }
    gate::check_headers(endpoint, call.head, &body)?;
    gate::check_credentials(&call.door.users, call.head)?;
    match endpoint {
        Endpoint::Health => Ok(health(&call.door.app)),
        Endpoint::Publish => publish::publish(call, body).await,
        Endpoint::Read => read::read(call).await,
        Endpoint::Acknowledge => ack::acknowledge(call, body).await,
        Endpoint::ChangeOffset => change::change(call).await,
        Endpoint::Payload => find::payload(call).await,
        Endpoint::Consumers => consumers::list(call).await,
        Endpoint::EventsPerStream => stats::events_per_stream(call).await,
        Endpoint::StreamData => stats::stream_data(call).await,
        Endpoint::EventsOfMonth => stats::events_of_month(call).await,
        Endpoint::Search => search::by_name(call).await,
        Endpoint::EventsOfPeriod => search::by_period(call).await,
    }
}

/// Whether the log behind this door takes events.
fn health(app: &App) -> Reply {
    let unhealthy = app.unhealthy();
    let mut found = unhealthy
        .iter()
        .filter(|(name, _)| name.as_str() == call::LOG);
    replies::health(found.next().map(|(_, health)| health))
}
