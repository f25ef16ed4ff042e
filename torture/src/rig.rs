//! What a rig is, what it is given, and what it gives back.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Child;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::http::Client;
use crate::interrupt;
use crate::load::{Crew, Load, Shape};
use crate::native;
use crate::oracle::{Findings, Oracle};
use crate::place::Place;
use crate::random::Random;
use crate::server::{Launch, NotStarted, Server, verify};
use crate::sink::Sink;

/// Bytes of a segment: small enough that each run fills several.
pub(crate) const SEGMENT_BYTES: u64 = 128 << 10;

/// How long it may take until the webhook was shown everything: a pause between two attempts, and a
/// machine with other things to do.
const CALLS_PATIENCE: Duration = Duration::from_secs(20);

/// A way of mistreating the server.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rig {
    /// Its name on the command line.
    pub(crate) name: &'static str,
    /// What it does, in a line.
    pub(crate) about: &'static str,
    /// What is done wrong on purpose in its control, which it must notice.
    pub(crate) control: &'static str,
    /// What this machine lacks for it.
    pub(crate) missing: fn() -> Option<String>,
    /// Runs it.
    pub(crate) run: fn(&Context, &Slice) -> Result<Tally, String>,
    /// Cycles of the short setting.
    pub(crate) ci_cycles: u64,
    /// Cycles within which the control must be noticed.
    pub(crate) control_cycles: u64,
}

/// What all rigs are given.
#[derive(Debug)]
pub(crate) struct Context {
    /// Where everything happens.
    pub(crate) place: Place,
    /// The binary under test.
    pub(crate) binary: PathBuf,
    /// A config file with small segments, if the binary takes it.
    pub(crate) config: Option<PathBuf>,
    /// Everything random follows from it.
    pub(crate) seed: u64,
    /// Where data directories go with which something is wrong, for somebody to look at.
    pub(crate) keep: Option<PathBuf>,
    /// How long the rig that goes on for a time of its own does so.
    pub(crate) minutes: Option<f64>,
}

/// A part of a run.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Slice {
    /// The number of its first cycle.
    pub(crate) first: u64,
    /// How many cycles at most.
    pub(crate) cycles: u64,
    /// When it ends at the latest.
    pub(crate) until: Instant,
    /// Whether something is done wrong on purpose: it ends once that was noticed.
    pub(crate) control: bool,
}

impl Slice {
    /// Whether there is another cycle.
    pub(crate) fn goes_on(&self, tally: &Tally) -> bool {
        let noticed = self.control && tally.findings.count() > 0;
        tally.cycles < self.cycles && !noticed && Instant::now() < self.until && !interrupt::came()
    }
}

/// What a slice came to.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tally {
    pub(crate) cycles: u64,
    pub(crate) acknowledged: u64,
    pub(crate) findings: Findings,
    /// Anything else worth knowing, by name.
    pub(crate) figures: BTreeMap<&'static str, f64>,
    /// Those of the figures that are the highest of several, and not their sum.
    highest: BTreeSet<&'static str>,
}

impl Tally {
    /// Adds what other cycles of the same rig came to.
    pub(crate) fn add(&mut self, more: Self) {
        self.cycles += more.cycles;
        self.acknowledged += more.acknowledged;
        self.findings.add(more.findings);
        for (figure, value) in more.figures {
            if more.highest.contains(figure) {
                self.at_most(figure, value);
            } else {
                self.count(figure, value);
            }
        }
    }

    /// The sum of two controls: noticed only if both were.
    pub(crate) fn both(mut self, second: Self) -> Self {
        self.cycles += second.cycles;
        self.acknowledged += second.acknowledged;
        self.count("noticed_first", self.findings.count() as f64);
        self.count("noticed_second", second.findings.count() as f64);
        if self.findings.count() > 0 && second.findings.count() > 0 {
            self.findings.add(second.findings);
        } else {
            self.findings = Findings::default();
        }
        self
    }

    /// Adds to a figure.
    pub(crate) fn count(&mut self, figure: &'static str, value: f64) {
        *self.figures.entry(figure).or_default() += value;
    }

    /// Raises a figure.
    pub(crate) fn at_most(&mut self, figure: &'static str, value: f64) {
        self.highest.insert(figure);
        let highest = self.figures.entry(figure).or_default();
        *highest = highest.max(value);
    }
}

impl Context {
    /// The numbers of a cycle.
    pub(crate) fn random(&self, rig: &str, cycle: u64) -> Random {
        Random::of(self.seed, rig, cycle)
    }

