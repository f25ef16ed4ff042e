//! `GET .../{from}-{to}`: a window of the log.

use std::sync::Arc;

use tokio::sync::OwnedSemaphorePermit;

use crate::app::range::Selection;
use crate::http::path::decode_segment;
use crate::http::{
    Aborted, Head, HeaderValue, Reply, RequestId, StatusCode, Writer, accept, header,
};
use crate::store::EventId;

use super::Door;
use super::gzip::Gzip;
use super::rendering::Rendering;
use super::replies::{JSON, Refusal};

const ACCEPT_ENCODING: HeaderValue = HeaderValue::from_static("Accept-Encoding");
const GZIP: HeaderValue = HeaderValue::from_static("gzip");

/// Two numbers, which need not be ids.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Window {
    /// None if it is larger than any id.
    from: Option<u64>,
    to: Option<u64>,
}

/// The ids to read, both inclusive; none if there can be none.
pub(super) type Ids = Option<(EventId, EventId)>;

impl Window {
    /// Reads `{from}-{to}`, each in decimal digits alone. Zeros before a number are passed over.
    ///
    /// # Errors
    ///
    /// [`Refusal::NoRoute`] if they are not two numbers.
    pub(super) fn parse(segment: &str) -> Result<Self, Refusal> {
        let text = decode_segment(segment).map_err(|_| Refusal::NoRoute)?;
        let (from, to) = text.split_once('-').ok_or(Refusal::NoRoute)?;
        Ok(Self {
            from: number(from)?,
            to: number(to)?,
        })
    }

    /// The ids in the window. Id 0 is before the first one.
    ///
    /// # Errors
    ///
    /// [`Refusal::BadWindow`] if a number is beyond any id, or the window ends before it begins.
    pub(super) fn check(self) -> Result<Ids, Refusal> {
        let (Some(from), Some(to)) = (self.from, self.to) else {
            return Err(Refusal::BadWindow);
        };
        if from > to {
            return Err(Refusal::BadWindow);
        }
        Ok(EventId::new(from.max(1)).zip(EventId::new(to)))
    }
}

/// A number of any length; none if it is larger than any id.
fn number(digits: &str) -> Result<Option<u64>, Refusal> {
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(Refusal::NoRoute);
    }
    let number = digits.parse().ok();
    Ok(number.filter(|number| *number <= EventId::MAX.get()))
}

/// Reads the window. The status is decided once the first piece of the reply is there; what does not
/// end with it is written while it is sent.
///
/// # Errors
///
/// [`Refusal`].
pub(super) async fn read(door: &Door, head: &Head, ids: Ids) -> Result<Reply, Refusal> {
    let readers = Arc::clone(&door.readers);
    let permit = readers.try_acquire_owned().map_err(|_| Refusal::Busy)?;
    let mut rendering = match ids {
        None => Rendering::of_nothing(),
        Some((from, to)) => {
            let selection = Selection {
                from: Some(from),
                to: Some(to),
                limit: Some(door.events_max),
                ..Selection::default()
            };
            Rendering::of(door.log.read(selection).await?)
        }
    };
    let mut piece = rendering.next_piece().await?;
    let mut gzip = None;
    let mut reply = Reply::new(StatusCode::OK)
        .typed(JSON)
        .header(header::VARY, ACCEPT_ENCODING);
    if accept::takes_gzip(head.headers()) {
        let ends = rendering.has_ended();
        let coder = gzip.insert(Gzip::new(Arc::clone(&door.compressions)));
        piece = coder.code(piece, ends).await?;
        reply.set(header::CONTENT_ENCODING, GZIP);
    }
    if rendering.has_ended() {
        return Ok(reply.full(piece));
    }
    let id = head.id().clone();
    Ok(reply.streamed(move |out| send(out, rendering, piece, gzip, id, permit)))
}

async fn send(
    mut out: Writer,
    mut rendering: Rendering,
    first: Vec<u8>,
    mut gzip: Option<Gzip>,
    id: RequestId,
    _permit: OwnedSemaphorePermit,
) -> Result<(), Aborted> {
    out.send(first).await?;
    while !rendering.has_ended() {
        let piece = match rendering.next_piece().await {
            Ok(piece) => match &mut gzip {
                Some(gzip) => gzip.code(piece, rendering.has_ended()).await,
                None => Ok(piece),
            },
            Err(failure) => Err(failure),
        };
        match piece {
            Ok(piece) => out.send(piece).await?,
            Err(failure) => {
                tracing::warn!(request_id = id.as_str(), %failure, "a window could not be read to its end");
                return Err(Aborted);
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ids(segment: &str) -> Result<Option<(u64, u64)>, Refusal> {
        let ids = Window::parse(segment)?.check()?;
        Ok(ids.map(|(from, to)| (from.get(), to.get())))
    }

    #[test]
    fn both_ends_count_and_zeros_before_them_do_not() {
        assert_eq!(ids("1-2").unwrap(), Some((1, 2)));
        assert_eq!(
            ids("4255670-4255674").unwrap(),
            Some((4_255_670, 4_255_674))
        );
        assert_eq!(ids("007-0009").unwrap(), Some((7, 9)));
        assert_eq!(ids("0-4").unwrap(), Some((1, 4)));
        assert_eq!(ids("0-0").unwrap(), None);
        assert_eq!(ids("5-5").unwrap(), Some((5, 5)));
        assert_eq!(ids("%31%2D2").unwrap(), Some((1, 2)));
        let zeros = "0".repeat(400);
        assert_eq!(ids(&format!("{zeros}1-{zeros}2")).unwrap(), Some((1, 2)));
        let last = i64::MAX as u64;
        assert_eq!(ids(&format!("{last}-{last}")).unwrap(), Some((last, last)));
    }

    #[test]
    fn what_is_not_two_numbers_is_no_route() {
        for segment in [
            "", "-", "1", "1-", "-1", "a-b", "1-2-3", "+1-2", "1-+2", "-1-2", "1--2", "1.0-2",
            "1e3-2", "0x1-2", "1 -2", "1%20-2", "1-2%", "1-%ff", "1-2%00", "１-２", "1_000-2",
        ] {
            assert!(matches!(ids(segment), Err(Refusal::NoRoute)), "{segment}");
        }
    }

    #[test]
    fn a_window_that_no_log_can_have_is_bad() {
        let digits = "9".repeat(400);
        for segment in [
            "10-5",
            "1-0",
            "1-9223372036854775808",
            "9223372036854775808-1",
            "18446744073709551616-18446744073709551617",
            &format!("1-{digits}"),
            &format!("{digits}-{digits}"),
        ] {
            assert!(matches!(ids(segment), Err(Refusal::BadWindow)), "{segment}");
        }
    }
}
