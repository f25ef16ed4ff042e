//! The headers of a publish: what the gateway is told of an event beside its payload.

use std::borrow::Cow;

use crate::http::{HeaderMap, HeaderName};
use crate::json::Reader;

use super::replies::Refusal;

/// The longest value of a header, in bytes.
const VALUE_LEN_MAX: usize = 1_024;

/// Those that every event has, in the order in which missing ones are named.
static REQUIRED: [HeaderName; 5] = [
    HeaderName::from_static("team"),
    HeaderName::from_static("service"),
    HeaderName::from_static("entity-id"),
    HeaderName::from_static("tenant"),
    HeaderName::from_static("idempotency-key"),
];
const EVENT_NAME: HeaderName = HeaderName::from_static("event-name");
const CORRELATION_IDS: HeaderName = HeaderName::from_static("correlation-ids");

/// The headers, each given once, as UTF-8 within the limits.
#[derive(Clone, Copy, Debug)]
pub(super) struct Headers<'a> {
    pub(super) team: &'a str,
    pub(super) service: &'a str,
    pub(super) entity_id: &'a str,
    pub(super) tenant: &'a str,
    pub(super) idempotency_key: &'a str,
    /// Not empty.
    pub(super) event_name: Option<&'a str>,
    correlation_ids: Option<&'a str>,
}

impl<'a> Headers<'a> {
    /// Takes the headers of the gateway from those of a request.
    ///
    /// # Errors
    ///
    /// A [`Refusal`]: of all that are missing, else of the first one that is wrong.
    pub(super) fn read(headers: &'a HeaderMap) -> Result<Self, Refusal> {
        let is_missing = |name: &HeaderName| {
            let mut values = headers.get_all(name).iter();
            values.all(|value| value.is_empty())
        };
        if REQUIRED.iter().any(is_missing) {
            let missing: Vec<&str> = REQUIRED
                .iter()
                .filter(|name| is_missing(name))
                .map(HeaderName::as_str)
                .collect();
            return Err(Refusal::missing(&missing));
        }
        let mut values = [""; 5];
        for (place, name) in values.iter_mut().zip(&REQUIRED) {
            *place = one(headers, name)?.unwrap_or_default();
        }
        let [team, service, entity_id, tenant, idempotency_key] = values;
        Ok(Self {
            team,
            service,
            entity_id,
            tenant,
            idempotency_key,
            event_name: one(headers, &EVENT_NAME)?.filter(|name| !name.is_empty()),
            correlation_ids: one(headers, &CORRELATION_IDS)?,
        })
    }

    /// The correlation ids; none if the header is absent, as older clients leave it.
    ///
    /// # Errors
    ///
    /// A [`Refusal`] of what is no JSON object of strings.
    pub(super) fn correlation_ids(&self) -> Result<CorrelationIds<'a>, Refusal> {
        match self.correlation_ids {
            None => Ok(CorrelationIds::none()),
            Some(text) => CorrelationIds::read(text).ok_or_else(Refusal::no_correlation),
        }
    }
}

fn one<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Result<Option<&'a str>, Refusal> {
    let mut values = headers.get_all(name).iter();
    let Some(value) = values.next() else {
        return Ok(None);
    };
    let wrong = |what: String| Err(Refusal::invalid(format!("header {name} {what}")));
    if values.next().is_some() {
        return wrong("is given more than once".to_owned());
    }
    if value.len() > VALUE_LEN_MAX {
        return wrong(format!(
            "has {} bytes, more than {VALUE_LEN_MAX}",
            value.len()
        ));
    }
    match std::str::from_utf8(value.as_bytes()) {
        Ok(text) => Ok(Some(text)),
        Err(_) => wrong("is not UTF-8".to_owned()),
    }
}

/// What an event is connected with: any number of ids, each of a type such as `order_id`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct CorrelationIds<'a> {
    /// The JSON object as it was sent.
    pub(super) text: &'a str,
    /// Its members, in their order.
    pub(super) ids: Vec<(Cow<'a, str>, Cow<'a, str>)>,
}

impl<'a> CorrelationIds<'a> {
    fn none() -> Self {
        Self {
            text: "{}",
            ids: Vec::new(),
        }
    }

    /// Reads the value of the header. The vendor's own example wraps it in single quotes, as a shell
    /// would want them, so clients made from it send those as well.
    fn read(value: &'a str) -> Option<Self> {
        let unwrapped = value
            .strip_prefix('\'')
            .and_then(|value| value.strip_suffix('\''));
        let text = unwrapped.unwrap_or(value);
        let mut reader = Reader::new(text, 0);
        let mut object = reader.object()?;
        let mut ids = Vec::new();
        while let Some(kind) = object.next_any(&mut reader).ok()? {
            ids.push((kind, reader.string().ok()??));
        }
        reader.finish().ok()?;
        Some(Self { text, ids })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn correlation_ids_are_an_object_of_strings_with_or_without_quotes_around() {
        fn read(value: &str) -> Option<(&str, Vec<(String, String)>)> {
            let read = CorrelationIds::read(value)?;
            let ids = read.ids.into_iter();
            let ids = ids.map(|(kind, id)| (kind.into_owned(), id.into_owned()));
            Some((read.text, ids.collect()))
        }
        let pair = |kind: &str, id: &str| (kind.to_owned(), id.to_owned());
        assert_eq!(read("{}"), Some(("{}", Vec::new())));
        assert_eq!(read("'{}'"), Some(("{}", Vec::new())));
        let ids = vec![pair("order_id", "1"), pair("é", "\u{1f6eb}")];
        let text = "{ \"order_id\" : \"1\",\"\\u00e9\":\"\u{1f6eb}\"}";
        assert_eq!(read(text), Some((text, ids.clone())));
        let wrapped = format!("' {text} '");
        assert_eq!(read(&wrapped).map(|read| read.1), Some(ids));
        for bad in [
            "",
            "order",
            "'{}",
            "{}'",
            "''{}''",
            "\"{}\"",
            "[]",
            "null",
            "{\"order_id\":1}",
            "{\"order_id\":null}",
            "{\"order_id\":[\"1\"]}",
            "{\"order_id\":\"1\"",
            "{\"order_id\":\"1\",}",
            "{\"order_id\":\"1\"} {}",
            "{\"order_id\":\"\\ud800\"}",
        ] {
            assert_eq!(read(bad), None, "{bad}");
        }
    }
}
