//! Any bytes as requests to a server with every dialect on.
#![no_main]

#[path = "../checks/doors.rs"]
mod checks;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| checks::check(bytes));
