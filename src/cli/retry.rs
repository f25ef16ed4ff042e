//! When to try again, and when to give up.

use std::time::Duration;

use crate::clock::{Clock, Moment, SystemClock};

/// The pause before the first repeat; each further one is twice as long.
const PAUSE_FIRST: Duration = Duration::from_millis(100);
/// The longest pause: a server that comes back is noticed within it.
const PAUSE_MAX: Duration = Duration::from_secs(5);

/// Repeats with growing pauses, as long as the last success is not too far back.
#[derive(Debug)]
pub(crate) struct Retry {
    clock: SystemClock,
    patience: Duration,
    last_success: Moment,
    pause: Duration,
    ever: bool,
}

impl Retry {
    /// Gives up once there has been no success for `patience`.
    pub(crate) fn new(clock: SystemClock, patience: Duration) -> Self {
        Self {
            clock,
            patience,
            last_success: clock.moment(),
            pause: PAUSE_FIRST,
            ever: false,
        }
    }

    /// It worked: the patience is whole again.
    pub(crate) fn succeeded(&mut self) {
        self.last_success = self.clock.moment();
        self.pause = PAUSE_FIRST;
        self.ever = true;
    }

    /// Whether it ever worked.
    pub(crate) fn ever_succeeded(&self) -> bool {
        self.ever
    }

    /// How long to pause before the next try, at least `asked` if the other side asked for it; none
    /// when it is time to give up.
    pub(crate) fn next_pause(&mut self, asked: Option<Duration>) -> Option<Duration> {
        let left = self
            .patience
            .checked_sub(self.clock.moment().since(self.last_success))
            .filter(|left| !left.is_zero())?;
        let pause = self.pause.max(asked.unwrap_or_default()).min(left);
        self.pause = (self.pause * 2).min(PAUSE_MAX);
        Some(pause)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_a_limit_and_start_anew_after_a_success() {
        let mut retry = Retry::new(SystemClock::new(), Duration::from_secs(3_600));
        let pauses: Vec<u128> = (0..8)
            .map(|_| retry.next_pause(None).unwrap().as_millis())
            .collect();
        assert_eq!(pauses, [100, 200, 400, 800, 1_600, 3_200, 5_000, 5_000]);
        retry.succeeded();
        assert_eq!(retry.next_pause(None), Some(PAUSE_FIRST));
    }

    #[test]
    fn a_server_that_asks_for_a_longer_pause_gets_it() {
        let mut retry = Retry::new(SystemClock::new(), Duration::from_secs(3_600));
        let asked = Duration::from_secs(7);
        assert_eq!(retry.next_pause(Some(asked)), Some(asked));
    }

    #[test]
    fn without_patience_there_is_no_second_try() {
        let mut retry = Retry::new(SystemClock::new(), Duration::ZERO);
        assert_eq!(retry.next_pause(None), None);
    }
}
