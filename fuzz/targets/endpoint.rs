//! Any bytes as the address of a webhook.
#![no_main]

#[path = "../checks/endpoint.rs"]
mod checks;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| checks::check(bytes));
