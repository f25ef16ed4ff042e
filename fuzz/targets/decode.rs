//! Any bytes as a segment header, a batch header, a record, an index, a run.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| strandlog_engine::fuzzing::decode(bytes));
