//! HTTP as the rest of the server sees it: requests, replies, and the text forms of their parts.
//!
//! Together with `server.rs`, and `webhook/` for outgoing calls, this is the only code that names
//! hyper. It knows neither the product nor any door: limits come in as values, and what is refused here is a [`Problem`], a plain value
//! that each door writes in its own style.

pub mod accept;
pub mod access;
pub mod body;
pub mod etag;
pub mod head;
pub mod hops;
pub mod path;
pub mod prefer;
pub mod problem;
pub mod query;
pub mod reply;
pub mod router;

pub use body::{Body, BodyRules, Payload};
pub use head::{Head, Request, RequestId};
pub use hyper::header::{self, HeaderMap, HeaderName, HeaderValue};
pub use hyper::{Method, StatusCode};
pub use problem::{Member, Problem, ProblemType};
pub use query::Query;
pub use reply::{Aborted, Answered, Gone, Reply, ReplyBody, Writer};
pub use router::{Routed, Router, Verb};
