//! How many calls of this server led to a request: the header that ends loops of webhooks.
//!
//! A call says how far its events have come. Whoever publishes because of the call passes the header
//! on, so that what is published is known to be one call further. Nobody can be made to; what is
//! counted is what is passed on.

use hyper::header::{HeaderName, HeaderValue};

use super::head::{self, Head};
use super::problem::Problem;
use super::query;

/// The name of the header.
pub const HOPS: HeaderName = HeaderName::from_static("strandlog-hops");

impl Head {
    /// How many calls led to the request; 0 if it does not say.
    ///
    /// # Errors
    ///
    /// A [`Problem`] if the header is no whole number up to `hops_max`, or is given twice: to take it
    /// for 0 would begin a loop anew.
    pub fn hops(&self, hops_max: u8) -> Result<u8, Problem> {
        let Some(text) = self.one(&HOPS)? else {
            return Ok(0);
        };
        let number = query::whole_number(text).filter(|_| !text.is_empty());
        let hops = number.and_then(|number| u8::try_from(number).ok());
        hops.filter(|hops| *hops <= hops_max).ok_or_else(|| {
            head::invalid(
                &HOPS,
                &format!("a whole number from 0 to {hops_max} was expected, as a call has it"),
            )
        })
    }
}

/// The header with a count, in place of any that is there.
pub fn set(headers: &mut Vec<(HeaderName, HeaderValue)>, hops: u8) {
    headers.retain(|(name, _)| *name != HOPS);
    headers.push((HOPS, HeaderValue::from(u16::from(hops))));
}
