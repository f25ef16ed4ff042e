//! `GET /stats/...`: charts of streams and days, over a bounded number of streams.

use std::collections::HashMap;

use crate::app::limits::LIST_MAX;
use crate::app::range::Selection;
use crate::app::streams::StreamEntry;
use crate::app::{Failure, Log};
use crate::http::Reply;
use crate::json::write;
use crate::time;

use super::call::Call;
use super::consumers;
use super::replies::{self, Refusal};

/// How many streams a chart looks at, and how many offsets: the first in byte order.
pub(super) const STREAMS_MAX: usize = 10_000;
/// See [`STREAMS_MAX`].
const OFFSETS_MAX: usize = 10_000;
/// How many streams the chart of the largest shows.
const TOP: usize = 10;
/// How many ranks there are, one star each.
const RANKS: usize = 5;
const STAR: &str = "\u{272d}";
const DAY_US: u64 = 86_400_000_000;

/// Some of the streams.
#[derive(Debug)]
pub(super) struct Streams {
    pub(super) shown: Vec<StreamEntry>,
    /// At how many they were cut, if they were.
    pub(super) cut_at: Option<u64>,
}

/// The streams of a log, page by page: the first `max`.
pub(super) async fn streams(log: &Log, max: usize) -> Result<Streams, Failure> {
    let mut shown: Vec<StreamEntry> = Vec::new();
    let mut after = None;
    loop {
        let page = log.streams("", after.as_deref(), LIST_MAX).await?;
        shown.extend(page.streams);
        after = page.next;
        if after.is_none() || shown.len() > max {
            break;
        }
    }
    let cut = after.is_some() || shown.len() > max;
    shown.truncate(max);
    Ok(Streams {
        shown,
        cut_at: cut.then_some(max as u64),
    })
}

/// How many events a stream has had.
pub(super) fn count(stream: &StreamEntry) -> u64 {
    stream.last_sequence.saturating_add(1)
}

/// `GET /stats/events-per-stream`: the largest streams.
pub(super) async fn events_per_stream(call: &Call<'_>) -> Result<Reply, Refusal> {
    let Streams { mut shown, cut_at } = streams(&call.log()?, STREAMS_MAX).await?;
    shown.sort_by_key(|stream| std::cmp::Reverse(count(stream)));
    shown.truncate(TOP);
    let body = array(&shown, |out, stream| {
        out.extend_from_slice(b"{\"label\":");
        write::string(out, &stream.name);
        out.extend_from_slice(b",\"value\":");
        write::number(out, count(stream));
        out.push(b'}');
    });
    Ok(replies::list(body, cut_at))
}

/// `GET /stats/stream-data`: what there is in each stream, and what of it was consumed.
pub(super) async fn stream_data(call: &Call<'_>) -> Result<Reply, Refusal> {
    let Streams { mut shown, cut_at } = streams(&call.log()?, STREAMS_MAX).await?;
    let offsets = consumers::offsets(call.app(), None, OFFSETS_MAX).await?;
    let mut consumed: HashMap<&str, u64> = HashMap::new();
    for (key, offset) in &offsets.shown {
        let sum = consumed.entry(key.stream.as_str()).or_default();
        *sum = sum.saturating_add(offset.count);
    }
    let ranks = ranks(&shown);
    shown.reverse();
    let body = array(&shown, |out, stream| {
        out.extend_from_slice(b"{\"streamName\":");
        write::string(out, &stream.name);
        out.extend_from_slice(b",\"eventsCount\":");
        write::number(out, count(stream));
        out.extend_from_slice(b",\"consumedEvents\":");
        let name = stream.name.as_str();
        write::number(out, consumed.get(name).copied().unwrap_or_default());
        out.extend_from_slice(b",\"ranking\":");
        let rank = ranks.get(name).copied().unwrap_or(1);
        write::string(out, &STAR.repeat(rank));
        out.push(b'}');
    });
    Ok(replies::list(body, cut_at.or(offsets.cut_at)))
}

