//! One request to the native API: what its endpoints ask of it again and again.

use std::borrow::Cow;
use std::time::Duration;

use crate::app::limits::{LIST_DEFAULT, LIST_MAX};
use crate::app::name::{ConsumerName, StreamName, WebhookName};
use crate::app::{Code, Failure, Log};
use crate::http::path::decode_segment;
use crate::http::router::Params;
use crate::http::{
    Body, Head, HeaderName, HeaderValue, Payload, Problem, ProblemType, Query, Reply, StatusCode,
    accept, etag, header, prefer, query,
};
use crate::json::write;
use crate::store::EventId;

use super::Api;
use super::failure::Refusal;
use crate::json::{self, Reader};

/// The content type of most replies.
pub(super) const JSON: HeaderValue = HeaderValue::from_static("application/json");
/// Says that a limit was lowered, and to what.
pub(super) const LIMIT_APPLIED: HeaderName = HeaderName::from_static("strandlog-limit-applied");

/// A request on its way through an endpoint.
#[derive(Debug)]
pub(super) struct Call<'a> {
    pub(super) api: &'a Api,
    pub(super) head: &'a Head,
    pub(super) params: Params<'a, 'a>,
}

impl<'a> Call<'a> {
    /// The log that the path names.
    pub(super) fn log(&self) -> Result<Log, Refusal> {
        let raw = self.params.get("log").unwrap_or_default();
        let name = decode_segment(raw).map_err(|error| {
            Failure::new(
                Code::InvalidLogName,
                format!("the log name cannot be read: {error}"),
            )
        })?;
        Ok(self.api.app.log(&name)?)
    }

