//! `import`: the events of a file into a log, in their order, as often as one likes.
//!
//! One thread reads, unpacks and prepares batches; the other sends them, one at a time. Only so is
//! the order certain: of two batches under way the second could be stored when the first is refused.
//! Each event has an idempotency key, so a batch whose answer was lost is simply sent again.

use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;
use clap::Args;
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;

use super::client::{Call, Client, ClientError, escape};
use super::failure::CliFailure;
use super::import_line::prepare;
use super::input::{Input, Lines};
use super::output::{print_json, print_line};
use super::progress::{Progress, per_second};
use super::refusal::CallFailure;
use super::retry::Retry;
use super::target::Target;
use crate::clock::{Clock, SystemClock};

/// A batch is sent when it has this many bytes: long enough that the cost of a request does not
/// count, far below the server's limit.
const BATCH_LEN: usize = 4 << 20;
/// Batches made ready ahead of the one under way.
const BATCHES_AHEAD: usize = 2;

/// What `import` takes.
#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub(crate) struct ImportArgs {
    /// The file, one event a line; `-` for standard input. Gzip files are unpacked
    file: PathBuf,

    #[command(flatten)]
    target: Target,

    /// Events a request, stored all or none
    #[arg(long, value_name = "N", default_value_t = 1_000,
          value_parser = clap::value_parser!(u16).range(1..=10_000))]
    batch: u16,

    /// What the lines without an `idempotencyKey` are known by, together with their number and
    /// their content; needed for such lines from standard input [default: the name of the file,
    /// without its directory and `.gz`]
    #[arg(long, value_name = "NAME")]
    source: Option<String>,

    /// How long to go on trying while the server is away or refuses for now
    #[arg(long, value_name = "SECONDS", default_value_t = 60)]
    retry_for: u64,

    /// Print the summary as one JSON object
    #[arg(long)]
    json: bool,
}

const EXAMPLES: &str = "\
A line is an event: {\"stream\":\"s\",\"type\":\"T\",\"data\":{...}}, with \"time\", \"tags\", \"metadata\",
\"eventId\" and \"idempotencyKey\" as you like. What `export` writes can be imported.

Running the same import again stores nothing twice, and one that was stopped goes on: events are
known by their idempotencyKey, or else by source, line number and content. The source is the name of
the file and not its path: a moved file is the same one, and so are equal lines at the same place of
two files with one name in different directories, unless --source tells them apart.

Examples:
  strandlog import events.ndjson.gz
  strandlog import events.ndjson --log orders --batch 5000
  zcat part-*.gz | strandlog import - --source parts --json";

/// Events that go into one request.
#[derive(Debug, Default)]
struct Batch {
    body: Vec<u8>,
    /// For each event the number of its line, and where it ends in `body`.
    events: Vec<(u64, usize)>,
}

impl Batch {
    /// The first `count` events.
    fn front(mut self, count: usize) -> Self {
        self.events.truncate(count);
        let len = self.events.last().map_or(0, |(_, end)| *end);
        self.body.truncate(len);
        self
    }

    /// Takes the last event away, into a batch of its own.
    fn split_last(&mut self) -> Self {
        let Some((number, _)) = self.events.pop() else {
            return Self::default();
        };
        let start = self.events.last().map_or(0, |(_, end)| *end);
        let body = self.body.split_off(start);
        Self {
            events: vec![(number, body.len())],
            body,
        }
    }
}

/// A line that cannot be imported.
#[derive(Debug)]
struct BadLine {
    number: u64,
    reason: String,
}

/// What `import` has done so far.
#[derive(Clone, Copy, Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
struct Summary {
    stored: u64,
    already_there: u64,
    /// The highest id among the events of the file; null if it has none.
    last_id: Option<u64>,
    seconds: f64,
}

impl Summary {
    fn events(&self) -> u64 {
        self.stored + self.already_there
    }
}

