//! `bench publish`: each connection sends a request, waits for the answer, sends the next.

use std::fmt::Write as _;
use std::time::Duration;

use bytes::Bytes;
use clap::Args;
use serde::Serialize;

use super::report::{Latencies, Percentiles, megabytes_per_second};
use crate::cli::client::{Call, Client, escape};
use crate::cli::failure::CliFailure;
use crate::cli::output::{print_json, print_line};
use crate::cli::progress::per_second;
use crate::cli::refusal::CallFailure;
use crate::cli::target::Target;
use crate::clock::{Clock, Moment, SystemClock};
use crate::config::DurabilityName;

/// The longest request body, in bytes: the server's limit.
const BODY_LEN_MAX: usize = 32 << 20;
/// What an event takes beside its data, in bytes, rounded up.
const ENVELOPE_LEN: usize = 128;
/// The pause of a connection after a failure, so that a server that refuses is not hammered.
const FAILURE_PAUSE: Duration = Duration::from_millis(100);

/// What `bench publish` takes.
#[derive(Args, Clone, Debug)]
#[command(after_help = EXAMPLES)]
pub(crate) struct PublishArgs {
    #[command(flatten)]
    target: Target,

    /// Connections, each with one request under way
    #[arg(long, value_name = "N", default_value_t = 64,
          value_parser = clap::value_parser!(u16).range(1..=1_024))]
    connections: u16,

    /// Events a request; one goes as JSON, more as NDJSON
    #[arg(long, value_name = "N", default_value_t = 1,
          value_parser = clap::value_parser!(u16).range(1..=10_000))]
    batch: u16,

    /// Bytes of each event's data
    #[arg(long, value_name = "BYTES", default_value_t = 1_024,
          value_parser = clap::value_parser!(u32).range(2..=1_048_576))]
    size: u32,

    /// How many streams the events go to
    #[arg(long, value_name = "N", default_value_t = 1_000,
          value_parser = clap::value_parser!(u32).range(1..))]
    streams: u32,

    /// How long to measure
    #[arg(long, value_name = "SECONDS", default_value_t = 10,
          value_parser = clap::value_parser!(u64).range(1..=3_600))]
    seconds: u64,

    /// How long to publish before that, unmeasured
    #[arg(long, value_name = "SECONDS", default_value_t = 1,
          value_parser = clap::value_parser!(u64).range(0..=600))]
    warm_up: u64,

    /// Ask for this durability [default: the server's own]
    #[arg(long, value_enum)]
    durability: Option<DurabilityName>,

    /// Print the result as one JSON object
    #[arg(long)]
    json: bool,
}

const EXAMPLES: &str = "\
The events stay in the log: use a log or a data directory of its own.

Examples:
  strandlog bench publish
  strandlog bench publish --connections 8 --batch 100 --seconds 30 --json
  strandlog bench publish --connections 1 --durability os";

/// What was measured.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Report {
    connections: u16,
    batch: u16,
    size: u32,
    seconds: f64,
    /// What the requests asked for; null for the server's own setting.
    durability_asked: Option<DurabilityName>,
    /// Of how many requests the events were durable when the answer came, in percent.
    durable_at_answer_percent: f64,
    requests: u64,
    events: u64,
    events_per_second: u64,
    megabytes_per_second: f64,
    latency_us: Percentiles,
    failures: u64,
    first_failure: Option<String>,
}

/// What one connection counted, or all of them.
#[derive(Debug)]
struct Tally {
    latencies: Latencies,
    requests: u64,
    durable: u64,
    failures: u64,
    first_failure: Option<String>,
    /// When the last counted answer came.
    ended: Moment,
}

impl Tally {
    fn new(begun: Moment) -> Result<Self, CliFailure> {
        Ok(Self {
            latencies: Latencies::new()?,
            requests: 0,
            durable: 0,
            failures: 0,
            first_failure: None,
            ended: begun,
        })
    }

    fn merge(&mut self, other: Self) {
        self.latencies.merge(&other.latencies);
        self.requests += other.requests;
        self.durable += other.durable;
        self.failures += other.failures;
        self.first_failure = self.first_failure.take().or(other.first_failure);
        self.ended = self.ended.max(other.ended);
    }
}

/// Runs `bench publish`.
///
/// # Errors
///
/// If not one request succeeded, with the first failure.
pub(super) async fn run(args: PublishArgs) -> Result<(), CliFailure> {
    if usize::from(args.batch) * (args.size as usize + ENVELOPE_LEN) > BODY_LEN_MAX {
        return Err(CliFailure::usage(format!(
            "{} events of {} bytes are over the server's limit of {BODY_LEN_MAX} bytes a request",
            args.batch, args.size
        )));
    }
    let clock = SystemClock::new();
    let from = clock.moment().after(Duration::from_secs(args.warm_up));
    let until = from.after(Duration::from_secs(args.seconds));
    let mut connections = Vec::new();
    for number in 0..args.connections {
        let number = u32::from(number);
        connections.push(tokio::spawn(publish(
            args.clone(),
            clock,
            number,
            from,
            until,
        )));
    }
    let mut tally = Tally::new(from)?;
    for connection in connections {
        let counted = connection
            .await
            .map_err(|error| CliFailure::because("a connection's task stopped", &error))??;
        tally.merge(counted);
    }
    if tally.requests == 0 {
        let reason = tally
            .first_failure
            .unwrap_or_else(|| "no answer came in time".to_owned());
        return Err(CliFailure::new(format!("nothing was published: {reason}")));
    }
    let report = report(&args, tally, from);
    if args.json {
        return print_json(&report);
    }
    print_line(&in_words(&report))
}

