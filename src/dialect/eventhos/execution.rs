//! One execution: a contract's action is called for an occurrence, once (spec section 4).
//!
//! In order: the call for a token if the action needs one, the call itself, the answer fed back as an
//! occurrence if the action replies to an event, the record. A server that dies in between begins
//! again, so a receiver may see a call twice, and an answer is fed back once all the same.

use std::borrow::Cow;
use std::time::Duration;

use serde_json::value::RawValue;
use tokio::sync::Semaphore;

use crate::app::limits::{HOPS_MAX, METADATA_LEN_MAX};
use crate::app::name::IdempotencyKey;
use crate::app::publish::{Fingerprint, KeyOrigin, Keyed, NewEvent, Publish};
use crate::app::{App, Data, Event, Failure, FailureKind, Log};
use crate::http::hops;
use crate::json::{Reader, write};
use crate::unwind::{Panicked, without_panic};
use crate::webhook::client::{Answer, Call, CallError};
use crate::webhook::{History, Hub, attempt};

use super::admin::iso_time;
use super::event::{self, Metadata, write_headers};
use super::history::{self, Execution, ExecutionState};
use super::recipe::{OauthResponse, Prepared, Recipe};
use super::registry::{Bound, Directory};

/// How many executions are under way at a time, all occurrences together. The members of a group
/// run at the same time as far as this goes.
const EXECUTIONS_MAX: u32 = 256;
/// So many bytes of an occurrence take a place of [`EXECUTIONS_MAX`] more, in bytes: each execution
/// has a body of its own in memory.
const BYTES_PER_PLACE: usize = 256 << 10;
/// How much of a body that was sent is recorded, in bytes. Answers are no longer than that anyway.
const SENT_LEN_MAX: usize = 64 << 10;
/// The pause before an outcome that could not be recorded is recorded again.
const RECORD_PAUSE: Duration = Duration::from_secs(2);

/// What an execution needs of its surroundings.
#[derive(Debug)]
pub(super) struct Surroundings {
    pub(super) app: App,
    pub(super) log: Log,
    hub: Hub,
    pub(super) directory: Directory,
    timeout: Duration,
    places: Semaphore,
}

/// What came of the calls.
struct Outcome {
    state: ExecutionState,
    request: Vec<u8>,
    response: Vec<u8>,
    /// The answer, if the action succeeded.
    answer: Option<Answer>,
}

impl Surroundings {
    /// Surroundings in which a call may take `timeout`.
    pub(super) fn new(log: Log, hub: Hub, directory: Directory, timeout: Duration) -> Self {
        Self {
            app: log.app().clone(),
            log,
            hub,
            directory,
            timeout,
            places: Semaphore::new(EXECUTIONS_MAX as usize),
        }
    }

    /// What became of executions.
    pub(super) fn history(&self) -> &History {
        self.hub.history()
    }

    fn now(&self) -> String {
        iso_time(self.app.clock().now_us())
    }

    /// Executes one contract for an occurrence, and records what came of it. True once that is
    /// durable; false if the server is stopping and it is not.
    pub(super) async fn execute(&self, bound: &Bound, event: &Event<'_>) -> bool {
        let places = u32::try_from(event.data.bytes().len() / BYTES_PER_PLACE).unwrap_or(u32::MAX);
        let places = places.saturating_add(1).min(EXECUTIONS_MAX);
        let place = self.places.acquire_many(places).await;
        if place.is_err() || self.app.is_stopping() {
            return false;
        }
        let metadata = Metadata::of(event);
        let called = without_panic(self.call(bound, event, &metadata)).await;
        let outcome = called
            .unwrap_or_else(|Panicked| self.not_called(&self.now(), "the server made a mistake"));
        if let Some(answer) = &outcome.answer
            && let Some(reply_to) = &bound.action.definition.reply_to
        {
            self.feed_back(bound, event, reply_to, answer).await;
        }
        let raw = |json: Vec<u8>| {
            let text = String::from_utf8(json).expect("it is made of texts");
            RawValue::from_string(text).expect("it is made of JSON")
        };
        let action = &bound.action;
        let execution = Execution {
            received_event_id: event.id.get(),
            event_identifier: event.event_type.to_owned(),
            contract_id: bound.contract.id,
            contract_identifier: bound.contract.identifier.clone(),
            contract_name: bound.contract.definition.name.clone(),
            action_id: action.id,
            action_identifier: action.identifier.clone(),
            action_name: action.definition.name.clone(),
            action_operation: action.definition.operation.clone(),
            action_description: action.definition.description.clone(),
            state: outcome.state,
            reply_from: metadata.reply_from,
            request: raw(outcome.request),
            response: raw(outcome.response),
        };
        self.record(execution).await
    }

