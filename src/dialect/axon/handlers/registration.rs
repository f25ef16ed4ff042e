//! What a handler is: what clients register, what is kept, what is shown.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::app::consumers::Start;
use crate::app::limits::QUERY_TERMS_MAX;
use crate::app::name::EventType;
use crate::app::{Code, Failure, Filter};
use crate::http::{HeaderName, HeaderValue};
use crate::json::write::{maybe_string, number, string};
use crate::json::{Fault, FaultKind, Reader};
use crate::store::EventId;
use crate::webhook::Guard;
use crate::webhook::endpoint::Endpoint;

use super::super::members::{checked, expected, flag, whole_number};
use super::target::{EndpointType, HandlerTarget};

/// The most events of one delivery.
const BATCH_SIZE_MAX: u64 = 1_000;
/// The most headers that an endpoint may want to see: as many as a request to it should have room
/// for beside ours.
const OPTIONS_MAX: usize = 32;
/// The longest value of such a header, in bytes: long enough for a signed token.
const OPTION_LEN_MAX: usize = 8 << 10;
/// The longest text that says something about a handler (its client, its component), in bytes.
const LABEL_LEN_MAX: usize = 255;

/// A handler as it is registered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Registration {
    /// The events it gets; all of them if there are no names.
    names: Vec<String>,
    endpoint: String,
    endpoint_type: EndpointType,
    endpoint_options: Vec<EndpointOption>,
    client_id: Option<String>,
    component_name: Option<String>,
    batch_size: u64,
    /// 0 for the oldest event that is kept, -1 for new ones only, else an index.
    start: i64,
    pub(super) enabled: bool,
    client_authentication_id: Option<String>,
    server_authentication_id: Option<String>,
}

/// A header that the endpoint wants to see. Its value may be a secret, so `Debug` leaves it out.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct EndpointOption {
    key: String,
    value: String,
}

impl fmt::Debug for EndpointOption {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EndpointOption")
            .field("key", &self.key)
            .finish_non_exhaustive()
    }
}

/// The endpoint types as a JSON array of `{"name","description"}`.
pub(super) fn endpoint_types() -> Vec<u8> {
    let mut out = Vec::with_capacity(512);
    for endpoint_type in EndpointType::ALL {
        out.push(if out.is_empty() { b'[' } else { b',' });
        out.extend_from_slice(b"{\"name\":");
        string(&mut out, endpoint_type.name());
        out.extend_from_slice(b",\"description\":");
        string(&mut out, endpoint_type.description());
        out.push(b'}');
    }
    out.push(b']');
    out
}

/// The members of a registration that mean something. Others, those that only replies have among
/// them, are passed over.
const MEMBERS: &[&str] = &[
    "names",
    "endpoint",
    "endpointType",
    "endpointOptions",
    "clientId",
    "componentName",
    "batchSize",
    "start",
    "enabled",
    "clientAuthenticationId",
    "serverAuthenticationId",
];

impl Registration {
    /// Reads what a client registers. The endpoint must be one that may be called.
    pub(super) fn read(reader: &mut Reader<'_>, guard: &Guard) -> Result<Self, Fault> {
        let begin = reader.offset();
        let mut object = reader
            .object()
            .ok_or_else(|| expected(reader.clone(), "a registration, which is an object,"))?;
        let (mut names, mut endpoint) = (None, None);
        let mut read = Self {
            names: Vec::new(),
            endpoint: String::new(),
            endpoint_type: EndpointType::default(),
            endpoint_options: Vec::new(),
            client_id: None,
            component_name: None,
            batch_size: 1,
            start: 0,
            enabled: true,
            client_authentication_id: None,
            server_authentication_id: None,
        };
        while let Some(member) = object.next_known(reader, MEMBERS)? {
            if reader.null() {
                continue;
            }
            let done = match member {
                "names" => event_names(reader).map(|given| names = Some(given)),
                "endpoint" => {
                    checked(reader, |text| callable(&text, guard)).map(|text| endpoint = Some(text))
                }
                "endpointType" => checked(reader, |text| endpoint_type(&text))
                    .map(|given| read.endpoint_type = given),
                "endpointOptions" => {
                    endpoint_options(reader).map(|given| read.endpoint_options = given)
                }
                "clientId" => label(reader).map(|text| read.client_id = Some(text)),
                "componentName" => label(reader).map(|text| read.component_name = Some(text)),
                "batchSize" => batch_size(reader).map(|size| read.batch_size = size),
                "start" => start(reader).map(|index| read.start = index),
                "enabled" => flag(reader).map(|enabled| read.enabled = enabled),
                "clientAuthenticationId" => {
                    label(reader).map(|text| read.client_authentication_id = Some(text))
                }
                _ => label(reader).map(|text| read.server_authentication_id = Some(text)),
            };
            done.map_err(|fault| fault.of(member))?;
        }
        let missing = |member: &str| {
            let fault = Fault::new(
                FaultKind::Member,
                begin,
                "the registration does not have it",
            );
            fault.of(member)
        };
        read.names = names.ok_or_else(|| missing("names"))?;
        read.endpoint = endpoint.ok_or_else(|| missing("endpoint"))?;
        Ok(read)
    }

