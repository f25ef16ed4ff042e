//! The storage engine of Strandlog: an append-only log of events in checked segment files.

#![warn(clippy::indexing_slicing)]
#![warn(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_possible_wrap
)]
#![allow(
    dead_code,
    unused_imports,
    reason = "the log that uses the storage joins next"
)]

pub mod storage;
pub mod tags;
