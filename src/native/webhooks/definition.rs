//! A webhook's definition: how clients write it, and how it is kept.

use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::app::consumers::Start;
use crate::app::limits::CALL_EVENTS_MAX;
use crate::app::name::{EventType, StreamName, TagLabel};
use crate::app::{Code, Failure, Filter};
use crate::json::{Fault, FaultKind, Reader};
use crate::webhook::endpoint::Endpoint;
use crate::webhook::signature::Secret;

use super::super::{consumers, wire};

/// How long a call may take if the definition does not say, in milliseconds: long enough for a
/// receiver that stores an event before it answers.
pub(in super::super) const TIMEOUT_MS_DEFAULT: u64 = 15_000;
/// The shortest and the longest time that a call may be given, in milliseconds.
pub(in super::super) const TIMEOUT_MS: (u64, u64) = (100, 60_000);
/// How many attempts there are if the definition does not say: with the pauses between them they
/// take more than an hour.
pub(in super::super) const ATTEMPTS_DEFAULT: u32 = 20;
/// The most attempts: with the longest pause between them they take a month.
pub(in super::super) const ATTEMPTS_MAX: u32 = 10_000;

/// What clients define, apart from the secret.
#[derive(Clone, Debug)]
pub(super) struct Definition {
    pub(super) endpoint: Arc<Endpoint>,
    pub(super) filter: Filter,
    pub(super) start: Start,
    pub(super) batch_size: usize,
    pub(super) timeout: Duration,
    pub(super) attempts_max: u32,
}

/// What a client asks for.
#[derive(Clone, Debug)]
pub(super) struct Asked {
    pub(super) definition: Definition,
    /// None leaves it as it is, or has one made.
    pub(super) secret: Option<Secret>,
}

impl Definition {
    /// Whether the two mean the same; order and repetition of names do not count.
    fn is_same(&self, other: &Self) -> bool {
        fn sorted<T: Clone + Ord>(names: &[T]) -> Vec<T> {
            let mut names = names.to_vec();
            names.sort_unstable();
            names.dedup();
            names
        }
        let (ours, theirs) = (&self.filter, &other.filter);
        self.endpoint == other.endpoint
            && ours.streams == theirs.streams
            && sorted(&ours.types) == sorted(&theirs.types)
            && sorted(&ours.tags) == sorted(&theirs.tags)
            && self.start == other.start
            && self.batch_size == other.batch_size
            && self.timeout == other.timeout
            && self.attempts_max == other.attempts_max
    }
}

const MEMBERS: &[&str] = &[
    "url",
    "filter",
    "start",
    "batchSize",
    "secret",
    "timeoutMs",
    "attemptsMax",
];

/// Reads a definition: `{"url","filter"?,"start"?,"batchSize"?,"secret"?,"timeoutMs"?,"attemptsMax"?}`.
pub(super) fn read(reader: &mut Reader<'_>) -> Result<Asked, Fault> {
    let whole = reader.clone();
    let mut object = reader
        .object()
        .ok_or_else(|| wire::expected(whole.clone(), "an object"))?;
    let mut endpoint = None;
    let mut filter = Filter::default();
    let mut start = Start::End;
    let mut batch_size = 1;
    let mut timeout_ms = TIMEOUT_MS_DEFAULT;
    let mut attempts_max = u64::from(ATTEMPTS_DEFAULT);
    let mut secret = None;
    while let Some(member) = object.next(reader, MEMBERS)? {
        if member != "url" && reader.null() {
            continue;
        }
        let read = match member {
            "url" => text(reader, "an http or https URL", Endpoint::parse)
                .map(|read| endpoint = Some(read)),
            "filter" => {
                wire::filter(reader, &["stream", "types", "tags"]).map(|read| filter = read)
            }
            "start" => consumers::start(reader).map(|read| start = read),
            "batchSize" => {
                within(reader, (1, CALL_EVENTS_MAX as u64)).map(|read| batch_size = read)
            }
            "secret" => {
                text(reader, "a webhook secret", Secret::parse).map(|read| secret = Some(read))
            }
            "timeoutMs" => within(reader, TIMEOUT_MS).map(|read| timeout_ms = read),
            _ => within(reader, (1, u64::from(ATTEMPTS_MAX))).map(|read| attempts_max = read),
        };
        read.map_err(|fault| fault.of(member))?;
    }
    let endpoint = endpoint
        .ok_or_else(|| wire::expected(whole, "a definition with a member 'url'").of("url"))?;
    let definition = Definition {
        endpoint: Arc::new(endpoint),
        filter,
        start,
        batch_size: usize::try_from(batch_size).unwrap_or(CALL_EVENTS_MAX),
        timeout: Duration::from_millis(timeout_ms),
        attempts_max: u32::try_from(attempts_max).unwrap_or(ATTEMPTS_MAX),
    };
    Ok(Asked { definition, secret })
}

/// Reads a text by its own rules. The text itself is not told again: it may be a secret.
fn text<T, E: std::fmt::Display>(
    reader: &mut Reader<'_>,
    what: &str,
    parse: impl FnOnce(&str) -> Result<T, E>,
) -> Result<T, Fault> {
    let offset = reader.offset();
    let text = reader
        .string()?
        .ok_or_else(|| wire::expected(reader.clone(), what))?;
    parse(&text).map_err(|error| {
        Fault::new(
            FaultKind::Member,
            offset,
            format!("{what} was expected: {error}"),
        )
    })
}

fn within(reader: &mut Reader<'_>, (min, max): (u64, u64)) -> Result<u64, Fault> {
    let start = reader.clone();
    let number = wire::whole_number(reader)?;
    if (min..=max).contains(&number) {
        return Ok(number);
    }
    let what = format!("a whole number from {min} to {max}");
    Err(wire::expected(start, &what))
}

