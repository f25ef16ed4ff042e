//! The handlers there are: documents of the server, and the lanes that serve them.
//!
//! Changes are made one at a time and to their end, even if the client hangs up. What is kept comes
//! first: a handler whose registration is durable is served, if not now then after the next start.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;

use crate::app::consumers::Start;
use crate::app::{Code, Failure, Log};
use crate::unwind::{Panicked, to_the_end};
use crate::webhook::retry::Backoff;
use crate::webhook::{Hub, Lane};

use super::super::replies::{Kind, Refusal};
use super::registration::Registration;

/// The kind of the documents.
const KIND: &str = "axon-handler";
/// The longest id of a handler, in bytes: it is part of the names of its document and its place.
const HANDLER_ID_LEN_MAX: usize = 128;
/// The pauses between attempts, those of Axon Server: a moment first, so that a restarted handler
/// hardly notices, and for ever at most half a minute.
const BACKOFF: Backoff = Backoff {
    first: Duration::from_millis(10),
    factor: 2,
    max: Duration::from_secs(30),
    attempts_max: None,
};

/// The id of a handler: text without control characters, of at most [`HANDLER_ID_LEN_MAX`] bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct HandlerId(String);

impl HandlerId {
    pub(super) fn new(text: String) -> Result<Self, Refusal> {
        if text.is_empty() || text.len() > HANDLER_ID_LEN_MAX || text.chars().any(char::is_control)
        {
            return Err(Refusal::new(
                Kind::INVALID,
                format!(
                    "the id of a handler is text of 1 to {HANDLER_ID_LEN_MAX} bytes without control characters; nothing was done"
                ),
            ));
        }
        Ok(Self(text))
    }

    pub(super) fn as_str(&self) -> &str {
        &self.0
    }
}

/// A handler.
#[derive(Clone, Debug)]
pub(super) struct Handler {
    pub(super) context: Log,
    pub(super) id: HandlerId,
    pub(super) registration: Registration,
}

impl Handler {
    /// The name of its lane, and of its place in the log.
    pub(super) fn lane(&self) -> String {
        lane(&self.context, &self.id)
    }

    /// Writes it as clients see it.
    pub(super) fn write(&self, out: &mut Vec<u8>, last_error: Option<&str>) {
        let context = self.context.name().as_str();
        self.registration
            .write(out, context, self.id.as_str(), last_error);
    }
}

fn document(context: &Log, id: &HandlerId) -> String {
    format!("{}/{}", context.name(), id.as_str())
}

fn lane(context: &Log, id: &HandlerId) -> String {
    format!("axon/{}/{}", context.name(), id.as_str())
}

/// All handlers. Clones are the same.
#[derive(Clone, Debug)]
pub(in super::super) struct Registry(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    hub: Hub,
    contexts: BTreeMap<String, Log>,
    /// Held while a handler changes.
    changing: tokio::sync::Mutex<()>,
    /// What went wrong last with lanes that do not run.
    last_errors: Mutex<BTreeMap<String, String>>,
}

impl Registry {
    /// The registry of these contexts. The handlers that are kept are served from now on; those of
    /// contexts that are no longer there wait until they are again.
    ///
    /// # Errors
    ///
    /// [`Failure`]: what is kept cannot be read.
    pub(in super::super) async fn open(
        hub: Hub,
        contexts: BTreeMap<String, Log>,
    ) -> Result<Self, Failure> {
        let registry = Self(Arc::new(Shared {
            hub,
            contexts,
            changing: tokio::sync::Mutex::default(),
            last_errors: Mutex::default(),
        }));
        for (name, document) in registry.0.hub.app().documents(KIND) {
            let registration = Registration::from_document(&document)?;
            let Some((context, id)) = registry.parse(&name) else {
                tracing::warn!(
                    handler = name,
                    "no such context any more; nothing is delivered"
                );
                continue;
            };
            let handler = Handler {
                context,
                id,
                registration,
            };
            if handler.registration.enabled {
                registry.begin(&handler).await;
            }
        }
        Ok(registry)
    }

    /// Context and id by the name of a document; none if there is no such context.
    fn parse(&self, document: &str) -> Option<(Log, HandlerId)> {
        let (context, id) = document.split_once('/')?;
        let context = self.0.contexts.get(context)?;
        Some((context.clone(), HandlerId(id.to_owned())))
    }

    /// A handler, if there is one.
    pub(super) fn get(&self, context: &Log, id: &HandlerId) -> Result<Option<Handler>, Failure> {
        let document = self.0.hub.app().document(KIND, &document(context, id));
        let registration = document.map(|document| Registration::from_document(&document));
        Ok(registration.transpose()?.map(|registration| Handler {
            context: context.clone(),
            id: id.clone(),
            registration,
        }))
    }

