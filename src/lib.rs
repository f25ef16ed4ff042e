//! The Strandlog server.
