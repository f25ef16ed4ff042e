//! What webhooks there are: kept as documents, each with a lane of its own while it is called.
//!
//! A definition is durable before its lane begins, and a place before the definition, so that
//! `start: end` means the moment of the request and nothing published later is missed. Changes go on
//! to their end even if the client hangs up.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;

use crate::app::consumers::Seek;
use crate::app::{App, Code, Failure, Log};
use crate::store::{EventId, LogName};
use crate::unwind::{Panicked, to_the_end};
use crate::webhook::dead_letters::Closing;
use crate::webhook::retry::Backoff;
use crate::webhook::signature::Secret;
use crate::webhook::{Attempt, Hub, Lane, Verdict};

use super::definition::{Asked, Standing, Webhook};
use super::target::WebhookTarget;

/// The kind of the documents.
pub(super) const KIND: &str = "webhook";
/// The pauses between attempts: the first is short, because most failures are over in a moment; the
/// longest lets an endpoint that was repaired wait no more than some minutes.
const BACKOFF: Backoff = Backoff {
    first: Duration::from_secs(1),
    factor: 2,
    max: Duration::from_secs(300),
    attempts_max: None,
};

/// The webhooks of a product. Clones are the same.
#[derive(Clone)]
pub(in super::super) struct Webhooks(pub(super) Arc<Shared>);

pub(super) struct Shared {
    pub(super) hub: Hub,
    /// Held while one is changed, so that the last definition kept is the one that is called.
    changing: tokio::sync::Mutex<()>,
    /// Lanes that could not begin when the server was started, and why.
    pub(super) idle: Mutex<BTreeMap<String, String>>,
}

impl fmt::Debug for Webhooks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Webhooks").finish_non_exhaustive()
    }
}

/// What became of a definition.
#[derive(Debug)]
pub(super) struct Defined {
    /// Whether it is new.
    pub(super) created: bool,
    /// The secret, if one was made.
    pub(super) secret: Option<Secret>,
}

impl Webhooks {
    pub(in super::super) fn new(hub: Hub) -> Self {
        Self(Arc::new(Shared {
            hub,
            changing: tokio::sync::Mutex::default(),
            idle: Mutex::default(),
        }))
    }

    /// What calls them.
    pub(in super::super) fn hub(&self) -> &Hub {
        &self.0.hub
    }

    pub(super) fn app(&self) -> &App {
        self.0.hub.app()
    }

    /// Begins to call those that are kept. One that cannot be called is told about, and keeps
    /// neither the others nor the server from starting.
    pub(in super::super) async fn begin(&self) {
        let _turn = self.0.changing.lock().await;
        for (key, json) in self.app().documents(KIND) {
            let Some((log, name)) = key.split_once('/') else {
                continue;
            };
            let begun = async {
                let log = self.app().log(log)?;
                let webhook = Webhook::decode(&json)?;
                if webhook.standing != Standing::Running {
                    return Ok(());
                }
                let begun = self.start(&log, name, &webhook).await;
                if let Err(failure) = &begun {
                    let lane = lane_name(&log, name, &webhook);
                    let why = format!("it could not begin: {}", failure.message);
                    self.0.idle.lock().insert(lane, why);
                }
                begun
            };
            if let Err(failure) = begun.await {
                tracing::error!(log, webhook = name, %failure, "a webhook is not called");
            }
        }
    }

    /// Begins to call a webhook, in place of an earlier definition of it.
    async fn start(&self, log: &Log, name: &str, webhook: &Webhook) -> Result<(), Failure> {
        let lane = lane_name(log, name, webhook);
        let definition = &webhook.definition;
        self.0
            .hub
            .start(Lane {
                name: lane.clone(),
                log: log.clone(),
                filter: definition.filter.clone(),
                start: definition.start,
                batch_size: definition.batch_size,
                backoff: Backoff {
                    attempts_max: Some(definition.attempts_max),
                    ..BACKOFF
                },
                target: Arc::new(self.target(log, name, webhook)),
            })
            .await?;
        self.0.idle.lock().remove(&lane);
        Ok(())
    }

    fn target(&self, log: &Log, name: &str, webhook: &Webhook) -> WebhookTarget {
        WebhookTarget {
            endpoint: Arc::clone(&webhook.definition.endpoint),
            secret: webhook.secret.clone(),
            batched: webhook.definition.batch_size > 1,
            timeout: webhook.definition.timeout,
            keeper: self.clone(),
            log: log.name().clone(),
            name: name.to_owned(),
            id: webhook.id.clone(),
        }
    }

