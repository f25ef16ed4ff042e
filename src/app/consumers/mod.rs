//! Consumers: named readers whose place in the log is durable.

use std::time::Duration;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::store::{Checkpoint, CheckpointError, EventId};

use super::Log;
use super::failure::{Code, Failure};
use super::filter::Filter;
use super::limits::LIST_MAX;
use super::name::ConsumerName;
use super::progress::is_place;
use super::range::{Reading, Selection};

mod definition;
mod lag;

/// What a consumer is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ConsumerDefinition {
    /// The events it is given.
    pub filter: Filter,
    /// Where it begins.
    pub start: Start,
}

/// Where a consumer begins.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Start {
    /// With the oldest event that is kept.
    #[default]
    First,
    /// With what is published after its definition.
    End,
    /// With this event.
    At(#[serde(with = "definition::id")] EventId),
}

/// Where to move a checkpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Seek {
    /// Before the oldest event that is kept.
    First,
    /// To the end.
    End,
    /// To this id: it and everything before it count as acknowledged; 0 is before the first.
    To(u64),
}

/// A consumer as it is now.
#[derive(Clone, Debug, PartialEq)]
pub struct Consumer {
    /// Its name.
    pub name: String,
    /// What it is.
    pub definition: ConsumerDefinition,
    /// The id up to which it has acknowledged; 0 if nothing.
    pub checkpoint: u64,
    /// What it has not acknowledged.
    pub lag: Lag,
}

/// What a consumer has not acknowledged, counted as its filter lets through.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Lag {
    /// How many events.
    pub events: u64,
    /// Whether that is all; else there are at least so many. Exact unless the filter asks for
    /// several things at once and more than [`LAG_COUNT_MAX`](super::limits::LAG_COUNT_MAX) events, or
    /// [`LAG_LEN_MAX`](super::limits::LAG_LEN_MAX) bytes of them, match.
    pub exact: bool,
    /// How long ago the oldest of them was recorded; zero if there is none.
    pub age: Duration,
}

/// What became of a definition.
#[derive(Clone, Debug, PartialEq)]
pub struct Defined {
    /// The consumer.
    pub consumer: Consumer,
    /// Whether it is new.
    pub created: bool,
}

/// A page of consumers' names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConsumerPage {
    /// The names, in byte order.
    pub names: Vec<String>,
    /// After which name the next page goes on; none if this is the last.
    pub next: Option<String>,
}

/// What a consumer is given.
#[derive(Debug)]
pub struct ConsumerReading {
    /// The id up to which it had acknowledged.
    pub checkpoint: u64,
    /// The events after that.
    pub reading: Reading,
}

