//! `/metrics`: streams, events, consumers and offsets for Prometheus.
//!
//! No credentials are asked for, so one request at a time is answered, and the number of series is
//! bounded: those of the first streams and offsets in byte order.

use std::collections::{BTreeMap, HashMap};

use uuid::Uuid;

use crate::app::name::StreamName;
use crate::http::{Head, Reply, access};

use super::replies::{self, Refusal};
use super::{Door, call, consumers, stats};

/// The most series of one name.
const SERIES_MAX: usize = 1_000;

pub(super) async fn show(door: &Door, head: &Head) -> Result<Reply, Refusal> {
    access::check(head)?;
    let _turn = door.gathering.lock().await;
    let log = door.app.log(call::LOG)?;
    let streams = stats::streams(&log, stats::STREAMS_MAX).await?;
    let owners: HashMap<String, String> = log
        .owned_streams(stats::STREAMS_MAX)
        .await?
        .into_iter()
        .collect();
    let offsets = consumers::offsets(&door.app, None, SERIES_MAX).await?;

    let mut out = String::with_capacity(4 << 10);
    begin(
        &mut out,
        "consumer_offset",
        "gauge",
        "Current offset of each consumer by stream and event name",
    );
    let mut consumers: BTreeMap<&StreamName<'_>, Vec<Uuid>> = BTreeMap::new();
    for (key, offset) in &offsets.shown {
        let labels = [
            ("consumerId", key.consumer.to_string()),
            ("eventName", key.event_type.to_string()),
            ("stream", key.stream.to_string()),
        ];
        sample(&mut out, "consumer_offset", &labels, offset.count);
        consumers.entry(&key.stream).or_default().push(key.consumer);
    }
    if offsets.cut_at.is_some() {
        // Of the last stream some offsets were left out, so its consumers are not counted.
        consumers.pop_last();
    }
    begin(
        &mut out,
        "consumers_total",
        "counter",
        "Consumers that have an offset, by stream",
    );
    for (stream, mut of_stream) in consumers {
        of_stream.dedup();
        let labels = [("stream", stream.to_string())];
        sample(&mut out, "consumers_total", &labels, of_stream.len() as u64);
    }
    begin(
        &mut out,
        "events_total",
        "counter",
        "Events published, by stream and its owner",
    );
    for stream in streams.shown.iter().take(SERIES_MAX) {
        let owner = owners.get(&stream.name).cloned().unwrap_or_default();
        let labels = [("producerId", owner), ("stream", stream.name.clone())];
        sample(&mut out, "events_total", &labels, stats::count(stream));
    }
    begin(
        &mut out,
        "streams_total",
        "counter",
        "Streams, of which 10000 are counted at most",
    );
    sample(&mut out, "streams_total", &[], streams.shown.len() as u64);
    Ok(replies::metrics(out.into_bytes()))
}

fn begin(out: &mut String, name: &str, kind: &str, help: &str) {
    out.push_str(&format!("# HELP {name} {help}\n# TYPE {name} {kind}\n"));
}

fn sample(out: &mut String, name: &str, labels: &[(&str, String)], value: u64) {
    out.push_str(name);
    let mut before = '{';
    for (label, text) in labels {
        out.push(before);
        out.push_str(label);
        out.push_str("=\"");
        for character in text.chars() {
            match character {
                '"' | '\\' => out.extend(['\\', character]),
                '\n' => out.push_str("\\n"),
                other => out.push(other),
            }
        }
        out.push('"');
        before = ',';
    }
    if !labels.is_empty() {
        out.push('}');
    }
    out.push_str(&format!(" {value}\n"));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_cannot_end_early() {
        let mut out = String::new();
        sample(
            &mut out,
            "n",
            &[("a", "x\"y\\z\n".to_owned()), ("b", String::new())],
            7,
        );
        sample(&mut out, "m", &[], 1);
        assert_eq!(out, "n{a=\"x\\\"y\\\\z\\n\",b=\"\"} 7\nm 1\n");
    }
}
