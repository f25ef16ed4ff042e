//! Bodies of requests: read within limits, and taken apart.
//!
//! JSON is read if the content type says `application/json`, a form if it says so; any other body
//! counts as `{}`, and so does none (spec section 2). Unlike upstream, a scalar is as good as an
//! object where any JSON will do.

use std::borrow::Cow;

use serde_json::value::RawValue;

use crate::http::{Body, BodyRules, Head, Payload, header};
use crate::json::{self, Reader};

use super::form::{FIELDS_MAX, Fields};
use super::replies::{self, Refusal};
use super::template::{Member, members};

/// The longest body of an administration or authentication route, in bytes: a definition has to fit
/// into a document.
const ADMINISTRATION_LEN_MAX: usize = 256 << 10;

/// What the body of a request is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Json,
    Form,
    Other,
}

fn kind(head: &Head) -> Result<Kind, Refusal> {
    if let Some(coding) = head.one(&header::CONTENT_ENCODING)?
        && !coding.eq_ignore_ascii_case("identity")
    {
        return Err(replies::unsupported_body("content encoding"));
    }
    let Some(media_type) = head.content_type()? else {
        return Ok(Kind::Other);
    };
    let kind = match media_type.essence.as_str() {
        "application/json" => Kind::Json,
        "application/x-www-form-urlencoded" => Kind::Form,
        _ => return Ok(Kind::Other),
    };
    match media_type.charset.as_deref() {
        None | Some("utf-8" | "utf8" | "us-ascii") => Ok(kind),
        Some(_) => Err(replies::unsupported_body("charset")),
    }
}

/// A body that was read.
#[derive(Debug)]
pub(super) struct Input<'b> {
    payload: Payload<'b>,
    kind: Kind,
}

impl<'b> Input<'b> {
    /// Reads a body of at most `len_max` bytes.
    pub(super) async fn read(
        head: &Head,
        body: Body,
        len_max: usize,
        rules: &'b BodyRules,
    ) -> Result<Self, Refusal> {
        let kind = kind(head)?;
        let payload = body.read_within(len_max, rules).await?;
        Ok(Self { payload, kind })
    }

    /// Reads the body of an administration or authentication route.
    pub(super) async fn read_short(
        head: &Head,
        body: Body,
        rules: &'b BodyRules,
    ) -> Result<Self, Refusal> {
        Self::read(head, body, ADMINISTRATION_LEN_MAX, rules).await
    }

    /// The body as JSON: one value, as it was sent.
    pub(super) fn json(&self) -> Result<Cow<'_, str>, Refusal> {
        let none = Ok(Cow::Borrowed("{}"));
        if self.payload.is_empty() {
            return none;
        }
        match self.kind {
            Kind::Other => none,
            Kind::Form => {
                let text = String::from_utf8_lossy(&self.payload);
                let fields =
                    Fields::parse(&text).map_err(|_| replies::too_many_fields(FIELDS_MAX))?;
                let mut object = Vec::new();
                fields.write_json(&mut object, &[]);
                let object = String::from_utf8(object).expect("it is made of texts");
                Ok(Cow::Owned(object))
            }
            Kind::Json => {
                let broken = |fault: json::Fault| {
                    let (what, offset) = (fault.what, fault.offset);
                    replies::broken_body(format_args!(
                        "the body is not JSON: {what} (at byte {offset})"
                    ))
                };
                let mut reader = Reader::new(json::text(&self.payload).map_err(broken)?, 0);
                let value = reader.value().map_err(broken)?;
                reader.finish().map_err(broken)?;
                Ok(Cow::Borrowed(value))
            }
        }
    }
}

/// The members of a body that is an object; of any other there are none.
#[derive(Debug)]
pub(super) struct Members<'a>(Vec<Member<'a>>);

impl<'a> Members<'a> {
    /// Those of this JSON.
    pub(super) fn of(json: &'a str) -> Self {
        Self(members(json).unwrap_or_default())
    }