    /// The same for somebody who works beside others.
    pub(crate) fn part(&self, name: &str) -> Result<Self, String> {
        let place = self.place.part(name).map_err(|error| error.to_string())?;
        Ok(Self {
            place,
            binary: self.binary.clone(),
            config: self.config.clone(),
            seed: self.seed,
            minutes: self.minutes,
            keep: self.keep.clone(),
        })
    }

    /// How a server is started on `data`; `directory` takes what it says.
    pub(crate) fn launch(&self, data: &Path, directory: &Path) -> Launch {
        Launch {
            binary: self.binary.clone(),
            config: self.config.clone(),
            data: data.to_owned(),
            stderr: directory.join("stderr"),
            wrapper: Vec::new(),
            keep: self.keep.clone(),
            environment: Vec::new(),
        }
    }

    /// Writes the config file, and tries whether the binary takes it.
    pub(crate) fn configure(&mut self) -> Result<(), String> {
        let directory = self
            .place
            .fresh("probe")
            .map_err(|error| error.to_string())?;
        let config = self.place.root().join("strandlog.toml");
        let text = format!(
            "segment_bytes = {SEGMENT_BYTES}\n\
             [dialect.newstore]\n[dialect.axon]\ncontexts = [\"default\"]\n\
             [webhooks]\nallow = [\"127.0.0.0/8\"]\n"
        );
        fs::write(&config, text).map_err(|error| error.to_string())?;
        self.config = Some(config);
        let data = directory.join("data");
        match self.launch(&data, &directory).start() {
            Ok(server) => server.kill(),
            Err(refused) if refused.said.contains("segment_bytes") => {
                self.config = None;
                eprintln!("the binary has segments of one length: few will be filled");
            }
            Err(refused) => return Err(format!("the server does not start: {refused}")),
        }
        Ok(())
    }
}

/// A data directory with the clients who use it.
#[derive(Debug)]
pub(crate) struct World {
    pub(crate) launch: Launch,
    pub(crate) oracle: Arc<Oracle>,
    crew: Option<Crew>,
    /// Whom the webhook calls.
    sink: Arc<Sink>,
}

impl World {
    /// Nothing is stored, and nobody was told anything.
    pub(crate) fn new(launch: Launch, shape: Shape, random: &mut Random) -> Self {
        let oracle = Arc::default();
        let sink = Sink::new(&oracle, random.next()).expect("a free port of this machine");
        Self {
            launch,
            oracle,
            crew: Some(Crew::new(shape, random)),
            sink: Arc::new(sink),
        }
    }

    /// Has the webhook's receiver forget calls: a fault on purpose.
    pub(crate) fn be_deaf(&self) {
        self.sink.be_deaf();
    }

    /// Starts the server, whatever it has; earlier ones must be gone.
    pub(crate) fn launch(&self) -> Result<Server, NotStarted> {
        self.sink.settle();
        self.launch.start()
    }

    /// The same without waiting for anything.
    pub(crate) fn spawn(&self) -> std::io::Result<Child> {
        self.sink.settle();
        self.launch.spawn()
    }

    /// Has the clients retry with another key: a fault on purpose.
    pub(crate) fn forget_keys(&mut self) {
        if let Some(crew) = &mut self.crew {
            crew.forgetful = true;
        }
    }

    /// Starts the server and compares what it has with what clients were told. A server that does not
    /// start is a finding.
    pub(crate) fn start(&self, findings: &mut Findings) -> Option<Server> {
        match self.launch() {
            Ok(server) => {
                findings.add(self.check(server.address()));
                Some(server)
            }
            Err(refused) => {
                findings.add(self.oracle.take_findings());
                findings.other(format!("no start: {refused}"));
                None
            }
        }
    }

    /// Copies the data directory, and what the servers said, to where it is kept.
    pub(crate) fn keep(&self) {
        let Some(keep) = &self.launch.keep else {
            return;
        };
        let name = format!("data-{}-{}", std::process::id(), self.oracle.acknowledged());
        let to = keep.join(name);
        let _made = fs::create_dir_all(keep);
        let words = ["-r".as_ref(), self.launch.data.as_os_str(), to.as_os_str()];
        let _said = fs::copy(&self.launch.stderr, to.with_extension("stderr"));
        if let Err(error) = crate::place::run("cp", words) {
            eprintln!("cannot keep the data directory: {error}");
        }
    }