/// Runs `import`.
///
/// # Errors
///
/// The first line that cannot be stored, by its number; a server that stays away. What comes before
/// that line is stored.
pub(crate) async fn run(args: ImportArgs) -> Result<(), CliFailure> {
    let input = Input::open(&args.file).map_err(|error| {
        CliFailure::because(format!("cannot read {}", args.file.display()), &error)
    })?;
    let source = args.source.or_else(|| name_of(&args.file));
    let progress = Progress::up_to(input.len);
    let (sender, mut batches) = mpsc::channel(BATCHES_AHEAD);
    let reader = tokio::task::spawn_blocking({
        let batch_max = usize::from(args.batch);
        move || read_batches(input.lines, source.as_deref(), batch_max, &sender)
    });

    let clock = SystemClock::new();
    let started = clock.moment();
    let mut importer = Importer {
        client: Client::new(args.target.url.clone()),
        path: format!("/v1/logs/{}/events", escape(&args.target.log)),
        retry: Retry::new(clock, Duration::from_secs(args.retry_for)),
        clock,
        progress,
        summary: Summary::default(),
    };
    let mut outcome = Ok(());
    while let Some(batch) = batches.recv().await {
        outcome = importer.store(batch).await;
        if outcome.is_err() {
            break;
        }
        importer
            .progress
            .events(input.position.get(), importer.summary.events());
    }
    // A reader that still has batches notices that nobody takes them.
    drop(batches);
    let read = reader
        .await
        .map_err(|error| CliFailure::because("the reader stopped", &error))?;
    importer.progress.done();

    let took = clock.moment().since(started);
    importer.summary.seconds = took.as_secs_f64();
    let summary = importer.summary;
    let reason = match (outcome, read) {
        (Err(reason), _) => Some(reason),
        (Ok(()), Err(line)) => Some(format!("line {}: {}", line.number, line.reason)),
        (Ok(()), Ok(())) => None,
    };
    if args.json {
        print_json(&summary)?;
    }
    match reason {
        Some(reason) => Err(CliFailure::new(format!(
            "{reason}; {} events stored, {} already there before it",
            summary.stored, summary.already_there
        ))),
        None if args.json => Ok(()),
        None => print_line(&format!(
            "{} events stored, {} already there, in {:.1} s ({}/s)",
            summary.stored,
            summary.already_there,
            summary.seconds,
            per_second(summary.events(), took)
        )),
    }
}

/// The name of a file without its directory; `.gz` does not make it another source. Standard input
/// has none: two inputs would pass for one.
fn name_of(path: &Path) -> Option<String> {
    if path == Path::new("-") {
        return None;
    }
    let name = path
        .file_name()
        .map(|name| name.to_string_lossy().into_owned())
        .unwrap_or_default();
    Some(match name.strip_suffix(".gz") {
        Some(name) => name.to_owned(),
        None => name,
    })
}

/// Hands over the lines in batches, up to the first that is no JSON object; those before it are
/// handed over all the same.
fn read_batches(
    mut lines: Lines,
    source: Option<&str>,
    batch_max: usize,
    batches: &mpsc::Sender<Batch>,
) -> Result<(), BadLine> {
    let mut batch = Batch::default();
    let end = loop {
        let bad = match lines.next_line() {
            Ok(None) => break Ok(()),
            Ok(Some((number, line))) => match prepare(line, source, number, &mut batch.body) {
                Ok(()) => {
                    batch.events.push((number, batch.body.len()));
                    None
                }
                Err(reason) => Some(BadLine { number, reason }),
            },
            Err(error) => Some(BadLine {
                number: lines.number(),
                reason: error.to_string(),
            }),
        };
        if let Some(bad) = bad {
            break Err(bad);
        }
        let full = if batch.body.len() > BATCH_LEN {
            // A long event goes alone: behind others it could be more than a request may be.
            let last = batch.split_last();
            Some(std::mem::replace(&mut batch, last)).filter(|batch| !batch.events.is_empty())
        } else if batch.events.len() >= batch_max {
            Some(std::mem::take(&mut batch))
        } else {
            None
        };
        if let Some(full) = full
            && batches.blocking_send(full).is_err()
        {
            // The other side has stopped, and says why.
            return Ok(());
        }
    };
    if !batch.events.is_empty() {
        let _stopped = batches.blocking_send(batch);
    }
    end
}

struct Importer {
    client: Client,
    path: String,
    retry: Retry,
    clock: SystemClock,
    progress: Progress,
    summary: Summary,
}

/// The part of a receipt that is counted.
#[derive(Deserialize)]
struct Receipt {
    events: Vec<Stored>,
}

#[derive(Deserialize)]
struct Stored {
    id: u64,
    #[serde(default)]
    replayed: bool,
}

impl Importer {
    /// Stores the batch, or what comes before the event in it that the server refuses.
    async fn store(&mut self, batch: Batch) -> Result<(), String> {
        let refused = match self.send(&batch).await {
            Ok(()) => return Ok(()),
            Err(CallFailure::Refused(refusal)) => refusal.of_a_line(),
            Err(failure @ (CallFailure::NoAnswer(_) | CallFailure::Broken(_))) => {
                return Err(failure.to_string());
            }
        };
        let numbers = |index: usize| batch.events.get(index).map(|(number, _)| *number);
        match refused
            .index
            .and_then(|index| Some((index, numbers(index)?)))
        {
            Some((index, number)) => {
                let reason = format!("line {number}: {refused}");
                let front = batch.front(index);
                if !front.events.is_empty()
                    && let Err(failure) = self.send(&front).await
                {
                    return Err(format!("{reason}; and the lines before it: {failure}"));
                }
                Err(reason)
            }
            None => {
                let first = numbers(0).unwrap_or_default();
                let last = batch.events.last().map_or(first, |(number, _)| *number);
                Err(format!("lines {first} to {last}: {refused}"))
            }
        }
    }