    /// The stream that the path names.
    pub(super) fn stream(&self) -> Result<StreamName<'a>, Refusal> {
        Ok(StreamName::new(self.name("stream")?)?)
    }

    /// The consumer that the path names.
    pub(super) fn consumer(&self) -> Result<ConsumerName<'a>, Refusal> {
        Ok(ConsumerName::new(self.name("name")?)?)
    }

    /// The webhook that the path names.
    pub(super) fn webhook(&self) -> Result<WebhookName<'a>, Refusal> {
        Ok(WebhookName::new(self.name("name")?)?)
    }

    /// The event that the path names.
    pub(super) fn event_id(&self) -> Result<EventId, Refusal> {
        let raw = self.params.get("id").unwrap_or_default();
        let id = decode_segment(raw).ok().and_then(|text| text.parse().ok());
        id.ok_or_else(|| {
            Problem::new(
                ProblemType::INVALID_PARAMETER,
                "the id in the path is no id, which is a number from 1 to 2^63 - 1",
            )
            .into()
        })
    }

    fn name(&self, param: &'static str) -> Result<Cow<'a, str>, Refusal> {
        let raw = self.params.get(param).unwrap_or_default();
        decode_segment(raw).map_err(|error| {
            Problem::new(
                ProblemType::INVALID_NAME,
                format!("the {param} in the path cannot be read: {error}"),
            )
            .into()
        })
    }

    /// The parameters of the query.
    pub(super) fn query(&self) -> Result<Query<'a>, Problem> {
        Query::parse(self.head.query())
    }

    /// Refuses any parameter.
    pub(super) fn no_query(&self) -> Result<(), Problem> {
        if self.head.query().is_none() {
            return Ok(());
        }
        self.query()?.finish()
    }

    /// How long the client would wait, no longer than the limit. To ask for the head alone is no
    /// reason to wait.
    pub(super) fn wait(&self) -> Option<Duration> {
        if self.head.is_head() {
            return None;
        }
        prefer::wait(self.head.headers()).map(|wait| wait.min(self.api.app.limits().wait_max))
    }

    /// The best of these representations for the client.
    pub(super) fn negotiate(&self, offers: &[&'static str]) -> Result<usize, Problem> {
        accept::negotiate(self.head.headers(), offers).ok_or_else(|| {
            Problem::new(
                ProblemType::NOT_ACCEPTABLE,
                format!("this resource can be had as {} only", offers.join(", ")),
            )
        })
    }

    /// Whether the client already has what this tag names.
    pub(super) fn has(&self, tag: &HeaderValue) -> Result<bool, Problem> {
        let tags = etag::condition(self.head.headers(), &header::IF_NONE_MATCH)
            .map_err(|what| crate::http::head::invalid(&header::IF_NONE_MATCH, what))?;
        Ok(tags.is_some_and(|tags| tags.match_weakly(tag)))
    }

    /// Reads a body that is one JSON value; `read` takes it from the reader. No body at all gives
    /// `absent`.
    pub(super) async fn read_json<T>(
        &self,
        body: Body,
        absent: Option<T>,
        read: impl FnOnce(&mut Reader<'_>) -> Result<T, json::Fault>,
    ) -> Result<T, Refusal> {
        if let Some(absent) = absent
            && body.is_empty()
        {
            return Ok(absent);
        }
        self.expect_content_type(&["application/json"])?;
        let payload = self.read_body(body).await?;
        let mut reader = Reader::new(json::text(&payload)?, 0);
        let value = read(&mut reader)?;
        reader.finish()?;
        Ok(value)
    }

    /// Reads the body as bytes.
    pub(super) async fn read_body(&self, body: Body) -> Result<Payload<'a>, Problem> {
        body.read(&self.api.bodies).await
    }

    /// Which of `types` the body claims to be.
    pub(super) fn expect_content_type(&self, types: &[&'static str]) -> Result<usize, Problem> {
        let unsupported = |what: String| {
            Problem::new(
                ProblemType::UNSUPPORTED_MEDIA_TYPE,
                format!("{what}; nothing was done"),
            )
        };
        if let Some(coding) = self.head.one(&header::CONTENT_ENCODING)?
            && !coding.eq_ignore_ascii_case("identity")
        {
            return Err(unsupported(
                "the body must not have a content coding".to_owned(),
            ));
        }
        let wanted = types.join(" or ");
        let Some(media_type) = self.head.content_type()? else {
            return Err(unsupported(format!(
                "the body must say that it is {wanted}"
            )));
        };
        if media_type
            .charset
            .is_some_and(|charset| charset != "utf-8" && charset != "utf8")
        {
            return Err(unsupported("the body must be in UTF-8".to_owned()));
        }
        types
            .iter()
            .position(|known| *known == media_type.essence)
            .ok_or_else(|| unsupported(format!("the body must be {wanted}")))
    }

    /// Takes the paging of a list from the query: after which name, and how many.
    pub(super) fn paging(
        &self,
        query: &mut Query<'a>,
    ) -> Result<(Option<Cow<'a, str>>, Limit), Problem> {
        let after = query.one("after")?;
        Ok((after, self.list_limit(query)?))
    }

    /// Takes how many entries a page of a list has from the query.
    pub(super) fn list_limit(&self, query: &mut Query<'a>) -> Result<Limit, Problem> {
        limit(query, Some(LIST_DEFAULT as u64), Some(LIST_MAX as u64))
    }

    /// The path of this resource, as it can stand in a link.
    fn path(&self) -> String {
        // Whoever resolves the link would take a name of dots for a step in the path.
        let segments = self.head.path().split('/').map(|segment| match segment {
            "." => "%2E",
            ".." => "%2E%2E",
            other => other,
        });
        segments.collect::<Vec<_>>().join("/")
    }

    /// The `Location` of this resource.
    pub(super) fn location(&self) -> HeaderValue {
        HeaderValue::try_from(self.path()).unwrap_or_else(|_| HeaderValue::from_static(""))
    }

    /// Takes `before` from a query: where a list that shows the newest first goes on.
    pub(super) fn before(&self, query: &mut Query<'a>) -> Result<Option<EventId>, Problem> {
        match query.number("before")? {
            None => Ok(None),
            Some(id) => match EventId::new(id) {
                None => Err(query::invalid("before", "ids begin at 1")),
                id => Ok(id),
            },
        }
    }

    /// Ends a list that `body` has the entries of: where it goes on, the link to there, and whether
    /// the client was given less than it asked for.
    pub(super) fn end_list(&self, mut body: Vec<u8>, next: Next<'_>, limit: Limit) -> Reply {
        body.extend_from_slice(b"],\"next\":");
        let link = match next {
            Next::After(name) => {
                write::maybe_string(&mut body, name);
                name.map(|name| self.link("next", &[], "after", name))
            }
            Next::Before(id) => {
                let id = id.map(EventId::get);
                write::maybe_number(&mut body, id);
                id.map(|id| self.link("next", &[], "before", &id.to_string()))
            }
        };
        body.push(b'}');
        let mut reply = json_reply(StatusCode::OK, body);
        if let Some(link) = link {
            reply.set(header::LINK, link);
        }
        limit.tell(&mut reply);
        reply
    }

    /// The `Link` to this resource with one query parameter set, and some left out.
    pub(super) fn link(
        &self,
        relation: &str,
        without: &[&str],
        name: &str,
        value: &str,
    ) -> HeaderValue {
        let query = query::replaced(self.head.query(), without, name, value);
        let text = format!("<{}?{query}>; rel=\"{relation}\"", self.path());
        // A path and a query that came in as a target are visible ASCII, or were escaped.
        HeaderValue::try_from(text).unwrap_or_else(|_| HeaderValue::from_static(""))
    }
}

/// Where a list goes on; nowhere if it has come to its end.
#[derive(Clone, Copy, Debug)]
pub(super) enum Next<'a> {
    /// Behind this name.
    After(Option<&'a str>),
    /// Before this id: the newest come first.
    Before(Option<EventId>),
}

/// How many entries a page may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Limit {
    /// The number; none for no limit.
    pub(super) count: Option<u64>,
    /// Whether the client had asked for more.
    pub(super) capped: bool,
}

impl Limit {
    /// Tells the client if it was given less than it asked for.
    pub(super) fn tell(self, reply: &mut Reply) {
        if let (true, Some(count)) = (self.capped, self.count) {
            reply.set(LIMIT_APPLIED, HeaderValue::from(count));
        }
    }

    /// The number, for lists, which always have one.
    pub(super) fn as_len(self) -> usize {
        self.count
            .and_then(|count| usize::try_from(count).ok())
            .unwrap_or(LIST_MAX)
    }
}

/// Takes `limit` from a query.
pub(super) fn limit(
    query: &mut Query<'_>,
    default: Option<u64>,
    cap: Option<u64>,
) -> Result<Limit, Problem> {
    let asked = query.number("limit")?;
    if asked == Some(0) {
        return Err(query::invalid("limit", "it must be at least 1"));
    }
    let capped = asked.zip(cap).is_some_and(|(asked, cap)| asked > cap);
    let count = if capped { cap } else { asked.or(default) };
    Ok(Limit { count, capped })
}

/// A reply with a JSON body.
pub(super) fn json_reply(status: StatusCode, body: Vec<u8>) -> Reply {
    Reply::new(status).typed(JSON).full(body)
}
