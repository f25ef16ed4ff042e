//! A reply that goes on: lines as they come, chunks put together.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// The lines of one reply.
#[derive(Debug)]
pub(crate) struct Lines(BufReader<Chunks>);

#[derive(Debug)]
struct Chunks {
    connection: BufReader<TcpStream>,
    /// What is left of the chunk.
    left: usize,
    over: bool,
}

impl Lines {
    /// Asks for `path` as `accept`. A line that is longer away than `patience` is an error.
    pub(crate) fn open(
        address: SocketAddr,
        path: &str,
        accept: &str,
        patience: Duration,
    ) -> io::Result<Self> {
        let mut stream = TcpStream::connect(address)?;
        stream.set_read_timeout(Some(patience))?;
        write!(
            stream,
            "GET {path} HTTP/1.1\r\nHost: {address}\r\nAccept: {accept}\r\n\r\n"
        )?;
        let mut connection = BufReader::new(stream);
        let status = line(&mut connection)?;
        let mut chunked = false;
        loop {
            let header = line(&mut connection)?.to_ascii_lowercase();
            chunked |= header == "transfer-encoding: chunked";
            if header.is_empty() {
                break;
            }
        }
        if !status.starts_with("HTTP/1.1 200") || !chunked {
            return Err(io::Error::other(format!("no stream: {status}")));
        }
        Ok(Self(BufReader::new(Chunks {
            connection,
            left: 0,
            over: false,
        })))
    }

    /// The next line, without its end; none at the end of the reply.
    pub(crate) fn next(&mut self) -> io::Result<Option<String>> {
        let mut text = String::new();
        if self.0.read_line(&mut text)? == 0 {
            return Ok(None);
        }
        text.truncate(text.trim_end_matches(['\r', '\n']).len());
        Ok(Some(text))
    }
}

impl Read for Chunks {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.left == 0 && !self.over {
            let len = line(&mut self.connection)?;
            self.left = usize::from_str_radix(len.trim(), 16)
                .map_err(|_| io::Error::other("a chunk without a length"))?;
            self.over = self.left == 0;
        }
        if self.over {
            return Ok(0);
        }
        let len = buffer.len().min(self.left);
        let taken = buffer.get_mut(..len).unwrap_or_default();
        let read = self.connection.read(taken)?;
        if read == 0 && len > 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.left -= read;
        if self.left == 0 {
            line(&mut self.connection)?;
        }
        Ok(read)
    }
}

fn line(connection: &mut BufReader<TcpStream>) -> io::Result<String> {
    let mut text = String::new();
    if connection.read_line(&mut text)? == 0 {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    text.truncate(text.trim_end_matches(['\r', '\n']).len());
    Ok(text)
}
