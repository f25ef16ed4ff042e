//! What became of each execution: entries in the history of deliveries.
//!
//! An outcome is durable once it is recorded, and an execution with a recorded outcome never runs
//! again. The id of the entry is what eventhos calls the detail of an execution. History expires by
//! its size, so details of old executions go; occurrences do not go with them.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::app::{Code, Failure};
use crate::store::EventId;
use crate::webhook::History;
use crate::webhook::history::{Entry, Selector};

/// The stream of the entries.
const STREAM: &str = "eventhos/executions";
/// An execution and its outcome.
const EXECUTED: &str = "eventhos-executed";
/// A failed execution is not to be repeated.
const ABORTED: &str = "eventhos-aborted";
/// How many entries are read at a time.
const PAGE: u64 = 1_000;
/// The most executions of one occurrence that are looked at: as many as contracts that an event may
/// sensibly have.
const OF_OCCURRENCE_MAX: usize = 10_000;

/// What became of an execution.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum ExecutionState {
    /// The action answered with 2xx.
    Processed,
    /// Anything else.
    Error,
}

/// An execution, as it is recorded.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Execution {
    pub(super) received_event_id: u64,
    pub(super) event_identifier: String,
    pub(super) contract_id: u64,
    pub(super) contract_identifier: String,
    pub(super) contract_name: String,
    pub(super) action_id: u64,
    pub(super) action_identifier: String,
    pub(super) action_name: String,
    pub(super) action_operation: String,
    pub(super) action_description: String,
    pub(super) state: ExecutionState,
    /// The occurrence whose action answered with the one that this is an execution for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) reply_from: Option<u64>,
    /// `{headers, body, url, params, method}`.
    pub(super) request: Box<RawValue>,
    /// `{headers, body, status, statusText, endTime, startTime}`.
    pub(super) response: Box<RawValue>,
}

/// What stands for a request, or an answer, that is too long for the history.
const SHORTENED: &str = r#"{"statusText":"too long to be recorded"}"#;

impl Execution {
    /// Leaves out what may be long.
    pub(super) fn shorten(&mut self) {
        for long in [&mut self.request, &mut self.response] {
            *long = RawValue::from_string(SHORTENED.to_owned()).expect("it is JSON");
        }
    }

    /// Whether that was done.
    pub(super) fn is_shortened(&self) -> bool {
        self.request.get() == SHORTENED && self.response.get() == SHORTENED
    }
}

/// An execution with its id.
#[derive(Debug)]
pub(super) struct Detail {
    pub(super) id: u64,
    pub(super) recorded_at_us: u64,
    pub(super) execution: Execution,
}

impl Detail {
    fn of(entry: &Entry) -> Option<Self> {
        if entry.event_type != EXECUTED {
            return None;
        }
        Some(Self {
            id: entry.id.get(),
            recorded_at_us: entry.recorded_at_us,
            execution: serde_json::from_slice(&entry.json).ok()?,
        })
    }
}

fn received_tag(id: u64) -> String {
    format!("eventhos-received/{id}")
}

fn state_tag(state: ExecutionState) -> &'static str {
    match state {
        ExecutionState::Processed => "eventhos-state/processed",
        ExecutionState::Error => "eventhos-state/error",
    }
}

fn detail_tag(id: u64) -> String {
    format!("eventhos-detail/{id}")
}

/// Records an execution, durably; its id.
pub(super) async fn record(history: &History, execution: &Execution) -> Result<u64, Failure> {
    let json = serde_json::to_vec(execution).expect("texts and checked JSON can be written");
    let received = received_tag(execution.received_event_id);
    let tags = [received.as_str(), state_tag(execution.state)];
    let id = history
        .record_durably(STREAM, EXECUTED, &tags, &json)
        .await?;
    Ok(id.get())
}

/// The executions for an occurrence, in the order in which they ended.
pub(super) async fn of_occurrence(history: &History, id: u64) -> Result<Vec<Detail>, Failure> {
    let tag = received_tag(id);
    let mut details = Vec::new();
    let mut before = None;
    loop {
        let which = Selector {
            stream: Some(STREAM),
            types: &[EXECUTED],
            tags: &[&tag],
        };
        let page = history.list(which, before, PAGE).await?;
        details.extend(page.entries.iter().filter_map(Detail::of));
        before = page.next;
        if before.is_none() || details.len() >= OF_OCCURRENCE_MAX {
            break;
        }
    }
    details.reverse();
    Ok(details)
}

/// The newest occurrences of which an execution came to this state: at most `max`.
pub(super) async fn with_state(
    history: &History,
    state: ExecutionState,
    max: usize,
) -> Result<BTreeSet<u64>, Failure> {
    /// All that is wanted of an entry.
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct OfOccurrence {
        received_event_id: u64,
    }

    let tags = [state_tag(state)];
    let mut found = BTreeSet::new();
    let mut before = None;
    loop {
        let which = Selector {
            stream: Some(STREAM),
            types: &[EXECUTED],
            tags: &tags,
        };
        let page = history.list(which, before, PAGE).await?;
        for entry in &page.entries {
            if let Ok(of) = serde_json::from_slice::<OfOccurrence>(&entry.json)
                && found.len() < max
            {
                found.insert(of.received_event_id);
            }
        }
        before = page.next;
        if before.is_none() || found.len() >= max {
            return Ok(found);
        }
    }
}

/// The execution with this id, if it is there still.
pub(super) async fn detail(history: &History, id: u64) -> Result<Option<Detail>, Failure> {
    let Some(id) = EventId::new(id) else {
        return Ok(None);
    };
    match history.entry(id).await {
        Ok(entry) => Ok(Detail::of(&entry)),
        Err(failure) if matches!(failure.code, Code::NoSuchEvent | Code::Expired) => Ok(None),
        Err(failure) => Err(failure),
    }
}

/// Says that an execution is not to be repeated, durably.
pub(super) async fn abort(history: &History, detail: u64) -> Result<(), Failure> {
    let tag = detail_tag(detail);
    let json = format!("{{\"contractDetailId\":{detail}}}");
    let recorded = history
        .record_durably(STREAM, ABORTED, &[&tag], json.as_bytes())
        .await;
    recorded.map(drop)
}

/// Whether that was said.
pub(super) async fn is_aborted(history: &History, detail: u64) -> Result<bool, Failure> {
    let tag = detail_tag(detail);
    let which = Selector {
        stream: Some(STREAM),
        types: &[ABORTED],
        tags: &[&tag],
    };
    Ok(!history.list(which, None, 1).await?.entries.is_empty())
}
