//! The reply in the coding gzip, piece by piece.

use std::io::{self, Write as _};
use std::sync::Arc;

use flate2::Compression;
use flate2::write::GzEncoder;
use tokio::sync::Semaphore;

use crate::app::{Code, Failure};

/// The longest piece that is compressed where the request is served, in bytes: less than a
/// millisecond of work. Longer ones go to a thread that may take its time.
const INLINE_LEN_MAX: usize = 16 << 10;

/// A reply on its way into the coding.
#[derive(Debug)]
pub(super) struct Gzip {
    /// Taken out while another thread has it.
    encoder: Option<GzEncoder<Vec<u8>>>,
    turns: Arc<Semaphore>,
}

impl Gzip {
    /// The coding of a new reply. Every thread that compresses takes one of `turns`.
    pub(super) fn new(turns: Arc<Semaphore>) -> Self {
        let encoder = GzEncoder::new(Vec::new(), Compression::fast());
        Self {
            encoder: Some(encoder),
            turns,
        }
    }

    /// What the coding makes of the next piece, which may be nothing yet; with the last piece
    /// comes all the rest.
    ///
    /// # Errors
    ///
    /// [`Failure`]: the server is stopping, or an earlier call was given up.
    pub(super) async fn code(&mut self, piece: Vec<u8>, is_last: bool) -> Result<Vec<u8>, Failure> {
        let mut encoder = self.encoder.take().ok_or_else(Failure::stopping)?;
        let (coded, encoder) = if piece.len() <= INLINE_LEN_MAX {
            (code(&mut encoder, &piece, is_last), encoder)
        } else {
            let turn = Arc::clone(&self.turns).acquire_owned().await;
            let work = tokio::task::spawn_blocking(move || {
                let coded = code(&mut encoder, &piece, is_last);
                drop(turn);
                (coded, encoder)
            });
            work.await.map_err(|_ending| Failure::stopping())?
        };
        self.encoder = Some(encoder);
        coded.map_err(|error| {
            Failure::new(Code::Internal, "the reply could not be compressed").caused_by(&error)
        })
    }
}

fn code(encoder: &mut GzEncoder<Vec<u8>>, piece: &[u8], is_last: bool) -> io::Result<Vec<u8>> {
    encoder.write_all(piece)?;
    if is_last {
        encoder.try_finish()?;
    }
    Ok(std::mem::take(encoder.get_mut()))
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use flate2::read::GzDecoder;

    use super::*;

    #[tokio::test]
    async fn pieces_short_and_long_come_back_as_one_text() {
        let mut gzip = Gzip::new(Arc::new(Semaphore::new(1)));
        let mut coded = Vec::new();
        let mut plain = Vec::new();
        for (len, is_last) in [(10, false), (100_000, false), (0, false), (1_000, true)] {
            let piece: Vec<u8> = (0..len).map(|n| b"0123456789abcdef"[n % 13]).collect();
            plain.extend_from_slice(&piece);
            coded.extend(gzip.code(piece, is_last).await.unwrap());
        }
        let mut text = Vec::new();
        GzDecoder::new(&coded[..]).read_to_end(&mut text).unwrap();
        assert_eq!(text, plain);
        assert!(coded.len() < plain.len() / 10);
    }
}
