//! Any bytes as what a request says of its sender.
#![no_main]

#[path = "../checks/credentials.rs"]
mod checks;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| checks::check(bytes));
