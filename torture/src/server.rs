//! The server as a process: started, asked, stopped, killed.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, kill_process, pidfd_open, pidfd_send_signal};

use crate::place;

/// How long a start may take: recovery reads one segment, on a busy machine, through slow tools.
const START_PATIENCE: Duration = Duration::from_secs(30);

/// How long a tracer may stay once its server is gone, before it is killed.
const TRACER_PATIENCE_MS: i64 = 2_000;

/// How the server is started.
#[derive(Clone, Debug)]
pub(crate) struct Launch {
    /// The binary.
    pub(crate) binary: PathBuf,
    /// The config file, if the binary takes ours.
    pub(crate) config: Option<PathBuf>,
    /// The data directory.
    pub(crate) data: PathBuf,
    /// Where its standard error goes.
    pub(crate) stderr: PathBuf,
    /// Commands in front of the binary, such as `strace` with its arguments.
    pub(crate) wrapper: Vec<OsString>,
    /// Where the data directory is copied to if something is wrong with it at the end.
    pub(crate) keep: Option<PathBuf>,
    /// Variables of its environment.
    pub(crate) environment: Vec<(String, OsString)>,
}

/// Why a server did not start.
#[derive(Debug)]
pub(crate) struct NotStarted {
    /// How it ended; none if it was still starting when the patience was over.
    pub(crate) status: Option<ExitStatus>,
    /// What it wrote to standard error.
    pub(crate) said: String,
}

impl std::fmt::Display for NotStarted {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.status {
            Some(status) => write!(f, "{status}")?,
            None => write!(f, "no sign of life")?,
        }
        write!(f, ": {}", last_lines(&self.said, 3))
    }
}

/// A server process; killed when dropped.
#[derive(Debug)]
pub(crate) struct Server {
    child: Child,
    /// Ended after the server, whose last calls it still answers for.
    tracer: Option<Tracer>,
    address: SocketAddr,
}

/// A process that traces the server and is not our child. It is known by its descriptor, so that
/// nobody else is meant who got its number later.
#[derive(Debug)]
struct Tracer(OwnedFd);

impl Tracer {
    /// Who traces the process, if anybody does.
    fn of(pid: u32) -> Option<Self> {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
        let line = status
            .lines()
            .find_map(|line| line.strip_prefix("TracerPid:"))?;
        let tracer = Pid::from_raw(line.trim().parse().ok()?)?;
        pidfd_open(tracer, PidfdFlags::empty()).ok().map(Self)
    }
}

impl Drop for Tracer {
    /// It ends by itself when nobody is left to be traced; if not, it is killed.
    fn drop(&mut self) {
        let patience = Timespec {
            tv_sec: TRACER_PATIENCE_MS / 1_000,
            tv_nsec: (TRACER_PATIENCE_MS % 1_000) * 1_000_000,
        };
        let gone = poll(&mut [PollFd::new(&self.0, PollFlags::IN)], Some(&patience));
        if !matches!(gone, Ok(1)) {
            let _killed = pidfd_send_signal(&self.0, Signal::KILL);
        }
    }
}

impl Launch {
    /// The command, without waiting for anything.
    pub(crate) fn spawn(&self) -> std::io::Result<Child> {
        let mut words: Vec<OsString> = Vec::new();
        if place::has("setpriv") {
            // Whatever becomes of us, the server does not outlive us.
            words.extend(["setpriv", "--pdeathsig", "KILL"].map(OsString::from));
        }
        words.extend(self.wrapper.iter().cloned());
        words.push(self.binary.clone().into());
        let mut words = words.into_iter();
        let mut command = Command::new(words.next().unwrap_or_default());
        command.args(words);
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("STRANDLOG_") {
                command.env_remove(name);
            }
        }
        command
            .envs(self.environment.iter().map(|(name, value)| (name, value)))
            .args([
                "serve",
                "--listen",
                "127.0.0.1:0",
                "--log-level",
                "warn",
                "--data",
            ])
            .arg(&self.data);
        if let Some(config) = &self.config {
            command.arg("--config").arg(config);
        }
        let stderr = File::options()
            .create(true)
            .append(true)
            .open(&self.stderr)?;
        command
            // A Ctrl-C at the terminal is for us alone.
            .process_group(0)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(stderr)
            .spawn()
    }

    /// Starts a server, and waits until it takes requests.
    pub(crate) fn start(&self) -> Result<Server, NotStarted> {
        self.await_start(self.spawn_or_say()?)
    }

    fn spawn_or_say(&self) -> Result<Child, NotStarted> {
        self.spawn().map_err(|error| NotStarted {
            status: None,
            said: format!("cannot run {}: {error}", self.binary.display()),
        })
    }

    /// Waits until `child`, which [`spawn`](Self::spawn) made, takes requests.
    pub(crate) fn await_start(&self, mut child: Child) -> Result<Server, NotStarted> {
        let lines = child.stdout.take().map(first_line);
        let line = lines.and_then(|lines| lines.recv_timeout(START_PATIENCE).ok());
        let address = line
            .as_deref()
            .and_then(|line| line.strip_prefix("listening on http://"))
            .and_then(|address| address.trim().parse().ok());
        let tracer = Tracer::of(child.id());
        if let Some(address) = address {
            return Ok(Server {
                child,
                tracer,
                address,
            });
        }
        let status = wait(&mut child, Duration::from_secs(1));
        if status.is_none() {
            let _killed = child.kill();
            let _reaped = child.wait();
        }
        drop(tracer);
        let said = fs::read_to_string(&self.stderr).unwrap_or_default();
        Err(NotStarted { status, said })
    }
}

