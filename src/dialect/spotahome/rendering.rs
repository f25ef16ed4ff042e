//! A window as the bytes of its reply, in pieces: however long the events are, only one piece of the
//! reply is in memory.

use crate::app::range::Reading;
use crate::app::{Event, Failure};
use crate::store::Records;

use super::event::{self, BodyForm};

/// The bytes of records that are read at a time: what one read costs the others on this thread.
const READ_LEN: usize = 128 << 10;
/// A piece is given once it has so many bytes.
const PIECE_LEN: usize = 128 << 10;
/// How much of a payload is written at a time, in bytes. A multiple of three, so that base64 can be
/// cut there; much less than a piece, so that a piece is not much longer than it should be.
const CHUNK_LEN: usize = 12 << 10;

const _: () = assert!(CHUNK_LEN.is_multiple_of(3));

/// A reply that is being written.
#[derive(Debug)]
pub(super) struct Rendering {
    /// None if there is nothing to read, and once everything has been.
    reading: Option<Reading>,
    page: Option<Page>,
    has_begun: bool,
    is_first: bool,
    has_ended: bool,
}

/// Records, and where the writing of them stands.
#[derive(Debug)]
struct Page {
    records: Records,
    index: usize,
    /// Within the payload of the record at `index`.
    payload: Option<(BodyForm, usize)>,
}

impl Rendering {
    /// The events of a read.
    pub(super) fn of(reading: Reading) -> Self {
        Self {
            reading: Some(reading),
            ..Self::of_nothing()
        }
    }

    /// No events.
    pub(super) fn of_nothing() -> Self {
        Self {
            reading: None,
            page: None,
            has_begun: false,
            is_first: true,
            has_ended: false,
        }
    }

    /// Whether the last piece has been given.
    pub(super) fn has_ended(&self) -> bool {
        self.has_ended
    }

    /// The next piece; empty after the last.
    ///
    /// # Errors
    ///
    /// [`Failure`] if the events cannot be read; nothing is skipped.
    pub(super) async fn next_piece(&mut self) -> Result<Vec<u8>, Failure> {
        let mut piece = Vec::new();
        if self.has_begun {
            piece.reserve(PIECE_LEN + 2 * CHUNK_LEN);
        } else {
            self.has_begun = true;
            piece.extend_from_slice(b"{\"events\":[");
        }
        while !self.has_ended {
            if let Some(page) = &mut self.page {
                page.write(&mut piece, &mut self.is_first)?;
                if piece.len() >= PIECE_LEN {
                    break;
                }
            }
            self.page = match &mut self.reading {
                Some(reading) => reading.next_page(READ_LEN).await?.map(Page::new),
                None => None,
            };
            if self.page.is_none() {
                self.reading = None;
                self.has_ended = true;
                piece.extend_from_slice(b"]}");
            }
        }
        Ok(piece)
    }
}

impl Page {
    fn new(records: Records) -> Self {
        Self {
            records,
            index: 0,
            payload: None,
        }
    }

    /// Goes on until the piece is full or the records are used up.
    fn write(&mut self, piece: &mut Vec<u8>, is_first: &mut bool) -> Result<(), Failure> {
        while let Some(record) = self.records.get(self.index)? {
            let event = Event::from_record(record)?;
            let bytes = event.data.bytes();
            let (form, mut written) = match self.payload {
                Some(place) => place,
                None => {
                    if !std::mem::take(is_first) {
                        piece.push(b',');
                    }
                    event::write_front(piece, &event);
                    let form = BodyForm::of(&event.data);
                    piece.extend_from_slice(form.quotes());
                    (form, 0)
                }
            };
            for chunk in bytes.get(written..).unwrap_or_default().chunks(CHUNK_LEN) {
                form.write(piece, chunk);
                written += chunk.len();
                if piece.len() >= PIECE_LEN {
                    break;
                }
            }
            if written < bytes.len() {
                self.payload = Some((form, written));
                return Ok(());
            }
            piece.extend_from_slice(form.quotes());
            event::write_back(piece);
            self.payload = None;
            self.index += 1;
            if piece.len() >= PIECE_LEN {
                return Ok(());
            }
        }
        Ok(())
    }
}
