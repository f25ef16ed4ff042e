//! A start that cannot be is refused with one clear line, and touches nothing.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::harness::{BINARY, Server, run, strandlog};
use crate::http;

/// Everything below a directory: path, kind, length, time of change, content.
fn listing(root: &Path) -> BTreeMap<PathBuf, (bool, u64, i64, i64, Vec<u8>)> {
    let mut found = BTreeMap::new();
    let mut open = vec![root.to_owned()];
    while let Some(path) = open.pop() {
        let metadata = fs::symlink_metadata(&path).unwrap();
        let content = if metadata.is_file() && metadata.len() < 1 << 20 {
            fs::read(&path).unwrap()
        } else {
            Vec::new()
        };
        if metadata.is_dir() {
            open.extend(
                fs::read_dir(&path)
                    .unwrap()
                    .map(|entry| entry.unwrap().path()),
            );
        }
        let entry = (
            metadata.is_dir(),
            metadata.len(),
            metadata.mtime(),
            metadata.mtime_nsec(),
            content,
        );
        found.insert(path, entry);
    }
    found
}

/// Starting with `arguments` fails with one line that contains `want`, and changes nothing below
/// `root`.
#[track_caller]
fn check(root: &Path, arguments: &[&str], want: &str) {
    let before = listing(root);
    let output = run(arguments);
    let message = String::from_utf8(output.stderr).unwrap();
    assert!(
        matches!(output.status.code(), Some(1 | 2)),
        "{}: {message}",
        output.status
    );
    assert_eq!(message.lines().count(), 1, "{message}");
    assert!(message.starts_with("error: "), "{message}");
    assert!(message.contains(want), "{message}");
    assert!(output.stdout.is_empty());
    assert_eq!(listing(root), before);
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

#[test]
fn an_address_beyond_loopback_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().join("data");
    for address in ["0.0.0.0:0", "[::]:0", "192.0.2.1:7411"] {
        check(
            directory.path(),
            &["--data", text(&data), "--listen", address],
            "only loopback addresses",
        );
    }
}

#[test]
fn a_second_server_on_the_same_directory_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().join("data");
    let server = Server::start(&data);
    http::publish(&server.address, r#"{"stream":"s","type":"T","data":1}"#).unwrap();
    check(
        directory.path(),
        &["--data", text(&data), "--listen", "127.0.0.1:0"],
        "in use by another process",
    );
    http::publish(&server.address, r#"{"stream":"s","type":"T","data":2}"#).unwrap();
    assert_eq!(server.last_id(), 2);
}

#[test]
fn an_address_that_is_taken_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let data = directory.path().join("data");
    check(
        directory.path(),
        &["--data", text(&data), "--listen", &address],
        &format!("cannot listen on {address}"),
    );
}

#[test]
fn a_directory_that_is_not_ours_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().join("data");
    fs::create_dir(&data).unwrap();
    fs::write(data.join("letters.txt"), "Dear Ada").unwrap();
    let arguments = ["--data", text(&data), "--listen", "127.0.0.1:0"];
    check(directory.path(), &arguments, "letters.txt");

    let file = directory.path().join("file");
    fs::write(&file, "").unwrap();
    let arguments = ["--data", text(&file), "--listen", "127.0.0.1:0"];
    check(directory.path(), &arguments, text(&file));
}

#[test]
fn a_directory_of_a_newer_format_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().join("data");
    Server::start(&data).stop();
    // The version stands behind the magic, little-endian.
    let marker = data.join("strandlog");
    let mut bytes = fs::read(&marker).unwrap();
    bytes[8..12].copy_from_slice(&99_u32.to_le_bytes());
    fs::write(&marker, bytes).unwrap();
    check(
        directory.path(),
        &["--data", text(&data), "--listen", "127.0.0.1:0"],
        "format version 99",
    );
}

#[test]
fn a_directory_that_cannot_be_written_to_is_refused() {
    // Nobody can create anything here, not even the superuser.
    let output = run(["--data", "/proc/self/strandlog", "--listen", "127.0.0.1:0"]);
    let message = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{message}");
    assert_eq!(message.lines().count(), 1, "{message}");
    assert!(
        message.starts_with("error: cannot use data directory"),
        "{message}"
    );
}

#[test]
fn settings_that_cannot_be_used_are_refused() {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path();
    let data = root.join("data");
    let config = root.join("strandlog.toml");
    fs::write(&config, "data = 'd'\nlisen = 'x'\n").unwrap();
    let with_data = ["--data", text(&data), "--listen", "127.0.0.1:0"];
    let with = |more: &[&'static str]| [&with_data[..], more].concat();
    check(
        root,
        &["--config", text(&config)],
        "strandlog.toml line 2: unknown field `lisen`",
    );
    check(root, &["--config", text(&root.join("none"))], "cannot read");
    check(root, &with(&["--log-level", "strandlog=loud"]), "log level");
    check(
        root,
        &with(&["--log-level", "warning"]),
        "log level \"warning\" is none of error, warn,",
    );
    let output = strandlog(with_data)
        .env("STRANDLOG_LOG_LEVEL", "nope")
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(2), "{output:?}");
}

#[test]
fn a_flag_wins_over_the_environment_and_the_environment_over_the_file() {
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().join("data");
    let config = directory.path().join("strandlog.toml");
    fs::write(&config, "listen = '0.0.0.0:0'\ndata = '/proc/self/no'\n").unwrap();
    let mut command = strandlog(["serve", "--listen", "127.0.0.1:0", "--log-level", "warn"]);
    command
        .env("STRANDLOG_CONFIG", &config)
        .env("STRANDLOG_LISTEN", "0.0.0.0:0")
        .env("STRANDLOG_DATA", &data);
    let server = Server::spawn(command);
    assert!(server.address.starts_with("127.0.0.1:"));
    assert!(data.join("strandlog").exists());
    server.stop();
}

#[test]
fn a_limit_on_file_sizes_is_an_error_and_not_the_end_of_the_process() {
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().join("data");
    let output = Command::new("bash")
        .args(["-c", "ulimit -f 64 && exec \"$0\" \"$@\"", BINARY])
        .args(["--listen", "127.0.0.1:0", "--data", text(&data)])
        .args(["--log-level", "error"])
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let message = String::from_utf8(output.stderr).unwrap();
    assert_eq!(
        output.status.code(),
        Some(1),
        "{}: {message}",
        output.status
    );
    assert!(
        message.starts_with("error: cannot use data directory"),
        "{message}"
    );
}
