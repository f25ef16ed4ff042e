//! Repair: the separate, explicit act on a log that is damaged.
//!
//! Opening never repairs, and nothing here happens by itself. What repair does:
//!
//! - it loses no event that can still be read, changes no segment that is sound, and hands no id out
//!   twice: what is lost becomes an explicit gap, recorded beside the segment it lay in
//!   (FORMAT.md, section 17);
//! - it removes nothing: damaged files stay where they are, and one that has to be written anew is put
//!   aside first;
//! - it plans before it acts, and whoever calls it sees the plan and may stop there;
//! - it can be cut off at any step: what is there then is the old log, the repaired one, or a log on
//!   which the next repair goes on. A repair of a sound log does nothing.

use std::sync::Arc;

use crate::error::OpenError;
use crate::options::Options;
use crate::storage::{Storage, WatchedNames};

mod assess;
mod carry_out;
mod files;
mod plan;
mod rebuild;

pub use plan::{LostEvents, RepairAct, RepairPlan};

/// What [`repair`] found and did.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct RepairReport {
    /// What was found, and what was to be done about it.
    pub plan: RepairPlan,
    /// Whether it was done.
    pub is_done: bool,
    /// Files that repairs have put aside, this one's included.
    pub set_aside_files: u64,
    /// Their bytes.
    pub set_aside_len: u64,
}

/// Looks for everything that is wrong with the log in this directory, which must not be open, shows
/// the plan to `confirm`, and carries it out if that says so. A plan without acts is not asked about.
///
/// Of `options` it needs the clock, the entropy and the lengths of new files. `progress` is told how
/// many bytes have been looked at, and of how many. Takes the time of reading the whole log, and
/// memory for its longest segment.
///
/// # Errors
///
/// [`OpenError::InUse`], [`OpenError::NotALog`], [`OpenError::NewerFormat`]: nothing was changed.
/// [`OpenError::Io`]: some acts may have been carried out; the next repair goes on.
pub fn repair(
    storage: Arc<dyn Storage>,
    options: &Options,
    confirm: &mut dyn FnMut(&RepairPlan) -> bool,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<RepairReport, OpenError> {
    let watched: Arc<dyn Storage> = Arc::new(WatchedNames::new(storage));
    // Before the lock, which leaves a file behind: a foreign directory is not touched.
    files::list(&watched)?;
    let _lock = watched.lock().map_err(|error| match error.kind() {
        std::io::ErrorKind::WouldBlock => OpenError::InUse,
        _ => OpenError::Io(error),
    })?;
    let files = files::list(&watched)?;
    let (plan, work) = assess::assess(&watched, options, &files, progress)?;
    let is_done = !work.is_empty() && confirm(&plan);
    if is_done {
        carry_out::carry_out(&watched, options, &work)?;
    }
    let files = files::list(&watched)?;
    Ok(RepairReport {
        plan,
        is_done,
        set_aside_files: files.set_aside.len() as u64,
        set_aside_len: files.set_aside.values().sum(),
    })
}
