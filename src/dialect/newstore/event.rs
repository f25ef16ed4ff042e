//! How an event of the gateway becomes one of ours.

use std::borrow::Cow;

use sha2::{Digest as _, Sha256};

use crate::app::limits::{EVENT_TAGS_MAX, JSON_DEPTH_MAX};
use crate::app::name::{EventType, IdempotencyKey, NameError, StreamName, TagLabel};
use crate::app::publish::{Fingerprint, KeyOrigin, Keyed};
use crate::json::{self, Fault, FaultKind, Reader, write};

use super::headers::{CorrelationIds, Headers};

/// A payload: one JSON object, and what it calls itself.
#[derive(Debug)]
pub(super) struct Payload<'a> {
    name: Option<Cow<'a, str>>,
    event_name: Option<Cow<'a, str>>,
}

impl<'a> Payload<'a> {
    /// Checks a body and looks for its name, in one pass. Of a member that is there twice, the last
    /// one counts, as it does for common parsers.
    ///
    /// # Errors
    ///
    /// A [`Fault`] if it is no JSON object.
    pub(super) fn read(body: &'a [u8]) -> Result<Self, Fault> {
        let mut reader = Reader::new(json::text(body)?, 0);
        let Some(mut object) = reader.object() else {
            let offset = reader.offset();
            return Err(Fault::new(FaultKind::Json, offset, "it is no object"));
        };
        let mut payload = Self {
            name: None,
            event_name: None,
        };
        while let Some(member) = object.next_any(&mut reader)? {
            let place = match &*member {
                "name" => Some(&mut payload.name),
                "event_name" => Some(&mut payload.event_name),
                _ => None,
            };
            match place {
                Some(place) => {
                    *place = reader.string()?;
                    if place.is_none() {
                        reader.value_within(JSON_DEPTH_MAX - 1)?;
                    }
                }
                None => {
                    reader.value_within(JSON_DEPTH_MAX - 1)?;
                }
            }
        }
        reader.finish()?;
        Ok(payload)
    }
}

/// The name of an event, and which rule gave it: no header of the original carries one.
#[derive(Debug)]
pub(super) struct Name<'a> {
    pub(super) text: Cow<'a, str>,
    rule: &'static str,
}

impl<'a> Name<'a> {
    /// The first of these that is there and not empty.
    pub(super) fn find(payload: Payload<'a>, headers: &Headers<'a>) -> Self {
        let filled = |text: &Cow<'_, str>| !text.is_empty();
        let (text, rule) = if let Some(name) = payload.name.filter(filled) {
            (name, "payload.name")
        } else if let Some(name) = payload.event_name.filter(filled) {
            (name, "payload.event_name")
        } else if let Some(name) = headers.event_name {
            (Cow::Borrowed(name), "header.event-name")
        } else {
            (Cow::Owned(format!("{}.event", headers.service)), "service")
        };
        Self { text, rule }
    }

    /// The name as the type of an event.
    ///
    /// # Errors
    ///
    /// [`NameError`]: it cannot be one.
    pub(super) fn event_type(&self) -> Result<EventType<'_>, NameError> {
        EventType::new(&*self.text)
    }
}

/// The stream of an entity of a tenant. A slash in the tenant is escaped, so that no two pairs meet
/// in one stream.
///
/// # Errors
///
/// [`NameError`]: the two cannot be a name together.
pub(super) fn stream(headers: &Headers<'_>) -> Result<StreamName<'static>, NameError> {
    let (tenant, entity_id) = (headers.tenant, headers.entity_id);
    let mut name = String::with_capacity(tenant.len() + 1 + entity_id.len());
    for character in tenant.chars() {
        match character {
            '/' => name.push_str("%2F"),
            '%' => name.push_str("%25"),
            _ => name.push(character),
        }
    }
    name.push('/');
    name.push_str(entity_id);
    StreamName::new(name)
}

/// The tags by which the event is found. What cannot be a tag is left out, and is in the metadata
/// all the same; so is a correlation id of a type that would pass for tenant, team or service.
pub(super) fn tags(headers: &Headers<'_>, ids: &CorrelationIds<'_>) -> Vec<TagLabel<'static>> {
    let own = [
        ("tenant", headers.tenant),
        ("team", headers.team),
        ("service", headers.service),
    ];
    let mut tags: Vec<TagLabel<'static>> = Vec::with_capacity(own.len() + ids.ids.len());
    let given = ids.ids.iter().map(|(kind, id)| (&**kind, &**id));
    let given = given.filter(|(kind, _)| !own.iter().any(|(reserved, _)| reserved == kind));
    for (kind, name) in own.into_iter().chain(given) {
        if tags.len() == EVENT_TAGS_MAX {
            break;
        }
        if let Ok(tag) = TagLabel::new(format!("{kind}:{name}"))
            && !tags.contains(&tag)
        {
            tags.push(tag);
        }
    }
    tags
}

