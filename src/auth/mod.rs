//! Credentials: Basic, JWT, secrets at rest.
