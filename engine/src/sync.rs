//! The locks and atomics of what threads hand to each other here. `engine/loom` compiles the same
//! modules with those of a model checker in their place.

pub(crate) use parking_lot::{Condvar, Mutex};
pub(crate) use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
