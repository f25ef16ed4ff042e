//! `bench replay`: each connection reads the whole range, again and again.

use std::time::Duration;

use clap::{Args, ValueEnum};
use serde::de::IgnoredAny;
use serde::{Deserialize, Serialize};

use super::report::{Latencies, Percentiles, megabytes_per_second};
use crate::cli::client::{Call, Client, ClientError, escape};
use crate::cli::failure::CliFailure;
use crate::cli::log_state::LogState;
use crate::cli::output::{print_json, print_line};
use crate::cli::progress::per_second;
use crate::cli::refusal::CallFailure;
use crate::cli::target::Target;
use crate::clock::{Clock, Moment, SystemClock};

/// How the events are to come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
enum Representation {
    /// One JSON object a line
    Ndjson,
    /// Pages of 10,000 events
    Json,
    /// The checked records as they lie in the log
    Records,
}

impl Representation {
    fn media_type(self) -> &'static str {
        match self {
            Self::Ndjson => "application/x-ndjson",
            Self::Json => "application/json",
            Self::Records => "application/vnd.strandlog.records",
        }
    }
}

/// What `bench replay` takes.
#[derive(Args, Clone, Debug)]
#[command(after_help = EXAMPLES)]
pub(crate) struct ReplayArgs {
    #[command(flatten)]
    target: Target,

    /// Connections, each with a replay of its own
    #[arg(long, value_name = "N", default_value_t = 1,
          value_parser = clap::value_parser!(u16).range(1..=1_024))]
    connections: u16,

    /// How the events are to come
    #[arg(long, value_enum, default_value = "ndjson")]
    accept: Representation,

    /// The first id [default: the oldest event kept]
    #[arg(long, value_name = "ID", value_parser = clap::value_parser!(u64).range(1..))]
    from: Option<u64>,

    /// The last id, inclusive [default: the newest event]
    #[arg(long, value_name = "ID", value_parser = clap::value_parser!(u64).range(1..))]
    to: Option<u64>,

    /// How long to measure; a replay that has begun is finished
    #[arg(long, value_name = "SECONDS", default_value_t = 10,
          value_parser = clap::value_parser!(u64).range(1..=3_600))]
    seconds: u64,

    /// Replays of each connection before that, unmeasured
    #[arg(long, value_name = "N", default_value_t = 1,
          value_parser = clap::value_parser!(u16).range(0..=100))]
    warm_up: u16,

    /// Print the result as one JSON object
    #[arg(long)]
    json: bool,
}

const EXAMPLES: &str = "\
Examples:
  strandlog bench replay
  strandlog bench replay --accept records --connections 4 --seconds 30
  strandlog bench replay --from 1 --to 100000 --accept json --json";

/// What was measured.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Report {
    accept: Representation,
    connections: u16,
    from: u64,
    to: u64,
    seconds: f64,
    replays: u64,
    events: u64,
    bytes: u64,
    events_per_second: u64,
    megabytes_per_second: f64,
    /// How long whole replays took.
    replay_us: Percentiles,
}

#[derive(Debug)]
struct Tally {
    replays: u64,
    bytes: u64,
    latencies: Latencies,
    begun: Moment,
    ended: Moment,
}

/// Runs `bench replay`.
///
/// # Errors
///
/// The first failure of any connection: a replay that is not whole is no measurement.
pub(super) async fn run(args: ReplayArgs) -> Result<(), CliFailure> {
    let mut client = Client::new(args.target.url.clone());
    let state = LogState::ask(&mut client, &args.target.log)
        .await
        .map_err(|failure| CliFailure::new(format!("cannot replay: {failure}")))?;
    let from = args.from.unwrap_or(state.first_id.max(1));
    let to = args.to.unwrap_or(u64::MAX).min(state.last_id);
    if from > to {
        return Err(CliFailure::new(format!(
            "there is nothing to replay from event {from} to {to}"
        )));
    }
    let clock = SystemClock::new();
    let mut connections = Vec::new();
    for _ in 0..args.connections {
        connections.push(tokio::spawn(replay(args.clone(), clock, from, to)));
    }
    let mut latencies = Latencies::new()?;
    let (mut replays, mut bytes) = (0, 0);
    let mut span: Option<(Moment, Moment)> = None;
    for connection in connections {
        let tally = connection
            .await
            .map_err(|error| CliFailure::because("a connection's task stopped", &error))??;
        latencies.merge(&tally.latencies);
        replays += tally.replays;
        bytes += tally.bytes;
        let (begun, ended) = span.unwrap_or((tally.begun, tally.ended));
        span = Some((begun.min(tally.begun), ended.max(tally.ended)));
    }
    let took = span.map_or(Duration::ZERO, |(begun, ended)| ended.since(begun));
    let events = replays * (to - from + 1);
    let report = Report {
        accept: args.accept,
        connections: args.connections,
        from,
        to,
        seconds: took.as_secs_f64(),
        replays,
        events,
        bytes,
        events_per_second: per_second(events, took),
        megabytes_per_second: megabytes_per_second(bytes, took),
        replay_us: latencies.percentiles(),
    };
    if args.json {
        return print_json(&report);
    }
    print_line(&format!(
        "replay: {}, {} connections, events {} to {}, {:.1} s\n\
         durability: a replay reads and syncs nothing\n\
         {} events/s  {:.1} MB/s  {} replays\n\
         a replay: {}",
        args.accept.media_type(),
        report.connections,
        report.from,
        report.to,
        report.seconds,
        report.events_per_second,
        report.megabytes_per_second,
        report.replays,
        report.replay_us,
    ))
}

