//! The inputs that fuzzing has kept, run through what must hold for any input.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use std::fs;
use std::path::Path;

#[path = "../fuzz/checks/config.rs"]
mod config;
#[path = "../fuzz/checks/credentials.rs"]
mod credentials;
#[path = "../fuzz/checks/doors.rs"]
mod doors;
#[path = "../fuzz/checks/endpoint.rs"]
mod endpoint;
#[path = "../fuzz/checks/json.rs"]
mod json;
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
    assert!(count > 3, "{count} inputs");
}

#[test]
fn requests_that_were_worth_keeping_are_answered_or_refused() {
    check_all("requests", requests::check);
}

#[test]
fn what_was_asked_of_all_doors_is_answered_and_leaves_nothing_if_refused() {
    check_all("doors", doors::check);
}

#[test]
fn json_is_what_another_reader_takes_for_it() {
    check_all("json", json::check);
}

#[test]
fn no_credentials_pass_that_are_none() {
    check_all("credentials", credentials::check);
}

#[test]
fn an_address_to_call_has_one_reading() {
    check_all("endpoint", endpoint::check);
}

#[test]
fn a_config_file_is_settings_or_a_line_that_says_why_not() {
    check_all("config", config::check);
}
