//! `GET /consumers/{stream}`: who has come how far.

use std::collections::HashMap;

use crate::app::limits::LIST_MAX;
use crate::app::name::StreamName;
use crate::app::offsets::{Offset, OffsetKey};
use crate::app::{App, Failure};
use crate::http::Reply;
use crate::json::write;
use crate::time;

use super::call::Call;
use super::replies::{self, Refusal};

/// The most offsets of one reply: about two megabytes.
const ROWS_MAX: usize = 10_000;

pub(super) async fn list(call: &Call<'_>) -> Result<Reply, Refusal> {
    let stream = call.stream()?;
    let log = call.log()?;
    let offsets = offsets(call.app(), Some(&stream), ROWS_MAX).await?;
    let mut counts: HashMap<&str, u64> = HashMap::new();
    let mut body = b"[".to_vec();
    for (key, offset) in &offsets.shown {
        let name = key.event_type.as_str();
        let count = match counts.get(name) {
            Some(count) => *count,
            None => {
                let count = log.type_count(&stream, &key.event_type).await?;
                counts.insert(name, count);
                count
            }
        };
        if body.len() > 1 {
            body.push(b',');
        }
        push_row(&mut body, key, offset, count);
    }
    body.push(b']');
    Ok(replies::list(body, offsets.cut_at))
}

fn push_row(out: &mut Vec<u8>, key: &OffsetKey<'_>, offset: &Offset, count: u64) {
    out.extend_from_slice(b"{\"consumerId\":");
    write::string(out, &key.consumer.to_string());
    out.extend_from_slice(b",\"offset\":");
    write::number(out, offset.count);
    out.extend_from_slice(b",\"movedAt\":\"");
    time::write(out, i64::try_from(offset.moved_at_us).unwrap_or(i64::MAX));
    out.extend_from_slice(b"\",\"eventName\":");
    write::string(out, key.event_type.as_str());
    out.extend_from_slice(b",\"consumedPercentage\":");
    out.extend_from_slice(percentage(offset.count, count).as_bytes());
    out.extend_from_slice(b",\"behind\":");
    write::number(out, count.saturating_sub(offset.count));
    out.push(b'}');
}

/// How much of the whole a part is, in percent with two decimals; nothing of nothing is 0.00.
fn percentage(part: u64, whole: u64) -> String {
    let whole = u128::from(whole);
    let hundredths = (u128::from(part) * 10_000 + whole / 2)
        .checked_div(whole)
        .unwrap_or(0);
    format!("{}.{:02}", hundredths / 100, hundredths % 100)
}

/// Some of the offsets.
#[derive(Debug)]
pub(super) struct Offsets {
    pub(super) shown: Vec<(OffsetKey<'static>, Offset)>,
    /// At how many they were cut, if they were.
    pub(super) cut_at: Option<u64>,
}

/// The offsets of a stream, or of all streams, page by page: the first `max`.
pub(super) async fn offsets(
    app: &App,
    stream: Option<&StreamName<'_>>,
    max: usize,
) -> Result<Offsets, Failure> {
    let mut shown: Vec<(OffsetKey<'static>, Offset)> = Vec::new();
    while shown.len() <= max {
        let after = shown.last().map(|(key, _)| key);
        let page = app.offsets(stream, after, LIST_MAX).await?;
        if page.is_empty() {
            break;
        }
        shown.extend(page);
    }
    let cut = shown.len() > max;
    shown.truncate(max);
    Ok(Offsets {
        shown,
        cut_at: cut.then_some(max as u64),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentages_have_two_decimals() {
        for (part, whole, shown) in [
            (0, 0, "0.00"),
            (5, 11, "45.45"),
            (3, 6, "50.00"),
            (6, 9, "66.67"),
            (97, 119, "81.51"),
            (2, 2, "100.00"),
            (u64::MAX, 1, "1844674407370955161500.00"),
        ] {
            assert_eq!(percentage(part, whole), shown);
        }
    }
}
