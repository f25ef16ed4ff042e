//! The records as they lie in the log (`application/vnd.strandlog.records`, docs/RECORDS.md): the
//! fastest replay, and each record carries its own checksum.

use bytes::Bytes;
use tokio::sync::OwnedSemaphorePermit;

use crate::app::range::RawReading;
use crate::http::{Aborted, HeaderValue, Reply, RequestId, StatusCode, Writer};

use super::call::Call;
use super::failure::Refusal;

/// How long the pieces are, in bytes: long enough that the cost of each is lost in that of its
/// bytes.
const PIECE_LEN: usize = 256 << 10;

/// The records of a raw read.
pub(super) async fn reply(call: &Call<'_>, mut reading: RawReading) -> Result<Reply, Refusal> {
    let permit = call.api.reader()?;
    let first = reading.next_piece(PIECE_LEN).await?;
    let id = call.head.id().clone();
    Ok(Reply::new(StatusCode::OK)
        .typed(HeaderValue::from_static(super::events::RECORDS))
        .streamed(move |out| write(out, reading, first, id, permit)))
}

async fn write(
    mut out: Writer,
    mut reading: RawReading,
    first: Option<Vec<Bytes>>,
    id: RequestId,
    _permit: OwnedSemaphorePermit,
) -> Result<(), Aborted> {
    let mut next = first;
    while let Some(slices) = next {
        for slice in slices {
            out.send(slice).await?;
        }
        next = match reading.next_piece(PIECE_LEN).await {
            Ok(piece) => piece,
            Err(failure) => {
                // There is no place for words in this representation; our own log has them.
                let _told = Refusal::from(failure).into_problem(&id);
                return Err(Aborted);
            }
        };
    }
    Ok(())
}
