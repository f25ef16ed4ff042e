//! Reading bodies: with a limit on each, on all together, and on the time.

use std::fmt;
use std::ops::Deref;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt;
use hyper::body::{Body as _, Incoming};
use tokio::sync::{Semaphore, SemaphorePermit};

use super::problem::{Member, Problem, ProblemType};

/// The budget counts in units of so many bytes, rounded up: fine enough that small bodies cost
/// little, coarse enough that a number of them fits in 32 bits.
const UNIT_LEN: usize = 1 << 10;

/// What bodies may be.
pub struct BodyRules {
    /// The longest body, in bytes; a longer one is refused, before it is read if its length is
    /// announced.
    pub len_max: usize,
    /// How long the whole body may take.
    pub time_max: Duration,
    /// How much all bodies together may take, in units.
    budget: Semaphore,
}

impl fmt::Debug for BodyRules {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BodyRules")
            .field("len_max", &self.len_max)
            .field("time_max", &self.time_max)
            .field("units_free", &self.budget.available_permits())
            .finish()
    }
}

impl BodyRules {
    /// Rules under which all bodies in memory together take at most `bodies_len_max` bytes (and at
    /// least one of the longest fits).
    #[must_use]
    pub fn new(len_max: usize, bodies_len_max: usize, time_max: Duration) -> Self {
        let units = (bodies_len_max.max(len_max) / UNIT_LEN + 1).min(Semaphore::MAX_PERMITS);
        Self {
            len_max,
            time_max,
            budget: Semaphore::new(units),
        }
    }
}

/// The body of a request, not read yet.
#[derive(Debug)]
pub struct Body(Incoming);

/// A body in memory; its share of the budget comes back when it is dropped.
#[derive(Debug)]
pub struct Payload<'a> {
    bytes: Bytes,
    _share: Option<SemaphorePermit<'a>>,
}

impl Deref for Payload<'_> {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Body {
    pub(super) fn new(incoming: Incoming) -> Self {
        Self(incoming)
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_end_stream()
    }

    /// Reads the body whole.
    ///
    /// Memory is taken as the bytes arrive, not as they are announced: a client that announces much
    /// and sends nothing holds nothing.
    ///
    /// # Errors
    ///
    /// A [`Problem`]: too long, too slow, cut short, malformed, or no memory for it in time.
    pub async fn read(self, rules: &BodyRules) -> Result<Payload<'_>, Problem> {
        self.read_within(rules.len_max, rules).await
    }

    /// Reads the body whole if it has at most `len_max` bytes, and no more than the rules allow.
    ///
    /// # Errors
    ///
    /// As for [`read`](Self::read).
    pub async fn read_within(
        self,
        len_max: usize,
        rules: &BodyRules,
    ) -> Result<Payload<'_>, Problem> {
        let len_max = len_max.min(rules.len_max);
        // Even a length of nearly 2^64 is only compared, never allocated.
        if self.0.size_hint().lower() > len_max as u64 {
            return Err(too_long(len_max));
        }
        match tokio::time::timeout(rules.time_max, collect(self.0, len_max, rules)).await {
            Ok(outcome) => outcome,
            Err(_) => Err(Problem::new(
                ProblemType::REQUEST_TIMEOUT,
                format!(
                    "the body did not arrive within {} seconds; nothing was done",
                    rules.time_max.as_secs()
                ),
            )
            .closing()),
        }
    }
}

async fn collect(
    mut incoming: Incoming,
    len_max: usize,
    rules: &BodyRules,
) -> Result<Payload<'_>, Problem> {
    let mut share: Option<SemaphorePermit<'_>> = None;
    let mut len = 0_usize;
    let mut first = Bytes::new();
    let mut whole = BytesMut::new();
    while let Some(frame) = incoming.frame().await {
        let frame = frame.map_err(|_| {
            Problem::new(
                ProblemType::MALFORMED_REQUEST,
                "the body ended early or is not framed as HTTP says; nothing was done",
            )
            .closing()
        })?;
        // Trailers are left out: nothing that we know is sent in one.
        let Ok(data) = frame.into_data() else {
            continue;
        };
        len = len.saturating_add(data.len());
        if len > len_max {
            return Err(too_long(len_max));
        }
        // What is counted is the body so far, not each piece: else some bytes at a time would use up
        // the room of all others.
        let held = share.as_ref().map_or(0, SemaphorePermit::num_permits);
        let more = len.div_ceil(UNIT_LEN).saturating_sub(held);
        let more = u32::try_from(more).unwrap_or(u32::MAX);
        if more > 0 {
            let room = match rules.budget.try_acquire_many(more) {
                Ok(room) => room,
                Err(_) => wait_for_room(more, rules).await?,
            };
            match &mut share {
                Some(share) => share.merge(room),
                None => share = Some(room),
            }
        }
        // A body in one frame, as small ones are, is not copied.
        if first.is_empty() && whole.is_empty() {
            first = data;
        } else {
            if whole.is_empty() {
                let rest = usize::try_from(incoming.size_hint().lower()).unwrap_or(0);
                whole.reserve(first.len() + data.len() + rest.min(RESERVED_LEN_MAX));
                whole.extend_from_slice(&std::mem::take(&mut first));
            }
            if whole.capacity() - whole.len() < data.len() {
                // Who has sent so much is believed the rest. Room that is grown step by step leaves
                // its former places behind, which together are as large as the body.
                let rest = usize::try_from(incoming.size_hint().lower()).unwrap_or(0);
                whole.reserve(data.len() + rest.min(len_max - len));
            }
            whole.extend_from_slice(&data);
        }
    }
    let bytes = if whole.is_empty() {
        first
    } else {
        whole.freeze()
    };
    Ok(Payload {
        bytes,
        _share: share,
    })
}

/// How much memory an announced length is believed ahead of the bytes: enough that ordinary batches
/// are not copied again and again, little enough that announcing costs the server nothing.
const RESERVED_LEN_MAX: usize = 256 << 10;

/// How long a body waits for room before its client is told to come again.
const ROOM_WAIT_MAX: Duration = Duration::from_secs(5);

async fn wait_for_room(units: u32, rules: &BodyRules) -> Result<SemaphorePermit<'_>, Problem> {
    // Every waiting body holds what it has; without an end, all could wait for each other.
    match tokio::time::timeout(ROOM_WAIT_MAX, rules.budget.acquire_many(units)).await {
        Ok(Ok(share)) => Ok(share),
        Ok(Err(_)) | Err(_) => Err(Problem::new(
            ProblemType::BUSY,
            "there is no memory for the body at the moment; nothing was done",
        )
        .retry_after(1)
        .closing()),
    }
}

fn too_long(len_max: usize) -> Problem {
    Problem::new(
        ProblemType::TOO_LARGE,
        format!("the body is longer than {len_max} bytes; nothing was done"),
    )
    .with("limit", Member::Number(len_max as u64))
    .closing()
}
