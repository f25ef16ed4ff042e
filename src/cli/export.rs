//! `export`: the events of a log as lines, in the form that `import` takes.
//!
//! The end of the export is settled before it begins, so that it neither chases a log that grows nor
//! misses what was there. A connection that breaks is taken up again after the last whole line. A
//! file gets its name only once it is complete and synced.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use serde::{Deserialize, Serialize};

use super::client::{Call, Client, escape};
use super::failure::CliFailure;
use super::log_state::LogState;
use super::output::print_line;
use super::progress::{Progress, per_second};
use super::refusal::{CallFailure, Refusal};
use super::retry::Retry;
use super::sink::Sink;
use super::target::Target;
use crate::clock::{Clock, SystemClock};

/// The longest line taken from a server, in bytes: the longest event (16 MiB of data, base64 at
/// worst) with its metadata and names.
const LINE_LEN_MAX: usize = 32 << 20;

/// The ids that an event can have.
const IDS: std::ops::RangeInclusive<u64> = 1..=i64::MAX as u64;

/// What `export` takes.
#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub(crate) struct ExportArgs {
    #[command(flatten)]
    target: Target,

    /// The first id [default: the oldest event kept]
    #[arg(long, value_name = "ID", value_parser = clap::value_parser!(u64).range(IDS))]
    from: Option<u64>,

    /// The last id, inclusive [default: the newest event]
    #[arg(long, value_name = "ID", value_parser = clap::value_parser!(u64).range(IDS))]
    to: Option<u64>,

    /// Only events of this stream
    #[arg(long, value_name = "NAME")]
    stream: Option<String>,

    /// Only events of this type
    #[arg(long = "type", value_name = "NAME")]
    event_type: Option<String>,

    /// Only events with this tag
    #[arg(long, value_name = "TAG")]
    tag: Option<String>,

    /// Where to write; packed if the name ends in `.gz` [default: standard output]
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,

    /// How long to go on trying while the server is away or refuses for now
    #[arg(long, value_name = "SECONDS", default_value_t = 60)]
    retry_for: u64,

    /// Print a summary as one JSON object, on standard error if the events go to standard output
    #[arg(long)]
    json: bool,
}

const EXAMPLES: &str = "\
One event a line: what was published (`data` byte for byte) together with id, sequence and
recordedAt, in the order of the ids.

Examples:
  strandlog export -o everything.ndjson.gz
  strandlog export --stream plane-N14228 | head
  strandlog export --log orders --from 1000 --to 1999 -o orders.ndjson";

#[derive(Clone, Copy, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Summary {
    events: u64,
    last_id: Option<u64>,
    seconds: f64,
}

