//! `GET /openapi.json`: the API described for programs, made from the table of routes.
//!
//! A route without a description does not compile (the `match` in [`operation`] has an arm for
//! each endpoint), and nothing can be described that is not routed. What the schemas say is held
//! against real replies by the API's tests.

#![expect(
    clippy::needless_pass_by_value,
    reason = "schemas are made where they are passed, and `json!` borrows what it copies"
)]

use std::sync::OnceLock;

use bytes::Bytes;
use serde_json::{Map, Value, json};

use crate::app::limits::{LIST_DEFAULT, LIST_MAX, PAGE_EVENTS_DEFAULT, PAGE_EVENTS_MAX};
use crate::http::query::NUMBER_MAX;
use crate::http::{Reply, StatusCode};

use super::call::{Call, JSON};
use super::failure::Refusal;
use super::{Endpoint, ROUTES, events};

mod schemas;
mod webhooks;

/// The description.
pub(super) fn show(call: &Call<'_>) -> Result<Reply, Refusal> {
    call.no_query()?;
    static DOCUMENT: OnceLock<Bytes> = OnceLock::new();
    let document = DOCUMENT.get_or_init(|| document().to_string().into());
    Ok(Reply::new(StatusCode::OK)
        .typed(JSON)
        .full(document.clone()))
}

fn document() -> Value {
    let mut paths = Map::new();
    for (verb, template, endpoint) in ROUTES {
        let mut operation = operation(*endpoint);
        let mut parameters: Vec<Value> = path_parameters(template);
        if let Some(Value::Array(own)) = operation.get_mut("parameters").map(Value::take) {
            parameters.extend(own);
        }
        if let Some(operation) = operation.as_object_mut() {
            operation.insert("parameters".to_owned(), parameters.into());
            // Anything can be refused, and is told in the same way.
            if let Some(responses) = operation
                .get_mut("responses")
                .and_then(Value::as_object_mut)
            {
                let problem = json!({ "$ref": "#/components/responses/Problem" });
                responses.insert("4XX".to_owned(), problem.clone());
                responses.insert("5XX".to_owned(), problem);
            }
        }
        let path = paths
            .entry((*template).to_owned())
            .or_insert_with(|| Map::new().into());
        if let Some(path) = path.as_object_mut() {
            path.insert(verb.as_str().to_owned(), operation);
        }
    }
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Strandlog",
            "description": "A durable event log. A success reply means durable and readable.",
            "version": env!("CARGO_PKG_VERSION"),
            "license": { "name": "MIT OR Apache-2.0", "identifier": "MIT OR Apache-2.0" },
        },
        "servers": [{ "url": "/" }],
        "paths": paths,
        "components": {
            "schemas": schemas::all(),
            "responses": {
                "Problem": {
                    "description": "What was wrong, where, and whether anything happened.",
                    "headers": {
                        "Retry-After": {
                            "description": "After how many seconds the same request may pass.",
                            "schema": { "type": "integer" },
                        },
                    },
                    "content": { "application/problem+json": { "schema": schema("Problem") } },
                },
            },
        },
    })
}

fn schema(name: &str) -> Value {
    json!({ "$ref": format!("#/components/schemas/{name}") })
}

fn path_parameters(template: &str) -> Vec<Value> {
    template
        .split('/')
        .filter_map(|segment| segment.strip_prefix('{')?.strip_suffix('}'))
        .map(|name| {
            let (schema, description) = match name {
                "log" => (schema("LogName"), "The log."),
                "id" if template.contains("/dead-letters/") => {
                    (schema("Id"), "The id of the dead letter.")
                }
                "id" => (schema("Id"), "The id of the event."),
                "stream" => (schema("Name"), "The stream, percent-encoded."),
                _ if template.contains("/webhooks/") => {
                    (schema("Name"), "The name of the webhook, percent-encoded.")
                }
                _ => (schema("Name"), "The name of the consumer, percent-encoded."),
            };
            json!({ "name": name, "in": "path", "required": true,
                    "description": description, "schema": schema })
        })
        .collect()
}

fn query(name: &str, schema: Value, description: &str) -> Value {
    json!({ "name": name, "in": "query", "description": description, "schema": schema })
}

fn header(name: &str, description: &str) -> Value {
    json!({ "name": name, "in": "header", "description": description,
            "schema": { "type": "string" } })
}

fn number() -> Value {
    json!({ "type": "integer", "minimum": 0, "maximum": NUMBER_MAX })
}