/// One connection's work.
async fn replay(
    args: ReplayArgs,
    clock: SystemClock,
    from: u64,
    to: u64,
) -> Result<Tally, CliFailure> {
    let mut client = Client::new(args.target.url.clone());
    let base = format!("/v1/logs/{}/events", escape(&args.target.log));
    for _ in 0..args.warm_up {
        once(&mut client, &base, args.accept, from, to).await?;
    }
    let begun = clock.moment();
    let until = begun.after(Duration::from_secs(args.seconds));
    let mut tally = Tally {
        replays: 0,
        bytes: 0,
        latencies: Latencies::new()?,
        begun,
        ended: begun,
    };
    while tally.ended < until {
        let begun = tally.ended;
        tally.bytes += once(&mut client, &base, args.accept, from, to).await?;
        tally.replays += 1;
        tally.ended = clock.moment();
        tally.latencies.record(tally.ended.since(begun));
    }
    Ok(tally)
}

/// Reads the range once; its bytes.
async fn once(
    client: &mut Client,
    base: &str,
    accept: Representation,
    from: u64,
    to: u64,
) -> Result<u64, CliFailure> {
    let outcome = match accept {
        Representation::Ndjson => lines(client, base, from, to).await,
        Representation::Json => pages(client, base, from, to).await,
        Representation::Records => records(client, base, from, to).await,
    };
    outcome.map_err(|failure| CliFailure::new(format!("a replay failed: {failure}")))
}

async fn lines(client: &mut Client, base: &str, from: u64, to: u64) -> Result<u64, CallFailure> {
    let call = Call::get(format!("{base}?from={from}&to={to}"))
        .header("accept", Representation::Ndjson.media_type());
    let mut answer = client.ask(&call).await?;
    let (mut bytes, mut lines) = (0, 0);
    while let Some(piece) = answer.piece().await? {
        bytes += piece.len() as u64;
        lines += piece.iter().filter(|byte| **byte == b'\n').count() as u64;
    }
    expect_count(lines, to - from + 1)?;
    Ok(bytes)
}

async fn pages(client: &mut Client, base: &str, from: u64, to: u64) -> Result<u64, CallFailure> {
    #[derive(Deserialize)]
    struct Page {
        events: Vec<IgnoredAny>,
        next: Option<u64>,
    }
    let mut next = Some(from);
    let (mut bytes, mut events) = (0, 0);
    while let Some(from) = next.filter(|next| *next <= to) {
        let call = Call::get(format!("{base}?from={from}&to={to}&limit=10000"))
            .header("accept", Representation::Json.media_type());
        let body = client.ask(&call).await?.whole().await?;
        let page: Page = serde_json::from_slice(&body)
            .map_err(|_| CallFailure::NoAnswer(ClientError::NotAnAnswer))?;
        bytes += body.len() as u64;
        events += page.events.len() as u64;
        next = page.next.filter(|next| *next > from);
    }
    expect_count(events, to - from + 1)?;
    Ok(bytes)
}

async fn records(client: &mut Client, base: &str, from: u64, to: u64) -> Result<u64, CallFailure> {
    let call = Call::get(format!("{base}?from={from}&to={to}"))
        .header("accept", Representation::Records.media_type());
    let mut answer = client.ask(&call).await?;
    let mut bytes = 0;
    while let Some(piece) = answer.piece().await? {
        bytes += piece.len() as u64;
    }
    Ok(bytes)
}

/// Ids are dense, so a replay without a filter has a known length.
fn expect_count(got: u64, want: u64) -> Result<(), CallFailure> {
    if got == want {
        return Ok(());
    }
    Err(CallFailure::Broken(format!(
        "{got} events came instead of {want}"
    )))
}
