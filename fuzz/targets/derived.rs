//! Any bytes as a log with one derived file, or checkpoint log, of any bytes.
#![no_main]

use libfuzzer_sys::fuzz_target;

#[path = "../checks/derived.rs"]
mod derived;

fuzz_target!(|bytes: &[u8]| derived::check(bytes));
