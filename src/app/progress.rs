//! How far the server itself has come in a log on somebody's behalf: durable places of deliveries.
//!
//! The places lie beside the checkpoints of consumers, under names that no consumer can have: they
//! begin with a control character. They are not listed as consumers.

use bytes::Bytes;

use crate::store::{Checkpoint, CheckpointError};

use super::Log;
use super::failure::Failure;

/// What the names of places begin with.
const PREFIX: char = '\u{1}';

/// The name of a place.
fn checkpoint_name(name: &str) -> String {
    format!("{PREFIX}{name}")
}

/// Whether a checkpoint is a place of the server's own.
pub(super) fn is_place(checkpoint: &str) -> bool {
    checkpoint.starts_with(PREFIX)
}

impl Log {
    /// The id up to which everything is done under this name; none if it was never begun.
    ///
    /// # Errors
    ///
    /// [`Failure`] if the places cannot be read.
    pub async fn progress(&self, name: &str) -> Result<Option<u64>, Failure> {
        let found = self.store.checkpoint(&checkpoint_name(name)).await?;
        Ok(found.map(|checkpoint| checkpoint.position))
    }

    /// Begins at `position` (an id up to which everything counts as done, 0 for nothing), unless
    /// there is a place already; gives where it is. Durable once this resolves.
    ///
    /// # Errors
    ///
    /// [`Failure`]: there are too many places and consumers, or `position` lies beyond the end.
    pub async fn begin_progress(&self, name: &str, position: u64) -> Result<u64, Failure> {
        let name = checkpoint_name(name);
        let checkpoint = Checkpoint {
            position,
            definition: Bytes::new(),
        };
        match self.store.create_checkpoint(&name, checkpoint).await {
            Ok(created) => Ok(created.position),
            Err(CheckpointError::Exists) => {
                let found = self.store.checkpoint(&name).await?;
                Ok(found.ok_or(CheckpointError::NotFound)?.position)
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Says that everything up to `position` is done. Never goes back. Durable once this resolves.
    ///
    /// # Errors
    ///
    /// [`Failure`]: there is no such place, or `position` lies beyond the end.
    pub async fn advance_progress(&self, name: &str, position: u64) -> Result<u64, Failure> {
        let name = checkpoint_name(name);
        Ok(self
            .store
            .advance_checkpoint(&name, position)
            .await?
            .position)
    }

    /// Moves a place anywhere up to the end.
    ///
    /// # Errors
    ///
    /// [`Failure`]: there is no such place, or `position` lies beyond the end.
    pub async fn seek_progress(&self, name: &str, position: u64) -> Result<u64, Failure> {
        let name = checkpoint_name(name);
        Ok(self.store.seek_checkpoint(&name, position).await?.position)
    }

    /// Forgets a place; the flag says whether there was one.
    ///
    /// # Errors
    ///
    /// [`Failure`] if the places cannot be changed.
    pub async fn remove_progress(&self, name: &str) -> Result<bool, Failure> {
        match self.store.remove_checkpoint(&checkpoint_name(name)).await {
            Ok(_) => Ok(true),
            Err(CheckpointError::NotFound) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }
}