/// Runs `export`.
///
/// # Errors
///
/// A server that refuses or stays away, an answer that is not whole, a file that cannot be written.
/// A file is then not there, or what it was before.
pub(crate) async fn run(args: ExportArgs) -> Result<(), CliFailure> {
    if let (Some(from), Some(to)) = (args.from, args.to)
        && from > to
    {
        return Err(CliFailure::usage(format!(
            "--from {from} is above --to {to}: there is nothing between them"
        )));
    }
    let clock = SystemClock::new();
    let started = clock.moment();
    let mut client = Client::new(args.target.url.clone());
    let state = LogState::ask(&mut client, &args.target.log)
        .await
        .map_err(|failure| CliFailure::new(format!("cannot export: {failure}")))?;
    let from = args.from.unwrap_or(state.first_id.max(1));
    let to = args.to.unwrap_or(u64::MAX).min(state.last_id);

    let mut sink = Sink::open(args.output.as_deref())?;
    let filtered = args.stream.is_some() || args.event_type.is_some() || args.tag.is_some();
    let mut export = Export {
        next: from,
        to,
        last_id: None,
        events: 0,
        events_max: (!filtered).then(|| to.saturating_add(1).saturating_sub(from)),
        partial: Vec::new(),
    };
    let progress = Progress::up_to(Some(to.saturating_add(1).saturating_sub(from)));
    let mut retry = Retry::new(clock, Duration::from_secs(args.retry_for));
    retry.succeeded();
    while export.next <= export.to {
        let before = export.next;
        let call = Call::get(export.path(&args)).header("accept", "application/x-ndjson");
        let stopped = match export
            .read(&mut client, &call, &mut sink, &progress, from)
            .await
        {
            Ok(()) => break,
            Err(Stopped::Output(error)) => {
                progress.done();
                return sink.abandon(&error);
            }
            Err(Stopped::Answer(stopped)) => stopped,
        };
        if export.next > before {
            retry.succeeded();
        }
        let pause = stopped
            .may_pass_later()
            .then(|| retry.next_pause(stopped.retry_after()))
            .flatten();
        let Some(pause) = pause else {
            progress.done();
            sink.remove();
            return Err(CliFailure::new(format!(
                "stopped before event {}: {stopped}; {} events had come",
                export.next, export.events
            )));
        };
        progress.note(&format!(
            "{stopped}; going on with event {} in {:.1} s",
            export.next,
            pause.as_secs_f64()
        ));
        clock.sleep_until(clock.moment().after(pause)).await;
    }
    progress.done();
    if let Some(events_max) = export.events_max
        && export.events != events_max
    {
        sink.remove();
        return Err(CliFailure::new(format!(
            "the server sent {} of the {events_max} events from {from} to {to}",
            export.events
        )));
    }
    let to_standard_output = sink.is_standard_output();
    sink.complete()?;

    let took = clock.moment().since(started);
    let summary = Summary {
        events: export.events,
        last_id: export.last_id,
        seconds: took.as_secs_f64(),
    };
    let text = if args.json {
        serde_json::to_string(&summary)
            .map_err(|error| CliFailure::because("cannot print the summary", &error))?
    } else {
        format!(
            "{} events in {:.1} s ({}/s)",
            summary.events,
            summary.seconds,
            per_second(summary.events, took)
        )
    };
    if to_standard_output {
        if args.json {
            eprintln!("{text}");
        }
        return Ok(());
    }
    print_line(&text)
}

/// Why the reading of one answer stopped.
enum Stopped {
    /// The answer broke off, or was a refusal.
    Answer(CallFailure),
    /// Its lines could not be written.
    Output(io::Error),
}

struct Export {
    /// The id to go on with.
    next: u64,
    /// The last id, inclusive.
    to: u64,
    last_id: Option<u64>,
    events: u64,
    /// How many events there must be; none if a filter leaves that open.
    events_max: Option<u64>,
    /// The beginning of a line whose end has not come yet.
    partial: Vec<u8>,
}

impl Export {
    fn path(&self, args: &ExportArgs) -> String {
        let mut path = format!(
            "/v1/logs/{}/events?from={}&to={}",
            escape(&args.target.log),
            self.next,
            self.to
        );
        for (name, value) in [
            ("stream", &args.stream),
            ("type", &args.event_type),
            ("tag", &args.tag),
        ] {
            if let Some(value) = value {
                path.push_str(&format!("&{name}={}", escape(value)));
            }
        }
        path
    }

    /// Reads one answer to its proper end.
    async fn read(
        &mut self,
        client: &mut Client,
        call: &Call,
        sink: &mut Sink,
        progress: &Progress,
        from: u64,
    ) -> Result<(), Stopped> {
        // A line that the last answer did not finish comes again as a whole.
        self.partial.clear();
        let mut answer = client.ask(call).await.map_err(Stopped::Answer)?;
        loop {
            let piece = answer
                .piece()
                .await
                .map_err(|error| Stopped::Answer(error.into()))?;
            let Some(piece) = piece else {
                return if self.partial.is_empty() {
                    Ok(())
                } else {
                    Err(Stopped::Answer(CallFailure::Broken(
                        "the last line has no end".to_owned(),
                    )))
                };
            };
            self.take(&piece, sink)?;
            progress.events(self.next.saturating_sub(from), self.events);
        }
    }

