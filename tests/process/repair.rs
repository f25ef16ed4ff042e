//! `repair`: a data directory with damage in it, without a server, and the server afterwards.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::events::{file_of, write};
use crate::harness::{Server, run, run_ok};
use crate::http;

fn filled(root: &Path) -> PathBuf {
    let data = root.join("data");
    let server = Server::start(&data);
    let file = write(root, "events.ndjson", &file_of(100));
    run_ok(["import", &file, "--url", &server.url()]);
    server.stop();
    data
}

/// The one segment of the log `default`.
fn segment_of(data: &Path) -> PathBuf {
    data.join("logs/default/00000000000000000001.seg")
}

/// Flips a bit of the first event of this stream; how many bytes in.
fn damage(data: &Path, stream: &str) {
    let segment = segment_of(data);
    let mut bytes = fs::read(&segment).unwrap();
    let stream = stream.as_bytes();
    let place = bytes
        .windows(stream.len())
        .position(|part| part == stream)
        .unwrap();
    bytes[place] ^= 1;
    fs::write(&segment, bytes).unwrap();
}

fn json(output: &std::process::Output) -> Value {
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {output:?}"))
}

fn log<'a>(outcomes: &'a Value, name: &str) -> &'a Value {
    let logs = outcomes["logs"].as_array().unwrap();
    logs.iter().find(|log| log["log"] == name).unwrap()
}

#[test]
fn a_damaged_log_is_repaired_and_served_again() {
    let directory = tempfile::tempdir().unwrap();
    let data = filled(directory.path());
    let data = data.to_str().unwrap();
    damage(data.as_ref(), "stream-7");

    // The server refuses, and says what to do.
    let refused = run([
        "--data",
        data,
        "--listen",
        "127.0.0.1:0",
        "--log-level",
        "error",
    ]);
    assert_eq!(refused.status.code(), Some(1));
    let message = String::from_utf8(refused.stderr).unwrap();
    assert!(message.contains("strandlog repair"), "{message}");

    // A dry run shows and changes nothing; without a terminal nobody says yes.
    let before = fs::read(segment_of(data.as_ref())).unwrap();
    let dry = run(["repair", "--data", data, "--dry-run", "--json"]);
    assert_eq!(dry.status.code(), Some(3), "{dry:?}");
    let planned = json(&dry);
    let act = &log(&planned, "default")["acts"][0];
    assert_eq!(act["act"], "close");
    assert_eq!(act["lost"].as_array().unwrap().len(), 1, "{act}");
    let lost_id = act["lost"][0]["firstId"].as_u64().unwrap();
    assert_eq!(log(&planned, "default")["done"], false);
    let silent = run(["repair", "--data", data]);
    assert_eq!(silent.status.code(), Some(1), "{silent:?}");
    let text = String::from_utf8(silent.stdout).unwrap();
    assert!(text.contains(&format!("event {lost_id}")), "{text}");
    assert!(String::from_utf8_lossy(&silent.stderr).contains("--yes"));
    assert_eq!(fs::read(segment_of(data.as_ref())).unwrap(), before);

    // Done; and once more there is nothing to do.
    let done = json(&run(["repair", "--data", data, "--yes", "--json"]));
    assert_eq!(log(&done, "default")["done"], true);
    assert_eq!(
        fs::read(segment_of(data.as_ref())).unwrap(),
        before,
        "it stays as it is"
    );
    let again = run_ok(["repair", "--data", data]);
    assert!(again.contains("nothing to do"), "{again}");

    // `verify` lists the loss, and calls the log sound.
    let findings: Value =
        serde_json::from_str(&run_ok(["verify", "--data", data, "--json"])).unwrap();
    assert_eq!(findings["sound"], true);
    let losses = &log(&findings, "default")["losses"];
    assert_eq!(losses[0]["firstId"], lost_id);
    assert_eq!(losses.as_array().unwrap().len(), 1);
    let table = run_ok(["verify", "--data", data]);
    assert!(table.contains("1 event known to be lost"), "{table}");

    // The server starts, serves the rest, refuses the gap by its name, and takes more.
    let server = Server::start(data.as_ref());
    assert_eq!(server.last_id(), 100);
    let health = http::get_json(&server.address, "/readyz");
    assert_eq!(health["status"], "ok");
    assert_eq!(health["lost"][0]["log"], "default");
    assert_eq!(health["lost"][0]["events"], 1);
    let event = |id: u64| {
        let path = format!("/v1/logs/default/events/{id}");
        http::request(&server.address, "GET", &path, &[], "").unwrap()
    };
    for id in (1..=100).filter(|id| *id != lost_id) {
        assert_eq!(event(id).status, 200, "{id}");
    }
    let gap = event(lost_id);
    assert_eq!(gap.status, 500);
    let problem: Value = serde_json::from_str(&gap.body).unwrap();
    assert_eq!(problem["code"], "damaged");
    let detail = problem["detail"].as_str().unwrap();
    assert!(detail.contains(&format!("event {lost_id}")), "{detail}");
    let more = r#"{"stream":"stream-7","type":"More","data":null}"#;
    assert_eq!(http::publish(&server.address, more).unwrap(), 101);
    server.stop();
}

