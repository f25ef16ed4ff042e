//! `POST /search` and `POST /event-period-search/{stream}`: names that have a part, and the newest
//! events of a stream.

use jiff::{Span, Timestamp, ToSpan, tz::TimeZone};
use uuid::Uuid;

use crate::app::Failure;
use crate::app::event::Event;
use crate::app::filter::Filter;
use crate::app::limits::PAGE_LEN_MAX;
use crate::app::offsets::{Offset, OffsetKey};
use crate::app::range::Selection;
use crate::http::{Reply, path};
use crate::json::write;
use crate::store::Direction;
use crate::time;

use super::call::{self, Call};
use super::replies::{self, Refusal, text};
use super::stats::{self, Streams};
use super::{consumers, event};

/// How many pairs of a stream and an event name are looked at: the first in byte order.
const PAIRS_MAX: usize = 10_000;
/// The most results of a search.
const RESULTS_MAX: usize = 100;
/// The most events of a period.
const EVENTS_MAX: u64 = 1_000;
/// The most offsets of a stream that are looked at for who has consumed an event.
const OFFSETS_MAX: usize = 1_000;
/// The most consumers that are named with an event.
const CONSUMERS_MAX: usize = 100;
/// The bytes of records after which a search ends early, in bytes: they are all checked.
const RECORDS_LEN_MAX: usize = 64 << 20;

/// The periods, and how long they are.
fn period(name: &str) -> Option<Span> {
    Some(match name {
        "6hour" => 6.hours(),
        "24hour" => 24.hours(),
        "2day" => 2.days(),
        "7day" => 7.days(),
        "14day" => 14.days(),
        "1month" => 1.month(),
        _ => return None,
    })
}

/// `POST /search?_q=`: names of events and streams that have the term in them, in any case.
pub(super) async fn by_name(call: &Call<'_>) -> Result<Reply, Refusal> {
    let term = call::first(&mut call.query()?, "_q").to_lowercase();
    if term.is_empty() {
        return Err(Refusal::bad(text::TERM));
    }
    let log = call.log()?;
    let Streams { shown, cut_at } = stats::streams(&log, stats::STREAMS_MAX).await?;
    let pairs = log.stream_types(PAIRS_MAX).await?;
    let has_term = |name: &str| name.to_lowercase().contains(&term);
    let events = pairs.iter().filter(|(_, event_name)| has_term(event_name));
    let streams = shown.iter().filter(|stream| has_term(&stream.name));
    let mut results: Vec<(&str, Option<&str>)> = events
        .map(|(stream, event_name)| (stream.as_str(), Some(event_name.as_str())))
        .chain(streams.map(|stream| (stream.name.as_str(), None)))
        .take(RESULTS_MAX + 1)
        .collect();
    let cut_results = results.len() > RESULTS_MAX;
    results.truncate(RESULTS_MAX);
    let body = stats::array(&results, |out, (stream, event_name)| {
        push_result(out, stream, *event_name);
    });
    let cut_pairs = (pairs.len() == PAIRS_MAX).then_some(PAIRS_MAX as u64);
    let cut_results = cut_results.then_some(RESULTS_MAX as u64);
    let cut_at = cut_results.or(cut_at).or(cut_pairs);
    Ok(replies::list(body, cut_at))
}

fn push_result(out: &mut Vec<u8>, stream: &str, event_name: Option<&str>) {
    let mut url = format!("/admin/streams/{}/events", path::encode(stream));
    let mut label = stream.to_owned();
    let mut category = "streams";
    if let Some(event_name) = event_name {
        url.push_str(&format!("?eventName={}", path::encode(event_name)));
        label.push('/');
        label.push_str(event_name);
        category = "events";
    }
    out.extend_from_slice(b"{\"search_result\":{\"label\":");
    write::string(out, &label);
    out.extend_from_slice(b",\"category\":");
    write::string(out, category);
    out.extend_from_slice(b",\"url\":");
    write::string(out, &url);
    out.extend_from_slice(b"}}");
}

