//! Webhooks, described: their operations and the shapes of what they send and answer.

use serde_json::{Value, json};

use crate::app::limits::{CALL_EVENTS_MAX, LIST_DEFAULT, LIST_MAX};
use crate::webhook::Outcome;

use super::super::webhooks::{ATTEMPTS_DEFAULT, ATTEMPTS_MAX, TIMEOUT_MS, TIMEOUT_MS_DEFAULT};
use super::schemas::{list_of, maybe, object, text, time};
use super::{after_name, also, gives, json_body, list_limit, number, query, schema, with};

pub(super) fn list() -> Value {
    with(
        gives(
            "listWebhooks",
            "The webhooks, in byte order of their names",
            "200",
            "Webhooks",
        ),
        "parameters",
        json!([after_name(), list_limit()]),
    )
}

pub(super) fn define() -> Value {
    let operation = gives(
        "defineWebhook",
        "Defines a webhook, or changes the one there is, which keeps its place",
        "201",
        "Webhook",
    );
    let body = json_body(true, "WebhookDefinition");
    let mut operation = with(also(operation, "200", "201"), "requestBody", body);
    if let Some(created) = operation.pointer_mut("/responses/201") {
        *created = with(
            created.take(),
            "headers",
            json!({ "Location": { "description": "The webhook.", "schema": { "type": "string" } } }),
        );
    }
    operation
}

pub(super) fn describe() -> Value {
    gives(
        "describeWebhook",
        "A webhook, its place and how it does; never its secret",
        "200",
        "Webhook",
    )
}

pub(super) fn remove() -> Value {
    json!({
        "operationId": "removeWebhook",
        "summary": "Removes a webhook and its place",
        "responses": { "204": { "description": "It is removed" } },
    })
}

pub(super) fn pause() -> Value {
    bodiless(gives(
        "pauseWebhook",
        "Stops calling a webhook, which keeps its place",
        "200",
        "Webhook",
    ))
}

pub(super) fn resume() -> Value {
    bodiless(gives(
        "resumeWebhook",
        "Calls a webhook again, now, whatever kept it from being called",
        "200",
        "Webhook",
    ))
}

pub(super) fn seek() -> Value {
    with(
        gives(
            "seekWebhook",
            "Moves a webhook's place anywhere",
            "200",
            "Checkpoint",
        ),
        "requestBody",
        json_body(true, "Seek"),
    )
}

pub(super) fn deliveries() -> Value {
    let outcome = query(
        "outcome",
        json!({ "type": "array", "items": schema("Outcome") }),
        "Any of these outcomes.",
    );
    with(
        gives(
            "listDeliveries",
            "What became of the attempts, newest first; the oldest ones go",
            "200",
            "Deliveries",
        ),
        "parameters",
        json!([before(), newest_limit(), outcome]),
    )
}

pub(super) fn dead_letters() -> Value {
    with(
        gives(
            "listDeadLetters",
            "The events that were given up and not dealt with yet, newest first",
            "200",
            "DeadLetters",
        ),
        "parameters",
        json!([before(), newest_limit()]),
    )
}

pub(super) fn replay() -> Value {
    bodiless(gives(
        "replayDeadLetter",
        "Sends the event of a dead letter once, now; a success is the end of the letter",
        "200",
        "Replayed",
    ))
}

pub(super) fn discard() -> Value {
    json!({
        "operationId": "discardDeadLetter",
        "summary": "Drops a dead letter",
        "responses": { "204": { "description": "It is dropped" } },
    })
}

fn bodiless(operation: Value) -> Value {
    with(operation, "requestBody", json_body(false, "Nothing"))
}

fn before() -> Value {
    query("before", schema("Id"), "The last id of the page before.")
}

fn newest_limit() -> Value {
    let schema = json!({ "type": "integer", "minimum": 1, "default": LIST_DEFAULT });
    query(
        "limit",
        schema,
        &format!("The most entries; capped at {LIST_MAX}."),
    )
}

fn within(min: u64, max: u64, default: u64) -> Value {
    json!({ "type": ["integer", "null"], "minimum": min, "maximum": max, "default": default })
}

fn state() -> Value {
    json!({ "enum": ["running", "paused", "retrying", "failing", "gone"] })
}