#[test]
fn a_log_that_is_not_there_or_is_in_use_is_one_clear_line() {
    let directory = tempfile::tempdir().unwrap();
    let data = filled(directory.path());
    let data = data.to_str().unwrap();
    let unknown = run(["repair", "--data", data, "--log", "nobody"]);
    assert_eq!(unknown.status.code(), Some(2), "{unknown:?}");
    let both = run(["repair", "--data", data, "--yes", "--dry-run"]);
    assert_eq!(both.status.code(), Some(2), "{both:?}");
    let server = Server::start(data.as_ref());
    let used = run(["repair", "--data", data, "--yes"]);
    assert_eq!(used.status.code(), Some(1));
    let message = String::from_utf8(used.stderr).unwrap();
    assert!(message.contains("in use"), "{message}");
    assert_eq!(message.lines().count(), 1, "{message}");
    server.stop();
    let sound = run_ok(["repair", "--data", data, "--log", "default"]);
    assert!(sound.contains("nothing to do"), "{sound}");
}

#[test]
fn a_file_of_another_place_is_left_with_an_exit_code_of_its_own() {
    let directory = tempfile::tempdir().unwrap();
    let data = filled(directory.path());
    let foreign = data.join("logs/default/00000000000000000001.ckp");
    fs::copy(segment_of(&data), &foreign).unwrap();
    let before = fs::read(&foreign).unwrap();
    let output = run([
        "repair",
        "--data",
        data.to_str().unwrap(),
        "--yes",
        "--json",
    ]);
    assert_eq!(output.status.code(), Some(3));
    let outcomes = json(&output);
    let left = log(&outcomes, "default")["left"].as_array().unwrap();
    assert_eq!(left.len(), 1);
    assert_eq!(left[0]["file"], "00000000000000000001.ckp");
    assert_eq!(fs::read(&foreign).unwrap(), before);
}

#[test]
fn what_the_servers_own_log_has_lost_does_not_keep_it_down() {
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().join("data");
    let server = Server::start(&data);
    for name in ["first-log", "other-log"] {
        let path = format!("/v1/logs/{name}");
        let json = [("Content-Type", "application/json")];
        let body = r#"{"retention":{"maxEvents":1000}}"#;
        let created = http::request(&server.address, "PUT", &path, &json, body).unwrap();
        assert_eq!(created.status, 201, "{}", created.body);
    }
    server.stop();
    let segment = data.join("logs/_system/00000000000000000001.seg");
    let mut bytes = fs::read(&segment).unwrap();
    let place = bytes
        .windows(9)
        .position(|part| part == b"first-log")
        .unwrap();
    bytes[place] ^= 1;
    fs::write(&segment, bytes).unwrap();
    let data_name = data.to_str().unwrap();
    run_ok(["repair", "--data", data_name, "--yes"]);
    let server = Server::start(&data);
    let kept = http::get_json(&server.address, "/v1/logs/other-log");
    assert_eq!(kept["retention"]["maxEvents"], 1000, "{kept}");
    let gone = http::get_json(&server.address, "/v1/logs/first-log");
    assert_eq!(gone["retention"]["maxEvents"], Value::Null, "{gone}");
    server.stop();
}