/// `POST /event-period-search/{stream}?period=`: the newest events of a stream, and who has
/// consumed them.
pub(super) async fn by_period(call: &Call<'_>) -> Result<Reply, Refusal> {
    let stream = call.stream()?;
    let name = call::first(&mut call.query()?, "period");
    let Some(period) = period(&name) else {
        return Err(Refusal::bad(text::PERIOD));
    };
    let since_us = before(call.app().clock().now_us(), period);
    let offsets = consumers::offsets(call.app(), Some(&stream), OFFSETS_MAX).await?;

    let log = call.log()?;
    let newest = Selection {
        limit: Some(EVENTS_MAX),
        filter: Filter {
            streams: vec![stream.into_owned()],
            ..Filter::default()
        },
        direction: Direction::Backward,
        since_us: Some(since_us),
        ..Selection::default()
    };
    let mut reading = log.read(newest).await?;
    let mut body = b"[".to_vec();
    let (mut events, mut len) = (0_u64, 0);
    while len < RECORDS_LEN_MAX
        && let Some(records) = reading.next_page(PAGE_LEN_MAX).await?
    {
        len += records.encoded_len();
        for record in records.iter() {
            let record = record.map_err(Failure::from)?;
            let event = Event::from_record(record).map_err(Failure::from)?;
            if body.len() > 1 {
                body.push(b',');
            }
            push_event(&mut body, &event, &offsets.shown);
            events += 1;
        }
    }
    body.push(b']');
    let cut = reading.next_id().await?.is_some();
    Ok(replies::list(
        body,
        cut.then_some(events).or(offsets.cut_at),
    ))
}

fn push_event(out: &mut Vec<u8>, event: &Event<'_>, offsets: &[(OffsetKey<'_>, Offset)]) {
    out.extend_from_slice(b"{\"eventId\":");
    write::string(out, &event::id_of(event).to_string());
    out.extend_from_slice(b",\"eventName\":");
    write::string(out, event.event_type);
    out.extend_from_slice(b",\"createdAt\":\"");
    let recorded_at_us = i64::try_from(event.recorded_at_us).unwrap_or(i64::MAX);
    time::write(out, recorded_at_us);
    out.extend_from_slice(b"\",\"consumerids\":");
    let consumed = offsets.iter().filter(|(key, offset)| {
        key.event_type.as_str() == event.event_type && offset.count > event.type_sequence
    });
    let consumers: Vec<Uuid> = consumed
        .map(|(key, _)| key.consumer)
        .take(CONSUMERS_MAX)
        .collect();
    out.extend_from_slice(&stats::array(&consumers, |out, consumer| {
        write::string(out, &consumer.to_string());
    }));
    out.push(b'}');
}

/// The time a period before another, in microseconds since 1970 (UTC); months are the calendar's.
fn before(time_us: u64, period: Span) -> u64 {
    let time = i64::try_from(time_us).ok();
    let time = time.and_then(|time_us| Timestamp::from_microsecond(time_us).ok());
    let since = time.and_then(|time| time.to_zoned(TimeZone::UTC).checked_sub(period).ok());
    let since_us = since.map(|since| since.timestamp().as_microsecond());
    since_us
        .and_then(|since_us| u64::try_from(since_us).ok())
        .unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn periods_go_back_from_now() {
        // 31 March 2026, noon.
        let now_us = 1_774_958_400_000_000;
        for (name, back) in [
            ("6hour", 6 * 3_600),
            ("24hour", 86_400),
            ("2day", 2 * 86_400),
            ("7day", 7 * 86_400),
            ("14day", 14 * 86_400),
            // To the last day of February.
            ("1month", 31 * 86_400),
        ] {
            let since_us = before(now_us, period(name).unwrap());
            assert_eq!((now_us - since_us) / 1_000_000, back, "{name}");
        }
        assert_eq!(before(1, 1.month()), 0);
        assert!(period("").is_none() && period("1hour").is_none());
    }
}
