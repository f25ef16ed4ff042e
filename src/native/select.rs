//! Which events a read asks for: its query as a [`Selection`].

use std::borrow::Cow;

use crate::app::limits::QUERY_TERMS_MAX;
use crate::app::name::{EventType, NameError, StreamName, TagLabel};
use crate::app::range::Selection;
use crate::app::{Code, Failure, Filter};
use crate::http::{Problem, Query, query};
use crate::store::{Direction, EventId};

use super::call::{Call, Limit, limit};
use super::failure::Refusal;
use crate::time;

/// A read as it was asked for.
#[derive(Debug)]
pub(super) struct Asked {
    pub(super) selection: Selection,
    pub(super) limit: Limit,
    /// Whether only what is published from now on is wanted.
    pub(super) from_end: bool,
}

/// How much a representation gives at once.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sizes {
    pub(super) default: Option<u64>,
    pub(super) cap: Option<u64>,
    /// Whether `from=end` makes sense.
    pub(super) follows: bool,
}

/// Reads the query of a range read; `stream` is the one that the path names.
pub(super) fn parse(
    call: &Call<'_>,
    stream: Option<&StreamName<'_>>,
    sizes: Sizes,
) -> Result<Asked, Refusal> {
    let mut query = call.query()?;
    let mut asked = Asked {
        selection: Selection::default(),
        limit: limit(&mut query, sizes.default, sizes.cap)?,
        from_end: false,
    };
    let selection = &mut asked.selection;
    selection.limit = asked.limit.count;
    if let Some(from) = query.one("from")? {
        if from == "end" {
            if !sizes.follows {
                return Err(query::invalid("from", "'end' is only for event streams").into());
            }
            asked.from_end = true;
        } else {
            selection.from = Some(id("from", &from)?);
        }
    }
    if let Some(to) = query.one("to")? {
        selection.to = Some(id("to", &to)?);
    }
    selection.after = query.number("after")?;
    if let Some(direction) = query.one("direction")? {
        selection.direction = match &*direction {
            "forward" => Direction::Forward,
            "backward" => Direction::Backward,
            _ => {
                return Err(
                    query::invalid("direction", "it is neither 'forward' nor 'backward'").into(),
                );
            }
        };
    }
    selection.since_us = instant(&mut query, "since")?;
    selection.until_us = instant(&mut query, "until")?;
    selection.filter = match stream {
        Some(stream) => Filter {
            streams: vec![stream.clone().into_owned()],
            ..Filter::default()
        },
        None => Filter {
            streams: names(&mut query, "stream", StreamName::new)?
                .into_iter()
                .map(StreamName::into_owned)
                .collect(),
            ..Filter::default()
        },
    };
    selection.filter.types = names(&mut query, "type", EventType::new)?
        .into_iter()
        .map(EventType::into_owned)
        .collect();
    selection.filter.tags = names(&mut query, "tag", TagLabel::new)?
        .into_iter()
        .map(TagLabel::into_owned)
        .collect();
    query.finish()?;
    // After the range's own end is where a reader stands that is done with it.
    if let (Some(after), Some(to)) = (selection.after, selection.to)
        && after > to.get()
    {
        return Err(Failure::new(
            Code::InvalidRange,
            format!("the range begins after {after}, behind its end {to}"),
        )
        .into());
    }
    Ok(asked)
}

/// The id in a query parameter.
fn id(name: &str, text: &str) -> Result<EventId, Problem> {
    text.parse()
        .map_err(|_| query::invalid(name, "it is no id, which is a number from 1 to 2^63 - 1"))
}

fn instant(query: &mut Query<'_>, name: &'static str) -> Result<Option<u64>, Problem> {
    let Some(text) = query.one(name)? else {
        return Ok(None);
    };
    let time_us = time::read(&text).ok_or_else(|| {
        query::invalid(
            name,
            "it is no time like 2013-01-01T05:15:00Z (RFC 3339, with its offset; a plus sign is written %2B)",
        )
    })?;
    // Nothing was recorded before 1970.
    Ok(Some(u64::try_from(time_us).unwrap_or(0)))
}

fn names<'a, N>(
    query: &mut Query<'a>,
    name: &'static str,
    new: impl Fn(Cow<'a, str>) -> Result<N, NameError>,
) -> Result<Vec<N>, Problem> {
    let texts = query.all(name);
    if texts.len() > QUERY_TERMS_MAX {
        return Err(query::invalid(
            name,
            &format!("it is given more than {QUERY_TERMS_MAX} times"),
        ));
    }
    texts
        .into_iter()
        .map(|text| new(text).map_err(|error| query::invalid(name, &error.to_string())))
        .collect()
}