    /// A member as it was sent; `null` is as good as absent. Of two the later one counts, as in
    /// JavaScript.
    pub(super) fn raw(&self, name: &str) -> Option<&'a RawValue> {
        let found = self.0.iter().rfind(|(known, _)| known == name);
        let (_, value) = found?;
        (value.get() != "null").then_some(*value)
    }

    /// Whether there is a member, `null` or not.
    pub(super) fn has(&self, name: &str) -> bool {
        self.0.iter().any(|(known, _)| known == name)
    }

    /// A text.
    pub(super) fn text(&self, name: &str) -> Result<Option<String>, Refusal> {
        let text = |raw: &RawValue| {
            serde_json::from_str(raw.get()).map_err(|_| replies::field_is_not(name, "an string"))
        };
        self.raw(name).map(text).transpose()
    }

    /// A text that must be there.
    pub(super) fn required_text(&self, name: &str) -> Result<String, Refusal> {
        self.text(name)?
            .ok_or_else(|| replies::field_required(name))
    }

    /// A text that must be there and not be empty.
    pub(super) fn required_name(&self, name: &str) -> Result<String, Refusal> {
        let text = self.required_text(name)?;
        if text.is_empty() {
            return Err(replies::field_required(name));
        }
        Ok(text)
    }

    /// A whole number; texts of digits are as good, as forms have nothing else.
    pub(super) fn whole_number(&self, name: &str) -> Result<Option<i64>, Refusal> {
        let Some(raw) = self.raw(name) else {
            return Ok(None);
        };
        let text = match serde_json::from_str::<String>(raw.get()) {
            Ok(text) => Cow::Owned(text),
            Err(_) => Cow::Borrowed(raw.get()),
        };
        text.parse()
            .map(Some)
            .map_err(|_| replies::field_is_not(name, "a number"))
    }

    /// An id.
    pub(super) fn id(&self, name: &str) -> Result<Option<u64>, Refusal> {
        let number = self.whole_number(name)?;
        number
            .map(u64::try_from)
            .transpose()
            .map_err(|_| replies::field_is_not(name, "a number"))
    }

    /// An id that must be there.
    pub(super) fn required_id(&self, name: &str) -> Result<u64, Refusal> {
        self.id(name)?.ok_or_else(|| replies::field_required(name))
    }

    /// Yes or no.
    pub(super) fn flag(&self, name: &str) -> Result<Option<bool>, Refusal> {
        match self.raw(name).map(RawValue::get) {
            None => Ok(None),
            Some("true" | "1" | "\"true\"") => Ok(Some(true)),
            Some("false" | "0" | "\"false\"") => Ok(Some(false)),
            Some(_) => Err(replies::field_is_not(name, "a boolean")),
        }
    }

    /// An array of `{"key","value"}`; values are texts, or numbers as they were sent.
    pub(super) fn pairs(&self, name: &str) -> Result<Vec<(String, &'a RawValue)>, Refusal> {
        let Some(raw) = self.raw(name) else {
            return Ok(Vec::new());
        };
        let items: Vec<&'a RawValue> =
            serde_json::from_str(raw.get()).map_err(|_| replies::field_is_not(name, "an array"))?;
        let pair = |item: &'a RawValue| {
            let members = Self::of(item.get());
            let key = members.text("key").ok().flatten();
            key.zip(members.raw("value"))
                .ok_or_else(|| replies::field_is_not(name, "an array of {key, value}"))
        };
        items.into_iter().map(pair).collect()
    }

    /// The same with values that become texts.
    pub(super) fn text_pairs(&self, name: &str) -> Result<Vec<(String, String)>, Refusal> {
        let text = |(key, value): (String, &'a RawValue)| {
            let raw = value.get();
            if raw.starts_with(['{', '[']) {
                return Err(replies::field_is_not(name, "an array of texts by key"));
            }
            let text = serde_json::from_str(raw).unwrap_or_else(|_| raw.to_owned());
            Ok((key, text))
        };
        self.pairs(name)?.into_iter().map(text).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_are_what_they_are_sent_as() {
        let json = r#"{"t":"x","n":7,"s":"8","neg":-1,"yes":true,"no":0,"nil":null,"t":"later",
            "pairs":[{"key":"a","value":"b"},{"key":"c","value":1.50}],"bad":[1]}"#;
        let members = Members::of(json);
        assert_eq!(members.text("t").unwrap().as_deref(), Some("later"));
        assert_eq!(members.whole_number("n").unwrap(), Some(7));
        assert_eq!(members.whole_number("s").unwrap(), Some(8));
        assert_eq!(members.whole_number("neg").unwrap(), Some(-1));
        assert_eq!(members.flag("yes").unwrap(), Some(true));
        assert_eq!(members.flag("no").unwrap(), Some(false));
        assert_eq!(members.text("nil").unwrap(), None);
        assert_eq!(
            members.text_pairs("pairs").unwrap(),
            [
                ("a".to_owned(), "b".to_owned()),
                ("c".to_owned(), "1.50".to_owned())
            ]
        );
        let refused = |refusal: Refusal| refusal.message.into_owned();
        assert_eq!(
            refused(members.text("n").unwrap_err()),
            "Invalid body; n is not an string"
        );
        assert_eq!(
            refused(members.required_text("x").unwrap_err()),
            "Invalid body; x is required"
        );
        assert_eq!(
            refused(members.id("neg").unwrap_err()),
            "Invalid body; neg is not a number"
        );
        assert!(members.pairs("bad").is_err() && members.pairs("t").is_err());
        assert!(members.flag("t").is_err());
        assert!(Members::of("[1]").raw("t").is_none());
    }
}
