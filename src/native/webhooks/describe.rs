//! What webhooks look like from outside: their state, their place, what became of their calls.

use std::sync::Arc;

use crate::app::consumers::Lag;
use crate::app::{Code, Failure, Log};
use crate::store::EventId;
use crate::webhook::attempt::LaneEntry;
use crate::webhook::endpoint::Endpoint;
use crate::webhook::history::Selector;
use crate::webhook::{LaneState, LaneStatus, Outcome};

use super::definition::{Standing, Webhook};
use super::keeper::{KIND, Webhooks, key, lane_name};

/// A webhook as it is now.
#[derive(Debug)]
pub(super) struct Described {
    pub(super) webhook: Webhook,
    pub(super) state: &'static str,
    pub(super) checkpoint: u64,
    pub(super) lag: Lag,
    pub(super) attempts: u32,
    pub(super) next_attempt_us: Option<u64>,
    pub(super) last_error: Option<String>,
    pub(super) last_error_us: Option<u64>,
    pub(super) last_success_us: Option<u64>,
    pub(super) dead_letters: usize,
}

/// A webhook in a list.
#[derive(Debug)]
pub(super) struct Listed {
    pub(super) name: String,
    pub(super) endpoint: Arc<Endpoint>,
    pub(super) state: &'static str,
}

/// A page of webhooks.
#[derive(Debug)]
pub(super) struct WebhookPage {
    pub(super) webhooks: Vec<Listed>,
    /// After which name the next page goes on; none if this is the last.
    pub(super) next: Option<String>,
}

/// An attempt that was made.
#[derive(Debug)]
pub(super) struct Made {
    pub(super) id: EventId,
    at_us: u64,
    pub(super) entry: LaneEntry,
}

/// A page of attempts.
#[derive(Debug)]
pub(super) struct AttemptPage {
    /// Newest first.
    pub(super) attempts: Vec<Made>,
    /// Before which entry the next page goes on; none if this is the last.
    pub(super) next: Option<EventId>,
}

impl Webhooks {
    /// The webhooks of a log whose names come after `after`, at most `limit`.
    pub(super) fn list(
        &self,
        log: &Log,
        after: Option<&str>,
        limit: usize,
    ) -> Result<WebhookPage, Failure> {
        let prefix = key(log.name(), "");
        let documents = self.app().documents(KIND);
        let mut rest = documents.iter().filter_map(|(key, json)| {
            let name = key.strip_prefix(&prefix)?;
            after
                .is_none_or(|after| name > after)
                .then_some((name, json))
        });
        let mut listed = Vec::new();
        for (name, json) in rest.by_ref().take(limit) {
            let webhook = Webhook::decode(json)?;
            let status = self.0.hub.status(&lane_name(log, name, &webhook));
            let state = self.state(log, name, &webhook, status.as_ref());
            listed.push(Listed {
                name: name.to_owned(),
                endpoint: webhook.definition.endpoint,
                state,
            });
        }
        let more = rest.next().is_some();
        let last = listed.last().filter(|_| more);
        Ok(WebhookPage {
            next: last.map(|last| last.name.clone()),
            webhooks: listed,
        })
    }

    fn state(
        &self,
        log: &Log,
        name: &str,
        webhook: &Webhook,
        status: Option<&LaneStatus>,
    ) -> &'static str {
        match (webhook.standing, status) {
            (Standing::Paused, _) => "paused",
            (Standing::Gone, _) => "gone",
            (Standing::Running, Some(status)) => match status.state {
                LaneState::Running => "running",
                LaneState::Retrying => "retrying",
                LaneState::Failing => "failing",
                LaneState::Gone => "gone",
            },
            (Standing::Running, None) => {
                let lane = lane_name(log, name, webhook);
                if self.0.idle.lock().contains_key(&lane) {
                    "failing"
                } else {
                    "running"
                }
            }
        }
    }

    /// A webhook as it is now.
    pub(super) async fn describe(&self, log: &Log, name: &str) -> Result<Described, Failure> {
        let webhook = self.get(log, name)?;
        let lane = lane_name(log, name, &webhook);
        let status = self.0.hub.status(&lane);
        let state = self.state(log, name, &webhook, status.as_ref());
        let checkpoint = log.progress(&lane).await?.unwrap_or_default();
        let not_begun = self.0.idle.lock().get(&lane).cloned();
        let mut described = Described {
            state,
            checkpoint,
            lag: log.lag(&webhook.definition.filter, checkpoint).await?,
            attempts: 0,
            next_attempt_us: None,
            last_error: not_begun,
            last_error_us: None,
            last_success_us: None,
            dead_letters: self.0.hub.dead_letters().count(&lane).await?,
            webhook,
        };
        if let Some(status) = status {
            described.attempts = status.attempts;
            described.next_attempt_us = status.next_attempt_us;
            described.last_error = status.last_error;
            described.last_error_us = status.last_error_us;
            described.last_success_us = status.last_success_us;
        }
        // What happened before this lane began is in the history, if anywhere.
        if described.last_success_us.is_none() {
            let delivered = [Outcome::Delivered.as_str()];
            let made = self.last(&lane, &delivered).await?;
            described.last_success_us = made.map(|made| made.at_us);
        }
        if described.last_error.is_none() {
            let failed = [
                Outcome::Failed,
                Outcome::Rejected,
                Outcome::Dead,
                Outcome::Gone,
            ];
            let failed = failed.map(Outcome::as_str);
            if let Some(made) = self.last(&lane, &failed).await? {
                described.last_error = made.entry.error;
                described.last_error_us = Some(made.at_us);
            }
        }
        Ok(described)
    }

    async fn last(&self, lane: &str, types: &[&str]) -> Result<Option<Made>, Failure> {
        let mut page = self.attempts(lane, types, None, 1).await?;
        Ok(page.attempts.pop())
    }

    /// The lane of a webhook that there is.
    pub(super) fn lane(&self, log: &Log, name: &str) -> Result<String, Failure> {
        Ok(lane_name(log, name, &self.get(log, name)?))
    }

    /// What became of attempts before `before` (the newest if absent), at most `limit` of them.
    pub(super) async fn attempts(
        &self,
        lane: &str,
        types: &[&str],
        before: Option<EventId>,
        limit: u64,
    ) -> Result<AttemptPage, Failure> {
        let which = Selector {
            stream: Some(lane),
            types,
            tags: &[],
        };
        let page = self.0.hub.history().list(which, before, limit).await?;
        let mut entries = Vec::with_capacity(page.entries.len());
        for entry in page.entries {
            let read = serde_json::from_slice(&entry.json).map_err(|error| {
                let message = format!("entry {} of the history cannot be read", entry.id);
                Failure::new(Code::Unreadable, message).caused_by(&error)
            })?;
            entries.push(Made {
                id: entry.id,
                at_us: entry.recorded_at_us,
                entry: read,
            });
        }
        Ok(AttemptPage {
            attempts: entries,
            next: page.next,
        })
    }
}