/// The schemas, by name.
pub(super) fn schemas() -> Vec<(&'static str, Value)> {
    vec![
        ("Nothing", object(&[], json!({}))),
        (
            "WebhookDefinition",
            object(
                &["url"],
                json!({
                    "url": { "type": "string", "format": "uri", "maxLength": 2048 },
                    "filter": maybe(schema("ConsumerFilter")),
                    "start": maybe(json!({ "allOf": [schema("Place")], "default": "end" })),
                    "batchSize": within(1, CALL_EVENTS_MAX as u64, 1),
                    "secret": { "type": ["string", "null"], "pattern": "^whsec_",
                        "description": "Signs the calls, by Standard Webhooks. Made by the server if absent, and shown once." },
                    "timeoutMs": within(TIMEOUT_MS.0, TIMEOUT_MS.1, TIMEOUT_MS_DEFAULT),
                    "attemptsMax": within(1, ATTEMPTS_MAX.into(), ATTEMPTS_DEFAULT.into()),
                }),
            ),
        ),
        ("Webhook", webhook()),
        (
            "Webhooks",
            object(
                &["webhooks", "next"],
                json!({
                    "webhooks": { "type": "array", "items": object(&["name", "url", "state"],
                        json!({ "name": schema("Name"), "url": text(), "state": state() })) },
                    "next": maybe(text()),
                }),
            ),
        ),
        (
            "Outcome",
            json!({ "enum": Outcome::ALL.map(Outcome::as_str),
                "description": "`dead`: it was the last attempt; `rejected`: it will never be taken; both became dead letters." }),
        ),
        (
            "Deliveries",
            object(
                &["deliveries", "next"],
                json!({ "deliveries": list_of("Delivery"), "next": maybe(schema("Id")) }),
            ),
        ),
        ("Delivery", delivery()),
        (
            "DeadLetters",
            object(
                &["deadLetters", "next"],
                json!({ "deadLetters": list_of("DeadLetter"), "next": maybe(schema("Id")) }),
            ),
        ),
        ("DeadLetter", dead_letter()),
        (
            "Replayed",
            object(
                &["id", "outcome", "status", "error", "response"],
                json!({
                    "id": schema("Id"),
                    "outcome": { "enum": ["delivered", "failed"] },
                    "status": maybe(number()),
                    "error": maybe(text()),
                    "response": maybe(text()),
                }),
            ),
        ),
    ]
}

fn webhook() -> Value {
    object(
        &[
            "name",
            "url",
            "filter",
            "start",
            "batchSize",
            "timeoutMs",
            "attemptsMax",
            "state",
            "checkpoint",
            "lag",
            "attempts",
            "nextAttemptAt",
            "lastError",
            "lastErrorAt",
            "lastDeliveredAt",
            "deadLetters",
        ],
        json!({
            "name": schema("Name"),
            "url": text(),
            "filter": schema("ConsumerFilter"),
            "start": schema("Place"),
            "batchSize": number(),
            "timeoutMs": number(),
            "attemptsMax": number(),
            "secret": { "type": "string",
                "description": "In the reply to the request that had it made, and never again." },
            "state": state(),
            "checkpoint": number(),
            "lag": schema("Lag"),
            "attempts": { "type": "integer", "minimum": 0,
                "description": "How many attempts there were to deliver what comes next." },
            "nextAttemptAt": maybe(time()),
            "lastError": maybe(text()),
            "lastErrorAt": maybe(time()),
            "lastDeliveredAt": maybe(time()),
            "deadLetters": { "type": "integer", "minimum": 0,
                "description": "How many dead letters nobody has dealt with." },
        }),
    )
}

fn delivery() -> Value {
    object(
        &[
            "id",
            "deliveryId",
            "firstId",
            "lastId",
            "events",
            "attempt",
            "startedAt",
            "durationMs",
            "outcome",
            "status",
            "error",
            "response",
        ],
        json!({
            "id": schema("Id"),
            "deliveryId": { "type": "string",
                "description": "The `webhook-id` of the call: the same for each attempt." },
            "firstId": schema("Id"),
            "lastId": schema("Id"),
            "events": number(),
            "attempt": number(),
            "startedAt": time(),
            "durationMs": number(),
            "outcome": schema("Outcome"),
            "status": maybe(number()),
            "error": maybe(text()),
            "response": { "type": ["string", "null"],
                "description": "The beginning of the answer's body." },
        }),
    )
}

fn dead_letter() -> Value {
    object(
        &[
            "id",
            "eventId",
            "expired",
            "deliveryId",
            "attempts",
            "givenUpAt",
            "status",
            "error",
        ],
        json!({
            "id": schema("Id"),
            "eventId": schema("Id"),
            "expired": { "type": "boolean",
                "description": "Whether retention has removed the event, so that it cannot be sent any more." },
            "deliveryId": text(),
            "attempts": number(),
            "givenUpAt": time(),
            "status": maybe(number()),
            "error": maybe(text()),
        }),
    )
}
