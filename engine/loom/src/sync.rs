//! What stands in `engine/src/sync.rs`, over loom; with faults that can be planted below the modules
//! under test, to see whether the tests notice.

use std::ops::{Deref, DerefMut};
use std::sync::atomic::{AtomicU8, Ordering as StdOrdering};
use std::time::Duration;

use loom::sync as checked;

pub(crate) use loom::sync::atomic::Ordering;

/// What can be wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Fault {
    None,
    /// Nobody who waits on a condition is told.
    DeafConditions,
    /// Atomics order nothing but themselves.
    RelaxedAtomics,
}

// One for the process: each test with a fault runs in a process of its own (see `tests.rs`).
static FAULT: AtomicU8 = AtomicU8::new(Fault::None as u8);

/// Plants a fault for the rest of the process.
pub(crate) fn plant(fault: Fault) {
    FAULT.store(fault as u8, StdOrdering::Relaxed);
}

fn has(fault: Fault) -> bool {
    FAULT.load(StdOrdering::Relaxed) == fault as u8
}

fn weakened(ordering: Ordering) -> Ordering {
    if has(Fault::RelaxedAtomics) {
        Ordering::Relaxed
    } else {
        ordering
    }
}

/// A lock with the interface of `parking_lot`.
#[derive(Debug, Default)]
pub(crate) struct Mutex<T>(checked::Mutex<T>);

/// Always full but while a condition is waited for.
pub(crate) struct MutexGuard<'a, T>(Option<checked::MutexGuard<'a, T>>);

impl<T> Mutex<T> {
    pub(crate) fn new(value: T) -> Self {
        Self(checked::Mutex::new(value))
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, T> {
        MutexGuard(Some(self.0.lock().expect("nobody panics under a lock")))
    }
}

impl<T> Deref for MutexGuard<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        self.0.as_ref().expect("it is full")
    }
}

impl<T> DerefMut for MutexGuard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        self.0.as_mut().expect("it is full")
    }
}

/// A condition with the interface of `parking_lot`. Time does not pass: who waits with a timeout waits
/// until he is told, so that a lost word is never made up for.
#[derive(Debug, Default)]
pub(crate) struct Condvar(checked::Condvar);

/// Whether a wait ended without a word: never.
pub(crate) struct WaitTimeoutResult;

impl WaitTimeoutResult {
    pub(crate) fn timed_out(&self) -> bool {
        false
    }
}

impl Condvar {
    pub(crate) fn new() -> Self {
        Self(checked::Condvar::new())
    }

    pub(crate) fn notify_one(&self) {
        if !has(Fault::DeafConditions) {
            self.0.notify_one();
        }
    }

    pub(crate) fn notify_all(&self) {
        if !has(Fault::DeafConditions) {
            self.0.notify_all();
        }
    }

    pub(crate) fn wait<T>(&self, guard: &mut MutexGuard<'_, T>) {
        let inner = guard.0.take().expect("it is full");
        guard.0 = Some(self.0.wait(inner).expect("nobody panics under a lock"));
    }

    pub(crate) fn wait_for<T>(
        &self,
        guard: &mut MutexGuard<'_, T>,
        _timeout: Duration,
    ) -> WaitTimeoutResult {
        self.wait(guard);
        WaitTimeoutResult
    }

    pub(crate) fn wait_while_for<T>(
        &self,
        guard: &mut MutexGuard<'_, T>,
        mut condition: impl FnMut(&mut T) -> bool,
        _timeout: Duration,
    ) -> WaitTimeoutResult {
        while condition(guard) {
            self.wait(guard);
        }
        WaitTimeoutResult
    }
}

macro_rules! atomic {
    ($name:ident, $value:ty) => {
        #[derive(Debug)]
        pub(crate) struct $name(checked::atomic::$name);

        impl $name {
            pub(crate) fn new(value: $value) -> Self {
                Self(checked::atomic::$name::new(value))
            }

            pub(crate) fn load(&self, ordering: Ordering) -> $value {
                self.0.load(weakened(ordering))
            }

            pub(crate) fn store(&self, value: $value, ordering: Ordering) {
                self.0.store(value, weakened(ordering));
            }
        }
    };
}

atomic!(AtomicBool, bool);
atomic!(AtomicU64, u64);
