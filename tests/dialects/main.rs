//! The dialects from outside: a server in this process, asked over sockets as their clients do.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]
#![allow(
    clippy::disallowed_methods,
    reason = "deadlines of tests are the machine's time"
)]

mod axon;
#[path = "../api/client.rs"]
#[allow(dead_code, reason = "shared with the tests of the native API")]
mod client;
#[allow(dead_code, reason = "each file of tests uses a part of it")]
mod credentials;
mod doors;
mod eventhos;
mod fidelity;
#[allow(dead_code, reason = "each file of tests uses a part of it")]
mod harness;
mod newstore;
mod pavbis;
#[allow(dead_code, reason = "each file of tests uses a part of it")]
mod receiver;
mod spotahome;
mod story;
mod webhooks;
