//! What was received, and what became of it (spec section 6).
//!
//! An occurrence is any event of the log whose type is the identifier of an event that was ever
//! registered. Totals are counted up to a limit; beyond it they are "at least so many".

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::sync::Arc;

use serde::Serialize;
use serde_json::value::RawValue;

use crate::app::limits::{PAGE_LEN_MAX, QUERY_TERMS_MAX};
use crate::app::name::EventType;
use crate::app::range::Selection;
use crate::app::{Code, Event as Stored, Failure, Filter};
use crate::http::{Reply, StatusCode};
use crate::store::{Direction, EventId, Records};
use crate::time;

use super::admin::iso_time;
use super::admin::page::Page;
use super::call::Call;
use super::event::{Metadata, body_json};
use super::history::{self, ExecutionState};
use super::registry::{Entity, Event, System};
use super::replies::{self, Refusal};
use super::retry;

/// How many occurrences are counted, at most.
const COUNTED_MAX: usize = 10_000;
/// How many events are looked at for that, where the index cannot say which are occurrences: there
/// are more registered events than a query may name.
const LOOKED_AT_MAX: usize = 1_000_000;

/// An event that occurrences are of, with its system.
struct Known {
    event: Arc<Entity<Event>>,
    system: Option<Arc<Entity<System>>>,
}

/// Which occurrences are asked for.
struct Wanted {
    known: HashMap<String, Known>,
    since_us: Option<u64>,
    until_us: Option<u64>,
    id: Option<Option<u64>>,
    state: Option<ExecutionState>,
}

impl Wanted {
    fn of(call: &Call<'_>) -> Result<Self, Refusal> {
        let query = &call.query;
        let system = query.one("systemId");
        let identifier = query.one("eventIdentifierSearch");
        let known = call.door.directory.read(|registry| {
            let wanted = |event: &&Arc<Entity<Event>>| {
                system.is_none_or(|system| system == event.definition.system.to_string())
                    && identifier.is_none_or(|identifier| identifier == event.identifier)
            };
            let known = registry.events.iter_any().filter(wanted).map(|event| {
                let known = Known {
                    event: Arc::clone(event),
                    system: registry.systems.any(event.definition.system).cloned(),
                };
                (event.identifier.clone(), known)
            });
            known.collect()
        });
        let state = match query.one("state") {
            None => None,
            Some("processed") => Some(ExecutionState::Processed),
            Some("error") => Some(ExecutionState::Error),
            Some(_) => return Err(replies::invalid("state is neither processed nor error")),
        };
        Ok(Self {
            known,
            since_us: query
                .one("fromTime")
                .map(|text| read_time(text, false))
                .transpose()?,
            until_us: query
                .one("toTime")
                .map(|text| read_time(text, true))
                .transpose()?,
            id: query.one("idSearch").map(|text| text.parse().ok()),
            state,
        })
    }

    /// Whether an event is asked for, as far as it can be told by itself.
    fn takes(&self, event: &Stored<'_>) -> bool {
        self.known.contains_key(event.event_type)
            && self
                .since_us
                .is_none_or(|since| event.recorded_at_us >= since)
            && self
                .until_us
                .is_none_or(|until| event.recorded_at_us < until)
            && self.id.is_none_or(|id| id == Some(event.id.get()))
    }
}

