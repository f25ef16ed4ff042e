//! A server process, other commands, and waiting.

use std::ffi::OsStr;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Child, ChildStderr, Command, ExitStatus, Output, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use strandlog::clock::{Clock, SystemClock};

use crate::http;

/// Longer than anything takes on a slow, busy machine; reaching it means that it will not happen.
pub(crate) const DEADLINE: Duration = Duration::from_secs(60);

/// The binary under test.
pub(crate) const BINARY: &str = env!("CARGO_BIN_EXE_strandlog");

/// A running server; killed when dropped.
#[derive(Debug)]
pub(crate) struct Server {
    child: Child,
    /// `ADDRESS:PORT`.
    pub(crate) address: String,
    stdout: mpsc::Receiver<String>,
}

impl Server {
    /// Starts a server on `data` and a free port.
    pub(crate) fn start(data: &Path) -> Self {
        Self::start_on(data, "127.0.0.1:0")
    }

    /// Starts a server on `data` that listens on `listen`.
    pub(crate) fn start_on(data: &Path, listen: &str) -> Self {
        let mut command = strandlog(["--listen", listen, "--log-level", "warn"]);
        command.arg("--data").arg(data);
        Self::spawn(command)
    }

    /// Starts `command`, which must be a server, and waits until it accepts requests.
    pub(crate) fn spawn(mut command: Command) -> Self {
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let stdout = lines_of(child.stdout.take().unwrap());
        let line = match stdout.recv_timeout(DEADLINE) {
            Ok(line) => line,
            Err(error) => {
                let _gone = child.kill();
                panic!("the server did not start: {error}");
            }
        };
        let address = line
            .strip_prefix("listening on http://")
            .unwrap_or_else(|| panic!("the first line is {line:?}"))
            .to_owned();
        Self {
            child,
            address,
            stdout,
        }
    }

    /// The value of `--url`.
    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Kills it as the loss of its machine would, and waits until it is gone.
    pub(crate) fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Its process id.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Its standard error, if the command was given a pipe for it.
    pub(crate) fn stderr(&mut self) -> ChildStderr {
        self.child.stderr.take().unwrap()
    }

    /// Sends it a signal by name.
    pub(crate) fn signal(&self, name: &str) {
        signal(self.child.id(), name);
    }

    /// Waits until it has ended, and returns how, with what else it wrote to standard output.
    pub(crate) fn wait(mut self) -> (ExitStatus, Vec<String>) {
        let status = wait_for_end(&mut self.child);
        (status, self.stdout.iter().collect())
    }

    /// Asks it to stop, and waits until it has.
    pub(crate) fn stop(self) {
        self.signal("TERM");
        let (status, _) = self.wait();
        assert!(status.success(), "{status}");
    }

    /// The last id of the log `default`.
    pub(crate) fn last_id(&self) -> u64 {
        let log = http::get_json(&self.address, "/v1/logs/default");
        log["lastId"].as_u64().unwrap()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _gone = self.child.kill();
        let _gone = self.child.wait();
    }
}

/// The binary with arguments, and without settings from the environment.
pub(crate) fn strandlog<S: AsRef<OsStr>>(arguments: impl IntoIterator<Item = S>) -> Command {
    let mut command = Command::new(BINARY);
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("STRANDLOG_") {
            command.env_remove(name);
        }
    }
    command.args(arguments);
    command
}

/// Runs a command to its end.
pub(crate) fn run<S: AsRef<OsStr>>(arguments: impl IntoIterator<Item = S>) -> Output {
    strandlog(arguments).stdin(Stdio::null()).output().unwrap()
}

/// Runs a command that must succeed; what it wrote to standard output.
#[track_caller]
pub(crate) fn run_ok<S: AsRef<OsStr>>(arguments: impl IntoIterator<Item = S>) -> String {
    let output = run(arguments);
    assert!(
        output.status.success(),
        "{}: {}",
        output.status,
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).unwrap()
}

/// Sends a signal to a process.
pub(crate) fn signal(pid: u32, name: &str) {
    let status = Command::new("kill")
        .args(["-s", name, &pid.to_string()])
        .status()
        .unwrap();
    assert!(status.success());
}

/// Waits until `condition` holds.
#[track_caller]
pub(crate) fn wait_until(what: &str, mut condition: impl FnMut() -> bool) {
    let clock = SystemClock::new();
    let deadline = clock.moment().after(DEADLINE);
    while !condition() {
        assert!(clock.moment() < deadline, "{what}: it did not happen");
        thread::park_timeout(Duration::from_millis(5));
    }
}

/// Waits until a process has ended.
pub(crate) fn wait_for_end(child: &mut Child) -> ExitStatus {
    let mut status = None;
    wait_until("the process ends", || {
        status = child.try_wait().unwrap();
        status.is_some()
    });
    status.unwrap()
}

/// The lines of a stream as they come.
pub(crate) fn lines_of(stream: impl Read + Send + 'static) -> mpsc::Receiver<String> {
    let (sender, lines) = mpsc::channel();
    thread::spawn(move || {
        for line in BufReader::new(stream).lines() {
            let Ok(line) = line else { return };
            if sender.send(line).is_err() {
                return;
            }
        }
    });
    lines
}
