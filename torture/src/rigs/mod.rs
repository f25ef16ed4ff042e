//! All rigs, in the order in which they are run.

mod crashfs;
mod kill;

use crate::rig::Rig;

/// The table.
pub(crate) const ALL: &[Rig] = &[kill::RIG, crashfs::RIG];