/// A time of a query: RFC 3339, or a day, which for an end counts whole. Gives the first microsecond
/// that is too late, for an end.
fn read_time(text: &str, is_end: bool) -> Result<u64, Refusal> {
    const DAY_US: i64 = 86_400_000_000;
    let day = time::read(&format!("{text}T00:00:00Z"));
    let time_us = match (day, time::read(text)) {
        (Some(day_us), _) if is_end => day_us.saturating_add(DAY_US),
        (Some(day_us), _) => day_us,
        (None, Some(time_us)) if is_end => time_us.saturating_add(1),
        (None, Some(time_us)) => time_us,
        (None, None) => {
            return Err(replies::invalid(
                "fromTime and toTime are days, or times with an offset",
            ));
        }
    };
    Ok(u64::try_from(time_us).unwrap_or(0))
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Item {
    id: u64,
    system_id: Option<u64>,
    event_id: u64,
    system_name: Option<String>,
    system_identifier: Option<String>,
    event_name: String,
    event_identifier: String,
    event_description: String,
    received_at: String,
    /// One for each execution; one `null` if there was none.
    state: Vec<Option<ExecutionState>>,
}

/// Lists occurrences.
pub(super) async fn list(call: &Call<'_>) -> Result<Reply, Refusal> {
    call.allow("event", "select")?;
    let page = Page::of(&call.query);
    let wanted = Wanted::of(call)?;
    let (found, total) = if wanted.known.is_empty() {
        (Vec::new(), 0)
    } else if wanted.state.is_some() || wanted.id.is_some() {
        of_ids(call, &wanted, page).await?
    } else {
        of_log(call, &wanted, page).await?
    };
    let mut items = Vec::with_capacity(found.len());
    for occurrence in found {
        let executions = history::of_occurrence(call.door.hub.history(), occurrence.id).await?;
        let states = executions.iter().map(|detail| Some(detail.execution.state));
        let mut state: Vec<_> = states.collect();
        if state.is_empty() {
            state.push(None);
        }
        let Some(known) = wanted.known.get(&occurrence.identifier) else {
            continue;
        };
        let (event, system) = (&known.event, known.system.as_ref());
        items.push(Item {
            id: occurrence.id,
            system_id: system.map(|system| system.id),
            event_id: event.id,
            system_name: system.map(|system| system.definition.name.clone()),
            system_identifier: system.map(|system| system.identifier.clone()),
            event_name: event.definition.name.clone(),
            event_identifier: event.identifier.clone(),
            event_description: event.definition.description.clone(),
            received_at: iso_time(occurrence.recorded_at_us),
            state,
        });
    }
    let content = page.content(items, total);
    Ok(replies::success(
        StatusCode::OK,
        replies::READ,
        "success",
        Some(&content),
    ))
}

/// An occurrence in a list.
struct Found {
    id: u64,
    identifier: String,
    recorded_at_us: u64,
}

impl Found {
    fn of(event: &Stored<'_>) -> Self {
        Self {
            id: event.id.get(),
            identifier: event.event_type.to_owned(),
            recorded_at_us: event.recorded_at_us,
        }
    }
}

/// The page of a list, and how many there are in all, by going through the log.
async fn of_log(
    call: &Call<'_>,
    wanted: &Wanted,
    page: Page,
) -> Result<(Vec<Found>, usize), Failure> {
    let mut filter = Filter::default();
    if wanted.known.len() <= QUERY_TERMS_MAX {
        for identifier in wanted.known.keys() {
            filter.types.push(EventType::new(identifier.clone())?);
        }
    }
    let empty = wanted
        .since_us
        .zip(wanted.until_us)
        .is_some_and(|(since, until)| since >= until);
    if empty {
        return Ok((Vec::new(), 0));
    }
    let selection = Selection {
        filter,
        since_us: wanted.since_us,
        until_us: wanted.until_us,
        direction: if page.descending {
            Direction::Backward
        } else {
            Direction::Forward
        },
        ..Selection::default()
    };
    let (first, last) = (page.offset(), page.offset().saturating_add(page.items));
    // Far pages are given up to ten times what is counted.
    let counted_max = COUNTED_MAX.max(last.min(10 * COUNTED_MAX));
    let mut total = 0;
    let mut looked_at = 0;
    let mut found = Vec::new();
    let mut reading = call.door.log.read(selection).await?;
    'pages: while let Some(records) = reading.next_page(PAGE_LEN_MAX).await? {
        for record in records.iter() {
            looked_at += 1;
            if looked_at > LOOKED_AT_MAX {
                break 'pages;
            }
            let event = Stored::from_record(record.map_err(Failure::from)?)?;
            if !wanted.takes(&event) {
                continue;
            }
            if (first..last).contains(&total) {
                found.push(Found::of(&event));
            }
            total += 1;
            if total >= counted_max {
                break 'pages;
            }
        }
    }
    Ok((found, total))
}

