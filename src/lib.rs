//! The Strandlog server: a durable event log with an HTTP face.
//!
//! Layers import only downwards. Of those in this crate, [`server`] has the listener and the
//! connections, [`doors`] picks the API that a path belongs to; [`native`] is the native API, over [`http`], which knows requests and replies and
//! nothing of the product; [`app`] holds the product's verbs and knows nothing of HTTP; [`store`]
//! is the trait that keeps the events, and its embedded implementation; [`clock`] is the only
//! reader of the time. Beside them, [`auth`] judges credentials, [`json`] and [`time`] read and write
//! texts that all doors share, [`unwind`] keeps a panic in its place, [`cli`] is the command line and [`config`] the settings.

pub mod app;
pub mod auth;
pub mod cli;
pub mod clock;
pub mod config;
pub mod dialect;
pub mod doors;
pub mod http;
pub mod json;
pub mod native;
pub mod server;
pub mod store;
pub mod time;
pub mod unwind;
pub mod webhook;
