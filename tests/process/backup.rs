//! `backup` of a running server, and `restore` of what it made.

use std::fs;
use std::path::Path;

use serde_json::Value;

use crate::events::{assert_holds_exactly, file_of, write};
use crate::harness::{Server, run, run_ok};
use crate::http::{get_json, request};

fn backup(data: &Path, to: &Path) -> Value {
    let (data, to) = (data.to_str().unwrap(), to.to_str().unwrap());
    let report = run_ok(["backup", "--data", data, "--to", to, "--json"]);
    serde_json::from_str(&report).unwrap()
}

fn of_log<'a>(report: &'a Value, name: &str) -> &'a Value {
    let logs = report["logs"].as_array().unwrap();
    logs.iter().find(|log| log["log"] == name).unwrap()
}

#[test]
fn a_backup_of_a_running_server_is_restored_with_its_events_and_its_consumers_places() {
    let root = tempfile::tempdir().unwrap();
    let (data, copy, restored) = (
        root.path().join("data"),
        root.path().join("copy"),
        root.path().join("restored"),
    );
    let server = Server::start(&data);
    let text = file_of(2_000);
    let file = write(root.path(), "events.ndjson", &text);
    run_ok(["import", &file, "--url", &server.url()]);
    let consumer = "/v1/logs/default/consumers/billing";
    let json = [("Content-Type", "application/json")];
    request(&server.address, "PUT", consumer, &json, "{}").unwrap();
    let ack = format!("{consumer}/ack");
    request(&server.address, "POST", &ack, &json, r#"{"id":1200}"#).unwrap();

    let first = backup(&data, &copy);
    assert_eq!(first["sound"], true);
    assert_eq!(of_log(&first, "default")["events"], 2_000);
    // The second one finds all but the newest segment there.
    let again = backup(&data, &copy);
    assert_eq!(of_log(&again, "default")["lastId"], 2_000);
    server.stop();

    let (copy, target) = (copy.to_str().unwrap(), restored.to_str().unwrap());
    run_ok(["verify", "--data", copy]);
    let table = run_ok(["restore", "--from", copy, "--data", target]);
    assert!(table.contains("default"), "{table}");
    let server = Server::start(&restored);
    assert_holds_exactly(&server, &text);
    let found = get_json(&server.address, consumer);
    assert_eq!(found["checkpoint"], 1_200, "{found}");
    assert_eq!(server.last_id(), 2_000);
    server.stop();

    let refused = run(["restore", "--from", copy, "--data", target]);
    assert_eq!(refused.status.code(), Some(1));
    let words = String::from_utf8_lossy(&refused.stderr);
    assert!(words.contains("holds logs already"), "{words}");
}

#[test]
fn what_is_no_data_directory_is_neither_copied_nor_written_to() {
    let root = tempfile::tempdir().unwrap();
    let (empty, foreign) = (root.path().join("empty"), root.path().join("foreign"));
    fs::create_dir(&empty).unwrap();
    fs::create_dir(&foreign).unwrap();
    fs::write(foreign.join("letter.txt"), "dear").unwrap();
    let data = root.path().join("data");
    Server::start(&data).stop();
    for (from, to) in [
        (&empty, root.path().join("new")),
        (&foreign, root.path().join("new")),
        (&data, foreign.clone()),
        (&data, data.clone()),
    ] {
        let output = run([
            "backup",
            "--data",
            from.to_str().unwrap(),
            "--to",
            to.to_str().unwrap(),
        ]);
        assert!(!output.status.success(), "{from:?} to {to:?}");
        let words = String::from_utf8_lossy(&output.stderr);
        assert_eq!(words.trim_end().lines().count(), 1, "{words}");
    }
    assert!(!root.path().join("new").exists());
    assert_eq!(fs::read_dir(&foreign).unwrap().count(), 1);
}
