//! All rigs, in the order in which they are run.

mod clock;
mod crashfs;
mod damage;
mod device;
mod fsyncgate;
mod full;
mod kill;
mod limits;
mod loops;
mod stop;
mod strace;

use crate::rig::Rig;

/// The table.
pub(crate) const ALL: &[Rig] = &[
    kill::RIG,
    crashfs::RIG,
    full::RIG,
    strace::RIG,
    limits::RIG,
    loops::RIG,
    fsyncgate::RIG,
    clock::RIG,
    stop::RIG,
    damage::RIG,
];
