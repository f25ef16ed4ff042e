//! The doors of the product: the native API, and the dialects that are on.

use std::sync::Arc;

use crate::app::{App, Failure};
use crate::dialect::{self, Dialects, Tools};
use crate::http::{BodyRules, Reply, Request};
use crate::native::Api;
use crate::webhook::{self, Hub};

/// What an operator says about the doors.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Settings {
    /// Which dialects are on.
    pub dialects: dialect::Settings,
    /// What may be called.
    pub webhooks: webhook::Settings,
}

impl Settings {
    /// The settings of development mode.
    #[must_use]
    pub fn development() -> Self {
        Self {
            dialects: dialect::Settings::development(),
            webhooks: webhook::Settings::development(),
        }
    }
}

/// All doors.
#[derive(Debug)]
pub struct Doors {
    native: Api,
    dialects: Dialects,
    hub: Hub,
}

impl Doors {
    /// Opens the doors of this product, with its limits. What is to be called from now on is.
    ///
    /// # Errors
    ///
    /// [`Failure`]: settings that cannot be used, or state that cannot be read.
    pub async fn open(app: App, settings: Settings) -> Result<Self, Failure> {
        let limits = app.limits();
        let bodies = Arc::new(BodyRules::new(
            limits.body_len_max,
            limits.bodies_len_max,
            limits.body_timeout,
        ));
        let hub = Hub::new(app.clone(), &settings.webhooks);
        let tools = Tools {
            app: app.clone(),
            bodies: Arc::clone(&bodies),
            hub: hub.clone(),
        };
        let native = Api::new(app, bodies, hub.clone());
        native.begin().await;
        Ok(Self {
            native,
            dialects: Dialects::open(settings.dialects, &tools).await?,
            hub,
        })
    }

    /// The product behind them.
    #[must_use]
    pub fn app(&self) -> &App {
        self.native.app()
    }

    /// Answers a request, in the style of the door that its path belongs to.
    pub async fn answer(&self, request: Request) -> Reply {
        let Some(dialect) = self.dialects.of_path(request.head.path()) else {
            return self.native.answer(request).await;
        };
        let clock = self.app().clock();
        let start = clock.moment();
        let method = request.head.method().clone();
        let answered = dialect.answer(request).await;
        let time = clock.moment().since(start);
        let status = answered.reply.status();
        let metrics = self.native.metrics();
        metrics.answered(&method, answered.route, status, time);
        answered.reply
    }

    /// Resolves once nothing is being called any more. The product must have been told to stop.
    pub async fn close(&self) {
        self.dialects.close().await;
        self.hub.close().await;
    }
}
