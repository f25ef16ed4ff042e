//! Spotahome's event store: the log `default` by ids, for whoever builds a projection of it.
//!
//! Replies carry no ids, so a client counts: the first event of a reply has the id it asked for.
//! That is why nothing is ever left out of a window, and why a window that begins below the first
//! event kept is refused (410) instead of being answered from there.
//!
//! Decided where the public page is silent: credentials are judged before the path, a query is passed
//! over, and `HEAD` is `GET` without the body.

use std::num::NonZero;
use std::sync::Arc;

use tokio::sync::Semaphore;

use crate::app::{Failure, Log};
use crate::auth::jwt::Verifier;
use crate::http::{Answered, Head, Method, Reply, Request};
use crate::store::LogName;

use super::Tools;

mod auth;
mod event;
mod gzip;
mod read;
mod rendering;
mod replies;
mod settings;

pub use settings::Settings;

use replies::Refusal;

/// What its requests are counted as.
const ROUTE: &str = "/api/monolith/event-store/{range}";

/// Where the windows are. The vendor's page shows its own prefix twice, and clients made from it ask
/// there.
const WINDOWS: [&str; 2] = [
    "/api/monolith/event-store/",
    "/api/monolith/event-store/api/monolith/event-store/",
];

/// The most replies that are compressed at a time, at least one and at most half of the cores: a
/// replay must leave the rest to those who publish.
const COMPRESSIONS_MAX: usize = 4;

/// The door.
#[derive(Debug)]
pub struct Door {
    log: Log,
    verifier: Verifier,
    role: String,
    events_max: u64,
    /// One permit for each reply that is written at its client's pace.
    readers: Arc<Semaphore>,
    /// One permit for each thread that compresses.
    compressions: Arc<Semaphore>,
}

impl Door {
    /// Opens the door.
    ///
    /// # Errors
    ///
    /// [`Failure`]: the settings cannot be used.
    #[expect(clippy::unused_async, reason = "doors are opened alike")]
    pub async fn open(settings: Settings, tools: Tools) -> Result<Self, Failure> {
        settings.check()?;
        let cores = std::thread::available_parallelism().map_or(1, NonZero::get);
        Ok(Self {
            log: tools.app.log(LogName::default_log().as_str())?,
            verifier: settings.verifier()?,
            role: settings.role,
            events_max: settings.events_max.into(),
            readers: Arc::new(Semaphore::new(tools.app.limits().readers_max)),
            compressions: Arc::new(Semaphore::new((cores / 2).clamp(1, COMPRESSIONS_MAX))),
        })
    }

    /// Answers a request for one of its paths.
    pub async fn answer(&self, request: Request) -> Answered {
        let head = &request.head;
        let window = WINDOWS
            .iter()
            .filter_map(|prefix| head.path().strip_prefix(prefix))
            .find(|rest| !rest.contains('/'));
        let reply = match self.read(head, window).await {
            Ok(reply) => reply,
            Err(refusal) => refusal.into_reply(head),
        };
        Answered {
            route: if window.is_some() { ROUTE } else { "other" },
            reply,
        }
    }

    async fn read(&self, head: &Head, window: Option<&str>) -> Result<Reply, Refusal> {
        auth::check(self, head)?;
        let window = window.ok_or(Refusal::NoRoute)?;
        let window = read::Window::parse(window)?;
        if ![Method::GET, Method::HEAD].contains(head.method()) {
            return Err(Refusal::WrongMethod);
        }
        read::read(self, head, window.check()?).await
    }
}
