//! Any operations on a log and on a list, with crashes.
#![no_main]
#![allow(
    clippy::unwrap_used,
    dead_code,
    unused_imports,
    reason = "most of it is shared with the tests"
)]

use libfuzzer_sys::fuzz_target;

#[path = "../checks/model.rs"]
mod model;
#[path = "../../engine/tests/promises/settings.rs"]
mod settings;
#[path = "../../engine/tests/promises/steps.rs"]
mod steps;
#[path = "../../engine/tests/promises/story.rs"]
mod story;
#[path = "../../engine/tests/promises/support.rs"]
mod support;

fuzz_target!(|bytes: &[u8]| model::check(bytes));
