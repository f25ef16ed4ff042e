#![no_main]
//! Any bytes as a path, a query, or the body of a publish.

#[path = "../checks/requests.rs"]
mod checks;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| checks::check(bytes));
