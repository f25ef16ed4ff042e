//! What goes in comes out: once, in order, byte for byte.

use std::io::{Read, Write};
use std::process::Stdio;

use flate2::read::MultiGzDecoder;
use serde_json::Value;

use crate::events::{Line, assert_holds_exactly, exported, file_of, write};
use crate::harness::{Server, run, run_ok, strandlog, wait_for_end, wait_until};
use crate::http;
use crate::settings::setting;

fn import(server: &Server, file: &str) -> Value {
    let summary = run_ok(["import", file, "--url", &server.url(), "--json"]);
    serde_json::from_str(&summary).unwrap()
}

#[test]
fn importing_a_file_twice_stores_nothing_more() {
    let directory = tempfile::tempdir().unwrap();
    let server = Server::start(&directory.path().join("data"));
    let text = file_of(2_000);
    let file = write(directory.path(), "events.ndjson", &text);

    let first = import(&server, &file);
    assert_eq!(
        (&first["stored"], &first["alreadyThere"]),
        (&2_000.into(), &0.into())
    );
    let second = import(&server, &file);
    assert_eq!(
        (&second["stored"], &second["alreadyThere"]),
        (&0.into(), &2_000.into())
    );
    assert_eq!(second["lastId"], 2_000);
    assert_holds_exactly(&server, &text);
}

#[test]
fn an_import_goes_on_after_a_restart_of_the_server_without_a_duplicate() {
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().join("data");
    let text = file_of(500);
    let file = write(directory.path(), "events.ndjson", &text);
    let half: String = text.split_inclusive('\n').take(250).collect();
    let half = write(directory.path(), "half", &half);

    let server = Server::start(&data);
    let url = server.url();
    run_ok(["import", &half, "--url", &url, "--source", "events.ndjson"]);
    server.stop();
    let server = Server::start(&data);
    let summary = import(&server, &file);
    assert_eq!(
        (&summary["stored"], &summary["alreadyThere"]),
        (&250.into(), &250.into())
    );
    assert_holds_exactly(&server, &text);
}

#[test]
fn an_import_that_was_killed_halfway_is_completed_by_the_next_one() {
    let directory = tempfile::tempdir().unwrap();
    let server = Server::start(&directory.path().join("data"));
    let text = file_of(2_000);
    let file = write(directory.path(), "events.ndjson", &text);

    let mut importer = strandlog(["import", "-", "--url", &server.url(), "--batch", "50"])
        .args(["--source", "events.ndjson"])
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = importer.stdin.take().unwrap();
    let half: String = text.split_inclusive('\n').take(1_000).collect();
    stdin.write_all(half.as_bytes()).unwrap();
    wait_until("events arrive", || server.last_id() >= 300);
    importer.kill().unwrap();
    wait_for_end(&mut importer);
    drop(stdin);

    let summary = import(&server, &file);
    let (stored, there) = (summary["stored"].as_u64(), summary["alreadyThere"].as_u64());
    assert_eq!(stored.unwrap() + there.unwrap(), 2_000);
    assert!((300..=1_000).contains(&there.unwrap()), "{summary}");
    assert_holds_exactly(&server, &text);
}

#[test]
fn an_export_in_a_gzip_file_can_be_imported_into_another_log() {
    let directory = tempfile::tempdir().unwrap();
    let server = Server::start(&directory.path().join("data"));
    let url = server.url();
    let text = file_of(300);
    import(&server, &write(directory.path(), "events.ndjson", &text));

    let packed = directory.path().join("export.ndjson.gz");
    let packed = packed.to_str().unwrap();
    run_ok(["export", "--url", &url, "-o", packed]);
    let mut unpacked = String::new();
    MultiGzDecoder::new(std::fs::read(packed).unwrap().as_slice())
        .read_to_string(&mut unpacked)
        .unwrap();
    let plain = run_ok(["export", "--url", &url]);
    assert_eq!(unpacked, plain);

    let created = http::request(&server.address, "PUT", "/v1/logs/copy", &[], "").unwrap();
    assert!(matches!(created.status, 200 | 201), "{}", created.body);
    run_ok(["import", packed, "--url", &url, "--log", "copy"]);
    let copy = Line::read(&run_ok(["export", "--url", &url, "--log", "copy"]));
    let original = Line::read(&plain);
    assert_eq!(copy.len(), original.len());
    for (copy, original) in copy.iter().zip(&original) {
        assert_eq!(copy.data.get(), original.data.get());
        assert_eq!((copy.id, copy.sequence), (original.id, original.sequence));
    }
}

