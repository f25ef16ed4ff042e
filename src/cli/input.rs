//! The lines of a file, of a gzip file, or of standard input.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use flate2::bufread::MultiGzDecoder;

/// The longest line, in bytes: the server's limit for a whole request. A longer one could not be
/// sent, and a file without line breaks must not fill the memory.
pub(crate) const LINE_LEN_MAX: u64 = 32 << 20;

/// How much is read ahead, in bytes: enough that system calls do not count.
const BUFFER_LEN: usize = 256 << 10;

/// The two bytes every gzip file begins with (RFC 1952, section 2.3.1).
const GZIP_MAGIC: &[u8] = &[0x1f, 0x8b];

/// Lines with their numbers, from 1.
pub(crate) struct Lines {
    reader: Box<dyn BufRead + Send>,
    number: u64,
    buffer: Vec<u8>,
}

impl std::fmt::Debug for Lines {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Lines")
            .field("number", &self.number)
            .finish_non_exhaustive()
    }
}

/// How far a file has been read, seen from outside.
#[derive(Clone, Debug, Default)]
pub(crate) struct Position(Arc<AtomicU64>);

impl Position {
    /// Bytes of the file as it lies on the disk.
    pub(crate) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

struct Counted<R> {
    inner: R,
    position: Position,
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let len = self.inner.read(buffer)?;
        self.position.0.fetch_add(len as u64, Ordering::Relaxed);
        Ok(len)
    }
}

/// An opened input: its lines, how far they have been read, and how long the file is, if it is one.
#[derive(Debug)]
pub(crate) struct Input {
    pub(crate) lines: Lines,
    pub(crate) position: Position,
    pub(crate) len: Option<u64>,
}

impl Input {
    /// Opens `path`, or standard input for `-`. A name that ends in `.gz`, or content that begins as
    /// a gzip file does, is unpacked.
    ///
    /// # Errors
    ///
    /// As the file system reports them.
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        let position = Position::default();
        if path == Path::new("-") {
            return Ok(Self {
                lines: Lines::new(io::stdin(), position.clone(), false)?,
                position,
                len: None,
            });
        }
        #[expect(
            clippy::disallowed_methods,
            reason = "the events to import are no file of the store"
        )]
        let file = File::open(path)?;
        let metadata = file.metadata()?;
        if metadata.is_dir() {
            return Err(io::Error::from(io::ErrorKind::IsADirectory));
        }
        let len = metadata.is_file().then_some(metadata.len());
        let named_gz = path.extension().is_some_and(|extension| extension == "gz");
        Ok(Self {
            lines: Lines::new(file, position.clone(), named_gz)?,
            position,
            len,
        })
    }
}

impl Lines {
    fn new(source: impl Read + Send + 'static, position: Position, gzip: bool) -> io::Result<Self> {
        let mut plain = BufReader::with_capacity(
            BUFFER_LEN,
            Counted {
                inner: source,
                position,
            },
        );
        let gzip = gzip || plain.fill_buf()?.starts_with(GZIP_MAGIC);
        let reader: Box<dyn BufRead + Send> = if gzip {
            // Several gzip members one after another are one file, as gzip itself has it.
            Box::new(BufReader::with_capacity(
                BUFFER_LEN,
                MultiGzDecoder::new(plain),
            ))
        } else {
            Box::new(plain)
        };
        Ok(Self {
            reader,
            number: 0,
            buffer: Vec::new(),
        })
    }

    /// The next line that is not blank, with its number and without its end; none after the last.
    ///
    /// # Errors
    ///
    /// As the file reports them (a broken gzip file among them), and
    /// [`io::ErrorKind::FileTooLarge`] for a line over [`LINE_LEN_MAX`] bytes. The number of the line
    /// is then [`number`](Self::number).
    pub(crate) fn next_line(&mut self) -> io::Result<Option<(u64, &[u8])>> {
        loop {
            self.buffer.clear();
            self.number += 1;
            let len = (&mut self.reader)
                .take(LINE_LEN_MAX + 1)
                .read_until(b'\n', &mut self.buffer)?;
            if len == 0 {
                return Ok(None);
            }
            if len as u64 > LINE_LEN_MAX {
                return Err(io::Error::new(
                    io::ErrorKind::FileTooLarge,
                    format!("the line is longer than {LINE_LEN_MAX} bytes"),
                ));
            }
            if !self.buffer.trim_ascii().is_empty() {
                break;
            }
        }
        Ok(Some((self.number, self.buffer.trim_ascii())))
    }

    /// The number of the line that was read last, or that could not be read.
    pub(crate) fn number(&self) -> u64 {
        self.number
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::Compression;
    use flate2::write::GzEncoder;

    use super::*;

    fn lines_of(name: &str, bytes: &[u8]) -> io::Result<Vec<(u64, String)>> {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        let mut input = Input::open(&path)?;
        let mut lines = Vec::new();
        while let Some((number, line)) = input.lines.next_line()? {
            lines.push((number, String::from_utf8(line.to_vec()).unwrap()));
        }
        Ok(lines)
    }

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    #[test]
    fn blank_lines_are_passed_over_and_counted() {
        let lines = lines_of("a.ndjson", b"{}\n\n  \r\n[1]\r\n{\"last\":1}").unwrap();
        let want = [
            (1, "{}".to_owned()),
            (4, "[1]".to_owned()),
            (5, "{\"last\":1}".to_owned()),
        ];
        assert_eq!(lines, want);
    }

    #[test]
    fn a_gzip_file_is_known_by_its_name_or_by_its_content() {
        let mut packed = gzip(b"one\n");
        packed.extend(gzip(b"two\n"));
        let want = vec![(1, "one".to_owned()), (2, "two".to_owned())];
        assert_eq!(lines_of("a.gz", &packed).unwrap(), want);
        assert_eq!(lines_of("a.ndjson", &packed).unwrap(), want);
    }

    #[test]
    fn a_gzip_file_that_is_none_or_is_cut_short_is_an_error() {
        assert!(lines_of("a.gz", b"one\n").is_err());
        let packed = gzip(&b"one two three four\n".repeat(100));
        assert!(lines_of("a.gz", &packed[..packed.len() - 12]).is_err());
    }

    #[test]
    fn an_empty_file_has_no_lines() {
        assert_eq!(lines_of("a.ndjson", b"").unwrap(), []);
    }
}
