//! Credentials: Basic, JWT, secrets at rest.

mod plain;

pub use plain::PlainSecret;
