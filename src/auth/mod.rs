//! Credentials: Basic, JWT, secrets at rest.
//!
//! Each door decides whom it asks for what, and how it refuses; here is only the judging. Nothing
//! in here says more than yes or no about a secret, whichever way it is asked: comparisons take as
//! long for what is wrong as for what is right, no `Debug` shows key material, and what comes from
//! the network is bounded before it is decoded.
//!
//! - [`basic`]: user and password of a request (RFC 7617), and the users of a server.
//! - [`jwt`]: signed tokens (RFC 7519), judged and made.
//! - [`secret`]: random tokens, comparison, and secrets that are kept only as a slow hash.

pub mod basic;
pub mod jwt;
mod plain;
pub mod secret;

pub use plain::PlainSecret;