/// The same where the ids are known by other ways.
async fn of_ids(
    call: &Call<'_>,
    wanted: &Wanted,
    page: Page,
) -> Result<(Vec<Found>, usize), Failure> {
    let history = call.door.hub.history();
    let ids: BTreeSet<u64> = match (wanted.state, wanted.id) {
        (_, Some(None)) => BTreeSet::new(),
        (None, id) => id.flatten().into_iter().collect(),
        (Some(state), Some(Some(id))) => {
            let executions = history::of_occurrence(history, id).await?;
            let mut states = executions.iter().map(|detail| detail.execution.state);
            states
                .any(|known| known == state)
                .then_some(id)
                .into_iter()
                .collect()
        }
        (Some(state), None) => history::with_state(history, state, COUNTED_MAX).await?,
    };
    let mut taken = VecDeque::new();
    for id in ids {
        let Some(records) = read(call, id).await? else {
            continue;
        };
        let Some(record) = records.get(0).map_err(Failure::from)? else {
            continue;
        };
        let event = Stored::from_record(record)?;
        if wanted.takes(&event) {
            if page.descending {
                taken.push_front(Found::of(&event));
            } else {
                taken.push_back(Found::of(&event));
            }
        }
    }
    let total = taken.len();
    let cut = taken.into_iter().skip(page.offset()).take(page.items);
    Ok((cut.collect(), total))
}

/// The event with this id, if there is one, and it is kept.
async fn read(call: &Call<'_>, id: u64) -> Result<Option<Records>, Failure> {
    let Some(id) = EventId::new(id) else {
        return Ok(None);
    };
    match call.door.log.event(id).await {
        Ok(records) => Ok(Some(records)),
        Err(failure) if matches!(failure.code, Code::NoSuchEvent | Code::Expired) => Ok(None),
        Err(failure) => Err(failure),
    }
}

#[derive(Serialize)]
struct ReceivedEvent<'a> {
    id: u64,
    received_at: String,
    received_request: ReceivedRequest<'a>,
    #[serde(rename = "eventId")]
    event_id: u64,
    #[serde(rename = "eventIdentifier")]
    event_identifier: &'a str,
    #[serde(rename = "eventName")]
    event_name: &'a str,
    #[serde(rename = "eventOperation")]
    event_operation: &'a str,
    #[serde(rename = "eventDescription")]
    event_description: &'a str,
}

#[derive(Serialize)]
struct ReceivedRequest<'a> {
    headers: &'a RawValue,
    query: &'a RawValue,
    body: &'a RawValue,
    method: &'a str,
    url: &'a str,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ExecutedContract {
    detail_id: u64,
    state: ExecutionState,
    attempts: u8,
    is_aborted: u8,
    contract_id: u64,
    contract_identifier: String,
    contract_name: String,
    action_id: u64,
    action_identifier: String,
    action_name: String,
    action_operation: String,
    action_description: String,
    #[serde(rename = "reply_from", skip_serializing_if = "Option::is_none")]
    reply_from: Option<u64>,
}

