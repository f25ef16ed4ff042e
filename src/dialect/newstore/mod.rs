//! NewStore's event gateway: one event a request, everything about it but its payload in headers.
//!
//! What the public page says and what it leaves open is decided here as follows:
//!
//! - Every configured path takes `POST`, compared byte for byte; a query is passed over.
//! - The checks come in a fixed order, and the first fault is answered: method, missing headers (all
//!   in one message), the other headers, `correlation-ids`, content type, body, name, and last
//!   whether tenant and team may publish.
//! - An event is known again by tenant, name and idempotency key, as long as it is kept. A repeat is
//!   answered like the first, whatever else it carries, and stores nothing.
//! - There are no credentials, so a request that comes from a page of another site is refused.

use std::collections::HashSet;

use crate::app::{Failure, Log};
use crate::http::{Answered, Body, Head, Method, Reply, Request, StatusCode, access};
use crate::store::LogName;

use super::Tools;

mod event;
mod headers;
mod publish;
mod replies;
mod settings;

pub use settings::Settings;

use replies::Refusal;

/// What the only route is counted as: its real paths are the operator's.
const ROUTE: &str = "/newstore/events";

/// The door.
#[derive(Debug)]
pub struct Door {
    log: Log,
    tools: Tools,
    denied_tenants: HashSet<String>,
    denied_teams: HashSet<String>,
    success: StatusCode,
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
        Ok(Self {
            log: tools.app.log(LogName::default_log().as_str())?,
            tools,
            success: settings.success()?,
            denied_tenants: settings.denied_tenants.into_iter().collect(),
            denied_teams: settings.denied_teams.into_iter().collect(),
        })
    }

    /// Answers a request for one of its paths.
    pub async fn answer(&self, request: Request) -> Answered {
        let Request { head, body } = request;
        let reply = match self.take(&head, body).await {
            Ok(()) => Reply::new(self.success),
            Err(refusal) => refusal.into_reply(head.id()),
        };
        Answered {
            route: ROUTE,
            reply,
        }
    }

    async fn take(&self, head: &Head, body: Body) -> Result<(), Refusal> {
        access::check(head).map_err(|problem| Refusal::denied(problem.detail().to_owned()))?;
        if head.method() != Method::POST {
            return Err(Refusal::wrong_method(head.method()));
        }
        publish::publish(self, head, body).await
    }
}
