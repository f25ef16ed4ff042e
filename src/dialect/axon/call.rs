//! One request to the dialect: what its endpoints ask of it again and again.

use std::borrow::Cow;

use crate::app::Log;
use crate::http::path::decode_segment;
use crate::http::router::Params;
use crate::http::{Body, Head, HeaderName, Payload, Problem, ProblemType, header};

use super::Door;
use super::replies::{Kind, Refusal};

/// The longest body, in bytes: what the spec promises. The server may be set to less.
const BODY_LEN_MAX: usize = 32 << 20;

/// A request on its way through an endpoint.
#[derive(Debug)]
pub(super) struct Call<'a> {
    pub(super) door: &'a Door,
    pub(super) head: &'a Head,
    pub(super) params: Params<'a, 'a>,
}

impl<'a> Call<'a> {
    /// The context that the path names.
    pub(super) fn context(&self) -> Result<&'a Log, Refusal> {
        let raw = self.params.get("context").unwrap_or_default();
        let name = decode_segment(raw).unwrap_or(Cow::Borrowed(raw));
        self.door.contexts.get(name.as_ref()).ok_or_else(|| {
            Refusal::new(
                Kind::NO_SUCH_CONTEXT,
                format!("Context {name} not found; nothing was done"),
            )
        })
    }

    /// A name in the path.
    pub(super) fn name(&self, param: &'static str) -> Result<Cow<'a, str>, Refusal> {
        let raw = self.params.get(param).unwrap_or_default();
        decode_segment(raw).map_err(|error| {
            Refusal::new(
                Kind::INVALID,
                format!("the {param} in the path cannot be read: {error}; nothing was done"),
            )
        })
    }

    /// The value of a header that may be given once. Names may have any characters, so it is taken
    /// as UTF-8; an empty value is one.
    pub(super) fn header(&self, name: &HeaderName) -> Result<Option<&'a str>, Refusal> {
        let invalid = |what| {
            Refusal::new(
                Kind::INVALID,
                format!("the header '{name}' is not valid: {what}; nothing was done"),
            )
        };
        let mut values = self.head.headers().get_all(name).iter();
        let Some(value) = values.next() else {
            return Ok(None);
        };
        if values.next().is_some() {
            return Err(invalid("it is given more than once"));
        }
        match std::str::from_utf8(value.as_bytes()) {
            Ok(text) => Ok(Some(text)),
            Err(_) => Err(invalid("it is not UTF-8")),
        }
    }

    /// Refuses a body that is compressed or the like.
    pub(super) fn no_coding(&self) -> Result<(), Refusal> {
        match self.header(&header::CONTENT_ENCODING)? {
            Some(coding) if !coding.eq_ignore_ascii_case("identity") => Err(Refusal::new(
                Kind::UNSUPPORTED_MEDIA_TYPE,
                "the body must not have a content coding; nothing was done",
            )),
            Some(_) | None => Ok(()),
        }
    }

    /// Which of `types` the body claims to be; parameters do not count.
    pub(super) fn expect_content_type(&self, types: &[&'static str]) -> Result<usize, Refusal> {
        self.no_coding()?;
        let given = self.head.content_type()?;
        let position = given
            .as_ref()
            .and_then(|given| types.iter().position(|known| *known == given.essence));
        position.ok_or_else(|| {
            let wanted = types.join(" or ");
            let given = match given {
                Some(given) => format!("not '{}'", given.essence.escape_debug()),
                None => "and there is no Content-Type".to_owned(),
            };
            Refusal::new(
                Kind::UNSUPPORTED_MEDIA_TYPE,
                format!("the body must say that it is {wanted}, {given}; nothing was done"),
            )
        })
    }

    /// Reads the body whole.
    pub(super) async fn read_body(&self, body: Body) -> Result<Payload<'a>, Refusal> {
        let bodies = &self.door.tools.bodies;
        match body.read_within(BODY_LEN_MAX, bodies).await {
            Ok(payload) => Ok(payload),
            Err(problem) => Err(problem.into()),
        }
    }
}

/// The problem of a parameter in the query.
pub(super) fn invalid_parameter(name: &str, what: &str) -> Problem {
    Problem::new(
        ProblemType::INVALID_PARAMETER,
        format!("the query parameter '{name}' is not valid: {what}; nothing was done"),
    )
}
