//! Locking clients whose secret is being guessed (spec section 5): more than 3 wrong ones, 3 minutes.
//!
//! Only clients that exist are counted, so there are never more entries than clients.

use std::collections::HashMap;
use std::time::Duration;

use parking_lot::Mutex;

use crate::clock::Moment;

/// How many wrong secrets are forgiven.
const WRONG_MAX: u32 = 3;
/// How long a client stays locked, and how long a wrong secret is remembered.
const LOCKED: Duration = Duration::from_secs(3 * 60);

/// Wrong secrets, by the client's id.
#[derive(Debug, Default)]
pub(super) struct Locks(Mutex<HashMap<u64, Wrong>>);

#[derive(Clone, Copy, Debug)]
struct Wrong {
    count: u32,
    /// When the last one came.
    last: Moment,
}

impl Locks {
    /// Whether nothing is accepted of a client at the moment.
    pub(super) fn is_locked(&self, client: u64, now: Moment) -> bool {
        let mut wrong = self.0.lock();
        let Some(of_client) = wrong.get(&client) else {
            return false;
        };
        if now.since(of_client.last) >= LOCKED {
            wrong.remove(&client);
            return false;
        }
        of_client.count > WRONG_MAX
    }

    /// A wrong secret was presented; whether that locks the client.
    pub(super) fn wrong(&self, client: u64, now: Moment) -> bool {
        let mut wrong = self.0.lock();
        let of_client = wrong.entry(client).or_insert(Wrong {
            count: 0,
            last: now,
        });
        of_client.count = of_client.count.saturating_add(1);
        of_client.last = now;
        of_client.count > WRONG_MAX
    }

    /// The right secret was presented.
    pub(super) fn right(&self, client: u64) {
        self.0.lock().remove(&client);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::{Clock as _, HandClock};

    #[test]
    fn the_fourth_wrong_secret_locks_for_three_minutes() {
        let clock = HandClock::at(0);
        let locks = Locks::default();
        for _ in 0..3 {
            assert!(!locks.wrong(1, clock.moment()));
        }
        assert!(!locks.is_locked(1, clock.moment()));
        assert!(locks.wrong(1, clock.moment()));
        assert!(locks.is_locked(1, clock.moment()));
        assert!(!locks.is_locked(2, clock.moment()));
        clock.advance(LOCKED - Duration::from_micros(1));
        assert!(locks.is_locked(1, clock.moment()));
        clock.advance(Duration::from_micros(1));
        assert!(!locks.is_locked(1, clock.moment()));
    }

    #[test]
    fn the_right_secret_and_time_let_wrong_ones_be_forgotten() {
        let clock = HandClock::at(0);
        let locks = Locks::default();
        for _ in 0..3 {
            locks.wrong(1, clock.moment());
        }
        locks.right(1);
        locks.wrong(1, clock.moment());
        assert!(!locks.is_locked(1, clock.moment()));
        for _ in 0..2 {
            locks.wrong(1, clock.moment());
        }
        clock.advance(LOCKED);
        assert!(!locks.is_locked(1, clock.moment()));
        locks.wrong(1, clock.moment());
        assert!(!locks.is_locked(1, clock.moment()));
    }
}
