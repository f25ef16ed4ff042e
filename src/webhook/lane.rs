//! A lane: one reader of one log whose events go to one target, in order, at least once.

use std::sync::Arc;

use crate::app::consumers::Start;
use crate::app::{Filter, Log};

use super::retry::Backoff;
use super::target::Target;

/// What is delivered to whom.
#[derive(Clone, Debug)]
pub struct Lane {
    /// Its name, and that of its place in the log: `axon/<context>/<id>`, for example. No two lanes
    /// of a hub have the same.
    pub name: String,
    /// Whose events.
    pub log: Log,
    /// Which of them.
    pub filter: Filter,
    /// Where it begins if it has no place yet.
    pub start: Start,
    /// The most events of one call; at least 1, and capped at
    /// [`CALL_EVENTS_MAX`](crate::app::limits::CALL_EVENTS_MAX).
    pub batch_size: usize,
    /// The pauses between attempts. If those are limited, events become dead letters after the last
    /// one, and the lane goes on; if not, it tries for ever.
    pub backoff: Backoff,
    /// Whom it calls.
    pub target: Arc<dyn Target>,
}

/// How a lane does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LaneState {
    /// It delivers, or waits for events.
    Running,
    /// The last attempt to deliver failed; it will try again.
    Retrying,
    /// Something else than an answer is in the way: retention has removed what it was to deliver
    /// next, there are too many dead letters, or the server cannot read or write.
    Failing,
    /// The endpoint wants no more calls, and gets none.
    Gone,
}

/// A lane at one moment. Times are in microseconds since 1970 (UTC); none of this but the position
/// outlives the lane.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LaneStatus {
    /// How it does.
    pub state: LaneState,
    /// The id up to which everything is done, durably.
    pub position: u64,
    /// How many attempts there were to deliver what comes next.
    pub attempts: u32,
    /// What went wrong last, if anything did.
    pub last_error: Option<String>,
    /// When that was.
    pub last_error_us: Option<u64>,
    /// When events were delivered last, if any were.
    pub last_success_us: Option<u64>,
    /// When the next attempt is to be, if one is put off.
    pub next_attempt_us: Option<u64>,
}

impl LaneStatus {
    /// A lane that begins.
    pub(super) fn at(position: u64) -> Self {
        Self {
            state: LaneState::Running,
            position,
            attempts: 0,
            last_error: None,
            last_error_us: None,
            last_success_us: None,
            next_attempt_us: None,
        }
    }
}
