//! What a row of the table is shown on: a server, and the proof that an input did nothing to it.

use serde_json::Value;

use crate::client::{Connection, Reply};
use crate::harness::{EVENTS, Server};

/// What an input is answered with.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Answer {
    /// A problem with this status and code.
    Problem(u16, &'static str),
    /// The same, and the connection closes.
    Closing(u16, &'static str),
    /// A success.
    Good(u16),
    /// The connection closes without a reply.
    Closed,
}

use Answer::{Closed, Closing, Good, Problem};

/// A server and what it held when it was last looked at.
pub(crate) struct Bench {
    pub(crate) server: Server,
    held: Held,
}

/// Everything that a request could have changed: the logs with their ends, the consumers of the
/// default log with their checkpoints.
#[derive(Debug, PartialEq, Eq)]
struct Held {
    logs: Vec<(Value, Value, Value)>,
    consumers: Vec<Value>,
}

impl Bench {
    pub(crate) fn new(server: Server) -> Self {
        let held = Held::by(&server);
        Self { server, held }
    }

    /// Sends the bytes on a connection of their own and compares the answer; nothing may have
    /// changed, and the next request must be answered.
    #[track_caller]
    pub(crate) fn refuses(&mut self, bytes: impl AsRef<[u8]>, want: Answer) -> Option<Reply> {
        let bytes = bytes.as_ref();
        let shown = shown(bytes);
        let reply = self.answers(bytes, want, &shown);
        self.is_unchanged(&shown);
        reply
    }

    /// The same for an input that is answered with a problem.
    #[track_caller]
    pub(crate) fn problem(
        &mut self,
        bytes: impl AsRef<[u8]>,
        status: u16,
        code: &'static str,
    ) -> Value {
        let reply = self.refuses(bytes, Problem(status, code));
        reply.expect("it was answered").json()
    }

    /// Sends the bytes, which are good although they look bad, and looks at the server anew.
    #[track_caller]
    pub(crate) fn takes(&mut self, bytes: impl AsRef<[u8]>, status: u16) -> Reply {
        let bytes = bytes.as_ref();
        let reply = self.answers(bytes, Good(status), &shown(bytes));
        self.held = Held::by(&self.server);
        reply.expect("it was answered")
    }

    /// Sends the bytes and goes away: whoever has gone gets no answer.
    #[track_caller]
    pub(crate) fn is_left_after(&mut self, bytes: impl AsRef<[u8]>) {
        let bytes = bytes.as_ref();
        let mut connection = self.server.connect();
        connection.send(bytes);
        connection.finish_sending();
        connection.read_to_end();
        self.is_unchanged(&shown(bytes));
    }

    /// Nothing has changed since the server was last looked at. Asked on new connections, so the
    /// server answers as well.
    #[track_caller]
    pub(crate) fn is_unchanged(&self, after: &str) {
        assert_eq!(Held::by(&self.server), self.held, "after {after}");
    }

    /// Takes what the server holds as it is, after a test has changed it itself.
    pub(crate) fn look(&mut self) {
        self.held = Held::by(&self.server);
    }

    #[track_caller]
    fn answers(&self, bytes: &[u8], want: Answer, shown: &str) -> Option<Reply> {
        let mut connection = self.server.connect();
        connection.send(bytes);
        let reply = connection.try_read_reply(bytes.starts_with(b"HEAD"));
        match (want, &reply) {
            (Problem(status, code), Some(reply)) => {
                reply.problem(status, code);
            }
            (Closing(status, code), Some(reply)) => {
                reply.problem(status, code);
                assert_eq!(reply.header("connection"), Some("close"), "{shown}");
                ends(&mut connection, shown);
            }
            (Good(status), Some(reply)) => assert_eq!(reply.status, status, "{shown}: {reply:?}"),
            (Closed, None) => {}
            (want, reply) => panic!("{shown}: {want:?}, not {reply:?}"),
        }
        reply
    }
}

#[track_caller]
fn ends(connection: &mut Connection, shown: &str) {
    connection.finish_sending();
    assert_eq!(
        connection.read_to_end(),
        b"",
        "{shown}: one reply, and the end"
    );
}

fn shown(bytes: &[u8]) -> String {
    String::from_utf8_lossy(&bytes[..bytes.len().min(200)]).into_owned()
}

impl Held {
    fn by(server: &Server) -> Self {
        let list = |target: &str, name: &str| -> Vec<Value> {
            let page = server.get(target).good();
            page[name].as_array().unwrap().clone()
        };
        let logs = list("/v1/logs", "logs").into_iter();
        let consumers = list("/v1/logs/default/consumers?limit=1000", "consumers").into_iter();
        Self {
            logs: logs
                .map(|log| {
                    let member = |name: &str| log[name].clone();
                    (member("log"), member("lastId"), member("retention"))
                })
                .collect(),
            consumers: consumers
                .map(|entry| {
                    let name = entry["name"].as_str().unwrap();
                    let target = format!("/v1/logs/default/consumers/{name}");
                    server.get(&target).good()["checkpoint"].clone()
                })
                .collect(),
        }
    }
}

pub(crate) const JSON: &str = "Content-Type: application/json\r\n";
pub(crate) const GOOD: &str = r#"{"stream":"s","type":"t","data":1}"#;

/// A request with a correct head, these headers and this body.
pub(crate) fn request(
    method: &str,
    target: &str,
    headers: &str,
    body: impl AsRef<[u8]>,
) -> Vec<u8> {
    let body = body.as_ref();
    let mut bytes =
        format!("{method} {target} HTTP/1.1\r\nHost: localhost\r\n{headers}").into_bytes();
    if !body.is_empty() {
        bytes.extend_from_slice(format!("Content-Length: {}\r\n", body.len()).as_bytes());
    }
    bytes.extend_from_slice(b"\r\n");
    bytes.extend_from_slice(body);
    bytes
}

pub(crate) fn get(target: &str) -> Vec<u8> {
    request("GET", target, "", "")
}

/// A publish with this body.
pub(crate) fn post(body: impl AsRef<[u8]>) -> Vec<u8> {
    request("POST", EVENTS, JSON, body)
}

/// A publish whose head has these headers as well, framed by them alone.
pub(crate) fn framed(headers: &str, body: &str) -> String {
    format!("POST {EVENTS} HTTP/1.1\r\nHost: localhost\r\n{JSON}{headers}\r\n{body}")
}
