//! What can still be read of a damaged file: by one way for reading, verifying, indexing and repair,
//! so that all of them say the same.
//!
//! Batch headers carry a checksum that nobody outside can make (FORMAT.md, section 4), so they are
//! where a walk along the file starts again; between two of them [`region`] finds the records.

mod header;
mod region;
mod walk;

pub(crate) use header::{log_id_by_records, start_of};
pub(crate) use region::{Place, records_max};
pub(crate) use walk::{Examined, Fault, examine, place_of_id, proven_to};