    /// Writes the lines that `piece` completes.
    fn take(&mut self, piece: &[u8], sink: &mut Sink) -> Result<(), Stopped> {
        let Some(end) = piece.iter().rposition(|byte| *byte == b'\n') else {
            self.partial.extend_from_slice(piece);
            if self.partial.len() > LINE_LEN_MAX {
                return Err(Stopped::Answer(CallFailure::Broken(format!(
                    "a line is longer than {LINE_LEN_MAX} bytes"
                ))));
            }
            return Ok(());
        };
        let (whole, rest) = piece.split_at(end + 1);
        let mut partial = std::mem::take(&mut self.partial);
        let lines = if partial.is_empty() {
            whole
        } else {
            partial.extend_from_slice(whole);
            &partial
        };
        let outcome = self.write(lines, sink);
        self.partial.clear();
        self.partial.extend_from_slice(rest);
        outcome
    }

    /// Writes whole lines; the last of them tells how far the export has come.
    fn write(&mut self, lines: &[u8], sink: &mut Sink) -> Result<(), Stopped> {
        let last_start = lines
            .iter()
            .rev()
            .skip(1)
            .position(|byte| *byte == b'\n')
            .map_or(0, |from_end| lines.len() - 1 - from_end);
        let (before, last) = lines.split_at(last_start);
        let Some(id) = id_of(last) else {
            // The server ends a reading that fails with a line that says why. What comes before it
            // is sound, and its last line is an event.
            if !before.is_empty() {
                self.write(before, sink)?;
            }
            return Err(Stopped::Answer(report_of(last)));
        };
        sink.write_all(lines).map_err(Stopped::Output)?;
        self.events += lines.iter().filter(|byte| **byte == b'\n').count() as u64;
        self.last_id = Some(id);
        self.next = id.saturating_add(1);
        Ok(())
    }
}

/// The id of the event in a line; none if it is no event.
fn id_of(line: &[u8]) -> Option<u64> {
    #[derive(Deserialize)]
    struct Identified {
        id: u64,
    }
    serde_json::from_slice::<Identified>(line)
        .ok()
        .map(|event| event.id)
}

/// What a line that is no event says.
fn report_of(line: &[u8]) -> CallFailure {
    match Refusal::in_line(line) {
        Some(refusal) => CallFailure::Refused(refusal),
        None => {
            let quoted: String = String::from_utf8_lossy(line).chars().take(200).collect();
            CallFailure::Broken(format!("a line is no event: {quoted}"))
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn taken(pieces: &[&str]) -> (Export, String, Option<String>) {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("out");
        let mut sink = Sink::open(Some(&path)).unwrap();
        let mut export = Export {
            next: 1,
            to: 100,
            last_id: None,
            events: 0,
            events_max: None,
            partial: Vec::new(),
        };
        let mut broken = None;
        for piece in pieces {
            if let Err(Stopped::Answer(failure)) = export.take(piece.as_bytes(), &mut sink) {
                broken = Some(failure.to_string());
                break;
            }
        }
        sink.complete().unwrap();
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
        (export, fs::read_to_string(path).unwrap(), broken)
    }

    #[test]
    fn only_whole_lines_are_written_however_they_are_cut() {
        let text = "{\"id\":3,\"data\":1}\n{\"id\":5,\"data\":2}\n{\"id\":6,\"da";
        for cut in 1..text.len() {
            let (first, second) = text.split_at(cut);
            let (export, written, broken) = taken(&[first, second]);
            assert_eq!(written, text[..36], "cut at {cut}");
            assert_eq!((export.next, export.events), (6, 2), "cut at {cut}");
            assert_eq!(export.partial, b"{\"id\":6,\"da");
            assert_eq!(broken, None);
        }
    }

    #[test]
    fn a_line_that_says_why_the_reading_failed_is_told_and_not_written() {
        let (export, written, broken) =
            taken(&["{\"id\":3}\n{\"problem\":{\"status\":500,\"detail\":\"damage in 0001\"}}\n"]);
        assert_eq!(written, "{\"id\":3}\n");
        assert_eq!(export.next, 4);
        assert_eq!(broken.as_deref(), Some("damage in 0001 (status 500)"));
    }
}
