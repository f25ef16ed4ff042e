//! Calling HTTP endpoints of others.

use std::sync::Arc;

use crate::app::App;

pub mod client;
mod connect;
pub mod endpoint;
pub mod guard;
mod pool;
pub mod retry;
mod settings;
pub mod signature;

pub use settings::Settings;

/// Everything that calls. Clones are the same.
#[derive(Clone, Debug)]
pub struct Hub(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    app: App,
}

impl Hub {
    /// A hub that calls for this product.
    #[must_use]
    pub fn new(app: App, _settings: &Settings) -> Self {
        Self(Arc::new(Shared { app }))
    }

    /// The product behind it.
    #[must_use]
    pub fn app(&self) -> &App {
        &self.0.app
    }

    /// Resolves once nothing is being called any more. The product must have been told to stop.
    #[expect(
        clippy::unused_async,
        reason = "there is nothing to wait for without lanes"
    )]
    pub async fn close(&self) {}
}