impl Server {
    /// Where it listens.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Its process id.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Sends it a signal.
    pub(crate) fn signal(&self, signal: Signal) {
        if let Ok(pid) = i32::try_from(self.child.id())
            && let Some(pid) = Pid::from_raw(pid)
        {
            let _sent = kill_process(pid, signal);
        }
    }

    /// Whether it has ended, and how.
    pub(crate) fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().ok().flatten()
    }

    /// Waits for its end.
    pub(crate) fn wait(&mut self, patience: Duration) -> Option<ExitStatus> {
        wait(&mut self.child, patience)
    }

    /// Kills it, and waits until it is gone.
    pub(crate) fn kill(self) {
        drop(self);
    }

    /// Sends the signal that kills, without waiting.
    pub(crate) fn kill_soon(&mut self) {
        let _killed = self.child.kill();
    }

    /// Bytes of memory that it holds.
    pub(crate) fn resident_bytes(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid())).unwrap_or_default();
        let kib = status
            .lines()
            .find_map(|line| line.strip_prefix("VmRSS:"))
            .and_then(|rest| rest.split_whitespace().next()?.parse::<u64>().ok());
        kib.unwrap_or(0) * 1024
    }

    /// Ticks of processor time that it has used so far; a second has a hundred.
    pub(crate) fn cpu_ticks(&self) -> u64 {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.pid())).unwrap_or_default();
        let after = stat.rsplit(')').next().unwrap_or_default();
        let field = |index: usize| {
            let word = after.split_whitespace().nth(index);
            word.and_then(|word| word.parse::<u64>().ok()).unwrap_or(0)
        };
        field(11) + field(12)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _killed = self.child.kill();
        let _reaped = self.child.wait();
        drop(self.tracer.take());
    }
}

/// Waits for the end of a process.
pub(crate) fn wait(child: &mut Child, patience: Duration) -> Option<ExitStatus> {
    let deadline = Instant::now() + patience;
    loop {
        if let Ok(Some(status)) = child.try_wait() {
            return Some(status);
        }
        if Instant::now() >= deadline {
            return None;
        }
        thread::sleep(Duration::from_millis(2));
    }
}

fn first_line(stream: impl std::io::Read + Send + 'static) -> mpsc::Receiver<String> {
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || {
        // The rest is read as well, so that the server never waits for us.
        for line in BufReader::new(stream).lines().map_while(Result::ok) {
            let _unheard = sender.send(line);
        }
    });
    receiver
}

/// The end of a text, on one line.
pub(crate) fn last_lines(text: &str, count: usize) -> String {
    let lines: Vec<&str> = text.lines().collect();
    let start = lines.len().saturating_sub(count);
    lines.get(start..).unwrap_or_default().join(" | ")
}

/// What `strandlog verify` says of a directory that no server uses: nothing if it is sound.
pub(crate) fn verify(binary: &Path, data: &Path) -> Result<(), String> {
    let output = Command::new(binary)
        .args(["verify", "--json", "--data"])
        .arg(data)
        .stdin(Stdio::null())
        .output()
        .map_err(|error| format!("verify: {error}"))?;
    if output.status.success() {
        return Ok(());
    }
    let (out, said) = (&output.stdout, &output.stderr);
    Err(format!(
        "verify: {}: {} {}",
        output.status,
        String::from_utf8_lossy(out)
            .chars()
            .take(2_000)
            .collect::<String>(),
        last_lines(&String::from_utf8_lossy(said), 3)
    ))
}
