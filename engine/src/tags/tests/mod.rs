//! What the tag index promises, against a naive twin.

mod questions;
mod twin;