fn report(args: &PublishArgs, tally: Tally, from: Moment) -> Report {
    let took = tally.ended.since(from);
    let events = tally.requests * u64::from(args.batch);
    #[expect(
        clippy::cast_precision_loss,
        reason = "a percentage with one digit, of fewer than 2^53 requests"
    )]
    let durable_at_answer_percent = tally.durable as f64 * 100.0 / tally.requests as f64;
    Report {
        connections: args.connections,
        batch: args.batch,
        size: args.size,
        seconds: took.as_secs_f64(),
        durability_asked: args.durability,
        durable_at_answer_percent,
        requests: tally.requests,
        events,
        events_per_second: per_second(events, took),
        megabytes_per_second: megabytes_per_second(events * u64::from(args.size), took),
        latency_us: tally.latencies.percentiles(),
        failures: tally.failures,
        first_failure: tally.first_failure,
    }
}

fn in_words(report: &Report) -> String {
    let asked = match report.durability_asked {
        Some(durability) => format!("{durability} asked for"),
        None => "the server's own setting".to_owned(),
    };
    let mut text = format!(
        "publish: {} connections, {} x {} B a request, {:.1} s\n\
         durability: {asked}; {:.1} % of the answers came with their events durable\n\
         {} events/s  {:.1} MB/s  {} requests\n\
         latency: {}",
        report.connections,
        report.batch,
        report.size,
        report.seconds,
        report.durable_at_answer_percent,
        report.events_per_second,
        report.megabytes_per_second,
        report.requests,
        report.latency_us,
    );
    if let Some(first) = &report.first_failure {
        let _infallible = write!(text, "\n{} failures, the first: {first}", report.failures);
    }
    text
}

/// One connection's work.
async fn publish(
    args: PublishArgs,
    clock: SystemClock,
    number: u32,
    from: Moment,
    until: Moment,
) -> Result<Tally, CliFailure> {
    let mut tally = Tally::new(from)?;
    let mut client = Client::new(args.target.url.clone());
    let path = format!("/v1/logs/{}/events", escape(&args.target.log));
    let content_type = if args.batch == 1 {
        "application/json"
    } else {
        "application/x-ndjson"
    };
    // Connections begin at different streams, so that they do not meet at each of them in turn.
    let mut stream = number.wrapping_mul(7_919);
    loop {
        let mut body = Vec::new();
        for _ in 0..args.batch {
            add_event(&mut body, stream % args.streams, args.size);
            stream = stream.wrapping_add(1);
        }
        let mut call = Call::post(&*path, content_type, Bytes::from(body));
        if let Some(durability) = args.durability {
            call = call.header("strandlog-durability", durability.to_string());
        }
        let begun = clock.moment();
        if begun >= until {
            return Ok(tally);
        }
        match send(&mut client, &call).await {
            Ok(durable) => {
                if begun >= from {
                    tally.ended = clock.moment();
                    tally.requests += 1;
                    tally.durable += u64::from(durable);
                    tally.latencies.record(tally.ended.since(begun));
                }
            }
            Err(failure) => {
                tally.failures += 1;
                tally
                    .first_failure
                    .get_or_insert_with(|| failure.to_string());
                let pause = failure.retry_after().unwrap_or(FAILURE_PAUSE);
                clock
                    .sleep_until(clock.moment().after(pause).min(until))
                    .await;
            }
        }
    }
}

/// Adds one event and a line break.
fn add_event(body: &mut Vec<u8>, stream: u32, size: u32) {
    body.extend_from_slice(
        format!("{{\"stream\":\"bench-{stream}\",\"type\":\"Bench\",\"data\":\"").as_bytes(),
    );
    // The quotes around it belong to the data.
    body.resize(body.len() + (size as usize).saturating_sub(2), b'x');
    body.extend_from_slice(b"\"}\n");
}

/// Sends one request; whether its events were durable when the answer came.
async fn send(client: &mut Client, call: &Call) -> Result<bool, CallFailure> {
    let answer = client.ask(call).await?;
    let durable_id: Option<u64> = answer
        .header("strandlog-durable-id")
        .and_then(|id| id.parse().ok());
    let body = answer.whole().await?;
    Ok(durable_id
        .zip(last_id_in(&body))
        .is_some_and(|(durable_id, last_id)| last_id <= durable_id))
}

/// The `lastId` of a receipt, found without reading all of it: the generator's time is taken from
/// the server's.
fn last_id_in(body: &[u8]) -> Option<u64> {
    const NAME: &[u8] = b"\"lastId\":";
    let start = body.windows(NAME.len()).position(|part| part == NAME)? + NAME.len();
    let digits = body.get(start..)?.trim_ascii_start();
    let len = digits
        .iter()
        .position(|byte| !byte.is_ascii_digit())
        .unwrap_or(digits.len());
    std::str::from_utf8(digits.get(..len)?).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_id_is_found_in_a_receipt() {
        let receipt = br#"{"firstId":7,"lastId": 9,"events":[]}"#;
        assert_eq!(last_id_in(receipt), Some(9));
        assert_eq!(last_id_in(br#"{"firstId":7}"#), None);
        assert_eq!(last_id_in(br#"{"lastId":null}"#), None);
    }

    #[test]
    fn an_event_has_exactly_the_data_that_was_asked_for() {
        let mut body = Vec::new();
        add_event(&mut body, 3, 200);
        let event: serde_json::Value = serde_json::from_slice(&body).unwrap();
        assert_eq!(event["stream"], "bench-3");
        assert_eq!(event["data"].to_string().len(), 200);
    }
}
