//! Rules about the text of the repository.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use std::fs;
use std::path::{Path, PathBuf};

/// The longest source file, in lines: a longer one holds more than one noun.
const LINES_MAX: usize = 800;

/// Everything that is ours and text, by its path from the root.
fn texts() -> Vec<(PathBuf, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut texts = Vec::new();
    let mut open = vec![root.to_owned()];
    while let Some(directory) = open.pop() {
        for entry in fs::read_dir(&directory).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_str().unwrap();
            if path.is_dir() {
                let foreign = [".git", "target", "artifacts", "corpus", "strandlog-data"];
                if !foreign.contains(&name) {
                    open.push(path);
                }
            } else if !name.ends_with(".lock")
                && let Ok(text) = fs::read_to_string(&path)
            {
                texts.push((path.strip_prefix(root).unwrap().to_owned(), text));
            }
        }
    }
    assert!(texts.len() > 20);
    texts
}

fn sources() -> Vec<(PathBuf, String)> {
    let mut texts = texts();
    texts.retain(|(path, _)| path.extension().is_some_and(|extension| extension == "rs"));
    texts
}

/// No text of ours contains a word; told with path and line.
#[track_caller]
fn absent(texts: &[(PathBuf, String)], words: &[&str]) {
    let mut found = Vec::new();
    for (path, text) in texts {
        // This file has to name what it forbids.
        if path == Path::new("tests/tidy.rs") {
            continue;
        }
        for (number, line) in (1..).zip(text.lines()) {
            for word in words {
                if line.contains(word) {
                    found.push(format!("{}:{number}: {word}", path.display()));
                }
            }
        }
    }
    assert!(found.is_empty(), "{}", found.join("\n"));
}

#[test]
fn every_test_that_a_document_names_is_there() {
    let sources = sources();
    let is_test = |name: &str| {
        let function = format!("fn {name}(");
        sources.iter().any(|(_, text)| text.contains(&function))
    };
    let mut named = 0;
    for document in ["README.md", "docs/RELIABILITY.md"] {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(document);
        let text = fs::read_to_string(path).unwrap();
        // Names of tests are sentences; no setting and no field is that long.
        let sentences = text.split('`').skip(1).step_by(2).filter(|name| {
            let words = name.split('_').count();
            let is_word =
                |byte: u8| byte == b'_' || byte.is_ascii_lowercase() || byte.is_ascii_digit();
            words >= 6 && name.bytes().all(is_word)
        });
        for name in sentences {
            assert!(
                is_test(name),
                "{document} names the test {name}, which is not there"
            );
            named += 1;
        }
    }
    assert!(named > 20, "{named}");
}

#[test]
fn nothing_is_left_for_later() {
    absent(&texts(), &["TODO", "FIXME"]);
    absent(&sources(), &["todo!(", "unimplemented!(", "dbg!("]);
}

#[test]
fn every_source_file_says_what_it_is_for() {
    for (path, text) in sources() {
        // A fuzz target begins with the attribute that makes it one.
        let text = text.strip_prefix("#![no_main]\n").unwrap_or(&text);
        assert!(text.starts_with("//! "), "{}", path.display());
    }
}

#[test]
fn unsafe_code_lives_in_one_file() {
    for (path, text) in sources() {
        if path == Path::new("engine/src/storage/map.rs") || path == Path::new("tests/tidy.rs") {
            continue;
        }
        for (number, line) in (1..).zip(text.lines()) {
            let code = line.split("//").next().unwrap();
            let lifted = code.contains("allow(unsafe_code") || code.contains("expect(unsafe_code");
            let used = ["unsafe {", "unsafe fn", "unsafe impl", "unsafe extern"]
                .iter()
                .any(|form| code.contains(form));
            assert!(!lifted && !used, "{}:{number}", path.display());
        }
    }
}

#[test]
fn no_source_file_is_longer_than_one_noun_needs() {
    for (path, text) in sources() {
        let lines = text.lines().count();
        assert!(lines <= LINES_MAX, "{}: {lines} lines", path.display());
    }
}

#[test]
fn no_text_names_the_place_it_was_written_at() {
    let homes = ["/home/", "/root/", "/Users/", "/mnt/"];
    absent(&texts(), &homes);
    absent(&sources(), &["/tmp/"]);
}

#[test]
fn layers_import_only_downwards() {
    for (folder, forbidden) in [
        ("engine/src", &["tokio", "hyper", "serde", "tracing"][..]),
        (
            "src/store",
            &["crate::app", "crate::http", "crate::native", "hyper"],
        ),
        (
            "src/app",
            &[
                "crate::http",
                "crate::native",
                "crate::dialect",
                "crate::webhook",
                "crate::server",
                "hyper",
                "strandlog_engine",
            ],
        ),
        (
            "src/native",
            &["crate::server", "crate::cli", "crate::dialect", "hyper::"],
        ),
        (
            "src/dialect",
            &["crate::server", "crate::cli", "crate::native", "hyper::"],
        ),
        (
            "src/webhook",
            &[
                "crate::server",
                "crate::cli",
                "crate::native",
                "crate::dialect",
            ],
        ),
        (
            "src/http",
            &[
                "crate::native",
                "crate::dialect",
                "crate::webhook",
                "crate::server",
            ],
        ),
    ] {
        for (path, text) in sources() {
            if !path.starts_with(folder) {
                continue;
            }
            for (number, line) in (1..).zip(text.lines()) {
                let code = line.trim_start();
                let import = code.starts_with("use ") || code.starts_with("pub use ");
                for name in forbidden {
                    let named = code
                        .split_once("use ")
                        .is_some_and(|(_, path)| path.starts_with(name));
                    assert!(!(import && named), "{}:{number}: {name}", path.display());
                }
            }
        }
    }
}
