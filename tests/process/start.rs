//! A start that cannot be is refused with one clear line, and touches nothing.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::harness::{BINARY, DEADLINE, Server, lines_of, run, strandlog};
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
    for (section, want) in [
        (
            "[dialect.newstore]\npaths = ['/metrics']\n",
            "dialect.newstore.paths: \"/metrics\" belongs to the native API",
        ),
        (
            "[dialect.spotahome]\njwt_secret = 'short'\n",
            "dialect.spotahome.jwt_secret: the secret of HS256 needs 32 bytes or more",
        ),
        (
            "[dialect.spotahome]\njwt_public_key_file = '/proc/self/none.pem'\n",
            "dialect.spotahome.jwt_public_key_file: /proc/self/none.pem: No such file",
        ),
    ] {
        fs::write(&config, section).unwrap();
        let arguments = [&["--config", text(&config)], &with_data[..]].concat();
        check(root, &arguments, want);
    }
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

/// What the server says at its start, up to the line that it prints once it is open; and the server.
fn start_talking(arguments: &[&str]) -> (Server, Vec<String>) {
    let mut command = strandlog(arguments);
    command.stderr(Stdio::piped());
    let mut server = Server::spawn(command);
    // A line on standard output comes after all of them.
    let lines = lines_of(server.stderr());
    server.signal("TERM");
    let mut told = Vec::new();
    while let Ok(line) = lines.recv_timeout(DEADLINE) {
        told.push(line);
    }
    (server, told)
}

#[test]
fn development_mode_says_how_to_get_in() {
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().join("data");
    let (server, told) = start_talking(&["--data", text(&data), "--listen", "127.0.0.1:0"]);
    drop(server);
    let of = |dialect: &str| {
        let name = format!("dialect=\"{dialect}\"");
        let line = told.iter().find(|line| line.contains(&name));
        let line = line.unwrap_or_else(|| panic!("{dialect} is not in {told:#?}"));
        line.split_once("credentials=").unwrap().1.to_owned()
    };
    assert_eq!(of("axon"), "none");
    assert_eq!(of("eventhos"), "POST /auth/token client shop / shop-secret");
    assert_eq!(of("newstore"), "none (denied tenants: blocked)");
    assert_eq!(of("pavbis"), "Basic test:test");
    let token = of("spotahome");
    let token = token.strip_prefix("Authorization: ").unwrap();

    let server = Server::start(&data);
    let ask = |headers: &[(&str, &str)]| {
        let path = "/api/monolith/event-store/1-2";
        http::request(&server.address, "GET", path, headers, "").unwrap()
    };
    assert_eq!(ask(&[]).status, 401);
    assert_eq!(ask(&[("Authorization", token)]).body, r#"{"events":[]}"#);
}

#[test]
fn credentials_that_an_operator_has_chosen_are_in_no_log() {
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().join("data");
    let config = directory.path().join("strandlog.toml");
    let secret = "nobody-else-shall-ever-read-this-secret";
    let sections = format!(
        "[dialect.newstore]\n[dialect.spotahome]\njwt_secret = '{secret}'\n\
         [dialect.pavbis]\nusers = {{ ada = '{secret}' }}\n"
    );
    fs::write(&config, sections).unwrap();
    let (server, told) = start_talking(&[
        "--config",
        text(&config),
        "--data",
        text(&data),
        "--listen",
        "127.0.0.1:0",
        "--log-level",
        "trace",
    ]);
    drop(server);
    let told = told.join("\n");
    assert!(
        told.contains("dialects=newstore, pavbis, spotahome"),
        "{told}"
    );
    assert!(
        !told.contains(secret) && !told.contains("Authorization"),
        "{told}"
    );
    assert!(!told.contains("development"), "{told}");
}
