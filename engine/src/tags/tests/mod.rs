//! What the tag index promises, against a naive twin.

mod crash;
mod damage;
mod long;
mod questions;
mod threads;
mod twin;
