//! All rigs, in the order in which they are run.

mod bounds;
mod clock;
mod crashfs;
mod damage;
mod device;
mod fsyncgate;
mod full;
mod hooks;
mod host;
mod kill;
mod limits;
mod loops;
mod slow;
mod soak;
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
    slow::RIG,
    soak::RIG,
    host::RIG,
    bounds::RIG,
    hooks::RIG,
];

/// Those whose cycles may run beside each other in places of their own: they share nothing of the
/// machine but its time, and no promise on time is judged.
pub(crate) const DIVISIBLE: &[&str] = &["kill", "crashfs", "strace"];