    /// The registration that was kept as this document.
    pub(super) fn from_document(document: &[u8]) -> Result<Self, Failure> {
        serde_json::from_slice(document).map_err(|error| {
            Failure::new(Code::Unreadable, "a handler that was kept cannot be read")
                .caused_by(&error)
        })
    }

    /// The document to keep.
    pub(super) fn to_document(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("texts and numbers can be written as JSON")
    }

    /// Where a new handler begins.
    pub(super) fn start(&self) -> Start {
        match u64::try_from(self.start) {
            Ok(0) => Start::First,
            Ok(index) => Start::At(EventId::new(index.saturating_add(1)).unwrap_or(EventId::MAX)),
            Err(_) => Start::End,
        }
    }

    /// The events it gets.
    pub(super) fn filter(&self) -> Result<Filter, Failure> {
        let names = self.names.iter().map(|name| EventType::new(name.clone()));
        let mut types = names.collect::<Result<Vec<_>, _>>()?;
        types.sort_unstable();
        types.dedup();
        Ok(Filter {
            types,
            ..Filter::default()
        })
    }

    /// How many events a delivery has at most.
    pub(super) fn batch_size(&self) -> usize {
        match self.endpoint_type {
            EndpointType::Raw | EndpointType::Message => 1,
            EndpointType::ListOfMessages => usize::try_from(self.batch_size).unwrap_or(1),
        }
    }

    /// Whom to call, and how.
    pub(super) fn target(&self) -> Result<HandlerTarget, Failure> {
        let wrong = |error: &dyn std::error::Error| {
            Failure::new(Code::Unreadable, "a handler that was kept cannot be called")
                .caused_by(error)
        };
        let endpoint = Endpoint::parse(&self.endpoint).map_err(|error| wrong(&error))?;
        let mut headers = Vec::with_capacity(self.endpoint_options.len());
        for option in &self.endpoint_options {
            let name = HeaderName::try_from(option.key.as_str()).map_err(|error| wrong(&error))?;
            let value =
                HeaderValue::try_from(option.value.as_str()).map_err(|error| wrong(&error))?;
            headers.push((name, value));
        }
        Ok(HandlerTarget {
            endpoint: Arc::new(endpoint),
            endpoint_type: self.endpoint_type,
            headers,
        })
    }

    /// Writes the handler as clients see it: exactly these members, in this order.
    pub(super) fn write(
        &self,
        out: &mut Vec<u8>,
        context: &str,
        id: &str,
        last_error: Option<&str>,
    ) {
        out.extend_from_slice(b"{\"id\":");
        string(out, id);
        // There is but one instance, and it has no id; nor have real ones that stand alone.
        out.extend_from_slice(b",\"synapseInstanceId\":null,\"names\":[");
        for (index, name) in self.names.iter().enumerate() {
            if index > 0 {
                out.push(b',');
            }
            string(out, name);
        }
        out.extend_from_slice(b"],\"endpoint\":");
        string(out, &self.endpoint);
        out.extend_from_slice(b",\"endpointType\":");
        string(out, self.endpoint_type.name());
        out.extend_from_slice(b",\"endpointOptions\":[");
        for (index, option) in self.endpoint_options.iter().enumerate() {
            if index > 0 {
                out.push(b',');
            }
            out.extend_from_slice(b"{\"key\":");
            string(out, &option.key);
            out.extend_from_slice(b",\"value\":");
            string(out, &option.value);
            out.push(b'}');
        }
        out.extend_from_slice(b"],\"clientId\":");
        maybe_string(out, self.client_id.as_deref());
        out.extend_from_slice(b",\"componentName\":");
        maybe_string(out, self.component_name.as_deref());
        out.extend_from_slice(b",\"batchSize\":");
        number(out, self.batch_size);
        out.extend_from_slice(b",\"start\":");
        out.extend_from_slice(self.start.to_string().as_bytes());
        out.extend_from_slice(if self.enabled {
            b",\"enabled\":true"
        } else {
            b",\"enabled\":false"
        });
        out.extend_from_slice(b",\"context\":");
        string(out, context);
        out.extend_from_slice(b",\"clientAuthenticationId\":");
        maybe_string(out, self.client_authentication_id.as_deref());
        out.extend_from_slice(b",\"serverAuthenticationId\":");
        maybe_string(out, self.server_authentication_id.as_deref());
        out.extend_from_slice(b",\"lastError\":");
        maybe_string(out, last_error);
        out.push(b'}');
    }
}

