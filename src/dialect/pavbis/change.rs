//! `POST /{stream}/{consumer}/{name}/change/{offset}`: moves an offset that is there up or down.

use crate::app::offsets::{Moved, OffsetKey, OffsetMove};
use crate::http::Reply;

use super::call::Call;
use super::place::first_kept;
use super::replies::{self, Refusal, text};

/// How often the move is tried while the consumer itself moves its offset.
const ROUNDS_MAX: usize = 8;

pub(super) async fn change(call: &Call<'_>) -> Result<Reply, Refusal> {
    let consumer = call.consumer_in_path()?;
    let offset = call.segment("offset", "offset")?;
    let offset: i64 = offset.parse().map_err(|_| Refusal::bad(text::OFFSET))?;
    let offset = u64::try_from(offset).map_err(|_| Refusal::bad(text::OFFSET))?;
    let key = OffsetKey {
        stream: call.stream()?,
        consumer,
        event_type: call.event_name()?,
    };

    let (app, log) = (call.app(), call.log()?);
    for _round in 0..ROUNDS_MAX {
        let kept = app.offset(&key).await?;
        if kept.is_none() {
            if offset == 0 {
                return Ok(replies::changed(0, &consumer));
            }
            // Where the first events are gone, a consumer could not begin otherwise.
            if first_kept(&log, &key).await? != Some(offset) {
                return Err(Refusal::internal(text::OFFSET_TOO_HIGH));
            }
        }
        if offset > log.type_count(&key.stream, &key.event_type).await? {
            return Err(Refusal::internal(text::OFFSET_TOO_HIGH));
        }
        let last = match offset.checked_sub(1) {
            Some(rank) => {
                log.at_type_sequence(&key.stream, &key.event_type, rank)
                    .await?
            }
            None => None,
        };
        let step = OffsetMove {
            from: kept,
            to: offset,
            last,
        };
        match app.move_offset(&key, step).await? {
            Moved::Done(_) => return Ok(replies::changed(offset, &consumer)),
            Moved::Elsewhere(_) => {}
        }
    }
    Err(Refusal::internal(
        "the consumer kept moving its offset; it was not changed",
    ))
}