#[test]
fn an_export_of_one_stream_one_type_or_a_range_holds_just_that() {
    let directory = tempfile::tempdir().unwrap();
    let server = Server::start(&directory.path().join("data"));
    let url = server.url();
    import(
        &server,
        &write(directory.path(), "events.ndjson", &file_of(400)),
    );
    let all = exported(&server);
    let ids = |arguments: &[&str]| -> Vec<u64> {
        let mut command = vec!["export", "--url", &url];
        command.extend_from_slice(arguments);
        let lines = Line::read(&run_ok(command));
        lines.iter().map(|line| line.id.unwrap()).collect()
    };
    let matching = |wanted: &dyn Fn(&Line) -> bool| -> Vec<u64> {
        let lines = all.iter().filter(|line| wanted(line));
        lines.map(|line| line.id.unwrap()).collect()
    };
    assert_eq!(
        ids(&["--stream", "stream-3"]),
        matching(&|line| line.stream == "stream-3")
    );
    assert_eq!(
        ids(&["--type", "Type2", "--from", "100"]),
        matching(&|line| line.event_type == "Type2" && line.id >= Some(100))
    );
    assert_eq!(
        ids(&["--from", "10", "--to", "20"]),
        (10..=20).collect::<Vec<u64>>()
    );
    assert!(ids(&["--stream", "no such stream"]).is_empty());
}

#[test]
fn a_bad_line_is_named_and_what_comes_before_it_is_stored() {
    let directory = tempfile::tempdir().unwrap();
    let server = Server::start(&directory.path().join("data"));
    let url = server.url();
    let good = file_of(120);
    for (name, bad) in [
        ("syntax", "{\"stream\":\"a\",\"type\":\"T\",\"data\":1"),
        ("member", "{\"stream\":\"a\",\"typ\":\"T\",\"data\":1}"),
        ("number", "17"),
    ] {
        let mut text: String = good.split_inclusive('\n').take(70).collect();
        text.push_str(bad);
        text.push('\n');
        text.extend(good.split_inclusive('\n').skip(70));
        let file = write(directory.path(), name, &text);
        let output = run([
            "import", &file, "--url", &url, "--source", "s", "--batch", "50",
        ]);
        assert_eq!(output.status.code(), Some(1));
        let message = String::from_utf8(output.stderr).unwrap();
        assert!(message.starts_with("error: line 71: "), "{message}");
        assert!(message.contains("before it"), "{message}");
        for elsewhere in ["(line", "at byte", "event 20", "nothing was stored"] {
            assert!(!message.contains(elsewhere), "{message}");
        }
        if name == "member" {
            assert!(
                message.starts_with("error: line 71: member 'typ': "),
                "{message}"
            );
        }
        assert_eq!(message.lines().count(), 1, "{message}");
        assert_eq!(server.last_id(), 70);
    }
}

#[test]
fn a_server_that_is_not_there_is_one_clear_line() {
    let directory = tempfile::tempdir().unwrap();
    let file = write(directory.path(), "events.ndjson", &file_of(1));
    // Nothing listens on port 1, and no system hands it out.
    let url = "http://127.0.0.1:1";
    for arguments in [
        vec!["import", &file],
        vec!["export"],
        vec!["bench", "replay"],
    ] {
        let output = run(arguments.iter().copied().chain(["--url", url]));
        assert_eq!(output.status.code(), Some(1));
        let message = String::from_utf8(output.stderr).unwrap();
        assert_eq!(message.lines().count(), 1, "{message}");
        assert!(message.contains("cannot connect"), "{message}");
    }
}