impl Log {
    /// Defines a consumer, or gives the one there is if it is defined the same way.
    ///
    /// # Errors
    ///
    /// [`Failure`]: it is defined otherwise, begins beyond the end, or there are too many.
    pub async fn define_consumer(
        &self,
        name: &ConsumerName<'_>,
        definition: ConsumerDefinition,
    ) -> Result<Defined, Failure> {
        definition.filter.check()?;
        loop {
            if let Some(found) = self.store.checkpoint(name.as_str()).await? {
                let there = ConsumerDefinition::decode(&found.definition)?;
                if !there.is_same(&definition) {
                    return Err(Failure::new(
                        Code::ConsumerExists,
                        "there is a consumer of this name with another definition; nothing was changed",
                    ));
                }
                let consumer = self.describe_consumer(name, found).await?;
                return Ok(Defined {
                    consumer,
                    created: false,
                });
            }
            let position = self.position_before(definition.start);
            let checkpoint = Checkpoint {
                position,
                definition: Bytes::from(definition.encode()),
            };
            match self
                .store
                .create_checkpoint(name.as_str(), checkpoint)
                .await
            {
                Ok(created) => {
                    let consumer = self.describe_consumer(name, created).await?;
                    return Ok(Defined {
                        consumer,
                        created: true,
                    });
                }
                // Somebody else was faster: the next round compares with theirs.
                Err(CheckpointError::Exists) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// The position of a reader that begins there: the id up to which everything counts as done.
    #[must_use]
    pub fn position_before(&self, start: Start) -> u64 {
        match start {
            Start::First => self.store.first().get() - 1,
            Start::End => self.last_id(),
            Start::At(id) => id.get() - 1,
        }
    }

    /// The position that this means now.
    #[must_use]
    pub fn position_of(&self, seek: Seek) -> u64 {
        match seek {
            Seek::First => self.store.first().get() - 1,
            Seek::End => self.last_id(),
            Seek::To(id) => id,
        }
    }

    /// A consumer as it is now.
    ///
    /// # Errors
    ///
    /// [`Failure`]: there is none.
    pub async fn consumer(&self, name: &ConsumerName<'_>) -> Result<Consumer, Failure> {
        let found = self.checkpoint(name).await?;
        self.describe_consumer(name, found).await
    }

    async fn checkpoint(&self, name: &ConsumerName<'_>) -> Result<Checkpoint, Failure> {
        let found = self.store.checkpoint(name.as_str()).await?;
        Ok(found.ok_or(CheckpointError::NotFound)?)
    }

    async fn describe_consumer(
        &self,
        name: &ConsumerName<'_>,
        checkpoint: Checkpoint,
    ) -> Result<Consumer, Failure> {
        let definition = ConsumerDefinition::decode(&checkpoint.definition)?;
        let lag = self.lag(&definition.filter, checkpoint.position).await?;
        Ok(Consumer {
            name: name.as_str().to_owned(),
            definition,
            checkpoint: checkpoint.position,
            lag,
        })
    }

    /// The consumers whose names come after `after`, at most `limit` (capped at
    /// [`LIST_MAX`]).
    ///
    /// # Errors
    ///
    /// [`Failure`] if they cannot be listed.
    pub async fn consumers(
        &self,
        after: Option<&str>,
        limit: usize,
    ) -> Result<ConsumerPage, Failure> {
        let limit = limit.clamp(1, LIST_MAX);
        let mut names = self.store.checkpoint_names().await?;
        names.retain(|name| !is_place(name));
        let start = names.partition_point(|name| after.is_some_and(|after| name.as_str() <= after));
        names.drain(..start);
        let more = names.len() > limit;
        names.truncate(limit);
        Ok(ConsumerPage {
            next: names.last().filter(|_| more).cloned(),
            names,
        })
    }

    /// Removes a consumer and its checkpoint.
    ///
    /// # Errors
    ///
    /// [`Failure`]: there is none.
    pub async fn remove_consumer(&self, name: &ConsumerName<'_>) -> Result<(), Failure> {
        self.store.remove_checkpoint(name.as_str()).await?;
        Ok(())
    }

    /// The events after a consumer's checkpoint, at most `limit`. If there are none, waits for at
    /// most `wait`. The checkpoint stays where it is.
    ///
    /// # Errors
    ///
    /// [`Failure`]: there is no such consumer, or retention has overtaken it.
    pub async fn consume(
        &self,
        name: &ConsumerName<'_>,
        limit: Option<u64>,
        wait: Duration,
    ) -> Result<ConsumerReading, Failure> {
        let found = self.checkpoint(name).await?;
        let definition = ConsumerDefinition::decode(&found.definition)?;
        let selection = Selection {
            after: Some(found.position),
            limit,
            filter: definition.filter,
            ..Selection::default()
        };
        Ok(ConsumerReading {
            checkpoint: found.position,
            reading: self.read_waiting(selection, wait).await?,
        })
    }

    /// Acknowledges everything up to `id`, and gives the checkpoint then: an id at or below it
    /// changes nothing.
    ///
    /// # Errors
    ///
    /// [`Failure`]: there is no such consumer, or `id` lies beyond the end.
    pub async fn acknowledge(&self, name: &ConsumerName<'_>, id: EventId) -> Result<u64, Failure> {
        let moved = self.store.advance_checkpoint(name.as_str(), id.get());
        Ok(moved.await?.position)
    }

    /// Moves the checkpoint anywhere, and gives it.
    ///
    /// # Errors
    ///
    /// [`Failure`]: there is no such consumer, or the place lies beyond the end.
    pub async fn seek(&self, name: &ConsumerName<'_>, seek: Seek) -> Result<u64, Failure> {
        let position = self.position_of(seek);
        let moved = self.store.seek_checkpoint(name.as_str(), position);
        Ok(moved.await?.position)
    }
}
