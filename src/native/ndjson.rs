//! Events as lines (`application/x-ndjson`), written while they are sent.
//!
//! If reading fails midway, the last line is `{"problem":{...}}` and the connection ends without
//! the end mark: a short answer never looks whole.

use tokio::sync::OwnedSemaphorePermit;

use crate::app::range::Reading;
use crate::app::{Event, Failure};
use crate::http::{Aborted, HeaderValue, Reply, RequestId, StatusCode, Writer};
use crate::store::Records;

use super::call::Call;
use super::failure::{Refusal, not_an_event};
use super::render::{self, Breaks};

/// The bytes of records that are read at a time: what one read costs the others on this thread.
const READ_LEN: usize = 128 << 10;
/// A piece is sent once it has so many bytes.
pub(super) const PIECE_LEN: usize = 128 << 10;
/// What an event may add to a piece without making its buffer grow.
const SLACK_LEN: usize = 16 << 10;

/// The events of a read as lines.
pub(super) async fn reply(call: &Call<'_>, mut reading: Reading) -> Result<Reply, Refusal> {
    let permit = call.api.reader()?;
    // Read before the head is sent, so that what fails at once fails with its own status.
    let first = reading.next_page(READ_LEN).await?;
    let id = call.head.id().clone();
    Ok(Reply::new(StatusCode::OK)
        .typed(HeaderValue::from_static(super::events::NDJSON))
        .streamed(move |out| write(out, reading, first, id, permit)))
}

async fn write(
    mut out: Writer,
    mut reading: Reading,
    first: Option<Records>,
    id: RequestId,
    _permit: OwnedSemaphorePermit,
) -> Result<(), Aborted> {
    let mut next = first;
    let mut lines = Vec::new();
    loop {
        let Some(records) = next else {
            out.send(lines).await?;
            return Ok(());
        };
        if lines.capacity() == 0 {
            // Thousands may read slowly: of what lies ready for each, records take no memory of ours.
            out.taken().await?;
            lines.reserve(PIECE_LEN + SLACK_LEN);
        }
        let written = write_lines(&mut lines, &records);
        if lines.len() >= PIECE_LEN {
            out.send(std::mem::take(&mut lines)).await?;
        }
        let page = match written {
            Ok(()) => reading.next_page(READ_LEN).await,
            Err(failure) => Err(failure),
        };
        match page {
            Ok(page) => next = page,
            Err(failure) => {
                let problem = Refusal::from(failure).into_problem(&id).to_json(&id);
                lines.extend_from_slice(b"{\"problem\":");
                lines.extend_from_slice(&problem);
                lines.extend_from_slice(b"}\n");
                out.send(lines).await?;
                return Err(Aborted);
            }
        }
    }
}

fn write_lines(lines: &mut Vec<u8>, records: &Records) -> Result<(), Failure> {
    for record in records.iter() {
        let event = Event::from_record(record?).map_err(|error| not_an_event(&error))?;
        render::event(lines, &event, Breaks::Drop);
        lines.push(b'\n');
    }
    Ok(())
}