fn event_names(reader: &mut Reader<'_>) -> Result<Vec<String>, Fault> {
    let mut names = Vec::new();
    let mut array = reader
        .array()
        .ok_or_else(|| expected(reader.clone(), "an array of strings"))?;
    while array.next(reader)? {
        if names.len() == QUERY_TERMS_MAX {
            return Err(Fault::new(
                FaultKind::Member,
                reader.offset(),
                format!("there are more than {QUERY_TERMS_MAX}; an empty array means all events"),
            ));
        }
        names.push(checked(reader, EventType::new)?.as_str().to_owned());
    }
    Ok(names)
}

/// An address that may be called, as it was written.
fn callable(text: &str, guard: &Guard) -> Result<String, String> {
    let endpoint = Endpoint::parse(text).map_err(|error| error.to_string())?;
    guard
        .judge_url(&endpoint)
        .map_err(|refused| format!("{refused}; the operator can allow it, see [webhooks]"))?;
    Ok(text.to_owned())
}

fn endpoint_type(text: &str) -> Result<EndpointType, String> {
    let known = EndpointType::ALL
        .into_iter()
        .find(|known| known.name() == text);
    known.ok_or_else(|| {
        let names = EndpointType::ALL.map(EndpointType::name).join(", ");
        format!("one of {names} was expected")
    })
}

fn label(reader: &mut Reader<'_>) -> Result<String, Fault> {
    checked(reader, |text| {
        if text.len() > LABEL_LEN_MAX {
            return Err(format!(
                "it has {} bytes, more than {LABEL_LEN_MAX}",
                text.len()
            ));
        }
        Ok(text.into_owned())
    })
}

fn batch_size(reader: &mut Reader<'_>) -> Result<u64, Fault> {
    let offset = reader.offset();
    let size = whole_number(reader)?;
    if (1..=BATCH_SIZE_MAX).contains(&size) {
        return Ok(size);
    }
    Err(Fault::new(
        FaultKind::Member,
        offset,
        format!("a number from 1 to {BATCH_SIZE_MAX} was expected"),
    ))
}

fn start(reader: &mut Reader<'_>) -> Result<i64, Fault> {
    let before = reader.clone();
    let index: Option<i64> = reader.value()?.parse().ok();
    index
        .filter(|index| (-1..i64::MAX).contains(index))
        .ok_or_else(|| {
            expected(
                before,
                "0 (the oldest event), -1 (new events only) or an index",
            )
        })
}

fn endpoint_options(reader: &mut Reader<'_>) -> Result<Vec<EndpointOption>, Fault> {
    let mut options: Vec<EndpointOption> = Vec::new();
    let mut array = reader
        .array()
        .ok_or_else(|| expected(reader.clone(), "an array of {\"key\",\"value\"}"))?;
    while array.next(reader)? {
        let offset = reader.offset();
        let wrong = |what: String| Fault::new(FaultKind::Member, offset, what);
        if options.len() == OPTIONS_MAX {
            return Err(wrong(format!("there are more than {OPTIONS_MAX}")));
        }
        let mut object = reader
            .object()
            .ok_or_else(|| expected(reader.clone(), "{\"key\",\"value\"}"))?;
        let (mut key, mut value) = (None, None);
        while let Some(member) = object.next_known(reader, &["key", "value"])? {
            let read = match member {
                "key" => checked(reader, header_name).map(|text| key = Some(text)),
                _ => checked(reader, header_value).map(|text| value = Some(text)),
            };
            read.map_err(|fault| fault.of(member))?;
        }
        let (Some(key), Some(value)) = (key, value) else {
            return Err(wrong("an option has a key and a value".to_owned()));
        };
        if options
            .iter()
            .any(|known| known.key.eq_ignore_ascii_case(&key))
        {
            return Err(wrong(format!("the header '{key}' is there twice")));
        }
        options.push(EndpointOption { key, value });
    }
    Ok(options)
}

