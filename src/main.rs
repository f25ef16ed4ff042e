//! The `strandlog` binary.

fn main() {}
