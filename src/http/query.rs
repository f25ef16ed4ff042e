//! Query strings, read strictly: what a resource does not know is refused by name, because a typo
//! in `limt=10` must not read the whole log.

use std::borrow::Cow;

use super::path;
use super::problem::{Member, Problem, ProblemType};

/// The parameters of a query. Take what is known, then [`finish`](Query::finish).
#[derive(Clone, Debug, Default)]
pub struct Query<'a> {
    rest: Vec<(Cow<'a, str>, Cow<'a, str>)>,
}

/// The most parameters of one query: a filter names at most 64 terms, and the rest are a dozen.
const PARAMETERS_MAX: usize = 128;

impl<'a> Query<'a> {
    /// Reads a query. A plus sign stands for a space, as in forms; `%2B` is a plus sign.
    ///
    /// # Errors
    ///
    /// A [`Problem`] that names the parameter whose escapes are wrong.
    pub fn parse(raw: Option<&'a str>) -> Result<Self, Problem> {
        let mut rest = Vec::new();
        for pair in raw.unwrap_or_default().split('&') {
            if pair.is_empty() {
                continue;
            }
            if rest.len() == PARAMETERS_MAX {
                return Err(Problem::new(
                    ProblemType::INVALID_PARAMETER,
                    format!("the query has more than {PARAMETERS_MAX} parameters"),
                ));
            }
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let name = decode(name).map_err(|error| {
                Problem::new(
                    ProblemType::INVALID_PARAMETER,
                    format!("the name of a query parameter cannot be read: {error}"),
                )
            })?;
            let value = decode(value).map_err(|error| invalid(&name, &error.to_string()))?;
            rest.push((name, value));
        }
        Ok(Self { rest })
    }

    /// Takes a parameter that may be given once.
    ///
    /// # Errors
    ///
    /// A [`Problem`] if it is given twice.
    pub fn one(&mut self, name: &'static str) -> Result<Option<Cow<'a, str>>, Problem> {
        let mut values = self.all(name);
        let value = values.pop();
        if values.is_empty() {
            return Ok(value);
        }
        Err(Problem::new(
            ProblemType::REPEATED_PARAMETER,
            format!("the query parameter '{name}' is given more than once"),
        )
        .with("parameter", Member::Text(name.into())))
    }

    /// Takes a parameter that may be given again and again.
    pub fn all(&mut self, name: &'static str) -> Vec<Cow<'a, str>> {
        if self.rest.is_empty() {
            return Vec::new();
        }
        let (taken, rest) = std::mem::take(&mut self.rest)
            .into_iter()
            .partition::<Vec<_>, _>(|(known, _)| known == name);
        self.rest = rest;
        taken.into_iter().map(|(_, value)| value).collect()
    }

    /// Takes a parameter that is a whole number.
    ///
    /// # Errors
    ///
    /// A [`Problem`] if it is none that fits in 63 bits, or given twice.
    pub fn number(&mut self, name: &'static str) -> Result<Option<u64>, Problem> {
        let Some(text) = self.one(name)? else {
            return Ok(None);
        };
        match whole_number(&text) {
            Some(number) => Ok(Some(number)),
            None => Err(invalid(
                name,
                &format!("it is not a whole number from 0 to {NUMBER_MAX}"),
            )),
        }
    }

    /// Refuses what nobody has taken.
    ///
    /// # Errors
    ///
    /// A [`Problem`] that names the first unknown parameter.
    pub fn finish(self) -> Result<(), Problem> {
        match self.rest.into_iter().next() {
            None => Ok(()),
            Some((name, _)) => Err(Problem::new(
                ProblemType::UNKNOWN_PARAMETER,
                format!("this resource has no query parameter '{name}'"),
            )
            .with("parameter", Member::Text(name.into_owned().into()))),
        }
    }
}

/// The highest number that a request can hold: ids end there, so that every client language can
/// hold one.
pub const NUMBER_MAX: u64 = i64::MAX as u64;

/// A whole number in decimal digits alone, up to [`NUMBER_MAX`]. `u64::from_str` would take a plus
/// sign.
#[must_use]
pub fn whole_number(text: &str) -> Option<u64> {
    if !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    text.parse().ok().filter(|number| *number <= NUMBER_MAX)
}

/// The problem of a parameter whose value makes no sense.
#[must_use]
pub fn invalid(name: &str, what: &str) -> Problem {
    Problem::new(
        ProblemType::INVALID_PARAMETER,
        format!("the query parameter '{name}' is not valid: {what}"),
    )
    .with("parameter", Member::Text(name.to_owned().into()))
}

fn decode(raw: &str) -> Result<Cow<'_, str>, path::SegmentError> {
    if raw.contains('+') {
        let spaced = raw.replace('+', " ");
        return path::decode(&spaced).map(|text| Cow::Owned(text.into_owned()));
    }
    path::decode(raw)
}

/// The raw query with `name` set to `value`, and without the parameters in `without`.
#[must_use]
pub fn replaced(raw: Option<&str>, without: &[&str], name: &str, value: &str) -> String {
    let mut out = String::new();
    for pair in raw.unwrap_or_default().split('&') {
        let (known, _) = pair.split_once('=').unwrap_or((pair, ""));
        let known = decode(known).unwrap_or_default();
        if pair.is_empty() || known == name || without.iter().any(|other| known == *other) {
            continue;
        }
        out.push_str(pair);
        out.push('&');
    }
    out.push_str(name);
    out.push('=');
    out.push_str(&path::encode(value).to_string());
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_parameters_are_taken_and_unknown_ones_named() {
        let mut query = Query::parse(Some("from=7&type=a+b&type=c%2Bd&limt=3")).unwrap();
        assert_eq!(query.number("from").unwrap(), Some(7));
        assert_eq!(query.all("type"), ["a b", "c+d"]);
        let problem = query.finish().unwrap_err();
        assert_eq!(problem.problem_type(), ProblemType::UNKNOWN_PARAMETER);
        assert!(problem.detail().contains("'limt'"));
    }

    #[test]
    fn a_repeated_parameter_is_refused() {
        let mut query = Query::parse(Some("from=1&from=1")).unwrap();
        let problem = query.number("from").unwrap_err();
        assert_eq!(problem.problem_type(), ProblemType::REPEATED_PARAMETER);
    }

    #[test]
    fn numbers_are_digits_alone() {
        for bad in [
            "-1",
            "1e3",
            "%201",
            "+1",
            "1_000",
            "9223372036854775808",
            "",
        ] {
            let raw = format!("from={bad}");
            let mut query = Query::parse(Some(&raw)).unwrap();
            if bad.is_empty() {
                // No digits at all is no number either.
                assert!(query.number("from").is_err());
                continue;
            }
            let problem = query.number("from").unwrap_err();
            assert!(problem.detail().contains("'from'"), "{bad}");
        }
    }

    #[test]
    fn a_query_is_changed_in_one_place() {
        assert_eq!(
            replaced(Some("from=1&stream=a%2Fb&limit=2"), &["after"], "from", "3"),
            "stream=a%2Fb&limit=2&from=3"
        );
        assert_eq!(
            replaced(Some("after=9"), &["after"], "from", "10"),
            "from=10"
        );
        assert_eq!(replaced(None, &[], "after", "a b"), "after=a%20b");
    }
}
