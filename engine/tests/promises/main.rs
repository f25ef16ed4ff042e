//! The engine's promises, through its public names: one module a promise.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod acknowledged;
mod all_or_nothing;
mod checkpoints;
mod checkpoints;
mod closing;
mod dense_ids;
mod idempotency;
mod support;
mod visibility;