    /// Compares what the server has with what clients were told.
    pub(crate) fn check(&self, address: SocketAddr) -> Findings {
        let mut client = Client::new(address);
        let mut findings = self.oracle.check(&mut client);
        if let Some(wrong) = self.sink.check(&mut client) {
            findings.checkpoint(wrong);
        }
        findings
    }

    /// Sets the clients to work.
    pub(crate) fn load(&mut self, address: SocketAddr) -> Load {
        let crew = self.crew.take().expect("the clients are not at work");
        Load::start(crew, &self.oracle, &self.sink, address)
    }

    /// Takes the clients back.
    pub(crate) fn end(&mut self, load: Load) {
        self.crew = Some(load.finish());
    }

    /// Waits until `count` more events were acknowledged; whether they were.
    pub(crate) fn await_acks(&self, count: u64, patience: Duration) -> bool {
        let goal = self.oracle.acknowledged() + count;
        Load::wait(patience, || self.oracle.acknowledged() >= goal)
    }

    /// Waits until nothing has been acknowledged for a while; whether it came to that. Where room is
    /// short a small batch still finds some when a larger one has been refused.
    pub(crate) fn await_quiet(&self) -> bool {
        let mut idle = 0;
        Load::wait(Duration::from_secs(20), || {
            let before = self.oracle.acknowledged();
            std::thread::sleep(Duration::from_millis(30));
            idle = if self.oracle.acknowledged() == before {
                idle + 1
            } else {
                0
            };
            idle > 4
        })
    }

    /// The last start: everything is compared once more, the server is stopped as it should be, and
    /// every byte is verified.
    pub(crate) fn close(&self, tally: &mut Tally) {
        let before = tally.findings.count();
        self.sink.be_honest(true);
        if let Some(mut server) = self.start(&mut tally.findings) {
            self.await_calls(&server, &mut tally.findings);
            server.signal(rustix::process::Signal::TERM);
            match server.wait(Duration::from_secs(10)) {
                Some(status) if status.success() => {}
                Some(status) => tally
                    .findings
                    .other(format!("the server ended with {status}")),
                None => tally.findings.other("the server did not stop within 10 s"),
            }
            drop(server);
            self.verify(&mut tally.findings);
        }
        self.listen(&mut tally.findings);
        if tally.findings.count() > before {
            self.keep();
        }
        tally.acknowledged += self.oracle.acknowledged();
        let (calls, successes) = self.sink.calls();
        tally.count("checkpoints_moved", self.oracle.moves() as f64);
        tally.count("webhook_calls", calls as f64);
        tally.count(
            "webhook_calls_refused",
            calls.saturating_sub(successes) as f64,
        );
    }

    /// The webhook is shown everything in the end.
    fn await_calls(&self, server: &Server, findings: &mut Findings) {
        // What retention takes before it was shown is not shown any more.
        if self.oracle.lets_go() {
            return;
        }
        let shown = match native::last_id(&mut Client::new(server.address())) {
            Ok(end) => self.sink.await_shown(end, CALLS_PATIENCE),
            Err(error) => Some(format!("the end is not told: {error}")),
        };
        if let Some(wrong) = shown {
            findings.other(wrong);
        }
        findings.add(self.oracle.take_findings());
    }

    /// Has every byte verified; no server may be running.
    pub(crate) fn verify(&self, findings: &mut Findings) {
        // Before anything was acknowledged it may be gone again.
        if !self.launch.data.exists() {
            return;
        }
        if let Err(error) = verify(&self.launch.binary, &self.launch.data) {
            findings.other(error);
        }
    }

    /// Looks for panics in what the servers have said.
    pub(crate) fn listen(&self, findings: &mut Findings) {
        let said = fs::read_to_string(&self.launch.stderr).unwrap_or_default();
        if let Some(at) = said.find("panicked") {
            let from = said.get(at..).unwrap_or_default();
            let words: Vec<&str> = from.lines().take(2).collect();
            findings.other(format!("a panic: {}", words.join(" | ")));
        }
    }
}

/// Nothing is missing.
pub(crate) fn nothing() -> Option<String> {
    None
}

/// The first of what is missing of root, the FUSE device and some tools.
pub(crate) fn lacking(root: bool, fuse: bool, tools: &[&str]) -> Option<String> {
    if (root || fuse) && !crate::place::is_root() {
        return Some("root".to_owned());
    }
    if fuse {
        let device = fs::File::options().read(true).write(true).open("/dev/fuse");
        if let Err(error) = device {
            return Some(format!("the device fuse: {error}"));
        }
    }
    let absent = tools.iter().find(|tool| !crate::place::has(tool))?;
    Some(format!("the tool {absent}"))
}
