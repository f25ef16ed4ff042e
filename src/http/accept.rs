//! Choosing a representation (RFC 9110, section 12.5): its type, its coding.

use super::header::{self, HeaderMap};

/// Which of `offers` (type and subtype, in lower case, best first) suits the request; none if it
/// accepts none of them. A request that does not say accepts the first.
///
/// Of offers that the client likes equally, the earlier one is taken. What cannot be read counts as
/// not said.
#[must_use]
pub fn negotiate(headers: &HeaderMap, offers: &[&'static str]) -> Option<usize> {
    let mut ranges: Vec<(&str, u16)> = Vec::new();
    for value in headers.get_all(header::ACCEPT) {
        let Ok(text) = value.to_str() else { continue };
        for range in text.split(',') {
            let mut parts = range.split(';').map(str::trim);
            let Some(media) = parts.next().filter(|media| media.contains('/')) else {
                continue;
            };
            let quality = parts
                .filter_map(|part| part.split_once('='))
                .find(|(name, _)| name.trim().eq_ignore_ascii_case("q"))
                .map_or(Some(1_000), |(_, value)| thousandths(value.trim()));
            if let Some(quality) = quality {
                ranges.push((media, quality));
            }
        }
    }
    if ranges.is_empty() {
        return (!offers.is_empty()).then_some(0);
    }
    let mut best: Option<(usize, u16)> = None;
    for (index, offer) in offers.iter().enumerate() {
        let quality = quality_of(offer, &ranges);
        if quality > best.map_or(0, |(_, quality)| quality) {
            best = Some((index, quality));
        }
    }
    best.map(|(index, _)| index)
}

/// How much the client likes an offer: what the most specific range says counts.
fn quality_of(offer: &str, ranges: &[(&str, u16)]) -> u16 {
    let kind = offer.split('/').next().unwrap_or_default();
    let specificity = |media: &str| {
        if media.eq_ignore_ascii_case(offer) {
            Some(2)
        } else if media
            .strip_suffix("/*")
            .is_some_and(|wanted| wanted.eq_ignore_ascii_case(kind))
        {
            Some(1)
        } else {
            (media == "*/*").then_some(0)
        }
    };
    ranges
        .iter()
        .filter_map(|(media, quality)| Some((specificity(media)?, *quality)))
        .max()
        .map_or(0, |(_, quality)| quality)
}

/// Whether the client offers to take the reply in the coding gzip, and likes it no less than the
/// reply as it is.
#[must_use]
pub fn takes_gzip(headers: &HeaderMap) -> bool {
    let (mut gzip, mut any, mut identity) = (None, None, None);
    for value in headers.get_all(header::ACCEPT_ENCODING) {
        let Ok(text) = value.to_str() else { continue };
        for item in text.split(',') {
            let (coding, parameter) = item.split_once(';').unwrap_or((item, "q=1"));
            let quality = parameter
                .split_once('=')
                .filter(|(name, _)| name.trim().eq_ignore_ascii_case("q"))
                .and_then(|(_, value)| thousandths(value.trim()));
            match coding.trim().to_ascii_lowercase().as_str() {
                "gzip" | "x-gzip" => gzip = quality,
                "*" => any = quality,
                "identity" => identity = quality,
                _ => {}
            }
        }
    }
    let gzip = gzip.or(any).unwrap_or(0);
    gzip > 0 && gzip >= identity.unwrap_or(0)
}

/// A quality in thousandths: `0`, `1`, and up to three decimals.
fn thousandths(text: &str) -> Option<u16> {
    let (whole, decimals) = text.split_once('.').unwrap_or((text, ""));
    if decimals.len() > 3 || !decimals.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let scale = [1_000, 100, 10, 1].get(decimals.len()).copied()?;
    let decimals: u16 = if decimals.is_empty() {
        0
    } else {
        decimals.parse().ok()?
    };
    match whole {
        "0" => Some(decimals * scale),
        "1" if decimals == 0 => Some(1_000),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::HeaderValue;

    const OFFERS: &[&str] = &[
        "application/json",
        "application/x-ndjson",
        "text/event-stream",
    ];

    #[track_caller]
    fn check(accept: &'static str, want: Option<usize>) {
        let mut headers = HeaderMap::new();
        headers.insert(header::ACCEPT, HeaderValue::from_static(accept));
        assert_eq!(negotiate(&headers, OFFERS), want, "{accept}");
    }

    #[test]
    fn the_client_chooses_among_what_there_is() {
        assert_eq!(negotiate(&HeaderMap::new(), OFFERS), Some(0));
        check("*/*", Some(0));
        check("application/x-ndjson", Some(1));
        check("TEXT/Event-Stream; charset=utf-8", Some(2));
        check("application/*;q=0.5, text/event-stream", Some(2));
        check(
            "application/json;q=0.2, application/x-ndjson;q=0.3",
            Some(1),
        );
        check("text/html, */*;q=0.1", Some(0));
        check("application/json;q=0, */*", Some(1));
    }

    #[test]
    fn what_is_not_there_cannot_be_had() {
        check("text/html", None);
        check("application/json;q=0", None);
        check("*/*;q=0.000", None);
    }

    #[test]
    fn gzip_is_for_whoever_offers_it() {
        let takes = |text| {
            let mut headers = HeaderMap::new();
            headers.insert(header::ACCEPT_ENCODING, HeaderValue::from_static(text));
            takes_gzip(&headers)
        };
        for offered in [
            "gzip",
            "deflate, GZIP;q=0.5 , br",
            "*",
            "x-gzip",
            "gzip;q=0.001",
            "identity;q=0.5, *;q=0.5",
        ] {
            assert!(takes(offered), "{offered}");
        }
        for not_offered in [
            "",
            "br",
            "gzip;q=0",
            "gzip;q=0.000, *",
            "identity, gzip;q=0.9",
            "gzip;q=2",
            "gzip;level=9",
        ] {
            assert!(!takes(not_offered), "{not_offered}");
        }
        assert!(!takes_gzip(&HeaderMap::new()));
    }

    #[test]
    fn a_range_that_cannot_be_read_counts_as_not_said() {
        check("json", Some(0));
        check("application/json;q=2, text/event-stream", Some(2));
        check("application/json;q=0.1234, text/event-stream", Some(2));
    }
}