    /// Records an outcome, however long it takes: without a record the action would be called again.
    async fn record(&self, mut execution: Execution) -> bool {
        while let Err(failure) = history::record(self.history(), &execution).await {
            if failure.kind() == FailureKind::TooLarge && !execution.is_shortened() {
                execution.shorten();
                continue;
            }
            tracing::error!(
                %failure,
                received = execution.received_event_id,
                contract = execution.contract_id,
                "the outcome of an eventhos contract could not be recorded"
            );
            let clock = self.app.clock();
            tokio::select! {
                () = clock.sleep_until(clock.moment().after(RECORD_PAUSE)) => {}
                () = self.app.stopped() => return false,
            }
        }
        true
    }

    async fn call(&self, bound: &Bound, event: &Event<'_>, metadata: &Metadata<'_>) -> Outcome {
        let start = self.now();
        // Somebody who repeats an execution by hand has looked at it.
        if event.hops >= HOPS_MAX && metadata.retry_of.is_none() {
            return self.not_called(&start, &attempt::looped());
        }
        let hops = next_hops(event);
        let recipe = match Recipe::of(&bound.action.definition) {
            Ok(recipe) => recipe,
            Err(what) => return self.not_called(&start, &what),
        };
        let oauth = match recipe.oauth(&start) {
            None => None,
            Some(prepared) => {
                let outcome = self.send(&prepared, hops).await;
                // The request has the secret in it, so it is not recorded; whoever reads the record
                // sees by its URL that it was the one for the token.
                let request = shown_request(&prepared, b"null");
                match outcome {
                    Ok(answer) if answer.status.is_success() => Some(oauth_response(&answer)),
                    other => {
                        return Outcome {
                            state: ExecutionState::Error,
                            request,
                            response: self.shown_response(&other, &start),
                            answer: None,
                        };
                    }
                }
            }
        };
        let start = self.now();
        let prepared = match recipe.prepare(metadata, &event.data, oauth.as_ref(), &start) {
            Ok(prepared) => prepared,
            Err(what) => return self.not_called(&start, &what),
        };
        let result = self.send(&prepared, hops).await;
        let body = shown_body(&prepared.body, false);
        let request = shown_request(&prepared, &body);
        let response = self.shown_response(&result, &start);
        match result {
            Ok(answer) if answer.status.is_success() => Outcome {
                state: ExecutionState::Processed,
                request,
                response,
                answer: Some(answer),
            },
            Ok(_) | Err(_) => Outcome {
                state: ExecutionState::Error,
                request,
                response,
                answer: None,
            },
        }
    }

    async fn send(&self, prepared: &Prepared, hops: u8) -> Result<Answer, CallError> {
        let mut headers = prepared.headers.clone();
        hops::set(&mut headers, hops);
        let call = Call {
            endpoint: &prepared.endpoint,
            method: prepared.method.clone(),
            headers,
            body: prepared.body.clone(),
            timeout: self.timeout,
        };
        self.hub.client().call(call).await
    }

    /// The outcome when there was nothing to send.
    fn not_called(&self, start: &str, what: &str) -> Outcome {
        let mut response = b"{\"headers\":{},\"body\":{},\"status\":null,\"statusText\":".to_vec();
        write::string(&mut response, what);
        self.push_times(&mut response, start);
        Outcome {
            state: ExecutionState::Error,
            request: b"{\"headers\":{},\"body\":null,\"url\":null,\"params\":{},\"method\":null}"
                .to_vec(),
            response,
            answer: None,
        }
    }

    fn push_times(&self, out: &mut Vec<u8>, start: &str) {
        out.extend_from_slice(b",\"endTime\":");
        write::string(out, &self.now());
        out.extend_from_slice(b",\"startTime\":");
        write::string(out, start);
        out.push(b'}');
    }

    fn shown_response(&self, result: &Result<Answer, CallError>, start: &str) -> Vec<u8> {
        let mut out = b"{\"headers\":".to_vec();
        match result {
            Ok(answer) => {
                write_headers(&mut out, &answer.headers);
                out.extend_from_slice(b",\"body\":");
                out.extend_from_slice(&shown_body(&answer.body, answer.truncated));
                if answer.truncated {
                    out.extend_from_slice(b",\"bodyTruncated\":true");
                }
                out.extend_from_slice(b",\"status\":");
                out.extend_from_slice(answer.status.as_str().as_bytes());
                out.extend_from_slice(b",\"statusText\":");
                write::string(&mut out, answer.status.canonical_reason().unwrap_or(""));
            }
            Err(error) => {
                out.extend_from_slice(b"{},\"body\":{},\"status\":null,\"statusText\":");
                write::string(&mut out, &error.to_string());
            }
        }
        self.push_times(&mut out, start);
        out
    }

