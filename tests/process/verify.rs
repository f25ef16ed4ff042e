//! `verify` and `dump`: the data directory without a server, and unchanged.

use std::fs;
use std::io::{Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::events::{file_of, write};
use crate::harness::{Server, run, run_ok};

fn filled(root: &Path) -> PathBuf {
    let data = root.join("data");
    let server = Server::start(&data);
    let file = write(root, "events.ndjson", &file_of(500));
    run_ok(["import", &file, "--url", &server.url()]);
    server.stop();
    data
}

/// The segment file of the log `default`: the longest file of its directory.
fn segment_of(data: &Path) -> PathBuf {
    fs::read_dir(data.join("logs/default"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.is_file())
        .filter(|path| {
            fs::read(path)
                .unwrap()
                .windows(9)
                .any(|part| part == b"stream-16")
        })
        .max_by_key(|path| fs::metadata(path).unwrap().len())
        .unwrap()
}

#[test]
fn a_sound_directory_is_called_sound() {
    let directory = tempfile::tempdir().unwrap();
    let data = filled(directory.path());
    let data = data.to_str().unwrap();
    let findings: Value =
        serde_json::from_str(&run_ok(["verify", "--data", data, "--json"])).unwrap();
    assert_eq!(findings["sound"], true);
    let log = findings["logs"]
        .as_array()
        .unwrap()
        .iter()
        .find(|log| log["log"] == "default")
        .unwrap();
    assert_eq!((&log["events"], &log["lastId"]), (&500.into(), &500.into()));
    let table = run_ok(["verify", "--data", data]);
    assert!(table.contains("default"), "{table}");
    assert!(table.contains("sound"), "{table}");
}

#[test]
fn one_flipped_bit_is_found_and_named_with_an_exit_code_of_its_own() {
    let directory = tempfile::tempdir().unwrap();
    let data = filled(directory.path());
    let segment = segment_of(&data);
    let bytes = fs::read(&segment).unwrap();
    let place = bytes
        .windows(8)
        .position(|part| part == b"stream-7")
        .unwrap();
    let mut file = fs::OpenOptions::new().write(true).open(&segment).unwrap();
    file.seek(SeekFrom::Start(place as u64)).unwrap();
    file.write_all(&[bytes[place] ^ 1]).unwrap();
    drop(file);
    let before = fs::read(&segment).unwrap();

    let output = run(["verify", "--data", data.to_str().unwrap(), "--json"]);
    assert_eq!(output.status.code(), Some(3));
    let findings: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(findings["sound"], false);
    let damage: Vec<&Value> = findings["logs"]
        .as_array()
        .unwrap()
        .iter()
        .flat_map(|log| log["damage"].as_array().unwrap())
        .collect();
    assert!(!damage.is_empty());
    let name = segment.file_name().unwrap().to_str().unwrap();
    assert_eq!(damage[0]["file"], name);
    assert!(damage[0]["offset"].as_u64().unwrap() <= place as u64);
    assert_eq!(fs::read(&segment).unwrap(), before);
}

#[test]
fn a_segment_is_shown_as_text() {
    let directory = tempfile::tempdir().unwrap();
    let data = filled(directory.path());
    let text = run_ok(["dump", segment_of(&data).to_str().unwrap()]);
    assert!(text.lines().count() > 500, "{text}");
    assert!(!text.contains('\0'));
}

/// `verify` refuses the directory with one line that contains `want`.
#[track_caller]
fn refused(data: &Path, want: &str) {
    let output = run(["verify", "--data", data.to_str().unwrap()]);
    let message = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{message}");
    assert_eq!(message.lines().count(), 1, "{message}");
    assert!(
        message.starts_with("error: cannot use data directory"),
        "{message}"
    );
    assert!(message.contains(want), "{message}");
}

#[test]
fn a_directory_that_is_no_data_directory_is_one_clear_line() {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path();
    refused(root, "it holds no logs");
    assert_eq!(fs::read_dir(root).unwrap().count(), 0);
    fs::write(root.join("letters.txt"), "Dear Ada").unwrap();
    refused(root, "it holds \"letters.txt\"");
    assert_eq!(fs::read_dir(root).unwrap().count(), 1);
}

#[test]
fn a_directory_that_no_server_would_open_is_not_called_sound() {
    let directory = tempfile::tempdir().unwrap();
    let data = filled(directory.path());
    let stray = data.join("logs/UPPER");
    fs::create_dir(&stray).unwrap();
    refused(&data, "it holds \"logs/UPPER\"");
    fs::remove_dir(&stray).unwrap();

    let marker = data.join("strandlog");
    let sound = fs::read(&marker).unwrap();
    let mut newer = sound.clone();
    newer[8] = 99;
    fs::write(&marker, newer).unwrap();
    refused(&data, "format version 99");
    fs::write(&marker, "junk").unwrap();
    refused(&data, "it holds \"strandlog\"");
    fs::write(&marker, sound).unwrap();
    run_ok(["verify", "--data", data.to_str().unwrap()]);
}

#[test]
fn a_log_that_has_lost_its_files_is_neither_sound_nor_begun_again() {
    let directory = tempfile::tempdir().unwrap();
    let data = filled(directory.path());
    let log = data.join("logs/default");
    for entry in fs::read_dir(&log).unwrap() {
        let path = entry.unwrap().path();
        if path.file_name().unwrap() != "begun" {
            fs::remove_file(path).unwrap();
        }
    }
    let want = "log \"default\": the log has lost its segment files";
    refused(&data, want);
    let output = run([
        "--data",
        data.to_str().unwrap(),
        "--listen",
        "127.0.0.1:0",
        "--log-level",
        "error",
    ]);
    let message = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{message}");
    assert!(message.contains(want), "{message}");
    assert_eq!(fs::read_dir(&log).unwrap().count(), 1);
}