/// The fifth of all streams, from 1, that each is in by its number of events.
fn ranks(streams: &[StreamEntry]) -> HashMap<String, usize> {
    let mut sorted: Vec<&StreamEntry> = streams.iter().collect();
    sorted.sort_by_key(|stream| count(stream));
    let len = sorted.len().max(1);
    let ranked = sorted.into_iter().enumerate();
    ranked
        .map(|(index, stream)| (stream.name.clone(), index * RANKS / len + 1))
        .collect()
}

/// `GET /stats/events-current-month`: how many events each day of this month (UTC) has brought, of
/// those that are kept.
pub(super) async fn events_of_month(call: &Call<'_>) -> Result<Reply, Refusal> {
    let log = call.log()?;
    let now_us = call.app().clock().now_us();
    let today_us = now_us - now_us % DAY_US;
    let mut first_us = today_us;
    while let Some(before_us) = first_us.checked_sub(DAY_US)
        && month(before_us) == month(today_us)
    {
        first_us = before_us;
    }
    let mut days = Vec::new();
    let mut day_us = first_us;
    while month(day_us) == month(today_us) {
        let events = if day_us <= today_us {
            events_between(&log, day_us, day_us + DAY_US).await?
        } else {
            0
        };
        days.push((date(day_us), events));
        day_us += DAY_US;
    }
    let mut before = None;
    let body = array(&days, |out, (date, events)| {
        out.extend_from_slice(b"{\"date\":");
        write::string(out, date);
        out.extend_from_slice(b",\"eventcount\":");
        write::number(out, *events);
        out.extend_from_slice(b",\"progress\":");
        write::string(out, &progress(before.replace(*events), *events));
        out.push(b'}');
    });
    Ok(replies::list(body, None))
}

/// How many of the kept events were recorded in a span. Ids are dense, so two of them tell.
async fn events_between(log: &Log, since_us: u64, until_us: u64) -> Result<u64, Failure> {
    let span = Selection {
        since_us: Some(since_us),
        until_us: Some(until_us),
        ..Selection::default()
    };
    let ids = log.read(span).await?.ids();
    Ok(ids.end.get().saturating_sub(ids.start.get()))
}

/// The change from one day to the next, the number in three places at least.
fn progress(before: Option<u64>, now: u64) -> String {
    match before {
        Some(before) if now > before => format!("+{:>3}", now - before),
        Some(before) if now < before => format!("-{:>3}", before - now),
        Some(_) | None => String::new(),
    }
}

/// The date of a time in microseconds since 1970 (UTC).
fn date(time_us: u64) -> String {
    let mut text = Vec::new();
    time::write(&mut text, i64::try_from(time_us).unwrap_or(i64::MAX));
    text.truncate("YYYY-MM-DD".len());
    String::from_utf8(text).unwrap_or_default()
}

fn month(time_us: u64) -> String {
    let mut date = date(time_us);
    date.truncate("YYYY-MM".len());
    date
}

/// A JSON array of what `push` writes for each entry.
pub(super) fn array<T>(entries: &[T], mut push: impl FnMut(&mut Vec<u8>, &T)) -> Vec<u8> {
    let mut out = b"[".to_vec();
    for entry in entries {
        if out.len() > 1 {
            out.push(b',');
        }
        push(&mut out, entry);
    }
    out.push(b']');
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_change_of_a_day_stands_in_three_places() {
        for (before, now, shown) in [
            (None, 5, ""),
            (Some(5), 5, ""),
            (Some(0), 25, "+ 25"),
            (Some(30), 23, "-  7"),
            (Some(46), 1_199, "+1153"),
        ] {
            assert_eq!(progress(before, now), shown);
        }
    }

    #[test]
    fn streams_are_ranked_by_fifths() {
        let streams: Vec<StreamEntry> = (0..10)
            .map(|n| StreamEntry {
                name: format!("s{n}"),
                last_sequence: n,
                last_id: n,
            })
            .collect();
        let ranks = ranks(&streams);
        let shown: Vec<usize> = streams.iter().map(|stream| ranks[&stream.name]).collect();
        assert_eq!(shown, [1, 1, 2, 2, 3, 3, 4, 4, 5, 5]);
    }
}
