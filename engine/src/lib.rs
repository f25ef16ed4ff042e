//! The storage engine of Strandlog: an append-only log of records in checked segment files.
//!
//! A record is an id, the time at which the log took it, a few tags, and a body that the log does
//! not look into. Every byte on disk is described in `FORMAT.md`.
//!
//! # Promises
//!
//! - *Acknowledged means durable and readable.* What [`Log::append`] reports as stored survives the
//!   loss of power ([`Durability::Os`] is the one way to weaken that, and has to be asked for).
//! - *Ids are dense, ascending, never reused*, and visible only after every lower id. A reader never
//!   sees what a crash could take back.
//! - *A batch is all or nothing*, contiguous, in the order given.
//! - *Expectations are linearizable*: of two appends that expect the same rank of a tag, one wins.
//! - *No byte is handed out unchecked.* Damage is named ([`Damage`]), never skipped or guessed.
//! - *Opening costs the tail, not the data*, and memory does not grow with tags or segments.
//! - *The first failed write or sync is a state* ([`Health::Failed`]); reads go on. A full disk is
//!   another ([`Health::Full`]), which ends by itself.
//!
//! # An example
//!
//! ```
//! use std::sync::Arc;
//! use strandlog_engine::storage::DiskStorage;
//! use strandlog_engine::{Batch, Direction, Log, Options, Tag};
//!
//! # let directory = tempfile::tempdir()?;
//! # let path = directory.path().join("orders");
//! let storage = Arc::new(DiskStorage::create(&path)?);
//! # let options = Options { segment_len: 1 << 20, ..Options::default() };
//! # #[cfg(any())]
//! let options = Options::default();
//! let (log, _report) = Log::open(storage, options)?;
//!
//! // The first record of "order-7": anybody else who expects rank 0 is refused from now on.
//! let mut batch = Batch::new();
//! batch.push(&[Tag::expecting(b"order-7", 0)], &[b"placed"])?;
//! let receipt = log.append(batch).wait()?;
//! assert_eq!(receipt.first_id.get(), 1);
//!
//! let mut scan = log.scan(log.first()..log.end(), Direction::Forward)?;
//! while let Some(records) = scan.next_records(1_000, 1 << 20)? {
//!     for record in records.iter() {
//!         assert_eq!(record?.body, b"placed");
//!     }
//! }
//! assert_eq!(log.tag_end(b"order-7")?.map(|end| end.count), Some(1));
//! log.close()?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # What it does not know
//!
//! HTTP, JSON, tokio, logging. It returns reports and counters; whoever embeds it shows them. It
//! opens no file outside [`storage`], and asks nobody but the [`Clock`] it was given for the time.

#![warn(clippy::indexing_slicing)]
#![warn(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_possible_wrap
)]
#![warn(clippy::big_endian_bytes, clippy::host_endian_bytes)]

mod backup;
mod batch;
mod begin;
mod checkpoint;
mod commit;
mod cursor;
mod describe;
mod ends;
mod error;
mod format;
pub mod fuzzing;
mod log;
mod losses;
mod open;
mod options;
mod position;
mod queue;
mod records;
mod recovery;
mod repair;
#[cfg(feature = "sabotage")]
mod sabotage;
mod salvage;
mod scan;
mod segment;
mod shared;
mod stats;
pub mod storage;
mod sync;
mod tags;
mod tail;
mod ticket;
mod upkeep;
mod verify;
mod waiters;

pub use backup::{BackupError, BackupReport, backup};
pub use batch::{BATCH_LEN_MAX, Batch, BatchError, Condition, Receipt, Tag};
pub use checkpoint::{
    CHECKPOINT_DEFINITION_LEN_MAX, CHECKPOINT_NAME_LEN_MAX, Checkpoint, Checkpointing,
};
pub use describe::describe_file;
pub use error::{AppendError, CheckpointError, Damage, OpenError, RankMismatch, ReadError};
pub use format::record::{RECORD_LEN_MAX, Record, TAG_LEN_MAX, TAGS_MAX, Tags};
pub use log::{Appending, Log, LogDescription};
pub use options::{
    Background, Clock, Durability, Entropy, Options, Retention, SEGMENT_LEN_MAX, SEGMENT_LEN_MIN,
    SystemClock, SystemEntropy,
};
pub use position::{Direction, EventId, NotAnEventId};
pub use records::Records;
pub use recovery::RecoveryReport;
pub use repair::{LostEvents, RepairAct, RepairPlan, RepairReport, repair};
#[cfg(feature = "sabotage")]
pub use sabotage::Sabotage;
pub use scan::{RawScan, Scan};
pub use shared::Health;
pub use stats::Stats;
pub use tags::{Query, TagEnd};
pub use verify::{VerifyReport, verify};
pub use waiters::EndMoved;
