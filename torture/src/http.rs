//! A blocking HTTP/1.1 client: one connection that is kept, one request at a time.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// How long an answer may take. A server that is longer silent has hung.
pub(crate) const PATIENCE: Duration = Duration::from_secs(15);
/// How long a connection may take to be accepted by the kernel.
const CONNECT_PATIENCE: Duration = Duration::from_secs(2);

/// An answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) body: String,
}

/// A client of one server.
#[derive(Debug)]
pub(crate) struct Client {
    address: SocketAddr,
    connection: Option<BufReader<TcpStream>>,
    patience: Duration,
}

/// A request; the length and the host are added.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Call<'a> {
    pub(crate) method: &'a str,
    pub(crate) path: &'a str,
    pub(crate) headers: &'a [(&'a str, &'a str)],
    pub(crate) body: &'a str,
}

impl<'a> Call<'a> {
    /// A GET without headers.
    pub(crate) fn get(path: &'a str) -> Self {
        Self {
            method: "GET",
            path,
            headers: &[],
            body: "",
        }
    }
}

impl Client {
    /// A client of the server at `address`.
    pub(crate) fn new(address: SocketAddr) -> Self {
        Self {
            address,
            connection: None,
            patience: PATIENCE,
        }
    }

    /// The same, which waits no longer than `patience` for an answer.
    pub(crate) fn patient(address: SocketAddr, patience: Duration) -> Self {
        Self {
            address,
            connection: None,
            patience,
        }
    }

    /// Sends a request and reads the answer. After an error the outcome of the request is unknown,
    /// and the next one gets a connection of its own.
    pub(crate) fn send(&mut self, call: Call<'_>) -> io::Result<Answer> {
        let mut connection = match self.connection.take() {
            Some(connection) => connection,
            None => self.connect()?,
        };
        let mut head = format!(
            "{} {} HTTP/1.1\r\nHost: {}\r\nContent-Length: {}\r\n",
            call.method,
            call.path,
            self.address,
            call.body.len()
        );
        for (name, value) in call.headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        head.push_str("\r\n");
        head.push_str(call.body);
        connection.get_mut().write_all(head.as_bytes())?;
        let (answer, keep) = read(&mut connection)?;
        if keep {
            self.connection = Some(connection);
        }
        Ok(answer)
    }

    fn connect(&self) -> io::Result<BufReader<TcpStream>> {
        let stream = TcpStream::connect_timeout(&self.address, CONNECT_PATIENCE)?;
        stream.set_read_timeout(Some(self.patience))?;
        stream.set_write_timeout(Some(self.patience))?;
        stream.set_nodelay(true)?;
        Ok(BufReader::new(stream))
    }
}

fn read(connection: &mut BufReader<TcpStream>) -> io::Result<(Answer, bool)> {
    let first = line(connection)?;
    let status = first
        .split(' ')
        .nth(1)
        .and_then(|word| word.parse().ok())
        .ok_or_else(|| broken("no status"))?;
    let (mut len, mut chunked, mut keep) = (0, false, true);
    loop {
        let header = line(connection)?.to_ascii_lowercase();
        if header.is_empty() {
            break;
        }
        if let Some(value) = header.strip_prefix("content-length:") {
            len = value.trim().parse().map_err(|_| broken("length"))?;
        } else if header.starts_with("transfer-encoding:") {
            chunked = header.contains("chunked");
        } else if header.starts_with("connection:") && header.contains("close") {
            keep = false;
        }
    }
    let mut body = Vec::new();
    if chunked {
        loop {
            let len = line(connection)?;
            let len = usize::from_str_radix(&len, 16).map_err(|_| broken("chunk"))?;
            let start = body.len();
            body.resize(start + len, 0);
            connection.read_exact(body.get_mut(start..).unwrap_or_default())?;
            line(connection)?;
            if len == 0 {
                break;
            }
        }
    } else {
        body.resize(len, 0);
        connection.read_exact(&mut body)?;
    }
    let body = String::from_utf8(body).map_err(|_| broken("the body is not UTF-8"))?;
    Ok((Answer { status, body }, keep))
}

/// Reads the head of a request that somebody sent us; how many bytes of body follow.
pub(crate) fn read_call_head(connection: &mut BufReader<TcpStream>) -> io::Result<usize> {
    line(connection)?;
    let mut len = 0;
    loop {
        let header = line(connection)?.to_ascii_lowercase();
        if header.is_empty() {
            return Ok(len);
        }
        if let Some(value) = header.strip_prefix("content-length:") {
            len = value.trim().parse().map_err(|_| broken("length"))?;
        } else if header.starts_with("transfer-encoding:") {
            return Err(broken("a call without a length"));
        }
    }
}

fn line(connection: &mut BufReader<TcpStream>) -> io::Result<String> {
    let mut line = String::new();
    connection.read_line(&mut line)?;
    if !line.ends_with('\n') {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    line.truncate(line.trim_end().len());
    Ok(line)
}

fn broken(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what.to_owned())
}
