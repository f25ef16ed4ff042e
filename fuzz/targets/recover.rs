//! Any bytes as the files of a log: it opens and is read, or is refused; twice the same.
#![no_main]

use libfuzzer_sys::fuzz_target;

#[path = "../checks/recover.rs"]
mod recover;

fuzz_target!(|bytes: &[u8]| recover::check(bytes));