    fn find(&self, log: &LogName, name: &str) -> Result<Option<Webhook>, Failure> {
        let found = self.app().document(KIND, &key(log, name));
        found.map(|json| Webhook::decode(&json)).transpose()
    }

    pub(super) fn get(&self, log: &Log, name: &str) -> Result<Webhook, Failure> {
        self.find(log.name(), name)?.ok_or_else(|| {
            Failure::new(
                Code::NoSuchWebhook,
                format!("the log {} has no webhook {name:?}", log.name()),
            )
        })
    }

    async fn put(&self, log: &LogName, name: &str, webhook: &Webhook) -> Result<(), Failure> {
        let (key, json) = (key(log, name), webhook.encode());
        self.app().put_document(KIND, &key, &json).await.map(drop)
    }

    /// Runs a change to its end, one at a time.
    async fn change<T: Send + 'static, F>(
        &self,
        change: impl FnOnce(Self) -> F + Send + 'static,
    ) -> Result<T, Failure>
    where
        F: Future<Output = Result<T, Failure>> + Send,
    {
        let webhooks = self.clone();
        let changed = to_the_end(async move {
            let shared = Arc::clone(&webhooks.0);
            let _turn = shared.changing.lock().await;
            if webhooks.app().is_stopping() {
                return Err(Failure::stopping());
            }
            change(webhooks).await
        });
        changed.await.unwrap_or_else(|Panicked| {
            Err(Failure::new(
                Code::Internal,
                "the server made a mistake; what became of the webhook is unknown",
            ))
        })
    }

    /// Defines a webhook, or changes the definition of the one there is, which keeps its place.
    pub(super) async fn define(
        &self,
        log: Log,
        name: String,
        asked: Asked,
    ) -> Result<Defined, Failure> {
        asked.definition.filter.check()?;
        let endpoint = &asked.definition.endpoint;
        self.hub().guard().judge_url(endpoint).map_err(|refused| {
            Failure::new(
                Code::EndpointRefused,
                format!(
                    "the url leads to {}, which is neither a public address nor one that [webhooks] allow names in the server's settings; nothing was changed",
                    refused.address
                ),
            )
        })?;
        self.change(|webhooks| async move {
            match webhooks.find(log.name(), &name)? {
                None => webhooks.create(&log, &name, asked).await,
                Some(there) if there.is_defined_as(&asked) => Ok(Defined {
                    created: false,
                    secret: None,
                }),
                Some(there) => {
                    let webhook = Webhook {
                        id: there.id,
                        definition: asked.definition,
                        secret: asked.secret.unwrap_or(there.secret),
                        standing: match there.standing {
                            Standing::Paused => Standing::Paused,
                            // What was said of the old endpoint need not hold for the new one.
                            Standing::Running | Standing::Gone => Standing::Running,
                        },
                    };
                    webhooks.put(log.name(), &name, &webhook).await?;
                    if webhook.standing == Standing::Running {
                        webhooks.start(&log, &name, &webhook).await?;
                    }
                    Ok(Defined {
                        created: false,
                        secret: None,
                    })
                }
            }
        })
        .await
    }

    async fn create(&self, log: &Log, name: &str, asked: Asked) -> Result<Defined, Failure> {
        let made = asked.secret.is_none().then(Secret::generate);
        let webhook = Webhook {
            id: format!("{:016x}", self.app().random().next_u64()),
            secret: asked
                .secret
                .or(made.clone())
                .unwrap_or_else(Secret::generate),
            definition: asked.definition,
            standing: Standing::Running,
        };
        let lane = lane_name(log, name, &webhook);
        let begin = log.position_before(webhook.definition.start);
        log.begin_progress(&lane, begin).await?;
        if let Err(failure) = self.put(log.name(), name, &webhook).await {
            // A place that stays behind is a few bytes that nobody uses.
            if let Err(failure) = log.remove_progress(&lane).await {
                tracing::debug!(lane, %failure, "a place is left behind");
            }
            return Err(failure);
        }
        self.start(log, name, &webhook).await?;
        Ok(Defined {
            created: true,
            secret: made,
        })
    }

    /// Stops calling a webhook, which keeps its place.
    pub(super) async fn pause(&self, log: Log, name: String) -> Result<(), Failure> {
        self.change(|webhooks| async move {
            let mut webhook = webhooks.get(&log, &name)?;
            if webhook.standing != Standing::Paused {
                webhook.standing = Standing::Paused;
                webhooks.put(log.name(), &name, &webhook).await?;
            }
            webhooks.0.hub.stop(&lane_name(&log, &name, &webhook)).await;
            Ok(())
        })
        .await
    }

    /// Calls a webhook again, whatever kept it from being called. What waits for the next attempt is
    /// sent at once.
    pub(super) async fn resume(&self, log: Log, name: String) -> Result<(), Failure> {
        self.change(|webhooks| async move {
            let mut webhook = webhooks.get(&log, &name)?;
            if webhook.standing != Standing::Running {
                webhook.standing = Standing::Running;
                webhooks.put(log.name(), &name, &webhook).await?;
            }
            webhooks.start(&log, &name, &webhook).await
        })
        .await
    }

    /// Moves a webhook's place anywhere, and gives it.
    pub(super) async fn seek(&self, log: Log, name: String, seek: Seek) -> Result<u64, Failure> {
        self.change(move |webhooks| async move {
            let webhook = webhooks.get(&log, &name)?;
            let lane = lane_name(&log, &name, &webhook);
            webhooks.0.hub.stop(&lane).await;
            let moved = log.seek_progress(&lane, log.position_of(seek)).await;
            if webhook.standing == Standing::Running {
                webhooks.start(&log, &name, &webhook).await?;
            }
            moved
        })
        .await
    }

    /// Removes a webhook and its place.
    pub(super) async fn remove(&self, log: Log, name: String) -> Result<(), Failure> {
        self.change(|webhooks| async move {
            let webhook = webhooks.get(&log, &name)?;
            let key = key(log.name(), &name);
            webhooks.app().remove_document(KIND, &key).await?;
            let lane = lane_name(&log, &name, &webhook);
            webhooks.0.idle.lock().remove(&lane);
            if let Err(failure) = webhooks.0.hub.remove(&log, &lane).await {
                tracing::warn!(lane, %failure, "a place is left behind");
            }
            Ok(())
        })
        .await
    }

    /// Remembers that the endpoint of a webhook wants no more calls, unless it is another by now.
    pub(super) async fn gone(&self, log: &LogName, name: &str, id: &str) {
        let _turn = self.0.changing.lock().await;
        let remembered = async {
            match self.find(log, name)? {
                Some(mut webhook) if webhook.id == id && webhook.standing == Standing::Running => {
                    webhook.standing = Standing::Gone;
                    self.put(log, name, &webhook).await
                }
                Some(_) | None => Ok(()),
            }
        };
        if let Err(failure) = remembered.await {
            // It is asked, and says so, once more after the next start.
            tracing::warn!(log = log.as_str(), webhook = name, %failure, "not remembered as gone");
        }
    }

    /// Sends the event of a dead letter once, now. The letter is done with if that is a success.
    pub(super) async fn replay(
        &self,
        log: Log,
        name: String,
        letter: EventId,
    ) -> Result<Attempt, Failure> {
        let webhooks = self.clone();
        let replayed = to_the_end(async move {
            let hub = webhooks.hub();
            let webhook = webhooks.get(&log, &name)?;
            let lane = lane_name(&log, &name, &webhook);
            let given_up = hub.dead_letters().letter(&lane, letter).await?.given_up;
            let id = EventId::new(given_up.event_id).unwrap_or(EventId::FIRST);
            let target = webhooks.target(&log, &name, &webhook);
            let attempt = hub.send(&lane, &log, id, &target).await?;
            if attempt.verdict == Verdict::Delivered {
                let closed = hub.dead_letters().close(&lane, letter, Closing::Delivered);
                match closed.await {
                    // Somebody else was as fast.
                    Err(failure) if failure.code == Code::NoSuchDeadLetter => {}
                    closed => closed?,
                }
            }
            Ok(attempt)
        });
        replayed.await.unwrap_or_else(|Panicked| {
            Err(Failure::new(
                Code::Internal,
                "the server made a mistake; whether the event was sent is unknown",
            ))
        })
    }
}

pub(super) fn key(log: &LogName, name: &str) -> String {
    format!("{log}/{name}")
}

/// The name of a webhook's lane: of this one, and not of another that had its name before.
pub(super) fn lane_name(log: &Log, name: &str, webhook: &Webhook) -> String {
    format!("webhook/{}/{name}/{}", log.name(), webhook.id)
}
