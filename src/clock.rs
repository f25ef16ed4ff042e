//! Time and chance, handed in from outside: the same clock and the same numbers give the same run.
//!
//! Nothing else in the server asks for the time. A server uses [`SystemClock`] and
//! [`SystemRandom`]; a test moves a [`HandClock`] and counts with [`CountedRandom`].

use std::fmt;
use std::future::Future;
use std::hash::{BuildHasher, RandomState};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime};

use parking_lot::Mutex;
use tokio::sync::Notify;

/// A pause; dropping it gives it up.
pub type Pause = Pin<Box<dyn Future<Output = ()> + Send>>;

/// A point on a clock that never goes back: the time since that clock was made.
///
/// Deadlines are counted in it, so that setting the machine's date neither ends nor prolongs a
/// wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Moment(Duration);

impl Moment {
    /// The moment `duration` after this one; the last one there is if that is beyond it.
    #[must_use]
    pub fn after(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(duration))
    }

    /// How long it is from `earlier` to this moment; zero if `earlier` is later.
    #[must_use]
    pub fn since(self, earlier: Self) -> Duration {
        self.0.saturating_sub(earlier.0)
    }
}

/// Tells the time, and waits.
pub trait Clock: fmt::Debug + Send + Sync + 'static {
    /// Microseconds since 1970 (UTC). Follows the machine's date, so it may go back.
    fn now_us(&self) -> u64;

    /// Now, on the clock that never goes back.
    fn moment(&self) -> Moment;

    /// Resolves once `deadline` has come; at once if it has passed.
    fn sleep_until(&self, deadline: Moment) -> Pause;
}

/// The clock of the machine. Its pauses need a tokio runtime with timers.
#[derive(Clone, Copy, Debug)]
pub struct SystemClock {
    made: Instant,
}

impl SystemClock {
    /// A clock whose first moment is now.
    #[expect(
        clippy::disallowed_methods,
        reason = "this is the clock that is handed in everywhere else"
    )]
    #[must_use]
    pub fn new() -> Self {
        Self {
            made: Instant::now(),
        }
    }
}

impl Default for SystemClock {
    fn default() -> Self {
        Self::new()
    }
}

impl Clock for SystemClock {
    #[expect(
        clippy::disallowed_methods,
        reason = "this is the clock that is handed in everywhere else"
    )]
    fn now_us(&self) -> u64 {
        SystemTime::now()
            .duration_since(SystemTime::UNIX_EPOCH)
            .map_or(0, |since| {
                u64::try_from(since.as_micros()).unwrap_or(u64::MAX)
            })
    }

    fn moment(&self) -> Moment {
        Moment(self.made.elapsed())
    }

    fn sleep_until(&self, deadline: Moment) -> Pause {
        // `tokio::time::sleep` caps what is beyond its wheel at years, so no deadline overflows.
        Box::pin(tokio::time::sleep(deadline.since(self.moment())))
    }
}

/// A clock that stands still until it is moved. Clones show the same time.
#[derive(Clone, Debug)]
pub struct HandClock(Arc<Hand>);

#[derive(Debug)]
struct Hand {
    times: Mutex<(u64, Duration)>,
    moved: Notify,
}

impl HandClock {
    /// A clock that shows `now_us`.
    #[must_use]
    pub fn at(now_us: u64) -> Self {
        Self(Arc::new(Hand {
            times: Mutex::new((now_us, Duration::ZERO)),
            moved: Notify::new(),
        }))
    }

    /// Lets `duration` pass, and ends the pauses whose deadline has come by then.
    pub fn advance(&self, duration: Duration) {
        {
            let mut times = self.0.times.lock();
            let passed_us = u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
            times.0 = times.0.saturating_add(passed_us);
            times.1 = times.1.saturating_add(duration);
        }
        self.0.moved.notify_waiters();
    }

    /// Sets the date, forward or back, without time passing.
    pub fn set_date(&self, now_us: u64) {
        self.0.times.lock().0 = now_us;
    }
}

impl Clock for HandClock {
    fn now_us(&self) -> u64 {
        self.0.times.lock().0
    }

    fn moment(&self) -> Moment {
        Moment(self.0.times.lock().1)
    }

    fn sleep_until(&self, deadline: Moment) -> Pause {
        let clock = self.clone();
        Box::pin(async move {
            loop {
                let moved = clock.0.moved.notified();
                tokio::pin!(moved);
                // Listening begins before the look at the time, so a move in between is not missed.
                moved.as_mut().enable();
                if clock.moment() >= deadline {
                    return;
                }
                moved.await;
            }
        })
    }
}

/// Gives numbers that nobody can foretell.
pub trait Random: fmt::Debug + Send + Sync + 'static {
    /// The next number.
    fn next_u64(&self) -> u64;
}

/// Numbers from a counter under a keyed hash; the key comes from the operating system.
///
/// Event ids need numbers that do not repeat and cannot be guessed, hundreds of thousands a second.
/// A system call for each would cost more than the rest of an event's head; a keyed hash costs some
/// nanoseconds and needs no lock. Secrets are not made from it.
#[derive(Debug, Default)]
pub struct SystemRandom {
    key: RandomState,
    count: AtomicU64,
}

impl SystemRandom {
    /// A source with a key of its own.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }
}

impl Random for SystemRandom {
    fn next_u64(&self) -> u64 {
        self.key
            .hash_one(self.count.fetch_add(1, Ordering::Relaxed))
    }
}

/// Numbers that repeat from run to run, for tests: each differs from the one before.
#[derive(Debug)]
pub struct CountedRandom(AtomicU64);

impl CountedRandom {
    /// The sequence that `seed` begins.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self(AtomicU64::new(seed))
    }
}

impl Random for CountedRandom {
    fn next_u64(&self) -> u64 {
        // An odd factor makes the product a bijection: no number comes twice, and the high bits
        // move as well.
        self.0
            .fetch_add(1, Ordering::Relaxed)
            .wrapping_add(1)
            .wrapping_mul(0x9e37_79b9_7f4a_7c15)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_pause_of_the_hand_clock_ends_when_its_deadline_comes_and_not_before() {
        let clock = HandClock::at(5);
        let deadline = clock.moment().after(Duration::from_secs(10));
        let pause = tokio::spawn(clock.sleep_until(deadline));
        clock.advance(Duration::from_secs(9));
        tokio::task::yield_now().await;
        assert!(!pause.is_finished());
        clock.advance(Duration::from_secs(1));
        pause.await.unwrap();
        assert_eq!(clock.now_us(), 10_000_005);
    }

    #[test]
    fn setting_the_date_moves_no_deadline() {
        let clock = HandClock::at(1_000);
        let before = clock.moment();
        clock.set_date(0);
        assert_eq!((clock.now_us(), clock.moment()), (0, before));
    }

    #[test]
    fn random_numbers_differ() {
        let random = SystemRandom::new();
        let mut numbers: Vec<u64> = (0..1_000).map(|_| random.next_u64()).collect();
        numbers.sort_unstable();
        numbers.dedup();
        assert_eq!(numbers.len(), 1_000);
    }
}