/// An operation whose only success is this status with this JSON.
fn gives(id: &str, summary: &str, status: &str, name: &str) -> Value {
    json!({
        "operationId": id,
        "summary": summary,
        "responses": { status: {
            "description": summary,
            "content": { "application/json": { "schema": schema(name) } },
        }},
    })
}

fn with(mut operation: Value, member: &str, value: Value) -> Value {
    if let Some(operation) = operation.as_object_mut() {
        operation.insert(member.to_owned(), value);
    }
    operation
}

fn json_body(required: bool, name: &str) -> Value {
    json!({ "required": required,
            "content": { "application/json": { "schema": schema(name) } } })
}

/// The same success under a second status: it was so already.
fn also(mut operation: Value, status: &str, like: &str) -> Value {
    let response = operation.pointer(&format!("/responses/{like}")).cloned();
    if let (Some(responses), Some(response)) = (
        operation
            .get_mut("responses")
            .and_then(Value::as_object_mut),
        response,
    ) {
        responses.insert(status.to_owned(), response);
    }
    operation
}

fn operation(endpoint: Endpoint) -> Value {
    match endpoint {
        Endpoint::Root => json!({
            "operationId": "root", "summary": "Answers Ok",
            "responses": { "200": { "description": "Ok", "content": { "text/plain": {} } } },
        }),
        Endpoint::Alive => gives("healthz", "Whether the server lives", "200", "Health"),
        Endpoint::Ready => also(
            gives("readyz", "Whether the server takes writes", "200", "Health"),
            "503",
            "200",
        ),
        Endpoint::Metrics => json!({
            "operationId": "metrics", "summary": "Counters in the OpenMetrics text form",
            "responses": { "200": { "description": "The counters",
                "content": { "application/openmetrics-text": {} } } },
        }),
        Endpoint::OpenApi => json!({
            "operationId": "openapi", "summary": "This description",
            "responses": { "200": { "description": "This description",
                "content": { "application/json": { "schema": { "type": "object" } } } } },
        }),
        Endpoint::ListLogs => gives("listLogs", "The logs", "200", "Logs"),
        Endpoint::DescribeLog => gives("describeLog", "A log as it is now", "200", "Log"),
        Endpoint::PutLog => with(
            also(
                gives(
                    "putLog",
                    "Creates a log, or changes its settings",
                    "201",
                    "Log",
                ),
                "200",
                "201",
            ),
            "requestBody",
            json_body(false, "LogSettings"),
        ),
        Endpoint::Publish => publish("publish", "Publishes to the streams that the events name"),
        Endpoint::PublishToStream => {
            let operation = publish("publishToStream", "Publishes to one stream");
            let mut parameters = publish_headers();
            parameters.extend([
                header(
                    "If-Match",
                    "The last sequence the stream must have, in double quotes.",
                ),
                header("If-None-Match", "`*`: the stream must be empty."),
            ]);
            with(operation, "parameters", parameters.into())
        }
        Endpoint::ReadLog => read("readLog", "Replays a range of the log", true),
        Endpoint::ReadStream => read("readStream", "Replays a range of one stream", false),
        Endpoint::ReadEvent => gives("readEvent", "One event", "200", "Event"),
        Endpoint::ListStreams => with(
            gives(
                "listStreams",
                "The streams, in byte order of their names",
                "200",
                "Streams",
            ),
            "parameters",
            json!([
                query(
                    "prefix",
                    json!({ "type": "string" }),
                    "What the names begin with."
                ),
                after_name(),
                list_limit(),
            ]),
        ),
        Endpoint::DescribeStream => {
            gives("describeStream", "A stream as it is now", "200", "Stream")
        }
        Endpoint::ListConsumers => with(
            gives("listConsumers", "The consumers' names", "200", "Consumers"),
            "parameters",
            json!([after_name(), list_limit()]),
        ),
        Endpoint::DefineConsumer => with(
            also(
                gives("defineConsumer", "Defines a consumer", "201", "Consumer"),
                "200",
                "201",
            ),
            "requestBody",
            json_body(false, "ConsumerDefinition"),
        ),
        Endpoint::DescribeConsumer => gives(
            "describeConsumer",
            "A consumer, its checkpoint and its lag",
            "200",
            "Consumer",
        ),
        Endpoint::RemoveConsumer => json!({
            "operationId": "removeConsumer",
            "summary": "Removes a consumer and its checkpoint",
            "responses": { "204": { "description": "It is removed" } },
        }),
        Endpoint::ReadConsumer => with(
            gives(
                "readConsumer",
                "The events after the checkpoint, which stays where it is",
                "200",
                "ConsumerPage",
            ),
            "parameters",
            json!([page_limit(), prefer()]),
        ),
        Endpoint::Acknowledge => with(
            gives(
                "acknowledge",
                "Everything up to the id is done",
                "200",
                "Checkpoint",
            ),
            "requestBody",
            json_body(true, "Acknowledgement"),
        ),
        Endpoint::Seek => with(
            gives("seek", "Moves the checkpoint anywhere", "200", "Checkpoint"),
            "requestBody",
            json_body(true, "Seek"),
        ),
        Endpoint::ListWebhooks => webhooks::list(),
        Endpoint::DefineWebhook => webhooks::define(),
        Endpoint::DescribeWebhook => webhooks::describe(),
        Endpoint::RemoveWebhook => webhooks::remove(),
        Endpoint::PauseWebhook => webhooks::pause(),
        Endpoint::ResumeWebhook => webhooks::resume(),
        Endpoint::SeekWebhook => webhooks::seek(),
        Endpoint::ListDeliveries => webhooks::deliveries(),
        Endpoint::ListDeadLetters => webhooks::dead_letters(),
        Endpoint::ReplayDeadLetter => webhooks::replay(),
        Endpoint::DiscardDeadLetter => webhooks::discard(),
    }
}