/// Headers that frame a message or speak of a connection, and those that say what is delivered:
/// they are ours to set.
const OWN_HEADERS: [&str; 11] = [
    "connection",
    "content-length",
    "content-type",
    "content-encoding",
    "expect",
    "host",
    "keep-alive",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

fn header_name(text: Cow<'_, str>) -> Result<String, &'static str> {
    let name = HeaderName::try_from(text.as_ref())
        .map_err(|_| "the name of a header was expected, of letters, digits and hyphens")?;
    let name = name.as_str();
    if OWN_HEADERS.contains(&name) || name.starts_with("proxy-") || name.starts_with("axoniq-") {
        return Err("this header is the server's to set");
    }
    Ok(text.into_owned())
}

fn header_value(text: Cow<'_, str>) -> Result<String, &'static str> {
    let is_sendable = text.len() <= OPTION_LEN_MAX
        && text.bytes().all(|byte| matches!(byte, b' '..=b'~'))
        && text.trim() == text;
    if !is_sendable {
        return Err(
            "a value of at most 8,192 visible ASCII characters, with spaces between them only, was expected",
        );
    }
    Ok(text.into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(json: &str) -> Result<Registration, Fault> {
        let guard = Guard::new(vec!["127.0.0.0/8".parse().unwrap()]);
        let mut reader = Reader::new(json, 0);
        let registration = Registration::read(&mut reader, &guard)?;
        reader.finish()?;
        Ok(registration)
    }

    #[test]
    fn a_registration_is_kept_as_it_is() {
        let json = r#"{"names":["a","b","a"],"endpoint":"http://127.0.0.1:9/e?x=1","endpointType":"http-list-of-messages","endpointOptions":[{"key":"Authorization","value":"Bearer s"}],"clientId":"c","componentName":"n","batchSize":7,"start":-1,"enabled":false,"clientAuthenticationId":"x","serverAuthenticationId":"y"}"#;
        let registration = read(json).unwrap();
        let kept = Registration::from_document(&registration.to_document()).unwrap();
        assert_eq!(kept, registration);
        assert_eq!(kept.batch_size(), 7);
        assert_eq!(kept.filter().unwrap().types.len(), 2);
        assert_eq!(kept.target().unwrap().headers.len(), 1);
        let shown = format!("{kept:?} {:?}", kept.target().unwrap());
        assert!(!shown.contains("Bearer"), "{shown}");
    }

    #[test]
    fn a_start_is_the_oldest_the_newest_or_an_index() {
        let start = |index: i64| {
            let json = format!(r#"{{"names":[],"endpoint":"http://127.0.0.1","start":{index}}}"#);
            read(&json).map(|read| read.start())
        };
        assert_eq!(start(0), Ok(Start::First));
        assert_eq!(start(-1), Ok(Start::End));
        assert_eq!(start(1), Ok(Start::At(EventId::new(2).unwrap())));
        assert_eq!(
            start(i64::MAX - 1),
            Ok(Start::At(EventId::new(i64::MAX as u64).unwrap()))
        );
        assert!(start(i64::MAX).is_err() && start(-2).is_err());
    }

    #[test]
    fn headers_that_could_do_harm_are_refused() {
        for (key, value) in [
            ("Host", "a"),
            ("content-length", "1"),
            ("Content-Type", "a/b"),
            ("Transfer-Encoding", "chunked"),
            ("Connection", "close"),
            ("Proxy-Authorization", "x"),
            ("AxonIQ-Index", "7"),
            ("", "a"),
            ("a b", "a"),
            ("a:", "a"),
            ("a\\r\\nb", "a"),
            ("a", "b\\r\\nX: c"),
            ("a", "b\\u0000"),
            ("a", "\u{e9}"),
            ("a", " b"),
            ("a", "b "),
        ] {
            let json = format!(
                r#"{{"names":[],"endpoint":"http://127.0.0.1","endpointOptions":[{{"key":"{key}","value":"{value}"}}]}}"#
            );
            let fault = read(&json).unwrap_err();
            assert!(
                fault.member.unwrap().starts_with("endpointOptions/"),
                "{json}"
            );
        }
    }
}
