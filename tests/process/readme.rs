//! The README's examples, typed in as they stand there.
//!
//! Each `console` block of a section is run line by line in a directory of its own. In an answer
//! `…` stands for whatever differs from run to run. Lines are compared as they are, apart from that.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::harness::{BINARY, Server, strandlog};

const README: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/README.md");
/// The address the README uses.
const ADDRESS: &str = "127.0.0.1:7411";

/// A command and what it answers.
#[derive(Debug)]
struct Step {
    command: String,
    answer: Vec<String>,
}

/// The steps of a section, in their order.
fn steps(title: &str) -> Vec<Step> {
    let readme = fs::read_to_string(README).unwrap();
    let (_, section) = readme.split_once(&format!("\n## {title}\n")).unwrap();
    let section = section.split("\n## ").next().unwrap();
    let mut steps: Vec<Step> = Vec::new();
    let mut inside = false;
    for line in section.lines() {
        match line {
            "```console" => inside = true,
            "```" => inside = false,
            _ if !inside => {}
            _ => {
                let unfinished = steps
                    .last_mut()
                    .filter(|step| step.answer.is_empty() && step.command.ends_with('\\'));
                if let Some(command) = line.strip_prefix("$ ") {
                    steps.push(Step {
                        command: command.to_owned(),
                        answer: Vec::new(),
                    });
                } else if let Some(step) = unfinished {
                    step.command.push('\n');
                    step.command.push_str(line);
                } else {
                    steps.last_mut().unwrap().answer.push(line.to_owned());
                }
            }
        }
    }
    steps
}

/// Whether `got` is what `want` says; `…` stands for anything within a line.
fn matches(got: &str, want: &str) -> bool {
    let mut parts = want.split('…');
    let Some(mut rest) = parts.next().and_then(|first| got.strip_prefix(first)) else {
        return false;
    };
    let mut parts = parts.peekable();
    if parts.peek().is_none() {
        return rest.is_empty();
    }
    while let Some(part) = parts.next() {
        if parts.peek().is_none() {
            return rest.ends_with(part);
        }
        let Some((_, after)) = rest.split_once(part) else {
            return false;
        };
        rest = after;
    }
    true
}

/// Runs a command with bash; what it writes to standard output.
fn answer_of(directory: &Path, address: &str, command: &str) -> String {
    let path = format!(
        "{}:{}",
        Path::new(BINARY).parent().unwrap().display(),
        std::env::var("PATH").unwrap()
    );
    let output = Command::new("bash")
        .args(["-e", "-o", "pipefail", "-c", command])
        .current_dir(directory)
        .env("PATH", path)
        .env("STRANDLOG_URL", format!("http://{address}"))
        .stdin(Stdio::null())
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{command}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn the_first_five_minutes_of_the_readme_are_true() {
    let directory = tempfile::tempdir().unwrap();
    let mut server: Option<Server> = None;
    let mut address = ADDRESS.to_owned();
    let steps = steps("The first five minutes");
    assert!(steps.len() >= 10, "{steps:?}");
    for step in steps {
        match step.command.as_str() {
            // The first start builds the server as well, which has happened here.
            "cargo run --release" | "strandlog" => {
                let listen = if address == ADDRESS {
                    "127.0.0.1:0"
                } else {
                    &address
                };
                let mut command = strandlog(["--listen", listen]);
                command.current_dir(directory.path()).stderr(Stdio::null());
                let started = Server::spawn(command);
                address.clone_from(&started.address);
                assert_eq!(step.answer, [format!("listening on http://{ADDRESS}")]);
                server = Some(started);
            }
            "kill -INT $(pidof strandlog)" => {
                let stopped = server.take().unwrap();
                stopped.signal("INT");
                let (status, _) = stopped.wait();
                assert!(status.success(), "{status}");
            }
            _ => check(&step, directory.path(), &address),
        }
    }
}

/// Runs a step, whose answer must be as the README says.
#[track_caller]
fn check(step: &Step, directory: &Path, address: &str) {
    let command = &step.command;
    let got = answer_of(directory, address, &command.replace(ADDRESS, address));
    let got: Vec<String> = got
        .lines()
        .map(|line| line.replace(address, ADDRESS))
        .collect();
    assert_eq!(got.len(), step.answer.len(), "{command}: {got:#?}");
    for (got, want) in got.iter().zip(&step.answer) {
        assert!(matches(got, want), "{command}:\n{got}\nis not\n{want}");
    }
}

#[test]
fn the_examples_of_webhooks_and_of_the_other_doors_are_true() {
    for title in ["Webhooks", "Five more doors"] {
        let directory = tempfile::tempdir().unwrap();
        let mut command = strandlog(["--listen", "127.0.0.1:0"]);
        command.current_dir(directory.path()).stderr(Stdio::null());
        let server = Server::spawn(command);
        let steps = steps(title);
        assert!(steps.len() >= 3, "{steps:?}");
        for step in steps {
            check(&step, directory.path(), &server.address);
        }
    }
}

#[test]
fn an_answer_in_the_readme_matches_only_what_it_shows() {
    for (got, want, expected) in [
        ("abc", "abc", true),
        ("abc", "ab", false),
        ("abc", "a…c", true),
        ("abc", "a…d", false),
        ("a1b2c", "a…b…c", true),
        ("a1b2d", "a…b…c", false),
        ("", "…", true),
        ("xa", "a…", false),
    ] {
        assert_eq!(matches(got, want), expected, "{got:?} {want:?}");
    }
}
