//! Positions: the id of an event and the place of its bytes, each with a type of its own.

use std::fmt;
use std::str::FromStr;

/// The id of one event: dense, starts at 1, one more for each event in log order.
///
/// Ids end at 2^63 - 1, so that every client language can hold one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EventId(u64);

impl EventId {
    /// The id of the first event of an empty log.
    pub const FIRST: Self = Self(1);
    /// The highest number that can stand for an id. A log ends a little below 2^62 (FORMAT.md,
    /// section 14).
    pub const MAX: Self = Self(i64::MAX as u64);

    /// The id with this number, or `None` for zero and for numbers beyond [`EventId::MAX`].
    #[must_use]
    pub const fn new(number: u64) -> Option<Self> {
        if number == 0 || number > Self::MAX.0 {
            return None;
        }
        Some(Self(number))
    }

    /// The id as a number.
    #[must_use]
    pub const fn get(self) -> u64 {
        self.0
    }

    /// The id after this one, or `None` once all ids are spent.
    #[must_use]
    pub const fn next(self) -> Option<Self> {
        Self::new(self.0.saturating_add(1))
    }
}

impl fmt::Display for EventId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Which way a read goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Direction {
    /// Ascending ids.
    #[default]
    Forward,
    /// Descending ids.
    Backward,
}

/// The text is not the number of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotAnEventId;

impl fmt::Display for NotAnEventId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "not a number from 1 to {}", EventId::MAX)
    }
}

impl std::error::Error for NotAnEventId {}

impl FromStr for EventId {
    type Err = NotAnEventId;

    fn from_str(text: &str) -> Result<Self, NotAnEventId> {
        // `u64::from_str` takes a leading plus sign, which no other part of the system writes.
        if !text.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(NotAnEventId);
        }
        text.parse().ok().and_then(Self::new).ok_or(NotAnEventId)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_read_back_as_they_are_written() {
        for number in [1, 2, 4_999, EventId::MAX.get()] {
            let id = EventId::new(number).unwrap();
            assert_eq!(id.to_string().parse(), Ok(id));
        }
    }

    #[test]
    fn what_is_no_id_is_refused() {
        for text in ["", "0", "-1", "+1", " 1", "1e3", "9223372036854775808", "x"] {
            assert_eq!(text.parse::<EventId>(), Err(NotAnEventId), "{text:?}");
        }
    }
}
