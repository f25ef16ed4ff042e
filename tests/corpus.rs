//! The inputs that fuzzing has kept, run through what must hold for any input.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use std::fs;
use std::path::Path;

#[path = "../fuzz/checks/requests.rs"]
mod requests;

fn check_all(target: &str, check: fn(&[u8])) {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("fuzz/corpus")
        .join(target);
    let mut count = 0;
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        // Shown only if the check fails.
        println!("{}", path.display());
        check(&fs::read(path).unwrap());
        count += 1;
    }
    assert!(count > 0);
}

#[test]
fn requests_that_were_worth_keeping_are_answered_or_refused() {
    check_all("requests", requests::check);
}
