//! Other doors to the same log: events that go in by one of them must be found by all, as often as
//! they were published, whatever happens in between.
//!
//! Both tell only that an event is stored, not where. Each has its own way of knowing a repeat again.

use std::io;

use crate::http::{Call, Client};
use crate::native::Published;

/// Which door a producer uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Door {
    /// Batches under an idempotency key.
    Native,
    /// One event under an idempotency key.
    Newstore,
    /// The next event of an aggregate: there is one with each number.
    Axon,
}

impl Door {
    /// The door of a producer: half of them use the native one, the others one of the others.
    pub(crate) fn of(producer: u64) -> Self {
        match producer % 4 {
            2 => Self::Newstore,
            3 => Self::Axon,
            _ => Self::Native,
        }
    }

    /// Whether a request may carry more than one event.
    pub(crate) fn takes_batches(self) -> bool {
        self == Self::Native
    }
}

/// Publishes one event of an entity through the gateway; a repeat is known by its key.
pub(crate) fn newstore(
    client: &mut Client,
    (entity, name): (&str, &str),
    data: &str,
    key: &str,
) -> io::Result<Published> {
    let answer = client.send(Call {
        method: "POST",
        path: "/newstore/events",
        headers: &[
            ("Content-Type", "application/json"),
            ("team", "torture"),
            ("service", "torture"),
            ("tenant", "torture"),
            ("entity-id", entity),
            ("event-name", name),
            ("idempotency-key", key),
        ],
        body: data,
    })?;
    Ok(match answer.status {
        202 => Published::Stored,
        // The gateway has one status for whatever may pass.
        500 => Published::Refused(500),
        status => Published::Wrong(format!("newstore: {status}: {}", answer.body)),
    })
}

/// Publishes event number `sequence` of an aggregate. A repeat is refused because the aggregate has
/// gone on: that says that the first one was stored, if there was one.
pub(crate) fn axon(
    client: &mut Client,
    (aggregate, name): (&str, &str),
    data: &str,
    sequence: u64,
    is_repeat: bool,
) -> io::Result<Published> {
    let answer = client.send(Call {
        method: "POST",
        path: &format!("/v1/contexts/default/events/{name}"),
        headers: &[
            ("Content-Type", "application/json"),
            ("AxonIQ-AggregateId", aggregate),
            ("AxonIQ-AggregateType", "Torture"),
            ("AxonIQ-SequenceNumber", &sequence.to_string()),
        ],
        body: data,
    })?;
    let went_on = format!("expected {}", sequence + 1);
    Ok(match answer.status {
        200 => Published::Stored,
        409 if is_repeat && answer.body.contains(&went_on) => Published::Stored,
        500 | 503 | 504 | 507 => Published::Refused(answer.status),
        status => Published::Wrong(format!("axon: {status}: {}", answer.body)),
    })
}