/// Shows an occurrence, and what was executed for it.
pub(super) async fn get(call: &Call<'_>) -> Result<Reply, Refusal> {
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct Content<'a> {
        received_event: ReceivedEvent<'a>,
        executed_event_contracts: Vec<ExecutedContract>,
    }

    const NAME: &str = "received event";
    call.allow("event", "select")?;
    let missing = || replies::not_found(NAME);
    let id = call.id(NAME)?;
    let records = read(call, id).await?.ok_or_else(missing)?;
    let record = records.get(0).map_err(Failure::from)?;
    let record = record.ok_or_else(missing)?;
    let stored = Stored::from_record(record).map_err(Failure::from)?;
    let event = call
        .door
        .directory
        .read(|registry| registry.events.any_named(stored.event_type).cloned());
    let event = event.ok_or_else(missing)?;
    let metadata = Metadata::of(&stored);
    let history = call.door.hub.history();
    let mut executed = Vec::new();
    for detail in history::of_occurrence(history, id).await? {
        let retried = retry::is_retried(&call.door.log, detail.id).await?;
        let aborted = history::is_aborted(history, detail.id).await?;
        let execution = detail.execution;
        executed.push(ExecutedContract {
            detail_id: detail.id,
            state: execution.state,
            attempts: u8::from(retried),
            is_aborted: u8::from(aborted),
            contract_id: execution.contract_id,
            contract_identifier: execution.contract_identifier,
            contract_name: execution.contract_name,
            action_id: execution.action_id,
            action_identifier: execution.action_identifier,
            action_name: execution.action_name,
            action_operation: execution.action_operation,
            action_description: execution.action_description,
            reply_from: execution.reply_from,
        });
    }
    let body: &RawValue = serde_json::from_str(body_json(&stored.data)).map_err(|error| {
        Failure::new(Code::Unreadable, "the body cannot be shown").caused_by(&error)
    })?;
    let content = Content {
        received_event: ReceivedEvent {
            id,
            received_at: iso_time(stored.recorded_at_us),
            received_request: ReceivedRequest {
                headers: metadata.headers,
                query: metadata.query,
                body,
                method: &metadata.method,
                url: &metadata.url,
            },
            event_id: event.id,
            event_identifier: &event.identifier,
            event_name: &event.definition.name,
            event_operation: &event.definition.operation,
            event_description: &event.definition.description,
        },
        executed_event_contracts: executed,
    };
    Ok(replies::success(
        StatusCode::OK,
        replies::READ,
        "success",
        Some(&content),
    ))
}

/// Shows an execution with what was sent and what came back.
pub(super) async fn get_execution(call: &Call<'_>) -> Result<Reply, Refusal> {
    #[derive(Serialize)]
    struct Content<'a> {
        id: u64,
        contract_id: u64,
        received_event_id: u64,
        state: ExecutionState,
        attempts: u8,
        is_aborted: u8,
        created_at: String,
        #[serde(skip_serializing_if = "Option::is_none")]
        reply_from: Option<u64>,
        identifier: &'a str,
        name: &'a str,
        action_id: u64,
        request: &'a RawValue,
        response: &'a RawValue,
    }

    const NAME: &str = "execution detail";
    call.allow("event", "select")?;
    let id = call.id(NAME)?;
    let history = call.door.hub.history();
    let detail = history::detail(history, id).await?;
    let detail = detail.ok_or_else(|| replies::not_found(NAME))?;
    let execution = &detail.execution;
    let content = Content {
        id,
        contract_id: execution.contract_id,
        received_event_id: execution.received_event_id,
        state: execution.state,
        attempts: u8::from(retry::is_retried(&call.door.log, id).await?),
        is_aborted: u8::from(history::is_aborted(history, id).await?),
        created_at: iso_time(detail.recorded_at_us),
        reply_from: execution.reply_from,
        identifier: &execution.contract_identifier,
        name: &execution.contract_name,
        action_id: execution.action_id,
        request: &execution.request,
        response: &execution.response,
    };
    Ok(replies::success(
        StatusCode::OK,
        replies::READ,
        "success",
        Some(&content),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_day_counts_whole() {
        const DAY_US: u64 = 86_400_000_000;
        assert_eq!(read_time("1970-01-02", false), Ok(DAY_US));
        assert_eq!(read_time("1970-01-02", true), Ok(2 * DAY_US));
        assert_eq!(read_time("1970-01-02T00:00:00Z", true), Ok(DAY_US + 1));
        assert_eq!(read_time("1970-01-02T01:00:00+01:00", false), Ok(DAY_US));
        assert_eq!(read_time("1969-01-01", false), Ok(0));
        for bad in ["", "today", "1970-13-01", "1970-01-01T00:00:00"] {
            assert!(read_time(bad, false).is_err(), "{bad}");
        }
    }
}
