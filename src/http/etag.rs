//! Entity tags and the conditions made of them (RFC 9110, sections 8.8.3 and 13.1).

use super::header::{HeaderMap, HeaderName, HeaderValue};

/// A strong tag with this text, which must be visible ASCII without quotes.
#[must_use]
pub fn strong(text: impl std::fmt::Display) -> HeaderValue {
    HeaderValue::try_from(format!("\"{text}\""))
        .unwrap_or_else(|_| HeaderValue::from_static("\"\""))
}

/// What a condition header asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Tags<'a> {
    /// `*`.
    Any,
    /// These tags, quotes included; weak ones keep their `W/`.
    These(Vec<&'a str>),
}

/// A condition header; none if it is absent, an error if it is no list of tags.
///
/// # Errors
///
/// Says what is wrong with it.
pub fn condition<'a>(
    headers: &'a HeaderMap,
    name: &HeaderName,
) -> Result<Option<Tags<'a>>, &'static str> {
    let mut tags = Vec::new();
    let mut any = false;
    let mut given = false;
    for value in headers.get_all(name) {
        given = true;
        let text = value.to_str().map_err(|_| "it is not ASCII")?;
        if text.trim() == "*" {
            any = true;
            continue;
        }
        for tag in text.split(',').map(str::trim) {
            let opaque = tag.strip_prefix("W/").unwrap_or(tag);
            let quoted = opaque.len() >= 2 && opaque.starts_with('"') && opaque.ends_with('"');
            if !quoted {
                return Err("it is neither '*' nor a list of entity tags in double quotes");
            }
            tags.push(tag);
        }
    }
    match (given, any, tags.is_empty()) {
        (false, ..) => Ok(None),
        (true, true, true) => Ok(Some(Tags::Any)),
        (true, true, false) => Err("it is both '*' and a list of entity tags"),
        (true, false, _) => Ok(Some(Tags::These(tags))),
    }
}

impl Tags<'_> {
    /// Whether one of them names `tag`, weak or strong: the comparison of `If-None-Match`.
    #[must_use]
    pub fn match_weakly(&self, tag: &HeaderValue) -> bool {
        match self {
            Self::Any => true,
            Self::These(tags) => tags.iter().any(|known| {
                known.strip_prefix("W/").unwrap_or(known).as_bytes() == tag.as_bytes()
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::header;

    #[track_caller]
    fn check(value: &'static str, want: &Result<Option<Tags<'_>>, ()>) {
        let mut headers = HeaderMap::new();
        headers.insert(header::IF_MATCH, HeaderValue::from_static(value));
        let got = condition(&headers, &header::IF_MATCH);
        assert_eq!(&got.map_err(|_| ()), want, "{value}");
    }

    #[test]
    fn conditions_are_a_star_or_tags_in_quotes() {
        check("*", &Ok(Some(Tags::Any)));
        check("\"5\"", &Ok(Some(Tags::These(vec!["\"5\""]))));
        check(
            "\"5\", W/\"6\"",
            &Ok(Some(Tags::These(vec!["\"5\"", "W/\"6\""]))),
        );
        for bad in ["5", "\"", "\"5", "5\"", "", "*, \"5\""] {
            check(bad, &Err(()));
        }
    }

    #[test]
    fn a_weak_tag_matches_where_bytes_do_not_matter() {
        let tags = Tags::These(vec!["W/\"a\""]);
        assert!(tags.match_weakly(&strong("a")));
        assert!(!tags.match_weakly(&strong("b")));
    }
}