/// The data set that the project tries itself on, if it lies beside the repository.
const FLIGHTS: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/../shared/data/flights-2013.ndjson.gz"
);

#[test]
fn real_flights_come_back_as_they_were_imported() {
    let path = std::env::var("STRANDLOG_FLIGHTS").unwrap_or_else(|_| FLIGHTS.to_owned());
    let Ok(packed) = std::fs::read(&path) else {
        eprintln!("SKIPPED: there is no {path}; name another one in STRANDLOG_FLIGHTS");
        return;
    };
    let count = usize::try_from(setting("STRANDLOG_TEST_FLIGHTS")).unwrap();
    let mut text = String::new();
    let mut reader = std::io::BufReader::new(MultiGzDecoder::new(packed.as_slice()));
    for _ in 0..count {
        std::io::BufRead::read_line(&mut reader, &mut text).unwrap();
    }
    let directory = tempfile::tempdir().unwrap();
    let server = Server::start(&directory.path().join("data"));
    let file = write(directory.path(), "flights.ndjson", &text);
    assert_eq!(import(&server, &file)["stored"], count);
    assert_eq!(import(&server, &file)["alreadyThere"], count);

    let imported = Line::read(&text);
    let exported = exported(&server);
    assert_eq!(exported.len(), count);
    for (exported, imported) in exported.iter().zip(&imported) {
        assert_eq!(exported.data.get(), imported.data.get());
    }
    let plane = &imported[0].stream;
    let flights = http::get_json(
        &server.address,
        &format!("/v1/logs/default/streams/{plane}/events?limit=10000&direction=backward"),
    );
    let mut want: Vec<u64> = (1..)
        .zip(&imported)
        .filter(|(_, line)| line.stream == *plane)
        .map(|(id, _)| id)
        .collect();
    want.reverse();
    let got: Vec<u64> = flights["events"]
        .as_array()
        .unwrap()
        .iter()
        .map(|event| event["id"].as_u64().unwrap())
        .collect();
    assert_eq!(got, want);
}

#[test]
fn a_range_that_cannot_be_is_a_wrong_call() {
    for (from, to, want) in [
        ("3", "2", "--from 3 is above --to 2"),
        ("0", "2", "0 is not in 1..=9223372036854775807"),
    ] {
        let output = run(["export", "--from", from, "--to", to]);
        let message = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{message}");
        assert!(message.contains(want), "{message}");
    }
}

#[test]
fn lines_without_a_key_from_standard_input_need_a_source() {
    let directory = tempfile::tempdir().unwrap();
    let server = Server::start(&directory.path().join("data"));
    let piped = |text: &str, more: &[&str]| {
        let mut importer = strandlog(["import", "-", "--url", &server.url()])
            .args(more)
            .stdin(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut stdin = importer.stdin.take().unwrap();
        stdin.write_all(text.as_bytes()).unwrap();
        drop(stdin);
        importer.wait_with_output().unwrap()
    };
    let line = "{\"stream\":\"a\",\"type\":\"T\",\"data\":1}\n";
    let output = piped(line, &[]);
    let message = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{message}");
    assert!(
        message.starts_with("error: line 1: ") && message.contains("--source"),
        "{message}"
    );
    assert!(piped(line, &["--source", "s"]).status.success());
    let with_key = "{\"stream\":\"a\",\"type\":\"T\",\"idempotencyKey\":\"k\",\"data\":1}\n";
    assert!(piped(with_key, &[]).status.success());
    assert_eq!(server.last_id(), 2);
}
