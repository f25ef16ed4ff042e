//! The storage engine of Strandlog: an append-only log of events in checked segment files.

#![warn(clippy::indexing_slicing)]
#![warn(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_possible_wrap
)]
#![warn(clippy::big_endian_bytes, clippy::host_endian_bytes)]

mod batch;
mod checkpoint;
mod commit;
mod describe;
mod error;
mod format;
mod log;
mod open;
mod options;
mod position;
mod queue;
mod records;
mod recovery;
mod scan;
mod segment;
mod shared;
mod stats;
pub mod storage;
mod tags;
mod tail;
mod ticket;
mod upkeep;
mod verify;
mod waiters;

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
pub use scan::{RawScan, Scan};
pub use shared::Health;
pub use stats::Stats;
pub use tags::{Query, TagEnd};
pub use verify::{VerifyReport, verify};
pub use waiters::EndMoved;
