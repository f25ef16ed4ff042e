//! A log whose process was killed: the bench starts itself again as a child that appends, and ends
//! it with SIGKILL.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};

use strandlog_engine::{Durability, Options};

use super::workload::{Shape, Workload};

/// Set for the child: the directory of the log.
const DIR: &str = "STRANDLOG_BENCH_CHILD_DIR";
/// Set for the child: the length of a segment.
const SEGMENT_LEN: &str = "STRANDLOG_BENCH_CHILD_SEGMENT_LEN";
/// What the child appends before it may be killed.
const APPENDS: usize = 20;

/// Becomes the child if this process was started as one. To be called first.
pub(crate) fn run_child_if_asked() {
    let (Some(dir), Ok(segment_len)) = (std::env::var_os(DIR), std::env::var(SEGMENT_LEN)) else {
        return;
    };
    let log = super::open(
        Path::new(&dir),
        Options {
            segment_len: segment_len.parse().unwrap(),
            ..Options::default()
        },
    );
    let mut workload = Workload::new(
        Shape {
            body_len: 200,
            is_tagged: false,
        },
        Durability::Sync,
    );
    for append in 1_u64.. {
        let _receipt = log.append(workload.batch(10)).wait().unwrap();
        if append == APPENDS as u64 {
            println!("ready");
        }
    }
}

/// Appends a little to the log in `dir` in a process of its own, and kills that while it appends.
pub(crate) fn append_and_kill(dir: &Path, segment_len: u64) {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .env(DIR, dir)
        .env(SEGMENT_LEN, segment_len.to_string())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    let mut output = BufReader::new(child.stdout.take().unwrap());
    output.read_line(&mut line).unwrap();
    assert_eq!(line.trim(), "ready", "the child ended by itself");
    child.kill().unwrap();
    child.wait().unwrap();
}