    /// Publishes an answer as an occurrence. Whatever is in its way is told, and no error of the
    /// action, which has done its work.
    async fn feed_back(&self, bound: &Bound, event: &Event<'_>, reply_to: &str, answer: &Answer) {
        let told = |what: &str| {
            tracing::warn!(
                received = event.id.get(),
                contract = bound.contract.id,
                reply_to,
                what,
                "the answer of an eventhos action was not fed back"
            );
        };
        if self
            .directory
            .read(|registry| registry.events.named(reply_to).is_none())
        {
            return told("the event does not exist");
        }
        if answer.truncated {
            return told("it is longer than answers are read");
        }
        let Some(json) = json_of(&answer.body) else {
            return told("it is no text");
        };
        loop {
            let Err(failure) = self.publish_answer(bound, event, reply_to, &json).await else {
                return;
            };
            told(&failure.to_string());
            match failure.kind() {
                FailureKind::Busy | FailureKind::Full => {}
                _ => return,
            }
            let clock = self.app.clock();
            tokio::select! {
                () = clock.sleep_until(clock.moment().after(RECORD_PAUSE)) => {}
                () = self.app.stopped() => return,
            }
        }
    }

    async fn publish_answer(
        &self,
        bound: &Bound,
        event: &Event<'_>,
        reply_to: &str,
        json: &str,
    ) -> Result<(), Failure> {
        let answered = Metadata {
            url: Cow::Owned(format!("/event/send?event-identifier={reply_to}")),
            reply_from: Some(event.id.get()),
            ..Metadata::empty()
        };
        let answered = answered.to_json();
        debug_assert!(answered.len() <= METADATA_LEN_MAX);
        // Of an execution that runs again, the first answer stays.
        let key = format!("eventhos-reply/{}/{}", event.id, bound.contract.id);
        let occurrence = NewEvent {
            key: Some(Keyed {
                key: IdempotencyKey::new(key)?,
                fingerprint: Fingerprint::of(&[b"eventhos-reply"]),
                origin: KeyOrigin::Derived,
            }),
            hops: next_hops(event),
            ..event::occurrence(reply_to, Data::Json(json.as_bytes()), &answered)?
        };
        let publish = Publish {
            events: vec![occurrence],
            ..Publish::default()
        };
        self.log.publish(publish).await.map(drop)
    }
}

/// How far the call for an occurrence, and what is answered to it, has come.
fn next_hops(event: &Event<'_>) -> u8 {
    event.hops.saturating_add(1).min(HOPS_MAX)
}

/// A body as JSON: itself if it is JSON, else its text; none if it is neither.
fn json_of(body: &[u8]) -> Option<String> {
    let text = std::str::from_utf8(body).ok()?;
    let mut reader = Reader::new(text, 0);
    if let Ok(value) = reader.value()
        && reader.finish().is_ok()
    {
        return Some(value.to_owned());
    }
    let mut out = Vec::new();
    write::string(&mut out, text);
    String::from_utf8(out).ok()
}

/// A body as it is recorded: JSON, or a text; cut off if it is long.
fn shown_body(body: &[u8], truncated: bool) -> Vec<u8> {
    if body.is_empty() {
        return b"null".to_vec();
    }
    if !truncated
        && body.len() <= SENT_LEN_MAX
        && let Some(json) = json_of(body)
    {
        return json.into_bytes();
    }
    let start = body.get(..SENT_LEN_MAX).unwrap_or(body);
    let mut out = Vec::new();
    write::string(&mut out, &String::from_utf8_lossy(start));
    out
}

/// A request as it is recorded; `body` is JSON.
fn shown_request(prepared: &Prepared, body: &[u8]) -> Vec<u8> {
    let mut headers = crate::http::HeaderMap::new();
    for (name, value) in &prepared.headers {
        headers.append(name.clone(), value.clone());
    }
    let mut out = b"{\"headers\":".to_vec();
    write_headers(&mut out, &headers);
    out.extend_from_slice(b",\"body\":");
    out.extend_from_slice(body);
    out.extend_from_slice(b",\"url\":");
    write::string(&mut out, &prepared.url);
    out.extend_from_slice(b",\"params\":{");
    for (index, (name, value)) in prepared.params.iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        write::string(&mut out, name);
        out.push(b':');
        write::string(&mut out, value);
    }
    out.extend_from_slice(b"},\"method\":");
    write::string(&mut out, &prepared.method.as_str().to_ascii_lowercase());
    out.push(b'}');
    out
}

/// An answer with a token, as templates see it.
fn oauth_response(answer: &Answer) -> OauthResponse {
    let mut headers = Vec::new();
    write_headers(&mut headers, &answer.headers);
    OauthResponse {
        headers: String::from_utf8_lossy(&headers).into_owned(),
        body: json_of(&answer.body).unwrap_or_else(|| "null".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bodies_are_shown_as_what_they_are() {
        for (body, shown) in [
            (&b""[..], "null"),
            (b"{\"a\":1e-7}", "{\"a\":1e-7}"),
            (b"plain \"text\"", r#""plain \"text\"""#),
            (b"\xff", "\"\u{fffd}\""),
        ] {
            assert_eq!(shown_body(body, false), shown.as_bytes());
        }
        assert_eq!(shown_body(b"[1]", true), b"\"[1]\"");
        let long = vec![b'7'; SENT_LEN_MAX + 1];
        assert_eq!(shown_body(&long, false).len(), SENT_LEN_MAX + 2);
    }
}