/// Everything the headers said, and where the name came from.
pub(super) fn metadata(
    headers: &Headers<'_>,
    ids: &CorrelationIds<'_>,
    name: &Name<'_>,
) -> Vec<u8> {
    let mut out = Vec::with_capacity(256 + ids.text.len());
    for (index, (member, value)) in [
        ("team", headers.team),
        ("service", headers.service),
        ("tenant", headers.tenant),
        ("entityId", headers.entity_id),
        ("idempotencyKey", headers.idempotency_key),
    ]
    .into_iter()
    .enumerate()
    {
        out.push(if index == 0 { b'{' } else { b',' });
        write::string(&mut out, member);
        out.push(b':');
        write::string(&mut out, value);
    }
    out.extend_from_slice(b",\"correlationIds\":");
    out.extend_from_slice(ids.text.as_bytes());
    out.extend_from_slice(b",\"nameFrom\":");
    write::string(&mut out, name.rule);
    out.push(b'}');
    out
}

/// What the event is known again by: tenant, name and idempotency key, because the vendor's keys are
/// unique for one name only. The first with it wins, whatever a repeat carries.
///
/// # Errors
///
/// [`NameError`]: never, since digits are a key.
pub(super) fn key(headers: &Headers<'_>, name: &Name<'_>) -> Result<Keyed<'static>, NameError> {
    let mut hash = Sha256::new();
    for piece in [headers.tenant, &*name.text, headers.idempotency_key] {
        let len = u64::try_from(piece.len()).unwrap_or(u64::MAX);
        hash.update(len.to_le_bytes());
        hash.update(piece);
    }
    let digits = hash
        .finalize()
        .into_iter()
        .flat_map(|byte| [byte >> 4, byte & 15]);
    let mut text = String::with_capacity(64);
    text.extend(digits.filter_map(|digit| char::from_digit(digit.into(), 16)));
    Ok(Keyed {
        key: IdempotencyKey::new(text)?,
        fingerprint: Fingerprint([0; 16]),
        origin: KeyOrigin::Derived,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::{HeaderMap, HeaderName, HeaderValue};

    const REQUIRED: [(&str, &str); 5] = [
        ("team", "t"),
        ("service", "s"),
        ("entity-id", "e"),
        ("tenant", "a"),
        ("idempotency-key", "k"),
    ];

    /// The headers, with `more` in place of those of the same names.
    fn with<T>(more: &[(&str, &str)], use_them: impl FnOnce(&Headers<'_>) -> T) -> T {
        let mut map = HeaderMap::new();
        for (name, value) in REQUIRED.iter().chain(more) {
            map.insert(
                HeaderName::from_bytes(name.as_bytes()).unwrap(),
                HeaderValue::from_bytes(value.as_bytes()).unwrap(),
            );
        }
        use_them(&Headers::read(&map).unwrap())
    }

    fn name(payload: &str, more: &[(&str, &str)]) -> (String, &'static str) {
        with(more, |headers| {
            let payload = Payload::read(payload.as_bytes()).unwrap();
            let name = Name::find(payload, headers);
            (name.text.into_owned(), name.rule)
        })
    }

    #[test]
    fn the_first_rule_that_gives_a_name_counts() {
        let header = [("event-name", "from.header")];
        let both = "{\"event_name\":\"second\",\"name\":\"first\"}";
        assert_eq!(name(both, &header), ("first".into(), "payload.name"));
        for payload in [
            "{\"name\":\"\",\"event_name\":\"second\"}",
            "{\"name\":7,\"event_name\":\"second\"}",
            "{\"name\":{\"name\":\"inner\"},\"event_name\":\"sec\\u006fnd\"}",
            "{\"name\":\"first\",\"event_name\":\"second\",\"name\":null}",
        ] {
            let found = name(payload, &header);
            assert_eq!(found, ("second".into(), "payload.event_name"), "{payload}");
        }
        assert_eq!(
            name("{}", &header),
            ("from.header".into(), "header.event-name")
        );
        assert_eq!(
            name("{}", &[("event-name", "")]),
            ("s.event".into(), "service")
        );
        assert_eq!(name("{\"Name\":\"x\"}", &[]), ("s.event".into(), "service"));
    }

    #[test]
    fn what_is_no_object_is_no_payload() {
        for bad in [
            "",
            "[1]",
            "1",
            "\"a\"",
            "null",
            "{",
            "{} {}",
            "{\"a\":01}",
            "\u{feff}{}",
        ] {
            assert!(Payload::read(bad.as_bytes()).is_err(), "{bad}");
        }
        assert!(Payload::read(b"{\"a\":\"\xff\"}").is_err());
        assert!(Payload::read(b" {\"a\" : 1e999}\n").is_ok());
    }

    #[test]
    fn a_payload_is_nested_as_deeply_as_any_other_may_be() {
        for (depth, good) in [(JSON_DEPTH_MAX, true), (JSON_DEPTH_MAX + 1, false)] {
            for member in ["name", "other"] {
                let inner = depth - 1;
                let text = format!(
                    "{{\"{member}\":{}{}}}",
                    "[".repeat(inner),
                    "]".repeat(inner)
                );
                assert_eq!(Payload::read(text.as_bytes()).is_ok(), good, "{depth}");
            }
        }
    }

    #[test]
    fn no_two_entities_share_a_stream() {
        fn stream(tenant: &str, entity: &str) -> Result<String, NameError> {
            with(&[("tenant", tenant), ("entity-id", entity)], |headers| {
                super::stream(headers).map(|name| name.as_str().to_owned())
            })
        }
        assert_eq!(stream("dodici", "1").unwrap(), "dodici/1");
        assert_eq!(stream("a/b", "c").unwrap(), "a%2Fb/c");
        assert_eq!(stream("a", "b/c").unwrap(), "a/b/c");
        assert_eq!(stream("a%2Fb", "%2F").unwrap(), "a%252Fb/%2F");
        assert!(stream(&"a".repeat(127), &"b".repeat(127)).is_ok());
        assert!(stream(&"a".repeat(128), &"b".repeat(127)).is_err());
        assert!(stream("a\tb", "c").is_err());
    }

    #[test]
    fn tags_are_what_fits_and_nothing_passes_for_another() {
        let tags = |more: &[(&str, &str)]| {
            with(more, |headers| {
                let tags = tags(headers, &headers.correlation_ids().unwrap());
                tags.into_iter()
                    .map(|tag| tag.as_str().to_owned())
                    .collect::<Vec<_>>()
            })
        };
        let own = ["tenant:a", "team:t", "service:s"];
        assert_eq!(tags(&[]), own);
        let ids = "{\"order_id\":\"1\",\"tenant\":\"b\",\"x\":\"\\n\",\"order_id\":\"2\",\"order_id\":\"1\"}";
        let found = tags(&[("correlation-ids", ids)]);
        assert_eq!(found[3..], ["order_id:1", "order_id:2"]);
        let long = "l".repeat(300);
        assert_eq!(tags(&[("team", &long)]), ["tenant:a", "service:s"]);
        let many: Vec<String> = (0..40).map(|n| format!("\"{n}\":\"\"")).collect();
        let many = format!("{{{}}}", many.join(","));
        let found = tags(&[("correlation-ids", &many)]);
        assert_eq!(found.len(), EVENT_TAGS_MAX);
        assert_eq!(found[31], "28:");
    }

    #[test]
    fn a_key_stands_for_tenant_name_and_key_together() {
        let key = |tenant, name, key| {
            with(&[("tenant", tenant), ("idempotency-key", key)], |headers| {
                let name = Name {
                    text: Cow::Borrowed(name),
                    rule: "",
                };
                super::key(headers, &name).unwrap().key.as_str().to_owned()
            })
        };
        let first = key("a", "b", "c");
        assert_eq!(first.len(), 64);
        assert_eq!(first, key("a", "b", "c"));
        for other in [key("a", "b", "C"), key("A", "b", "c"), key("a", "B", "c")] {
            assert_ne!(first, other);
        }
        // Where one ends and the next begins counts.
        assert_ne!(key("a", "bc", "d"), key("ab", "c", "d"));
        assert_ne!(key("a", "bc", "d"), key("a", "b", "cd"));
    }

    #[test]
    fn the_metadata_is_json_whatever_the_headers_hold() {
        let quoted = "a\"b\\c\u{1f6eb}";
        let more = [
            ("team", quoted),
            ("correlation-ids", "'{\"order_id\": \"1\"}'"),
        ];
        let text = with(&more, |headers| {
            let name = Name::find(Payload::read(b"{}").unwrap(), headers);
            metadata(headers, &headers.correlation_ids().unwrap(), &name)
        });
        let want = "{\"team\":\"a\\\"b\\\\c\u{1f6eb}\",\"service\":\"s\",\"tenant\":\"a\",\"entityId\":\"e\",\"idempotencyKey\":\"k\",\"correlationIds\":{\"order_id\": \"1\"},\"nameFrom\":\"service\"}";
        assert_eq!(String::from_utf8(text).unwrap(), want);
    }
}
