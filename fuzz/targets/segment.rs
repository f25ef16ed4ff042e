//! Any bytes as a tail, judged by the engine and by a second implementation.
#![no_main]

use libfuzzer_sys::fuzz_target;

#[path = "../checks/reference.rs"]
mod reference;
#[path = "../checks/segment.rs"]
mod segment;

fuzz_target!(|bytes: &[u8]| segment::check(bytes));
