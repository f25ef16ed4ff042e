//! What a server says of one of its logs.

use serde::Deserialize;

use super::client::{Call, Client, ClientError, escape};
use super::refusal::CallFailure;

/// The ids a log holds.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct LogState {
    /// The oldest id that is kept; the next one to be given out if there is none.
    pub(crate) first_id: u64,
    /// The last id; 0 if there is none.
    pub(crate) last_id: u64,
}

impl LogState {
    /// Asks for the state of `log`.
    ///
    /// # Errors
    ///
    /// [`CallFailure`].
    pub(crate) async fn ask(client: &mut Client, log: &str) -> Result<Self, CallFailure> {
        let call = Call::get(format!("/v1/logs/{}", escape(log)));
        let body = client.ask(&call).await?.whole().await?;
        serde_json::from_slice(&body).map_err(|_| CallFailure::NoAnswer(ClientError::NotAnAnswer))
    }
}
