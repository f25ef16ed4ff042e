//! pavbis/eventserver.

use crate::app::Failure;
use crate::http::{Answered, Problem, ProblemType, Request};

use super::Tools;

mod settings;

pub use settings::Settings;

/// The door.
#[derive(Debug)]
pub struct Door {}

impl Door {
    /// Opens the door.
    ///
    /// # Errors
    ///
    /// [`Failure`]: the settings cannot be used.
    #[expect(clippy::unused_async, reason = "doors are opened alike")]
    pub async fn open(_settings: Settings, _tools: Tools) -> Result<Self, Failure> {
        Ok(Self {})
    }

    /// Answers a request for one of its paths.
    #[expect(clippy::unused_async, reason = "doors answer alike")]
    pub async fn answer(&self, request: Request) -> Answered {
        let problem = Problem::new(ProblemType::NOT_FOUND, "there is nothing at this path");
        Answered {
            route: "other",
            reply: problem.into_reply(request.head.id()),
        }
    }
}
