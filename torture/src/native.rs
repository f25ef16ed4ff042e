//! The native door: how an event is published, read and acknowledged, and nothing about why.

use std::collections::BTreeMap;
use std::io;

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::http::{Answer, Call, Client};

/// The log that everything goes to.
pub(crate) const LOG: &str = "/v1/logs/default";

/// An event as the server shows it.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Shown<'a> {
    pub(crate) id: u64,
    pub(crate) stream: String,
    pub(crate) sequence: u64,
    pub(crate) recorded_at: String,
    #[serde(borrow)]
    pub(crate) data: &'a RawValue,
}

/// A place that an acknowledgement names.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Receipt {
    pub(crate) id: u64,
    pub(crate) stream: String,
    pub(crate) sequence: u64,
}

#[derive(Deserialize)]
struct Receipts {
    events: Vec<Receipt>,
}

#[derive(Deserialize)]
struct Page<'a> {
    #[serde(borrow)]
    events: Vec<Shown<'a>>,
}

#[derive(Deserialize)]
struct Numbers {
    #[serde(flatten)]
    all: BTreeMap<String, serde_json::Value>,
}

/// What became of a publish.
#[derive(Debug)]
pub(crate) enum Published {
    /// It is stored.
    Acknowledged(Vec<Receipt>),
    /// It is stored; where is not told.
    Stored,
    /// It was refused for now; the status.
    Refused(u16),
    /// It was refused for good, or the answer makes no sense.
    Wrong(String),
}

/// Publishes lines as one batch under a key.
pub(crate) fn publish(client: &mut Client, lines: &str, key: &str) -> io::Result<Published> {
    let answer = client.send(Call {
        method: "POST",
        path: "/v1/logs/default/events",
        headers: &[
            ("Content-Type", "application/x-ndjson"),
            ("Idempotency-Key", key),
        ],
        body: lines,
    })?;
    Ok(match answer.status {
        201 => match serde_json::from_str::<Receipts>(&answer.body) {
            Ok(receipts) => Published::Acknowledged(receipts.events),
            Err(error) => Published::Wrong(format!("{error}: {}", answer.body)),
        },
        // Busy, full, failed, and a mistake of the server's own: all may pass.
        500 | 503 | 507 => Published::Refused(answer.status),
        status => Published::Wrong(format!("{status}: {}", answer.body)),
    })
}

/// Gives `seen` each event after `after`, as one reply of lines (`wait_s` 0) or as a page, which waits
/// for new events. The last id.
pub(crate) fn read(
    client: &mut Client,
    after: u64,
    lines: bool,
    wait_s: u64,
    mut seen: impl FnMut(Shown<'_>),
) -> io::Result<u64> {
    let wait = format!("wait={wait_s}");
    let accept = if lines {
        "application/x-ndjson"
    } else {
        "application/json"
    };
    let path = format!("{LOG}/events?after={after}&limit=2000");
    let answer = ok(client.send(Call {
        method: "GET",
        path: &path,
        headers: &[("Accept", accept), ("Prefer", &wait)],
        body: "",
    })?)?;
    let mut last = after;
    if lines {
        for line in answer.body.lines() {
            let event: Shown<'_> = serde_json::from_str(line)?;
            last = event.id;
            seen(event);
        }
    } else {
        let page: Page<'_> = serde_json::from_str(&answer.body)?;
        for event in page.events {
            last = event.id;
            seen(event);
        }
    }
    Ok(last)
}

/// Defines a consumer of everything.
pub(crate) fn define(client: &mut Client, name: &str) -> io::Result<()> {
    ok(client.send(Call {
        method: "PUT",
        path: &format!("{LOG}/consumers/{name}"),
        headers: &[("Content-Type", "application/json")],
        body: "{}",
    })?)
    .map(drop)
}

/// What is new to a consumer, up to `limit` events; the last id, 0 if there is nothing.
pub(crate) fn consume(
    client: &mut Client,
    name: &str,
    limit: u64,
    mut seen: impl FnMut(Shown<'_>),
) -> io::Result<u64> {
    let answer = ok(client.send(Call {
        method: "GET",
        path: &format!("{LOG}/consumers/{name}/events?limit={limit}"),
        headers: &[("Prefer", "wait=1")],
        body: "",
    })?)?;
    let page: Page<'_> = serde_json::from_str(&answer.body)?;
    let mut last = 0;
    for event in page.events {
        last = event.id;
        seen(event);
    }
    Ok(last)
}

/// Says that a consumer has done everything up to `id`.
pub(crate) fn acknowledge(client: &mut Client, name: &str, id: u64) -> io::Result<()> {
    ok(client.send(Call {
        method: "POST",
        path: &format!("{LOG}/consumers/{name}/ack"),
        headers: &[("Content-Type", "application/json")],
        body: &format!("{{\"id\":{id}}}"),
    })?)
    .map(drop)
}

/// Defines the webhook, or finds it defined so.
pub(crate) fn define_webhook(client: &mut Client, definition: &str) -> io::Result<()> {
    ok(client.send(Call {
        method: "PUT",
        path: &format!("{LOG}/webhooks/sink"),
        headers: &[("Content-Type", "application/json")],
        body: definition,
    })?)
    .map(drop)
}

/// Where the webhook is.
pub(crate) fn webhook_checkpoint(client: &mut Client) -> io::Result<u64> {
    number(client, &format!("{LOG}/webhooks/sink"), "checkpoint")
}

/// Where a consumer is.
pub(crate) fn checkpoint(client: &mut Client, name: &str) -> io::Result<u64> {
    number(client, &format!("{LOG}/consumers/{name}"), "checkpoint")
}

/// The first id that is left.
pub(crate) fn first_id(client: &mut Client) -> io::Result<u64> {
    number(client, LOG, "firstId")
}

/// Lets go of all segments that are not needed to keep `events` events.
pub(crate) fn retain(client: &mut Client, events: u64) -> io::Result<()> {
    ok(client.send(Call {
        method: "PUT",
        path: LOG,
        headers: &[("Content-Type", "application/json")],
        body: &format!("{{\"retention\":{{\"maxEvents\":{events}}}}}"),
    })?)
    .map(drop)
}

/// The last id of the log.
pub(crate) fn last_id(client: &mut Client) -> io::Result<u64> {
    number(client, LOG, "lastId")
}

fn number(client: &mut Client, path: &str, name: &str) -> io::Result<u64> {
    let answer = ok(client.send(Call::get(path))?)?;
    let numbers: Numbers = serde_json::from_str(&answer.body)?;
    let number = numbers.all.get(name).and_then(serde_json::Value::as_u64);
    number.ok_or_else(|| io::Error::other(format!("no {name} in {}", answer.body)))
}

/// The answer if it is a success.
pub(crate) fn ok(answer: Answer) -> io::Result<Answer> {
    if (200..300).contains(&answer.status) {
        return Ok(answer);
    }
    Err(io::Error::other(format!(
        "{}: {}",
        answer.status, answer.body
    )))
}
