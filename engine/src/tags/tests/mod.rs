//! What the tag index promises, against a naive twin.

mod crash;
mod damage;
mod long;
mod questions;
#[path = "../../../tests/promises/settings.rs"]
mod settings;
mod threads;
mod twin;