    /// The handlers of a context, or of all, as they are now: by context, then by id.
    pub(super) fn handlers(
        &self,
        context: Option<&Log>,
    ) -> impl Iterator<Item = Result<Handler, Refusal>> + Send + 'static {
        let wanted = context.map(|context| context.name().clone());
        let registry = self.clone();
        let documents: Vec<(String, Bytes)> = self.0.hub.app().documents(KIND);
        documents.into_iter().filter_map(move |(name, document)| {
            let (context, id) = registry.parse(&name)?;
            if wanted
                .as_ref()
                .is_some_and(|wanted| wanted != context.name())
            {
                return None;
            }
            let read = Registration::from_document(&document);
            Some(match read {
                Ok(registration) => Ok(Handler {
                    context,
                    id,
                    registration,
                }),
                Err(failure) => Err(failure.into()),
            })
        })
    }

    /// What went wrong last with a lane.
    pub(super) fn last_error(&self, lane: &str) -> Option<String> {
        match self.0.hub.status(lane) {
            Some(status) => status.last_error,
            None => self.0.last_errors.lock().get(lane).cloned(),
        }
    }

    /// Puts a handler in place; the flag says whether it is new. One that is not keeps its place in
    /// the log.
    pub(super) async fn put(&self, handler: Handler) -> Result<bool, Failure> {
        let registry = self.clone();
        self.change(async move { registry.do_put(handler).await })
            .await
    }

    async fn do_put(&self, handler: Handler) -> Result<bool, Failure> {
        let app = self.0.hub.app();
        let known = self.get(&handler.context, &handler.id)?;
        let is_new = known.is_none();
        if is_new {
            self.mark_begin(&handler).await?;
        }
        // Clients register at each of their starts, mostly the same.
        if known.is_none_or(|known| known.registration != handler.registration) {
            let name = document(&handler.context, &handler.id);
            let json = handler.registration.to_document();
            if let Err(failure) = app.put_document(KIND, &name, &json).await {
                if is_new {
                    self.forget(&handler.context, &handler.id).await;
                }
                return Err(failure);
            }
        }
        self.serve(&handler).await;
        Ok(is_new)
    }

    /// Makes durable where a new handler begins, so that later events are delivered whatever happens
    /// in between.
    async fn mark_begin(&self, handler: &Handler) -> Result<(), Failure> {
        let log = &handler.context;
        let lane = handler.lane();
        // A place that an earlier handler of this id has left says nothing.
        self.0.hub.remove(log, &lane).await?;
        let start = handler.registration.start();
        let position = log.position_before(start);
        let oldest = log.position_before(Start::First);
        if start != Start::First && position < oldest {
            return Err(Failure::new(
                Code::InvalidRange,
                format!(
                    "the event with index {position} is not kept any more, the oldest has {oldest}; nothing was done"
                ),
            ));
        }
        let end = log.last_id();
        if position > end {
            return Err(Failure::new(
                Code::InvalidRange,
                format!(
                    "there is no event with index {position} yet, the next one gets {end}; nothing was done"
                ),
            ));
        }
        log.begin_progress(&lane, position).await?;
        Ok(())
    }

    /// Enables or disables a handler; the flag says whether there is one.
    pub(super) async fn enable(
        &self,
        context: &Log,
        id: &HandlerId,
        enabled: bool,
    ) -> Result<bool, Failure> {
        let (registry, context, id) = (self.clone(), context.clone(), id.clone());
        self.change(async move {
            let Some(mut handler) = registry.get(&context, &id)? else {
                return Ok(false);
            };
            if handler.registration.enabled != enabled {
                handler.registration.enabled = enabled;
                let json = handler.registration.to_document();
                let app = registry.0.hub.app();
                app.put_document(KIND, &document(&context, &id), &json)
                    .await?;
                registry.serve(&handler).await;
            }
            Ok(true)
        })
        .await
    }

    /// Removes a handler; the flag says whether there was one. Nothing is delivered to it once this
    /// resolves.
    pub(super) async fn remove(&self, context: &Log, id: &HandlerId) -> Result<bool, Failure> {
        let (registry, context, id) = (self.clone(), context.clone(), id.clone());
        self.change(async move {
            let app = registry.0.hub.app();
            let was_there = app.remove_document(KIND, &document(&context, &id)).await?;
            if was_there {
                registry.forget(&context, &id).await;
            }
            Ok(was_there)
        })
        .await
    }

    /// Makes a change, after those before it, and to its end.
    async fn change<T: Send + 'static>(
        &self,
        change: impl Future<Output = Result<T, Failure>> + Send + 'static,
    ) -> Result<T, Failure> {
        let registry = self.clone();
        let changed = to_the_end(async move {
            let _turn = registry.0.changing.lock().await;
            change.await
        });
        changed.await.unwrap_or_else(|Panicked| {
            Err(Failure::new(
                Code::Internal,
                "the server made a mistake; whether anything was changed is unknown",
            ))
        })
    }

    /// Begins or ends deliveries as the registration says.
    async fn serve(&self, handler: &Handler) {
        if handler.registration.enabled {
            return self.begin(handler).await;
        }
        let lane = handler.lane();
        let last_error = self.last_error(&lane);
        self.0.hub.stop(&lane).await;
        if let Some(error) = last_error {
            self.0.last_errors.lock().insert(lane, error);
        }
    }

    /// Begins deliveries. A handler for which that fails says so, and is served after the next start
    /// of the server.
    async fn begin(&self, handler: &Handler) {
        let lane = handler.lane();
        self.0.last_errors.lock().remove(&lane);
        if let Err(failure) = self.start(handler).await {
            tracing::warn!(lane, %failure, "a handler cannot be served");
            let message = failure.message.into_owned();
            self.0.last_errors.lock().insert(lane, message);
        }
    }

    async fn start(&self, handler: &Handler) -> Result<(), Failure> {
        let registration = &handler.registration;
        self.0
            .hub
            .start(Lane {
                name: handler.lane(),
                log: handler.context.clone(),
                filter: registration.filter()?,
                start: registration.start(),
                batch_size: registration.batch_size(),
                backoff: BACKOFF,
                target: Arc::new(registration.target()?),
            })
            .await
    }

    /// Ends deliveries for good.
    async fn forget(&self, context: &Log, id: &HandlerId) {
        let lane = lane(context, id);
        self.0.last_errors.lock().remove(&lane);
        // A place that stays costs a few bytes, and is removed before it could be used again.
        if let Err(failure) = self.0.hub.remove(context, &lane).await {
            tracing::warn!(lane, %failure, "the place of a handler cannot be removed");
        }
    }
}
