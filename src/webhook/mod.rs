//! Calling HTTP endpoints of others.
