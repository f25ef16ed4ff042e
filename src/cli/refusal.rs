//! Why a call did not do what it was to do, and whether trying again may help.

use std::fmt;
use std::time::Duration;

use serde::Deserialize;

use super::client::ClientError;
use super::failure::chain;

/// A problem document, as far as it is looked at.
#[derive(Deserialize)]
struct Problem {
    status: Option<u16>,
    code: Option<String>,
    title: Option<String>,
    detail: Option<String>,
    index: Option<usize>,
    line: Option<u64>,
    offset: Option<u64>,
}

impl Problem {
    fn into_refusal(self, status: u16) -> Refusal {
        Refusal {
            status,
            code: self.code,
            detail: self
                .detail
                .or(self.title)
                .unwrap_or_else(|| "no reason given".to_owned()),
            index: self.index,
            line: self.line,
            offset: self.offset,
            retry_after: None,
        }
    }
}

/// A refusal, from the server's problem document (RFC 9457) if it sent one.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Refusal {
    pub(crate) status: u16,
    pub(crate) code: Option<String>,
    detail: String,
    /// Which event of the batch it is about, from 0.
    pub(crate) index: Option<usize>,
    /// Which line of the request.
    line: Option<u64>,
    /// Which byte of the request.
    offset: Option<u64>,
    pub(crate) retry_after: Option<Duration>,
}

impl Refusal {
    /// The longest piece of a foreign answer that is quoted, in characters.
    const QUOTE_MAX: usize = 200;

    pub(crate) fn read(status: u16, retry_after: Option<Duration>, body: &[u8]) -> Self {
        match serde_json::from_slice::<Problem>(body) {
            Ok(problem) => Self {
                retry_after,
                ..problem.into_refusal(status)
            },
            // Something between us and the server has answered in its place.
            Err(_) => Self {
                status,
                code: None,
                detail: String::from_utf8_lossy(body)
                    .chars()
                    .take(Self::QUOTE_MAX)
                    .collect(),
                index: None,
                line: None,
                offset: None,
                retry_after,
            },
        }
    }

    /// The refusal in the line that ends a reading which failed in the middle; none if the line is
    /// something else.
    pub(crate) fn in_line(line: &[u8]) -> Option<Self> {
        #[derive(Deserialize)]
        struct Last {
            problem: Problem,
        }
        let Last { problem } = serde_json::from_slice(line).ok()?;
        let status = problem.status?;
        Some(problem.into_refusal(status))
    }

    /// The member and the reason, for somebody who knows lines of a file: not where in the request it
    /// was, nor that nothing of the request was stored.
    pub(crate) fn of_a_line(mut self) -> Self {
        let mut what = self.detail.as_str();
        what = what.strip_suffix("; nothing was stored").unwrap_or(what);
        if let Some(offset) = self.offset {
            let place = format!(" (at byte {offset} of the body)");
            what = what.strip_suffix(&*place).unwrap_or(what);
        }
        if let Some(index) = self.index {
            let mut place = format!("event {index}");
            if let Some(line) = self.line {
                place.push_str(&format!(" (line {line})"));
            }
            if let Some(rest) = what.strip_prefix(&*place) {
                what = [", ", ": "]
                    .iter()
                    .find_map(|between| rest.strip_prefix(between))
                    .unwrap_or(what);
            }
        }
        self.detail = what.to_owned();
        self
    }

    /// Whether the same request may pass later.
    pub(crate) fn may_pass_later(&self) -> bool {
        matches!(self.status, 408 | 429 | 500 | 502 | 503 | 504 | 507)
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (status {}", self.detail, self.status)?;
        if let Some(code) = &self.code {
            write!(f, ", {code}")?;
        }
        write!(f, ")")
    }
}

/// Why a call did not do what it was to do.
#[derive(Debug)]
pub(crate) enum CallFailure {
    /// There is no whole answer, so nobody knows.
    NoAnswer(ClientError),
    /// The server refused it.
    Refused(Refusal),
    /// The answer is whole, and is not what was asked for.
    Broken(String),
}

impl CallFailure {
    /// Whether the same call may pass later.
    pub(crate) fn may_pass_later(&self) -> bool {
        match self {
            Self::NoAnswer(
                ClientError::Connect(_) | ClientError::Lost(_) | ClientError::TimedOut(_),
            ) => true,
            Self::NoAnswer(
                ClientError::Request(_) | ClientError::TooLong(_) | ClientError::NotAnAnswer,
            ) => false,
            Self::Refused(refusal) => refusal.may_pass_later(),
            Self::Broken(_) => false,
        }
    }

    /// How long the server asks to wait.
    pub(crate) fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::NoAnswer(_) | Self::Broken(_) => None,
            Self::Refused(refusal) => refusal.retry_after,
        }
    }
}

impl fmt::Display for CallFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoAnswer(error) => f.write_str(&chain(error)),
            Self::Refused(refusal) => refusal.fmt(f),
            Self::Broken(reason) => f.write_str(reason),
        }
    }
}

impl From<ClientError> for CallFailure {
    fn from(error: ClientError) -> Self {
        Self::NoAnswer(error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_problem_document_is_told_with_its_code_and_the_event_it_is_about() {
        let body = br#"{"type":"t","title":"Bad","status":400,"code":"invalid-event","detail":"no stream","index":7}"#;
        let refusal = Refusal::read(400, None, body);
        assert_eq!(refusal.index, Some(7));
        assert_eq!(refusal.to_string(), "no stream (status 400, invalid-event)");
    }

    #[test]
    fn an_answer_that_is_no_problem_document_is_quoted_in_part() {
        let refusal = Refusal::read(502, None, "<html>".repeat(100).as_bytes());
        assert_eq!(refusal.detail.len(), Refusal::QUOTE_MAX);
        assert!(refusal.may_pass_later());
    }
}
