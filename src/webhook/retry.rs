//! How long to wait before a delivery is tried again.

use std::time::Duration;

/// Pauses that grow from attempt to attempt, up to a limit.
///
/// The pause before a retry is drawn between half of the grown value and all of it: endpoints that
/// failed together are not called again together, and none is called again at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Backoff {
    /// The whole pause after the first failed attempt.
    pub first: Duration,
    /// How many times longer it is after each further one; with 1 it does not grow, and 0 counts
    /// as 1.
    pub factor: u32,
    /// What it grows to at most.
    pub max: Duration,
    /// How many attempts there are in all; none if there is no end to them.
    pub attempts_max: Option<u32>,
}

impl Backoff {
    /// How long to wait after attempt number `attempt`, counted from 1, has failed; none if that
    /// was the last. `random` is any number, of which all are as likely.
    #[must_use]
    pub fn pause(&self, attempt: u32, random: u64) -> Option<Duration> {
        if self.attempts_max.is_some_and(|max| attempt >= max) {
            return None;
        }
        let growths = attempt.saturating_sub(1);
        let factor = u128::from(self.factor.max(1)).saturating_pow(growths);
        let whole_ns = self.first.as_nanos().saturating_mul(factor);
        // Five hundred years are enough, and leave room to multiply by a random number.
        let whole_ns = u64::try_from(whole_ns.min(self.max.as_nanos())).unwrap_or(u64::MAX);
        let half_ns = whole_ns / 2;
        let drawn_ns = (u128::from(whole_ns - half_ns) * u128::from(random)) >> 64;
        let drawn_ns = u64::try_from(drawn_ns).unwrap_or(u64::MAX);
        Some(Duration::from_nanos(half_ns.saturating_add(drawn_ns)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const BACKOFF: Backoff = Backoff {
        first: Duration::from_secs(1),
        factor: 3,
        max: Duration::from_secs(60),
        attempts_max: Some(6),
    };

    #[test]
    fn pauses_grow_by_the_factor_up_to_the_limit_and_then_end() {
        let shortest: Vec<_> = (0..=7).map(|attempt| BACKOFF.pause(attempt, 0)).collect();
        let ms = |ms| Some(Duration::from_millis(ms));
        let halves = [
            ms(500),
            ms(500),
            ms(1_500),
            ms(4_500),
            ms(13_500),
            ms(30_000),
            None,
            None,
        ];
        assert_eq!(shortest, halves);
        for (attempt, half) in (1..).zip(&halves[1..6]) {
            let whole = half.unwrap() * 2;
            let longest = BACKOFF.pause(attempt, u64::MAX).unwrap();
            assert!(longest < whole && whole - longest < Duration::from_micros(1));
        }
    }

    #[test]
    fn random_numbers_spread_evenly_between_half_and_whole() {
        let quarter = BACKOFF.pause(1, 1 << 62).unwrap();
        let middle = BACKOFF.pause(1, 1 << 63).unwrap();
        assert_eq!(quarter, Duration::from_millis(625));
        assert_eq!(middle, Duration::from_millis(750));
    }

    #[test]
    fn a_single_attempt_is_never_repeated() {
        let once = Backoff {
            attempts_max: Some(1),
            ..BACKOFF
        };
        assert_eq!(once.pause(1, 0), None);
        let never = Backoff {
            attempts_max: Some(0),
            ..BACKOFF
        };
        assert_eq!(never.pause(0, 0), None);
    }

    proptest! {
        #[test]
        fn no_number_overflows_or_leaves_the_bounds(
            first_ns in any::<u64>(),
            first_s in any::<u64>(),
            factor in any::<u32>(),
            max_s in any::<u64>(),
            attempt in any::<u32>(),
            random in any::<u64>(),
        ) {
            for first in [Duration::from_nanos(first_ns), Duration::from_secs(first_s)] {
                let max = Duration::from_secs(max_s);
                let backoff = Backoff { first, factor, max, attempts_max: None };
                let pause = backoff.pause(attempt, random).unwrap();
                prop_assert!(pause <= max);
                let least = first.min(max).min(Duration::from_nanos(u64::MAX)) / 2;
                prop_assert!(pause >= least);
                prop_assert!(backoff.pause(attempt.saturating_add(1), random).unwrap() >= pause);
            }
        }
    }
}