/// Whether a webhook is called.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Standing {
    /// It is.
    Running,
    /// An operator wants it to wait.
    Paused,
    /// The endpoint wants no more calls.
    Gone,
}

/// A webhook as it is kept.
#[derive(Clone, Debug)]
pub(super) struct Webhook {
    /// Tells it from others of the same name, before it and after it.
    pub(super) id: String,
    pub(super) definition: Definition,
    pub(super) secret: Secret,
    pub(super) standing: Standing,
}

impl Webhook {
    /// Whether a definition would change nothing.
    pub(super) fn is_defined_as(&self, asked: &Asked) -> bool {
        let secret = asked.secret.as_ref();
        asked.definition.is_same(&self.definition)
            && secret.is_none_or(|secret| *secret == self.secret)
    }
}

/// The version of what is kept.
const VERSION: u32 = 1;

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Kept {
    version: u32,
    id: String,
    url: String,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    streams: Vec<StreamName<'static>>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    types: Vec<EventType<'static>>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    tags: Vec<TagLabel<'static>>,
    start: Start,
    batch_size: usize,
    timeout_ms: u64,
    attempts_max: u32,
    secret: Secret,
    standing: Standing,
}

impl Webhook {
    /// The webhook as JSON, secret included.
    pub(super) fn encode(&self) -> Vec<u8> {
        let definition = &self.definition;
        let filter = definition.filter.clone();
        let timeout_ms = definition.timeout.as_millis();
        let kept = Kept {
            version: VERSION,
            id: self.id.clone(),
            url: definition.endpoint.as_str().to_owned(),
            streams: filter.streams,
            types: filter.types,
            tags: filter.tags,
            start: definition.start,
            batch_size: definition.batch_size,
            timeout_ms: u64::try_from(timeout_ms).unwrap_or(TIMEOUT_MS.1),
            attempts_max: definition.attempts_max,
            secret: self.secret.clone(),
            standing: self.standing,
        };
        serde_json::to_vec(&kept).expect("texts and numbers can be written as JSON")
    }

    /// The webhook that was kept so.
    pub(super) fn decode(json: &[u8]) -> Result<Self, Failure> {
        // What is wrong is told without the text, which has the secret in it.
        let unreadable = |what: &str| {
            Failure::new(
                Code::Unreadable,
                format!(
                    "the webhook's definition cannot be read by this version of the server: {what}"
                ),
            )
        };
        let kept: Kept =
            serde_json::from_slice(json).map_err(|_| unreadable("its members are others"))?;
        if kept.version != VERSION {
            return Err(unreadable("it is of another version"));
        }
        let endpoint = Endpoint::parse(&kept.url).map_err(|_| unreadable("its URL"))?;
        let definition = Definition {
            endpoint: Arc::new(endpoint),
            filter: Filter {
                streams: kept.streams,
                types: kept.types,
                tags: kept.tags,
            },
            start: kept.start,
            batch_size: kept.batch_size,
            timeout: Duration::from_millis(kept.timeout_ms),
            attempts_max: kept.attempts_max,
        };
        Ok(Self {
            id: kept.id,
            definition,
            secret: kept.secret,
            standing: kept.standing,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

    fn webhook(definition: &str) -> Webhook {
        let mut reader = Reader::new(definition, 0);
        let asked = read(&mut reader).unwrap();
        reader.finish().unwrap();
        Webhook {
            id: "1".to_owned(),
            definition: asked.definition,
            secret: asked.secret.unwrap(),
            standing: Standing::Paused,
        }
    }

    #[test]
    fn a_webhook_reads_back_as_it_was_kept() {
        for more in [
            "",
            r#","start":"first","filter":{"stream":"a","types":["b"],"tags":["c","d"]}"#,
            r#","start":7,"batchSize":1000,"timeoutMs":100,"attemptsMax":1,"filter":null"#,
        ] {
            let text = format!(r#"{{"url":"https://example.com/a?b","secret":"{SECRET}"{more}}}"#);
            let given = webhook(&text);
            let kept = Webhook::decode(&given.encode()).unwrap();
            let asked = Asked {
                definition: kept.definition,
                secret: Some(kept.secret),
            };
            assert!(given.is_defined_as(&asked), "{more}");
            assert_eq!((kept.id, kept.standing), (given.id, given.standing));
        }
    }

    #[test]
    fn what_another_version_kept_is_refused_without_telling_the_secret() {
        let text = format!(r#"{{"url":"https://example.com/","secret":"{SECRET}"}}"#);
        let kept = String::from_utf8(webhook(&text).encode()).unwrap();
        for (from, to) in [
            (r#""version":1"#, r#""version":2"#),
            (r#""version":1"#, r#""version":1,"colour":"red""#),
            ("https://", "gopher://"),
            (SECRET, "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaS!"),
        ] {
            let other = kept.replace(from, to);
            assert_ne!(other, kept);
            let failure = Webhook::decode(other.as_bytes()).unwrap_err();
            assert_eq!(failure.code, Code::Unreadable);
            assert!(!failure.to_string().contains("MfKQ"), "{failure}");
        }
    }

    #[test]
    fn debug_shows_neither_secret_nor_path() {
        let text = format!(r#"{{"url":"https://example.com/hidden","secret":"{SECRET}"}}"#);
        let shown = format!("{:?}", webhook(&text));
        assert!(shown.contains("example.com"), "{shown}");
        assert!(
            !shown.contains("MfKQ") && !shown.contains("hidden"),
            "{shown}"
        );
    }
}