fn after_name() -> Value {
    query(
        "after",
        json!({ "type": "string" }),
        "The last name of the page before.",
    )
}

fn list_limit() -> Value {
    let schema = json!({ "type": "integer", "minimum": 1, "default": LIST_DEFAULT });
    query(
        "limit",
        schema,
        &format!("The most entries; capped at {LIST_MAX}."),
    )
}

fn page_limit() -> Value {
    let schema = json!({ "type": "integer", "minimum": 1 });
    query(
        "limit",
        schema,
        &format!(
            "The most events. A page has {PAGE_EVENTS_DEFAULT} by default and {PAGE_EVENTS_MAX} at most; `Strandlog-Limit-Applied` says so. Other representations have no limit by default."
        ),
    )
}

fn prefer() -> Value {
    header(
        "Prefer",
        "`wait=N`: if there is nothing, wait up to N seconds for the first event.",
    )
}

fn publish_headers() -> Vec<Value> {
    vec![
        header(
            "Idempotency-Key",
            "Names the request: a repeat stores nothing and gets the first answer.",
        ),
        header(
            "Strandlog-Durability",
            "`sync` or `os`: when the reply may be given. The server's setting by default.",
        ),
        header(
            "Strandlog-Hops",
            "Of a publish that a webhook's call has caused: the header of that call, by which loops are ended.",
        ),
    ]
}

fn publish(id: &str, summary: &str) -> Value {
    let described =
        |description: &str| json!({ "description": description, "schema": { "type": "string" } });
    json!({
        "operationId": id,
        "summary": format!("{summary}: one request, one atomic batch"),
        "parameters": publish_headers(),
        "requestBody": {
            "required": true,
            "content": {
                "application/json": { "schema": schema("Publish") },
                "application/x-ndjson": { "schema": schema("NewEvent") },
            },
        },
        "responses": { "201": {
            "description": "All events are durable and readable.",
            "headers": {
                "ETag": described("The last sequence of the stream, if all events went to one."),
                "Location": described("The event, if there was one."),
                "Strandlog-Durable-Id": described("The id up to which the log was durable."),
                "Idempotency-Replayed": described("`true` if the request was a repeat."),
            },
            "content": { "application/json": { "schema": schema("Published") } },
        }},
    })
}

