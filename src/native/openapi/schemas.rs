//! The shapes of what is sent and answered.

use serde_json::{Map, Value, json};

use crate::app::limits::{
    BATCH_EVENTS_MAX, CONDITIONS_MAX, EVENT_TAGS_MAX, KEY_LEN_MAX, NAME_LEN_MAX, QUERY_TERMS_MAX,
};
use crate::http::query::NUMBER_MAX;

use super::{number, schema, webhooks};

pub(super) fn object(required: &[&str], properties: Value) -> Value {
    json!({ "type": "object", "required": required, "properties": properties,
            "additionalProperties": false })
}

pub(super) fn maybe(schema: Value) -> Value {
    json!({ "anyOf": [schema, { "type": "null" }] })
}

fn names(count_max: usize) -> Value {
    json!({ "type": "array", "items": schema("Name"), "maxItems": count_max })
}

pub(super) fn list_of(name: &str) -> Value {
    json!({ "type": "array", "items": schema(name) })
}

pub(super) fn time() -> Value {
    json!({ "type": "string", "format": "date-time" })
}

pub(super) fn text() -> Value {
    json!({ "type": "string" })
}

/// All schemas, by name.
pub(super) fn all() -> Value {
    let schemas = [
        (
            "Id",
            json!({ "type": "integer", "minimum": 1, "maximum": NUMBER_MAX }),
        ),
        (
            "LogName",
            json!({ "type": "string", "pattern": "^[a-z0-9][a-z0-9_-]{0,62}$" }),
        ),
        (
            "Name",
            json!({ "type": "string", "minLength": 1, "maxLength": NAME_LEN_MAX,
            "description": "1 to 255 bytes of UTF-8 without control characters." }),
        ),
        ("NewEvent", new_event()),
        (
            "Batch",
            object(
                &["events"],
                json!({
                    "events": { "type": "array", "items": schema("NewEvent"),
                        "minItems": 1, "maxItems": BATCH_EVENTS_MAX },
                    "conditions": { "type": "array", "items": schema("Condition"),
                        "maxItems": CONDITIONS_MAX },
                }),
            ),
        ),
        (
            "Publish",
            json!({ "anyOf": [
                schema("NewEvent"),
                { "type": "array", "items": schema("NewEvent"),
                    "minItems": 1, "maxItems": BATCH_EVENTS_MAX },
                schema("Batch"),
            ]}),
        ),
        (
            "Condition",
            object(
                &["query"],
                json!({
                    "query": object(&[], json!({
                        "streams": names(QUERY_TERMS_MAX),
                        "types": names(QUERY_TERMS_MAX),
                        "tags": names(QUERY_TERMS_MAX),
                    })),
                    "after": number(),
                }),
            ),
        ),
        (
            "Published",
            object(
                &["firstId", "lastId", "events"],
                json!({
                    "firstId": schema("Id"),
                    "lastId": schema("Id"),
                    "events": list_of("PublishedEvent"),
                }),
            ),
        ),
        (
            "PublishedEvent",
            object(
                &["id", "stream", "sequence"],
                json!({
                    "id": schema("Id"),
                    "stream": schema("Name"),
                    "sequence": number(),
                    "replayed": { "const": true,
                        "description": "The event was stored by an earlier publish with the same key." },
                }),
            ),
        ),
        ("Event", event()),
        (
            "Page",
            object(
                &["events", "next", "lastId"],
                json!({
                    "events": list_of("Event"),
                    "next": maybe(schema("Id")),
                    "lastId": { "type": "integer", "minimum": 0,
                        "description": "The last id of the log as of the request; `to` if the range can never change." },
                }),
            ),
        ),
        (
            "ConsumerPage",
            object(
                &["events", "next", "lastId", "checkpoint"],
                json!({
                    "events": list_of("Event"),
                    "next": maybe(schema("Id")),
                    "lastId": number(),
                    "checkpoint": number(),
                }),
            ),
        ),
        (
            "Streams",
            object(
                &["streams", "next"],
                json!({
                    "streams": list_of("StreamEntry"),
                    "next": maybe(text()),
                }),
            ),
        ),
        (
            "StreamEntry",
            object(
                &["stream", "lastSequence", "lastId"],
                json!({
                    "stream": schema("Name"), "lastSequence": number(), "lastId": schema("Id"),
                }),
            ),
        ),
        (
            "Stream",
            object(
                &[
                    "stream",
                    "events",
                    "lastSequence",
                    "lastId",
                    "firstSequence",
                    "firstId",
                ],
                json!({
                    "stream": schema("Name"),
                    "events": { "type": "integer", "minimum": 1,
                        "description": "How many it ever had." },
                    "lastSequence": number(),
                    "lastId": schema("Id"),
                    "firstSequence": maybe(number()),
                    "firstId": maybe(schema("Id")),
                }),
            ),
        ),
        (
            "Consumers",
            object(
                &["consumers", "next"],
                json!({
                    "consumers": { "type": "array",
                        "items": object(&["name"], json!({ "name": schema("Name") })) },
                    "next": maybe(text()),
                }),
            ),
        ),
        (
            "ConsumerFilter",
            object(
                &[],
                json!({
                    "stream": schema("Name"),
                    "types": names(QUERY_TERMS_MAX),
                    "tags": names(QUERY_TERMS_MAX),
                }),
            ),
        ),
        (
            "Place",
            json!({ "anyOf": [{ "enum": ["first", "end"] }, number()] }),
        ),
        (
            "ConsumerDefinition",
            object(
                &[],
                json!({
                    "filter": maybe(schema("ConsumerFilter")),
                    "start": maybe(schema("Place")),
                }),
            ),
        ),
        (
            "Consumer",
            object(
                &["name", "filter", "start", "checkpoint", "lag"],
                json!({
                    "name": schema("Name"),
                    "filter": schema("ConsumerFilter"),
                    "start": schema("Place"),
                    "checkpoint": number(),
                    "lag": schema("Lag"),
                }),
            ),
        ),
        (
            "Lag",
            object(
                &["events", "exact", "seconds"],
                json!({
                    "events": number(),
                    "exact": { "type": "boolean",
                        "description": "Whether that is all; else there are at least so many." },
                    "seconds": number(),
                }),
            ),
        ),
        (
            "Acknowledgement",
            object(&["id"], json!({ "id": schema("Id") })),
        ),
        ("Seek", object(&["id"], json!({ "id": schema("Place") }))),
        (
            "Checkpoint",
            object(&["checkpoint"], json!({ "checkpoint": number() })),
        ),
        ("Logs", object(&["logs"], json!({ "logs": list_of("Log") }))),
        (
            "Log",
            object(
                &[
                    "log",
                    "firstId",
                    "lastId",
                    "durableId",
                    "bytes",
                    "segments",
                    "retention",
                    "health",
                ],
                json!({
                    "log": schema("LogName"),
                    "firstId": { "type": "integer", "minimum": 1,
                        "description": "The oldest id kept; the next one if none is." },
                    "lastId": number(),
                    "durableId": number(),
                    "bytes": number(),
                    "segments": maybe(number()),
                    "retention": schema("Retention"),
                    "health": { "enum": ["writable", "full", "failed", "closed"] },
                }),
            ),
        ),
        (
            "LogSettings",
            object(
                &[],
                json!({
                    "retention": { "anyOf": [schema("Retention"), { "type": "null" }],
                        "description": "What may go. Left out: as it is. Null: as the server's settings say." },
                }),
            ),
        ),
        (
            "Retention",
            object(
                &[],
                json!({
                    "maxAgeSeconds": maybe(number()),
                    "maxBytes": maybe(number()),
                    "maxEvents": maybe(number()),
                }),
            ),
        ),
        (
            "Health",
            object(
                &["status", "logs"],
                json!({
                    "status": { "enum": ["ok", "degraded", "stopping"] },
                    "logs": { "type": "array", "items": object(&["log", "health", "reason"], json!({
                        "log": text(), "health": text(), "reason": maybe(text()),
                    })) },
                    "lost": { "type": "array", "items": object(&["log", "events"], json!({
                        "log": text(), "events": number(),
                    })) },
                }),
            ),
        ),
        (
            "Problem",
            json!({ "type": "object",
                "required": ["type", "title", "status", "code", "detail", "requestId"],
                "properties": {
                    "type": { "type": "string", "format": "uri" },
                    "title": text(),
                    "status": { "type": "integer" },
                    "code": text(),
                    "detail": text(),
                    "requestId": text(),
                    "index": number(),
                    "line": number(),
                    "offset": number(),
                    "member": text(),
                    "expectedSequence": number(),
                    "actualSequence": maybe(number()),
                },
            }),
        ),
    ];
    schemas
        .into_iter()
        .chain(webhooks::schemas())
        .map(|(name, schema)| (name.to_owned(), schema))
        .collect::<Map<_, _>>()
        .into()
}

