//! A data directory is taken only if it is ours, of a version we know and free; else it stays as it
//! is.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use strandlog::clock::HandClock;
use strandlog::store::embedded::{DirectoryError, EmbeddedStore};

use crate::{NOON_US, Rig, fill, options};

/// Every path below `root`, with the bytes of the files.
fn listing(root: &Path) -> BTreeMap<PathBuf, Option<Vec<u8>>> {
    let mut found = BTreeMap::new();
    let mut left = vec![root.to_owned()];
    while let Some(directory) = left.pop() {
        for entry in fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                left.push(path.clone());
                found.insert(path, None);
            } else {
                let bytes = fs::read(&path).unwrap();
                found.insert(path, Some(bytes));
            }
        }
    }
    found
}

#[track_caller]
fn refused(root: &Path) -> DirectoryError {
    let before = listing(root);
    let clock = HandClock::at(NOON_US);
    let error = EmbeddedStore::open(root, options(&clock)).unwrap_err();
    assert_eq!(listing(root), before);
    assert_eq!(error.to_string().lines().count(), 1);
    error
}

#[tokio::test]
async fn a_directory_in_use_is_refused_and_untouched() {
    let rig = Rig::new().await;
    fill(&rig.log, "a", 10).await;
    let error = refused(rig.directory.path());
    assert!(matches!(error, DirectoryError::InUse), "{error}");
    fill(&rig.log, "a", 10).await;
    let rig = rig.reopened().await;
    assert_eq!(rig.log.last_id(), 20);
}

#[test]
fn a_directory_with_something_else_in_it_is_refused_and_untouched() {
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join("thesis.txt"), "text").unwrap();
    let error = refused(directory.path());
    assert!(matches!(error, DirectoryError::NotOurs { name } if name == "thesis.txt"));
}

#[test]
fn a_directory_with_a_marker_of_something_else_is_refused_and_untouched() {
    for marker in [&b""[..], b"strandlg", b"something else!!"] {
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join("strandlog"), marker).unwrap();
        let error = refused(directory.path());
        assert!(
            matches!(error, DirectoryError::NotOurs { .. }),
            "{marker:?}"
        );
    }
}

#[tokio::test]
async fn a_directory_of_a_newer_version_is_refused_and_untouched() {
    let rig = Rig::new().await;
    rig.app.close().await;
    let Rig {
        app,
        log,
        directory,
        ..
    } = rig;
    drop((app, log));
    let marker = directory.path().join("strandlog");
    let mut bytes = fs::read(&marker).unwrap();
    bytes[8] = 9;
    fs::write(&marker, bytes).unwrap();
    let error = refused(directory.path());
    assert!(matches!(error, DirectoryError::Newer { version: 9 }));
}

#[test]
fn a_file_in_place_of_a_directory_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("file");
    fs::write(&file, "text").unwrap();
    let clock = HandClock::at(NOON_US);
    let error = EmbeddedStore::open(&file, options(&clock)).unwrap_err();
    assert!(matches!(error, DirectoryError::Io(_)), "{error}");
    assert_eq!(fs::read(&file).unwrap(), b"text");
}

#[test]
fn a_first_start_that_was_interrupted_is_taken_up_again() {
    let directory = tempfile::tempdir().unwrap();
    for left_over in ["lock", "strandlog.new"] {
        fs::write(directory.path().join(left_over), "").unwrap();
    }
    fs::create_dir(directory.path().join("lost+found")).unwrap();
    let clock = HandClock::at(NOON_US);
    EmbeddedStore::open(directory.path(), options(&clock)).unwrap();
    assert!(!directory.path().join("strandlog.new").exists());
}