fn read(id: &str, summary: &str, names_streams: bool) -> Value {
    let text = || json!({ "type": "string" });
    let time = || json!({ "type": "string", "format": "date-time" });
    let names = || json!({ "type": "array", "items": schema("Name") });
    let mut parameters = vec![
        query(
            "from",
            json!({ "anyOf": [schema("Id"), { "const": "end" }] }),
            "The lowest id; `end` (event streams only): only what is published from now on.",
        ),
        query("to", schema("Id"), "The highest id."),
        query("after", number(), "Only ids above this one."),
        page_limit(),
        query("type", names(), "Any of these types."),
        query("tag", names(), "All of these tags."),
        query(
            "direction",
            json!({ "enum": ["forward", "backward"], "default": "forward" }),
            "The order. `from` and `to` name the lowest and highest id in either.",
        ),
        query(
            "since",
            time(),
            "Only what was recorded at or after this time.",
        ),
        query("until", time(), "Only what was recorded before this time."),
        prefer(),
        header(
            "Last-Event-ID",
            "Event streams: go on after this id; `done`, which stands behind a limit, ends them.",
        ),
        header(
            "If-None-Match",
            "Answer 304 if the range is still the same.",
        ),
    ];
    if names_streams {
        parameters.push(query("stream", names(), "Any of these streams."));
    }
    json!({
        "operationId": id,
        "summary": summary,
        "parameters": parameters,
        "responses": {
            "200": {
                "description": "The events, in id order.",
                "headers": {
                    "Link": { "schema": text(),
                        "description": "`next`: the next page; `monitor`: where to go on once there is more." },
                    "ETag": { "schema": text(),
                        "description": "Of a stream its last sequence; of a range that can never change a tag of its own." },
                    "Strandlog-Limit-Applied": { "schema": number(),
                        "description": "The limit, if a higher one was asked for." },
                    "Preference-Applied": { "schema": text(),
                        "description": "How long the server would have waited." },
                },
                "content": {
                    events::JSON: { "schema": schema("Page") },
                    events::NDJSON: { "schema": schema("Event") },
                    events::SSE: { "schema": text() },
                    events::RECORDS: { "schema": text() },
                },
            },
            "204": { "description": "Event streams: nothing is left after `Last-Event-ID`." },
            "304": { "description": "It is still the same." },
        },
    })
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;
    use crate::http::Verb;

    fn references<'a>(value: &'a Value, found: &mut Vec<&'a str>) {
        match value {
            Value::Object(members) => {
                for (name, member) in members {
                    if let (true, Value::String(target)) = (name == "$ref", member) {
                        found.push(target);
                    }
                    references(member, found);
                }
            }
            Value::Array(items) => items.iter().for_each(|item| references(item, found)),
            _ => {}
        }
    }

    #[test]
    fn every_route_is_described_and_every_description_has_a_route() {
        let document = document();
        let paths = document["paths"].as_object().unwrap();
        let mut described = HashSet::new();
        for (path, operations) in paths {
            for verb in operations.as_object().unwrap().keys() {
                described.insert((path.clone(), verb.clone()));
            }
        }
        let routed: HashSet<_> = ROUTES
            .iter()
            .map(|(verb, path, _)| ((*path).to_owned(), verb.as_str().to_owned()))
            .collect();
        assert_eq!(described, routed);
        assert_eq!(routed.len(), ROUTES.len(), "no route is there twice");
        let endpoints: HashSet<_> = ROUTES.iter().map(|(.., endpoint)| endpoint).collect();
        assert_eq!(endpoints.len(), ROUTES.len(), "no endpoint is routed twice");
    }

    #[test]
    fn every_operation_says_what_it_needs_and_gives() {
        let document = document();
        let mut ids = HashSet::new();
        for (verb, path, _) in ROUTES {
            let operation = &document["paths"][*path][verb.as_str()];
            assert!(ids.insert(operation["operationId"].as_str().unwrap().to_owned()));
            assert!(operation["summary"].is_string(), "{path}");
            let responses = operation["responses"].as_object().unwrap();
            assert!(responses.keys().any(|status| status.starts_with('2')));
            assert!(responses.contains_key("4XX") && responses.contains_key("5XX"));
            let parameters = operation["parameters"].as_array().unwrap();
            for name in path.split('/').filter_map(|part| part.strip_prefix('{')) {
                let name = name.trim_end_matches('}');
                assert!(
                    parameters.iter().any(|known| known["name"] == name),
                    "{path}"
                );
            }
            let takes_body = matches!(verb, Verb::Post | Verb::Put);
            assert_eq!(operation["requestBody"].is_object(), takes_body, "{path}");
        }
    }

    #[test]
    fn every_reference_leads_somewhere_and_every_schema_is_used() {
        let document = document();
        let mut found = Vec::new();
        references(&document, &mut found);
        for target in &found {
            let pointer = target.strip_prefix('#').unwrap();
            assert!(document.pointer(pointer).is_some(), "{target}");
        }
        for name in document["components"]["schemas"]
            .as_object()
            .unwrap()
            .keys()
        {
            let target = format!("#/components/schemas/{name}");
            assert!(found.contains(&target.as_str()), "{name} is not used");
        }
    }
}
