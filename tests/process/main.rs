//! The real binary, from outside: started, loaded, killed, started again.
//!
//! Every test has a data directory and a port of its own. Waiting is always for a condition, with a
//! deadline.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod backup;
mod crash;
mod descriptors;
mod eventhos;
mod events;
mod harness;
mod http;
mod import_export;
mod logins;
mod memory;
mod pavbis;
mod readme;
mod repair;
#[path = "../../engine/tests/promises/settings.rs"]
mod settings;
mod start;
mod stop;
mod verify;