fn new_event() -> Value {
    let properties = json!({
        "stream": schema("Name"),
        "type": schema("Name"),
        "data": { "description": "Any JSON; stored and returned byte for byte." },
        "dataBase64": { "type": ["string", "null"], "contentEncoding": "base64" },
        "contentType": { "type": ["string", "null"] },
        "metadata": { "type": ["object", "null"] },
        "tags": { "type": ["array", "null"], "items": schema("Name"),
            "uniqueItems": true, "maxItems": EVENT_TAGS_MAX },
        "eventId": maybe(schema("Name")),
        "time": maybe(time()),
        "expectedSequence": maybe(number()),
        "idempotencyKey": maybe(json!({ "type": "string", "pattern": "^[!-~]+$",
            "minLength": 1, "maxLength": KEY_LEN_MAX })),
    });
    let mut event = object(&["type"], properties);
    if let Some(event) = event.as_object_mut() {
        event.insert(
            "description".to_owned(),
            "`stream` is needed where the path does not name it.".into(),
        );
        event.insert(
            "oneOf".to_owned(),
            json!([{ "required": ["data"] }, { "required": ["dataBase64", "contentType"] }]),
        );
    }
    event
}

fn event() -> Value {
    let properties = json!({
        "id": schema("Id"),
        "stream": schema("Name"),
        "sequence": number(),
        "type": schema("Name"),
        "eventId": text(),
        "time": time(),
        "recordedAt": time(),
        "tags": list_of("Name"),
        "metadata": { "type": "object" },
        "data": {},
        "contentType": text(),
        "dataBase64": { "type": "string", "contentEncoding": "base64" },
    });
    object(
        &[
            "id",
            "stream",
            "sequence",
            "type",
            "eventId",
            "time",
            "recordedAt",
        ],
        properties,
    )
}
