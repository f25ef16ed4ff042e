//! What is refused, and how the native API says so: the one table of statuses.
#![deny(clippy::wildcard_enum_match_arm)]

use crate::app::event::NotAnEvent;
use crate::app::name::NameError;
use crate::app::{Code, Details, Failure, FailureKind};
use crate::http::{Member, Problem, ProblemType, Reply, RequestId, StatusCode};

use crate::json::{Fault, FaultKind};

/// Why a request was not carried out.
#[derive(Debug)]
pub enum Refusal {
    /// Its form is wrong.
    Problem(Problem),
    /// The product refused it, or failed.
    Failure(Box<Failure>),
}

impl From<Problem> for Refusal {
    fn from(problem: Problem) -> Self {
        Self::Problem(problem)
    }
}

impl From<Failure> for Refusal {
    fn from(failure: Failure) -> Self {
        Self::Failure(Box::new(failure))
    }
}

impl From<NameError> for Refusal {
    fn from(error: NameError) -> Self {
        Failure::from(error).into()
    }
}

impl From<Fault> for Refusal {
    fn from(fault: Fault) -> Self {
        Self::Problem(fault_problem(fault))
    }
}

impl From<NotAnEvent> for Refusal {
    fn from(error: NotAnEvent) -> Self {
        not_an_event(&error).into()
    }
}

/// The failure of a record that cannot be shown.
pub(super) fn not_an_event(error: &NotAnEvent) -> Failure {
    Failure::new(
        Code::Damaged,
        format!("record {} is not an event: {}", error.id, error.what),
    )
}

impl Refusal {
    /// The problem as it is told, after our own log has been told its causes.
    #[must_use]
    pub fn into_problem(self, id: &RequestId) -> Problem {
        match self {
            Self::Problem(problem) => problem,
            Self::Failure(failure) => {
                if is_ours(failure.kind()) {
                    tracing::warn!(request_id = id.as_str(), %failure, "a request could not be carried out");
                }
                failure_problem(&failure)
            }
        }
    }

    /// The reply.
    #[must_use]
    pub fn into_reply(self, id: &RequestId) -> Reply {
        self.into_problem(id).into_reply(id)
    }
}

/// Whether the cause lies with the server, and an operator should know it.
fn is_ours(kind: FailureKind) -> bool {
    match kind {
        FailureKind::Full | FailureKind::Failed | FailureKind::Damaged | FailureKind::Unknown => {
            true
        }
        FailureKind::Invalid
        | FailureKind::TooLarge
        | FailureKind::NotFound
        | FailureKind::Expired
        | FailureKind::Conflict
        | FailureKind::Unmet
        | FailureKind::KeyReused
        | FailureKind::Denied
        | FailureKind::Busy => false,
    }
}

/// The status of each kind of failure.
#[must_use]
pub fn status(kind: FailureKind) -> StatusCode {
    match kind {
        FailureKind::Invalid => StatusCode::BAD_REQUEST,
        FailureKind::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
        FailureKind::NotFound => StatusCode::NOT_FOUND,
        FailureKind::Expired => StatusCode::GONE,
        FailureKind::Conflict => StatusCode::CONFLICT,
        FailureKind::Unmet => StatusCode::PRECONDITION_FAILED,
        FailureKind::KeyReused => StatusCode::UNPROCESSABLE_ENTITY,
        FailureKind::Denied => StatusCode::FORBIDDEN,
        FailureKind::Busy | FailureKind::Failed => StatusCode::SERVICE_UNAVAILABLE,
        FailureKind::Full => StatusCode::INSUFFICIENT_STORAGE,
        FailureKind::Damaged | FailureKind::Unknown => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

/// The type of problem that a code of the product is.
#[must_use]
pub fn problem_type(code: Code) -> ProblemType {
    ProblemType {
        code: code.as_str(),
        status: status(code.kind()),
        title: code.title(),
    }
}

fn failure_problem(failure: &Failure) -> Problem {
    let mut problem = Problem::new(problem_type(failure.code), failure.message.clone());
    if let Some(index) = failure.index {
        problem = problem.with("index", number(index));
    }
    problem = match failure.details {
        Details::None => problem,
        Details::Sequence { expected, actual } => problem
            .with("expectedSequence", Member::Number(expected))
            .with(
                "actualSequence",
                actual.map_or(Member::Null, Member::Number),
            ),
        Details::Aggregate { given, next } => problem
            .with("givenSequence", Member::Number(given))
            .with("nextSequence", Member::Number(next)),
        Details::Found { condition, id } => problem
            .with("condition", number(condition))
            .with("foundId", Member::Number(id.get())),
        Details::FirstId(id) => problem.with("firstId", Member::Number(id.get())),
        Details::LastId(id) => problem.with("lastId", Member::Number(id)),
        Details::Limit(limit) => problem.with("limit", Member::Number(limit)),
    };
    match failure.kind().retry_after_s() {
        Some(seconds) => problem.retry_after(seconds),
        None => problem,
    }
}

fn fault_problem(fault: Fault) -> Problem {
    let problem_type = match fault.kind {
        FaultKind::Json => ProblemType::INVALID_JSON,
        FaultKind::UnknownMember => ProblemType::UNKNOWN_MEMBER,
        FaultKind::Member => ProblemType::INVALID_MEMBER,
        FaultKind::Name => ProblemType::INVALID_NAME,
        FaultKind::TooLarge => ProblemType::TOO_LARGE,
        FaultKind::TooManyEvents => ProblemType::TOO_MANY_EVENTS,
        FaultKind::NoEvents => problem_type(Code::EmptyBatch),
    };
    let mut place = String::new();
    if let Some(index) = fault.index {
        place = format!("event {index}");
    }
    if let Some(line) = fault.line {
        place.push_str(&format!(" (line {line})"));
    }
    if let Some(member) = &fault.member {
        let comma = if place.is_empty() { "" } else { ", " };
        place.push_str(&format!("{comma}member '{}'", member.escape_debug()));
    }
    let colon = if place.is_empty() { "the body" } else { "" };
    let detail = format!(
        "{place}{colon}: {} (at byte {} of the body); nothing was stored",
        fault.what, fault.offset
    );
    let mut problem = Problem::new(problem_type, detail).with("offset", number(fault.offset));
    if let Some(index) = fault.index {
        problem = problem.with("index", number(index));
    }
    if let Some(line) = fault.line {
        problem = problem.with("line", number(line));
    }
    if let Some(member) = fault.member {
        problem = problem.with("member", Member::Text(member.into()));
    }
    problem
}

fn number(value: usize) -> Member {
    Member::Number(value as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_means_the_same_wherever_it_comes_from() {
        for known in ProblemType::ALL {
            for code in Code::ALL {
                let other = problem_type(*code);
                if other.code == known.code {
                    assert_eq!(other.status, known.status, "{}", known.code);
                }
            }
        }
    }

    #[test]
    fn only_an_unknown_outcome_may_have_changed_anything_and_is_a_500() {
        for code in Code::ALL {
            let status = status(code.kind());
            assert!(status.is_client_error() || status.is_server_error());
            if !code.kind().changed_nothing() {
                assert_eq!(status, StatusCode::INTERNAL_SERVER_ERROR);
            }
        }
    }
}
