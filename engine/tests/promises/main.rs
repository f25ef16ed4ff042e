//! The engine's promises, through its public names: one module a promise.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod acknowledged;
mod all_or_nothing;
mod backup;
mod bits;
mod blocks;
mod case;
mod checkpoints;
mod closing;
mod conditions;
mod contradictions;
mod corpus;
mod damage;
mod dense_ids;
mod failing_maps;
mod failure_is_a_state;
mod figures;
mod files;
mod first_writes;
mod format;
mod full_disk;
mod idempotency;
mod interrupted_repair;
mod lock;
mod lost_events;
mod misplaced;
mod model;
mod names_in_doubt;
mod opening;
mod picture;
mod reading;
mod real_disk;
mod recovery;
mod repair;
mod retention;
#[cfg(feature = "sabotage")]
mod sabotage;
mod settings;
mod slow;
mod steps;
mod story;
mod support;
mod trouble;
mod truth;
mod visibility;
