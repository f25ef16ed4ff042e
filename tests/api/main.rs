//! The native API from outside: a server in this process, asked over sockets.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]
#![allow(
    clippy::disallowed_methods,
    reason = "deadlines of tests are the machine's time"
)]

mod around;
mod bad_input;
mod client;
mod consumers;
mod harness;
mod idempotency;
mod live;
mod logs;
mod publish;
mod records;
mod refusals;
mod replay;
mod slow;
mod stopping;
mod streams;