    /// Sends a batch until it is stored, refused for good, or the patience is over.
    async fn send(&mut self, batch: &Batch) -> Result<(), CallFailure> {
        let call = Call::post(
            &*self.path,
            "application/x-ndjson",
            Bytes::copy_from_slice(&batch.body),
        );
        loop {
            let failure = match self.try_once(&call).await {
                Ok(receipt) => {
                    self.retry.succeeded();
                    self.count(&receipt);
                    return Ok(());
                }
                Err(failure) => failure,
            };
            // A server that was never there is more likely a wrong address than a short absence.
            let never_there = matches!(
                failure,
                CallFailure::NoAnswer(ClientError::Connect(_)) if !self.retry.ever_succeeded()
            );
            if never_there || !failure.may_pass_later() {
                return Err(failure);
            }
            let Some(pause) = self.retry.next_pause(failure.retry_after()) else {
                return Err(failure);
            };
            self.progress.note(&format!(
                "{failure}; trying again in {:.1} s",
                pause.as_secs_f64()
            ));
            self.clock
                .sleep_until(self.clock.moment().after(pause))
                .await;
        }
    }

    async fn try_once(&mut self, call: &Call) -> Result<Receipt, CallFailure> {
        let body = self.client.ask(call).await?.whole().await?;
        // An answer that is no receipt is no proof that the events are stored.
        serde_json::from_slice(&body).map_err(|_| CallFailure::NoAnswer(ClientError::NotAnAnswer))
    }

    fn count(&mut self, receipt: &Receipt) {
        for event in &receipt.events {
            if event.replayed {
                self.summary.already_there += 1;
            } else {
                self.summary.stored += 1;
            }
            self.summary.last_id = self.summary.last_id.max(Some(event.id));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The batches that a file becomes: of each the numbers of its lines, and how they end.
    fn batches_of(text: &str, batch_max: usize) -> (Vec<Vec<u64>>, Result<(), u64>) {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("events");
        std::fs::write(&path, text).unwrap();
        let (sender, mut batches) = mpsc::channel(64);
        let lines = Input::open(&path).unwrap().lines;
        let end = read_batches(lines, Some("s"), batch_max, &sender).map_err(|line| line.number);
        drop(sender);
        let mut numbers = Vec::new();
        while let Some(batch) = batches.blocking_recv() {
            let lines = batch.body.split(|byte| *byte == b'\n').count() - 1;
            assert_eq!(lines, batch.events.len());
            assert_eq!(batch.events.last().unwrap().1, batch.body.len());
            numbers.push(batch.events.iter().map(|(number, _)| *number).collect());
        }
        (numbers, end)
    }

    #[test]
    fn lines_become_batches_of_the_size_asked_for() {
        let text = "{}\n".repeat(5);
        assert_eq!(
            batches_of(&text, 2),
            (vec![vec![1, 2], vec![3, 4], vec![5]], Ok(()))
        );
        assert_eq!(batches_of("", 2), (vec![], Ok(())));
    }

    #[test]
    fn lines_before_a_bad_one_are_handed_over() {
        assert_eq!(
            batches_of("{}\n{}\n\n{}\n{\n{}\n", 2),
            (vec![vec![1, 2], vec![4]], Err(5))
        );
    }

    #[test]
    fn long_events_go_in_requests_of_their_own() {
        let long = format!("{{\"data\":\"{}\"}}\n", "x".repeat(BATCH_LEN));
        let text = format!("{{}}\n{long}{long}{{}}\n");
        let (numbers, end) = batches_of(&text, 100);
        assert_eq!(
            (numbers, end),
            (vec![vec![1], vec![2], vec![3], vec![4]], Ok(()))
        );
    }

    #[test]
    fn the_front_of_a_batch_ends_where_an_event_ends() {
        let batch = Batch {
            body: b"{}\n[]\n".to_vec(),
            events: vec![(7, 3), (9, 6)],
        };
        let front = batch.front(1);
        assert_eq!((front.body, front.events), (b"{}\n".to_vec(), vec![(7, 3)]));
    }
}
