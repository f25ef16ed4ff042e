//! A client as small as HTTP/1.1 allows, which sends what it is told, right or wrong.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use serde_json::Value;

/// How long a test waits for bytes that must come.
const PATIENCE: Duration = Duration::from_secs(20);

/// What came back.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
    /// Whether the body ended as it should, and not with the connection.
    pub(crate) whole: bool,
}

impl Reply {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(known, _)| known.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.as_str())
    }

    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }

    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// The reply as JSON, which must be a success.
    #[track_caller]
    pub(crate) fn good(&self) -> Value {
        assert!((200..300).contains(&self.status), "{}", self.text());
        assert!(self.whole);
        self.json()
    }

    /// The reply as a problem with this status and code.
    #[track_caller]
    pub(crate) fn problem(&self, status: u16, code: &str) -> Value {
        assert_eq!(self.status, status, "{}", self.text());
        assert_eq!(
            self.header("content-type"),
            Some("application/problem+json")
        );
        let problem = self.json();
        assert_eq!(problem["code"], code, "{problem}");
        assert_eq!(problem["status"], status, "{problem}");
        assert!(problem["detail"].is_string() && problem["requestId"].is_string());
        problem
    }

    /// The target of the `Link` with this relation.
    pub(crate) fn link(&self, relation: &str) -> Option<String> {
        let (target, found) = self.header("link")?.split_once(">; ")?;
        let named = found == format!("rel=\"{relation}\"");
        named.then(|| target.trim_start_matches('<').to_owned())
    }
}

/// A connection.
pub(crate) struct Connection {
    stream: BufReader<TcpStream>,
    host: String,
}

impl Connection {
    pub(crate) fn open(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        stream.set_nodelay(true).unwrap();
        Self {
            stream: BufReader::new(stream),
            host: address.to_string(),
        }
    }

    /// Sends bytes as they are. The server may have closed already, which is no news to a test that
    /// reads the reply.
    pub(crate) fn send(&mut self, bytes: impl AsRef<[u8]>) {
        let _sent = self.stream.get_mut().write_all(bytes.as_ref());
    }

    /// Sends a request.
    pub(crate) fn request(
        &mut self,
        method: &str,
        target: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) {
        let mut text = format!("{method} {target} HTTP/1.1\r\nHost: {}\r\n", self.host);
        for (name, value) in headers {
            text.push_str(&format!("{name}: {value}\r\n"));
        }
        if !body.is_empty() {
            text.push_str(&format!("Content-Length: {}\r\n", body.len()));
        }
        text.push_str("\r\n");
        let mut bytes = text.into_bytes();
        bytes.extend_from_slice(body);
        self.send(bytes);
    }

    /// Sends a request and reads its reply.
    #[track_caller]
    pub(crate) fn ask(
        &mut self,
        method: &str,
        target: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> Reply {
        self.request(method, target, headers, body);
        self.read_reply(method == "HEAD")
    }

    #[track_caller]
    pub(crate) fn read_reply(&mut self, of_head: bool) -> Reply {
        self.try_read_reply(of_head).expect("a reply comes")
    }

    /// Reads a reply; none if the connection ends before one begins.
    pub(crate) fn try_read_reply(&mut self, of_head: bool) -> Option<Reply> {
        let mut reply = self.read_head()?;
        if of_head || matches!(reply.status, 204 | 304) {
            return Some(reply);
        }
        if reply.header("transfer-encoding") == Some("chunked") {
            reply.whole = false;
            while let Some(chunk) = self.read_chunk() {
                if chunk.is_empty() {
                    reply.whole = true;
                    break;
                }
                reply.body.extend_from_slice(&chunk);
            }
        } else {
            let len = reply
                .header("content-length")
                .expect("a body has a length")
                .parse()
                .unwrap();
            reply.body = vec![0; len];
            reply.whole = self.stream.read_exact(&mut reply.body).is_ok();
        }
        Some(reply)
    }

    /// Sends the bytes one after another, each when nothing has come for `pause`, until a reply
    /// begins; then reads it. None if the connection ends instead.
    pub(crate) fn read_while_sending(&mut self, bytes: &[u8], pause: Duration) -> Option<Reply> {
        let deadline = Instant::now() + PATIENCE;
        let mut bytes = bytes.iter();
        self.stream.get_ref().set_read_timeout(Some(pause)).unwrap();
        let ended = loop {
            match self.stream.fill_buf() {
                Ok(there) => break there.is_empty(),
                Err(error) if is_end(&error) => break true,
                Err(error) => assert!(is_silence(&error), "{error}"),
            }
            assert!(Instant::now() < deadline, "the server waits for ever");
            if let Some(byte) = bytes.next() {
                self.send([*byte]);
            }
        };
        self.stream
            .get_ref()
            .set_read_timeout(Some(PATIENCE))
            .unwrap();
        if ended {
            None
        } else {
            self.try_read_reply(false)
        }
    }

    /// Reads the head of a reply; interim ones are passed over.
    pub(crate) fn read_head(&mut self) -> Option<Reply> {
        loop {
            let status_line = self.read_line()?;
            let status = status_line.split(' ').nth(1)?.parse().ok()?;
            let mut headers = Vec::new();
            loop {
                let line = self.read_line()?;
                if line.is_empty() {
                    break;
                }
                let (name, value) = line.split_once(':').expect("a header has a colon");
                headers.push((name.to_owned(), value.trim().to_owned()));
            }
            if status != 100 {
                return Some(Reply {
                    status,
                    headers,
                    body: Vec::new(),
                    whole: true,
                });
            }
        }
    }

    /// The next chunk of a body: empty at its end, none if the connection ends first.
    pub(crate) fn read_chunk(&mut self) -> Option<Vec<u8>> {
        let len = usize::from_str_radix(&self.read_line()?, 16).expect("a chunk has a length");
        let mut chunk = vec![0; len + 2];
        self.stream.read_exact(&mut chunk).ok()?;
        assert_eq!(chunk.split_off(len), b"\r\n");
        Some(chunk)
    }

    fn read_line(&mut self) -> Option<String> {
        let mut line = String::new();
        match self.stream.read_line(&mut line) {
            Ok(0) => None,
            Ok(_) => Some(line.trim_end_matches(['\r', '\n']).to_owned()),
            Err(error) if is_end(&error) => None,
            Err(error) => panic!("no line came: {error}"),
        }
    }

    /// Reads exactly so many bytes.
    pub(crate) fn read_exact(&mut self, bytes: &mut [u8]) {
        self.stream.read_exact(bytes).unwrap();
    }

    /// Reads on to the end of a head whose first line was taken.
    pub(crate) fn skip_head(&mut self) {
        while !self.read_line().expect("a head ends").is_empty() {}
    }

    /// Says that nothing more is sent.
    pub(crate) fn finish_sending(&mut self) {
        let _closed = self.stream.get_mut().shutdown(Shutdown::Write);
    }

    /// Waits until the server has closed the connection; what it still sends.
    pub(crate) fn read_to_end(&mut self) -> Vec<u8> {
        let mut rest = Vec::new();
        match self.stream.read_to_end(&mut rest) {
            Ok(_) => {}
            Err(error) if is_end(&error) => {}
            Err(error) => panic!("the server did not close: {error}"),
        }
        rest
    }
}

fn is_silence(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut
    )
}

fn is_end(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe | io::ErrorKind::UnexpectedEof
    )
}
